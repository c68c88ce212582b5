"""Cement right beside a shaft: how thick it lies on each part of the surface.

The blur of metal hides what is next to it, but not where the bright matter ends. On a
bare shaft the contour at cement's half value runs at the same distance all along the
shaft; cement moves it outwards. From that shift follows the thickness of the layer,
down to a fraction of the blur, and whatever the metal reads.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage, special

from cemscope.segmentation.cement.cement_level import CementLevel
from cemscope.segmentation.implants.screw_model import ScrewModel
from cemscope.segmentation.implants.screw_profile import (
    AXIAL_STEP_MM,
    RAYS,
    CrossSections,
)
from cemscope.segmentation.implants.shaft_streaks import estimate_crest
from cemscope.segmentation.implants.slice_blur import ray_blur_mm
from cemscope.segmentation.scan_region import FloatArray, ScanRegion
from cemscope.segmentation.tissue_levels import TissueLevels
from cemscope.volume import BoolArray

THIN_MM, BLURRED_MM = 1.5, 1.2
"""The outer edge of a layer thinner than this is read with the layer, and so is its
blur, which reaches this far; thicker ones end where voxels show it themselves."""

THICKEST_MM = 4.0
"""Thicker cement reaches far beyond what metal hides."""

EVIDENT_MM = 0.3
"""Streaks and noise move a contour by less than this [ours]."""

SEEN_MM = (0.6, 2.6)
"""Cement that touches a shaft is seen in this range outside its surface."""

STEADY_PLANES, STEADY_RAYS = 5, 3
"""Contours are steadied over a thread's pitch and 45 degrees."""

LEAST_BARE_PLANES = 8

EVEN_MM, COVERED_MM = 0.15, 0.4
"""How much the contour of a bare shaft varies along it; and how far outside its model
the narrowest part must lie to count as covered, too [ours]."""


UNEVEN_ALONG_MM, UNEVEN_AROUND_MM = 0.4, 0.3
"""Cement all along a shaft is as uneven as this, along it and from side to side; what
is even is the shaft itself, whose radius was read too small [ours: cement on simulated
shafts 0.5 to 1.6 and 0.3 to 0.7 mm, bare ones up to 0.3 and 0.1 mm]."""


@dataclass(frozen=True, slots=True, eq=False)
class ShaftLayer:
    """Bright matter around a shaft.

    Attributes
    ----------
    screw : ScrewModel
        The screw.
    t_mm : ndarray, shape (planes,)
        Positions on its axis, every `AXIAL_STEP_MM`.
    thickness_mm : ndarray, shape (planes, RAYS)
        Of what lies on the surface, if it is cement.
    mantle_mm : float
        Of what is so even all along and around the shaft that it was taken for the
        shaft itself; 0 where nothing was.
    """

    screw: ScrewModel
    t_mm: FloatArray
    thickness_mm: FloatArray
    mantle_mm: float = 0.0

    def joined_to(self, region: ScanRegion, solid: BoolArray) -> "ShaftLayer":
        """Keep what is evident and hangs together with cement farther out.

        Parameters
        ----------
        region, solid
            A box of the scan and its accepted cement.
        """
        first, second = self.screw.axis.cross_vectors()
        angles = 2 * np.pi * np.arange(RAYS) / RAYS
        rays = np.cos(angles)[:, None] * first + np.sin(angles)[:, None] * second
        radius = self.screw.shaft.radius_mm + np.arange(*SEEN_MM, 0.4)
        points = self.screw.axis.at(self.t_mm)[:, None, None] + (
            rays[:, None] * radius[:, None]
        )
        index = np.round(region.geometry.lps_to_index(points)).astype(int)
        shape = np.array(solid.shape)
        inside = np.all((index >= 0) & (index < shape), axis=-1)
        index = np.where(inside[..., None], index, 0)
        touched = (solid[tuple(np.moveaxis(index, -1, 0))] & inside).any(axis=2)
        evident = self.thickness_mm >= EVIDENT_MM
        # The last ray is next to the first.
        twice = np.concatenate([evident, evident], axis=1)
        pieces, _ = ndimage.label(twice, np.ones((3, 3)))
        kept = np.unique(pieces[twice & np.concatenate([touched, touched], axis=1)])
        held = np.isin(pieces, kept[kept > 0])
        held = held[:, :RAYS] | held[:, RAYS:]
        thickness = np.where(held, self.thickness_mm, 0.0)
        return replace(self, thickness_mm=thickness)

    def share(
        self, points_lps_mm: FloatArray, voxel_mm: float
    ) -> tuple[FloatArray, FloatArray, BoolArray]:
        """Share of shaft and layer together at some points.

        Returns
        -------
        share, thickness_mm : ndarray
            At each point; 0 where no layer lies on the shaft.
        known : ndarray of bool
            Points beside the part of the shaft that was looked at.
        """
        axis = self.screw.axis
        offset = points_lps_mm - axis.point
        t = offset @ axis.forward
        first, second = axis.cross_vectors()
        across, along = offset @ first, offset @ second
        plane = np.round((t - self.t_mm[0]) / AXIAL_STEP_MM).astype(int)
        known: BoolArray = (plane >= 0) & (plane < len(self.t_mm))
        turn = np.arctan2(along, across) * (RAYS / (2.0 * np.pi))
        ray = np.mod(np.round(turn).astype(int), RAYS)
        plane = np.clip(plane, 0, len(self.t_mm) - 1)
        thickness = self.thickness_mm[plane, ray]
        outer = _surface_mm(self.screw, t) + thickness
        share = np.clip((outer - np.hypot(across, along)) / voxel_mm + 0.5, 0.0, 1.0)
        return np.where(thickness > 0.0, share, 0.0), thickness, known


def measure_layers(
    region: ScanRegion,
    screws: tuple[ScrewModel, ...],
    level: CementLevel,
    levels: TissueLevels,
) -> tuple[ShaftLayer, ...]:
    """Thickness of what would be cement around all shafts of a region."""
    layers = (_measure(region, screw, level, levels) for screw in screws)
    return tuple(layer for layer in layers if layer is not None)


def _measure(
    region: ScanRegion, screw: ScrewModel, level: CementLevel, levels: TissueLevels
) -> ShaftLayer | None:
    front = screw.tip_mm - 0.5 * screw.thread.taper_mm
    t = np.arange(screw.neck_mm + 1.0, front, AXIAL_STEP_MM)
    if t.size < LEAST_BARE_PLANES:
        return None
    sections = CrossSections.sample(region, screw.axis, t)
    # Bores and starved rays darken the inside of a shaft.
    inner = sections.radius_mm < screw.shaft.radius_mm - 0.1
    hu = sections.hu
    crest = estimate_crest(region, screw)
    if crest is not None:
        angles = 2 * np.pi * np.arange(RAYS) / RAYS
        grid = np.meshgrid(t, angles, sections.radius_mm, indexing="ij")
        hu = hu - crest.at(*grid)
    hu = np.where(inner, np.finfo(np.float32).max, hu)
    limit = levels.marrow_hu + 0.5 * (level.hu - levels.marrow_hu)
    if levels.ceiling_hu is not None:
        limit = min(limit, 0.9 * levels.ceiling_hu)
    contour = CrossSections(t, sections.radius_mm, hu).edge_mm(limit)
    turns = np.pad(contour, ((0, 0), (STEADY_RAYS, STEADY_RAYS)), mode="wrap")
    steady = ndimage.median_filter(turns, (STEADY_PLANES, STEADY_RAYS), mode="nearest")
    contour = steady[:, STEADY_RAYS:-STEADY_RAYS]
    contour -= _surface_mm(screw, t)[:, None]
    blur_mm = ray_blur_mm(screw.axis, screw.shaft.sigma_mm, region.geometry)
    models = [
        _model(screw, level.hu, levels.marrow_hu, limit, blur) for blur in blur_mm
    ]
    expected = np.array([shift[0] for _, shift in models])
    straight = t < front - screw.thread.taper_mm
    bare, mantled = _bare_contour(contour, straight, expected)
    grown = _thickness(contour - bare, models)
    mantle_mm = 0.0
    if mantled:
        mantle_mm = float(_thickness((bare - expected)[None], models).mean())
    return ShaftLayer(screw, t, np.clip(grown, 0.0, THICKEST_MM), mantle_mm)


def _thickness(
    beyond: FloatArray, models: list[tuple[FloatArray, FloatArray]]
) -> FloatArray:
    """Thickness of what moves the contour by so much, per plane and ray."""
    return np.stack(
        [
            np.interp(ray, shift - shift[0], thickness)
            for ray, (thickness, shift) in zip(beyond.T, models, strict=True)
        ],
        axis=1,
    )


def _surface_mm(screw: ScrewModel, t_mm: FloatArray) -> FloatArray:
    """Radius of the shaft over its thread, narrowing towards the tip."""
    taper = max(screw.thread.taper_mm, 1e-3)
    narrow = np.clip((screw.tip_mm - t_mm) / taper, 0.0, 1.0)
    surface: FloatArray = screw.shaft.radius_mm * narrow
    return surface


def _bare_contour(
    contour: FloatArray, used: BoolArray, expected: FloatArray
) -> tuple[FloatArray, bool]:
    """Distance of a bare shaft's contour from its surface, per ray.

    Read from the narrowest part of the shaft; from the model (``expected``, per ray)
    where that is covered. Second, whether an even mantle was taken for the shaft.
    """
    beyond = np.median(contour - expected, axis=1)
    mean = np.where(used, beyond, np.nan)
    if used.sum() < LEAST_BARE_PLANES:
        return expected, False
    narrow = float(np.nanpercentile(mean, 15.0))
    bare = used & (mean <= narrow + EVEN_MM)
    if bare.sum() < LEAST_BARE_PLANES:
        return expected, False
    along_mm = float(np.nanpercentile(mean, 80.0)) - narrow
    around_mm = float(np.median((contour - expected)[used], axis=0).std())
    uneven = along_mm > UNEVEN_ALONG_MM or around_mm > UNEVEN_AROUND_MM
    if narrow > COVERED_MM and uneven:
        return expected, False
    seen = np.median(contour[bare] - expected, axis=0)
    # Streaks are alike on both sides of a shaft; cement need not be.
    seen = np.minimum(seen, np.roll(seen, RAYS // 2) + EVEN_MM)
    taken = np.clip(seen, -COVERED_MM, 2.0 * COVERED_MM)
    return np.asarray(expected + taken), narrow > COVERED_MM


def _model(
    screw: ScrewModel,
    cement_hu: float,
    marrow_hu: float,
    limit_hu: float,
    sigma: float,
) -> tuple[FloatArray, FloatArray]:
    """Thickness of a layer, and how far outside the shaft the contour then runs."""
    thickness = np.arange(0.0, THICKEST_MM + 1.0, 0.1)
    outside = np.arange(-1.0, THICKEST_MM + 3.0, 0.05)
    metal = screw.shaft.metal_share(outside, np.full_like(outside, sigma))
    shift = np.empty_like(thickness)
    for k, layer in enumerate(thickness):
        both = np.maximum(special.ndtr((layer - outside) / sigma), metal)
        hu = metal * screw.shaft.metal_hu + (both - metal) * cement_hu
        hu += (1.0 - both) * marrow_hu
        shift[k] = outside[int(np.argmax(hu < limit_hu))]
    return thickness, np.maximum.accumulate(shift + 1e-6 * np.arange(len(shift)))
