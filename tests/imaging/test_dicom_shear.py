"""Slices of a tilted gantry: an orthogonal volume of the same patient."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from cases.series import datasets, save
from cemscope.dicom import list_series, read_series
from cemscope.errors import UnevenSpacingError
from cemscope.geometry import VoxelGeometry
from cemscope.testing.dicom_writer import PixelEncoding, WriteOptions, write_series
from cemscope.volume import PADDING_HU, Acquisition, CTVolume

SHAPE = (24, 40, 36)
SPACING_MM = (2.0, 1.0, 0.9)
WAVE_MM = 22.0
AMPLITUDE_HU = 800.0
Field = Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]


def waves(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """A smooth patient: its second derivative is known everywhere."""
    angles = 2 * np.pi * points / WAVE_MM
    return (
        AMPLITUDE_HU
        * np.sin(angles[..., 0])
        * np.sin(angles[..., 1])
        * np.cos(angles[..., 2])
    )


def ball(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """A ball of 10 mm with an edge of 2 mm in water: its volume is known."""
    distance = np.linalg.norm(points - BALL_CENTRE_MM, axis=-1)
    return 1000.0 * np.clip((10.0 - distance) / 2.0 + 0.5, 0.0, 1.0)


BALL_CENTRE_MM = np.array([15.0, 24.0, 24.0])


def scanned(
    patient: Field, degrees: float, direction: float = 0.0, turn: float = 0.0
) -> CTVolume:
    """Slices shifted within their plane towards ``direction`` (degrees)."""
    affine = np.eye(4)
    affine[:3, :3] = np.array([[0, 0, 0.9], [0, 1.0, 0], [2.0, 0, 0]])
    sideways = 2.0 * np.tan(np.radians(degrees))
    affine[0, 0] = sideways * np.sin(np.radians(direction))
    affine[1, 0] = sideways * np.cos(np.radians(direction))
    c, s = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    affine[:3, :3] = np.array([[1, 0, 0], [0, c, -s], [0, s, c]]) @ affine[:3, :3]
    geometry = VoxelGeometry(SHAPE, affine, "1.2.3.4")
    points = geometry.index_to_lps(np.stack(np.indices(SHAPE), axis=-1))
    hu = np.rint(patient(points)).astype(np.int16)
    return CTVolume(hu, geometry, acquisition=Acquisition(120.0, "Br40", 2.0))


def read_back(ct: CTVolume, options: WriteOptions | None = None) -> CTVolume:
    with TemporaryDirectory() as folder:
        write_series(ct, Path(folder), options=options)
        return read_series(Path(folder))


@given(
    degrees=st.floats(0.8, 30.0),
    direction=st.floats(0.0, 360.0),
    turn=st.floats(-30.0, 30.0),
)
@settings(max_examples=12)
def test_every_voxel_shows_the_patient_at_its_place(
    degrees: float, direction: float, turn: float
) -> None:
    found = read_back(scanned(waves, degrees, direction, turn))
    directions = found.geometry.directions_lps
    np.testing.assert_allclose(directions @ directions.T, np.eye(3), atol=1e-9)
    assert found.spacing_mm == pytest.approx(SPACING_MM, abs=1e-3)
    points = found.geometry.index_to_lps(
        np.stack(np.indices(found.geometry.shape), axis=-1)
    )
    seen = found.hu != PADDING_HU
    # At the rim the nearest pixel stands for the average of two.
    for axis in (1, 2):
        for step in (1, -1):
            seen &= np.roll(seen, step, axis)
    assert seen.sum() > 0.8 * np.prod(SHAPE)
    error = np.abs(found.hu - waves(points))[seen]
    # Linear interpolation: h^2 / 8 x the largest second derivative, in two directions;
    # rounding of the stored and of the interpolated values.
    bound = AMPLITUDE_HU * (2 * np.pi / WAVE_MM) ** 2 * (1.0**2 + 0.9**2) / 8 + 1.0
    assert error.max() <= bound


@pytest.mark.parametrize("degrees", [10.0, 15.0, 25.0])
def test_volumes_are_true_where_others_are_off(degrees: float, tmp_path: Path) -> None:
    ct = scanned(ball, degrees)
    paths = write_series(ct, tmp_path)
    found = read_series(tmp_path)
    true_ml = float(ct.hu.sum()) / 1000 * ct.geometry.voxel_volume_mm3 / 1000
    inside = np.maximum(found.hu, 0).sum(dtype=np.int64)
    measured_ml = float(inside) / 1000 * found.geometry.voxel_volume_mm3 / 1000
    # Rounding of each voxel is all that differs: a shift keeps the sum.
    assert measured_ml == pytest.approx(true_ml, rel=2e-3)
    image = sitk.ReadImage([str(p) for p in paths])
    theirs_ml = float(ct.hu.sum()) / 1000 * np.prod(image.GetSpacing()) / 1000
    too_large = 1 / np.cos(np.radians(degrees))
    assert theirs_ml / true_ml == pytest.approx(too_large, rel=1e-3)
    (notice,) = found.notices
    assert notice.code == "gantry_tilt"
    assert f"{100 * (too_large - 1):+.1f} %" in notice.message


def test_the_scanned_grid_is_kept_for_segmentations() -> None:
    ct = scanned(waves, 17.0)
    found = read_back(ct)
    assert found.source is not None
    kept = found.source.scanned_geometry
    assert kept is not None
    assert kept.describe_difference(ct.geometry, 0.001) == ()
    assert len(found.source.sop_instance_uids) == kept.shape[0]
    assert found.geometry.shape[0] == kept.shape[0]
    upright = read_back(scanned(waves, 0.0))
    assert upright.source is not None
    assert upright.source.scanned_geometry is None


@pytest.mark.parametrize(
    "encoding", [PixelEncoding.JPEG2000_LOSSLESS, PixelEncoding.EXPLICIT_BE]
)
def test_the_encoding_does_not_matter(encoding: PixelEncoding) -> None:
    ct = scanned(waves, 12.0)
    plain, packed = read_back(ct), read_back(ct, WriteOptions(encoding))
    np.testing.assert_array_equal(plain.hu, packed.hu)


def test_padding_is_not_blended_with_tissue() -> None:
    ct = scanned(waves, 12.0)
    hu = ct.hu.copy()
    hu[:, :8] = -2000
    options = WriteOptions(signed=True, rescale_intercept=0.0, padding_stored=-2000)
    found = read_back(replace(ct, hu=hu), options)
    tissue = found.hu[found.hu != PADDING_HU]
    assert tissue.min() >= -AMPLITUDE_HU
    outside = found.hu.size - np.prod(SHAPE)
    padded = found.padded_fraction * found.hu.size
    assert padded == pytest.approx(outside + 8 * 36 * 24, rel=0.05)
    assert padded == (found.hu == PADDING_HU).sum()


def test_a_ceiling_is_told_although_its_voxels_were_averaged() -> None:
    ct = scanned(waves, 12.0)
    hu = ct.hu.copy()
    hu[5:9, 20:23, 15:18] = 3071
    options = WriteOptions(rescale_intercept=-1024.0)
    assert read_back(replace(ct, hu=hu), options).clipped_at_hu == 3071


def test_a_gap_under_a_tilted_gantry_is_refused(tmp_path: Path) -> None:
    slices = datasets(scanned(waves, 15.0))
    folder = save([s for i, s in enumerate(slices) if i != 9], tmp_path / "ct")
    (series,) = list_series(folder)
    assert series.spacing_mm is None
    assert series.step_range_mm == pytest.approx((2.0, 4.0), abs=1e-3)
    with pytest.raises(UnevenSpacingError, match=r"15\.0 degrees"):
        read_series(folder)
