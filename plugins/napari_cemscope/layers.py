"""From cemscope's volumes to napari's layer data; the one place that turns axes.

napari's world axes are (z, y, x) of the patient in LPS mm, so that a point under the
cursor reads as the patient position backwards. Any orientation of the scan is kept in
the layer's affine: arrays are never flipped.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from cemscope.geometry import VoxelGeometry
from cemscope.volume import CTVolume, LabelMap

LayerData = tuple[npt.NDArray[Any], dict[str, Any], str]
"""What napari asks a reader for: array, keyword arguments, layer type."""

BONE_WINDOW_HU = (-600.0, 1400.0)
"""Usual bone window (level 400, width 2000)."""

AXIS_LABELS = ("z", "y", "x")


def world_affine(geometry: VoxelGeometry) -> npt.NDArray[np.float64]:
    """Affine from array indices to napari's world, shape (4, 4).

    Parameters
    ----------
    geometry
        Grid of the layer.
    """
    affine = geometry.affine_lps.copy()
    affine[:3] = affine[2::-1]
    return affine


def ct_layer(ct: CTVolume, name: str = "CT") -> LayerData:
    """Image layer of a CT series in the bone window."""
    keywords = {
        "name": name,
        "affine": world_affine(ct.geometry),
        "units": ("mm",) * 3,
        "axis_labels": AXIS_LABELS,
        "contrast_limits": BONE_WINDOW_HU,
        "colormap": "gray",
    }
    return ct.hu, keywords, "image"


def label_layer(labels: LabelMap, name: str) -> LayerData:
    """Labels layer; napari paints into it, so it gets a copy of its own."""
    keywords = {
        "name": name,
        "affine": world_affine(labels.geometry),
        "units": ("mm",) * 3,
        "axis_labels": AXIS_LABELS,
        "opacity": 0.4,
    }
    return labels.labels.copy(), keywords, "labels"
