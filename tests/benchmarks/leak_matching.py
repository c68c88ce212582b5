"""Which found leak is which true one: by place, never by type or volume."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage, optimize

from cemscope.findings import Leak
from cemscope.measurement.augmentation import LEAK, Augmentation
from cemscope.testing.leak_scene import LeakScene

Bools = npt.NDArray[np.bool_]

TOLERANCE_MM = 1.5
"""Outlines of leaks may miss each other by this."""
OVERLAP = 0.3
"""One leak is another if this share of either lies within the other."""
LEAST_COVER, COVER_MM = 0.2, 0.75
"""A true leak is found only if this share of it lies in or this near the found one: the
next leak, which touches it, is none."""
NEAR_MM = 4.0
"""A leak without voxels of its own is one whose middle is this near."""


@dataclass(frozen=True, eq=False)
class Group:
    """True and found leaks that overlap; either side may be empty."""

    true: tuple[dict[str, Any], ...]
    found: tuple[Leak, ...]

    def partner(self, truth: dict[str, Any]) -> Leak | None:
        """The found leak of a true one: one each, by the distance of their middles."""
        if not self.found:
            return None
        gaps = np.array([[gap_mm(t, f) for f in self.found] for t in self.true])
        rows, columns = optimize.linear_sum_assignment(gaps)
        at = next(k for k, t in enumerate(self.true) if t is truth)
        taken = dict(zip(rows.tolist(), columns.tolist(), strict=True))
        return self.found[taken.get(at, int(gaps[at].argmin()))]


def gap_mm(truth: dict[str, Any], leak: Leak) -> float:
    gap = np.subtract(truth["centroid_lps_mm"], leak.centroid_lps_mm)
    return float(np.linalg.norm(gap))


def matched(scene: LeakScene, found: Augmentation) -> list[Group]:
    """Group the leaks of a scene."""
    true, leaks = list(scene.truth["leaks"]), list(found.leaks)
    pieces = _pieces(found)
    linked = np.zeros((len(true), len(leaks)), bool)
    spacing = np.array(scene.ct.spacing_mm)
    for i, truth in enumerate(true):
        where = scene.masks.leaks.labels == truth["number"]
        for j, leak in enumerate(leaks):
            piece = pieces[j]
            if where.any() and piece is not None:
                linked[i, j] = _overlap(where, piece, spacing)
            else:
                linked[i, j] = gap_mm(truth, leak) <= NEAR_MM
    return list(_groups(true, leaks, linked))


def _pieces(found: Augmentation) -> list[Bools | None]:
    """Voxels of each found leak: the piece of leaked cement with its middle."""
    labels, count = ndimage.label(found.materials.labels == LEAK, np.ones((3, 3, 3)))
    if not count or not found.leaks:
        return [None] * len(found.leaks)
    centres = ndimage.center_of_mass(labels > 0, labels, np.arange(1, count + 1))
    middle = found.materials.geometry.index_to_lps(np.array(centres))
    result: list[Bools | None] = []
    for leak in found.leaks:
        gaps = np.linalg.norm(middle - np.array(leak.centroid_lps_mm), axis=1)
        sizes = ndimage.sum_labels(labels > 0, labels, np.arange(1, count + 1))
        ml = sizes * found.materials.geometry.voxel_volume_mm3 / 1000.0
        # Specks of a leak have middles as well: prefer pieces of a fitting size.
        odds = gaps + 4.0 * np.abs(np.log((ml + 0.01) / (leak.volume_ml + 0.01)))
        result.append(labels == int(odds.argmin()) + 1)
    return result


def _overlap(true: Bools, found: Bools, spacing: npt.NDArray[np.float64]) -> bool:
    used = np.argwhere(true | found)
    margin = np.ceil(2 * TOLERANCE_MM / spacing).astype(int)
    low, high = np.maximum(used.min(axis=0) - margin, 0), used.max(axis=0) + margin + 1
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    one, other = true[box], found[box]
    to_found = ndimage.distance_transform_edt(~other, sampling=spacing)[one]
    to_true = ndimage.distance_transform_edt(~one, sampling=spacing)[other]
    if (to_found <= COVER_MM).mean() < LEAST_COVER:
        return False
    shares = [(away <= TOLERANCE_MM).mean() for away in (to_found, to_true)]
    return bool(max(shares) >= OVERLAP)


def _groups(
    true: list[dict[str, Any]], found: list[Leak], linked: Bools
) -> list[Group]:
    free_true, free_found = set(range(len(true))), set(range(len(found)))
    groups = []
    while free_true or free_found:
        mine = {free_true.pop()} if free_true else set()
        theirs = set() if mine else {free_found.pop()}
        grown = True
        while grown:
            more_found = {j for i in mine for j in np.flatnonzero(linked[i])} - theirs
            theirs |= {int(j) for j in more_found}
            more_true = {i for j in theirs for i in np.flatnonzero(linked[:, j])} - mine
            mine |= {int(i) for i in more_true}
            grown = bool(more_found or more_true)
        free_true -= mine
        free_found -= theirs
        groups.append(
            Group(
                tuple(true[i] for i in sorted(mine)),
                tuple(found[j] for j in sorted(theirs)),
            )
        )
    return groups
