from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from cemscope.findings import NotAssessed, Side
from cemscope.geometry import VoxelGeometry
from cemscope.measurement.followup_findings import Integrity, ScrewMovement
from cemscope.measurement.followup_integrity import rods_between, screw_integrity
from cemscope.measurement.followup_lucency import rim_growth
from cemscope.measurement.followup_scan import FollowedScan, FollowedScrew
from cemscope.measurement.followup_screws import screw_movement
from cemscope.measurement.followup_settings import FollowupSettings
from cemscope.measurement.lucency_profiles import ANGLES, CellState
from cemscope.measurement.lucency_surface import LucencyMap, LucencySettings
from cemscope.registration.bone_edges import EdgeShifts
from cemscope.registration.edge_pose import EdgePose
from cemscope.registration.rigid_pose import RigidPose
from cemscope.registration.vertebra_patch import ScannedSpine
from cemscope.segmentation.implants.screw_model import ScrewModel
from cemscope.segmentation.implants.screw_profile import ScrewAxis, ShaftProfile
from cemscope.segmentation.implants.screw_thread import ThreadEstimate
from cemscope.spine import Spine, VertebraFrame
from cemscope.volume import CTVolume, LabelMap

FRAME = VertebraFrame(np.zeros(3), *np.eye(3))
SETTINGS = FollowupSettings()
EMPTY = EdgeShifts(np.zeros(0), np.zeros(0), np.zeros(0, np.bool_))


def bone(pose: RigidPose) -> EdgePose:
    return EdgePose(pose, 0.1, 0.95, 900, 1e-6 * np.eye(6), EMPTY)


def screw(
    side: Side = Side.LEFT,
    head: tuple[float, float, float] = (18.0, 40.0, 8.0),
    tip: tuple[float, float, float] = (8.0, -8.0, 6.0),
    level: str = "L4",
) -> ScrewModel:
    start, end = np.array(head), np.array(tip)
    length = float(np.linalg.norm(end - start))
    return ScrewModel(
        level,
        side,
        ScrewAxis(start, (end - start) / length),
        6.0,
        length,
        ShaftProfile(3.0, 0.5, 9000.0),
        ThreadEstimate(2.8, 4.0),
        0.5,
        30.0,
    )


def carried(model: ScrewModel, pose: RigidPose) -> ScrewModel:
    axis = ScrewAxis(
        pose.to_followup(model.axis.point), pose.turned(model.axis.forward)
    )
    return replace(model, axis=axis)


def moved(before: ScrewModel, after: ScrewModel, vertebra: EdgePose) -> ScrewMovement:
    """Movement by a shaft that was followed exactly."""
    start, end = before.axis, after.axis
    turn, _ = Rotation.align_vectors(end.forward[None], start.forward[None])
    pose = RigidPose(np.asarray(turn.as_matrix()), end.point - start.point, start.point)
    return screw_movement((before, after), FRAME, vertebra, bone(pose), SETTINGS)


ANGLES_RAD = st.floats(-0.5, 0.5)
SHIFTS = st.floats(-30.0, 30.0)
POSES = st.builds(
    lambda turn, shift: RigidPose(
        np.asarray(Rotation.from_rotvec(turn).as_matrix()), np.array(shift), np.zeros(3)
    ),
    st.tuples(ANGLES_RAD, ANGLES_RAD, ANGLES_RAD),
    st.tuples(SHIFTS, SHIFTS, SHIFTS),
)


@given(POSES, st.sampled_from(Side))
def test_a_screw_that_goes_with_its_vertebra_has_not_moved(
    pose: RigidPose, side: Side
) -> None:
    before = screw(side)
    found = moved(before, carried(before, pose), bone(pose))
    assert abs(found.tilt_deg.value) < 1e-5
    assert abs(found.convergence_deg.value) < 1e-5
    assert found.tip.distance_mm.value < 1e-6
    assert abs(found.along_mm.value) < 1e-6
    assert not found.moved


@given(POSES, st.sampled_from(Side))
def test_a_tilt_about_the_head_is_told_with_its_sign(
    pose: RigidPose, side: Side
) -> None:
    tip = (8.0, -8.0, 6.0) if side is Side.LEFT else (-8.0, -8.0, 6.0)
    head = (18.0, 40.0, 8.0) if side is Side.LEFT else (-18.0, 40.0, 8.0)
    before = screw(side, head, tip)
    local = before.axis.forward
    angle = np.arcsin(local[2]) + np.radians(4.0)
    flat = local[:2] / np.linalg.norm(local[:2])
    up = np.array([*(np.cos(angle) * flat), np.sin(angle)])
    tilted = replace(before, axis=ScrewAxis(before.axis.point, up))
    found = moved(before, carried(tilted, pose), bone(pose))
    assert found.tilt_deg.value == pytest.approx(4.0, abs=1e-6)
    assert found.convergence_deg.value == pytest.approx(0.0, abs=1e-6)
    expected = 2.0 * before.tip_mm * np.sin(np.radians(2.0))
    assert found.tip.distance_mm.value == pytest.approx(expected, abs=1e-6)
    assert found.moved


@given(POSES)
def test_a_screw_that_backs_out_goes_against_its_axis(pose: RigidPose) -> None:
    before = screw()
    back = before.axis.point - 2.5 * before.axis.forward
    out = replace(before, axis=ScrewAxis(back, before.axis.forward))
    found = moved(before, carried(out, pose), bone(pose))
    assert found.along_mm.value == pytest.approx(-2.5, abs=1e-6)
    assert found.tip.direction_mm[1] > 2.0
    assert found.moved


@pytest.mark.parametrize(("head_mm", "tip_mm"), [(-7.5, 0.0), (0.0, 6.0)])
def test_a_screw_whose_ends_contradict_has_not_surely_moved(
    head_mm: float, tip_mm: float
) -> None:
    """One end was misread: a head set too far back, a tip in cement too far ahead."""
    still = RigidPose(np.eye(3), np.zeros(3), np.zeros(3))
    before = screw()
    axis = before.axis
    head, tip = axis.at(head_mm), axis.at(before.tip_mm + tip_mm)
    after = screw(head=(head[0], head[1], head[2]), tip=(tip[0], tip[1], tip[2]))
    found = moved(before, after, bone(still))
    assert not found.moved
    assert found.along_mm.value == pytest.approx(0.0, abs=1e-6)
    # What the misread end says is not excluded.
    assert found.along_mm.uncertainty >= max(abs(head_mm), abs(tip_mm))


def test_convergence_is_towards_the_midline_on_both_sides() -> None:
    still = RigidPose(np.eye(3), np.zeros(3), np.zeros(3))
    for side, sign in ((Side.LEFT, 1.0), (Side.RIGHT, -1.0)):
        before = screw(side, (sign * 18.0, 40.0, 8.0), (sign * 8.0, -8.0, 6.0))
        inwards = screw(side, (sign * 18.0, 40.0, 8.0), (sign * 5.0, -8.0, 6.0))
        found = moved(before, inwards, bone(still))
        assert found.convergence_deg.value > 2.0


def test_an_uncertain_bone_makes_the_movement_uncertain() -> None:
    still = RigidPose(np.eye(3), np.zeros(3), np.zeros(3))
    before, after = screw(), screw(tip=(8.0, -8.0, 8.0))
    sure = moved(before, after, bone(still))
    vague = replace(bone(still), covariance=np.diag([0.01] * 3 + [4.0] * 3))
    found = moved(before, after, vague)
    assert found.tilt_deg.uncertainty > sure.tilt_deg.uncertainty + 5.0
    assert not found.moved
    assert sure.moved


# --- lucent rims ------------------------------------------------------------------


def surface(model: ScrewModel, width_of: np.ndarray | float) -> LucencyMap:
    t = np.arange(12.0, 40.0, 0.5)
    width = np.broadcast_to(width_of, (t.size, ANGLES)).astype(np.float64)
    state = np.full((t.size, ANGLES), CellState.SEEN, np.uint8)
    return LucencyMap(
        model.level, model.side, t, t > 25.0, state, width, 0.0 * width, 120.0, 20.0
    )


def followed(model: ScrewModel, rim: LucencyMap | None, why: str = "") -> FollowedScrew:
    return FollowedScrew(f"{model.level}-{model.side}", model, rim, why)


def world_side(model: ScrewModel, direction: np.ndarray) -> np.ndarray:
    """Angles of a shaft within 90 degrees of a direction."""
    first, second = model.axis.cross_vectors()
    angle = 2.0 * np.pi * np.arange(ANGLES) / ANGLES
    rays = np.cos(angle)[:, None] * first + np.sin(angle)[:, None] * second
    return rays @ direction > 0.05


@settings(max_examples=25)
@given(POSES)
def test_a_rim_is_compared_at_the_same_place_of_the_bone(pose: RigidPose) -> None:
    before = screw()
    after = carried(before, pose)
    up = np.array([0.0, 0.0, 1.0])
    old = surface(before, np.where(world_side(before, up), 1.2, 0.0))
    new = surface(after, np.where(world_side(after, pose.turned(up)), 2.0, 0.0))
    found = rim_growth(
        followed(before, old), followed(after, new), pose, LucencySettings(), 0.25
    )
    # A wrong place of half an angle at both ends of the arc: 1.2 mm on 2 of 18 places.
    assert found.growth_mm == pytest.approx(0.8, abs=0.2)
    assert found.seen_fraction == pytest.approx(1.0, abs=0.05)


STILL = RigidPose(np.eye(3), np.zeros(3), np.zeros(3))


@pytest.mark.parametrize(
    ("old", "new", "growth"),
    [
        (0.0, 0.0, 0.0),
        (0.0, 1.5, 1.5),
        (1.0, 2.5, 1.5),
        (1.5, 1.5, 0.0),
        (2.0, 1.0, -1.0),
    ],
)
def test_growth_is_the_difference_of_widths(
    old: float, new: float, growth: float
) -> None:
    model = screw()
    found = rim_growth(
        followed(model, surface(model, old)),
        followed(model, surface(model, new)),
        STILL,
        LucencySettings(),
        0.25,
    )
    assert found.growth_mm == pytest.approx(growth, abs=1e-9)


@pytest.mark.parametrize(
    ("old", "new", "share", "told"),
    [
        # Half of a narrow rim not told: +0.5 mm where both show it, else +1.5 mm.
        (1.0, 1.5, 0.5, False),
        (1.5, 1.0, 0.5, False),
        # A rim told at nearly all of its places.
        (1.0, 1.5, 0.9, True),
    ],
)
def test_a_rim_that_one_scan_shows_in_part_has_not_grown_by_its_rest(
    old: float, new: float, share: float, told: bool
) -> None:
    model = screw()
    narrow, wide = surface(model, min(old, new)), surface(model, max(old, new))
    width = narrow.width_mm.copy()
    width[round(share * len(width)) :] = 0.0
    narrow = replace(narrow, width_mm=width)
    first, second = (narrow, wide) if old < new else (wide, narrow)
    found = rim_growth(
        followed(model, first), followed(model, second), STILL, LucencySettings(), 0.25
    )
    if told:
        expected = share * (new - old) + (1.0 - share) * new
        assert found.growth_mm == pytest.approx(expected, abs=0.05)
    else:
        assert isinstance(found.growth_mm, NotAssessed)
        assert "partly at other places" in found.growth_mm.reason


@pytest.mark.parametrize(
    ("residual_mm", "radius_mm"), [(0.1, 0.0), (0.42, 0.0), (0.42, 0.3)]
)
def test_what_is_not_known_of_a_shaft_widens_its_tilt(
    residual_mm: float, radius_mm: float
) -> None:
    model = screw()
    model = replace(model, shaft=replace(model.shaft, radius_deviation_mm=radius_mm))
    shaft = replace(bone(STILL), residual_mm=residual_mm)
    found = screw_movement((model, model), FRAME, bone(STILL), shaft, SETTINGS)
    end_mm = np.sqrt(SETTINGS.axis_error_mm**2 + residual_mm**2 + 2.0 * radius_mm**2)
    seen_mm = model.tip_mm - model.neck_mm
    own_deg = 1.96 * np.degrees(np.sqrt(2.0) * end_mm / seen_mm)
    # Bone and shaft were followed to a milliradian each: 0.06 degrees.
    assert found.tilt_deg.uncertainty == pytest.approx(own_deg, abs=0.2)


def test_single_dark_places_are_no_growth() -> None:
    model = screw()
    new = surface(model, 0.0)
    width = new.width_mm.copy()
    width[10:14, 3:14] = 1.4
    found = rim_growth(
        followed(model, surface(model, 0.0)),
        followed(model, replace(new, width_mm=width)),
        STILL,
        LucencySettings(),
        0.25,
    )
    assert abs(found.growth_mm) < 0.1


def test_growth_needs_places_that_both_scans_show() -> None:
    model = screw()
    seen, hidden = surface(model, 0.0), surface(model, 1.5)
    state = hidden.state.copy()
    state[:, 4:] = CellState.HIDDEN
    found = rim_growth(
        followed(model, seen),
        followed(model, replace(hidden, state=state)),
        STILL,
        LucencySettings(),
        0.25,
    )
    assert isinstance(found.growth_mm, NotAssessed)
    assert "both scans" in found.growth_mm.reason
    blind = rim_growth(
        followed(model, None, "streaks hide it"),
        followed(model, seen),
        STILL,
        LucencySettings(),
        0.25,
    )
    assert isinstance(blind.growth_mm, NotAssessed)
    assert "baseline: streaks hide it" in blind.growth_mm.reason


@pytest.mark.parametrize(
    ("old", "new", "refused", "marrow_hu", "growth"),
    [
        (0.0, 1.5, "baseline", 120.0, 1.5),
        (1.5, 0.0, "follow-up", 120.0, None),
        (0.5, 1.5, "follow-up", 120.0, None),
        (0.0, 0.0, "baseline", 120.0, None),
        (0.0, 1.5, "baseline", 50.0, None),
        (0.0, 1.5, "both", 120.0, None),
    ],
)
def test_a_baseline_that_could_not_exclude_a_rim_tells_its_growth_beside_one(
    old: float, new: float, refused: str, marrow_hu: float, growth: float | None
) -> None:
    model, why = screw(), "a gap would have been told at 40 % of its places only"
    before, after = (
        replace(surface(model, width), marrow_hu=marrow_hu) for width in (old, new)
    )
    found = rim_growth(
        followed(model, before, why if refused in ("baseline", "both") else ""),
        followed(model, after, why if refused in ("follow-up", "both") else ""),
        STILL,
        LucencySettings(),
        0.25,
    )
    if growth is None:
        assert isinstance(found.growth_mm, NotAssessed)
        assert why in found.growth_mm.reason
    else:
        assert found.growth_mm == pytest.approx(growth, abs=1e-9)


# --- in one piece -----------------------------------------------------------------

METAL_HU = 9000


def metal_scan(
    models: tuple[ScrewModel, ...],
    gap_mm: tuple[float, float] | None = None,
    rod: tuple[float, float] | None = None,
    kink_deg: float = 0.0,
) -> ScannedSpine:
    """Scan shafts, one with a gap or a bend, and a rod between their heads."""
    geometry = VoxelGeometry.from_axes(
        (70, 90, 60), (1.0, 0.8, 0.8), (-6.0, -16.0, -8.0)
    )
    grid = geometry.index_to_lps(np.moveaxis(np.indices(geometry.shape), 0, -1))
    hu = np.full(geometry.shape, 60, np.int16)
    for model in models:
        if kink_deg:
            middle = model.axis.at(0.5 * model.tip_mm)
            side, _ = model.axis.cross_vectors()
            turn = Rotation.from_rotvec(np.radians(kink_deg) * side)
            front = ScrewAxis(middle, turn.apply(model.axis.forward))
            parts = (
                (model, 0.0, 0.5 * model.tip_mm),
                (replace(model, axis=front), 0.0, 0.5 * model.tip_mm),
            )
        else:
            parts = ((model, 0.0, model.tip_mm),)
        for part, start, end in parts:
            offset = grid - part.axis.point
            t = offset @ part.axis.forward
            radius = np.sqrt(np.maximum((offset**2).sum(-1) - t**2, 0.0))
            inside = (radius <= 3.0) & (t >= start) & (t <= end)
            if gap_mm is not None:
                inside &= (t < gap_mm[0]) | (t > gap_mm[1])
            hu[inside] = METAL_HU
    if rod is not None:
        heads = [model.head_lps_mm for model in models]
        way = heads[1] - heads[0]
        share = (grid - heads[0]) @ way / (way @ way)
        away = np.linalg.norm(grid - heads[0] - share[..., None] * way, axis=-1)
        along = (share >= 0.0) & (share <= 1.0) & ((share < rod[0]) | (share > rod[1]))
        hu[along & (away <= 2.7)] = METAL_HU
    materials = np.where(hu == METAL_HU, 3, 0).astype(np.uint8)
    empty = LabelMap(np.zeros(geometry.shape, np.uint8), geometry)
    return ScannedSpine(
        CTVolume(hu, geometry), Spine(empty, ()), LabelMap(materials, geometry)
    )


def test_a_whole_shaft_is_whole() -> None:
    model = followed(screw(), None)
    state, reason = screw_integrity(model, model, metal_scan((model.model,)), SETTINGS)
    assert (state, reason) == (Integrity.WHOLE, "")


def test_a_gap_in_a_shaft_is_suspected() -> None:
    model = followed(screw(), None)
    scan = metal_scan((model.model,), gap_mm=(22.0, 25.0))
    state, reason = screw_integrity(model, model, scan, SETTINGS)
    assert state is Integrity.SUSPECTED_BREAK
    assert "interrupted over" in reason


def test_a_bent_shaft_is_suspected() -> None:
    model = followed(screw(), None)
    scan = metal_scan((model.model,), kink_deg=6.0)
    state, reason = screw_integrity(model, model, scan, SETTINGS)
    assert state is Integrity.SUSPECTED_BREAK
    assert "bends" in reason


def test_a_shaft_that_lost_its_front_is_suspected() -> None:
    model = screw()
    short = replace(model, tip_mm=model.tip_mm - 15.0)
    scan = metal_scan((short,))
    state, reason = screw_integrity(
        followed(model, None), followed(short, None), scan, SETTINGS
    )
    assert state is Integrity.SUSPECTED_BREAK
    assert "15 mm sooner" in reason


def test_cement_as_bright_as_metal_hides_a_shaft() -> None:
    model = followed(screw(), None)
    scan = metal_scan((model.model,))
    cement = np.where(scan.materials.labels == 0, 1, 3).astype(np.uint8)
    hidden = replace(scan, materials=LabelMap(cement, scan.materials.geometry))
    state, _ = screw_integrity(model, model, hidden, SETTINGS)
    assert isinstance(state, NotAssessed)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ((2.0, 3.0), (2.0, 3.0), Integrity.WHOLE),
        ((2.0, 3.0), (0.4, 0.6), Integrity.SUSPECTED_BREAK),
        (None, None, None),
    ],
    ids=["whole", "broken", "no rod"],
)
def test_a_rod_joins_its_screws(
    before: tuple[float, float] | None,
    after: tuple[float, float] | None,
    expected: Integrity | None,
) -> None:
    lower = screw(level="L5", head=(18.0, 40.0, 8.0), tip=(8.0, -8.0, 8.0))
    upper = screw(level="L4", head=(18.0, 40.0, 42.0), tip=(8.0, -8.0, 42.0))
    screws = tuple(followed(model, None) for model in (lower, upper))
    scans = [
        FollowedScan(metal_scan((lower, upper), rod=gap), screws, {})
        for gap in (before, after)
    ]
    ids = {s.screw_id: s.screw_id for s in screws}
    (found,) = rods_between(scans[0], scans[1], ids)
    assert found.levels == ("L5", "L4")
    if expected is None:
        assert isinstance(found.integrity, NotAssessed)
    else:
        assert found.integrity is expected
