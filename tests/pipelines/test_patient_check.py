from pathlib import Path
from typing import Any

import pytest

from cases.small_series import written
from cemscope.dicom.patient_match import PatientMatch, compare_patients
from cemscope.errors import SeriesError
from cemscope_pipelines.followup.patient_check import (
    check_patient,
    days_between,
    order_notices,
    patient_notices,
)
from cemscope_pipelines.report_followup import PatientCheckEntry

SAME = PatientCheckEntry(result="same", reason="the patient IDs are equal")

PATIENTS = (
    ({}, PatientMatch.SAME),
    ({"patient_id": " a-1 "}, PatientMatch.SAME),
    ({"patient_id": "B-2"}, PatientMatch.DIFFERENT),
    ({"patient_birth_date": "19510505"}, PatientMatch.DIFFERENT),
    ({"patient_id": ""}, PatientMatch.NOT_KNOWN),
    ({"patient_id": "anonymous"}, PatientMatch.NOT_KNOWN),
)


@pytest.mark.parametrize(("other", "match"), PATIENTS, ids=str)
def test_patients_are_compared(
    tmp_path: Path, other: dict[str, Any], match: PatientMatch
) -> None:
    first = written(tmp_path / "one", study_key="one")
    second = written(tmp_path / "two", study_key="two", **other)
    found = compare_patients(first, second)
    assert found.match is match
    assert "A-1" not in found.reason
    assert "1940" not in found.reason


@pytest.mark.parametrize(
    ("first", "second", "days", "codes"),
    [
        ("20250311", "20250910", 183, []),
        ("20250910", "20250311", -183, ["followup_not_later"]),
        ("20250311", "20250311", 0, ["followup_not_later"]),
        (None, "20250311", None, []),
        ("2025", "20250311", None, []),
    ],
)
def test_scans_are_told_in_their_order(
    first: str | None, second: str | None, days: int | None, codes: list[str]
) -> None:
    assert days_between(first, second) == days
    assert [n.code for n in order_notices(days)] == codes


def test_a_patient_that_was_not_checked_is_told() -> None:
    assert patient_notices(SAME) == ()
    unknown = PatientCheckEntry(result="not_known", reason="no ID")
    (notice,) = patient_notices(unknown)
    assert notice.code == "patient_not_checked"


REASON = "new ID after a merger of the archives"


def test_another_patient_is_refused_or_overridden_on_the_record(tmp_path: Path) -> None:
    first = written(tmp_path / "one", study_key="one")
    other = written(tmp_path / "two", study_key="two", patient_id="B-2")
    with pytest.raises(SeriesError, match="--same-patient REASON"):
        check_patient(first, other, None)
    check = check_patient(first, other, REASON)
    assert check.result == "overridden"
    assert REASON in check.reason
    assert "the patient ID differs" in check.reason
    (notice,) = patient_notices(check)
    assert notice.code == "patient_overridden"
    assert REASON in notice.message


def test_the_same_patient_needs_no_reason_and_keeps_none(tmp_path: Path) -> None:
    first = written(tmp_path / "one", study_key="one")
    second = written(tmp_path / "two", study_key="two")
    assert check_patient(first, second, None).result == "same"
    assert check_patient(first, second, REASON) == check_patient(first, second, None)


def test_headers_without_a_patient_are_compared_and_told(tmp_path: Path) -> None:
    first = written(tmp_path / "one", study_key="one")
    second = written(tmp_path / "two", study_key="two", patient_id="")
    assert check_patient(first, second, None).result == "not_known"
    check = check_patient(first, second, REASON)
    assert check.result == "overridden"
    assert REASON in check.reason
