"""Limits between leak types, wrong outlines, the canal, streaks."""

from dataclasses import replace

import numpy as np
import pytest

from cases.leaking_body import evidence_of, leak_cases, leaking, leaks_of, treated
from cemscope.findings import ExitWall, LeakType
from cemscope.measurement.leak_types import ExitSigns, TypeSettings, argue
from cemscope.measurement.streak_share import streak_share
from cemscope.spine import VertebraSource
from cemscope.testing.phantom_shapes import Ellipsoid

B, S, C, D, INSTRUMENT = LeakType

VEIN = ExitSigns(
    wall=ExitWall.LEFT,
    height=0.5,
    midline_share=0.5,
    elongation=6.0,
    off_surface_mm=2.0,
    slope_deg=5.0,
    disc_share=0.0,
    epidural_share=0.0,
    behind_share=0.0,
    track_mm=float("inf"),
    exit_track_mm=float("inf"),
    at_pedicle=False,
)
CANAL = replace(
    VEIN, wall=ExitWall.POSTERIOR, midline_share=0.05, epidural_share=1.0,
    behind_share=1.0, at_pedicle=True,
)  # fmt: skip


@pytest.mark.parametrize(
    ("signs", "leak_type", "rival"),
    [
        (VEIN, S, None),
        (replace(VEIN, wall=ExitWall.ANTERIOR), S, None),
        (replace(VEIN, elongation=1.5), C, None),
        (replace(VEIN, elongation=2.7), S, C),
        (replace(VEIN, height=0.95), C, None),
        (replace(VEIN, slope_deg=70.0), C, None),
        (replace(VEIN, off_surface_mm=9.0), S, C),
        (replace(VEIN, off_surface_mm=9.0, elongation=3.0), C, S),
        (CANAL, B, None),
        (replace(CANAL, midline_share=0.4), C, None),
        (replace(CANAL, height=0.05), C, None),
        (replace(CANAL, midline_share=0.163), B, C),
        (replace(VEIN, wall=ExitWall.SUPERIOR_ENDPLATE, disc_share=0.9), D, None),
        (replace(VEIN, wall=ExitWall.INFERIOR_ENDPLATE, disc_share=0.1), D, C),
        (replace(VEIN, disc_share=0.8), D, C),
        (replace(VEIN, wall=ExitWall.ARCH, at_pedicle=True), INSTRUMENT, None),
        (replace(VEIN, at_pedicle=True, exit_track_mm=2.0), INSTRUMENT, None),
        (replace(VEIN, exit_track_mm=2.0), S, None),
        (replace(CANAL, track_mm=3.0), INSTRUMENT, B),
        # A shaft beside the wall of the canal has not left the body there.
        (replace(CANAL, exit_track_mm=4.0), B, None),
        (replace(CANAL, exit_track_mm=1.0), INSTRUMENT, B),
        (replace(CANAL, exit_track_mm=4.0, midline_share=0.25), C, INSTRUMENT),
        (replace(CANAL, exit_track_mm=4.0, midline_share=0.4), INSTRUMENT, None),
        # Where a pedicle springs, cement comes out of it if it holds some.
        (replace(CANAL, midline_share=0.4, pedicle_cement=True), INSTRUMENT, None),
        (replace(CANAL, midline_share=0.25, pedicle_cement=True), C, None),
        (replace(VEIN, at_pedicle=True, pedicle_cement=True), INSTRUMENT, None),
        (replace(VEIN, pedicle_cement=True), S, None),
        # Beside a pedicle an endplate leads into the disc all the same.
        (
            replace(
                VEIN,
                wall=ExitWall.SUPERIOR_ENDPLATE,
                height=1.0,
                disc_share=0.9,
                at_pedicle=True,
                pedicle_cement=True,
            ),
            INSTRUMENT,
            D,
        ),
        (
            replace(VEIN, at_pedicle=True, pedicle_cement=True, height=0.2),
            C,
            S,
        ),
    ],
)
def test_the_type_follows_the_signs(
    signs: ExitSigns, leak_type: LeakType, rival: LeakType | None
) -> None:
    argument = argue(signs, TypeSettings())
    assert (argument.leak_type, argument.rival) == (leak_type, rival)


@pytest.mark.parametrize("outwards_mm", [-0.8, 0.8])
@pytest.mark.parametrize("number", [0, 1])
def test_a_wrong_outline_does_not_hide_a_leak(number: int, outwards_mm: float) -> None:
    # The embedded outlines are wrong by 0.5 mm on average.
    case = leak_cases(1)[number]
    phantom = leaking(case, source=VertebraSource.EMBEDDED, outline_mm=outwards_mm)
    assert [leak.types for leak in leaks_of(phantom)] == [(case.leak_type,)]


def test_canal_encroachment_of_a_known_ball() -> None:
    root = leak_cases(1)[0].pieces[0]
    ball = Ellipsoid((0.0, 22.6, 38.0), (4.0, 4.0, 4.0))
    body = Ellipsoid((4.0, -2.0, 36.0), (10.0, 9.0, 8.0))
    (leak,) = leaks_of(treated((body, root, ball)))
    # 50.3 mm2 in a round canal of 7.5 mm (176.7 mm2) and what lies between it and the
    # posterior wall, 2.5 mm in front (at most 15 x 2.5 mm2 and the corners). The root
    # fills 2 mm of the line through the ball's 8 mm.
    assert 20.0 <= leak.canal_encroachment_percent <= 28.5
    assert evidence_of(leak).canal_depth_mm == pytest.approx(10.0, abs=1.0)


def test_streaks_feign_no_more_than_their_spread() -> None:
    rng = np.random.default_rng(3)
    metal_mm = np.broadcast_to(np.linspace(0.5, 40.0, 80)[:, None, None], (80, 60, 60))
    hu = rng.normal(50.0, np.where(metal_mm < 12.0, 300.0, 20.0)).astype(np.float32)
    bone_mm = np.full(hu.shape, 10.0, np.float32)
    share = streak_share(hu, metal_mm.astype(np.float32), bone_mm, 2050.0)
    near, far = share[10, 0, 0], share[40, 0, 0]
    assert near == pytest.approx(4.0 * 300.0 / 2000.0, rel=0.1)
    assert far == pytest.approx(4.0 * 20.0 / 2000.0, rel=0.3)
    assert share[75, 0, 0] == 0.0
    none = np.full(hu.shape, np.inf, np.float32)
    assert not streak_share(hu, none, bone_mm, 2050.0).any()
