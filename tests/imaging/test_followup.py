from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from cases.moved_vertebra import IDENTITY, Bone, Scan, scanned
from cemscope.anatomy import VertebraLevel
from cemscope.findings import NotAssessed, Side
from cemscope.measurement.followup import FollowupComparison, compare_scans
from cemscope.measurement.followup_findings import BodyHeights, Registration
from cemscope.measurement.followup_scan import FollowedScan, FollowedScrew
from cemscope.registration.rigid_pose import RigidPose
from cemscope.segmentation.implants.screw_model import ScrewModel
from cemscope.segmentation.implants.screw_profile import ScrewAxis, ShaftProfile
from cemscope.segmentation.implants.screw_thread import ThreadEstimate
from cemscope.spine import Spine

LYING = RigidPose(
    np.asarray(Rotation.from_rotvec((3.0, -2.0, 4.0), degrees=True).as_matrix()),
    np.array((6.0, -8.0, 11.0)),
    np.zeros(3),
)
OTHER_BONE = Bone(waist=0.3, process_tilt=-0.8, size=0.84)


@dataclass(frozen=True)
class Later:
    """The second scan: how it is made and what it shows."""

    sides: tuple[Side, ...] = (Side.LEFT, Side.RIGHT)
    spacing_mm: tuple[float, float, float] = (1.0, 0.9, 0.9)
    bone: Bone = field(default_factory=Bone)
    level: str = "L3"
    neighbour: str | None = None


def model(side: Side, level: str, pose: RigidPose) -> ScrewModel:
    across = 11.0 if side is Side.LEFT else -11.0
    start, end = np.array([across, 38.0, 5.0]), np.array([0.6 * across, -8.0, 5.0])
    length = float(np.linalg.norm(end - start))
    axis = ScrewAxis(pose.to_followup(start), pose.turned((end - start) / length))
    return ScrewModel(
        level,
        side,
        axis,
        6.0,
        length,
        ShaftProfile(2.8, 0.5, 9000.0),
        ThreadEstimate(2.6, 4.0),
        0.5,
        30.0,
    )


def scan(pose: RigidPose, later: Later, seed: int) -> FollowedScan:
    one = scanned(
        later.bone, Scan(pose, later.spacing_mm, level=later.level, seed=seed)
    )
    if later.neighbour is not None:
        # A vertebra above, of which nothing else is known.
        known = one.spine.vertebrae[0]
        origin = known.frame.origin_lps_mm + 34.0 * known.frame.superior
        above = replace(
            known,
            level=VertebraLevel(later.neighbour),
            frame=replace(known.frame, origin_lps_mm=origin),
        )
        one = replace(one, spine=Spine(one.spine.labels, (known, above)))
    screws = tuple(
        FollowedScrew(
            f"{later.level}-{side}", model(side, later.level, pose), None, "streaks"
        )
        for side in later.sides
    )
    return FollowedScan(one, screws, {})


def compared(before: Later, after: Later) -> FollowupComparison:
    return compare_scans(scan(IDENTITY, before, 1), scan(LYING, after, 2))


def codes(found: FollowupComparison) -> list[str]:
    return [notice.code for notice in found.notices]


BOTH, ONE, NONE = (Side.LEFT, Side.RIGHT), (Side.LEFT,), ()


@dataclass(frozen=True)
class ScrewCase:
    name: str
    before: tuple[Side, ...]
    after: tuple[Side, ...]
    in_both: tuple[str, ...]
    lost: tuple[str, ...] = ()
    new: tuple[str, ...] = ()


SCREWS = (
    ScrewCase("one was removed", BOTH, ONE, ("L3-left",), lost=("L3-right",)),
    ScrewCase("one was added", ONE, BOTH, ("L3-left",), new=("L3-right",)),
    ScrewCase(
        "one went, one came",
        (Side.RIGHT,),
        ONE,
        (),
        lost=("L3-right",),
        new=("L3-left",),
    ),
)


@pytest.mark.parametrize("case", SCREWS, ids=lambda case: case.name)
def test_screws_of_one_scan_only_are_named_and_not_compared(case: ScrewCase) -> None:
    found = compared(Later(case.before), Later(case.after))
    assert tuple(screw.screw_id for screw in found.screws) == case.in_both
    assert found.only_one.lost_screws == case.lost
    assert found.only_one.new_screws == case.new
    expected = ["screw_missing"] * bool(case.lost) + ["screw_new"] * bool(case.new)
    assert codes(found) == expected
    for notice, names in zip(
        found.notices, [n for n in (case.lost, case.new) if n], strict=True
    ):
        assert all(name in notice.message for name in names)


def test_a_level_of_one_scan_only_is_named_and_not_compared() -> None:
    found = compared(Later(NONE, neighbour="L2"), Later(NONE))
    assert [v.level for v in found.vertebrae] == ["L3"]
    assert found.only_one.lost_levels == ("L2",)
    assert codes(found) == ["levels_not_in_view"]
    found = compared(Later(NONE), Later(NONE, neighbour="L2"))
    assert [v.level for v in found.vertebrae] == ["L3"]
    assert found.only_one.new_levels == ("L2",)


def test_screws_are_not_compared_on_thick_slices() -> None:
    found = compared(Later(), Later(spacing_mm=(2.0, 0.9, 0.9)))
    (bone,) = found.vertebrae
    assert isinstance(bone.registration, Registration)
    assert bone.registration.residual_mm < 0.5
    assert isinstance(bone.heights, BodyHeights)
    assert bone.heights.new_fracture is False
    assert len(found.screws) == 2
    for screw in found.screws:
        for refused in (screw.movement, screw.integrity):
            assert isinstance(refused, NotAssessed)
            assert "slices of 2.00 mm" in refused.reason
        assert isinstance(screw.growth_mm, NotAssessed)


def test_nothing_is_told_of_screws_in_a_vertebra_that_was_not_found_again() -> None:
    found = compared(Later(), Later(bone=OTHER_BONE))
    (bone,) = found.vertebrae
    assert isinstance(bone.registration, NotAssessed)
    assert "refused" in bone.registration.reason
    for screw in found.screws:
        assert isinstance(screw.movement, NotAssessed)
        assert isinstance(screw.growth_mm, NotAssessed)
        assert bone.registration.reason in screw.movement.reason


def test_vertebrae_without_names_are_matched_by_their_bone() -> None:
    found = compared(Later(), Later(level="V1"))
    assert codes(found) == ["levels_matched_by_bone"]
    (bone,) = found.vertebrae
    assert (bone.level, bone.baseline_level) == ("V1", "L3")
    assert [screw.level for screw in found.screws] == ["V1", "V1"]
