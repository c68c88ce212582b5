"""The import rules of the house, checked by import-linter."""

import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent


def lint_imports(repository: Path) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-c",
        "import sys; from importlinter.cli import lint_imports; "
        "sys.exit(lint_imports(no_cache=True))",
    ]
    return subprocess.run(  # noqa: S603 -- our own command
        command, cwd=repository, capture_output=True, text=True, check=False
    )


def test_imports_run_one_way() -> None:
    result = lint_imports(REPOSITORY)
    assert result.returncode == 0, result.stdout + result.stderr


def test_no_module_is_a_drawer_for_everything() -> None:
    names = {
        p.stem
        for root in ("imaging", "pipelines", "plugins")
        for p in (REPOSITORY / root).rglob("*.py")
    }
    assert not names & {"utils", "helpers", "common", "misc", "tools"}


def test_files_stay_readable() -> None:
    long = {
        str(path.relative_to(REPOSITORY)): lines
        for root in ("imaging", "pipelines", "plugins")
        for path in (REPOSITORY / root).rglob("*.py")
        if (lines := len(path.read_text().splitlines())) > 400
    }
    assert not long
