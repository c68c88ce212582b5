"""A row of vertebrae that stops within the scan is told."""

from functools import cache

import pytest

from cemscope.segmentation import vertebrae
from cemscope.segmentation.bodies.vertebra_surfaces import (
    FoundSpine,
    SurfaceSettings,
    find_surfaces,
)
from cemscope.segmentation.levels.unfollowed_spine import goes_on_beyond
from cemscope.testing.spine_phantom import PatientShape, PhantomScan, spine_phantom

SCAN = PhantomScan(spacing_mm=(2.0, 1.5, 1.5))


@cache
def found() -> FoundSpine:
    return find_surfaces(spine_phantom(PatientShape(), SCAN).ct, SurfaceSettings())


def test_a_whole_row_ends_at_the_sacrum_and_at_the_border() -> None:
    assert found().bodies[0].sacral
    assert goes_on_beyond(found().bodies, found().coarse) == (False, False)


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [(2, None, (True, False)), (0, -2, (False, True)), (2, -2, (True, True))],
)
def test_a_row_that_lacks_vertebrae_goes_on(
    first: int, last: int | None, expected: tuple[bool, bool]
) -> None:
    bodies = found().bodies[first:last]
    assert len(bodies) >= 2
    assert goes_on_beyond(bodies, found().coarse) == expected


def test_soft_tissue_in_front_is_no_vertebra() -> None:
    bodies = found().bodies[2:]
    moved = found().coarse
    empty = type(moved)(moved.hu * 0.0 + 40.0, moved.inside, moved.geometry)
    assert goes_on_beyond(bodies, empty) == (False, False)


def test_nothing_is_beyond_no_row() -> None:
    assert goes_on_beyond((), found().coarse) == (False, False)


def test_the_reader_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The finder passes it on with a name, but below S1 lies the rest of the sacrum."""
    ct = spine_phantom(PatientShape(), SCAN).ct
    monkeypatch.setattr(vertebrae, "goes_on_beyond", lambda *_: (True, True))
    notices = vertebrae.find_vertebrae(ct).notices
    told = [n for n in notices if n.code == "spine_not_followed"]
    assert len(told) == 1
    assert "above " in told[0].message
