"""Bright streaks beside a shaft, as the scan itself shows them where it is bare.

A screw lies nearly in the slice plane: the rays along it meet several centimetres of
metal, their attenuation is underestimated (beam hardening, scatter, starved quanta),
and reconstruction answers with a bright crest on both sides of the shaft in the slice
plane (De Man 1999, doi:10.1109/23.775600). A crest reaches 1,000 to 1,400 HU next to
titanium: as much as weakly opaque cement. Neighbouring cross-sections share the
underestimated rays, and so the crest: what bare sections show at the same angle and
distance, on both sides, is the metal's, not the bone's.

Sections with cement all around are left as they are: there the crest is weaker (it
fades towards the tip), and taking it off would cost cement.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from cemscope.segmentation.implants.screw_model import ScrewModel
from cemscope.segmentation.implants.screw_profile import (
    AXIAL_STEP_MM,
    RADIAL_STEP_MM,
    RAYS,
    CrossSections,
)
from cemscope.segmentation.implants.slice_blur import ray_blur_mm
from cemscope.segmentation.scan_region import FloatArray, ScanRegion
from cemscope.volume import BoolArray

CREST_REACH_MM = 6.0
"""Crests fall with the distance; farther out they are fainter than bone [ours]."""

OPEN_HU = 350.0
"""Beside a bare shaft a quarter of the ring is no brighter than spongy bone and a
crest's foot. Around a shaft in cement everything is brighter [ours]."""

OPEN_RING_MM = (1.2, 2.4)
"""The ring that tells a bare cross-section, outside the surface."""

WINDOW_MM, LEAST_BARE_MM = 14.0, 4.0
"""The crest is read from the bare sections within this length, if there are enough."""

SHARED_QUANTILE = 0.35
"""The crest is what most bare sections show: cortex, cement on one side and the wall of
the pedicle are met by fewer of them [ours]."""

SIDES_DIFFER = 1.6
"""A second screw strengthens the crest on its side by no more than this [ours]."""

LEAST_CREST_HU = 60.0
"""About twice the noise of a body CT: fainter crests are left alone."""

_STATION_MM = 2.0


@dataclass(frozen=True, slots=True, eq=False)
class ShaftCrest:
    """Brightness that a shaft adds to its surroundings.

    Attributes
    ----------
    start_mm : float
        Position of the first cross-section on the axis.
    hu : ndarray, shape (planes, RAYS, steps)
        Excess over the surroundings, every `AXIAL_STEP_MM` along the axis, by angle
        and distance from the axis.
    """

    start_mm: float
    hu: FloatArray

    def at(
        self, t_mm: FloatArray, angle_rad: FloatArray, radius_mm: FloatArray
    ) -> FloatArray:
        """Interpolate the excess; angles count from the first cross vector."""
        turn = np.mod(angle_rad * (RAYS / (2.0 * np.pi)), RAYS)
        # One ray is repeated so that the last and the first are neighbours.
        wrapped = np.concatenate([self.hu, self.hu[:, :1]], axis=1)
        plane = (t_mm - self.start_mm) / AXIAL_STEP_MM
        values: FloatArray = ndimage.map_coordinates(
            wrapped, np.stack([plane, turn, radius_mm / RADIAL_STEP_MM]), order=1
        )
        return values


def estimate_crest(region: ScanRegion, screw: ScrewModel) -> ShaftCrest | None:
    """Read the crest of a shaft from its bare cross-sections.

    Returns
    -------
    ShaftCrest or None
        None where too little of the shaft is bare, or no crest is seen.
    """
    shaft = screw.shaft
    t = np.arange(screw.neck_mm, screw.tip_mm, AXIAL_STEP_MM)
    if t.size * AXIAL_STEP_MM < LEAST_BARE_MM:
        return None
    sections = CrossSections.sample(region, screw.axis, t)
    outside = sections.radius_mm - shaft.radius_mm
    bare = _bare(sections, outside)
    blur_mm = ray_blur_mm(screw.axis, shaft.sigma_mm, region.geometry)
    spill = shaft.metal_share(outside, blur_mm[:, None])
    hu = sections.hu - spill * shaft.metal_hu
    hu = hu / np.maximum(1.0 - spill, 0.5)
    stations = np.arange(0, t.size, round(_STATION_MM / AXIAL_STEP_MM))
    tables = np.stack(
        [
            _crest_near(hu[bare & (np.abs(t - t[k]) <= 0.5 * WINDOW_MM)])
            for k in stations
        ]
    )
    tables[:, :, (outside < 0.0) | (outside > CREST_REACH_MM)] = 0.0
    crest = ndimage.map_coordinates(
        tables,
        np.meshgrid(
            np.arange(t.size) / (stations[1] if stations.size > 1 else 1),
            *(np.arange(n) for n in tables.shape[1:]),
            indexing="ij",
        ),
        order=1,
        mode="nearest",
    )
    open_share = ndimage.uniform_filter1d(bare.astype(float), 3, mode="nearest")
    crest *= open_share[:, None, None]
    return ShaftCrest(float(t[0]), crest) if crest.any() else None


def _bare(sections: CrossSections, outside: FloatArray) -> BoolArray:
    """Cross-sections of which streaks leave a quarter alone or darken it."""
    ring = (outside >= OPEN_RING_MM[0]) & (outside <= OPEN_RING_MM[1])
    darker = np.quantile(sections.hu[:, :, ring].mean(axis=2), 0.25, axis=1)
    bare: BoolArray = ndimage.median_filter(darker, 5, mode="nearest") < OPEN_HU
    return bare


def _crest_near(hu: FloatArray) -> FloatArray:
    """Excess that some bare sections share, shape (RAYS, steps)."""
    if len(hu) * AXIAL_STEP_MM < LEAST_BARE_MM:
        return np.zeros(hu.shape[1:])
    shared = np.quantile(hu, SHARED_QUANTILE, axis=0)
    # Spongy bone without a crest: the darker half of the angles, at each distance.
    usual = np.maximum(np.quantile(shared, 0.4, axis=0), 0.0)
    crest = np.maximum(shared - usual, 0.0)
    # Bone differs from angle to angle, too: a crest is alike on both sides.
    crest = np.minimum(crest, np.roll(crest, RAYS // 2, axis=0) * SIDES_DIFFER)
    crest[crest < LEAST_CREST_HU] = 0.0
    return crest
