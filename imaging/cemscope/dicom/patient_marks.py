"""Tells the patients of one input apart without keeping or naming who they are."""

import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256

from cemscope.dicom.attributes import AttributeReader

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


def patient_marks(source: AttributeReader) -> PatientMarks:
    """Make the marks of the patient that a header names."""
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


@lru_cache(maxsize=256)
def _mark(text: str) -> str:
    folded = " ".join(text.split()).casefold()
    return hmac.new(_SALT, folded.encode(), sha256).hexdigest() if folded else ""
