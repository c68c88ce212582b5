"""Volume within the contour at cement's half value, beside the sum of shares.

A sum of shares needs the background of the whole fringe: bone beside cement, streaks
and the tails of a point spread all add to it. The contour at the half value hardly
knows them, nor the exact level of cement, but blur moves it towards the centre of
curvature. How far follows from blurring what it encloses once and twice more. Where
cement is thin against the blur, that step is large and unsure, and the sum of shares
counts more. Clipped cement has no such contour of its own: its level is a guess.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cemscope.measurement.cement_fraction import FractionMap, Ownership
from cemscope.segmentation.cement.cement_level import BLURS_MM, CementLevel
from cemscope.segmentation.scan_region import widened
from cemscope.segmentation.tissue_levels import TissueLevels
from cemscope.volume import BoolArray

Float32Array = npt.NDArray[np.float32]

SUBDIVISIONS = 3
"""Cells per voxel and axis in which the contour is followed."""

SUM_SPREAD = 0.045
"""Relative standard error of sums of shares [ours: 100 vertebrae without metal of the
tuning scenes, +4 % on average with a standard deviation of 4.4 %]."""

CONTOUR_SPREAD = 0.01
"""The same of volumes within contours of thick cement [ours: a real scan with drawn
cement, -0.7 % on average, standard deviation 0.5 %]."""

STEP_SPREAD = 0.25
"""Relative standard error of the step that undoes the blur [ours: on the tuning scenes
errors are 0 to 6 % where the step is 12 to 28 % of the volume]."""

LEAST_ML = 0.05
"""Smaller pieces have no contour worth the name."""


@dataclass(frozen=True, slots=True)
class CementContour:
    """What the contour of one vertebra's cement in one box tells.

    Attributes
    ----------
    owner : int
        Number of the vertebra in `Ownership.owner`.
    enclosed_ml : float
        Volume within the contour at the half value.
    volume_ml : float
        The same with the shift by the blur undone.
    sum_ml : float
        Sum of the shares.
    """

    owner: int
    enclosed_ml: float
    volume_ml: float
    sum_ml: float

    @property
    def deviation_ml(self) -> float:
        """Standard error of ``volume_ml``.

        Marrow that cement has soaked lies outside the contour: all that the sum holds
        and the contour does not counts as unsure.
        """
        step = STEP_SPREAD * (self.volume_ml - self.enclosed_ml)
        unexplained = self.volume_ml - self.sum_ml
        usual = CONTOUR_SPREAD * self.sum_ml
        return float(np.linalg.norm((step, unexplained, usual)))

    @property
    def weight(self) -> float:
        """Weight against the sum of shares, by inverse variance."""
        of_sum = (SUM_SPREAD * self.sum_ml) ** 2
        return float(of_sum / (of_sum + self.deviation_ml**2))

    @property
    def combined_ml(self) -> float:
        """Weighted mean of both."""
        return self.sum_ml + self.weight * (self.volume_ml - self.sum_ml)


def measure_contours(
    fractions: FractionMap,
    owners: Ownership,
    level: CementLevel,
    levels: TissueLevels,
) -> tuple[CementContour, ...]:
    """Follow the contour of each vertebra's cement that no shaft touches.

    Parameters
    ----------
    fractions, owners
        One box of cement.
    level
        Where it had to be estimated (clipped), there are no contours.
    levels
        They know the width of the slices.
    """
    if level.clipped:
        return ()
    spacing = fractions.part.region.geometry.spacing_mm
    across_mm = levels.slice_blur_mm(spacing[0])
    contours = []
    for number, box in enumerate(ndimage.find_objects(owners.owner), start=1):
        if box is None:
            continue
        wide = widened(box, 2.0 * max(spacing), fractions.part.region.geometry)
        mine = owners.owner[wide] == number
        if (mine & fractions.shell[wide]).any():
            continue
        contour = contour_of(number, fractions.fraction[wide], mine, spacing, across_mm)
        if contour.sum_ml >= LEAST_ML:
            contours.append(contour)
    return tuple(contours)


def contour_of(
    owner: int,
    share: Float32Array,
    mine: BoolArray,
    spacing_mm: tuple[float, float, float],
    across_mm: float,
) -> CementContour:
    """Follow the contour of one vertebra's cement.

    Parameters
    ----------
    owner
        Number of the vertebra.
    share : ndarray, shape (slices, rows, columns)
        Shares of cement; they end within the array.
    mine : ndarray of bool
        Voxels of this vertebra.
    spacing_mm
        Of the voxels.
    across_mm
        Standard deviation of the slice profile; the blur within a slice is fitted.
    """
    ml = float(np.prod(spacing_mm)) / 1000.0
    sum_ml = float(share[mine].sum(dtype=np.float64)) * ml
    enclosed = enclosed_share(share, mine)
    flank = mine & (share > LOWEST_FLANK)
    sigma = _flank_sigma(enclosed, share, flank, across_mm, spacing_mm)
    volumes = [float(enclosed.sum(dtype=np.float64)) * ml]
    for _ in range(2):
        blurred = ndimage.gaussian_filter(enclosed, sigma, truncate=3.0)
        enclosed = enclosed_share(blurred, np.ones_like(mine))
        volumes.append(float(enclosed.sum(dtype=np.float64)) * ml)
    return CementContour(owner, volumes[0], _before_blur(*volumes), sum_ml)


LOWEST_FLANK = 0.15
"""Lower shares are as much background as cement."""


def enclosed_share(share: Float32Array, within: BoolArray) -> Float32Array:
    """Part of each voxel within the contour at one half, between linear neighbours.

    Parameters
    ----------
    share : ndarray, shape (slices, rows, columns)
        Shares of cement; they end within the array.
    within : ndarray of bool
        Voxels that count.
    """
    block = np.ones((3, 3, 3), np.bool_)
    above = share >= 0.5
    crossed = ndimage.binary_dilation(above, block) & ~ndimage.binary_erosion(
        above, block, border_value=1
    )
    enclosed = (above & within).astype(np.float32)
    cut = np.nonzero(crossed & within)
    place = np.array(cut, np.float64)
    count = np.zeros(place.shape[1], np.float32)
    third = (np.arange(SUBDIVISIONS) - (SUBDIVISIONS - 1) / 2) / SUBDIVISIONS
    for offset in np.stack(np.meshgrid(third, third, third), -1).reshape(-1, 3):
        cell = ndimage.map_coordinates(
            share, place + offset[:, None], order=1, mode="nearest"
        )
        count += cell >= 0.5
    enclosed[cut] = count / SUBDIVISIONS**3
    return enclosed


def _flank_sigma(
    enclosed: Float32Array,
    share: Float32Array,
    flank: BoolArray,
    across_mm: float,
    spacing_mm: tuple[float, float, float],
) -> npt.NDArray[np.float64]:
    """Blur, in voxels of each axis, that explains the flanks best."""
    best, least = np.zeros(3), np.inf
    for within_mm in BLURS_MM[::2]:
        sigma = np.array([across_mm, within_mm, within_mm]) / spacing_mm
        blurred = ndimage.gaussian_filter(enclosed, sigma, truncate=3.0)
        rest = float(np.square(share - blurred)[flank].sum(dtype=np.float64))
        if rest < least:
            best, least = sigma, rest
    return best


def _before_blur(now_ml: float, again_ml: float, third_ml: float) -> float:
    """Volume before the first blur, from those after one, two and three.

    Each blur takes less from what the one before has rounded, so that the first took
    more than the second by the factor between second and third.
    """
    step_ml, next_ml = now_ml - again_ml, again_ml - third_ml
    growth = step_ml / next_ml if step_ml * next_ml > 0.0 else 1.0
    return now_ml + step_ml * float(np.clip(growth, 1.0, STEEPEST_GROWTH))


STEEPEST_GROWTH = 1.5
"""Steps that shrink faster are those of cement that blur has dissolved [ours]."""


def settle_fringe(
    fractions: FractionMap,
    owners: Ownership,
    contours: tuple[CementContour, ...],
) -> FractionMap:
    """Scale the fringe (shares below one half) so that sums are the combined volumes.

    What lies within the contour keeps its shares.
    """
    fraction = fractions.fraction.copy()
    ml = fractions.part.region.voxel_ml
    fringe = fraction < 0.5
    for contour in contours:
        mine = fringe & (owners.owner == contour.owner)
        fringe_ml = float(fraction[mine].sum(dtype=np.float64)) * ml
        change_ml = contour.combined_ml - contour.sum_ml
        if fringe_ml <= 0.0:
            continue
        factor = np.clip(1.0 + change_ml / fringe_ml, 0.0, 1.5)
        fraction[mine] = np.minimum(fraction[mine] * np.float32(factor), BELOW_HALF)
    # No shaft is near: both models of its rim agree.
    return replace(fractions, fraction=fraction, continued=_same(fractions, fraction))


BELOW_HALF = np.float32(0.499)
"""A fringe does not grow over the contour."""


def _same(fractions: FractionMap, fraction: Float32Array) -> Float32Array:
    """Carry the changes over to the other model of the rim."""
    changed = fraction != fractions.fraction
    carried: Float32Array = np.where(changed, fraction, fractions.continued)
    return carried
