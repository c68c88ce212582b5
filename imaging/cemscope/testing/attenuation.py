"""X-ray attenuation of the materials in a postoperative spine CT.

Compositions and densities of tissues: ICRU Report 44 (1989) and ICRU Report 46
(1992), as tabulated by NIST (doi:10.18434/T4D01F). Coefficients: `xraydb` (Elam,
Ravel and Sieber 2002, doi:10.1016/S0969-806X(01)00227-4). Tube spectra: `spekpy`
(Poludniowski 2021, doi:10.1002/mp.14945). Both are in the extra ``simulation``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

from cemscope.errors import ConfigError

FloatArray = npt.NDArray[np.float64]

PMMA_DENSITY_G_CM3 = 1.18
"""Poly(methyl methacrylate), NIST composition table."""

BARIUM_SULFATE_DENSITY_G_CM3 = 4.5
"""Barite; CRC Handbook of Chemistry and Physics."""

ZIRCONIA_DENSITY_G_CM3 = 5.68
"""Zirconium dioxide; CRC Handbook of Chemistry and Physics."""

DETECTOR_COMPOUND = "Gd2O2S"
"""Gadolinium oxysulfide, the scintillator of most medical CT detectors."""

DETECTOR_MASS_G_CM2 = 0.73
"""About 1 mm of ceramic Gd2O2S (7.3 g/cm3); it absorbs nearly the whole beam."""

ANODE_ANGLE_DEG = 10.0
"""Effective anode angle of a CT tube; spekpy's examples use 8 to 12 degrees."""

ALUMINIUM_FILTER_MM = 6.0
"""Inherent and added filtration as aluminium."""

BOW_TIE_TITANIUM_MM = 0.6
"""Flat filter: with it, the 120 kVp half-value layer is 8 to 9 mm of aluminium, as
measured on clinical scanners (McKenney 2011, doi:10.1118/1.3553408)."""

BASIS_RESIDUAL_LIMIT = 0.001
"""A material counts as a mixture of water and compact bone if its attenuation differs
by no more than this fraction (spectrum-weighted root mean square)."""


@dataclass(frozen=True, slots=True)
class Material:
    """A homogeneous material.

    Attributes
    ----------
    name : str
        For people.
    parts : tuple of (str, float)
        Chemical formula or element, and weight fraction; the fractions sum to 1.
    density_g_cm3 : float
        Mass density.
    """

    name: str
    parts: tuple[tuple[str, float], ...]
    density_g_cm3: float

    def __post_init__(self) -> None:
        total = sum(weight for _, weight in self.parts)
        if abs(total - 1.0) > 0.01:
            raise ValueError(f"weight fractions of {self.name} sum to {total:.3f}")
        if self.density_g_cm3 <= 0:
            raise ValueError(f"expected a density above 0, found {self.density_g_cm3}")


def _elements(**weights: float) -> tuple[tuple[str, float], ...]:
    return tuple(weights.items())


WATER = Material("water", (("H2O", 1.0),), 1.0)
AIR = Material("air", _elements(N=0.7553, O=0.2318, Ar=0.0129), 0.001205)
ADIPOSE = Material(
    "adipose tissue",
    _elements(H=0.114, C=0.598, N=0.007, O=0.278, Na=0.001, S=0.001, Cl=0.001),
    0.95,
)
MUSCLE = Material(
    "skeletal muscle",
    _elements(
        H=0.102,
        C=0.143,
        N=0.034,
        O=0.710,
        Na=0.001,
        P=0.002,
        S=0.003,
        Cl=0.001,
        K=0.004,
    ),
    1.05,
)
RED_MARROW = Material(
    "red marrow",
    _elements(
        H=0.105,
        C=0.414,
        N=0.034,
        O=0.439,
        P=0.001,
        S=0.002,
        Cl=0.002,
        K=0.002,
        Fe=0.001,
    ),
    1.03,
)
YELLOW_MARROW = Material(
    "yellow marrow",
    _elements(H=0.115, C=0.644, N=0.007, O=0.231, Na=0.001, S=0.001, Cl=0.001),
    0.98,
)
CORTICAL_BONE = Material(
    "cortical bone",
    _elements(
        H=0.034,
        C=0.155,
        N=0.042,
        O=0.435,
        Na=0.001,
        Mg=0.002,
        P=0.103,
        S=0.003,
        Ca=0.225,
    ),
    1.92,
)
TITANIUM_ALLOY = Material(
    "Ti-6Al-4V (ASTM F136)", _elements(Ti=0.90, Al=0.06, V=0.04), 4.43
)
COBALT_CHROME = Material(
    "CoCrMo (ASTM F1537)", _elements(Co=0.66, Cr=0.28, Mo=0.06), 8.30
)
STAINLESS_STEEL = Material(
    "316L (ASTM F138)", _elements(Fe=0.655, Cr=0.175, Ni=0.14, Mo=0.03), 7.95
)


def mixture(name: str, parts: Sequence[tuple[Material, float]]) -> Material:
    """Mix materials by volume; the fractions sum to 1."""
    density = sum(m.density_g_cm3 * volume for m, volume in parts)
    weights: dict[str, float] = {}
    for material, volume in parts:
        for formula, weight in material.parts:
            share = weight * material.density_g_cm3 * volume / density
            weights[formula] = weights.get(formula, 0.0) + share
    return Material(name, tuple(weights.items()), density)


MARROW = mixture("marrow of the aged", ((RED_MARROW, 0.5), (YELLOW_MARROW, 0.5)))


def bone_cement(
    barium_sulfate_fraction: float = 0.0, zirconia_fraction: float = 0.0
) -> Material:
    """Set acrylic cement with opacifier, without pores.

    Parameters
    ----------
    barium_sulfate_fraction, zirconia_fraction
        Weight fractions of the set cement, 0 to 0.5.

    Raises
    ------
    ValueError
        If a fraction is out of range.
    """
    if min(barium_sulfate_fraction, zirconia_fraction) < 0:
        raise ValueError("expected opacifier fractions of at least 0")
    polymer = 1.0 - barium_sulfate_fraction - zirconia_fraction
    if polymer < 0.5:
        raise ValueError(f"expected at least half polymer, found {polymer:.2f}")
    parts = (
        ("C5H8O2", polymer, PMMA_DENSITY_G_CM3),
        ("BaSO4", barium_sulfate_fraction, BARIUM_SULFATE_DENSITY_G_CM3),
        ("ZrO2", zirconia_fraction, ZIRCONIA_DENSITY_G_CM3),
    )
    density = 1.0 / sum(weight / rho for _, weight, rho in parts)
    name = (
        f"PMMA, {100 * barium_sulfate_fraction:g} % BaSO4, "
        f"{100 * zirconia_fraction:g} % ZrO2"
    )
    return Material(name, tuple((f, w) for f, w, _ in parts if w > 0), density)


@dataclass(frozen=True, slots=True, eq=False)
class Spectrum:
    """What the detector sees of the beam, per energy.

    Attributes
    ----------
    energy_kev : ndarray, shape (n,)
        Energies.
    weight : ndarray, shape (n,)
        Share of the signal in air of an energy-integrating detector; sums to 1.
    """

    energy_kev: FloatArray
    weight: FloatArray

    def __post_init__(self) -> None:
        if self.energy_kev.shape != self.weight.shape or self.energy_kev.ndim != 1:
            raise ValueError("expected one weight per energy")
        for array in (self.energy_kev, self.weight):
            array.setflags(write=False)

    def transmission(
        self, mu_per_cm: FloatArray, path_cm: npt.NDArray[Any]
    ) -> FloatArray:
        """Return the detected fraction behind paths, shape (rays, materials).

        ``mu_per_cm`` has the shape (materials, n).
        """
        signal: FloatArray = np.exp(-(path_cm @ mu_per_cm)) @ self.weight
        return signal


def mu_per_cm(material: Material, energy_kev: FloatArray) -> FloatArray:
    """Linear attenuation coefficient of a material, 1/cm, one per energy."""
    return np.array(_mu_per_cm(material, tuple(float(e) for e in energy_kev)))


@lru_cache(maxsize=128)
def _mu_per_cm(material: Material, energy_kev: tuple[float, ...]) -> tuple[float, ...]:
    xraydb = _simulation_library("xraydb")
    total = np.zeros(len(energy_kev))
    for formula, weight in material.parts:
        mass_coefficient = xraydb.material_mu(
            formula, np.array(energy_kev) * 1e3, density=1.0
        )
        total += weight * mass_coefficient
    return tuple(total * material.density_g_cm3)


@lru_cache(maxsize=16)
def tube_spectrum(kvp: float, bin_kev: float = 4.0) -> Spectrum:
    """Spectrum of a CT tube after filtration, weighted by the detector.

    Parameters
    ----------
    kvp
        Tube voltage, 60 to 150 kV.
    bin_kev
        Width of the energy bins; 4 keV keep the HU of cement and titanium within
        0.5 % of 1 keV bins.

    Raises
    ------
    ConfigError
        If the voltage is out of range or the extra ``simulation`` is missing.
    """
    if not 60 <= kvp <= 150:
        raise ConfigError(f"expected 60 to 150 kVp, found {kvp:g}")
    spekpy = _simulation_library("spekpy")
    beam = spekpy.Spek(kvp=kvp, th=ANODE_ANGLE_DEG, dk=1.0)
    beam.filter("Al", ALUMINIUM_FILTER_MM).filter("Ti", BOW_TIE_TITANIUM_MM)
    energy, fluence = (np.array(part, dtype=float) for part in beam.get_spectrum())
    xraydb = _simulation_library("xraydb")
    mass_coefficient = xraydb.material_mu(DETECTOR_COMPOUND, energy * 1e3, density=1.0)
    absorbed = 1.0 - np.exp(-mass_coefficient * DETECTOR_MASS_G_CM2)
    weight = fluence * energy * absorbed
    weight = np.where(energy < 20.0, 0.0, weight)  # nothing that crosses a patient
    group = np.floor(energy / bin_kev).astype(int)
    total = np.bincount(group, weight)
    mean = np.bincount(group, weight * energy)
    used = total > 1e-9 * total.sum()
    return Spectrum(mean[used] / total[used], total[used] / total.sum())


def hounsfield(material: Material, spectrum: Spectrum, chord_mm: float) -> float:
    """HU of a material that hardens the beam along its own chord, behind a spectrum.

    Water is measured over the same chord. See `hardened` for a beam that has
    crossed a patient.
    """
    path = np.array([[chord_mm / 10.0]])
    attenuation = [
        -np.log(spectrum.transmission(mu_per_cm(m, spectrum.energy_kev)[None], path)[0])
        for m in (material, WATER)
    ]
    return float(1000.0 * (attenuation[0] / attenuation[1] - 1.0))


def hardened(spectrum: Spectrum, water_mm: float) -> Spectrum:
    """Return the spectrum behind a thickness of water."""
    passed = spectrum.weight * np.exp(
        -mu_per_cm(WATER, spectrum.energy_kev) * water_mm / 10.0
    )
    return Spectrum(spectrum.energy_kev.copy(), passed / passed.sum())


@dataclass(frozen=True, slots=True, eq=False)
class MaterialBasis:
    """Few materials by which all others of a scene are expressed.

    Attributes
    ----------
    materials : tuple of Material
        Water and cortical bone, then each material that is no mixture of them.
    mu_per_cm : ndarray, shape (len(materials), n energies)
        Their attenuation.
    """

    materials: tuple[Material, ...]
    mu_per_cm: FloatArray
    spectrum: Spectrum

    def coefficients(self, material: Material) -> FloatArray:
        """Volume fractions of the basis that attenuate like the material."""
        if material in self.materials:
            own = np.zeros(len(self.materials))
            own[self.materials.index(material)] = 1.0
            return own
        fit, _ = _water_bone_fit(material, self.spectrum)
        return np.concatenate([fit, np.zeros(len(self.materials) - 2)])


def material_basis(materials: Sequence[Material], spectrum: Spectrum) -> MaterialBasis:
    """Choose the basis for a scene: tissues reduce to water and cortical bone.

    Two functions describe every material without a K edge in the beam (Alvarez and
    Macovski 1976, doi:10.1088/0031-9155/21/5/002); barium and metal stay apart.
    """
    chosen = [WATER, CORTICAL_BONE]
    for material in materials:
        if material in chosen:
            continue
        if _water_bone_fit(material, spectrum)[1] > BASIS_RESIDUAL_LIMIT:
            chosen.append(material)
    mu = np.array([mu_per_cm(m, spectrum.energy_kev) for m in chosen])
    return MaterialBasis(tuple(chosen), mu, spectrum)


def _water_bone_fit(material: Material, spectrum: Spectrum) -> tuple[FloatArray, float]:
    # Weighted as the beam in the middle of a patient, where it matters.
    beam = hardened(spectrum, 200.0)
    energy = beam.energy_kev
    basis = np.array([mu_per_cm(m, energy) for m in (WATER, CORTICAL_BONE)])
    target = mu_per_cm(material, energy)
    scale = np.sqrt(beam.weight) / target
    fit = np.asarray(
        np.linalg.lstsq((basis * scale).T, target * scale, rcond=None)[0], np.float64
    )
    relative = (fit @ basis - target) / target
    return fit, float(np.sqrt((beam.weight * relative**2).sum()))


def _simulation_library(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"the scan simulation needs {name}; install it with "
            "pip install 'cemscope[simulation]'"
        ) from error
