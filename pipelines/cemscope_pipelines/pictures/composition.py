"""Which views a case needs, and where they cut."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cemscope.findings import CementVolume, Certainty, Leak, Screw
from cemscope.spine import Spine, Vertebra
from cemscope.volume import CTVolume, LabelMap
from cemscope_pipelines.pictures.plane import (
    LongView,
    SpineCourse,
    axial_plane,
    bent_plane,
)
from cemscope_pipelines.pictures.settings import PictureSettings
from cemscope_pipelines.pictures.view import (
    CEMENT,
    LEAKED,
    PictureView,
    level_texts,
    make_view,
)
from cemscope_pipelines.report import VOLUME_DECIMALS

FloatArray = npt.NDArray[np.float64]

CORONAL_HALF_WIDTH_MM = 60.0
"""Half width of the coronal view: both rows of screw heads and the psoas."""

SAGITTAL_RANGE_MM = (-42.0, 76.0)
"""In front of and behind the centres of the bodies."""

AXIAL_HALF_WIDTH_MM = 55.0
AXIAL_BACK_SHIFT_MM = 20.0
"""The view's centre lies behind the body's, so that screw heads are in it."""

MIN_HEIGHT_MM = 140.0
"""A shorter scan is shown with black above and below, so that the layout stays."""

NEIGHBOURS_MM = 45.0
"""Shown beyond the highest and lowest implant: about one vertebra each way."""

LONG_VIEW_PIXEL_MM = 0.4
AXIAL_PIXEL_MM = 0.3


SHOWN_FROM_ML = 0.005
"""Less cement is written as 0.00 mL and gets no picture of its own."""


def shown_ml(volume_ml: float) -> str:
    """Two decimals of the volume as the report rounds it, so that both agree."""
    return f"{round(volume_ml, VOLUME_DECIMALS):.2f}"


@dataclass(frozen=True, slots=True, eq=False)
class CaseImages:
    """What the pictures of a case are made from.

    Attributes
    ----------
    ct : CTVolume
        The scan.
    spine : Spine
        Its vertebrae.
    materials : LabelMap
        1 cement within the vertebra, 2 leaked cement, 3 screw, 4 other metal.
    cement : tuple of CementVolume
        Of each vertebra where it was assessed.
    leaks, screws
        Findings.
    settings : PictureSettings
        How it is shown.
    """

    ct: CTVolume
    spine: Spine
    materials: LabelMap
    cement: tuple[CementVolume, ...]
    leaks: tuple[Leak, ...]
    screws: tuple[Screw, ...]
    settings: PictureSettings

    @property
    def augmented_levels(self) -> tuple[str, ...]:
        """Levels with cement worth a picture, from the highest to the lowest."""
        with_cement = {c.level for c in self.cement if c.volume_ml >= SHOWN_FROM_ML}
        return tuple(
            v.level.name
            for v in reversed(self.spine.vertebrae)
            if v.level.name in with_cement
        )


def _z_range_mm(images: CaseImages) -> tuple[float, float]:
    """Height shown: all vertebrae, or the treated ones and their neighbours."""
    vertebrae = images.spine.vertebrae
    treated = set(images.augmented_levels) | {s.level for s in images.screws}
    everything = [float(v.centroid_lps_mm[2]) for v in vertebrae]
    shown = [float(v.centroid_lps_mm[2]) for v in vertebrae if v.level.name in treated]
    leaks = [leak.centroid_lps_mm[2] for leak in images.leaks]
    margin_mm = images.settings.margin_mm
    low, high = min(everything) - margin_mm, max(everything) + margin_mm
    if shown:
        wanted = shown + leaks
        low = max(low, min(wanted) - NEIGHBOURS_MM)
        high = min(high, max(wanted) + NEIGHBOURS_MM)
    corners = images.ct.geometry.corners_lps_mm()[:, 2]
    half_slice_mm = max(images.ct.spacing_mm) / 2.0
    low = max(low, float(corners.min()) - half_slice_mm)
    high = min(high, float(corners.max()) + half_slice_mm)
    lacking = max(0.0, MIN_HEIGHT_MM - (high - low))
    return low - lacking / 2.0, high + lacking / 2.0


def _notes(images: CaseImages) -> dict[str, str]:
    return {
        c.level: f"{shown_ml(c.volume_ml)} mL"
        for c in images.cement
        if c.volume_ml >= SHOWN_FROM_ML
    }


def long_views(images: CaseImages) -> tuple[PictureView, PictureView]:
    """Coronal and sagittal slab along the spine."""
    settings, course = images.settings, SpineCourse.of(images.spine)
    low, high = z_range = _z_range_mm(images)
    middle = np.linspace(low, high, 9)
    x = float(course.x_at(middle).mean())
    y_low = float(course.y_at(middle).min()) + SAGITTAL_RANGE_MM[0]
    y_high = float(course.y_at(middle).max()) + SAGITTAL_RANGE_MM[1]
    x_range = (x - CORONAL_HALF_WIDTH_MM, x + CORONAL_HALF_WIDTH_MM)
    vertebrae = tuple(
        v for v in images.spine.vertebrae if low < v.centroid_lps_mm[2] < high
    )
    caption = f"slab {settings.slab_mm:.0f} mm along the bodies"
    coronal = make_view(
        images.ct, images.spine, images.materials,
        bent_plane(course, LongView.CORONAL, z_range, x_range, LONG_VIEW_PIXEL_MM),
        title="Coronal", caption=caption, slab_mm=settings.slab_mm,
        overlay_range_mm=SAGITTAL_RANGE_MM,
        texts=level_texts(vertebrae, _notes(images)), long=True,
    )  # fmt: skip
    sagittal = make_view(
        images.ct, images.spine, images.materials,
        bent_plane(
            course, LongView.SAGITTAL, z_range, (y_low, y_high), LONG_VIEW_PIXEL_MM
        ),
        title="Sagittal", caption=caption, slab_mm=settings.slab_mm,
        overlay_range_mm=(-CORONAL_HALF_WIDTH_MM, CORONAL_HALF_WIDTH_MM),
        texts=level_texts(vertebrae, {}), long=True,
    )  # fmt: skip
    return coronal, sagittal


def _box_around(
    images: CaseImages, centre: FloatArray, radius_mm: float
) -> tuple[slice, slice, slice]:
    geometry = images.ct.geometry
    index = geometry.lps_to_index(centre)
    reach = radius_mm / np.asarray(geometry.spacing_mm)
    low = np.clip(np.floor(index - reach), 0, np.array(geometry.shape) - 1).astype(int)
    high = np.clip(np.ceil(index + reach) + 1, low + 1, geometry.shape).astype(int)
    return (
        slice(int(low[0]), int(high[0])),
        slice(int(low[1]), int(high[1])),
        slice(int(low[2]), int(high[2])),
    )


def _best_height_mm(images: CaseImages, vertebra: Vertebra) -> float:
    """Height along the vertebra's axis, over its centre, with most of its cement."""
    box = _box_around(images, vertebra.centroid_lps_mm, 50.0)
    materials = images.materials.labels[box]
    labels = images.spine.labels.labels[box]
    own = (labels == vertebra.level.number) | (labels == vertebra.level.arch_number)
    cement = np.argwhere((materials == CEMENT) & own)
    if len(cement) == 0:
        cement = np.argwhere(materials == LEAKED)
    if len(cement) == 0:
        return 0.0
    points = images.ct.geometry.crop(box).index_to_lps(cement)
    heights = vertebra.frame.to_local_mm(points)[:, 2]
    heights = heights[np.abs(heights) < 22.0]
    if heights.size == 0:
        return 0.0
    counts, edges = np.histogram(heights, bins=np.arange(-22.0, 22.5, 0.5))
    smooth = ndimage.gaussian_filter1d(counts.astype(float), 4.0)
    return float(edges[int(np.argmax(smooth))] + 0.25)


def _nearest_vertebra(images: CaseImages, level: str) -> Vertebra | None:
    for vertebra in images.spine.vertebrae:
        if vertebra.level.name == level:
            return vertebra
    return None


def _axial(
    images: CaseImages, vertebra: Vertebra, height_mm: float, title: str, caption: str
) -> PictureView:
    centre = vertebra.frame.to_lps_mm((0.0, AXIAL_BACK_SHIFT_MM, height_mm))
    slab_mm = images.settings.axial_slab_mm
    return make_view(
        images.ct, images.spine, images.materials,
        axial_plane(vertebra, centre, AXIAL_HALF_WIDTH_MM, AXIAL_PIXEL_MM),
        title=title, caption=f"{caption}; slab {slab_mm:.0f} mm",
        slab_mm=slab_mm, overlay_range_mm=(-slab_mm / 2.0, slab_mm / 2.0),
    )  # fmt: skip


def axial_view(images: CaseImages, level: str) -> PictureView:
    """Axial view of a vertebra where it holds most cement.

    Raises
    ------
    KeyError
        If the level is not in the scan.
    """
    vertebra = images.spine.vertebra(level)
    note = _notes(images).get(level)
    caption = "no cement" if note is None else f"most cement, {note} in all"
    return _axial(
        images, vertebra, _best_height_mm(images, vertebra), f"Axial {level}", caption
    )


LEAK_HALF_WIDTH_MM = 40.0
"""Half width of a leak's picture: most of the body beside it."""

LEAK_PIXEL_MM = 0.25


def leak_title(leak: Leak) -> str:
    """Name of a leak's picture, with its type."""
    kinds = "".join(kind.value for kind in leak.types)
    told = f"type {kinds}" if kinds else "type not told"
    if kinds and leak.certainty is Certainty.INDETERMINATE:
        told += "?"
    return f"Leak {leak.leak_id}, {told}"


def leak_view(images: CaseImages, leak: Leak) -> PictureView | None:
    """Axial view centred on a leak; None if its vertebra is not in view."""
    vertebra = _nearest_vertebra(images, leak.level)
    if vertebra is None:
        return None
    place = ", ".join(leak.locations).replace("_", " ") or "place not told"
    words = [f"{shown_ml(leak.volume_ml)} mL", place]
    share = leak.canal_encroachment_percent
    if isinstance(share, float) and share >= SHOWN_FROM_PERCENT:
        words.append(f"{share:.0f} % of the canal")
    if all(leak.level != one.level for one in images.cement):
        words.insert(1, f"{leak.level} not assessed")
    slab_mm = images.settings.axial_slab_mm
    return make_view(
        images.ct, images.spine, images.materials,
        axial_plane(
            vertebra, leak.centroid_lps_mm, LEAK_HALF_WIDTH_MM, LEAK_PIXEL_MM
        ),
        title=leak_title(leak), caption=", ".join(words),
        slab_mm=slab_mm, overlay_range_mm=(-slab_mm / 2.0, slab_mm / 2.0),
    )  # fmt: skip


SHOWN_FROM_PERCENT = 0.5
"""Less of the canal is written as nothing."""


def worst_axial_view(images: CaseImages) -> PictureView:
    """Axial view through the largest leak, else most cement, else a screw or body."""
    for leak in sorted(images.leaks, key=lambda one: -one.volume_ml):
        view = leak_view(images, leak)
        if view is not None:
            return view
    if images.augmented_levels:
        volumes = {c.level: c.volume_ml for c in images.cement}
        return axial_view(images, max(images.augmented_levels, key=volumes.__getitem__))
    in_view = {v.level.name for v in images.spine.vertebrae}
    for screw in images.screws:
        if screw.level in in_view:
            return axial_view(images, screw.level)
    middle = images.spine.vertebrae[len(images.spine.vertebrae) // 2]
    return axial_view(images, middle.level.name)
