"""A disc across the straightened spine."""

from dataclasses import dataclass

BODY_DEPTH_MM = 15.0
"""From the posterior wall to the body's axis; half of a lumbar body of 30-35 mm."""


@dataclass(frozen=True, slots=True)
class Disc:
    """A disc across the straightened spine.

    Attributes
    ----------
    step : float
        Position along the axis where the disc meets the bodies' posterior wall; the
        neural foramina lie there too, however much the disc is tilted.
    sagittal_tilt_deg : float
        Positive where the disc rises to the front.
    lateral_tilt_deg : float
        Positive where the disc rises to the left.
    likeness : float
        0 (only the neighbours suggest it) to 1 (two endplates, no bone round it).
    supposed : bool
        Whether it lies outside the field of view, or beyond the last pedicles, and
        stands only for the end of a vertebra that is cut.
    thickness_mm : float
        Distance of its endplates; 0 where they melt into one or were not seen.
    """

    step: float
    sagittal_tilt_deg: float
    lateral_tilt_deg: float
    likeness: float
    supposed: bool = False
    thickness_mm: float = 0.0
