"""From stored values to Hounsfield units: rescale, padding, and the scale's ceiling."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from cemscope.dicom.pixel_format import PixelFormat
from cemscope.errors import UnreadablePixelsError
from cemscope.materials import CLIP_CEILING_12_BIT_HU
from cemscope.volume import PADDING_HU, HUArray

StoredArray = npt.NDArray[np.integer]

_INT16 = np.iinfo(np.int16)


@dataclass(frozen=True, slots=True)
class HounsfieldSettings:
    """How padding and clipping are recognised.

    Attributes
    ----------
    untagged_padding_hu : int
        Values at or below are padding even without a tag: makers fill the corners
        outside the scan field with -1500 to -8192, while the noise of air seldom
        falls below -1100.
    padding_air_hu : int
        A tagged padding value above this could be tissue or metal; it is masked only
        where it touches the edge of the slice.
    min_clipped_voxels : int
        So many voxels exactly at a possible ceiling mean that the scale ends there.
    """

    untagged_padding_hu: int = -1200
    padding_air_hu: int = -900
    min_clipped_voxels: int = 3


@dataclass(frozen=True, slots=True)
class SliceConversion:
    """What the conversion of one slice found.

    Attributes
    ----------
    padded_voxels : int
        Voxels that hold padding.
    overflow_voxels : int
        Voxels over 32767 HU, set to 32767.
    highest_hu : int
        Highest value.
    ceiling_voxels : int
        Voxels at ``highest_hu`` if that is a possible end of the scale, else 0.
    """

    padded_voxels: int
    overflow_voxels: int
    highest_hu: int
    ceiling_voxels: int

    def with_padding(self, voxels: int) -> "SliceConversion":
        """Copy it with another count of padded voxels."""
        return replace(self, padded_voxels=voxels)


def convert_slice(
    stored: StoredArray,
    pixels: PixelFormat,
    target: HUArray,
    settings: HounsfieldSettings,
) -> SliceConversion:
    """Write one slice's Hounsfield units into ``target``.

    Parameters
    ----------
    stored
        Stored values, shape (rows, columns). May lie in the memory of ``target``.
    pixels
        This slice's own rescale and padding.
    target
        Written in place, same shape. Values below `PADDING_HU` are set to it (nothing
        is less dense than vacuum), values over 32767 to that.

    Raises
    ------
    UnreadablePixelsError
        If a value needs more bits than the header allows and is no padding.
    """
    if pixels.slope is None or pixels.intercept is None:
        raise UnreadablePixelsError("the slice has no RescaleSlope or RescaleIntercept")
    padded = _tagged_padding(stored, pixels, settings)
    lowest, highest = int(stored.min()), int(stored.max())
    _require_range(stored, (lowest, highest), padded, pixels)
    if pixels.slope == 1.0 and pixels.intercept.is_integer():
        shift = int(pixels.intercept)
        if (
            padded is None
            and lowest + shift >= PADDING_HU
            and highest + shift <= _INT16.max
        ):
            _add_shift(stored, shift, target)
            return _measured(target, pixels, 0, 0, highest + shift)
        hu = stored.astype(np.int32) + shift
    else:
        exact = stored.astype(np.float64) * pixels.slope + pixels.intercept
        hu = np.rint(exact).astype(np.int32)
    untagged = hu <= settings.untagged_padding_hu
    padded = untagged if padded is None else padded | untagged
    overflow = (hu > _INT16.max) & ~padded
    np.clip(hu, PADDING_HU, _INT16.max, out=hu)
    hu[padded] = PADDING_HU
    target[...] = hu
    counts = int(padded.sum()), int(overflow.sum())
    return _measured(target, pixels, *counts, int(hu.max()))


def _add_shift(stored: StoredArray, shift: int, target: HUArray) -> None:
    """Add in the 16 bits of the target; right wherever the sum fits int16."""
    if stored.dtype.itemsize == 2 and stored.dtype.isnative:
        bits = stored.view(np.uint16)
        np.add(bits, np.uint16(shift % 2**16), out=target.view(np.uint16))
    else:
        np.add(stored, np.int32(shift), out=target, casting="unsafe")


def _measured(
    target: HUArray, pixels: PixelFormat, padded: int, overflow: int, highest: int
) -> SliceConversion:
    at_ceiling = 0
    if highest in _possible_ceilings_hu(pixels):
        at_ceiling = int(np.count_nonzero(target == highest))
    return SliceConversion(padded, overflow, highest, at_ceiling)


def clip_ceiling_hu(
    slices: Iterable[SliceConversion], settings: HounsfieldSettings
) -> int | None:
    """Find the ceiling at which the scale of a volume ends.

    The highest value of the volume is a ceiling if at least ``min_clipped_voxels``
    lie exactly there and it is the end of a scale: 3071 (the usual 12 bits), 30710
    (the same with slope 10), the end of the stored bits or of 12 bits under the
    slice's rescale, or 32767.

    Returns
    -------
    int or None
        None where the highest value is an ordinary measurement.
    """
    found = tuple(slices)
    highest = max(s.highest_hu for s in found)
    count = sum(s.ceiling_voxels for s in found if s.highest_hu == highest)
    return highest if count >= settings.min_clipped_voxels else None


@lru_cache(maxsize=1024)
def _possible_ceilings_hu(pixels: PixelFormat) -> frozenset[int]:
    ceilings = {CLIP_CEILING_12_BIT_HU, 10 * CLIP_CEILING_12_BIT_HU, _INT16.max}
    slope, intercept = pixels.slope or 1.0, pixels.intercept or 0.0
    for stored in (pixels.stored_range[1], 2**12 - 1, 2**15 - 1, 2**16 - 1):
        ceilings.add(int(np.clip(np.rint(stored * slope + intercept), 0, _INT16.max)))
    return frozenset(ceilings)


def _tagged_padding(
    stored: StoredArray, pixels: PixelFormat, settings: HounsfieldSettings
) -> npt.NDArray[np.bool_] | None:
    if pixels.padding is None or pixels.slope is None or pixels.intercept is None:
        return None
    low, high = pixels.padding
    padded = stored == low if low == high else (stored >= low) & (stored <= high)
    looks_like_air = high * pixels.slope + pixels.intercept <= settings.padding_air_hu
    if not padded.any():
        return None
    if looks_like_air:
        return padded
    # Seldom needed, and a fifth of the memory that reading takes beside the volume.
    from scipy import ndimage

    regions, _ = ndimage.label(padded)
    edge = np.concatenate(
        [regions[0], regions[-1], regions[:, 0], regions[:, -1]], axis=None
    )
    touching = np.unique(edge[edge > 0])
    at_edge: npt.NDArray[np.bool_] = np.isin(regions, touching)
    return at_edge


def _require_range(
    stored: StoredArray,
    extremes: tuple[int, int],
    padded: npt.NDArray[np.bool_] | None,
    pixels: PixelFormat,
) -> None:
    low, high = pixels.stored_range
    smallest, largest = extremes
    if low <= smallest and largest <= high:
        return
    outside = (stored < low) | (stored > high)
    if padded is not None:
        outside &= ~padded
    if outside.any():
        raise UnreadablePixelsError(
            f"stored values of {smallest} ... {largest} do not fit the "
            f"{pixels.bits_stored} bits that the header names"
        )
