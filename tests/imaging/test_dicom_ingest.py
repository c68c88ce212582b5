"""The table of broken and unusual series, row by row."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from cases.ingest import INGEST_CASES, IngestCase
from cases.ingest_document import DOCUMENT, ingest_document
from cemscope.dicom import choose_series, list_series, read_series
from cemscope.errors import SeriesError
from cemscope.volume import PADDING_HU, CTVolume

READ = [case for case in INGEST_CASES if case.error is None]
REFUSED = [case for case in INGEST_CASES if case.error is not None]

NOT_IN_HEADERS = (
    *("more_bits_than_named", "codestream_cut_short", "codestream_of_noise"),
    *("codestream_of_other_size", "interleaved_acquisitions"),
)
"""Only decoding tells, or two sound acquisitions between which none can choose."""


def assert_same_patient(found: CTVolume, truth: CTVolume) -> None:
    """Every voxel of the truth stands at its place; what else there is, is padding."""
    index = np.stack(np.indices(found.geometry.shape), axis=-1).reshape(-1, 3)
    there = truth.geometry.lps_to_index(found.geometry.index_to_lps(index))
    rounded = np.rint(there)
    np.testing.assert_allclose(there, rounded, atol=1e-3)
    inside = ((rounded >= 0) & (rounded < truth.geometry.shape)).all(axis=1)
    i, j, k = rounded[inside].astype(int).T
    assert inside.sum() == truth.hu.size
    np.testing.assert_array_equal(found.hu.ravel()[inside], truth.hu[i, j, k])
    assert (found.hu.ravel()[~inside] == PADDING_HU).all()
    assert found.geometry.voxel_volume_mm3 == pytest.approx(
        truth.geometry.voxel_volume_mm3, rel=1e-6
    )


@pytest.mark.parametrize("case", READ, ids=lambda c: c.name)
def test_the_volume_is_that_of_the_clean_series(
    case: IngestCase, tmp_path: Path
) -> None:
    assert case.truth is not None
    path = case.write(tmp_path / "in")
    before = sorted(tmp_path.rglob("*"))
    found = read_series(path)
    assert_same_patient(found, case.truth())
    assert tuple(n.code for n in found.notices) == case.notices
    said = "\n".join(n.message for n in found.notices)
    assert [w for w in case.words if w not in said] == []
    assert str(tmp_path) not in said
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("case", REFUSED, ids=lambda c: c.name)
def test_a_broken_series_is_refused_with_its_numbers(
    case: IngestCase, tmp_path: Path
) -> None:
    path = case.write(tmp_path / "in")
    before = sorted(tmp_path.parent.rglob("*"))
    with pytest.raises(SeriesError) as refusal:
        read_series(path)
    # All derive from SeriesError, so the exact type is what tells them apart.
    assert type(refusal.value) is case.error
    message = str(refusal.value)
    assert [w for w in case.words if w not in message] == []
    assert str(tmp_path) not in message
    # What to ask for, and whom.
    asks = ("Ask ", "Name one", "Give ", "export")
    assert any(word in message for word in asks)
    assert sorted(tmp_path.parent.rglob("*")) == before
    if case.name in NOT_IN_HEADERS:
        assert all(s.measurable for s in list_series(path))
    else:
        with pytest.raises(SeriesError):
            choose_series(list_series(path))


def test_the_document_says_what_the_cases_do() -> None:
    """If it fails: PYTHONPATH=tests python -m cases.ingest_document."""
    made, committed = ingest_document(), DOCUMENT.read_text()
    version = f"SimpleITK {sitk.Version.VersionString()} "
    if version not in committed:
        # Another SimpleITK may do otherwise; what cemscope does may not change.
        made, committed = (
            [line.rsplit(" | ", 1)[0] for line in text.splitlines() if "|" in line]
            for text in (made, committed)
        )
    assert made == committed
