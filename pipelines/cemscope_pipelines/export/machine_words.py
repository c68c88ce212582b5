"""What the machine's report said where a reader's result says something else."""

from cemscope_pipelines.report import (
    CementEntry,
    LeakEntry,
    LeakEvidenceEntry,
    Report,
    ScrewEntry,
    VertebraEntry,
)
from cemscope_pipelines.review.review_document import FindingDecision, elsewhere_id

LEVEL_CHANGED = "level: reader: "
"""Begins the words about a level that has another name."""

MOVED_MM = 0.05
"""Ends of a screw that differ by less are one place, rounded."""


def machine_volume_ml(machine: Report, one: FindingDecision) -> float | None:
    """Cement volume that the machine's report gives for a finding; None for none."""
    if one.kind == "vertebra":
        vertebra = machine_vertebra(machine, one)
        cement = None if vertebra is None else vertebra.cement
        return cement.volume_ml if isinstance(cement, CementEntry) else None
    if one.kind == "leak":
        leak = machine_leak(machine, one)
        return None if leak is None else leak.volume_ml
    if one.kind == "elsewhere":
        for index, entry in enumerate(machine.cement_elsewhere):
            if elsewhere_id(index) == one.finding_id:
                return entry.volume_ml
    return None


def machine_vertebra(machine: Report, one: FindingDecision) -> VertebraEntry | None:
    """Find a vertebra in the machine's report."""
    for vertebra in machine.vertebrae:
        if one.kind == "vertebra" and vertebra.level == one.finding_id:
            return vertebra
    return None


def machine_leak(machine: Report, one: FindingDecision | None) -> LeakEntry | None:
    """Find a leak in the machine's report; None for one that the reader added."""
    if one is None or one.kind != "leak" or one.added_by_reader:
        return None
    for vertebra in machine.vertebrae:
        for leak in vertebra.leaks:
            if leak.id == one.finding_id:
                return leak
    return None


def machine_screw(machine: Report, one: FindingDecision) -> ScrewEntry | None:
    """Find a screw in the machine's report."""
    for screw in machine.screws:
        if one.kind == "screw" and screw.id == one.finding_id:
            return screw
    return None


def machine_level(machine: Report, one: FindingDecision) -> str:
    """Level under which the machine's report tells a finding; "" for none."""
    if one.kind == "vertebra":
        vertebra = machine_vertebra(machine, one)
        return "" if vertebra is None else vertebra.level
    if one.kind == "screw":
        screw = machine_screw(machine, one)
        return "" if screw is None else screw.level
    for entry in machine.vertebrae:
        if one.kind == "leak" and any(k.id == one.finding_id for k in entry.leaks):
            return entry.level
    return ""


def readers_names(decisions: tuple[FindingDecision, ...]) -> dict[str, str]:
    """Name that the reader's result gives to each vertebra, by the machine's."""
    return {
        one.finding_id: one.result_id
        for one in decisions
        if one.kind == "vertebra" and one.result_id is not None
    }


def leak_differences(leak: LeakEntry, machine: LeakEntry | None) -> tuple[str, ...]:
    """Say type and places of reader and machine side by side where they differ.

    Returns
    -------
    tuple of str
        E.g. ``"type: reader: C, definite; machine: B, definite"``.
    """
    if machine is None:
        return ()
    found = []
    mine, theirs = type_words(leak), type_words(machine)
    if mine != theirs:
        found.append(f"type: reader: {mine}; machine: {theirs}")
    places = [", ".join(one.locations) or "not told" for one in (leak, machine)]
    if places[0] != places[1]:
        reader, before = (text.replace("_", " ") for text in places)
        found.append(f"place: reader: {reader}; machine: {before}")
    return tuple(found)


def type_words(leak: LeakEntry) -> str:
    """Types of a leak as letters, with their certainty."""
    return f"{'+'.join(leak.types) or 'not told'}, {leak.certainty}"


def evidence_owner(
    leak: LeakEntry, machine: LeakEntry | None, *, told_by_reader: bool
) -> str:
    """Whose argument a leak's evidence is where it is not for the types that stand.

    Parameters
    ----------
    leak, machine
        In the content and in the machine's report.
    told_by_reader
        Whether the reader told its types or places.

    Returns
    -------
    str
        E.g. "machine's evidence for B, definite"; "" where the evidence is that of
        the types beside which it stands.
    """
    if not isinstance(leak.evidence, LeakEvidenceEntry):
        return ""
    as_machine = machine is not None and not leak_differences(leak, machine)
    if as_machine or not told_by_reader:
        return ""
    if machine is not None and machine.evidence == leak.evidence:
        return f"machine's evidence for {type_words(machine)}"
    return "machine's evidence, not that of the reader"


def vertebra_differences(
    entry: VertebraEntry, machine: VertebraEntry | None
) -> tuple[str, ...]:
    """Say what the machine's report told otherwise of a vertebra, beside its cement."""
    if machine is None:
        return ()
    found = []
    if entry.level != machine.level:
        found.append(f"{LEVEL_CHANGED}{entry.level}; machine: {machine.level}")
    if entry.body_volume_ml != machine.body_volume_ml:
        found.append(
            f"body: reader: {entry.body_volume_ml:.2f} mL; "
            f"machine: {machine.body_volume_ml:.2f} mL"
        )
    return tuple(found)


def screw_differences(screw: ScrewEntry, machine: ScrewEntry | None) -> tuple[str, ...]:
    """Say what the machine's report told otherwise of a screw."""
    if machine is None:
        return ()
    found = []
    if screw.level != machine.level:
        found.append(f"{LEVEL_CHANGED}{screw.level}; machine: {machine.level}")
    ends = (
        ("head", screw.head_lps_mm, machine.head_lps_mm),
        ("tip", screw.tip_lps_mm, machine.tip_lps_mm),
    )
    for name, mine, theirs in ends:
        away = sum((a - b) ** 2 for a, b in zip(mine, theirs, strict=True)) ** 0.5
        if away > MOVED_MM:
            found.append(f"{name}: moved by the reader by {away:.1f} mm")
    if screw.length_mm != machine.length_mm:
        found.append(
            f"length: reader: {screw.length_mm:.1f} mm; "
            f"machine: {machine.length_mm:.1f} mm"
        )
    before, now = machine.cement_volume_ml, screw.cement_volume_ml
    if isinstance(before, float) and isinstance(now, float) and before != now:
        found.append(f"cement: reader: {now:.2f} mL; machine: {before:.2f} mL")
    return tuple(found)
