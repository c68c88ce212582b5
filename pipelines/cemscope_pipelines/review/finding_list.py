"""The findings as a reader sees them: one row each, machine's and reader's values."""

from dataclasses import dataclass

from cemscope_pipelines.report import (
    CementEntry,
    GrownLucencyEntry,
    LeakEntry,
    LucencyEntry,
    NotAssessedEntry,
    PointLPSmm,
    Report,
    ScrewEntry,
    VertebraEntry,
)
from cemscope_pipelines.review.review_document import (
    DecisionKind,
    FindingId,
    FindingKind,
    ReviewedFindings,
    elsewhere_id,
)
from cemscope_pipelines.review.review_state import ReviewState
from cemscope_pipelines.review.reviewed_result import result_ids, reviewed_findings

PLACE_WORDS = {
    "epidural": "epidural",
    "disc_superior": "upper disc",
    "disc_inferior": "lower disc",
    "foraminal_left": "left foramen",
    "foraminal_right": "right foramen",
    "prevertebral": "prevertebral",
    "paravertebral_left": "left paravertebral",
    "paravertebral_right": "right paravertebral",
    "needle_track": "needle track",
}
"""Places of a leak in words."""


@dataclass(frozen=True, slots=True)
class FindingRow:
    """One finding in the list.

    Attributes
    ----------
    finding : FindingId
        Which one.
    level : str
        The reader's name of its vertebra.
    title : str
        "Vertebra", "Leak 1", "Screw left", ...
    type_text : str
        Leak types and places, or what else tells its kind.
    volume_ml, machine_ml : float or None
        The reader's and the machine's cement; None where it is not assessed.
    certainty : str
        Confidence of the level, or certainty of the type.
    decision : str
        "open", "accepted", "modified" or "rejected".
    reason : str
        Why it was rejected or what was modified.
    centre_lps_mm : tuple of float
        Where to look.
    detail : str
        Everything else in some lines, with units.
    """

    finding: FindingId
    level: str
    title: str
    type_text: str
    volume_ml: float | None
    machine_ml: float | None
    certainty: str
    decision: DecisionKind
    reason: str
    centre_lps_mm: PointLPSmm
    detail: str

    @property
    def changed(self) -> bool:
        """Whether the reader's volume differs from the machine's."""
        if self.volume_ml is None or self.machine_ml is None:
            return self.volume_ml != self.machine_ml
        return round(self.volume_ml, 2) != round(self.machine_ml, 2)


def finding_rows(state: ReviewState, report: Report) -> tuple[FindingRow, ...]:
    """List the findings of a state in the order of its decisions."""
    machine = ReviewState.of_report(report)
    names = result_ids(state)
    told = reviewed_findings(state, report)
    rows = []
    for one in state.decisions:
        finding = FindingId(one.kind, one.finding_id)
        row = _row(finding, state, machine, names, told)
        if row is not None:
            rows.append(row)
    return tuple(rows)


def _row(
    finding: FindingId,
    state: ReviewState,
    machine: ReviewState,
    names: dict[tuple[FindingKind, str], str],
    told: ReviewedFindings,
) -> FindingRow | None:
    one = state.decision(finding)
    if finding.kind == "vertebra":
        entry = state.vertebra(finding.finding_id)
        # What stands in the result: without the leaks that were rejected.
        now = told.vertebrae[state.vertebrae.index(entry)]
        return FindingRow(
            finding,
            names["vertebra", entry.level],
            "Vertebra",
            _vertebra_type(now),
            _cement_ml(now.cement),
            _cement_ml(machine.vertebra(entry.level).cement),
            _confidence(entry, entry.level in state.level_names),
            one.decision,
            one.reason,
            entry.centroid_lps_mm,
            _vertebra_detail(now),
        )
    if finding.kind == "leak":
        return _leak_row(finding, state, machine, names)
    if finding.kind == "screw":
        screw = _screw(state, finding.finding_id)
        before = _screw(machine, finding.finding_id)
        return FindingRow(
            finding,
            state.level_names.get(screw.level, screw.level),
            f"Screw {screw.side}",
            _screw_type(screw),
            _screw_ml(told, names["screw", screw.id]),
            _known(before.cement_volume_ml),
            "",
            one.decision,
            one.reason,
            _middle(screw.head_lps_mm, screw.tip_lps_mm),
            _screw_detail(screw),
        )
    index = [elsewhere_id(k) for k in range(len(state.cement_elsewhere))].index(
        finding.finding_id
    )
    away = state.cement_elsewhere[index]
    return FindingRow(
        finding, "-", "Cement elsewhere", away.location.replace("_", " "),
        0.0 if one.decision == "rejected" else away.volume_ml,
        machine.cement_elsewhere[index].volume_ml, "", one.decision, one.reason,
        away.centroid_lps_mm, f"Cement outside the spine: {away.volume_ml:.2f} mL",
    )  # fmt: skip


def _leak_row(
    finding: FindingId,
    state: ReviewState,
    machine: ReviewState,
    names: dict[tuple[FindingKind, str], str],
) -> FindingRow | None:
    one = state.decision(finding)
    before = _leak_or_none(machine, finding.finding_id)
    now = _leak_or_none(state, finding.finding_id)
    shown = now or before
    if shown is None:
        return None
    level, leak = shown
    number = names.get(("leak", leak.id), leak.id).rsplit("-", 1)[-1]
    return FindingRow(
        finding,
        names["vertebra", level],
        f"Leak {number}",
        leak_type_text(leak),
        0.0 if now is None or one.decision == "rejected" else leak.volume_ml,
        before[1].volume_ml if before is not None else None,
        leak.certainty,
        one.decision,
        one.reason,
        leak.centroid_lps_mm,
        _leak_detail(leak, before[1] if before is not None else None),
    )


def _leak_or_none(state: ReviewState, leak_id: str) -> tuple[str, LeakEntry] | None:
    try:
        return state.leak(leak_id)
    except KeyError:
        return None


def _screw(state: ReviewState, screw_id: str) -> ScrewEntry:
    return next(screw for screw in state.screws if screw.id == screw_id)


def _screw_ml(told: ReviewedFindings, screw_id: str) -> float | None:
    """Cement of a screw in the result; none where the screw was rejected."""
    for screw in told.screws:
        if screw.id == screw_id:
            return _known(screw.cement_volume_ml)
    return None


def _cement_ml(cement: CementEntry | NotAssessedEntry) -> float | None:
    return cement.volume_ml if isinstance(cement, CementEntry) else None


def _known(value: float | NotAssessedEntry) -> float | None:
    return None if isinstance(value, NotAssessedEntry) else float(value)


def _confidence(entry: VertebraEntry, renamed: bool) -> str:
    if renamed:
        return "reader"
    return f"level {entry.level_confidence:.0%}"


def _vertebra_type(entry: VertebraEntry) -> str:
    if isinstance(entry.cement, NotAssessedEntry):
        return "not assessed"
    if entry.cement.volume_ml <= 0.0:
        return "no cement"
    return "cemented"


def leak_type_text(leak: LeakEntry) -> str:
    """Types and places of a leak in a few words."""
    types = "+".join(leak.types) or "?"
    places = ", ".join(PLACE_WORDS.get(place, place) for place in leak.locations)
    return f"{types} {places}".strip()


def _screw_type(screw: ScrewEntry) -> str:
    grade = getattr(screw.lucency, "grade", None)
    return ", ".join(
        part
        for part in (
            "cemented" if screw.cemented else "no cement",
            "" if grade in (None, "none") else str(grade),
        )
        if part
    )


def _middle(first: PointLPSmm, second: PointLPSmm) -> PointLPSmm:
    x, y, z = (0.5 * (a + b) for a, b in zip(first, second, strict=True))
    return x, y, z


def _vertebra_detail(entry: VertebraEntry) -> str:
    whole = "whole body in view" if entry.complete else "body cut by the scan's edge"
    lines = [f"Body {entry.body_volume_ml:.1f} mL, {whole}"]
    if isinstance(entry.cement, NotAssessedEntry):
        lines.append(f"Cement not assessed: {entry.cement.reason}")
    else:
        cement = entry.cement
        low, high = cement.interval_ml
        lines.append(
            f"Cement {cement.volume_ml:.2f} mL (95 %: {low:.2f} to {high:.2f} mL)"
        )
        lines.append(
            f"In the body {cement.intrabody_ml:.2f} mL (fill {cement.fill_ratio:.0%}), "
            f"leaked {cement.leaked_ml:.2f} mL"
        )
    return "\n".join(lines)


def _leak_detail(leak: LeakEntry, machine: LeakEntry | None) -> str:
    canal = leak.canal_encroachment_percent
    same = machine is not None and (machine.types, machine.locations) == (
        leak.types,
        leak.locations,
    )
    places = ", ".join(PLACE_WORDS.get(one, one) for one in leak.locations)
    lines = [
        f"Leak type {'+'.join(leak.types) or 'not told'} ({leak.certainty}), "
        f"{leak.volume_ml:.2f} mL",
        f"Reaches {leak.max_distance_mm:.1f} mm from the body"
        + (f"; {places}" if places else ""),
        "Canal: not assessed"
        if isinstance(canal, NotAssessedEntry)
        else f"Takes up to {canal:.0f} % of the canal's area",
    ]
    why = leak.evidence
    said = "" if isinstance(why, NotAssessedEntry) else why.sentence
    if machine is None:
        lines.insert(1, "Drawn or divided by the reader")
    elif not same:
        # What argues for the machine's word must not seem to argue for the reader's.
        told = f"Machine: {leak_type_text(machine)} ({machine.certainty})"
        lines.insert(1, f"{told}: {said}" if said else told)
        said = ""
    if said:
        lines.append(said[:1].upper() + said[1:])
    return "\n".join(lines)


def _screw_detail(screw: ScrewEntry) -> str:
    cement = screw.cement_volume_ml
    lines = [
        f"Diameter {screw.diameter_mm:.1f} mm, length {screw.length_mm:.0f} mm",
        "Cement: not assessed"
        if isinstance(cement, NotAssessedEntry)
        else f"Cement nearest to it {cement:.2f} mL",
    ]
    lines.append(_lucency_detail(screw.lucency))
    return "\n".join(lines)


def _lucency_detail(lucency: LucencyEntry | NotAssessedEntry) -> str:
    if isinstance(lucency, NotAssessedEntry):
        return f"Lucent rim not assessed: {lucency.reason}"
    words = [f"Lucent rim: {lucency.grade}"]
    if lucency.max_width_mm > 0.0:
        words += [
            f"up to {lucency.max_width_mm:.1f} mm wide",
            f"{lucency.arc_deg:.0f}° around",
            f"along {lucency.length_fraction:.0%} of the shaft",
        ]
    if isinstance(lucency, GrownLucencyEntry) and isinstance(lucency.growth_mm, float):
        words.append(f"{lucency.growth_mm:+.1f} mm since the baseline")
    return ", ".join(words)
