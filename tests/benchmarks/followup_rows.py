"""Rows of the follow-up benchmark: each finding of a comparison beside its truth."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from cemscope.findings import NotAssessed
from cemscope.measurement.followup import FollowupComparison
from cemscope.measurement.followup_findings import (
    BodyHeights,
    CementMovement,
    HeightChange,
    ScrewMovement,
    VertebraFollowup,
)
from cemscope.measurement.followup_heights import (
    LEAST_COLUMNS,
    MIDLINE_SHARE,
    PLACES,
    body_columns,
)
from cemscope.measurement.followup_scan import FollowedScan
from cemscope.registration.rigid_pose import RigidPose
from cemscope.registration.vertebra_patch import ScannedSpine
from cemscope.registration.vertebra_registration import RegisteredVertebra
from cemscope.spine import Spine, VertebraFrame
from cemscope.testing.followup_scene import FollowupScene, LevelTruth

SAME_MM = 15.0
"""Centres nearer than this are one vertebra."""
UNKNOWN = float("nan")


@dataclass(frozen=True)
class Row:
    scene: str
    kind: str
    what: str  # vertebra, height, screw, cement or growth
    where: str
    changed: bool
    assessed: bool
    truth: float
    found: float
    uncertainty: float
    flagged: bool
    residual_mm: float = UNKNOWN
    target_mm: float = UNKNOWN
    agreement: float = UNKNOWN
    note: str = ""

    @property
    def error(self) -> float:
        return self.found - self.truth


def true_level(
    spine: Spine, name: str, levels: Iterable[LevelTruth], later: bool
) -> LevelTruth | None:
    """Which vertebra a name of a scan really is."""
    centre = spine.vertebra(name).centroid_lps_mm
    near = [
        (
            float(
                np.linalg.norm((t.later if later else t.frame).origin_lps_mm - centre)
            ),
            t,
        )
        for t in levels
    ]
    distance, truth = min(near, key=lambda pair: pair[0])
    return truth if distance < SAME_MM else None


def target_mm(found: RegisteredVertebra, truth: LevelTruth) -> float:
    """Root mean square error of the place of bone."""
    points = found.edges.points_lps_mm
    away = found.found.pose.to_followup(points) - truth.pose.to_followup(points)
    return float(np.sqrt((away**2).sum(axis=1).mean()))


def judged(
    scene: FollowupScene,
    scans: tuple[FollowedScan, FollowedScan],
    result: FollowupComparison,
) -> list[Row]:
    rows: list[Row] = []
    name, kind = f"f{scene.case.seed:03d}", scene.case.kind.value
    for one in result.vertebrae:
        before = true_level(
            scans[0].scanned.spine, one.baseline_level, scene.levels, False
        )
        after = true_level(scans[1].scanned.spine, one.level, scene.levels, True)
        wrong = before is None or after is None or before.level != after.level
        bone = result.bones[one.level]
        registered = isinstance(bone, RegisteredVertebra)
        row = Row(
            name,
            kind,
            "vertebra",
            one.level,
            wrong,
            registered,
            0.0,
            UNKNOWN,
            UNKNOWN,
            any(n.code == "levels_disagree" for n in result.notices),
            residual_mm=bone.found.residual_mm if registered else UNKNOWN,
            target_mm=UNKNOWN if wrong or not registered else target_mm(bone, before),
            agreement=bone.found.agreement if registered else UNKNOWN,
            note="WRONG LEVEL" if wrong else "" if registered else bone.reason,
        )
        rows.append(row)
        if not wrong:
            rows += height_rows(name, kind, one, before, bone, scans[0].scanned)
            rows += cement_rows(name, kind, one, before)
    truths = {(t.level, t.side): t for t in scene.screws}
    for screw in result.screws:
        level = true_level(scans[1].scanned.spine, screw.level, scene.levels, True)
        truth = None if level is None else truths.get((level.level, screw.side))
        if truth is None:
            continue
        changed = truth.tip_mm > 0.0
        where = f"{truth.level}-{screw.side.value}"
        movement = screw.movement
        ok = isinstance(movement, ScrewMovement)
        for what, value, found in (
            ("tilt", truth.tilt_deg, movement.tilt_deg if ok else None),
            ("tip", truth.tip_mm, movement.tip.distance_mm if ok else None),
        ):
            rows.append(
                Row(
                    name,
                    kind,
                    what,
                    where,
                    changed,
                    ok,
                    value,
                    found.value if found else UNKNOWN,
                    found.uncertainty if found else UNKNOWN,
                    bool(ok and movement.moved),
                    note="" if ok else movement.reason,
                )
            )
        growth = screw.growth_mm
        known = not isinstance(growth, NotAssessed)
        rows.append(
            Row(
                name,
                kind,
                "growth",
                where,
                truth.growth_mm > 0.0,
                known,
                truth.growth_mm,
                growth if known else UNKNOWN,
                UNKNOWN,
                bool(known and growth >= 1.0),
                note="" if known else growth.reason,
            )
        )
        rows.append(
            Row(
                name,
                kind,
                "integrity",
                where,
                False,
                not isinstance(screw.integrity, NotAssessed),
                0.0,
                0.0,
                UNKNOWN,
                screw.integrity == "suspected_break",
                note=screw.integrity_reason,
            )
        )
    for rod in result.rods:
        rows.append(
            Row(
                name,
                kind,
                "rod",
                "-".join(rod.levels),
                False,
                not isinstance(rod.integrity, NotAssessed),
                0.0,
                0.0,
                UNKNOWN,
                rod.integrity == "suspected_break",
            )
        )
    return rows


def height_rows(
    name: str,
    kind: str,
    one: VertebraFollowup,
    truth: LevelTruth,
    bone: RegisteredVertebra | NotAssessed,
    baseline: ScannedSpine,
) -> list[Row]:
    heights = one.heights
    if not isinstance(heights, BodyHeights):
        return [
            Row(
                name,
                kind,
                "height",
                truth.level,
                False,
                False,
                UNKNOWN,
                UNKNOWN,
                UNKNOWN,
                False,
                note=heights.reason,
            )
        ]
    rows = []
    lost, percents = [], []
    for place, share in PLACES.items():
        found: HeightChange | NotAssessed = getattr(heights, place)
        loss, height = true_loss(truth, share, bone, baseline)
        lost.append(loss)
        percents.append(100.0 * loss / height)
        known = isinstance(found, HeightChange)
        rows.append(
            Row(
                name,
                kind,
                "height",
                f"{truth.level} {place}",
                abs(loss) > 1.0,
                known,
                loss,
                found.loss_mm.value if known else UNKNOWN,
                found.loss_mm.uncertainty if known else UNKNOWN,
                False,
                note=heights.method if known else found.reason,
            )
        )
    broken = heights.new_fracture
    rows.append(
        Row(
            name,
            kind,
            "fracture",
            truth.level,
            max(lost) > 1.0,
            not isinstance(broken, NotAssessed),
            max(percents),
            UNKNOWN,
            UNKNOWN,
            broken is True,
        )
    )
    return rows


def true_loss(
    truth: LevelTruth,
    share: tuple[float, float],
    bone: RegisteredVertebra | NotAssessed,
    baseline: ScannedSpine,
) -> tuple[float, float]:
    """Loss and height of the true bodies, in the columns that were measured.

    The true body reaches further into its arch than the outline does: shares of its own
    depth would be other places of the bone. The columns keep their place in the true
    bone, wherever the registration laid them.
    """
    if isinstance(bone, RegisteredVertebra):
        before = bone.pair[0]
        outlined = body_columns(baseline, before, before.frame)
        i, j = np.nonzero(outlined.place(share, MIDLINE_SHARE))
        if len(i) >= LEAST_COLUMNS:
            columns = np.column_stack([outlined.x_mm[i], outlined.y_mm[j]])
            there = replace(
                truth, frame=before.frame, later=moved(before.frame, truth.pose)
            )
            return losses(there, columns)
    step = np.arange(-40.0, 40.1, 1.0)
    grid = np.stack(np.meshgrid(step, step, indexing="ij"), axis=-1).reshape(-1, 2)
    inside = truth.heights_mm(grid) > 4.0
    x, y = grid[inside].T
    front, depth = y.min(), y.max() - y.min()
    middle, width = 0.5 * (x.min() + x.max()), x.max() - x.min()
    ahead = (y - front) / depth
    chosen = (
        (np.abs(x - middle) <= 0.25 * width) & (ahead >= share[0]) & (ahead <= share[1])
    )
    return losses(truth, np.column_stack([x, y])[chosen])


def moved(frame: VertebraFrame, pose: RigidPose) -> VertebraFrame:
    """Carry the axes of the baseline to the follow-up."""
    return VertebraFrame(
        pose.to_followup(frame.origin_lps_mm),
        pose.turned(frame.left),
        pose.turned(frame.posterior),
        pose.turned(frame.superior),
    )


def losses(truth: LevelTruth, columns: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Median loss and height of columns (left, posterior)."""
    return (
        float(np.median(truth.height_loss_mm(columns))),
        float(np.median(truth.heights_mm(columns))),
    )


def cement_rows(
    name: str, kind: str, one: VertebraFollowup, truth: LevelTruth
) -> list[Row]:
    cement = one.cement
    if not isinstance(cement, CementMovement):
        if "too little" in cement.reason or "not assessed in" in cement.reason:
            return []
        return [
            Row(
                name,
                kind,
                "cement",
                truth.level,
                truth.cement_mm > 0.0,
                False,
                truth.cement_mm,
                UNKNOWN,
                UNKNOWN,
                False,
                note=cement.reason,
            )
        ]
    distance = cement.displacement.distance_mm
    return [
        Row(
            name,
            kind,
            "cement",
            truth.level,
            truth.cement_mm > 0.0,
            True,
            truth.cement_mm,
            distance.value,
            distance.uncertainty,
            cement.moved,
        )
    ]
