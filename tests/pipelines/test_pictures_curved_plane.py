from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cases.curved_spine import (
    CANAL_BEHIND_MM,
    STRAIGHT,
    STRAIGHT_SCAN,
    Body,
    Scan,
    oblique,
    scanned,
)
from cemscope.spine import Spine
from cemscope_pipelines.pictures.centre_line import (
    BELOW_SACRUM_MM,
    PEDICLE_BEFORE_CANAL_MM,
    CentreLine,
)
from cemscope_pipelines.pictures.curved_plane import curved_plane
from cemscope_pipelines.pictures.plane import LongView
from cemscope_pipelines.pictures.sampling import sample_layer

FloatArray = npt.NDArray[np.float64]
VIEWS = (LongView.SAGITTAL, LongView.CORONAL)


@dataclass(frozen=True)
class Curve:
    """A line of known length: points, tangents and axial rotation at a height."""

    name: str
    radius_mm: float
    pitch_mm: float
    turn_deg_per_mm: float = 0.0
    sideways: bool = False

    def bodies(self) -> tuple[Body, ...]:
        return tuple(
            Body(f"V{i + 1}", self.point(t), self.left(t), self.tangent(t))
            for i, t in enumerate(np.linspace(-0.5, 0.5, 7))
        )

    def point(self, t: float) -> tuple[float, float, float]:
        bend = self.radius_mm * (1.0 - np.cos(t))
        x, y = (bend, 0.0) if self.sideways else (0.0, -bend)
        if self.pitch_mm:
            x, y = bend, self.pitch_mm * t
        return float(x), float(y), float(self.radius_mm * np.sin(t))

    def tangent(self, t: float) -> tuple[float, float, float]:
        step = np.array(self.point(t + 1e-4)) - np.array(self.point(t - 1e-4))
        x, y, z = step / np.linalg.norm(step)
        return float(x), float(y), float(z)

    def left(self, t: float) -> tuple[float, float, float]:
        turn = np.radians(self.turn_deg_per_mm * self.radius_mm * t)
        return float(np.cos(turn)), float(np.sin(turn)), 0.0


CURVES = (
    Curve("lordosis", 180.0, 0.0),
    Curve("scoliosis", 180.0, 0.0, sideways=True),
    Curve("helix", 180.0, 60.0),
    Curve("scoliosis with rotation", 180.0, 0.0, 0.1, sideways=True),
)
BOX = Scan((-60.0, -90.0, -110.0), (90.0, 90.0, 110.0), (4.0, 4.0, 4.0))


def spine_along(curve: Curve) -> CentreLine:
    images = scanned(curve.bodies(), BOX, canal=False)
    return CentreLine.of(images.spine, images.ct.geometry)


@pytest.mark.parametrize("curve", CURVES, ids=lambda c: c.name)
def test_the_line_runs_through_the_bodies(curve: Curve) -> None:
    line = spine_along(curve)
    # A chord of 30 mm cuts 0.6 mm off an arc of 180 mm, the smoothing 0.2 mm.
    for body in curve.bodies():
        away = np.linalg.norm(line.points_lps_mm - np.array(body.centre), axis=1)
        assert away.min() < 1.2, body.level
    steps = np.linalg.norm(np.diff(line.points_lps_mm, axis=0), axis=1)
    np.testing.assert_allclose(steps, steps.mean(), rtol=0.01)


@pytest.mark.parametrize("view", VIEWS, ids=lambda v: v.value)
@pytest.mark.parametrize("curve", CURVES, ids=lambda c: c.name)
def test_distances_along_the_line_are_true(curve: Curve, view: LongView) -> None:
    line = spine_along(curve)
    plane = curved_plane(line, view, (-40.0, 40.0), 0.5)
    first, last = curve.bodies()[0], curve.bodies()[-1]
    at = np.linspace(*line.body_span, 40).round().astype(int)
    pixels = [np.array(plane.pixel_of(line.points_lps_mm[i])) for i in at]
    drawn_mm = 0.5 * np.linalg.norm(np.diff(pixels, axis=0), axis=1).sum()
    t = np.linspace(-0.5, 0.5, 400)
    steps = np.diff([curve.point(float(u)) for u in t], axis=0)
    true_mm = np.linalg.norm(steps, axis=1).sum()
    # Both ends lie half a step of the line and half a pixel beside the true ones; the
    # pieces of 4.6 mm end on whole pixels, which adds 0.1 % each way.
    assert drawn_mm == pytest.approx(true_mm, abs=2.0)
    straight_mm = np.linalg.norm(np.array(first.centre) - np.array(last.centre))
    assert true_mm > straight_mm + 5.0, "the curve must differ from its chord"


@pytest.mark.parametrize("view", VIEWS, ids=lambda v: v.value)
@pytest.mark.parametrize("curve", CURVES, ids=lambda c: c.name)
def test_pixels_are_square_everywhere(curve: Curve, view: LongView) -> None:
    plane = curved_plane(spine_along(curve), view, (-40.0, 60.0), 0.5)
    across = np.linalg.norm(np.diff(plane.points_lps_mm, axis=1), axis=-1)
    down = np.diff(plane.points_lps_mm, axis=0)
    ruling = np.diff(plane.points_lps_mm, axis=1)[:-1, :1] / 0.5
    down = down - np.sum(down * ruling, axis=-1, keepdims=True) * ruling
    np.testing.assert_allclose(across, 0.5, atol=1e-9)
    # At 60 mm from the line 0.1 degrees per mm move a pixel by 0.105 of its side; where
    # the line leans 0.5 rad sideways, sin(0.5) * 0.105 = 0.05 of that is stretching.
    rtol = 0.08 if curve.turn_deg_per_mm or curve.pitch_mm else 0.01
    np.testing.assert_allclose(np.linalg.norm(down, axis=-1), 0.5, rtol=rtol)


def test_a_straight_spine_gives_the_plain_slice() -> None:
    images = scanned(STRAIGHT, STRAIGHT_SCAN)
    line = CentreLine.of(images.spine, images.ct.geometry)
    for view, axis in ((LongView.SAGITTAL, 0), (LongView.CORONAL, 1)):
        plane = curved_plane(line, view, (-50.0, 70.0), 1.0)
        np.testing.assert_allclose(plane.points_lps_mm[..., axis], 0.0, atol=1e-6)
        rows = plane.points_lps_mm[:, 0, 2]
        np.testing.assert_allclose(np.diff(rows), -1.0, atol=1e-6)
        columns = plane.points_lps_mm[0, :, 1 - axis]
        np.testing.assert_allclose(np.diff(columns), 1.0, atol=1e-6)


def test_the_line_goes_to_the_ends_of_the_scan() -> None:
    images = scanned(STRAIGHT, STRAIGHT_SCAN)
    line = CentreLine.of(images.spine, images.ct.geometry)
    corners = images.ct.geometry.corners_lps_mm()[:, 2]
    # The last point lies inside the last voxel, at most a step before its outer face.
    assert line.points_lps_mm[0, 2] == pytest.approx(corners.min() - 1.0, abs=1.1)
    assert line.points_lps_mm[-1, 2] == pytest.approx(corners.max() + 1.0, abs=1.1)


def test_below_the_sacrum_the_line_ends() -> None:
    bodies = (Body("S1", (0.0, 0.0, 100.0)), Body("L5", (0.0, 0.0, 136.0)))
    images = scanned(bodies, STRAIGHT_SCAN)
    line = CentreLine.of(images.spine, images.ct.geometry)
    assert line.points_lps_mm[0, 2] == pytest.approx(100.0 - BELOW_SACRUM_MM, abs=1.5)


def test_beyond_the_bodies_the_line_follows_the_canal() -> None:
    """Two of five bodies are found; the canal bends to the left above them."""
    shift = (0.0, 0.0, 6.0, 14.0, 24.0)
    bodies = tuple(Body(f"V{i + 1}", (dx, 0.0, 36.0 * i)) for i, dx in enumerate(shift))
    images = scanned(bodies, STRAIGHT_SCAN)
    found = Spine(images.spine.labels, images.spine.vertebrae[:2], images.spine.canal)
    line = CentreLine.of(found, images.ct.geometry).points_lps_mm
    at_top = line[np.argmin(np.abs(line[:, 2] - 144.0))]
    assert at_top[0] == pytest.approx(24.0, abs=3.0)
    without = CentreLine.of(
        Spine(found.labels, found.vertebrae), images.ct.geometry
    ).points_lps_mm
    assert abs(without[np.argmin(np.abs(without[:, 2] - 144.0))][0]) < 1.0


def test_the_pedicles_lie_before_the_canal() -> None:
    images = scanned(STRAIGHT, STRAIGHT_SCAN)
    line = CentreLine.of(images.spine, images.ct.geometry)
    behind = line.through_pedicles(images.spine)
    wanted = CANAL_BEHIND_MM - PEDICLE_BEFORE_CANAL_MM
    np.testing.assert_allclose(behind.points_lps_mm[:, 1], wanted, atol=1.0)


def test_the_picture_turns_with_the_vertebrae() -> None:
    turn = np.radians(20.0)
    left = (float(np.cos(turn)), float(np.sin(turn)), 0.0)
    bodies = tuple(Body(b.level, b.centre, left) for b in STRAIGHT)
    images = scanned(bodies, STRAIGHT_SCAN)
    line = CentreLine.of(images.spine, images.ct.geometry)
    plane = curved_plane(line, LongView.CORONAL, (-50.0, 50.0), 1.0)
    across = np.diff(plane.points_lps_mm, axis=1)
    np.testing.assert_allclose(across, np.broadcast_to(left, across.shape), atol=1e-6)
    grey = sample_layer(images.ct, plane, 0.0)
    row, _ = plane.pixel_of(STRAIGHT[2].centre)
    bone = np.flatnonzero(grey[int(row)] > 100)
    # The body is cut along its own width of 40 mm, not at 1 / cos(20 degrees).
    assert np.ptp(bone) + 1 == pytest.approx(40.0, abs=2.0)


def test_a_frame_that_is_off_does_not_twist_the_picture() -> None:
    turned = [Body(b.level, b.centre) for b in STRAIGHT]
    turned[1] = Body("L4", STRAIGHT[1].centre, (0.0, -1.0, 0.0))
    turned[3] = Body("L2", STRAIGHT[3].centre, (0.8, 0.6, 0.0))
    images = scanned(tuple(turned), STRAIGHT_SCAN)
    line = CentreLine.of(images.spine, images.ct.geometry)
    assert np.degrees(np.abs(line.rotation_rad)).max() < 1.0


@pytest.mark.parametrize("view", VIEWS, ids=lambda v: v.value)
@pytest.mark.parametrize(("degrees", "about"), [(15.0, 0), (-20.0, 2), (180.0, 0)])
def test_the_picture_does_not_depend_on_the_grid(
    view: LongView, degrees: float, about: int
) -> None:
    turned = Scan(
        STRAIGHT_SCAN.low, STRAIGHT_SCAN.high, (1.5, 1.5, 1.5), oblique(degrees, about)
    )
    pictures = []
    for scan in (Scan(turned.low, turned.high, turned.spacing_mm), turned):
        images = scanned(STRAIGHT[1:4], scan, canal=False)
        line = CentreLine.of(images.spine, images.ct.geometry)
        plane = curved_plane(line, view, (-30.0, 30.0), 1.0)
        heights = plane.points_lps_mm[:, 0, 2]
        grey = sample_layer(images.ct, plane, 0.0)[(heights > 20) & (heights < 125)]
        pictures.append(grey)
    rows = min(len(p) for p in pictures)
    inside = [(p[:rows] > 100).mean() for p in pictures]
    assert inside[0] == pytest.approx(inside[1], abs=0.02)


def test_bodies_at_one_height_do_not_fold_the_line() -> None:
    bodies = (
        Body("V1", (0.0, 0.0, 0.0)),
        Body("V2", (-14.0, 0.0, 36.0)),
        Body("V3", (14.0, 0.0, 38.0)),
        Body("V4", (0.0, 0.0, 72.0)),
    )
    images = scanned(bodies, STRAIGHT_SCAN, canal=False)
    line = CentreLine.of(images.spine, images.ct.geometry)
    assert (np.diff(line.points_lps_mm[:, 2]) > 0.9).all()


def test_a_spine_without_vertebrae_has_no_line() -> None:
    images = scanned(STRAIGHT[:1], STRAIGHT_SCAN)
    with pytest.raises(ValueError, match="vertebra"):
        CentreLine.of(Spine(images.spine.labels, ()), images.ct.geometry)


@given(
    lean=st.floats(-0.4, 0.4),
    slope=st.floats(-0.6, 0.6),
    turn=st.floats(-35.0, 35.0),
)
def test_a_leaning_spine_is_drawn_in_its_true_length(
    lean: float, slope: float, turn: float
) -> None:
    up = np.array([lean, slope, 1.0]) / np.linalg.norm([lean, slope, 1.0])
    heights = np.arange(0.0, 121.0, 1.0)
    rotation = np.full(len(heights), np.radians(turn))
    line = CentreLine(heights[:, None] * up, rotation, (0, 120))
    for view in VIEWS:
        plane = curved_plane(line, view, (-10.0, 10.0), 0.5)
        low = np.array(plane.pixel_of(line.points_lps_mm[5]))
        high = np.array(plane.pixel_of(line.points_lps_mm[115]))
        assert 0.5 * np.linalg.norm(low - high) == pytest.approx(110.0, abs=1.0)
        assert (plane.depth_axis[:, 0] @ up < 0.9).all()
