"""The way between the patient, the scan's arrays and what napari shows.

napari's axes are (z, y, x) along the patient's head, back and left. Arrays are shown
through views (transposed and turned, never copied), so that every layer has a positive
scale and a translation only, whatever the order of the slices. A scan that lies askew
is shown along its own axes, with the names of the nearest ones of the patient.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cemscope.geometry import VoxelGeometry

AXIS_LABELS = ("z", "y", "x")

Point = tuple[float, float, float]


@dataclass(frozen=True, slots=True, eq=False)
class ViewSpace:
    """Axes of the screen for one scan.

    Attributes
    ----------
    geometry : VoxelGeometry
        Grid of the scan.
    order : tuple of int
        Array axis that runs along (z, y, x).
    turned : tuple of bool
        Whether it runs against them.
    """

    geometry: VoxelGeometry
    order: tuple[int, int, int]
    turned: tuple[bool, bool, bool]

    @classmethod
    def of(cls, geometry: VoxelGeometry) -> "ViewSpace":
        """Find the array axis nearest to each axis of the patient."""
        directions = geometry.directions_lps  # one row per array axis, in x, y, z
        left = [0, 1, 2]
        order, turned = [], []
        for patient in (2, 1, 0):
            axis = max(left, key=lambda k: abs(directions[k, patient]))
            left.remove(axis)
            order.append(axis)
            turned.append(bool(directions[axis, patient] < 0.0))
        return cls(
            geometry, (order[0], order[1], order[2]), (turned[0], turned[1], turned[2])
        )

    @property
    def scale(self) -> Point:
        """Spacing along (z, y, x), mm."""
        spacing = self.geometry.spacing_mm
        z, y, x = (spacing[axis] for axis in self.order)
        return z, y, x

    @property
    def translate(self) -> Point:
        """Screen position of the first shown voxel, mm.

        The middle of the scan stands at its place in the patient.
        """
        middle = (np.array(self.shape) - 1) / 2.0
        index = (np.array(self.geometry.shape) - 1) / 2.0
        centre = self.geometry.index_to_lps(index)[::-1]
        z, y, x = centre - middle * np.array(self.scale)
        return float(z), float(y), float(x)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along (z, y, x)."""
        z, y, x = (self.geometry.shape[axis] for axis in self.order)
        return z, y, x

    @property
    def keywords(self) -> dict[str, Any]:
        """Position of a layer, as napari takes it."""
        return {
            "scale": self.scale,
            "translate": self.translate,
            "units": ("mm",) * 3,
            "axis_labels": AXIS_LABELS,
        }

    def view(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Turn an array of the scan to the axes of the screen, without a copy."""
        turned = tuple(slice(None, None, -1 if t else 1) for t in self.turned)
        return array.transpose(self.order)[turned]

    def to_screen(self, point_lps_mm: npt.ArrayLike) -> Point:
        """Screen position (z, y, x) of a patient point."""
        shown = self._shown(self.geometry.lps_to_index(point_lps_mm))
        z, y, x = shown * np.array(self.scale) + np.array(self.translate)
        return float(z), float(y), float(x)

    def to_lps(self, position: npt.ArrayLike) -> Point:
        """Patient point of a screen position (z, y, x)."""
        shown = (np.asarray(position, float) - self.translate) / np.array(self.scale)
        x, y, z = self.geometry.index_to_lps(self._stored(shown))
        return float(x), float(y), float(z)

    def voxel(self, position: npt.ArrayLike) -> tuple[int, int, int] | None:
        """Voxel of the scan's arrays at a screen position; None outside."""
        shown = (np.asarray(position, float) - self.translate) / np.array(self.scale)
        index = np.rint(self._stored(shown)).astype(int)
        if (index < 0).any() or (index >= self.geometry.shape).any():
            return None
        return int(index[0]), int(index[1]), int(index[2])

    def places_near(
        self, position: npt.ArrayLike, radius_mm: float, flat_axis: int | None
    ) -> npt.NDArray[np.int64]:
        """Voxels within a radius of a screen position, in the flattened arrays.

        Parameters
        ----------
        position
            Screen position (z, y, x), mm.
        radius_mm
            Of the brush.
        flat_axis
            Screen axis across which the brush is a single voxel thick; None for a
            ball.
        """
        scale = np.array(self.scale)
        centre = (np.asarray(position, float) - self.translate) / scale
        reach = np.array([radius_mm] * 3) / scale
        if flat_axis is not None:
            centre[flat_axis] = np.rint(centre[flat_axis])
            reach[flat_axis] = 0.0
        low = np.maximum(np.ceil(centre - reach), 0).astype(int)
        high = np.minimum(np.floor(centre + reach), np.array(self.shape) - 1).astype(
            int
        )
        if (high < low).any():
            return np.zeros(0, np.int64)
        axes = [np.arange(a, b + 1) for a, b in zip(low, high, strict=True)]
        grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
        away = (((grid - centre) * scale) ** 2).sum(axis=1)
        inside = grid[away <= radius_mm**2 + 1e-9]
        stored = self._stored(inside.astype(float)).astype(np.int64)
        places: npt.NDArray[np.int64] = np.ravel_multi_index(
            tuple(stored.T), self.geometry.shape
        )
        return places

    def _stored(self, shown: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Index into the scan's arrays of a shown index, shape (..., 3)."""
        stored = np.empty_like(shown)
        for place, (axis, turned) in enumerate(
            zip(self.order, self.turned, strict=True)
        ):
            last = self.geometry.shape[axis] - 1
            stored[..., axis] = (
                last - shown[..., place] if turned else shown[..., place]
            )
        return stored

    def _shown(self, stored: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        shown = np.empty_like(stored)
        for place, (axis, turned) in enumerate(
            zip(self.order, self.turned, strict=True)
        ):
            last = self.geometry.shape[axis] - 1
            shown[..., place] = (
                last - stored[..., axis] if turned else stored[..., axis]
            )
        return shown
