"""Dense matter where the spine goes on, but no vertebra was outlined.

A vertebra that the field of view cuts may miss an outline. Its screws and cement are in
no figure then; a reader must not take their absence from the report for a finding.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cemscope.segmentation.ct_grid import box_corners, voxel_box
from cemscope.segmentation.scan_region import Box, FloatArray, within_mm
from cemscope.spine import Spine, Vertebra
from cemscope.volume import BoolArray, CTVolume, LabelArray, Notice

DENSE_HU = 1000.0
"""Cement and metal read more; bone of a body hardly does (cortex of the spine: up to
about 1,000 HU in thin slices) [our choice]."""

LEAST_VOLUME_ML = 0.3
"""Less may be an osteophyte or a calcified vessel [our choice]."""

CORE_MM, LEAST_CORE_ML = 1.5, 0.03
"""Cortex is a thin plate; shafts and cement hold matter so deep below the surface."""

REACH_MM = 60.0
"""So far along its axis beyond an outlined body the next one is looked for: a disc and
a lumbar body are 45 mm together."""

LEFT_MM, ANTERIOR_MM, POSTERIOR_MM = 25.0, 25.0, 15.0
"""Room of the next body around the axis of the last one. Rods and heads lie behind."""

BODY_MM = np.array([40.0, 40.0, 30.0])
BODY_MM.setflags(write=False)
"""Half the extent of a large body with margin (left, posterior, superior)."""

GAP_MM = 4.0
"""Cement that reaches into the disc belongs to the body that is outlined."""

MM3_PER_ML = 1000.0

BLOOM_MM = 3.0
"""So far around measured cement and metal, their blur may look dense."""


@dataclass(frozen=True, slots=True)
class DenseBeyond:
    """Dense matter above or below the outlined vertebrae.

    Attributes
    ----------
    level
        The outlined vertebra next to it.
    below
        Whether it lies towards the feet of that vertebra.
    volume_ml
        Volume brighter than `DENSE_HU`.
    centroid_lps_mm
        Its centre.
    """

    level: str
    below: bool
    volume_ml: float
    centroid_lps_mm: tuple[float, float, float]

    @property
    def notice(self) -> Notice:
        """What a reader should know of it."""
        x, y, z = self.centroid_lps_mm
        return Notice(
            "implants_without_vertebra",
            f"{self.volume_ml:.1f} mL of matter as dense as cement or metal lies "
            f"{'below' if self.below else 'above'} {self.level}, around LPS "
            f"({x:.0f}, {y:.0f}, {z:.0f}) mm, where no vertebra was outlined: cement "
            "and screws there are in no figure of this report. Look at the images, or "
            "give outlines (--vertebrae).",
        )


def beyond_notices(
    ct: CTVolume, spine: Spine, materials: LabelArray, measured: tuple[int, ...]
) -> tuple[Notice, ...]:
    """Tell of implants where the spine leaves the outlined vertebrae."""
    found = dense_beyond(ct, spine, materials, measured)
    return tuple(one.notice for one in found)


def dense_beyond(
    ct: CTVolume, spine: Spine, materials: LabelArray, measured: tuple[int, ...]
) -> tuple[DenseBeyond, ...]:
    """Look for implants where the spine leaves the outlined vertebrae.

    Parameters
    ----------
    ct
        The scan.
    spine
        Its vertebrae, from the lowest upwards.
    materials
        Materials found so far, on the scan's grid.
    measured
        Those of them that belong to an outlined vertebra.

    Returns
    -------
    tuple of DenseBeyond
        At most one below and one above.
    """
    if not spine.vertebrae:
        return ()
    ends = ((spine.vertebrae[0], True), (spine.vertebrae[-1], False))
    found = (_beyond(ct, spine, materials, measured, *end) for end in ends)
    return tuple(one for one in found if one is not None)


def _beyond(
    ct: CTVolume,
    spine: Spine,
    materials: LabelArray,
    measured: tuple[int, ...],
    last: Vertebra,
    below: bool,
) -> DenseBeyond | None:
    if not last.complete:
        # The scan ends there, or the sacrum begins.
        return None
    frame = last.frame
    axes = np.array([frame.left, frame.posterior, frame.superior])
    sign = -1.0 if below else 1.0
    around = voxel_box(ct.geometry, box_corners(frame.origin_lps_mm, axes, BODY_MM))
    if around is None:
        return None
    body = _in_box(spine.labels.labels[around] == last.level.number, around)
    if not len(body):
        return None
    heights = sign * _local(ct, last, body)[:, 2]
    first_mm = float(np.quantile(heights, 0.98)) + GAP_MM
    middle_mm = np.array(
        [0.0, (POSTERIOR_MM - ANTERIOR_MM) / 2, sign * (first_mm + REACH_MM / 2)]
    )
    half_mm = np.array([LEFT_MM, (ANTERIOR_MM + POSTERIOR_MM) / 2, REACH_MM / 2])
    corners = box_corners(frame.to_lps_mm(middle_mm), axes, half_mm)
    box = voxel_box(ct.geometry, corners)
    if box is None:
        return None
    dense: BoolArray = ct.hu[box] >= DENSE_HU
    if not dense.any():
        return None
    known = np.isin(materials[box], measured)
    if known.any():
        dense &= ~within_mm(known, BLOOM_MM, ct.geometry.spacing_mm)
    index = _in_box(dense & (spine.labels.labels[box] == 0), box)
    inside = (np.abs(_local(ct, last, index) - middle_mm) <= half_mm).all(axis=1)
    voxel_ml = ct.geometry.voxel_volume_mm3 / MM3_PER_ML
    volume_ml = float(inside.sum()) * voxel_ml
    if volume_ml < LEAST_VOLUME_ML:
        return None
    depth_mm = ndimage.distance_transform_edt(dense, sampling=ct.geometry.spacing_mm)
    start = [part.start for part in box]
    deep = depth_mm[tuple((index[inside] - start).T)] >= CORE_MM
    if float(deep.sum()) * voxel_ml < LEAST_CORE_ML:
        return None
    centre = ct.geometry.index_to_lps(index[inside].astype(float)).mean(axis=0)
    x, y, z = (float(v) for v in centre)
    return DenseBeyond(last.level.name, below, volume_ml, (x, y, z))


def _in_box(mask: BoolArray, box: Box) -> npt.NDArray[np.int_]:
    """Give the indices on the whole grid of a mask's voxels in a box."""
    found: npt.NDArray[np.int_] = np.argwhere(mask) + [part.start for part in box]
    return found


def _local(ct: CTVolume, vertebra: Vertebra, index: npt.NDArray[np.int_]) -> FloatArray:
    return vertebra.frame.to_local_mm(ct.geometry.index_to_lps(index.astype(float)))
