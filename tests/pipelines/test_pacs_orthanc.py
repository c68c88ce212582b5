"""Push and pull against a real Orthanc: bit by bit, once, and after a crash."""

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from cases.export_cases import IDENTITY, CasePlan, draw_nothing, make_case
from cases.orthanc import Orthanc, running_orthanc
from cemscope.dicom import read_series
from cemscope.dicom.pacs.archive import Archive, RetrySettings, stored_object
from cemscope.dicom.pacs.dicomweb import WebArchive, WebCredentials
from cemscope.dicom.pacs.dimse import DimseArchive, DimsePeer
from cemscope.errors import PacsError
from cemscope_pipelines.cli.main import main
from cemscope_pipelines.pacs.pull_study import pull_study
from cemscope_pipelines.pacs.push_case import push_case, send_missing
from cemscope_pipelines.signing.audit_check import audit_case
from cemscope_pipelines.signing.audit_trail import read_trail
from cemscope_pipelines.signing.sign_case import SigningJob, sign_case

pytest.importorskip("pynetdicom", reason="needs the extra cemscope[pacs]")
pytest.importorskip("requests", reason="needs the extra cemscope[pacs]")

QUICK = RetrySettings(tries=2, first_wait_s=0.05, timeout_s=10.0)
PROTOCOLS = ("dicomweb", "dimse")


@pytest.fixture(scope="module", autouse=True)
def quick_pictures() -> Iterator[None]:
    """Pictures are looked at in test_export_pdf; here they would only take time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cemscope_pipelines.export.case_objects.draw_case", draw_nothing)
        yield


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    case = make_case(tmp_path_factory.mktemp("pacs"), CasePlan(reviewed=True))
    sign_case(SigningJob(case, "Doe^Jane", "Hospital"))
    return case


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with running_orthanc(tmp_path_factory.mktemp("orthanc")) as server:
        yield server


def archive_of(server: Orthanc, protocol: str) -> Archive:
    if protocol == "dicomweb":
        return WebArchive(server.dicomweb_url, retry=QUICK)
    peer = DimsePeer("127.0.0.1", server.dicom_port, "ORTHANC")
    return DimseArchive(peer, QUICK)


def objects_of(case: Path) -> list[Path]:
    return sorted((case / "signed" / "v1").glob("*.dcm"))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_round_trip_changes_no_bit(
    signed: Path, tmp_path: Path, protocol: str
) -> None:
    with running_orthanc(tmp_path / "server") as server:
        archive = archive_of(server, protocol)
        first = push_case(signed, archive)
        assert len(first.sent) == len(objects_of(signed)) == server.count()
        again = push_case(signed, archive)
        assert again.sent == ()
        assert set(again.present) == set(first.sent)
        assert server.count() == len(first.sent)
        listed = archive.series_of(IDENTITY.study_instance_uid)
        assert {s.modality for s in listed} == {"SEG", "SR", "DOC", "OT", "KO"}
        assert sum(s.instances or 0 for s in listed) == len(first.sent)
        pull_study(archive, IDENTITY.study_instance_uid, tmp_path / "pulled")
    pulled = {
        stored_object(p).instance_uid: p for p in tmp_path.rglob("pulled/*/*.dcm")
    }
    sent = {stored_object(p).instance_uid: p for p in objects_of(signed)}
    assert pulled.keys() == sent.keys()
    for uid, path in sent.items():
        # DIMSE carries the data set; cemscope writes the file around it anew
        assert pulled[uid].read_bytes() == path.read_bytes()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_pulled_series_is_the_series(
    signed: Path, orthanc: Orthanc, tmp_path: Path, protocol: str
) -> None:
    archive = archive_of(orthanc, protocol)
    files = sorted((signed.parent / "ct").iterdir())
    send_missing([stored_object(path) for path in files], archive)
    pulled = pull_study(
        archive, IDENTITY.study_instance_uid, tmp_path, IDENTITY.series_instance_uid
    )
    assert [(one.files, one.new_files) for one in pulled] == [(24, 24)]
    ct = read_series(tmp_path)
    assert np.array_equal(ct.hu, read_series(signed.parent / "ct").hu)
    again = pull_study(
        archive, IDENTITY.study_instance_uid, tmp_path, IDENTITY.series_instance_uid
    )
    assert again[0].new_files == 0


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_crash_amid_a_push_is_told_and_the_next_push_completes(
    signed: Path, tmp_path: Path, protocol: str
) -> None:
    case = tmp_path / "case"
    shutil.copytree(signed, case)
    before = len(read_trail(case))
    with running_orthanc(tmp_path / "server") as server:
        archive = archive_of(server, protocol)

        def crash(done: int, total: int) -> None:
            if done == 3:
                server.stop(kill=True)

        with pytest.raises(PacsError, match=r"3 of 9 objects .* Push again"):
            push_case(case, archive, progress=crash)
        begun, failed = read_trail(case)[before:]
        assert (begun.event, failed.event) == ("push_started", "push_failed")
        assert len(begun.details["objects"]) == 9
        assert len(failed.details["sent"]) == 3
        assert "3 of 9 objects" in failed.details["error"]
        assert archive.place in (begun.details["archive"], failed.details["archive"])
        server.start()
        assert server.count() == 3
        second = push_case(case, archive)
        assert (len(second.present), len(second.sent)) == (3, 6)
        assert server.count() == 9
    assert read_trail(case)[-1].event == "pushed"
    assert audit_case(case).broken == ()


def test_the_commands_push_and_pull(
    signed: Path,
    orthanc: Orthanc,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    where = ["--dicomweb", orthanc.dicomweb_url]
    assert main(["push", str(signed), *where, "-vv"]) == 0
    told = capsys.readouterr()
    assert "9 objects sent" in told.out
    study = ["--study", IDENTITY.study_instance_uid]
    dimse = ["--dicom", orthanc.dimse_address, "--aet", "ORTHANC"]
    assert main(["pull", *dimse, *study, "--list"]) == 0
    assert "SR" in capsys.readouterr().out
    assert main(["pull", *dimse, *study, "--to", str(tmp_path), "--json"]) == 0
    told_pull = capsys.readouterr()
    for text in (told.out, told.err, told_pull.out, told_pull.err):
        assert "Jörg" not in text
        assert IDENTITY.patient_id not in text


def test_an_unknown_study_is_told(orthanc: Orthanc, tmp_path: Path) -> None:
    for protocol in PROTOCOLS:
        with pytest.raises(PacsError, match="no series of that study"):
            pull_study(archive_of(orthanc, protocol), "1.2.3.4", tmp_path)


def test_an_unknown_caller_is_refused(orthanc: Orthanc) -> None:
    peer = DimsePeer("127.0.0.1", orthanc.dicom_port, "WRONG", "STRANGER")
    with pytest.raises(PacsError, match="AE titles"):
        DimseArchive(peer, QUICK).series_of("1.2.3")


def test_a_password_is_needed_and_never_shown(
    signed: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    options: dict[str, object] = {
        "AuthenticationEnabled": True, "RegisteredUsers": {"reader": "s3cret-word"},
    }  # fmt: skip
    objects = [stored_object(objects_of(signed)[0])]
    right = WebCredentials("reader", "s3cret-word")
    with running_orthanc(tmp_path / "server", options) as server:
        for wrong in (WebCredentials(), WebCredentials("reader", "another")):
            archive = WebArchive(server.dicomweb_url, wrong, retry=QUICK)
            with pytest.raises(PacsError, match="refused access"):
                send_missing(objects, archive)
        archive = WebArchive(server.dicomweb_url, right, retry=QUICK)
        assert len(send_missing(objects, archive)[0]) == 1
    assert "s3cret-word" not in caplog.text
    assert "s3cret-word" not in repr(right)
