"""Screws of every kind are found; what may be cement or metal is said, not guessed."""

from dataclasses import dataclass

import numpy as np
import pytest

from cases.augmented_spines import vertebroplasty
from cemscope.findings import Side
from cemscope.geometry import VoxelGeometry
from cemscope.segmentation.implants.screws import ScrewSearch, search_screws
from cemscope.spine import Spine, Vertebra, VertebraFrame
from cemscope.testing.phantom_shapes import Cylinder, Ellipsoid, Solid
from cemscope.testing.phantoms import (
    Contrast,
    Implant,
    Phantom,
    Scanner,
    build_phantom,
    screw_axis,
)
from cemscope.volume import CTVolume, LabelMap

CLIPPED_LEVEL_HU = 2850.0
DENSE = Contrast(cement_hu=3600.0)
PLAIN, EXTENDED = Scanner(), Scanner(clip_hu=None)
LEFT_L4 = {("L4", Side.LEFT)}


@dataclass(frozen=True)
class SingleScrew:
    """One screw, without rod or cement, that need not lie in the pedicle."""

    name: str
    shift_mm: float = 0.0
    radius_mm: float = 3.0
    tip_mm: float = 30.0
    head_shift_mm: float = 0.0
    bore_mm: float = 0.0
    scanner: Scanner = PLAIN

    def ends(self) -> tuple[np.ndarray, np.ndarray]:
        head, tip = screw_axis(1, 1, self.tip_mm)
        across = np.array([self.shift_mm, 0.0, 0.0])
        return np.array(head) + across, np.array(tip) + across

    def phantom(self) -> Phantom:
        head, tip = self.ends()
        ball = head + np.array([self.head_shift_mm, 0.0, 0.5 * self.head_shift_mm])
        parts = [
            Implant(Cylinder(tuple(head), tuple(tip), self.radius_mm), is_metal=True),
            Implant(Ellipsoid(tuple(ball), (6.5, 6.5, 6.5)), is_metal=True),
        ]
        if self.bore_mm:
            # Painted after the shaft: the order within one kind is kept.
            bore = Cylinder(tuple(head), tuple(tip), self.bore_mm)
            parts.append(Implant(bore, is_metal=True, hu=1500.0))
        return build_phantom(("L5", "L4"), tuple(parts), self.scanner)


SINGLE = (
    SingleScrew("single screw without rod or cement"),
    SingleScrew("beside the canal", shift_mm=-6.0),
    SingleScrew("lateral of the body", shift_mm=14.0),
    SingleScrew("tip through the anterior cortex", tip_mm=45.0),
    SingleScrew("polyaxial head off the axis", head_shift_mm=3.0),
    SingleScrew("thin screw", radius_mm=2.25),
    SingleScrew("cannulated", radius_mm=3.5, bore_mm=1.0),
    SingleScrew("cannulated, extended scale", 0.0, 3.5, 30.0, 0.0, 1.0, EXTENDED),
    SingleScrew(
        "slices of 2.5 mm",
        scanner=Scanner(spacing_mm=(2.5, 0.7, 0.7), psf_fwhm_mm=(2.5, 1.2, 1.2)),
    ),
)


@pytest.mark.parametrize("case", SINGLE, ids=lambda case: case.name)
def test_single_screw_is_found(case: SingleScrew) -> None:
    phantom = case.phantom()
    level = CLIPPED_LEVEL_HU if case.scanner.clip_hu else 4500.0
    found = search_screws(phantom.ct, phantom.spine, level)
    assert {(s.level, s.side) for s in found.screws} == LEFT_L4
    assert found.undecided == ()
    (screw,) = found.screws
    head, tip = case.ends()
    assert np.linalg.norm(screw.tip_lps_mm - tip) <= 1.0
    # A ball beside the axis moves the head's visible centre along the axis.
    assert np.linalg.norm(screw.head_lps_mm - head) <= 2.0 + case.head_shift_mm
    # Thick slices hide whether there is a thread: one of 0.2 radii on 45 % of the
    # length is assumed, 0.54 mm of the diameter of a shaft that has none.
    bound_mm = 0.5 if case.scanner.spacing_mm[0] <= 1.3 else 0.6
    assert abs(2 * screw.shaft.radius_mm - 2 * case.radius_mm) <= bound_mm
    forward = (tip - head) / np.linalg.norm(tip - head)
    assert np.degrees(np.arccos(min(screw.axis.forward @ forward, 1.0))) <= 1.0


def searched(
    *solids: Solid, contrast: Contrast = DENSE, scanner: Scanner | None = None
) -> ScrewSearch:
    phantom = vertebroplasty(solids, scanner, contrast)
    level = CLIPPED_LEVEL_HU if phantom.ct.clipped_at_hu else 2200.0
    return search_screws(phantom.ct, phantom.spine, level)


@pytest.mark.parametrize("scanner", [None, EXTENDED], ids=["clipped", "extended"])
@pytest.mark.parametrize("radius_mm", [2.0, 2.5, 4.5])
def test_straight_cast_of_dense_cement_is_undecided(
    radius_mm: float, scanner: Scanner | None
) -> None:
    cast = Cylinder((13.0, 0.0, 40.0), (15.0, 34.0, 40.0), radius_mm)
    found = searched(cast, scanner=scanner)
    assert found.screws == ()
    assert [(u.level, u.side) for u in found.undecided] == [("L2", Side.LEFT)]
    (notice,) = found.notices
    assert notice.code == "metal_undecided"
    assert "left pedicle of L2" in notice.message


def test_cement_darker_than_any_metal_is_decided() -> None:
    track = Cylinder((13.0, 0.0, 40.0), (15.0, 34.0, 40.0), 2.0)
    found = searched(track, contrast=Contrast(cement_hu=2500.0), scanner=EXTENDED)
    assert found.screws == ()
    assert found.undecided == ()


def test_cement_inside_the_body_alone_is_no_question() -> None:
    found = searched()
    assert found.screws == ()
    assert found.undecided == ()
    assert found.notices == ()


STEEL_HU = 13000.0
"""Wires are of steel."""


def metal_alone(*solids: Solid) -> ScrewSearch:
    parts = tuple(Implant(solid, is_metal=True, hu=STEEL_HU) for solid in solids)
    phantom = build_phantom(("L5", "L4"), parts)
    return search_screws(phantom.ct, phantom.spine, CLIPPED_LEVEL_HU)


def test_wire_and_shaft_without_head_are_undecided() -> None:
    head, tip = screw_axis(1, 1)
    for solid in (
        Cylinder((17.0, 52.0, 40.0), (10.0, -5.0, 40.0), 0.9),
        Cylinder(head, tip, 3.0),
    ):
        found = metal_alone(solid)
        assert found.screws == ()
        assert [(u.level, u.side) for u in found.undecided] == [("L4", Side.LEFT)]


def test_cage_and_anterior_plate_are_no_screws() -> None:
    cage = Ellipsoid((0.0, 0.0, 18.0), (12.0, 9.0, 4.0))
    plate = Cylinder((0.0, -22.0, 0.0), (0.0, -22.0, 36.0), 4.0)
    for solid in (cage, plate):
        assert metal_alone(solid).screws == ()


def test_head_outside_the_scan_is_a_screw_that_is_cut() -> None:
    phantom = SingleScrew("cut").phantom()
    ct, spine = phantom.ct, phantom.spine
    head, _ = SingleScrew("cut").ends()
    rows = int(ct.geometry.lps_to_index(head)[1]) - 12
    box = (slice(None), slice(0, rows), slice(None))
    geometry = ct.geometry.crop(box)
    cut = CTVolume(ct.hu[box].copy(), geometry, clipped_at_hu=ct.clipped_at_hu)
    labels = LabelMap(spine.labels.labels[box].copy(), geometry)
    found = search_screws(cut, Spine(labels, spine.vertebrae), CLIPPED_LEVEL_HU)
    assert {(s.level, s.side) for s in found.screws} == LEFT_L4


def test_a_turned_patient_keeps_the_screw() -> None:
    """The same array with other axes: left and right, level and ends turn with it."""
    case = SingleScrew("turned")
    phantom = case.phantom()
    turn = np.diag([-1.0, -1.0, 1.0, 1.0])
    turn[:3, :3] @= np.array([[1, 0, 0], [0, 0.96, -0.28], [0, 0.28, 0.96]])
    old = phantom.ct.geometry
    geometry = VoxelGeometry(old.shape, turn @ old.affine_lps)
    vertebrae = tuple(
        Vertebra(
            v.level,
            v.level_confidence,
            v.source,
            v.complete,
            VertebraFrame(
                turn[:3, :3] @ v.frame.origin_lps_mm,
                turn[:3, :3] @ v.frame.left,
                turn[:3, :3] @ v.frame.posterior,
                turn[:3, :3] @ v.frame.superior,
            ),
            v.body_volume_ml,
        )
        for v in phantom.spine.vertebrae
    )
    ct = CTVolume(phantom.ct.hu, geometry, clipped_at_hu=phantom.ct.clipped_at_hu)
    labels = LabelMap(phantom.spine.labels.labels, geometry)
    found = search_screws(ct, Spine(labels, vertebrae), CLIPPED_LEVEL_HU)
    assert {(s.level, s.side) for s in found.screws} == LEFT_L4
    _, tip = case.ends()
    assert np.linalg.norm(found.screws[0].tip_lps_mm - turn[:3, :3] @ tip) <= 1.0
