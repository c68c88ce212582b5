"""Where round a simulated vertebra a point lies, in the words of the report."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from cemscope.findings import LeakType, Side
from cemscope.testing.leak_canal import TrueCanal
from cemscope.testing.leak_route import LeakPath, RoutePlan
from cemscope.testing.lumbar_anatomy import VertebraShape

FloatArray = npt.NDArray[np.float64]

BORDERS = (-1.0, 0.0, 1.0)
"""Borders of the places are drawn in the middle and to either side of it."""

MAIN_SHARE, SOME_SHARE = 0.25, 0.05
"""A place is named from the first share of a leak on, and not wrong from the second."""

FRONT_DEG, FRONT_SLACK_DEG = 50.0, 12.0
"""Prevertebral is what lies in front of this angle, as seen from the body's axis."""

CANAL_SLACK_MM = 1.5
CENTRAL_SHARE = 0.45
"""Between this share of the half width, what is behind a body is before the canal."""

DISC_MM, DISC_SLACK_MM = 0.5, 1.0
"""Over a body's own endplate, less this, lies the disc."""

RIM_MM, RIM_SLACK_MM = 1.2, 0.5
"""The disc reaches this far beyond the rim of the endplate, on cells of 1 mm."""

WHOLE_COLUMN = 0.35
"""Columns of a body with less than this share of its height have no disc."""

BEHIND_MM, BEHIND_SLACK_MM = -2.0, 2.0
"""Foramina begin here, counted from the posterior wall."""

FORAMEN_SHARE, FORAMEN_SLACK_MM = 0.9, 4.0
"""They end at this share of the body's half width to the side."""

DORSAL_MM = 16.0
"""Behind this lie the muscles of the back."""

TRACK_MM, TRACK_SLACK_MM = 6.0, 2.0
"""Distance from the axis of an instrument that counts as its track."""


@dataclass(frozen=True, slots=True)
class PlaceShares:
    """Places of a leak.

    Attributes
    ----------
    named : tuple of str
        Places with a relevant share, the largest first.
    certain : tuple of str
        Those of them that hold it wherever the borders are drawn.
    possible : tuple of str
        All that may be named without being wrong.
    """

    named: tuple[str, ...]
    certain: tuple[str, ...]
    possible: tuple[str, ...]


class LeakPlaces:
    """Places round one vertebra."""

    def __init__(self, shape: VertebraShape, canal: TrueCanal) -> None:
        self.frame, self.canal = shape.frame, canal
        inside = shape.body.values < 0
        local = self.frame.to_local_mm(shape.body.lattice.points_mm()[inside])
        self.low, self.high = np.percentile(local, [1.0, 99.0], axis=0)
        cells, at = np.unique(np.rint(local[:, :2]), axis=0, return_inverse=True)
        self.bottom = np.full(len(cells), np.inf)
        self.top = np.full(len(cells), -np.inf)
        np.minimum.at(self.bottom, at.ravel(), local[:, 2])
        np.maximum.at(self.top, at.ravel(), local[:, 2])
        # Lips of one endplate stand out over the waist: no disc there.
        tall = self.top - self.bottom
        whole = tall >= WHOLE_COLUMN * np.percentile(tall, 90.0)
        self.bottom, self.top = self.bottom[whole], self.top[whole]
        self.columns = cKDTree(cells[whole])

    def shares(
        self,
        points_mm: FloatArray,
        weights: FloatArray,
        plans: tuple[RoutePlan, ...],
        paths: tuple[LeakPath, ...],
    ) -> PlaceShares:
        """Sum cement by place."""
        track = np.full(len(points_mm), np.inf)
        wall = False
        for plan, path in zip(plans, paths, strict=True):
            if plan.leak_type is LeakType.INSTRUMENT and path.axis_mm is not None:
                track = np.minimum(track, _from_line_mm(points_mm, path.axis_mm))
                wall = True
        tables = []
        for border in BORDERS:
            names = self.names(points_mm, track, border)
            found, index = np.unique(names, return_inverse=True)
            sums = np.bincount(index.ravel(), weights) / weights.sum()
            tables.append(
                [(str(n), float(s)) for n, s in zip(found, sums, strict=True)]
            )
        usual = sorted(tables[1], key=lambda item: -item[1])
        named = [n for n, s in usual if s >= MAIN_SHARE]
        every = [{n for n, s in table if s >= MAIN_SHARE} for table in tables]
        certain = [n for n in named if all(n in names for names in every)]
        possible = {n for table in tables for n, s in table if s >= SOME_SHARE}
        possible |= set(named)
        if wall:  # beside a pedicle, track and neighbourhood are both right
            possible |= {"needle_track"}
            certain = []
        return PlaceShares(tuple(named), tuple(certain), tuple(sorted(possible)))

    def names(
        self, points_mm: FloatArray, track_mm: FloatArray, border: float
    ) -> npt.NDArray[np.str_]:
        """Name the place of each point; ``border`` shifts the limits, -1 to 1."""
        local = self.frame.to_local_mm(points_mm)
        left, posterior, superior = local.T
        middle, half = 0.5 * (self.low + self.high), 0.5 * (self.high - self.low)
        side = np.where(left > middle[0], Side.LEFT.value, Side.RIGHT.value)
        names = np.char.add("paravertebral_", side).astype("<U24")
        angle = np.degrees(
            np.arctan2(
                -(posterior - middle[1]) / half[1], np.abs(left - middle[0]) / half[0]
            )
        )
        names[angle >= FRONT_DEG - border * FRONT_SLACK_DEG] = "prevertebral"
        wall = float(self.high[1])
        behind = posterior > wall + BEHIND_MM - border * BEHIND_SLACK_MM
        reach = FORAMEN_SHARE * half[0] + border * FORAMEN_SLACK_MM
        foramen = behind & (np.abs(left - middle[0]) <= reach)
        names[foramen] = np.char.add("foraminal_", side)[foramen]
        central = np.abs(left - middle[0]) <= CENTRAL_SHARE * half[0]
        names[central & (posterior > middle[1] + 0.4 * half[1])] = "epidural"
        away, column = self.columns.query(local[:, :2])
        over = away <= RIM_MM + border * RIM_SLACK_MM
        slack = DISC_MM + border * DISC_SLACK_MM
        names[over & (superior > self.top[column] - slack)] = "disc_superior"
        names[over & (superior < self.bottom[column] + slack)] = "disc_inferior"
        names[self.canal.distance_mm(points_mm) < border * CANAL_SLACK_MM] = "epidural"
        dorsal = posterior > wall + DORSAL_MM
        near = behind & (track_mm <= TRACK_MM + border * TRACK_SLACK_MM)
        names[(np.isfinite(track_mm) & dorsal) | near] = "needle_track"
        return names


def _from_line_mm(points_mm: FloatArray, ends_mm: FloatArray) -> FloatArray:
    """Distance from the straight line through two points."""
    unit = ends_mm[1] - ends_mm[0]
    unit = unit / np.linalg.norm(unit)
    offset = points_mm - ends_mm[0]
    return np.asarray(np.linalg.norm(offset - np.outer(offset @ unit, unit), axis=1))
