"""Flanks of shafts with known radius, axis and blur, fitted again.

The scan is calculated from a blurred cylinder in marrow, with or without the end of a
12-bit scale. Bounds: a twentieth of a millimetre and what the metal's brightness, known
to a tenth, moves a clipped flank by (0.8 blurs per unit of its logarithm: 0.05 mm).
"""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from scipy import special

from cases.oblique_shaft import shaft_axis, shaft_geometry
from cemscope.findings import Side
from cemscope.measurement.shaft_blur import EdgeBlur
from cemscope.measurement.shaft_fit import FittedShafts, fit_flanks, metal_beside
from cemscope.measurement.shaft_flank import ExpectedMetal, metal_of, read_flank
from cemscope.segmentation.implants.screw_model import ScrewModel
from cemscope.segmentation.implants.screw_profile import ScrewAxis, ShaftProfile
from cemscope.segmentation.implants.screw_thread import ThreadEstimate
from cemscope.segmentation.scan_region import ScanRegion, box_of

MARROW_HU, METAL_HU = 120.0, 9000.0
SHAPE = (34, 60, 40)
PART_MM = (4.0, 36.0)
WIDE = 30000.0


@dataclass(frozen=True)
class FlankCase:
    """True values; the first fit always says 3.0 mm, 0.5 mm blur and no shift."""

    name: str
    radius_mm: float = 3.0
    blur_mm: float = 0.5
    shift_mm: float = 0.0
    ceiling_hu: float = WIDE
    expected_hu: float = METAL_HU
    bound_mm: float = 0.05
    cement: bool = False


CASES = (
    FlankCase("as fitted"),
    FlankCase("wider", radius_mm=3.25),
    FlankCase("narrower and soft", radius_mm=2.8, blur_mm=0.7),
    FlankCase("sharp", blur_mm=0.42),
    FlankCase("axis misfitted", shift_mm=0.2),
    FlankCase("clipped, wider", radius_mm=3.2, ceiling_hu=3071.0, bound_mm=0.1),
    FlankCase("clipped, soft", blur_mm=0.7, ceiling_hu=3071.0, bound_mm=0.1),
    FlankCase(
        "clipped, brightness misjudged",
        radius_mm=3.2,
        ceiling_hu=3071.0,
        expected_hu=0.9 * METAL_HU,
        bound_mm=0.15,
    ),
    FlankCase("beside cement", radius_mm=3.2, cement=True),
)


SCREW = ScrewModel(
    "L3",
    Side.LEFT,
    shaft_axis(),
    neck_mm=2.0,
    tip_mm=40.0,
    shaft=ShaftProfile(3.0, 0.5, 4000.0),
    thread=ThreadEstimate(3.0, 0.0),
    tip_uncertainty_mm=0.5,
    free_length_mm=38.0,
)


def distance_mm(line: ScrewAxis) -> np.ndarray:
    index = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), -1)
    offset = shaft_geometry(SHAPE).index_to_lps(index.reshape(-1, 3)) - line.point
    offset -= (offset @ line.forward)[:, None] * line.forward
    return np.asarray(np.linalg.norm(offset, axis=1)).reshape(SHAPE)


def scan(case: FlankCase, streak_hu: np.ndarray | float = 0.0) -> ScanRegion:
    outside = distance_mm(shaft_axis(case.shift_mm)) - case.radius_mm
    inside = case.blur_mm**2 / (2.0 * case.radius_mm)
    share = special.ndtr(-(outside + inside) / case.blur_mm)
    hu = MARROW_HU + (METAL_HU - MARROW_HU) * share + streak_hu
    hu += np.random.default_rng(1).normal(0.0, 20.0, SHAPE)
    if case.cement:
        hu[cement()] = 2500.0
    array = np.rint(np.minimum(hu, case.ceiling_hu)).astype(np.int16)
    whole = box_of(np.zeros(3, int), np.array(SHAPE))
    return ScanRegion(whole, array, np.full(SHAPE, 22, np.uint8), shaft_geometry(SHAPE))


def cement() -> np.ndarray:
    """A lump that touches one side of the shaft."""
    offset = distance_mm(shaft_axis()) < 8.0
    offset[: SHAPE[0] // 2 + 3] = False
    return offset & (distance_mm(shaft_axis()) > 3.3)


def fitted(case: FlankCase, streak_hu: float | np.ndarray = 0.0) -> FittedShafts:
    region = scan(case, streak_hu)
    others = distance_mm(shaft_axis()) < 3.0
    if case.cement:
        others |= cement()
    known = np.broadcast_to(streak_hu, SHAPE).astype(float)
    flank = read_flank(region, known, others, SCREW, PART_MM, case.ceiling_hu)
    assert flank is not None
    metal = (
        metal_of([flank], case.ceiling_hu)
        if case.ceiling_hu == WIDE
        else ExpectedMetal(case.expected_hu, 0.12, case.ceiling_hu)
    )
    return fit_flanks([flank], (SCREW,), 0.0, metal)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_radius_and_axis_are_found(case: FlankCase) -> None:
    found = fitted(case)
    screw = found.screws[0]
    assert screw.shaft.radius_mm == pytest.approx(case.radius_mm, abs=case.bound_mm)
    true = shaft_axis(case.shift_mm)
    for t in (8.0, 32.0):
        off = screw.axis.at(t) - true.point
        off -= (off @ true.forward) * true.forward
        assert np.linalg.norm(off) < 0.06
    assert screw.shaft.radius_deviation_mm < 0.2


@pytest.mark.parametrize("blur_mm", [0.42, 0.5, 0.7])
def test_blur_is_found(blur_mm: float) -> None:
    found = fitted(FlankCase("", radius_mm=3.1, blur_mm=blur_mm)).blur
    assert found.plane_mm == pytest.approx(blur_mm, abs=0.04)


def test_streaks_within_the_metal_are_taken_off() -> None:
    # Starved rays darken the middle of a shaft most.
    dark = -4000.0 * np.exp(-0.5 * (distance_mm(shaft_axis()) / 1.5) ** 2)
    case = FlankCase("", radius_mm=3.2, ceiling_hu=3071.0)
    found = fitted(case, dark).screws[0].shaft.radius_mm
    assert found == pytest.approx(3.2, abs=0.12)


def test_only_marrow_is_left_beside_the_shaft() -> None:
    case = FlankCase("", radius_mm=3.2, blur_mm=0.6)
    region, found = scan(case), fitted(case)
    metal = metal_beside(region, found.screws[0], found.metal_hu[0], found.blur)
    outside = distance_mm(shaft_axis()) - 3.2
    beside = (outside > 0.7) & (outside < 2.0)
    error = (region.hu - metal - MARROW_HU)[beside]
    # Noise of 20 HU, and an edge 0.01 mm off: 30 HU at 0.7 mm.
    assert np.sqrt(np.mean(error**2)) < 40.0


def test_shafts_share_their_blur_and_a_hidden_one_stays_as_it_was() -> None:
    case = FlankCase("", radius_mm=3.2, blur_mm=0.65)
    region = scan(case)
    flank = read_flank(
        region, np.zeros(SHAPE), np.zeros(SHAPE, bool), SCREW, PART_MM, WIDE
    )
    everywhere = np.ones(SHAPE, bool)
    hidden = read_flank(region, np.zeros(SHAPE), everywhere, SCREW, PART_MM, WIDE)
    assert hidden is None
    other = replace(SCREW, side=Side.RIGHT)
    metal = metal_of([flank], WIDE)
    found = fit_flanks([hidden, flank], (other, SCREW), 0.0, metal)
    assert found.screws[0] is other
    assert found.metal_hu[0] == 0.0
    assert found.screws[1].shaft.radius_mm == pytest.approx(3.2, abs=0.05)
    assert isinstance(found.blur, EdgeBlur)
    assert found.blur.plane_mm == pytest.approx(0.65, abs=0.04)
