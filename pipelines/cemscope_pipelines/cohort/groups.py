"""Put the patients of a study into procedure groups."""

from collections.abc import Sequence
from dataclasses import dataclass

from cemscope_pipelines.cohort.clinical_file import ClinicalPatient
from cemscope_pipelines.cohort.study import Study
from cemscope_pipelines.cohort.study_patients import StudyPatient

ALL = "all"

NOT_IN_FILE = "not in the clinical file"


@dataclass(frozen=True, slots=True)
class Member:
    """A patient with what the clinical file says; ``clinical`` None: nothing."""

    patient: StudyPatient
    clinical: ClinicalPatient | None


@dataclass(frozen=True, slots=True)
class Group:
    """A procedure group."""

    name: str
    members: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class Grouping:
    """All groups.

    Attributes
    ----------
    groups : tuple of Group
        The whole first, named "all"; then each group.
    from_file : bool
        Whether the groups come from the clinical file.
    without_case : int
        Patients of the clinical file without a measured case.
    """

    groups: tuple[Group, ...]
    from_file: bool
    without_case: int

    @property
    def shown(self) -> tuple[Group, ...]:
        """Groups of a table; the whole alone where there is one group only."""
        return self.groups if len(self.groups) > 2 else self.groups[:1]

    @property
    def whole(self) -> Group:
        """All patients."""
        return self.groups[0]


def group_by_ct(patient: StudyPatient) -> str:
    """Group that the scan itself tells.

    A scan does not tell cannulated from solid screws: the clinical file does.
    """
    cement = bool(patient.first.augmented)
    if any(s.cemented for s in patient.screws):
        return "screws with cement"
    if patient.screws:
        return "screws without cement, cement elsewhere" if cement else "screws only"
    return "cement without screws" if cement else "no cement, no screws"


def group_patients(
    study: Study, clinical: Sequence[ClinicalPatient] | None
) -> Grouping:
    """Group the patients by the clinical file, or by what the scans show."""
    known = {c.key: c for c in clinical or ()}
    members = [Member(p, known.get(p.key)) for p in study.patients]
    names: dict[str, list[Member]] = {c.procedure: [] for c in clinical or ()}
    for member in members:
        if member.clinical is not None:
            name = member.clinical.procedure
        else:
            name = group_by_ct(member.patient) if clinical is None else NOT_IN_FILE
        names.setdefault(name, []).append(member)
    order = list(names) if clinical is not None else sorted(names)
    groups = [Group(name, tuple(names[name])) for name in order if names[name]]
    measured = {p.key for p in study.patients}
    return Grouping(
        (Group(ALL, tuple(members)), *groups),
        clinical is not None,
        sum(key not in measured for key in known),
    )
