"""What a document says about a case, in words and table cells, with units."""

from typing import TYPE_CHECKING, Any

from cemscope_pipelines.export.case_record import CaseContent
from cemscope_pipelines.export.finding_groups import machine_volume_ml
from cemscope_pipelines.export.tracking import decision_of
from cemscope_pipelines.report import (
    CementEntry,
    LeakEntry,
    LeakEvidenceEntry,
    NotAssessedEntry,
    Report,
    ScrewEntry,
    VertebraEntry,
)
from cemscope_pipelines.review.review_document import FindingKind

if TYPE_CHECKING:
    from collections.abc import Sequence

NOT_ASSESSED = "not assessed"

PLACE_WORDS = {
    "epidural": "spinal canal (epidural)", "disc_superior": "disc above",
    "disc_inferior": "disc below", "foraminal_left": "left neural foramen",
    "foraminal_right": "right neural foramen", "prevertebral": "in front of the body",
    "paravertebral_left": "beside the body on the left",
    "paravertebral_right": "beside the body on the right",
    "needle_track": "needle or screw track",
}  # fmt: skip

TYPE_WORDS = {
    "B": "basivertebral vein", "S": "segmental vein", "C": "cortical defect",
    "D": "disc", "I": "along the instrument",
}  # fmt: skip

VERTEBRA_HEADER = (
    "Vertebra", "Cement (mL)", "95 % interval (mL)", "In body (mL)", "Leaked (mL)",
    "Fill (%)", "Reader",
)  # fmt: skip
LEAK_HEADER = ("Leak", "Type", "Where", "Volume (mL)", "Reach (mm)", "Canal (%)")
SCREW_HEADER = (
    "Screw", "Diameter (mm)", "Length (mm)", "Cement (mL)", "Lucency", "Reader",
)  # fmt: skip


def millilitres(value: float | NotAssessedEntry) -> str:
    """Two decimals, or that it was not assessed."""
    return NOT_ASSESSED if isinstance(value, NotAssessedEntry) else f"{value:.2f}"


def _decision_words(
    content: CaseContent, machine: Report, kind: FindingKind, finding_id: str
) -> str:
    one = decision_of(content.decisions, kind, finding_id)
    if one is None:
        return "not reviewed"
    if one.added_by_reader:
        return "added"
    before = machine_volume_ml(machine, one)
    now = _volume_ml(content, kind, finding_id)
    # A rejected leak changes its vertebra's volume, though that was accepted.
    if before is not None and now is not None and before != now:
        return f"{one.decision} (was {before:.2f} mL)"
    return one.decision


def _volume_ml(
    content: CaseContent, kind: FindingKind, finding_id: str
) -> float | None:
    """Cement volume of a vertebra in the content; None for other findings."""
    for entry in content.findings.vertebrae:
        if kind == "vertebra" and entry.level == finding_id:
            cement = entry.cement
            return cement.volume_ml if isinstance(cement, CementEntry) else None
    return None


def vertebra_cells(
    entry: VertebraEntry, content: CaseContent, machine: Report
) -> tuple[str, ...]:
    """Cells under `VERTEBRA_HEADER`."""
    name = entry.level if entry.complete else f"{entry.level} (part)"
    reader = _decision_words(content, machine, "vertebra", entry.level)
    cement = entry.cement
    if not isinstance(cement, CementEntry):
        return (name, NOT_ASSESSED, "-", "-", "-", "-", reader)
    low, high = cement.interval_ml
    return (
        name,
        f"{cement.volume_ml:.2f}",
        f"{low:.2f} to {high:.2f}",
        f"{cement.intrabody_ml:.2f}",
        f"{cement.leaked_ml:.2f}",
        f"{100 * cement.fill_ratio:.1f}",
        reader,
    )


def leak_type_words(leak: LeakEntry) -> str:
    """Types of a leak with their meaning and certainty."""
    if not leak.types:
        return "not told"
    words = ", ".join(f"{kind} ({TYPE_WORDS[kind]})" for kind in leak.types)
    return f"{words}, {leak.certainty}"


def place_words(leak: LeakEntry) -> str:
    """Locations of a leak."""
    places = [PLACE_WORDS.get(p, p.replace("_", " ")) for p in leak.locations]
    return ", ".join(places) or "not told"


def leak_cells(leak: LeakEntry) -> tuple[str, ...]:
    """Cells under `LEAK_HEADER`."""
    share = leak.canal_encroachment_percent
    return (
        leak.id,
        leak_type_words(leak),
        place_words(leak),
        f"{leak.volume_ml:.2f}",
        f"{leak.max_distance_mm:.1f}",
        NOT_ASSESSED if isinstance(share, NotAssessedEntry) else f"{share:.1f}",
    )


def evidence_words(leak: LeakEntry) -> str:
    """Why the leak has its type."""
    evidence = leak.evidence
    if isinstance(evidence, LeakEvidenceEntry):
        return evidence.sentence
    return f"route not assessed: {evidence.reason}"


def lucency_words(lucency: Any) -> str:
    """Lucency of a screw, in either form of the report."""
    if isinstance(lucency, NotAssessedEntry):
        return NOT_ASSESSED
    words = f"{lucency.grade}, up to {lucency.max_width_mm:.1f} mm"
    growth = getattr(lucency, "growth_mm", None)
    if isinstance(growth, int | float):
        words += f", growth {growth:.1f} mm"
    return words


def screw_cells(
    screw: ScrewEntry, content: CaseContent, machine: Report
) -> tuple[str, ...]:
    """Cells under `SCREW_HEADER`."""
    cement = millilitres(screw.cement_volume_ml)
    if not screw.cemented and not isinstance(screw.cement_volume_ml, NotAssessedEntry):
        cement = "none"
    return (
        screw.id.replace("-", " "),
        f"{screw.diameter_mm:.1f}",
        f"{screw.length_mm:.1f}",
        cement,
        lucency_words(screw.lucency),
        _decision_words(content, machine, "screw", screw.id),
    )


def screws_from_head(content: CaseContent) -> tuple[ScrewEntry, ...]:
    """Screws in the order of their vertebrae, from the head downwards."""
    levels = [one.level for one in reversed(content.findings.vertebrae)]
    order = {level: index for index, level in enumerate(levels)}
    return tuple(
        sorted(
            content.findings.screws,
            key=lambda screw: (order.get(screw.level, len(order)), screw.side),
        )
    )


def summary_sentences(content: CaseContent) -> tuple[str, ...]:
    """Give the result in three sentences, for who reads no table."""
    return (
        _cement_sentence(content),
        _leak_sentence(content),
        _screw_sentence(content),
    )


def _untold(content: CaseContent) -> str:
    """Whole vertebrae whose cement was not assessed, as a sentence; or nothing."""
    levels = [
        v.level
        for v in reversed(content.findings.vertebrae)
        if v.complete and isinstance(v.cement, NotAssessedEntry)
    ]
    return f" Not assessed: {', '.join(levels)}." if levels else ""


def _cement_sentence(content: CaseContent) -> str:
    findings = content.findings
    untold = _untold(content)
    holding = [
        v.level
        for v in reversed(findings.vertebrae)
        if isinstance(v.cement, CementEntry) and v.cement.volume_ml > 0
    ]
    totals = findings.totals
    if isinstance(totals.cement_ml, NotAssessedEntry):
        return f"Cement of the whole scan was not assessed: {totals.cement_ml.reason}."
    if not holding and totals.cement_ml == 0:
        where = " in the vertebrae that were assessed" if untold else ""
        return f"No bone cement was found{where}.{untold}"
    text = (
        f"Bone cement in {_count(len(holding), 'vertebra', 'vertebrae')} "
        f"({', '.join(holding)}): {totals.cement_ml:.2f} mL "
        + ("in those that were assessed" if untold else "in all")
    )
    if not isinstance(totals.interval_ml, NotAssessedEntry):
        low, high = totals.interval_ml
        text += f" (95 % interval {low:.2f} to {high:.2f} mL)"
    if not isinstance(totals.leaked_ml, NotAssessedEntry):
        text += f", of which {totals.leaked_ml:.2f} mL lie outside the vertebral bodies"
    return f"{text}.{untold}"


def _leak_sentence(content: CaseContent) -> str:
    leaks = [leak for v in reversed(content.findings.vertebrae) for leak in v.leaks]
    elsewhere = content.findings.cement_elsewhere
    if not leaks and not elsewhere:
        if _untold(content):
            return "No leak was found at the vertebrae that were assessed."
        return "No leak of cement was found."
    parts = [
        f"{leak.id} (type {''.join(leak.types) or 'not told'}) {place_words(leak)}, "
        f"{leak.volume_ml:.2f} mL"
        for leak in leaks
    ]
    parts += [
        f"{one.location.replace('_', ' ')}, {one.volume_ml:.2f} mL" for one in elsewhere
    ]
    return f"{_count(len(parts), 'leak', 'leaks').capitalize()}: {'; '.join(parts)}."


def _screw_sentence(content: CaseContent) -> str:
    screws = content.findings.screws
    if not screws:
        return "No pedicle screw was found."
    cemented = sum(screw.cemented for screw in screws)
    text = f"{_count(len(screws), 'pedicle screw', 'pedicle screws').capitalize()}"
    share = "all" if cemented == len(screws) else cemented or "none"
    text += f", {share} with cement"
    open_cement = sum(
        not screw.cemented and isinstance(screw.cement_volume_ml, NotAssessedEntry)
        for screw in screws
    )
    if open_cement:
        text += f", not assessed at {open_cement}"
    lucencies: list[Any] = [screw.lucency for screw in screws]
    assessed = [one for one in lucencies if not isinstance(one, NotAssessedEntry)]
    if not assessed:
        return text + "; lucency around the screws was not assessed."
    grades: Sequence[str] = [str(one.grade) for one in assessed]
    return (
        f"{text}; lucency assessed at {len(assessed)}: {grades.count('loose')} loose, "
        f"{grades.count('suspicious')} suspicious."
    )


def _count(number: int, one: str, many: str) -> str:
    words = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight")
    word = words[number] if number < len(words) else str(number)
    return f"{word} {one if number == 1 else many}"
