"""Whose series, and which of them, where an input leaves that open."""

from pathlib import Path

import pytest

from cases.ingest_inputs import (
    INPUT_CASES,
    OTHER_PATIENT,
    REFUSED_INPUTS,
    SAME_STUDY,
)
from cases.series import datasets, phantom_ct, save
from cemscope.dicom import (
    PatientMarks,
    choose_series,
    list_series,
    patient_numbers,
    read_series,
    scan_input,
)
from cemscope.errors import MixedSeriesError
from cemscope.testing.dicom_writer import SeriesIdentity

CASES = {case.name: case for case in (*INPUT_CASES, *REFUSED_INPUTS)}


def test_a_series_of_two_phases_hides_no_other(tmp_path: Path) -> None:
    listed = list_series(CASES["phases_beside_clear"].write(tmp_path))
    choice = choose_series(listed)
    (mixed,) = choice.ambiguous
    assert choice.chosen.series_instance_uid != mixed
    assert f"left aside: series {mixed}" in choice.reason
    passed_over = [r for r in choice.rejected if r.series.series_instance_uid == mixed]
    assert len(passed_over) == 2
    assert all("several acquisitions" in r.reason for r in passed_over)
    # Named alone, it is still nobody's to choose; a part of it is.
    with pytest.raises(MixedSeriesError, match="Name one with its #number"):
        choose_series(listed, mixed)
    assert choose_series(listed, f"{mixed}#2").chosen.part == 2


def test_a_clear_series_is_not_bothered_by_a_worse_mixed_one(tmp_path: Path) -> None:
    listed = list_series(CASES["phases_beside_clear"].write(tmp_path))
    phases = [s for s in listed if s.part_count == 2]
    # Three times the coverage of the phases: they count as short.
    far = list_series(
        save(datasets(phantom_ct((60, 12, 16)), SAME_STUDY), tmp_path / "long")
    )
    choice = choose_series([*phases, *far])
    assert choice.chosen.slices == 60
    assert choice.ambiguous == ()
    assert not choice.chosen.notices


def test_two_patients_are_never_chosen_between(tmp_path: Path) -> None:
    listed = list_series(CASES["two_patients"].write(tmp_path))
    assert patient_numbers(s.patient for s in listed) == (1, 2)
    with pytest.raises(MixedSeriesError) as refusal:
        choose_series(listed)
    said = str(refusal.value)
    assert all(s.name in said for s in listed)
    assert "PHANTOM" not in said
    assert "19500101" not in said
    for series in listed:
        assert choose_series(listed, series.name).chosen.name == series.name


def test_a_broken_series_of_another_patient_counts(tmp_path: Path) -> None:
    """Else the wrong patient is measured, because the right one cannot be."""
    save(datasets(identity=OTHER_PATIENT)[:8], tmp_path / "two")
    save(datasets(identity=OTHER_PATIENT)[10:], tmp_path / "two")
    save(datasets(), tmp_path / "one")
    with pytest.raises(MixedSeriesError, match="2 patients"):
        read_series(tmp_path)


def test_a_scout_of_another_patient_does_not_count(tmp_path: Path) -> None:
    save(datasets(), tmp_path / "one")
    scout = datasets(identity=OTHER_PATIENT)[:1]
    scout[0].ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    save(scout, tmp_path / "two")
    assert read_series(tmp_path).geometry.shape[0] == 20


def test_de_identified_series_are_not_taken_for_two_patients(tmp_path: Path) -> None:
    blank = SeriesIdentity(
        patient_name="",
        patient_id="",
        patient_birth_date="",
        patient_sex="",
        series_key="blank",
    )
    save(datasets(), tmp_path / "one")
    save(datasets(identity=blank), tmp_path / "two")
    choice = choose_series(list_series(tmp_path))
    assert {n.code for n in choice.chosen.notices} == {"series_tie"}


def test_slices_that_lack_a_number_are_of_the_same_patient(tmp_path: Path) -> None:
    slices = datasets()
    for dataset in slices[::3]:
        dataset.PatientID = dataset.PatientSex = ""
    slices[5].PatientID = f" {slices[5].PatientID.lower()}"
    ct = read_series(save(slices, tmp_path / "ct"))
    assert ct.geometry.shape[0] == 20
    assert not ct.notices


@pytest.mark.parametrize(
    ("patients", "numbers"),
    [
        ((PatientMarks("a"), PatientMarks("b"), PatientMarks("a")), (1, 2, 1)),
        ((PatientMarks("a", "1"), PatientMarks("a", "2")), (1, 2)),
        ((PatientMarks("a", "1"), PatientMarks("a"), PatientMarks("")), (1, 1, 1)),
        ((PatientMarks("", "", "f"), PatientMarks("a", "", "m")), (1, 2)),
        ((), ()),
    ],
)
def test_patients_are_numbered(
    patients: tuple[PatientMarks, ...], numbers: tuple[int, ...]
) -> None:
    assert patient_numbers(patients) == numbers


def test_marks_tell_nobody(tmp_path: Path) -> None:
    (series,) = list_series(save(datasets(), tmp_path / "ct"))
    words = repr(series.patient)
    assert "PHANTOM" not in words
    assert "1950" not in words
    assert "patient=" not in repr(series)


def test_zip_archives_inside_are_counted_and_office_files_are_not(
    tmp_path: Path,
) -> None:
    folder = CASES["zip_inside"].write(tmp_path)
    (folder / "letter.docx").write_bytes((folder / "old.zip").read_bytes())
    scan = scan_input(folder)
    assert (scan.closed_archives, scan.skipped_files) == (1, 1)
