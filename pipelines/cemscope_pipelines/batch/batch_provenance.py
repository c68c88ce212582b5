"""``provenance.json`` of a batch: the only place that says where each scan lies."""

import json
import os
import platform
import tempfile
from collections.abc import Iterable
from pathlib import Path

from cemscope_pipelines.batch.found_series import FoundUnit
from cemscope_pipelines.batch.ledger import now_utc
from cemscope_pipelines.batch.planning import PlannedCase
from cemscope_pipelines.batch.prepare import ReadyConfig
from cemscope_pipelines.batch.request import BatchRequest
from cemscope_pipelines.case_folder import PROVENANCE_FILE


def write_atomically(path: Path, text: str) -> None:
    """Put a text file in place, whole or not at all."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
        mask = os.umask(0)
        os.umask(mask)
        Path(name).chmod(0o666 & ~mask)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_batch_provenance(
    request: BatchRequest,
    ready: ReadyConfig,
    cases: Iterable[PlannedCase],
    units: Iterable[FoundUnit],
) -> None:
    """Write down where the scans of a batch lie and how they are measured."""
    record = {
        "created_utc": now_utc(),
        "command": list(request.command),
        "software_version": ready.version,
        "python_version": platform.python_version(),
        "platform": platform.platform(),
        "config": json.loads(ready.config),
        "config_hash": ready.config_hash,
        "root": str(request.root.absolute()),
        "cases": [
            {"case": c.entry.name, "series": c.entry.series, "path": c.path}
            for c in cases
        ],
        "folders_with_damaged_files": [
            {"path": u.path, "damaged_files": u.unreadable_files}
            for u in units
            if u.unreadable_files
        ],
    }
    write_atomically(request.out / PROVENANCE_FILE, json.dumps(record, indent=1) + "\n")
