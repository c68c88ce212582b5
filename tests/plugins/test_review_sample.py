"""The scripted reader at the sample patient, and a reader whose process is killed."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cases.sample_demo import SampleDemo, copy_of
from cemscope_pipelines.label_files import read_label_map
from cemscope_pipelines.review.edit_places import point_to_look_at
from cemscope_pipelines.review.review_document import FindingId, read_review
from cemscope_pipelines.review.review_session import ReviewSession
from cemscope_pipelines.review.review_settings import ReviewSettings
from napari_cemscope.review_app import open_review
from napari_cemscope.review_controller import ReviewController

pytestmark = [
    pytest.mark.sample,
    pytest.mark.gui,
    pytest.mark.skipif(
        sys.platform == "linux" and not os.environ.get("DISPLAY"),
        reason="needs a display: run scripts/with_display.sh, or install xvfb first",
    ),
]

CHANGED, FALSE = "L4-1", "L2-1"
"""The leak whose type the reader changes, and the one he calls no cement."""


def choose(controller: ReviewController, key: str) -> None:
    """Press a key in the menu that is open."""
    assert controller.menu is not None
    (action,) = [
        one for one in controller.menu.actions() if one.text().startswith(f"&{key}")
    ]
    action.trigger()
    controller.menu.close()


def test_a_reader_reviews_the_sample_patient(
    make_napari_viewer: Any, qtbot: Any, sample_demo: SampleDemo, tmp_path: Path
) -> None:
    folder = copy_of(sample_demo, tmp_path / "case")
    machine = json.loads((folder / "report.json").read_text())
    viewer = make_napari_viewer(show=True)
    _, widget = open_review(
        folder, settings=ReviewSettings(idle_seconds=0.0), viewer=viewer
    )
    controller = widget.controller
    assert controller is not None
    session, views = controller.session, controller.views
    assert session.state.leak(CHANGED)[1].types == ("B",)
    # Through all findings by the key: each is in the middle of the three views.
    seen = []
    for _ in session.rows:
        row = controller.row
        assert row is not None
        seen.append(row.finding)
        np.testing.assert_allclose(
            views.point,
            controller.space.to_screen(point_to_look_at(session, row)),
            atol=0.51,
        )
        widget.carry_out("next")
    assert set(seen) == {row.finding for row in session.rows}
    # From B to C in two keystrokes.
    controller.choose(FindingId("leak", CHANGED))
    widget.carry_out("modify")
    choose(controller, "C")
    # A false blob: the piece at the crosshair goes with one key.
    volume = session.state.vertebra("L2").cement.volume_ml
    leaked = session.state.leak(FALSE)[1].volume_ml
    voxels = len(session.maps.places_of(session.state.leak_codes[FALSE]))
    controller.choose(FindingId("leak", FALSE))
    widget.carry_out("erase_piece")  # the crosshair stands in the leak
    # Everything else is right.
    while (open_finding := session.next_open()) is not None:
        controller.choose(open_finding)
        widget.carry_out("accept")
    qtbot.wait(20)
    widget.carry_out("save")
    widget.shut()

    document = read_review(folder)
    assert document is not None
    assert (document.status, document.maps_current) == ("reviewed", True)
    l2, l4 = (
        next(v for v in document.result.vertebrae if v.level == level)
        for level in ("L2", "L4")
    )
    assert (l4.leaks[0].types, l4.leaks[0].certainty) == (("C",), "definite")
    assert l2.leaks == ()
    assert l2.cement.leaked_ml == 0.0
    assert volume - l2.cement.volume_ml == pytest.approx(leaked, rel=0.3)
    assert [one.action for one in document.edits[:2]] == [
        "set leak type", "erase cement",
    ]  # fmt: skip
    assert not any(one.action == "rename levels" for one in document.edits)
    kept = {v["level"] for v in machine["vertebrae"]}
    assert {v.level for v in document.result.vertebrae} == kept  # no level was shifted
    assert {d.decision for d in document.decisions} == {
        "accepted", "modified", "rejected",
    }  # fmt: skip
    before = read_label_map(folder / "materials.nii.gz").labels
    after = read_label_map(folder / "review_materials.nii.gz").labels
    assert int((before == 2).sum()) - int((after == 2).sum()) == voxels
    assert json.loads((folder / "report.json").read_text()) == machine
    again = ReviewSession(folder)
    assert again.document() == document
    assert again.is_settled
    qtbot.wait(50)  # Qt deletes what was closed


READER = """
import sys
from pathlib import Path
from cemscope_pipelines.review.review_document import FindingId
from napari_cemscope.review_app import open_review

_, widget = open_review(Path(sys.argv[1]))
controller = widget.controller
session = controller.session
controller.choose(FindingId("leak", "L4-1"))
leak = session.state.leak_codes["L4-1"]
done = 0
while True:  # until this process is killed
    places = session.maps.places_of(leak)
    controller.tools._erase(places[:5])
    done += 1
    print(done, flush=True)
"""


def test_a_window_that_is_killed_loses_the_last_edit_at_most(
    sample_demo: SampleDemo, tmp_path: Path
) -> None:
    folder = copy_of(sample_demo, tmp_path / "case")
    program = tmp_path / "reader.py"
    program.write_text(READER)
    with subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, str(program), str(folder)], stdout=subprocess.PIPE, text=True
    ) as reader:
        assert reader.stdout is not None
        told = [reader.stdout.readline().strip() for _ in range(4)]
        os.kill(reader.pid, getattr(signal, "SIGKILL", signal.SIGTERM))
    assert told == ["1", "2", "3", "4"], told
    again = ReviewSession(folder)
    edits = again.history.log
    # All that was told is there; what was on its way may be.
    assert len(edits) >= 4
    assert {edit.action for edit in edits} == {"erase cement"}
    machine = again.report.vertebrae
    l4 = next(v for v in machine if v.level == "L4")
    assert again.state.vertebra("L4").cement.volume_ml < l4.cement.volume_ml
    again.settle()
    document = read_review(folder)
    assert document == again.document()
    assert document is not None
    assert document.edits == edits
    maps = read_label_map(folder / "review_materials.nii.gz").labels
    before = read_label_map(folder / "materials.nii.gz").labels
    assert int((before == 2).sum()) - int((maps == 2).sum()) == 5 * len(edits)
