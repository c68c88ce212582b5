"""A whole scan on cells of about 3 mm: where lung, bone and metal lie."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cemscope.geometry import VoxelGeometry
from cemscope.segmentation.scan_region import FloatArray
from cemscope.spine import Spine
from cemscope.volume import BoolArray, CTVolume, HUArray

CELL_MM = 3.0
"""A cell holds enough voxels to be free of noise, and is finer than any organ."""

LUNG_HU = (-965.0, -450.0)
"""Mean of a cell of aerated lung, emphysema and dependent lung included: air outside
the patient and in the bowel reads -1000, stool with gas seldom less than -400
[our choice, after Kalender, Computed Tomography, 3rd ed. 2011, ch. 1]."""

LEAST_LUNG_ML = 20.0
"""Less aerated tissue than this is bowel, or the rim of air beside skin."""

LUNG_BESIDE_MM = (12.0, 100.0)
"""The lungs reach this near to the midline and this far from it beside a vertebra."""

LUNG_DEPTH_MM = (-70.0, 30.0)
"""And from so far in front of its centre to so far behind it; blankets, a mattress and
air lie beyond."""

LOWEST_LUNG = ("L3", "L4", "L5", "L6", "S1")
"""The posterior recess ends above these levels; below, stool with gas is as dark."""


@dataclass(frozen=True, slots=True, eq=False)
class CoarseScan:
    """Brightness of a scan by cells.

    Attributes
    ----------
    mean_hu, max_hu : ndarray of int16, shape (slices, rows, columns) of cells
        Mean (of every other voxel) and brightest voxel of each cell.
    labelled : ndarray of bool
        Cells that touch the outline of a vertebra.
    steps : tuple of int
        Voxels per cell along each axis.
    geometry : VoxelGeometry
        Position of the cells' centres; those at the far end may be smaller.
    """

    mean_hu: HUArray
    max_hu: HUArray
    labelled: BoolArray
    steps: tuple[int, int, int]
    geometry: VoxelGeometry

    @classmethod
    def of_scan(cls, ct: CTVolume, spine: Spine) -> Self:
        """Read a scan slab by slab; no copy of it is made."""
        a, b, c = (max(1, round(CELL_MM / s)) for s in ct.spacing_mm)
        rows = np.arange(0, ct.hu.shape[1], b)
        columns = np.arange(0, ct.hu.shape[2], c)
        means, tops, labelled = [], [], []
        for start in range(0, ct.hu.shape[0], a):
            slab = ct.hu[start : start + a]
            top = np.maximum.reduceat(slab.max(axis=0), rows, axis=0)
            tops.append(np.maximum.reduceat(top, columns, axis=1))
            means.append(_cell_means(slab, rows, columns))
            own = spine.labels.labels[start : start + a].max(axis=0)
            own = np.maximum.reduceat(own, rows, axis=0)
            labelled.append(np.maximum.reduceat(own, columns, axis=1) > 0)
        affine = ct.geometry.affine_lps.copy()
        affine[:3, 3] = ct.geometry.index_to_lps([(k - 1) / 2.0 for k in (a, b, c)])
        affine[:3, :3] *= (a, b, c)
        mean = np.stack(means)
        shape = (mean.shape[0], mean.shape[1], mean.shape[2])
        geometry = VoxelGeometry(shape, affine)
        return cls(mean, np.stack(tops), np.stack(labelled), (a, b, c), geometry)

    @property
    def cell_ml(self) -> float:
        """Volume of a cell."""
        return self.geometry.voxel_volume_mm3 / 1000.0

    def cells_of(self, index: npt.NDArray[np.intp]) -> tuple[npt.NDArray[np.intp], ...]:
        """Cells of some voxels, shape (n, 3), as an index into the arrays."""
        return tuple(index[:, axis] // step for axis, step in enumerate(self.steps))

    def cells_at(
        self, points_lps_mm: FloatArray
    ) -> tuple[npt.NDArray[np.intp], BoolArray]:
        """Nearest cell of each point, shape (n, 3), and whether the scan holds it."""
        cells = np.rint(self.geometry.lps_to_index(points_lps_mm)).astype(np.intp)
        held = ((cells >= 0) & (cells < self.geometry.shape)).all(axis=-1)
        inner = np.clip(cells, 0, np.array(self.geometry.shape) - 1)
        return inner, np.asarray(held, np.bool_)


def _cell_means(
    slab: HUArray, rows: npt.NDArray[np.intp], columns: npt.NDArray[np.intp]
) -> HUArray:
    """Mean of each cell, of one slice in two."""
    part = slab[:: 2 if len(slab) > 2 else 1]
    total = part.sum(axis=0, dtype=np.int32)
    total = np.add.reduceat(np.add.reduceat(total, rows, axis=0), columns, axis=1)
    sizes = (
        np.diff(np.append(starts, n))
        for starts, n in zip((rows, columns), slab.shape[1:], strict=True)
    )
    high, wide = sizes
    count = len(part) * high[:, None] * wide[None, :]
    return np.asarray(np.rint(total / count), np.int16)


def aerated_lung(coarse: CoarseScan, spine: Spine) -> BoolArray:
    """Cells of the lungs, as far as they are in view.

    Aerated cells that join, and of which some lie beside a vertebra. A field of view
    that cuts the lungs does no harm; bowel gas, outer air, blankets and a mattress are
    too dark, too small or not beside the vertebrae.
    """
    low, high = LUNG_HU
    aerated = (coarse.mean_hu > low) & (coarse.mean_hu < high)
    # Rims of air are one or two cells thick.
    opened = ndimage.binary_opening(aerated, np.ones((2, 2, 2)))
    pieces, count = ndimage.label(opened)
    if not count:
        return np.zeros(aerated.shape, np.bool_)
    ml = np.bincount(pieces.ravel(), minlength=count + 1) * coarse.cell_ml
    beside = np.zeros(count + 1, np.int64)
    for vertebra in spine.vertebrae:
        if vertebra.level.name in LOWEST_LUNG:
            continue
        for side in (-1.0, 1.0):
            across, depth, up = np.meshgrid(
                side * np.arange(*LUNG_BESIDE_MM, CELL_MM),
                np.arange(*LUNG_DEPTH_MM, CELL_MM),
                np.arange(-12.0, 13.0, CELL_MM),
            )
            local = np.stack([across, depth, up], -1).reshape(-1, 3)
            cells, held = coarse.cells_at(vertebra.frame.to_lps_mm(local))
            found = pieces[tuple(cells[held].T)]
            beside += np.bincount(found, minlength=count + 1)
    chosen = (ml >= LEAST_LUNG_ML) & (beside * CELL_MM**3 / 1000.0 >= 1.0)
    chosen[0] = False
    lung: BoolArray = ndimage.binary_dilation(chosen[pieces]) & aerated
    return lung


ENHANCED_HU = 110
"""Blood without contrast medium reads 30 to 65 HU, in any phase after its injection
seldom less than this [ours]."""

ENHANCED_SHARE = 0.05
"""Aorta and vena cava fill a tenth of the room in front of the bodies; calcified
plaques a hundredth [ours]."""

VESSEL_ROOM_MM = ((-34.0, 34.0), (10.0, 60.0))
"""Room of the great vessels: across, and in front of the anterior wall."""


def has_contrast_medium(
    coarse: CoarseScan, spine: Spine, front_mm: tuple[float, ...]
) -> bool:
    """Tell whether the great vessels in front of the vertebrae hold contrast medium.

    Parameters
    ----------
    coarse, spine
        The scan.
    front_mm
        Distance of each body's anterior wall from its centre.
    """
    signs = []
    for vertebra, front in zip(spine.vertebrae, front_mm, strict=True):
        (left, right), (near, far) = VESSEL_ROOM_MM
        across, depth, up = np.meshgrid(
            np.arange(left, right, CELL_MM),
            -front - np.arange(near, far, CELL_MM),
            np.arange(-9.0, 10.0, CELL_MM),
        )
        local = np.stack([across, depth, up], -1).reshape(-1, 3)
        cells, held = coarse.cells_at(vertebra.frame.to_lps_mm(local))
        values = coarse.mean_hu[tuple(cells[held].T)]
        soft = values[values > -150]
        if len(soft) < 0.3 * len(local):
            continue
        # Plaques, osteophytes and bowel with oral contrast are brighter or smaller.
        bright = (soft >= ENHANCED_HU) & (soft < 600)
        signs.append(float(bright.mean()) >= ENHANCED_SHARE)
    return bool(signs) and float(np.mean(signs)) >= 0.5
