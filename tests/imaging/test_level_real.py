"""Names of vertebrae in parts of real scans: right, or declined."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest

from cemscope.anatomy import VertebraLevel
from cemscope.dicom import read_series
from cemscope.geometry import VoxelGeometry
from cemscope.segmentation.vertebrae import find_vertebrae
from cemscope.spine import LevelAnchor
from cemscope.volume import CTVolume

pytestmark = pytest.mark.real_data

REFERENCE = {
    "S1": 26, "L5": 27, "L4": 28, "L3": 29, "L2": 30, "L1": 31, "T12": 32, "T11": 33,
}  # fmt: skip
"""Class numbers of the reference labels (TotalSegmentator)."""


def reference(path):
    """Reference labels and their own grid."""
    sitk = pytest.importorskip("SimpleITK")
    image = sitk.ReadImage(str(path))
    steps = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = steps[:, ::-1], image.GetOrigin()
    labels = sitk.GetArrayFromImage(image)
    return labels, VoxelGeometry(labels.shape, affine)


@cache
def lumbar(folder):
    """The real scan, the reference labels of its vertebrae, and their grid."""
    ct = read_series(folder / "real-lumbar-3mm" / "dicom")
    return ct, *reference(folder / "real-lumbar-3mm" / "vertebrae.nii.gz")


def cut(ct, low_lps_mm, high_lps_mm):
    """Part of a scan between two corners; NaN is no limit."""
    box = []
    for axis, direction in enumerate(ct.geometry.directions_lps):
        along = int(np.abs(direction).argmax())
        index = np.zeros((ct.hu.shape[axis], 3))
        index[:, axis] = np.arange(ct.hu.shape[axis])
        position = ct.geometry.index_to_lps(index)[:, along]
        inside = ~(position < low_lps_mm[along]) & ~(position > high_lps_mm[along])
        where = np.flatnonzero(inside)
        box.append(slice(int(where[0]), int(where[-1]) + 1))
    return CTVolume(ct.hu[tuple(box)].copy(), ct.geometry.crop(tuple(box)))


def level_at(point, labels, geometry):
    """Reference name at a point in a body."""
    index = tuple(np.rint(geometry.lps_to_index(point)).astype(int))
    names = {number: name for name, number in REFERENCE.items()}
    return names.get(int(labels[index]))


def centre(name, labels, geometry):
    return geometry.index_to_lps(np.argwhere(labels == REFERENCE[name])).mean(axis=0)


@dataclass(frozen=True)
class Part:
    name: str
    lowest: str | None = None
    highest: str | None = None
    width_mm: float | None = None
    may_decline: bool = True


PARTS = [
    Part("whole", may_decline=False),
    Part("15 cm", width_mm=150.0, may_decline=False),
    Part("without the sacrum", lowest="L4"),
    Part("without ribs", highest="L2", may_decline=False),
    Part("L2 to L4", lowest="L4", highest="L2"),
]


def part_of(part, ct, labels, geometry):
    low, high = np.full(3, np.nan), np.full(3, np.nan)
    if part.lowest:
        low[2] = centre(part.lowest, labels, geometry)[2] - 16.0
    if part.highest:
        high[2] = centre(part.highest, labels, geometry)[2] + 16.0
    if part.width_mm:
        middle = centre("L3", labels, geometry)[:2]
        low[:2], high[:2] = middle - part.width_mm / 2, middle + part.width_mm / 2
    return cut(ct, low, high)


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_names_in_parts_of_a_real_scan(part, cemscope_data):
    ct, labels, geometry = lumbar(cemscope_data)
    spine = find_vertebrae(part_of(part, ct, labels, geometry))
    named = [v for v in spine.vertebrae if v.level.is_named]
    for vertebra in named:
        there = level_at(vertebra.centroid_lps_mm, labels, geometry)
        assert there in (vertebra.level.name, None)
    assert len(named) in (0, len(spine.vertebrae))
    assert named or part.may_decline
    codes = [notice.code for notice in spine.notices]
    assert named or "levels_not_told" in codes


def test_an_anchor_names_what_was_declined(cemscope_data):
    ct, labels, geometry = lumbar(cemscope_data)
    point = tuple(float(x) for x in centre("L3", labels, geometry))
    middle = part_of(PARTS[-1], ct, labels, geometry)
    body = find_vertebrae(middle).vertebrae[0].centroid_lps_mm
    # The reference holds the arch too, so that its centre lies behind the body.
    anchor = (float(body[0]), float(body[1]), point[2])
    spine = find_vertebrae(middle, anchor=LevelAnchor(VertebraLevel("L3"), anchor))
    for vertebra in spine.vertebrae:
        there = level_at(vertebra.centroid_lps_mm, labels, geometry)
        assert there in (vertebra.level.name, None)
        assert vertebra.level_confidence > 0


def test_siemens_is_declined_or_right(cemscope_data):
    ct = read_series(cemscope_data / "real-siemens-t11-t12")
    path = cemscope_data / "real-siemens-t11-t12-labels.nii.gz"
    labels, geometry = reference(path)
    assert set(np.unique(labels)) >= {REFERENCE["T11"], REFERENCE["T12"]}
    spine = find_vertebrae(ct)
    assert spine.vertebrae
    for vertebra in spine.vertebrae:
        there = level_at(vertebra.centroid_lps_mm, labels, geometry)
        assert not vertebra.level.is_named or vertebra.level.name == there


def test_outlines_in_very_wide_slices_are_doubtful(cemscope_data):
    """Pairs of slices averaged: 6 mm blur every endplate, and the reader is told."""
    ct, _, _ = lumbar(cemscope_data)
    count = ct.hu.shape[0] // 2
    pairs = ct.hu[: 2 * count].reshape(count, 2, *ct.hu.shape[1:])
    affine = ct.geometry.affine_lps.copy()
    affine[:3, 3] += 0.5 * affine[:3, 0]
    affine[:3, 0] *= 2.0
    hu = pairs.mean(axis=1).round().astype(np.int16)
    found = find_vertebrae(CTVolume(hu, VoxelGeometry(hu.shape, affine)))
    told = [n.message for n in found.notices if n.code == "outline_doubtful"]
    whole = [v.level.name for v in found.vertebrae if v.complete]
    assert whole
    for name in whole:
        assert any(f"{name}:" in text and "mm blur its" in text for text in told)
