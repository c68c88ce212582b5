"""Corrections of voxels: what changes is counted, and everything can be taken back."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cases.review_case import BLOB_ML, LEAK_ID, TinyCase, write_case
from cemscope_pipelines.review import (
    anatomy_corrections,
    cement_corrections,
    leak_corrections,
)
from cemscope_pipelines.review.case_series import read_case_series
from cemscope_pipelines.review.review_document import FindingId, ReviewError
from cemscope_pipelines.review.review_session import ReviewSession
from cemscope_pipelines.review.voxel_change import (
    VoxelChange,
    VoxelRecord,
    is_cement,
    merged,
)

Point = tuple[float, float, float]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> TinyCase:
    return write_case(tmp_path_factory.mktemp("corrections"))


@pytest.fixture
def session(original: TinyCase, tmp_path: Path) -> ReviewSession:
    folder = Path(shutil.copytree(original.folder, tmp_path / "case"))
    opened = ReviewSession(folder)
    opened.ct = read_case_series(folder, opened.report, opened.maps.geometry)
    opened.follow_at_once = False  # a route takes a second; one test follows it
    return opened


def ball(session: ReviewSession, centre: Point, radius_mm: float) -> np.ndarray:
    geometry = session.maps.geometry
    grid = np.stack(
        np.meshgrid(*(np.arange(n) for n in geometry.shape), indexing="ij"), -1
    )
    away = np.linalg.norm(geometry.index_to_lps(grid) - centre, axis=-1)
    return np.flatnonzero(away <= radius_mm)


def piece(session: ReviewSession, centre: Point) -> np.ndarray:
    seed = np.rint(session.maps.geometry.lps_to_index(centre)).astype(int)
    return cement_corrections.piece_at(session, (seed[0], seed[1], seed[2]))


def leak_voxels(session: ReviewSession, leak_id: str = LEAK_ID) -> np.ndarray:
    code = session.state.leak_codes[leak_id]
    return np.flatnonzero(session.maps.materials.reshape(-1) == code)


def volume(session: ReviewSession, level: str) -> float:
    return float(session.state.vertebra(level).cement.volume_ml)


def test_an_erased_blob_leaves_an_empty_vertebra_with_its_detection_limit(
    session: ReviewSession, original: TinyCase
) -> None:
    cement_corrections.erase_cement(session, piece(session, original.blob_lps_mm))
    cement = session.state.vertebra("L3").cement
    assert (cement.volume_ml, cement.intrabody_ml, cement.fill_ratio) == (0.0, 0.0, 0.0)
    assert 0.0 < cement.interval_ml[1] < BLOB_ML
    assert session.state.vertebra("L4") == session.report.vertebrae[0]
    assert session.state.decision(FindingId("vertebra", "L3")).decision == "modified"
    assert session.state.decision(FindingId("vertebra", "L4")).decision == "open"
    totals = session.document().result.totals
    assert totals.vertebrae_augmented == 1


def test_painting_what_was_erased_brings_its_volume_back(
    session: ReviewSession, original: TinyCase
) -> None:
    voxels = piece(session, original.blob_lps_mm)
    cement_corrections.erase_cement(session, voxels)
    cement_corrections.paint_cement(session, voxels)
    # The ball's own volume, to within its blurred rim of half a voxel.
    assert volume(session, "L3") == pytest.approx(BLOB_ML, rel=0.15)


def test_half_an_erased_leak_takes_about_half_its_volume(
    session: ReviewSession,
) -> None:
    _, before = session.state.leak(LEAK_ID)
    voxels = leak_voxels(session)
    slices = np.unravel_index(voxels, session.maps.geometry.shape)[0]
    half = voxels[slices <= np.median(slices)]
    cement_corrections.erase_cement(session, half)
    _, after = session.state.leak(LEAK_ID)
    share = len(half) / len(voxels)
    lost = before.volume_ml - after.volume_ml
    assert lost == pytest.approx(share * before.volume_ml, rel=0.35)
    cement = session.state.vertebra("L4").cement
    assert cement.leaked_ml == after.volume_ml
    assert cement.interval_ml[0] < cement.volume_ml < cement.interval_ml[1]


def test_a_leak_erased_as_a_whole_is_rejected(session: ReviewSession) -> None:
    cement_corrections.erase_cement(session, leak_voxels(session))
    result = session.document().result.vertebrae[0]
    assert result.leaks == ()
    assert result.cement.leaked_ml == 0.0
    decision = session.state.decision(FindingId("leak", LEAK_ID))
    assert (decision.decision, decision.reason[:9]) == ("rejected", "no cement")
    with pytest.raises(ReviewError, match="erased"):
        session.accept(FindingId("leak", LEAK_ID))


def test_cement_painted_outside_the_bone_is_a_new_leak(session: ReviewSession) -> None:
    centre = (0.0, -26.5 + 4.0, -258.0)  # before the body of L3
    cement_corrections.paint_cement(session, ball(session, centre, 1.5))
    leaks = session.state.vertebra("L3").leaks
    assert [leak.id for leak in leaks] == ["L3-1"]
    assert leaks[0].certainty == "indeterminate"
    decision = session.state.decision(FindingId("leak", "L3-1"))
    assert (decision.decision, decision.added_by_reader) == ("modified", True)
    # Soft tissue is no cement, whatever was painted: the scan says how much.
    assert leaks[0].volume_ml < 0.01


def test_split_and_joined_the_leak_has_its_volume_again(
    session: ReviewSession, original: TinyCase
) -> None:
    _, before = session.state.leak(LEAK_ID)
    total = volume(session, "L4")
    leak_corrections.split_leak(session, LEAK_ID, original.leak_lps_mm)
    parts = session.state.vertebra("L4").leaks
    assert len(parts) == 2
    assert sum(p.volume_ml for p in parts) == pytest.approx(before.volume_ml, abs=4e-3)
    assert all(part.volume_ml > 0.02 for part in parts)
    assert volume(session, "L4") == pytest.approx(total, abs=2e-3)
    leak_corrections.join_leaks(session, LEAK_ID, "L4-2")
    (joined,) = session.state.vertebra("L4").leaks
    assert joined.volume_ml == pytest.approx(before.volume_ml, abs=4e-3)
    assert len(leak_voxels(session)) == len(
        leak_voxels(ReviewSession(session.case_folder))
    )


def test_what_a_correction_swallowed_stays_on_the_record(
    session: ReviewSession, original: TinyCase
) -> None:
    leak_corrections.split_leak(session, LEAK_ID, original.leak_lps_mm)
    leak_corrections.join_leaks(session, "L4-2", LEAK_ID)
    decision = session.state.decision(FindingId("leak", LEAK_ID))
    assert (decision.decision, decision.reason) == ("rejected", "joined with L4-2")


def test_accepting_a_corrected_leak_keeps_it_modified(session: ReviewSession) -> None:
    leak_corrections.set_leak_types(session, LEAK_ID, ("C",))
    session.accept(FindingId("leak", LEAK_ID))
    assert session.state.decision(FindingId("leak", LEAK_ID)).decision == "modified"


def test_a_cut_beside_the_leak_is_refused(session: ReviewSession) -> None:
    with pytest.raises(ReviewError, match="one side"):
        leak_corrections.split_leak(session, LEAK_ID, (0.0, -200.0, 0.0))
    assert session.history.log == ()


def test_a_moved_leak_takes_its_cement_to_the_other_level(
    session: ReviewSession,
) -> None:
    whole = volume(session, "L4") + volume(session, "L3")
    leak_ml = session.state.leak(LEAK_ID)[1].volume_ml
    l4_before = volume(session, "L4")
    leak_corrections.move_leak(session, LEAK_ID, "L3")
    assert session.state.leak(LEAK_ID)[0] == "L3"
    assert volume(session, "L4") + volume(session, "L3") == pytest.approx(
        whole, abs=0.01
    )
    assert l4_before - volume(session, "L4") == pytest.approx(leak_ml, rel=0.25)
    (leak,) = session.document().result.vertebrae[1].leaks
    assert leak.id == "L3-1"


def test_cement_given_to_another_level_is_counted_there(
    session: ReviewSession, original: TinyCase
) -> None:
    cement_corrections.give_cement(session, piece(session, original.blob_lps_mm), "L4")
    assert volume(session, "L3") == 0.0
    assert volume(session, "L4") == pytest.approx(
        session.report.vertebrae[0].cement.volume_ml + BLOB_ML, rel=0.05
    )


def test_metal_and_cement_change_places(
    session: ReviewSession, original: TinyCase
) -> None:
    voxels = piece(session, original.blob_lps_mm)
    ml = len(voxels) * session.maps.geometry.voxel_volume_mm3 / 1000.0
    cement_corrections.to_metal(session, voxels)
    assert volume(session, "L3") == 0.0
    assert session.state.metal[-1].kind == "other"
    assert session.state.metal[-1].volume_ml == pytest.approx(ml, abs=1e-3)
    cement_corrections.to_cement(session, voxels)
    assert [part.kind for part in session.state.metal] == ["screw"]
    assert volume(session, "L3") == pytest.approx(BLOB_ML, rel=0.15)


def test_a_redrawn_body_takes_cement_in(session: ReviewSession) -> None:
    before = session.state.vertebra("L4")
    leak = leak_voxels(session)
    anatomy_corrections.redraw_body(session, "L4", leak, np.zeros(0, np.int64))
    after = session.state.vertebra("L4")
    ml = len(leak) * session.maps.geometry.voxel_volume_mm3 / 1000.0
    assert after.body_volume_ml == pytest.approx(before.body_volume_ml + ml, abs=2e-3)
    assert after.leaks == ()
    assert after.cement.leaked_ml == 0.0
    # Beside the leak's blur, the volume is the same; it lies within the body now.
    assert after.cement.volume_ml == pytest.approx(before.cement.volume_ml, rel=0.05)
    assert after.cement.intrabody_ml > before.cement.intrabody_ml + 0.1


def test_a_redrawn_body_has_another_filling_wherever_it_was_drawn(
    session: ReviewSession,
) -> None:
    """The fill ratio follows, far from any cement and in the neighbour, too."""
    before = {entry.level: entry for entry in session.state.vertebrae}
    corner = ball(session, (0.0, -8.0, -249.0), 4.0)  # the top of L3, no cement near
    labels = session.maps.vertebrae.reshape(-1)[corner]
    taken = corner[labels == 22]
    assert taken.size > 50
    anatomy_corrections.redraw_body(session, "L4", taken, np.zeros(0, np.int64))
    ml = len(taken) * session.maps.geometry.voxel_volume_mm3 / 1000.0
    for level, change in (("L4", ml), ("L3", -ml)):
        now = session.state.vertebra(level)
        body = before[level].body_volume_ml + change
        assert now.body_volume_ml == pytest.approx(body, abs=2e-3)
        cement = now.cement
        assert cement.volume_ml == pytest.approx(
            before[level].cement.volume_ml, abs=2e-3
        )
        assert cement.fill_ratio == pytest.approx(
            cement.intrabody_ml / now.body_volume_ml, abs=1e-4
        )
        assert cement.fill_ratio != before[level].cement.fill_ratio
        assert session.state.decision(FindingId("vertebra", level)).decision == (
            "modified"
        )


def test_a_moved_screw_is_cemented_where_cement_is(session: ReviewSession) -> None:
    head, tip = (7.0, 28.0, -258.0), (7.0, -8.0, -258.0)
    anatomy_corrections.move_screw(session, "L3-left", head, tip)
    screw = session.state.screws[0]
    assert screw.length_mm == pytest.approx(36.0, abs=0.01)
    with pytest.raises(ReviewError, match="apart"):
        anatomy_corrections.move_screw(session, "L3-left", head, head)


def test_a_followed_route_tells_the_type_but_not_over_the_readers(
    session: ReviewSession,
) -> None:
    cement_corrections.erase_cement(session, leak_voxels(session)[:20])
    assert session.routes_to_follow == (LEAK_ID,)
    session.follow_routes()
    assert session.routes_to_follow == ()
    _, leak = session.state.leak(LEAK_ID)
    assert leak.locations == ("paravertebral_right",)
    assert leak.types == ("C",)  # a short way through the wall; the report said B
    leak_corrections.set_leak_types(session, LEAK_ID, ("S",))
    cement_corrections.erase_cement(session, leak_voxels(session)[:20])
    session.follow_routes()
    assert session.state.leak(LEAK_ID)[1].types == ("S",)
    assert ReviewSession(session.case_folder).state == session.state


@dataclass(frozen=True)
class Case:
    name: str
    act: Callable[[ReviewSession], None]


CASES = (
    Case("erase", lambda s: cement_corrections.erase_cement(s, leak_voxels(s)[:50])),
    Case("erase all", lambda s: cement_corrections.erase_cement(s, leak_voxels(s))),
    Case("metal", lambda s: cement_corrections.to_metal(s, leak_voxels(s))),
    Case(
        "split",
        lambda s: leak_corrections.split_leak(
            s, LEAK_ID, s.state.leak(LEAK_ID)[1].centroid_lps_mm
        ),
    ),
    Case("shift", lambda s: anatomy_corrections.shift_levels(s, -1)),
    Case(
        "body",
        lambda s: anatomy_corrections.redraw_body(
            s, "L4", leak_voxels(s), np.zeros(0, np.int64)
        ),
    ),
    Case("accept", lambda s: s.accept(FindingId("leak", LEAK_ID))),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_undo_and_redo_are_exact(session: ReviewSession, case: Case) -> None:
    session.accept(FindingId("vertebra", "L3"))
    state = session.state
    maps = [session.maps.materials.copy(), session.maps.vertebrae.copy()]
    case.act(session)
    done, drawn = session.state, session.maps.materials.copy()
    assert done != state
    session.undo()
    assert session.state == state
    np.testing.assert_array_equal(session.maps.materials, maps[0])
    np.testing.assert_array_equal(session.maps.vertebrae, maps[1])
    session.redo()
    assert session.state == done
    np.testing.assert_array_equal(session.maps.materials, drawn)
    session.revert()
    assert session.state == ReviewSession(session.case_folder).state
    np.testing.assert_array_equal(session.maps.materials, maps[0])
    assert session.document().result.totals == session.report.totals
    session.undo()  # reverting can be taken back, too
    np.testing.assert_array_equal(session.maps.materials, drawn)


def test_a_saved_review_opens_with_maps_volumes_and_log(
    session: ReviewSession, original: TinyCase
) -> None:
    cement_corrections.erase_cement(session, piece(session, original.blob_lps_mm))
    session.accept(FindingId("leak", LEAK_ID))
    saved = session.save()
    again = ReviewSession(session.case_folder)
    assert again.document() == saved
    np.testing.assert_array_equal(again.maps.materials, session.maps.materials)
    again.undo()
    again.undo()
    assert again.document().result == ReviewSession(original.folder).document().result


changes = st.lists(
    st.lists(st.tuples(st.integers(0, 59), st.integers(0, 255)), min_size=1), max_size=4
)


@given(changes)
@settings(max_examples=60)
def test_voxel_changes_and_their_texts_lead_there_and_back(
    edits: list[list[tuple[int, int]]],
) -> None:
    start = (np.arange(60) * 7 % 256).astype(np.uint8)
    array = start.copy()
    made = []
    for edit in edits:
        index = np.array([place for place, _ in edit], np.int64)
        after = np.array([code for _, code in edit], np.uint8)
        change = VoxelChange.of("materials", array, index, after)
        change.apply(array)
        made.append(VoxelRecord.of(change).change())
    back = array.copy()
    for change in merged(change.inverse for change in reversed(made)):
        change.apply(back)
    np.testing.assert_array_equal(back, start)
    for change in reversed(made):
        change.inverse.apply(array)
    np.testing.assert_array_equal(array, start)


def test_a_change_of_other_voxels_is_refused() -> None:
    array = np.zeros(4, np.uint8)
    change = VoxelChange.of("materials", array, np.array([1, 2]), 1)
    array[2] = 9
    with pytest.raises(ValueError, match="differ"):
        change.apply(array)
    assert is_cement(np.array([1, 10, 190, 3, 0, 255], np.uint8)).tolist() == [
        True, True, True, False, False, False,
    ]  # fmt: skip
