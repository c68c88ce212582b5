"""Move a surface onto the outer side of the cortex that it lies on.

A vertebra's cortex is a third to a half of a millimetre thick (Silva 1994,
doi:10.1002/jor.1100120314; Ritzel 1997, doi:10.1359/jbmr.1997.12.1.89), far less than
the blur of a CT. In the image it is a ridge as wide as the blur: half of its height is
reached clearly outside of the bone. So the blur is modelled instead: each profile
across the surface is a step from marrow to soft tissue, plus a thin shell, both blurred
(Treece 2010, doi:10.1016/j.media.2010.01.003). The shell's mass gives its thickness.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.special import erf

from cemscope.geometry import FloatArray
from cemscope.segmentation.bodies.smooth_surface import SingleArray, smooth_surface
from cemscope.volume import BoolArray

INNER_MM, OUTER_MM = 3.5, 2.5
"""Length of the profile inside and outside of the surface."""

STEP_MM = 0.5
"""Distance between samples across the surface."""

SHIFTS_MM = np.arange(-1.75, 1.76, 0.25)
"""Places of the shell that are tried, from the surface outwards."""

BLURS_MM = (0.5, 0.65, 0.8, 1.0, 1.3, 1.6, 2.0)
"""Standard deviations of blur that are tried; one holds for the whole surface."""

ROUNDS = 2
"""How often the surface is moved."""

SHELL_DENSITY_HU = 1200.0
"""Porous compact bone above its surroundings: gives a thickness to a shell's mass.

Dense cortical bone reads 1600 HU; the vertebra's shell is porous (Silva 1994).
"""

THICKEST_SHELL_MM = 1.5
"""A thicker 'shell' is sclerosis or an osteophyte; its middle counts all the same."""

LARGEST_CORRECTION_MM = 0.7
"""Most by which the surface lies inside of half of the drop.

That is the correction at the blur of slices up to 1.5 mm. Wider blur can no longer tell
the shell from the marrow behind it, and the drop itself is the better witness.
"""

SMOOTHNESS = 0.05
"""Price of a step between neighbouring places, against fits scaled to 1."""

STAY_PRICE = 0.004
"""Price per mm squared of a move, against fits scaled to 1."""

LEAST_CONTRAST_HU = 25.0
"""Standard deviation along a profile that counts as half clear."""

PROFILES_FOR_BLUR = 120
"""So many profiles tell the blur."""

_OFFSETS_MM = np.arange(-INNER_MM, OUTER_MM + 0.01, STEP_MM)

SampleAcross = Callable[[FloatArray], npt.NDArray[np.float32]]
"""Values at heights (..., samples) above each place of a surface."""


@dataclass(frozen=True, slots=True, eq=False)
class CortexEdge:
    """A surface on the outer side of the cortex.

    Attributes
    ----------
    height_mm : ndarray
        The surface.
    clearness : ndarray, same shape
        0 (nothing like a cortex or a drop) to 1 (contrast that the model explains).
    """

    height_mm: FloatArray
    clearness: FloatArray


def outer_cortex(
    height_mm: FloatArray,
    sample: SampleAcross,
    trust: FloatArray,
    *,
    closed_first_axis: bool = False,
) -> CortexEdge:
    """Move each place of a surface to the outer side of the cortex.

    Parameters
    ----------
    height_mm : ndarray, shape (a, b)
        The surface, not more than some 3 mm off; values grow outwards.
    sample
        Reads the image at heights of shape (a, b, samples).
    trust : ndarray, shape (a, b)
        0 (follow the neighbours) to 1 (believe the profile).
    closed_first_axis
        Whether the first axis runs round a circle.
    """
    clearness = np.zeros_like(height_mm)
    outer = np.zeros_like(height_mm)
    blur_mm = None
    for _ in range(ROUNDS):
        values = sample(height_mm[..., None] + _OFFSETS_MM)
        shape = values.shape[:-1]
        profiles = values.reshape(-1, len(_OFFSETS_MM))
        blur_mm = blur_mm or _blur_mm(profiles, trust.ravel())
        fit = _fit(profiles, blur_mm)
        cost = fit.cost.reshape(*shape, -1) * trust[..., None]
        # Where nothing is seen, stay.
        cost = cost + STAY_PRICE * SHIFTS_MM**2
        index = smooth_surface(cost, SMOOTHNESS, closed_first_axis=closed_first_axis)
        height_mm = height_mm + SHIFTS_MM[0] + (SHIFTS_MM[1] - SHIFTS_MM[0]) * index
        found = _bone_border(fit, profiles, np.rint(index).astype(int).ravel())
        outer = found.outer_mm.reshape(shape) * np.clip(trust, 0.0, 1.0)
        clearness = found.clearness.reshape(shape)
    smooth = ndimage.gaussian_filter(
        outer, 1.0, mode=["wrap" if closed_first_axis else "nearest", "nearest"]
    )
    return CortexEdge(height_mm + smooth, clearness)


@dataclass(frozen=True, slots=True, eq=False)
class _Basis:
    """The model at each place of the shell (k), for one blur.

    Attributes
    ----------
    full, plain : ndarray, shape (k, samples, 3) and (k, samples, 2)
        Orthonormal columns that span constant, step and ridge; and without the ridge.
    solve_full, solve_plain : ndarray, shape (k, 3, samples) and (k, 2, samples)
        Pseudo-inverses: constant, drop (and shell mass) from a profile.
    """

    full: SingleArray
    plain: SingleArray
    solve_full: SingleArray
    solve_plain: SingleArray
    blur_mm: float


@lru_cache(maxsize=len(BLURS_MM))
def _basis(blur_mm: float) -> _Basis:
    x = _OFFSETS_MM[None, :] - SHIFTS_MM[:, None]
    step = 0.5 * (1.0 - erf(x / (np.sqrt(2.0) * blur_mm)))
    plain = np.stack([np.ones_like(x), step], axis=-1)
    full = np.concatenate([plain, _ridge(x, blur_mm)[..., None]], axis=-1)
    return _Basis(
        np.linalg.qr(full)[0].astype(np.float32),
        np.linalg.qr(plain)[0].astype(np.float32),
        np.linalg.pinv(full).astype(np.float32),
        np.linalg.pinv(plain).astype(np.float32),
        blur_mm,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Fit:
    """Misfit (n, k) of n profiles at all places of the shell, scaled to 0 ... 1."""

    cost: SingleArray
    bony: BoolArray
    basis: _Basis


def _blur_mm(profiles: SingleArray, trust: FloatArray) -> float:
    """Blur that suits most profiles."""
    sharp = np.flatnonzero(trust > 0.5)
    if not len(sharp):
        return BLURS_MM[len(BLURS_MM) // 2]
    some = profiles[sharp[:: max(1, len(sharp) // PROFILES_FOR_BLUR)]]
    misfit = [float(_fit(some, blur).cost.min(axis=1).mean()) for blur in BLURS_MM]
    return BLURS_MM[int(np.argmin(misfit))]


def _fit(profiles: SingleArray, blur_mm: float) -> _Fit:
    basis = _basis(blur_mm)
    values = profiles - profiles.mean(axis=1, keepdims=True)
    total = (values**2).sum(axis=1)[:, None]
    scale = total + np.float32(len(_OFFSETS_MM) * LEAST_CONTRAST_HU**2)

    def rest(columns: SingleArray) -> SingleArray:
        flat = columns.transpose(1, 0, 2).reshape(len(_OFFSETS_MM), -1)
        part = (values @ flat).reshape(len(values), len(SHIFTS_MM), -1)
        left: SingleArray = np.maximum(total - (part**2).sum(axis=2), 0.0)
        return left

    bony = values @ basis.solve_full[:, 2].T > 0.0
    falling = values @ basis.solve_plain[:, 1].T > 0.0
    # Neither a dark shell nor soft tissue that grows denser is a border of bone.
    bare = np.where(falling, rest(basis.plain), total)
    misfit = np.where(bony, rest(basis.full), bare)
    return _Fit((misfit + scale - total) / scale, bony, basis)


@dataclass(frozen=True, slots=True, eq=False)
class _BoneBorder:
    """From the middle of the shell to its outer side, and how clear it is; (n,)."""

    outer_mm: FloatArray
    clearness: FloatArray


def _bone_border(
    fit: _Fit, profiles: SingleArray, index: npt.NDArray[np.int64]
) -> _BoneBorder:
    rows = np.arange(len(index))
    basis, blur_mm = fit.basis, fit.basis.blur_mm
    bony = fit.bony[rows, index]
    full = np.einsum("nij,nj->ni", basis.solve_full[index], profiles)
    plain = np.einsum("nij,nj->ni", basis.solve_plain[index], profiles)
    mass = np.where(bony, full[:, 2], 0.0)
    drop = np.maximum(np.where(bony, full[:, 1], plain[:, 1]), 0.0)
    half_shell = 0.5 * np.minimum(mass / SHELL_DENSITY_HU, THICKEST_SHELL_MM)
    # Half of the drop on the blurred ridge, from the shell's middle outwards.
    x = np.arange(-2.0, 3.01, 0.25) * blur_mm
    step = 0.5 * (1.0 - erf(x / (np.sqrt(2.0) * blur_mm)))
    curve = drop[:, None] * step + mass[:, None] * _ridge(x, blur_mm)
    top = curve.argmax(axis=1)
    peak = curve[rows, top]
    beyond = (np.arange(len(x)) >= top[:, None]) & (curve < 0.5 * peak[:, None])
    half_drop = x[beyond.argmax(axis=1)] - 0.125 * blur_mm
    half_drop = np.where(peak > 1.0, half_drop, 0.0)
    outer = np.maximum(half_shell, half_drop - LARGEST_CORRECTION_MM)
    explained = np.clip(1.0 - fit.cost[rows, index], 0.0, 1.0)
    clear = np.where(mass + drop > 0.0, explained, 0.0)
    return _BoneBorder(outer.astype(float), clear.astype(float))


def _ridge(x: FloatArray, blur_mm: float) -> FloatArray:
    gauss: FloatArray = np.exp(-0.5 * (x / blur_mm) ** 2) / (
        np.sqrt(2.0 * np.pi) * blur_mm
    )
    return gauss
