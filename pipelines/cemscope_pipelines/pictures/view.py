"""One picture before it is drawn: grey values, overlays and what is written in."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from cemscope.spine import Spine, Vertebra
from cemscope.volume import CTVolume, LabelMap
from cemscope_pipelines.pictures.plane import PicturePlane
from cemscope_pipelines.pictures.sampling import (
    FloatImage,
    project_labels,
    sample_hu,
    sample_labels,
)

CEMENT, LEAKED, SCREW, OTHER_METAL = 1, 2, 3, 4
"""Labels of `materials.nii.gz`."""

MATERIALS = (CEMENT, LEAKED, SCREW, OTHER_METAL)


@dataclass(frozen=True, slots=True)
class PictureText:
    """A word at a picture's left edge, on the height of a patient point.

    Attributes
    ----------
    text : str
        What is written.
    point_lps_mm : tuple of float
        Patient point that it names.
    """

    text: str
    point_lps_mm: tuple[float, float, float]


@dataclass(frozen=True, slots=True, eq=False)
class PictureView:
    """A picture ready to be drawn.

    Attributes
    ----------
    title : str
        What is shown, e.g. "Coronal".
    caption : str
        Thickness and place.
    plane : PicturePlane
        Where its pixels lie.
    grey_hu : ndarray of float32, shape (rows, columns)
        CT values.
    material_mm : dict of int to ndarray
        Thickness of each material behind each pixel.
    outlines : dict of str to ndarray of bool
        Section of each vertebral body, by level.
    texts : tuple of PictureText
        Level names.
    long : bool
        Whether it runs along the spine (coronal, sagittal).
    canal : ndarray of bool or None
        Section of the spinal canal, in axial views.
    """

    title: str
    caption: str
    plane: PicturePlane
    grey_hu: FloatImage
    material_mm: dict[int, FloatImage]
    outlines: dict[str, npt.NDArray[np.bool_]]
    texts: tuple[PictureText, ...] = field(default=())
    long: bool = False
    canal: npt.NDArray[np.bool_] | None = None


def make_view(
    ct: CTVolume,
    spine: Spine,
    materials: LabelMap,
    plane: PicturePlane,
    *,
    title: str,
    caption: str,
    slab_mm: float,
    overlay_range_mm: tuple[float, float],
    texts: tuple[PictureText, ...] = (),
    long: bool = False,
) -> PictureView:
    """Sample everything that a picture shows.

    Parameters
    ----------
    overlay_range_mm
        Depths between which materials are projected onto the picture.
    """
    section = sample_labels(spine.labels, plane)
    outlines = {
        v.level.name: section == v.level.number
        for v in spine.vertebrae
        if bool((section == v.level.number).any())
    }
    canal = None
    if spine.canal is not None and not long:
        mask = LabelMap(spine.canal.voxels.view(np.uint8), spine.canal.geometry)
        canal = sample_labels(mask, plane) > 0
    return PictureView(
        title=title,
        caption=caption,
        plane=plane,
        grey_hu=sample_hu(ct, plane, slab_mm),
        material_mm=project_labels(materials, plane, MATERIALS, overlay_range_mm),
        outlines=outlines,
        texts=texts,
        long=long,
        canal=canal,
    )


def level_texts(
    vertebrae: tuple[Vertebra, ...], notes: dict[str, str]
) -> tuple[PictureText, ...]:
    """Level names at the picture's margin, each with its note where there is one."""
    texts = []
    for v in vertebrae:
        note = notes.get(v.level.name)
        x, y, z = (float(c) for c in v.centroid_lps_mm)
        text = v.level.name if note is None else f"{v.level.name}  {note}"
        texts.append(PictureText(text, (x, y, z)))
    return tuple(texts)
