"""Judge the comparison of two scans on simulated pairs with truth.

    python tests/benchmarks/followup_scenes.py --seeds 100-119 --out followup.csv
    python tests/benchmarks/followup_scenes.py --seeds 0-4 --outlines true

Seeds from 100 are for testing only (`cemscope.testing.followup_case`); the last digit
chooses the change: 0 and 5 none, 1 and 6 a collapse, 2 and 7 a screw, 3 and 8 cement,
4 and 9 a halo. Vertebrae are outlined and named by the embedded finder in both scans,
or taken from the truth. A pair takes two to three minutes of one core.
"""

import argparse
import csv
import os
import sys
import time
import traceback
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from multiprocessing import get_context
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import numpy.typing as npt
from scene_choice import seeds_of

from cemscope.findings import NotAssessed
from cemscope.measurement.augmentation import measure_augmentation
from cemscope.measurement.followup import (
    FollowupComparison,
    compare_scans,
)
from cemscope.measurement.followup_findings import (
    BodyHeights,
    CementMovement,
    HeightChange,
    ScrewMovement,
    VertebraFollowup,
)
from cemscope.measurement.followup_heights import PLACES
from cemscope.measurement.followup_refit import followed_screws
from cemscope.measurement.followup_scan import FollowedScan
from cemscope.registration.vertebra_patch import ScannedSpine
from cemscope.registration.vertebra_registration import RegisteredVertebra
from cemscope.segmentation.vertebrae import find_vertebrae
from cemscope.spine import Spine
from cemscope.testing.cement_scene import CementScene
from cemscope.testing.followup_case import draw_followup_case
from cemscope.testing.followup_scene import (
    FollowupScene,
    LevelTruth,
    make_followup_scene,
)

GOAL_RESIDUAL_MM, GOAL_LOSS_MM, GOAL_GROWTH_MM = 0.5, 0.8, 0.4
SAME_MM = 15.0
"""Centres nearer than this are one vertebra."""
FRACTURE_PERCENT = 20.0
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


def followed(scene: CementScene, outlines: str) -> FollowedScan:
    spine = scene.spine() if outlines == "true" else find_vertebrae(scene.ct)
    found = measure_augmentation(scene.ct, spine)
    return FollowedScan(
        ScannedSpine(scene.ct, spine, found.materials),
        followed_screws(found.models, found.screws, found.surfaces),
        {one.level: one.cement for one in found.cement},
    )


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
            rows += height_rows(name, kind, one, before, bone)
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
    losses, percents = [], []
    for place, share in PLACES.items():
        found: HeightChange | NotAssessed = getattr(heights, place)
        loss, height = true_loss(truth, share)
        losses.append(loss)
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
            max(losses) > 1.0,
            not isinstance(broken, NotAssessed),
            max(percents),
            UNKNOWN,
            UNKNOWN,
            broken is True,
        )
    )
    return rows


def true_loss(truth: LevelTruth, share: tuple[float, float]) -> tuple[float, float]:
    """Loss and height at a place of the midline, as the true bodies have them."""
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
    columns = np.column_stack([x, y])[chosen]
    loss = truth.height_loss_mm(columns)
    return float(np.median(loss)), float(np.median(truth.heights_mm(columns)))


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


def run(task: tuple[int, str]) -> tuple[int, list[Row], float, str]:
    seed, outlines = task
    start = time.perf_counter()
    try:
        case = draw_followup_case(seed)
        scene = make_followup_scene(case)
        scans = (
            followed(scene.baseline, outlines),
            followed(scene.followup, outlines),
        )
        result = compare_scans(*scans)
        rows = judged(scene, scans, result)
        return seed, rows, time.perf_counter() - start, case.notes
    except Exception:  # noqa: BLE001 - a benchmark goes on
        return seed, [], time.perf_counter() - start, traceback.format_exc()


def share(values: npt.ArrayLike) -> str:
    array = np.asarray(list(values), float)
    return f"{100.0 * array.mean():.0f} %" if array.size else "-"


def errors(rows: Sequence[Row]) -> str:
    known = np.array([r.error for r in rows if r.assessed])
    if not known.size:
        return f"0 of {len(rows)} assessed"
    size = np.abs(known)
    covered = np.mean(
        [abs(r.error) <= r.uncertainty for r in rows if r.assessed]
        if np.isfinite([r.uncertainty for r in rows if r.assessed]).all()
        else [np.nan]
    )
    return (
        f"{known.size:4d} of {len(rows):4d}  bias {known.mean():+.2f}  median "
        f"{np.median(size):.2f}  95 % {np.quantile(size, 0.95):.2f}  worst "
        f"{size.max():.2f}  covered {100 * covered:.0f} %"
    )


def flags(rows: Sequence[Row]) -> str:
    changed = [r for r in rows if r.changed and r.assessed]
    still = [r for r in rows if not r.changed and r.assessed]
    return (
        f"{sum(r.flagged for r in changed)} of {len(changed)} changes, "
        f"{sum(r.flagged for r in still)} false among {len(still)}"
    )


def summary(rows: Sequence[Row]) -> str:
    def of(what: str) -> list[Row]:
        return [r for r in rows if r.what == what]

    bones = of("vertebra")
    fine = [r for r in bones if r.assessed and not r.changed]
    residual = np.array([r.residual_mm for r in fine])
    target = np.array([r.target_mm for r in fine])
    heights = of("height")
    broken = [r for r in of("fracture") if r.truth >= FRACTURE_PERCENT or not r.changed]
    lines = [
        f"vertebrae: {len(bones)} matched, {sum(r.changed for r in bones)} wrongly, "
        f"{len(fine)} registered",
        f"residual mm: median {np.median(residual):.2f}, 95 % "
        f"{np.quantile(residual, 0.95):.2f}, worst {residual.max():.2f}, below "
        f"{GOAL_RESIDUAL_MM}: {share(residual < GOAL_RESIDUAL_MM)}",
        f"true error of the place of bone, mm: median {np.median(target):.2f}, 95 % "
        f"{np.quantile(target, 0.95):.2f}, worst {target.max():.2f}, below "
        f"{GOAL_RESIDUAL_MM}: {share(target < GOAL_RESIDUAL_MM)}",
        f"height loss mm, unchanged: {errors([r for r in heights if not r.changed])}",
        f"height loss mm, broken:    {errors([r for r in heights if r.changed])}",
        f"new fracture (20 % and more): {flags(broken)}",
        f"tilt degrees: {errors(of('tilt'))}",
        f"tip mm:       {errors(of('tip'))}",
        f"screw moved: {flags(of('tip'))}",
        f"cement mm:    {errors(of('cement'))}",
        f"cement moved: {flags(of('cement'))}",
        f"growth mm, tight:  {errors([r for r in of('growth') if not r.changed])}",
        f"growth mm, grown:  {errors([r for r in of('growth') if r.changed])}",
        f"broken screws: {flags(of('integrity'))}; rods: {flags(of('rod'))}",
    ]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", required=True)
    parser.add_argument("--outlines", choices=("embedded", "true"), default="embedded")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    tasks = [(seed, options.outlines) for seed in seeds_of(options.seeds)]
    rows: list[Row] = []
    failed = 0
    with get_context("spawn").Pool(options.jobs, maxtasksperchild=1) as pool:
        for seed, found, seconds, notes in pool.imap(run, tasks):
            print(f"f{seed:03d} {seconds:4.0f} s  {notes}", file=sys.stderr, flush=True)
            failed += not found
            rows += found
    if options.out is not None:
        with options.out.open("w", newline="", encoding="utf-8") as stream:
            table = csv.DictWriter(stream, [f.name for f in fields(Row)])
            table.writeheader()
            table.writerows(asdict(row) for row in rows)
    if rows:
        print(summary(rows))
    if failed:
        print(f"{failed} pairs failed")
    return 1 if failed or not rows else 0


if __name__ == "__main__":
    sys.exit(main())
