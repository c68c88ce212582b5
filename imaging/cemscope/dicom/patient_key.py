"""A pseudonym for the patient of a series: tells patients apart, names nobody."""

import hashlib
import hmac
from typing import TYPE_CHECKING

from cemscope.dicom.files import READ_ERRORS, InputFiles
from cemscope.dicom.header import SliceHeader
from cemscope.dicom.privacy import silenced_pydicom

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_LETTERS = 12

PLACEHOLDERS = ("anon", "unknown", "none", "deidentified", "de-identified", "no id")
"""So begins what stands for the ID of every patient in data without names."""


def patient_key_of(patient_id: str, salt: bytes) -> str:
    """Pseudonym of a patient ID.

    Parameters
    ----------
    patient_id
        DICOM PatientID or what stands for it in a hospital's table; spaces around it
        and upper or lower case do not matter.
    salt
        Secret of one study. With it, short IDs could be guessed one by one.

    Returns
    -------
    str
        ``P-`` and 12 hexadecimal letters of HMAC-SHA256; "" for an empty ID, and for
        what stands for one in data without names.

    Examples
    --------
    >>> patient_key_of(" ab1 ", b"salt") == patient_key_of("AB1", b"salt")
    True
    """
    identity = " ".join(patient_id.split()).casefold()
    if not identity.strip("0-_.") or identity.startswith(PLACEHOLDERS):
        return ""
    digest = hmac.new(salt, identity.encode(), hashlib.sha256).hexdigest()
    return f"P-{digest[:_LETTERS]}"


def patient_digest_of(dataset: "Dataset", series_uid: str) -> str:
    """Digest of whom a header names, to tell later whether it is the same patient.

    It is keyed with the series, so that the digests of two scans of one patient tell
    nothing of each other. A header without a name has a digest, too.

    Parameters
    ----------
    dataset
        Holds PatientID and IssuerOfPatientID, where the scanner wrote them.
    series_uid
        Series instance UID.

    Returns
    -------
    str
        64 hexadecimal letters of HMAC-SHA256.
    """
    told = [dataset.get("IssuerOfPatientID"), dataset.get("PatientID")]
    words = [" ".join(str(one or "").split()).casefold() for one in told]
    return hmac.new(
        series_uid.encode(), "\n".join(words).encode(), hashlib.sha256
    ).hexdigest()


def read_patient_digest(
    header: SliceHeader, files: InputFiles, series_uid: str
) -> str | None:
    """Digest of the patient of a slice; None where its header cannot be read.

    Parameters
    ----------
    header, files
        As in `read_patient_key`.
    series_uid
        As in `patient_digest_of`.
    """
    dataset = _identity(header, files)
    return None if dataset is None else patient_digest_of(dataset, series_uid)


def read_patient_key(header: SliceHeader, files: InputFiles, salt: bytes) -> str:
    """Pseudonym of the patient of a slice; "" where its header names none.

    The ID itself is not kept.

    Parameters
    ----------
    header
        Any slice of the series.
    files
        The open input it comes from.
    salt
        As in `patient_key_of`.
    """
    dataset = _identity(header, files)
    if dataset is None:
        return ""
    return patient_key_of(str(dataset.get("PatientID") or ""), salt)


def _identity(header: SliceHeader, files: InputFiles) -> "Dataset | None":
    import pydicom

    with silenced_pydicom():
        try:
            with files.open(header.entry) as stream:
                found = pydicom.dcmread(
                    stream,
                    stop_before_pixels=True,
                    specific_tags=["PatientID", "IssuerOfPatientID"],
                    force=True,
                )
            found.decode()  # else texts are decoded later, outside of this guard
            return found
        except READ_ERRORS:
            return None
        except Exception:  # noqa: BLE001 - pydicom raises anything on damage
            return None
