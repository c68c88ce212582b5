from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from cemscope.testing.attenuation import (
    ADIPOSE,
    TITANIUM_ALLOY,
    WATER,
    Material,
    bone_cement,
    mu_per_cm,
    tube_spectrum,
)
from cemscope.testing.scanner import (
    MaterialGrid,
    MaterialLayer,
    chunks,
    scan_slices,
    slice_planes_mm,
    to_scale,
)
from cemscope.testing.scanner_settings import Kernel, ScannerSettings

Image = npt.NDArray[np.float32]

CELLS, CELL_MM = 176, 1.25
SETTINGS = ScannerSettings(
    matrix=112, pixel_mm=1.75, views=120, bin_mm=1.0, photons=0.0, kernel=Kernel.SOFT
)
ONE_PLANE = np.ones((1, 1))
BODY_RADIUS_MM = 100.0


def disc(radius_mm: float, x: float = 0.0, y: float = 0.0) -> Image:
    sub = 4
    o = (np.arange(CELLS * sub) - (CELLS * sub - 1) / 2) * CELL_MM / sub
    inside = np.hypot(o[None, :] - x, o[:, None] - y) <= radius_mm
    cells = inside.reshape(CELLS, sub, CELLS, sub).mean(axis=(1, 3))
    return cells.astype(np.float32)


def section(*parts: tuple[Material, Image]) -> MaterialGrid:
    """A water body with inserts that replace the water."""
    water = disc(BODY_RADIUS_MM) - sum(part for _, part in parts)
    first = -(CELLS - 1) / 2 * CELL_MM
    layers = [MaterialLayer(m, p[None]) for m, p in ((WATER, water), *parts)]
    return MaterialGrid(CELL_MM, (first, first), tuple(layers))


def around(hu: Image, x: float, y: float, radius_mm: float) -> Image:
    o = (np.arange(SETTINGS.matrix) - (SETTINGS.matrix - 1) / 2) * SETTINGS.pixel_mm
    return hu[np.hypot(o[None, :] - x, o[:, None] - y) <= radius_mm]


def scan(grid: MaterialGrid, settings: ScannerSettings = SETTINGS) -> Image:
    return scan_slices([grid], ONE_PLANE, settings)[0]


def test_water_is_zero_everywhere_and_air_is_minus_1000() -> None:
    hu = scan(section(), replace(SETTINGS, views=360))
    # Enough views: cells of 1.25 mm at the border ripple by 1 HU in the middle.
    assert around(hu, 0, 0, 50.0) == pytest.approx(0.0, abs=2.0)
    assert abs(float(around(hu, 0, 0, 80.0).mean())) < 0.1
    outside = scan(section(), replace(SETTINGS, centre_xy_mm=(140.0, 0.0)))
    far = outside[SETTINGS.matrix // 2, -20]
    assert far == pytest.approx(-1000.0, abs=5.0)


def test_pixels_outside_the_circle_are_not_measured() -> None:
    hu = scan(section())
    assert np.isnan(hu[0, 0])
    assert to_scale(hu, SETTINGS)[0, 0] == SETTINGS.floor_hu


def expected_excess_hu_mm2(material: Material, radius_mm: float) -> float:
    """HU of a centred rod over water, summed over its area, without any scanner.

    Filtered back-projection keeps the integral of each view: that of the
    water-corrected excess along parallel rays through the rod and the body.
    """
    spectrum = tube_spectrum(SETTINGS.kvp)
    mu = np.array([mu_per_cm(m, spectrum.energy_kev) for m in (WATER, material)])
    t_mm = np.linspace(-radius_mm, radius_mm, 2001)
    chord, body = (
        2 * np.sqrt(np.maximum(r**2 - t_mm**2, 0.0)) / 10.0
        for r in (radius_mm, BODY_RADIUS_MM)
    )
    signal = spectrum.transmission(mu, np.stack([body - chord, chord], axis=1))
    water_cm = np.linspace(0, 60, 60001)
    table = -np.log(spectrum.transmission(mu[:1], water_cm[:, None]))
    excess_cm = np.interp(-np.log(signal), table, water_cm) - body
    return float(1000.0 * 10.0 * np.trapezoid(excess_cm, t_mm))


@pytest.mark.parametrize(
    ("material", "radius_mm"),
    [
        (bone_cement(0.15), 10.0),
        (bone_cement(zirconia_fraction=0.15), 10.0),
        (ADIPOSE, 12.0),
    ],
    ids=["barium", "zirconia", "fat"],
)
def test_rod_reads_its_polychromatic_value(
    material: Material, radius_mm: float
) -> None:
    hu = scan(section((material, disc(radius_mm))))
    measured = float(around(hu, 0, 0, radius_mm + 12.0).sum()) * SETTINGS.pixel_mm**2
    expected = expected_excess_hu_mm2(material, radius_mm)
    # What streaks carry out of the circle of 22 mm is less than 2 %.
    assert measured == pytest.approx(expected, rel=0.02)


def test_mass_of_a_small_rod_is_conserved() -> None:
    cement = bone_cement(0.1)
    wide, narrow = (
        around(scan(section((cement, disc(r, 20.0, 10.0)))), 20.0, 10.0, 14.0)
        for r in (6.0, 3.0)
    )
    # Summed over all of its blur, the excess is proportional to the area.
    assert float(wide.sum()) / float(narrow.sum()) == pytest.approx(4.0, rel=0.05)


def test_noise_falls_with_the_root_of_the_dose() -> None:
    noisy = [
        around(scan(section(), replace(SETTINGS, photons=n)), 0, 0, 60.0).std()
        for n in (1.0e5, 4.0e5)
    ]
    assert noisy[0] / noisy[1] == pytest.approx(2.0, rel=0.1)
    assert 3.0 < noisy[1] < 40.0


def test_noise_is_chosen_by_seed_and_slice() -> None:
    settings = replace(SETTINGS, photons=1.0e5, views=60)
    grid = section()
    first = scan_slices([grid], ONE_PLANE, settings, first_slice=3)
    again = scan_slices([grid], ONE_PLANE, settings, first_slice=3)
    other = scan_slices([grid], ONE_PLANE, settings, first_slice=4)
    assert np.array_equal(first, again, equal_nan=True)
    assert not np.array_equal(first, other, equal_nan=True)


def test_sharper_kernels_are_noisier() -> None:
    settings = replace(SETTINGS, photons=2.0e5, bin_mm=0.5, pixel_mm=0.5)
    noise = []
    for kernel in (Kernel.SOFT, Kernel.STANDARD, Kernel.BONE):
        hu = scan(section(), replace(settings, kernel=kernel))
        noise.append(float(hu[40:70, 40:70].std()))
    assert noise == sorted(noise)
    assert noise[2] > 1.5 * noise[0]


def test_metal_saturates_and_throws_dark_bands() -> None:
    rods = disc(3.0, -15.0) + disc(3.0, 15.0)
    hu = scan(section((TITANIUM_ALLOY, rods)))
    assert around(hu, 15.0, 0.0, 1.5).min() > 3071
    between = float(around(hu, 0.0, 0.0, 3.0).mean())
    assert between < -60.0
    # Beside the line through both rods there is no such band.
    assert abs(float(around(hu, 0.0, 50.0, 8.0).mean())) < 30.0
    scale = to_scale(hu[None], SETTINGS)
    assert scale.dtype == np.int16
    assert scale.max() == 3071
    extended = to_scale(hu[None], replace(SETTINGS, ceiling_hu=30000))
    assert extended.max() > 5000


def test_scatter_darkens_bands_but_not_water() -> None:
    rods = disc(4.0, -15.0) + disc(4.0, 15.0)
    grid = section((TITANIUM_ALLOY, rods))
    clean, veiled = (
        float(around(scan(grid, replace(SETTINGS, scatter_fraction=f)), 0, 0, 3).mean())
        for f in (0.0, 0.04)
    )
    assert veiled < clean - 10.0
    water = scan(section(), replace(SETTINGS, scatter_fraction=0.04))
    assert abs(float(around(water, 0, 0, 60.0).mean())) < 8.0


def test_slice_profile_has_its_width_and_weight() -> None:
    settings = replace(SETTINGS, slice_thickness_mm=2.0, subslice_mm=0.25)
    planes, profile = slice_planes_mm([10.0, 11.0], settings)
    assert profile.sum(axis=1) == pytest.approx(1.0)
    assert np.diff(planes) == pytest.approx(0.25)
    assert profile @ planes == pytest.approx([10.0, 11.0], abs=0.01)
    wide = planes[profile[0] >= 0.5 * profile[0].max()]
    assert wide[-1] - wide[0] == pytest.approx(2.0, abs=0.5)


def test_half_a_slice_of_fat_reads_in_between() -> None:
    first = -(CELLS - 1) / 2 * CELL_MM
    water, body = disc(BODY_RADIUS_MM), disc(40.0)
    fat = np.stack([body, np.zeros_like(body)])
    rest = np.stack([water - body, water])
    grid = MaterialGrid(
        CELL_MM,
        (first, first),
        (MaterialLayer(WATER, rest), MaterialLayer(ADIPOSE, fat)),
    )
    hu = scan_slices([grid], np.array([[0.5, 0.5], [1.0, 0.0]]), SETTINGS)
    half, full = (float(around(part, 0, 0, 20.0).mean()) for part in hu)
    assert half == pytest.approx(0.5 * full, rel=0.05)


def test_layer_that_begins_later_fills_only_its_planes() -> None:
    first = -(CELLS - 1) / 2 * CELL_MM
    water = np.stack([disc(BODY_RADIUS_MM)] * 2)
    insert = MaterialLayer(bone_cement(0.1), 0.1 * disc(20.0)[None], first_plane=1)
    grid = MaterialGrid(CELL_MM, (first, first), (MaterialLayer(WATER, water), insert))
    hu = scan_slices([grid], np.eye(2), SETTINGS)
    assert abs(float(around(hu[0], 0, 0, 10.0).mean())) < 1.0
    assert float(around(hu[1], 0, 0, 10.0).mean()) > 100.0


def test_chunks_cover_a_scan_once() -> None:
    parts = list(chunks(11, 4))
    assert [(p.start, p.stop) for p in parts] == [(0, 4), (4, 8), (8, 11)]
