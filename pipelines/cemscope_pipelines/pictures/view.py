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
class PictureSettings:
    """How pictures are made.

    Attributes
    ----------
    window_centre_hu, window_width_hu : float
        Grey scale; the default is a bone window that keeps cement below white.
    slab_mm : float
        Thickness of the coronal and sagittal slabs.
    axial_slab_mm : float
        Thickness of the axial views.
    margin_mm : float
        Shown above the highest and below the lowest vertebra of interest.
    max_axial_views : int
        At most so many axial views in the HTML report.
    """

    window_centre_hu: float = 600.0
    window_width_hu: float = 2000.0
    slab_mm: float = 12.0
    axial_slab_mm: float = 3.0
    margin_mm: float = 22.0
    max_axial_views: int = 24

    def __post_init__(self) -> None:
        for name in ("window_width_hu", "slab_mm", "axial_slab_mm"):
            if getattr(self, name) <= 0.0:
                raise ValueError(f"expected {name} > 0, found {getattr(self, name)}")
        if self.margin_mm < 0.0 or self.max_axial_views < 0:
            raise ValueError("expected margin_mm and max_axial_views of at least 0")

    @property
    def window_hu(self) -> tuple[float, float]:
        """Black and white end of the grey scale."""
        half = self.window_width_hu / 2.0
        return self.window_centre_hu - half, self.window_centre_hu + half


@dataclass(frozen=True, slots=True)
class PictureText:
    """A word written beside a patient point.

    Attributes
    ----------
    text : str
        What is written.
    point_lps_mm : tuple of float
        Patient point whose height or place it names.
    at_margin : bool
        Written at the picture's left edge, on the height of the point.
    """

    text: str
    point_lps_mm: tuple[float, float, float]
    at_margin: bool = True


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
        Level names and other words.
    """

    title: str
    caption: str
    plane: PicturePlane
    grey_hu: FloatImage
    material_mm: dict[int, FloatImage]
    outlines: dict[str, npt.NDArray[np.bool_]]
    texts: tuple[PictureText, ...] = field(default=())


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
    return PictureView(
        title=title,
        caption=caption,
        plane=plane,
        grey_hu=sample_hu(ct, plane, slab_mm),
        material_mm=project_labels(materials, plane, MATERIALS, overlay_range_mm),
        outlines=outlines,
        texts=texts,
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
