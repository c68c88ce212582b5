"""Runs the TotalSegmentator package, where the user has installed it, on one CT.

It works in a process of its own: its licence, its weights (which it fetches itself at
the first run) and its memory stay outside cemscope. The command line was read in
version 2.18; the options used here exist since 2.0.
"""

import importlib.util
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import SimpleITK as sitk

from cemscope.anatomy_schemes import TOTALSEGMENTATOR_CLASSES
from cemscope.errors import (
    ConfigError,
    LabelMapError,
    NoVertebraFoundError,
    SegmentationError,
)
from cemscope.volume import CTVolume
from cemscope_pipelines.label_files import LabelFile, read_label_file

logger = logging.getLogger(__name__)

COMMAND = "TotalSegmentator"
"""Name of the package and of its command."""

INSTALL_HINT = (
    "--vertebrae totalsegmentator needs the TotalSegmentator package, which is not "
    "installed: pip install 'cemscope[totalsegmentator]'"
)

MODEL = "Dataset292"
"""nnU-Net's number of the model for vertebrae in task 'total'; the folder of its
weights starts with it and names its version."""

_VERSION_TIMEOUT_S = 120
"""Asking the command for its version loads its libraries first."""

_OFFLINE_SIGNS = (
    "connectionerror", "max retries", "name resolution", "nameresolutionerror",
    "httperror", "sslerror", "proxyerror", "timed out", "connection refused",
)  # fmt: skip
"""What a failed download leaves in the output of the package."""


@dataclass(frozen=True, slots=True)
class TotalSegmentatorSettings:
    """How TotalSegmentator is run.

    Attributes
    ----------
    device
        gpu, gpu:X, mps or cpu; with gpu the package takes the processor where there
        is no graphics card.
    fast
        Use the model of 3 mm voxels: quicker, coarser outlines.
    timeout_s
        The run is stopped after this time. Without a graphics card it takes many
        minutes, and the first run fetches weights as well.
    """

    device: str = "gpu"
    fast: bool = False
    timeout_s: float = 3600.0


def find_totalsegmentator() -> tuple[str, ...] | None:
    """Find how to start TotalSegmentator; None where it is not installed."""
    name = f"{COMMAND}.exe" if os.name == "nt" else COMMAND
    beside_python = Path(sys.executable).parent / name
    if importlib.util.find_spec("totalsegmentator") and beside_python.is_file():
        return (str(beside_python),)
    found = shutil.which(COMMAND)
    return None if found is None else (found,)


@cache
def totalsegmentator_versions() -> Mapping[str, str]:
    """Versions of the package and of its model, for the provenance.

    Returns
    -------
    mapping of str to str
        "TotalSegmentator" and "TotalSegmentator model"; "unknown" where the package
        does not tell.
    """
    return MappingProxyType(
        {COMMAND: _package_version(), f"{COMMAND} model": _model_version()}
    )


def _package_version() -> str:
    try:
        return version(COMMAND)
    except PackageNotFoundError:
        command = find_totalsegmentator()
    if command is None:
        return "not installed"
    try:
        done = subprocess.run(  # noqa: S603 - a fixed program, no shell, no user text
            [*command, "--version"],
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_VERSION_TIMEOUT_S,
        )
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    lines = done.stdout.decode(errors="replace").strip().splitlines()
    return lines[-1].strip()[:40] if lines and not done.returncode else "unknown"


def _model_version() -> str:
    """Folder names of the weights; the package looks for them in these places."""
    home = Path(os.environ.get("TOTALSEG_HOME_DIR", Path.home() / ".totalsegmentator"))
    weights = Path(os.environ.get("TOTALSEG_WEIGHTS_PATH", home / "nnunet" / "results"))
    try:
        names = sorted(p.name for p in weights.iterdir() if p.name.startswith(MODEL))
    except OSError:
        names = []
    return ", ".join(names) or "unknown"


def run_totalsegmentator(
    ct: CTVolume, settings: TotalSegmentatorSettings | None = None
) -> LabelFile:
    """Label the vertebrae of a CT with TotalSegmentator.

    Parameters
    ----------
    ct
        The CT; it is handed over as a temporary NIfTI file without patient data.
    settings
        Device and time limit.

    Returns
    -------
    LabelFile
        With TotalSegmentator's class numbers of task 'total', and their names where
        the file holds them.

    Raises
    ------
    ConfigError
        If the package is not installed; the message tells how to.
    SegmentationError
        If the package fails, takes too long, or writes nothing that can be read.
    NoVertebraFoundError
        If it finds no vertebra.
    """
    settings = settings or TotalSegmentatorSettings()
    command = find_totalsegmentator()
    if command is None:
        raise ConfigError(INSTALL_HINT)
    with tempfile.TemporaryDirectory(prefix="cemscope-") as folder:
        image = Path(folder) / "ct.nii.gz"
        output = Path(folder) / "vertebrae.nii.gz"
        _write_ct(ct, image)
        arguments = ["-i", str(image), "-o", str(output), "--ml"]
        arguments += ["--device", settings.device, *(["--fast"] * settings.fast)]
        arguments += ["--roi_subset", *TOTALSEGMENTATOR_CLASSES.values()]
        _run([*command, *arguments], Path(folder) / "log.txt", settings.timeout_s)
        if not output.is_file():
            raise SegmentationError(
                "TotalSegmentator ended without an error and without an output file"
            )
        try:
            found = read_label_file(output)
        except LabelMapError as error:
            raise SegmentationError(
                f"the output of TotalSegmentator cannot be read: {error}"
            ) from error
    if not found.labels.labels.any():
        raise NoVertebraFoundError(
            "TotalSegmentator found no vertebra in this scan (its output is empty)"
        )
    return found


def _run(command: list[str], log: Path, timeout_s: float) -> None:
    """Run to the end or to the time limit, with all processes that it starts."""
    logger.info("starting TotalSegmentator")
    try:
        # A pipe would stay open in workers that outlive the main process.
        with log.open("wb") as sink:
            process = subprocess.Popen(  # noqa: S603 - a fixed program, no shell
                command,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
    except OSError as error:
        raise SegmentationError(
            f"TotalSegmentator cannot be started: {error.strerror}"
        ) from error
    try:
        status = process.wait(timeout_s)
    except subprocess.TimeoutExpired as error:
        raise SegmentationError(
            f"TotalSegmentator was stopped after {timeout_s:.0f} s without a result; "
            "the limit is the setting totalsegmentator.timeout_s"
        ) from error
    finally:
        _stop(process)
    if status:
        raise SegmentationError(_failure(status, log.read_bytes()))


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """End the process and its workers, if any is left."""
    if hasattr(os, "killpg"):
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            logger.debug("no process of TotalSegmentator is left")
    elif process.poll() is None:
        process.kill()
    process.wait()


def _failure(status: int, output: bytes) -> str:
    """Say in one line why it failed, without paths of its own files."""
    text = output.decode(errors="replace").strip()
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    ended = f"exit status {status}" if status > 0 else f"signal {-status}"
    reason = lines[-1][:300] if lines else "no message"
    lowered = text.lower()
    if any(sign in lowered for sign in _OFFLINE_SIGNS):
        return (
            f"TotalSegmentator could not fetch its weights ({ended}: {reason}). The "
            "first run needs a connection, or weights that totalseg_download_weights "
            "has fetched before"
        )
    if "license" in lowered:
        return f"TotalSegmentator asks for a licence ({ended}: {reason})"
    hint = ". It may have run out of memory" if status in (-9, 137) else ""
    return f"TotalSegmentator failed with {ended}: {reason}{hint}"


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
