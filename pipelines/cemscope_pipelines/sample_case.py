"""The sample patient: where it lies and what is known about it.

The sample is a simulated postoperative CT, so the true volumes are known. It stands in
``sample_dicom/`` of the repository and is too large for the installed package.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cemscope.errors import ConfigError

SAMPLE_VARIABLE = "CEMSCOPE_SAMPLE"
"""Environment variable that names the folder."""

BASELINE = "baseline"
MANIFEST_FILE = "manifest.json"


@dataclass(frozen=True, slots=True)
class LevelTruth:
    """What a vertebra of the sample patient really holds, mL."""

    level: str
    cement_ml: float
    leaked_ml: float


@dataclass(frozen=True, slots=True)
class SampleTruth:
    """What is known about the baseline scan.

    Attributes
    ----------
    levels : tuple of LevelTruth
        Vertebrae with cement.
    screw_ids : tuple of str
        Screws, e.g. "L4-left".
    """

    levels: tuple[LevelTruth, ...]
    screw_ids: tuple[str, ...]

    def level(self, name: str) -> LevelTruth:
        """Truth of a level; one that is not listed holds no cement."""
        for truth in self.levels:
            if truth.level == name:
                return truth
        return LevelTruth(name, 0.0, 0.0)


def find_sample(given: Path | None = None) -> Path:
    """Find the folder of the sample patient.

    Looked for in this order: the given folder, the environment variable
    ``CEMSCOPE_SAMPLE``, the repository that this package runs from, the current
    folder.

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
            Path.cwd() / "sample_dicom",
        ]
    )
    for place in places:
        if (place / BASELINE).is_dir():
            return place
    where = f"in {named}" if named is not None else "here"
    raise ConfigError(
        f"no sample patient {where} (expected a folder with {BASELINE}/ in it). The "
        "installed package does not hold it: clone the cemscope repository and give "
        f"its sample_dicom folder with --sample DIR or {SAMPLE_VARIABLE}; with the "
        "extra cemscope[simulation], sample_dicom/generate.py --out DIR makes it again"
    )


def read_truth(sample: Path) -> SampleTruth | None:
    """Read what is known about the baseline scan; None without a manifest.

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
    return SampleTruth(
        levels=tuple(
            LevelTruth(
                str(vertebra["level"]),
                float(vertebra["volume_ml"]),
                float(vertebra["leaked_ml"]),
            )
            for vertebra in truth["vertebrae"]
        ),
        screw_ids=tuple(
            f"{screw['level']}-{screw['side']}" for screw in truth["screws"]
        ),
    )
