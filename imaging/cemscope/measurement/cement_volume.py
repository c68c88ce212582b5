"""Cement volume per vertebra with a 95 % interval."""

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
from scipy import ndimage, special

from cemscope.findings import CementVolume, Interval
from cemscope.geometry import VoxelGeometry
from cemscope.measurement.cement_contour import CementContour, enclosed_share
from cemscope.measurement.cement_fraction import (
    FractionMap,
    ImageQuality,
    Ownership,
    ceiling_height,
    share_of_cement,
)
from cemscope.measurement.pure_cement import RIM_OVER_CORE
from cemscope.segmentation.cement.cement_level import CementLevel
from cemscope.segmentation.cement.cement_settings import CementSettings
from cemscope.segmentation.scan_region import FloatArray, widened
from cemscope.segmentation.tissue_levels import TissueLevels
from cemscope.volume import LabelArray

Z95 = 1.96
"""Half-width of a 95 % interval in standard deviations."""

SHELL_MM = 1.0
"""Nominal width of the shell beside a shaft, to turn its volume into a surface."""

ABUTTING_MM = 1.0
"""Cement no further outside than this abuts the cortex and counts as inside."""

NEIGHBOUR_MM = 0.1
"""One more voxel on each side, to interpolate between."""

FRINGE_SHARE = 0.5
"""Part of the faintest blur (share below one quarter) that may be bone, not cement."""


@dataclass(frozen=True, slots=True)
class VolumeSettings:
    """How the volume and its interval are built.

    Attributes
    ----------
    comparison_threshold_hu
        ``threshold_volume_ml`` counts voxels above it, metal left out: the figure that
        a plain threshold gives (600-1,000 HU are in use).
    shell_uncertainty
        Relative standard uncertainty of cement in the shell beside a shaft.
    radius_uncertainty_mm
        Least standard uncertainty of a shaft's radius.
    background_uncertainty_hu
        Standard uncertainty of the local background (cortex, disc or marrow).
    model_uncertainty
        Relative standard uncertainty for what the model leaves out (beam hardening,
        cement mixed with bone).
    disagreement
        Standard uncertainty beside metal over the difference that another model of
        rim or local brightness makes.
    """

    comparison_threshold_hu: float = 800.0
    shell_uncertainty: float = 0.15
    radius_uncertainty_mm: float = 0.12
    background_uncertainty_hu: float = 25.0
    model_uncertainty: float = 0.03
    disagreement: float = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class CementCluster:
    """Shares, owners, leak numbers (0: no leak) and contours of one box."""

    fractions: FractionMap
    owners: Ownership
    leak_numbers: LabelArray
    contours: tuple[CementContour, ...] = ()


@dataclass(frozen=True, slots=True)
class ShaftDoubt:
    """What is not known of the shafts in one vertebra.

    Attributes
    ----------
    hidden_ml : float
        Standard uncertainty of metal that cement hides: a tip that cannot be seen.
    radius_mm : float
        Standard uncertainty of the worst radius; 0 without a shaft.
    inside_ml : float
        Cement that bores of cannulated shafts may hold.
    wrapped_ml : float
        Standard uncertainty of cement as bright as a shaft that may have been taken for
        a part of it.
    mantle_ml : float
        Even mantles that were taken for a part of a shaft.
    """

    hidden_ml: float
    radius_mm: float
    inside_ml: float = 0.0
    wrapped_ml: float = 0.0
    mantle_ml: float = 0.0


@dataclass(frozen=True, slots=True)
class ScanModel:
    """What is known of the scan as a whole."""

    level: CementLevel
    levels: TissueLevels
    quality: ImageQuality


def measure_volumes(
    clusters: tuple[CementCluster, ...],
    bodies: tuple[tuple[str, float], ...],
    scan: ScanModel,
    doubts: tuple[ShaftDoubt, ...],
    settings: VolumeSettings,
) -> tuple[CementVolume | None, ...]:
    """Sum the shares per vertebra.

    Parameters
    ----------
    clusters
        The cement of the scan.
    bodies
        Name and body volume in mL of each vertebra, in the owners' order.
    scan
        Levels, noise and blur.
    doubts
        What is not known of the shafts in each vertebra.
    settings
        Uncertainties that the interval is built from.

    Returns
    -------
    tuple of CementVolume or None
        None for a vertebra without cement.
    """
    count = len(bodies) + 1
    sums = _Sums(*(np.zeros(count) for _ in fields(_Sums)))
    for cluster in clusters:
        _add(sums, cluster, scan, settings)
    results: list[CementVolume | None] = []
    for number, (name, body_ml) in enumerate(bodies, start=1):
        volume = float(sums.volume[number])
        if volume <= 0.0:
            results.append(None)
            continue
        doubt = doubts[number - 1]
        radius_mm = max(settings.radius_uncertainty_mm, doubt.radius_mm)
        deviation = float(
            np.sqrt(
                sums.noise[number]
                + doubt.hidden_ml**2
                + (0.5 * (sums.darker[number] - sums.brighter[number])) ** 2
                + (0.5 * (sums.background_low[number] - sums.background_high[number]))
                ** 2
                + (0.5 * sums.fringe[number]) ** 2
                + sums.contour[number] ** 2
                + (settings.shell_uncertainty * sums.shell[number]) ** 2
                + (radius_mm / SHELL_MM * sums.shell[number]) ** 2
                + (settings.model_uncertainty * volume) ** 2
                + settings.disagreement**2 * sums.disagreement(number, doubt)
            )
        )
        intrabody = float(sums.intrabody[number])
        # Bores are not measured, nor what shafts have swallowed: they can only add.
        added_ml = float(
            np.hypot(doubt.inside_ml + doubt.mantle_ml, Z95 * doubt.wrapped_ml)
        )
        results.append(
            CementVolume(
                level=name,
                volume_ml=volume,
                interval=Interval(
                    max(volume - Z95 * deviation, 0.0),
                    volume + float(np.hypot(Z95 * deviation, added_ml)),
                ),
                threshold_volume_ml=float(sums.threshold[number]),
                intrabody_ml=intrabody,
                leaked_ml=float(sums.leaked[number]),
                fill_ratio=intrabody / body_ml if body_ml > 0 else 0.0,
            )
        )
    return tuple(results)


@dataclass(frozen=True, slots=True, eq=False)
class _Sums:
    """mL (variances: mL squared) per vertebra; index 0 is no vertebra.

    ``other_...`` are differences that other models make.
    """

    volume: FloatArray
    intrabody: FloatArray
    leaked: FloatArray
    threshold: FloatArray
    shell: FloatArray
    fringe: FloatArray
    noise: FloatArray
    contour: FloatArray
    darker: FloatArray
    brighter: FloatArray
    background_low: FloatArray
    background_high: FloatArray
    other_rim: FloatArray
    other_level: FloatArray

    def disagreement(self, number: int, doubt: ShaftDoubt) -> float:
        """Squared differences of other models beside metal; 0 without a shaft."""
        if doubt.radius_mm <= 0.0:
            return 0.0
        others = (self.other_rim, self.other_level)
        return float(sum(other[number] ** 2 for other in others))


def _add(
    sums: _Sums, cluster: CementCluster, scan: ScanModel, settings: VolumeSettings
) -> None:
    maps, owners = cluster.fractions, cluster.owners
    region = maps.part.region
    ml = region.voxel_ml
    owner = owners.owner.ravel()
    count = len(sums.volume)

    def total(values: npt.NDArray[np.float32] | npt.NDArray[np.bool_]) -> FloatArray:
        weights = values.ravel().astype(np.float64)
        summed = np.bincount(owner, weights, minlength=count)[:count]
        return np.asarray(summed, dtype=np.float64) * ml

    share = maps.fraction
    trust = np.zeros(count)
    boxes = ndimage.find_objects(owners.owner)
    for contour in cluster.contours:
        trust[contour.owner] = contour.weight
        # What a contour gets wrong it gets wrong in all pieces alike.
        sums.contour[contour.owner] += contour.weight * contour.deviation_ml

    def estimate(values: npt.NDArray[np.float32]) -> FloatArray:
        """Weighted mean of sum and contour, without the step for the blur."""
        summed = total(values)
        for contour in cluster.contours:
            box = widened(boxes[contour.owner - 1], NEIGHBOUR_MM, region.geometry)
            mine = owners.owner[box] == contour.owner
            enclosed = enclosed_share(values[box].astype(np.float32), mine)
            enclosed_ml = float(enclosed.sum(dtype=np.float64)) * ml
            change = enclosed_ml - summed[contour.owner]
            summed[contour.owner] += contour.weight * change
        return summed

    direct = maps.halo & ~maps.shell
    leaked = cluster.leak_numbers > 0
    # Blur carries a little cement over the surface of the body: what is no leak and in
    # no pedicle counts as inside.
    in_body = ~leaked & (
        owners.inside | (~owners.bone & (owners.outside_mm <= ABUTTING_MM))
    )
    sums.volume[:] += total(share)
    sums.intrabody[:] += total(share * in_body)
    sums.leaked[:] += total(share * leaked)
    dense = (region.hu >= settings.comparison_threshold_hu) & (maps.part.metal < 0.5)
    sums.threshold[:] += total(dense & (maps.halo | maps.shell))
    sums.shell[:] += total(share * maps.shell)
    way = np.maximum(maps.pure_hu - maps.background, 100.0)
    sums.noise[:] += total((direct / way * scan.levels.noise_hu) ** 2) * ml
    fringe = direct & (share < 0.25) & ~maps.saturated
    sums.fringe[:] += (1.0 - trust) * FRINGE_SHARE * np.abs(total(share * fringe))
    open_voxels = direct & ~maps.saturated

    def variant(
        level_shift_hu: float,
        shift_hu: float,
        pure_hu: npt.NDArray[np.float32] = maps.pure_hu,
    ) -> FloatArray:
        changed = share_of_cement(
            maps.part.tissue_hu,
            maps.background + np.float32(shift_hu),
            pure_hu + np.float32(level_shift_hu),
            scan.levels.noise_hu,
        )
        if scan.level.clipped and level_shift_hu:
            changed = np.where(maps.saturated, raised(level_shift_hu), changed)
        elif scan.level.clipped:
            changed = np.where(maps.saturated, share, changed)
        return estimate(np.where(open_voxels | deep_voxels, changed, share))

    def raised(level_shift_hu: float) -> npt.NDArray[np.float32]:
        """Share of clipped voxels if cement were brighter."""
        low, high = (
            ceiling_height(hu, scan.levels, scan.quality)
            for hu in (scan.level.hu, scan.level.hu + level_shift_hu)
        )
        depth = special.ndtri(np.clip(share, 1e-4, 1.0 - 1e-4))
        changed: npt.NDArray[np.float32] = special.ndtr(depth + high - low)
        return changed.astype(np.float32)

    deep_voxels = direct & maps.saturated & scan.level.clipped
    spread, shift = scan.level.spread_hu, settings.background_uncertainty_hu
    sums.darker[:] += variant(-spread, 0.0)
    sums.brighter[:] += variant(spread, 0.0)
    sums.background_low[:] += variant(0.0, -shift)
    sums.background_high[:] += variant(0.0, shift)
    usual = variant(0.0, 0.0)
    rim = 1.0 if scan.level.clipped else RIM_OVER_CORE
    whole_scan = np.full_like(maps.pure_hu, rim * scan.level.hu)
    sums.other_rim[:] += total(maps.continued - share)
    sums.other_level[:] += variant(0.0, 0.0, pure_hu=whole_scan) - usual


def detection_limit_ml(
    geometry: VoxelGeometry, levels: TissueLevels, settings: CementSettings
) -> float:
    """Largest single piece of cement that may be missed.

    A ball whose centre does not survive the erosion: its radius is that of the
    erosion plus half a voxel and the blur's loss of height. Never below the smallest
    volume that counts as cement.
    """
    widest = max(geometry.spacing_mm)
    radius_mm = settings.levels.core_radius_mm + 0.5 * widest + BLUR_LOSS_MM
    ball_ml = 4.0 / 3.0 * np.pi * radius_mm**3 / 1000.0
    noise_ml = Z95 * levels.noise_hu / 1000.0 * geometry.voxel_volume_mm3 / 1000.0
    return float(max(ball_ml, settings.minimum_volume_ml) + noise_ml)


BLUR_LOSS_MM = 0.5
"""Blur takes about one sigma of the radius of a small piece above half level."""
