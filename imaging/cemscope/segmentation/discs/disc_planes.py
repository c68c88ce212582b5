"""How disc-like each tilted plane across the straightened spine is.

Two signs that do not depend on how dense the marrow is against the disc:

* two endplates: bone ends below the plane and begins again above it. Each quarter of
  the plane votes for itself, and what metal or cement hides is left out;
* an open ring: the body's cortex surrounds the marrow, but stops at the disc. It is
  this sign that tells a disc from the marrow of a collapsed body, which is a dark band
  between two bright plates as well, and from a fracture line or a streak.

The thin discs of the thoracic spine and their plates melt into one bright ridge in
thick slices; such a ridge counts less, for a dense band in a body is one too.

All tilts are tried at once: tilting a plane only shifts its columns along the axis.
"""

from dataclasses import dataclass, field, replace

import numpy as np
from scipy import ndimage

from cemscope.geometry import FloatArray
from cemscope.segmentation.canal.spine_axis import SpineAxis
from cemscope.segmentation.discs.cortical_ring import RingSettings, open_ring
from cemscope.segmentation.discs.endplate_pairs import PlateSettings, endplate_pairs
from cemscope.segmentation.spine_working_volume import WorkingArray, WorkingVolume

PLATE_FROM_DISC_MM = 7
"""An endplate lies no further than this from the middle of its disc."""


@dataclass(frozen=True, slots=True)
class PlaneSettings:
    """Tunables of the planes.

    Attributes
    ----------
    steepest_fall_deg, steepest_rise_deg, largest_lateral_tilt_deg : float
        Tilts of a disc against the canal that are tried: how far it falls or rises to
        the front (L5/S1 falls steeply), and how far it rises to either side.
    tilt_step_deg : float
        Step of these tilts.
    tilt_price : float
        Likeness lost by a tilt of 30 degrees (sagittal) or 15 degrees (lateral).
    both_share : float
        Share of the likeness for which endplates and an open ring must come together;
        the rest they earn one by one, for a ring may be bridged and a plate hidden.
    clear_between : tuple of float
        Between these likenesses a disc of two plates makes ridges beside it worthless.
    least_seen : float
        Share of a plane that must be in view, free of metal and cement, to judge it.
    plates, ring
        Tunables of the two signs.
    """

    steepest_fall_deg: float = 60.0
    steepest_rise_deg: float = 40.0
    largest_lateral_tilt_deg: float = 20.0
    tilt_step_deg: float = 4.0
    tilt_price: float = 0.05
    both_share: float = 0.6
    clear_between: tuple[float, float] = (0.45, 0.7)
    least_seen: float = 0.3
    plates: PlateSettings = field(default_factory=PlateSettings)
    ring: RingSettings = field(default_factory=RingSettings)

    def sagittal_deg(self) -> FloatArray:
        """Sagittal tilts that are tried."""
        return _tilts(-self.steepest_fall_deg, self.steepest_rise_deg, self)

    def lateral_deg(self) -> FloatArray:
        """Lateral tilts that are tried."""
        largest = self.largest_lateral_tilt_deg
        return _tilts(-largest, largest, self)


@dataclass(frozen=True, slots=True, eq=False)
class DiscPlanes:
    """Likeness of every plane that was tried.

    A plane is given by its position on the bodies' axis (`BODY_DEPTH_MM` in front of
    the posterior wall) and its two tilts.

    Attributes
    ----------
    plates, ring : ndarray, shape (sagittal tilts, lateral tilts, steps)
        Endplates (0-1) and openness of the ring (0-1).
    thickness_mm : ndarray, same shape
        Distance of the endplates.
    likeness : ndarray, same shape
        Both, or a bright ridge, less the price of the tilt.
    sagittal_deg, lateral_deg : ndarray
        The tilts.
    seen : ndarray, shape (steps,)
        Share of the untilted plane that is in view and free of metal and cement.
    """

    plates: WorkingArray
    ring: WorkingArray
    thickness_mm: WorkingArray
    likeness: WorkingArray
    sagittal_deg: FloatArray
    lateral_deg: FloatArray
    seen: FloatArray

    def or_clearer(self, other: "DiscPlanes", weight: float) -> "DiscPlanes":
        """Return these planes at a weight, or the other's where that is still likelier.

        Parameters
        ----------
        other
            The same planes, judged by less of the scan.
        weight
            What the likeness of these planes counts (0-1).
        """
        lowered = np.float32(weight) * self.likeness
        other_wins = other.likeness > lowered
        return replace(
            self,
            plates=np.where(other_wins, other.plates, self.plates),
            ring=np.where(other_wins, other.ring, self.ring),
            thickness_mm=np.where(other_wins, other.thickness_mm, self.thickness_mm),
            likeness=np.where(other_wins, other.likeness, lowered),
        )


def disc_planes(
    axis: SpineAxis,
    volume: WorkingVolume,
    implants: WorkingVolume | None,
    settings: PlaneSettings,
) -> DiscPlanes:
    """Judge planes of all tilts at all steps of the axis.

    Parameters
    ----------
    axis
        The spine's axis.
    volume
        Working volume, cut at the level of cortex.
    implants
        Cement and metal (0-1); None if there are none.
    settings
        Tunables.
    """
    sagittal, lateral = settings.sagittal_deg(), settings.lateral_deg()
    tilts = (sagittal, lateral)
    pairs = endplate_pairs(axis, volume, implants, tilts, settings.plates)
    plates, thickness = pairs.likeness, pairs.thickness_mm
    ring = open_ring(axis, volume, implants, tilts, settings.ring)
    price = settings.tilt_price * (
        (sagittal[:, None] / 30.0) ** 2 + (lateral[None, :] / 15.0) ** 2
    )
    both = settings.both_share
    alone = (1 - both) / 2
    pair = both * np.sqrt(plates * ring) + alone * (plates + ring)
    ridge = pairs.ridge * _far_from_disc(pair, settings)
    thickness = np.where(ridge > pair, np.float32(0), thickness)
    priced = np.maximum(pair, ridge) - price[..., None]
    likeness: WorkingArray = np.maximum(priced, 0.0).astype(np.float32)
    # A plane that is not in view is no disc, though no cortex is seen round it.
    likeness[:, :, pairs.seen < settings.least_seen] = 0.0
    return DiscPlanes(plates, ring, thickness, likeness, sagittal, lateral, pairs.seen)


def _far_from_disc(likeness: WorkingArray, settings: PlaneSettings) -> FloatArray:
    """Tell how far (0-1) no clear disc lies beside each step.

    The endplates of a thick disc are bright ridges as well.
    """
    clearest = likeness.max(axis=(0, 1))
    beside = ndimage.maximum_filter1d(clearest, 2 * PLATE_FROM_DISC_MM + 1)
    low, high = settings.clear_between
    far: FloatArray = np.clip((high - beside) / (high - low), 0.0, 1.0)
    return far


def _tilts(low: float, high: float, settings: PlaneSettings) -> FloatArray:
    step = settings.tilt_step_deg
    count = np.arange(round(low / step), round(high / step) + 1, dtype=np.float64)
    tilts: FloatArray = count * step
    return tilts
