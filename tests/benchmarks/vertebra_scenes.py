"""Judge the embedded vertebra finder on simulated scans with truth.

    python tests/benchmarks/vertebra_scenes.py --seeds 100-149 --jobs 2 --out bodies.csv
    python tests/benchmarks/vertebra_scenes.py --scenes FOLDER      # ready scenes
    python tests/benchmarks/vertebra_scenes.py --seeds 0-11 --write FOLDER

Seeds from 100 are for testing only (`cemscope.testing.spine_case`). FOLDER holds one
folder per scene with ct.nii.gz, bodies_arches.nii.gz and truth.json; reading and
writing those needs SimpleITK. With --anchor the middle vertebra's name and place are
given to the finder. A body is judged only if the scan holds all of it.
"""

import argparse
import csv
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields
from multiprocessing import get_context
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import numpy.typing as npt
from scene_choice import add_scene_options, chosen_scenes
from scipy import ndimage

from cemscope.anatomy import VertebraLevel
from cemscope.errors import CemscopeError
from cemscope.segmentation.vertebrae import find_vertebrae
from cemscope.spine import LevelAnchor, Spine
from cemscope.testing.spine_scene import CT_FILE, LABEL_FILE, read_nifti
from cemscope.volume import CTVolume

GOAL_DICE, GOAL_DICE_COLLAPSED = 0.93, 0.86
GOAL_SURFACE_MM = 0.7
GOAL_VOLUME = 0.08
THIN_SLICE_MM = 1.26
FOUND_SHARE = 0.3
"""A body counts as found if one outline covers this share of it."""
SPLIT_SHARE = 0.12
"""A second outline with this share of a body means a disc that does not exist."""
SACRUM_MM = 30.0
"""An outline this near to the centre of S1 is the sacrum."""
WARNINGS = ("level", "transition", "anchor", "sacr", "rib", "name")
"""A notice with such a code warns that names may be wrong."""


@dataclass(frozen=True)
class BodyRow:
    scene: str
    family: str
    level: str
    found_as: str
    outcome: str  # found, missed, merged or split
    name: str  # right, declined, wrong or -
    collapse: str
    implants: bool
    thin: bool
    dice: float
    surface_mm: float
    volume_ratio: float
    complete: bool


@dataclass(frozen=True)
class SceneRow:
    scene: str
    family: str
    transitional: str
    seconds: float
    warned: bool
    notices: str
    invented: int
    whole: int
    error: str = ""
    bodies: tuple[BodyRow, ...] = field(default=())


@dataclass(frozen=True, eq=False)
class Scene:
    name: str
    ct: CTVolume
    labels: npt.NDArray[np.uint8]
    truth: dict[str, Any]


@dataclass(frozen=True)
class Task:
    seed: int | None
    folder: str | None
    write: str | None
    only_write: bool
    anchor: bool


def generated(seed: int) -> tuple[Scene, Any]:
    from cemscope.testing.spine_case import draw_case
    from cemscope.testing.spine_scene import make_scene, truth_record

    made = make_scene(draw_case(seed))
    scene = Scene(f"seed{seed:03d}", made.ct, made.labels.labels, truth_record(made))
    return scene, made


def loaded(folder: Path) -> Scene:
    hu, geometry = read_nifti(folder / CT_FILE)
    labels, _ = read_nifti(folder / LABEL_FILE)
    truth = json.loads((folder / "truth.json").read_text(encoding="utf-8"))
    ct = CTVolume(np.clip(hu, -1024, 32767).astype(np.int16), geometry)
    return Scene(folder.name, ct, labels.astype(np.uint8), truth)


def anchor_of(scene: Scene) -> LevelAnchor:
    bodies = np.where(scene.labels < 100, scene.labels, 0)
    known = [with_view(v, bodies) for v in scene.truth["vertebrae"]]
    whole = [v for v in known if v["whole_in_view"]]
    middle = (whole or scene.truth["vertebrae"])[len(whole) // 2]
    x, y, z = middle["centroid_lps_mm"]
    return LevelAnchor(VertebraLevel(middle["level"]), (x, y, z))


def judged(task: Task) -> SceneRow:
    name = f"seed{task.seed:03d}" if task.seed is not None else str(task.folder)
    try:
        if task.seed is not None:
            scene, made = generated(task.seed)
            if task.write:
                from cemscope.testing.spine_scene import write_scene

                write_scene(made, Path(task.write) / scene.name)
        else:
            scene = loaded(Path(str(task.folder)))
        if task.only_write:
            return SceneRow(scene.name, "", "", 0.0, False, "", 0, 0)
        anchor = anchor_of(scene) if task.anchor else None
        start = time.perf_counter()
        try:
            spine: Spine | None = find_vertebrae(scene.ct, anchor=anchor)
            error = ""
        except CemscopeError as refusal:
            spine, error = None, f"{type(refusal).__name__}: {refusal}"
        return score(scene, spine, time.perf_counter() - start, error)
    except Exception:  # noqa: BLE001 - a scene that breaks must not end the run
        return SceneRow(name, "?", "", 0.0, False, "", 0, 0, traceback.format_exc())


def score(scene: Scene, spine: Spine | None, seconds: float, error: str) -> SceneRow:
    truth, labels = scene.truth, scene.labels
    found = spine.labels.labels if spine else np.zeros_like(labels)
    vertebrae = {v.level.number: v for v in spine.vertebrae} if spine else {}
    bodies = np.where((labels > 0) & (labels < 100), labels, 0)
    outlines = np.where((found > 0) & (found < 100), found, 0)
    overlap = np.zeros((256, 256), np.int64)
    both = (bodies > 0) | (outlines > 0)
    np.add.at(overlap, (bodies[both], outlines[both]), 1)
    size = overlap.sum(axis=1)
    owners: dict[int, list[int]] = {}
    rows = []
    known = [with_view(v, bodies) for v in truth["vertebrae"] if size[number(v)] > 0]
    for v in known:
        covered = overlap[number(v), 1:]
        best = int(covered.argmax()) + 1
        if covered[best - 1] >= FOUND_SHARE * size[number(v)]:
            owners.setdefault(best, []).append(number(v))
    metal = (scene.ct.hu > 2500).sum() * scene.ct.geometry.voxel_volume_mm3 > 300
    for v in known:
        k = number(v)
        mine = [j for j, ks in owners.items() if k in ks]
        second = np.sort(overlap[k, 1:])[-2] if size[k] else 0
        outcome, name, shown = "missed", "-", ""
        dice = surface = ratio = float("nan")
        complete = False
        if mine:
            j = mine[0]
            outcome = "found"
            if len(owners[j]) > 1:
                outcome = "merged"
            elif second > SPLIT_SHARE * size[k]:
                outcome = "split"
            level = vertebrae[j].level
            shown, complete = level.name, vertebrae[j].complete
            right = level.name == v["level"]
            name = "right" if right else "wrong" if level.is_named else "declined"
            volume = int(overlap[:, j].sum())
            dice = 2.0 * overlap[k, j] / (size[k] + volume)
            ratio = volume / size[k]
            surface = surface_mm(bodies == k, outlines == j, scene.ct.spacing_mm)
        if v["whole_in_view"]:
            rows.append(
                BodyRow(
                    scene.name,
                    truth.get("family", ""),
                    v["level"],
                    shown,
                    outcome,
                    name,
                    v.get("collapse", ""),
                    bool(metal or v.get("intrabody_ml", 0.0) > 0),
                    scene.ct.spacing_mm[0] <= THIN_SLICE_MM,
                    float(dice),
                    float(surface),
                    float(ratio),
                    complete,
                )
            )
        elif name == "wrong":  # a wrong name is wrong on a cut vertebra as well
            rows.append(
                BodyRow(
                    scene.name, truth.get("family", ""), v["level"], shown, "cut", name,
                    "", bool(metal), False, float("nan"), float("nan"), float("nan"),
                    complete,
                )
            )  # fmt: skip
    codes = sorted({n.code for n in spine.notices}) if spine else []
    return SceneRow(
        scene.name,
        truth.get("family", ""),
        truth.get("transitional", ""),
        seconds,
        any(word in code for code in codes for word in WARNINGS),
        " ".join(codes),
        invented(scene, spine, overlap, owners),
        sum(bool(v["whole_in_view"]) for v in known),
        error,
        tuple(rows),
    )


def with_view(
    vertebra: dict[str, Any], bodies: npt.NDArray[np.uint8]
) -> dict[str, Any]:
    """Tell for a truth without that field whether the whole body is in view."""
    if "whole_in_view" in vertebra:
        return vertebra
    k = number(vertebra)
    faces = [bodies[i] for i in (0, -1)] + [bodies[:, i] for i in (0, -1)]
    faces += [bodies[:, :, i] for i in (0, -1)]
    return vertebra | {"whole_in_view": not any((f == k).any() for f in faces)}


def number(vertebra: dict[str, Any]) -> int:
    return VertebraLevel(vertebra["level"]).number


def invented(
    scene: Scene,
    spine: Spine | None,
    overlap: npt.NDArray[np.int64],
    owners: dict[int, list[int]],
) -> int:
    """Complete outlines that are neither a vertebra nor the sacrum."""
    sacrum = scene.truth.get("sacrum_lps_mm")
    count = 0
    for v in spine.vertebrae if spine else ():
        if v.level.number in owners or not v.complete:
            continue
        if overlap[1:, v.level.number].sum() > 0.5 * overlap[:, v.level.number].sum():
            continue  # part of a vertebra that another outline found: counted as split
        if sacrum is not None:
            gap = np.linalg.norm(v.centroid_lps_mm - np.array(sacrum))
            if gap < SACRUM_MM:
                continue
        count += 1
    return count


def surface_mm(
    first: npt.NDArray[np.bool_],
    second: npt.NDArray[np.bool_],
    spacing_mm: tuple[float, float, float],
) -> float:
    """Mean distance between two surfaces, both ways."""
    where = np.argwhere(first | second)
    low, high = np.maximum(where.min(axis=0) - 2, 0), where.max(axis=0) + 3
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    shells = [m & ~ndimage.binary_erosion(m) for m in (first[box], second[box])]
    if not (shells[0].any() and shells[1].any()):
        return float("nan")
    ways = [
        ndimage.distance_transform_edt(~b, sampling=spacing_mm)[a].mean()
        for a, b in (shells, shells[::-1])
    ]
    return float(0.5 * sum(ways))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_scene_options(parser)
    parser.add_argument("--anchor", action="store_true")
    options = parser.parse_args()
    write = str(options.write) if options.write else None
    flags = (write, options.only_write, options.anchor)
    tasks = [Task(*scene, *flags) for scene in chosen_scenes(parser, options)]
    rows = []
    with get_context("spawn").Pool(options.jobs, maxtasksperchild=4) as pool:
        for row in pool.imap(judged, tasks):
            rows.append(row)
            if not options.only_write:
                print(one_line(row), flush=True)
            else:
                print(row.scene, row.error, flush=True)
    if options.only_write:
        return
    if options.out:
        write_csv(options.out, rows)
    sys.exit(0 if summary(rows) else 1)


def one_line(row: SceneRow) -> str:
    if row.error and not row.bodies:
        return f"{row.scene:10} ERROR {row.error.strip().splitlines()[-1]}"
    good = [b.dice for b in row.bodies if b.outcome == "found"]
    bad = [
        f"{b.level}:{b.outcome}"
        for b in row.bodies
        if b.outcome not in ("found", "cut")
    ]
    names = sorted({b.name for b in row.bodies if b.name != "-"})
    low = min(
        (b for b in row.bodies if b.outcome == "found"),
        key=lambda b: b.dice,
        default=None,
    )
    worst = (
        f"{low.level} {low.dice:.3f}{' ' + low.collapse if low.collapse else ''}"
        if low
        else "-"
    )
    return (
        f"{row.scene:10} {row.family:13} {row.transitional:13} whole {row.whole:2d} "
        f"dice {mean(good):.3f} (worst {worst}) names {'/'.join(names) or '-'} "
        f"{'warned' if row.warned else ''} {row.seconds:5.1f} s"
        f"{'  invented ' + str(row.invented) if row.invented else ''}"
        f"{'  ' + ' '.join(bad) if bad else ''}{'  ' + row.error if row.error else ''}"
    )


def write_csv(path: Path, rows: Sequence[SceneRow]) -> None:
    columns = [f.name for f in fields(BodyRow)]
    extra = ["seconds", "warned", "notices", "invented", "transitional", "error"]
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns + extra)
        writer.writeheader()
        for row in rows:
            about = {name: getattr(row, name) for name in extra}
            for body in row.bodies:
                writer.writerow(asdict(body) | about)
            if not row.bodies:
                writer.writerow({"scene": row.scene, "family": row.family} | about)


def mean(values: Sequence[float]) -> float:
    kept = [v for v in values if not np.isnan(v)]
    return float(np.mean(kept)) if kept else float("nan")


def summary(rows: Sequence[SceneRow]) -> bool:
    """Print the table; True if every goal is met."""
    bodies = [b for r in rows for b in r.bodies if b.outcome != "cut"]
    found = [b for b in bodies if b.outcome == "found"]
    broken = {r.scene for r in rows if r.error}
    print(f"\n{len(rows)} scenes, {len(bodies)} whole bodies, {len(found)} found once")
    print(f"{'group':26}    n   dice    min     p5     mm  |vol-1|")
    groups: list[tuple[str, Callable[[BodyRow], bool]]] = [
        ("whole, <= 1.25 mm", lambda b: not b.collapse and b.thin),
        ("  with implants", lambda b: not b.collapse and b.thin and b.implants),
        ("  without", lambda b: not b.collapse and b.thin and not b.implants),
        ("whole, thicker slices", lambda b: not b.collapse and not b.thin),
        ("collapsed", lambda b: bool(b.collapse)),
    ]
    kinds = ("wedge", "biconcave", "crush")
    groups += [(f"  {k}", lambda b, k=k: b.collapse == k) for k in kinds]
    families = sorted({b.family for b in found})
    groups += [(f"family {f}", lambda b, f=f: b.family == f) for f in families]
    for title, wanted in groups:
        part = [b for b in found if wanted(b)]
        if part:
            dice = [b.dice for b in part]
            surface = mean([b.surface_mm for b in part])
            volume = mean([abs(b.volume_ratio - 1) for b in part])
            print(
                f"{title:26} {len(part):4d} {mean(dice):6.3f} {min(dice):6.3f} "
                f"{np.percentile(dice, 5):6.3f} {surface:6.2f} {volume:8.3f}"
            )
    thin = [b for b in found if not b.collapse and b.thin]
    metal = [b for b in thin if b.implants]
    collapsed = [b for b in bodies if b.collapse]
    lost = [b for b in bodies if b.outcome in ("merged", "missed")]
    split = [b for b in bodies if b.outcome == "split"]
    extra = sum(r.invented for r in rows)
    wrong = [b for r in rows for b in r.bodies if b.name == "wrong"]
    silent = sorted(
        {
            r.scene
            for r in rows
            if not r.warned and any(b.name == "wrong" for b in r.bodies)
        }
    )
    by_name = {
        n: sum(b.name == n for b in bodies) for n in ("right", "declined", "wrong")
    }
    off = [b for b in thin if abs(b.volume_ratio - 1) > GOAL_VOLUME]
    dice_c = [b.dice if b.outcome == "found" else 0.0 for b in collapsed]
    seconds = [r.seconds for r in rows if r.seconds]
    print(f"names {by_name}; wrong in {sorted({b.scene for b in wrong})}")
    longest = max(seconds, default=0.0)
    print(f"finder {mean(seconds):.1f} s on average, at most {longest:.1f} s")
    for row in rows:
        if row.error:
            print(f"{row.scene} stopped: {row.error.strip().splitlines()[-1]}")
    goals = [
        ("dice with implants, <= 1.25 mm", mean([b.dice for b in metal]), GOAL_DICE, 1),
        ("dice, all whole, <= 1.25 mm", mean([b.dice for b in thin]), GOAL_DICE, 1),
        (
            "surface mm, <= 1.25 mm",
            mean([b.surface_mm for b in thin]),
            GOAL_SURFACE_MM,
            -1,
        ),
        (
            "mean |volume - 1|",
            mean([abs(b.volume_ratio - 1) for b in thin]),
            GOAL_VOLUME,
            -1,
        ),
        ("share off by > 8 %", len(off) / max(len(thin), 1), 0.05, -1),
        ("dice, collapsed", mean(dice_c), GOAL_DICE_COLLAPSED, 1),
        ("bodies lost or merged", len(lost), 0, -1),
        ("bodies split, invented", len(split) + extra, 0, -1),
        ("scenes wrong, not warned", len(silent), 0, -1),
        ("scenes stopped", len(broken), 0, -1),
    ]
    good = True
    print()
    for title, value, goal, sign in goals:
        met = sign * (value - goal) >= 0
        verdict = "none" if np.isnan(value) else "pass" if met else "FAIL"
        good = good and verdict != "FAIL"
        bound = ">=" if sign > 0 else "<="
        print(f"{verdict} {title:32} {value:7.3f}  (goal {bound} {goal:g})")
    print("lost:", [(b.scene, b.level, b.outcome) for b in lost])
    print("split:", [(b.scene, b.level) for b in split], "silent wrong names:", silent)
    return good


if __name__ == "__main__":
    main()
