"""The clinical tables of a study: stay, scores before and after, complications."""

from cemscope_pipelines.cohort.clinical_file import (
    AGE,
    SCORES,
    STAY,
    PairedScale,
    Scale,
)
from cemscope_pipelines.cohort.comparison import (
    between_groups,
    paired_t,
    signed_rank,
)
from cemscope_pipelines.cohort.groups import Group, Grouping
from cemscope_pipelines.cohort.statistic_row import Subject
from cemscope_pipelines.cohort.study_table import (
    COMPARISON_HEADER,
    SUMMARY_HEADER,
    StudyTable,
    TableCell,
    words,
)
from cemscope_pipelines.cohort.summary import proportion, summarise

_ORDINAL = "mrc_before"
"""Grades, not measures: their differences have no mean worth a t test."""


def _values(group: Group, scale: Scale) -> tuple[list[float], int]:
    """Values of a group, and how many patients have none."""
    found = [
        m.clinical.values[scale.name]
        for m in group.members
        if m.clinical is not None and scale.name in m.clinical.values
    ]
    return found, len(group.members) - len(found)


def patients_table(grouping: Grouping) -> StudyTable:
    """Table 1: sex, age and hospital stay by procedure."""
    table = StudyTable(
        "1", "Table 1. Patients and hospital stay by procedure",
        ("", "group", *SUMMARY_HEADER),
    )  # fmt: skip
    for group in grouping.shown:
        sexes = [m.clinical.sex for m in group.members if m.clinical is not None]
        known = sum(bool(s) for s in sexes)
        share = table.proportion(
            Subject("1", group.name, "women"),
            proportion(sexes.count("F"), known, len(group.members) - known),
        )
        empty = words("", "", "", "")
        table.lines.append((*words("women", group.name), share, *empty))
    for scale in (AGE, STAY):
        values = []
        name = f"{scale.title}, {scale.unit}"
        for group in grouping.shown:
            found, missing = _values(group, scale)
            subject = Subject("1", group.name, scale.title, unit=scale.unit)
            cells = table.summary(subject, summarise(found, missing))
            table.lines.append((*words(name, group.name), *cells))
            values.append(found)
        if len([v for v in values[1:] if v]) > 1:
            subject = Subject("1", "between groups", scale.title, unit=scale.unit)
            found_test = between_groups(values[1:])
            test, n, _, p_value, effect = table.comparison(
                subject, found_test, "groups"
            )
            p_cell = TableCell(f"p {p_value.text}", p_value.row)
            start = words(name, "between groups")
            table.lines.append((*start, n, test, p_cell, effect, TableCell("")))
    return table


def _pairs(group: Group, score: PairedScale) -> tuple[list[float], list[float]]:
    before, after = [], []
    for member in group.members:
        values = {} if member.clinical is None else member.clinical.values
        if score.before.name in values and score.after.name in values:
            before.append(values[score.before.name])
            after.append(values[score.after.name])
    return before, after


def score_table(number: int, score: PairedScale, grouping: Grouping) -> StudyTable:
    """Tables 2 to 4: a score before and after the operation."""
    key = str(number)
    unit = score.before.unit
    table = StudyTable(
        key,
        f"Table {number}. {score.title} before and after",
        ("", "group", *SUMMARY_HEADER),
    )
    for when, scale in (("before", score.before), ("after", score.after)):
        for group in grouping.shown:
            found, missing = _values(group, scale)
            subject = Subject(key, group.name, f"{score.title}, {when}", unit=unit)
            cells = table.summary(subject, summarise(found, missing))
            table.lines.append((*words(when, group.name), *cells))
    table.lines.append(words("change", "group", *COMPARISON_HEADER))
    for group in grouping.shown:
        before, after = _pairs(group, score)
        subject = Subject(key, group.name, f"{score.title}, change", unit=unit)
        tests = [signed_rank(before, after)]
        if score.before.name != _ORDINAL:
            tests.insert(0, paired_t(before, after))
        for test in tests:
            cells = table.comparison(subject, test, "paired")
            table.lines.append((*words("after - before", group.name), *cells))
    changes = [
        [a - b for b, a in zip(*_pairs(group, score), strict=True)]
        for group in grouping.shown[1:]
    ]
    if len([c for c in changes if c]) > 1:
        subject = Subject(key, "between groups", f"{score.title}, change", unit=unit)
        cells = table.comparison(subject, between_groups(changes), "groups")
        table.lines.append((*words("after - before", "between groups"), *cells))
    table.notes.append(
        f"Unit: {unit}. Patients without a value are counted as not assessed; a test "
        "takes patients with both values. Tests are two-sided and not corrected for "
        "their number."
    )
    return table


def complications_table(grouping: Grouping) -> StudyTable:
    """Table 5: complications that the clinical file names."""
    names = [g.name for g in grouping.shown]
    table = StudyTable("5", "Table 5. Complications", ("", *names))
    kinds = sorted(
        {
            word
            for m in grouping.whole.members
            if m.clinical is not None
            for word in m.clinical.complications or ()
        }
    )
    for kind in ("", *kinds):
        cells = []
        for group in grouping.shown:
            told = [
                m.clinical.complications
                for m in group.members
                if m.clinical is not None and m.clinical.complications is not None
            ]
            count = sum(bool(t) if not kind else kind in t for t in told)
            found = proportion(count, len(told), len(group.members) - len(told))
            subject = Subject("5", group.name, "patients with", kind or "any")
            cells.append(table.proportion(subject, found))
        table.lines.append((TableCell(kind or "any complication"), *cells))
    table.notes.append(
        "As written in the clinical file; cement leaks and loosening that the CT shows "
        "stand in tables C and D. Patients for whom nothing is recorded are not "
        "assessed."
    )
    return table


def clinical_tables(grouping: Grouping) -> list[StudyTable]:
    """Tables 1 to 5."""
    return [
        patients_table(grouping),
        *(score_table(n, score, grouping) for n, score in enumerate(SCORES, start=2)),
        complications_table(grouping),
    ]
