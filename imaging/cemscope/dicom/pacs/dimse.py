"""An archive that speaks DIMSE: C-STORE, C-FIND, C-GET (PS3.4, PS3.7)."""

import logging
import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID

from cemscope.dicom.file_meta import name_implementation
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

_STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
_STUDY_ROOT_GET = "1.2.840.10008.5.1.4.1.2.2.3"
_UNCOMPRESSED = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2")
_COMPRESSED = (
    "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.5",
)  # fmt: skip
"""JPEG lossless, JPEG-LS, JPEG 2000 and RLE; fetched as the archive holds them."""

_FETCHED_CLASSES = (
    "1.2.840.10008.5.1.4.1.1.2",  # CT
    "1.2.840.10008.5.1.4.1.1.2.1",  # enhanced CT
    "1.2.840.10008.5.1.4.1.1.2.2",  # legacy converted enhanced CT
    "1.2.840.10008.5.1.4.1.1.7",  # secondary capture
    "1.2.840.10008.5.1.4.1.1.66.4",  # segmentation
    "1.2.840.10008.5.1.4.1.1.66.7",  # label map segmentation
    "1.2.840.10008.5.1.4.1.1.88.11",  # SR: basic, enhanced, comprehensive, 3D
    "1.2.840.10008.5.1.4.1.1.88.22",
    "1.2.840.10008.5.1.4.1.1.88.33",
    "1.2.840.10008.5.1.4.1.1.88.34",
    "1.2.840.10008.5.1.4.1.1.88.59",  # key objects
    "1.2.840.10008.5.1.4.1.1.104.1",  # PDF
)
"""What C-GET accepts: CT series and everything that cemscope writes."""

_SUCCESS, _PENDING = 0x0000, (0xFF00, 0xFF01)
_WARNINGS = (0xB000, 0xB006, 0xB007)
_OUT_OF_RESOURCES = range(0xA700, 0xA800)


@dataclass(frozen=True, slots=True)
class DimsePeer:
    """Where an archive listens.

    Attributes
    ----------
    host, port : str, int
        Its address.
    called_aet, calling_aet : str
        Application entity titles of the archive and of cemscope.
    tls : TlsFiles or None
        Certificates; None sends in the clear.
    """

    host: str
    port: int
    called_aet: str
    calling_aet: str = "CEMSCOPE"
    tls: TlsFiles | None = None

    def __post_init__(self) -> None:
        if not (self.host and 0 < self.port < 65536):
            raise ConfigError("--dicom: expected HOST:PORT")
        for title in (self.called_aet, self.calling_aet):
            if not 1 <= len(title.strip()) <= 16 or "\\" in title:
                raise ConfigError("an AE title has 1 to 16 characters, no backslash")


def _send_at_once(event: Any) -> None:
    """Do not hold back small packets: each message waits for its answer anyway."""
    channel = event.assoc.dul.socket
    if channel is not None and channel.socket is not None:
        channel.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _as_file(event: Any) -> bytes:
    """Put a received data set, byte by byte, into a file as `write_object` does."""
    meta: Any = event.file_meta
    name_implementation(meta)
    group = DicomBytesIO()
    write_file_meta_info(group, meta, enforce_standard=True)
    data_set: bytes = event.encoded_dataset(include_meta=False)
    return b"\0" * 128 + b"DICM" + group.getvalue() + data_set


class DimseArchive:
    """An archive that speaks DIMSE.

    Parameters
    ----------
    peer
        Where it listens.
    retry
        Patience.
    """

    def __init__(self, peer: DimsePeer, retry: RetrySettings | None = None) -> None:
        self._peer = peer
        self._retry = retry or RetrySettings()
        self._pynetdicom: Any = optional_library("pynetdicom")

    @property
    def place(self) -> str:
        """AE title and address."""
        return f"{self._peer.called_aet}@{self._peer.host}:{self._peer.port}"

    def instances_of(
        self, study_uid: str, series_uids: Sequence[str]
    ) -> frozenset[str] | None:
        """Instances of some series there; None where the archive takes no queries."""
        queries = []
        for uid in series_uids:
            query = Dataset()
            query.QueryRetrieveLevel = "IMAGE"
            query.StudyInstanceUID = study_uid
            query.SeriesInstanceUID = uid
            query.SOPInstanceUID = ""
            queries.append(query)
        found = self._find(queries)
        if found is None:
            return None
        return frozenset(str(one.get("SOPInstanceUID", "")) for one in found)

    def series_of(self, study_uid: str) -> tuple[ArchivedSeries, ...]:
        """Series of a study there.

        Raises
        ------
        PacsError
            If the archive takes no queries.
        """
        query = Dataset()
        query.QueryRetrieveLevel = "SERIES"
        query.StudyInstanceUID = study_uid
        query.SeriesInstanceUID = ""
        query.Modality = ""
        query.NumberOfSeriesRelatedInstances = None
        found = self._find([query])
        if found is None:
            raise PacsError("the archive takes no queries (C-FIND, study root)")
        series = []
        for one in found:
            count = str(one.get("NumberOfSeriesRelatedInstances", "") or "")
            series.append(
                ArchivedSeries(
                    str(one.SeriesInstanceUID),
                    str(one.get("Modality", "")),
                    int(count) if count.isdigit() else None,
                )
            )
        return tuple(series)

    def store(
        self, objects: Sequence[StoredObject], stored: Stored = lambda one: None
    ) -> None:
        """Send objects over one association, a new one after a fault.

        Raises
        ------
        PacsError
            If the archive cannot be reached or refuses an object.
        """
        waiting = list(objects)

        def sent() -> None:
            entity = self._entity()
            for pair in {(o.sop_class_uid, o.transfer_syntax_uid) for o in waiting}:
                entity.add_requested_context(*pair)
            with self._association(entity) as association:
                while waiting:
                    self._store(association, waiting[0])
                    stored(waiting.pop(0))

        if waiting:
            tried_again(sent, self._retry, "C-STORE")

    def fetch(self, study_uid: str, series_uid: str, folder: Path) -> int:
        """Fetch a series into a folder; returns the number of new files."""
        query = Dataset()
        query.QueryRetrieveLevel = "SERIES"
        query.StudyInstanceUID = study_uid
        query.SeriesInstanceUID = series_uid
        return tried_again(lambda: self._fetch(query, folder), self._retry, "C-GET")

    def _fetch(self, query: Dataset, folder: Path) -> int:
        new = 0

        def received(event: Any) -> int:
            nonlocal new
            content = _as_file(event)
            uid = str(event.request.AffectedSOPInstanceUID)
            try:
                new += write_fetched(folder, uid, content)
            except (OSError, PacsError):
                return 0xA700
            return _SUCCESS

        entity = self._entity()
        entity.add_requested_context(_STUDY_ROOT_GET, list(_UNCOMPRESSED))
        roles = []
        for sop_class in _FETCHED_CLASSES:
            # One context per encoding: an archive would pick one of a shared context
            # and transcode, or send nothing.
            entity.add_requested_context(sop_class, list(_UNCOMPRESSED))
            roles.append(self._pynetdicom.build_role(sop_class, scp_role=True))
        for sop_class in _FETCHED_CLASSES[:3]:
            for syntax in _COMPRESSED:
                entity.add_requested_context(sop_class, syntax)
        handlers = [(self._pynetdicom.evt.EVT_C_STORE, received)]
        with self._association(entity, roles, handlers) as association:
            for status, _ in association.send_c_get(query, _STUDY_ROOT_GET):
                self._require(status, "C-GET")
        return new

    def _find(self, queries: Sequence[Dataset]) -> list[Dataset] | None:
        def asked() -> list[Dataset] | None:
            entity = self._entity()
            entity.add_requested_context(_STUDY_ROOT_FIND, list(_UNCOMPRESSED))
            found = []
            with self._association(entity) as association:
                if not association.accepted_contexts:
                    return None
                for query in queries:
                    answers = association.send_c_find(query, _STUDY_ROOT_FIND)
                    for status, record in answers:
                        self._require(status, "C-FIND")
                        if status.Status in _PENDING and record is not None:
                            found.append(record)
            return found

        return tried_again(asked, self._retry, "C-FIND")

    def _store(self, association: Any, one: StoredObject) -> None:
        try:
            status = association.send_c_store(str(one.path))
        except ValueError:
            raise PacsError(
                f"the archive does not take {one.path.name} (SOP class "
                f"{UID(one.sop_class_uid).name}, {UID(one.transfer_syntax_uid).name})"
            ) from None
        except RuntimeError:  # the association was lost before the object
            raise PassingFault("the archive broke the connection") from None
        self._require(status, f"C-STORE of {one.path.name}")

    def _require(self, status: Dataset, what: str) -> None:
        if "Status" not in status:
            raise PassingFault(
                f"the archive broke the connection during {what}: is it overloaded, or "
                f"does it not know the AE titles {self._peer.calling_aet} and "
                f"{self._peer.called_aet}?"
            )
        code = int(status.Status)
        if code == _SUCCESS or code in _PENDING or code in _WARNINGS:
            return
        if code in _OUT_OF_RESOURCES:
            raise PassingFault(
                f"{what}: the archive is out of resources (0x{code:04X})"
            )
        raise PacsError(f"{what}: the archive refused with status 0x{code:04X}")

    def _entity(self) -> Any:
        # Send the data set of a file as it is, instead of decoding and encoding it.
        config: Any = optional_library("pynetdicom._config")
        config.STORE_SEND_CHUNKED_DATASET = True
        entity = self._pynetdicom.AE(ae_title=self._peer.calling_aet)
        entity.acse_timeout = entity.dimse_timeout = self._retry.timeout_s
        entity.network_timeout = entity.connection_timeout = self._retry.timeout_s
        return entity

    @contextmanager
    def _association(
        self,
        entity: Any,
        roles: Sequence[Any] = (),
        handlers: Sequence[tuple[Any, Any]] = (),
    ) -> Iterator[Any]:
        peer = self._peer
        with silenced_pydicom():
            association = entity.associate(
                peer.host,
                peer.port,
                ae_title=peer.called_aet,
                ext_neg=list(roles) or None,
                evt_handlers=[
                    (self._pynetdicom.evt.EVT_CONN_OPEN, _send_at_once),
                    *handlers,
                ],
                tls_args=self._tls(),
            )
            if association.is_rejected:
                raise PacsError(
                    "the archive rejected the connection: does it know the AE titles "
                    f"{peer.calling_aet} (--calling-aet) and {peer.called_aet} (--aet)?"
                )
            if not association.is_established:
                if association.accepted_contexts or not association.rejected_contexts:
                    raise PassingFault(
                        "the archive does not answer: is it running, and are host, "
                        "port and encryption right?"
                    )
                raise PacsError("the archive takes none of the objects or queries")
            try:
                yield association
            finally:
                if association.is_established:
                    association.release()

    def _tls(self) -> tuple[ssl.SSLContext, str] | None:
        files = self._peer.tls
        if files is None:
            return None
        try:
            context = ssl.create_default_context(
                cafile=str(files.authority) if files.authority else None
            )
            if files.certificate is not None:
                key = str(files.key) if files.key else None
                context.load_cert_chain(str(files.certificate), key)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"the TLS certificates cannot be read ({type(error).__name__})"
            ) from None
        return context, self._peer.host
