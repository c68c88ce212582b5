"""What must not be counted as cement: bone beyond the outlines, metal without a fit."""

import numpy as np
import pytest

from cases.augmented_spines import BODY, analysed, cement_of, fixation
from cemscope.findings import NotAssessed
from cemscope.geometry import VoxelGeometry
from cemscope.measurement import augmentation
from cemscope.segmentation.cement.other_bone import other_bone
from cemscope.segmentation.implants.screws import ScrewSearch
from cemscope.segmentation.scan_region import ScanRegion
from cemscope.testing.phantom_shapes import Cylinder, Ellipsoid
from cemscope.testing.phantoms import Implant, Scanner, build_phantom
from cemscope.volume import CTVolume, LabelMap

BONE_HU = 1150.0

LEAK = (slice(8, 12), slice(8, 12), slice(12, 16))
RIB = (slice(8, 12), slice(2, 4), slice(8, 12))
PELVIS = (slice(2, 16), slice(22, 28), slice(2, 26))
EMBOLUS = (slice(0, 3), slice(16, 20), slice(24, 28))


def beyond_the_outline(box: tuple[slice, ...], hu: float) -> bool:
    """Whether a piece beside or away from a small vertebra is taken for bone."""
    geometry = VoxelGeometry.from_axes(
        (20, 30, 30), (2.0, 2.0, 2.0), (0.0, 0.0, 0.0), np.eye(3)[::-1], "1.2.3"
    )
    labels = np.zeros(geometry.shape, np.uint8)
    labels[6:14, 4:12, 4:12] = 22
    values = np.full(geometry.shape, 50, np.int16)
    values[box] = hu
    dense = np.zeros(geometry.shape, np.bool_)
    dense[box] = True
    whole = tuple(slice(0, n) for n in geometry.shape)
    region = ScanRegion.of_box(
        CTVolume(values, geometry), LabelMap(labels, geometry), whole
    )
    found = other_bone(region, values, dense, BONE_HU)
    assert not (found & ~dense).any()
    free = dense & (labels == 0)
    assert found[free].all() or not found[free].any()
    return bool(found[free].any())


@pytest.mark.parametrize(
    ("box", "hu", "bone"),
    [
        (LEAK, 1800.0, False),
        (LEAK, 1300.0, False),
        (RIB, 1150.0, True),
        (PELVIS, 1400.0, True),
        (PELVIS, 2600.0, False),
        (EMBOLUS, 2000.0, False),
    ],
    ids=["leak", "weak leak", "rib", "pelvis", "denser than bone", "embolus"],
)
def test_dense_pieces_beyond_the_outlines(
    box: tuple[slice, ...], hu: float, bone: bool
) -> None:
    assert beyond_the_outline(box, hu) is bone


def test_a_screw_that_was_not_fitted_is_no_cement(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    phantom = fixation()
    assert cement_of(analysed(phantom), "L4").volume_ml > 1.0
    blind = ScrewSearch((), ())
    monkeypatch.setattr(augmentation, "search_screws", lambda *_: blind)
    found = augmentation.measure_augmentation(phantom.ct, phantom.spine)
    values = {item.level: item.cement for item in found.cement}
    refused = values["L4"]
    assert isinstance(refused, NotAssessed)
    assert "left and the right pedicle" in refused.reason
    assert "no screw could be fitted" in refused.reason
    assert not isinstance(values["L5"], NotAssessed)


def test_cement_in_a_pedicle_without_metal_behind_it_is_measured() -> None:
    track = Implant(Ellipsoid((13.0, 18.0, 40.0), (3.0, 8.0, 3.0)), level="L2", hu=3400)
    body = Implant(BODY, level="L2", hu=3400)
    phantom = build_phantom(("L3", "L2"), (body, track))
    found = augmentation.measure_augmentation(phantom.ct, phantom.spine)
    truth = phantom.cement_ml["L2"]
    assert cement_of(found, "L2").volume_ml == pytest.approx(truth, rel=0.08)


def test_marrow_soaked_with_cement_counts_by_its_share() -> None:
    level_hu, soaked_hu, marrow_hu = 4000.0, 1190.0, 110.0
    cloud = Ellipsoid((4.0, -2.0, 36.0), (11.0, 10.0, 9.0))
    core = Ellipsoid((4.0, -2.0, 36.0), (6.0, 5.5, 5.0))
    phantom = build_phantom(
        ("L3", "L2"),
        (Implant(cloud, level="L2", hu=soaked_hu), Implant(core, hu=level_hu)),
        Scanner(clip_hu=None),
    )
    share = (soaked_hu - marrow_hu) / (level_hu - marrow_hu)
    truth = phantom.cement_ml[""] + share * phantom.cement_ml["L2"]
    found = augmentation.measure_augmentation(phantom.ct, phantom.spine)
    assert cement_of(found, "L2").volume_ml == pytest.approx(truth, rel=0.1)


def test_strands_too_thin_for_a_core_count_where_no_bone_is_as_bright() -> None:
    """A ball tells the level; a strand 15 mm away in the same body hangs together with
    nothing."""
    ball = Implant(Ellipsoid((12.0, -2.0, 36.0), (5.0, 5.0, 5.0)), level="L2", hu=2600)
    strand = Implant(
        Cylinder((-12.0, -8.0, 36.0), (-12.0, 8.0, 36.0), 1.1), level="L2", hu=2600
    )
    scanner = Scanner(spacing_mm=(1.25, 0.5, 0.5))
    phantom = build_phantom(("L3", "L2"), (ball, strand), scanner)
    found = augmentation.measure_augmentation(phantom.ct, phantom.spine)
    cement = cement_of(found, "L2")
    truth = phantom.cement_ml["L2"]
    # The strand is an eighth of it.
    assert cement.volume_ml == pytest.approx(truth, rel=0.05)
