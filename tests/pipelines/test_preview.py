import dataclasses
import functools
import io

import numpy as np
import pytest
from PIL import Image

from cases.treated_spine import CEMENT, LEAK_LPS_MM, treated_spine
from cemscope.findings import Certainty
from cemscope_pipelines.pictures.composition import (
    CaseImages,
    axial_view,
    leak_title,
    leak_view,
    long_views,
    worst_axial_view,
)
from cemscope_pipelines.pictures.drawing import MATERIAL_COLOURS
from cemscope_pipelines.pictures.preview import (
    MAX_HEIGHT_PX,
    MAX_WIDTH_PX,
    render_axial_views,
    render_leak_views,
    render_preview,
    table_lines,
)
from cemscope_pipelines.pictures.settings import PictureSettings

CASE = treated_spine()
IMAGES = CaseImages(
    CASE.ct,
    CASE.spine,
    CASE.augmentation.materials,
    (CEMENT["L4"],),
    CASE.augmentation.leaks,
    CASE.augmentation.screws,
    PictureSettings(),
)
BARE = dataclasses.replace(
    IMAGES,
    materials=type(IMAGES.materials)(
        np.zeros_like(IMAGES.materials.labels), IMAGES.materials.geometry
    ),
    cement=(),
    leaks=(),
    screws=(),
)


@functools.cache
def preview(treated: bool) -> bytes:
    return render_preview(IMAGES if treated else BARE)


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), float) / 255.0


def share_near(image: np.ndarray, colour: tuple[float, float, float]) -> float:
    """Share of pixels that have the hue of a colour (contours are drawn opaque)."""
    return float((np.abs(image - np.array(colour)).max(axis=-1) < 0.06).mean())


def test_the_preview_has_a_size_that_fits_a_screen() -> None:
    image = pixels(preview(True))
    height, width = image.shape[:2]
    assert 500 <= height <= MAX_HEIGHT_PX + 100
    assert 1000 <= width <= MAX_WIDTH_PX + 10


def test_cement_leak_and_screw_have_their_colours_in_the_preview() -> None:
    treated, bare = pixels(preview(True)), pixels(preview(False))
    for material in (1, 2, 3):
        colour = MATERIAL_COLOURS[material]
        # The legend shows each colour in both; the contours only where there is any.
        assert share_near(treated, colour) > share_near(bare, colour) + 2e-4, material


def test_the_worst_view_cuts_the_largest_leak() -> None:
    view = worst_axial_view(IMAGES)
    assert "L4-1" in view.title
    assert view.material_mm[2].any()
    heights = view.plane.points_lps_mm[..., 2]
    assert np.ptp(heights) < 1e-9
    assert heights[0, 0] == pytest.approx(LEAK_LPS_MM[2])


def test_without_leaks_the_worst_view_cuts_most_cement() -> None:
    view = worst_axial_view(dataclasses.replace(IMAGES, leaks=()))
    assert view.title == "Axial L4"
    # The ball's centre is the level with the largest cross-section.
    assert view.plane.points_lps_mm[0, 0, 2] == pytest.approx(36.0, abs=1.5)
    assert view.material_mm[1].any()


def test_without_cement_the_worst_view_cuts_a_screw() -> None:
    screws_only = dataclasses.replace(BARE, screws=IMAGES.screws)
    assert worst_axial_view(screws_only).title == "Axial L4"


def test_an_untreated_spine_is_shown_too() -> None:
    assert worst_axial_view(BARE).title == "Axial L4"
    assert "no cement" in worst_axial_view(BARE).caption


def test_a_leak_of_a_level_out_of_view_has_no_picture() -> None:
    lost = dataclasses.replace(IMAGES.leaks[0], level="T5")
    assert leak_view(IMAGES, lost) is None
    images = dataclasses.replace(IMAGES, leaks=(lost,))
    assert worst_axial_view(images).title == "Axial L4"


def test_level_names_and_volumes_are_written_in() -> None:
    coronal, sagittal = long_views(IMAGES)
    assert {t.text for t in coronal.texts} == {"L3", "L4  2.44 mL", "L5"}
    assert {t.text for t in sagittal.texts} == {"L3", "L4", "L5"}
    assert set(coronal.outlines) == {"L3", "L4", "L5"}


def test_there_is_an_axial_picture_per_augmented_level_and_leak() -> None:
    assert [title for title, _ in render_axial_views(IMAGES)] == ["Axial L4"]
    (picture,) = render_leak_views(IMAGES)
    assert picture.leak_id == "L4-1"
    assert picture.title == "Leak L4-1, type B?"
    none = PictureSettings(max_axial_views=0, max_leak_views=0)
    few = dataclasses.replace(IMAGES, settings=none)
    assert render_axial_views(few) == ()
    assert render_leak_views(few) == ()
    assert render_axial_views(BARE) == ()


def test_a_leak_is_in_the_middle_of_its_picture() -> None:
    view = leak_view(IMAGES, IMAGES.leaks[0])
    assert view is not None
    row, column = view.plane.pixel_of(LEAK_LPS_MM)
    rows, columns = view.plane.shape
    assert (row, column) == pytest.approx((rows / 2, columns / 2), abs=1.0)
    assert view.material_mm[2].any()
    assert view.outlines["L4"].any()
    shown = pixels(render_leak_views(IMAGES)[0].png)
    assert share_near(shown, MATERIAL_COLOURS[2]) > 3e-4


def test_an_uncertain_type_has_a_question_mark() -> None:
    leak = IMAGES.leaks[0]
    sure = dataclasses.replace(leak, certainty=Certainty.DEFINITE)
    untold = dataclasses.replace(leak, types=())
    assert leak_title(leak) == "Leak L4-1, type B?"
    assert leak_title(sure) == "Leak L4-1, type B"
    assert leak_title(untold) == "Leak L4-1, type not told"


def test_an_axial_view_of_an_unknown_level_is_an_error() -> None:
    with pytest.raises(KeyError):
        axial_view(IMAGES, "T1")


@pytest.mark.parametrize(
    "wrong", [{"slab_mm": 0.0}, {"window_width_hu": -1.0}, {"margin_mm": -1.0}], ids=str
)
def test_senseless_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected"):
        PictureSettings(**wrong)


def test_the_written_table_tells_unassessed_from_empty() -> None:
    lines = table_lines(IMAGES)
    assert lines[1].split() == ["L4", "2.44", "2.10", "-", "2.80", "0.27"]
    assert lines[2] == "not assessed: L3, L5"
    empty = dataclasses.replace(BARE, cement=(CEMENT["L5"],))
    assert table_lines(empty) == ("no cement found", "not assessed: L3, L4")
