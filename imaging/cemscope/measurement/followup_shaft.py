"""Where the shaft of a screw went: its surface followed from scan to scan.

Two fits of one shaft differ by half a degree and more. Following the surface of the
metal itself, as the bone is followed, leaves the errors of a fit out.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.transform import Rotation

from cemscope.registration.bone_edges import BoneEdges, edge_profiles
from cemscope.registration.edge_pose import EdgePose, refine_pose
from cemscope.registration.registration_settings import RegistrationSettings
from cemscope.registration.rigid_pose import RigidPose
from cemscope.registration.vertebra_patch import (
    PatchLimits,
    ScannedSpine,
    VertebraPatch,
    patch_in,
)
from cemscope.segmentation.implants.metal import box_near
from cemscope.segmentation.implants.screw_model import ScrewModel
from cemscope.segmentation.scan_region import ScanRegion, box_of

if TYPE_CHECKING:
    from cemscope.geometry import FloatArray

METAL_HU = 3000.0
"""Metal is compared up to this brightness, as clipped scans show it."""

CEMENT_MARGIN_MM = 2.5
"""So near to cement the surface of a shaft is not seen."""

STEP_MM, RAYS = 1.0, 20
BEHIND_TIP_MM, BEFORE_NECK_MM = 4.0, 2.0
"""The cone of the tip, and the shaft beside its head, are left out."""

PATCH_MARGIN_MM = 10.0
LEAST_POINTS = 60
LEAST_AGREEMENT = 0.5


def follow_shaft(
    scans: tuple[ScannedSpine, ScannedSpine],
    screws: tuple[ScrewModel, ScrewModel],
    bone: RigidPose,
    settings: RegistrationSettings,
) -> EdgePose | None:
    """Find the shaft of the baseline in the follow-up scan.

    Parameters
    ----------
    scans, screws
        Both scans, and the fitted screw in both.
    bone
        How its vertebra moved.
    settings
        Those of bone.

    Returns
    -------
    EdgePose or None
        How the shaft moved, about its middle; the movement along the axis and the turn
        about it are hardly known. None where too little of its surface is seen.
    """
    before, after = screws
    patches = [_patch(scan, screw) for scan, screw in zip(scans, screws, strict=True)]
    if patches[0] is None or patches[1] is None:
        return None
    edges = _surface(before, patches[0])
    if len(edges.points_lps_mm) < LEAST_POINTS:
        return None
    own = replace(settings, least_edges=LEAST_POINTS)
    middle = before.axis.at(0.5 * (before.neck_mm + before.tip_mm))
    starts = (bone.about(middle), fitted_pose(before, after, bone).about(middle))
    found = [refine_pose(edges, patches[1], start, own) for start in starts]
    return best_pose(found)


def best_pose(found: Sequence[EdgePose | None]) -> EdgePose | None:
    """Pose on which most of the surface agrees, where that is enough."""
    best = max(
        (one for one in found if one is not None),
        key=lambda one: one.agreement,
        default=None,
    )
    return best if best is not None and best.agreement >= LEAST_AGREEMENT else None


def fitted_pose(before: ScrewModel, after: ScrewModel, bone: RigidPose) -> RigidPose:
    """Movement of the shaft as its two fits tell it: beside that of its bone."""
    start, end = before.axis.forward, bone.turned_back(after.axis.forward)
    turn, _ = Rotation.align_vectors(end[None], start[None])
    middle = before.axis.at(0.5 * before.tip_mm)
    there = bone.to_baseline(after.axis.at(0.5 * after.tip_mm))
    return bone.about(middle).moved(turn.as_rotvec(), there - middle)


def _patch(scan: ScannedSpine, screw: ScrewModel) -> VertebraPatch | None:
    whole = box_of(np.zeros(3, int), np.array(scan.ct.hu.shape))
    region = ScanRegion.of_box(scan.ct, scan.spine.labels, whole)
    box = box_near(region, screw, PATCH_MARGIN_MM)
    if any(part.stop <= part.start for part in box):
        return None
    own = np.zeros(scan.ct.hu[box].shape, np.bool_)
    limits = PatchLimits(0.7, 0.0, CEMENT_MARGIN_MM, METAL_HU)
    return patch_in(scan, box, own, limits)


def _surface(screw: ScrewModel, patch: VertebraPatch) -> BoneEdges:
    """Points on the fitted surface, with their profiles into the metal."""
    t = np.arange(screw.neck_mm + BEFORE_NECK_MM, screw.tip_mm - BEHIND_TIP_MM, STEP_MM)
    first, second = screw.axis.cross_vectors()
    angle = 2.0 * np.pi * np.arange(RAYS) / RAYS
    rays = np.cos(angle)[:, None] * first + np.sin(angle)[:, None] * second
    points = (screw.axis.at(t)[:, None] + screw.shaft.radius_mm * rays).reshape(-1, 3)
    inward: FloatArray = np.tile(-rays, (t.size, 1))
    open_ = ~patch.near(patch.hidden, points)
    return edge_profiles(patch, points[open_], inward[open_])
