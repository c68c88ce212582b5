"""Analytic phantoms of loose and tight screws with the exact width of their halo.

One vertebra, one screw on each side: the left one may have a gap, with or without a
sclerotic rim, around all of it or an arc, along all of it or a part. No scanner physics
beyond `cemscope.testing.phantoms`.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cemscope.findings import Side
from cemscope.segmentation.implants.screw_model import ScrewModel
from cemscope.segmentation.implants.screw_profile import ScrewAxis, ShaftProfile
from cemscope.segmentation.implants.screw_thread import ThreadEstimate
from cemscope.testing.phantom_shapes import FloatArray, Point
from cemscope.testing.phantoms import (
    Contrast,
    Implant,
    Phantom,
    Scanner,
    build_phantom,
    pedicle_screw,
    screw_axis,
)

LEVEL = "L3"

GAP_HU = 10.0
"""Granulation tissue and fluid."""

RIM_MM = 0.9
"""Width of a sclerotic rim."""


@dataclass(frozen=True, slots=True)
class Sleeve:
    """A filled sector of a cylinder: a halo, before the shaft takes its middle.

    Attributes
    ----------
    start_lps_mm, end_lps_mm
        Ends of its axis.
    radius_mm
        Outer radius.
    middle_deg, arc_deg
        Middle and extent of the sector, counted from the first cross vector of
        `ScrewAxis`.
    """

    start_lps_mm: Point
    end_lps_mm: Point
    radius_mm: float
    middle_deg: float = 0.0
    arc_deg: float = 360.0

    def contains(self, points_lps_mm: FloatArray) -> npt.NDArray[np.bool_]:
        """Tell for points, shape (..., 3), whether they lie inside."""
        start, end = np.array(self.start_lps_mm), np.array(self.end_lps_mm)
        length = float(np.linalg.norm(end - start))
        axis = ScrewAxis(start, (end - start) / length)
        first, second = axis.cross_vectors()
        offset = points_lps_mm - start
        along, a, b = (offset @ v for v in (axis.forward, first, second))
        turn = np.arctan2(b, a) - np.deg2rad(self.middle_deg)
        half = np.deg2rad(0.5 * self.arc_deg)
        near = np.abs(np.arctan2(np.sin(turn), np.cos(turn))) <= half
        inside: npt.NDArray[np.bool_] = (
            near & (along >= 0) & (along <= length) & (np.hypot(a, b) <= self.radius_mm)
        )
        return inside

    def bounds_mm(self) -> tuple[FloatArray, FloatArray]:
        """Lower and upper corner of a box that holds the shape."""
        ends = np.array([self.start_lps_mm, self.end_lps_mm])
        return ends.min(0) - self.radius_mm, ends.max(0) + self.radius_mm


@dataclass(frozen=True, slots=True)
class HaloPlan:
    """The gap around the left screw.

    Attributes
    ----------
    width_mm : float
        0 for a tight screw.
    rim_hu : float or None
        Sclerotic rim; None for none.
    arc_deg, middle_deg : float
        Extent around the shaft and its middle.
    from_mm, to_mm : float
        Extent along the shaft, from the head's centre.
    radius_mm : float
        Of both shafts.
    """

    width_mm: float
    rim_hu: float | None = None
    arc_deg: float = 360.0
    middle_deg: float = 0.0
    from_mm: float = 6.0
    to_mm: float = 52.0
    radius_mm: float = 3.0


@dataclass(frozen=True, slots=True, eq=False)
class HaloScene:
    """A phantom and the screws as a perfect fit would give them, left then right."""

    phantom: Phantom
    screws: tuple[ScrewModel, ScrewModel]
    materials: npt.NDArray[np.uint8]


def build_halo_scene(
    plan: HaloPlan,
    scanner: Scanner | None = None,
    contrast: Contrast | None = None,
) -> HaloScene:
    """Build the phantom; the right screw is always tight."""
    scanner = scanner or Scanner()
    contrast = contrast or Contrast(marrow_hu=140.0)
    head, tip = (np.array(p) for p in screw_axis(0, 1))
    forward = (tip - head) / np.linalg.norm(tip - head)
    ends = [head + t * forward for t in (plan.from_mm, plan.to_mm)]
    start, end = (tuple(map(float, p)) for p in ends)
    halo: list[Implant] = []
    if plan.width_mm > 0.0:
        outer = plan.radius_mm + plan.width_mm
        layers = [(outer, GAP_HU)]
        if plan.rim_hu is not None:
            layers.insert(0, (outer + RIM_MM, plan.rim_hu))
        halo = [
            Implant(
                Sleeve(start, end, radius, plan.middle_deg, plan.arc_deg),  # type: ignore[arg-type]  # map loses the length
                hu=hu,
            )
            for radius, hu in layers
        ]
    metal = (
        *pedicle_screw(0, 1, plan.radius_mm),
        *pedicle_screw(0, -1, plan.radius_mm),
    )
    phantom = build_phantom((LEVEL,), (*halo, *metal), scanner, contrast)
    materials = np.where(phantom.metal_fraction > 0.5, 3, 0).astype(np.uint8)
    # Voxels average what they cover: a variance of their width squared over 12.
    blur_mm = float(
        np.hypot(scanner.psf_fwhm_mm[1] / 2.3548, scanner.spacing_mm[1] / 12**0.5)
    )
    return HaloScene(
        phantom,
        (
            _fitted(Side.LEFT, plan.radius_mm, blur_mm, contrast.metal_hu),
            _fitted(Side.RIGHT, plan.radius_mm, blur_mm, contrast.metal_hu),
        ),
        materials,
    )


def _fitted(
    side: Side, radius_mm: float, blur_mm: float, metal_hu: float
) -> ScrewModel:
    head, tip = (np.array(p) for p in screw_axis(0, 1 if side is Side.LEFT else -1))
    length = float(np.linalg.norm(tip - head))
    return ScrewModel(
        level=LEVEL,
        side=side,
        axis=ScrewAxis(head, (tip - head) / length),
        neck_mm=7.0,
        tip_mm=length,
        shaft=ShaftProfile(radius_mm, blur_mm, metal_hu),
        thread=ThreadEstimate(radius_mm, 0.0),
        tip_uncertainty_mm=0.5,
        free_length_mm=length,
    )
