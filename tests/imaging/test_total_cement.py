"""The sum over the vertebrae of a scan says what it leaves out."""

from types import SimpleNamespace

import pytest

from cemscope.findings import CementVolume, Interval, NotAssessed
from cemscope.measurement.total_cement import (
    VertebraCement,
    total_cement,
    total_notices,
)

OPEN = NotAssessed("streaks")


def measured(level: str, volume_ml: float, low_ml: float, high_ml: float):
    value = CementVolume(
        level=level,
        volume_ml=volume_ml,
        interval=Interval(low_ml, high_ml),
        threshold_volume_ml=volume_ml,
        intrabody_ml=volume_ml,
        leaked_ml=0.0,
        fill_ratio=0.1,
    )
    return VertebraCement(level, value)


def spine(*levels: str, cut: str = ""):
    """Only names and completeness matter here."""
    vertebrae = [
        SimpleNamespace(level=SimpleNamespace(name=name), complete=name != cut)
        for name in levels
    ]
    return SimpleNamespace(vertebrae=vertebrae)


def test_intervals_add_up_linearly_and_empty_levels_in_squares() -> None:
    cement = (
        measured("L4", 2.0, 1.8, 2.3),
        measured("L3", 1.0, 0.9, 1.2),
        measured("L2", 0.0, 0.0, 0.03),
        measured("L1", 0.0, 0.0, 0.04),
    )
    total = total_cement(cement)
    assert total.cement_ml == pytest.approx(3.0)
    assert total.interval.low_ml == pytest.approx(2.7)
    assert total.interval.high_ml == pytest.approx(3.5 + 0.05)


def test_a_whole_level_without_a_value_is_named() -> None:
    cement = (VertebraCement("L4", OPEN), measured("L3", 1.0, 0.9, 1.2))
    (notice,) = total_notices(cement, spine("L4", "L3"))
    assert notice.code == "total_incomplete"
    assert "L4" in notice.message
    assert "L3" not in notice.message


@pytest.mark.parametrize(
    ("cement", "cut"),
    [
        ((measured("L4", 1.0, 0.9, 1.1), measured("L3", 0.0, 0.0, 0.1)), ""),
        ((VertebraCement("L4", OPEN), measured("L3", 1.0, 0.9, 1.2)), "L4"),
    ],
    ids=["all assessed", "cut by the border"],
)
def test_nothing_is_said_of_what_is_not_left_out(cement, cut: str) -> None:
    assert total_notices(cement, spine("L4", "L3", cut=cut)) == ()


def test_without_any_value_there_is_no_total() -> None:
    cement = (VertebraCement("L4", OPEN), VertebraCement("L3", OPEN))
    assert isinstance(total_cement(cement), NotAssessed)
    assert total_notices(cement, spine("L4", "L3")) == ()
