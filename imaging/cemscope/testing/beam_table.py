"""X-ray attenuation in seven energy bins, for the quick scanner.

A condensed table of `cemscope.testing.attenuation` (which needs two more libraries);
``tests/imaging/test_quick_scanner.py`` compares the two.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


class Substance(StrEnum):
    """What the table knows."""

    WATER = "water"
    ADIPOSE = "adipose tissue"
    MUSCLE = "muscle"
    CORTICAL_BONE = "cortical bone"
    MARROW = "marrow of the aged"
    PMMA = "PMMA"
    TITANIUM = "Ti-6Al-4V"
    COBALT_CHROME = "CoCrMo"
    STEEL = "316L"
    BARIUM_SULFATE = "barium sulfate"
    ZIRCONIA = "zirconia"


_MU_PER_CM = {
    Substance.WATER: (0.3061, 0.2490, 0.2172, 0.2019, 0.1892, 0.1785, 0.1689),
    Substance.ADIPOSE: (0.2502, 0.2156, 0.1952, 0.1847, 0.1753, 0.1669, 0.1588),
    Substance.MUSCLE: (0.3226, 0.2612, 0.2271, 0.2108, 0.1973, 0.1859, 0.1759),
    Substance.CORTICAL_BONE: (1.7241, 1.0582, 0.7152, 0.5695, 0.4669, 0.3970, 0.3486),
    Substance.MARROW: (0.2753, 0.2333, 0.2090, 0.1967, 0.1861, 0.1767, 0.1679),
    Substance.PMMA: (0.3060, 0.2623, 0.2366, 0.2235, 0.2119, 0.2015, 0.1917),
    Substance.TITANIUM: (13.5013, 7.4005, 4.2747, 2.9686, 2.0757, 1.4967, 1.1275),
    Substance.COBALT_CHROME: (50.093, 27.301, 15.405, 10.370, 6.9074, 4.6623, 3.2409),
    Substance.STEEL: (44.685, 24.307, 13.719, 9.2573, 6.1921, 4.2071, 2.9513),
    Substance.BARIUM_SULFATE: (35.854, 52.490, 30.509, 20.613, 13.539, 8.7808, 5.6769),
    Substance.ZIRCONIA: (68.522, 37.915, 21.436, 14.314, 9.3375, 6.0715, 3.9903),
}
"""Linear attenuation at full density, 1/cm, in bins that end at 38, 48, 58, 68, 80, 95
and 140 keV; means over the 120 kVp spectrum behind 15 cm of water."""

_DENSITY_G_CM3 = {
    Substance.PMMA: 1.18,
    Substance.BARIUM_SULFATE: 4.5,
    Substance.ZIRCONIA: 5.68,
}

_SIGNAL_SHARE = {
    80: (0.08721, 0.21926, 0.29107, 0.27101, 0.13145, 0.0, 0.0),
    100: (0.04896, 0.13528, 0.21575, 0.26315, 0.19286, 0.13353, 0.01047),
    120: (0.03304, 0.09783, 0.17673, 0.24361, 0.17137, 0.16397, 0.11344),
    140: (0.02477, 0.07769, 0.15372, 0.22769, 0.15056, 0.15791, 0.20766),
}
"""Share of the detector's signal in each bin, without a patient, per tube voltage."""

PATIENT_WATER_CM = 20.0
"""Water that has hardened the beam where HU of thin objects are stated."""


@dataclass(frozen=True, slots=True, eq=False)
class Beam:
    """A tube voltage.

    Attributes
    ----------
    kvp : int
        80, 100, 120 or 140.

    Raises
    ------
    ValueError
        If the table has no such voltage.
    """

    kvp: int

    def __post_init__(self) -> None:
        if self.kvp not in _SIGNAL_SHARE:
            raise ValueError(f"expected {sorted(_SIGNAL_SHARE)} kVp, found {self.kvp}")

    @property
    def signal_share(self) -> FloatArray:
        """Weight of each energy bin; sums to 1."""
        share = np.array(_SIGNAL_SHARE[self.kvp])
        return np.asarray(share / share.sum())

    def hu(self, mu_per_cm: FloatArray) -> float:
        """HU of a thin object in the middle of a patient."""
        water = mu_of(Substance.WATER)
        weight = self.signal_share * np.exp(-water * PATIENT_WATER_CM)
        return float(1000.0 * ((weight @ mu_per_cm) / (weight @ water) - 1.0))

    def attenuation(
        self, mu_per_cm: FloatArray, path_cm: npt.NDArray[np.floating[Any]]
    ) -> FloatArray:
        """Logarithm of the lost signal, for paths of shape (..., materials)."""
        signal = np.exp(-(path_cm @ mu_per_cm)) @ self.signal_share
        lost: FloatArray = -np.log(signal)
        return lost


def mu_of(substance: Substance) -> FloatArray:
    """Attenuation at full density, 1/cm, one per energy bin."""
    return np.array(_MU_PER_CM[substance])


def cement_mu(
    barium_sulfate_fraction: float = 0.0, zirconia_fraction: float = 0.0
) -> FloatArray:
    """Attenuation of set cement, 1/cm; weight fractions of the opacifiers."""
    weights = {
        Substance.PMMA: 1.0 - barium_sulfate_fraction - zirconia_fraction,
        Substance.BARIUM_SULFATE: barium_sulfate_fraction,
        Substance.ZIRCONIA: zirconia_fraction,
    }
    volume = sum(w / _DENSITY_G_CM3[s] for s, w in weights.items())
    total = np.zeros(len(_MU_PER_CM[Substance.WATER]))
    for substance, weight in weights.items():
        total += mu_of(substance) * weight / _DENSITY_G_CM3[substance] / volume
    return total
