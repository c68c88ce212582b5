"""Pseudonyms that tell the patients of several hospitals apart and name nobody."""

import hashlib
import hmac
import re
from dataclasses import dataclass

from cemscope.dicom.files import READ_ERRORS, InputFiles
from cemscope.dicom.header import SliceHeader
from cemscope.dicom.patient_key import patient_key_of
from cemscope.dicom.privacy import silenced_pydicom

_LETTERS = 12

_TAGS = ("PatientID", "IssuerOfPatientID", "PatientBirthDate")

_NO_BIRTH_DATES = frozenset(("00010101", "18000101", "19000101", "19700101"))
"""Stand for the birth date of every patient in data without names."""


@dataclass(frozen=True, slots=True)
class PatientPseudonym:
    """Whom a header names, in words that only the holder of the salt could make.

    Attributes
    ----------
    number : str
        Of the patient's number, see `patient_key_of`; "" without one.
    issuer : str
        Of whoever gave the number (a hospital); "" if the header does not tell.
    birth_date : str
        Of the birth date; "" if the header does not tell.
    """

    number: str = ""
    issuer: str = ""
    birth_date: str = ""


def _keyed_hash(text: str, salt: bytes) -> str:
    """Twelve hexadecimal letters of HMAC-SHA256; "" for no text."""
    if not text:
        return ""
    return hmac.new(salt, text.encode(), hashlib.sha256).hexdigest()[:_LETTERS]


def pseudonym_of(
    patient_id: str, issuer: str, birth_date: str, salt: bytes
) -> PatientPseudonym:
    """Pseudonym of what a header says.

    Parameters
    ----------
    patient_id, issuer, birth_date
        DICOM PatientID, IssuerOfPatientID, and PatientBirthDate (YYYYMMDD).
    salt
        Secret of one study.

    Examples
    --------
    >>> one = pseudonym_of("17", "North", "19410203", b"salt")
    >>> two = pseudonym_of("17", " north ", "", b"salt")
    >>> one.number == two.number, one.issuer == two.issuer, two.birth_date
    (True, True, '')
    """
    born = birth_date.strip()
    if not re.fullmatch(r"\d{8}", born) or born in _NO_BIRTH_DATES:
        born = ""
    place = " ".join(issuer.split()).casefold()
    return PatientPseudonym(
        patient_key_of(patient_id, salt),
        _keyed_hash(place and f"issuer {place}", salt),
        _keyed_hash(born and f"born {born}", salt),
    )


def read_patient_pseudonym(
    header: SliceHeader, files: InputFiles, salt: bytes
) -> PatientPseudonym:
    """Pseudonym of the patient of a slice; empty where its header names none.

    What the header says itself is not kept.

    Parameters
    ----------
    header
        Any slice of the series.
    files
        The open input it comes from.
    salt
        As in `pseudonym_of`.
    """
    import pydicom

    with silenced_pydicom():
        try:
            with files.open(header.entry) as stream:
                found = pydicom.dcmread(
                    stream,
                    stop_before_pixels=True,
                    specific_tags=list(_TAGS),
                    force=True,
                )
            number, issuer, birth_date = (str(found.get(name) or "") for name in _TAGS)
            return pseudonym_of(number, issuer, birth_date, salt)
        except READ_ERRORS:
            return PatientPseudonym()
        except Exception:  # noqa: BLE001 - pydicom raises anything on damage
            return PatientPseudonym()
