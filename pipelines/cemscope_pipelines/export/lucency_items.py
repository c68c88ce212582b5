"""Lucency of a screw in coded terms and in words, in each form of the report."""

from cemscope.dicom.objects.finding_group import CodeItem, NumberItem, TextItem
from cemscope.dicom.objects.terms import (
    DEGREE,
    LUCENCY,
    MILLIMETRE,
    NO,
    NOT_ATTEMPTED,
    RATIO,
    YES,
)
from cemscope_pipelines.export import private_terms as terms
from cemscope_pipelines.report import (
    GrownLucencyEntry,
    LucencyEntry,
    NotAssessedEntry,
)

NOT_ASSESSED = "not assessed"

LucencyForms = GrownLucencyEntry | LucencyEntry | NotAssessedEntry


def lucency_items(
    lucency: LucencyForms,
) -> tuple[list[NumberItem], list[CodeItem], list[TextItem]]:
    """Lucency of a screw in terms, assessed or not.

    Parameters
    ----------
    lucency
        ``lucency`` of a screw in report.json.
    """
    if isinstance(lucency, NotAssessedEntry):
        why = TextItem(terms.NOT_ASSESSED_WHY, f"lucency: {lucency.reason}")
        return [], [CodeItem(LUCENCY, NOT_ATTEMPTED)], [why]
    numbers = [
        NumberItem(terms.LUCENCY_MAX_WIDTH, lucency.max_width_mm, MILLIMETRE),
        NumberItem(terms.LUCENCY_MEAN_WIDTH, lucency.mean_width_mm, MILLIMETRE),
        NumberItem(terms.LUCENCY_ARC, lucency.arc_deg, DEGREE),
        NumberItem(terms.LUCENCY_LENGTH, lucency.length_fraction, RATIO),
        NumberItem(terms.LUCENCY_SEEN, lucency.seen_fraction, RATIO),
        NumberItem(terms.LUCENCY_COVERED, lucency.cement_covered_fraction, RATIO),
    ]
    texts = []
    for name, part, term in (
        ("pedicle part", lucency.pedicle, terms.LUCENCY_PEDICLE_WIDTH),
        ("body part", lucency.body, terms.LUCENCY_BODY_WIDTH),
    ):
        if isinstance(part, NotAssessedEntry):
            words = f"lucency, {name}: {part.reason}"
            texts.append(TextItem(terms.NOT_ASSESSED_WHY, words))
        else:
            numbers.append(NumberItem(term, part.max_width_mm, MILLIMETRE))
    growth = growth_of(lucency)
    if isinstance(growth, NotAssessedEntry):
        words = f"growth of the rim: {growth.reason}"
        texts.append(TextItem(terms.NOT_ASSESSED_WHY, words))
    elif growth is not None:
        numbers.append(NumberItem(terms.LUCENCY_GROWTH, growth, MILLIMETRE))
    codes = [
        CodeItem(LUCENCY, terms.LUCENCY_GRADES[lucency.grade]),
        CodeItem(terms.DOUBLE_HALO, YES if lucency.double_halo else NO),
    ]
    return numbers, codes, texts


def growth_of(lucency: LucencyEntry) -> float | NotAssessedEntry | None:
    """Growth of a rim; None where there is no earlier scan to compare with."""
    return lucency.growth_mm if isinstance(lucency, GrownLucencyEntry) else None


def lucency_words(lucency: LucencyForms) -> str:
    """Lucency of a screw for a table cell."""
    if isinstance(lucency, NotAssessedEntry):
        return NOT_ASSESSED
    words: str = lucency.grade
    if lucency.grade == "none":
        words = "grade none" if lucency.max_width_mm > 0.0 else "no rim"
    if lucency.max_width_mm > 0.0:
        words += f", max {lucency.max_width_mm:.1f} mm"
    if lucency.double_halo:
        words += ", double halo"
    growth = growth_of(lucency)
    if isinstance(growth, NotAssessedEntry):
        words += ", growth not assessed"
    elif growth is not None:
        change = round(growth, 1)
        verb = "shrank" if change < 0 else "grew"
        words += f", {verb} {abs(change):.1f} mm" if change else ", no growth"
    return words


def seen_percent_words(lucency: LucencyForms) -> str:
    """Share of a screw's surface that was seen: "no rim" where little was says little.

    Returns
    -------
    str
        Percent, for a table cell; "-" where lucency was not assessed.
    """
    if isinstance(lucency, NotAssessedEntry):
        return "-"
    return f"{100 * lucency.seen_fraction:.0f}"
