"""Whether all places of a shaft together tell of a gap.

A single place tells little: texture, cortex and streaks imitate a narrow gap. But a
screw that has loosened has its gap over a large part of the shaft (the definition asks
for a quarter of the circle and a third of the length). So profiles are averaged over
windows of that size and more, which leaves little of the texture; what all places
share (radius, blur, brightness, streaks, the level of the bone) stays, and is
integrated out once for the window. A gap is believed in only where the strongest window
says so: a scan statistic (Kulldorff 1997, doi:10.1080/03610929708831995). Where cortex
may lie near, a profile ends before it: dark marrow before a wall is no gap.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
from scipy import special

from cemscope.measurement.lucency_profiles import (
    ANGLES,
    DISTANCE_MM,
    FAR_EXIT_MM,
    CellState,
)
from cemscope.measurement.lucency_streaks import CleanProfiles
from cemscope.measurement.lucency_surroundings import (
    BoneLevels,
    Surroundings,
    WidthSettings,
)
from cemscope.segmentation.implants.screw_profile import ShaftProfile
from cemscope.segmentation.scan_region import FloatArray
from cemscope.volume import BoolArray


@dataclass(frozen=True, slots=True)
class WindowSettings:
    """What windows must tell, and what is expected of an averaged profile.

    Attributes
    ----------
    least_evidence
        A gap is told from this logarithm of its likelihood over that of none on: 12 to
        1 ("positive"; Kass 1995, doi:10.1080/01621459.1995.10476572, calls 20 to 1
        "strong"), if single places confirm it. Of 94 tight shafts of titanium two
        reach 2.5, of 67 with a gap of 1.5 mm and more 55 do [ours, tuning seeds].
    sure_evidence
        From 55 to 1 on it needs less of them; below it a rim is suspicious at most.
        No tight shaft of titanium reaches it [ours].
    doubtful_evidence
        From here on no gap is excluded, either: at 0 both are as likely.
    length_fractions, arcs_deg
        Sizes of the windows: share of the seen length, and arc.
    least_seen
        Share of a window that must have been seen away from walls.
    widths_mm
        Widths that are tried, each with and without a dense line or bone beyond.
    places_of_one
        So many places of the surface (0.5 mm x 10 degrees) average as one does.
    wall_mm, least_way_mm
        Profiles end so far before the vertebra's outline, and count where that leaves
        them this long.
    covered
        An averaged profile ends where fewer of its places reach.
    bone_above_hu, level_spread_hu, slope_hu_per_mm
        Bone beside screws over the marrow of the body, how much that differs from
        window to window, and its usual rise or fall outwards.
    bone_spread_hu
        What all bone of a window deviates otherwise, alike within
        `WidthSettings.bone_change_mm`.
    denser_from_mm, denser_hu
        Where denser bone may begin beside a screw that holds, and how much denser it
        is: dark marrow before it is no gap.
    gap_spread_hu
        Spread of the gap's density.
    least_edge_mm, blur_share
        Errors of the radius (more where its fit says so) and of the blur.
    flank_share, flank_mm
        What the metal leaves beside it at least, as a share of its brightness (sharp
        kernels draw a dark line there), and how far outside it reaches.
    least_streak_hu, left_share, removed_share, streak_mm
        Streaks that are left in a window: at least so strong, and so much of what lasts
        along the shaft and of what was taken off; and the way on which they change.

    Notes
    -----
    All [ours]. Averages beside 70 tight shafts of titanium (tuning seeds, slices up to
    1 mm): whole shafts 27 to 43 HU above marrow, deviation 65 HU at 0.4 mm, 43 at 1.0,
    31 from 1.4 mm on; thirds of a length differ from them by 46 to 64 HU, quarters of
    these by 60 to 80. Doubts are wider than that: see ``docs/measures/lucency.md``.
    """

    least_evidence: float = 2.5
    sure_evidence: float = 4.0
    doubtful_evidence: float = 0.0
    length_fractions: tuple[float, ...] = (1.0 / 3.0, 0.5, 0.75, 1.0)
    arcs_deg: tuple[float, ...] = (90.0, 140.0, 180.0, 270.0, 360.0)
    least_seen: float = 0.5
    widths_mm: tuple[float, ...] = (1.0, 1.3, 1.6, 2.0, 2.5, 3.0)
    places_of_one: float = 40.0
    wall_mm: float = 2.2
    least_way_mm: float = 2.0
    covered: float = 0.6
    bone_above_hu: float = 30.0
    level_spread_hu: float = 60.0
    slope_hu_per_mm: float = 10.0
    bone_spread_hu: float = 30.0
    denser_from_mm: tuple[float, ...] = (1.4, 1.8, 2.2, 2.6, 3.0)
    denser_hu: float = 200.0
    gap_spread_hu: float = 30.0
    least_edge_mm: float = 0.06
    blur_share: float = 0.06
    flank_share: float = 0.01
    flank_mm: float = 1.0
    least_streak_hu: float = 12.0
    left_share: float = 0.5
    removed_share: float = 0.08
    streak_mm: float = 3.0


FLANK_END_MM, FLANK_CHANGE_MM = 0.3, 0.6
"""How softly the metal's remainder ends, and the way on which it changes [ours]."""

DARKEST_HU, BRIGHTEST_HU = -300.0, 400.0
"""In an average a place is at most so much darker or brighter than marrow [ours]."""


@dataclass(frozen=True, slots=True, eq=False)
class WindowGap:
    """The strongest gap of a shaft.

    Attributes
    ----------
    evidence : float
        Logarithm of its likelihood over that of no gap, less that of the number of
        such windows that lie apart.
    width_mm : float
        Its width.
    inside : ndarray of bool, shape (planes, angles)
        The window.
    """

    evidence: float
    width_mm: float
    inside: BoolArray


def strongest_gap(
    cleaned: CleanProfiles,
    shaft: ShaftProfile,
    levels: BoneLevels,
    widths: WidthSettings,
    settings: WindowSettings,
) -> WindowGap:
    """Find the window and the width that speak most for a gap.

    Parameters
    ----------
    cleaned, shaft, levels, widths
        As for `lucency_widths.weigh_widths`.
    settings
        Windows, and what is expected of their averages.
    """
    seen = cleaned.profiles.state == CellState.SEEN
    best = WindowGap(-np.inf, 0.0, np.zeros(seen.shape, np.bool_))
    rows = np.flatnonzero(seen.any(axis=1))
    if rows.size == 0:
        return best
    first, last = int(rows[0]), int(rows[-1]) + 1
    model = _Models(cleaned, shaft, levels, widths, settings)
    averages = _averages(cleaned, slice(first, last), levels, settings)
    for planes, angles in _sizes(last - first, settings):
        # The more windows of a size lie apart, the likelier one of them deviates.
        tried = np.log((last - first) / planes * ANGLES / angles)
        for row, turn, gains in model.evidence(averages, planes, angles):
            evidence = gains - tried
            if evidence.max() > best.evidence:
                inside = np.zeros(seen.shape, np.bool_)
                turns = (turn + np.arange(angles)) % ANGLES
                inside[first + row : first + row + planes, turns] = True
                width = settings.widths_mm[int(evidence.argmax())]
                best = WindowGap(float(evidence.max()), width, inside)
    return best


def _sizes(planes: int, settings: WindowSettings) -> Iterator[tuple[int, int]]:
    for fraction in settings.length_fractions:
        for arc in settings.arcs_deg:
            yield max(round(fraction * planes), 1), round(arc * ANGLES / 360.0)


ROWS_APART, TURNS_APART = 4, 2
"""Windows are tried 2 mm and 20 degrees apart [ours: profiles are smoothed over 3.5 mm
and 19 degrees, full width at half maximum]."""


@dataclass(frozen=True, slots=True, eq=False)
class _Sums:
    """Sums from which the average of every window follows."""

    count: FloatArray
    reach: FloatArray
    hu: FloatArray
    removed: FloatArray

    def window(self, where: npt.NDArray[np.intp], planes: int, angles: int) -> "_Sums":
        row, turn = where.T
        each = np.arange(len(row))

        def inside(sums: FloatArray) -> FloatArray:
            low, high = sums[row], sums[row + planes]
            total: FloatArray = (high[each, turn + angles] - high[each, turn]) - (
                low[each, turn + angles] - low[each, turn]
            )
            return total

        return _Sums(
            inside(self.count),
            inside(self.reach),
            inside(self.hu),
            inside(self.removed),
        )


def _averages(
    cleaned: CleanProfiles, rows: slice, levels: BoneLevels, settings: WindowSettings
) -> _Sums:
    profiles = cleaned.profiles
    exit_mm = profiles.exit_mm[rows]
    way = np.where(exit_mm >= FAR_EXIT_MM, np.inf, exit_mm - settings.wall_mm)
    used = (profiles.state[rows] == CellState.SEEN) & (way >= settings.least_way_mm)
    reach = used[..., None] & (way[..., None] >= DISTANCE_MM)
    low, high = levels.marrow_hu + DARKEST_HU, levels.marrow_hu + BRIGHTEST_HU
    hu = np.clip(profiles.hu[rows], low, high) * reach
    removed = np.abs(cleaned.removed_hu[rows]).mean(axis=-1) * used
    return _Sums(
        _summed(used[..., None].astype(float)),
        _summed(reach.astype(float)),
        _summed(hu),
        _summed(removed[..., None]),
    )


def _summed(values: FloatArray) -> FloatArray:
    """Sum up along the shaft (axis 0) and twice around it, with a leading 0."""
    twice = np.concatenate([values, values], axis=1)
    sums = np.zeros((twice.shape[0] + 1, twice.shape[1] + 1, *twice.shape[2:]))
    sums[1:, 1:] = twice.cumsum(axis=0).cumsum(axis=1)
    return sums


_Kind = tuple[float, int, float]
"""Size of a window (its logarithm), steps of its profile, and logarithm of streaks."""


@dataclass(frozen=True, slots=True, eq=False)
class _Models:
    """Evidence of averaged profiles; windows of like size and streaks share a model."""

    cleaned: CleanProfiles
    shaft: ShaftProfile
    levels: BoneLevels
    widths: WidthSettings
    settings: WindowSettings
    known: dict[_Kind, tuple[FloatArray, FloatArray]] = field(default_factory=dict)

    def evidence(
        self, sums: _Sums, planes: int, angles: int
    ) -> Iterator[tuple[int, int, FloatArray]]:
        """Yield first plane, first angle and evidence of each width of windows."""
        s = self.settings
        where = _places(sums.count.shape[0] - 1, planes, angles)
        inside = sums.window(where, planes, angles)
        count = inside.count[:, 0]
        enough = count >= s.least_seen * planes * angles
        steps = _steps(inside.reach, count, s.covered)
        enough &= DISTANCE_MM[np.maximum(steps - 1, 0)] >= s.least_way_mm - 1e-6
        mean_hu = inside.hu / np.maximum(inside.reach, 1.0)
        removed = inside.removed[:, 0] / np.maximum(count, 1.0)
        streak = np.sqrt(
            s.least_streak_hu**2
            + (s.left_share * self.levels.streak_hu) ** 2
            + (s.removed_share * removed) ** 2
        )
        size = np.maximum(count / s.places_of_one, 1.0)
        for k in np.flatnonzero(enough):
            kind = (
                round(2.0 * np.log2(size[k])) / 2.0,
                int(steps[k]),
                round(3.0 * np.log2(streak[k])) / 3.0,
            )
            gains = self._gains(mean_hu[k, : steps[k]], kind)
            yield int(where[k, 0]), int(where[k, 1]), gains

    def _gains(self, hu: FloatArray, kind: _Kind) -> FloatArray:
        s = self.settings
        if kind not in self.known:
            means, whites = zip(*self._models(kind), strict=True)
            self.known[kind] = np.stack(means), np.stack(whites)
        mean, white = self.known[kind]
        error = (white @ (hu - mean)[..., None])[..., 0]
        volume = np.log(np.diagonal(white, axis1=1, axis2=2)).sum(axis=1)
        found = volume - 0.5 * (error**2).sum(axis=1)
        tight = len(s.denser_from_mm) + 1
        odds = np.log([0.5] + [0.5 / (tight - 1)] * (tight - 1))
        none = np.logaddexp.reduce(found[:tight] + odds)
        each = found[tight:].reshape(len(s.widths_mm), GAP_KINDS)
        gains: FloatArray = np.logaddexp.reduce(each, axis=1) - np.log(GAP_KINDS) - none
        return gains

    def _models(self, kind: _Kind) -> Iterator[tuple[FloatArray, FloatArray]]:
        """Mean and whitening matrix of every hypothesis."""
        s = self.settings
        size, steps, streak = 2.0 ** kind[0], kind[1], 2.0 ** kind[2]
        expected = replace(
            self.widths,
            bone_spread_hu=float(
                np.hypot(s.bone_spread_hu, self.widths.bone_spread_hu / size**0.5)
            ),
            level_spread_hu=s.level_spread_hu,
            slope_hu_per_mm=s.slope_hu_per_mm,
            gap_spread_hu=s.gap_spread_hu,
            edge_mm=max(self.shaft.radius_deviation_mm, s.least_edge_mm),
            blur_share=s.blur_share,
            streak_mm=s.streak_mm,
        )
        levels = replace(
            self.levels,
            marrow_hu=self.levels.marrow_hu + s.bone_above_hu,
            noise_hu=self.levels.noise_hu / size**0.5,
            streak_hu=float(streak),
        )
        texture_hu = self.widths.texture_hu / size**0.5
        profiles = self.cleaned.profiles
        blurs = (
            float(np.median(profiles.blur_mm)),
            float(np.median(profiles.metal_blur_mm)),
        )
        flank = self._flank()
        for width, line, denser_mm in _hypotheses(s):
            rim_hu = expected.rim_hu if line else 0.0
            lined = replace(expected, rim_hu=rim_hu)
            model = Surroundings.of(self.shaft, blurs, levels, lined)
            mean, covariance = model.gap(width, np.inf, texture_hu)
            if denser_mm is not None:
                step = special.ndtr((DISTANCE_MM - denser_mm) / blurs[0])
                step = s.denser_hu * step * model.free
                covariance = covariance + np.outer(step, step)
            part = (covariance + flank)[:steps, :steps]
            yield mean[:steps], np.linalg.inv(np.linalg.cholesky(part))

    def _flank(self) -> FloatArray:
        """Covariance of what the metal leaves beside it."""
        s, d = self.settings, DISTANCE_MM
        deviation = s.flank_share * self.shaft.metal_hu
        deviation = deviation * special.ndtr((s.flank_mm - d) / FLANK_END_MM)
        apart = (d[:, None] - d) / FLANK_CHANGE_MM
        covariance: FloatArray = np.outer(deviation, deviation) * np.exp(
            -0.5 * apart**2
        )
        return covariance


GAP_KINDS = 3
"""Beyond a gap lies marrow, a dense line and marrow, or denser bone."""


def _hypotheses(
    settings: WindowSettings,
) -> Iterator[tuple[float, bool, float | None]]:
    """Width, whether a line bounds it, and where denser bone begins.

    First those without a gap: marrow, and marrow with denser bone beyond.
    """
    yield 0.0, False, None
    for denser_mm in settings.denser_from_mm:
        yield 0.0, False, denser_mm
    for width in settings.widths_mm:
        yield from ((width, False, None), (width, True, None), (width, False, width))


def _places(rows: int, planes: int, angles: int) -> npt.NDArray[np.intp]:
    count = -(-(rows - planes) // ROWS_APART) + 1
    first = np.unique(np.round(np.linspace(0, rows - planes, count)).astype(np.intp))
    turns = np.arange(0, ANGLES if angles < ANGLES else 1, TURNS_APART, dtype=np.intp)
    grid = np.meshgrid(first, turns, indexing="ij")
    return np.stack([part.ravel() for part in grid], axis=1)


def _steps(
    reach: FloatArray, count: FloatArray, covered: float
) -> npt.NDArray[np.intp]:
    """How many steps of a window's profile enough of its places reach."""
    short = reach < covered * np.maximum(count, 1.0)[:, None]
    steps: npt.NDArray[np.intp] = np.where(
        short.any(axis=1), short.argmax(axis=1), DISTANCE_MM.size
    )
    return steps
