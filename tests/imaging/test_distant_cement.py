"""Cement away from the vertebrae: found where it goes, told from what is as dense."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from cases.augmented_spines import vertebroplasty
from cases.distant_scenes import CEMENT_HU, Thing, scan, search, spinal_cement, trunk
from cemscope.dicom import read_series
from cemscope.measurement.augmentation import LEAK, measure_augmentation
from cemscope.measurement.dense_object import connected
from cemscope.measurement.distant_cement import DistantCement, find_distant_cement
from cemscope.segmentation.cement.cement_level import CementLevel
from cemscope.segmentation.vertebrae import find_vertebrae
from cemscope.testing.phantom_shapes import Cylinder, Ellipsoid, Point
from cemscope.volume import LabelMap

THORAX, LOINS = ("T9", "T8"), ("L3", "L2")


def ball(centre: Point, radius: float | Point, hu: float = CEMENT_HU) -> Thing:
    """A ball or an ellipsoid."""
    axes = radius if isinstance(radius, tuple) else (radius, radius, radius)
    return Thing(Ellipsoid(centre, axes), hu)


def tube(start: Point, end: Point, radius: float, hu: float = CEMENT_HU) -> Thing:
    """A straight tube."""
    return Thing(Cylinder(start, end, radius), hu)


@dataclass(frozen=True)
class Case:
    """Cement of known volume and place."""

    name: str
    levels: tuple[str, str]
    thing: Thing
    location: str


CEMENT = (
    Case("lung ball", THORAX, ball((70, -40, 20), 4.0), "lung_left"),
    Case("lung line of 2 mm", THORAX, tube((-60, -60, 10), (-80, -50, 30), 1.0),
         "lung_right"),
    Case("azygos cast", THORAX, tube((-8, -22, -10), (-10, -23, 50), 2.5), "azygos"),
    Case("beside the right lung", THORAX, ball((-24, -14, 18), (2.5, 2.5, 5)),
         "azygos"),
    Case("hemiazygos", THORAX, tube((14, -20, 5), (15, -20, 30), 2.0), "hemiazygos"),
    Case("cava", LOINS, ball((-20, -32, 20), (4, 3, 8)), "vena_cava"),
    Case("cava, 10 mm in front", LOINS, ball((5, -30, 36), 4.0), "vena_cava"),
    Case("left in front", LOINS, ball((28, -35, 36), 4.0), "soft_tissue"),
    Case("psoas", LOINS, ball((38, -4, 18), 4.0), "paravertebral_left"),
    Case("muscle behind", LOINS, ball((-35, 40, 10), 5.0), "paravertebral_right"),
    Case("needle track", LOINS, tube((20, 50, 30), (30, 75, 34), 1.8),
         "paravertebral_left"),
)  # fmt: skip


@pytest.mark.parametrize("case", CEMENT, ids=lambda case: case.name)
def test_cement_is_found(case: Case) -> None:
    found = search((case.thing,), case.levels)
    (one,) = found.findings
    solid = case.thing.solid
    assert isinstance(solid, Ellipsoid | Cylinder)
    assert one.location == case.location
    # Halves of the rim's voxels and 3 % of the level.
    assert one.volume_ml == pytest.approx(solid.volume_ml, rel=0.06, abs=0.005)
    middle = np.mean(solid.bounds_mm(), axis=0)
    np.testing.assert_allclose(one.centroid_lps_mm, middle, atol=1.0)
    assert not any(n.code == "elsewhere_uncertain" for n in found.notices)


ROUND = np.arange(6) * np.pi / 3.0
ENHANCED = (
    tube((12, -35, -40), (12, -35, 80), 10.0, 250.0),
    tube((-18, -35, -40), (-18, -35, 80), 10.0, 180.0),
)


@dataclass(frozen=True)
class Trap:
    """Dense things that are no cement.

    ``told`` is what a notice says of one; None where a notice is right, but not needed:
    coarse voxels seldom show the flanks of thin metal.
    """

    name: str
    levels: tuple[str, str]
    things: tuple[Thing, ...]
    told: str | None = ""


TRAPS = (
    Trap("ribs", THORAX, ()),
    Trap("tip of a transverse process", LOINS,
         (ball((40, 30, 40), 5.0, 1400.0), ball((40, 30, 40), 3.2, 200.0))),
    Trap("solid tip", LOINS, (ball((40, 30, 40), 5.0, 1500.0),)),
    Trap("osteophyte", LOINS, (ball((10, -18, 36), (6, 4, 4), 1500.0),)),
    Trap("plaque of the aorta", LOINS, (ball((15, -40, 30), (6, 1.5, 8), 1300.0),)),
    Trap("calcified node", LOINS, (ball((-20, -35, 30), 5.0, 1500.0),)),
    Trap("dense node", LOINS, (ball((-20, -35, 30), 5.0, 1670.0),)),
    Trap("granuloma", THORAX, (ball((70, -40, 20), 3.0, 900.0),)),
    Trap("dense granuloma", THORAX, (ball((70, -40, 20), 3.0, 1500.0),), "calcified"),
    Trap("contrast medium in the bowel", LOINS,
         (ball((60, -50, 20), (25, 22, 20), 2000.0),)),
    Trap("barium in a diverticulum", LOINS, (ball((90, -40, 10), 4.0, 2500.0),),
         "bowel"),
    Trap("iodine in the ureter", LOINS,
         (*ENHANCED, tube((-38, -10, -10), (-38, -14, 50), 2.5, 2300.0)),
         "contrast medium"),
    Trap("cement or iodine in the cava", LOINS,
         (*ENHANCED, ball((-20, -32, 20), (4, 3, 8))), "contrast medium"),
    Trap("gall stone", LOINS, (ball((-60, -70, 20), 8.0, 1200.0),)),
    Trap("tooth", LOINS,
         (ball((50, -40, 20), (12, 12, 8), 900.0),
          tube((50, -40, 20), (50, -40, 30), 3.5, 1700.0),
          ball((50, -40, 32), (4, 4, 3), 2800.0))),
    Trap("lead of a pacemaker", LOINS,
         (tube((-12, -45, -40), (-12, -47, 80), 0.8, 9000.0),), None),
    Trap("pacemaker", LOINS, (ball((90, -60, 20), (20, 6, 18), 9000.0),)),
    Trap("nail", LOINS, (tube((100, -30, -40), (112, -12, 80), 5.5, 9000.0),)),
    Trap("clip", LOINS, (ball((-15, -35, 30), (1.5, 1.5, 3), 9000.0),), None),
    Trap("filter of the cava", LOINS,
         tuple(tube((-18, -35, 45),
                    (-18 + 9 * float(np.cos(a)), -35 + 9 * float(np.sin(a)), 15),
                    0.25, 15000.0) for a in ROUND), "wire"),
    Trap("rib cartilage", THORAX, (ball((20, -105, 20), (12, 5, 10), 700.0),)),
    Trap("table", THORAX, (tube((-140, 82, 20), (140, 82, 20), 2.0, 1200.0),)),
    Trap("button", THORAX, (ball((60, -119, 20), 4.0),)),
    Trap("zip in a blanket", THORAX,
         (ball((0, -122, 20), (120, 4, 100), -900.0), ball((40, -121, 20), 2.5))),
    Trap("electrode on the skin", THORAX, (ball((0, -116, 20), 3.0),)),
    Trap("shaft of a long bone", LOINS,
         (tube((110, -20, -40), (110, -20, 80), 12.0, 1900.0),
          tube((110, -20, -40), (110, -20, 80), 6.5, -50.0))),
    Trap("finger", LOINS,
         (tube((100, -60, 0), (100, -60, 40), 6.0, 1800.0),
          tube((100, -60, 3), (100, -60, 37), 3.5, 100.0))),
    Trap("cement in another bone", LOINS,
         (ball((-75, 20, 20), (18, 16, 22), 700.0),
          ball((-75, 20, 20), (16.5, 14.5, 20.5), 60.0), ball((-75, 20, 20), 5.0)),
         "within a bone"),
)  # fmt: skip


def doubts(found: DistantCement) -> str:
    """What is said of doubtful objects."""
    return " ".join(n.message for n in found.notices if n.code == "elsewhere_uncertain")


@pytest.mark.parametrize("trap", TRAPS, ids=lambda trap: trap.name)
def test_what_is_no_cement_is_not_listed(trap: Trap) -> None:
    found = search(trap.things, trap.levels)
    assert found.findings == ()
    if trap.told is not None:
        assert trap.told in doubts(found)
        assert bool(doubts(found)) == bool(trap.told)


def codes(found: DistantCement) -> set[str]:
    """Codes of all notices."""
    return {notice.code for notice in found.notices}


def test_nothing_is_searched_without_a_level_of_cement() -> None:
    found = search((ball((70, -40, 20), 4.0),), level_hu=None)
    assert found.findings == ()
    assert codes(found) == {"elsewhere_not_searched"}


def test_faint_cement_is_not_told_from_calcification() -> None:
    thing = ball((-35, 40, 10), 5.0, 1300.0)
    found = search((thing,), LOINS, level_hu=1300.0)
    assert found.findings == ()
    assert "elsewhere_faint_cement" in codes(found)
    assert "calcification" in doubts(found)


def test_clipped_cement_is_told_from_clipped_metal() -> None:
    cement, metal = ball((-35, 40, 10), 5.0, 3600.0), ball((35, 40, 10), 5.0, 9000.0)
    found = search((cement, metal), LOINS, level_hu=3600.0)
    (one,) = found.findings
    assert one.location == "paravertebral_right"
    assert one.volume_ml == pytest.approx(0.524, rel=0.08)
    assert doubts(found) == ""


def test_bright_metal_of_an_open_scale() -> None:
    found = search((ball((35, 40, 10), 5.0, 9000.0),), LOINS, ceiling_hu=None)
    assert found.findings == ()
    assert doubts(found) == ""


def test_room_is_named_that_was_not_in_view() -> None:
    (notice,) = search((), LOINS).notices
    assert notice.code == "elsewhere_not_in_view"
    assert "the lungs;" in notice.message
    assert "the vena cava but for L3 to L2" in notice.message
    (notice,) = search((), THORAX).notices
    assert "mL in view" in notice.message
    assert "the azygos vein but for T9 to T8" in notice.message


def test_cement_of_a_vertebra_without_an_outline_is_not_listed() -> None:
    base = trunk(LOINS)
    lower = base.spine.vertebrae[0]
    labels = base.spine.labels.labels.copy()
    labels[np.isin(labels, (lower.level.number, lower.level.arch_number))] = 0
    spine = replace(
        base.spine,
        vertebrae=base.spine.vertebrae[1:],
        labels=LabelMap(labels, base.geometry),
    )
    ct = scan(base, (ball((0, 0, 0), 5.0),))
    found = find_distant_cement(
        ct, spine, spinal_cement(ct, replace(base, spine=spine))
    )
    assert found.findings == ()
    assert "without an outline" in doubts(found)


@pytest.mark.parametrize("flip", [(0,), (1, 2)])
def test_no_orientation_of_the_grid_matters(flip: tuple[int, ...]) -> None:
    base = trunk(THORAX)
    ct = scan(base, (ball((70, -40, 20), 4.0),))
    straight = find_distant_cement(ct, base.spine, spinal_cement(ct, base))
    affine = ct.geometry.affine_lps.copy()
    for axis in flip:
        affine[:3, 3] += affine[:3, axis] * (ct.geometry.shape[axis] - 1)
        affine[:3, axis] *= -1
    geometry = replace(ct.geometry, affine_lps=affine)
    labels = LabelMap(np.flip(base.spine.labels.labels, flip).copy(), geometry)
    spine = replace(base.spine, labels=labels, canal=None)
    turned = replace(ct, hu=np.flip(ct.hu, flip).copy(), geometry=geometry)
    own = replace(base, geometry=geometry, spine=spine, owned=np.flip(base.owned, flip))
    (one,) = find_distant_cement(turned, spine, spinal_cement(turned, own)).findings
    (other,) = straight.findings
    assert one.location == other.location == "lung_left"
    assert one.volume_ml == pytest.approx(other.volume_ml, abs=1e-6)
    np.testing.assert_allclose(one.centroid_lps_mm, other.centroid_lps_mm, atol=1e-6)


def test_pieces_are_those_of_a_full_image() -> None:
    rng = np.random.default_rng(3)
    image = rng.random((9, 8, 7)) < 0.12
    image[:, :, 0] |= image[:, :, 6]  # rows must not join round the edge
    labels, count = ndimage.label(image, np.ones((3, 3, 3)))
    pieces = connected(np.argwhere(image), image.shape)
    assert len(pieces) == count
    for piece in pieces:
        numbers = np.unique(labels[tuple(piece.T)])
        assert len(numbers) == 1
        assert (labels == numbers[0]).sum() == len(piece)


def test_whole_measurement_lists_it_once() -> None:
    """Between the outline's cement and the far search nothing is lost or doubled."""
    phantom = vertebroplasty((Ellipsoid((34.0, 34.0, 12.0), (4.0, 4.0, 4.0)),))
    found = measure_augmentation(phantom.ct, phantom.spine)
    (one,) = found.elsewhere
    assert one.location == "paravertebral_left"
    assert one.volume_ml == pytest.approx(0.268, rel=0.1)
    assert found.leaks == ()
    plain = measure_augmentation(vertebroplasty().ct, phantom.spine)
    assert plain.elsewhere == ()
    assert found.total == plain.total
    index = np.rint(phantom.ct.geometry.lps_to_index(one.centroid_lps_mm)).astype(int)
    assert found.materials.labels[tuple(index)] == LEAK


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["real-lumbar-3mm/dicom", "real-siemens-t11-t12"])
def test_real_anatomy_has_none(cemscope_data: Path, name: str) -> None:
    ct = read_series(cemscope_data / name)
    spine = find_vertebrae(ct)
    owned = np.zeros(ct.hu.shape, np.bool_)
    owned[0, 0, 0] = True
    base = replace(trunk(), geometry=ct.geometry, spine=spine, owned=owned)
    known = spinal_cement(ct, base)
    for level_hu in (3000.0, 1800.0, 1000.0):
        level = CementLevel(level_hu, 50.0, clipped=False)
        found = find_distant_cement(ct, spine, replace(known, level=level))
        assert found.findings == ()
