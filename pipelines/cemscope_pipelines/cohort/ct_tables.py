"""What the scans tell of a study: cement, leaks, screws, levels."""

from collections.abc import Callable, Iterable, Iterator

from cemscope_pipelines.batch.case_view import (
    CementView,
    LeakView,
    LucencyView,
    NotAssessedView,
    VertebraView,
)
from cemscope_pipelines.cohort.comparison import between_groups
from cemscope_pipelines.cohort.groups import Group, Grouping, Member
from cemscope_pipelines.cohort.statistic_row import Subject
from cemscope_pipelines.cohort.study import Study, level_order
from cemscope_pipelines.cohort.study_table import (
    SUMMARY_HEADER,
    StudyTable,
    TableCell,
    words,
)
from cemscope_pipelines.cohort.summary import proportion, summarise

LEAK_TYPES = {
    "B": "B, basivertebral vein",
    "S": "S, segmental vein",
    "C": "C, cortical defect",
    "D": "D, into a disc",
    "I": "I, along the instrument",
}

PLACES = {
    "epidural": "spinal canal (epidural)",
    "foraminal": "neural foramen",
    "disc": "disc",
    "prevertebral": "prevertebral",
    "paravertebral": "paravertebral",
    "needle_track": "screw or needle track",
}

MAP_PLACES = {
    "epidural": "canal",
    "foraminal": "foramen",
    "disc_superior": "disc above",
    "disc_inferior": "disc below",
    "prevertebral": "prevertebral",
    "paravertebral_left": "paravertebral left",
    "paravertebral_right": "paravertebral right",
    "needle_track": "track",
}
"""Places of the leak map: first letters of a location, and its name."""

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
    line("cases with a result that are not used", len(study.left_out))
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
    for reason in sorted({c.reason for c in study.left_out}):
        table.notes.append(f"Not used: {reason}.")
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


def _leaks(member: Member) -> list[LeakView]:
    return [leak for v in member.patient.first.augmented for leak in v.leaks]


def _leaked(member: Member, kind: str) -> bool | None:
    """Whether a patient has a leak of a kind; None if a level is open."""
    if any(_is_of(leak, kind) for leak in _leaks(member)):
        return True
    return None if member.patient.first.open_levels else False


def _place(location: str) -> str:
    for place in PLACES:
        if location.startswith(place):
            return place
    return location


def _is_of(leak: LeakView, kind: str) -> bool:
    return (
        not kind
        or kind in leak.types
        or kind in {_place(location) for location in leak.locations}
    )


def _leak_lines() -> list[tuple[str, str]]:
    kinds = [("", "any leak")]
    kinds += [(k, f"type {name}") for k, name in LEAK_TYPES.items()]
    return kinds + [(k, f"place: {name}") for k, name in PLACES.items()]


def leak_table(grouping: Grouping) -> StudyTable:
    """Leakage per patient and per level, by type and place."""
    names = [g.name for g in grouping.shown]
    table = StudyTable("C", "Table C. Leakage", ("", "per", *names))
    for kind, name in _leak_lines():
        per_patient, per_level = [], []
        for group in grouping.shown:
            treated = [
                m
                for m in group.members
                if m.patient.first.augmented or m.patient.first.open_levels
            ]
            vertebrae = [v for m in treated for v in m.patient.first.augmented]
            marks = [_leaked(m, kind) for m in treated]
            found = proportion(
                marks.count(True),
                marks.count(True) + marks.count(False),
                marks.count(None),
            )
            subject = Subject("C", group.name, "leak per patient with cement", name)
            per_patient.append(table.proportion(subject, found))
            found = proportion(
                sum(any(_is_of(k, kind) for k in v.leaks) for v in vertebrae),
                len(vertebrae),
                sum(m.patient.first.not_assessed for m in group.members),
            )
            subject = Subject("C", group.name, "leak per level with cement", name)
            per_level.append(table.proportion(subject, found))
        table.lines.append((*words(name, "patient"), *per_patient))
        table.lines.append((*words(name, "level"), *per_level))
    table.notes += [
        "Count / number with cement, with the Wilson 95 % interval. A leak can have "
        "several types and places. Types after Yeom 2003, extended (D disc, I along "
        "the instrument).",
        "The interval of a share of levels takes levels as independent; those of one "
        "patient are not, so that it is somewhat too narrow.",
        "Levels that were not assessed are counted beside the share: a leak there "
        "would not be seen. CT finds leaks in 29 to 82 % of patients or "
        "vertebrae in the literature; a much lower share wants an explanation.",
    ]
    return table


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
                    flat = [_of_patient(one) for one in marks if one]
                found = proportion(
                    flat.count(True),
                    flat.count(True) + flat.count(False),
                    flat.count(None),
                )
                subject = Subject("D", group.name, f"{said}, per {per}")
                cells.append(table.proportion(subject, found))
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


def _of_patient(marks: list[bool | None]) -> bool | None:
    if True in marks:
        return True
    return None if None in marks else False


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


def _map_counts(leaks: list[LeakView]) -> Iterator[tuple[str, int]]:
    """Columns of the leak map and how many of the leaks belong to each."""
    yield "leaks", len(leaks)
    for start, name in MAP_PLACES.items():
        found = [k for k in leaks if any(at.startswith(start) for at in k.locations)]
        yield name, len(found)
    for letter in LEAK_TYPES:
        yield letter, sum(letter in leak.types for leak in leaks)


def leak_map_table(grouping: Grouping) -> StudyTable:
    """Leaks by level, place and type: the numbers of the leak map."""
    header = ("level", *(name for name, _ in _map_counts([])))
    table = StudyTable("F", "Table F. Leaks by level, place and type", header)
    of_level: dict[str, list[LeakView]] = {}
    for member in grouping.whole.members:
        for v in member.patient.first.augmented:
            of_level.setdefault(v.level, []).extend(v.leaks)
    for level in level_order([lv for lv, leaks in of_level.items() if leaks]):
        cells = [
            table.count(Subject("F", "all", name, level), count)
            for name, count in _map_counts(of_level[level])
        ]
        table.lines.append((TableCell(level), *cells))
    if not table.lines:
        table.notes.append("No leak was found.")
    table.notes.append("A leak can have several places and types.")
    return table
