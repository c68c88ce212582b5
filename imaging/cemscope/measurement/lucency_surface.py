"""The unrolled surface of a shaft with its rim, and the limits that judge it."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from cemscope.findings import Side
from cemscope.measurement.lucency_power import PowerSettings
from cemscope.measurement.lucency_profiles import ProfileSettings
from cemscope.measurement.lucency_surroundings import WidthSettings
from cemscope.measurement.lucency_window import WindowSettings
from cemscope.segmentation.scan_region import FloatArray
from cemscope.volume import BoolArray


@dataclass(frozen=True, slots=True)
class LucencySettings:
    """Limits of the lucent rim.

    Attributes
    ----------
    thickest_slice_mm
        Thicker slices (distance or thickness) are not assessed.
    lucent_width_mm
        A place counts as lucent from this width ...
    lucent_probability
        ... if it is that wide with this probability.
    suspicious_width_mm, suspicious_arc_deg, suspicious_length_fraction
        Suspicious: a rim of this mean width over this arc and share of the length in
        bone (definition: >= 1 mm, Wu 2019).
    loose_width_mm
        Loose: suspicious, and this wide.
    rim_hu
        A double halo's outer line is this much denser than the patient's marrow ...
    rim_fraction
        ... over this share of the lucent rim.
    doubtful_length_fraction
        A screw with a rim of that width along this share, but not of the size asked
        for, is not assessed rather than without a rim.
    told_share, sure_share
        A gap that the whole shaft tells of is confirmed where this share of its places
        shows it; less is asked for where its evidence is beyond doubt. Tight shafts
        beside which a gap was told show it at 0.62 of the places and less, gaps of
        1.5 mm and more mostly at 0.6 and more [ours, tuning seeds].
    measuring_error_mm
        Widths within this of a limit reach it: bias to be expected of the method.
    least_seen_fraction
        Less of the surface in bone seen, cement left out: not assessed.
    least_length_mm
        Nor a shaft with less length in bone outside cement.
    largest_radius_deviation_mm
        Nor a shaft whose radius is not known better: every width errs as it does.
    least_contrast_hu
        Marrow must be so much denser than a gap to be told from it.
    hidden_deviation_mm
        A place whose width is not known better than this is not seen.
    wall_margin_mm
        A dark zone that ends this near to the cortex may end at it: not seen.
    dark_streak_hu, bright_streak_hu
        Surroundings so far below or above the patient's marrow are streaks, not bone.
    profiles, widths, window
        How profiles are read, judged place by place, and over the whole shaft.
    power
        The gap that must not be missed where none is told.
    """

    thickest_slice_mm: float = 1.5
    lucent_width_mm: float = 0.7
    lucent_probability: float = 0.5
    suspicious_width_mm: float = 1.0
    suspicious_arc_deg: float = 90.0
    suspicious_length_fraction: float = 1.0 / 3.0
    loose_width_mm: float = 2.0
    rim_hu: float = 100.0
    rim_fraction: float = 0.5
    doubtful_length_fraction: float = 0.1
    told_share: float = 0.7
    sure_share: float = 0.5
    measuring_error_mm: float = 0.2
    least_seen_fraction: float = 0.3
    least_length_mm: float = 8.0
    largest_radius_deviation_mm: float = 0.25
    least_contrast_hu: float = 40.0
    hidden_deviation_mm: float = 0.8
    wall_margin_mm: float = 0.3
    dark_streak_hu: float = 170.0
    bright_streak_hu: float = 700.0
    profiles: ProfileSettings = field(default_factory=ProfileSettings)
    widths: WidthSettings = field(default_factory=WidthSettings)
    window: WindowSettings = field(default_factory=WindowSettings)
    power: PowerSettings = field(default_factory=PowerSettings)

    @property
    def wall_mm(self) -> float:
        """A dark zone that ends this near to the outline may end at the cortex."""
        return self.widths.cortex_mm + self.wall_margin_mm


@dataclass(frozen=True, slots=True, eq=False)
class LucencyMap:
    """The unrolled surface of one shaft, arrays (planes, angles).

    Attributes
    ----------
    level : str
        Vertebra.
    side : Side
        Side of the screw.
    t_mm : ndarray, shape (planes,)
        Position on the axis, from the head's centre.
    in_body : ndarray of bool, shape (planes,)
        Body, else pedicle or arch.
    state : ndarray of uint8
        `CellState`.
    width_mm : ndarray of float
        Width of the rim; 0 where there is none or nothing was seen.
    rim_hu : ndarray of float
        Density just outside the rim, above the patient's marrow.
    marrow_hu, streak_hu : float
        What the places were compared with.
    told : ndarray of bool or None
        Where all of the shaft's evidence together tells a gap (`lucency_window`): a
        quarter of the circle and a third of the length, or more. None if it was not
        asked.
    sure : bool
        Whether that evidence is beyond doubt.
    """

    level: str
    side: Side
    t_mm: FloatArray
    in_body: BoolArray
    state: npt.NDArray[np.uint8]
    width_mm: FloatArray
    rim_hu: FloatArray
    marrow_hu: float
    streak_hu: float
    told: BoolArray | None = None
    sure: bool = True
