"""Faults of an archive: what is tried again, what is told, what is never shown."""

import gc
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pydicom
import pytest

from cases.export_cases import make_case
from cemscope.dicom.pacs.archive import (
    ArchivedSeries,
    RetrySettings,
    StoredObject,
    TlsFiles,
    stored_object,
    write_fetched,
)
from cemscope.dicom.pacs.dicomweb import WebArchive, WebCredentials, multipart_bodies
from cemscope.dicom.pacs.dimse import DimseArchive, DimsePeer
from cemscope.errors import ConfigError, PacsError
from cemscope_pipelines.cli.main import main
from cemscope_pipelines.pacs.credentials import web_credentials
from cemscope_pipelines.pacs.pull_study import pull_study

pytest.importorskip("pynetdicom", reason="needs the extra cemscope[pacs]")
pytest.importorskip("requests", reason="needs the extra cemscope[pacs]")

QUICK = RetrySettings(tries=4, first_wait_s=0.01, timeout_s=5.0)


@dataclass
class FakeArchive:
    """Answers with the listed statuses, then with 200."""

    statuses: list[int] = field(default_factory=list)
    body: bytes = b"[]"
    requests: list[str] = field(default_factory=list)


@contextmanager
def serving(told: FakeArchive, context: ssl.SSLContext | None = None) -> Iterator[str]:
    """Serve on this machine; gives the address of the service."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            told.requests.append(self.path)
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(told.statuses.pop(0) if told.statuses else 200)
            self.send_header("Content-Type", "application/dicom+json")
            self.send_header("Content-Length", str(len(told.body)))
            self.end_headers()
            self.wfile.write(told.body)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            pass  # a client that does not trust the certificate hangs up

    server = Server(("127.0.0.1", 0), Handler)
    scheme = "http"
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        scheme = "https"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"{scheme}://127.0.0.1:{server.server_address[1]}/dicom-web"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def fake() -> Iterator[tuple[FakeArchive, str]]:
    told = FakeArchive()
    with serving(told) as url:
        yield told, url


@pytest.mark.parametrize(
    ("statuses", "tries"), [([503, 503], 3), ([500], 2), ([429, 504, 502], 4), ([], 1)]
)
def test_passing_faults_are_tried_again(
    fake: tuple[FakeArchive, str], statuses: list[int], tries: int
) -> None:
    told, url = fake
    told.statuses = list(statuses)
    assert WebArchive(url, retry=QUICK).series_of("1.2") == ()
    assert len(told.requests) == tries


@pytest.mark.parametrize(
    ("statuses", "says", "tries"),
    [
        ([503] * 9, "HTTP 503", 4),
        ([401], "check user and password", 1),
        ([400], r"refused \(QIDO-RS, HTTP 400\)", 1),
    ],
)
def test_lasting_faults_are_told(
    fake: tuple[FakeArchive, str], statuses: list[int], says: str, tries: int
) -> None:
    told, url = fake
    told.statuses = list(statuses)
    with pytest.raises(PacsError, match=says):
        WebArchive(url, retry=QUICK).series_of("1.2")
    assert len(told.requests) == tries


def test_a_refused_object_is_told(
    fake: tuple[FakeArchive, str], tmp_path: Path
) -> None:
    make_case(tmp_path)
    one = stored_object(sorted((tmp_path / "ct").iterdir())[0])
    told, url = fake
    told.body = (
        b'{"00081198":{"vr":"SQ","Value":[{"00081155":{"vr":"UI","Value":["1.2"]}}]}}'
    )
    with pytest.raises(PacsError, match=r"refused slice-0001\.dcm"):
        WebArchive(url, retry=QUICK).store([one])
    assert len(told.requests) == 1


def test_what_is_no_dicomweb_service_is_told(fake: tuple[FakeArchive, str]) -> None:
    told, url = fake
    told.body = b"<html>hello</html>"
    with pytest.raises(PacsError, match="root of a DICOMweb service"):
        WebArchive(url, retry=QUICK).series_of("1.2")


def test_an_archive_that_is_down_is_told() -> None:
    import socket

    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    quick = RetrySettings(tries=2, first_wait_s=0.01, timeout_s=2.0)
    with pytest.raises(PacsError, match="does not answer"):
        WebArchive(f"http://127.0.0.1:{port}", retry=quick).series_of("1.2")
    with pytest.raises(PacsError, match="does not answer"):
        DimseArchive(DimsePeer("127.0.0.1", port, "ANY"), quick).series_of("1.2")


def test_a_multipart_answer_is_split_byte_by_byte() -> None:
    parts = [b"one\r\n--two", b"\r\n\r\n", bytes(range(256))]
    mark = b"\r\n--B\r\nContent-Type: application/dicom\r\n\r\n"
    content = b"preamble" + b"".join(mark + part for part in parts) + b"\r\n--B--\r\n"
    kind = 'multipart/related; type="application/dicom"; boundary="B"'
    assert multipart_bodies(kind, content) == parts
    assert multipart_bodies(kind, content.removeprefix(b"preamble\r\n")) == parts
    with pytest.raises(PacsError, match="ends midway"):
        multipart_bodies(kind, content[:-30])


@pytest.mark.parametrize(
    ("url", "credentials", "says"),
    [
        ("ftp://host/x", WebCredentials(), "expected a URL"),
        ("https://me:word@host/x", WebCredentials(), "password ends in logs"),
        ("http://host/x", WebCredentials("me", "word"), "over https only"),
        ("http://host/x", WebCredentials("", "", "t"), "over https only"),
    ],
)
def test_credentials_are_never_sent_in_the_clear(
    url: str, credentials: WebCredentials, says: str
) -> None:
    with pytest.raises(ConfigError, match=says) as raised:
        WebArchive(url, credentials)
    assert "word" not in str(raised.value).replace("password", "")


def test_credentials_come_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("USER", "PASSWORD", "TOKEN"):
        monkeypatch.delenv(f"CEMSCOPE_PACS_{name}", raising=False)
    assert not web_credentials("https://host")
    monkeypatch.setenv("CEMSCOPE_PACS_USER", "reader")
    with pytest.raises(ConfigError, match="no password is found"):
        web_credentials("https://host")
    monkeypatch.setenv("CEMSCOPE_PACS_PASSWORD", "word")
    assert web_credentials("https://host") == WebCredentials("reader", "word")
    monkeypatch.setenv("CEMSCOPE_PACS_TOKEN", "t")
    assert web_credentials("https://host") == WebCredentials("", "", "t")
    assert "word" not in repr(web_credentials("https://host"))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Certificate of 127.0.0.1, signed by itself, and its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed: run scripts/install_dicom_validators.sh")
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(  # noqa: S603 - openssl
        [
            openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
            "-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem"),
            "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    return folder / "cert.pem", folder / "key.pem"


def test_dicomweb_is_encrypted_and_the_archive_is_known(
    certificate: tuple[Path, Path],
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    told = FakeArchive()
    with serving(told, context) as url:
        assert url.startswith("https://")
        with pytest.raises(PacsError, match="certificate is not trusted"):
            WebArchive(url, retry=QUICK).series_of("1.2")
        assert told.requests == []
        trusted = TlsFiles(authority=certificate[0])
        secret = WebCredentials("reader", "word")
        assert WebArchive(url, secret, trusted, QUICK).series_of("1.2") == ()
    assert len(told.requests) == 1


# pynetdicom's server drops the socket of a failed handshake without closing it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_dimse_is_encrypted_and_the_archive_is_known(
    certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    from pynetdicom import AE, AllStoragePresentationContexts, evt

    make_case(tmp_path)
    files = sorted((tmp_path / "ct").iterdir())[:2]
    received = []

    def store(event: Any) -> int:
        received.append(event.encoded_dataset(include_meta=False))
        return 0

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    entity = AE("PACS")
    entity.supported_contexts = AllStoragePresentationContexts
    server = entity.start_server(
        ("127.0.0.1", 0), block=False, ssl_context=context,
        evt_handlers=[(evt.EVT_C_STORE, store)],
    )  # fmt: skip
    try:
        port = server.server_address[1]
        quick = RetrySettings(tries=1, timeout_s=5.0)
        objects = [stored_object(path) for path in files]
        peer = DimsePeer("127.0.0.1", port, "PACS", tls=TlsFiles())
        with pytest.raises(PacsError):  # of an unknown authority
            DimseArchive(peer, quick).store(objects)
        assert received == []
        peer = DimsePeer(
            "127.0.0.1", port, "PACS", tls=TlsFiles(authority=certificate[0])
        )
        DimseArchive(peer, quick).store(objects)
    finally:
        server.shutdown()
        del server
        gc.collect()
    for path, content in zip(files, received, strict=True):
        assert path.read_bytes().endswith(content)


@pytest.mark.parametrize(
    "words",
    [
        ["--dicomweb", "http://127.0.0.1:1", "--dicom", "h:1", "--aet", "A"],
        [],
        ["--dicom", "host:104"],
        ["--dicom", "host", "--aet", "PACS"],
    ],
)
def test_one_archive_is_named(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pull", "--study", "1.2", "--list", *words]) == 2
    assert "--dicom" in capsys.readouterr().err


@dataclass
class WrongArchive:
    """Lists a series, and sends files under their own UIDs, whatever was asked."""

    series_uid: str
    files: list[Path]
    place: str = "https://pacs.example/dicom-web"

    def instances_of(self, study_uid: str, series_uids: Sequence[str]) -> None:
        return None

    def series_of(self, study_uid: str) -> tuple[ArchivedSeries, ...]:
        return (ArchivedSeries(self.series_uid, "CT", None),)

    def store(self, objects: Sequence[StoredObject], stored: object = None) -> None:
        raise NotImplementedError

    def fetch(self, study_uid: str, series_uid: str, folder: Path) -> int:
        return sum(
            write_fetched(folder, stored_object(path).instance_uid, path.read_bytes())
            for path in self.files
        )


def test_an_archive_cannot_choose_where_its_files_go(tmp_path: Path) -> None:
    for uid in ("../outside", "/outside", "..", "", "1..2", "1." + "2" * 64):
        archive = WrongArchive(uid, [])
        with pytest.raises(PacsError, match="without a valid UID"):
            pull_study(archive, "1.2", tmp_path / "to")
        with pytest.raises(ConfigError, match="--study: expected a UID"):
            pull_study(archive, uid, tmp_path / "to")
        with pytest.raises(PacsError, match="without a valid UID"):
            write_fetched(tmp_path, uid, b"")
    assert list(tmp_path.iterdir()) == []


def test_objects_that_nobody_asked_for_are_not_kept(tmp_path: Path) -> None:
    make_case(tmp_path)
    files = sorted((tmp_path / "ct").iterdir())[:3]
    right = stored_object(files[0])
    other = tmp_path / "other.dcm"
    dataset = pydicom.dcmread(files[2])
    dataset.SeriesInstanceUID = "1.2.3.4"
    dataset.save_as(other)
    archive = WrongArchive(right.series_uid, [*files[:2], other])
    with pytest.raises(PacsError, match="1 objects of another study or series"):
        pull_study(archive, right.study_uid, tmp_path / "to")
    archive.files.pop()
    (pulled,) = pull_study(archive, right.study_uid, tmp_path / "to")
    assert (pulled.files, pulled.new_files) == (2, 0)
