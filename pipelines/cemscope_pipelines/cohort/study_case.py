"""A measured case of a study, and one that its tables do not use."""

from dataclasses import dataclass

from cemscope_pipelines.batch.case_view import (
    CaseView,
    NotAssessedView,
    VertebraView,
)
from cemscope_pipelines.batch.ledger_case import LedgerCase
from cemscope_pipelines.batch.rows import column


@dataclass(frozen=True, slots=True)
class StudyCase:
    """A measured case."""

    entry: LedgerCase
    view: CaseView

    @property
    def augmented(self) -> tuple[VertebraView, ...]:
        """Vertebrae with cement; those that were not assessed are not among them."""
        return self.view.augmented

    @property
    def open_levels(self) -> bool:
        """Whether the cement of a whole vertebra in view was not assessed."""
        return self.view.open_levels

    @property
    def operated(self) -> bool:
        """Whether the scan shows cement or screws, or may."""
        return self.view.operated

    @property
    def not_assessed(self) -> int:
        """Vertebrae whose cement was not assessed."""
        return sum(isinstance(v.cement, NotAssessedView) for v in self.view.vertebrae)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A case that the tables do not use, and why; a row of ``cohort_left_out.csv``."""

    case: str = column("", "Name of the case.")
    patient_key: str = column("", "Pseudonym of the patient; empty if unknown.")
    why: str = column("", "Why it is not used, in a few words.")
    detail: str = column("", "What else is known of the reason.")


UNREADABLE = "its result cannot be read"
