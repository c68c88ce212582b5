"""One changed byte anywhere in a signed case is found, and its place named."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cases.export_cases import CasePlan, draw_nothing, make_case, review_case
from cemscope_pipelines.signing.audit_check import audit_case
from cemscope_pipelines.signing.audit_trail import AuditEntry, append_entry
from cemscope_pipelines.signing.sign_case import SigningJob, sign_case


@pytest.fixture(scope="module", autouse=True)
def quick_pictures() -> Iterator[None]:
    """Pictures are looked at in test_export_pdf; here they would only take time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cemscope_pipelines.export.case_objects.draw_case", draw_nothing)
        yield


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A case signed, amended and exported: three lines, two versions."""
    case = make_case(tmp_path_factory.mktemp("tampering"), CasePlan(reviewed=True))
    sign_case(SigningJob(case, "Doe^Jane", "Hospital"))
    review_case(case, {"L3": ("modified", "edge moved")})
    sign_case(SigningJob(case, "Doe^Jane", "Hospital", True, "edge moved"))
    append_entry(case, "exported", "0", {"state": "signed"})
    return case


def flip(name: str, at: float = 0.5) -> Callable[[Path], None]:
    """Flip one bit of one byte, at a share of the file."""

    def change(case: Path) -> None:
        path = case / name
        content = bytearray(path.read_bytes())
        content[int(at * (len(content) - 1))] ^= 0x01
        path.write_bytes(bytes(content))

    return change


def lines(change: Callable[[list[str]], list[str]]) -> Callable[[Path], None]:
    def rewrite(case: Path) -> None:
        path = case / "audit.jsonl"
        path.write_text("".join(change(path.read_text().splitlines(keepends=True))))

    return rewrite


def other_reader(case: Path) -> None:
    """Alter a line and give it its own right hash again."""
    path = case / "audit.jsonl"
    all_lines = path.read_text().splitlines(keepends=True)
    record = json.loads(all_lines[0])
    record["details"]["reader"] = "Roe^Richard"
    entry = AuditEntry.model_validate(record)
    entry = entry.model_copy(update={"entry_sha256": entry.expected_sha256()})
    path.write_text("".join([entry.line() + "\n", *all_lines[1:]]))


def remove(name: str) -> Callable[[Path], None]:
    def change(case: Path) -> None:
        path = case / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return change


def add_object(case: Path) -> None:
    folder = case / "signed" / "v2"
    shutil.copyfile(folder / "report_sr.dcm", folder / "another_sr.dcm")


def add_review_map(case: Path) -> None:
    """A corrected map that no reader drew: other programs would take it."""
    shutil.copyfile(case / "materials.nii.gz", case / "review_materials.nii.gz")


def swap_versions(case: Path) -> None:
    root = case / "signed"
    (root / "v1").rename(root / "x")
    (root / "v2").rename(root / "v1")
    (root / "x").rename(root / "v2")


@dataclass(frozen=True)
class Tampering:
    name: str
    change: Callable[[Path], None]
    says: str


TAMPERINGS = (
    Tampering("label map", flip("materials.nii.gz"), "materials.nii.gz was altered"),
    Tampering("vertebrae", flip("vertebrae.nii.gz"), "vertebrae.nii.gz was altered"),
    Tampering("report", flip("report.json"), "report.json was altered after version 2"),
    Tampering("provenance", flip("provenance.json"), "provenance.json was altered"),
    Tampering("review", flip("review.json", 0.9), "review.json is not the one"),
    Tampering("review gone", remove("review.json"), "review.json is not the one"),
    Tampering(
        "journal of the review", flip("review.edits.jsonl", 0.9),
        "review.edits.jsonl is not the one",
    ),
    Tampering(
        "signed review", flip("signed/v2/review.json"),
        "signed/v2/review.json was altered",
    ),
    Tampering(
        "signed journal", flip("signed/v1/review.edits.jsonl"),
        "signed/v1/review.edits.jsonl was altered",
    ),
    Tampering("report gone", remove("report.json"), "report.json is missing"),
    Tampering(
        "signed report, first byte", flip("signed/v1/report_sr.dcm", 0.0),
        "signed/v1/report_sr.dcm was altered (audit.jsonl line 1)",
    ),
    Tampering(
        "signed report, last byte", flip("signed/v2/report_sr.dcm", 1.0),
        "signed/v2/report_sr.dcm was altered (audit.jsonl line 2)",
    ),
    Tampering(
        "signed segmentation", flip("signed/v1/seg_materials.dcm", 0.99),
        "signed/v1/seg_materials.dcm was altered",
    ),
    Tampering(
        "machine's report", flip("signed/v2/machine_report_sr.dcm"),
        "signed/v2/machine_report_sr.dcm was altered",
    ),
    Tampering("PDF", flip("signed/v1/report_pdf.dcm"), "report_pdf.dcm was altered"),
    Tampering(
        "signed label map", flip("signed/v1/materials.nii.gz"),
        "signed/v1/materials.nii.gz was altered",
    ),
    Tampering(
        "signature", flip("signed/v1/signature.json", 0.5), "signature.json",
    ),
    Tampering("corrected map added", add_review_map, "was added after version 2"),
    Tampering("object added", add_object, "signed/v2/another_sr.dcm was added"),
    Tampering(
        "object removed", remove("signed/v1/seg_vertebrae.dcm"),
        "signed/v1/seg_vertebrae.dcm is missing",
    ),
    Tampering("last version removed", remove("signed/v2"), "line 2 tells of signed"),
    Tampering("first version removed", remove("signed/v1"), "version 1 is missing"),
    Tampering("versions swapped", swap_versions, "holds the signature of version"),
    Tampering("trail removed", remove("audit.jsonl"), "signed/v1 is not in"),
    Tampering("first line", flip("audit.jsonl", 0.02), "audit.jsonl line 1 is broken"),
    Tampering("last line", flip("audit.jsonl", 0.98), "audit.jsonl line 3 is broken"),
    Tampering("line rehashed", other_reader, "audit.jsonl line 2 is broken"),
    Tampering(
        "line removed", lines(lambda all_lines: all_lines[1:]), "line 1 is broken"
    ),
    Tampering(
        "middle line removed", lines(lambda a: [a[0], a[2]]), "line 2 is broken"
    ),
    Tampering("lines swapped", lines(lambda a: [a[1], a[0], a[2]]), "line 1 is broken"),
    Tampering("line repeated", lines(lambda a: [*a, a[-1]]), "line 4 is broken"),
    Tampering(
        "signing lines cut off", lines(lambda a: a[:1]), "signed/v2 is not in"
    ),
    Tampering(
        "line break lost", lines(lambda a: [*a[:2], a[2].rstrip()]), "ends midway"
    ),
    Tampering(
        "space added", lines(lambda a: [a[0].replace(",", ", ", 1), *a[1:]]),
        "line 1 is broken",
    ),
)  # fmt: skip


@pytest.mark.parametrize("tampering", TAMPERINGS, ids=lambda t: t.name)
def test_tampering_is_found(signed: Path, tmp_path: Path, tampering: Tampering) -> None:
    case = tmp_path / "case"
    shutil.copytree(signed, case)
    tampering.change(case)
    broken = audit_case(case).broken
    assert broken, "nothing was found"
    assert tampering.says in broken[0]


def test_an_untouched_case_is_intact(signed: Path, tmp_path: Path) -> None:
    shutil.copytree(signed, tmp_path / "case")
    result = audit_case(tmp_path / "case")
    assert (result.broken, result.lines, result.versions) == ((), 3, 2)


@pytest.fixture(scope="module")
def unsigned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A case that left once as a draft: one line, no version."""
    case = make_case(tmp_path_factory.mktemp("unsigned"))
    append_entry(case, "exported", "0", {"state": "draft"})
    return case


UNSIGNED_TAMPERINGS = (
    Tampering("label map", flip("materials.nii.gz"), "materials.nii.gz was altered"),
    Tampering("vertebrae", flip("vertebrae.nii.gz"), "vertebrae.nii.gz was altered"),
    Tampering("report", flip("report.json"), "report.json was altered after the"),
    Tampering("report gone", remove("report.json"), "report.json is missing"),
    Tampering("provenance gone", remove("provenance.json"), "provenance.json is miss"),
    Tampering("line", flip("audit.jsonl"), "audit.jsonl line 1 is broken"),
)


@pytest.mark.parametrize("tampering", UNSIGNED_TAMPERINGS, ids=lambda t: t.name)
def test_tampering_with_a_draft_is_found(
    unsigned: Path, tmp_path: Path, tampering: Tampering
) -> None:
    case = tmp_path / "case"
    shutil.copytree(unsigned, case)
    assert audit_case(case).broken == ()
    tampering.change(case)
    broken = audit_case(case).broken
    assert broken, "nothing was found"
    assert tampering.says in broken[0]
