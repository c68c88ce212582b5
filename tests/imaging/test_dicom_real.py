"""Real scans, read by cemscope and by SimpleITK."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from cemscope.dicom import list_series, read_series
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
