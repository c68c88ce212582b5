"""The folder that an export writes: whole or not at all, and only over an older one."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cemscope.errors import ConfigError, ExportError
from cemscope_pipelines.export.case_record import file_sha256

MANIFEST_FILE = "export.json"


@contextmanager
def export_folder(target: Path) -> Iterator[Path]:
    """Give a temporary folder that takes the place of ``target`` on success.

    Raises
    ------
    ConfigError
        If the target holds files that no export wrote.
    ExportError
        If the disk refuses.
    """
    _check(target)
    target = target.resolve()
    part: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{target.name}.part-", dir=target.parent))
        part.chmod(0o755)
        yield part
        _put(part, target)
    except OSError as error:
        raise ExportError(f"the export cannot be written: {error.strerror}") from error
    finally:
        if part is not None:
            shutil.rmtree(part, ignore_errors=True)


def _check(target: Path) -> None:
    if target.exists() and not target.is_dir():
        raise ConfigError("--to: expected a folder, found a file of that name")
    if not target.exists():
        return
    names = {entry.name for entry in target.iterdir()}
    if not names:
        return
    foreign = names - exported_names(target) - {MANIFEST_FILE}
    if MANIFEST_FILE not in names or foreign:
        raise ConfigError(
            f"--to: the folder holds {len(foreign or names)} files that no export "
            "wrote; give a new or empty folder"
        )


def exported_names(target: Path) -> set[str]:
    """Names of the files that an export's manifest lists."""
    try:
        manifest = json.loads((target / MANIFEST_FILE).read_text(encoding="utf-8"))
        return {str(one["name"]) for one in manifest["files"]}
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def write_manifest(folder: Path, facts: dict[str, Any]) -> None:
    """List the files of an export with their hashes; it holds no identity."""
    files = [
        {"name": path.name, "sha256": file_sha256(path)}
        for path in sorted(folder.iterdir())
    ]
    text = json.dumps({"schema_version": "1.0", **facts, "files": files}, indent=2)
    (folder / MANIFEST_FILE).write_text(text + "\n", encoding="utf-8", newline="\n")


def _put(part: Path, target: Path) -> None:
    if target.exists():
        old = part.with_name(part.name + "-old")
        target.rename(old)
        try:
            part.rename(target)
        except OSError:
            old.rename(target)
            raise
        shutil.rmtree(old, ignore_errors=True)
    else:
        os.replace(part, target)
