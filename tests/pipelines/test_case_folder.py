import os
from pathlib import Path

import pytest

from cemscope.errors import ConfigError, ExportError
from cemscope_pipelines.case_folder import check_target, written_whole


def write_case(folder: Path, text: str) -> None:
    with written_whole(folder) as part:
        (part / "report.json").write_text(text)


def test_a_case_appears_whole(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "case"
    assert check_target(folder) is False
    write_case(folder, "one")
    assert (folder / "report.json").read_text() == "one"
    assert [p.name for p in folder.parent.iterdir()] == ["case"]


def test_nothing_is_visible_before_the_end(tmp_path: Path) -> None:
    folder = tmp_path / "case"
    with written_whole(folder) as part:
        (part / "report.json").write_text("half")
        assert not folder.exists()
        assert part.parent == folder.parent


@pytest.mark.parametrize("kind", [RuntimeError, KeyboardInterrupt])
def test_a_failure_leaves_nothing(tmp_path: Path, kind: type[BaseException]) -> None:
    def fail(folder: Path) -> None:
        with written_whole(folder) as part:
            (part / "report.json").write_text("half")
            raise kind

    with pytest.raises(kind):
        fail(tmp_path / "deep" / "case")
    assert list(tmp_path.iterdir()) == []


def test_a_failure_leaves_the_earlier_case_alone(tmp_path: Path) -> None:
    folder = tmp_path / "case"
    write_case(folder, "one")

    def fail() -> None:
        with written_whole(folder) as part:
            (part / "report.json").write_text("two")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert (folder / "report.json").read_text() == "one"
    assert [p.name for p in tmp_path.iterdir()] == ["case"]


@pytest.mark.parametrize("kind", [OSError, KeyboardInterrupt])
def test_an_interrupted_replacement_keeps_the_earlier_case(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[BaseException]
) -> None:
    target = tmp_path / "case"
    with written_whole(target) as part:
        (part / "report.json").write_text("first")
    rename, calls = Path.rename, []

    def interrupted(self: Path, new: Path) -> Path:
        calls.append(new)
        if len(calls) == 2:
            raise kind
        return rename(self, new)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises((ExportError, KeyboardInterrupt)), written_whole(target) as part:
        (part / "report.json").write_text("second")
    assert (target / "report.json").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["case"]


def test_an_earlier_case_is_replaced_as_a_whole(tmp_path: Path) -> None:
    folder = tmp_path / "case"
    write_case(folder, "one")
    (folder / "preview.png").write_text("old")
    assert check_target(folder) is True
    write_case(folder, "two")
    assert {p.name for p in folder.iterdir()} == {"report.json"}
    assert (folder / "report.json").read_text() == "two"
    assert [p.name for p in tmp_path.iterdir()] == ["case"]


def test_an_empty_folder_may_be_filled(tmp_path: Path) -> None:
    folder = tmp_path / "case"
    folder.mkdir()
    write_case(folder, "one")
    assert (folder / "report.json").is_file()


@pytest.mark.parametrize("work", ["review.json", "audit.jsonl", "signed"])
def test_a_readers_work_is_never_replaced(tmp_path: Path, work: str) -> None:
    folder = tmp_path / "case"
    write_case(folder, "one")
    (folder / work).touch()
    with pytest.raises(ConfigError, match="reviewed, signed, exported or sent"):
        check_target(folder)
    with pytest.raises(ConfigError, match="reviewed, signed, exported or sent"):
        write_case(folder, "two")
    assert (folder / "report.json").read_text() == "one"


@pytest.mark.parametrize("names", [["thesis.txt"], ["report.json", "thesis.txt"]])
def test_files_of_others_are_never_replaced(tmp_path: Path, names: list[str]) -> None:
    folder = tmp_path / "case"
    folder.mkdir()
    for name in names:
        (folder / name).touch()
    with pytest.raises(ConfigError, match="not a cemscope case") as error:
        check_target(folder)
    assert "thesis" not in str(error.value), "file names may name a patient"
    assert {p.name for p in folder.iterdir()} == set(names)


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "case").touch()
    with pytest.raises(ConfigError, match="found a file"):
        check_target(tmp_path / "case")
    with pytest.raises(ConfigError):
        check_target(tmp_path / "case" / "deeper")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ConfigError, match="permission"):
        check_target(tmp_path / "case")
    tmp_path.chmod(0o700)


def test_a_full_disk_is_told_in_a_sentence(tmp_path: Path) -> None:
    def fail() -> None:
        with written_whole(tmp_path / "case"):
            raise OSError(28, "No space left on device")

    with pytest.raises(ExportError, match="No space left"):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_a_case_can_be_read_by_the_group(tmp_path: Path) -> None:
    write_case(tmp_path / "case", "one")
    (tmp_path / "plain").mkdir()
    assert (tmp_path / "case").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_link_keeps_pointing_at_the_case(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    link = tmp_path / "case"
    link.symlink_to(tmp_path / "store" / "one", target_is_directory=True)
    (tmp_path / "store" / "one").mkdir()
    write_case(link, "one")
    assert link.is_symlink()
    assert (tmp_path / "store" / "one" / "report.json").read_text() == "one"


def test_a_mount_point_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "is_mount", lambda _: True)
    with pytest.raises(ConfigError, match="mount point"):
        check_target(tmp_path)
