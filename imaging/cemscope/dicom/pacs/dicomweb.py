"""An archive behind DICOMweb: STOW-RS, QIDO-RS, WADO-RS (PS3.18).

Requests and answers are handled as bytes: what the archive stores is what lay on the
disk, and what is fetched is what the archive holds.
"""

import email.message
import logging
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from cemscope.dicom.pacs.archive import (
    ArchivedSeries,
    PassingFault,
    RetrySettings,
    Stored,
    StoredObject,
    TlsFiles,
    optional_library,
    tried_again,
    write_fetched,
)
from cemscope.dicom.privacy import silenced_pydicom
from cemscope.errors import ConfigError, PacsError

logger = logging.getLogger(__name__)

_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
"""HTTP statuses that may be gone at the next try."""

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})

_SOP_INSTANCE, _SERIES, _MODALITY = "00080018", "0020000E", "00080060"
_SERIES_INSTANCES, _FAILED, _REFERENCED = "00201209", "00081198", "00081155"


@dataclass(frozen=True, slots=True)
class WebCredentials:
    """How cemscope shows who it is; never printed.

    Attributes
    ----------
    user, password : str
        For basic authentication.
    token : str
        For bearer authentication; goes before the other.
    """

    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)

    def __bool__(self) -> bool:
        return bool(self.user or self.token)


class WebArchive:
    """An archive behind DICOMweb.

    Parameters
    ----------
    url
        Root of the service, e.g. ``https://pacs.example/dicom-web``.
    credentials
        Sent over TLS, or to this machine, only.
    tls, retry
        Certificates and patience.

    Raises
    ------
    ConfigError
        If the URL holds a password, or credentials would be sent in the clear.
    """

    def __init__(
        self,
        url: str,
        credentials: WebCredentials | None = None,
        tls: TlsFiles | None = None,
        retry: RetrySettings | None = None,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(
                "--dicomweb: expected a URL such as https://host/dicom-web"
            )
        if parts.username or parts.password:
            raise ConfigError(
                "--dicomweb: a URL with a password ends in logs; give credentials in "
                "the environment or the keyring"
            )
        credentials = credentials or WebCredentials()
        if credentials and parts.scheme == "http" and parts.hostname not in _LOOPBACK:
            raise ConfigError(
                "--dicomweb: credentials are sent over https only, found http"
            )
        self._url = url.rstrip("/")
        self._retry = retry or RetrySettings()
        self._requests: Any = optional_library("requests")
        self._session = self._requests.Session()
        tls = tls or TlsFiles()
        if tls.authority is not None:
            self._session.verify = str(tls.authority)
        if tls.certificate is not None:
            self._session.cert = (str(tls.certificate), str(tls.key or tls.certificate))
        if credentials.token:
            self._session.headers["Authorization"] = f"Bearer {credentials.token}"
        elif credentials.user:
            self._session.auth = (credentials.user, credentials.password)
        # Credentials come from the caller alone, never from ~/.netrc.
        self._session.trust_env = False

    @property
    def place(self) -> str:
        """Root of the service."""
        return self._url

    def instances_of(
        self, study_uid: str, series_uids: Sequence[str]
    ) -> frozenset[str] | None:
        """Instances of some series there."""
        return frozenset(
            _text(one, _SOP_INSTANCE)
            for uid in series_uids
            for one in self._query(
                f"studies/{study_uid}/series/{uid}/instances", "instances"
            )
        )

    def series_of(self, study_uid: str) -> tuple[ArchivedSeries, ...]:
        """Series of a study there."""
        found = self._query(f"studies/{study_uid}/series", "series")
        series = []
        for one in found:
            count = _text(one, _SERIES_INSTANCES)
            series.append(
                ArchivedSeries(
                    _text(one, _SERIES),
                    _text(one, _MODALITY),
                    int(count) if count.isdigit() else None,
                )
            )
        return tuple(series)

    def store(
        self, objects: Sequence[StoredObject], stored: Stored = lambda one: None
    ) -> None:
        """Send objects, one request each: a broken one repeats nothing else.

        Raises
        ------
        PacsError
            If the archive cannot be reached or refuses an object.
        """
        for one in objects:
            tried_again(partial(self._store, one), self._retry, "STOW-RS")
            stored(one)

    def fetch(self, study_uid: str, series_uid: str, folder: Path) -> int:
        """Fetch a series into a folder; returns the number of new files."""

        def received() -> int:
            answer = self._send(
                "GET",
                f"studies/{study_uid}/series/{series_uid}",
                headers={
                    "Accept": 'multipart/related; type="application/dicom"; '
                    "transfer-syntax=*"
                },
            )
            self._require_ok(answer, "WADO-RS")
            parts = multipart_bodies(answer.headers["Content-Type"], answer.content)
            return sum(write_fetched(folder, _uid_of(part), part) for part in parts)

        return tried_again(received, self._retry, "WADO-RS")

    def _store(self, one: StoredObject) -> None:
        boundary = f"cemscope-{secrets.token_hex(16)}"
        body = (
            f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
            + one.path.read_bytes()
            + f"\r\n--{boundary}--\r\n".encode()
        )
        kind = f'multipart/related; type="application/dicom"; boundary={boundary}'
        answer = self._send(
            "POST",
            "studies",
            data=body,
            headers={"Content-Type": kind, "Accept": "application/dicom+json"},
        )
        if answer.status_code == 409 or _failed(answer):
            raise PacsError(
                f"the archive refused {one.path.name} "
                f"(HTTP {answer.status_code}): it does not take this kind of object, "
                "or it holds another one of that UID"
            )
        self._require_ok(answer, "STOW-RS")

    def _query(self, path: str, what: str) -> list[dict[str, Any]]:
        def asked() -> list[dict[str, Any]]:
            answer = self._send(
                "GET", path, headers={"Accept": "application/dicom+json"}
            )
            if answer.status_code in (204, 404):  # nothing there
                return []
            self._require_ok(answer, "QIDO-RS")
            try:
                found = answer.json()
            except ValueError:
                raise PacsError(
                    f"the archive's list of {what} cannot be understood: is this the "
                    "root of a DICOMweb service?"
                ) from None
            return list(found)

        return tried_again(asked, self._retry, "QIDO-RS")

    def _send(self, method: str, path: str, **options: Any) -> Any:
        errors = self._requests.exceptions
        try:
            return self._session.request(
                method, f"{self._url}/{path}", timeout=self._retry.timeout_s, **options
            )
        except errors.SSLError:
            raise PacsError(
                "the archive's certificate is not trusted: give its authority with "
                "--tls-ca FILE"
            ) from None
        except errors.RequestException as error:
            raise PassingFault(
                f"the archive does not answer ({type(error).__name__}): is it running, "
                "and is the address right?"
            ) from None

    def _require_ok(self, answer: Any, service: str) -> None:
        status = int(answer.status_code)
        if status in _PASSING:
            raise PassingFault(f"the archive failed ({service}, HTTP {status})")
        if status in (401, 403):
            raise PacsError(
                f"the archive refused access ({service}, HTTP {status}): check user "
                "and password, or the token"
            )
        if status >= 300:
            raise PacsError(f"the archive refused ({service}, HTTP {status})")


def _text(record: dict[str, Any], tag: str) -> str:
    values = record.get(tag, {}).get("Value") or [""]
    return str(values[0])


def _failed(answer: Any) -> bool:
    """Tell whether a STOW-RS answer lists a failed object."""
    if answer.status_code not in (200, 202):
        return False
    try:
        record = answer.json()
    except ValueError:
        return False
    failed = record.get(_FAILED, {}).get("Value") if isinstance(record, dict) else None
    return bool(failed and any(_text(one, _REFERENCED) for one in failed))


def multipart_bodies(content_type: str, content: bytes) -> list[bytes]:
    """Split a multipart answer into the bytes of its parts.

    Raises
    ------
    PassingFault
        If the answer ends midway: the connection was cut.
    PacsError
        If it is no multipart answer.
    """
    message = email.message.Message()
    message["Content-Type"] = content_type
    boundary = message.get_param("boundary")
    if not content_type.lower().startswith("multipart/") or not boundary:
        raise PacsError("the archive's answer is no multipart message")
    mark = b"--" + str(boundary).encode()
    pieces = content.split(b"\r\n" + mark)
    if not pieces[-1].startswith(b"--"):
        raise PassingFault("the archive's answer ends midway")
    first = pieces[0].partition(mark)[2]
    bodies = []
    for piece in [first, *pieces[1:-1]]:
        _, separator, body = piece.partition(b"\r\n\r\n")
        if separator:
            bodies.append(body)
    return bodies


def _uid_of(content: bytes) -> str:
    try:
        with silenced_pydicom():
            header = dcmread(BytesIO(content), specific_tags=["SOPInstanceUID"])
            return str(header.SOPInstanceUID)
    except (InvalidDicomError, AttributeError, OSError) as error:
        raise PacsError("the archive sent what is no DICOM object") from error
