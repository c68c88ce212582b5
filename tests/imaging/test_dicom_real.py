"""Real scans, read by cemscope and by SimpleITK."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.data import get_testdata_file, get_testdata_files

from cemscope.dicom import list_series, read_series
from cemscope.errors import SeriesError
from cemscope.volume import PADDING_HU


@dataclass(frozen=True, slots=True)
class RealSeries:
    """A scan, its label map on the same grid, and facts of its header."""

    folder: str
    labels: str
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    transfer_syntax: str
    notices: tuple[str, ...]


REAL_SERIES = (
    RealSeries(
        "real-lumbar-3mm/dicom",
        "real-lumbar-3mm/vertebrae.nii.gz",
        (112, 101, 122),
        (3.0, 3.0, 3.0),
        "Explicit VR Little Endian",
        (),
    ),
    RealSeries(
        "real-siemens-t11-t12",
        "real-siemens-t11-t12-labels.nii.gz",
        (20, 512, 512),
        (2.0, 0.9765625, 0.9765625),
        "JPEG 2000 Image Compression (Lossless Only)",
        ("missing_series_uid",),
    ),
)


@pytest.mark.real_data
@pytest.mark.parametrize("real", REAL_SERIES, ids=lambda r: r.folder)
def test_a_real_series_is_read_as_by_another_reader(
    real: RealSeries, cemscope_data: Path
) -> None:
    (series,) = list_series(cemscope_data / real.folder)
    ct = read_series(series)
    assert ct.geometry.shape == real.shape
    assert ct.spacing_mm == pytest.approx(real.spacing_mm, abs=1e-4)
    assert series.transfer_syntax == real.transfer_syntax
    assert tuple(n.code for n in ct.notices) == real.notices
    image = sitk.ReadImage([str(h.entry.path) for h in series.headers])
    expected = np.maximum(sitk.GetArrayFromImage(image), PADDING_HU)
    np.testing.assert_array_equal(ct.hu, expected)
    for index in ((0, 0, 0), tuple(n - 1 for n in real.shape)):
        np.testing.assert_allclose(
            image.TransformIndexToPhysicalPoint(index[::-1]),
            ct.geometry.index_to_lps(index),
            atol=1e-3,
        )


@pytest.mark.real_data
@pytest.mark.parametrize("real", REAL_SERIES, ids=lambda r: r.folder)
def test_labels_fall_on_bone(real: RealSeries, cemscope_data: Path) -> None:
    """The label map has other axes: only patient space can match the two."""
    ct = read_series(cemscope_data / real.folder)
    image = sitk.ReadImage(str(cemscope_data / real.labels))
    labels = sitk.GetArrayFromImage(image)
    points = [
        image.TransformIndexToPhysicalPoint([int(v) for v in index[::-1]])
        for index in np.argwhere(labels > 0)[::37]
    ]
    exact = ct.geometry.lps_to_index(points)
    nearest = np.rint(exact).astype(int)
    assert np.abs(exact - nearest).max() < 0.01
    inside = np.median(ct.hu[tuple(nearest.T)])
    mirrored = nearest.copy()
    mirrored[:, 2] = ct.geometry.shape[2] - 1 - mirrored[:, 2]
    mirrored[:, 1] = ct.geometry.shape[1] - 1 - mirrored[:, 1]
    elsewhere = np.median(ct.hu[tuple(mirrored.T)])
    assert inside > 60
    assert inside > elsewhere + 20


PYDICOM_FILES = sorted(
    Path(name)
    for name in get_testdata_files()
    if Path(name).is_file() and "dicomdirtests" not in name
)


@pytest.mark.parametrize("path", PYDICOM_FILES, ids=lambda p: p.name)
def test_pydicoms_own_files_give_a_volume_or_our_error(path: Path) -> None:
    """Scanners' files of all kinds, many broken on purpose; none is a spine."""
    with pytest.raises(SeriesError) as refusal:
        read_series(path)
    assert str(path.parent) not in str(refusal.value)


def test_pydicoms_media_are_listed() -> None:
    """Its exchange medium holds CT series of a few slices, MR and CR."""
    folder = Path(pydicom.data.__file__).parent / "test_files" / "dicomdirtests"
    if not (folder / "DICOMDIR").is_file():
        pytest.skip("this pydicom ships no exchange medium")
    by_folder = {s.name: s.slices for s in list_series(folder)}
    assert by_folder == {s.name: s.slices for s in list_series(folder / "DICOMDIR")}
    assert {s.modality for s in list_series(folder)} >= {"CT", "MR"}


@pytest.mark.parametrize(
    ("name", "modality", "rows"),
    [
        ("CT_small.dcm", "CT", 128),
        ("MR_small.dcm", "MR", 64),
        ("eCT_Supplemental.dcm", "CT", 512),
    ],
)
def test_what_pydicoms_files_hold_is_told(name: str, modality: str, rows: int) -> None:
    path = get_testdata_file(name, download=False)
    if path is None:
        pytest.skip(f"this pydicom ships no {name}")
    series = list_series(Path(str(path)))
    assert {s.modality for s in series} == {modality}
    assert {s.rows for s in series} == {rows}
