"""Tilt and migration of a screw in its own vertebra."""

from dataclasses import dataclass

import numpy as np

from cemscope.findings import Side
from cemscope.geometry import FloatArray
from cemscope.measurement.followup_findings import (
    Change,
    Direction,
    Displacement,
    ScrewMovement,
)
from cemscope.measurement.followup_settings import FollowupSettings
from cemscope.measurement.followup_shaft import fitted_pose
from cemscope.registration.edge_pose import EdgePose
from cemscope.registration.rigid_pose import RigidPose
from cemscope.segmentation.implants.screw_model import ScrewModel
from cemscope.spine import VertebraFrame

NORMAL_95 = 1.96
"""Half-width of a 95 % interval in standard deviations."""


def screw_movement(
    screws: tuple[ScrewModel, ScrewModel],
    frame: VertebraFrame,
    bone: EdgePose,
    shaft: EdgePose | None,
    settings: FollowupSettings,
) -> ScrewMovement:
    """Compare a screw in both scans.

    Parameters
    ----------
    screws
        The fitted screw in the baseline and in the follow-up scan.
    frame
        Of its vertebra in the baseline.
    bone
        How the vertebra moved.
    shaft
        How the shaft moved (`followup_shaft.follow_shaft`); None takes its two fits,
        which are less exact.
    settings
        Errors and limits.
    """
    before, after = screws
    path = _Path.of(before, after, bone, shaft, settings)
    axes = np.array([frame.left, frame.posterior, frame.superior])
    first, second = before.axis.forward @ axes.T, path.forward @ axes.T
    towards = -1.0 if after.side is Side.LEFT else 1.0
    up = np.cross(before.axis.forward, frame.superior)
    tilt = Change(
        _elevation_deg(second) - _elevation_deg(first),
        NORMAL_95 * path.turn_deviation_deg(up / np.linalg.norm(up)),
    )
    convergence = Change(
        towards * (_sideways_deg(second) - _sideways_deg(first)),
        NORMAL_95 * path.turn_deviation_deg(frame.superior),
    )
    tip = path.displacement(before.tip_lps_mm, axes, path.tip_along)
    return ScrewMovement(
        after.level,
        after.side,
        tilt,
        convergence,
        tip,
        path.displacement(before.head_lps_mm, axes, path.head_along),
        Change(path.tip_along[0], NORMAL_95 * path.tip_along[1]),
        _beyond(tilt, settings.moved_tilt_deg)
        or _beyond(convergence, settings.moved_tilt_deg)
        or _beyond(tip.distance_mm, settings.moved_tip_mm),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Path:
    """Movement of a shaft in its vertebra.

    ``tip_along`` and ``head_along`` are the movement of both ends along the axis, with
    its standard deviation, mm.
    """

    before: ScrewModel
    forward: FloatArray
    bone: EdgePose
    shaft: EdgePose | None
    fitted: RigidPose
    end_error_mm: float
    tip_along: tuple[float, float]
    head_along: tuple[float, float]

    @classmethod
    def of(
        cls,
        before: ScrewModel,
        after: ScrewModel,
        bone: EdgePose,
        shaft: EdgePose | None,
        settings: FollowupSettings,
    ) -> "_Path":
        pose = bone.pose
        axis = before.axis
        tip = float((pose.to_baseline(after.tip_lps_mm) - axis.point) @ axis.forward)
        head = float((pose.to_baseline(after.head_lps_mm) - axis.point) @ axis.forward)
        head_error = float(np.sqrt(2.0) * settings.head_error_mm)
        tip_error = _tip_error_mm(before, after, settings)
        tip_along = (tip - before.tip_mm, tip_error)
        head_along = (head, head_error)
        grown = abs(after.tip_mm - before.tip_mm)
        if grown > NORMAL_95 * np.hypot(tip_error, head_error):
            # A screw keeps its length: one end was not seen where it is, and nothing
            # tells which. The smaller movement is told, and reaches to the other.
            least, most = sorted((tip_along, head_along), key=lambda end: abs(end[0]))
            doubt = abs(most[0] - least[0]) / NORMAL_95
            tip_along = head_along = (least[0], float(np.hypot(least[1], doubt)))
        fitted = fitted_pose(before, after, pose)
        forward = (
            after.axis.forward if shaft is None else shaft.pose.turned(axis.forward)
        )
        return cls(
            before,
            pose.turned_back(forward),
            bone,
            shaft,
            fitted,
            _end_error_mm(before, after, shaft, settings),
            tip_along,
            head_along,
        )

    def turn_deviation_deg(self, axis: FloatArray) -> float:
        """Give the standard deviation of a turn about an axis across the shaft."""
        across = axis - (axis @ self.before.axis.forward) * self.before.axis.forward
        across = across / max(float(np.linalg.norm(across)), 1e-9)
        apart_mm = max(self.before.tip_mm - self.before.neck_mm, 1.0)
        own = np.degrees(np.sqrt(2.0) * self.end_error_mm / apart_mm)
        parts = [own, self.bone.turn_deviation_deg(axis)]
        if self.shaft is not None:
            parts.append(self.shaft.turn_deviation_deg(across))
        return float(np.linalg.norm(parts))

    def displacement(
        self, point: FloatArray, axes: FloatArray, along: tuple[float, float]
    ) -> Displacement:
        """Movement of a point of the axis: across by the shaft, along by its ends."""
        pose = self.fitted if self.shaft is None else self.shaft.pose
        forward = self.before.axis.forward
        way = self.bone.pose.to_baseline(pose.to_followup(point)) - point
        across = way - (way @ forward) * forward
        way = across + along[0] * forward
        distance = float(np.linalg.norm(way))
        direction = way / distance if distance > 1e-6 else forward
        share = float(direction @ forward) ** 2
        variance = share * along[1] ** 2 + (1.0 - share) * self.end_error_mm**2
        variance += self.bone.deviation_mm(point, direction) ** 2
        size = float(np.linalg.norm(across))
        if self.shaft is not None and size > 1e-6:
            told = self.shaft.deviation_mm(point, across / size)
            variance += (1.0 - share) * told**2
        x, y, z = (float(v) for v in way @ axes.T)
        parts: Direction = (x, y, z)
        return Displacement(
            Change(distance, NORMAL_95 * float(np.sqrt(variance))), parts
        )


def _beyond(change: Change, limit: float) -> bool:
    return abs(change.value) >= limit and change.certain


def _elevation_deg(local: FloatArray) -> float:
    """Angle against the plane of the endplates."""
    return float(np.degrees(np.arcsin(np.clip(local[2], -1.0, 1.0))))


def _sideways_deg(local: FloatArray) -> float:
    """Angle against the midline in the plane of the endplates; positive: left."""
    return float(np.degrees(np.arctan2(local[0], -local[1])))


def _end_error_mm(
    before: ScrewModel,
    after: ScrewModel,
    shaft: EdgePose | None,
    settings: FollowupSettings,
) -> float:
    """Give the standard deviation of the movement of a shaft's end across its axis.

    Streaks and slices draw one side of a shaft away along all of its half: what is left
    of its surface, and what is not known of its radius, does not average out.
    """
    if shaft is None:
        return settings.fit_error_mm
    unsure = [model.shaft.radius_deviation_mm for model in (before, after)]
    parts = (settings.axis_error_mm, shaft.residual_mm, *unsure)
    return float(np.linalg.norm(parts))


def _tip_error_mm(
    before: ScrewModel, after: ScrewModel, settings: FollowupSettings
) -> float:
    """Give the standard deviation of the difference of two tips along the axis."""
    parts = [
        max(settings.tip_error_mm, model.tip_uncertainty_mm / NORMAL_95)
        for model in (before, after)
    ]
    return float(np.hypot(parts[0], parts[1]))
