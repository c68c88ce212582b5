"""Movement of cement in its own vertebra."""

from dataclasses import replace

import numpy as np

from cemscope.findings import CementVolume, NotAssessed
from cemscope.geometry import FloatArray
from cemscope.measurement.followup_findings import (
    CementMovement,
    Change,
    Displacement,
)
from cemscope.measurement.followup_settings import FollowupSettings
from cemscope.registration.bone_edges import find_bone_edges, follow_edges
from cemscope.registration.edge_pose import EdgePose, refine_pose
from cemscope.registration.vertebra_patch import (
    PatchLimits,
    ScannedSpine,
    VertebraPatch,
    patch_in,
)
from cemscope.registration.vertebra_registration import RegisteredVertebra
from cemscope.segmentation.scan_region import box_around, within_mm
from cemscope.spine import Vertebra

CEMENT = 1
"""Number of cement within a vertebra in ``materials.nii.gz``."""

BRIGHT_HU = 2500.0
"""Cement is compared up to this brightness; metal is masked."""

CEMENT_EDGE_HU_PER_MM = 150.0
LEAST_CEMENT_EDGES = 40
METAL_MARGIN_MM = 3.0

NEAR_BODY_MM = 2.0
"""Cement this near to a body's outline is the vertebra's."""


def cement_movement(
    baseline: ScannedSpine,
    followup: ScannedSpine,
    found: RegisteredVertebra,
    volumes: tuple[CementVolume | NotAssessed, CementVolume | NotAssessed],
    settings: FollowupSettings,
) -> CementMovement | NotAssessed:
    """Compare the cement of a registered vertebra.

    Parameters
    ----------
    baseline, followup
        Both scans.
    found
        The vertebra in both.
    volumes
        Its cement in both.
    settings
        Limits.
    """
    for volume, which in zip(volumes, ("baseline", "follow-up"), strict=True):
        if isinstance(volume, NotAssessed):
            return NotAssessed(f"cement is not assessed in the {which}")
        if volume.volume_ml < settings.least_cement_ml:
            return NotAssessed(
                f"{volume.volume_ml:.2f} mL of cement in the {which} are too little to "
                "tell a movement"
            )
    limits = PatchLimits(settings.registration.blur_mm, METAL_MARGIN_MM, 0.0, BRIGHT_HU)
    first = _cement_patch(baseline, found.pair[0], limits)
    second = _cement_patch(followup, found.pair[1], limits)
    if first is None or second is None:
        return NotAssessed("no cement of this vertebra is marked in one of the scans")
    centre = _centroid(first)
    bone = found.found
    away = bone.pose.to_baseline(_centroid(second)) - centre
    starts = [bone.pose.about(centre)]
    starts.append(starts[0].moved(np.zeros(3), away))
    edges = find_bone_edges(first, CEMENT_EDGE_HU_PER_MM)
    few = replace(settings.registration, least_edges=LEAST_CEMENT_EDGES)
    tried = [refine_pose(edges, second, start, few) for start in starts]
    best = max(
        (one for one in tried if one is not None),
        key=lambda one: one.agreement,
        default=None,
    )
    if best is None or best.agreement < settings.registration.least_agreement:
        return NotAssessed(
            "the surface of the cement is not seen alike in both scans (metal hides "
            "it, or its shape has changed)"
        )
    return _movement(best, bone, centre, (first, second), found, volumes, settings)


def _cement_patch(
    scan: ScannedSpine, vertebra: Vertebra, limits: PatchLimits
) -> VertebraPatch | None:
    labels = scan.spine.labels.labels
    geometry = scan.ct.geometry
    body = labels == vertebra.level.number
    box = box_around(body, geometry, 12.0)
    if box is None:
        return None
    near = within_mm(body[box], NEAR_BODY_MM, geometry.spacing_mm)
    near &= (labels[box] == 0) | body[box]
    cement = near & (scan.materials.labels[box] == CEMENT)
    if not cement.any():
        return None
    patch = patch_in(scan, box, cement, limits)
    return VertebraPatch(
        patch.hu, cement, np.zeros_like(cement), patch.hidden, patch.geometry
    )


def _centroid(patch: VertebraPatch) -> FloatArray:
    points = patch.geometry.index_to_lps(np.argwhere(patch.own))
    return np.asarray(points.mean(axis=0), np.float64)


def _movement(
    cement: EdgePose,
    bone: EdgePose,
    centre: FloatArray,
    patches: tuple[VertebraPatch, VertebraPatch],
    found: RegisteredVertebra,
    volumes: tuple[CementVolume | NotAssessed, CementVolume | NotAssessed],
    settings: FollowupSettings,
) -> CementMovement:
    way = bone.pose.to_baseline(cement.pose.to_followup(centre)) - centre
    frame = found.pair[0].frame
    axes = np.array([frame.left, frame.posterior, frame.superior])
    distance = float(np.linalg.norm(way))
    direction = way / distance if distance > 1e-6 else frame.superior
    deviation = np.hypot(
        cement.deviation_mm(centre, direction), bone.deviation_mm(centre, direction)
    )
    x, y, z = (float(v) for v in way @ axes.T)
    change = Change(distance, float(1.96 * np.hypot(deviation, LEAST_DEVIATION_MM)))
    edges = find_bone_edges(patches[0], CEMENT_EDGE_HU_PER_MM)
    points = edges.points_lps_mm
    moved = bone.pose.to_baseline(cement.pose.to_followup(points)) - points
    left = follow_edges(edges, patches[1], cement.pose, SURFACE_REACH_MM)
    alike = left.visible & (left.likeness > 0.0)
    total = np.abs((moved * edges.inward).sum(axis=1) + left.shift_mm)[alike]
    turned, _ = bone.pose.difference(cement.pose)
    return CementMovement(
        Displacement(change, (x, y, z)),
        turned,
        float(np.quantile(total, 0.95)) if total.size else distance,
        _volume_change(volumes),
        distance >= settings.moved_cement_mm and change.certain,
    )


LEAST_DEVIATION_MM = 0.1
SURFACE_REACH_MM = 2.0


def _volume_change(
    volumes: tuple[CementVolume | NotAssessed, CementVolume | NotAssessed],
) -> Change | NotAssessed:
    before, after = volumes
    if isinstance(before, NotAssessed) or isinstance(after, NotAssessed):
        return NotAssessed("cement is not assessed in both scans")
    widths = [
        0.5 * (one.interval.high_ml - one.interval.low_ml) for one in (before, after)
    ]
    half_width = float(np.hypot(widths[0], widths[1]))
    return Change(after.volume_ml - before.volume_ml, half_width)
