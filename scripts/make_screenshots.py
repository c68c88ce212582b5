"""Take pictures of the review in napari; see make_screenshots.sh."""

import argparse
import os
import time
from pathlib import Path

import napari
import numpy as np
from napari.utils.notifications import notification_manager
from PIL import Image
from qtpy.QtWidgets import QApplication

from cemscope_pipelines.review import cement_corrections, leak_corrections
from cemscope_pipelines.review.review_document import FindingId
from napari_cemscope.review_app import open_review


def settle(milliseconds: int = 400) -> None:
    """Let Qt draw."""
    end = time.monotonic() + milliseconds / 1000.0
    while time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.02)


def main() -> None:
    """Open a case, go to its findings and save what the window shows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("case", type=Path)
    parser.add_argument("--series", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--size", default="1366x768")
    given = parser.parse_args()
    notification_manager.notification_ready.disconnect()
    given.out.mkdir(parents=True, exist_ok=True)
    width, height = (int(part) for part in given.size.split("x"))
    factor = float(os.environ.get("QT_SCALE_FACTOR", "1"))
    viewer, widget = open_review(given.case, given.series)
    window = widget.window()
    window.setGeometry(0, 0, int(width / factor), int(height / factor))
    settle(1500)
    widget.fit()
    settle(800)

    def take(name: str, whole_screen: bool = False) -> None:
        settle()
        path = given.out / f"{name}-{given.size}.png"
        screen = QApplication.primaryScreen()  # a menu is a window of its own
        shown = screen.grabWindow(0) if whole_screen else window.grab()
        shown.save(str(path))
        with Image.open(path) as drawn:  # Qt packs loosely
            packed = drawn.convert("RGB")
        packed.save(path, optimize=True)

    controller = widget.controller
    rows = controller.session.rows
    take("review-opened")
    leaks = [row.finding for row in rows if row.finding.kind == "leak"]
    screws = [row.finding for row in rows if row.finding.kind == "screw"]
    loose = [
        FindingId("screw", screw.id)
        for screw in controller.session.report.screws
        if getattr(screw.lucency, "grade", "none") != "none"
    ]
    for finding in (*leaks[:2], *(loose or screws)[:1]):
        controller.choose(finding)
        take(f"review-{finding.finding_id}")
    if leaks:
        controller.choose(leaks[0])
        controller.carry_out("modify")
        settle()
        take("review-modify", whole_screen=True)
        controller.menu.close()
        session = controller.session
        leak_corrections.set_leak_types(session, leaks[0].finding_id, ("C",))
        code = session.state.leak_codes[leaks[0].finding_id]
        places = np.flatnonzero(session.maps.materials.reshape(-1) == code)
        cement_corrections.erase_cement(session, places[: len(places) // 3])
        for row in rows[:3]:
            session.accept(row.finding)
        if len(leaks) > 1:
            session.reject(leaks[1], "no cement")
        controller.views.refresh()
        controller.choose(FindingId("leak", leaks[0].finding_id))
        settle(3500)
        take("review-corrected")
    widget.carry_out("keys")
    settle()
    sheet = QApplication.activeModalWidget() or widget.sheet
    sheet.grab().save(str(given.out / f"keys-{given.size}.png"))
    sheet.close()
    viewer.close()


if __name__ == "__main__":
    main()
    napari.Viewer.close_all()
