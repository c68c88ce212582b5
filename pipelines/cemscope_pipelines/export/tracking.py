"""Names of findings that stay the same over reports.

The UID of a vertebra's cement and of a screw follows from the patient and the finding,
so that the machine's report, the signed one and those of later scans speak of one
thing. Leaks are counted anew in each scan, and levels without a name (V1, V2, ...) in
each field of view: their UIDs follow from the study, too. All follow from the ids of
the machine's report, whatever a reader renames.
"""

from dataclasses import dataclass

from cemscope.anatomy import VertebraLevel
from cemscope.dicom.objects.stamp import derived_uid
from cemscope_pipelines.review.review_document import FindingDecision, FindingKind

LASTING_KINDS = frozenset({"vertebra", "screw", "body", "arch", "lucency", "scan"})
"""Things that later scans show again under the same name."""

_WORDS = {
    "vertebra": "cement", "body": "vertebral body", "arch": "vertebral arch",
    "leak": "leak", "screw": "screw", "lucency": "lucency",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class TrackingNames:
    """Gives findings their tracking identifiers.

    Attributes
    ----------
    patient, study : str
        PatientID with its issuer ("" where the scanner stored none), and study UID.
    machine_ids : dict
        (kind, id in the content) -> id in the machine's report.
    """

    patient: str
    study: str
    machine_ids: dict[tuple[str, str], str]

    @classmethod
    def of(
        cls, patient: str, study: str, decisions: tuple[FindingDecision, ...]
    ) -> "TrackingNames":
        """Trace the ids of a reviewed content back to the machine's."""
        return cls(
            patient,
            study,
            {
                (one.kind, one.result_id): _first_id(one)
                for one in decisions
                if one.result_id is not None
            },
        )

    def identifier(self, kind: str, finding_id: str) -> str:
        """Tracking identifier, e.g. "L3 cement"; unique within a report."""
        return f"{finding_id} {_WORDS.get(kind, kind)}"

    def uid(self, kind: str, finding_id: str) -> str:
        """Tracking UID of a finding of the content."""
        lookup: str = {"body": "vertebra", "arch": "vertebra", "lucency": "screw"}.get(
            kind, kind
        )
        first = self.machine_ids.get((lookup, finding_id), finding_id)
        return self._uid(kind, first)

    def uid_of_rejected(self, one: FindingDecision) -> str:
        """Tracking UID of a finding that is not in the content any more."""
        return self._uid(one.kind, _first_id(one))

    def identifier_of_rejected(self, one: FindingDecision) -> str:
        """Tracking identifier of such a finding; it keeps the machine's id."""
        return f"{self.identifier(one.kind, one.finding_id)} of the machine, rejected"

    def _uid(self, kind: str, first_id: str) -> str:
        if self.patient and kind in LASTING_KINDS and _lasts(first_id):
            return derived_uid("tracking", self.patient, kind, first_id)
        return derived_uid("tracking", self.patient, self.study, kind, first_id)


def _first_id(one: FindingDecision) -> str:
    """Id under which a finding was first told, by the machine or by the reader."""
    return f"added {one.finding_id}" if one.added_by_reader else one.finding_id


def _lasts(first_id: str) -> bool:
    """Tell whether a name means the same in another scan; V1, V2, ... do not."""
    try:
        return VertebraLevel(first_id.split("-")[0]).is_named
    except ValueError:
        return True


def decision_of(
    decisions: tuple[FindingDecision, ...], kind: FindingKind, result_id: str
) -> FindingDecision | None:
    """Find what the reader said about a finding of the content."""
    for one in decisions:
        if one.kind == kind and one.result_id == result_id:
            return one
    return None
