"""Read CT values and labels along a picture plane.

Only the pixels of the picture are interpolated: the volume itself is neither copied
nor converted.
"""

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cemscope.geometry import VoxelGeometry
from cemscope.volume import CTVolume, LabelMap
from cemscope_pipelines.pictures.plane import PicturePlane

FloatImage = npt.NDArray[np.float32]

OUTSIDE_HU = -1024.0
"""Shown where a picture reaches beyond the scan: black, as air."""

MEAN_SHARE = 0.6
"""Share of the mean in a slab; the rest is its maximum.

The mean alone blurs thin implants, the maximum alone hides the marrow.
"""


def _indices(
    geometry: VoxelGeometry, plane: PicturePlane, depth_mm: float
) -> npt.NDArray[np.float64]:
    points = plane.points_lps_mm + depth_mm * plane.depth_axis
    return np.moveaxis(geometry.lps_to_index(points), -1, 0)


def depths_mm(thickness_mm: float, step_mm: float) -> npt.NDArray[np.float64]:
    """Offsets of a slab's layers from its middle, symmetric, at least one."""
    count = max(1, round(thickness_mm / step_mm))
    return (np.arange(count) - (count - 1) / 2.0) * (thickness_mm / count)


def sample_hu(ct: CTVolume, plane: PicturePlane, thickness_mm: float) -> FloatImage:
    """Grey values of a slab: its mean mixed with its maximum.

    Returns
    -------
    ndarray of float32, shape (rows, columns)
        HU; `OUTSIDE_HU` beyond the scan.
    """
    step_mm = min(ct.spacing_mm) if thickness_mm < 6.0 else 1.5
    depths = depths_mm(thickness_mm, step_mm)
    total = np.zeros(plane.shape, np.float32)
    highest = np.full(plane.shape, OUTSIDE_HU, np.float32)
    for depth in depths:
        layer = ndimage.map_coordinates(
            ct.hu,
            _indices(ct.geometry, plane, float(depth)),
            output=np.float32,
            order=1,
            mode="constant",
            cval=OUTSIDE_HU,
        )
        total += layer
        np.maximum(highest, layer, out=highest)
    slab: FloatImage = (
        MEAN_SHARE * total / len(depths) + (1.0 - MEAN_SHARE) * highest
    ).astype(np.float32)
    return slab


def sample_labels(
    labels: LabelMap, plane: PicturePlane, depth_mm: float = 0.0
) -> npt.NDArray[np.uint8]:
    """Labels on the plane, moved by ``depth_mm`` along its depth axis."""
    sampled: npt.NDArray[np.uint8] = ndimage.map_coordinates(
        labels.labels,
        _indices(labels.geometry, plane, depth_mm),
        order=0,
        mode="constant",
        cval=0,
    )
    return sampled


def project_labels(
    labels: LabelMap,
    plane: PicturePlane,
    wanted: tuple[int, ...],
    depth_range_mm: tuple[float, float],
) -> dict[int, FloatImage]:
    """Thickness of each label through the picture, as on a radiograph.

    Returns
    -------
    dict of int to ndarray of float32, shape (rows, columns)
        Millimetres of the label that lie behind each pixel.
    """
    step_mm = max(0.5, min(labels.geometry.spacing_mm))
    low, high = depth_range_mm
    thickness = {label: np.zeros(plane.shape, np.float32) for label in wanted}
    layers = depths_mm(high - low, step_mm) + (low + high) / 2.0
    layer_mm = (high - low) / len(layers)
    for depth in layers:
        layer = sample_labels(labels, plane, float(depth))
        if not layer.any():
            continue
        for label in wanted:
            thickness[label] += np.float32(layer_mm) * (layer == label)
    return thickness
