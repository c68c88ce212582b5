"""The scan's own HU levels: marrow, compact bone and noise.

No level is fixed: the same bone reads 1.5 times higher at 80 kVp than at 140 kVp, and
slice thickness and kernel change the brightest voxels of cortex. Levels are read from
the parts of the vertebrae that hold neither cement nor metal.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cemscope.geometry import VoxelGeometry
from cemscope.materials import CORTICAL_BONE_MAX_HU
from cemscope.segmentation.scan_region import (
    Box,
    FloatArray,
    ScanRegion,
    grown,
    label_boxes,
    widened,
)
from cemscope.spine import Spine, Vertebra
from cemscope.volume import BoolArray

CORTEX_QUANTILE = 0.999
"""Quantile of unaugmented vertebrae that counts as the upper end of bone [ours]."""

FALLBACK_COMPACT_HU = 0.5 * CORTICAL_BONE_MAX_HU
"""Compact bone where no vertebra without implant is in view.

Vertebral cortex is 0.3-0.5 mm thick (Ritzel 1997, J Bone Miner Res 12:89-95), so that a
CT voxel of about 1 mm shows half of the value of solid cortical bone at most.
"""

FALLBACK_ARCH_HU = 0.75 * CORTICAL_BONE_MAX_HU
"""Facets and laminae are 1-2 mm thick, so that less is lost to partial volume."""

FALLBACK_MARROW_HU = 110.0
"""Marrow where none can be seen: mean of L1 at age 60-70 (Pickhardt 2013,
doi:10.7326/0003-4819-158-8-201304160-00003)."""

_NORMAL_CONSISTENT_MAD = 1.4826


@dataclass(frozen=True, slots=True)
class TissueLevelSettings:
    """How the levels of bone are read.

    Attributes
    ----------
    core_radius_mm
        Radius of the erosion that makes thin cortex vanish and leaves cement.
    """

    core_radius_mm: float = 1.0


@dataclass(frozen=True, slots=True)
class TissueLevels:
    """HU levels of one scan.

    Attributes
    ----------
    marrow_hu
        Median of cancellous bone in unaugmented bodies.
    cortex_upper_hu
        99.9th percentile of voxels of unaugmented bodies.
    compact_upper_hu
        99.9th percentile of the same after an erosion of `core_radius_mm`: the
        brightest bone that is thicker than a cortex.
    arch_upper_hu
        99.9th percentile of voxels of unaugmented arches, whose facets and laminae are
        the densest bone of the spine.
    noise_hu
        Standard deviation of voxel noise.
    ceiling_hu
        Value at which the scan is clipped, else None.
    reference_count
        Vertebrae that the bone levels come from; 0: fallback values.
    kvp
        Tube voltage, where it is known.
    slice_thickness_mm
        Nominal width of a slice, where it is known.
    """

    marrow_hu: float
    cortex_upper_hu: float
    compact_upper_hu: float
    arch_upper_hu: float
    noise_hu: float
    ceiling_hu: int | None
    reference_count: int
    kvp: float | None = None
    slice_thickness_mm: float | None = None

    def slice_blur_mm(self, slice_spacing_mm: float) -> float:
        """Give the standard deviation of the slice profile, from its width.

        Where no header tells it, and in scans that were resampled, slices are taken to
        be as wide as they are apart.
        """
        width_mm = max(self.slice_thickness_mm or 0.0, slice_spacing_mm)
        return width_mm / FWHM_PER_SIGMA


FWHM_PER_SIGMA = 2.354820045
"""Full width at half maximum of a Gaussian with standard deviation 1."""

THICKEST_ERODED = 1.6
"""Axes of wider spacing than this times the radius are not eroded."""


def eroded_hu(
    hu: npt.NDArray[Any], geometry: VoxelGeometry, radius_mm: float
) -> npt.NDArray[Any]:
    """Darkest value within a radius: what is left of an object without its rim.

    Axes whose spacing exceeds 1.6 times the radius are left out, else an erosion by one
    voxel of a thick-slice scan would remove real cement.
    """
    result = hu
    for axis, spacing in enumerate(geometry.spacing_mm):
        if spacing > THICKEST_ERODED * radius_mm:
            continue
        reach = max(round(radius_mm / spacing), 1)
        result = _running_minimum(result, reach, axis)
    return result


def _running_minimum(
    values: npt.NDArray[Any], reach: int, axis: int
) -> npt.NDArray[Any]:
    """Minimum over some neighbours on both sides, within the array.

    Shifted copies are compared whole: several times faster than a filter that works
    line by line in double precision.
    """
    lowest = values.copy()
    for shift in range(1, min(reach, values.shape[axis] - 1) + 1):
        front: list[slice] = [slice(None)] * values.ndim
        back: list[slice] = [slice(None)] * values.ndim
        front[axis], back[axis] = slice(None, -shift), slice(shift, None)
        low, high = lowest[tuple(front)], lowest[tuple(back)]
        np.minimum(low, values[tuple(back)], out=low)
        np.minimum(high, values[tuple(front)], out=high)
    return lowest


def estimate_tissue_levels(
    spine_region: ScanRegion,
    spine: Spine,
    ceiling_hu: int | None,
    settings: TissueLevelSettings,
) -> TissueLevels:
    """Read marrow, cortex and noise from the vertebral bodies of a scan.

    Bodies are ranked by their brightest eroded voxels. Implants only raise that value,
    so the lower half of the vertebrae is taken for unaugmented, unless it exceeds
    what compact bone can reach.

    Returns
    -------
    TissueLevels
        With fallback values where no body is in view.
    """
    boxes = label_boxes(spine_region)
    rows: list[tuple[float, float, float, float]] = []
    marrow: list[float] = []
    noise: list[float] = []
    for vertebra in spine.vertebrae:
        number = vertebra.level.number
        arch_number = vertebra.level.arch_number
        if number not in boxes:
            continue
        around = widened(
            boxes[number], 2.0 + settings.core_radius_mm, spine_region.geometry
        )
        region = spine_region.sub_box(around)
        body = region.labels == number
        rows.append(
            (
                *_bone_quantiles(region, body, settings),
                *_arch_quantiles(spine_region, boxes.get(arch_number), vertebra),
            )
        )
        # Marrow and noise are statistics: a fine grid need not be read in full.
        stride = tuple(
            slice(None, None, max(1, int(STATISTICS_MM / s)))
            for s in region.geometry.spacing_mm
        )
        depth = ndimage.distance_transform_edt(
            body[stride],
            sampling=np.array([part.step for part in stride])
            * region.geometry.spacing_mm,
        )
        interior = np.zeros(body.shape, np.bool_)
        interior[stride] = depth > min(4.0, 0.6 * float(depth.max()))
        marrow.append(float(np.median(region.hu[interior])))
        inner = interior[:, :, 1:]
        step = region.hu[:, :, 1:][inner].astype(np.float32)
        step -= region.hu[:, :, :-1][inner]
        if step.size:
            deviation = float(np.median(np.abs(step - np.median(step))))
            noise.append(_NORMAL_CONSISTENT_MAD * deviation / np.sqrt(2.0))
    if not rows:
        return TissueLevels(
            FALLBACK_MARROW_HU, FALLBACK_COMPACT_HU, FALLBACK_COMPACT_HU,
            FALLBACK_ARCH_HU, 30.0, ceiling_hu, 0,
        )  # fmt: skip
    # Cement raises a body's median and hardly ever lowers them.
    middle = float(np.percentile(marrow, 40.0))
    compact, cortex, arch, count = _reference_bone(np.array(rows))
    return TissueLevels(
        marrow_hu=middle,
        cortex_upper_hu=cortex,
        compact_upper_hu=compact,
        arch_upper_hu=arch,
        noise_hu=float(np.median(noise)) if noise else 30.0,
        ceiling_hu=ceiling_hu,
        reference_count=count,
    )


STATISTICS_MM = 0.75
"""Voxels no further apart than this are enough to read marrow and noise from."""


def _bone_quantiles(
    region: ScanRegion, body: BoolArray, settings: TissueLevelSettings
) -> tuple[float, float]:
    """99.9th percentile of a body after erosion, and of the body."""
    core = eroded_hu(region.hu, region.geometry, settings.core_radius_mm)[body]
    return (
        float(np.quantile(core, CORTEX_QUANTILE)),
        float(np.quantile(region.hu[body], CORTEX_QUANTILE)),
    )


BRIGHTEST_ARCH_HU = 1.2 * CORTICAL_BONE_MAX_HU
"""An arch brighter than this holds metal or cement [ours]."""

ARCH_CLEAR_MM = 6.0
"""From here on bone of an arch with a screw reads within a tenth of what arches without
read, beside titanium; less far the metal's rim is brighter [ours]."""


ONE_SIDED = 1.3
"""Halves of an arch are alike in density to this factor; what is brighter on one side
is cement that went along a needle, or leaked beside the arch [our choice]."""

LEAST_HALF = 0.25
"""A half with less of the arch than this may lack its facet: it is not compared
[our choice]."""


def _arch_quantiles(
    region: ScanRegion, box: Box | None, vertebra: Vertebra
) -> tuple[float, float]:
    """99.9th percentile of an arch, or of its darker half, and away from bright matter.

    NaN where there is none.
    """
    if box is None:
        return float("nan"), float("nan")
    part = region.sub_box(widened(box, ARCH_CLEAR_MM, region.geometry))
    arch = part.labels == vertebra.level.arch_number
    index = np.argwhere(arch)
    hu = part.hu[tuple(index.T)]
    points = part.geometry.index_to_lps(index)
    left = vertebra.frame.to_local_mm(points)[:, 0] > 0.0
    whole = float(np.quantile(hu, CORTEX_QUANTILE))
    if min(left.sum(), (~left).sum()) >= LEAST_HALF * left.size:
        halves = [float(np.quantile(hu[s], CORTEX_QUANTILE)) for s in (left, ~left)]
        if max(halves) > ONE_SIDED * max(min(halves), 0.0):
            whole = min(halves)
    if whole < BRIGHTEST_ARCH_HU:
        return whole, whole
    clear = arch & ~grown(part.hu > BRIGHTEST_ARCH_HU, ARCH_CLEAR_MM, part.geometry)
    if not clear.any():
        return whole, float("nan")
    return whole, float(np.quantile(part.hu[clear], CORTEX_QUANTILE))


def _reference_bone(rows: FloatArray) -> tuple[float, float, float, int]:
    arches = rows[:, 2][rows[:, 2] < BRIGHTEST_ARCH_HU]
    if not arches.size:
        # Every arch holds a screw: streaks can only raise what the rest of it reads.
        arches = np.minimum(rows[:, 3][np.isfinite(rows[:, 3])], BRIGHTEST_ARCH_HU)
    arch = float(np.median(arches)) if arches.size else FALLBACK_ARCH_HU
    plausible = rows[rows[:, 0] < FALLBACK_COMPACT_HU]
    if len(plausible) == 0:
        return (
            FALLBACK_COMPACT_HU,
            FALLBACK_COMPACT_HU,
            max(arch, FALLBACK_COMPACT_HU),
            0,
        )
    order = plausible[np.argsort(plausible[:, 0])]
    lower_half = order[: max((len(order) + 1) // 2, 1)]
    compact = float(lower_half[:, 0].max())
    cortex = float(min(lower_half[:, 1].max(), 1.5 * FALLBACK_COMPACT_HU))
    return compact, cortex, max(arch, cortex), len(lower_half)
