"""Owners of cement voxels, by the library's rule, from label maps alone."""

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cemscope.anatomy import VertebraLevel
from cemscope.measurement.cement_fraction import FractionMap, assign_owners
from cemscope.segmentation.cement.cement import CementRegion
from cemscope.segmentation.scan_region import (
    Box,
    ScanRegion,
    box_of,
    joint,
    widened,
)
from cemscope.spine import Spine, Vertebra, VertebraFrame, VertebraSource
from cemscope.volume import LabelArray, LabelMap
from cemscope_pipelines.report import VertebraEntry
from cemscope_pipelines.review.case_maps import CaseMaps
from cemscope_pipelines.review.review_state import ReviewState
from cemscope_pipelines.review.voxel_change import is_cement

AROUND_MM = 12.0
"""Outlines this far from cement are looked at: they are closed over gaps of 5 mm."""


def plain_vertebra(entry: VertebraEntry) -> Vertebra:
    """Vertebra of a report; its axes are not told there and lie straight."""
    frame = VertebraFrame(
        np.array(entry.centroid_lps_mm),
        np.array([1.0, 0.0, 0.0]),
        np.array([0.0, 1.0, 0.0]),
        np.array([0.0, 0.0, 1.0]),
    )
    return Vertebra(
        VertebraLevel(entry.level), entry.level_confidence,
        VertebraSource(entry.source), entry.complete, frame, entry.body_volume_ml,
    )  # fmt: skip


def cement_owners(state: ReviewState, maps: CaseMaps) -> LabelArray:
    """Place (from 1) of the vertebra that owns each voxel of cement; 0 elsewhere.

    Cement in an outline belongs to it, a piece outside to the vertebra whose cement it
    touches most, else to the nearest one: the rule by which volumes are counted.

    Returns
    -------
    ndarray of uint8, shape (slices, rows, columns)
    """
    owner = np.zeros(maps.materials.shape, np.uint8)
    spine = Spine(
        LabelMap(maps.vertebrae.view(), maps.geometry),
        tuple(plain_vertebra(one) for one in state.vertebrae),
    )
    if not state.vertebrae:
        return owner
    for box in _clusters(maps):
        region = ScanRegion(
            box,
            maps.materials[box].astype(np.int16),
            maps.vertebrae[box],
            maps.geometry.crop(box),
        )
        if not region.labels.any():
            region = _with_a_vertebra(box, maps)
        cement = is_cement(maps.materials[region.box])
        found = assign_owners(_all_cement(region, cement), spine).owner
        view = owner[region.box]
        view[cement] = found[cement]
    return owner


def _clusters(maps: CaseMaps) -> list[Box]:
    """Boxes around cement with room for the outlines; none touches another."""
    cement = is_cement(maps.materials)
    used = [
        np.flatnonzero(cement.any(axis=tuple(a for a in range(3) if a != axis)))
        for axis in range(3)
    ]
    if not used[0].size:
        return []
    low = np.array([axis[0] for axis in used])
    high = np.array([axis[-1] for axis in used]) + 1
    whole = box_of(low, high)
    pieces, _ = ndimage.label(cement[whole], np.ones((3, 3, 3)))
    boxes = []
    for found in ndimage.find_objects(pieces):
        start = np.array([part.start for part in found]) + low
        stop = np.array([part.stop for part in found]) + low
        boxes.append(widened(box_of(start, stop), AROUND_MM, maps.geometry))
    merged: list[Box] = []
    for box in boxes:
        while True:
            touching = [other for other in merged if _touch(box, other)]
            if not touching:
                break
            merged = [other for other in merged if not _touch(box, other)]
            box = joint((box, *touching))
        merged.append(box)
    return merged


def _touch(first: Box, second: Box) -> bool:
    return all(
        a.start < b.stop and b.start < a.stop
        for a, b in zip(first, second, strict=True)
    )


def _with_a_vertebra(box: Box, maps: CaseMaps) -> ScanRegion:
    """Widen a box up to all outlines, for cement far from every vertebra."""
    found = [one for one in ndimage.find_objects(maps.vertebrae) if one is not None]
    wide = joint((box, *found)) if found else box
    return ScanRegion(
        wide,
        maps.materials[wide].astype(np.int16),
        maps.vertebrae[wide],
        maps.geometry.crop(wide),
    )


def _all_cement(region: ScanRegion, cement: npt.NDArray[np.bool_]) -> FractionMap:
    """Shares of cement where a voxel is cement or is not."""
    none = np.zeros(cement.shape, bool)
    empty = np.zeros(cement.shape, np.float32)
    part = CementRegion(region, cement, none, empty, region.hu, none, none, ())
    share = cement.astype(np.float32)
    return FractionMap(part, share, cement, none, none, empty, empty, share)
