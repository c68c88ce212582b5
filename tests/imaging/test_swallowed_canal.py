"""Cement in the canal that an outline by brightness has swallowed."""

from dataclasses import replace

import numpy as np
import pytest

from cases.leaking_body import leak_cases, leaking, leaks_of, outside_ml
from cemscope.spine import VertebraSource
from cemscope.testing.phantoms import Phantom
from cemscope.volume import LabelMap

BASIVERTEBRAL = next(c for c in leak_cases(1) if c.name == "basivertebral vein")
NUMBER = 21
"""Label of L2's body."""


def swallowed(phantom: Phantom, behind_mm: float, cortex_hu: float | None) -> Phantom:
    """Let the outline run behind the cement; a cortex of 1.5 mm may follow there."""
    labels = phantom.spine.labels.labels.copy()
    geometry = phantom.ct.geometry
    points = geometry.index_to_lps(np.argwhere(np.ones(geometry.shape, np.bool_)))
    x, y, z = points.reshape((*geometry.shape, 3)).transpose(3, 0, 1, 2)
    body = labels == NUMBER
    wall = y[body & (np.abs(x) < 6.0) & (np.abs(z - 38.0) < 8.0)].max()
    beside = (np.abs(x) < 9.0) & (np.abs(z - 38.5) < 6.0)
    labels[beside & (y > wall - 2.0) & (y <= wall + behind_mm)] = NUMBER
    hu = phantom.ct.hu.copy()
    if cortex_hu is not None:
        # Three blurs behind the cement.
        shell = beside & (y > wall + behind_mm) & (y <= wall + behind_mm + 1.8)
        hu[shell] = cortex_hu
    spine = replace(phantom.spine, labels=LabelMap(labels, geometry))
    return replace(phantom, spine=spine, ct=replace(phantom.ct, hu=hu))


@pytest.mark.parametrize(
    ("behind_mm", "cortex_hu", "listed"),
    [(4.5, None, True), (5.5, None, True), (5.5, 700, False)],
)
def test_a_bulge_with_cement_is_canal_unless_it_has_a_cortex(
    behind_mm: float, cortex_hu: float | None, listed: bool
) -> None:
    phantom = leaking(BASIVERTEBRAL, source=VertebraSource.EMBEDDED)
    leaks = leaks_of(swallowed(phantom, behind_mm, cortex_hu))
    assert bool(leaks) is listed
    for leak in leaks:
        assert leak.locations == ("epidural",)
        assert leak.types == (BASIVERTEBRAL.leak_type,)
        assert leak.volume_ml == pytest.approx(outside_ml(phantom), rel=0.35)
