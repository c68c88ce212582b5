"""What may be bone, what metal forbids to measure, and tips that cement hides."""

from dataclasses import replace

import numpy as np
import pytest

from cases.augmented_spines import analysed, fixation, vertebroplasty
from cemscope.findings import CementVolume, Interval, NotAssessed, Side
from cemscope.geometry import VoxelGeometry
from cemscope.measurement.augmentation import measure_augmentation
from cemscope.measurement.dense_bone import (
    ISLAND_ML,
    bone_notices,
    doubt_bone,
    faint_cut_levels,
)
from cemscope.measurement.refused_levels import MetalDoubts
from cemscope.measurement.screw_cement import hidden_cement_ml, shaft_doubts
from cemscope.segmentation.cement.cement_level import (
    CementLevel,
    level_of_cores,
    level_of_strands,
)
from cemscope.segmentation.cement.shaft_layers import ShaftLayer
from cemscope.segmentation.implants.implant_metals import (
    BRIGHTEST_CEMENT_SHARE,
    TITANIUM_HU,
    USUAL_CEMENT_SHARE,
)
from cemscope.segmentation.implants.screw_model import ScrewModel
from cemscope.segmentation.implants.screw_pairs import (
    LENGTHS_DIFFER_MM,
    share_lengths,
)
from cemscope.segmentation.implants.screw_profile import (
    RAYS,
    ScrewAxis,
    ShaftProfile,
)
from cemscope.segmentation.implants.screw_thread import ThreadEstimate
from cemscope.segmentation.implants.screw_tip import _highest_limit
from cemscope.segmentation.implants.shaft_glare import shaft_glare_hu
from cemscope.segmentation.implants.unexplained_metal import UnexplainedMetal
from cemscope.segmentation.scan_region import ScanRegion
from cemscope.testing.attenuation import (
    TITANIUM_ALLOY,
    bone_cement,
    hardened,
    hounsfield,
    tube_spectrum,
)
from cemscope.testing.phantoms import Contrast, Scanner

STRONG = CementLevel(3000.0, 60.0, False)
WEAK = CementLevel(1100.0, 30.0, False)
CLIPPED = CementLevel(1100.0, 30.0, True)
MARROW_HU = 100.0


def measured(level: str, volume_ml: float) -> CementVolume:
    interval = Interval(0.9 * volume_ml, 1.1 * volume_ml)
    return CementVolume(level, volume_ml, interval, volume_ml, volume_ml, 0.0, 0.1)


def test_what_is_darker_than_the_scans_cement_is_bone_with_an_upper_end() -> None:
    values = (measured("L2", 0.3), None, measured("L4", 2.0))
    island, empty, cement = doubt_bone(values, STRONG, frozenset({"L2"}))
    assert isinstance(island, CementVolume)
    assert island.volume_ml == 0.0
    assert (island.interval.low_ml, island.interval.high_ml) == (0.0, 0.33)
    assert empty is None
    assert cement is values[2]
    assert [n.code for n in bone_notices(STRONG, frozenset({"L2"}))] == ["dense_bone"]
    assert bone_notices(None, frozenset()) == ()


FAINT = CementLevel(1150.0, 40.0, False)


@pytest.mark.parametrize(
    ("level", "complete", "refused"),
    [
        (FAINT, False, True),
        (FAINT, True, False),
        (STRONG, False, False),
        (CLIPPED, False, False),
    ],
    ids=["cut", "whole", "bright cement", "clipped cement"],
)
def test_faint_cement_is_not_measured_in_a_vertebra_that_the_scan_cuts(
    level: CementLevel, complete: bool, refused: bool
) -> None:
    whole = vertebroplasty().spine
    lower, upper = whole.vertebrae
    spine = replace(whole, vertebrae=(lower, replace(upper, complete=complete)))
    names = faint_cut_levels(level, spine)
    assert names == ({"L2"} if refused else set())
    value = measured("L2", 2.0)
    (found,) = doubt_bone((value,), level, frozenset(), names)
    assert isinstance(found, NotAssessed) if refused else found is value


def test_screws_of_a_cut_vertebra_with_faint_cement_tell_no_cement_either() -> None:
    phantom = fixation(Scanner(clip_hu=None), Contrast(cement_hu=1130.0))
    lower, upper = phantom.spine.vertebrae
    spine = replace(phantom.spine, vertebrae=(lower, replace(upper, complete=False)))
    found = measure_augmentation(phantom.ct, spine)
    assert isinstance(found.cement[1].cement, NotAssessed)
    assert len(found.screws) == 2
    for screw in found.screws:
        assert isinstance(screw.cement_volume_ml, NotAssessed)
    # What was not assessed is not "that of this part", either.
    assert "cement_cut" not in {notice.code for notice in found.notices}


def test_what_shafts_swallowed_raises_what_an_empty_vertebra_may_hold() -> None:
    phantom = fixation(cemented=False)
    models = analysed(phantom).models
    assert len(models) == 2
    t_mm = np.arange(5.0, 30.0, 0.5)
    bare = np.zeros((len(t_mm), RAYS))
    layers = tuple(ShaftLayer(model, t_mm, bare, 0.5) for model in models)
    *_, without = shaft_doubts(models, phantom.spine, STRONG)
    *_, mantled = shaft_doubts(models, phantom.spine, STRONG, layers)
    # A mantle of 0.5 mm on two shafts of 3 mm, 20 to 35 mm of them in bone.
    per_mm = 2.0 * np.pi * (2.0 * 3.0 * 0.5 + 0.25) / 1000.0
    assert without.mantle_ml == 0.0
    assert 18.0 * per_mm < mantled.mantle_ml < 37.0 * per_mm
    assert hidden_cement_ml(mantled, 1.0) - hidden_cement_ml(
        without, 1.0
    ) == pytest.approx(mantled.mantle_ml)


def test_what_is_dark_and_larger_than_islands_is_not_assessed() -> None:
    values = (measured("L2", 1.1 * ISLAND_ML), measured("L3", 0.9 * ISLAND_ML))
    large, small = doubt_bone(values, STRONG, frozenset({"L2", "L3"}))
    assert isinstance(large, NotAssessed)
    assert "larger than bone islands" in large.reason
    assert isinstance(small, CementVolume)


@pytest.mark.parametrize(
    ("level", "volume_ml", "to_nothing"),
    [
        (WEAK, 0.5 * ISLAND_ML, True),
        (WEAK, 2.0 * ISLAND_ML, False),
        (STRONG, 0.5 * ISLAND_ML, False),
        (CLIPPED, 0.5 * ISLAND_ML, False),
    ],
    ids=["small and dark", "large and dark", "bright", "clipped"],
)
def test_small_dark_cement_may_be_nothing(
    level: CementLevel, volume_ml: float, to_nothing: bool
) -> None:
    (value,) = doubt_bone((measured("L2", volume_ml),), level, frozenset())
    assert isinstance(value, CementVolume)
    assert value.volume_ml == volume_ml
    assert (value.interval.low_ml == 0.0) is to_nothing
    assert value.interval.high_ml == pytest.approx(1.1 * volume_ml)


@pytest.mark.parametrize(
    ("glare_hu", "level", "refused"),
    [
        (2000.0, STRONG, True),
        (1500.0, STRONG, False),
        (2000.0, CementLevel(5000.0, 300.0, True), False),
        (2000.0, None, False),
    ],
    ids=["as bright as cement", "as bright as bone", "brighter cement", "no cement"],
)
def test_streaks_as_bright_as_cement_forbid_a_volume(
    glare_hu: float, level: CementLevel | None, refused: bool
) -> None:
    doubts = MetalDoubts((), {"L4": glare_hu})
    value = measured("L4", 2.0)
    found = doubts.judged("L4", value, level, MARROW_HU)
    assert isinstance(found, NotAssessed) is refused
    assert ("L4" in doubts.refused_levels(level, MARROW_HU)) is refused
    assert doubts.judged("L3", value, level, MARROW_HU) is value


def test_a_level_beside_a_glaring_one_is_trusted_less() -> None:
    """One metal: 45 % of the way to cement is enough where 70 % is seen next to it."""
    nearly, far, over = 1400.0, 900.0, 2130.0
    value = measured("L4", 2.0)
    alone = MetalDoubts((), {"L4": nearly, "L3": far})
    assert not alone.refused_levels(STRONG, MARROW_HU)
    beside = MetalDoubts((), {"L4": nearly, "L3": far, "L5": over})
    assert beside.refused_levels(STRONG, MARROW_HU) == {"L4", "L5"}
    assert isinstance(beside.judged("L4", value, STRONG, MARROW_HU), NotAssessed)


def test_a_screw_without_a_fit_forbids_a_volume() -> None:
    doubts = MetalDoubts((UnexplainedMetal("L4", Side.LEFT),), {})
    found = doubts.judged("L4", measured("L4", 2.0), STRONG, MARROW_HU)
    assert isinstance(found, NotAssessed)
    assert "left pedicle" in found.reason
    assert doubts.unclear_levels == {"L4"}


@pytest.mark.parametrize("kvp", [80.0, 100.0, 120.0, 140.0])
@pytest.mark.parametrize(
    ("barium_sulfate", "limit"),
    [(0.2, USUAL_CEMENT_SHARE), (0.3, BRIGHTEST_CEMENT_SHARE)],
)
def test_no_cement_is_as_bright_as_its_limit(
    kvp: float, barium_sulfate: float, limit: float
) -> None:
    """Against titanium in the same beam, with a margin of a tenth to a third."""
    beam = hardened(tube_spectrum(kvp), 250.0)
    cement = bone_cement(barium_sulfate_fraction=barium_sulfate)
    share, titanium = (hounsfield(m, beam, 10.0) for m in (cement, TITANIUM_ALLOY))
    assert 0.75 * limit < share / titanium < 0.9 * limit


@pytest.mark.parametrize(
    ("level_hu", "clipped", "refused"),
    [
        (5000.0, False, False),
        (6300.0, False, True),
        (6300.0, True, False),
        (8000.0, True, True),
    ],
    ids=["cement", "metal", "estimated at the limit", "estimated far above it"],
)
def test_a_level_brighter_than_cement_forbids_all_volumes(
    level_hu: float, clipped: bool, refused: bool
) -> None:
    doubts = MetalDoubts(
        (), {}, frozenset({"L3", "L4"}), BRIGHTEST_CEMENT_SHARE * TITANIUM_HU
    )
    level = CementLevel(level_hu, 0.15 * level_hu, clipped)
    found = doubts.judged("L3", measured("L3", 2.0), level, MARROW_HU)
    assert isinstance(found, NotAssessed) is refused
    notices = doubts.bright_notices(level)
    unsure = level_hu > doubts.brightest_hu and not refused
    assert [n.code for n in notices] == (["metal_or_cement"] if unsure else [])
    expected = {"L3", "L4"} if refused else set()
    assert doubts.refused_levels(level, MARROW_HU) == expected


RADIUS_MM, METAL_HU, BESIDE_HU, SIGMA_MM = 3.0, 3071.0, 120.0, 0.5


def screw(
    side: Side = Side.LEFT, tip_mm: float = 45.0, uncertainty_mm: float = 1.0
) -> ScrewModel:
    return ScrewModel(
        "L4",
        side,
        ScrewAxis(np.array([0.0, 25.0, 0.0]), np.array([0.0, -1.0, 0.0])),
        neck_mm=5.0,
        tip_mm=tip_mm,
        shaft=ShaftProfile(RADIUS_MM, SIGMA_MM, METAL_HU),
        thread=ThreadEstimate(RADIUS_MM, 0.0),
        tip_uncertainty_mm=uncertainty_mm,
        free_length_mm=30.0,
    )


def shaft_with_crest(crest_hu: float) -> ScanRegion:
    """A shaft along -y, with a bright band on both sides of it."""
    geometry = VoxelGeometry.from_axes(
        (31, 60, 41), (1.0, 1.0, 1.0), (-20.0, -30.0, -15.0), np.eye(3)[::-1], "1.2"
    )
    z, _, x = np.indices(geometry.shape)
    across, up = x - 20.0, z - 15.0
    band = (np.abs(up) < RADIUS_MM) & (np.abs(across) < RADIUS_MM + 7.0)
    hu = np.where(band, crest_hu, BESIDE_HU)
    hu = np.where(np.hypot(across, up) <= RADIUS_MM, METAL_HU, hu).astype(np.int16)
    whole = tuple(slice(0, n) for n in geometry.shape)
    return ScanRegion(whole, hu, np.zeros(hu.shape, np.uint8), geometry)


@pytest.mark.parametrize("crest_hu", [BESIDE_HU, 1000.0, 2500.0])
def test_glare_is_the_brightness_of_a_crest(crest_hu: float) -> None:
    assert shaft_glare_hu(shaft_with_crest(crest_hu), screw()) == pytest.approx(
        crest_hu, rel=0.01
    )


def test_a_hidden_tip_follows_the_other_screw() -> None:
    hidden, seen = screw(Side.LEFT, 50.0, 7.0), screw(Side.RIGHT, 45.0, 1.0)
    moved, kept = share_lengths((hidden, seen))
    assert kept is seen
    own, other = 7.0**2 / 3.0, 1.0 / 3.0 + LENGTHS_DIFFER_MM**2
    assert moved.tip_mm == pytest.approx(50.0 - 5.0 * own / (own + other))
    assert moved.tip_uncertainty_mm < 7.0


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (screw(Side.LEFT, 50.0, 2.0), screw(Side.RIGHT, 45.0, 1.0)),
        (screw(Side.LEFT, 50.0, 7.0), screw(Side.RIGHT, 45.0, 5.0)),
        (screw(Side.LEFT, 60.0, 4.0), screw(Side.RIGHT, 30.0, 1.0)),
    ],
    ids=["both seen", "both hidden", "outside the range"],
)
def test_tips_that_stay(first: ScrewModel, second: ScrewModel) -> None:
    assert share_lengths((first, second)) == (first, second)


CEILING = 3071.0


def core(plug_hu: float, plug_planes: int) -> np.ndarray:
    """A clipped shaft, something ahead of its tip, then spongy bone."""
    return np.concatenate(
        [np.full(40, CEILING), np.full(plug_planes, plug_hu), np.full(20, 100.0)]
    )


def test_cement_just_below_the_ceiling_is_told_from_the_shaft() -> None:
    usual = _highest_limit(core(500.0, 12), CEILING)
    assert usual < 2950.0 < _highest_limit(core(2950.0, 12), CEILING)
    starved = core(2950.0, 12)
    starved[30:33] = 3000.0
    assert _highest_limit(starved, CEILING) == usual


def test_strands_show_their_level_at_their_brightest() -> None:
    rng = np.random.default_rng(1)
    hu = 1600.0 * rng.beta(3.0, 1.5, 4000)
    level = level_of_strands(hu)
    assert level.hu == pytest.approx(1600.0, rel=0.06)
    assert level.spread_hu > 0.05 * level.hu
    assert not level.clipped


def test_rims_in_thick_slices_do_not_lower_the_level() -> None:
    values = np.concatenate([np.linspace(1750.0, 2000.0, 600), np.full(400, 2000.0)])
    assert level_of_cores(values, None, thick=True).hu == pytest.approx(2000.0)
    assert level_of_cores(values, None).hu < 2000.0
