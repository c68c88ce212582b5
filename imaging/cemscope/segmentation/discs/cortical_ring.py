"""Where the cortex round the bodies stops: an open ring marks a disc."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from cemscope.geometry import FloatArray
from cemscope.segmentation.canal.spine_axis import AXIS_STEP_MM, SpineAxis
from cemscope.segmentation.discs.disc import BODY_DEPTH_MM
from cemscope.segmentation.discs.tilted_columns import TiltedColumns
from cemscope.segmentation.spine_working_volume import WorkingArray, WorkingVolume
from cemscope.volume import BoolArray

RING_ANGLES_RAD = np.radians(np.arange(-170.0, -9.0, 10.0))
"""Front half of the ring round the body's axis: 0 is left, -90 degrees is in front.
Behind it pedicles, ribs and facets hide whether the cortex stops."""

RING_RADII_MM = np.arange(9.0, 37.0)
"""Where the cortex may lie, to the side; somewhat nearer in front. From a T5 of a small
woman to an L5 of a large man, half a body's width is 12 to 29 mm."""

RING_FLATTENING = 0.85
"""Depth of a body's ring against its width (Panjabi 1992, doi:10.1097/
00007632-199203000-00010: 34 mm against 42 mm at L1)."""

BEYOND_RING_MM = 6.0
"""The cortex is looked for so far beyond its usual place: endplates overhang the waist
by 3-5 mm. Further out lie ribs, the aorta's wall, and other bones."""

RING_SMOOTH_MM = 25.0
"""Gaussian sigma, along the spine, of that usual place."""

USUAL_RING_MM = 17.0
"""Where the ring of a tilted plane is taken to lie: gives only its height."""

LEAST_SOFT_HU = 60.0
"""The annulus of a disc is no darker than muscle."""

MOST_SOFT_HU = 140.0
"""Nor brighter than this with its noise, of which the brightest on a ray is read;
where no disc opens the ring, the darkest steps are the waists of the bodies."""

RIM_NEAR_MM, RIM_FAR_MM = 2, 12
"""Beyond a disc of 4-14 mm the rims of the bodies close the ring within this way."""


@dataclass(frozen=True, slots=True)
class RingSettings:
    """Tunables of the ring.

    Attributes
    ----------
    implant_share : float
        From this content (0-1) on, a voxel counts as metal or cement.
    least_seen : float
        Share of the ring that must be in view to judge it.
    least_contrast_hu : float
        Least difference of cortex and soft tissue on the ring that is believed.
    soft_percentile, bone_percentile : float
        Percentiles, over the steps in view, of soft tissue and of cortex: about a
        quarter of the spine's length is disc.
    """

    implant_share: float = 0.3
    least_seen: float = 0.3
    least_contrast_hu: float = 60.0
    soft_percentile: float = 8.0
    bone_percentile: float = 60.0


def open_ring(
    axis: SpineAxis,
    volume: WorkingVolume,
    implants: WorkingVolume | None,
    tilts_deg: tuple[FloatArray, FloatArray],
    settings: RingSettings,
) -> WorkingArray:
    """Tell how far no cortex surrounds each plane, though it does above and below.

    Parameters
    ----------
    axis
        The spine's axis.
    volume
        Working volume, cut at the level of cortex.
    implants
        Cement and metal (0-1); None if there are none.
    tilts_deg
        Sagittal and lateral tilts.
    settings
        Tunables.

    Returns
    -------
    ndarray, shape (sagittal, lateral, steps)
        0 (closed, or not in view) to 1 (open all round).
    """
    sagittal, lateral = tilts_deg
    count = len(axis)
    left = np.cos(RING_ANGLES_RAD)
    ahead = -np.sin(RING_ANGLES_RAD) * RING_FLATTENING
    points = (
        axis.points_lps_mm[:, None, None]
        + axis.posterior[:, None, None]
        * (
            (axis.wall_mm - BODY_DEPTH_MM)[:, None, None]
            - ahead[:, None] * RING_RADII_MM
        )[..., None]
        + axis.left[:, None, None] * (left[:, None] * RING_RADII_MM)[..., None]
    )
    values = volume.sample(points)
    known = volume.sample_inside(points) > 0.5
    if implants is not None:
        known &= implants.sample(points) <= settings.implant_share
    near = _usual_radius(values, known)[:, None] + BEYOND_RING_MM >= RING_RADII_MM
    near = near[:, None]
    values = ndimage.uniform_filter1d(values, 2, axis=2)
    brightest = np.where(known & near, values, -1000.0).max(axis=2)
    judged = (known & near).sum(axis=2) >= 0.8 * near.sum(axis=2)
    enough = judged.mean(axis=1) > 0.7
    result = np.zeros((len(sagittal), len(lateral), count), np.float32)
    if not enough.any():
        return result
    levels = [
        np.median(row[ok])
        for row, ok in zip(brightest, judged, strict=True)
        if ok.mean() > 0.7
    ]
    soft_hu, bone_hu = np.percentile(
        levels, [settings.soft_percentile, settings.bone_percentile]
    )
    soft_hu = float(np.clip(soft_hu, LEAST_SOFT_HU, MOST_SOFT_HU))
    bone_hu = max(bone_hu, soft_hu + settings.least_contrast_hu)
    share = np.clip((bone_hu - brightest) / (bone_hu - soft_hu), 0.0, 1.0) * judged
    columns = np.stack([share.T, judged.T]).astype(np.float32)
    every = (np.ones(len(RING_ANGLES_RAD), np.bool_),)
    side = np.tan(np.radians(lateral))[:, None] * left * USUAL_RING_MM
    for k, alpha in enumerate(sagittal):
        rise = np.tan(np.radians(alpha)) * ahead * USUAL_RING_MM + side
        total, weight = TiltedColumns(rise, count).sums(columns, every)[:, 0]
        seen = weight >= settings.least_seen * len(RING_ANGLES_RAD)
        result[k] = np.where(seen, total / np.maximum(weight, 1.0), 0.0)
    return np.asarray(result * _closed_beside(result), np.float32)


def _usual_radius(values: WorkingArray, known: BoolArray) -> FloatArray:
    """Radius, per step, at which the ring of cortex usually lies hereabouts.

    Parameters
    ----------
    values, known : ndarray, shape (steps, angles, radii)
        What the rays meet, and what is in view and no implant.
    """
    weight = known.sum(axis=1).astype(np.float64)
    total = np.where(known, values, 0.0).sum(axis=1)
    sigma = RING_SMOOTH_MM / AXIS_STEP_MM
    total, weight = (
        ndimage.gaussian_filter1d(x, sigma, axis=0, mode="nearest")
        for x in (total, weight)
    )
    profile = total / np.maximum(weight, 1e-6)
    # The outer side of the ring is where bone ends for good.
    inner = ndimage.uniform_filter1d(profile, 3, axis=1, mode="nearest")
    outer = ndimage.uniform_filter1d(profile, 5, axis=1, mode="nearest")
    drop = inner[:, :-5] - outer[:, 5:]
    usual: FloatArray = ndimage.gaussian_filter1d(
        RING_RADII_MM[drop.argmax(axis=1)], sigma / 2, mode="nearest"
    )
    return usual


def _closed_beside(ring: WorkingArray) -> WorkingArray:
    """How far the ring is closed (0-1) both a little below and a little above.

    In front of the sacrum and beyond the spine there is no cortex anywhere.
    """
    near, far = RIM_NEAR_MM, RIM_FAR_MM
    middle = (near + far) // 2
    lowest = ndimage.minimum_filter1d(ring, far - near + 1, axis=2, mode="nearest")
    padded = np.pad(lowest, ((0, 0), (0, 0), (middle, middle)), mode="edge")
    count = ring.shape[2]
    below, above = padded[..., :count], padded[..., 2 * middle : 2 * middle + count]
    closed: WorkingArray = 1.0 - np.maximum(below, above)
    return closed
