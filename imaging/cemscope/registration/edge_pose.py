"""Pose of a vertebra from the edges of its bone, with its uncertainty.

Each edge tells the movement along its normal; the six parameters follow by weighted
least squares (point to plane, Chen and Medioni 1992, doi:10.1016/0262-8856(92)90066-C).
Edges that do not agree, e.g. of an endplate that has fallen since, count little
(Tukey's weights).
"""

from dataclasses import dataclass

import numpy as np

from cemscope.geometry import FloatArray
from cemscope.registration.bone_edges import BoneEdges, EdgeShifts, follow_edges
from cemscope.registration.registration_settings import RegistrationSettings
from cemscope.registration.rigid_pose import RigidPose
from cemscope.registration.vertebra_patch import VertebraPatch

ROUNDS = 6

AGREEING_MM = 0.7
"""An edge agrees with a pose if it lies this near to where it should."""

INDEPENDENT_MM = 8.0
"""Errors of edges in a cube of this size are alike: streaks, partial volume."""


@dataclass(frozen=True, slots=True, eq=False)
class EdgePose:
    """A pose, and how well the edges of bone bear it out.

    Attributes
    ----------
    pose : RigidPose
        About the centre of the vertebra.
    residual_mm : float
        Root mean square distance of the edges that agree from where they should lie.
    agreement : float
        Share of the visible edges that agree.
    edges : int
        Visible edges.
    covariance : ndarray, shape (6, 6)
        Of turn (rad) and movement (mm) of the pose, in baseline axes.
    shifts : EdgeShifts
        What is left at each edge.
    """

    pose: RigidPose
    residual_mm: float
    agreement: float
    edges: int
    covariance: FloatArray
    shifts: EdgeShifts

    def deviation_mm(self, point_lps_mm: FloatArray, direction: FloatArray) -> float:
        """Give the standard deviation of a baseline point's place in a direction."""
        row = _row(point_lps_mm - self.pose.centre_mm, direction)
        variance = float(row @ self.covariance @ row)
        return float(np.sqrt(max(variance, 0.0)))

    def turn_deviation_deg(self, axis: FloatArray) -> float:
        """Give the standard deviation of the turn about an axis."""
        turn = self.covariance[:3, :3]
        variance = float(axis @ turn @ axis)
        return float(np.degrees(np.sqrt(max(variance, 0.0))))


def refine_pose(
    edges: BoneEdges,
    followup: VertebraPatch,
    start: RigidPose,
    settings: RegistrationSettings,
) -> EdgePose | None:
    """Improve a pose by the edges of bone.

    Returns
    -------
    EdgePose or None
        None where fewer than ``settings.least_edges`` are visible.
    """
    pose = start
    reaches = np.linspace(settings.reach_mm, settings.final_reach_mm, ROUNDS)
    design = np.array([])
    for reach in reaches:
        shifts = follow_edges(edges, followup, pose, float(reach))
        if shifts.visible.sum() < settings.least_edges:
            return None
        weight = _weights(shifts, settings, float(reach))
        design = _row(edges.points_lps_mm - pose.centre_mm, edges.inward)
        normal = design.T @ (design * weight[:, None]) + PRIOR
        step = np.linalg.solve(normal, design.T @ (weight * shifts.shift_mm))
        pose = pose.moved(step[:3], step[3:])
    shifts = follow_edges(edges, followup, pose, settings.final_reach_mm)
    return _judged(edges, shifts, pose, settings)


PRIOR = np.diag([1.0, 1.0, 1.0, 1e-3, 1e-3, 1e-3])
"""Keeps the solution finite where edges say nothing about a direction."""


def _row(offset_mm: FloatArray, direction: FloatArray) -> FloatArray:
    """Derive a movement along a direction by turn and by shift."""
    return np.concatenate([np.cross(offset_mm, direction), direction], axis=-1)


def _weights(
    shifts: EdgeShifts, settings: RegistrationSettings, reach_mm: float
) -> FloatArray:
    width = settings.outlier_mm * max(1.0, reach_mm / settings.final_reach_mm)
    inside = np.clip(1.0 - (shifts.shift_mm / width) ** 2, 0.0, None) ** 2
    alike = shifts.likeness >= settings.edge_likeness
    weight: FloatArray = inside * alike * shifts.visible
    return weight


def _judged(
    edges: BoneEdges,
    shifts: EdgeShifts,
    pose: RigidPose,
    settings: RegistrationSettings,
) -> EdgePose:
    visible = shifts.visible
    alike = visible & (shifts.likeness >= settings.edge_likeness)
    near = alike & (np.abs(shifts.shift_mm) <= settings.outlier_mm)
    agreeing = alike & (np.abs(shifts.shift_mm) <= AGREEING_MM)
    left = shifts.shift_mm[near]
    residual = float(np.sqrt(np.mean(left**2))) if left.size else np.inf
    weight = _weights(shifts, settings, settings.final_reach_mm)
    design = _row(edges.points_lps_mm - pose.centre_mm, edges.inward)
    cells = np.floor(edges.points_lps_mm[near] / INDEPENDENT_MM).astype(int)
    groups = max(1, len(np.unique(cells, axis=0)))
    alike_errors = max(1.0, near.sum() / groups)
    normal = design.T @ (design * weight[:, None]) + PRIOR
    covariance = np.linalg.inv(normal) * min(residual, 5.0) ** 2 * alike_errors
    return EdgePose(
        pose,
        residual,
        float(agreeing.sum() / max(visible.sum(), 1)),
        int(visible.sum()),
        covariance,
        shifts,
    )
