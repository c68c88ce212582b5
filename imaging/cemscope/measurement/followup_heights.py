"""Loss of height of a vertebral body between two scans.

Both endplates are followed from scan to scan, in the same columns of the same bone:
that is more exact than the difference of two outlines.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from cemscope.findings import NotAssessed
from cemscope.geometry import FloatArray
from cemscope.measurement.followup_findings import BodyHeights, Change, HeightChange
from cemscope.measurement.followup_settings import FollowupSettings
from cemscope.registration.bone_edges import (
    BoneEdges,
    edge_profiles,
    follow_edges,
)
from cemscope.registration.rigid_pose import RigidPose
from cemscope.registration.vertebra_patch import ScannedSpine
from cemscope.registration.vertebra_registration import RegisteredVertebra
from cemscope.spine import Vertebra, VertebraFrame
from cemscope.volume import BoolArray

PLACES = {"anterior": (0.08, 0.28), "middle": (0.4, 0.6), "posterior": (0.72, 0.92)}
"""Share of the depth of the body, from its front."""

MIDLINE_SHARE = 0.25
"""Columns lie this share of the width around the midline."""

COLUMN_MM, HEIGHT_STEP_MM = 1.5, 0.25
HALF_WIDTH_MM, HALF_HEIGHT_MM = 36.0, 30.0

LEAST_COLUMNS = 6
"""Fewer columns tell no height."""

PLATE_REACH_MM = 3.0
"""An endplate is searched this far from where it is expected."""

GENANT_LIMITS = (20.0, 25.0, 40.0)
"""Percent of height lost: grades 1, 2 and 3."""


@dataclass(frozen=True, slots=True, eq=False)
class BodyColumns:
    """Upper and lower end of a body in columns along its axis.

    Arrays have the shape (left, posterior); NaN where there is no bone.
    """

    x_mm: FloatArray
    y_mm: FloatArray
    top_mm: FloatArray
    bottom_mm: FloatArray

    def place(self, share: tuple[float, float], band: float) -> BoolArray:
        """Columns of a place in the midline."""
        inside = np.isfinite(self.top_mm)
        x = self.x_mm[inside.any(axis=1)]
        y = self.y_mm[inside.any(axis=0)]
        if x.size == 0:
            return inside
        middle, width = 0.5 * (x[0] + x[-1]), x[-1] - x[0]
        front, depth = y[0], y[-1] - y[0]
        near = np.abs(self.x_mm - middle) <= band * width
        ahead = (self.y_mm - front) / max(depth, 1e-6)
        there = (ahead >= share[0]) & (ahead <= share[1])
        chosen: BoolArray = inside & near[:, None] & there
        return chosen


def body_columns(
    scan: ScannedSpine, vertebra: Vertebra, frame: VertebraFrame
) -> BodyColumns:
    """Read the ends of a body from its outline along the axes of a frame."""
    x = np.arange(-HALF_WIDTH_MM, HALF_WIDTH_MM + 0.1, COLUMN_MM)
    y = np.arange(-HALF_WIDTH_MM, HALF_WIDTH_MM + 0.1, COLUMN_MM)
    z = np.arange(-HALF_HEIGHT_MM, HALF_HEIGHT_MM + 0.1, HEIGHT_STEP_MM)
    local = np.stack(np.meshgrid(x, y, z, indexing="ij"), axis=-1)
    geometry = scan.spine.labels.geometry
    index = geometry.lps_to_index(frame.to_lps_mm(local))
    values = ndimage.map_coordinates(
        scan.spine.labels.labels, np.moveaxis(index, -1, 0), order=0, output=np.uint8
    )
    body = values == vertebra.level.number
    any_ = body.any(axis=2)
    top = z[body.shape[2] - 1 - body[:, :, ::-1].argmax(axis=2)] + 0.5 * HEIGHT_STEP_MM
    bottom = z[body.argmax(axis=2)] - 0.5 * HEIGHT_STEP_MM
    return BodyColumns(
        x, y, np.where(any_, top, np.nan), np.where(any_, bottom, np.nan)
    )


def height_changes(
    baseline: ScannedSpine,
    followup: ScannedSpine,
    found: RegisteredVertebra,
    settings: FollowupSettings,
) -> BodyHeights | NotAssessed:
    """Follow both endplates of a registered body."""
    before, after = found.pair
    if not (before.complete and after.complete):
        return NotAssessed("the body is not whole in both scans")
    frame, pose = before.frame, found.found.pose
    later = VertebraFrame(
        pose.to_followup(frame.origin_lps_mm),
        pose.turned(frame.left),
        pose.turned(frame.posterior),
        pose.turned(frame.superior),
    )
    first = body_columns(baseline, before, frame)
    second = body_columns(followup, after, later)
    changes = {}
    for name, share in PLACES.items():
        columns = first.place(share, MIDLINE_SHARE)
        changes[name] = _followed(first, second, columns, found, settings)
    unseen = [
        loss
        for name, share in PLACES.items()
        if isinstance(changes[name], NotAssessed)
        for loss in _outlined_losses(first, second, first.place(share, MIDLINE_SHARE))
    ]
    return judged_heights(changes, settings, "edges", unseen)


def _outlined_losses(
    first: BodyColumns, second: BodyColumns, columns: BoolArray
) -> list[float]:
    """Loss of height at a place as the outlines tell it; empty where they do not."""
    heights = [one.top_mm - one.bottom_mm for one in (first, second)]
    both = columns & np.isfinite(heights[0]) & np.isfinite(heights[1])
    if both.sum() < LEAST_COLUMNS:
        return []
    return [float(np.median((heights[0] - heights[1])[both]))]


def outline_heights(
    baseline: ScannedSpine,
    followup: ScannedSpine,
    pair: tuple[Vertebra, Vertebra],
    settings: FollowupSettings,
) -> BodyHeights | NotAssessed:
    """Compare the outlines of a body that could not be registered."""
    before, after = pair
    if not (before.complete and after.complete):
        return NotAssessed("the body is not whole in both scans")
    first = body_columns(baseline, before, before.frame)
    second = body_columns(followup, after, after.frame)
    changes: dict[str, HeightChange | NotAssessed] = {}
    half_width = 1.96 * np.sqrt(2.0) * settings.outline_error_mm
    for name, share in PLACES.items():
        heights = []
        for columns in (first, second):
            there = columns.place(share, MIDLINE_SHARE)
            height = (columns.top_mm - columns.bottom_mm)[there]
            heights.append(float(np.median(height)) if height.size else np.nan)
        if not np.isfinite(heights).all():
            changes[name] = NotAssessed("the outline has no columns there")
            continue
        changes[name] = _change(heights[0], heights[0] - heights[1], half_width)
    return judged_heights(changes, settings, "outlines")


def _change(baseline_mm: float, loss_mm: float, half_width: float) -> HeightChange:
    return HeightChange(
        baseline_mm,
        baseline_mm - loss_mm,
        Change(loss_mm, half_width),
        100.0 * loss_mm / max(baseline_mm, 1e-6),
    )


def _followed(
    first: BodyColumns,
    second: BodyColumns,
    columns: BoolArray,
    found: RegisteredVertebra,
    settings: FollowupSettings,
) -> HeightChange | NotAssessed:
    if columns.sum() < LEAST_COLUMNS:
        return NotAssessed("the outline has no columns there")
    plates = []
    for name, before, after, inward in (
        ("upper", first.top_mm, second.top_mm, -1.0),
        ("lower", first.bottom_mm, second.bottom_mm, 1.0),
    ):
        guess = np.nanmedian((after - before)[columns]) if columns.any() else 0.0
        moved = _plate_movement(
            first, before, columns, inward, float(np.nan_to_num(guess)), found, settings
        )
        if moved is None:
            return NotAssessed(
                f"the {name} endplate is not seen there in both scans (implants, "
                "cement or streaks hide it, or it looks different or lies further out)"
            )
        plates.append(moved)
    (upper, upper_error), (lower, lower_error) = plates
    height = float(np.median((first.top_mm - first.bottom_mm)[columns]))
    error = 1.96 * float(np.hypot(upper_error, lower_error))
    return _change(height, lower - upper, error)


@dataclass(frozen=True, slots=True)
class PlatePlace:
    """A place where an endplate may lie now.

    Attributes
    ----------
    moved_mm, deviation_mm : float
        Movement along the body's axis, with its standard deviation.
    likeness : float
        Of its columns, as many as were found again (0 to 1).
    """

    moved_mm: float
    deviation_mm: float
    likeness: float


def most_likely_place(
    places: list[PlatePlace], outlined_mm: float
) -> PlatePlace | None:
    """Choose among places by their likeness, and by the outlines where that is equal.

    A neighbour's endplate, or a line of broken bone, can look much like the endplate
    that is searched: then the outlines of both scans must bear it out.

    Parameters
    ----------
    places
        Where columns like those of the baseline were found.
    outlined_mm
        Movement as the outlines tell it.

    Returns
    -------
    PlatePlace or None
        None where neither decides.
    """
    places = sorted(places, key=lambda one: -one.likeness)
    if not places:
        return None
    best = places[0]
    rivals = [
        one
        for one in places
        if one.likeness >= best.likeness - AS_LIKELY
        and abs(one.moved_mm - best.moved_mm) > APART_MM
    ]
    if rivals:
        borne_out = [
            one
            for one in (best, *rivals)
            if abs(one.moved_mm - outlined_mm) <= OUTLINE_MM
        ]
        return borne_out[0] if len(borne_out) == 1 else None
    told = abs(best.moved_mm - outlined_mm) <= OUTLINE_MM
    return best if told or best.likeness >= SURE_LIKENESS else None


APART_MM, AS_LIKELY = 1.0, 0.1
"""Places further apart than this, and alike within this, are rivals [ours]."""

OUTLINE_MM = 2.0
"""An outline that moved by nearly the same bears an endplate's movement out [ours]."""

SURE_LIKENESS = 0.9
"""Columns as alike as this need no outline to bear them out [ours]."""


def _plate_movement(
    columns: BodyColumns,
    plate_mm: FloatArray,
    chosen: BoolArray,
    inward: float,
    guess_mm: float,
    found: RegisteredVertebra,
    settings: FollowupSettings,
) -> tuple[float, float] | None:
    """Movement of an endplate along the axis and its standard deviation, mm."""
    frame, pose = found.pair[0].frame, found.found.pose
    i, j = np.nonzero(chosen)
    local = np.column_stack([columns.x_mm[i], columns.y_mm[j], plate_mm[i, j]])
    points = frame.to_lps_mm(local)
    visible = ~found.baseline.near(found.baseline.hidden, points)
    points = points[visible]
    if len(points) < LEAST_COLUMNS:
        return None
    direction = inward * frame.superior
    edges = edge_profiles(found.baseline, points, np.tile(direction, (len(points), 1)))
    places = []
    for start in (0.0, guess_mm):
        place = _search(edges, found, pose, start * frame.superior, settings)
        if place is not None:
            moved_mm = start + inward * place.moved_mm
            if -inward * moved_mm <= FURTHER_OUT_MM:
                places.append(replace(place, moved_mm=moved_mm))
    place = most_likely_place(places, guess_mm)
    return None if place is None else (place.moved_mm, place.deviation_mm)


def _search(
    edges: BoneEdges,
    found: RegisteredVertebra,
    pose: RigidPose,
    start_mm: FloatArray,
    settings: FollowupSettings,
) -> PlatePlace | None:
    """Find the place near a start; its movement is the shift along the normal."""
    moved = pose.moved(np.zeros(3), start_mm)
    shifts = follow_edges(edges, found.followup, moved, PLATE_REACH_MM)
    alike = shifts.visible & (shifts.likeness >= settings.registration.edge_likeness)
    if alike.sum() < max(LEAST_COLUMNS, LEAST_ALIKE * shifts.visible.size):
        return None
    values = shifts.shift_mm[alike]
    middle = float(np.median(values))
    spread = 1.4826 * float(np.median(np.abs(values - middle)))
    # Neighbouring columns share their voxels.
    independent = max(1.0, alike.sum() / 4.0)
    likeness = float(np.median(shifts.likeness[shifts.visible])) * float(
        alike.sum() / shifts.visible.size
    )
    parts = (
        settings.plate_error_mm,
        spread / np.sqrt(independent),
        UNLIKE_ERROR_MM * (1.0 - likeness),
    )
    return PlatePlace(middle, float(np.linalg.norm(parts)), likeness)


FURTHER_OUT_MM = 1.0
"""What lies further than this outside of an endplate is the neighbour's: bone does not
grow over a disc. An endplate that treatment lifted is not assessed [ours]."""

LEAST_ALIKE = 0.4
"""Share of the columns that must be found again."""

UNLIKE_ERROR_MM = 1.0
"""Error of a place whose columns are not alike at all [ours]."""


def judged_heights(
    changes: dict[str, HeightChange | NotAssessed],
    settings: FollowupSettings,
    method: str,
    outlined_mm: Sequence[float] = (),
) -> BodyHeights:
    """Grade the losses of height of a body.

    Parameters
    ----------
    changes
        By place: anterior, middle, posterior.
    settings
        Limits of a fracture.
    method
        "edges" or "outlines".
    outlined_mm
        Losses that outlines tell where no edge does: they prove no fracture, but they
        forbid to exclude one.
    """
    places = (changes["anterior"], changes["middle"], changes["posterior"])
    known = [c for c in places if isinstance(c, HeightChange)]
    if not known:
        refused = NotAssessed("no height of the body could be compared")
        return BodyHeights(*places, refused, refused, method)
    certain = [c for c in known if c.loss_mm.certain]
    lost = max((c.loss_percent for c in certain), default=0.0)
    broken = any(
        c.loss_percent >= settings.fracture_percent
        and c.loss_mm.value >= settings.fracture_mm
        for c in certain
    )
    fallen_mm = max(outlined_mm, default=0.0)
    if not broken and fallen_mm >= settings.fracture_mm:
        refused = NotAssessed(
            f"the outlines lost {fallen_mm:.1f} mm where the endplates are not seen "
            "alike in both scans: look at this vertebra"
        )
        return BodyHeights(*places, refused, refused, method)
    grade = int(sum(lost >= limit for limit in GENANT_LIMITS))
    return BodyHeights(*places, grade, broken, method)
