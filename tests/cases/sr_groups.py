"""Measurement groups of a structured report, as plain values."""

from pathlib import Path

import pydicom


def groups_of(path: Path) -> dict[str, pydicom.Dataset]:
    """Measurement groups of a report by tracking identifier."""
    root = pydicom.dcmread(path)
    measured = next(
        item
        for item in root.ContentSequence
        if item.ConceptNameCodeSequence[0].CodeValue == "126010"
    )
    groups = {}
    for group in measured.ContentSequence:
        for item in group.ContentSequence:
            if item.ConceptNameCodeSequence[0].CodeValue == "112039":
                assert item.TextValue not in groups, "one name for two findings"
                groups[item.TextValue] = group
    return groups


def numbers_of(group: pydicom.Dataset) -> dict[str, float]:
    """Measurements by the code of their name."""
    return {
        item.ConceptNameCodeSequence[0].CodeValue: float(
            item.MeasuredValueSequence[0].NumericValue
        )
        for item in group.ContentSequence
        if item.ValueType == "NUM"
    }


def codes_of(group: pydicom.Dataset) -> set[tuple[str, str]]:
    """Codes of name and value of each evaluation."""
    return {
        (
            item.ConceptNameCodeSequence[0].CodeValue,
            item.ConceptCodeSequence[0].CodeValue,
        )
        for item in group.ContentSequence
        if item.ValueType == "CODE"
    }


def texts_of(group: pydicom.Dataset) -> list[str]:
    """Remarks in words."""
    return [
        item.TextValue for item in group.ContentSequence if item.ValueType == "TEXT"
    ]


def tracking_uids(path: Path) -> dict[str, str]:
    """Tracking UID by tracking identifier."""
    found = {}
    for name, group in groups_of(path).items():
        for item in group.ContentSequence:
            if item.ConceptNameCodeSequence[0].CodeValue == "112040":
                found[name] = str(item.UID)
    return found
