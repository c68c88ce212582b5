import re

import pytest

from cases.treated_spine import treated_spine
from cemscope.anatomy import VertebraLevel
from cemscope_pipelines.config import AnalysisConfig
from cemscope_pipelines.pictures.spine_picture import SpinePicture
from cemscope_pipelines.report import Report
from cemscope_pipelines.report_builder import build_report
from cemscope_pipelines.report_html import ReportPictures, render_html

CASE = treated_spine()
REPORT = build_report(CASE.ct, CASE.spine, CASE.augmentation, AnalysisConfig())
PICTURES = ReportPictures(
    SpinePicture(
        b"levels", 1180, 640, "From the head: L3, L4 & L5.", ("L4: look <here>",)
    ),
    b"preview",
    (("Axial L4", b"axial"),),
)


def html(report: Report = REPORT, pictures: ReportPictures = PICTURES) -> str:
    return render_html(report, pictures)


def test_the_levels_come_before_any_number() -> None:
    text = html()
    assert text.index("Check the levels first") < text.index("cement in all")
    assert text.index("Check the levels first") < text.index("Vertebrae in view")


def test_every_picture_has_words_for_those_who_cannot_see_it() -> None:
    images = re.findall(r"<img [^>]*>", html())
    assert len(images) == 3
    for image in images:
        described = re.search(r'alt="([^"]+)"', image)
        assert described, image[:80]
    assert 'alt="From the head: L3, L4 &amp; L5."' in images[0]


def test_the_picture_of_the_levels_has_its_true_size() -> None:
    image = re.findall(r"<img [^>]*>", html())[0]
    assert 'width="1180"' in image
    assert 'height="640"' in image


def test_remarks_are_listed_and_escaped() -> None:
    assert "<li>L4: look &lt;here&gt;</li>" in html()


def test_without_remarks_there_is_no_list() -> None:
    plain = ReportPictures(SpinePicture(b"", 1, 1, "levels", ()), b"", ())
    section = html(pictures=plain).split("Check the levels first")[1].split("<img")[0]
    assert "<ul" not in section


@pytest.mark.parametrize("named", [True, False])
def test_relative_names_are_explained(named: bool) -> None:
    vertebrae = REPORT.vertebrae
    if not named:
        vertebrae = tuple(
            v.model_copy(update={"level": VertebraLevel(f"V{i + 1}").name})
            for i, v in enumerate(vertebrae)
        )
    text = html(REPORT.model_copy(update={"vertebrae": vertebrae}))
    assert ("only count from" in text) is not named


def test_the_file_needs_nothing_else() -> None:
    assert "http" not in re.sub(r"data:image/png;base64,[\w+/=]*", "", html())
