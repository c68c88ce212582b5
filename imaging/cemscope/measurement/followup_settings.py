"""Tunables of the comparison of two scans."""

from dataclasses import dataclass, field

from cemscope.registration.registration_settings import RegistrationSettings


@dataclass(frozen=True, slots=True)
class FollowupSettings:
    """Limits of what counts as changed.

    Attributes
    ----------
    thickest_slice_mm
        Screws are not compared where a scan has thicker slices: their fits are off by
        several degrees.
    axis_error_mm
        Least standard deviation of the movement of a shaft's end across its axis.
    fit_error_mm
        The same where two fits are compared, because its surface was not followed.
    tip_error_mm, head_error_mm
        The same along the axis, of its tip and of the centre of its head.
    moved_tilt_deg
        A screw that tilts more than this, and more than its uncertainty, has moved
        (1.9 degrees on radiographs: PMC3940783).
    moved_tip_mm
        So has one whose tip moved further than this.
    growth_seen_fraction
        Growth of a rim needs this share of the shaft's surface in bone seen in both
        scans.
    moved_cement_mm
        Cement that moved further than this, and than its uncertainty, has moved.
    least_cement_ml
        The movement of less cement is not assessed.
    fracture_percent, fracture_mm
        A body broke if it lost this share and this much of a height (20 % and 4 mm
        are usual for radiographs: Black 1999, doi:10.1359/jbmr.1999.14.1.90).
    plate_error_mm
        Least standard deviation of the movement of an endplate.
    outline_error_mm
        Standard deviation of a height where only the outlines tell it.
    kink_deg
        A shaft that bends by more than this since the baseline may be broken.
    gap_mm
        So may one with a gap of this length.
    shorter_mm
        Or one that is this much shorter.
    registration
        How vertebrae are found again.
    """

    thickest_slice_mm: float = 1.5
    axis_error_mm: float = 0.3
    fit_error_mm: float = 0.8
    tip_error_mm: float = 0.4
    head_error_mm: float = 0.5
    moved_tilt_deg: float = 2.0
    moved_tip_mm: float = 1.5
    growth_seen_fraction: float = 0.25
    moved_cement_mm: float = 1.0
    least_cement_ml: float = 0.2
    fracture_percent: float = 20.0
    fracture_mm: float = 3.0
    plate_error_mm: float = 0.15
    outline_error_mm: float = 1.0
    kink_deg: float = 3.0
    gap_mm: float = 1.5
    shorter_mm: float = 5.0
    registration: RegistrationSettings = field(default_factory=RegistrationSettings)
