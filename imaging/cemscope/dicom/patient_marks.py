"""Tells the patients of one input apart without keeping or naming who they are."""

import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256

import pydicom

from cemscope.dicom.attributes import AttributeReader
from cemscope.dicom.files import READ_ERRORS, InputFiles
from cemscope.dicom.header import SliceHeader

_SALT = secrets.token_bytes(32)
"""Of this process: marks mean nothing to another one."""

_TAGS = ("PatientID", "PatientBirthDate", "PatientSex")


@dataclass(frozen=True, slots=True)
class PatientMarks:
    """What a header tells of its patient, readable by nobody; "" for nothing.

    Marks can only be compared with those of the same process.
    """

    number: str = ""
    birth_date: str = ""
    sex: str = ""

    def differ_from(self, other: "PatientMarks") -> bool:
        """Whether something that both headers tell differs."""
        return any(
            a and b and a != b
            for a, b in (
                (self.number, other.number),
                (self.birth_date, other.birth_date),
                (self.sex, other.sex),
            )
        )


UNKNOWN_PATIENT = PatientMarks()


def read_patient_marks(header: SliceHeader, files: InputFiles) -> PatientMarks:
    """Read the marks of the patient of a slice; call it within `silenced_pydicom`.

    Parameters
    ----------
    header
        Any slice of the series.
    files
        The open input it comes from.
    """
    try:
        with files.open(header.entry) as stream:
            dataset = pydicom.dcmread(
                stream, stop_before_pixels=True, specific_tags=list(_TAGS), force=True
            )
    except READ_ERRORS:
        return UNKNOWN_PATIENT
    except Exception:  # noqa: BLE001 - pydicom raises anything on damage
        return UNKNOWN_PATIENT
    source = AttributeReader((dataset,))
    return PatientMarks(*(_mark(source.text(name)) for name in _TAGS))


def patient_numbers(patients: Iterable[PatientMarks]) -> tuple[int, ...]:
    """Count patients from 1 in the order in which they appear.

    Who differs from none of those before gets the number of the first of them.
    """
    known: list[PatientMarks] = []
    numbers = []
    for patient in patients:
        same = [i for i, k in enumerate(known, 1) if not patient.differ_from(k)]
        if not same:
            known.append(patient)
        numbers.append(same[0] if same else len(known))
    return tuple(numbers)


def _mark(text: str) -> str:
    folded = " ".join(text.split()).casefold()
    return hmac.new(_SALT, folded.encode(), sha256).hexdigest() if folded else ""
