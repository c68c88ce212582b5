"""Whether two series are of one patient, without keeping who that is."""

import hmac
import secrets
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256

from cemscope.dicom.files import READ_ERRORS, InputFiles
from cemscope.dicom.patient_key import patient_key_of
from cemscope.dicom.privacy import silenced_pydicom
from cemscope.dicom.series import SeriesSummary


class PatientMatch(StrEnum):
    """Result of a comparison."""

    SAME = "same"
    NOT_KNOWN = "not_known"
    DIFFERENT = "different"


@dataclass(frozen=True, slots=True)
class PatientComparison:
    """Whether two series are of one patient, and what tells."""

    match: PatientMatch
    reason: str


@dataclass(frozen=True, slots=True)
class _Identity:
    """Pseudonyms; "" where the header tells nothing."""

    key: str
    birth: str
    sex: str


def compare_patients(first: SeriesSummary, second: SeriesSummary) -> PatientComparison:
    """Compare PatientID, birth date and sex of two series.

    Nothing of them is kept or told: they are compared as pseudonyms under a secret that
    lives as long as the call.

    Returns
    -------
    PatientComparison
        Different where any of the three is known in both and differs; the same where
        the IDs are equal, else not known.
    """
    salt = secrets.token_bytes(32)
    one, other = (_identity(series, salt) for series in (first, second))
    different = [
        what
        for what, a, b in (
            ("the patient ID", one.key, other.key),
            ("the birth date", one.birth, other.birth),
            ("the sex", one.sex, other.sex),
        )
        if a and b and a != b
    ]
    if different:
        verb = "differs" if len(different) == 1 else "differ"
        return PatientComparison(
            PatientMatch.DIFFERENT, f"{' and '.join(different)} {verb}"
        )
    if one.key and other.key:
        return PatientComparison(PatientMatch.SAME, "the patient IDs are equal")
    return PatientComparison(
        PatientMatch.NOT_KNOWN, "a header names no patient (de-identified data?)"
    )


def _identity(series: SeriesSummary, salt: bytes) -> _Identity:
    import pydicom

    entry = series.headers[0].entry
    with silenced_pydicom():
        try:
            with InputFiles(entry.path) as files, files.open(entry) as stream:
                dataset = pydicom.dcmread(
                    stream,
                    stop_before_pixels=True,
                    specific_tags=["PatientID", "PatientBirthDate", "PatientSex"],
                    force=True,
                )
            return _Identity(
                patient_key_of(str(dataset.get("PatientID") or ""), salt),
                _keyed(str(dataset.get("PatientBirthDate") or ""), salt),
                _keyed(str(dataset.get("PatientSex") or ""), salt),
            )
        except READ_ERRORS:
            return _Identity("", "", "")
        except Exception:  # noqa: BLE001 - pydicom raises anything on damage
            return _Identity("", "", "")


def _keyed(text: str, salt: bytes) -> str:
    text = text.strip().casefold()
    return hmac.new(salt, text.encode(), sha256).hexdigest() if text else ""
