"""A series that lies under the root of a batch, as its headers tell."""

import hashlib
import hmac

from pydantic import BaseModel, ConfigDict

from cemscope_pipelines.batch.prepare import ConfigJob

KEY_LETTERS = 12
"""Of the SHA-256; two of a million cases agree with a probability of 0.2 %."""


def keyed_letters(text: str, salt: bytes) -> str:
    """Pseudonym of a text, for who does not hold the salt."""
    digest = hmac.new(salt, text.encode("utf-8", "surrogateescape"), hashlib.sha256)
    return digest.hexdigest()[:KEY_LETTERS]


class FoundSeries(BaseModel):
    """One series, or one part of it; light to import and small to keep.

    Attributes
    ----------
    path : str
        Smallest folder that holds its files, or the archive. It can name the
        patient: it goes to ``provenance.json`` and to the child, nowhere else.
    name : str
        Series UID, with ``#part`` where the series holds several stacks.
    study_uid : str
        "" where missing.
    patient_key, issuer_key, birth_key : str
        Pseudonyms of the patient's number, of who gave it, and of the birth date, see
        `cemscope.dicom.patient_pseudonym`; "" where the header does not tell.
    acquisition_date : str
        YYYYMMDD or "".
    slices, spacing_mm, coverage_mm, kernel, plane
        What tells series of one study apart; -1 where a length cannot be told.
    input_hash : str
        Of the instance UIDs and sizes of its files.
    measurable : bool
        As far as headers tell.
    intended : bool
        A CT that was meant for reading, as against localizers, projections, other
        modalities and fragments of a few slices.
    preferred : bool
        What ``analyze`` would take of this study.
    reason, reason_code : str
        Why it cannot be measured, or why it is, or is not, preferred.
    mixed : bool
        Its series holds several acquisitions of one region: which of them is meant,
        only the user knows.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    name: str
    study_uid: str
    patient_key: str
    issuer_key: str
    birth_key: str
    acquisition_date: str
    slices: int
    spacing_mm: float
    coverage_mm: float
    kernel: str
    plane: str
    input_hash: str
    measurable: bool
    intended: bool
    preferred: bool
    reason: str
    reason_code: str
    mixed: bool = False

    def case_key(self, config_hash: str, version: str) -> str:
        """Key of the case: same input, same configuration, same version."""
        text = "\n".join((self.name, self.input_hash, config_hash, version))
        return hashlib.sha256(text.encode()).hexdigest()[:KEY_LETTERS]

    def case_name(self, key: str) -> str:
        """Name of the case folder: date and key, nothing that names the patient."""
        return f"{self.acquisition_date or 'undated'}-{key}"


class FoundUnit(BaseModel):
    """What a part of the root holds besides its series.

    Attributes
    ----------
    path : str
        Folder or archive.
    skipped_files, unreadable_files : int
        As in `cemscope.dicom.InputScan`.
    problem : str
        Why it holds no series, "" if it does.
    problem_code : str
        Name of the error.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    skipped_files: int
    unreadable_files: int
    problem: str = ""
    problem_code: str = ""


class RootNotes(BaseModel):
    """What else a search saw.

    Attributes
    ----------
    copies : int
        Series that lie there several times; one of them is taken.
    links_followed, links_dead, links_back : int
        As in `RootWalk`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    copies: int = 0
    links_followed: int = 0
    links_dead: int = 0
    links_back: int = 0


class SearchJob(BaseModel):
    """What the searching process is asked.

    Attributes
    ----------
    root : str
        What is searched; it is taken apart into units, see `folders.walk_root`.
    excluded : str
        A folder that is left out, with all below it.
    config : ConfigJob
        Where the configuration comes from.
    salt : str
        Hexadecimal; the pseudonyms of this output depend on it.
    bad : tuple of str
        Units that brought an earlier searching process down; they are left out.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    root: str
    excluded: str
    config: ConfigJob
    salt: str
    bad: tuple[str, ...] = ()
