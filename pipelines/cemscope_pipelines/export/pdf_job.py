"""What the report for people is made from."""

from dataclasses import dataclass
from datetime import datetime

from cemscope_pipelines.export.case_pictures import CasePictures
from cemscope_pipelines.export.case_record import CaseContent
from cemscope_pipelines.report import Report


def shown_name(name: str) -> str:
    """Write a DICOM person name as people do: "Family, Given"."""
    alphabetic = name.split("=")[0]
    words = alphabetic.replace("^", ", ", 1).replace("^", " ").split()
    return " ".join(words).strip(", ")


@dataclass(frozen=True, slots=True)
class PatientLines:
    """Who the report is about, as the DICOM header says.

    Attributes
    ----------
    name, patient_id, birth_date, sex : str
        Of the patient.
    study_date, accession_number : str
        Of the CT.
    """

    name: str
    patient_id: str
    birth_date: str
    sex: str
    study_date: str
    accession_number: str


@dataclass(frozen=True, slots=True)
class ReaderLines:
    """Who signed the report; see `Verification`."""

    reader: str
    organization: str
    signed_at: datetime
    version: int
    amendment_reason: str = ""

    @property
    def sentence(self) -> str:
        """Name, organization and time."""
        name = shown_name(self.reader)
        when = self.signed_at.isoformat(sep=" ", timespec="seconds")
        return f"{name}, {self.organization}, {when}, version {self.version}"


@dataclass(frozen=True, slots=True, eq=False)
class PdfJob:
    """What the document is made from.

    Attributes
    ----------
    patient : PatientLines
        Who it is about.
    content : CaseContent
        The values.
    machine : Report
        The machine's report, for the scan and for what a reader changed.
    pictures : CasePictures or None
        Drawn from the content.
    reader : ReaderLines or None
        None for drafts.
    made_at : datetime
        Date of the document.
    """

    patient: PatientLines
    content: CaseContent
    machine: Report
    pictures: CasePictures | None
    reader: ReaderLines | None
    made_at: datetime
