"""Open a case in napari's window and look whether it is there; see check_wheel.sh."""

import sys
from pathlib import Path

import napari
from qtpy.QtWidgets import QApplication

import napari_cemscope
from napari_cemscope.review_app import open_review


def say(*words: object) -> None:
    """Write a line."""
    sys.stdout.write(" ".join(str(word) for word in words) + "\n")


def main() -> int:
    """Drag the case onto napari, then review it."""
    case, series = Path(sys.argv[1]), Path(sys.argv[2])
    say("   package:", Path(napari_cemscope.__file__).parent)
    viewer = napari.Viewer()
    viewer.open(str(series), plugin="cemscope")
    say("   a DICOM folder:", [layer.name for layer in viewer.layers])
    viewer.layers.clear()
    _, widget = open_review(case, series, viewer=viewer)
    for _ in range(20):
        QApplication.processEvents()
    names = [layer.name for layer in viewer.layers]
    rows = widget.controller.session.rows
    say("   layers:", names)
    say("   findings:", len(rows))
    shown = viewer.screenshot(canvas_only=False, flash=False)
    spread = float(shown[..., :3].std())
    say(f"   window: {shown.shape[1]} x {shown.shape[0]}, spread {spread:.0f}")
    widget.shut()
    viewer.close()
    expected = {"CT", "vertebrae", "metal", "cement", "leaks"}
    return 0 if expected <= set(names) and rows and spread > 10.0 else 1


if __name__ == "__main__":
    sys.exit(main())
