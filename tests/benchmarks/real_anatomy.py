"""Measure cement, screws and leaks that were drawn into a real scan.

    CEMSCOPE_DATA=... python tests/benchmarks/real_anatomy.py --seeds 100-109

Reads ``real-lumbar-3mm`` below CEMSCOPE_DATA. Vertebrae are found by cemscope; the
baseline in the same run is a plain threshold. See `drawn_implants` for what is drawn.
Seeds below 100 were looked at while the product was made.
"""

import argparse
import os
import sys
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from drawn_implants import DrawnCement, DrawnScene, draw_scene
from scene_choice import seeds_of

from cemscope.findings import CementVolume, Side
from cemscope.measurement.augmentation import Augmentation, measure_augmentation
from cemscope.segmentation.vertebrae import find_vertebrae
from cemscope.spine import Spine

SAME_BODY_MM = 12.0
LEAST_LEAK_ML = 0.05
WITHIN = {False: (0.05, 0.1), True: (0.10, 0.2)}
"""Goal without and with screws: share of the volume, mL."""
THICK_WITHIN, THICK_MM = (0.08, 0.15), 1.6


@dataclass(frozen=True, slots=True)
class Row:
    seed: int
    level: str
    named: str
    screwed: bool
    true_ml: float
    found_ml: float | None
    low_ml: float
    high_ml: float
    threshold_ml: float
    within: bool
    leak: str
    leaked_ml: float
    found_leaks: str

    @property
    def covered(self) -> bool:
        return self.low_ml <= self.true_ml <= self.high_ml


def row_of(
    seed: int, truth: DrawnCement, scene: DrawnScene, spine: Spine, found: Augmentation
) -> Row:
    away = [
        float(np.linalg.norm(v.centroid_lps_mm - truth.centre_mm))
        for v in spine.vertebrae
    ]
    nearest = int(np.argmin(away)) if away else -1
    known = nearest >= 0 and away[nearest] <= SAME_BODY_MM
    name = spine.vertebrae[nearest].level.name if known else "-"
    cement = next((c.cement for c in found.cement if c.level == name), None)
    assessed = cement if isinstance(cement, CementVolume) else None
    share, least = WITHIN[truth.screwed]
    if not truth.screwed and scene.ct.spacing_mm[0] > THICK_MM:
        share, least = THICK_WITHIN
    error = None if assessed is None else assessed.volume_ml - truth.volume_ml
    told = "+".join(
        f"{'/'.join(leak.types)} {leak.volume_ml:.2f}"
        for leak in found.leaks
        if leak.level == name
    )
    return Row(
        seed,
        truth.level,
        name,
        truth.screwed,
        truth.volume_ml,
        None if assessed is None else assessed.volume_ml,
        0.0 if assessed is None else assessed.interval.low_ml,
        0.0 if assessed is None else assessed.interval.high_ml,
        0.0 if assessed is None else assessed.threshold_volume_ml,
        error is not None and abs(error) <= max(share * truth.volume_ml, least),
        truth.leak,
        truth.leaked_ml,
        told or "none",
    )


def screw_errors(
    scene: DrawnScene, found: Augmentation
) -> tuple[list[tuple[float, float]], int]:
    """Errors of tips and diameters of the screws found; how many others there are."""
    errors = []
    for screw in scene.screws:
        side = Side.LEFT if screw.left else Side.RIGHT
        near = [
            (float(np.linalg.norm(np.array(one.tip_lps_mm) - screw.tip_mm)), one)
            for one in found.screws
            if one.side is side
        ]
        if near:
            away, one = min(near, key=lambda pair: pair[0])
            if away <= SAME_BODY_MM:
                errors.append((away, one.diameter_mm - screw.diameter_mm))
    return errors, len(found.screws) - len(errors)


def summarise(rows: list[Row], screwed: bool) -> str:
    chosen = [row for row in rows if row.screwed == screwed]
    told = [row for row in chosen if row.found_ml is not None]
    words = f"{'with' if screwed else 'without'} screws: {len(told)} of {len(chosen)}"
    if not told:
        return f"{words} assessed"
    true = np.array([row.true_ml for row in told])
    found = np.array([row.found_ml for row in told], float)
    plain = np.array([row.threshold_ml for row in told])
    width = np.array([row.high_ml - row.low_ml for row in told])
    return (
        f"{words} assessed; bias {100 * np.mean(found / true - 1):+.1f} % (threshold "
        f"{100 * np.mean(plain / true - 1):+.1f} %), worst "
        f"{100 * np.abs(found / true - 1).max():.0f} % "
        f"({100 * np.abs(plain / true - 1).max():.0f} %); within limits "
        f"{sum(row.within for row in told)}, held by the interval "
        f"{sum(row.covered for row in told)}, median width "
        f"{100 * np.median(width / found):.0f} %"
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--seeds", type=seeds_of, required=True)
    chosen = parser.parse_args(arguments)
    if "CEMSCOPE_DATA" not in os.environ:
        parser.error("set CEMSCOPE_DATA to the folder that holds real-lumbar-3mm")
    folder = Path(os.environ["CEMSCOPE_DATA"]) / "real-lumbar-3mm"
    rows: list[Row] = []
    screws: list[tuple[float, float]] = []
    drawn = invented = false_leaks = 0
    for seed in chosen.seeds:
        scene = draw_scene(folder, seed)
        spine = find_vertebrae(scene.ct)
        found = measure_augmentation(scene.ct, spine)
        new = [row_of(seed, truth, scene, spine, found) for truth in scene.cement]
        errors, others = screw_errors(scene, found)
        rows += new
        screws += errors
        drawn, invented = drawn + len(scene.screws), invented + others
        leaky = {row.named for row in new if row.leak}
        false_leaks += sum(leak.level not in leaky for leak in found.leaks)
        print(f"seed {seed}: {scene.words}", flush=True)
        for row in new:
            value = "declined" if row.found_ml is None else f"{row.found_ml:.2f} mL"
            print(
                f"  {row.level} ({row.named}) {'screws' if row.screwed else 'bare'}: "
                f"{row.true_ml:.2f} mL, {value} [{row.low_ml:.2f}, {row.high_ml:.2f}]; "
                f"leak {row.leak or 'none'} {row.leaked_ml:.2f}, found "
                f"{row.found_leaks}",
                flush=True,
            )
    print(summarise(rows, screwed=False), summarise(rows, screwed=True), sep="\n")
    leaks = [row for row in rows if row.leaked_ml >= LEAST_LEAK_ML]
    right = sum(row.leak in row.found_leaks for row in leaks)
    seen = sum(row.found_leaks != "none" for row in leaks)
    print(
        f"leaks >= {LEAST_LEAK_ML} mL: {seen} of {len(leaks)} found, type right in "
        f"{right}; {false_leaks} at levels without one"
    )
    names = [row.named for row in rows]
    told = sum(row.level == row.named for row in rows)
    declined = sum(name == "-" or name.startswith("V") for name in names)
    print(
        f"names: {told} right, {declined} declined, {len(rows) - told - declined} wrong"
    )
    tips, widths = ([abs(e[k]) for e in screws] or [0.0] for k in (0, 1))
    print(
        f"screws: {len(screws)} of {drawn} found, {invented} invented; tip median "
        f"{np.median(tips):.1f}, worst {max(tips):.1f} mm; diameter median "
        f"{np.median(widths):.2f}, worst {max(widths):.2f} mm"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
