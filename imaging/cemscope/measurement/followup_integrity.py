"""Whether screws and rods are still in one piece."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cemscope.findings import NotAssessed, Side
from cemscope.geometry import FloatArray, VoxelGeometry
from cemscope.measurement.followup_findings import Integrity, RodFollowup
from cemscope.measurement.followup_scan import FollowedScan, FollowedScrew
from cemscope.measurement.followup_settings import FollowupSettings
from cemscope.registration.vertebra_patch import ScannedSpine
from cemscope.segmentation.implants.screw_model import ScrewModel
from cemscope.segmentation.scan_region import ScanRegion, box_around, box_of

STEP_MM = 0.25
METAL = (3, 4)

GAP_SHARE = 0.6
"""A shaft is interrupted where it is darker than this share of itself."""

INNER_SHARE = 0.6
"""Rays inside the shaft are read up to this share of its radius."""

CEMENT_NEAR_MM = 2.0
"""Cement this near may be as bright as the shaft and fill a gap."""

LEAST_FREE_MM = 8.0
"""Less of a shaft outside cement tells nothing."""


def screw_integrity(
    before: FollowedScrew,
    after: FollowedScrew,
    scan: ScannedSpine,
    settings: FollowupSettings,
) -> tuple[Integrity | NotAssessed, str]:
    """Tell whether a shaft is whole, and why not.

    Looks for a gap outside cement, for a bend against the baseline's straight axis, and
    for a shaft that is much shorter than before.
    """
    missing_mm = before.model.tip_mm - after.model.tip_mm
    t, inside, ring, covered = _core(after.model, scan, after.model.tip_mm)
    free = ~covered
    if free.sum() * STEP_MM < LEAST_FREE_MM:
        return NotAssessed("cement as bright as metal hides the shaft"), ""
    usual = float(np.median(inside[free]))
    if missing_mm >= settings.shorter_mm:
        beyond, ahead, _, hidden = _core(after.model, scan, before.model.tip_mm + 1.0)
        front = beyond > after.model.tip_mm + 1.0
        if (ahead[front] >= GAP_SHARE * usual).mean() > 0.5 or hidden[front].any():
            return NotAssessed("cement as bright as metal hides where it ends"), ""
        return Integrity.SUSPECTED_BREAK, (
            f"the shaft ends {missing_mm:.0f} mm sooner than in the baseline"
        )
    dark = free & (inside < GAP_SHARE * usual)
    for part in _runs(dark):
        length_mm = (part.stop - part.start) * STEP_MM
        if length_mm >= settings.gap_mm and part.start > 0 and part.stop < t.size:
            return Integrity.SUSPECTED_BREAK, (
                f"the shaft is interrupted over {length_mm:.1f} mm, "
                f"{t[part.start]:.0f} mm in front of the head"
            )
    bend = _bend_deg(ring[free], t[free])
    if bend is not None and bend >= settings.kink_deg:
        return Integrity.SUSPECTED_BREAK, f"the shaft bends by {bend:.1f} degrees"
    return Integrity.WHOLE, ""


def _core(
    screw: ScrewModel, scan: ScannedSpine, end_mm: float
) -> tuple[FloatArray, FloatArray, FloatArray, np.ndarray]:
    """Position, brightness, centre of metal across the axis, and cover by cement."""
    whole = box_of(np.zeros(3, int), np.array(scan.ct.hu.shape))
    region = ScanRegion.of_box(scan.ct, scan.spine.labels, whole)
    t = np.arange(screw.neck_mm + 3.0, end_mm - 3.0, STEP_MM)
    first, second = screw.axis.cross_vectors()
    reach = np.arange(-2.2, 2.2001, 0.2) * screw.shaft.radius_mm
    u, v = np.meshgrid(reach, reach, indexing="ij")
    plane = u[..., None] * first + v[..., None] * second
    points = screw.axis.at(t)[:, None, None] + plane
    hu = region.sample_hu(points).astype(np.float64)
    near = np.hypot(u, v) <= INNER_SHARE * screw.shaft.radius_mm
    # The bore of a cannulated screw is dark: its wall counts.
    inside = np.quantile(hu[:, near], 0.75, axis=1)
    weight = np.clip(hu - 0.5 * np.median(inside), 0.0, None)
    weight *= np.hypot(u, v) <= 1.5 * screw.shaft.radius_mm
    total = np.maximum(weight.sum(axis=(1, 2)), 1e-6)
    centre = np.stack(
        [(weight * axis).sum(axis=(1, 2)) / total for axis in (u, v)], axis=1
    )
    around = np.arange(0.0, 2.0 * np.pi, np.pi / 8)
    ring = screw.shaft.radius_mm + CEMENT_NEAR_MM
    rays = np.cos(around)[:, None] * first + np.sin(around)[:, None] * second
    beside = screw.axis.at(t)[:, None] + ring * rays
    index = scan.materials.geometry.lps_to_index(beside)
    material = ndimage.map_coordinates(
        scan.materials.labels, np.moveaxis(index, -1, 0), order=0
    )
    covered = np.isin(material, (1, 2)).reshape(material.shape).any(axis=1)
    return t, inside, centre, np.asarray(covered)


def _runs(mask: np.ndarray) -> list[slice]:
    labels, _ = ndimage.label(mask)
    return [found[0] for found in ndimage.find_objects(labels)]


def _bend_deg(centre_mm: FloatArray, t_mm: FloatArray) -> float | None:
    """Angle between the rear and the front half of a shaft."""
    if t_mm.size * STEP_MM < 2.0 * LEAST_FREE_MM:
        return None
    middle = float(np.median(t_mm))
    slopes = []
    for half in (t_mm <= middle, t_mm > middle):
        design = np.column_stack([t_mm[half], np.ones(half.sum())])
        slopes.append(np.linalg.lstsq(design, centre_mm[half], rcond=None)[0][0])
    return float(np.degrees(np.arctan(np.linalg.norm(slopes[1] - slopes[0]))))


def rods_between(
    baseline: FollowedScan,
    followup: FollowedScan,
    matched: dict[str, str],
) -> tuple[RodFollowup, ...]:
    """Tell for neighbouring screws of a side whether the rod still joins them.

    Parameters
    ----------
    baseline, followup
        Both scans.
    matched
        Id of each screw of the follow-up, and its id in the baseline.
    """
    found = []
    pieces = [_metal_pieces(scan.scanned) for scan in (baseline, followup)]
    earlier = {screw.screw_id: screw for screw in baseline.screws}
    for side in Side:
        row = [
            s for s in followup.screws if s.model.side is side and s.screw_id in matched
        ]
        row.sort(key=lambda s: float(s.model.head_lps_mm[2]))
        for lower, upper in pairwise(row):
            ends = (lower.model, upper.model)
            before = tuple(earlier[matched[s.screw_id]].model for s in (lower, upper))
            first = _joined(pieces[0], (before[0], before[1]))
            second = _joined(pieces[1], ends)
            state: Integrity | NotAssessed
            if not first:
                state = NotAssessed("the baseline shows no rod between these screws")
            else:
                state = Integrity.WHOLE if second else Integrity.SUSPECTED_BREAK
            found.append(
                RodFollowup(side, (lower.model.level, upper.model.level), state)
            )
    return tuple(found)


@dataclass(frozen=True, slots=True, eq=False)
class _MetalPieces:
    """Connected metal, numbered on a box of the scan."""

    numbers: npt.NDArray[np.int32]
    geometry: VoxelGeometry


def _metal_pieces(scan: ScannedSpine) -> _MetalPieces | None:
    metal = np.isin(scan.materials.labels, METAL)
    box = box_around(metal, scan.materials.geometry, 0.0)
    if box is None:
        return None
    labels, _ = ndimage.label(metal[box], np.ones((3, 3, 3)))
    return _MetalPieces(np.asarray(labels), scan.materials.geometry.crop(box))


def _joined(pieces: _MetalPieces | None, ends: tuple[ScrewModel, ScrewModel]) -> bool:
    if pieces is None:
        return False
    touched = []
    for screw in ends:
        points = screw.axis.at(np.arange(-4.0, 12.0, 0.5))
        index = np.moveaxis(pieces.geometry.lps_to_index(points), -1, 0)
        found = ndimage.map_coordinates(pieces.numbers, index, order=0)
        touched.append(set(found[found > 0].tolist()))
    return bool(touched[0] & touched[1])
