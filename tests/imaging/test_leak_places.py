"""Places around a body whose lower rim stands out over a hollow waist."""

from dataclasses import replace

import numpy as np
import pytest

from cases.leaking_body import BODY_CENTRE_MM, cement_map, leaking
from cemscope.measurement.cement_fraction import assign_owners
from cemscope.measurement.leak_regions import PLACES, find_regions
from cemscope.spine import VertebraLevel
from cemscope.volume import LabelMap

UPPER = 2
"""Number of L2."""
FRONT_MM, TOP_MM, RIM_MM = -16.0, 13.0, 4.0


@pytest.mark.parametrize("hollow_mm", [0.0, 3.0, 6.0])
def test_in_front_of_the_waist_is_no_disc(hollow_mm: float) -> None:
    phantom = leaking(None)
    spine = phantom.spine
    labels, geometry = spine.labels.labels.copy(), spine.labels.geometry
    body = np.argwhere(labels == VertebraLevel("L2").number)
    _, y, z = (geometry.index_to_lps(body) - BODY_CENTRE_MM).T
    waist = (y < FRONT_MM + hollow_mm) & (z > RIM_MM - TOP_MM)
    labels[tuple(body[waist].T)] = 0
    spine = replace(spine, labels=LabelMap(labels, geometry))
    fractions = cement_map(phantom)
    regions = find_regions(fractions, assign_owners(fractions, spine), spine, UPPER)
    assert regions is not None

    def place(*lps_mm: float) -> str:
        local = regions.vertebra.frame.to_local_mm(np.array([lps_mm]))
        cell = np.rint(regions.grid.index_of(local)[0]).astype(int)
        return PLACES[int(regions.places[tuple(cell)])]

    x, middle, up = BODY_CENTRE_MM
    front = middle + FRONT_MM
    for height in (-6.0, 0.0, 6.0):
        in_front = place(x, front - 1.5, up + height)
        assert in_front == "prevertebral"
        if hollow_mm > 4.0:
            assert place(x, front + 1.5, up + height) == "prevertebral"
    assert place(x, middle, up + TOP_MM + 2.0) == "disc_superior"
    assert place(x, front + 4.5, up + TOP_MM + 2.0) == "disc_superior"
