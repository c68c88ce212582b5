"""napari writer: a cemscope label layer as a file on the scan's grid."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cemscope.geometry import VoxelGeometry
from cemscope.volume import LabelMap
from cemscope_pipelines.label_files import write_label_map
from cemscope_pipelines.review.voxel_change import material_table
from napari_cemscope.layers import CASE_KEY


def write_labels(
    path: str, data: npt.NDArray[Any], attributes: dict[str, Any]
) -> list[str]:
    """Write a label layer as compressed NIfTI or NRRD.

    Layers of a case hold codes of their own for single leaks; they are written as
    ``materials.nii.gz`` has them.

    Parameters
    ----------
    path
        File that ends in .nii.gz, .nii or .nrrd.
    data
        Labels up to 255, axes (z, y, x).
    attributes
        Of the layer; scale and translation in mm (LPS, backwards).

    Returns
    -------
    list of str
        The written file.
    """
    labels = np.ascontiguousarray(data, dtype=np.uint8)
    of_case = CASE_KEY in attributes.get("metadata", {})
    if of_case and attributes.get("name") != "vertebrae":
        labels = material_table()[labels]
    geometry = VoxelGeometry.from_axes(
        (labels.shape[0], labels.shape[1], labels.shape[2]),
        [float(step) for step in attributes["scale"]],
        [float(start) for start in reversed(attributes["translate"])],
    )
    write_label_map(LabelMap(labels, geometry), Path(path))
    return [path]
