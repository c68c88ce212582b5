"""What tells a straight bright shaft from a cast of cement: its shape, or brightness.

Cement in the track of a needle is as straight as a screw, but has no head; with much
opacifier it is as bright as a thin shaft of titanium.
"""

import numpy as np

from cemscope.segmentation.implants.cement_bound import MIXTURE_SPREAD, cement_bound_hu
from cemscope.segmentation.implants.implant_metals import BRIGHTEST_CEMENT_SHARE
from cemscope.segmentation.implants.screw_fit import AxisFit
from cemscope.segmentation.implants.screw_head import HeadEstimate
from cemscope.segmentation.implants.screw_model import ScrewModel
from cemscope.segmentation.implants.screw_profile import ScrewAxis, ShaftProfile
from cemscope.segmentation.implants.screw_settings import Brightness, ScrewSettings
from cemscope.segmentation.scan_region import ScanRegion
from cemscope.spine import Spine


def told_by_shape(
    fit: AxisFit, shaft: ShaftProfile, head: HeadEstimate, settings: ScrewSettings
) -> bool:
    """Tell a screw from a cast of cement by its head, or where the scan cuts that."""
    return head.radius_mm >= settings.minimum_head_radius_mm or (
        head.cut
        and fit.free_length_mm >= settings.headless_free_length_mm
        and shaft.radius_mm >= settings.headless_radius_mm
    )


def told_by_brightness(
    fit: AxisFit, brightness: Brightness, settings: ScrewSettings
) -> bool:
    """Tell a screw by what cement hardly reads; on a clipped scan nothing does."""
    certain_hu = settings.certain_share * brightness.titanium_hu
    return brightness.ceiling_hu is None and fit.plateau_hu >= certain_hu


def may_be_metal(
    region: ScanRegion,
    axis: ScrewAxis,
    brightness: Brightness,
    settings: ScrewSettings,
) -> bool:
    """Tell by brightness, where the scan shows it, what cannot be metal."""
    if brightness.ceiling_hu is not None:
        return True
    inside = np.quantile(region.sample_hu(axis.at(np.arange(-8.0, 20.0, 0.5))), 0.75)
    return bool(inside >= settings.darkest_share * brightness.titanium_hu)


def bright_casts(
    screws: tuple[ScrewModel, ...],
    region: ScanRegion,
    spine: Spine,
    brightness: Brightness,
) -> tuple[ScrewModel, ...]:
    """Shafts that only brightness told, no brighter than this scan's cement.

    None where any other screw was told by its shape: screws come in pairs, with heads.

    Parameters
    ----------
    screws
        All screws found.
    region
        The whole spine.
    spine
        Its vertebrae.
    brightness
        Of metal in this scan.
    """
    if brightness.ceiling_hu is not None or any(k.has_shape for k in screws):
        return ()
    if not screws:
        return ()
    none = float("inf")
    bound_hu = cement_bound_hu(region, spine, screws, None, none)
    cement_hu = bound_hu / MIXTURE_SPREAD
    # What is brighter than any cement is metal, and tells nothing of cement.
    if cement_hu > BRIGHTEST_CEMENT_SHARE * brightness.titanium_hu:
        return ()
    return tuple(k for k in screws if k.shaft.metal_hu <= cement_hu)
