"""Tissues as layers that are painted one over the other into a scanner's cells."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from cemscope.testing.aligned_sampling import coverage_of, sample_aligned
from cemscope.testing.lumbar_anatomy import FAR_MM
from cemscope.testing.lumbar_implants import capsule
from cemscope.testing.quick_scanner import TissueFractions
from cemscope.testing.scalar_field import Box, Lattice, PlaneGrid, ScalarField

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]

TUBE_GRID_MM = 1.0
"""Grid of tubes."""


@dataclass(frozen=True, slots=True)
class Tissue:
    """Volume fractions of a tissue; what is missing to 1 is gas."""

    fat: float = 0.0
    muscle: float = 0.0
    compact: float = 0.0
    marrow: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class TissueLayer:
    """A shape that replaces what was there before.

    Attributes
    ----------
    field : ScalarField
        Signed distance on the table, mm.
    tissue : Tissue
        What fills it.
    shell : Tissue or None
        What its outermost part is made of.
    shell_mm : float
        Thickness of that part.
    """

    field: ScalarField
    tissue: Tissue
    shell: Tissue | None = None
    shell_mm: float = 0.0


def paint(layer: TissueLayer, parts: TissueFractions, grid: PlaneGrid) -> None:
    """Paint a layer, in place."""
    box = box_of(layer.field, grid)
    if box is None:
        return
    inner = grid.crop(box)
    distance = sample_aligned(layer.field, inner)
    if float(distance.min()) > 0.5 * inner.cell_mm:
        return
    core = None
    if layer.shell is not None:
        core = coverage_of(distance + np.float32(layer.shell_mm), inner.cell_mm)
    whole = coverage_of(distance, inner.cell_mm)
    if core is None:
        core = whole
    keep = 1.0 - whole
    for name in ("fat", "muscle", "compact", "marrow"):
        part = getattr(parts, name)[box]
        part *= keep
        share = getattr(layer.tissue, name)
        if share:
            part += core * np.float32(share)
        if layer.shell is not None:
            part += (whole - core) * np.float32(getattr(layer.shell, name))


def box_of(field: ScalarField, grid: PlaneGrid) -> Box | None:
    """Cells of a grid that a field on the table can reach; None if there are none."""
    corners = field.corners_mm()
    steps = np.array([grid.cell_mm, grid.cell_mm, grid.plane_mm])
    low = np.floor((corners.min(axis=0) - grid.first_mm) / steps).astype(int)
    high = np.ceil((corners.max(axis=0) - grid.first_mm) / steps).astype(int) + 1
    low = np.maximum(low, 0)
    high = np.minimum(high, grid.shape[::-1])
    if (high <= low).any():
        return None
    x, y, z = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    return z, y, x


def tube_fields(
    line_mm: FloatArray,
    radius_mm: Sequence[float],
    reach_z_mm: tuple[float, float],
    pieces: int = 3,
) -> tuple[ScalarField, ...]:
    """Tube along a polyline, shape (n, 3), with a radius at each point.

    It is cut into parts of some segments each, so that their boxes stay small; parts
    wholly below or above the reach are left out.
    """
    radii = np.asarray(radius_mm, float)
    fields = []
    for first in range(0, len(line_mm) - 1, pieces):
        part = line_mm[first : first + pieces + 1]
        size = radii[first : first + pieces + 1]
        margin = float(size.max()) + 3.0
        low_z, high_z = part[:, 2].min() - margin, part[:, 2].max() + margin
        if high_z < reach_z_mm[0] or low_z > reach_z_mm[1]:
            continue
        lattice = Lattice.around(
            part.min(axis=0) - margin, part.max(axis=0) + margin, TUBE_GRID_MM
        )
        points = lattice.points_mm()
        distance = np.full(lattice.shape, FAR_MM, np.float32)
        for k, (start, end) in enumerate(pairwise(part)):
            thick = np.float32(0.5 * (size[k] + size[k + 1]))
            distance = np.minimum(distance, capsule(points, start, end) - thick)
        fields.append(ScalarField(distance, lattice, FAR_MM))
    return tuple(fields)
