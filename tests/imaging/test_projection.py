import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cemscope.testing.projection import ParallelDetector, strip_matrix

DETECTOR = ParallelDetector(301, 0.5, (3.0, -2.0))


@given(
    angle=st.floats(0.0, np.pi),
    pixel_mm=st.floats(0.1, 3.0),
    x=st.floats(-40.0, 40.0),
    y=st.floats(-40.0, 40.0),
)
def test_a_square_keeps_its_area_at_every_angle(
    angle: float, pixel_mm: float, x: float, y: float
) -> None:
    matrix = strip_matrix(DETECTOR, pixel_mm, np.array([[x, y]]), angle)
    paths_cm = matrix.toarray()[:, 0]
    assert (paths_cm >= -1e-6).all()
    area_mm2 = paths_cm.sum() * 10.0 * DETECTOR.bin_mm
    assert area_mm2 == pytest.approx(pixel_mm**2, rel=1e-4)
    # A strip tells nothing about the place inside it: half a bin at most.
    centre = (paths_cm * np.arange(DETECTOR.bins)).sum() / paths_cm.sum()
    expected = DETECTOR.position(np.array([[x, y]]), angle)[0]
    assert centre == pytest.approx(expected, abs=0.5001)


@pytest.mark.parametrize("angle", [0.0, 0.3, np.pi / 4, np.pi / 2, 2.5])
def test_paths_through_a_disc_are_its_chords(angle: float) -> None:
    pixel_mm, radius_mm = 0.5, 30.0
    o = (np.arange(140) - 69.5) * pixel_mm
    y, x = np.meshgrid(o, o, indexing="ij")
    xy = np.stack([x.ravel() + 3.0, y.ravel() - 2.0], axis=1)
    # Coverage of a pixel, from the distance of its centre to the circle.
    disc = np.clip(0.5 - (np.hypot(x, y) - radius_mm) / pixel_mm, 0, 1).ravel()
    path_mm = 10.0 * (strip_matrix(DETECTOR, pixel_mm, xy, angle) @ disc)
    t = (np.arange(DETECTOR.bins) - (DETECTOR.bins - 1) / 2) * DETECTOR.bin_mm
    chord_mm = 2 * np.sqrt(np.maximum(radius_mm**2 - t**2, 0.0))
    inner = np.abs(t) < 0.9 * radius_mm
    assert path_mm[inner] == pytest.approx(chord_mm[inner], abs=pixel_mm)
    assert path_mm[inner].mean() == pytest.approx(chord_mm[inner].mean(), rel=2e-3)


def test_detector_sees_every_corner() -> None:
    corners = [(-100.0, -50.0), (120.0, 80.0)]
    detector = ParallelDetector.covering(corners, (5.0, 5.0), 0.5, 90.0)
    for angle in np.linspace(0, np.pi, 19):
        bins = detector.position(np.array(corners), angle)
        assert bins.min() >= 0
        assert bins.max() <= detector.bins - 1
    assert detector.padded >= 2 * detector.bins - 1
