"""A series that lies under the root of a batch, as its headers tell."""

import hashlib

from pydantic import BaseModel, ConfigDict

from cemscope_pipelines.batch.prepare import ConfigJob

KEY_LETTERS = 12
"""Of the SHA-256; two of a million cases agree with a probability of 0.2 %."""


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
    patient_key : str
        Pseudonym, see `cemscope.dicom.patient_key`; "" where the header has no
        patient ID.
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
        Why it cannot be measured, or why it is not preferred.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    name: str
    study_uid: str
    patient_key: str
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


class SearchJob(BaseModel):
    """What the searching process is asked.

    Attributes
    ----------
    root : str
        What is searched; it is taken apart into units, see `series_search.units_of`.
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
