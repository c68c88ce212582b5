"""What the curved pictures along the spine show, before they are drawn."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cemscope.spine import Spine
from cemscope.volume import CTVolume
from cemscope_pipelines.pictures.centre_line import CentreLine
from cemscope_pipelines.pictures.composition import CaseImages
from cemscope_pipelines.pictures.curved_plane import curved_plane
from cemscope_pipelines.pictures.level_measures import Box, label_boxes
from cemscope_pipelines.pictures.plane import LongView, PicturePlane
from cemscope_pipelines.pictures.sampling import (
    FloatImage,
    depths_mm,
    project_labels,
    sample_layer,
)
from cemscope_pipelines.pictures.view import MATERIALS

FloatArray = npt.NDArray[np.float64]

SAGITTAL_ACROSS_MM = (-60.0, 70.0)
CORONAL_ACROSS_MM = (-64.0, 44.0)
PEDICLE_ACROSS_MM = (-64.0, 64.0)
"""Shown to both sides of the bodies: to the tips of the spinous processes; bodies and
psoas (more on the side of the names); transverse processes, the first part of the ribs
and the sacral alae."""

PEDICLE_DEPTH_MM = (-4.0, 16.0)
"""Depth over which the densest voxel is shown, so that a rib can be followed."""

MATERIAL_DEPTH_MM = (-5.0, 5.0)
"""Cement and metal are shown from so far before and behind the picture."""

MIN_PIXEL_MM, MIN_PIXEL_SHORT_MM = 0.5, 0.3
TALLEST_PX, WIDEST_PX = 1000, 740
"""Pixels are as small as the rows of the tallest and the columns of all pictures allow:
side by side, with what stands beside them, they fill the width of the report."""

SHORT_MM = 90.0
"""A scan of three vertebrae or less is shown larger and without the view of pedicles
and ribs, which is for counting levels."""

LAYER_MM = 1.5
"""Distance between the layers of a slab."""


@dataclass(frozen=True, slots=True, eq=False)
class SpineView:
    """One curved picture.

    Attributes
    ----------
    title : str
        What is shown.
    plane : PicturePlane
        Where its pixels lie.
    grey_hu : ndarray of float32, shape (rows, columns)
        CT values.
    bodies, arches : dict of str to ndarray of float32
        Share of each pixel inside the outline of a level, 0 to 1, where there is any.
    canal : ndarray of float32 or None
        The same of the spinal canal.
    material_mm : dict of int to ndarray
        Thickness of cement and metal near the picture.
    """

    title: str
    plane: PicturePlane
    grey_hu: FloatImage
    bodies: dict[str, FloatImage]
    arches: dict[str, FloatImage]
    canal: FloatImage | None
    material_mm: dict[int, FloatImage]


def _grey(
    ct: CTVolume, plane: PicturePlane, depth_mm: tuple[float, float], densest: bool
) -> FloatImage:
    """Mean or highest HU over a range of depths; black beyond the scan."""
    low, high = depth_mm
    layers = depths_mm(high - low, LAYER_MM) + (low + high) / 2.0
    grey = sample_layer(ct, plane, float(layers[0]))
    for depth in layers[1:]:
        layer = sample_layer(ct, plane, float(depth))
        if densest:
            np.maximum(grey, layer, out=grey)
        else:
            grey += layer
    return grey if densest else grey / np.float32(len(layers))


def _section(
    voxels: npt.NDArray[np.bool_], start: tuple[int, ...], index: FloatArray
) -> FloatImage | None:
    """Share of each pixel inside a crop of voxels; None where it is not met.

    Linear between the voxels, so that the line at 0.5 has no stairs.

    Parameters
    ----------
    start
        First voxel of the crop.
    index
        Voxel index of each pixel, shape (rows, columns, 3).
    """
    padded = np.pad(voxels, 1).astype(np.float32)
    low = np.array(start) - 1.0
    high = low + np.array(padded.shape) - 1.0
    near = ((index > low) & (index < high)).all(axis=-1)
    if not near.any():
        return None
    share = np.zeros(near.shape, np.float32)
    share[near] = ndimage.map_coordinates(padded, (index[near] - low).T, order=1)
    return share if float(share.max()) > 0.5 else None


def _sections(
    spine: Spine, index: FloatArray, boxes: dict[int, Box], arches: bool
) -> dict[str, FloatImage]:
    """Sections of all bodies, or of all arches, that a picture meets."""
    found = {}
    for vertebra in spine.vertebrae:
        level = vertebra.level
        number = level.arch_number if arches else level.number
        if number not in boxes:
            continue
        box = boxes[number]
        voxels = spine.labels.labels[box] == number
        share = _section(voxels, tuple(part.start for part in box), index)
        if share is not None:
            found[level.name] = share
    return found


@dataclass(frozen=True, slots=True, eq=False)
class SpineBoxes:
    """Smallest boxes around what is outlined.

    Attributes
    ----------
    labels : dict of int to box
        From `label_boxes`.
    canal : box or None
        Around the spinal canal, where there is one.
    """

    labels: dict[int, Box]
    canal: Box | None

    @classmethod
    def of(cls, spine: Spine) -> "SpineBoxes":
        """Look for the outlines once."""
        canal = None
        if spine.canal is not None:
            found = ndimage.find_objects(spine.canal.voxels.view(np.uint8))
            canal = found[0] if found else None
        return cls(label_boxes(spine.labels), canal)


def _view(
    images: CaseImages,
    boxes: SpineBoxes,
    title: str,
    plane: PicturePlane,
    *,
    behind: bool,
) -> SpineView:
    spine, half_mm = images.spine, images.settings.curved_depth_mm / 2.0
    depth_mm = PEDICLE_DEPTH_MM if behind else (-half_mm, half_mm)
    index = spine.labels.geometry.lps_to_index(plane.points_lps_mm)
    canal = None
    if spine.canal is not None and boxes.canal is not None:
        start = tuple(part.start for part in boxes.canal)
        canal = _section(spine.canal.voxels[boxes.canal], start, index)
    return SpineView(
        title=title,
        plane=plane,
        grey_hu=_grey(images.ct, plane, depth_mm, densest=behind),
        bodies={} if behind else _sections(spine, index, boxes.labels, arches=False),
        arches=_sections(spine, index, boxes.labels, arches=True),
        canal=canal,
        material_mm=project_labels(
            images.materials, plane, MATERIALS,
            PEDICLE_DEPTH_MM if behind else MATERIAL_DEPTH_MM,
        ),
    )  # fmt: skip


_WantedView = tuple[str, CentreLine, LongView, tuple[float, float]]
"""Title, line, direction and what is shown across."""


def spine_views(images: CaseImages, boxes: SpineBoxes) -> tuple[SpineView, ...]:
    """Sagittal, coronal through the bodies and, in most scans, through the pedicles.

    Parameters
    ----------
    boxes
        Around the outlines.
    """
    line = CentreLine.of(images.spine, images.ct.geometry)
    short = line.along_mm[-1] < SHORT_MM
    pedicles = line.through_pedicles(images.spine)
    wanted: tuple[_WantedView, ...] = (
        ("Sagittal", line, LongView.SAGITTAL, SAGITTAL_ACROSS_MM),
        ("Coronal, bodies", line, LongView.CORONAL, CORONAL_ACROSS_MM),
        ("Coronal, pedicles and ribs", pedicles, LongView.CORONAL, PEDICLE_ACROSS_MM),
    )
    if short:
        wanted = wanted[:2]
    rough_mm = 1.0
    rough = [curved_plane(c, d, across, rough_mm) for _, c, d, across in wanted]
    pixel_mm = max(
        MIN_PIXEL_SHORT_MM if short else MIN_PIXEL_MM,
        max(plane.height_mm for plane in rough) / TALLEST_PX,
        sum(plane.width_mm for plane in rough) / WIDEST_PX,
    )
    views = []
    for title, course, direction, across in wanted:
        plane = curved_plane(course, direction, across, pixel_mm)
        behind = course is pedicles
        views.append(_view(images, boxes, title, plane, behind=behind))
    return tuple(views)
