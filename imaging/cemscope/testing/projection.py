"""Parallel-beam geometry of one slice: projection, filter and back-projection.

Kak and Slaney, Principles of Computerized Tomographic Imaging, 1988, chapter 3.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ParallelDetector:
    """A row of bins, centred on the isocentre.

    Attributes
    ----------
    bins : int
        Odd.
    bin_mm : float
        Pitch.
    centre_xy_mm : tuple of float
        LPS position of the isocentre.
    """

    bins: int
    bin_mm: float
    centre_xy_mm: tuple[float, float]

    @classmethod
    def covering(
        cls,
        corners_xy_mm: Iterable[tuple[float, float]],
        centre_xy_mm: tuple[float, float],
        bin_mm: float,
        least_mm: float,
    ) -> "ParallelDetector":
        """Detector that sees the corners at every angle, and a circle."""
        offsets = np.array(list(corners_xy_mm)) - centre_xy_mm
        reach = max(float(np.hypot(offsets[:, 0], offsets[:, 1]).max()), least_mm)
        half = int(np.ceil(reach / bin_mm)) + 2
        return cls(2 * half + 1, bin_mm, centre_xy_mm)

    @property
    def padded(self) -> int:
        """Length for a Fourier transform without wrap-around."""
        return 1 << (2 * self.bins - 1).bit_length()

    def position(self, xy_mm: FloatArray, angle: float) -> FloatArray:
        """Fractional bin that points, shape (n, 2), project to."""
        offset = xy_mm - np.asarray(self.centre_xy_mm)
        along = offset[:, 0] * np.cos(angle) + offset[:, 1] * np.sin(angle)
        bins: FloatArray = along / self.bin_mm + (self.bins - 1) / 2
        return bins


def strip_matrix(
    detector: ParallelDetector, pixel_mm: float, xy_mm: FloatArray, angle: float
) -> sparse.csc_matrix:
    """Mean path in cm through each square pixel, per detector strip.

    Exact for the square: strips that share a pixel share its area. Shape (bins, n).
    """
    size = pixel_mm
    centre = detector.position(xy_mm, angle)
    # The shadow of a square is a trapezoid; its running integral is a spline.
    wide = size * max(abs(np.cos(angle)), abs(np.sin(angle))) / detector.bin_mm
    narrow = size * min(abs(np.cos(angle)), abs(np.sin(angle))) / detector.bin_mm
    half = 0.5 * (wide + narrow)
    count = int(np.ceil(2 * half)) + 1
    first = np.floor(centre - half + 0.5)
    nearest = (first - 0.5 - centre).astype(np.float32)
    edges = nearest[:, None] + np.arange(count + 1, dtype=np.float32)
    share = np.diff(_trapezoid_integral(edges, wide, narrow), axis=1)
    bins = first.astype(np.int32)[:, None] + np.arange(count, dtype=np.int32)
    # One column per pixel, as they come: no sorting, and the product walks through
    # the pixels in memory order.
    return sparse.csc_matrix(
        (
            (share * np.float32(size * size / detector.bin_mm / 10.0)).ravel(),
            bins.ravel(),
            np.arange(0, share.size + 1, count, dtype=np.int32),
        ),
        shape=(detector.bins, len(centre)),
    )


def _trapezoid_integral(t: Float32Array, wide: float, narrow: float) -> Float32Array:
    """Integral from minus infinity of box(wide) convolved with box(narrow), area 1."""
    if narrow < 1e-4 * wide:
        box = np.clip(t / np.float32(wide) + np.float32(0.5), 0.0, 1.0)
        return np.asarray(box, np.float32)
    # Integrated from the middle outwards, where nothing cancels.
    outer, inner = np.float32(0.5 * (wide + narrow)), np.float32(0.5 * (wide - narrow))
    away = np.minimum(np.abs(t), outer)
    tail = np.maximum(away - inner, 0.0)
    half = (away - tail**2 / np.float32(2.0 * narrow)) / np.float32(wide)
    return np.float32(0.5) + np.copysign(half, t)


def ramp_response(detector: ParallelDetector) -> FloatArray:
    """Band-limited ramp (Kak and Slaney, eq. 3.61) at `rfft` frequencies, 1/cm."""
    n = detector.padded
    index = np.fft.fftfreq(n, 1.0 / n)
    bin_cm = detector.bin_mm / 10.0
    impulse = np.zeros(n)
    impulse[0] = 0.25 / bin_cm**2
    odd = np.abs(index) % 2 == 1
    impulse[odd] = -1.0 / (np.pi * index[odd] * bin_cm) ** 2
    return np.asarray(np.fft.rfft(impulse).real * bin_cm)


def back_project(
    image: Float32Array,
    filtered: Float32Array,
    xy_mm: FloatArray,
    detector: ParallelDetector,
    angle: float,
) -> None:
    """Add one view to pixels, in place: linear interpolation between bins.

    Parameters
    ----------
    image
        Shape (pixels, slices).
    filtered
        Shape (bins, slices).
    xy_mm
        Centres of the pixels, shape (pixels, 2).
    detector, angle
        Geometry of the view.
    """
    position = detector.position(xy_mm, angle)
    low = np.floor(position).astype(np.int32)
    part = (position - low).astype(np.float32)
    n = len(xy_mm)
    matrix = sparse.csr_matrix(
        (
            np.stack([1 - part, part], axis=1).ravel(),
            np.stack([low, low + 1], axis=1).ravel(),
            np.arange(0, 2 * n + 1, 2, dtype=np.int32),
        ),
        shape=(n, detector.bins),
    )
    image += matrix @ filtered
