"""Simpler ways to segment cement, to compare with: thresholds and region growing.

All know the vertebra, and those of a vertebra with cement know where it lies: they keep
the blobs that hold cement, as a reader picks or clicks them.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from scipy import ndimage

THRESHOLDS_HU = (600, 800, 1000)
DENSE_HU = 200
"""Otsu's threshold is sought above this: else it parts bone from fat."""
CEILING_HU = 3071
CLICK_ML = 0.02
"""Connected growing gets one seed in each blob of cement larger than this."""

Bools = npt.NDArray[np.bool_]


def simple_masks(
    hu: npt.NDArray[np.int16], zone: Bools, true: Bools | None, voxel_ml: float
) -> Iterator[tuple[str, Bools]]:
    """Segment the cement in a zone; ``true`` is None where there is none."""
    for limit in THRESHOLDS_HU:
        yield f"{limit} HU", picked((hu >= limit) & zone, true)
    yield "Otsu", picked((hu >= otsu_hu(hu[zone])) & zone, true)
    if true is not None and true.any():
        yield from grown(hu, zone, true, voxel_ml)


def picked(mask: Bools, true: Bools | None) -> Bools:
    """Keep the blobs that hold cement."""
    if true is None:
        return mask
    blobs, _ = ndimage.label(mask)
    wanted = np.unique(blobs[mask & true])
    return np.isin(blobs, wanted[wanted > 0])


def otsu_hu(values: npt.NDArray[np.int16]) -> float:
    from skimage.filters import threshold_otsu

    dense = values[values > DENSE_HU]
    return float(threshold_otsu(np.clip(dense, DENSE_HU, CEILING_HU)))


def grown(
    hu: npt.NDArray[np.int16], zone: Bools, true: Bools, voxel_ml: float
) -> Iterator[tuple[str, Bools]]:
    """Region growing of SimpleITK from the deepest point of each blob of cement."""
    import SimpleITK as sitk

    depth = ndimage.distance_transform_edt(true)
    blobs, count = ndimage.label(true, np.ones((3, 3, 3)))
    sizes = np.bincount(blobs.ravel(), minlength=count + 1)[1:] * voxel_ml
    order = [
        k for k in np.argsort(-sizes) if sizes[k] > CLICK_ML or k == sizes.argmax()
    ]
    seeds = [
        np.unravel_index(int(np.where(blobs == k + 1, depth, 0.0).argmax()), true.shape)
        for k in order
    ]
    clicks = [tuple(int(i) for i in seed[::-1]) for seed in seeds]
    largest = seeds[0]
    near = hu[tuple(slice(max(i - 1, 0), i + 2) for i in largest)]
    half = 0.5 * (float(np.median(hu[zone])) + float(np.median(near)))
    image = sitk.GetImageFromArray(hu.astype(np.float32))
    connected = sitk.ConnectedThreshold(image, clicks, half, 32767.0)
    # Seeds in small blobs would spoil its statistics: only the largest is clicked.
    confident = sitk.ConfidenceConnected(
        image,
        seedList=clicks[:1],
        numberOfIterations=4,
        multiplier=2.5,
        initialNeighborhoodRadius=1,
        replaceValue=1,
    )
    for name, result in (("connected", connected), ("confidence", confident)):
        yield f"{name} growing", sitk.GetArrayFromImage(result).astype(bool) & zone
