"""Leakage of a study, by type, place and level."""

from collections.abc import Iterator, Sequence

from cemscope_pipelines.batch.case_view import LeakView
from cemscope_pipelines.cohort.groups import Grouping, Member
from cemscope_pipelines.cohort.statistic_row import Subject
from cemscope_pipelines.cohort.study import level_order
from cemscope_pipelines.cohort.study_table import StudyTable, TableCell, words
from cemscope_pipelines.cohort.summary import share_of_marks

LEAK_TYPES = {
    "B": "B, basivertebral vein",
    "S": "S, segmental vein",
    "C": "C, cortical defect",
    "D": "D, into a disc",
    "I": "I, along the instrument",
}

UNCERTAIN = "type not certain"
"""Kind of a leak that may be of several types."""

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


def _leaks(member: Member) -> list[LeakView]:
    return [leak for v in member.patient.first.augmented for leak in v.leaks]


def _has(leaks: Sequence[LeakView], kind: str) -> bool | None:
    """Whether a leak of a kind is among them; None if one of them may be of it."""
    if any(_is_of(leak, kind) for leak in leaks):
        return True
    if kind in LEAK_TYPES and any(leak.may_be(kind) for leak in leaks):
        return None
    return False


def _leaked(member: Member, kind: str) -> bool | None:
    """Whether a patient has a leak of a kind; None if that is not known."""
    found = _has(_leaks(member), kind)
    return None if not found and member.patient.first.open_levels else found


def _place(location: str) -> str:
    for place in PLACES:
        if location.startswith(place):
            return place
    return location


def _is_of(leak: LeakView, kind: str) -> bool:
    if not kind:
        return True
    if kind == UNCERTAIN:
        return not leak.type_is_certain
    if kind in LEAK_TYPES:
        return leak.type_is_certain and kind in leak.types
    return kind in {_place(location) for location in leak.locations}


def _leak_lines() -> list[tuple[str, str]]:
    kinds = [("", "any leak")]
    kinds += [(k, f"type {name}") for k, name in LEAK_TYPES.items()]
    kinds.append((UNCERTAIN, UNCERTAIN))
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
            subject = Subject("C", group.name, "leak per patient with cement", name)
            found = share_of_marks([_leaked(m, kind) for m in treated])
            per_patient.append(table.proportion(subject, found))
            subject = Subject("C", group.name, "leak per level with cement", name)
            found = share_of_marks(
                [
                    _has(v.leaks, kind)
                    for m in treated
                    for v in m.patient.first.augmented
                ],
                sum(m.patient.first.not_assessed for m in group.members),
            )
            per_level.append(table.proportion(subject, found))
        table.lines.append((*words(name, "patient"), *per_patient))
        table.lines.append((*words(name, "level"), *per_level))
    table.notes += [
        "Count / number with cement, with the Wilson 95 % interval. A leak can have "
        "several types and places. Types after Yeom 2003, extended (D disc, I along "
        "the instrument).",
        "A leak whose type is not certain is a leak and has its own line. It counts as "
        "none of the types; for those it may be, patient and level are not assessed.",
        "The interval of a share of levels takes levels as independent; those of one "
        "patient are not, so that it is somewhat too narrow.",
        "Levels that were not assessed are counted beside the share: a leak there "
        "would not be seen. CT finds leaks in 29 to 82 % of patients or "
        "vertebrae in the literature; a much lower share wants an explanation.",
    ]
    return table


def _map_counts(leaks: list[LeakView]) -> Iterator[tuple[str, int]]:
    """Columns of the leak map and how many of the leaks belong to each."""
    yield "leaks", len(leaks)
    for start, name in MAP_PLACES.items():
        found = [k for k in leaks if any(at.startswith(start) for at in k.locations)]
        yield name, len(found)
    for kind in (*LEAK_TYPES, UNCERTAIN):
        yield kind, sum(_is_of(leak, kind) for leak in leaks)


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
    table.notes.append(
        "A leak can have several places and types; one whose type is not certain is "
        "counted as such only."
    )
    return table
