"""What a document says about a case, in words and table cells, with units."""

from cemscope_pipelines.export.case_record import CaseContent
from cemscope_pipelines.export.comparison_words import comparison_summary
from cemscope_pipelines.export.lucency_items import (
    NOT_ASSESSED,
    lucency_words,
    seen_percent_words,
)
from cemscope_pipelines.export.machine_words import (
    LEVEL_CHANGED,
    evidence_owner,
    leak_differences,
    machine_leak,
    machine_level,
    machine_screw,
    machine_vertebra,
    machine_volume_ml,
    readers_names,
    screw_differences,
    vertebra_differences,
)
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
LEAK_HEADER = (
    "Leak", "Type", "Where", "Volume (mL)", "Reach (mm)", "Canal (%)", "Reader",
)  # fmt: skip
SCREW_HEADER = (
    "Screw", "Diameter (mm)", "Length (mm)", "Cement (mL)", "Lucency", "Seen (%)",
    "Reader",
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
    if before is not None and before != now:
        return f"{one.decision} (was {before:.2f} mL)"
    return one.decision


def _volume_ml(
    content: CaseContent, kind: FindingKind, finding_id: str
) -> float | None:
    """Cement volume of a vertebra or a leak in the content; None for screws."""
    for entry in content.findings.vertebrae:
        if kind == "vertebra" and entry.level == finding_id:
            cement = entry.cement
            return cement.volume_ml if isinstance(cement, CementEntry) else None
        for leak in entry.leaks:
            if kind == "leak" and leak.id == finding_id:
                return leak.volume_ml
    for index, away in enumerate(content.findings.cement_elsewhere):
        told = content.findings.elsewhere_id_at(index)
        if kind == "elsewhere" and told == finding_id:
            return away.volume_ml
    return None


def changes(content: CaseContent, machine: Report, kind: FindingKind) -> list[str]:
    """Say what a reader changed in findings of a kind, beside what the machine said.

    Returns
    -------
    list of str
        E.g. ``"L3-1: type: reader: C, definite; machine: B, definite"``.
    """
    found: list[tuple[str, tuple[str, ...]]] = []
    names = readers_names(content.decisions)
    renamed: list[str] = []
    for entry in reversed(content.findings.vertebrae):
        one = decision_of(content.decisions, "vertebra", entry.level)
        if kind == "vertebra" and one is not None:
            was = machine_vertebra(machine, one)
            told = vertebra_differences(entry, was)
            if was is not None and was.level != entry.level:
                renamed.append(f"{entry.level} ({was.level})")
                told = tuple(w for w in told if not w.startswith(LEVEL_CHANGED))
            found.append((entry.level, told))
        for leak in entry.leaks if kind == "leak" else ():
            one = decision_of(content.decisions, "leak", leak.id)
            found.append((leak.id, leak_differences(leak, machine_leak(machine, one))))
    for screw in screws_from_head(content) if kind == "screw" else ():
        one = decision_of(content.decisions, "screw", screw.id)
        if one is not None:
            told = screw_differences(screw, machine_screw(machine, one))
            if names.get(machine_level(machine, one)) == screw.level:
                # told of its vertebra already
                told = tuple(w for w in told if not w.startswith(LEVEL_CHANGED))
            found.append((screw.id.replace("-", " "), told))
    lines = []
    if renamed:
        lines.append(
            "Levels named by the reader, in brackets the machine's name: "
            + ", ".join(renamed)
        )
    lines += [f"{name}: {'; '.join(told)}" for name, told in found if told]
    return lines


def rejected_words(content: CaseContent, machine: Report) -> list[str]:
    """Say what the reader rejected, and why."""
    names = readers_names(content.decisions)
    found = []
    for one in content.decisions:
        if one.decision != "rejected":
            continue
        was = machine_level(machine, one)
        level = names.get(was, was)
        # its id may be that of another finding now
        now = f" of the machine's report (at {level} here)" if level != was else ""
        reason = f": {one.reason}" if one.reason else ""
        kind = "cement" if one.kind == "elsewhere" else one.kind
        found.append(f"{kind} {one.finding_id}{now}{reason}")
    return found


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


def leak_cells(
    leak: LeakEntry, content: CaseContent, machine: Report
) -> tuple[str, ...]:
    """Cells under `LEAK_HEADER`."""
    share = leak.canal_encroachment_percent
    return (
        leak.id,
        leak_type_words(leak),
        place_words(leak),
        f"{leak.volume_ml:.2f}",
        f"{leak.max_distance_mm:.1f}",
        NOT_ASSESSED if isinstance(share, NotAssessedEntry) else f"{share:.1f}",
        _decision_words(content, machine, "leak", leak.id),
    )


def elsewhere_rows(content: CaseContent, machine: Report) -> list[tuple[str, ...]]:
    """Rows under `LEAK_HEADER` for cement that no vertebra counts."""
    rows: list[tuple[str, ...]] = []
    for index, entry in enumerate(content.findings.cement_elsewhere):
        name = content.findings.elsewhere_id_at(index)
        rows.append(
            (
                name, "not at a vertebra", entry.location.replace("_", " "),
                f"{entry.volume_ml:.2f}", "-", "-",
                _decision_words(content, machine, "elsewhere", name),
            )
        )  # fmt: skip
    return rows


def evidence_words(leak: LeakEntry, content: CaseContent, machine: Report) -> str:
    """Why the leak has its type; marked where it argues for the machine's type."""
    evidence = leak.evidence
    if not isinstance(evidence, LeakEvidenceEntry):
        return f"route not assessed: {evidence.reason}"
    one = decision_of(content.decisions, "leak", leak.id)
    told = one is not None and one.finding_id in content.told_leaks
    owner = evidence_owner(leak, machine_leak(machine, one), told_by_reader=told)
    return f"{owner}: {evidence.sentence}" if owner else evidence.sentence


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
        seen_percent_words(screw.lucency),
        _decision_words(content, machine, "screw", screw.id),
    )


def reasons_of(screws: tuple[ScrewEntry, ...]) -> dict[str, list[str]]:
    """Why lucency was not assessed, and at which screws."""
    found: dict[str, list[str]] = {}
    for screw in screws:
        if isinstance(screw.lucency, NotAssessedEntry):
            name = screw.id.replace("-", " ")
            found.setdefault(screw.lucency.reason, []).append(name)
    return found


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


def summary_sentences(content: CaseContent, machine: Report) -> tuple[str, ...]:
    """Give the result in three or four sentences, for who reads no table."""
    sentences = (
        _cement_sentence(content),
        _leak_sentence(content),
        _screw_sentence(content),
        comparison_summary(machine),
    )
    return tuple(one for one in sentences if one)


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
    grades = [
        screw.lucency.grade
        for screw in screws
        if not isinstance(screw.lucency, NotAssessedEntry)
    ]
    if not grades:
        return text + "; lucency around the screws was not assessed."
    missing = len(screws) - len(grades)
    left = f", not assessed at {missing}" if missing else ""
    return (
        f"{text}; lucent rim graded loose at {grades.count('loose')}, suspicious at "
        f"{grades.count('suspicious')}, none at {grades.count('none')}{left}."
    )


def _count(number: int, one: str, many: str) -> str:
    words = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight")
    word = words[number] if number < len(words) else str(number)
    return f"{word} {one if number == 1 else many}"
