"""Read CT values and labels along a picture plane.

Only the pixels of the picture are interpolated: the volume itself is neither copied
nor converted.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cemscope.geometry import VoxelGeometry
from cemscope.volume import CTVolume, LabelMap
from cemscope_pipelines.pictures.plane import PicturePlane

FloatImage = npt.NDArray[np.float32]

OUTSIDE_HU = -1024.0
"""Shown where a picture reaches beyond the scan: black, as air."""

THICK_MM = 10.0
"""Deeper projections look first where there is anything to project."""

FINE_STEP_MM, COARSE_STEP_MM = 0.5, 1.0
"""Distance between the layers of a thin and of a deep projection."""

MEAN_SHARE = 0.6
"""Share of the mean in a slab; the rest is its maximum.

The mean alone blurs thin implants, the maximum alone hides the marrow.
"""


@dataclass(frozen=True, slots=True, eq=False)
class _PlaneIndices:
    """Voxel indices of a plane's pixels, for any depth.

    Attributes
    ----------
    on_plane : ndarray, shape (3, rows, columns)
        Fractional indices at depth 0.
    per_mm : ndarray, shape (3, 1 or rows, 1)
        Step of the indices for a depth of 1 mm.
    """

    on_plane: npt.NDArray[np.float64]
    per_mm: npt.NDArray[np.float64]

    @classmethod
    def of(cls, geometry: VoxelGeometry, plane: PicturePlane) -> "_PlaneIndices":
        on_plane = np.ascontiguousarray(
            np.moveaxis(geometry.lps_to_index(plane.points_lps_mm), -1, 0)
        )
        axis = plane.depth_axis.reshape(-1, 3)
        step = geometry.lps_to_index(axis) - geometry.lps_to_index(np.zeros(3))
        return cls(on_plane, step.T[:, :, None])

    def at(self, depth_mm: float) -> npt.NDArray[np.float64]:
        return self.on_plane + depth_mm * self.per_mm


def depths_mm(thickness_mm: float, step_mm: float) -> npt.NDArray[np.float64]:
    """Offsets of a slab's layers from its middle, symmetric, at least one."""
    count = max(1, round(thickness_mm / step_mm))
    layers = np.arange(count, dtype=np.float64) - (count - 1) / 2.0
    centred: npt.NDArray[np.float64] = layers * (thickness_mm / count)
    return centred


def _hu_layer(ct: CTVolume, indices: npt.NDArray[np.float64]) -> FloatImage:
    layer: FloatImage = ndimage.map_coordinates(
        ct.hu, indices, output=np.float32, order=1, mode="constant", cval=OUTSIDE_HU
    )
    return layer


def sample_layer(ct: CTVolume, plane: PicturePlane, depth_mm: float) -> FloatImage:
    """CT values at one depth, HU; `OUTSIDE_HU` beyond the scan."""
    return _hu_layer(ct, _PlaneIndices.of(ct.geometry, plane).at(depth_mm))


def sample_hu(ct: CTVolume, plane: PicturePlane, thickness_mm: float) -> FloatImage:
    """Grey values of a slab: its mean mixed with its maximum.

    Returns
    -------
    ndarray of float32, shape (rows, columns)
        HU; `OUTSIDE_HU` beyond the scan.
    """
    step_mm = min(ct.spacing_mm) if thickness_mm < 6.0 else 1.5
    depths = depths_mm(thickness_mm, step_mm)
    indices = _PlaneIndices.of(ct.geometry, plane)
    total = np.zeros(plane.shape, np.float32)
    highest = np.full(plane.shape, OUTSIDE_HU, np.float32)
    for depth in depths:
        layer = _hu_layer(ct, indices.at(float(depth)))
        total += layer
        np.maximum(highest, layer, out=highest)
    slab: FloatImage = (
        MEAN_SHARE * total / len(depths) + (1.0 - MEAN_SHARE) * highest
    ).astype(np.float32)
    return slab


def _label_layer(
    labels: LabelMap, indices: npt.NDArray[np.float64]
) -> npt.NDArray[np.uint8]:
    sampled: npt.NDArray[np.uint8] = ndimage.map_coordinates(
        labels.labels, indices, order=0, mode="constant", cval=0
    )
    return sampled


def sample_labels(labels: LabelMap, plane: PicturePlane) -> npt.NDArray[np.uint8]:
    """Labels on the plane; 0 beyond the scan."""
    return _label_layer(labels, _PlaneIndices.of(labels.geometry, plane).on_plane)


def _joined(boxes: list[tuple[slice, slice, slice]], labels: LabelMap) -> VoxelGeometry:
    """Geometry of the smallest box around several boxes."""
    z, y, x = (
        slice(min(b[i].start for b in boxes), max(b[i].stop for b in boxes))
        for i in range(3)
    )
    return labels.geometry.crop((z, y, x))


def _clamped_depths(
    filled: VoxelGeometry, plane: PicturePlane, depth_range_mm: tuple[float, float]
) -> tuple[float, float]:
    """Part of the depths in which the filled box can be met."""
    at_corners = filled.corners_lps_mm() @ plane.depth_axis.reshape(-1, 3).T
    at_plane = np.sum(plane.points_lps_mm * plane.depth_axis, axis=-1)
    rim_mm = max(filled.spacing_mm)
    return (
        max(depth_range_mm[0], float(at_corners.min() - at_plane.max()) - rim_mm),
        min(depth_range_mm[1], float(at_corners.max() - at_plane.min()) + rim_mm),
    )


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
    thickness = {label: np.zeros(plane.shape, np.float32) for label in wanted}
    low, high = depth_range_mm
    step_mm = FINE_STEP_MM
    if high - low > THICK_MM:
        step_mm = COARSE_STEP_MM
        found = [box for box in ndimage.find_objects(labels.labels) if box is not None]
        if not found:
            return thickness
        low, high = _clamped_depths(_joined(found, labels), plane, depth_range_mm)
        if high <= low:
            return thickness
    layers = depths_mm(high - low, step_mm) + (low + high) / 2.0
    layer_mm = (high - low) / len(layers)
    indices = _PlaneIndices.of(labels.geometry, plane)
    for depth in layers:
        layer = _label_layer(labels, indices.at(float(depth)))
        if not layer.any():
            continue
        for label in wanted:
            thickness[label] += np.float32(layer_mm) * (layer == label)
    return thickness
