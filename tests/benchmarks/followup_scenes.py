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
from collections.abc import Sequence
from dataclasses import asdict, fields
from multiprocessing import get_context
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import numpy.typing as npt
from followup_rows import Row, judged
from scene_choice import seeds_of

from cemscope.measurement.augmentation import measure_augmentation
from cemscope.measurement.followup import compare_scans
from cemscope.measurement.followup_refit import followed_screws
from cemscope.measurement.followup_scan import FollowedScan
from cemscope.registration.vertebra_patch import ScannedSpine
from cemscope.segmentation.vertebrae import find_vertebrae
from cemscope.testing.cement_scene import CementScene
from cemscope.testing.followup_case import draw_followup_case
from cemscope.testing.followup_scene import make_followup_scene

GOAL_RESIDUAL_MM, GOAL_LOSS_MM, GOAL_GROWTH_MM = 0.5, 0.8, 0.4
FRACTURE_PERCENT = 20.0


def followed(scene: CementScene, outlines: str) -> FollowedScan:
    spine = scene.spine() if outlines == "true" else find_vertebrae(scene.ct)
    found = measure_augmentation(scene.ct, spine)
    return FollowedScan(
        ScannedSpine(scene.ct, spine, found.materials),
        followed_screws(found.models, found.screws, found.surfaces),
        {one.level: one.cement for one in found.cement},
    )


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
