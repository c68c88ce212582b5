"""Cement away from the vertebrae: no leak of theirs, but the reader's to correct."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from cases.reports import LevelCase, ReportCase, made_report
from cases.review_case import AWAY, AWAY_ML, AWAY_RADIUS_MM, TinyCase, write_case
from cemscope.dicom import read_series
from cemscope.geometry import VoxelGeometry
from cemscope_pipelines.label_files import read_label_map
from cemscope_pipelines.report import CementElsewhereEntry, MetalEntry
from cemscope_pipelines.review import cement_corrections
from cemscope_pipelines.review.case_maps import number_leaks
from cemscope_pipelines.review.edit_places import point_to_look_at
from cemscope_pipelines.review.elsewhere_recount import elsewhere_voxels
from cemscope_pipelines.review.review_document import FindingId, ReviewError
from cemscope_pipelines.review.review_session import ReviewSession
from cemscope_pipelines.review.voxel_change import FIRST_LEAK, LEAKED

AWAY_ID = FindingId("elsewhere", "elsewhere-1")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> TinyCase:
    return write_case(tmp_path_factory.mktemp("away"), with_cement_elsewhere=True)


@pytest.fixture
def session(original: TinyCase, tmp_path: Path) -> ReviewSession:
    folder = Path(shutil.copytree(original.folder, tmp_path / "case"))
    return ReviewSession(folder, read_series(original.series))


def voxels_of(session: ReviewSession) -> tuple[np.ndarray, np.ndarray]:
    """Places of the entry's voxels, and the patient points of their centres."""
    (places,) = elsewhere_voxels(session.state, session.maps)
    index = np.array(np.unravel_index(places, session.maps.geometry.shape)).T
    return places, session.maps.geometry.index_to_lps(index)


def volume_ml(session: ReviewSession) -> float:
    return session.state.cement_elsewhere[0].volume_ml


def test_half_erased_with_the_brush_it_has_half_its_volume(
    session: ReviewSession,
) -> None:
    places, points = voxels_of(session)
    spine = session.state.vertebrae
    cement_corrections.erase_cement(session, places[points[:, 2] > AWAY[2]])
    # The rest is a half ball and the slice through its middle; the cut is uncertain by
    # half a slice, and blur (0.6 mm) goes over the cut.
    slice_ml = np.pi * AWAY_RADIUS_MM**2 * 1.0 / 1000.0
    assert abs(volume_ml(session) - (0.5 * AWAY_ML + 0.5 * slice_ml)) < slice_ml
    (entry,) = session.document().result.cement_elsewhere
    assert entry.volume_ml == volume_ml(session)
    assert entry.centroid_lps_mm[2] == pytest.approx(
        AWAY[2] - 3.0 / 8.0 * AWAY_RADIUS_MM, abs=0.5
    )
    assert session.state.decision(AWAY_ID).decision == "modified"
    assert session.state.vertebrae == spine  # nothing else has changed
    row = next(row for row in session.rows if row.finding == AWAY_ID)
    assert row.changed
    assert row.machine_ml == round(AWAY_ML, 3)
    session.undo()
    assert volume_ml(session) == round(AWAY_ML, 3)
    assert session.state.decision(AWAY_ID).decision == "open"


def test_what_was_erased_and_painted_again_is_there_again(
    session: ReviewSession,
) -> None:
    places, points = voxels_of(session)
    part = places[points[:, 2] > AWAY[2]]
    cement_corrections.erase_cement(session, part)
    half = volume_ml(session)
    cement_corrections.paint_cement(session, part)
    np.testing.assert_array_equal(voxels_of(session)[0], places)
    assert volume_ml(session) == pytest.approx(AWAY_ML, rel=0.03)
    assert volume_ml(session) > half
    assert all(len(v.leaks) < 2 for v in session.state.vertebrae)  # no new leak


def test_painted_where_the_scan_is_dark_it_grows_by_next_to_nothing(
    session: ReviewSession,
) -> None:
    _, points = voxels_of(session)
    side = points[points[:, 0] >= points[:, 0].max() - 0.1]
    beyond = session.maps.geometry.lps_to_index(np.add(side, (1.6, 0.0, 0.0)))
    beside = session.maps.geometry.lps_to_index(np.add(side, (0.8, 0.0, 0.0)))
    index = np.rint(np.concatenate([beside, beyond])).astype(int)
    painted = np.ravel_multi_index(tuple(index.T), session.maps.geometry.shape)
    cement_corrections.paint_cement(session, painted)
    added_ml = len(np.unique(painted)) * session.maps.geometry.voxel_volume_mm3 / 1e3
    assert volume_ml(session) - round(AWAY_ML, 3) < 0.2 * added_ml
    assert session.state.decision(AWAY_ID).decision == "modified"


def test_erased_as_a_whole_it_is_rejected_until_undone(session: ReviewSession) -> None:
    seed = session.maps.geometry.lps_to_index(AWAY)
    z, y, x = (int(k) for k in np.rint(seed))
    piece = cement_corrections.piece_at(session, (z, y, x))
    np.testing.assert_array_equal(piece, voxels_of(session)[0])
    cement_corrections.erase_cement(session, piece)
    decision = session.state.decision(AWAY_ID)
    assert (decision.decision, volume_ml(session)) == ("rejected", 0.0)
    assert session.document().result.cement_elsewhere == ()
    with pytest.raises(ReviewError, match="undo"):
        session.reopen(AWAY_ID)
    session.save()
    folder = session.case_folder
    machine = read_label_map(folder / "materials.nii.gz").labels
    reader = read_label_map(folder / "review_materials.nii.gz").labels
    assert int((machine == 2).sum()) - int((reader == 2).sum()) == len(piece)
    again = ReviewSession(folder, session.ct)
    assert again.state == session.state
    again.undo()
    assert volume_ml(again) == round(AWAY_ML, 3)
    assert again.state.decision(AWAY_ID).decision == "open"


def test_the_views_go_to_a_place_in_the_cement(session: ReviewSession) -> None:
    places, points = voxels_of(session)
    # A shell is left, whose middle is hollow.
    middle = np.linalg.norm(points - AWAY, axis=1) < AWAY_RADIUS_MM - 1.5
    cement_corrections.erase_cement(session, places[middle])
    rows = {row.finding: row for row in session.rows}
    for finding, code in ((AWAY_ID, LEAKED), (FindingId("leak", "L4-1"), FIRST_LEAK)):
        point = point_to_look_at(session, rows[finding])
        index = np.rint(session.maps.geometry.lps_to_index(point)).astype(int)
        assert session.maps.materials[tuple(index)] == code
    vertebra = rows[FindingId("vertebra", "L3")]
    assert point_to_look_at(session, vertebra) == vertebra.centre_lps_mm


def test_called_metal_it_is_metal(session: ReviewSession) -> None:
    places, _ = voxels_of(session)
    cement_corrections.to_metal(session, places)
    assert session.document().result.cement_elsewhere == ()
    ml = round(len(places) * session.maps.geometry.voxel_volume_mm3 / 1000.0, 3)
    assert MetalEntry(kind="other", volume_ml=ml) in session.state.metal


def test_its_voxels_keep_the_number_of_leaked_cement() -> None:
    level = LevelCase("L3", 3.0, leaks=((("B",), ("epidural",), 0.2),))
    report = made_report(ReportCase("1.2", "1.3", (level,)))
    (leak,) = report.vertebrae[0].leaks
    away = CementElsewhereEntry(
        location="vena_cava", volume_ml=0.1, centroid_lps_mm=(30.0, 20.0, 10.0)
    )
    report = report.model_copy(update={"cement_elsewhere": (away,)})
    geometry = VoxelGeometry.from_axes((60, 60, 60), (1.0, 1.0, 1.0), (-10, -10, -10))
    working = np.zeros(geometry.shape, np.uint8)
    places = []
    for entry in (leak, away):
        index = np.rint(geometry.lps_to_index(entry.centroid_lps_mm)).astype(int)
        places.append(tuple(slice(k - 1, k + 2) for k in index))
        working[places[-1]] = LEAKED
    number_leaks(working, geometry, report, {leak.id: FIRST_LEAK})
    assert (working[places[0]] == FIRST_LEAK).all()
    assert (working[places[1]] == LEAKED).all()
