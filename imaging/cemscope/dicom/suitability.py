"""Chooses the series that suits the measurement best, and says why not the others."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace

from cemscope.dicom.kernel import KernelSharpness
from cemscope.dicom.patient_marks import patient_numbers
from cemscope.dicom.series import SeriesSummary
from cemscope.dicom.series_finding import FindingCode
from cemscope.errors import MixedSeriesError, NoSeriesError, SeriesError
from cemscope.volume import Notice

_THIN_STEPS_MM = (1.3, 2.1, 3.1, 5.1)
"""Slices are as thin as the first step they stay below: thin, medium, 3 mm, thick."""

_MOST_COVERAGE = 0.7
"""A series that covers this part of the longest covers as much as it."""

_REFORMATS = frozenset(("REFORMATTED", "MPR", "CSA MPR", "RESAMPLED", "AVERAGE"))


@dataclass(frozen=True, slots=True)
class RejectedSeries:
    """A series that was not chosen, and why."""

    series: SeriesSummary
    reason: str


@dataclass(frozen=True, slots=True)
class SeriesChoice:
    """The most suitable series of an input.

    Attributes
    ----------
    chosen : SeriesSummary
        Can be measured, as far as headers tell.
    reason : str
        Why this one.
    rejected : tuple of RejectedSeries
        All others, the next best first.
    ambiguous : tuple of str
        UIDs of better series that were passed over, because each holds several
        acquisitions of one region and nothing says which of them is meant.
    """

    chosen: SeriesSummary
    reason: str
    rejected: tuple[RejectedSeries, ...]
    ambiguous: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, order=True)
class _Rank:
    """Lower is better; the fields count in this order."""

    not_axial: bool
    short: bool
    thickness_class: int
    negative_date: int
    reformat: bool
    sharp: bool
    metal_reduction: bool
    negative_coverage_mm: float
    spacing_mm: float
    name: str


_REASONS = (
    ("not_axial", "it is not axial"),
    ("short", "it covers less of the patient"),
    ("thickness_class", "its slices are thicker"),
    ("negative_date", "it is an earlier scan"),
    ("reformat", "it is a reformat"),
    ("sharp", "its kernel is sharper or unknown"),
    ("metal_reduction", "its metal artefact reduction alters HU beside metal"),
    ("negative_coverage_mm", "it covers less of the patient"),
    ("spacing_mm", "its slices are further apart"),
)


def choose_series(
    series: Sequence[SeriesSummary], series_uid: str | None = None
) -> SeriesChoice:
    """Choose the series to measure.

    Preferred are, in this order: axial slices, full coverage, thin slices, the latest
    scan, originals over reformats, smooth kernels (sharp ones overshoot at cement and
    metal), no metal artefact reduction, more coverage. Of equal series the first by UID
    is taken, and the choice is noticed.

    Parameters
    ----------
    series
        From `list_series`.
    series_uid
        The user's choice; ``UID#2`` names the second part of a series.

    Raises
    ------
    NoSeriesError
        If no series has this UID, or none of several can be measured.
    MixedSeriesError
        If the series are of several patients; or if two acquisitions of the same
        region share the best series, and no other one of the same day can be measured.
    SeriesError
        The findings of the only candidate.
    """
    candidates = _named(series, series_uid)
    _require_one_patient(candidates)
    usable = [s for s in candidates if s.measurable]
    if not usable:
        raise _none_usable(candidates)
    longest_mm = max(s.coverage_mm for s in usable)
    ranked = sorted(usable, key=lambda s: _rank(s, longest_mm))
    clear, ambiguous = _without_rivals(ranked)
    best = clear[0]
    best_rank = _rank(best, longest_mm)
    rejected = [
        RejectedSeries(s, _why_not(_rank(s, longest_mm), best_rank)) for s in clear[1:]
    ]
    rejected += [
        RejectedSeries(s, _RIVALS) for s in ranked if s.series_instance_uid in ambiguous
    ]
    rejected += [
        RejectedSeries(s, "; ".join(f.message for f in s.findings))
        for s in candidates
        if not s.measurable
    ]
    chosen = set(map(id, candidates))
    rejected += [
        RejectedSeries(s, "another series was named")
        for s in series
        if id(s) not in chosen
    ]
    reason = _why(best, len(usable))
    notices = []
    equal = [s.name for s in clear[1:] if _is_tie(s, best, longest_mm)]
    if equal:
        tie = f"as suitable as {', '.join(equal)}; the first by UID was taken"
        reason = f"{reason}; {tie}"
        message = f"the series is {tie}. Name the other one if it was meant"
        notices.append(Notice("series_tie", message))
    if ambiguous:
        reason += (
            f"; left aside: series {', '.join(ambiguous)}, which mixes acquisitions"
        )
        worse = _why_not(best_rank, _rank(ranked[0], longest_mm))
        message = (
            f"a better series was passed over (of this one: {worse}): "
            f"{_rivals_words(ranked[0], ranked)}. Name one with its #number if it was "
            "meant"
        )
        notices.append(Notice("series_passed_over", message))
    if notices:
        best = replace(best, notices=(*best.notices, *notices))
    return SeriesChoice(best, reason, tuple(rejected), tuple(ambiguous))


_RIVALS = "its series holds several acquisitions of the same region: name one"


def _named(
    series: Sequence[SeriesSummary], series_uid: str | None
) -> list[SeriesSummary]:
    if not series:
        raise NoSeriesError("expected a CT series, found none.")
    if series_uid is None:
        return list(series)
    found = [s for s in series if series_uid in (s.name, s.series_instance_uid)]
    if not found:
        raise NoSeriesError(
            f"no series {series_uid} in the input. There are: "
            + ", ".join(s.name for s in series)
        )
    return found


def _none_usable(candidates: Sequence[SeriesSummary]) -> SeriesError:
    likely = [s for s in candidates if _is_likely(s)] or list(candidates)
    largest = max(likely, key=lambda s: s.slices)
    if len(likely) == 1:
        return largest.refusal()
    reasons = " ".join(f"[{i}] {s.refusal()}" for i, s in enumerate(candidates, 1))
    if len({s.series_instance_uid for s in candidates}) == 1:
        kind = type(largest.refusal())
        return kind(f"no stack of the series can be measured: {reasons}")
    return NoSeriesError(f"none of {len(candidates)} series can be measured: {reasons}")


def _is_likely(series: SeriesSummary) -> bool:
    """Tell whether a series is meant for measuring, faults apart."""
    codes = {f.code for f in series.findings}
    return not codes & {
        FindingCode.NOT_CT,
        FindingCode.LOCALIZER,
        FindingCode.PROJECTION,
        FindingCode.TOO_FEW_SLICES,
    }


def _rank(series: SeriesSummary, longest_mm: float) -> _Rank:
    spacing_mm = series.spacing_mm[0] if series.spacing_mm else 0.0
    coarse_mm = max(spacing_mm, series.acquisition.slice_thickness_mm or 0.0)
    return _Rank(
        not_axial=series.plane != "axial",
        short=series.coverage_mm < _MOST_COVERAGE * longest_mm,
        thickness_class=sum(coarse_mm > step for step in _THIN_STEPS_MM),
        negative_date=-int(series.acquisition.acquisition_date or 0),
        reformat=bool(_REFORMATS.intersection(series.image_type)),
        sharp=series.sharpness is not KernelSharpness.SMOOTH,
        metal_reduction=series.acquisition.metal_artifact_reduction,
        negative_coverage_mm=-round(series.coverage_mm, 1),
        spacing_mm=round(spacing_mm, 3),
        name=series.name,
    )


def _is_tie(series: SeriesSummary, best: SeriesSummary, longest_mm: float) -> bool:
    """Whether only the UID tells two series apart."""
    ranks = (_rank(series, longest_mm), _rank(best, longest_mm))
    first, second = (astuple(replace(rank, name="")) for rank in ranks)
    return first == second


def _why(best: SeriesSummary, usable: int) -> str:
    if usable == 1:
        return "the only series that can be measured"
    thickness = best.spacing_mm[0] if best.spacing_mm else 0.0
    reduced = best.acquisition.metal_artifact_reduction
    return (
        f"{best.plane}, {best.coverage_mm:.0f} mm covered, {thickness:.2f} mm between "
        f"slices, {best.sharpness} kernel"
        + (", metal artefact reduction" if reduced else "")
    )


def _why_not(rank: _Rank, best: _Rank) -> str:
    for field, reason in _REASONS:
        if getattr(rank, field) > getattr(best, field):
            return reason
    return "equally suitable; the first by UID is taken"


def _require_one_patient(candidates: Sequence[SeriesSummary]) -> None:
    """Of two patients, none is the right one until the user says so."""
    likely = [s for s in candidates if _is_likely(s)]
    numbers = patient_numbers(s.patient for s in likely)
    if max(numbers, default=1) == 1:
        return
    listed = "; ".join(
        f"patient {number}: "
        + ", ".join(s.name for s, n in zip(likely, numbers, strict=True) if n == number)
        for number in sorted(set(numbers))
    )
    raise MixedSeriesError(
        f"the input holds CT series of {max(numbers)} patients, as patient ID, birth "
        f"date or sex differ: {listed}. Name one series, or give the folder of one "
        "patient. If it should be one patient, ask the PACS whose images these are."
    )


def _without_rivals(
    ranked: Sequence[SeriesSummary],
) -> tuple[list[SeriesSummary], list[str]]:
    """Pass over the best series while they mix acquisitions of one region.

    Those can be before and after the operation. So the next series stands in for them
    only if it was scanned on the same day.
    """
    clear = list(ranked)
    ambiguous: list[str] = []
    while clear and _rivals(clear[0], ranked):
        uid = clear[0].series_instance_uid
        ambiguous.append(uid)
        clear = [s for s in clear if s.series_instance_uid != uid]
    day = ranked[0].acquisition.acquisition_date
    if clear and (not ambiguous or clear[0].acquisition.acquisition_date == day):
        return clear, ambiguous
    others = ", ".join(s.name for s in clear)
    raise MixedSeriesError(
        f"{_rivals_words(ranked[0], ranked)}. Name one with its #number"
        + (f", or another series that can be measured: {others}." if others else ".")
    )


def _rivals(
    best: SeriesSummary, usable: Sequence[SeriesSummary]
) -> tuple[SeriesSummary, ...]:
    """Acquisitions of one region in the series of the best one; empty for one."""
    rivals = tuple(
        s
        for s in usable
        if s.series_instance_uid == best.series_instance_uid
        and s.part_label
        and best.part_label
        and (s is best or _overlaps(s, best))
    )
    return rivals if len(rivals) > 1 else ()


def _rivals_words(best: SeriesSummary, usable: Sequence[SeriesSummary]) -> str:
    rivals = _rivals(best, usable)
    listed = "; ".join(f"{s.name}: {s.part_label}, {s.slices} slices" for s in rivals)
    return (
        f"series {best.series_instance_uid} holds {len(rivals)} acquisitions of "
        f"the same region, which may show different moments: {listed}"
    )


def _overlaps(first: SeriesSummary, second: SeriesSummary) -> bool:
    if first.geometry is None or second.geometry is None:
        return False
    normal = first.geometry.directions_lps[0]
    one = first.geometry.corners_lps_mm() @ normal
    two = second.geometry.corners_lps_mm() @ normal
    return bool(one.min() < two.max() and two.min() < one.max())
