"""Runs the TotalSegmentator package, where the user has installed it, on one CT.

It works in a process of its own: its licence, its weights (which it fetches itself)
and its memory stay outside cemscope.
"""

import importlib.util
import logging
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from cemscope.anatomy_schemes import TOTALSEGMENTATOR_CLASSES
from cemscope.errors import ConfigError, SegmentationError
from cemscope.volume import CTVolume, LabelMap
from cemscope_pipelines.label_files import read_label_map

logger = logging.getLogger(__name__)

COMMAND = "TotalSegmentator"
"""Name of the package's command."""

TIMEOUT_S = 3600
"""A run on a slow computer without a graphics card takes up to half an hour."""

INSTALL_HINT = (
    "--vertebrae totalsegmentator needs the TotalSegmentator package, which is not "
    "installed: pip install 'cemscope[totalsegmentator]'"
)


def find_totalsegmentator() -> tuple[str, ...] | None:
    """Find how to start TotalSegmentator; None where it is not installed."""
    beside_python = Path(sys.executable).parent / COMMAND
    if importlib.util.find_spec("totalsegmentator") and beside_python.is_file():
        return (str(beside_python),)
    found = shutil.which(COMMAND)
    return None if found is None else (found,)


def run_totalsegmentator(ct: CTVolume) -> LabelMap:
    """Label the vertebrae of a CT with TotalSegmentator.

    Parameters
    ----------
    ct
        The CT; it is handed over as a temporary NIfTI file without patient data.

    Returns
    -------
    LabelMap
        With TotalSegmentator's class numbers of task 'total'.

    Raises
    ------
    ConfigError
        If the package is not installed; the message tells how to.
    SegmentationError
        If the package fails or writes nothing.
    """
    command = find_totalsegmentator()
    if command is None:
        raise ConfigError(INSTALL_HINT)
    with tempfile.TemporaryDirectory(prefix="cemscope-") as folder:
        image = Path(folder) / "ct.nii.gz"
        output = Path(folder) / "vertebrae.nii.gz"
        _write_ct(ct, image)
        classes = list(TOTALSEGMENTATOR_CLASSES.values())
        arguments = ["-i", str(image), "-o", str(output), "--ml", "--roi_subset"]
        _run([*command, *arguments, *classes])
        if not output.is_file():
            raise SegmentationError(
                "TotalSegmentator ended without an error and without an output file"
            )
        return read_label_map(output)


def _run(command: list[str]) -> None:
    logger.info("starting TotalSegmentator")
    try:
        done = subprocess.run(  # noqa: S603 - a fixed program, no shell, no user text
            command,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=TIMEOUT_S,
        )
    except subprocess.TimeoutExpired as error:
        raise SegmentationError(
            f"TotalSegmentator was stopped after {TIMEOUT_S} s without a result"
        ) from error
    except OSError as error:
        raise SegmentationError(
            f"TotalSegmentator cannot be started: {error.strerror}"
        ) from error
    if done.returncode:
        lines = done.stdout.decode(errors="replace").strip().splitlines()
        reason = lines[-1].strip()[:300] if lines else "no message"
        raise SegmentationError(
            f"TotalSegmentator failed with exit status {done.returncode}: {reason}. "
            "Its weights are fetched at the first run, which needs a connection"
        )


def _write_ct(ct: CTVolume, path: Path) -> None:
    geometry = ct.geometry
    directions = geometry.directions_lps
    if float(np.abs(directions @ directions.T - np.eye(3)).max()) > 1e-4:
        raise SegmentationError("TotalSegmentator needs a CT with axes at right angles")
    image: Any = sitk.GetImageFromArray(ct.hu)
    image.SetSpacing(tuple(reversed(geometry.spacing_mm)))
    image.SetOrigin(tuple(geometry.origin_lps_mm.tolist()))
    image.SetDirection(directions[::-1].T.ravel().tolist())
    sitk.WriteImage(image, str(path), useCompression=True, compressionLevel=1)
