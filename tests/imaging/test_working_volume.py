"""The cubes on which vertebrae are looked for, against plates known by formula."""

import itertools

import numpy as np
import pytest

from cemscope.geometry import VoxelGeometry
from cemscope.segmentation.spine_working_volume import IntensityWindow, working_volume
from cemscope.volume import CTVolume

WIDE = IntensityWindow(-1000.0, 3000.0, 3000.0, 300.0)
PLATES_MM = (-4.5, 4.5)
"""Middles of the two endplates of a thin disc, across the slices."""

SLICE_MM = 3.0
BLUR_MM = 2.2
"""Standard deviation across a plate; narrower ones such slices cannot show."""

SLICE_SHIFTS_MM = (0.0, 0.75, 1.5, 2.25)


def plates_hu(z_mm):
    """Two thin plates of 400 HU over 100 HU, blurred."""
    ridges = [np.exp(-0.5 * ((z_mm - at) / BLUR_MM) ** 2) for at in PLATES_MM]
    return 100.0 + 400.0 * np.sum(ridges, axis=0)


def thick_slices(shift_mm, *, reversed_order=False, degrees=0.0):
    shape = (21, 20, 20)
    turn = np.radians(degrees)
    axes = np.array(
        [
            [np.sin(turn), 0.0, np.cos(turn)],
            [0.0, 1.0, 0.0],
            [np.cos(turn), 0.0, -np.sin(turn)],
        ]
    )
    affine = np.eye(4)
    affine[:3, :3] = (axes * [[SLICE_MM], [1.0], [1.0]]).T
    if reversed_order:
        affine[:3, 0] *= -1.0
    middle = (np.array(shape) - 1) / 2
    affine[:3, 3] = np.array([0.0, 0.0, shift_mm]) - affine[:3, :3] @ middle
    geometry = VoxelGeometry(shape, affine)
    points = geometry.index_to_lps(np.moveaxis(np.indices(shape), 0, -1))
    hu = np.rint(plates_hu(points[..., 2])).astype(np.int16)
    # Far aside, so that the range of the samples cuts nothing off.
    hu[:, :2, :2], hu[:, -2:, -2:] = 1400, -400
    return CTVolume(hu, geometry)


def line_through_middle(ct, **options):
    """Values across the plates, and their places."""
    volume = working_volume(ct, 1.0, WIDE, **options)
    z_mm = np.arange(-12.0, 12.1, 1.0)
    points = np.column_stack([np.zeros_like(z_mm), np.zeros_like(z_mm), z_mm])
    return z_mm, volume.sample(points)


CASES = [
    (shift, order, degrees)
    for shift, order, degrees in itertools.product(
        SLICE_SHIFTS_MM, (False, True), (0.0, 4.0)
    )
]


@pytest.mark.parametrize(("shift_mm", "reversed_order", "degrees"), CASES)
def test_splines_keep_thin_plates_apart_in_thick_slices(
    shift_mm, reversed_order, degrees
):
    """A spline through samples at h misses at most 5/384 h^4 of the fourth derivative.

    That of a Gaussian of height a and blur s is at most 3 a / s^4. Its coefficients in
    the plane are those of the formula; a turned grid adds one HU of rounding.
    """
    ct = thick_slices(shift_mm, reversed_order=reversed_order, degrees=degrees)
    z_mm, found = line_through_middle(ct, splines=True)
    bound = 5 / 384 * SLICE_MM**4 * 3.0 * 400.0 / BLUR_MM**4 + 2.0
    error = np.abs(found - plates_hu(z_mm))
    assert error.max() < bound
    middle = found[np.abs(z_mm) < 0.5].max()
    plate = min(found[np.abs(z_mm - at) <= 1.0].max() for at in PLATES_MM)
    assert plate - middle > 200.0


@pytest.mark.parametrize("shift_mm", SLICE_SHIFTS_MM)
def test_splines_are_nearer_to_the_truth_than_lines(shift_mm):
    ct = thick_slices(shift_mm)
    z_mm, curved = line_through_middle(ct, splines=True)
    _, straight = line_through_middle(ct)
    truth = plates_hu(z_mm)
    assert np.abs(curved - truth).mean() < 0.6 * np.abs(straight - truth).mean()


@pytest.mark.parametrize("spacing_mm", [0.8, 1.0, 1.25])
def test_thin_slices_are_read_without_splines(spacing_mm):
    generator = np.random.default_rng(3)
    hu = generator.integers(-100, 900, (24, 20, 22)).astype(np.int16)
    ct = CTVolume(hu, VoxelGeometry.from_axes(hu.shape, (spacing_mm, 0.9, 0.9)))
    curved = working_volume(ct, 1.0, WIDE, splines=True)
    assert np.array_equal(curved.hu, working_volume(ct, 1.0, WIDE).hu)


@pytest.mark.parametrize("degrees", [0.0, 4.0])
def test_splines_stay_in_the_range_of_the_samples(degrees):
    ct = thick_slices(0.0, degrees=degrees)
    hu = np.where(np.arange(21)[:, None, None] < 10, 1400, 0) * np.ones_like(ct.hu)
    step = CTVolume(hu.astype(np.int16), ct.geometry)
    found = working_volume(step, 1.0, WIDE, splines=True).hu
    assert 0.0 <= found.min() <= found.max() <= 1400.0


@pytest.mark.parametrize(
    ("direction", "width_mm"),
    [
        ((0.0, 0.0, 1.0), 4.0),
        ((0.0, 1.0, 0.0), 0.5),
        ((1.0, 0.0, 0.0), 0.75),
        ((0.0, 0.6, 0.8), np.hypot(0.6 * 0.5, 0.8 * 4.0)),
    ],
)
def test_width_of_voxels_in_a_direction(direction, width_mm):
    geometry = VoxelGeometry.from_axes((8, 40, 40), (4.0, 0.5, 0.75))
    ct = CTVolume(np.zeros(geometry.shape, np.int16), geometry)
    volume = working_volume(ct, 1.0, WIDE)
    assert volume.voxel_width_mm(np.array(direction)) == pytest.approx(width_mm)
    assert volume.cut_at(300.0).scan is geometry
