"""Corrections of anatomy and implants: level names, outlines of bodies, screws."""

import numpy as np

from cemscope.anatomy import VertebraLevel
from cemscope.segmentation.scan_region import joint
from cemscope_pipelines.report import (
    VOLUME_DECIMALS,
    CementEntry,
    LucencyEntry,
    NotAssessedEntry,
    PointLPSmm,
    ScrewEntry,
    VertebraEntry,
)
from cemscope_pipelines.review.edit_places import Places, touched_findings
from cemscope_pipelines.review.level_names import named_from, shifted
from cemscope_pipelines.review.level_recount import box_of_index, cement_box
from cemscope_pipelines.review.review_document import (
    FindingId,
    ParameterValue,
    ReviewError,
)
from cemscope_pipelines.review.review_plan import Plan
from cemscope_pipelines.review.review_session import ReviewSession
from cemscope_pipelines.review.reviewed_result import fill_ratio
from cemscope_pipelines.review.voxel_change import (
    CEMENT,
    VoxelChange,
    is_cement,
    is_leak,
)

SAME_AXIS_MM = 1.0
"""An end no further beside the machine's axis leaves the shaft's surface where it was,
to the width of a narrow rim."""

MOVED_REASON = "the reader moved the screw: the rim was measured beside another axis"


def shift_levels(session: ReviewSession, steps_cranial: int) -> None:
    """Rename all vertebrae by some steps towards the head (negative: the feet).

    Raises
    ------
    ReviewError
        If a name would not exist.
    """
    state = session.state
    levels = [entry.level for entry in state.vertebrae]
    names = shifted(levels, state.level_names, steps_cranial)
    _rename(session, names, {"steps_cranial": steps_cranial})


def name_levels(session: ReviewSession, level: str, name: str) -> None:
    """Name one vertebra (by the machine's name) and count the others from it.

    Raises
    ------
    ReviewError
        If a name would not exist.
    """
    levels = [entry.level for entry in session.state.vertebrae]
    names = named_from(levels, level, name)
    _rename(session, names, {"level": level, "name": name})


def _rename(
    session: ReviewSession,
    names: dict[str, str],
    parameters: dict[str, ParameterValue],
) -> None:
    # Names are no judgement: what was open stays open.
    state = session.state.replace(level_names=names)
    session.carry_out(Plan("rename levels", parameters, (), state))


def move_screw(
    session: ReviewSession,
    screw_id: str,
    head_lps_mm: PointLPSmm,
    tip_lps_mm: PointLPSmm,
) -> None:
    """Put the ends of a screw where they are; its cement is counted anew.

    Its lucent rim was measured beside the machine's axis: it is not assessed where the
    reader's lies elsewhere.

    Raises
    ------
    ReviewError
        If there is no such screw, or its ends coincide.
    """
    state = session.state
    screw = next((one for one in state.screws if one.id == screw_id), None)
    if screw is None:
        raise ReviewError(f"no screw {screw_id}")
    length = float(np.linalg.norm(np.subtract(tip_lps_mm, head_lps_mm)))
    if length < screw.diameter_mm:
        raise ReviewError(
            f"the ends are {length:.1f} mm apart: expected more than the diameter "
            f"({screw.diameter_mm:.1f} mm)"
        )
    changed = screw.model_copy(
        update={
            "head_lps_mm": _rounded(head_lps_mm),
            "tip_lps_mm": _rounded(tip_lps_mm),
            "length_mm": round(length, 2),
            "lucency": _lucency_after(screw, head_lps_mm, tip_lps_mm),
        }
    )
    moved = state.replace(
        screws=tuple(changed if one.id == screw_id else one for one in state.screws)
    )
    box = None
    if session.ct is not None:
        box = cement_box(session.context, session.maps, state, screw.level)
    session.carry_out(
        Plan(
            "move screw",
            {"screw": screw_id, "length_mm": round(length, 2)},
            (FindingId("screw", screw_id),),
            moved,
            (),
            box,
            frozenset({screw.level}),
        )
    )


def _lucency_after(
    screw: ScrewEntry, head_lps_mm: PointLPSmm, tip_lps_mm: PointLPSmm
) -> LucencyEntry | NotAssessedEntry:
    """Rim of a moved screw: the machine's where its axis stays."""
    start = np.asarray(screw.head_lps_mm)
    way = np.asarray(screw.tip_lps_mm) - start
    way = way / np.linalg.norm(way)
    for end in (head_lps_mm, tip_lps_mm):
        if np.linalg.norm(np.cross(np.asarray(end) - start, way)) > SAME_AXIS_MM:
            return NotAssessedEntry(reason=MOVED_REASON)
    return screw.lucency


def redraw_body(
    session: ReviewSession, level: str, added: Places, removed: Places
) -> None:
    """Change the outline of a body (the machine's name of its level).

    Leaked cement that now lies within the body is its own.

    Raises
    ------
    ReviewError
        If nothing would change.
    """
    maps, state = session.maps, session.state
    number = VertebraLevel(level).number
    labels = maps.vertebrae.reshape(-1)
    added = np.unique(np.asarray(added, np.int64))
    removed = np.unique(np.asarray(removed, np.int64))
    removed = removed[labels[removed] == number]
    index = np.concatenate([added, removed])
    after = np.concatenate(
        [np.full(len(added), number), np.zeros(len(removed))]
    ).astype(np.uint8)
    change = VoxelChange.of("vertebrae", maps.vertebrae, index, after)
    if not change.size:
        raise ReviewError("the outline of this body stays as it is")
    grown = int((change.after == number).sum()) - int((change.before == number).sum())
    ml = grown * maps.geometry.voxel_volume_mm3 / 1000.0
    resized = _resized(session, change)
    codes = maps.materials.reshape(-1)[added]
    own = added[is_leak(codes)]
    within = VoxelChange.of("materials", maps.materials, own, CEMENT)
    lost = tuple(
        leak_id
        for leak_id, code in state.leak_codes.items()
        if within.size
        and (within.before == code).any()
        and (within.before == code).sum() == len(maps.places_of(code))
    )
    planned = state
    for one in resized:
        planned = planned.with_vertebra(one)
    for leak_id in lost:
        planned = planned.with_leak_gone(leak_id, "within the redrawn body")
    changes = (change, within) if within.size else (change,)
    box = box_of_index(change.index, maps)
    if session.ct is not None:
        known = session.context.boxes
        known[level] = joint((known[level], box)) if level in known else box
    cement = is_cement(maps.materials[box]).any()
    touched = frozenset({level, *(one.level for one in resized)})
    session.carry_out(
        Plan(
            "redraw body",
            {"level": level, "voxels": change.size, "body_change_ml": round(ml, 3)},
            touched_findings(state, planned, changes, session, touched),
            planned,
            changes,
            box if cement else None,
            touched,
            tuple(
                leak.id
                for leak in planned.vertebra(level).leaks
                if within.size and (within.before == state.leak_codes[leak.id]).any()
            ),
        )
    )


def _resized(session: ReviewSession, change: VoxelChange) -> list[VertebraEntry]:
    """Vertebrae whose body has another volume, and so another filling."""
    voxel_ml = session.maps.geometry.voxel_volume_mm3 / 1000.0
    found = []
    for entry in session.state.vertebrae:
        number = VertebraLevel(entry.level).number
        step = int((change.after == number).sum()) - int(
            (change.before == number).sum()
        )
        if not step:
            continue
        volume = round(
            max(0.0, entry.body_volume_ml + step * voxel_ml), VOLUME_DECIMALS
        )
        cement = entry.cement
        if isinstance(cement, CementEntry):
            share = fill_ratio(cement.intrabody_ml, volume)
            cement = cement.model_copy(update={"fill_ratio": share})
        found.append(
            entry.model_copy(update={"body_volume_ml": volume, "cement": cement})
        )
    return found


def _rounded(point: PointLPSmm) -> PointLPSmm:
    x, y, z = (round(float(v), 2) for v in point)
    return x, y, z
