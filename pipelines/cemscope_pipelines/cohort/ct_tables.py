"""What the scans tell of a study: cement, screws, levels."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from cemscope_pipelines.batch.case_view import (
    CementView,
    LucencyView,
    NotAssessedView,
    VertebraView,
)
from cemscope_pipelines.cohort.comparison import between_groups
from cemscope_pipelines.cohort.groups import Group, Grouping, Member
from cemscope_pipelines.cohort.statistic_row import Subject
from cemscope_pipelines.cohort.study import Study, level_order
from cemscope_pipelines.cohort.study_case import UNREADABLE
from cemscope_pipelines.cohort.study_patients import LATER_SCAN
from cemscope_pipelines.cohort.study_table import (
    LEFT_OUT_FILE,
    SUMMARY_HEADER,
    StudyTable,
    TableCell,
    words,
)
from cemscope_pipelines.cohort.summary import (
    any_of,
    proportion,
    share_of_marks,
    summarise,
)

_REGIONS = {"C": "cervical", "T": "thoracic", "L": "lumbar", "S": "sacral"}

_PER_PATIENT = "cement per patient"


def flow_table(study: Study, grouping: Grouping) -> StudyTable:
    """Where the cases and patients of the other tables come from."""
    table = StudyTable("A", "Table A. Cases and patients", ("", "number"))

    def line(name: str, count: int, group: str = "all") -> None:
        cell = table.count(Subject("A", group, name), count)
        label = name if group == "all" else f"{name}: {group}"
        table.lines.append((TableCell(label), cell))

    line("cases", study.cases)
    line("cases with a result", study.measured)
    reasons = Counter(case.why for case in study.left_out)
    for why, count in sorted(reasons.items()):
        line(why if why == LATER_SCAN else f"not used: {why}", count)
    line("patients", len(study.patients))
    for group in grouping.groups[1:]:
        line("patients", len(group.members), group.name)
    if grouping.from_file:
        line("patients of the clinical file without a case", grouping.without_case)
    if not grouping.from_file:
        table.notes.append(
            "Groups are told from the scans. A scan does not tell cannulated from "
            "solid screws: give the procedures with --clinical."
        )
    if study.left_out:
        table.notes.append("Each case that is not used stands in cohort_left_out.csv.")
    return table


def damaged_table(study: Study) -> StudyTable | None:
    """Cases whose result cannot be read, and why; None if there are none."""
    damaged = [case for case in study.left_out if case.why == UNREADABLE]
    if not damaged:
        return None
    table = StudyTable("R", "Table R. Results that cannot be read", ("case", "why"))
    for case in damaged:
        cells = (case.case, case.detail)
        table.lines.append(
            tuple(TableCell(text, case.case, LEFT_OUT_FILE) for text in cells)
        )
    table.notes.append(
        "These cases are in no other number. Measure them again: remove their folders "
        "and start the batch again."
    )
    return table


def _vertebrae(group: Group) -> Iterator[VertebraView]:
    for member in group.members:
        yield from member.patient.first.view.vertebrae


def _cement_of(vertebrae: Iterable[VertebraView]) -> tuple[list[float], int]:
    """Volumes of vertebrae with cement, and how many were not assessed."""
    volumes, missing = [], 0
    for v in vertebrae:
        if not isinstance(v.cement, CementView):
            missing += 1
        elif v.cement.volume_ml > 0:
            volumes.append(v.cement.volume_ml)
    return volumes, missing


def _cement_per_patient(group: Group) -> tuple[list[float], int]:
    volumes, missing = [], 0
    for member in group.members:
        total = member.patient.first.view.totals.cement_ml
        # The sum over the other levels is not the patient's cement.
        if isinstance(total, NotAssessedView) or member.patient.first.open_levels:
            missing += 1
        else:
            volumes.append(total)
    return volumes, missing


def _cement_per_screw(group: Group) -> tuple[list[float], int]:
    volumes, missing = [], 0
    for member in group.members:
        for screw in member.patient.screws:
            if not screw.cemented:
                continue
            if isinstance(screw.cement_volume_ml, NotAssessedView):
                missing += 1
            else:
                volumes.append(screw.cement_volume_ml)
    return volumes, missing


def _fill(group: Group) -> tuple[list[float], int]:
    ratios, missing = [], 0
    for v in _vertebrae(group):
        if not isinstance(v.cement, CementView):
            missing += 1
        elif v.cement.volume_ml > 0:
            ratios.append(100.0 * v.cement.fill_ratio)
    return ratios, missing


def volume_table(grouping: Grouping) -> StudyTable:
    """Cement per patient, vertebra and screw."""
    table = StudyTable(
        "B", "Table B. Cement volume by procedure", ("", "group", *SUMMARY_HEADER)
    )
    measures: list[tuple[str, str, Callable[[Group], tuple[list[float], int]]]] = [
        (_PER_PATIENT, "mL", _cement_per_patient),
        ("cement per vertebra with cement", "mL", lambda g: _cement_of(_vertebrae(g))),
        ("cement per cemented screw", "mL", _cement_per_screw),
        ("fill ratio of a vertebra with cement", "%", _fill),
    ]
    for name, unit, of_group in measures:
        values = []
        for group in grouping.shown:
            found, missing = of_group(group)
            subject = Subject("B", group.name, name, unit=unit)
            cells = table.summary(subject, summarise(found, missing))
            table.lines.append((*words(f"{name}, {unit}", group.name), *cells))
            values.append(found)
        if name == _PER_PATIENT:
            # Vertebrae and screws of one patient are not independent of each other.
            _test_line(table, name, unit, values[1:])
    table.notes.append(
        "A vertebra counts where its cement is over 0 mL; one that was not assessed is "
        "counted as such and is in no mean. SD: n - 1; quartiles by linear "
        "interpolation. Groups are compared by patient: vertebrae and screws of one "
        "patient are not independent of each other."
    )
    return table


def _test_line(
    table: StudyTable, name: str, unit: str, groups: list[list[float]]
) -> None:
    """Add the test between the groups, if there are several."""
    if len([g for g in groups if g]) < 2:
        return
    found = between_groups(groups)
    subject = Subject(table.key, "between groups", name, unit=unit)
    test, n, _, p_value, effect = table.comparison(subject, found, "groups")
    start = words(f"{name}, {unit}", "between groups")
    table.lines.append((*start, n, test, TableCell(f"p {p_value.text}", p_value.row),
                        effect, TableCell("")))  # fmt: skip


def screw_table(grouping: Grouping) -> StudyTable:
    """Screws, their cement, and their loosening at the latest scan."""
    names = [g.name for g in grouping.shown]
    table = StudyTable("D", "Table D. Screws and loosening", ("", *names))
    counts: list[tuple[str, Callable[[Member], int]]] = [
        ("screws", lambda m: len(m.patient.screws)),
        ("screws with cement", lambda m: sum(s.cemented for s in m.patient.screws)),
    ]
    for name, of_member in counts:
        cells = [
            table.count(
                Subject("D", g.name, name), sum(of_member(m) for m in g.members)
            )
            for g in grouping.shown
        ]
        table.lines.append((TableCell(name), *cells))
    for grade, said in (("loose", "loosened"), ("suspicious", "suspicious")):
        for per in ("screw", "patient with screws"):
            cells = []
            for group in grouping.shown:
                marks = [_marks(m, grade) for m in group.members]
                if per == "screw":
                    flat = [mark for one in marks for mark in one]
                else:
                    flat = [any_of(one) for one in marks if one]
                subject = Subject("D", group.name, f"{said}, per {per}")
                cells.append(table.proportion(subject, share_of_marks(flat)))
            table.lines.append((TableCell(f"{said}, per {per}"), *cells))
    table.notes.append(
        "Loosening is told by the lucency around a screw at the patient's latest scan. "
        "Not assessed is not the same as not loosened. A patient counts as loosened "
        "with one loosened screw, and as not loosened only if all were assessed."
    )
    return table


def _marks(member: Member, grade: str) -> list[bool | None]:
    """Of each screw: whether it has the grade; None where that is not known."""
    return [
        s.lucency.grade == grade if isinstance(s.lucency, LucencyView) else None
        for s in member.patient.last.view.screws
    ]


def level_table(grouping: Grouping) -> StudyTable:
    """Cement and leaks by level."""
    table = StudyTable(
        "E",
        "Table E. Distribution by level",
        ("level", "group", *SUMMARY_HEADER, "levels with a leak"),
    )
    levels = level_order(
        [
            v.level
            for v in _vertebrae(grouping.whole)
            if not isinstance(v.cement, CementView) or v.cement.volume_ml > 0
        ]
    )
    for level in levels:
        for group in grouping.shown:
            vertebrae = [v for v in _vertebrae(group) if v.level == level]
            volumes, missing = _cement_of(vertebrae)
            if not volumes and not missing:
                continue
            name = "cement per vertebra with cement"
            subject = Subject("E", group.name, name, level, "mL")
            cells = table.summary(subject, summarise(volumes, missing))
            leaking = sum(
                bool(v.leaks)
                for v in vertebrae
                if isinstance(v.cement, CementView) and v.cement.volume_ml > 0
            )
            share = table.proportion(
                Subject("E", group.name, "level with a leak", level),
                proportion(leaking, len(volumes), missing),
            )
            table.lines.append((*words(level, group.name), *cells, share))
    for letter, region in _REGIONS.items():
        inside = [v for v in _vertebrae(grouping.whole) if v.level.startswith(letter)]
        volumes, missing = _cement_of(inside)
        if volumes:
            name = "cement per vertebra with cement"
            cells = table.summary(
                Subject("E", "all", name, region, "mL"), summarise(volumes, missing)
            )
            table.lines.append((*words(region, "all"), *cells, TableCell("")))
    table.notes.append(
        "Volumes in mL of the vertebrae with cement. V1, V2 ... are levels that could "
        "not be named, counted from the lowest in view upwards."
    )
    return table
