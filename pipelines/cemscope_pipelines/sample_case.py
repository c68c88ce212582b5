"""The sample patient: where it lies and what is known about it.

The sample is a simulated postoperative CT, so the true volumes are known. It stands in
``sample_dicom/`` of the repository; a wheel holds a copy beside this module.
"""

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cemscope.errors import ConfigError

SAMPLE_VARIABLE = "CEMSCOPE_SAMPLE"
"""Environment variable that names the folder."""

BASELINE, FOLLOWUP = "baseline", "followup"
MANIFEST_FILE = "manifest.json"


SAME_VERTEBRA_MM = 18.0
"""Half the distance of two lumbar vertebrae: nearer centres are one vertebra."""


@dataclass(frozen=True, slots=True)
class LevelTruth:
    """What a vertebra of the sample patient really is and holds.

    Attributes
    ----------
    level : str
        Its name.
    centroid_lps_mm : tuple of float
        Centre of its body.
    cement_ml : float
        All its cement.
    """

    level: str
    centroid_lps_mm: tuple[float, float, float]
    cement_ml: float


@dataclass(frozen=True, slots=True)
class SampleTruth:
    """What is known about the sample's scans.

    Attributes
    ----------
    levels : tuple of LevelTruth
        Vertebrae of the baseline, with and without cement.
    screw_ids : tuple of str
        Its screws, e.g. "L4-left".
    loosened : tuple of str
        Screws that are loose in the follow-up.
    """

    levels: tuple[LevelTruth, ...]
    screw_ids: tuple[str, ...]
    loosened: tuple[str, ...] = ()

    def at(self, centroid_lps_mm: tuple[float, float, float]) -> LevelTruth | None:
        """Vertebra whose centre is near a point; None where there is none."""
        nearest = min(
            self.levels,
            key=lambda truth: math.dist(truth.centroid_lps_mm, centroid_lps_mm),
            default=None,
        )
        if nearest is None:
            return None
        distance_mm = math.dist(nearest.centroid_lps_mm, centroid_lps_mm)
        return nearest if distance_mm < SAME_VERTEBRA_MM else None


def find_sample(given: Path | None = None) -> Path:
    """Find the folder of the sample patient.

    Looked for in this order: the given folder, the environment variable
    ``CEMSCOPE_SAMPLE``, the repository that this package runs from, the installed
    package, the current folder.

    Raises
    ------
    ConfigError
        If it is nowhere; the message says how to get it.
    """
    named = given or (
        Path(os.environ[SAMPLE_VARIABLE]) if os.environ.get(SAMPLE_VARIABLE) else None
    )
    places = (
        [named]
        if named is not None
        else [
            Path(__file__).resolve().parents[2] / "sample_dicom",
            Path(__file__).resolve().parent / "sample_dicom",
            Path.cwd() / "sample_dicom",
        ]
    )
    for place in places:
        if (place / BASELINE).is_dir():
            return place
    where = f"in {named}" if named is not None else "here"
    raise ConfigError(
        f"no sample patient {where} (expected a folder with {BASELINE}/ in it). Clone "
        "the cemscope repository and give its sample_dicom folder with --sample DIR or "
        f"{SAMPLE_VARIABLE}; with the extra cemscope[simulation], "
        "sample_dicom/generate.py --out DIR makes it again"
    )


def read_truth(sample: Path) -> SampleTruth | None:
    """Read what is known about the sample; None without a manifest.

    Raises
    ------
    ConfigError
        If the manifest is damaged.
    """
    path = sample / MANIFEST_FILE
    if not path.is_file():
        return None
    try:
        return _truth_of(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"the sample's {MANIFEST_FILE} cannot be understood "
            f"({type(error).__name__}: {error})"
        ) from None


def _truth_of(manifest: dict[str, Any]) -> SampleTruth:
    truth = manifest["scans"][BASELINE]["truth"]
    later = manifest["scans"].get(FOLLOWUP, {"truth": {"screws": []}})
    return SampleTruth(
        levels=tuple(_level_of(vertebra) for vertebra in truth["vertebrae"]),
        screw_ids=tuple(
            f"{screw['level']}-{screw['side']}" for screw in truth["screws"]
        ),
        loosened=tuple(
            f"{screw['level']}-{screw['side']}"
            for screw in later["truth"]["screws"]
            if screw["loosened"]
        ),
    )


def _level_of(vertebra: dict[str, Any]) -> LevelTruth:
    x, y, z = (float(c) for c in vertebra["centroid_lps_mm"])
    return LevelTruth(str(vertebra["level"]), (x, y, z), float(vertebra["volume_ml"]))
