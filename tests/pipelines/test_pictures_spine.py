import dataclasses
import functools
import io
import itertools
from dataclasses import dataclass

import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image

from cases.curved_spine import (
    STRAIGHT,
    STRAIGHT_SCAN,
    Body,
    Scan,
    oblique,
    scanned,
)
from cases.treated_spine import CEMENT, treated_spine
from cemscope.spine import Spine
from cemscope.volume import Notice
from cemscope_pipelines.pictures.canvas import Canvas
from cemscope_pipelines.pictures.composition import CaseImages
from cemscope_pipelines.pictures.drawing import MATERIAL_COLOURS
from cemscope_pipelines.pictures.level_marks import DOUBT_COLOUR, OUTLINE_DOUBTFUL
from cemscope_pipelines.pictures.picture_file import MAX_BYTES, small_png
from cemscope_pipelines.pictures.settings import PictureSettings
from cemscope_pipelines.pictures.spine_drawing import GREY_HU
from cemscope_pipelines.pictures.spine_picture import (
    SpineContent,
    draw_spine,
    render_spine_picture,
)

REPORT_WIDTH_PX = 1192
"""Inner width of the HTML report: 1240 less twice 24."""


def many_bodies() -> CaseImages:
    """Twelve flat thoracic bodies on a coarse grid, 260 mm long."""
    bodies = tuple(
        Body(f"T{12 - i}", (0.0, 0.0, 21.0 * i), height_mm=16.0) for i in range(12)
    )
    return scanned(
        bodies, Scan((-50.0, -50.0, -20.0), (50.0, 70.0, 250.0), (3.0, 3.0, 3.0))
    )


def relative_and_doubtful() -> CaseImages:
    bodies = tuple(
        Body(f"V{i + 1}", b.centre, confidence=0.0) for i, b in enumerate(STRAIGHT)
    )
    notices = (
        Notice("levels_not_told", "The levels could not be told."),
        Notice(OUTLINE_DOUBTFUL, "V2: " + "the walls on both sides disagree, " * 12),
        Notice(OUTLINE_DOUBTFUL, "V1: too thin"),
        Notice(OUTLINE_DOUBTFUL, "V3: too thin"),
        Notice(OUTLINE_DOUBTFUL, "V4: too wide"),
        Notice(OUTLINE_DOUBTFUL, "V5: cut through the canal"),
    )
    return scanned(bodies, STRAIGHT_SCAN, notices=notices)


def twenty_slices() -> CaseImages:
    scan = Scan((-60.0, -60.0, -20.0), (60.0, 80.0, 20.0))
    assert scan.geometry().shape[0] == 20
    return scanned((Body("V1", (0.0, 0.0, 0.0), confidence=0.0),), scan)


def cut_above_and_below() -> CaseImages:
    bodies = tuple(
        dataclasses.replace(b, complete=0 < i < 2) for i, b in enumerate(STRAIGHT[:3])
    )
    return scanned(bodies, Scan((-60.0, -60.0, -2.0), (60.0, 80.0, 76.0)), canal=False)


def collapsed_and_close() -> CaseImages:
    bodies = (
        Body("L5", (0.0, 0.0, 0.0)),
        Body("L4", (0.0, 0.0, 20.0), height_mm=8.0),
        Body("L3", (0.0, 0.0, 32.0), height_mm=8.0),
        Body("L2", (0.0, 0.0, 44.0), height_mm=8.0),
        Body("L1", (0.0, 0.0, 66.0), complete=False),
    )
    return scanned(bodies, STRAIGHT_SCAN)


def one_on_an_oblique_grid() -> CaseImages:
    scan = Scan(
        (-50.0, -60.0, -30.0), (50.0, 70.0, 30.0), (2.0, 2.0, 2.0), oblique(20.0, 0)
    )
    return scanned((Body("L3", (0.0, 0.0, 0.0)),), scan)


def treated() -> CaseImages:
    case = treated_spine()
    return CaseImages(
        case.ct, case.spine, case.augmentation.materials, (CEMENT["L4"],),
        case.augmentation.leaks, case.augmentation.screws, PictureSettings(),
    )  # fmt: skip


def outline_missed_by_the_sagittal() -> CaseImages:
    bodies = (*STRAIGHT[:2], Body("L3", (48.0, 0.0, 72.0)), *STRAIGHT[3:])
    return scanned(bodies, Scan((-60.0, -60.0, -30.0), (80.0, 80.0, 174.0)))


CASES = {
    make.__name__: make
    for make in (
        many_bodies,
        relative_and_doubtful,
        twenty_slices,
        cut_above_and_below,
        collapsed_and_close,
        one_on_an_oblique_grid,
        treated,
        outline_missed_by_the_sagittal,
    )
}
every_case = pytest.mark.parametrize("name", CASES)


@dataclass(frozen=True)
class Drawn:
    images: CaseImages
    content: SpineContent
    canvas: Canvas


@functools.cache
def drawn(name: str) -> Drawn:
    images = CASES[name]()
    content = SpineContent.of(images)
    return Drawn(images, content, draw_spine(content))


def texts(canvas: Canvas) -> list[Text]:
    return [t for t in canvas.figure.findobj(Text) if t.get_text().strip()]


@every_case
def test_no_text_lies_over_another(name: str) -> None:
    boxes = [(t.get_text(), t.get_window_extent()) for t in texts(drawn(name).canvas)]
    for (first, a), (second, b) in itertools.combinations(boxes, 2):
        wide = min(a.x1, b.x1) - max(a.x0, b.x0)
        tall = min(a.y1, b.y1) - max(a.y0, b.y0)
        assert wide <= 0.5 or tall <= 0.5, f"{first!r} over {second!r}"


@every_case
def test_all_text_lies_inside_the_picture(name: str) -> None:
    canvas = drawn(name).canvas
    width, height = canvas.figure.get_size_inches() * canvas.figure.dpi
    for text in texts(canvas):
        box = text.get_window_extent()
        assert min(box.x0, box.y0) >= 0.0, text.get_text()
        assert (box.x1, box.y1) <= (width, height), text.get_text()


@every_case
def test_every_level_is_named_in_every_view_and_in_the_strip(name: str) -> None:
    case = drawn(name)
    written = [t.get_text().replace("\n", " ") for t in texts(case.canvas)]
    for mark in case.content.marks:
        named, views = mark.text.replace("\n", " "), len(case.content.views)
        in_strip = mark.text.split("\n")[0]
        wanted = views + 1 if named == in_strip else views
        assert written.count(named) == wanted, mark.level
        assert written.count(in_strip) in (1, views + 1), mark.level


@every_case
def test_text_can_be_read(name: str) -> None:
    assert min(t.get_fontsize() for t in texts(drawn(name).canvas)) >= 9.0


@every_case
def test_the_picture_fits_the_report_at_its_true_size(name: str) -> None:
    canvas = drawn(name).canvas
    width, height = canvas.figure.get_size_inches() * canvas.figure.dpi
    assert 700 < width <= REPORT_WIDTH_PX
    assert 200 < height < 1400


@pytest.mark.parametrize("name", ["treated", "twenty_slices"])
def test_the_file_is_light_and_described(name: str) -> None:
    case = drawn(name)
    picture = render_spine_picture(case.images)
    assert len(picture.png) <= MAX_BYTES
    image = Image.open(io.BytesIO(picture.png))
    assert image.size == (picture.width_px, picture.height_px)
    for vertebra in case.images.spine.vertebrae:
        assert vertebra.level.name in picture.alternative_text


def test_names_stand_at_the_height_of_their_bodies() -> None:
    case = drawn("many_bodies")
    first_view = case.content.views[0]
    rows = [first_view.plane.pixel_of(b.centroid_lps_mm)[0]
            for b in case.images.spine.vertebrae]  # fmt: skip
    height = case.canvas.figure.get_size_inches()[1] * 100
    for mark, row in zip(case.content.marks, rows, strict=True):
        named = [t for t in texts(case.canvas) if t.get_text() == mark.text]
        sagittal = min(named, key=lambda t: t.get_window_extent().x0)
        box = sagittal.get_window_extent()
        middle = height - (box.y0 + box.y1) / 2.0
        # 54 px above for the title, 20 for the letters; a pixel of rounding.
        wanted = row - rows[-1] + _middle(case, case.content.marks[-1].text, height)
        assert middle == pytest.approx(wanted, abs=3.0)


def _middle(case: Drawn, text: str, height: float) -> float:
    named = [t for t in texts(case.canvas) if t.get_text() == text]
    box = min(named, key=lambda t: t.get_window_extent().x0).get_window_extent()
    return height - float(box.y0 + box.y1) / 2.0


def colour_share(image: np.ndarray, colour: tuple[float, float, float]) -> float:
    return float((np.abs(image - np.array(colour)).max(axis=-1) < 0.08).mean())


def pixels(images: CaseImages) -> np.ndarray:
    png = render_spine_picture(images).png
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), float) / 255.0


def test_a_doubtful_outline_is_red_at_one_glance() -> None:
    right = one_on_an_oblique_grid()
    notice = Notice(OUTLINE_DOUBTFUL, "L3: the disc above is thin")
    spine = dataclasses.replace(right.spine, notices=(notice,))
    wrong = dataclasses.replace(right, spine=spine)
    before, after = (colour_share(pixels(i), DOUBT_COLOUR) for i in (right, wrong))
    # The stripes of one body in two views against the sign in the legend.
    assert after > before + 0.002
    assert notice.message in render_spine_picture(wrong).remarks


def test_cement_leak_and_screw_are_shown() -> None:
    image = pixels(drawn("treated").images)
    bare = pixels(one_on_an_oblique_grid())
    for material in (1, 2, 3):
        colour = MATERIAL_COLOURS[material]
        assert colour_share(image, colour) > colour_share(bare, colour) + 1e-4, material


def test_a_scan_without_cement_names_no_material() -> None:
    written = " ".join(t.get_text() for t in texts(drawn("many_bodies").canvas))
    assert "cement" not in written
    assert "cement in the vertebra" in " ".join(
        t.get_text() for t in texts(drawn("treated").canvas)
    )


def test_long_remarks_are_cut_and_counted() -> None:
    case = drawn("relative_and_doubtful")
    written = [t.get_text() for t in texts(case.canvas)]
    assert any(line.endswith("more lines in the report") for line in written)
    assert len(case.content.remarks()) == 6
    assert any("--anchor" in words for words, _ in case.content.remarks())


def test_metal_is_brighter_than_cement_and_cement_than_bone() -> None:
    # Trabecular bone, cortex, cement and metal have each their own grey.
    assert GREY_HU[-1] >= 3000.0
    assert sorted(GREY_HU) == list(GREY_HU)


def test_a_spine_without_vertebrae_is_refused() -> None:
    images = scanned(STRAIGHT[:1], STRAIGHT_SCAN)
    empty = dataclasses.replace(images, spine=Spine(images.spine.labels, ()))
    with pytest.raises(ValueError, match="vertebra"):
        render_spine_picture(empty)


def test_a_noisy_picture_loses_bits_not_pixels() -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (200, 300, 3)).astype(np.uint8)
    full, small = small_png(noise, 10**9), small_png(noise, 100_000)
    assert len(small) < len(full)
    assert len(small) <= 100_000
    shown = np.asarray(Image.open(io.BytesIO(small)), int)
    assert np.abs(shown - noise).max() <= 255 / 15
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(full))), noise)
    assert len(small_png(noise, 1)) > 1


@pytest.mark.parametrize(
    "wrong",
    [{"curved_depth_mm": 0.0}, {"unlike_share": 0.0}, {"unsure_below": -0.1}],
    ids=str,
)
def test_senseless_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected"):
        PictureSettings(**wrong)
