"""The usual outline of a vertebral body across its axis: a weak prior.

A body is rounded in front and squarer behind, where it is hollowed by the canal. Its
width and depth are found by laying such outlines over the edges round the axis; the
many directions vote, so that a vessel or a muscle of bone's density beside the body
does not pull the outline along.
"""

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cemscope.geometry import FloatArray
from cemscope.segmentation.bodies.body_surface import WALL_ANGLES_RAD, WALL_RADII_MM

FRONT_POWER, BACK_POWER = 2.0, 3.0
"""Exponents of the superellipses that the front and the back half resemble."""

HOLLOW_MM, HOLLOW_SHARE = 1.7, 0.5
"""Depth of the hollow behind, and its half width as a share of the body's."""

HALF_WIDTHS_MM = np.arange(12.0, 30.5, 1.0)
"""Half widths that are tried (T1 to L5, Panjabi 1992, doi:10.1097/00007632-199203000-
00010: endplates of the lumbar spine are up to 55 mm wide)."""

DEPTH_SHARES = np.arange(0.56, 1.05, 0.08)
"""Depth over width that is tried: 0.65 in L5, nearly 1 in the thoracic spine."""

SHIFTS_LEFT_MM = (-3.0, -1.5, 0.0, 1.5, 3.0)
SHIFTS_BACK_MM = tuple(float(shift) for shift in range(-10, 7, 2))
"""Places of the middle that are tried. The first axis lies 15 mm before the canal's
front; the middle of a large lumbar body, up to 46 mm deep, 8 mm further."""

USUAL_HALF_WIDTH_MM, USUAL_DEPTH_SHARE = 20.0, 0.8
"""Usual size: a weak pull towards it."""

SIZE_PRICE, LED_SIZE_PRICE = 0.0008, 0.008
"""Price per mm squared off the usual half width: of any body, and off that of trusted
neighbours, from which a half width differs by 2 mm at most (Panjabi 1991, 1992)."""

DEPTH_SHARE_PRICE = 0.3
"""Price of the squared difference of depth over width, of any body; beside trusted
neighbours half the depth is held as half the width is."""

SHIFT_PRICE = 0.002
"""Price per mm squared of a shift off the first axis."""


@dataclass(frozen=True, slots=True)
class BodyOutline:
    """An outline of usual shape.

    Attributes
    ----------
    half_width_mm, half_depth_mm : float
        Half of its extent to the sides and from front to back.
    left_mm, posterior_mm : float
        Its middle.
    edge : float
        Mean contrast along it.
    """

    half_width_mm: float
    half_depth_mm: float
    left_mm: float
    posterior_mm: float
    edge: float

    def radius_mm(self) -> FloatArray:
        """Distance from the axis at `WALL_ANGLES_RAD`."""
        shape = usual_radius_mm(
            np.array([self.half_width_mm]), np.array([self.half_depth_mm])
        )[0]
        return shifted_radius_mm(shape, self.left_mm, self.posterior_mm)


def usual_radius_mm(half_width_mm: FloatArray, half_depth_mm: FloatArray) -> FloatArray:
    """Radii at `WALL_ANGLES_RAD` of outlines with the axis in their middle, (n, 48)."""
    cosine, sine = np.cos(WALL_ANGLES_RAD), np.sin(WALL_ANGLES_RAD)
    power = np.where(sine < 0.0, FRONT_POWER, BACK_POWER)
    a, b = half_width_mm[:, None], half_depth_mm[:, None]
    radius = (np.abs(cosine / a) ** power + np.abs(sine / b) ** power) ** (-1 / power)
    hollow = np.exp(-((radius * cosine / (HOLLOW_SHARE * a)) ** 2))
    inner: FloatArray = radius - HOLLOW_MM * hollow * np.maximum(sine, 0.0)
    return inner


def shifted_radius_mm(
    radius_mm: FloatArray, left_mm: float, posterior_mm: float
) -> FloatArray:
    """Radii of the same outline seen from an axis that is not in its middle."""
    x = radius_mm * np.cos(WALL_ANGLES_RAD) + left_mm
    y = radius_mm * np.sin(WALL_ANGLES_RAD) + posterior_mm
    angle = np.arctan2(y, x) % (2 * np.pi)
    order = np.argsort(angle)
    seen: FloatArray = np.interp(
        WALL_ANGLES_RAD, angle[order], np.hypot(x, y)[order], period=2 * np.pi
    )
    return seen


def fit_outline(
    edge: FloatArray, weight: npt.NDArray[np.floating], usual: BodyOutline | None = None
) -> BodyOutline:
    """Lay the usual outline over the edges round an axis.

    Parameters
    ----------
    edge : ndarray, shape (angles, radii)
        Contrast at `WALL_ANGLES_RAD` and `WALL_RADII_MM`.
    weight : ndarray, shape (angles,)
        How far each direction is to be believed.
    usual : BodyOutline, optional
        Size that is expected; a lumbar body if None.
    """
    half_width, depth_share, price = USUAL_HALF_WIDTH_MM, USUAL_DEPTH_SHARE, SIZE_PRICE
    share_price = DEPTH_SHARE_PRICE
    if usual is not None:
        half_width, price = usual.half_width_mm, LED_SIZE_PRICE
        depth_share = usual.half_depth_mm / half_width
        share_price = LED_SIZE_PRICE * half_width**2
    share = np.array(list(itertools.product(HALF_WIDTHS_MM, DEPTH_SHARES)))
    shapes = usual_radius_mm(share[:, 0], share[:, 0] * share[:, 1])
    step = WALL_RADII_MM[1] - WALL_RADII_MM[0]
    rows = np.arange(len(WALL_ANGLES_RAD))[None, :]
    total = weight / max(float(weight.sum()), 1e-6)
    size_price = price * (share[:, 0] - half_width) ** 2
    size_price += share_price * (share[:, 1] - depth_share) ** 2
    best = BodyOutline(half_width, half_width * depth_share, 0.0, 0.0, 0.0)
    best_score = -np.inf
    for left, back in itertools.product(SHIFTS_LEFT_MM, SHIFTS_BACK_MM):
        # To first order a shift adds its part along the ray.
        moved = shapes + left * np.cos(WALL_ANGLES_RAD) + back * np.sin(WALL_ANGLES_RAD)
        at = np.clip((moved - WALL_RADII_MM[0]) / step, 0, len(WALL_RADII_MM) - 1.001)
        low = at.astype(int)
        part = at - low
        value = edge[rows, low] * (1.0 - part) + edge[rows, low + 1] * part
        mean = (value * total).sum(axis=1)
        score = mean - size_price - SHIFT_PRICE * (left**2 + back**2)
        k = int(score.argmax())
        if score[k] > best_score:
            best_score = float(score[k])
            width, depth = float(share[k, 0]), float(share[k, 0] * share[k, 1])
            best = BodyOutline(width, depth, left, back, float(mean[k]))
    return best
