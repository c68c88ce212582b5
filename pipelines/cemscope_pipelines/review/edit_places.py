"""Where an edit lies: in which vertebra, beside which leak, touching which findings.

Voxels are given by their places in the flattened array of the scan.
"""

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cemscope.anatomy import ARCH_OFFSET, VertebraLevel
from cemscope.segmentation.scan_region import Box
from cemscope_pipelines.report import LeakEntry, NotAssessedEntry, PointLPSmm
from cemscope_pipelines.review.elsewhere_recount import elsewhere_voxels
from cemscope_pipelines.review.finding_list import FindingRow
from cemscope_pipelines.review.leak_description import NOT_FOLLOWED
from cemscope_pipelines.review.level_recount import box_of_index
from cemscope_pipelines.review.review_document import FindingId, ReviewError
from cemscope_pipelines.review.review_session import ReviewSession
from cemscope_pipelines.review.review_state import ReviewState
from cemscope_pipelines.review.voxel_change import VoxelChange, is_cement, is_leak

Places = npt.NDArray[np.int64]

RIM_MM = 1.0
"""Cement no further outside the outline of a vertebra abuts its cortex."""


def point_to_look_at(session: ReviewSession, row: FindingRow) -> PointLPSmm:
    """Place to bring the views to: in a leak, also where its centre is beside it.

    A vein runs round the body, so that the middle of its cement may lie in the bone.
    """
    maps, state, finding = session.maps, session.state, row.finding
    if finding.kind == "leak":
        places = maps.places_of(state.leak_codes[finding.finding_id])
    elif finding.kind == "elsewhere":
        found = elsewhere_voxels(state, maps)
        places = found[int(finding.finding_id.rsplit("-", 1)[1]) - 1]
    else:
        return row.centre_lps_mm
    if not len(places):
        return row.centre_lps_mm
    index = np.array(np.unravel_index(places, maps.geometry.shape)).T
    points = maps.geometry.index_to_lps(index)
    away = np.linalg.norm(points - np.asarray(row.centre_lps_mm), axis=1)
    x, y, z = points[int(away.argmin())]
    return float(x), float(y), float(z)


def with_new_leak(
    session: ReviewSession, state: ReviewState, index: Places, level: str | None = None
) -> tuple[ReviewState, str]:
    """Add a leak that the reader drew; its volume is counted afterwards.

    It belongs to the nearest vertebra where no level is given.
    """
    maps = session.maps
    points = maps.geometry.index_to_lps(
        np.array(np.unravel_index(index, maps.geometry.shape)).T
    )
    level = level or nearest_level(session, index)
    missing = NotAssessedEntry(reason=NOT_FOLLOWED)
    x, y, z = (round(float(v), 2) for v in points.mean(axis=0))
    leak_id = state.free_leak_id(level)
    entry = LeakEntry(
        id=leak_id,
        types=(),
        certainty="indeterminate",
        locations=(),
        volume_ml=0.0,
        max_distance_mm=0.0,
        centroid_lps_mm=(x, y, z),
        canal_encroachment_percent=missing,
        evidence=missing,
    )
    return state.with_added_leak(entry, level, state.free_leak_code()), leak_id


def touched_findings(
    before: ReviewState,
    after: ReviewState,
    changes: tuple[VoxelChange, ...],
    session: ReviewSession,
    levels: frozenset[str],
) -> tuple[FindingId, ...]:
    """Vertebrae and leaks whose voxels change."""
    found: list[FindingId] = []
    names = set(levels)
    codes = {
        int(code)
        for change in changes
        if change.map_name == "materials"
        for code in np.unique(np.concatenate([change.before, change.after]))
    }
    for state in (before, after):
        for leak_id, code in state.leak_codes.items():
            level = state.level_of_leak_code(code)
            if code in codes and level is not None:
                found.append(FindingId("leak", leak_id))
                names.add(level)
    for change in changes:
        if change.map_name == "materials":
            plain = ~is_leak(change.before) & is_cement(change.before)
            names |= levels_of(session, change.index[plain])
    order = [entry.level for entry in after.vertebrae if entry.level in names]
    return tuple(
        dict.fromkeys((*(FindingId("vertebra", name) for name in order), *found))
    )


def near_bone(session: ReviewSession, index: Places, box: Box) -> npt.NDArray[np.bool_]:
    """Tell which voxels lie in a vertebra's outline or abut it."""
    maps = session.maps
    labels = maps.vertebrae[box] > 0
    if not labels.any():
        return np.zeros(len(index), np.bool_)
    away = ndimage.distance_transform_edt(~labels, sampling=maps.geometry.spacing_mm)
    return np.asarray(away[_local(session, index, box)] <= RIM_MM, np.bool_)


def touched_leak(session: ReviewSession, index: Places) -> str | None:
    """Leak that most of some voxels touch."""
    maps = session.maps
    box = box_of_index(index, maps, max(maps.geometry.spacing_mm) + 0.1)
    mark = np.zeros(maps.materials[box].shape, np.bool_)
    mark[_local(session, index, box)] = True
    around = ndimage.binary_dilation(mark, np.ones((3, 3, 3)))
    codes = maps.materials[box][around]
    codes = codes[is_leak(codes)]
    if not codes.size:
        return None
    code = int(np.bincount(codes).argmax())
    state = session.state
    for leak_id, number in state.leak_codes.items():
        if number == code and state.level_of_leak_code(code) is not None:
            return leak_id
    return None


def levels_of(session: ReviewSession, index: Places) -> frozenset[str]:
    """Vertebrae in whose outline voxels lie, or that are next to them."""
    if not len(index):
        return frozenset()
    numbers = np.unique(session.maps.vertebrae.reshape(-1)[index])
    present = {
        VertebraLevel(entry.level).number: entry.level
        for entry in session.state.vertebrae
    }
    found = {
        present[number]
        for n in numbers
        if (number := int(n) - ARCH_OFFSET * (int(n) > ARCH_OFFSET)) in present
    }
    return frozenset(found or {nearest_level(session, index)})


def nearest_level(session: ReviewSession, index: Places) -> str:
    """Vertebra nearest to some voxels.

    Raises
    ------
    ReviewError
        If no vertebra is in view.
    """
    maps, state = session.maps, session.state
    if not state.vertebrae:
        raise ReviewError("no vertebra is in view")
    box = box_of_index(index, maps, 15.0)
    labels = maps.vertebrae[box]
    present = {VertebraLevel(e.level).number: e.level for e in state.vertebrae}
    if labels.any():
        nearest = ndimage.distance_transform_edt(
            labels == 0,
            sampling=maps.geometry.spacing_mm,
            return_distances=False,
            return_indices=True,
        )
        found = labels[tuple(nearest)][_local(session, index, box)] % ARCH_OFFSET
        number = int(np.bincount(found).argmax())
        if number in present:
            return present[number]
    centre = maps.geometry.index_to_lps(
        np.array(np.unravel_index(index, maps.geometry.shape)).mean(axis=1)
    )
    away = [
        float(np.linalg.norm(centre - np.array(entry.centroid_lps_mm)))
        for entry in state.vertebrae
    ]
    return state.vertebrae[int(np.argmin(away))].level


def _local(
    session: ReviewSession, index: Places, box: Box
) -> tuple[npt.NDArray[np.int64], ...]:
    places = np.unravel_index(index, session.maps.geometry.shape)
    return tuple(
        np.asarray(axis - part.start) for axis, part in zip(places, box, strict=True)
    )
