from dataclasses import dataclass

import numpy as np
import pytest

import cemscope.testing.attenuation as attenuation
from cemscope.errors import ConfigError
from cemscope.testing.attenuation import (
    ADIPOSE,
    AIR,
    COBALT_CHROME,
    CORTICAL_BONE,
    MARROW,
    MUSCLE,
    RED_MARROW,
    TITANIUM_ALLOY,
    WATER,
    YELLOW_MARROW,
    Material,
    bone_cement,
    hardened,
    hounsfield,
    material_basis,
    mixture,
    mu_per_cm,
    tube_spectrum,
)


@dataclass(frozen=True)
class MassCoefficient:
    """A value of the NIST tables (doi:10.18434/T4D01F), cm2/g, with coherent part."""

    material: Material
    energy_kev: float
    cm2_per_g: float


TITANIUM = Material("titanium", (("Ti", 1.0),), 4.54)

NIST = [
    MassCoefficient(WATER, 60.0, 0.2059),
    MassCoefficient(WATER, 100.0, 0.1707),
    MassCoefficient(ADIPOSE, 60.0, 0.1974),
    MassCoefficient(CORTICAL_BONE, 60.0, 0.3148),
    MassCoefficient(CORTICAL_BONE, 100.0, 0.1855),
    MassCoefficient(bone_cement(), 60.0, 0.1924),
    MassCoefficient(TITANIUM, 60.0, 0.7661),
    MassCoefficient(TITANIUM, 100.0, 0.2721),
]


@pytest.mark.parametrize(
    "case", NIST, ids=lambda c: f"{c.material.name}-{c.energy_kev}"
)
def test_attenuation_agrees_with_nist(case: MassCoefficient) -> None:
    mu = mu_per_cm(case.material, np.array([case.energy_kev]))[0]
    assert mu / case.material.density_g_cm3 == pytest.approx(case.cm2_per_g, rel=0.02)


@pytest.mark.parametrize("kvp", [80.0, 100.0, 120.0, 140.0])
def test_spectrum_is_a_distribution_below_its_voltage(kvp: float) -> None:
    spectrum = tube_spectrum(kvp)
    assert spectrum.weight.sum() == pytest.approx(1.0)
    assert (spectrum.weight > 0).all()
    assert spectrum.energy_kev.max() <= kvp
    assert spectrum.energy_kev.min() >= 20.0


def test_wide_energy_bins_keep_the_hu_of_dense_materials() -> None:
    for material in (bone_cement(0.2), TITANIUM_ALLOY, CORTICAL_BONE):
        wide, narrow = (
            hounsfield(material, hardened(tube_spectrum(120.0, step), 250.0), 10.0)
            for step in (4.0, 1.0)
        )
        assert wide == pytest.approx(narrow, rel=0.005)


def test_known_tissues_have_their_usual_hu_at_120_kvp() -> None:
    beam = hardened(tube_spectrum(120.0), 250.0)
    assert hounsfield(WATER, beam, 10.0) == pytest.approx(0.0, abs=1e-9)
    assert hounsfield(AIR, beam, 10.0) == pytest.approx(-999.0, abs=1.0)
    assert -115 < hounsfield(ADIPOSE, beam, 10.0) < -65
    assert 35 < hounsfield(MUSCLE, beam, 10.0) < 65
    assert 1300 < hounsfield(CORTICAL_BONE, beam, 10.0) < 1700
    assert 105 < hounsfield(bone_cement(), beam, 10.0) < 125
    assert 7000 < hounsfield(TITANIUM_ALLOY, beam, 5.0) < 10000
    assert hounsfield(COBALT_CHROME, beam, 5.0) > 15000


@pytest.mark.parametrize("opacifier", ["barium_sulfate_fraction", "zirconia_fraction"])
def test_cement_brightens_with_opacifier_and_fades_with_voltage(opacifier: str) -> None:
    shares = [
        hounsfield(bone_cement(**{opacifier: s}), tube_spectrum(120.0), 5.0)
        for s in (0.0, 0.1, 0.2, 0.3)
    ]
    assert shares == sorted(shares)
    voltages = [
        hounsfield(bone_cement(**{opacifier: 0.15}), tube_spectrum(kvp), 5.0)
        for kvp in (80.0, 100.0, 120.0, 140.0)
    ]
    assert voltages == sorted(voltages, reverse=True)


def test_density_of_cement_follows_the_volumes_of_its_parts() -> None:
    cement = bone_cement(barium_sulfate_fraction=0.3)
    volume_per_g = 0.7 / 1.18 + 0.3 / 4.5
    assert cement.density_g_cm3 == pytest.approx(1 / volume_per_g)
    assert dict(cement.parts) == {"C5H8O2": 0.7, "BaSO4": 0.3}


def test_mixture_adds_attenuation_by_volume() -> None:
    energy = np.linspace(30.0, 120.0, 10)
    half = 0.5 * (mu_per_cm(RED_MARROW, energy) + mu_per_cm(YELLOW_MARROW, energy))
    assert mu_per_cm(MARROW, energy) == pytest.approx(half, rel=1e-9)
    third = mixture("third", ((WATER, 2 / 3), (CORTICAL_BONE, 1 / 3)))
    parts = 2 / 3 * mu_per_cm(WATER, energy) + mu_per_cm(CORTICAL_BONE, energy) / 3
    assert mu_per_cm(third, energy) == pytest.approx(parts, rel=1e-9)


def test_basis_reproduces_the_transmission_of_tissues() -> None:
    spectrum = tube_spectrum(120.0)
    tissues = (ADIPOSE, MUSCLE, MARROW, CORTICAL_BONE, WATER)
    basis = material_basis([*tissues, bone_cement(0.15), TITANIUM_ALLOY], spectrum)
    assert [m.name for m in basis.materials[:2]] == ["water", "cortical bone"]
    assert basis.materials[2:] == (bone_cement(0.15), TITANIUM_ALLOY)
    rng = np.random.default_rng(0)
    path_cm = rng.uniform(0.0, 8.0, (40, len(tissues)))
    direct = spectrum.transmission(
        np.array([mu_per_cm(m, spectrum.energy_kev) for m in tissues]), path_cm
    )
    reduced = path_cm @ np.array([basis.coefficients(m) for m in tissues])
    through_basis = spectrum.transmission(basis.mu_per_cm, reduced)
    # A thousandth of the attenuation of up to 40 cm is less than the noise of a scan.
    assert np.log(through_basis) == pytest.approx(np.log(direct), rel=1e-3)


@pytest.mark.parametrize(("barium", "zirconia"), [(-0.1, 0.0), (0.0, -0.1), (0.4, 0.2)])
def test_impossible_cement_is_refused(barium: float, zirconia: float) -> None:
    with pytest.raises(ValueError, match="expected"):
        bone_cement(barium, zirconia)


def test_material_whose_parts_do_not_add_up_is_refused() -> None:
    with pytest.raises(ValueError, match=r"sum to 0\.5"):
        Material("half", (("H2O", 0.5),), 1.0)


def test_voltage_out_of_range_is_refused() -> None:
    with pytest.raises(ConfigError, match="60 to 150 kVp"):
        tube_spectrum(20.0)


def test_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(attenuation, "import_module", absent)
    with pytest.raises(ConfigError, match=r"cemscope\[simulation\]"):
        mu_per_cm(Material("nobody knows", (("Fe", 1.0),), 7.8), np.array([60.0]))
