"""The clinical file: what the scans do not tell, one line per patient."""

import csv
import math
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path

from cemscope.dicom.patient_key import patient_key_of
from cemscope.errors import ConfigError
from cemscope_pipelines.cohort.user_csv import read_user_csv


@dataclass(frozen=True, slots=True)
class Scale:
    """A clinical number.

    Attributes
    ----------
    name : str
        Column, with its unit.
    title : str
        Name in the tables.
    unit : str
        In the tables.
    low, high : float
        Values outside are refused.
    """

    name: str
    title: str
    unit: str
    low: float
    high: float


AGE = Scale("age_years", "age", "years", 0, 120)
STAY = Scale("hospital_stay_days", "hospital stay", "days", 0, 365)
ODI = ("odi", "Oswestry disability index (ODI)", "%", 0.0, 100.0)
VAS = ("vas", "Pain (VAS)", "0 - 10", 0.0, 10.0)
MRC = ("mrc", "Muscle strength (MRC)", "0 - 5", 0.0, 5.0)


@dataclass(frozen=True, slots=True)
class PairedScale:
    """A score before and after the operation."""

    before: Scale
    after: Scale

    @property
    def title(self) -> str:
        """Name in the tables."""
        return self.before.title


def _paired(name: str, title: str, unit: str, low: float, high: float) -> PairedScale:
    return PairedScale(
        Scale(f"{name}_before", title, unit, low, high),
        Scale(f"{name}_after", title, unit, low, high),
    )


SCORES = (_paired(*ODI), _paired(*VAS), _paired(*MRC))
"""Fairbank 1980, a visual analogue scale, and the Medical Research Council's grades."""

NUMBERS = (AGE, STAY, *(s for pair in SCORES for s in (pair.before, pair.after)))

COLUMNS = (
    "patient_key",
    "patient_id",
    "procedure",
    "sex",
    *(s.name for s in NUMBERS),
    "complications",
)
"""Columns of the template. Of patient_key and patient_id one is enough."""

NO_COMPLICATION = "none"

_SEXES = {"f": "F", "m": "M", "female": "F", "male": "M", "": ""}


@dataclass(frozen=True, slots=True)
class ClinicalPatient:
    """One line of the clinical file.

    Attributes
    ----------
    key : str
        As the cases have it.
    procedure : str
        Name of the group.
    sex : str
        "F", "M" or "".
    values : mapping of str to float
        Numbers by column; what was left empty is missing.
    complications : tuple of str or None
        Empty: none happened. None: not recorded.
    """

    key: str
    procedure: str
    sex: str
    values: Mapping[str, float]
    complications: tuple[str, ...] | None


def _number(text: str, scale: Scale, line: int, *, comma: bool) -> float | None:
    text = text.strip()
    if not text:
        return None
    try:
        value = float(text.replace(",", ".") if comma else text)
    except ValueError:
        value = math.nan
    if not scale.low <= value <= scale.high:
        raise ConfigError(
            f"--clinical: line {line}, column {scale.name}: expected a number from "
            f"{scale.low:g} to {scale.high:g} or nothing, found {text!r}"
        )
    return value


def _key(row: Mapping[str, str], line: int, salt: bytes | None) -> str:
    key = row.get("patient_key", "").strip()
    identity = row.get("patient_id", "").strip()
    if key:
        return key
    if not identity:
        raise ConfigError(
            f"--clinical: line {line}: expected a patient_key or a patient_id"
        )
    if salt is None:
        raise ConfigError(
            "--clinical: patient_id can be joined with the output of cemscope batch "
            "only; for cases in folders, patient_key is the name of the folder"
        )
    return patient_key_of(identity, salt)


def _complications(text: str) -> tuple[str, ...] | None:
    words = tuple(w.strip() for w in text.split("+") if w.strip())
    if not words:
        return None
    return () if words == (NO_COMPLICATION,) else words


def _check_names(names: Iterable[str]) -> None:
    found = [n for n in names if n]
    unknown = [n for n in found if n not in COLUMNS]
    if unknown or len(set(found)) < len(found):
        what = f"unknown column {unknown[0]!r}" if unknown else "a column stands twice"
        raise ConfigError(f"--clinical: {what}; the columns are {', '.join(COLUMNS)}")
    if "procedure" not in found or not {"patient_key", "patient_id"} & set(found):
        raise ConfigError(
            "--clinical: expected the columns procedure and patient_key or patient_id; "
            "cemscope cohort OUT --template FILE writes them"
        )


def read_clinical(
    path: Path, salt: bytes | None, shared: AbstractSet[str] = frozenset()
) -> tuple[ClinicalPatient, ...]:
    """Read and check the clinical file.

    A value that is not known stays empty. Complications are words joined by ``+``,
    or ``none``. Semicolons between cells, with decimal commas, are understood too.

    Parameters
    ----------
    path
        CSV in UTF-8, see `COLUMNS`.
    salt
        Of the ledger, to turn a patient_id into a key; it is not kept.
    shared
        Keys of numbers that several patients have.

    Raises
    ------
    ConfigError
        Naming the line and the column that cannot be right; it quotes no patient.
    """
    file = read_user_csv(path, "--clinical")
    _check_names(file.names)
    patients: dict[str, ClinicalPatient] = {}
    for line, row in file.rows:
        key = _key(row, line, salt)
        if key in shared:
            raise ConfigError(
                f"--clinical: line {line}: the patient number is of several patients "
                "of this study (other issuer or birth date); give each by the "
                "patient_key that --template writes"
            )
        if key in patients:
            raise ConfigError(
                f"--clinical: line {line}: the patient stands in an earlier line too"
            )
        procedure = row["procedure"].strip()
        if not procedure:
            raise ConfigError(f"--clinical: line {line}: expected a procedure")
        sex = row.get("sex", "").strip().lower()
        if sex not in _SEXES:
            raise ConfigError(f"--clinical: line {line}, column sex: expected F or M")
        values = {
            scale.name: value
            for scale in NUMBERS
            if (
                value := _number(
                    row.get(scale.name, ""), scale, line, comma=file.decimal_comma
                )
            )
            is not None
        }
        patients[key] = ClinicalPatient(
            key,
            procedure,
            _SEXES[sex],
            values,
            _complications(row.get("complications", "")),
        )
    if not patients:
        raise ConfigError("--clinical: expected one line per patient, found none")
    return tuple(patients.values())


def write_template(path: Path, keys: Iterable[str]) -> None:
    """Write an empty clinical file with one line per patient.

    Raises
    ------
    ConfigError
        If the file exists already or cannot be written.
    """
    try:
        with path.open("x", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows([key, *[""] * (len(COLUMNS) - 1)] for key in keys)
    except OSError as error:
        raise ConfigError(f"--template: {error.strerror}") from None
