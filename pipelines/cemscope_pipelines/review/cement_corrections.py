"""Corrections of cement by the reader: each plans one action of a session.

Voxels are given by their places in the flattened array of the scan.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cemscope_pipelines.report import MetalEntry
from cemscope_pipelines.review.edit_places import (
    RIM_MM,
    Places,
    levels_of,
    near_bone,
    touched_findings,
    touched_leak,
    with_new_leak,
)
from cemscope_pipelines.review.elsewhere_recount import (
    recounted_elsewhere,
    touched_elsewhere,
)
from cemscope_pipelines.review.level_recount import box_of_index
from cemscope_pipelines.review.review_document import ReviewError
from cemscope_pipelines.review.review_plan import Plan
from cemscope_pipelines.review.review_session import ReviewSession
from cemscope_pipelines.review.review_state import ReviewState
from cemscope_pipelines.review.reviewed_result import ERASED_REASON
from cemscope_pipelines.review.voxel_change import (
    CEMENT,
    ERASED,
    FIRST_OWNED,
    LAST_OWNED,
    LEAKED,
    OTHER_METAL,
    SCREW,
    VoxelChange,
    is_cement,
    is_leak,
)

CodeTest = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.bool_]]
"""Tells of each code of the working map whether it is meant."""

MetalKind = Literal["screw", "rod", "other"]

PIECE_REACH_MM = 60.0
"""A piece of cement is followed this far from where it was pointed at."""


def paint_cement(session: ReviewSession, index: Places) -> None:
    """Add cement: within a vertebra's outline it is its own, outside it is a leak.

    Painted voxels outside join the leak or the cement elsewhere that they touch, else
    they are a new leak of the nearest vertebra. How much of a voxel is cement the scan
    tells.

    Raises
    ------
    ReviewError
        If nothing would change.
    """
    maps, state = session.maps, session.state
    index, _ = _marked(session, index, _is_free, "this is cement or metal already")
    box = box_of_index(index, maps, RIM_MM + 1.0)
    within = near_bone(session, index, box)
    after = np.full(len(index), CEMENT, np.uint8)
    rerouted: tuple[str, ...] = ()
    if not within.all():
        outside = index[~within]
        leak_id = touched_leak(session, outside)
        if leak_id is None and touched_elsewhere(state, maps, outside):
            after[~within] = LEAKED
        else:
            if leak_id is None:
                state, leak_id = with_new_leak(session, state, outside)
            after[~within] = state.leak_codes[leak_id]
            rerouted = (leak_id,)
    change = VoxelChange.of("materials", maps.materials, index, after)
    levels = levels_of(session, index[within])
    _carry_out(session, "paint cement", state, change, levels, rerouted)


def erase_cement(session: ReviewSession, index: Places) -> None:
    """Take cement away; a leak or an entry elsewhere without a voxel left is rejected.

    Raises
    ------
    ReviewError
        If there is no cement.
    """
    index, codes = _marked(session, index, _is_any_cement, "there is no cement here")
    change = VoxelChange.of("materials", session.maps.materials, index, ERASED)
    state, rerouted = _after_loss(session, codes)
    _carry_out(session, "erase cement", state, change, frozenset(), rerouted)


def to_metal(session: ReviewSession, index: Places) -> None:
    """Call cement metal, e.g. a screw's tip or a cage.

    Raises
    ------
    ReviewError
        If there is no cement.
    """
    index, codes = _marked(session, index, _is_any_cement, "there is no cement here")
    change = VoxelChange.of("materials", session.maps.materials, index, OTHER_METAL)
    state, rerouted = _after_loss(session, codes)
    state = _with_metal(session, state, "other", len(index))
    _carry_out(session, "cement to metal", state, change, frozenset(), rerouted)


def to_cement(session: ReviewSession, index: Places) -> None:
    """Call metal cement.

    Raises
    ------
    ReviewError
        If there is no metal.
    """
    index, codes = _marked(session, index, _is_metal, "there is no metal here")
    kind: MetalKind = "screw" if (codes == SCREW).sum() * 2 > len(codes) else "other"
    change = VoxelChange.of("materials", session.maps.materials, index, CEMENT)
    state = _with_metal(session, session.state, kind, -len(index))
    levels = levels_of(session, index)
    _carry_out(session, "metal to cement", state, change, levels, ())


def give_cement(session: ReviewSession, index: Places, level: str) -> None:
    """Move cement to another vertebra (the machine's name); leaks go as a whole.

    Raises
    ------
    ReviewError
        If there is no cement, or no such vertebra.
    """
    maps, state = session.maps, session.state
    levels = [entry.level for entry in state.vertebrae]
    if level not in levels:
        raise ReviewError(f"no vertebra {level} is in view")
    otherwise = "there is no cement within a vertebra here"
    index, _ = _marked(session, index, _is_cement_within, otherwise)
    code = FIRST_OWNED + levels.index(level)
    if code > LAST_OWNED:
        raise ReviewError("too many vertebrae are in view")
    change = VoxelChange.of("materials", maps.materials, index, code)
    touched = levels_of(session, index) | {level}
    _carry_out(session, f"give cement to {level}", state, change, touched, ())


def _marked(
    session: ReviewSession, index: Places, is_meant: CodeTest, otherwise: str
) -> tuple[Places, npt.NDArray[np.uint8]]:
    """Places whose code is meant, each once, and their codes; none is refused."""
    places: Places = np.unique(np.asarray(index, np.int64))
    codes = session.maps.materials.reshape(-1)[places]
    meant = is_meant(codes)
    _require(places[meant], otherwise)
    return places[meant], codes[meant]


def _is_metal(codes: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    metal: npt.NDArray[np.bool_] = (codes == SCREW) | (codes == OTHER_METAL)
    return metal


def _is_any_cement(codes: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Also that away from the vertebrae, which has no code of its own."""
    found: npt.NDArray[np.bool_] = is_cement(codes) | (codes == LEAKED)
    return found


def _is_free(codes: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    return ~_is_any_cement(codes) & ~_is_metal(codes)


def _is_cement_within(codes: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    return is_cement(codes) & ~is_leak(codes)


def piece_at(session: ReviewSession, seed: tuple[int, int, int]) -> Places:
    """Find the connected piece of cement, of one leak, or of metal, around a voxel.

    Raises
    ------
    ReviewError
        If nothing was marked there.
    """
    maps = session.maps
    code = int(maps.materials[seed])
    place = np.array([np.ravel_multi_index(seed, maps.geometry.shape)])
    box = box_of_index(place, maps, PIECE_REACH_MM)
    codes = maps.materials[box]
    if code in (LEAKED, SCREW, OTHER_METAL) or is_leak(np.array([code], np.uint8))[0]:
        same = codes == code
    elif code == CEMENT or FIRST_OWNED <= code <= LAST_OWNED:
        same = _is_cement_within(codes)
    else:
        raise ReviewError("neither cement nor metal is marked at this place")
    pieces, _ = ndimage.label(same, np.ones((3, 3, 3)))
    start = np.array([part.start for part in box])
    found = np.argwhere(pieces == pieces[tuple(np.array(seed) - start)]) + start
    flat: Places = np.ravel_multi_index(tuple(found.T), maps.geometry.shape)
    return np.sort(flat)


def _with_metal(
    session: ReviewSession, state: ReviewState, kind: MetalKind, voxels: int
) -> ReviewState:
    """Add voxels to the metal of a kind, or take them off the best fitting part."""
    ml = voxels * session.maps.geometry.voxel_volume_mm3 / 1000.0
    metal = list(state.metal)
    same = [k for k, part in enumerate(metal) if part.kind == kind]
    if voxels > 0 or not same:
        if voxels > 0:
            metal.append(MetalEntry(kind=kind, volume_ml=round(ml, 3)))
        return state.replace(metal=tuple(metal))
    best = min(same, key=lambda k: abs(metal[k].volume_ml + ml))
    left = round(max(0.0, metal[best].volume_ml + ml), 3)
    metal[best] = metal[best].model_copy(update={"volume_ml": left})
    return state.replace(metal=tuple(part for part in metal if part.volume_ml > 0.0))


def _carry_out(
    session: ReviewSession,
    action: str,
    state: ReviewState,
    change: VoxelChange,
    levels: frozenset[str],
    rerouted: tuple[str, ...],
) -> None:
    index = change.index
    state, away = recounted_elsewhere(session.context, session.maps, state, change)
    findings = touched_findings(session.state, state, (change,), session, levels)
    ml = len(index) * session.maps.geometry.voxel_volume_mm3 / 1000.0
    session.carry_out(
        Plan(
            action,
            {"voxels": len(index), "voxels_ml": round(ml, 3)},
            (*findings, *away),
            state,
            (change,),
            box_of_index(index, session.maps),
            levels,
            rerouted,
        )
    )


def _after_loss(
    session: ReviewSession, lost: npt.NDArray[np.uint8]
) -> tuple[ReviewState, tuple[str, ...]]:
    """State after voxels of some codes are gone, and the leaks that changed."""
    state, changed = session.state, []
    for leak_id, code in session.state.leak_codes.items():
        gone = int((lost == code).sum())
        if not gone or state.level_of_leak_code(code) is None:
            continue
        if gone < len(session.maps.places_of(code)):
            changed.append(leak_id)
            continue
        state = state.with_leak_gone(leak_id, ERASED_REASON)
    return state, tuple(changed)


def _require(index: Places, otherwise: str) -> None:
    if not len(index):
        raise ReviewError(otherwise)
