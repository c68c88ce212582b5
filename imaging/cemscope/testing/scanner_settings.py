"""How a simulated scan is made: tube, detector, kernel, slices and scale."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


class Kernel(StrEnum):
    """Reconstruction kernels; the value is written into ConvolutionKernel."""

    SOFT = "SIM-soft"
    STANDARD = "SIM-standard"
    BONE = "SIM-bone"

    @property
    def cutoff_per_mm(self) -> float:
        """Frequency at which the Hann window ends."""
        return {"SIM-soft": 0.62, "SIM-standard": 0.85, "SIM-bone": 1.25}[self.value]

    @property
    def enhancement(self) -> float:
        """Edge enhancement: the gain at the middle of the band is 1 + this."""
        return {"SIM-soft": 0.0, "SIM-standard": 0.05, "SIM-bone": 0.25}[self.value]

    def window(self, frequency_per_mm: npt.NDArray[np.floating[Any]]) -> FloatArray:
        """Apodisation of the ramp filter."""
        x = np.clip(frequency_per_mm / self.cutoff_per_mm, 0.0, 1.0)
        hann = 0.5 * (1.0 + np.cos(np.pi * x))
        shaped: FloatArray = hann * (1.0 + self.enhancement * np.sin(np.pi * x) ** 2)
        return shaped


@dataclass(frozen=True, slots=True)
class ScannerSettings:
    """How a scan is made.

    Attributes
    ----------
    kvp : float
        Tube voltage.
    kernel : Kernel
        Sharpness of the reconstruction.
    matrix : int
        Rows and columns.
    pixel_mm : float
        Pixel size.
    centre_xy_mm : tuple of float
        LPS position of the middle of the field of view.
    slice_increment_mm, slice_thickness_mm : float
        Distance of the slices, and width at half height of their Gaussian profile.
    subslice_mm : float
        Distance of the planes that make up a slice.
    views : int
        Projections over 180 degrees.
    bin_mm : float
        Detector pitch at the isocentre.
    blur_fwhm_mm : float
        Detector cross-talk and focal spot together, at the isocentre.
    photons : float
        Detected quanta per bin, view and 1 mm of slice thickness without a patient.
        0 leaves out all noise.
    electronic_noise : float
        Standard deviation in quanta.
    scatter_fraction : float
        Scatter that the scanner's own correction leaves: this share of the signal is
        spread over the neighbourhood. Soft tissue hardly changes, shadows of metal
        fill up and streaks grow darker.
    ceiling_hu, floor_hu : int
        The scale; values beyond are clipped.
    seed : int
        Of the noise.
    """

    kvp: float = 120.0
    kernel: Kernel = Kernel.STANDARD
    matrix: int = 288
    pixel_mm: float = 0.65
    centre_xy_mm: tuple[float, float] = (0.0, 0.0)
    slice_increment_mm: float = 1.0
    slice_thickness_mm: float = 1.0
    subslice_mm: float = 0.5
    views: int = 720
    bin_mm: float = 0.5
    blur_fwhm_mm: float = 0.7
    photons: float = 4.0e5
    electronic_noise: float = 4.0
    scatter_fraction: float = 0.0
    ceiling_hu: int = 3071
    floor_hu: int = -1024
    seed: int = 0

    @property
    def reconstruction_radius_mm(self) -> float:
        """Radius of the circle inside which pixels are measured."""
        return 0.5 * self.matrix * self.pixel_mm
