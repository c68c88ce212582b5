"""What is written is read back: voxels, positions, scales, encodings."""

from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from cases.series import datasets, phantom_ct, save, sheared_ct
from cemscope.dicom import read_series
from cemscope.testing.dicom_writer import (
    PixelEncoding,
    SeriesIdentity,
    WriteOptions,
    write_series,
)
from cemscope.volume import PADDING_HU, CTVolume


def assert_same_volume(found: CTVolume, expected: CTVolume) -> None:
    """Compare voxel by voxel through patient space: the slice axis may be flipped."""
    assert found.geometry.shape == expected.geometry.shape
    index = np.stack(np.indices(found.geometry.shape), axis=-1).reshape(-1, 3)
    there = expected.geometry.lps_to_index(found.geometry.index_to_lps(index))
    rounded = np.rint(there)
    np.testing.assert_allclose(there, rounded, atol=1e-4)
    i, j, k = rounded.astype(int).T
    np.testing.assert_array_equal(found.hu.ravel(), expected.hu[i, j, k])


@pytest.mark.parametrize("encoding", PixelEncoding, ids=lambda e: e.name.lower())
@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
def test_every_encoding_gives_the_same_volume(
    encoding: PixelEncoding, signed: bool, tmp_path: Path
) -> None:
    ct = phantom_ct((11, 40, 36))
    intercept = 0.0 if signed else -8192.0
    write_series(
        ct,
        tmp_path,
        options=WriteOptions(encoding, signed=signed, rescale_intercept=intercept),
    )
    found = read_series(tmp_path)
    assert_same_volume(found, ct)
    assert found.padded_fraction == 0.0


@given(
    rotation_vector=st.tuples(*[st.floats(-3.0, 3.0)] * 3),
    flips=st.tuples(*[st.sampled_from([-1, 1])] * 3),
    spacing=st.tuples(
        st.floats(0.7, 5.0),
        st.floats(0.2, 2.0),
        st.floats(0.2, 2.0),
    ),
    origin=st.tuples(*[st.floats(-900, 900)] * 3),
)
@settings(max_examples=15)
def test_any_orientation_is_read_back(
    rotation_vector: tuple[float, float, float],
    flips: tuple[int, int, int],
    spacing: tuple[float, float, float],
    origin: tuple[float, float, float],
) -> None:
    directions = Rotation.from_rotvec(rotation_vector).as_matrix()
    directions = directions * np.array(flips)[:, None]
    ct = phantom_ct((15, 4, 5), spacing, origin, directions)
    with TemporaryDirectory() as folder:
        write_series(ct, Path(folder))
        found = read_series(Path(folder))
    assert_same_volume(found, ct)
    row_by_column = np.cross(
        found.geometry.directions_lps[2], found.geometry.directions_lps[1]
    )
    np.testing.assert_allclose(
        found.geometry.directions_lps[0], row_by_column, atol=1e-9
    )
    assert found.geometry.frame_of_reference_uid == "1.2.3.4"


def test_a_feet_first_scan_is_stacked_along_its_normal(tmp_path: Path) -> None:
    axes = np.array([[0, 0, -1.0], [0, 1, 0], [1, 0, 0]])
    ct = phantom_ct(directions_lps=axes)
    write_series(ct, tmp_path)
    found = read_series(tmp_path)
    assert found.geometry.affine_lps[2, 0] == pytest.approx(1.0)
    np.testing.assert_array_equal(found.hu, ct.hu[::-1])
    assert found.source is not None
    uids = [SeriesIdentity().sop_instance_uid(i) for i in range(20)]
    assert list(found.source.sop_instance_uids) == uids[::-1]


def test_source_and_acquisition_are_filled(tmp_path: Path) -> None:
    identity = SeriesIdentity(study_date="20250314")
    write_series(phantom_ct(), tmp_path, identity)
    found = read_series(tmp_path)
    assert found.source is not None
    assert found.source.series_instance_uid == identity.series_instance_uid
    assert found.source.study_instance_uid == identity.study_instance_uid
    assert found.source.sop_class_uid == "1.2.840.10008.5.1.4.1.1.2"
    acquisition = found.acquisition
    assert (acquisition.kvp, acquisition.kernel) == (120.0, "Br40")
    assert acquisition.slice_thickness_mm == 1.0
    assert acquisition.acquisition_date == "20250314"
    assert acquisition.manufacturer == "cemscope phantom"
    assert not acquisition.metal_artifact_reduction


@pytest.mark.parametrize(
    ("keyword", "value", "expected"),
    [
        ("ConvolutionKernel", "Br40f iMAR", True),
        ("SeriesDescription", "Spine 1.0 O-MAR", True),
        ("SeriesDescription", "SEMAR Body", True),
        ("SeriesDescription", "Smart MAR L-Spine", True),
        ("ImageType", ["ORIGINAL", "PRIMARY", "AXIAL", "IMAR"], True),
        ("SeriesDescription", "Marker scan, MARCH", False),
        ("SeriesDescription", "Summary tumar", False),
    ],
)
def test_metal_artefact_reduction_is_recognised(
    keyword: str, value: object, expected: bool, tmp_path: Path
) -> None:
    slices = datasets()
    for dataset in slices:
        setattr(dataset, keyword, value)
    found = read_series(save(slices, tmp_path / "ct"))
    assert found.acquisition.metal_artifact_reduction is expected


@dataclass(frozen=True, slots=True)
class Scale:
    """A stored scale, the volume's top, and what must be reported as its ceiling."""

    name: str
    options: WriteOptions
    top_hu: int
    top_voxels: int
    clipped_at_hu: int | None


SCALES = (
    Scale("clipped_12_bit", WriteOptions(rescale_intercept=-1024.0), 3071, 40, 3071),
    Scale("just_reached", WriteOptions(rescale_intercept=-1024.0), 3071, 1, None),
    Scale("below", WriteOptions(rescale_intercept=-1024.0), 3070, 40, None),
    Scale("extended", WriteOptions(), 15000, 40, None),
    Scale(
        "slope_10",
        WriteOptions(rescale_slope=10.0, rescale_intercept=-10240.0),
        30710,
        40,
        30710,
    ),
    Scale(
        "other_intercept",
        WriteOptions(rescale_intercept=-1000.0, bits_stored=12),
        3095,
        40,
        3095,
    ),
    Scale("int16", WriteOptions(signed=True, rescale_intercept=0.0), 32767, 9, 32767),
    Scale(
        "fine_slope", WriteOptions(rescale_slope=0.5, rescale_intercept=-1024.0),
        3000, 40, None,
    ),
)  # fmt: skip


@pytest.mark.parametrize("scale", SCALES, ids=lambda s: s.name)
def test_scales_keep_their_values_and_ceilings(scale: Scale, tmp_path: Path) -> None:
    ct = phantom_ct()
    hu = np.clip(ct.hu // 10 * 10, -1000, 2800).astype(np.int16)
    hu.reshape(-1)[100 : 100 + scale.top_voxels] = scale.top_hu
    ct = replace(ct, hu=hu)
    write_series(ct, tmp_path, options=scale.options)
    found = read_series(tmp_path)
    np.testing.assert_array_equal(found.hu, hu)
    assert found.clipped_at_hu == scale.clipped_at_hu


def _circle(ct: CTVolume) -> np.ndarray:
    rows, columns = np.indices(ct.geometry.shape[1:])
    return ((rows - 19.5) / 20) ** 2 + ((columns - 17.5) / 18) ** 2 > 1


@dataclass(frozen=True, slots=True)
class Padding:
    """How a maker fills the corners outside the scan field."""

    name: str
    options: WriteOptions
    stored: int
    tagged: bool


PADDINGS = (
    Padding("ge_tagged", WriteOptions(signed=True, rescale_intercept=0.0), -2000, True),
    Padding("ge_untagged", WriteOptions(signed=True, rescale_intercept=-1024.0), -2000,
            False),
    Padding("unsigned_zero", WriteOptions(rescale_intercept=-8192.0), 0, True),
    Padding("high_value", WriteOptions(rescale_intercept=-1024.0), 65535, True),
    Padding("at_water", WriteOptions(signed=True, rescale_intercept=0.0), 0, True),
)  # fmt: skip


@pytest.mark.parametrize("padding", PADDINGS, ids=lambda p: p.name)
@pytest.mark.parametrize(
    "encoding",
    [
        PixelEncoding.EXPLICIT_LE,
        PixelEncoding.IMPLICIT_LE,
        PixelEncoding.JPEG2000_LOSSLESS,
    ],
    ids=lambda e: e.name.lower(),
)
def test_padding_is_masked(
    padding: Padding, encoding: PixelEncoding, tmp_path: Path
) -> None:
    ct = phantom_ct((12, 40, 36))
    corners = _circle(ct)
    options = padding.options
    if padding.tagged:
        options = replace(options, padding_stored=padding.stored)
    slices = datasets(ct, options=options)
    kind = "<i2" if options.signed else "<u2"
    for dataset in slices:
        stored = np.frombuffer(dataset.PixelData, kind).reshape(40, 36).copy()
        stored[corners] = padding.stored
        dataset.PixelData = stored.tobytes()
    options = replace(options, encoding=encoding)
    found = read_series(save(slices, tmp_path / "ct", options))
    inside = ~corners[None] & np.ones(ct.geometry.shape, bool)
    assert (found.hu[:, corners] == PADDING_HU).all()
    # Single voxels of the padding value inside the field stay, unless they touch.
    kept = found.hu[inside] == ct.hu[inside]
    assert kept.mean() > 0.999
    assert found.padded_fraction == pytest.approx(corners.mean(), abs=0.001)
    assert found.clipped_at_hu is None


def test_tissue_at_a_tagged_padding_value_stays(tmp_path: Path) -> None:
    ct = phantom_ct()
    hu = ct.hu.copy()
    hu[:, 4:7, 5:9] = 0
    hu[:, :, 0] = 1
    options = WriteOptions(signed=True, rescale_intercept=0.0, padding_stored=0)
    write_series(replace(ct, hu=hu), tmp_path, options=options)
    assert (read_series(tmp_path).hu[:, 4:7, 5:9] == 0).all()


def test_a_padding_tag_with_the_wrong_sign_is_understood(tmp_path: Path) -> None:
    slices = datasets(options=WriteOptions(signed=True, rescale_intercept=0.0))
    for dataset in slices:
        stored = np.frombuffer(dataset.PixelData, "<i2").copy()
        stored[:16] = -1100
        dataset.PixelData = stored.tobytes()
        dataset.add_new("PixelPaddingValue", "US", 65536 - 1100)
    found = read_series(save(slices, tmp_path / "ct"))
    assert found.padded_fraction == pytest.approx(16 / 192)


def test_a_shear_below_the_tolerance_is_accepted(tmp_path: Path) -> None:
    ct = sheared_ct(0.3)
    drift_mm = float(np.tan(np.radians(0.3))) * 19
    write_series(ct, tmp_path)
    found = read_series(tmp_path)
    np.testing.assert_array_equal(found.hu, ct.hu)
    assert found.geometry.spacing_mm == pytest.approx(ct.geometry.spacing_mm, abs=1e-3)
    corner_mm = np.linalg.norm(
        found.geometry.corners_lps_mm() - ct.geometry.corners_lps_mm(), axis=1
    )
    assert corner_mm.max() == pytest.approx(drift_mm / 2, abs=1e-3)


def test_blank_uids_are_replaced_and_noticed(tmp_path: Path) -> None:
    slices = datasets()
    for dataset in slices:
        dataset.SeriesInstanceUID = ""
        dataset.StudyInstanceUID = ""
    found = read_series(save(slices, tmp_path / "ct"))
    assert found.source is not None
    for uid in (found.source.series_instance_uid, found.source.study_instance_uid):
        assert pydicom.uid.UID(uid).is_valid
    assert "missing_series_uid" in {n.code for n in found.notices}


def test_progress_counts_every_slice(tmp_path: Path) -> None:
    write_series(phantom_ct(), tmp_path)
    seen: list[tuple[int, int]] = []
    read_series(tmp_path, progress=lambda done, of: seen.append((done, of)))
    assert seen == [(i, 20) for i in range(1, 21)]
