"""Good outlines are trusted, wrong ones are told with a reason."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cases.body_columns import BODY_MM, DISC_MM, Column
from cemscope.segmentation.bodies.body_prior import refined_bodies
from cemscope.segmentation.bodies.outline_measures import OutlineMeasures
from cemscope.segmentation.bodies.outline_quality import (
    QualitySettings,
    UsualSize,
    judged,
    outline_qualities,
)
from cemscope.segmentation.bodies.vertebral_bodies import body_surface
from cemscope.spine import VertebraFrame

GOOD = OutlineMeasures(
    lower_clear=0.9,
    upper_clear=0.9,
    wall_clear=0.95,
    lower_edge=0.7,
    upper_edge=0.7,
    wall_edge=0.8,
    weakest_level=0.8,
    lower_hidden=0.0,
    upper_hidden=0.0,
    wall_hidden=0.1,
    in_view=1.0,
    width_mm=46.0,
    depth_mm=34.0,
    height_mm=27.0,
    wedge_deg=5.0,
    asymmetry_mm=0.8,
    canal_depth_mm=-1.0,
    overlap_share=0.0,
    lower_gap_mm=9.0,
    upper_gap_mm=9.0,
)
USUAL = UsualSize(45.0, 33.0, 27.0)
SETTINGS = QualitySettings()


def test_nothing_speaks_against_a_good_outline() -> None:
    found = judged(GOOD, USUAL, SETTINGS)
    assert found.score == 1.0
    assert found.reasons == ()


@dataclass(frozen=True)
class Fault:
    """One measure that is wrong, and a word of its reason."""

    change: dict[str, float]
    word: str


FAULTS = (
    Fault({"lower_edge": 0.03}, "lower endplate"),
    Fault({"upper_clear": -0.5}, "upper endplate"),
    Fault({"wall_edge": 0.2}, "side wall"),
    Fault({"weakest_level": 0.1}, "side wall"),
    Fault({"upper_hidden": 0.9}, "90 % of its upper endplate"),
    Fault({"width_mm": 80.0}, "80 mm wide"),
    Fault({"height_mm": 55.0}, "55 mm high"),
    Fault({"depth_mm": 52.0}, "52 mm deep"),
    Fault({"wedge_deg": -40.0}, "40 degrees"),
    Fault({"asymmetry_mm": 7.0}, "left and right"),
    Fault({"canal_depth_mm": 6.0}, "reaches into the canal"),
    Fault({"canal_depth_mm": -12.0}, "12 mm behind"),
    Fault({"overlap_share": 0.3}, "overlaps"),
    Fault({"gap_share": 0.6}, "as high as the bodies"),
    Fault({"gap_walled": 1.0}, "wall of bone"),
    Fault({"wall_beyond": 1.0}, "beyond an endplate"),
    Fault({"tongue_mm": 9.0}, "sticks out by 9 mm"),
    Fault({"bite_mm": 11.0}, "11 mm further in"),
    Fault({"lower_gap_mm": 30.0}, "30 mm lie between it and the body below"),
    Fault({"upper_gap_mm": -8.0}, "crosses the body above"),
    Fault({"width_mm": 24.0, "depth_mm": 34.0}, "24 mm wide, but 34 mm deep"),
)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f.word)
def test_one_fault_is_enough(fault: Fault) -> None:
    found = judged(replace(GOOD, **fault.change), None, SETTINGS)
    assert found.score < 0.5
    assert any(fault.word in reason for reason in found.reasons)


def test_neighbours_tell_a_body_that_is_too_deep_or_halved() -> None:
    deep = judged(replace(GOOD, depth_mm=45.0), UsualSize(45.0, 25.0, 27.0), SETTINGS)
    assert deep.score < 0.5
    assert any("1.8 times as deep" in reason for reason in deep.reasons)
    halved = replace(GOOD, height_mm=12.0, lower_edge=0.1)
    assert judged(halved, USUAL, SETTINGS).score < 0.5
    # A collapsed body is as low, but both endplates show.
    collapsed = replace(GOOD, height_mm=10.0)
    assert judged(collapsed, USUAL, SETTINGS).score > 0.7
    # Where an implant hides half of one, its edge may have been taken for the endplate.
    hidden = judged(replace(collapsed, lower_hidden=0.5), USUAL, SETTINGS)
    assert hidden.score < 0.5
    assert any("0.4 times as high" in reason for reason in hidden.reasons)


@dataclass(frozen=True)
class LowBody:
    name: str
    height_mm: float
    usual_height_mm: float
    doubtful: bool
    lower_hidden: float = 0.0
    upper_hidden: float = 0.0
    upper_gap_mm: float = 9.0


LOW_BODIES = [
    LowBody("two cut off by screws", 12.5, 16.5, True, lower_hidden=0.5),
    LowBody("two collapsed, endplates shown", 12.5, 16.5, False),
    LowBody("top one cut off", 20.0, 25.5, True,
            upper_hidden=0.25, upper_gap_mm=np.nan),
    LowBody("the same with a neighbour above", 20.0, 25.5, False, upper_hidden=0.25),
    LowBody("top one, endplate shown", 20.0, 25.5, False, upper_gap_mm=np.nan),
    LowBody("top one, hidden, but as high as the others", 25.0, 25.5, False,
            upper_hidden=0.25, upper_gap_mm=np.nan),
    LowBody("flat L5", 24.0, 27.0, False, lower_hidden=0.3),
]  # fmt: skip


@pytest.mark.parametrize("case", LOW_BODIES, ids=lambda case: case.name)
def test_a_low_body_is_doubtful_where_an_implant_hides_its_endplate(
    case: LowBody,
) -> None:
    low = replace(
        GOOD,
        height_mm=case.height_mm,
        lower_hidden=case.lower_hidden,
        upper_hidden=case.upper_hidden,
        upper_gap_mm=case.upper_gap_mm,
    )
    found = judged(low, replace(USUAL, height_mm=case.usual_height_mm), SETTINGS)
    assert (found.score < 0.6) is case.doubtful
    assert any("times as high" in reason for reason in found.reasons) is case.doubtful


@given(
    name=st.sampled_from(["lower_edge", "wall_clear", "weakest_level", "upper_edge"]),
    low=st.floats(0.0, 1.0),
    more=st.floats(0.0, 1.0),
)
def test_more_evidence_never_lowers_the_score(
    name: str, low: float, more: float
) -> None:
    less = judged(replace(GOOD, **{name: low}), USUAL, SETTINGS).score
    assert judged(replace(GOOD, **{name: low + more}), USUAL, SETTINGS).score >= less
    assert 0.0 <= less <= 1.0


def test_what_is_not_known_does_not_count_against_it() -> None:
    unknown = replace(GOOD, lower_clear=np.nan, lower_gap_mm=np.nan)
    assert judged(unknown, None, SETTINGS).score == 1.0


def shifted(frame: VertebraFrame, up_mm: float) -> VertebraFrame:
    """The same frame further up."""
    return replace(frame, origin_lps_mm=frame.to_lps_mm(np.array([0.0, 0.0, up_mm])))


WRONG = {
    "in the disc": (17.0, BODY_MM + DISC_MM),
    "halved": (-(BODY_MM + DISC_MM) / 4, (BODY_MM + DISC_MM) / 2),
    "joined": (17.0, 2 * (BODY_MM + DISC_MM)),
}


@pytest.fixture(scope="module")
def column():
    """A scene with the outlines of its three bodies."""
    column = Column(marrow_hu=130.0)
    scene = column.scene()
    return (
        column,
        scene,
        [body_surface(scene, frame, BODY_MM + DISC_MM) for frame in column.frames()],
    )


def test_three_good_bodies(column) -> None:
    _, scene, surfaces = column
    qualities = outline_qualities(scene, surfaces)
    assert min(q.score for q in qualities) > 0.9
    for quality in qualities:
        share = DISC_MM / (BODY_MM + DISC_MM)
        assert quality.measures.gap_share == pytest.approx(share, abs=0.04)
    # What is trusted is left alone.
    again = refined_bodies(scene, surfaces)
    assert all(a is b for a, b in zip(again, surfaces, strict=True))


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_a_wrong_body_is_told_and_mended_by_its_neighbours(column, wrong) -> None:
    truth, scene, surfaces = column
    up_mm, height_mm = WRONG[wrong]
    frame = shifted(truth.frames()[1], up_mm)
    bad = [surfaces[0], body_surface(scene, frame, height_mm), surfaces[2]]
    told = outline_qualities(scene, bad)[1]
    assert told.score < 0.7
    assert told.reasons
    mended = refined_bodies(scene, bad)
    assert mended[0] is bad[0]
    assert mended[2] is bad[2]
    off = mended[1].frame.to_local_mm(truth.frames()[1].origin_lps_mm)
    assert abs(float(off[2])) < 2.0
    height = float(np.median(mended[1].upper_mm - mended[1].lower_mm))
    assert height == pytest.approx(BODY_MM, abs=1.0)


def test_without_a_trusted_neighbour_nothing_is_changed(column) -> None:
    truth, scene, _ = column
    up_mm, height_mm = WRONG["joined"]
    alone = [body_surface(scene, shifted(truth.frames()[1], up_mm), height_mm)]
    assert refined_bodies(scene, alone)[0] is alone[0]
    assert refined_bodies(scene, []) == ()
