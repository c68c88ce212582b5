"""The embedded vertebra finder on light analytic spines."""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest

from cemscope.anatomy import VertebraLevel
from cemscope.dicom import read_series
from cemscope.errors import NoVertebraFoundError, SegmentationError
from cemscope.geometry import VoxelGeometry
from cemscope.segmentation.vertebrae import find_vertebrae
from cemscope.spine import LevelAnchor
from cemscope.testing.spine_phantom import PatientShape, PhantomScan, spine_phantom
from cemscope.volume import CTVolume

USUAL = PatientShape()
COARSE = PhantomScan(spacing_mm=(2.0, 1.5, 1.5))
TILT = np.radians(20.0)
OBLIQUE = (
    (0.0, float(np.sin(TILT)), float(np.cos(TILT))),
    (0.0, float(np.cos(TILT)), float(-np.sin(TILT))),
    (1.0, 0.0, 0.0),
)


@dataclass(frozen=True)
class Scene:
    name: str
    shape: PatientShape = USUAL
    scan: PhantomScan = COARSE
    named: bool = True


SCENES = [
    Scene("usual"),
    Scene("slices from head to feet", scan=replace(COARSE, directions_lps=(
        (0, 0, -1), (0, 1, 0), (1, 0, 0)))),
    Scene("oblique", scan=replace(COARSE, directions_lps=OBLIQUE)),
    Scene("collapsed, osteoporotic", PatientShape(collapsed="L3", marrow_hu=60.0)),
    Scene("screws", PatientShape(screws_on=("L5", "L4", "L3"))),
    Scene("no landmark", scan=replace(
        COARSE, low_lps_mm=(-75, -60, 25), high_lps_mm=(75, 80, 175)), named=False),
    Scene("six lumbar", PatientShape(
        levels=("S1", "L6", "L5", "L4", "L3", "L2", "L1", "T12")), named=False),
]  # fmt: skip


@cache
def scanned(scene):
    phantom = spine_phantom(scene.shape, scene.scan)
    return phantom, find_vertebrae(phantom.ct)


def dice(first, second):
    return 2.0 * (first & second).sum() / max(1, first.sum() + second.sum())


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
def test_bodies_and_names(scene):
    phantom, spine = scanned(scene)
    truth, labels = phantom.truth.labels, spine.labels.labels
    complete = [v for v in spine.vertebrae if v.complete]
    assert len(complete) >= (3 if not scene.named else 5)
    for vertebra in complete:
        found = labels == vertebra.level.number
        inside, counts = np.unique(truth[found], return_counts=True)
        number = int(inside[counts.argmax()])
        assert dice(found, truth == number) > 0.92
        if scene.named:
            assert vertebra.level.number == number
    numbers = [v.level.number for v in spine.vertebrae]
    assert len(set(numbers)) == len(numbers)
    heights = [v.centroid_lps_mm[2] for v in spine.vertebrae]
    assert heights == sorted(heights)
    codes = [notice.code for notice in spine.notices]
    assert ("levels_not_told" in codes) is not scene.named
    assert all((v.level_confidence > 0) is scene.named for v in spine.vertebrae)


def test_flipped_slices_give_the_same_outlines():
    (_, spine), (_, flipped) = scanned(SCENES[0]), scanned(SCENES[1])
    there = flipped.labels.labels[::-1]
    assert there.shape == spine.labels.labels.shape
    for vertebra in spine.vertebrae:
        if vertebra.complete:
            number = vertebra.level.number
            # Other noise and other sampling, the same anatomy.
            assert dice(spine.labels.labels == number, there == number) > 0.97


def test_pedicles_belong_to_their_level_and_the_canal_is_free():
    phantom, spine = scanned(SCENES[0])
    geometry = phantom.ct.geometry
    for vertebra in spine.vertebrae:
        if not vertebra.complete:
            continue
        frame = phantom.frames[phantom.levels.index(vertebra.level)]
        depth = 19.0  # just behind the posterior wall, at the height of the pedicle
        for side in (-15.0, 15.0):
            point = frame.to_lps_mm(np.array([side, depth, 5.5]))
            index = tuple(np.rint(geometry.lps_to_index(point)).astype(int))
            assert spine.labels.labels[index] in (
                vertebra.level.number,
                vertebra.level.arch_number,
            )
        centre = frame.to_lps_mm(np.array([0.0, 26.0, 0.0]))
        index = tuple(np.rint(geometry.lps_to_index(centre)).astype(int))
        assert spine.canal.voxels[index]
        assert spine.labels.labels[index] == 0


def test_frames_point_as_the_patient_lies():
    _, spine = scanned(SCENES[2])
    for vertebra in spine.vertebrae:
        assert vertebra.frame.left[0] > 0.9
        assert vertebra.frame.superior[2] > 0.5


def test_anchor_by_point_and_by_lowest():
    scene = SCENES[5]
    phantom, _ = scanned(scene)
    point = phantom.frames[phantom.levels.index(VertebraLevel("L3"))].origin_lps_mm
    anchor = LevelAnchor(VertebraLevel("L3"), tuple(float(x) for x in point))
    named = find_vertebrae(phantom.ct, anchor=anchor)
    for vertebra in named.vertebrae:
        truth = phantom.truth.labels[named.labels.labels == vertebra.level.number]
        assert np.bincount(truth).argmax() == vertebra.level.number
    outside = LevelAnchor(VertebraLevel("L3"), (60.0, -50.0, 90.0))
    with pytest.raises(SegmentationError, match="lies in no vertebra"):
        find_vertebrae(phantom.ct, anchor=outside)


def test_no_spine_is_refused():
    geometry = VoxelGeometry.from_axes((40, 60, 60), (2.0, 2.0, 2.0))
    hu = np.random.default_rng(0).normal(40, 20, geometry.shape).astype(np.int16)
    with pytest.raises(NoVertebraFoundError, match="CT of the spine"):
        find_vertebrae(CTVolume(hu, geometry))


def on_grid_of(geometry, path):
    """Nearest labels of a NIfTI file on another grid."""
    sitk = pytest.importorskip("SimpleITK")
    image = sitk.ReadImage(str(path))
    labels = sitk.GetArrayFromImage(image)
    steps = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = steps[:, ::-1], image.GetOrigin()
    source = VoxelGeometry(labels.shape, affine)
    index = np.stack(np.indices(geometry.shape), axis=-1)
    there = np.rint(source.lps_to_index(geometry.index_to_lps(index))).astype(int)
    inside = ((there >= 0) & (there < labels.shape)).all(axis=-1)
    there = np.clip(there, 0, np.array(labels.shape) - 1)
    return np.where(inside, labels[tuple(np.moveaxis(there, -1, 0))], 0)


@pytest.mark.real_data
def test_real_lumbar_scan(cemscope_data):
    folder = cemscope_data / "real-lumbar-3mm"
    ct = read_series(folder / "dicom")
    spine = find_vertebrae(ct)
    whole = on_grid_of(ct.geometry, folder / "vertebrae.nii.gz")
    bodies = on_grid_of(ct.geometry, folder / "vertebral_bodies.nii.gz") == 1
    names = [vertebra.level.name for vertebra in spine.vertebrae]
    assert names == ["S1", "L5", "L4", "L3", "L2", "L1", "T12"]
    assert not spine.vertebra("T12").complete
    scores = {}
    for number, name in zip(range(27, 32), ("L5", "L4", "L3", "L2", "L1"), strict=True):
        assert spine.vertebra(name).complete
        found = spine.labels.labels == spine.vertebra(name).level.number
        scores[name] = dice(found, bodies & (whole == number))
    assert min(scores.values()) > 0.85
    assert np.mean(list(scores.values())) > 0.90


@pytest.mark.real_data
def test_real_short_scan_declines(cemscope_data):
    ct = read_series(cemscope_data / "real-siemens-t11-t12")
    spine = find_vertebrae(ct)
    assert all(not vertebra.level.is_named for vertebra in spine.vertebrae)
    assert "levels_not_told" in [notice.code for notice in spine.notices]
