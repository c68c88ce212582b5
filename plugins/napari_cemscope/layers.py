"""From cemscope's volumes to napari's layer data."""

from typing import Any

import numpy as np
import numpy.typing as npt
from napari.utils import DirectLabelColormap

from cemscope.volume import CTVolume
from cemscope_pipelines.review.case_maps import CaseMaps
from cemscope_pipelines.review.voxel_change import LUCENCY
from napari_cemscope.colours import MATERIALS, material_table, vertebra_table
from napari_cemscope.view_space import ViewSpace
from napari_cemscope.windows import BONE

LayerData = tuple[npt.NDArray[Any], dict[str, Any], str]
"""What napari asks a reader for: array, keyword arguments, layer type."""

CASE_KEY = "cemscope_case"
"""Key of a layer's metadata that holds the case folder it comes from."""


def ct_layer(ct: CTVolume, name: str = "CT") -> LayerData:
    """Image layer of a CT series in the bone window."""
    space = ViewSpace.of(ct.geometry)
    keywords = {
        "name": name,
        "contrast_limits": BONE.limits_hu,
        "colormap": "gray",
        "interpolation2d": "linear",  # as radiologists' viewers show it
        **space.keywords,
    }
    return space.view(ct.hu), keywords, "image"


def map_layers(maps: CaseMaps, level_numbers: list[int]) -> list[LayerData]:
    """Label layers of a case, from the lowest to the topmost.

    All materials show the same array, each its own codes: a voxel is one thing only.

    Parameters
    ----------
    maps
        Label maps of the case.
    level_numbers
        Numbers of the vertebrae in their order along the spine.
    """
    space = ViewSpace.of(maps.geometry)
    vertebrae = _labels(
        space.view(maps.vertebrae), "vertebrae", vertebra_table(level_numbers), 0.8
    )
    vertebrae[1].update(space.keywords)
    layers = [vertebrae]
    shared = space.view(maps.materials)
    has_lucency = len(maps.places_of(LUCENCY)) > 0
    for material in MATERIALS:
        if LUCENCY in material.codes and not has_lucency:
            continue  # every layer costs time at each step through the slices
        layer = _labels(shared, material.name, material_table(material), 1.0)
        layer[1].update(space.keywords, opacity=material.opacity)
        layers.append(layer)
    return layers


def _labels(
    array: npt.NDArray[Any],
    name: str,
    table: dict[int | None, np.ndarray],
    opacity: float,
) -> LayerData:
    keywords: dict[str, Any] = {
        "name": name,
        "colormap": DirectLabelColormap(color_dict=table),
        "opacity": opacity,
    }
    return array, keywords, "labels"
