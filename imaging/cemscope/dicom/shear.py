"""Brings the sheared slices of a tilted gantry onto an orthogonal grid.

Under a tilted gantry each slice is shifted within its own plane against the slice
below. Moving it back needs no value between slices: every slice is shifted by its
own fraction of a pixel, linearly interpolated, on a field that is widened to hold
all of them. Readers that ignore the shear make volumes 1 / cos(tilt) too large or
lean every structure.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cemscope.dicom.stack import SliceStack, StackReport, stack_geometry
from cemscope.geometry import FloatArray, VoxelGeometry
from cemscope.volume import PADDING_HU, HUArray


@dataclass(frozen=True, slots=True, eq=False)
class ShearPlan:
    """Where each slice of a sheared stack goes on the orthogonal grid.

    Attributes
    ----------
    geometry : VoxelGeometry
        The orthogonal grid.
    source_geometry : VoxelGeometry
        The sheared grid of the slices as they were scanned.
    offsets : ndarray, shape (slices, 2)
        Rows and columns by which the first pixel of each slice is moved; fractions
        of pixels, never negative.
    """

    geometry: VoxelGeometry
    source_geometry: VoxelGeometry
    offsets: FloatArray

    @property
    def source_shape(self) -> tuple[int, int]:
        """Rows and columns of a slice as it was scanned."""
        return self.source_geometry.shape[1:]

    def place(self, plane: HUArray, index: int, target: HUArray) -> int:
        """Write a slice into its place on the orthogonal grid.

        Parameters
        ----------
        plane
            Hounsfield units of one slice, of `source_shape`; padding stands at
            `PADDING_HU` and is not blended with tissue.
        index
            Its number along the normal.
        target
            The slice of the orthogonal grid, written in place; what the scan did not
            see becomes `PADDING_HU`.

        Returns
        -------
        int
            Voxels of padding in ``target``.
        """
        target[...] = PADDING_HU
        rows, columns = (int(np.floor(v)) for v in self.offsets[index])
        fractions = self.offsets[index] - (rows, columns)
        moved = plane.astype(np.float32)
        known = plane != PADDING_HU
        for axis, fraction in enumerate(fractions):
            if fraction > _WHOLE_PIXEL:
                moved, known = _moved(moved, known, axis, float(fraction))
        height, width = moved.shape
        place = target[rows : rows + height, columns : columns + width]
        # A fraction that rounds to a whole pixel can reach past the last one.
        moved = moved[: place.shape[0], : place.shape[1]]
        known = known[: place.shape[0], : place.shape[1]]
        np.copyto(place, np.rint(moved).astype(np.int16), where=known)
        return int(target.size - np.count_nonzero(known))


_WHOLE_PIXEL = 1e-3
"""A fraction of a pixel that is no move: 1 HU where two pixels differ by 1000."""


@dataclass(frozen=True, slots=True, eq=False)
class StackPlan:
    """A stack whose slices lie on one orthogonal grid as they are."""

    geometry: VoxelGeometry


def grid_plan(
    stack: SliceStack, report: StackReport, frame_of_reference_uid: str | None
) -> StackPlan | ShearPlan:
    """Lay the grid of a stack without findings, sheared or not."""
    if report.is_sheared:
        return shear_plan(stack, report, frame_of_reference_uid)
    return StackPlan(stack_geometry(stack, report, frame_of_reference_uid))


def shear_plan(
    stack: SliceStack, report: StackReport, frame_of_reference_uid: str | None
) -> ShearPlan:
    """Lay an orthogonal grid around the slices of a regular sheared stack.

    Parameters
    ----------
    stack, report
        Equal steps along the normal and a steady shift sideways.
    frame_of_reference_uid
        DICOM frame of reference.
    """
    positions = stack.positions_mm[list(report.order)]
    count = len(positions)
    numbers = np.arange(count) - (count - 1) / 2.0
    step_mm = numbers @ positions / (numbers @ numbers)
    first_mm = positions.mean(axis=0) + numbers[0] * step_mm
    spacing = np.array(stack.pixel_spacing_mm)
    in_plane = np.stack([stack.along_column, stack.along_row])
    # Each slice by its own position: what is not steady in the shear is undone, too.
    shifts = (positions - first_mm) @ in_plane.T / spacing
    offsets = shifts - shifts.min(axis=0)
    offsets = np.where(
        np.abs(offsets - np.rint(offsets)) < _WHOLE_PIXEL, np.rint(offsets), offsets
    )
    grown = np.array(stack.shape) + np.ceil(offsets.max(axis=0)).astype(int)
    directions = np.array([stack.normal, stack.along_column, stack.along_row])
    origin_mm = first_mm + shifts.min(axis=0) * spacing @ in_plane
    step_along_mm = float(step_mm @ stack.normal)
    affine = np.eye(4)
    affine[:3, 0] = step_mm
    affine[:3, 1:3] = (in_plane * spacing[:, None]).T
    affine[:3, 3] = first_mm
    return ShearPlan(
        geometry=VoxelGeometry.from_axes(
            (count, int(grown[0]), int(grown[1])),
            (step_along_mm, *stack.pixel_spacing_mm),
            origin_mm,
            directions,
            frame_of_reference_uid,
        ),
        source_geometry=VoxelGeometry(
            (count, *stack.shape), affine, frame_of_reference_uid
        ),
        offsets=offsets,
    )


def _moved(
    values: npt.NDArray[np.float32],
    known: npt.NDArray[np.bool_],
    axis: int,
    fraction: float,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Shift by a fraction of a pixel along an axis; one pixel longer afterwards.

    Between a pixel of tissue and one of padding, the nearer one decides.
    """
    widths = [(0, 0), (0, 0)]
    widths[axis] = (1, 1)
    padded = np.pad(values, widths)
    there = np.pad(known, widths)
    before = tuple(slice(None, -1) if a == axis else slice(None) for a in range(2))
    after = tuple(slice(1, None) if a == axis else slice(None) for a in range(2))
    both = there[before] & there[after]
    nearer = before if fraction > 0.5 else after
    blended = fraction * padded[before] + (1.0 - fraction) * padded[after]
    return np.where(both, blended, padded[nearer]), there[nearer]
