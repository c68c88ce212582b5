"""The writer that samples and tests rest on."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from cases.series import phantom_ct
from cemscope.testing.dicom_writer import (
    PixelEncoding,
    SeriesIdentity,
    WriteOptions,
    write_series,
)


def _digests(paths: tuple[Path, ...]) -> list[str]:
    return [hashlib.sha256(p.read_bytes()).hexdigest() for p in paths]


@pytest.mark.parametrize("encoding", PixelEncoding, ids=lambda e: e.name.lower())
def test_the_same_input_gives_the_same_bytes(
    encoding: PixelEncoding, tmp_path: Path
) -> None:
    ct = phantom_ct((3, 40, 36))
    options = WriteOptions(encoding)
    first = write_series(ct, tmp_path / "a", options=options)
    second = write_series(ct, tmp_path / "b", options=options)
    assert _digests(first) == _digests(second)
    for path in first:
        meta = pydicom.dcmread(path, stop_before_pixels=True).file_meta
        assert meta.TransferSyntaxUID == encoding.value


def test_keys_make_other_uids_and_keep_the_patient() -> None:
    baseline = SeriesIdentity()
    later = replace(baseline, study_key="follow-up", study_date="20260601")
    other = replace(baseline, series_key="sharp")
    assert baseline.patient_id == later.patient_id
    assert baseline.study_instance_uid != later.study_instance_uid
    assert baseline.series_instance_uid != later.series_instance_uid
    assert baseline.study_instance_uid == other.study_instance_uid
    assert baseline.series_instance_uid != other.series_instance_uid
    uids = {i.sop_instance_uid(n) for i in (baseline, later, other) for n in range(9)}
    assert len(uids) == 27
    assert all(pydicom.uid.UID(u).is_valid for u in uids)


def test_another_reader_agrees_on_voxels_and_place(tmp_path: Path) -> None:
    """SimpleITK, an independent implementation, as the oracle."""
    axes = np.array([[0, -0.6, 0.8], [0, 0.8, 0.6], [1.0, 0, 0]])
    axes[0] = np.cross(axes[2], axes[1])
    ct = phantom_ct(directions_lps=axes)
    paths = write_series(ct, tmp_path)
    image = sitk.ReadImage([str(p) for p in paths])
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), ct.hu)
    for index in ((0, 0, 0), (19, 11, 15), (7, 3, 9)):
        point = image.TransformIndexToPhysicalPoint(index[::-1])
        np.testing.assert_allclose(point, ct.geometry.index_to_lps(index), atol=1e-6)


def test_values_outside_the_stored_range_are_refused(tmp_path: Path) -> None:
    ct = phantom_ct()
    with pytest.raises(ValueError, match="do not fit 12 bits with slope 1"):
        write_series(
            ct, tmp_path, options=WriteOptions(bits_stored=12, rescale_intercept=0.0)
        )


def test_a_bare_data_set_must_be_implicit(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Implicit VR"):
        write_series(phantom_ct(), tmp_path, options=WriteOptions(file_meta=False))


def test_a_ct_without_acquisition_gets_valid_empty_attributes(tmp_path: Path) -> None:
    ct = phantom_ct()
    bare = replace(ct, acquisition=type(ct.acquisition)())
    (path, *_) = write_series(bare, tmp_path)
    dataset = pydicom.dcmread(path)
    assert dataset.KVP is None
    assert dataset.SliceThickness == pytest.approx(1.0)
    for required in ("PatientName", "StudyID", "AccessionNumber", "ImageType"):
        assert required in dataset
