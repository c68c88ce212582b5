"""Corrections of leaks by the reader: their types, places, level and extent."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from cemscope_pipelines.report import LeakEntry, PointLPSmm
from cemscope_pipelines.review.edit_places import (
    Places,
    touched_findings,
    with_new_leak,
)
from cemscope_pipelines.review.level_recount import box_of_index
from cemscope_pipelines.review.review_document import (
    FindingId,
    ParameterValue,
    ReviewError,
)
from cemscope_pipelines.review.review_plan import Plan
from cemscope_pipelines.review.review_session import ReviewSession
from cemscope_pipelines.review.review_state import ReviewState
from cemscope_pipelines.review.voxel_change import VoxelChange

LeakLetter = Literal["B", "S", "C", "D", "I"]
LEAK_LETTERS: tuple[LeakLetter, ...] = ("B", "S", "C", "D", "I")


def set_leak_types(session: ReviewSession, leak_id: str, types: Sequence[str]) -> None:
    """Say by which ways a leak went; the reader's word is definite.

    Raises
    ------
    ReviewError
        If there is no such leak or type, or no type is given.
    """
    _, leak = _leak(session, leak_id)
    unknown = [one for one in types if one not in LEAK_LETTERS]
    if unknown or not types:
        raise ReviewError(f"expected leak types among B, S, C, D, I, found {types}")
    ordered = tuple(one for one in LEAK_LETTERS if one in types)
    changed = leak.model_copy(update={"types": ordered, "certainty": "definite"})
    parameters: dict[str, ParameterValue] = {
        "leak": leak_id,
        "from_types": "+".join(leak.types),
        "to_types": "+".join(ordered),
    }
    state = session.state.with_leak(changed)
    told = tuple(dict.fromkeys((*state.types_told, leak_id)))
    state = state.replace(types_told=told)
    _plain(session, "set leak type", parameters, leak_id, state)


def set_leak_places(
    session: ReviewSession, leak_id: str, places: Sequence[str]
) -> None:
    """Say where a leak lies, the most important place first.

    Raises
    ------
    ReviewError
        If there is no such leak, or no place is given.
    """
    _, leak = _leak(session, leak_id)
    if not places:
        raise ReviewError("expected at least one place")
    changed = leak.model_copy(update={"locations": tuple(places)})
    parameters: dict[str, ParameterValue] = {
        "leak": leak_id,
        "from_places": ", ".join(leak.locations),
        "to_places": ", ".join(places),
    }
    state = session.state.with_leak(changed)
    told = tuple(dict.fromkeys((*state.places_told, leak_id)))
    state = state.replace(places_told=told)
    _plain(session, "set leak places", parameters, leak_id, state)


def move_leak(session: ReviewSession, leak_id: str, level: str) -> None:
    """Say which vertebra (the machine's name) a leak comes from.

    Raises
    ------
    ReviewError
        If there is no such leak or vertebra.
    """
    before, leak = _leak(session, leak_id)
    state = session.state
    if level not in [entry.level for entry in state.vertebrae]:
        raise ReviewError(f"no vertebra {level} is in view")
    if level == before:
        return
    index = _leak_voxels(session, leak_id)
    session.carry_out(
        Plan(
            "move leak",
            {"leak": leak_id, "from_level": before, "to_level": level},
            (
                FindingId("leak", leak_id),
                FindingId("vertebra", before),
                FindingId("vertebra", level),
            ),
            state.with_leak(leak, level),
            (),
            box_of_index(index, session.maps),
            frozenset({before, level}),
            (leak_id,),
        )
    )


def split_leak(
    session: ReviewSession,
    leak_id: str,
    point_lps_mm: PointLPSmm,
    normal_lps: PointLPSmm | None = None,
) -> None:
    """Divide a leak by a plane; the smaller part becomes a new leak.

    Parameters
    ----------
    point_lps_mm
        In the plane.
    normal_lps
        Across the plane; None cuts across the leak's longest axis.

    Raises
    ------
    ReviewError
        If the plane leaves one side without a voxel.
    """
    level, _ = _leak(session, leak_id)
    index = _leak_voxels(session, leak_id)
    maps = session.maps
    points = maps.geometry.index_to_lps(
        np.array(np.unravel_index(index, maps.geometry.shape)).T
    )
    if normal_lps is None:
        centred = points - points.mean(axis=0)
        axis = np.linalg.svd(centred, full_matrices=False)[2][0]
    else:
        axis = np.asarray(normal_lps, float)
    beyond = (points - np.asarray(point_lps_mm, float)) @ axis > 0.0
    if beyond.all() or not beyond.any():
        raise ReviewError(
            "the cut leaves the whole leak on one side: put the crosshair inside it"
        )
    smaller = index[beyond if beyond.sum() * 2 <= len(beyond) else ~beyond]
    state, new_id = with_new_leak(session, session.state, smaller, level)
    change = VoxelChange.of(
        "materials", maps.materials, smaller, state.leak_codes[new_id]
    )
    x, y, z = (round(float(v), 1) for v in point_lps_mm)
    _of_voxels(
        session,
        "split leak",
        {"leak": leak_id, "new_leak": new_id, "at_lps_mm": f"{x}, {y}, {z}"},
        state,
        change,
        (leak_id, new_id),
    )


def join_leaks(session: ReviewSession, kept_id: str, other_id: str) -> None:
    """Make one leak of two; it keeps the first one's id and level.

    Raises
    ------
    ReviewError
        If one does not exist, or both are the same.
    """
    level, _ = _leak(session, kept_id)
    other_level, other = _leak(session, other_id)
    if kept_id == other_id:
        raise ReviewError("expected two different leaks")
    index = _leak_voxels(session, other_id)
    state = session.state
    _, kept = state.leak(kept_id)
    volume = round(kept.volume_ml + other.volume_ml, 3)
    state = state.with_leak_gone(other_id, f"joined with {kept_id}")
    state = state.with_leak(kept.model_copy(update={"volume_ml": volume}))
    change = VoxelChange.of(
        "materials", session.maps.materials, index, state.leak_codes[kept_id]
    )
    _of_voxels(
        session,
        "join leaks",
        {"leak": kept_id, "joined_leak": other_id},
        state,
        change,
        (kept_id,),
        frozenset({level, other_level}),
        {session.state.leak_codes[other_id]: session.state.leak_codes[kept_id]},
    )


def _leak(session: ReviewSession, leak_id: str) -> tuple[str, LeakEntry]:
    try:
        return session.state.leak(leak_id)
    except KeyError:
        raise ReviewError(f"there is no leak {leak_id}") from None


def _leak_voxels(session: ReviewSession, leak_id: str) -> Places:
    index = session.maps.places_of(session.state.leak_codes[leak_id])
    if not len(index):
        raise ReviewError(f"the label map holds no voxel of leak {leak_id}")
    return index


def _plain(
    session: ReviewSession,
    action: str,
    parameters: dict[str, ParameterValue],
    leak_id: str,
    state: ReviewState,
) -> None:
    session.carry_out(Plan(action, parameters, (FindingId("leak", leak_id),), state))


def _of_voxels(
    session: ReviewSession,
    action: str,
    parameters: dict[str, ParameterValue],
    state: ReviewState,
    change: VoxelChange,
    rerouted: tuple[str, ...],
    levels: frozenset[str] = frozenset(),
    joined: dict[int, int] | None = None,
) -> None:
    findings = touched_findings(session.state, state, (change,), session, levels)
    session.carry_out(
        Plan(
            action,
            parameters,
            findings,
            state,
            (change,),
            box_of_index(change.index, session.maps),
            levels,
            rerouted,
            joined or {},
        )
    )
