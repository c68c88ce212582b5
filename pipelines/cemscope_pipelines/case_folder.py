"""The case folder: written whole or not at all."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cemscope.errors import ConfigError, ExportError

REPORT_FILE = "report.json"
VERTEBRAE_FILE = "vertebrae.nii.gz"
MATERIALS_FILE = "materials.nii.gz"
PREVIEW_FILE = "preview.png"
LEVELS_FILE = "levels.png"
HTML_FILE = "report.html"
PROVENANCE_FILE = "provenance.json"

MACHINE_FILES = frozenset(
    {
        REPORT_FILE,
        VERTEBRAE_FILE,
        MATERIALS_FILE,
        PREVIEW_FILE,
        LEVELS_FILE,
        HTML_FILE,
        PROVENANCE_FILE,
    }
)
"""What an analysis writes and may therefore replace."""

READER_FILES = frozenset(
    {
        "review.json",
        "review.edits.jsonl",
        "review_vertebrae.nii.gz",
        "review_materials.nii.gz",
        "signed",
        "audit.jsonl",
    }
)
"""What a reader's work leaves in a case; it is never replaced."""


def check_target(folder: Path) -> bool:
    """Tell whether a case can be written to a folder; nothing is changed.

    Returns
    -------
    bool
        True if an earlier case, not reviewed yet, will be replaced.

    Raises
    ------
    ConfigError
        If the path is a file, holds files of others or a reader's work, or cannot
        be written to.
    """
    if folder.exists() and not folder.is_dir():
        raise ConfigError("--out: expected a folder, found a file of that name")
    if folder.is_mount():
        raise ConfigError(
            "--out: the folder is a mount point, which cannot be replaced as a whole; "
            "give a folder inside it"
        )
    folder = folder.resolve()
    ancestor = folder
    while not ancestor.exists():
        ancestor = ancestor.parent
    parent = ancestor.parent if ancestor == folder else ancestor
    if not ancestor.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise ConfigError("--out: no permission to write there; give another folder")
    if not folder.exists():
        return False
    names = {entry.name for entry in folder.iterdir()}
    if not names:
        return False
    kept = sorted(names & READER_FILES)
    if kept:
        raise ConfigError(
            "--out: the case was reviewed, signed, exported or sent (it holds "
            f"{', '.join(kept)}) and is not replaced; give another folder"
        )
    foreign = sorted(names - MACHINE_FILES)
    if foreign or REPORT_FILE not in names:
        raise ConfigError(
            "--out: the folder is not empty and not a cemscope case"
            + (f" (it holds {len(foreign)} other files)" if foreign else "")
            + "; give a new or empty folder"
        )
    return True


@contextmanager
def written_whole(folder: Path) -> Iterator[Path]:
    """Give a temporary folder that becomes ``folder`` when the block succeeds.

    It stands beside the target, so that the last step is a rename. If the block
    fails or is interrupted, the temporary folder is removed and the target is left
    as it was.

    Raises
    ------
    ConfigError
        As `check_target`.
    ExportError
        If the disk refuses, e.g. because it is full.
    """
    check_target(folder)
    target = folder.resolve()
    made = _make_parents(target.parent)
    part: Path | None = None
    done = False
    try:
        part = Path(tempfile.mkdtemp(prefix=f".{target.name}.part-", dir=target.parent))
        yield part
        part.chmod(0o777 & ~_umask())
        _swap(part, target)
        done = True
    except OSError as error:
        raise ExportError(f"the case cannot be written: {error.strerror}") from error
    finally:
        if not done:
            if part is not None:
                shutil.rmtree(part, ignore_errors=True)
            for parent in made:
                parent.rmdir()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _make_parents(parent: Path) -> list[Path]:
    """Create missing folders; returns them, innermost first."""
    missing = []
    while not parent.exists():
        missing.append(parent)
        parent = parent.parent
    made: list[Path] = []
    try:
        for folder in reversed(missing):
            folder.mkdir()
            made.insert(0, folder)
    except OSError as error:
        raise ExportError(f"the case cannot be written: {error.strerror}") from error
    return made


def _swap(part: Path, target: Path) -> None:
    """Put the new folder in the place of the old one; undone if it fails."""
    if not target.exists() or not any(target.iterdir()):
        if target.exists():
            target.rmdir()
        part.rename(target)
        return
    old = part.with_name(part.name + "-old")
    target.rename(old)
    try:
        part.rename(target)
    except BaseException:
        # An interrupt, too, must not take the earlier case away.
        if not target.exists():
            old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)
