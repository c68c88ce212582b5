"""A real Orthanc for the length of a test, reachable from this machine only."""

import json
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

PLUGINS = Path("/usr/share/orthanc/plugins")
READY_WITHIN_S = 20.0


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@dataclass
class Orthanc:
    """One server on its own folder; it can be killed and started again."""

    folder: Path
    options: dict[str, object] = field(default_factory=dict)
    http_port: int = field(default_factory=free_port)
    dicom_port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def scheme(self) -> str:
        return "https" if self.options.get("SslEnabled") else "http"

    @property
    def dicomweb_url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.http_port}/dicom-web"

    @property
    def dimse_address(self) -> str:
        return f"127.0.0.1:{self.dicom_port}"

    def start(self) -> None:
        # Orthanc 1.10 binds all interfaces: it is told to serve this machine alone.
        settings = {
            "StorageDirectory": str(self.folder / "db"),
            "IndexDirectory": str(self.folder / "db"),
            "HttpPort": self.http_port, "DicomPort": self.dicom_port,
            "DicomAet": "ORTHANC", "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False, "DicomCheckModalityHost": True,
            "DicomAlwaysAllowStore": False, "DicomAlwaysAllowFind": False,
            "DicomAlwaysAllowGet": False, "UnknownSopClassAccepted": True,
            "OverwriteInstances": False, "Plugins": [str(PLUGINS)],
            "DicomModalities": {
                "cemscope": {
                    "AET": "CEMSCOPE", "Host": "127.0.0.1", "Port": 1,
                    "AllowEcho": True, "AllowFind": True, "AllowGet": True,
                    "AllowStore": True,
                }
            },
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "EnableWado": True},
            **self.options,
        }  # fmt: skip
        config = self.folder / "orthanc.json"
        config.write_text(json.dumps(settings))
        with (self.folder / "orthanc.log").open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603 - Debian's Orthanc
                [shutil.which("Orthanc") or "Orthanc", str(config)],
                stdout=log, stderr=log,
            )  # fmt: skip
        limit = time.monotonic() + READY_WITHIN_S
        while not self._answers():
            assert self.process.poll() is None, self.log()
            assert time.monotonic() < limit, self.log()
            time.sleep(0.05)

    def _answers(self) -> bool:
        for port in (self.http_port, self.dicom_port):
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
            except OSError:
                return False
        return True

    def stop(self, *, kill: bool = False) -> None:
        if self.process is None:
            return
        self.process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
        self.process.wait(20)
        self.process = None

    def log(self) -> str:
        return (self.folder / "orthanc.log").read_text(errors="replace")[-2000:]

    def count(self) -> int:
        """Instances that are stored, as Orthanc itself counts."""
        url = f"http://127.0.0.1:{self.http_port}/statistics"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return int(json.load(answer)["CountInstances"])


@contextmanager
def running_orthanc(
    folder: Path, options: dict[str, object] | None = None
) -> Iterator[Orthanc]:
    """Start an Orthanc, or skip the test where there is none."""
    if shutil.which("Orthanc") is None or not PLUGINS.is_dir():
        pytest.skip(
            "Orthanc with DICOMweb is not installed: run "
            "scripts/install_dicom_validators.sh"
        )
    folder.mkdir(parents=True, exist_ok=True)
    server = Orthanc(folder, options or {})
    server.start()
    try:
        yield server
    finally:
        server.stop()
