"""review.json: what it holds, and that it is written whole or not at all."""

import json
from pathlib import Path

import pytest

from cases.review_case import LEAK_ID, TinyCase, write_case
from cemscope.errors import ExportError
from cemscope_pipelines.review.review_document import (
    FindingId,
    ReviewError,
    finding_ids,
    read_review,
    replace_file,
    report_sha256,
    review_json_schema,
    write_review,
)
from cemscope_pipelines.review.review_session import ReviewSession

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> TinyCase:
    return write_case(tmp_path_factory.mktemp("document"))


def test_findings_are_listed_per_vertebra_from_below(case: TinyCase) -> None:
    report = ReviewSession(case.folder).report
    assert finding_ids(report) == (
        FindingId("vertebra", "L4"),
        FindingId("leak", LEAK_ID),
        FindingId("vertebra", "L3"),
        FindingId("screw", "L3-left"),
    )


def test_a_case_that_nobody_reviewed_has_no_document(case: TinyCase) -> None:
    assert read_review(case.folder) is None


def test_a_document_is_read_as_it_was_written(case: TinyCase, tmp_path: Path) -> None:
    document = ReviewSession(case.folder).document()
    write_review(tmp_path, document)
    assert read_review(tmp_path) == document
    assert document.report_sha256 == report_sha256(case.folder)
    assert document.result.vertebrae == ReviewSession(case.folder).report.vertebrae
    assert {one.result_id for one in document.decisions} == {
        "L4", LEAK_ID, "L3", "L3-left",
    }  # fmt: skip


@pytest.mark.parametrize("text", ["", "{}", '{"schema_version": "9"}', "[1]"])
def test_a_damaged_document_is_refused_in_one_sentence(
    tmp_path: Path, text: str
) -> None:
    (tmp_path / "review.json").write_text(text)
    with pytest.raises(ReviewError, match=r"review\.json cannot be understood"):
        read_review(tmp_path)


def test_a_failed_write_leaves_the_old_content(tmp_path: Path) -> None:
    target = tmp_path / "review.json"
    target.mkdir()  # a folder cannot be replaced by a file
    with pytest.raises(ExportError):
        replace_file(target, b"new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["review.json"]


def test_the_schema_names_every_part() -> None:
    schema = review_json_schema()
    assert set(schema["required"]) >= {"report_sha256", "status", "decisions", "result"}
    assert "VertebraEntry" in schema["$defs"]


def test_the_committed_schema_is_that_of_the_models() -> None:
    committed = REPOSITORY / "docs" / "schema" / "review.schema.json"
    assert json.loads(committed.read_text(encoding="utf-8")) == review_json_schema()
