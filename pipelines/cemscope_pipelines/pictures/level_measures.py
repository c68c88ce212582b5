"""Heights and volumes of the bodies, and which of them are unlike their neighbours.

They stand beside the curved pictures so that an outline that holds two bodies, or half
of one, is seen before any other number is read. They are no morphometry.
"""

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cemscope.spine import Spine, Vertebra
from cemscope.volume import LabelMap

FloatArray = npt.NDArray[np.float64]
Box = tuple[slice, slice, slice]

COLUMN_CENTRES = (0.17, 0.5, 0.83)
"""Where the heights are taken: shares of the body's depth from its front."""

COLUMN_DEPTH_SHARE = 0.2
COLUMN_HALF_WIDTH_MM = 7.0
RAYS_ACROSS, RAYS_DEEP = 7, 5
RAY_STEP_MM = 0.5
"""Columns over which a height is averaged, and the rays in each."""

DEPTH_PERCENTILES = (3.0, 97.0)
"""Front and back of a body; the rest are spikes of its outline."""

ENOUGH_VOXELS = 20_000
"""So many of a body's voxels tell its extent."""

MIN_DEPTH_MM = 5.0
"""An outline that is less deep has no heights."""

GAP_STEP_MM = 0.25
GAP_OFFSETS_MM = ((0.0, 0.0), (-8.0, 0.0), (8.0, 0.0), (0.0, -7.0), (0.0, 7.0))
"""Lines (left, posterior) along which the gap between two bodies is taken."""

MEASURES = ("anterior", "middle", "posterior", "volume")
"""Heights and volume, by name."""

HIGHEST_BODY_MM = 34.0
"""Lumbar bodies of adults measure 24 to 32 mm (Zhou 2000, Eur Spine J 9:242-8)."""

NEIGHBOURS = 4
"""So many bodies nearest to one tell what is expected of it."""

MIN_GAP_MM, GAP_FACTOR, GAP_EXCESS_MM = 1.0, 2.2, 6.0
"""A gap is unlike a disc if it is thinner than the first, or thicker than the usual one
of the scan by this factor and by so many mm. Discs measure 4 to 14 mm."""


@dataclass(frozen=True, slots=True)
class LevelMeasure:
    """Size of one body.

    Attributes
    ----------
    level : str
        Level name.
    heights_mm : tuple of float or None
        Anterior, middle, posterior; None where the outline is too small.
    volume_ml : float
        Volume of its outline.
    expected_heights_mm, expected_volume_ml
        What its neighbours let expect; None where there are none.
    smaller, larger : tuple of str
        What is less or more than the neighbours let expect: "anterior", "middle",
        "posterior", "volume". A collapsed body is smaller; none is larger.
    """

    level: str
    heights_mm: tuple[float, float, float] | None
    volume_ml: float
    expected_heights_mm: tuple[float, float, float] | None = None
    expected_volume_ml: float | None = None
    smaller: tuple[str, ...] = ()
    larger: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class DiscGap:
    """Gap between the outlines of two bodies, one above the other.

    Attributes
    ----------
    lower, upper : str
        Level names.
    gap_mm : float
        Mean thickness.
    from_lps_mm, to_lps_mm : ndarray, shape (3,)
        Its ends on the line between the two centres.
    unlike : bool
        Whether it can hardly be one disc.
    """

    lower: str
    upper: str
    gap_mm: float
    from_lps_mm: FloatArray
    to_lps_mm: FloatArray
    unlike: bool = False


def label_boxes(labels: LabelMap) -> dict[int, Box]:
    """Smallest box around each label that occurs."""
    found = ndimage.find_objects(labels.labels)
    return {i + 1: box for i, box in enumerate(found) if box is not None}


def _heights(
    labels: LabelMap, box: Box | None, vertebra: Vertebra
) -> tuple[float, float, float] | None:
    """Mean height of the outline in three columns, along the body's own axis."""
    if box is None:
        return None
    body = np.pad(labels.labels[box] == vertebra.level.number, 1)
    geometry = labels.geometry.crop(box)
    voxels = np.argwhere(body)
    voxels = voxels[:: max(1, len(voxels) // ENOUGH_VOXELS)]
    inside = geometry.index_to_lps(voxels - 1.0)
    left, back, up = vertebra.frame.to_local_mm(inside).T
    front, rear = np.percentile(back, DEPTH_PERCENTILES)
    depth = float(rear - front)
    if depth < MIN_DEPTH_MM:
        return None
    across = np.median(left) + COLUMN_HALF_WIDTH_MM * np.linspace(-1, 1, RAYS_ACROSS)
    deep = COLUMN_DEPTH_SHARE * depth / 2.0 * np.linspace(-1, 1, RAYS_DEEP)
    along = np.arange(up.min() - 5.0, up.max() + 5.0, RAY_STEP_MM)
    heights = []
    for share in COLUMN_CENTRES:
        rays = np.meshgrid(across, front + share * depth + deep, along, indexing="ij")
        points = vertebra.frame.to_lps_mm(np.stack(rays, axis=-1).reshape(-1, 3))
        filled = ndimage.map_coordinates(
            body.astype(np.float32), geometry.lps_to_index(points).T + 1.0, order=1
        )
        heights.append(float(filled.sum()) * RAY_STEP_MM / (RAYS_ACROSS * RAYS_DEEP))
    return heights[0], heights[1], heights[2]


def _expected(values: FloatArray, usable: npt.NDArray[np.bool_], at: int) -> float:
    """Median of the nearest usable values, NaN where there are fewer than two."""
    others = [i for i in np.flatnonzero(usable) if i != at]
    others = sorted(others, key=lambda i: abs(int(i) - at))[:NEIGHBOURS]
    if len(others) < 2:
        return float("nan")
    return float(np.median(values[others]))


def measure_levels(
    spine: Spine, boxes: dict[int, Box], unlike_share: float
) -> tuple[LevelMeasure, ...]:
    """Measure each body and compare it with its neighbours.

    Parameters
    ----------
    boxes
        From `label_boxes`.
    unlike_share
        A value is smaller if this share of what its neighbours let expect is missing,
        and larger if the neighbours' would be so much smaller than it.
        Incomplete bodies and the sacrum are neither compared nor compared with.

    Returns
    -------
    tuple of LevelMeasure
        As `Spine.vertebrae`, from the lowest to the highest.
    """
    vertebrae = spine.vertebrae
    heights = [_heights(spine.labels, boxes.get(v.level.number), v) for v in vertebrae]
    table = np.array(
        [
            (*(h or (np.nan,) * 3), v.body_volume_ml)
            for h, v in zip(heights, vertebrae, strict=True)
        ],
        dtype=float,
    ).reshape(-1, 4)
    usable = np.array([v.complete and v.level.name != "S1" for v in vertebrae], bool)
    usable &= np.isfinite(table).all(axis=1)
    measures = []
    for i, vertebra in enumerate(vertebrae):
        expected = [_expected(table[:, k], usable, i) for k in range(4)]
        known = bool(usable[i]) and bool(np.isfinite(expected).all())
        ratio = dict(zip(MEASURES, table[i] / np.array(expected), strict=True))
        least = 1.0 - unlike_share
        measures.append(
            LevelMeasure(
                vertebra.level.name,
                heights[i],
                vertebra.body_volume_ml,
                (expected[0], expected[1], expected[2]) if known else None,
                expected[3] if known else None,
                tuple(k for k, r in ratio.items() if known and r < least),
                _larger(table[i], ratio, 1.0 / least) if known else (),
            )
        )
    return tuple(measures)


def _larger(found: FloatArray, ratio: dict[str, float], most: float) -> tuple[str, ...]:
    """Say what is larger, if it can hardly be one body.

    A wide vertebra is larger in volume alone, and one among collapsed neighbours is no
    higher than a body can be; two bodies in one outline are both, or twice as high.
    """
    names = tuple(name for name, r in ratio.items() if r > most)
    heights = [name for name in names if name != "volume"]
    too_high = any(
        found[MEASURES.index(name)] > HIGHEST_BODY_MM or ratio[name] > 2.0
        for name in heights
    )
    return names if "volume" in names and too_high else ()


def _gap(labels: LabelMap, lower: Vertebra, upper: Vertebra) -> DiscGap | None:
    start, end = lower.centroid_lps_mm, upper.centroid_lps_mm
    length = float(np.linalg.norm(end - start))
    along = np.arange(0.0, length, GAP_STEP_MM)
    direction = (end - start) / max(length, 1e-9)
    gaps, ends = [], None
    for left, back in GAP_OFFSETS_MM:
        offset = left * lower.frame.left + back * lower.frame.posterior
        points = start + offset + along[:, None] * direction
        found = _labels_at(labels, points)
        low = np.flatnonzero(found == lower.level.number)
        high = np.flatnonzero(found == upper.level.number)
        if len(low) == 0 or len(high) == 0:
            continue
        first, last = int(low[-1]), int(high[0])
        gaps.append(max(0.0, (last - first - 1) * GAP_STEP_MM))
        if ends is None:
            ends = points[first] - offset, points[last] - offset
    if ends is None:
        return None
    return DiscGap(
        lower.level.name, upper.level.name, float(np.median(gaps)), ends[0], ends[1]
    )


def _labels_at(labels: LabelMap, points: FloatArray) -> npt.NDArray[np.uint8]:
    index = np.rint(labels.geometry.lps_to_index(points)).astype(int)
    shape = np.array(labels.geometry.shape)
    inside = ((index >= 0) & (index < shape)).all(axis=1)
    i, j, k = np.clip(index, 0, shape - 1).T
    return np.where(inside, labels.labels[i, j, k], 0)


def measure_gaps(spine: Spine) -> tuple[DiscGap, ...]:
    """Gaps between neighbouring outlines, from the lowest upwards."""
    ordered = sorted(spine.vertebrae, key=lambda v: float(v.centroid_lps_mm[2]))
    found = [
        gap
        for lower, upper in itertools.pairwise(ordered)
        if (gap := _gap(spine.labels, lower, upper)) is not None
    ]
    if not found:
        return ()
    usual = float(np.median([gap.gap_mm for gap in found]))
    limit = max(usual * GAP_FACTOR, usual + GAP_EXCESS_MM)
    return tuple(
        DiscGap(
            g.lower, g.upper, g.gap_mm, g.from_lps_mm, g.to_lps_mm,
            not MIN_GAP_MM <= g.gap_mm <= limit,
        )
        for g in found
    )  # fmt: skip
