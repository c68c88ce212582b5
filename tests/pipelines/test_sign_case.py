"""Rules of the sign-off: draft -> reviewed -> signed, and amendments."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pydicom
import pytest

from cases.dicom_validators import dciodvfy_errors, sr_tree
from cases.export_cases import (
    IDENTITY,
    CasePlan,
    draw_nothing,
    make_case,
    review_case,
)
from cemscope.errors import AuditError, ConfigError, EvidenceError, SignatureError
from cemscope_pipelines.cli.main import main
from cemscope_pipelines.export.case_objects import ObjectChoice
from cemscope_pipelines.export.case_tables import VERTEBRAE_CSV
from cemscope_pipelines.export.export_case import ExportJob, export_case
from cemscope_pipelines.review.review_document import read_review, write_review
from cemscope_pipelines.signing.audit_check import audit_case
from cemscope_pipelines.signing.audit_trail import read_trail
from cemscope_pipelines.signing.sign_case import SigningJob, sign_case
from cemscope_pipelines.signing.signed_versions import signed_versions

READER, ORGANIZATION = "Weiß^Anna", "Klinik für Radiologie"
DECISIONS = {
    "L3": ("modified", "edge of the plug moved"),
    "L3-1": ("rejected", "a vessel wall"),
}


def job(case: Path, **changes: object) -> SigningJob:
    return SigningJob(case, READER, ORGANIZATION, **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module", autouse=True)
def quick_pictures() -> Iterator[None]:
    """Pictures are looked at in test_export_pdf; here they would only take time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cemscope_pipelines.export.case_objects.draw_case", draw_nothing)
        yield


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("signed")
    case = make_case(root, CasePlan(reviewed=True, decisions=DECISIONS))
    sign_case(job(case))
    return case


def test_the_signed_report_is_verified_complete_and_final(signed: Path) -> None:
    folder = signed / "signed" / "v1"
    report = pydicom.dcmread(folder / "report_sr.dcm")
    assert (
        report.VerificationFlag, report.CompletionFlag, report.PreliminaryFlag
    ) == ("VERIFIED", "COMPLETE", "FINAL")  # fmt: skip
    verifier = report.VerifyingObserverSequence[0]
    assert verifier.VerifyingObserverName == READER
    assert verifier.VerifyingOrganization == ORGANIZATION
    assert verifier.VerificationDateTime[-5] in "+-"
    author = report.AuthorObserverSequence[0]
    assert (author.ObserverType, author.Manufacturer) == ("DEV", "cemscope")
    machine = pydicom.dcmread(folder / "machine_report_sr.dcm")
    assert machine.VerificationFlag == "UNVERIFIED"
    predecessors = [
        item.ReferencedSOPInstanceUID
        for study in report.PredecessorDocumentsSequence
        for series in study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    ]
    assert predecessors == [machine.SOPInstanceUID]
    observers = [
        item.ConceptCodeSequence[0].CodeValue
        for item in report.ContentSequence
        if item.ConceptNameCodeSequence[0].CodeValue == "121005"
    ]
    assert observers == ["121006", "121007"]  # person, device


def test_validators_accept_what_was_signed(signed: Path) -> None:
    files = sorted((signed / "signed" / "v1").glob("*.dcm"))
    assert len(files) == 8
    assert {p.name: e for p in files if (e := dciodvfy_errors(p))} == {}
    tree = sr_tree(signed / "signed" / "v1" / "report_sr.dcm")
    for words in (
        "Completion Flag     : COMPLETE", "Verification Flag   : VERIFIED",
        "Predecessor Docs    : 1", ORGANIZATION, "Rejected by the reader",
        "Volume in the machine's report",
    ):  # fmt: skip
        assert words in tree


def test_the_readers_values_stand_in_the_signed_report(signed: Path) -> None:
    tree = sr_tree(signed / "signed" / "v1" / "report_sr.dcm")
    assert '"0.907" (ml' in tree  # what the reader made of it
    assert '"0.871" (ml' in tree  # what the machine said
    machine = sr_tree(signed / "signed" / "v1" / "machine_report_sr.dcm")
    assert '"0.907"' not in machine


def test_machine_objects_are_those_that_an_export_gave(
    signed: Path, tmp_path: Path
) -> None:
    draft = make_case(tmp_path)
    export_case(ExportJob(draft, tmp_path / "out"))
    folder = signed / "signed" / "v1"
    for name in ("seg_vertebrae.dcm", "seg_materials.dcm", "report_sr.dcm"):
        before = pydicom.dcmread(tmp_path / "out" / name)
        after = pydicom.dcmread(folder / f"machine_{name}")
        assert before.SOPInstanceUID == after.SOPInstanceUID


def test_an_export_of_a_signed_case_copies_what_was_signed(
    signed: Path, tmp_path: Path
) -> None:
    choice = ObjectChoice(pdf=True, pictures=True, key_objects=True)
    result = export_case(ExportJob(signed, tmp_path / "out", choice=choice, csv=True))
    assert result.version == 1
    for path in (signed / "signed" / "v1").glob("*.dcm"):
        assert (tmp_path / "out" / path.name).read_bytes() == path.read_bytes()
    assert "0.907" in (tmp_path / "out" / VERTEBRAE_CSV).read_text()
    assert (tmp_path / "out" / "report.pdf").read_bytes().startswith(b"%PDF")
    assert read_trail(signed)[-1].event == "exported"
    assert audit_case(signed).broken == ()


def test_a_signed_object_that_was_changed_is_not_exported(
    signed: Path, tmp_path: Path
) -> None:
    case = tmp_path / "case"
    shutil.copytree(signed, case)
    path = case / "signed" / "v1" / "report_sr.dcm"
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    with pytest.raises(AuditError, match=r"report_sr\.dcm is not the file"):
        export_case(ExportJob(case, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_an_amendment_is_the_next_version(signed: Path, tmp_path: Path) -> None:
    case = tmp_path / "case"
    shutil.copytree(signed, case)
    first = signed_versions(case)[0]
    events = len(read_trail(case))
    with pytest.raises(SignatureError, match="--amend"):
        sign_case(job(case))
    review_case(case, {"L3-1": ("rejected", "seen again")})
    assert any("review.json is not the one" in b for b in audit_case(case).broken)
    second = sign_case(job(case, amend=True, reason="leak seen again"))
    assert second.number == 2
    assert audit_case(case).broken == ()
    report = pydicom.dcmread(second.folder / "report_sr.dcm")
    items = report.PredecessorDocumentsSequence[0].ReferencedSeriesSequence
    uids = {i.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for i in items}
    assert first.signature.report_sop_instance_uid in uids
    assert len(uids) == 2
    assert [e.event for e in read_trail(case)[events:]] == ["amended"]
    assert first.folder.is_dir()


def forget_review(case: Path) -> None:
    (case / "review.json").unlink()
    (case / "review.edits.jsonl").unlink()


def forget_journal(case: Path) -> None:
    (case / "review.edits.jsonl").unlink()


def rewrite(old: str, new: str) -> Callable[[Path], None]:
    """Edit review.json by hand."""

    def change(case: Path) -> None:
        path = case / "review.json"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return change


def leave_one_open(case: Path) -> None:
    review_case(case, {"L2": ("open", "")})


def claim_to_be_reviewed(case: Path) -> None:
    document = read_review(case)
    assert document is not None
    write_review(
        case, document.model_copy(update={"decisions": document.decisions[1:]})
    )


def change_report(case: Path) -> None:
    path = case / "report.json"
    path.write_text(path.read_text().replace("0.871", "0.872"))


def change_labels(case: Path) -> None:
    path = case / "materials.nii.gz"
    path.write_bytes((case / "vertebrae.nii.gz").read_bytes())


def change_configuration(case: Path) -> None:
    path = case / "provenance.json"
    path.write_text(path.read_text().replace("c" * 64, "d" * 64))


def other_patient(case: Path) -> None:
    for path in sorted((case.parent / "ct").iterdir()):
        dataset = pydicom.dcmread(path)
        dataset.SOPInstanceUID = f"{dataset.SOPInstanceUID[:-2]}1"
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.PatientID = "SOMEONE-ELSE"
        dataset.save_as(path)


def forge_trail(case: Path) -> None:
    (case / "audit.jsonl").write_text("{}\n")


@dataclass(frozen=True)
class Refusal:
    name: str
    spoil: Callable[[Path], None]
    says: str


REFUSALS = (
    Refusal("not reviewed", forget_review, "was not reviewed"),
    Refusal("one finding open", leave_one_open, r"1 findings are not judged \(L2"),
    Refusal("a finding unjudged", claim_to_be_reviewed, "not judged"),
    Refusal("report altered", change_report, "judges another report"),
    Refusal("labels altered", change_labels, "materials.nii.gz is not the one"),
    Refusal("configuration altered", change_configuration, "another configuration"),
    Refusal("journal gone", forget_journal, "cannot be followed: .* journal"),
    Refusal(
        "a number edited by hand",
        rewrite('"volume_ml": 0.871', '"volume_ml": 0.371'),
        r"review.json \(result\) in the case folder: not what the journal",
    ),
    Refusal(
        "a decision edited by hand",
        rewrite('"decision": "accepted"', '"decision": "rejected"'),
        r"review.json \(decisions\)",
    ),
    Refusal(
        "a level edited by hand",
        rewrite('"level": "L2"', '"level": "L1"'),
        r"review.json \(result\)",
    ),
    Refusal("other patient", other_patient, "slices are the same"),
    Refusal("trail forged", forge_trail, "line 1 is broken"),
)


@pytest.fixture(scope="module")
def reviewed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_case(tmp_path_factory.mktemp("reviewed"), CasePlan(reviewed=True))


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda r: r.name)
def test_what_must_not_be_signed_is_refused(tmp_path: Path, refusal: Refusal) -> None:
    case = make_case(tmp_path, CasePlan(reviewed=True))
    refusal.spoil(case)
    before = {p: p.read_bytes() for p in case.rglob("*") if p.is_file()}
    with pytest.raises((SignatureError, EvidenceError), match=refusal.says) as raised:
        sign_case(job(case))
    assert "SOMEONE-ELSE" not in str(raised.value)
    assert before == {p: p.read_bytes() for p in case.rglob("*") if p.is_file()}
    assert not (case / "signed").exists()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"reader": "Weiss"}, "Family\\^Given"),
        ({"reader": "^Anna"}, "Family\\^Given"),
        ({"reader": "Weiss^" + "A" * 60}, "64 characters"),
        ({"reader": "Weiss^An\\na"}, "backslashes"),
        ({"organization": " "}, "expected a name"),
        ({"reason": "typo"}, "belongs to --amend"),
        ({"amend": True}, "needs --reason"),
        ({"amend": True, "reason": "typo"}, "nothing was signed yet"),
    ],
)
def test_a_malformed_signature_is_refused(
    reviewed: Path, changes: dict[str, object], says: str
) -> None:
    words = {"reader": READER, "organization": ORGANIZATION, **changes}
    with pytest.raises(SignatureError, match=says):
        sign_case(SigningJob(reviewed, **words))  # type: ignore[arg-type]


def test_an_amendment_of_another_patients_objects_is_refused(
    signed: Path, tmp_path: Path
) -> None:
    case = tmp_path / "case"
    shutil.copytree(signed, case)
    shutil.copytree(signed.parent / "ct", tmp_path / "ct")
    for path in sorted((tmp_path / "ct").iterdir()):
        dataset = pydicom.dcmread(path)
        dataset.PatientID = "SOMEONE-ELSE"
        dataset.save_as(path)
    with pytest.raises(EvidenceError, match="another patient id"):
        sign_case(job(case, amend=True, reason="typo", series=tmp_path / "ct"))
    assert not (case / "signed" / "v2").exists()
    assert audit_case(case).broken == ()


def test_a_full_disk_leaves_nothing_half_signed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = make_case(tmp_path, CasePlan(reviewed=True))

    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("cemscope_pipelines.signing.sign_case.append_entry", refuse)
    from cemscope.errors import ExportError

    with pytest.raises(ExportError, match="No space left"):
        sign_case(job(case))
    assert not (case / "signed").exists()
    assert not (case / "audit.jsonl").exists()


def test_a_signed_case_is_not_exported_in_another_encoding(signed: Path) -> None:
    from cemscope.dicom.objects.segmentation_object import SegmentationEncoding

    choice = ObjectChoice(SegmentationEncoding.LABELMAP)
    with pytest.raises(ConfigError, match="leaves as it is"):
        export_case(ExportJob(signed, signed.parent / "labelmap", choice=choice))


def test_the_commands_tell_what_they_did(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case = make_case(tmp_path, CasePlan(reviewed=True))
    words = ["sign", str(case), "--reader", READER, "--organization", ORGANIZATION]
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["version"] == 1
    assert main(words) == 3
    assert "--amend" in capsys.readouterr().err
    assert main(["audit", str(case)]) == 0
    assert "intact: 1 lines, 1 signed versions" in capsys.readouterr().out
    (case / "report.html").write_text("x")  # not there when it was signed: ignored
    assert main(["audit", str(case)]) == 0
    (case / "signed" / "v1" / "report.json").write_text("{}")
    capsys.readouterr()
    assert main(["audit", str(case), "--json"]) == 4
    found = json.loads(capsys.readouterr().out)
    assert not found["intact"]
    assert "signed/v1/report.json was altered" in found["broken"][0]


def test_no_patient_stands_in_the_documents_of_a_signature(signed: Path) -> None:
    for path in signed.rglob("*"):
        if path.is_file() and path.suffix in (".json", ".jsonl"):
            if path.name == "provenance.json":
                continue
            text = path.read_text()
            assert IDENTITY.patient_id not in text, path.name
            assert "Jörg" not in text, path.name
    assert not list((signed / "signed").rglob("*.pdf"))
