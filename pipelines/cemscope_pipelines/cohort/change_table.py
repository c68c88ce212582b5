"""What changed at the screws since an earlier scan, where scans were compared."""

from collections.abc import Callable

from cemscope_pipelines.batch.case_view import FollowedScrewView
from cemscope_pipelines.cohort.groups import Group, Grouping
from cemscope_pipelines.cohort.statistic_row import Subject
from cemscope_pipelines.cohort.study_table import StudyTable, TableCell
from cemscope_pipelines.cohort.summary import any_of, share_of_marks
from cemscope_pipelines.followup.conclusions import GROWN_MM

Mark = Callable[[FollowedScrewView], bool | None]

_CHANGES: tuple[tuple[str, Mark], ...] = (
    (f"lucent rim grown by {GROWN_MM:g} mm or more", lambda s: s.grown(GROWN_MM)),
    ("moved in its vertebra", lambda s: s.moved),
    ("suspected break", lambda s: s.broken),
)


def _marks(group: Group, mark: Mark) -> list[list[bool | None]]:
    """List the marks of the screws of each patient whose scans were compared."""
    return [
        [None if one is None else mark(one) for one in m.patient.changes]
        for m in group.members
        if m.patient.changes
    ]


def change_table(grouping: Grouping) -> StudyTable | None:
    """Make the table of changes; None if no patient's latest scan was compared."""
    if not any(m.patient.compared for m in grouping.whole.members):
        return None
    names = [g.name for g in grouping.shown]
    table = StudyTable(
        "G", "Table G. Screws: change since an earlier scan", ("", *names)
    )
    cells = [
        table.count(
            Subject("G", g.name, "patients whose scans were compared"),
            sum(m.patient.compared is not None for m in g.members),
        )
        for g in grouping.shown
    ]
    table.lines.append((TableCell("patients whose scans were compared"), *cells))
    for name, mark in _CHANGES:
        for per in ("screw", "patient with screws"):
            cells = []
            for group in grouping.shown:
                marks = _marks(group, mark)
                flat = (
                    [one for screws in marks for one in screws]
                    if per == "screw"
                    else [any_of(screws) for screws in marks]
                )
                subject = Subject("G", group.name, f"{name}, per {per}")
                cells.append(table.proportion(subject, share_of_marks(flat)))
            table.lines.append((TableCell(f"{name}, per {per}"), *cells))
    table.notes.append(
        "Of patients whose latest scan cemscope followup compared with an earlier one. "
        "A screw that was not found in both scans, or whose change could not be told, "
        "is not assessed."
    )
    return table
