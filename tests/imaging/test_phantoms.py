"""The phantoms' truth must be right before anything is measured against it."""

import numpy as np
import pytest

from cases.augmented_spines import BODY, fixation, vertebroplasty
from cemscope.testing.phantom_shapes import Cylinder, Ellipsoid
from cemscope.testing.phantoms import Implant, Scanner, build_phantom


@pytest.mark.parametrize(
    "solid",
    [
        Ellipsoid((1.3, -2.1, 0.4), (9.0, 7.0, 5.0)),
        Ellipsoid((0.2, 0.1, 0.3), (2.0, 2.0, 2.0)),
        Cylinder((-10.0, -5.0, 0.0), (12.0, 3.0, 4.0), 2.5),
    ],
)
def test_truth_is_the_volume_of_the_shape(solid: Ellipsoid | Cylinder) -> None:
    phantom = build_phantom(("L3",), (Implant(solid, level="L3"),))
    # 64 sub-voxels on the surface only: far below 1 %.
    assert phantom.cement_ml["L3"] == pytest.approx(solid.volume_ml, rel=0.01)


def test_metal_replaces_cement() -> None:
    phantom = fixation()
    whole = 2.0 * Ellipsoid((0, 0, 0), (6.0, 8.0, 6.0)).volume_ml
    assert 0.6 * whole < phantom.cement_ml["L4"] < 0.8 * whole
    assert float((phantom.cement_fraction + phantom.metal_fraction).max()) <= 1.001


def test_oblique_grid_holds_the_same_patient() -> None:
    angle = np.deg2rad(20.0)
    c, s = np.cos(angle), np.sin(angle)
    tilted = ((0.0, -s, c), (0.0, c, s), (1.0, 0.0, 0.0))
    phantom = vertebroplasty(scanner=Scanner(directions_lps=tilted))
    assert phantom.cement_ml["L2"] == pytest.approx(BODY.volume_ml, rel=0.01)
    index = np.round(phantom.ct.geometry.lps_to_index(BODY.centre_lps_mm)).astype(int)
    assert phantom.ct.hu[tuple(index)] > 2000
    assert phantom.spine.labels.labels[tuple(index)] == 21


def test_ceiling_is_respected() -> None:
    assert fixation().ct.hu.max() == 3071
