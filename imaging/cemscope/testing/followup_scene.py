"""Two finished scans of one patient, with the truth of what changed.

scene = make_followup_scene(draw_followup_case(7))
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.transform import Rotation

from cemscope.findings import Side
from cemscope.geometry import FloatArray
from cemscope.registration.rigid_pose import RigidPose
from cemscope.spine import VertebraFrame
from cemscope.testing.cement_case import CementCase
from cemscope.testing.cement_scene import CementScene, Scanner, make_cement_scene
from cemscope.testing.followup_case import CementChange, FollowupCase, ScrewChange
from cemscope.testing.halo_patient import HaloPatient, ScrewHalo
from cemscope.testing.lumbar_cement import LevelCement
from cemscope.testing.lumbar_implants import PlacedScrew
from cemscope.testing.lumbar_scene import metal_fields
from cemscope.testing.quick_scanner import QuickScan, quick_scan
from cemscope.testing.scalar_field import (
    Box,
    Lattice,
    PlaneGrid,
    Pose,
    ScalarField,
)
from cemscope.testing.spine_patient import METAL_GRID_MM, SpinePatient, lay_patient
from cemscope.volume import CTVolume

HEIGHT_STEP_MM = 0.1


@dataclass(frozen=True, slots=True)
class ScrewTruth:
    """True movement of a screw in its vertebra."""

    level: str
    side: Side
    tilt_deg: float
    tip_mm: float
    growth_mm: float


@dataclass(frozen=True, slots=True, eq=False)
class LevelTruth:
    """One vertebra in both scans.

    Attributes
    ----------
    level : str
        Its name.
    pose : RigidPose
        How it moved.
    frame : VertebraFrame
        Its axes in the baseline.
    bodies : tuple of ScalarField
        Distance to the body's surface in both scans.
    later : VertebraFrame
        The same axes in the follow-up.
    cement_mm : float
        How far its cement moved in it.
    """

    level: str
    pose: RigidPose
    frame: VertebraFrame
    bodies: tuple[ScalarField, ScalarField]
    later: VertebraFrame
    cement_mm: float

    def height_loss_mm(self, columns_mm: FloatArray) -> FloatArray:
        """Loss of height in columns (left, posterior) of the baseline's frame."""
        heights = [
            _heights(body, frame, columns_mm)
            for body, frame in zip(self.bodies, (self.frame, self.later), strict=True)
        ]
        return heights[0] - heights[1]

    def heights_mm(self, columns_mm: FloatArray) -> FloatArray:
        """Heights of the baseline in columns (left, posterior)."""
        return _heights(self.bodies[0], self.frame, columns_mm)


def _heights(
    body: ScalarField, frame: VertebraFrame, columns_mm: FloatArray
) -> FloatArray:
    z = np.arange(-30.0, 30.0, HEIGHT_STEP_MM)
    local = np.empty((len(columns_mm), z.size, 3))
    local[..., :2] = columns_mm[:, None]
    local[..., 2] = z
    inside = body.at(frame.to_lps_mm(local)) < 0.0
    return np.asarray(inside.sum(axis=1) * HEIGHT_STEP_MM, np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class FollowupScene:
    """Two scans and what is known about their difference.

    ``levels`` holds the vertebrae that both scans reach.
    """

    case: FollowupCase
    baseline: CementScene
    followup: CementScene
    levels: tuple[LevelTruth, ...]
    screws: tuple[ScrewTruth, ...]


class WornPatient(HaloPatient):
    """A patient with gaps, of whom all vertebrae are scanned finely."""

    __slots__ = ()

    def fine_box(self, grid: PlaneGrid) -> Box | None:
        """Cells round the vertebrae and implants."""
        return self.patient.fine_box(grid)


def make_followup_scene(case: FollowupCase) -> FollowupScene:
    """Build and scan the patient twice."""
    first = lay_patient(case.baseline, _reach(case.scans[0]))
    bare = replace(case.followup, screws=(), vertebroplasties=())
    empty = lay_patient(bare, _reach(case.scans[1]))
    frames = [_frames(patient) for patient in (first, empty)]
    poses = {
        name: RigidPose.between(frame, frames[1][name])
        for name, frame in frames[0].items()
        if name in frames[1]
    }
    second = _treated(case, first, empty, poses, frames[0])
    scenes = [
        make_cement_scene(
            CementCase(case.seed, case.family, case.targets, patient.settings, scan),
            patient,
            _scanner(patient, halos),
        )
        for patient, scan, halos in zip(
            (first, second), case.scans, case.halos, strict=True
        )
    ]
    moved = {change.level: change for change in case.cement}
    later = {bone.name: bone for bone in second.bones}
    levels = tuple(
        LevelTruth(
            bone.name,
            poses[bone.name],
            frames[0][bone.name],
            (bone.shape.body, later[bone.name].shape.body),
            frames[1][bone.name],
            float(np.linalg.norm(moved[bone.name].shift_mm))
            if bone.name in moved
            else 0.0,
        )
        for bone in first.bones
        if bone.name in poses and bone.name in later
    )
    screws = tuple(_screw_truth(case, screw) for screw in first.screws)
    return FollowupScene(case, scenes[0], scenes[1], levels, screws)


def _reach(scan: QuickScan) -> tuple[float, float]:
    low = scan.first_mm[2]
    return low, low + scan.slice_increment_mm * (scan.slices - 1)


def _frames(patient: SpinePatient) -> dict[str, VertebraFrame]:
    """Axes of the unbroken bodies on the table."""
    pose = patient.settings.pose
    return {v.plan.name: _laid(v.frame, pose) for v in patient.standing.vertebrae}


def _laid(frame: VertebraFrame, pose: Pose) -> VertebraFrame:
    return VertebraFrame(
        pose.to_table(frame.origin_lps_mm),
        pose.turn(frame.left),
        pose.turn(frame.posterior),
        pose.turn(frame.superior),
    )


def _scanner(patient: SpinePatient, halos: tuple[ScrewHalo, ...]) -> Scanner:
    def scan(_: object, how: QuickScan) -> CTVolume:
        if not halos:
            return quick_scan(patient, how)
        return quick_scan(WornPatient(patient, halos[0].level, halos), how)

    return scan


def _treated(
    case: FollowupCase,
    first: SpinePatient,
    empty: SpinePatient,
    poses: dict[str, RigidPose],
    frames: dict[str, VertebraFrame],
) -> SpinePatient:
    """Give the later patient the implants of the first scan, where they went."""
    changes = {(c.level, c.side): c for c in case.screws}
    screws = tuple(
        _carried(
            screw,
            poses[screw.plan.level],
            frames[screw.plan.level],
            changes.get((screw.plan.level, screw.plan.side)),
        )
        for screw in first.screws
    )
    metal = metal_fields(screws, case.baseline.rods, METAL_GRID_MM) if screws else ()
    shifts = {c.level: c for c in case.cement}
    cements = tuple(
        _carried_cement(one, poses[one.level], frames[one.level], shifts.get(one.level))
        for one in first.cements
    )
    return replace(empty, screws=screws, metal_parts=metal, cements=cements)


def _carried(
    screw: PlacedScrew,
    pose: RigidPose,
    frame: VertebraFrame,
    change: ScrewChange | None,
) -> PlacedScrew:
    head, tip, entry = screw.head_mm, screw.tip_mm, screw.entry_mm
    if change is not None:
        # Turning about the left axis by a positive angle brings a tip in front down.
        side = 1.0 if screw.plan.side is Side.LEFT else -1.0
        turn = Rotation.from_rotvec(
            np.radians(-change.tilt_deg) * frame.left
            + np.radians(side * -change.convergence_deg) * frame.superior
        )
        along = change.along_mm * screw.axis
        tip = head + turn.apply(tip - head) + along
        entry = head + turn.apply(entry - head) + along
        head = head + along
    return replace(
        screw,
        head_mm=pose.to_followup(head),
        tip_mm=pose.to_followup(tip),
        entry_mm=pose.to_followup(entry),
    )


def _carried_cement(
    cement: LevelCement,
    pose: RigidPose,
    frame: VertebraFrame,
    change: CementChange | None,
) -> LevelCement:
    field = cement.cement
    shift = np.zeros(3)
    if change is not None:
        axes = np.array([frame.left, frame.posterior, frame.superior])
        shift = np.asarray(change.shift_mm) @ axes
    corners = pose.to_followup(field.corners_mm() + shift)
    lattice = Lattice.around(
        corners.min(axis=0), corners.max(axis=0), field.lattice.spacing_mm
    )
    values = field.at(pose.to_baseline(lattice.points_mm()) - shift)
    return replace(cement, cement=ScalarField(values, lattice, field.outside), leaks=())


def _screw_truth(case: FollowupCase, screw: PlacedScrew) -> ScrewTruth:
    plan = screw.plan
    change = next(
        (c for c in case.screws if (c.level, c.side) == (plan.level, plan.side)), None
    )
    widths = [
        next(
            (h.width_mm for h in halos if (h.level, h.side) == (plan.level, plan.side)),
            0.0,
        )
        for halos in case.halos
    ]
    if change is None:
        return ScrewTruth(plan.level, plan.side, 0.0, 0.0, widths[1] - widths[0])
    length = float(np.linalg.norm(screw.tip_mm - screw.head_mm))
    across = 2.0 * length * np.sin(0.5 * np.radians(abs(change.tilt_deg)))
    return ScrewTruth(
        plan.level,
        plan.side,
        change.tilt_deg,
        float(np.hypot(across, change.along_mm)),
        widths[1] - widths[0],
    )
