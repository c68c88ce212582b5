"""Growth of a screw's lucent rim over what both scans show of it."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from cemscope.findings import Lucency, NotAssessed
from cemscope.measurement.followup_scan import FollowedScrew
from cemscope.measurement.lucency_grade import judge_surface
from cemscope.measurement.lucency_profiles import ANGLES, CellState
from cemscope.measurement.lucency_surface import LucencyMap, LucencySettings
from cemscope.registration.rigid_pose import RigidPose


@dataclass(frozen=True, slots=True, eq=False)
class RimGrowth:
    """Growth of a rim, with both surfaces on the follow-up's places.

    Attributes
    ----------
    growth_mm : float or NotAssessed
        Increase of the mean width.
    seen_fraction : float
        Share of the surface in bone that both scans show.
    baseline : LucencyMap or None
        The baseline's surface, turned to the follow-up's angles and depths.
    """

    growth_mm: float | NotAssessed
    seen_fraction: float
    baseline: LucencyMap | None


def rim_growth(
    before: FollowedScrew,
    after: FollowedScrew,
    pose: RigidPose,
    settings: LucencySettings,
    least_seen: float,
) -> RimGrowth:
    """Compare the rims of one screw.

    Parameters
    ----------
    before, after
        The screw in both scans.
    pose
        How its vertebra moved.
    settings
        Limits of the rim, the same for both.
    least_seen
        Least share of the surface in bone that must be seen in both.
    """
    if before.surface is None:
        return RimGrowth(_refused(before, "baseline"), 0.0, None)
    if after.surface is None:
        return RimGrowth(_refused(after, "follow-up"), 0.0, None)
    first = _turned(before, after, pose)
    second = after.surface
    open_ = second.state != CellState.OUTSIDE
    open_ &= second.state != CellState.CEMENT
    both = (second.state == CellState.SEEN) & (first.state == CellState.SEEN)
    share = float(both.sum() / max(open_.sum(), 1))
    if share < least_seen:
        reason = NotAssessed(
            f"only {100.0 * share:.0f} % of the shaft's surface in bone is seen in "
            "both scans"
        )
        return RimGrowth(reason, share, first)
    if before.lucency_refused and not _shows_what_the_other_has(
        first, (after, second), both, settings
    ):
        return RimGrowth(_refused(before, "baseline"), share, first)
    if after.lucency_refused:
        # Rims do not vanish: one that the baseline alone shows is as likely its error
        # as what this scan says it cannot exclude.
        return RimGrowth(_refused(after, "follow-up"), share, first)
    rims = [
        both & (surface.width_mm > 0.0)
        for surface in (first, second)
        if _reaches(surface, both, settings)
    ]
    # Without a rim of some length, single dark places count among all that is seen.
    places = np.logical_or.reduce(rims) if rims else both
    change_mm = second.width_mm - first.width_mm
    grown = float(change_mm[places].mean())
    if len(rims) == 2 and (rims[0] & rims[1]).any():
        # A narrow rim is not told at all of its places: those that one scan alone
        # shows may be a rim that the other missed there.
        shared = float(change_mm[rims[0] & rims[1]].mean())
        if abs(shared - grown) > MOST_DISAGREEMENT_MM:
            return RimGrowth(_in_other_places(shared, grown), share, first)
    return RimGrowth(grown, share, first)


MOST_DISAGREEMENT_MM = 0.4
"""Growth over the places of one rim and over those of both may differ by this much: the
error that growth is meant to keep within [ours]."""


def _in_other_places(shared_mm: float, all_mm: float) -> NotAssessed:
    least, most = sorted((shared_mm, all_mm))
    return NotAssessed(
        "both scans show a rim, but partly at other places of the shaft: it changed by "
        f"{least:+.1f} to {most:+.1f} mm"
    )


def _refused(screw: FollowedScrew, which: str) -> NotAssessed:
    return NotAssessed(f"not assessed in the {which}: {screw.lucency_refused}")


def _shows_what_the_other_has(
    surface: LucencyMap,
    other: tuple[FollowedScrew, LucencyMap],
    both: npt.NDArray[np.bool_],
    settings: LucencySettings,
) -> bool:
    """Tell whether a baseline whose rim is not assessed still tells of its growth.

    A rim that the follow-up shows would be seen in it, too, at the same places of the
    same bone, unless its marrow is as dark as a gap there.
    """
    screw, shown = other
    contrast_hu = surface.marrow_hu - settings.widths.gap_hu
    return (
        not screw.lucency_refused
        and contrast_hu >= settings.least_contrast_hu
        and _reaches(shown, both, settings)
    )


LEAST_RIM_SHARE = 0.25
"""A rim over less of the length that both scans show is none [ours]."""


def _reaches(
    surface: LucencyMap, both: npt.NDArray[np.bool_], settings: LucencySettings
) -> bool:
    """Tell whether a rim goes along enough of what both scans show."""
    state = surface.state.copy()
    state[~both & (state == CellState.SEEN)] = CellState.HIDDEN
    judged = judge_surface(
        replace(surface, state=state, width_mm=np.where(both, surface.width_mm, 0.0)),
        # What the two scans share was found to be enough: no second limit.
        replace(settings, least_seen_fraction=0.0, least_length_mm=0.0),
    )
    return (
        isinstance(judged, Lucency) and judged.whole.length_fraction >= LEAST_RIM_SHARE
    )


def _turned(before: FollowedScrew, after: FollowedScrew, pose: RigidPose) -> LucencyMap:
    """Bring the baseline's surface to the angles and depths of the follow-up's."""
    assert before.surface is not None  # noqa: S101 - the caller has looked
    assert after.surface is not None  # noqa: S101
    surface, target = before.surface, after.surface
    axis, later = before.model.axis, after.model.axis
    on_axis = pose.to_baseline(later.at(target.t_mm))
    t = (on_axis - axis.point) @ axis.forward
    first, second = later.cross_vectors()
    angle = 2.0 * np.pi * np.arange(ANGLES) / ANGLES
    rays = np.cos(angle)[:, None] * first + np.sin(angle)[:, None] * second
    rays = pose.turned_back(rays)
    one, other = axis.cross_vectors()
    turn = np.arctan2(rays @ other, rays @ one) * (ANGLES / (2.0 * np.pi))
    column = np.rint(turn).astype(int) % ANGLES
    place = np.interp(t, surface.t_mm, np.arange(surface.t_mm.size))
    row = np.rint(place).astype(int)
    beyond = (t < surface.t_mm[0] - 0.5) | (t > surface.t_mm[-1] + 0.5)
    state = surface.state[row][:, column].copy()
    state[beyond] = CellState.OUTSIDE
    width = np.where(beyond[:, None], 0.0, surface.width_mm[row][:, column])
    told = surface.told
    if told is not None:
        told = told[row][:, column] & ~beyond[:, None]
    return replace(
        surface,
        t_mm=target.t_mm,
        in_body=target.in_body,
        state=state,
        width_mm=width,
        rim_hu=surface.rim_hu[row][:, column],
        told=told,
    )
