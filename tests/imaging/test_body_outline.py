"""The usual outline votes over all directions; the posterior cut over the free wall."""

import numpy as np
import pytest

from cemscope.segmentation.bodies.body_outline import (
    BodyOutline,
    fit_outline,
    usual_radius_mm,
)
from cemscope.segmentation.bodies.body_surface import (
    WALL_ANGLES_RAD,
    WALL_LEVELS,
    WALL_RADII_MM,
)
from cemscope.segmentation.bodies.posterior_cut import LIP_MM, posterior_cut_mm


def edges(radius_mm: np.ndarray) -> np.ndarray:
    """Contrast that peaks at a radius in each direction."""
    return np.exp(-(((WALL_RADII_MM[None, :] - radius_mm[:, None]) / 1.2) ** 2))


@pytest.mark.parametrize(("width", "depth"), [(15.0, 14.0), (20.0, 16.0), (26.0, 16.0)])
def test_size_in_spite_of_a_vessel(width: float, depth: float) -> None:
    radius = usual_radius_mm(np.array([width]), np.array([depth]))[0]
    # A vessel lies on the left front: a stronger edge 8 mm further out.
    vessel = (WALL_ANGLES_RAD > 4.9) & (WALL_ANGLES_RAD < 6.0)
    edge = edges(radius)
    edge[vessel] = 0.6 * edge[vessel] + edges(radius + 8.0)[vessel]
    found = fit_outline(edge, np.ones(len(WALL_ANGLES_RAD)))
    assert found.half_width_mm == pytest.approx(width, abs=1.0)
    assert found.half_depth_mm == pytest.approx(depth, abs=1.5)
    assert np.abs(found.radius_mm() - radius).max() < 2.5


# The first axis lies 15 mm before the canal: far behind the middle of a deep body.
@pytest.mark.parametrize(
    ("width", "depth", "left", "back"), [(21.0, 16.0, 3.0, -4.0), (27.0, 20.5, 0, -7.5)]
)
def test_middle_of_the_outline(
    width: float, depth: float, left: float, back: float
) -> None:
    radius = usual_radius_mm(np.array([width]), np.array([depth]))[0]
    x = radius * np.cos(WALL_ANGLES_RAD) + left
    y = radius * np.sin(WALL_ANGLES_RAD) + back
    angle = np.arctan2(y, x) % (2 * np.pi)
    order = np.argsort(angle)
    seen = np.interp(
        WALL_ANGLES_RAD, angle[order], np.hypot(x, y)[order], period=2 * np.pi
    )
    found = fit_outline(edges(seen), np.ones(len(WALL_ANGLES_RAD)))
    assert found.left_mm == pytest.approx(left, abs=1.5)
    assert found.posterior_mm == pytest.approx(back, abs=2.0)
    assert found.half_width_mm == pytest.approx(width, abs=2.0)
    assert found.half_depth_mm == pytest.approx(depth, abs=2.0)


def test_neighbours_lead_past_a_ring_of_cement() -> None:
    true = usual_radius_mm(np.array([20.0]), np.array([17.6]))[0]
    ring = usual_radius_mm(np.array([13.0]), np.array([11.5]))[0]
    edge = np.maximum(0.8 * edges(true), edges(ring))
    weight = np.ones(len(WALL_ANGLES_RAD))
    alone = fit_outline(edge, weight)
    assert alone.half_width_mm < 15.0  # the stronger edge is the cement's
    led = fit_outline(edge, weight, BodyOutline(21.0, 18.0, 0.0, 0.0, 1.0))
    assert led.half_width_mm == pytest.approx(20.0, abs=1.0)


def test_neighbours_lead_past_an_edge_half_way_to_the_front() -> None:
    true = usual_radius_mm(np.array([26.0]), np.array([18.5]))[0]
    flat = usual_radius_mm(np.array([22.0]), np.array([12.3]))[0]
    edge = np.maximum(0.8 * edges(true), edges(flat))
    weight = np.ones(len(WALL_ANGLES_RAD))
    led = fit_outline(edge, weight, BodyOutline(24.8, 19.5, 0.0, 0.0, 1.0))
    assert led.half_depth_mm == pytest.approx(18.5, abs=1.5)
    assert led.half_width_mm == pytest.approx(26.0, abs=1.0)


def test_posterior_wall_is_continued_through_pedicles() -> None:
    sine, cosine = np.sin(WALL_ANGLES_RAD)[:, None], np.cos(WALL_ANGLES_RAD)[:, None]
    back = 14.0 + 2.0 * (WALL_LEVELS - 0.5)
    true = np.where(sine > 0.15, back / np.maximum(sine, 0.15), 25.0)
    true = np.minimum(true, 30.0)
    sideways = true * cosine
    radius = np.where((sine > 0.15) & (np.abs(sideways) > 9.0), true + 5.0, true)
    # The basivertebral vein: a cleft in the midline.
    radius[11:14, 5:7] -= 4.0
    hidden = np.zeros(radius.shape, bool)
    outline = np.full(radius.shape, 18.0)
    cut = posterior_cut_mm(radius, hidden, 8.0, outline, lip_mm=0.0)
    behind = np.broadcast_to(sine > 0.5, radius.shape)
    across = np.broadcast_to(sine, cut.shape)[behind]
    np.testing.assert_allclose(cut[behind] * across, true[behind] * across, atol=0.5)
    assert np.isinf(cut[np.pi < WALL_ANGLES_RAD]).all()
    # At the pedicles, but not before the canal nor below them, the body goes on.
    lip = (posterior_cut_mm(radius, hidden, 8.0, outline)[6] - cut[6]) * sine[6]
    assert lip[WALL_LEVELS >= 0.5] == pytest.approx(LIP_MM, abs=0.2)
    assert lip[WALL_LEVELS <= 0.3] == pytest.approx(0.0)
    assert posterior_cut_mm(radius, hidden, 8.0, outline)[12] == pytest.approx(cut[12])
    # Where the whole wall is hidden the outline stands for it.
    blind = posterior_cut_mm(radius, np.ones_like(hidden), 8.0, outline)
    assert np.isfinite(blind[behind]).all()
    assert np.abs(blind[behind] * across - 17.0).max() < 3.0
