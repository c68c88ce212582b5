"""The quick scanner against closed formulas and against the table's source."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pytest

from cemscope.testing.aligned_sampling import sample_aligned
from cemscope.testing.beam_table import Beam, Substance, cement_mu, mu_of
from cemscope.testing.quick_scanner import QuickScan, TissueFractions, quick_scan
from cemscope.testing.scalar_field import Box, Lattice, PlaneGrid, Pose, ScalarField
from cemscope.testing.scanner_settings import Kernel

FloatArray = npt.NDArray[np.float64]
LAYERS = ("fat", "muscle", "compact", "marrow", "cement", "metal")


@dataclass(frozen=True)
class Solid:
    """A layer inside a slab or a ball; fractions add up."""

    layer: str
    fraction: float = 1.0
    low_mm: tuple[float, float, float] = (-500.0, -500.0, -500.0)
    high_mm: tuple[float, float, float] = (500.0, 500.0, 500.0)
    radius_mm: float = 0.0

    def share(self, grid: PlaneGrid) -> npt.NDArray[np.float32]:
        points = PlaneGrid(
            grid.first_mm, grid.cell_mm, grid.plane_mm, grid.shape, Pose()
        ).points_mm()
        if self.radius_mm:
            gap = np.linalg.norm(points - self.low_mm, axis=-1)
            inside = np.clip(0.5 + (self.radius_mm - gap) / grid.cell_mm, 0, 1)
            return (self.fraction * inside).astype(np.float32)
        total = np.ones(grid.shape)
        width = (grid.cell_mm, grid.cell_mm, grid.plane_mm)
        for axis in range(3):
            x = points[..., axis]
            upper = np.minimum(x + 0.5 * width[axis], self.high_mm[axis])
            lower = np.maximum(x - 0.5 * width[axis], self.low_mm[axis])
            total *= np.clip((upper - lower) / width[axis], 0.0, 1.0)
        return (self.fraction * total).astype(np.float32)


@dataclass
class Solids:
    """A `TissueSource` of solids; ``metal`` replaces what it meets."""

    solids: tuple[Solid, ...]
    barium_sulfate_fraction: float = 0.2
    zirconia_fraction: float = 0.0
    metal: Substance = Substance.TITANIUM

    def fractions(self, grid: PlaneGrid) -> TissueFractions:
        parts = {name: np.zeros(grid.shape, np.float32) for name in LAYERS}
        for solid in self.solids:
            share = solid.share(grid)
            if solid.layer in ("metal", "cement"):
                for part in parts.values():
                    part *= 1.0 - share
            parts[solid.layer] += share
        return TissueFractions(**parts)

    def fine_box(self, grid: PlaneGrid) -> Box | None:
        return None

    def body_box_mm(self) -> tuple[FloatArray, FloatArray]:
        return np.array([-90.0, -90.0, -20.0]), np.array([90.0, 90.0, 20.0])


SCAN = QuickScan(
    pixel_mm=0.5,
    rows=64,
    columns=64,
    slices=7,
    first_mm=(-15.75, -15.75, -3.0),
    noise_hu=0.0,
    photons=0.0,
    ceiling_hu=30000,
)


@pytest.mark.parametrize("kvp", [80, 100, 120, 140])
def test_table_agrees_with_the_full_physics(kvp: int) -> None:
    pytest.importorskip("spekpy")
    pytest.importorskip("xraydb")
    from cemscope.testing import attenuation as full

    beam = full.hardened(full.tube_spectrum(float(kvp)), 200.0)
    materials = {
        Substance.ADIPOSE: full.ADIPOSE,
        Substance.MUSCLE: full.MUSCLE,
        Substance.CORTICAL_BONE: full.CORTICAL_BONE,
        Substance.MARROW: full.MARROW,
        Substance.PMMA: full.bone_cement(),
        Substance.TITANIUM: full.TITANIUM_ALLOY,
        Substance.COBALT_CHROME: full.COBALT_CHROME,
        Substance.STEEL: full.STAINLESS_STEEL,
    }
    for substance, material in materials.items():
        expected = full.hounsfield(material, beam, 1e-3)
        assert Beam(kvp).hu(mu_of(substance)) == pytest.approx(
            expected, abs=3.0, rel=0.04
        ), substance
    cement = full.hounsfield(full.bone_cement(0.15), beam, 1e-3)
    assert Beam(kvp).hu(cement_mu(0.15)) == pytest.approx(cement, rel=0.04)


@pytest.mark.parametrize(
    ("layer", "substance"),
    [
        ("fat", Substance.ADIPOSE),
        ("muscle", Substance.MUSCLE),
        ("compact", Substance.CORTICAL_BONE),
        ("marrow", Substance.MARROW),
    ],
)
def test_uniform_tissue_has_its_hu(layer: str, substance: Substance) -> None:
    ct = quick_scan(Solids((Solid(layer),)), SCAN)
    expected = Beam(120).hu(mu_of(substance))
    assert np.abs(ct.hu[2:-2, 12:-12, 12:-12] - expected).max() <= 1.5


def test_mixtures_are_linear() -> None:
    half = quick_scan(Solids((Solid("compact", 0.25), Solid("fat", 0.5))), SCAN)
    beam = Beam(120)
    bone, fat = (
        beam.hu(mu_of(s)) + 1000.0 for s in (Substance.CORTICAL_BONE, Substance.ADIPOSE)
    )
    assert half.hu[3, 30, 30] == pytest.approx(
        0.25 * bone + 0.5 * fat - 1000.0, abs=1.5
    )


def width_at_half(profile: FloatArray, step: float) -> float:
    profile = profile - profile[0]
    half = 0.5 * profile.max()
    above = np.flatnonzero(profile >= half)
    first, last = int(above[0]), int(above[-1])
    left = first - (profile[first] - half) / (profile[first] - profile[first - 1])
    right = last + (profile[last] - half) / (profile[last] - profile[last + 1])
    return float((right - left) * step)


@pytest.mark.parametrize("kernel", list(Kernel))
def test_sharpness_is_that_of_the_transfer_function(kernel: Kernel) -> None:
    plate = Solid("compact", low_mm=(-0.25, -50, -50), high_mm=(0.25, 50, 50))
    scan = replace(SCAN, kernel=kernel, pixel_mm=0.25, first_mm=(-8.0, -8.0, -3.0))
    hu = quick_scan(Solids((Solid("muscle", 1.0), plate)), scan).hu[3]
    measured = width_at_half(hu[20:40].mean(axis=0).astype(float), 0.25)
    # The line spread: Fourier transform of window x blur x plate, on a fine axis.
    f = np.linspace(0.0, 2.0, 4001)
    sigma = scan.blur_fwhm_mm / 2.354820045
    transfer = kernel.window(f) * np.exp(-2 * (np.pi * sigma * f) ** 2)
    transfer *= np.sinc(0.5 * f) * np.sinc(0.25 * f)
    x = np.arange(-6.0, 6.0, 0.02)
    spread = np.trapezoid(transfer * np.cos(2 * np.pi * f * x[:, None]), f, axis=1)
    spread[np.abs(x) > 3] = 0.0
    assert measured == pytest.approx(width_at_half(spread, 0.02), abs=0.06)


def test_slice_profile_has_its_width() -> None:
    sheet = Solid("compact", low_mm=(-90, -90, -0.1), high_mm=(90, 90, 0.1))
    scan = replace(
        SCAN, slices=41, slice_increment_mm=0.25, slice_thickness_mm=1.5,
        first_mm=(-15.75, -15.75, -5.0), rows=32, columns=32,
    )  # fmt: skip
    hu = quick_scan(Solids((sheet,)), scan).hu[:, 16, 16].astype(float)
    assert width_at_half(hu, 0.25) == pytest.approx(1.5, abs=0.1)


@pytest.mark.parametrize("kernel", list(Kernel))
def test_noise_has_its_standard_deviation_and_no_offset(kernel: Kernel) -> None:
    scan = replace(SCAN, noise_hu=25.0, kernel=kernel, slices=20, seed=4)
    hu = quick_scan(Solids((Solid("muscle"),)), scan).hu.astype(float)
    assert hu.std() == pytest.approx(25.0, rel=0.05)
    assert hu.mean() == pytest.approx(Beam(120).hu(mu_of(Substance.MUSCLE)), abs=1.0)


def test_same_seed_same_bytes() -> None:
    source = Solids((Solid("muscle"), Solid("metal", radius_mm=2.0, low_mm=(0, 0, 0))))
    scan = replace(SCAN, noise_hu=20.0, photons=4e5, seed=9)
    first, second = (quick_scan(source, scan).hu for _ in range(2))
    assert np.array_equal(first, second)
    other = quick_scan(source, replace(scan, seed=10)).hu
    assert not np.array_equal(first, other)


def two_rods(metal: Substance) -> FloatArray:
    body = Solid("muscle", low_mm=(-80, -80, -500), high_mm=(80, 80, 500))
    rods = [
        Solid("metal", low_mm=(x - 2.5, -2.5, -500), high_mm=(x + 2.5, 2.5, 500))
        for x in (-10.0, 10.0)
    ]
    scan = replace(
        SCAN, slices=2, first_mm=(-15.75, -15.75, 0.0), scatter_fraction=0.015
    )
    hu = quick_scan(Solids((body, *rods), metal=metal), scan).hu
    return hu[1].astype(float)


def test_metal_darkens_the_line_between_two_rods() -> None:
    muscle = Beam(120).hu(mu_of(Substance.MUSCLE))
    titanium, cobalt = two_rods(Substance.TITANIUM), two_rods(Substance.COBALT_CHROME)
    between, beside = (slice(30, 34), slice(26, 38)), (slice(2, 10), slice(24, 40))
    assert titanium[between].mean() < muscle - 50
    assert cobalt[between].mean() < titanium[between].mean() - 50
    assert abs(titanium[beside].mean() - muscle) < 60
    assert titanium[31, 11] > 2500


def test_scale_is_clipped_and_says_so() -> None:
    source = Solids((Solid("muscle"), Solid("metal", radius_mm=4.0, low_mm=(0, 0, 0))))
    ct = quick_scan(source, replace(SCAN, ceiling_hu=3071))
    assert ct.hu.max() == 3071
    assert ct.clipped_at_hu == 3071
    assert quick_scan(Solids((Solid("muscle"),)), SCAN).clipped_at_hu is None


@pytest.mark.parametrize("patient_axes", [False, True])
@pytest.mark.parametrize("head_first", [False, True])
def test_geometry_finds_a_marker(patient_axes: bool, head_first: bool) -> None:
    pose = Pose((8.0, -6.0, 5.0), (2.0, 3.0, 1.0))
    scan = replace(SCAN, pose=pose, patient_axes=patient_axes, head_first=head_first)
    on_table = (3.5, -4.2, 1.3)
    marker = Solid("compact", low_mm=on_table, radius_mm=1.5)
    ct = quick_scan(Solids((marker,)), scan)
    weight = np.clip(ct.hu + 1000.0 - 60.0, 0, None)
    grid = np.stack(np.indices(ct.hu.shape), axis=-1)
    index = (weight[..., None] * grid).sum(axis=(0, 1, 2)) / weight.sum()
    expected = pose.to_patient(np.array(on_table)) if patient_axes else on_table
    found = ct.geometry.index_to_lps(index)
    assert np.linalg.norm(found - expected) < 0.2
    assert np.linalg.det(ct.geometry.affine_lps[:3, :3]) != 0


def test_aligned_sampling_is_trilinear() -> None:
    rng = np.random.default_rng(3)
    lattice = Lattice((-4.0, 2.0, 7.0), 0.9, (9, 11, 13))
    field = ScalarField(
        rng.standard_normal(lattice.shape).astype(np.float32), lattice, 0
    )
    grid = PlaneGrid((-3.0, 3.0, 7.5), 0.37, 0.55, (7, 12, 15), Pose())
    naive = field.at(grid.points_mm())
    assert np.abs(sample_aligned(field, grid) - naive).max() < 1e-4


def test_unknown_voltage_is_refused() -> None:
    with pytest.raises(ValueError, match="kVp"):
        Beam(90)


@pytest.mark.parametrize("metal", [Substance.TITANIUM, Substance.COBALT_CHROME])
def test_thick_metal_reads_what_self_hardening_leaves(metal: Substance) -> None:
    body = Solid("muscle", low_mm=(-80, -80, -500), high_mm=(80, 80, 500))
    rod = Solid("metal", low_mm=(-3.0, -3.0, -500), high_mm=(3.0, 3.0, 500))
    scan = replace(SCAN, slices=2, first_mm=(-15.75, -15.75, 0.0), scatter_fraction=0.0)
    hu = quick_scan(Solids((body, rod), metal=metal), scan).hu[1].astype(float)
    beam, muscle, alloy = Beam(120), mu_of(Substance.MUSCLE), mu_of(metal)
    # Rays through the middle at all angles, read as water; the mean of what they say.
    angle = np.radians(np.arange(0.5, 45.0))
    chord, width = 0.6 / np.cos(angle), 16.0 / np.cos(angle)
    water = np.linspace(0.0, 120.0, 12001)
    lost = beam.attenuation(mu_of(Substance.WATER)[None], water[:, None])
    paths = np.stack([width - chord, chord], axis=-1)
    with_metal = beam.attenuation(np.stack([muscle, alloy]), paths)
    without = beam.attenuation(muscle[None], paths[:, :1])
    read = np.interp(with_metal, lost, water) - np.interp(without, lost, water)
    expected = float(np.mean(1000.0 * (read / chord - 1.0)))
    assert hu[29:34, 29:34].mean() == pytest.approx(expected, rel=0.08)
    assert expected < 0.9 * beam.hu(alloy)
