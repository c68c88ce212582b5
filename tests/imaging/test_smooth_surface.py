import numpy as np

from cemscope.segmentation.bodies.smooth_surface import smooth_surface


def test_follows_a_smooth_valley_through_outliers():
    rng = np.random.default_rng(3)
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    true = 15 + 4 * np.sin(angle)[:, None] + np.linspace(-2, 2, 12)[None, :]
    height = np.arange(30)
    cost = np.minimum((height - true[..., None]) ** 2 / 8.0, 1.0) - 1.0
    # A fifth of the places have their valley somewhere else.
    wrong = rng.random(true.shape) < 0.2
    cost[wrong] = np.minimum((height - 3.0) ** 2 / 8.0, 1.0) - 1.0
    found = smooth_surface(cost, 0.2, closed_first_axis=True)
    naive = cost.argmin(axis=2)
    assert np.abs(found - true).max() < 2.0
    assert np.abs(naive - true).max() > 5.0


def test_closed_axis_has_no_seam():
    cost = np.abs(np.arange(20) - 10.0)[None, None, :] * np.ones((24, 5, 1))
    cost[0] = 0.0  # nothing to see at the seam
    found = smooth_surface(cost, 0.1, closed_first_axis=True)
    np.testing.assert_allclose(found, 10.0, atol=0.6)
