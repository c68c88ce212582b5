"""A pseudonym for the patient of a series: tells patients apart, names nobody."""

import hashlib
import hmac

from cemscope.dicom.files import READ_ERRORS, InputFiles
from cemscope.dicom.header import SliceHeader
from cemscope.dicom.privacy import silenced_pydicom

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
    import pydicom

    with silenced_pydicom():
        try:
            with files.open(header.entry) as stream:
                dataset = pydicom.dcmread(
                    stream,
                    stop_before_pixels=True,
                    specific_tags=["PatientID"],
                    force=True,
                )
            return patient_key_of(str(dataset.get("PatientID") or ""), salt)
        except READ_ERRORS:
            return ""
        except Exception:  # noqa: BLE001 - pydicom raises anything on damage
            return ""
