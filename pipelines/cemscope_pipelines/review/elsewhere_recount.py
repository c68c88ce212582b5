"""Cement away from the vertebrae after an edit: what is left, and how much it is.

Its voxels keep the number of leaked cement in the working map, whichever entry they
are of: a connected piece goes to the entry whose centre is nearest to it.
"""

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cemscope.measurement.dense_object import cement_share, connected
from cemscope.segmentation.scan_region import Box
from cemscope_pipelines.report import VOLUME_DECIMALS, CementElsewhereEntry
from cemscope_pipelines.review.case_maps import CaseMaps
from cemscope_pipelines.review.level_recount import EDIT_MARGIN_MM, box_of_index
from cemscope_pipelines.review.review_document import FindingId, elsewhere_id
from cemscope_pipelines.review.review_state import ReviewState
from cemscope_pipelines.review.reviewed_result import ERASED_REASON
from cemscope_pipelines.review.scan_context import ScanContext
from cemscope_pipelines.review.voxel_change import ERASED, LEAKED, VoxelChange

Places = npt.NDArray[np.int64]


def elsewhere_voxels(state: ReviewState, maps: CaseMaps) -> tuple[Places, ...]:
    """Find the voxels of each entry of ``cement_elsewhere``.

    Returns
    -------
    tuple of ndarray of int64
        Places in the flattened array, ascending; empty where all was erased.
    """
    none = np.zeros(0, np.int64)
    centres = np.array([one.centroid_lps_mm for one in state.cement_elsewhere])
    places = maps.places_of(LEAKED) if len(centres) else none
    parts: list[list[Places]] = [[] for _ in centres]
    shape = maps.geometry.shape
    for piece in connected(np.array(np.unravel_index(places, shape)).T, shape):
        points = maps.geometry.index_to_lps(piece)
        away = np.linalg.norm(points[:, None] - centres[None], axis=2).min(axis=0)
        parts[int(away.argmin())].append(np.ravel_multi_index(tuple(piece.T), shape))
    return tuple(np.sort(np.concatenate([none, *part])) for part in parts)


def touched_elsewhere(state: ReviewState, maps: CaseMaps, index: Places) -> bool:
    """Tell whether voxels touch cement of an entry away from the vertebrae."""
    if not state.cement_elsewhere:
        return False
    box = box_of_index(index, maps, max(maps.geometry.spacing_mm) + 0.1)
    mark = _mask(index, box, maps)
    around = ndimage.binary_dilation(mark, np.ones((3, 3, 3)))
    return bool((maps.materials[box][around] == LEAKED).any())


def recounted_elsewhere(
    context: ScanContext, maps: CaseMaps, state: ReviewState, change: VoxelChange
) -> tuple[ReviewState, tuple[FindingId, ...]]:
    """Count the entries whose voxels an edit of the materials is going to change.

    What the edit changes in the count is added to the machine's value, as with
    vertebrae. An entry without a voxel left counts as rejected.

    Parameters
    ----------
    context
        The scan.
    maps
        As they are before the edit.
    state
        The state to go on from.
    change
        The edit.

    Returns
    -------
    ReviewState
        With the new volumes and centres.
    tuple of FindingId
        Entries that changed.
    """
    gone = change.index[change.before == LEAKED]
    new = change.index[change.after == LEAKED]
    if not len(gone) + len(new) or not state.cement_elsewhere:
        return state, ()
    entries = list(state.cement_elsewhere)
    voxels = elsewhere_voxels(state, maps)
    home = _nearest_entry(voxels, new, maps) if len(new) else -1
    erased = change.index[change.after == ERASED]
    found: list[FindingId] = []
    for place, before in enumerate(voxels):
        after = np.setdiff1d(before, gone, assume_unique=True)
        if place == home:
            after = np.union1d(after, new)
        if np.array_equal(before, after):
            continue
        step = _difference_ml(context, maps, before, after, erased)
        entries[place] = _changed(entries[place], after, step, maps)
        found.append(FindingId("elsewhere", elsewhere_id(place)))
    state = state.replace(cement_elsewhere=tuple(entries))
    for one in found:
        if entries[_place_of(one)].volume_ml <= 0.0:
            state = state.decided(one, "rejected", ERASED_REASON)
    return state, tuple(found)


def is_erased(state: ReviewState, finding: FindingId) -> bool:
    """Tell whether a finding is an entry of which a correction left nothing."""
    if finding.kind != "elsewhere":
        return False
    return state.cement_elsewhere[_place_of(finding)].volume_ml <= 0.0


def _place_of(finding: FindingId) -> int:
    return int(finding.finding_id.rsplit("-", 1)[1]) - 1


def _nearest_entry(voxels: tuple[Places, ...], new: Places, maps: CaseMaps) -> int:
    """Entry that painted voxels join: the one with the nearest voxel."""
    shape = maps.geometry.shape
    centre = maps.geometry.index_to_lps(
        np.array(np.unravel_index(new, shape)).mean(axis=1)
    )
    away = [
        np.linalg.norm(
            maps.geometry.index_to_lps(np.array(np.unravel_index(one, shape)).T)
            - centre,
            axis=1,
        ).min(initial=np.inf)
        for one in voxels
    ]
    return int(np.argmin(away))


def _difference_ml(
    context: ScanContext, maps: CaseMaps, before: Places, after: Places, erased: Places
) -> float:
    """Change of the cement in a contour, by partial volume."""
    both = np.union1d(before, after)
    box = box_of_index(both, maps, EDIT_MARGIN_MM)
    rim_mm = context.settings.elsewhere.rim_mm
    ct, pure_hu = context.ct, context.cement.hu
    # One background for both counts: that around all voxels.
    share = cement_share(ct, box, _mask(both, box, maps), pure_hu, rim_mm)
    reach = rim_mm + 0.5 * max(ct.geometry.spacing_mm)
    was_erased = maps.materials[box] == ERASED
    counts = []
    for kept, empty in (
        (before, was_erased),
        (after, was_erased | _mask(erased, box, maps)),
    ):
        mark = _mask(kept, box, maps)
        near = mark
        if mark.any():
            spacing = ct.geometry.spacing_mm
            away = ndimage.distance_transform_edt(~mark, sampling=spacing)
            near = (away <= reach) & (mark | ~empty)
        counts.append(float(share[near].sum(dtype=np.float64)))
    return (counts[1] - counts[0]) * ct.geometry.voxel_volume_mm3 / 1000.0


def _changed(
    entry: CementElsewhereEntry, voxels: Places, step_ml: float, maps: CaseMaps
) -> CementElsewhereEntry:
    if not len(voxels):
        return entry.model_copy(update={"volume_ml": 0.0})
    least = 10.0**-VOLUME_DECIMALS  # 0 says that nothing is left
    volume = round(max(least, entry.volume_ml + step_ml), VOLUME_DECIMALS)
    index = np.array(np.unravel_index(voxels, maps.geometry.shape)).T
    x, y, z = maps.geometry.index_to_lps(index).mean(axis=0)
    centre = (round(float(x), 2), round(float(y), 2), round(float(z), 2))
    return entry.model_copy(update={"volume_ml": volume, "centroid_lps_mm": centre})


def _mask(index: Places, box: Box, maps: CaseMaps) -> npt.NDArray[np.bool_]:
    """Mark places of the flattened scan in a box; those outside are left out."""
    mark = np.zeros(tuple(part.stop - part.start for part in box), np.bool_)
    if len(index):
        places = np.array(np.unravel_index(index, maps.geometry.shape)).T
        local = places - [part.start for part in box]
        inside = ((local >= 0) & (local < mark.shape)).all(axis=1)
        mark[tuple(local[inside].T)] = True
    return mark
