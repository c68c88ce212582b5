"""The one entry: zero is not 'not assessed', totals add up, real bone holds nothing."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from cases.augmented_spines import (
    BODY,
    analysed,
    cement_of,
    fixation,
    vertebroplasty,
)
from cemscope.anatomy import VertebraLevel
from cemscope.dicom.reader import read_series
from cemscope.findings import CementVolume, MetalKind, NotAssessed, TotalCement
from cemscope.geometry import VoxelGeometry
from cemscope.measurement.augmentation import (
    CEMENT,
    OTHER_METAL,
    SCREW,
    measure_augmentation,
)
from cemscope.spine import Spine, Vertebra, VertebraFrame, VertebraSource
from cemscope.testing.phantom_shapes import Cylinder, Ellipsoid
from cemscope.testing.phantoms import Contrast, Implant, build_phantom
from cemscope.volume import LabelMap


def test_vertebra_without_cement_is_zero_with_an_upper_bound() -> None:
    phantom = build_phantom(("L3", "L2"))
    found = measure_augmentation(phantom.ct, phantom.spine)
    assert [item.level for item in found.cement] == ["L3", "L2"]
    for item in found.cement:
        assert isinstance(item.cement, CementVolume)
        assert item.cement.volume_ml == 0.0
        assert item.cement.interval.low_ml == 0.0
        assert 0.0 < item.cement.interval.high_ml < 0.1
    assert found.screws == ()
    assert found.metal == ()
    assert found.total.vertebrae_augmented == 0
    assert not found.materials.labels.any()


def test_cut_vertebra_without_cement_is_not_assessed() -> None:
    phantom = build_phantom(("L3", "L2"))
    cut = tuple(
        replace(vertebra, complete=False) if vertebra.level.name == "L3" else vertebra
        for vertebra in phantom.spine.vertebrae
    )
    found = measure_augmentation(phantom.ct, Spine(phantom.spine.labels, cut))
    values = {item.level: item.cement for item in found.cement}
    assert isinstance(values["L3"], NotAssessed)
    assert isinstance(values["L2"], CementVolume)
    assert isinstance(found.total, TotalCement)


def test_where_nothing_is_assessed_the_total_is_not_either() -> None:
    phantom = build_phantom(("L3",))
    (whole,) = phantom.spine.vertebrae
    cut = replace(whole, complete=False)
    found = measure_augmentation(phantom.ct, Spine(phantom.spine.labels, (cut,)))
    assert isinstance(found.total, NotAssessed)


def test_totals_and_screws_add_up() -> None:
    found = analysed(fixation(levels=("L4", "L3")))
    values = [cement_of(found, level) for level in ("L5", "L4", "L3")]
    assert found.total.cement_ml == pytest.approx(sum(v.volume_ml for v in values))
    assert found.total.vertebrae_augmented == 2
    shares = [s.cement_volume_ml for s in found.screws]
    assert all(isinstance(share, float) for share in shares)
    assert sum(shares) == pytest.approx(found.total.cement_ml, rel=0.02)
    assert {s.screw_id for s in found.screws} == {
        "L4-left", "L4-right", "L3-left", "L3-right",
    }  # fmt: skip


def test_materials_overlap_the_truth() -> None:
    phantom = fixation(levels=("L4", "L3"))
    labels = analysed(phantom).materials.labels
    cement, truth = labels == CEMENT, phantom.cement_fraction >= 0.5
    metal, metal_truth = labels >= SCREW, phantom.metal_fraction >= 0.5
    assert dice(cement, truth) >= 0.85
    assert dice(metal, metal_truth) >= 0.85
    assert (labels == OTHER_METAL).any()


def dice(first: np.ndarray, second: np.ndarray) -> float:
    return 2.0 * float((first & second).sum()) / float(first.sum() + second.sum())


def test_scan_without_vertebrae_says_so() -> None:
    phantom = vertebroplasty()
    empty = np.zeros_like(phantom.spine.labels.labels)
    spine = Spine(LabelMap(empty, phantom.ct.geometry), ())
    found = measure_augmentation(phantom.ct, spine)
    assert found.cement == ()
    assert [notice.code for notice in found.notices] == ["no_vertebra"]


def test_clipped_cement_is_told() -> None:
    phantom = vertebroplasty(contrast=Contrast(cement_hu=3700.0))
    found = measure_augmentation(phantom.ct, phantom.spine)
    assert "cement_clipped" in [notice.code for notice in found.notices]


CALCIFIED_AORTA = (
    Implant(Cylinder((8.0, -28.0, -20.0), (8.0, -28.0, 56.0), 9.0), hu=380.0),
    Implant(Ellipsoid((14.0, -22.0, 20.0), (1.5, 3.0, 3.0)), hu=1100.0),
    Implant(Ellipsoid((14.0, -22.0, 36.0), (1.5, 3.0, 3.0)), hu=1100.0),
)
BONE_ISLAND = (Implant(Ellipsoid((4.0, -2.0, 36.0), (4.0, 4.0, 4.0)), hu=750.0),)
SCLEROSIS = (Implant(Ellipsoid((0.0, 0.0, 47.0), (12.0, 9.0, 2.0)), hu=800.0),)


@pytest.mark.parametrize(
    "bright",
    [CALCIFIED_AORTA, BONE_ISLAND, SCLEROSIS],
    ids=["aorta with contrast and calcification", "bone island", "sclerotic endplate"],
)
def test_bright_things_that_are_no_cement(bright: tuple[Implant, ...]) -> None:
    phantom = build_phantom(("L3", "L2"), bright)
    found = measure_augmentation(phantom.ct, phantom.spine)
    assert found.total.cement_ml == 0.0
    assert found.leaks == ()


def test_calcification_beside_weakly_opaque_cement_is_no_leak() -> None:
    cement = Implant(BODY, level="L2", hu=1100.0)
    phantom = build_phantom(("L3", "L2"), (*CALCIFIED_AORTA, cement))
    found = measure_augmentation(phantom.ct, phantom.spine)
    assert cement_of(found, "L2").volume_ml == pytest.approx(BODY.volume_ml, rel=0.05)
    assert found.leaks == ()
    assert "cement_like_bone" in [notice.code for notice in found.notices]


REAL_LEVELS = {26: "S1", 27: "L5", 28: "L4", 29: "L3", 30: "L2", 31: "L1"}
"""Numbers of the reference labels; the cut T12 is left out."""


@pytest.mark.real_data
def test_real_spine_without_implants_holds_no_cement(cemscope_data: Path) -> None:
    folder = cemscope_data / "real-lumbar-3mm"
    ct = read_series(folder / "dicom")
    labels = resampled(folder / "vertebrae.nii.gz", ct.geometry)
    bodies = resampled(folder / "vertebral_bodies.nii.gz", ct.geometry) == 1
    spine = spine_of(labels, bodies, ct.geometry)
    found = measure_augmentation(ct, spine)
    assert found.screws == ()
    assert found.leaks == ()
    for level in REAL_LEVELS.values():
        assert cement_of(found, level).volume_ml == 0.0
    # The femoral nail.
    assert [part.kind for part in found.metal] == [MetalKind.OTHER]
    assert found.metal[0].volume_ml > 5.0


def resampled(path: Path, geometry: VoxelGeometry) -> np.ndarray:
    image = sitk.ReadImage(str(path), sitk.sitkUInt8)
    grid = sitk.Image(*geometry.shape[::-1], sitk.sitkUInt8)
    z, y, x = geometry.spacing_mm
    grid.SetSpacing((x, y, z))
    grid.SetOrigin(geometry.origin_lps_mm.tolist())
    grid.SetDirection(geometry.directions_lps[::-1].T.ravel().tolist())
    nearest = sitk.Resample(image, grid, sitk.Transform(), sitk.sitkNearestNeighbor)
    return sitk.GetArrayFromImage(nearest)


def spine_of(labels: np.ndarray, bodies: np.ndarray, geometry: VoxelGeometry) -> Spine:
    numbers = np.zeros(labels.shape, np.uint8)
    vertebrae = []
    for value, name in REAL_LEVELS.items():
        level = VertebraLevel(name)
        numbers[labels == value] = level.arch_number
        body = (labels == value) & bodies
        numbers[body] = level.number
        centre = geometry.index_to_lps(np.argwhere(body).mean(axis=0))
        frame = VertebraFrame(centre, *np.eye(3))
        volume_ml = float(body.sum()) * geometry.voxel_volume_mm3 / 1000.0
        vertebrae.append(
            Vertebra(level, 1.0, VertebraSource.IMPORTED, True, frame, volume_ml)
        )
    return Spine(LabelMap(numbers, geometry), tuple(vertebrae))
