"""Which voxels belong to which finding, as the volumes of the report count them.

``materials.nii.gz`` tells what a voxel is, not whose. Cement within a vertebra goes to
its owner by the same rule as its volume; leaks, and cement that a reader gave to
another vertebra, go by the reader's word; what a reader rejected is left out.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cemscope.volume import LabelArray, LabelMap
from cemscope_pipelines.export.cement_owners import cement_owners
from cemscope_pipelines.review.replayed_review import ReplayedReview
from cemscope_pipelines.review.review_document import (
    FindingId,
    FindingKind,
    elsewhere_id,
)
from cemscope_pipelines.review.reviewed_result import WITHIN_BONE, result_ids
from cemscope_pipelines.review.voxel_change import (
    CEMENT,
    FIRST_OWNED,
    LAST_OWNED,
    LEAKED,
    LUCENCY,
    OTHER_METAL,
    SCREW,
)

SCREW_REACH_MM = 15.0
"""Metal further from every screw axis belongs to none of the reported screws."""

UNASSIGNED = "unassigned"
OTHER = "other"

FloatArray = npt.NDArray[np.float64]
IndexArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class VoxelOwner:
    """A finding, or a part of it, that has voxels of its own.

    Attributes
    ----------
    kind : str
        "vertebra" (cement within it), "leak", "elsewhere", "screw", "lucency",
        "metal", "cement".
    finding_id : str
        Id in the content; "unassigned" or "other" where there is no finding.
    level : str
        The reader's name of its vertebra; "" for none.
    material : int
        Number in ``materials.nii.gz``.
    """

    kind: str
    finding_id: str
    level: str
    material: int


@dataclass(frozen=True, slots=True, eq=False)
class FindingVoxels:
    """Voxels of all findings that count.

    Attributes
    ----------
    labels : LabelMap
        Number n marks the voxels of ``owners[n - 1]``.
    owners : tuple of VoxelOwner
        Each has at least one voxel.
    """

    labels: LabelMap
    owners: tuple[VoxelOwner, ...]

    def materials(self) -> LabelMap:
        """Give them as in ``materials.nii.gz``, without what was rejected."""
        table = np.zeros(256, np.uint8)
        for number, owner in enumerate(self.owners, start=1):
            table[number] = owner.material
        return LabelMap(table[self.labels.labels], self.labels.geometry)


def finding_voxels(replayed: ReplayedReview) -> FindingVoxels:
    """Sort the voxels of a case by finding.

    Parameters
    ----------
    replayed
        The machine's or a reader's values and voxels.
    """
    return _Sorter(replayed).sorted()


class _Sorter:
    """Works on the list of marked voxels; the maps themselves may be large."""

    def __init__(self, replayed: ReplayedReview) -> None:
        self._state = replayed.state
        self._maps = replayed.maps
        flat = self._maps.materials.reshape(-1)
        self._index: IndexArray = np.flatnonzero(flat)
        self._codes: LabelArray = flat[self._index]
        self._ids = result_ids(self._state)
        self._number = np.zeros(len(self._index), np.uint8)
        self._owners: list[VoxelOwner] = []

    def sorted(self) -> FindingVoxels:
        self._elsewhere()
        self._vertebrae()
        self._leaks()
        self._along_screws(SCREW, "screw")
        self._along_screws(LUCENCY, "lucency")
        other = VoxelOwner("metal", OTHER, "", OTHER_METAL)
        self._give(self._codes == OTHER_METAL, other)
        labels = np.zeros(self._maps.materials.size, np.uint8)
        labels[self._index] = self._number
        geometry = self._maps.geometry
        return FindingVoxels(
            LabelMap(labels.reshape(geometry.shape), geometry), tuple(self._owners)
        )

    def _points(self, chosen: npt.NDArray[np.bool_]) -> FloatArray:
        shape = self._maps.geometry.shape
        places = np.array(np.unravel_index(self._index[chosen], shape)).T
        return self._maps.geometry.index_to_lps(places)

    def _give(self, chosen: npt.NDArray[np.bool_], owner: VoxelOwner) -> None:
        if not chosen.any():
            return
        self._owners.append(owner)
        self._number[chosen] = len(self._owners)

    def _rejected(self, kind: FindingKind, finding_id: str) -> bool:
        try:
            decision = self._state.decision(FindingId(kind, finding_id))
        except KeyError:
            return False
        return decision.decision == "rejected"

    def _name(self, level: str) -> str:
        return self._state.level_names.get(level, level)

    def _vertebrae(self) -> None:
        """Cement within each vertebra, and what a reader said is within it."""
        owner = cement_owners(self._state, self._maps).reshape(-1)[self._index]
        own = np.where(self._codes == CEMENT, owner, 0)
        for place, entry in enumerate(self._state.vertebrae, start=1):
            code = FIRST_OWNED + place - 1
            mine = own == place
            if code <= LAST_OWNED:
                mine |= self._codes == code
            for leak in entry.leaks:
                one = self._state.decision(FindingId("leak", leak.id))
                if one.decision == "rejected" and one.reason.startswith(WITHIN_BONE):
                    mine |= self._codes == self._state.leak_codes[leak.id]
            if not self._rejected("vertebra", entry.level):
                name = self._name(entry.level)
                self._give(mine, VoxelOwner("vertebra", name, name, CEMENT))
        nobodys = (self._codes == CEMENT) & (owner == 0)
        self._give(nobodys, VoxelOwner("cement", OTHER, "", CEMENT))

    def _leaks(self) -> None:
        for entry in self._state.vertebrae:
            for leak in entry.leaks:
                if self._rejected("leak", leak.id):
                    continue
                mine = self._codes == self._state.leak_codes[leak.id]
                finding_id = self._ids["leak", leak.id]
                level = self._name(entry.level)
                self._give(mine, VoxelOwner("leak", finding_id, level, LEAKED))
        left = self._codes == LEAKED
        self._give(left, VoxelOwner("cement", UNASSIGNED, "", LEAKED))

    def _elsewhere(self) -> None:
        """Leaked cement that is no leak's: piece by piece to the nearest centre."""
        away = self._codes == LEAKED
        entries = self._state.cement_elsewhere
        if not entries or not away.any():
            return
        points, pieces = self._points(away), self._pieces(away)
        gaps = np.array(
            [np.linalg.norm(points - one.centroid_lps_mm, axis=1) for one in entries]
        )
        nearest = np.zeros(len(self._codes), np.int64) - 1
        where = np.flatnonzero(away)
        for piece in np.unique(pieces):
            mine = pieces == piece
            nearest[where[mine]] = int(gaps[:, mine].min(axis=1).argmin())
        for index in range(len(entries)):
            finding_id = elsewhere_id(index)
            if not self._rejected("elsewhere", finding_id):
                result_id = self._ids["elsewhere", finding_id]
                owner = VoxelOwner("elsewhere", result_id, "", LEAKED)
                self._give(nearest == index, owner)
        # Rejected or not, these voxels are accounted for.
        self._codes = np.where(nearest >= 0, 0, self._codes).astype(np.uint8)

    def _pieces(self, chosen: npt.NDArray[np.bool_]) -> npt.NDArray[np.int32]:
        """Give each chosen voxel the number of its connected piece, from 1."""
        shape = self._maps.geometry.shape
        places = np.array(np.unravel_index(self._index[chosen], shape)).T
        low = places.min(axis=0)
        filled = np.zeros(places.max(axis=0) - low + 1, bool)
        filled[tuple((places - low).T)] = True
        pieces, _ = ndimage.label(filled, np.ones((3, 3, 3)))
        found: npt.NDArray[np.int32] = pieces[tuple((places - low).T)]
        return found

    def _along_screws(self, code: int, kind: str) -> None:
        """Give metal or lucent rims to the screw along whose axis they lie."""
        chosen = self._codes == code
        if not chosen.any():
            return
        points = self._points(chosen)
        screws = self._state.screws
        gaps = np.full((len(screws) + 1, len(points)), SCREW_REACH_MM)
        for index, screw in enumerate(screws):
            gaps[index] = _distance_to_segment_mm(
                points, np.array(screw.head_lps_mm), np.array(screw.tip_lps_mm)
            )
        nearest = np.full(len(self._codes), -1)
        nearest[chosen] = gaps.argmin(axis=0)
        for index, screw in enumerate(screws):
            if self._rejected("screw", screw.id):
                continue
            name = self._ids["screw", screw.id]
            owner = VoxelOwner(kind, name, self._name(screw.level), code)
            self._give(nearest == index, owner)
        kind = "metal" if code == SCREW else kind
        unknown = VoxelOwner(kind, UNASSIGNED, "", code)
        self._give(nearest == len(screws), unknown)


def _distance_to_segment_mm(
    points: FloatArray, start: FloatArray, end: FloatArray
) -> FloatArray:
    axis = end - start
    along = np.clip((points - start) @ axis / float(axis @ axis), 0.0, 1.0)
    gaps: FloatArray = np.linalg.norm(points - start - along[:, None] * axis, axis=1)
    return gaps
