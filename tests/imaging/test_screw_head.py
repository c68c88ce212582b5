"""The head from the widths along an axis: no images."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from cemscope.geometry import VoxelGeometry
from cemscope.segmentation.implants.screw_fit import AxisFit
from cemscope.segmentation.implants.screw_head import find_head
from cemscope.segmentation.implants.screw_profile import AXIAL_STEP_MM

T_MM = np.arange(-45.0, 25.0, AXIAL_STEP_MM)
SHAFT_MM, HEAD_MM = 3.0, 6.2
NECK_MM, REAR_MM = -20.0, -32.0


@dataclass(frozen=True)
class HeadCase:
    """Stretches of the axis, from rear to front, that are wide or narrow."""

    name: str
    wide: tuple[tuple[float, float], ...] = ()
    narrow: tuple[tuple[float, float], ...] = ()


def fit(case: HeadCase) -> AxisFit:
    """What `find_head` reads of a fit."""
    width = np.where((T_MM >= REAR_MM) & (T_MM <= NECK_MM), HEAD_MM, SHAFT_MM)
    for first, last in case.wide:
        width[(first <= T_MM) & (last >= T_MM)] = HEAD_MM
    for first, last in case.narrow:
        width[(first <= T_MM) & (last >= T_MM)] = SHAFT_MM
    plateau = np.where(T_MM >= REAR_MM, 5000.0, 100.0)
    scan = VoxelGeometry.from_axes((200, 200, 200), (1.0, 1.0, 1.0))
    centre = scan.index_to_lps((100.0, 100.0, 100.0))
    return cast(
        "AxisFit",
        SimpleNamespace(
            sections=SimpleNamespace(t_mm=T_MM, plateau_hu=lambda _: plateau),
            typical_mm=SHAFT_MM,
            edge_mm=np.repeat(width[:, None], 4, axis=1),
            plateau_hu=5000.0,
            middle_mm=10.0,
            region=SimpleNamespace(geometry=scan, hu=np.zeros(scan.shape, np.int16)),
            axis=SimpleNamespace(at=lambda t: centre + np.outer(t, (1.0, 0.0, 0.0))),
        ),
    )


@pytest.mark.parametrize(
    "case",
    [
        HeadCase("plain"),
        HeadCase("an edge inside it", narrow=((-26.0, -25.5),)),
        HeadCase("two edges inside it", narrow=((-24.0, -23.5), (-29.0, -28.5))),
        HeadCase("cement round the shaft", wide=((-8.0, 4.0),)),
    ],
    ids=lambda case: case.name,
)
def test_the_head_is_the_rearmost_wide_part_as_a_whole(case: HeadCase) -> None:
    found = find_head(fit(case))
    assert found.neck_mm == pytest.approx(NECK_MM, abs=AXIAL_STEP_MM)
    middle_mm = 0.5 * (NECK_MM + REAR_MM)
    assert found.centre_mm == pytest.approx(middle_mm, abs=2.0 * AXIAL_STEP_MM)
    assert found.radius_mm == pytest.approx(HEAD_MM)
    assert not found.cut


def test_without_a_wide_part_no_head_is_seen() -> None:
    found = find_head(fit(HeadCase("none", narrow=((REAR_MM, NECK_MM),))))
    assert found.radius_mm == 0.0
    assert found.centre_mm == found.neck_mm
