"""The closed surface of a vertebral body, as a signed distance in its own frame.

The outline is closed over the basivertebral foramen and over voids; pedicles are no
part of it.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cemscope.measurement.cell_distance import distance_from
from cemscope.measurement.vertebra_grid import Float32Array, VertebraGrid
from cemscope.segmentation.scan_region import FloatArray
from cemscope.spine import Vertebra
from cemscope.volume import BoolArray, LabelMap

CLOSING_MM = 4.0
"""Veins and voids up to twice as wide are closed: the basivertebral foramen is about
6 mm wide [our choice]."""

STAIR_SIGMA = 0.45
"""Stairs of the outline are smoothed by this many voxels of the scan."""

NORMAL_SIGMA_MM = 2.0
"""Directions of the wall are those of a surface smoothed so far."""


@dataclass(frozen=True, slots=True, eq=False)
class BodyShell:
    """A body on a grid of its own frame.

    Attributes
    ----------
    grid : VertebraGrid
        Holds the body and what is asked about it.
    distance_mm : ndarray of float32
        From the closed surface; negative inside.
    lower_mm, upper_mm : ndarray, shape (3,)
        Extent of the body in its frame, without the outermost 2 %.
    """

    grid: VertebraGrid
    distance_mm: Float32Array
    lower_mm: FloatArray
    upper_mm: FloatArray

    @classmethod
    def of_vertebra(
        cls, labels: LabelMap, vertebra: Vertebra, grid: VertebraGrid
    ) -> "BodyShell | None":
        """Close a body's outline; None where there is none on the grid."""
        box = grid.scan_box(labels.geometry)
        if box is None:
            return None
        body = (labels.labels[box] == vertebra.level.number).astype(np.float32)
        smooth = ndimage.gaussian_filter(body, STAIR_SIGMA, truncate=3.0)
        inside = grid.sample(smooth, labels.geometry.crop(box)) >= 0.5
        if inside.sum() < 8:
            return None
        inside = _closed(inside, grid.cell_mm)
        distance = signed_distance_mm(inside, grid.cell_mm)
        low, high = _extent(inside, grid)
        return cls(grid, distance, low, high)

    @property
    def inside(self) -> BoolArray:
        """Cells within the surface."""
        within: BoolArray = self.distance_mm <= 0.0
        return within

    @property
    def size_mm(self) -> FloatArray:
        """Width, depth and height."""
        size: FloatArray = self.upper_mm - self.lower_mm
        return size

    @property
    def middle_mm(self) -> float:
        """Where the midline runs, along left."""
        return 0.5 * float(self.lower_mm[0] + self.upper_mm[0])

    def normal_at(self, local_mm: FloatArray) -> FloatArray:
        """Outward direction of the wall nearest to a point, in the frame."""
        centre = np.rint(self.grid.index_of(local_mm)).astype(int)
        reach = int(np.ceil(4.0 * NORMAL_SIGMA_MM / self.grid.cell_mm)) + 1
        low = np.maximum(centre - reach, 0)
        high = np.minimum(centre + reach + 1, self.grid.shape)
        part = self.distance_mm[tuple(map(slice, low, high))]
        smooth = ndimage.gaussian_filter(part, NORMAL_SIGMA_MM / self.grid.cell_mm)
        at = tuple(np.clip(centre - low, 0, np.array(part.shape) - 1))
        slope = np.array([axis[at] for axis in np.gradient(smooth)], float)
        normal: FloatArray = slope / max(float(np.linalg.norm(slope)), 1e-9)
        return normal

    def height_at(self, local_mm: FloatArray) -> float:
        """Height between the endplates: 0 at the lower, 1 at the upper one."""
        low, high = self.endplates_mm(local_mm)
        return float((local_mm[2] - low) / max(high - low, 1.0))

    def endplates_mm(self, local_mm: FloatArray) -> tuple[float, float]:
        """Heights of the lower and the upper endplate at a place.

        Each endplate counts as the plane through its middle part, so that the height is
        told at a slanting wall and beside a pedicle, too.
        """
        inside = self.inside
        columns = inside.any(axis=2)
        deep = ndimage.distance_transform_edt(columns)
        index = np.argwhere(deep >= MIDDLE_SHARE * deep.max())
        chosen = inside[tuple(index.T)]
        heights = self.grid.axis_mm(2)
        half = 0.5 * self.grid.cell_mm
        lower = heights[chosen.argmax(axis=1)] - half
        upper = heights[::-1][chosen[:, ::-1].argmax(axis=1)] + half
        place = self.grid.lower_mm[:2] + self.grid.cell_mm * index
        design = np.column_stack([place, np.ones(len(place))])
        at = np.array([*local_mm[:2], 1.0])
        planes = [
            np.linalg.lstsq(design, side, rcond=None)[0] for side in (lower, upper)
        ]
        return float(at @ planes[0]), float(at @ planes[1])


MIDDLE_SHARE = 0.3
"""The middle part of an endplate: columns deeper than this share of the deepest."""

RIM_MM = 3.0
"""Width of the rim of an endplate."""


def signed_distance_mm(inside: BoolArray, cell_mm: float) -> Float32Array:
    """Distance from the border of cells that are set; negative inside."""
    distance: Float32Array = distance_from(inside).astype(np.float32)
    distance -= np.float32(0.5)
    box = _box(inside, 1)
    if box is not None:
        within = distance_from(~inside[box]).astype(np.float32)
        view = distance[box]
        view[inside[box]] = 0.5 - within[inside[box]]
    distance *= np.float32(cell_mm)
    return distance


def _box(mask: BoolArray, margin: int) -> tuple[slice, slice, slice] | None:
    found = ndimage.find_objects(mask.view(np.uint8))
    if not found:
        return None
    parts = [slice(max(p.start - margin, 0), p.stop + margin) for p in found[0]]
    return parts[0], parts[1], parts[2]


def _closed(inside: BoolArray, cell_mm: float) -> BoolArray:
    margin = int(np.ceil(CLOSING_MM / cell_mm)) + 1
    box = _box(inside, margin)
    if box is None:
        return inside
    padded = np.pad(inside[box], margin)
    wide = distance_from(padded) * cell_mm <= CLOSING_MM
    full = distance_from(~wide) * cell_mm > CLOSING_MM
    full = ndimage.binary_fill_holes(full | padded)
    inner = slice(margin, -margin)
    closed = inside.copy()
    closed[box] = full[inner, inner, inner]
    return closed


def _extent(inside: BoolArray, grid: VertebraGrid) -> tuple[FloatArray, FloatArray]:
    limits = []
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        counts = inside.sum(axis=others)
        share = np.cumsum(counts) / counts.sum()
        steps = grid.axis_mm(axis)
        half = 0.5 * grid.cell_mm
        limits.append((
            float(np.interp(0.02, share, steps + half)),
            float(np.interp(0.98, share, steps + half)),
        ))  # fmt: skip
    bounds: npt.NDArray[np.float64] = np.array(limits)
    return bounds[:, 0], bounds[:, 1]
