"""The voxels of a review: one map of codes, and changes of it that can be undone.

While a case is reviewed, cement, each leak, metal and lucency stand in a single array,
so that a voxel is one thing only and a change is a list of voxels with two values.
"""

import base64
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from cemscope.volume import LabelArray
from cemscope_pipelines.report import ReportModel

CEMENT, LEAKED, SCREW, OTHER_METAL, LUCENCY = 1, 2, 3, 4, 5
"""Codes of ``materials.nii.gz``."""

FIRST_LEAK, LAST_LEAK = 10, 189
"""In the working map each leak has a code of its own."""

FIRST_OWNED, LAST_OWNED = 190, 253
"""Cement that the reader gave to the vertebra of this place in the report."""

ERASED = 255
"""The reader says: no cement, whatever its blur suggests."""

MapName = Literal["materials", "vertebrae"]
IndexArray = npt.NDArray[np.int64]


def is_leak(codes: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Tell which codes of the working map are leaks."""
    found: npt.NDArray[np.bool_] = (codes >= FIRST_LEAK) & (codes <= LAST_LEAK)
    return found


def is_cement(codes: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Tell which codes of the working map are cement, leaked or not."""
    found: npt.NDArray[np.bool_] = (codes == CEMENT) | (
        (codes >= FIRST_LEAK) & (codes <= LAST_OWNED)
    )
    return found


def material_table() -> LabelArray:
    """Code of ``materials.nii.gz`` for each code of the working map, shape (256,)."""
    table = np.zeros(256, np.uint8)
    table[:FIRST_LEAK] = np.arange(FIRST_LEAK)
    table[FIRST_LEAK : LAST_LEAK + 1] = LEAKED
    table[FIRST_OWNED : LAST_OWNED + 1] = CEMENT
    return table


@dataclass(frozen=True, slots=True, eq=False)
class VoxelChange:
    """Voxels of one map before and after an edit.

    Attributes
    ----------
    map_name : str
        "materials" (the working map) or "vertebrae".
    index : ndarray of int64, shape (n,)
        Places in the flattened array, ascending and unique.
    before, after : ndarray of uint8, shape (n,)
        Their codes.
    """

    map_name: MapName
    index: IndexArray
    before: LabelArray
    after: LabelArray

    @classmethod
    def of(
        cls,
        map_name: MapName,
        array: LabelArray,
        index: IndexArray,
        after: npt.NDArray[np.uint8] | int,
    ) -> "VoxelChange":
        """Plan new codes for some voxels; those that have them already are left out."""
        values = np.broadcast_to(np.asarray(after, np.uint8), index.shape)
        flat, first = np.unique(index, return_index=True)
        new = values[first]
        old = array.ravel()[flat]
        differs = new != old
        return cls(map_name, flat[differs], old[differs], new[differs].copy())

    @property
    def inverse(self) -> "VoxelChange":
        """The change that takes this one back."""
        return VoxelChange(self.map_name, self.index, self.after, self.before)

    @property
    def size(self) -> int:
        """Number of voxels."""
        return len(self.index)

    def apply(self, array: LabelArray) -> None:
        """Write the new codes into the map.

        Raises
        ------
        ValueError
            If the voxels do not hold what this change expects.
        """
        flat = array.reshape(-1)
        if not np.array_equal(flat[self.index], self.before):
            raise ValueError("the voxels differ from what this edit was made on")
        flat[self.index] = self.after


class VoxelRecord(ReportModel):
    """A `VoxelChange` as text."""

    map_name: MapName
    count: int = Field(ge=0)
    data: str = Field(
        description="Base64 of the zlib-packed steps of the flat index (int64, first "
        "from 0) followed by the codes before and after (uint8)."
    )

    @classmethod
    def of(cls, change: VoxelChange) -> "VoxelRecord":
        """Pack a change."""
        steps = np.diff(change.index, prepend=np.int64(0)).astype("<i8")
        raw = steps.tobytes() + change.before.tobytes() + change.after.tobytes()
        text = base64.b64encode(zlib.compress(raw, 1)).decode("ascii")
        return cls(map_name=change.map_name, count=change.size, data=text)

    def change(self) -> VoxelChange:
        """Unpack the change.

        Raises
        ------
        ValueError
            If the text is damaged.
        """
        try:
            raw = zlib.decompress(base64.b64decode(self.data, validate=True))
        except zlib.error as error:
            raise ValueError("the voxels of an edit are damaged") from error
        if len(raw) != 10 * self.count:
            raise ValueError("the voxels of an edit are incomplete")
        n = self.count
        index = np.cumsum(np.frombuffer(raw[: 8 * n], "<i8")).astype(np.int64)
        before = np.frombuffer(raw[8 * n : 9 * n], np.uint8)
        after = np.frombuffer(raw[9 * n :], np.uint8)
        return VoxelChange(self.map_name, index, before, after)


def merged(changes: Iterable[VoxelChange]) -> tuple[VoxelChange, ...]:
    """Join successive changes into at most one per map."""
    parts: dict[MapName, list[VoxelChange]] = {}
    for change in changes:
        parts.setdefault(change.map_name, []).append(change)
    joined = []
    for name, several in parts.items():
        index = np.concatenate([part.index for part in several])
        before = np.concatenate([part.before for part in several])
        after = np.concatenate([part.after for part in several])
        flat, first = np.unique(index, return_index=True)
        last = len(index) - 1 - np.unique(index[::-1], return_index=True)[1]
        old, new = before[first], after[last]
        differs = old != new
        if differs.any():
            joined.append(VoxelChange(name, flat[differs], old[differs], new[differs]))
    return tuple(joined)
