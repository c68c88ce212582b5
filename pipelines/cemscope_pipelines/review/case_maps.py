"""The label maps of a case as a reader works on them."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cemscope.anatomy import ARCH_OFFSET, VertebraLevel
from cemscope.errors import LabelMapError
from cemscope.geometry import VoxelGeometry, require_same_geometry
from cemscope.volume import LabelArray, LabelMap
from cemscope_pipelines.case_folder import MATERIALS_FILE, VERTEBRAE_FILE
from cemscope_pipelines.report import Report
from cemscope_pipelines.review.map_stream import marked_box, read_map, write_map
from cemscope_pipelines.review.review_document import (
    REVIEW_MATERIALS_FILE,
    REVIEW_VERTEBRAE_FILE,
)
from cemscope_pipelines.review.review_state import ReviewState
from cemscope_pipelines.review.reviewed_result import WITHIN_BONE
from cemscope_pipelines.review.voxel_change import (
    CEMENT,
    LEAKED,
    MapName,
    VoxelChange,
    material_table,
)


@dataclass(frozen=True, slots=True, eq=False)
class CaseMaps:
    """Both maps on the grid of the scan; the arrays change as the reader works.

    Attributes
    ----------
    materials : ndarray of uint8
        The working map; see `cemscope_pipelines.review.voxel_change`.
    vertebrae : ndarray of uint8
        Under the machine's numbers, whatever the reader calls them.
    geometry : VoxelGeometry
        Grid of both.
    """

    materials: LabelArray
    vertebrae: LabelArray
    geometry: VoxelGeometry

    @classmethod
    def read(cls, case_folder: Path, report: Report) -> "CaseMaps":
        """Read the machine's maps of a case and number its leaks.

        Raises
        ------
        LabelMapError
            If a map is missing or damaged.
        GeometryMismatchError
            If the two maps lie on different grids.
        """
        files = [case_folder / VERTEBRAE_FILE, case_folder / MATERIALS_FILE]
        with ThreadPoolExecutor(len(files)) as pool:  # unpacking lets others run
            vertebrae, materials = pool.map(read_map, files)
        require_same_geometry(vertebrae.geometry, materials.geometry)
        expected = (report.series.slices, report.series.rows, report.series.columns)
        if materials.geometry.shape != expected:
            raise LabelMapError(
                f"expected {MATERIALS_FILE} on the scan's grid {expected}, found "
                f"{materials.geometry.shape}: the case folder is mixed up"
            )
        state = ReviewState.of_report(report)
        working = _own(materials.labels)
        number_leaks(working, materials.geometry, report, state.leak_codes)
        return cls(working, _own(vertebrae.labels), materials.geometry)

    def array(self, name: MapName) -> LabelArray:
        """Map by name."""
        return self.materials if name == "materials" else self.vertebrae

    def places_of(self, code: int) -> npt.NDArray[np.int64]:
        """Voxels with a code of the working map, in the flattened array.

        Works slice by slice: no copy of the map is made.
        """
        size = self.materials[0].size
        found = [
            number * size + np.flatnonzero(part == code)
            for number, part in enumerate(self.materials.reshape(-1, size))
        ]
        return np.concatenate(found).astype(np.int64)

    def apply(self, changes: Sequence[VoxelChange]) -> None:
        """Write changes into the maps, in order."""
        for change in changes:
            change.apply(self.array(change.map_name))

    def write(self, case_folder: Path, state: ReviewState) -> tuple[MapName, ...]:
        """Write the corrected maps beside the machine's; those not changed are removed.

        Returns
        -------
        tuple of str
            Which maps differ from the machine's.
        """
        written: list[MapName] = []
        table = result_table(state)
        changed = "materials" in state.corrected_maps
        if changed or not np.array_equal(table, material_table()):
            written.append("materials")
            write_map(
                LabelMap(self.materials.view(), self.geometry),
                table,
                case_folder / REVIEW_MATERIALS_FILE,
                case_folder / MATERIALS_FILE,
            )
        else:
            (case_folder / REVIEW_MATERIALS_FILE).unlink(missing_ok=True)
        if "vertebrae" in state.corrected_maps or state.level_names:
            written.append("vertebrae")
            write_map(
                LabelMap(self.vertebrae.view(), self.geometry),
                name_table(state.level_names),
                case_folder / REVIEW_VERTEBRAE_FILE,
                case_folder / VERTEBRAE_FILE,
            )
        else:
            (case_folder / REVIEW_VERTEBRAE_FILE).unlink(missing_ok=True)
        return tuple(sorted(written, reverse=True))


def _own(labels: LabelArray) -> LabelArray:
    """Array that may be written to, without a copy where that is possible."""
    try:
        labels.setflags(write=True)
    except ValueError:  # of a library's image
        return labels.copy()
    return labels


def result_table(state: ReviewState) -> LabelArray:
    """Code of ``materials.nii.gz`` for each code of the working map.

    Rejected leaks are no cement, or cement within the vertebra.
    """
    table = material_table()
    for one in state.decisions:
        code = state.leak_codes.get(one.finding_id) if one.kind == "leak" else None
        if code is not None and one.decision == "rejected":
            table[code] = CEMENT if one.reason.startswith(WITHIN_BONE) else 0
    return table


def name_table(level_names: dict[str, str]) -> LabelArray:
    """Table from the machine's to the reader's numbers in the vertebra map."""
    table = np.arange(256, dtype=np.uint8)
    for old, new in level_names.items():
        was, now = VertebraLevel(old).number, VertebraLevel(new).number
        table[was] = now
        table[was + ARCH_OFFSET] = now + ARCH_OFFSET
    return table


def number_leaks(
    working: LabelArray,
    geometry: VoxelGeometry,
    report: Report,
    leak_codes: dict[str, int],
) -> None:
    """Give the leaked cement of a map the codes of the report's leaks.

    The map says only that cement leaked. A connected piece goes to the leak whose
    centre it holds or is nearest to; a piece with the centres of several is divided.
    Cement elsewhere keeps the number of leaked cement.
    """
    leaks = [leak for vertebra in report.vertebrae for leak in vertebra.leaks]
    box = marked_box(working)
    if not leaks or box is None or not (working[box] == LEAKED).any():
        return
    low = np.array([part.start for part in box])
    view = working[box]
    pieces, count = ndimage.label(view == LEAKED, np.ones((3, 3, 3)))
    place = np.argwhere(pieces > 0)
    piece = pieces[tuple(place.T)]
    points = geometry.index_to_lps(place + low)
    others = [one.centroid_lps_mm for one in report.cement_elsewhere]
    centres = np.array([leak.centroid_lps_mm for leak in leaks] + others)
    numbers = [leak_codes[leak.id] for leak in leaks] + [LEAKED] * len(others)
    codes = np.array(numbers, np.uint8)
    away = np.linalg.norm(points[:, None] - centres[None], axis=2)
    home = piece[np.argmin(away, axis=0)]  # the piece each leak's centre lies in
    chosen = np.zeros(len(piece), np.uint8)
    for number in range(1, count + 1):
        mine = piece == number
        here: npt.NDArray[np.int64] = np.flatnonzero(home == number)
        if len(here) == 0:
            chosen[mine] = codes[int(np.argmin(away[mine].min(axis=0)))]
        else:
            chosen[mine] = codes[here[np.argmin(away[mine][:, here], axis=1)]]
    view[tuple(place.T)] = chosen
