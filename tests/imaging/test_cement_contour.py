"""Volume within the contour at cement's half value."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from cases.leaking_body import cement_map, treated
from cemscope.measurement.cement_contour import (
    CementContour,
    contour_of,
    enclosed_share,
    measure_contours,
)
from cemscope.measurement.cement_fraction import ImageQuality, assign_owners
from cemscope.measurement.cement_volume import (
    CementCluster,
    ScanModel,
    ShaftDoubt,
    VolumeSettings,
    measure_volumes,
)
from cemscope.segmentation.cement.cement_level import CementLevel
from cemscope.segmentation.tissue_levels import TissueLevels
from cemscope.testing.phantom_shapes import Ellipsoid

Floats = npt.NDArray[np.float64]
Inside = Callable[[Floats, Floats, Floats], npt.NDArray[np.bool_]]

CELLS = 4
"""Cells per voxel and axis of the analytic shapes."""


def blurred(
    inside: Inside,
    spacing_mm: tuple[float, float, float],
    sigma_mm: tuple[float, float, float],
    half_mm: float = 14.0,
) -> npt.NDArray[np.float32]:
    """Shares of a shape about the origin, blurred before they are sampled."""
    counts = [2 * int(half_mm / s) + 1 for s in spacing_mm]
    axes = [
        (np.arange(n * CELLS) - (n * CELLS - 1) / 2) * s / CELLS
        for n, s in zip(counts, spacing_mm, strict=True)
    ]
    fine = inside(*np.meshgrid(*axes, indexing="ij")).astype(np.float32)
    sigma = np.array(sigma_mm) / spacing_mm * CELLS
    fine = ndimage.gaussian_filter(fine, sigma, truncate=4.0)
    z, y, x = counts
    cells = fine.reshape(z, CELLS, y, CELLS, x, CELLS)
    return np.asarray(cells.mean(axis=(1, 3, 5)), np.float32)


def read(
    share: npt.NDArray[np.float32],
    spacing_mm: tuple[float, float, float],
    across_mm: float,
) -> CementContour:
    return contour_of(1, share, np.ones(share.shape, bool), spacing_mm, across_mm)


def ball(radius_mm: float) -> Inside:
    return lambda z, y, x: z**2 + y**2 + x**2 <= radius_mm**2


def ball_ml(radius_mm: float) -> float:
    return 4.0 / 3.0 * np.pi * radius_mm**3 / 1000.0


@pytest.mark.parametrize("radius_mm", [3.0, 5.0, 9.0])
@pytest.mark.parametrize("within_mm", [0.4, 0.6, 0.9])
def test_the_shift_by_the_blur_is_undone(radius_mm: float, within_mm: float) -> None:
    spacing = (1.0, 0.5, 0.5)
    share = blurred(ball(radius_mm), spacing, (0.42, within_mm, within_mm))
    found = read(share, spacing, 0.42)
    truth = ball_ml(radius_mm)
    # A contour of mean curvature 2 / R lies about sigma^2 / R within the surface.
    shift_mm = (within_mm**2 + (0.42**2 + within_mm**2) / 2) / 2 / radius_mm
    lost = 3.0 * shift_mm / radius_mm
    assert found.enclosed_ml == pytest.approx(
        truth * (1.0 - lost), rel=0.02 + 0.5 * lost
    )
    # The steps leave the next order.
    assert found.volume_ml == pytest.approx(truth, rel=0.01 + 2.0 * lost**2)


@given(
    background=st.floats(-0.05, 0.05),
    radius_mm=st.floats(4.0, 8.0),
    shift=st.tuples(*[st.floats(-0.5, 0.5)] * 3),
)
@settings(max_examples=15)
def test_a_wrong_background_hardly_moves_it(
    background: float, radius_mm: float, shift: tuple[float, float, float]
) -> None:
    spacing = (1.0, 0.6, 0.6)
    dz, dy, dx = shift

    def inside(z: Floats, y: Floats, x: Floats) -> npt.NDArray[np.bool_]:
        return ball(radius_mm)(z - dz, y - dy, x - dx)

    share = blurred(inside, spacing, (0.42, 0.6, 0.6))
    share = (share + background * (1.0 - share)).astype(np.float32)
    truth = ball_ml(radius_mm)
    # The edge falls by 0.4 / sigma per mm: half the background moves the contour.
    moved = 3.0 * 0.5 * abs(background) * 0.6 / 0.4 / radius_mm
    found = read(share, spacing, 0.42)
    assert found.volume_ml == pytest.approx(truth, rel=0.025 + 1.5 * moved)


def test_a_thin_plate_trusts_the_sum_more_than_a_ball_does() -> None:
    spacing = (1.0, 0.5, 0.5)

    def plate(z: Floats, y: Floats, x: Floats) -> npt.NDArray[np.bool_]:
        return (np.abs(z) <= 8.0) & (np.abs(y) <= 8.0) & (np.abs(x) <= 0.75)

    thin = read(blurred(plate, spacing, (0.42, 0.6, 0.6)), spacing, 0.42)
    thick = read(blurred(ball(7.0), spacing, (0.42, 0.6, 0.6)), spacing, 0.42)
    assert thin.weight < thick.weight
    truth = 16.0 * 16.0 * 1.5 / 1000.0
    assert thin.combined_ml == pytest.approx(truth, rel=0.05)
    assert abs(thin.combined_ml - truth) <= 2.0 * max(
        thin.deviation_ml, 0.02 * thin.sum_ml
    )


def test_soaked_marrow_outside_the_contour_leaves_the_sum_as_it_is() -> None:
    spacing = (1.0, 0.5, 0.5)
    dense = blurred(ball(5.0), spacing, (0.42, 0.6, 0.6))
    soaked = blurred(ball(9.0), spacing, (0.42, 0.6, 0.6))
    share = np.float32(0.65) * dense + np.float32(0.35) * soaked
    found = read(share, spacing, 0.42)
    truth = 0.65 * ball_ml(5.0) + 0.35 * ball_ml(9.0)
    assert found.weight < 0.05
    assert found.combined_ml == pytest.approx(truth, rel=0.03)


def test_it_interpolates_between_voxels() -> None:
    # A straight edge at every place within a voxel, along one axis.
    place = np.linspace(0.0, 1.0, 13)
    for edge in place:
        ramp = np.clip((4.5 + edge - np.arange(10.0)) / 4.0 + 0.5, 0.0, 1.0)
        share = np.broadcast_to(ramp, (5, 5, 10)).astype(np.float32)
        enclosed = enclosed_share(share, np.ones(share.shape, bool))
        assert enclosed[2, 2].sum() == pytest.approx(5.0 + edge, abs=1.0 / 6 + 1e-6)


def test_what_contours_get_wrong_they_get_wrong_in_all_pieces_of_a_vertebra() -> None:
    phantom = treated((Ellipsoid((0.0, -2.0, 36.0), (9.0, 8.0, 7.0)),))
    maps = cement_map(phantom)
    owners = assign_owners(maps, phantom.spine)
    level = CementLevel(2600.0, 0.0, False)
    levels = TissueLevels(100.0, 900.0, 500.0, 1200.0, 0.0, None, 1)
    contours = measure_contours(maps, owners, level, levels)
    assert [contour.owner for contour in contours] == [2]
    none = np.zeros(maps.fraction.shape, np.uint8)
    piece = CementCluster(maps, owners, none, contours)

    def half_width_ml(pieces: int) -> float:
        """Of the contour alone, and of the fringe, for so many pieces alike."""
        *_, volume = measure_volumes(
            (piece,) * pieces,
            (("L3", 30.0), ("L2", 30.0)),
            ScanModel(level, levels, ImageQuality(0.5, 0.0, None)),
            (ShaftDoubt(0.0, 0.0),) * 2,
            VolumeSettings(background_uncertainty_hu=0.0, model_uncertainty=0.0),
        )
        assert volume is not None
        return volume.interval.high_ml - volume.volume_ml

    assert half_width_ml(1) > 0.0
    assert half_width_ml(2) == pytest.approx(2.0 * half_width_ml(1))
