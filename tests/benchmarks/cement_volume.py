"""Judge cement and screws on simulated scans with truth, beside simpler methods.

    python tests/benchmarks/cement_volume.py --seeds 100-139 --jobs 2 --out cement.csv
    python tests/benchmarks/cement_volume.py --scenes FOLDER --plot bland_altman.png
    python tests/benchmarks/cement_volume.py --seeds 0-19 --write FOLDER --only-write

Seeds from 100 are for testing only (`cemscope.testing.cement_case`). FOLDER holds one
folder per scene as `cemscope.testing.cement_scene.write_cement_scene` leaves it; those
need SimpleITK, and so does region growing. With `--outlines true` the vertebrae are
known, with `embedded` cemscope has to find them. The simpler methods always know the
outlines, and region growing the place of the cement. `--scanner full` makes scans by
projection, which takes some minutes each. The exit status is 0 only if
every goal is met.
"""

import argparse
import csv
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from multiprocessing import get_context
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import numpy.typing as npt
from cement_thresholds import simple_masks
from scene_choice import add_scene_options, chosen_scenes
from scipy import ndimage

from cemscope.anatomy import VertebraLevel
from cemscope.errors import CemscopeError
from cemscope.findings import CementVolume
from cemscope.measurement.augmentation import (
    CEMENT,
    LEAK,
    Augmentation,
    measure_augmentation,
)
from cemscope.segmentation.vertebrae import find_vertebrae
from cemscope.spine import Spine
from cemscope.testing.cement_scene import (
    CementScene,
    Scanner,
    make_cement_scene,
    read_cement_scene,
    write_cement_scene,
)
from cemscope.testing.quick_scanner import quick_scan
from cemscope.testing.spine_full_scan import full_scan

ZONE_MM = 5.0
"""Simpler methods count what lies in a vertebra or this near to it."""
NEAR_MM = 20.0
"""Cement masks are compared within this distance of a vertebra."""
SAME_SCREW_MM = 8.0
"""A found screw is a true one if the middles of their shafts are this near."""
THIN_SLICE_MM = 1.6
OURS = "cemscope"
SCANNERS: dict[str, Scanner] = {"quick": quick_scan, "full": full_scan}
LIMITS = {"plain": (0.05, 0.1), "thick": (0.08, 0.15), "screws": (0.10, 0.2)}
"""Largest error of a vertebra: share of its cement, or mL, whichever is more."""
GOAL_BIAS = {"plain": 3.0, "thick": 3.0, "screws": 5.0}
GOAL_DICE = {"plain": 0.90, "thick": 0.90, "screws": 0.80}
GOAL_WIDTH = {"plain": 0.15, "thick": 0.15, "screws": 0.30}
GOAL_COVERAGE = (0.90, 0.99)
FEW_VERTEBRAE = 100
GOAL_FALSE_ML = 0.02
GOAL_TIP_MM, GOAL_DIAMETER_MM = 2.0, 0.7

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class LevelRow:
    scene: str
    stratum: str  # plain, thick, screws or trap
    level: str
    method: str
    truth_ml: float
    screws: int
    volume_ml: float  # NaN where the method declined
    low_ml: float
    high_ml: float
    dice: float
    error: str = ""


@dataclass(frozen=True)
class ScrewRow:
    scene: str
    level: str
    side: str
    outcome: str  # found, missed or invented
    place: str  # right or wrong
    tip_mm: float
    diameter_mm: float  # found minus true


@dataclass(frozen=True)
class SceneRow:
    scene: str
    stratum: str
    notes: str
    seconds: float
    levels: tuple[LevelRow, ...] = field(default=())
    screws: tuple[ScrewRow, ...] = field(default=())
    error: str = ""


@dataclass(frozen=True)
class Task:
    seed: int | None
    folder: str | None
    write: str | None
    only_write: bool
    outlines: str
    simple: bool
    scanner: str


def judged(task: Task) -> SceneRow:
    name = f"c{task.seed:03d}" if task.seed is not None else str(task.folder)
    try:
        if task.seed is not None:
            from cemscope.testing.cement_case import draw_cement_case

            case = draw_cement_case(task.seed)
            scene = make_cement_scene(case, scanner=SCANNERS[task.scanner])
            if task.write:
                write_cement_scene(scene, Path(task.write) / scene.name)
        else:
            scene = read_cement_scene(Path(str(task.folder)))
        if task.only_write:
            return SceneRow(scene.name, "", str(scene.truth["notes"]), 0.0)
        return score(scene, task)
    except Exception:  # noqa: BLE001 - a scene that breaks must not end the run
        return SceneRow(name, "?", "", 0.0, error=traceback.format_exc())


def stratum_of(scene: CementScene) -> str:
    if all(v["cement_ml"] == 0 for v in scene.truth["vertebrae"]):
        return "trap"
    if scene.truth["screws"]:
        return "screws"
    thick = scene.truth["slice_thickness_mm"] > THIN_SLICE_MM
    return "thick" if thick else "plain"


def score(scene: CementScene, task: Task) -> SceneRow:
    known = scene.spine()
    stratum = stratum_of(scene)
    start = time.perf_counter()
    found: Augmentation | None = None
    spine, error = known, ""
    try:
        if task.outlines == "embedded":
            spine = find_vertebrae(scene.ct)
        found = measure_augmentation(scene.ct, spine)
    except CemscopeError as refusal:
        error = f"{type(refusal).__name__}: {refusal}"
    seconds = time.perf_counter() - start
    rows = []
    for level in known.vertebrae:
        name = level.level.name
        truth = next(v for v in scene.truth["vertebrae"] if v["level"] == name)
        if not truth["whole_in_view"]:
            continue
        place = Place.of(scene, level.level, stratum, truth)
        rows.append(place.ours(found, spine, error))
        if task.simple:
            rows += place.simple()
    screws = matched_screws(scene, found, known, spine)
    return SceneRow(
        scene.name,
        stratum,
        str(scene.truth["notes"]),
        seconds,
        tuple(rows),
        tuple(screws),
        error,
    )


@dataclass(frozen=True, eq=False)
class Place:
    """One vertebra of a scene with its neighbourhood."""

    scene: CementScene
    level: VertebraLevel
    stratum: str
    truth: dict[str, Any]
    box: tuple[slice, ...]
    near: Bools
    zone: Bools

    @classmethod
    def of(
        cls,
        scene: CementScene,
        level: VertebraLevel,
        stratum: str,
        truth: dict[str, Any],
    ) -> "Place":
        labels, spacing = scene.labels.labels, np.array(scene.ct.spacing_mm)
        mine = np.isin(labels, (level.number, level.arch_number))
        box = box_of(mine, np.ceil(NEAR_MM / spacing).astype(int))
        part = labels[box]
        away, nearest = ndimage.distance_transform_edt(
            part == 0, sampling=tuple(spacing), return_indices=True
        )
        owner = part[tuple(nearest)] % 100
        near = (owner == level.number) & (away <= NEAR_MM)
        return cls(scene, level, stratum, truth, box, near, near & (away <= ZONE_MM))

    @property
    def voxel_ml(self) -> float:
        return self.scene.ct.geometry.voxel_volume_mm3 / 1000.0

    @property
    def true_mask(self) -> Bools:
        return np.asarray(self.scene.cement.labels[self.box] == self.level.number)

    def row(
        self,
        method: str,
        volume: float,
        mask: Bools | None,
        limits: tuple[float, float] = (float("nan"), float("nan")),
        error: str = "",
    ) -> LevelRow:
        dice = float("nan")
        if mask is not None and self.truth["cement_ml"] > 0:
            both = float((mask & self.true_mask).sum())
            dice = 2.0 * both / max(float(mask.sum() + self.true_mask.sum()), 1.0)
        screws = sum(s["level"] == self.level.name for s in self.scene.truth["screws"])
        return LevelRow(
            self.scene.name,
            self.stratum,
            self.level.name,
            method,
            self.truth["cement_ml"],
            screws,
            volume,
            *limits,
            dice,
            error,
        )

    def ours(self, found: Augmentation | None, spine: Spine, error: str) -> LevelRow:
        if found is None:
            return self.row(OURS, float("nan"), None, error=error)
        body = self.scene.labels.labels[self.box] == self.level.number
        inside = spine.labels.labels[self.box][body]
        counts = np.bincount(inside[(inside > 0) & (inside < 100)], minlength=1)
        name = ""
        if counts.size > 1 and counts.max() > 0.3 * body.sum():
            name = next(
                v.level.name
                for v in spine.vertebrae
                if v.level.number == int(counts.argmax())
            )
        item = next((c for c in found.cement if c.level == name), None)
        mask = np.isin(found.materials.labels[self.box], (CEMENT, LEAK)) & self.near
        if item is None:
            return self.row(OURS, float("nan"), mask, error="vertebra not found")
        value = item.cement
        if not isinstance(value, CementVolume):
            return self.row(OURS, float("nan"), mask, error=value.reason)
        limits = (value.interval.low_ml, value.interval.high_ml)
        return self.row(OURS, value.volume_ml, mask, limits)

    def simple(self) -> Iterator[LevelRow]:
        hu = self.scene.ct.hu[self.box]
        true = self.true_mask if self.truth["cement_ml"] > 0 else None
        for method, mask in simple_masks(hu, self.zone, true, self.voxel_ml):
            yield self.row(method, float(mask.sum()) * self.voxel_ml, mask)


def box_of(mask: Bools, margin: npt.NDArray[np.int_]) -> tuple[slice, ...]:
    parts = []
    for axis in range(3):
        used = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        low = max(int(used[0]) - int(margin[axis]), 0)
        parts.append(slice(low, int(used[-1]) + int(margin[axis]) + 1))
    return tuple(parts)


def matched_screws(
    scene: CementScene, found: Augmentation | None, known: Spine, spine: Spine
) -> Iterator[ScrewRow]:
    true = scene.truth["screws"]
    ours = list(found.screws) if found else []
    gaps = np.full((len(true), len(ours)), np.inf)
    for i, screw in enumerate(true):
        for j, other in enumerate(ours):
            gaps[i, j] = np.linalg.norm(
                middle(screw["head_lps_mm"], screw["tip_lps_mm"])
                - middle(other.head_lps_mm, other.tip_lps_mm)
            )
    left = set(range(len(ours)))
    renamed = names_of(known, spine)
    for i, screw in enumerate(true):
        free = [j for j in left if gaps[i, j] < SAME_SCREW_MM]
        if not free:
            yield ScrewRow(
                scene.name, screw["level"], screw["side"], "missed", "-",
                float("nan"), float("nan"),
            )  # fmt: skip
            continue
        j = min(free, key=lambda k: gaps[i, k])
        left.discard(j)
        other = ours[j]
        level = renamed.get(other.level, other.level)
        right = (level, other.side.value) == (screw["level"], screw["side"])
        gap = np.array(other.tip_lps_mm) - np.array(screw["tip_lps_mm"])
        yield ScrewRow(
            scene.name,
            screw["level"],
            screw["side"],
            "found",
            "right" if right else f"wrong ({level} {other.side.value})",
            float(np.linalg.norm(gap)),
            other.diameter_mm - screw["diameter_mm"],
        )
    for j in sorted(left):
        yield ScrewRow(
            scene.name, ours[j].level, ours[j].side.value, "invented", "-",
            float("nan"), float("nan"),
        )  # fmt: skip


def names_of(known: Spine, spine: Spine) -> dict[str, str]:
    """True names of found outlines: their names are judged elsewhere."""
    if spine is known:
        return {}
    names = {}
    true_names = {v.level.number: v.level.name for v in known.vertebrae}
    for vertebra in spine.vertebrae:
        inside = known.labels.labels[spine.labels.labels == vertebra.level.number]
        counts = np.bincount(inside[(inside > 0) & (inside < 100)], minlength=1)
        if counts.size > 1 and counts.max() > 0:
            # The end of the scan may cut a slice off a body that is not known.
            true = true_names.get(int(counts.argmax()))
            if true is not None:
                names[vertebra.level.name] = true
    return names


def middle(head: Sequence[float], tip: Sequence[float]) -> npt.NDArray[np.float64]:
    """20 mm behind the tip: heads are told less exactly."""
    ends = np.array([head, tip], float)
    axis = (ends[1] - ends[0]) / np.linalg.norm(ends[1] - ends[0])
    return np.asarray(ends[1] - 20.0 * axis)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_scene_options(parser)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--outlines", choices=["true", "embedded"], default="true")
    parser.add_argument("--scanner", choices=list(SCANNERS), default="quick")
    parser.add_argument("--only-ours", action="store_true")
    options = parser.parse_args()
    write = str(options.write) if options.write else None
    flags = (
        write,
        options.only_write,
        options.outlines,
        not options.only_ours,
        options.scanner,
    )
    tasks = [Task(*scene, *flags) for scene in chosen_scenes(parser, options)]
    rows = []
    with get_context("spawn").Pool(options.jobs, maxtasksperchild=4) as pool:
        for row in pool.imap(judged, tasks):
            rows.append(row)
            print(*(lines(row)), sep="\n", flush=True)
    if options.only_write:
        return
    if options.out:
        write_csv(options.out, rows)
    if options.plot:
        plot(options.plot, rows)
    sys.exit(0 if summary(rows) else 1)


def lines(row: SceneRow) -> Iterator[str]:
    yield f"{row.scene:6} {row.stratum:7} {row.seconds:5.1f} s  {row.notes}"
    if row.error:
        yield "    ERROR " + row.error.strip().splitlines()[-1]
    for level in row.levels:
        if level.method != OURS:
            continue
        mark = "" if within(level) else "   <<<"
        if np.isnan(level.volume_ml):
            mark = "   declined:"
        elif level.truth_ml > 0 and not covered(level):
            mark += " outside the interval"
        yield (
            f"    {level.level:4} truth {level.truth_ml:5.2f} mL  ours "
            f"{level.volume_ml:5.2f} ({level.low_ml:.2f}-{level.high_ml:.2f})"
            f"  dice {level.dice:.3f}{mark} {level.error}"
        )
    for screw in row.screws:
        far = screw.tip_mm > GOAL_TIP_MM or abs(screw.diameter_mm) > GOAL_DIAMETER_MM
        if far or screw.outcome != "found" or screw.place != "right":
            yield (
                f"    screw {screw.level} {screw.side} {screw.outcome} {screw.place}"
                f" tip {screw.tip_mm:.1f} mm, diameter {screw.diameter_mm:+.2f} mm"
            )


def limit_ml(row: LevelRow) -> float:
    if row.truth_ml == 0:
        return GOAL_FALSE_ML
    share, least = LIMITS[row.stratum]
    return max(share * row.truth_ml, least)


def within(row: LevelRow) -> bool:
    return abs(row.volume_ml - row.truth_ml) <= limit_ml(row)


def covered(row: LevelRow) -> bool:
    return row.low_ml <= row.truth_ml <= row.high_ml


def write_csv(path: Path, rows: Sequence[SceneRow]) -> None:
    for suffix, kind, name in (
        ("", LevelRow, "levels"),
        ("_screws", ScrewRow, "screws"),
    ):
        target = path.with_name(path.stem + suffix + path.suffix)
        with target.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, [f.name for f in fields(kind)])
            writer.writeheader()
            for row in rows:
                writer.writerows(asdict(item) for item in getattr(row, name))


def summary(rows: Sequence[SceneRow]) -> bool:
    """Print the tables; True if every goal is met."""
    everything = [level for row in rows for level in row.levels]
    broken = [row.scene for row in rows if row.error]
    print(f"\n{len(rows)} scenes; without a result: {' '.join(broken) or 'none'}")
    goals = [("every scene has a result", not broken)]
    methods = list(dict.fromkeys(level.method for level in everything))
    print(
        f"{'':8}{'method':20}   n  bias %    SD %  MAE mL  within  dice  "
        "coverage  width"
    )
    for stratum in LIMITS:
        for method in methods:
            chosen = [
                r
                for r in everything
                if r.stratum == stratum and r.method == method and r.truth_ml > 0
            ]
            if chosen:
                met = table_line(stratum, method, chosen)
                goals += met if method == OURS else []
    goals += coverage(everything)
    goals += false_cement(everything, methods)
    goals += screw_goals([s for row in rows for s in row.screws])
    print()
    for text, met in goals:
        print(f"{'met   ' if met else 'MISSED'}  {text}")
    return all(met for _, met in goals)


def table_line(
    stratum: str, method: str, rows: Sequence[LevelRow]
) -> list[tuple[str, bool]]:
    told = [r for r in rows if not np.isnan(r.volume_ml)]
    error = np.array([r.volume_ml - r.truth_ml for r in told])
    share = 100.0 * error / np.array([r.truth_ml for r in told])
    bias, spread = mean(share), float(np.std(share)) if told else float("nan")
    inside = np.mean([within(r) for r in rows])
    dice = mean([r.dice for r in rows])
    text = (
        f"{stratum:8}{method:20} {len(told):3d}  {bias:6.1f}  {spread:6.1f}  "
        f"{mean(np.abs(error)):6.3f}  {100 * inside:5.0f}%  {dice:.3f}"
    )
    if method != OURS:
        print(text)
        return []
    cover = mean([float(covered(r)) for r in told])
    width = np.array([(r.high_ml - r.low_ml) / max(r.volume_ml, 1e-6) for r in told])
    middle_width = float(np.median(width)) if told else float("nan")
    declined = f"  ({len(rows) - len(told)} declined)" if len(told) < len(rows) else ""
    print(f"{text}  {100 * cover:6.0f} %  {100 * middle_width:4.0f} %{declined}")
    return [
        (f"{stratum}: bias {bias:.1f} %", abs(bias) <= GOAL_BIAS[stratum]),
        (f"{stratum}: {100 * inside:.0f} % of vertebrae within limits", inside == 1.0),
        (f"{stratum}: cement Dice {dice:.3f}", dice >= GOAL_DICE[stratum]),
        (
            f"{stratum}: median width {100 * middle_width:.0f} %",
            middle_width < GOAL_WIDTH[stratum],
        ),
    ]


def coverage(rows: Sequence[LevelRow]) -> list[tuple[str, bool]]:
    told = [r for r in rows if r.method == OURS and r.truth_ml > 0]
    told = [r for r in told if not np.isnan(r.volume_ml)]
    if not told:
        return []
    share = mean([float(covered(r)) for r in told])
    low, high = GOAL_COVERAGE
    # Of few vertebrae, an honest interval often holds all.
    met = share >= low and (share <= high or len(told) < FEW_VERTEBRAE)
    return [(f"coverage {100 * share:.0f} % of {len(told)} vertebrae", met)]


def false_cement(
    rows: Sequence[LevelRow], methods: Sequence[str]
) -> list[tuple[str, bool]]:
    print("\nvertebrae without cement: mean and largest mL read")
    worst = 0.0
    groups: list[tuple[str, Callable[[LevelRow], bool]]] = [
        ("no metal in the scan", lambda r: r.stratum != "screws" and not r.screws),
        ("metal in the scan", lambda r: r.stratum == "screws" or r.screws > 0),
    ]
    for text, belongs in groups:
        for method in methods:
            values = np.array(
                [
                    r.volume_ml
                    for r in rows
                    if r.method == method and r.truth_ml == 0 and belongs(r)
                ]
            )
            values = values[~np.isnan(values)]
            if not values.size:
                continue
            print(
                f"{text:22}{method:20} {len(values):3d}  {values.mean():6.3f}"
                f"  {values.max():6.3f}"
            )
            if method == OURS:
                worst = max(worst, float(values.max()))
    return [
        (f"false cement at most {worst:.3f} mL", worst < GOAL_FALSE_ML),
    ]


def screw_goals(screws: Sequence[ScrewRow]) -> list[tuple[str, bool]]:
    if not screws:
        return []
    found = [s for s in screws if s.outcome == "found"]
    missed = sum(s.outcome == "missed" for s in screws)
    invented = sum(s.outcome == "invented" for s in screws)
    wrong = sum(s.place != "right" for s in found)
    tips = np.array([s.tip_mm for s in found])
    widths = np.abs([s.diameter_mm for s in found])
    print(
        f"\n{len(found) + missed} screws: {len(found)} found, {missed} missed, "
        f"{invented} invented, {wrong} with a wrong level or side"
    )
    if not found:
        return [("screws", False)]
    print(
        f"tip error: median {np.median(tips):.2f}, largest {tips.max():.2f} mm; "
        f"diameter error: median {np.median(widths):.2f}, largest {widths.max():.2f} mm"
    )
    return [
        (f"{missed} screws missed, {invented} invented", missed + invented == 0),
        (f"{wrong} screws with a wrong level or side", wrong == 0),
        (
            f"{(tips > GOAL_TIP_MM).sum()} tips beyond {GOAL_TIP_MM} mm",
            bool((tips <= GOAL_TIP_MM).all()),
        ),
        (
            f"{(widths > GOAL_DIAMETER_MM).sum()} diameters beyond "
            f"{GOAL_DIAMETER_MM} mm",
            bool((widths <= GOAL_DIAMETER_MM).all()),
        ),
    ]


def mean(values: Sequence[float] | npt.NDArray[np.floating[Any]]) -> float:
    kept = np.asarray(values, float)
    kept = kept[~np.isnan(kept)]
    return float(kept.mean()) if kept.size else float("nan")


def plot(path: Path, rows: Sequence[SceneRow]) -> None:
    """Bland-Altman: difference against mean, per stratum, for two methods."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    colours = {"plain": "tab:blue", "thick": "tab:green", "screws": "tab:red"}
    figure, axes = plt.subplots(1, 2, figsize=(10, 4.2), sharex=True)
    for axis, method in zip(axes, (OURS, "800 HU"), strict=True):
        every = [
            level
            for row in rows
            for level in row.levels
            if level.method == method
            and level.truth_ml > 0
            and not np.isnan(level.volume_ml)
        ]
        for stratum, colour in colours.items():
            mine = [r for r in every if r.stratum == stratum]
            if not mine:
                continue
            x = np.array([0.5 * (r.volume_ml + r.truth_ml) for r in mine])
            y = np.array([r.volume_ml - r.truth_ml for r in mine])
            label = f"{stratum} (n = {len(mine)})"
            axis.scatter(x, y, s=16, color=colour, label=label)
        if every:
            error = np.array([r.volume_ml - r.truth_ml for r in every])
            spread = 1.96 * error.std()
            for height in (error.mean() - spread, error.mean(), error.mean() + spread):
                axis.axhline(height, color="grey", lw=0.8, ls="--")
        axis.axhline(0.0, color="black", lw=0.8)
        axis.set(
            title=method,
            xlabel="mean of measured and true cement [mL]",
            ylabel="measured - true [mL]",
        )
        axis.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    plt.close(figure)


if __name__ == "__main__":
    main()
