import dataclasses
import functools
import itertools
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cases.curved_spine import (
    BODY_MM,
    MARROW_HU,
    STRAIGHT,
    STRAIGHT_SCAN,
    Body,
    Scan,
    oblique,
    scanned,
)
from cemscope.anatomy import CRANIOCAUDAL_ORDER, VertebraLevel
from cemscope.spine import Spine
from cemscope.volume import LabelMap, Notice
from cemscope_pipelines.pictures.composition import CaseImages
from cemscope_pipelines.pictures.edge_support import EdgeSupport, edge_supports
from cemscope_pipelines.pictures.level_marks import (
    DOUBT_COLOUR,
    OUTLINE_DOUBTFUL,
    UNSURE_COLOUR,
    WHITE,
    LevelMark,
    doubts_of_levels,
    level_colour,
    mark_levels,
)
from cemscope_pipelines.pictures.level_measures import (
    LevelMeasure,
    label_boxes,
    measure_gaps,
    measure_levels,
)
from cemscope_pipelines.pictures.spine_views import SpineBoxes, spine_views
from cemscope_pipelines.pictures.text_placing import spread

IMAGES = scanned(STRAIGHT, STRAIGHT_SCAN)


def measured(spine: Spine) -> dict[str, LevelMeasure]:
    boxes = label_boxes(spine.labels)
    return {m.level: m for m in measure_levels(spine, boxes, 0.3)}


def marked(spine: Spine, unsure_below: float = 0.7) -> dict[str, LevelMark]:
    boxes = label_boxes(spine.labels)
    measures = measure_levels(spine, boxes, 0.3)
    marks = mark_levels(spine, boxes, measures, {}, unsure_below)
    return {mark.level: mark for mark in marks}


def with_labels(images: CaseImages, labels: np.ndarray, gone: str = "") -> CaseImages:
    """The case with other outlines; volumes follow, one level may be left out."""
    geometry = images.spine.labels.geometry
    voxel_ml = geometry.voxel_volume_mm3 / 1000.0
    vertebrae = tuple(
        dataclasses.replace(
            v, body_volume_ml=float((labels == v.level.number).sum()) * voxel_ml
        )
        for v in images.spine.vertebrae
        if v.level.name != gone
    )
    spine = dataclasses.replace(
        images.spine, labels=LabelMap(labels, geometry), vertebrae=vertebrae
    )
    return dataclasses.replace(images, spine=spine)


def merged() -> CaseImages:
    """L2 and L3 in one outline named L3."""
    labels = IMAGES.spine.labels.labels.copy()
    z = IMAGES.ct.geometry.index_to_lps(np.stack(np.indices(labels.shape), -1))[..., 2]
    upper = VertebraLevel("L2").number
    filled = np.roll(labels == upper, -9, axis=0) & (labels == 0) & (z > 80.0)
    labels[(labels == upper) | filled] = VertebraLevel("L3").number
    return with_labels(IMAGES, labels, gone="L2")


def halved() -> CaseImages:
    """The lower half of L3 has no outline."""
    labels = IMAGES.spine.labels.labels.copy()
    z = IMAGES.ct.geometry.index_to_lps(np.stack(np.indices(labels.shape), -1))[..., 2]
    labels[(labels == VertebraLevel("L3").number) & (z < 72.0)] = 0
    return with_labels(IMAGES, labels)


def shifted(level: str = "L3", voxels: int = 5) -> CaseImages:
    """The outline of a level 10 mm to the front."""
    labels = IMAGES.spine.labels.labels.copy()
    number = VertebraLevel(level).number
    body = labels == number
    labels[body] = 0
    labels[np.roll(body, -voxels, axis=1)] = number
    return with_labels(IMAGES, labels)


@dataclass(frozen=True)
class Grid:
    name: str
    scan: Scan


GRIDS = (
    Grid("2 mm", STRAIGHT_SCAN),
    Grid(
        "1 x 1 x 3 mm", dataclasses.replace(STRAIGHT_SCAN, spacing_mm=(3.0, 1.0, 1.0))
    ),
    Grid(
        "oblique",
        dataclasses.replace(
            STRAIGHT_SCAN, spacing_mm=(1.5,) * 3, directions=oblique(15.0, 0)
        ),
    ),
)


@pytest.mark.parametrize("grid", GRIDS, ids=lambda g: g.name)
def test_heights_are_those_of_the_bodies(grid: Grid) -> None:
    heights = (26.0, 22.0, 30.0)
    bodies = tuple(
        Body(b.level, b.centre, height_mm=h)
        for b, h in zip(STRAIGHT[:3], heights, strict=True)
    )
    found = measured(scanned(bodies, grid.scan).spine)
    voxel_mm = max(grid.scan.spacing_mm)
    for body, height in zip(bodies, heights, strict=True):
        got = found[body.level].heights_mm
        assert got is not None
        # A label map tells a height to a voxel at both ends together.
        np.testing.assert_allclose(got, height, atol=voxel_mm)


def test_a_wedge_has_a_lower_front() -> None:
    labels = IMAGES.spine.labels.labels.copy()
    points = IMAGES.ct.geometry.index_to_lps(np.stack(np.indices(labels.shape), -1))
    slope = points[..., 2] > 72.0 + 4.0 + points[..., 1] * 9.0 / 15.0
    labels[(labels == VertebraLevel("L3").number) & slope] = 0
    wedge = measured(with_labels(IMAGES, labels).spine)["L3"]
    # The roof runs from z = 67 at the front to z = 81 at the back of a floor at z = 59.
    assert wedge.heights_mm is not None
    for got, share in zip(wedge.heights_mm, (0.17, 0.5, 0.83), strict=True):
        assert got == pytest.approx(8.0 + 18.0 * share, abs=2.0)
    assert wedge.smaller == ("anterior", "middle", "volume")
    assert wedge.larger == ()


def test_equal_bodies_are_alike() -> None:
    for found in measured(IMAGES.spine).values():
        assert (found.smaller, found.larger) == ((), ())
        assert found.expected_volume_ml == pytest.approx(found.volume_ml, rel=0.05)


def test_two_bodies_in_one_outline_are_larger() -> None:
    found = measured(merged().spine)
    assert found["L3"].larger == ("anterior", "middle", "posterior", "volume")
    assert {m.larger for level, m in found.items() if level != "L3"} == {()}
    marks = marked(merged().spine)
    assert [level for level, mark in marks.items() if mark.doubts] == ["L3"]
    assert "two bodies" in marks["L3"].doubts[0]


def test_a_wide_vertebra_is_not_two() -> None:
    labels = IMAGES.spine.labels.labels.copy()
    number = VertebraLevel("L3").number
    body = labels == number
    labels[np.roll(body, 5, axis=2) | np.roll(body, -5, axis=2)] = number
    wide = with_labels(IMAGES, labels).spine
    # 60 mm wide instead of 40
    assert (
        wide.vertebra("L3").body_volume_ml
        > 1.45 * IMAGES.spine.vertebra("L4").body_volume_ml
    )
    assert measured(wide)["L3"].larger == ()


def test_a_sound_body_among_collapsed_ones_is_not_two() -> None:
    heights = (26.0, 16.0, 15.0, 16.0, 15.0)
    bodies = tuple(
        Body(b.level, b.centre, height_mm=h)
        for b, h in zip(STRAIGHT, heights, strict=True)
    )
    found = measured(scanned(bodies, STRAIGHT_SCAN).spine)
    assert {m.larger for m in found.values()} == {()}


def test_half_a_body_is_smaller_but_may_be_a_collapse() -> None:
    found = measured(halved().spine)
    assert found["L3"].smaller == ("anterior", "middle", "posterior", "volume")
    assert not marked(halved().spine)["L3"].doubts


def test_incomplete_bodies_are_not_compared() -> None:
    bodies = (*STRAIGHT[:4], Body("L1", (0, 0, 144.0), height_mm=8.0, complete=False))
    found = measured(scanned(bodies, STRAIGHT_SCAN).spine)
    assert found["L1"].expected_volume_ml is None
    assert {m.smaller for m in found.values()} == {()}


@pytest.mark.parametrize("count", [1, 2])
def test_few_bodies_are_not_compared(count: int) -> None:
    found = measured(scanned(STRAIGHT[:count], STRAIGHT_SCAN).spine)
    assert all(m.expected_heights_mm is None for m in found.values())


def test_gaps_are_those_between_the_bodies() -> None:
    gaps = measure_gaps(IMAGES.spine)
    assert [(g.lower, g.upper) for g in gaps] == [
        ("L5", "L4"), ("L4", "L3"), ("L3", "L2"), ("L2", "L1"),
    ]  # fmt: skip
    for gap in gaps:
        assert gap.gap_mm == pytest.approx(36.0 - BODY_MM[2], abs=2.0)
        assert not gap.unlike


def test_a_missed_body_leaves_a_gap_that_is_no_disc() -> None:
    labels = IMAGES.spine.labels.labels.copy()
    labels[labels == VertebraLevel("L3").number] = 0
    gaps = measure_gaps(with_labels(IMAGES, labels, gone="L3").spine)
    assert [(g.lower, g.upper) for g in gaps if g.unlike] == [("L4", "L2")]


def test_touching_outlines_are_no_disc() -> None:
    labels = IMAGES.spine.labels.labels.copy()
    body = labels == VertebraLevel("L3").number
    labels[np.roll(body, -6, axis=0) & (labels == 0)] = VertebraLevel("L3").number
    gaps = measure_gaps(with_labels(IMAGES, labels).spine)
    assert [(g.lower, g.upper) for g in gaps if g.unlike] == [("L4", "L3")]


@functools.cache
def sound_edges() -> dict[str, EdgeSupport]:
    return edges(IMAGES)


def edges(images: CaseImages) -> dict[str, EdgeSupport]:
    view = spine_views(images, SpineBoxes.of(images.spine))[0]
    assert view.title == "Sagittal"
    return edge_supports(view)


def test_true_outlines_lie_on_bone() -> None:
    supports = sound_edges()
    assert set(supports) == {b.level for b in STRAIGHT}
    assert {s.share_without for s in supports.values()} == {0.0}


def test_a_shifted_outline_has_stretches_without_bone() -> None:
    supports = edges(shifted())
    # Its front and back, 26 of 112 mm each, lie in soft tissue and in marrow; above and
    # below, the 10 mm that stick out: 72 mm together, less the cortex that they cross.
    assert supports["L3"].share_without == pytest.approx(72.0 / 112.0, abs=0.2)
    assert {s.share_without for k, s in supports.items() if k != "L3"} == {0.0}
    columns = np.concatenate([run[:, 1] for run in supports["L3"].runs])
    assert np.ptp(columns) > 20.0


def test_half_an_outline_has_no_bone_where_it_was_cut() -> None:
    runs = edges(halved())["L3"].runs
    assert len(runs) == 1
    rows = runs[0][:, 0]
    assert np.ptp(rows) < 6.0, "the cut runs across the picture"


def test_the_end_of_the_scan_is_no_missing_edge() -> None:
    scan = dataclasses.replace(STRAIGHT_SCAN, high=(60.0, 80.0, 108.0))
    assert {s.share_without for s in edges(scanned(STRAIGHT[:4], scan)).values()} == {0}


def test_noise_makes_no_false_alarm() -> None:
    noise = np.random.default_rng(3).normal(0.0, 60.0, IMAGES.ct.hu.shape)
    noisy = (IMAGES.ct.hu + noise).astype(np.int16)
    ct = dataclasses.replace(IMAGES.ct, hu=noisy)
    supports = edges(dataclasses.replace(IMAGES, ct=ct))
    assert max(s.share_without for s in supports.values()) < 0.1
    moved = edges(dataclasses.replace(shifted(), ct=ct))
    assert moved["L3"].share_without > 0.3


def test_bodies_without_a_visible_disc_are_no_false_alarm() -> None:
    """Discs of 2 mm on slices of 2 mm: bone to bone, nothing dark between."""
    bodies = tuple(Body(b.level, (0.0, 0.0, 28.0 * i)) for i, b in enumerate(STRAIGHT))
    supports = edges(scanned(bodies, STRAIGHT_SCAN))
    assert {s.share_without for s in supports.values()} == {0.0}


@dataclass(frozen=True)
class Shares:
    name: str
    shares: dict[str, float]
    doubted: tuple[str, ...]


SHARES = (
    Shares("all sound", {"L5": 0.0, "L4": 0.1, "L3": 0.05}, ()),
    Shares("one off", {"L5": 0.0, "L4": 0.3, "L3": 0.05}, ("L4",)),
    Shares("noisy", {"L5": 0.2, "L4": 0.25, "L3": 0.3, "L2": 0.2, "L1": 0.2}, ()),
    Shares("noisy, one off", {"L5": 0.2, "L4": 0.6, "L3": 0.2, "L2": 0.2}, ("L4",)),
    Shares("all off", dict.fromkeys(("L5", "L4", "L3"), 0.5), ("L5", "L4", "L3")),
)


@pytest.mark.parametrize("case", SHARES, ids=lambda c: c.name)
def test_outlines_beside_the_bone_are_doubtful(case: Shares) -> None:
    boxes = label_boxes(IMAGES.spine.labels)
    measures = measure_levels(IMAGES.spine, boxes, 0.3)
    marks = mark_levels(IMAGES.spine, boxes, measures, case.shares, 0.7)
    assert tuple(m.level for m in marks if m.doubts) == case.doubted
    for mark in marks:
        assert all("no edge of bone" in reason for reason in mark.doubts)


def test_a_picture_without_outlines_has_no_edges() -> None:
    labels = np.zeros_like(IMAGES.spine.labels.labels)
    assert edges(with_labels(IMAGES, labels)) == {}
    flat = np.full(IMAGES.ct.hu.shape, MARROW_HU, np.int16)
    plain = dataclasses.replace(IMAGES, ct=dataclasses.replace(IMAGES.ct, hu=flat))
    assert min(s.share_without for s in edges(plain).values()) == 1.0


@dataclass(frozen=True)
class Doubt:
    name: str
    notice: Notice
    doubted: tuple[str, ...] = field(default=())


DOUBTS = (
    Doubt("by code", Notice(OUTLINE_DOUBTFUL, "The wall of L3 is unclear"), ("L3",)),
    Doubt("by its beginning", Notice("disc", "L4: the disc above is thin"), ("L4",)),
    Doubt("beginning beats rest", Notice(OUTLINE_DOUBTFUL, "L4 is half L3"), ("L4",)),
    Doubt("two levels", Notice(OUTLINE_DOUBTFUL, "Between L3 and L4"), ("L3", "L4")),
    Doubt("level in passing", Notice("other", "Counted from L3")),
    Doubt("not in view", Notice(OUTLINE_DOUBTFUL, "T5: too large")),
    Doubt("longer name", Notice("other", "L31 is no level")),
    Doubt("relative", Notice(OUTLINE_DOUBTFUL, "V12: too large"), ("V12",)),
)


@pytest.mark.parametrize("case", DOUBTS, ids=lambda c: c.name)
def test_notices_doubt_the_levels_they_name(case: Doubt) -> None:
    found = doubts_of_levels((case.notice,), ("L5", "L4", "L3", "V12"))
    assert found == dict.fromkeys(case.doubted, (case.notice.message,))


def test_a_notice_may_state_its_level() -> None:
    @dataclass(frozen=True)
    class LevelNotice(Notice):
        level: str = "L5"

    found = doubts_of_levels((LevelNotice(OUTLINE_DOUBTFUL, "cut off"),), ("L5", "L4"))
    assert found == {"L5": ("cut off",)}


def test_names_say_what_is_not_sure() -> None:
    bodies = (
        Body("S1", (0.0, 0.0, 20.0), complete=False),
        Body("L5", (0.0, 0.0, 56.0), confidence=0.6),
        Body("L4", (0.0, 0.0, 92.0)),
        Body("L3", (0.0, 0.0, 162.0), complete=False),
    )
    notices = (Notice(OUTLINE_DOUBTFUL, "L5: too small"),)
    marks = marked(scanned(bodies, STRAIGHT_SCAN, notices=notices).spine)
    assert [m.text for m in marks.values()] == ["S1\npart", "L5 ?!", "L4", "L3\ncut"]
    assert marks["L5"].text_colour == DOUBT_COLOUR
    assert [m.unsure for m in marks.values()] == [False, True, False, False]


def test_relative_names_are_never_sure() -> None:
    bodies = tuple(Body(f"V{i + 1}", b.centre) for i, b in enumerate(STRAIGHT))
    marks = marked(scanned(bodies, STRAIGHT_SCAN).spine, unsure_below=0.0)
    assert [m.text for m in marks.values()] == [f"V{i} ?" for i in range(1, 6)]
    assert {m.text_colour for m in marks.values()} == {UNSURE_COLOUR}


def test_neighbours_never_share_a_colour() -> None:
    usual = [n for n in CRANIOCAUDAL_ORDER if n not in ("T13", "L6")]
    relative = [f"V{i}" for i in range(1, 12)]
    for order in (usual, list(CRANIOCAUDAL_ORDER), relative):
        colours = [level_colour(VertebraLevel(name)) for name in order]
        assert all(a != b for a, b in itertools.pairwise(colours))


def test_a_shifted_name_changes_the_colour_of_the_sacrum_and_the_ribs() -> None:
    thoracic = {level_colour(VertebraLevel(f"T{i}")) for i in range(1, 13)}
    lumbar = {level_colour(VertebraLevel(f"L{i}")) for i in range(1, 7)}
    assert not thoracic & lumbar
    assert level_colour(VertebraLevel("S1")) == WHITE


DEUTERANOPIA = ((0.367, 0.861, -0.228), (0.280, 0.673, 0.047), (-0.012, 0.043, 0.969))
PROTANOPIA = ((0.152, 1.053, -0.205), (0.115, 0.786, 0.099), (-0.004, -0.048, 1.052))
"""Machado 2009, doi:10.1109/TVCG.2009.113, full severity (on linear light)."""


@pytest.mark.parametrize("matrix", [DEUTERANOPIA, PROTANOPIA], ids=["deutan", "protan"])
@pytest.mark.parametrize("pair", [("T11", "T12"), ("T12", "L1"), ("L4", "L5"),
                                  ("L5", "S1"), ("V1", "V2")], ids=str)  # fmt: skip
def test_neighbours_differ_for_the_colour_blind(
    pair: tuple[str, str], matrix: tuple[tuple[float, ...], ...]
) -> None:
    seen = []
    for level in pair:
        linear = np.array(level_colour(VertebraLevel(level))) ** 2.2
        seen.append(np.clip(np.array(matrix) @ linear, 0.0, 1.0) ** (1 / 2.2))
    assert np.linalg.norm(seen[0] - seen[1]) > 0.2


@given(
    st.lists(st.tuples(st.floats(-50, 900), st.floats(1, 60)), min_size=1, max_size=25)
)
def test_spread_intervals_never_overlap(items: list[tuple[float, float]]) -> None:
    wanted, sizes = (np.array(part) for part in zip(*items, strict=True))
    placed = spread(wanted, sizes, (0.0, 800.0))
    order = np.argsort(placed, kind="stable")
    gaps = np.diff(placed[order]) - (sizes[order][:-1] + sizes[order][1:]) / 2.0
    assert (gaps > -1e-6).all()
    assert placed.min() - sizes[np.argmin(placed)] / 2.0 > -1e-6
    if sizes.sum() < 800.0:
        assert placed.max() + sizes[np.argmax(placed)] / 2.0 < 800.0 + 1e-6


def test_intervals_that_fit_stay_where_they_are() -> None:
    np.testing.assert_allclose(
        spread([300.0, 100.0, 200.0], [20.0, 20.0, 20.0], (0.0, 400.0)),
        [300.0, 100.0, 200.0],
    )
    np.testing.assert_allclose(spread([50, 50], [20, 20], (0, 400)), [40.0, 60.0])
    assert spread([], [], (0.0, 1.0)).size == 0
