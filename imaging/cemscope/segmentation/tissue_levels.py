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
    FloatArray,
    ScanRegion,
    joint,
    label_boxes,
    widened,
)
from cemscope.spine import Spine
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
    implant_distance_mm
        Bone nearer to something as bright as an implant does not count.
    """

    core_radius_mm: float = 1.0
    implant_distance_mm: float = 6.0


@dataclass(frozen=True, slots=True)
class TissueLevels:
    """HU levels of one scan.

    Attributes
    ----------
    marrow_hu, marrow_spread_hu
        Median of cancellous bone in unaugmented bodies, and its robust spread.
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
    """

    marrow_hu: float
    marrow_spread_hu: float
    cortex_upper_hu: float
    compact_upper_hu: float
    arch_upper_hu: float
    noise_hu: float
    ceiling_hu: int | None
    reference_count: int


def eroded_hu(
    hu: npt.NDArray[Any], geometry: VoxelGeometry, radius_mm: float
) -> npt.NDArray[Any]:
    """Darkest value within a radius: what is left of an object without its rim.

    Axes whose spacing exceeds 1.6 times the radius are left out, else an erosion by one
    voxel of a thick-slice scan would remove real cement.
    """
    result = hu
    for axis, spacing in enumerate(geometry.spacing_mm):
        if spacing > 1.6 * radius_mm:
            continue
        reach = max(round(radius_mm / spacing), 1)
        result = ndimage.minimum_filter1d(result, 2 * reach + 1, axis=axis)
    return result


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
    rows: list[tuple[float, float, float]] = []
    marrow: list[FloatArray] = []
    noise: list[float] = []
    for vertebra in spine.vertebrae:
        number = vertebra.level.number
        arch_number = vertebra.level.arch_number
        own = [boxes[n] for n in (number, arch_number) if n in boxes]
        if number not in boxes:
            continue
        region = spine_region.sub_box(
            widened(joint(tuple(own)), 2.0, spine_region.geometry)
        )
        body = region.labels == number
        rows.append(
            _bone_quantiles(region, body, region.labels == arch_number, settings)
        )
        # Marrow and noise are read inside the body only.
        region = spine_region.sub_box(
            widened(boxes[number], 2.0, spine_region.geometry)
        )
        body = region.labels == number
        depth = ndimage.distance_transform_edt(
            body, sampling=region.geometry.spacing_mm
        )
        interior = depth > min(4.0, 0.6 * float(depth.max()))
        marrow.append(np.percentile(region.hu[interior], [25.0, 50.0, 75.0]))
        step = np.diff(region.hu.astype(np.float32), axis=2)[interior[:, :, 1:]]
        if step.size:
            deviation = float(np.median(np.abs(step - np.median(step))))
            noise.append(_NORMAL_CONSISTENT_MAD * deviation / np.sqrt(2.0))
    if not rows:
        return TissueLevels(
            FALLBACK_MARROW_HU, 50.0, FALLBACK_COMPACT_HU, FALLBACK_COMPACT_HU,
            FALLBACK_ARCH_HU, 30.0, ceiling_hu, 0,
        )  # fmt: skip
    quartiles = np.median(np.array(marrow), axis=0)
    # Cement raises a body's quartiles and hardly ever lowers them.
    middle = float(np.percentile(np.array(marrow)[:, 1], 40.0))
    compact, cortex, arch, count = _reference_bone(np.array(rows))
    return TissueLevels(
        marrow_hu=middle,
        marrow_spread_hu=float(min(quartiles[2] - quartiles[0], 200.0)) / 1.349,
        cortex_upper_hu=cortex,
        compact_upper_hu=compact,
        arch_upper_hu=arch,
        noise_hu=float(np.median(noise)) if noise else 30.0,
        ceiling_hu=ceiling_hu,
        reference_count=count,
    )


def _bone_quantiles(
    region: ScanRegion, body: BoolArray, arch: BoolArray, settings: TissueLevelSettings
) -> tuple[float, float, float]:
    """99.9th percentile of a body after erosion, of the body, and of the arch."""
    core = eroded_hu(region.hu, region.geometry, settings.core_radius_mm)[body]
    return (
        float(np.quantile(core, CORTEX_QUANTILE)),
        float(np.quantile(region.hu[body], CORTEX_QUANTILE)),
        float(np.quantile(region.hu[arch], CORTEX_QUANTILE)) if arch.any() else np.nan,
    )


def _reference_bone(rows: FloatArray) -> tuple[float, float, float, int]:
    arches = rows[:, 2][rows[:, 2] < 1.2 * CORTICAL_BONE_MAX_HU]
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
