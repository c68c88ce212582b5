"""Pedicles and neural foramina beside the canal, on each side.

A pedicle joins the upper half of every body to its arch; over the disc and the lower
quarter of the body the neural foramen is open. This rhythm survives screws (a screw
fills a pedicle), cement and collapse: a crushed body keeps its pedicles.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cemscope.geometry import FloatArray
from cemscope.segmentation.canal.spine_axis import SpineAxis
from cemscope.segmentation.spine_working_volume import WorkingVolume

BEHIND_WALL_MM = np.arange(1.0, 7.1)
"""Way from body to arch, from just behind the wall: old marrow in front of it is as
dark as a foramen."""

PEDICLE_SIDE_MM = np.arange(7.0, 23.0)
"""Where a pedicle may lie, from the midline (Zindrick 1987: interpedicular distance
and width, T1 to L5, doi:10.1097/00007632-198703000-00012)."""

USUAL_SIDE_MM = 14.0
"""Usual distance of a pedicle from the midline; gives only the tilt's effect."""


@dataclass(frozen=True, slots=True)
class PedicleSettings:
    """Tunables of pedicles and foramina.

    Attributes
    ----------
    foramen_hu, pedicle_hu : float
        Least value on the best way from body to arch: at or below the first it is
        a foramen, at or above the second a pedicle.
    smooth_mm : float
        Gaussian sigma along the spine.
    """

    foramen_hu: float = 20.0
    pedicle_hu: float = 170.0
    smooth_mm: float = 1.5


@dataclass(frozen=True, slots=True, eq=False)
class PedicleEvidence:
    """Pedicle (1) or foramen (0) per side and step at the posterior wall.

    Attributes
    ----------
    bridge : ndarray, shape (2, steps)
        Right, left.
    seen : ndarray of bool, same shape
        Whether that place is in the field of view.
    """

    bridge: FloatArray
    seen: npt.NDArray[np.bool_]

    def mean(self) -> float:
        """Mean bridge of all that was seen; about one half of a spine's length."""
        return float(self.bridge[self.seen].mean()) if self.seen.any() else 0.0

    def mean_over(
        self, low: FloatArray, high: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Mean bridge between two positions (2, ...), and the share that was seen."""
        count = self.bridge.shape[1]
        edges = np.arange(count + 1) - 0.5
        means, shares = [], []
        for side in range(2):
            known = self.seen[side].astype(float)
            total = np.concatenate([[0.0], np.cumsum(self.bridge[side] * known)])
            weight = np.concatenate([[0.0], np.cumsum(known)])
            value = np.interp(high[side], edges, total) - np.interp(
                low[side], edges, total
            )
            inside = np.interp(high[side], edges, weight) - np.interp(
                low[side], edges, weight
            )
            means.append(value / np.maximum(inside, 1e-6))
            shares.append(inside / np.maximum(high[side] - low[side], 1e-6))
        return np.array(means), np.array(shares)


def pedicle_evidence(
    axis: SpineAxis, volume: WorkingVolume, settings: PedicleSettings
) -> PedicleEvidence:
    """Measure the bridges of bone from body to arch along the spine."""
    back = axis.wall_mm[:, None] + BEHIND_WALL_MM
    bridges, seen = [], []
    for sign in (-1.0, 1.0):
        points = (
            axis.points_lps_mm[:, None, None]
            + axis.posterior[:, None, None] * back[:, :, None, None]
            + axis.left[:, None, None] * (sign * PEDICLE_SIDE_MM)[:, None]
        )
        best = volume.sample(points).min(axis=1).max(axis=1)
        span = settings.pedicle_hu - settings.foramen_hu
        share = np.clip((best - settings.foramen_hu) / span, 0.0, 1.0)
        bridges.append(
            ndimage.gaussian_filter1d(share, settings.smooth_mm, mode="nearest")
        )
        seen.append((volume.sample_inside(points) > 0.5).mean(axis=(1, 2)) > 0.7)
    return PedicleEvidence(np.array(bridges, float), np.array(seen))
