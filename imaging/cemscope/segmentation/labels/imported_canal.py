"""The spinal canal between imported vertebrae, from the holes of their arches."""

from collections.abc import Sequence

import numpy as np

from cemscope.geometry import FloatArray, VoxelGeometry
from cemscope.segmentation.canal.canal_hole import PIXEL_MM, CanalHole
from cemscope.volume import BoolArray, LabelArray

_END_MM = 18.0
"""How far the canal is carried beyond the centre of an outermost body: half a
lumbar pitch."""


def canal_from_holes(
    labels: LabelArray,
    geometry: VoxelGeometry,
    centres_lps_mm: Sequence[FloatArray],
    holes: Sequence[CanalHole],
) -> BoolArray | None:
    """Fill the canal level by level.

    Each vertebra gives the part of the canal from half-way to the neighbour below to
    half-way to the one above: the cylinder of its hole, without bone.

    Parameters
    ----------
    labels : ndarray of uint8
        Bodies and arches on the grid ``geometry``.
    geometry
        Grid of the result.
    centres_lps_mm, holes
        Centre of the body and view along the canal, from the lowest to the highest
        vertebra.

    Returns
    -------
    ndarray of bool or None
        None where no vertebra shows a hole.
    """
    if not any(hole.hole.any() for hole in holes):
        return None
    canal = np.zeros(geometry.shape, dtype=bool)
    for rank, (centre, hole) in enumerate(zip(centres_lps_mm, holes, strict=True)):
        if not hole.hole.any():
            continue
        below = None if rank == 0 else centres_lps_mm[rank - 1]
        above = None if rank + 1 == len(holes) else centres_lps_mm[rank + 1]
        _fill_section(canal, labels, geometry, hole, _span(centre, below, above, hole))
    return canal


def open_levels(names: Sequence[str], holes: Sequence[CanalHole]) -> tuple[str, ...]:
    """Levels whose arch is open, so that no canal was derived there."""
    return tuple(
        name for name, hole in zip(names, holes, strict=True) if not hole.hole.any()
    )


def _span(
    centre: FloatArray,
    below: FloatArray | None,
    above: FloatArray | None,
    hole: CanalHole,
) -> tuple[float, float]:
    """Lower and upper end along the hole's axis, from the hole's origin, mm."""
    middle = float((centre - hole.origin_lps_mm) @ hole.axis)
    half_below = _END_MM if below is None else _half(centre - below, hole)
    half_above = _END_MM if above is None else _half(above - centre, hole)
    return middle - half_below, middle + half_above


def _half(step: FloatArray, hole: CanalHole) -> float:
    # A missing neighbour must not stretch one section over two levels.
    return min(float(step @ hole.axis) / 2 + 0.5, 1.3 * _END_MM)


def _fill_section(
    canal: BoolArray,
    labels: LabelArray,
    geometry: VoxelGeometry,
    hole: CanalHole,
    span: tuple[float, float],
) -> None:
    rows, columns = np.nonzero(hole.hole)
    corners = [
        hole.origin_lps_mm
        + row * PIXEL_MM * hole.first
        + column * PIXEL_MM * hole.second
        + height * hole.axis
        for row in (rows.min() - 1, rows.max() + 1)
        for column in (columns.min() - 1, columns.max() + 1)
        for height in span
    ]
    indices = geometry.lps_to_index(np.array(corners))
    low = np.maximum(np.floor(indices.min(axis=0)).astype(int), 0)
    high = np.minimum(np.ceil(indices.max(axis=0)).astype(int) + 1, geometry.shape)
    if np.any(low >= high):
        return
    box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    grid = np.stack(
        np.meshgrid(
            *(np.arange(a, b) for a, b in zip(low, high, strict=True)), indexing="ij"
        ),
        axis=-1,
    )
    points = geometry.index_to_lps(grid.reshape(-1, 3))
    height = (points - hole.origin_lps_mm) @ hole.axis
    inside = hole.covers(points) & (height >= span[0]) & (height <= span[1])
    section = inside.reshape(grid.shape[:3]) & (labels[box] == 0)
    canal[box] |= section
