import html.parser
import json
import logging
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import jsonschema
import pytest
from PIL import Image

from cases.treated_spine import ORIENTATIONS, treated_spine
from cemscope.testing.dicom_writer import SeriesIdentity, write_series
from cemscope_pipelines.cli import main
from cemscope_pipelines.cli.logs import logging_to_stderr
from cemscope_pipelines.label_files import read_label_map, write_label_map
from cemscope_pipelines.report import report_json_schema

CANARY = SeriesIdentity(
    patient_name="Canary^Wilhelmina",
    patient_id="CANARY-4711",
    patient_birth_date="19311112",
)
SECRETS = ("Canary", "Wilhelmina", "CANARY-4711", "19311112")
CASE_FILES = {
    "report.json", "vertebrae.nii.gz", "materials.nii.gz", "preview.png", "levels.png",
    "report.html", "provenance.json",
}  # fmt: skip


@dataclass
class Inputs:
    """The treated spine on disk: a series and its vertebra labels."""

    series: Path
    labels: Path
    arguments: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    folder = tmp_path_factory.mktemp("inputs")
    case = treated_spine(ORIENTATIONS[1])
    write_series(case.ct, folder / "series", CANARY)
    labels = folder / "labels.nii.gz"
    write_label_map(case.spine.labels, labels)
    options = ["--vertebrae", str(labels), "--label-scheme", "verse"]
    return Inputs(
        folder / "series", labels, ["analyze", str(folder / "series"), *options]
    )


@dataclass(frozen=True)
class Done:
    """One analysis, run once for the tests that only look at it."""

    folder: Path
    stdout: str
    stderr: str
    status: int


@pytest.fixture(scope="module")
def done(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Done:
    folder = tmp_path_factory.mktemp("done") / "case"
    # A process of its own, as a user runs it.
    run = subprocess.run(  # noqa: S603 -- our own command
        [sys.executable, "-m", "cemscope_pipelines", *inputs.arguments,
         "--out", str(folder), "-v"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return Done(folder, run.stdout, run.stderr, run.returncode)


class Texts(html.parser.HTMLParser):
    """Collects visible text and checks that tags are closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list) -> None:
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, self.getpos()

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text += data


def test_analyze_writes_the_whole_case(done: Done) -> None:
    assert done.status == 0, done.stderr
    assert {p.name for p in done.folder.iterdir()} == CASE_FILES
    report = json.loads((done.folder / "report.json").read_text())
    jsonschema.validate(report, report_json_schema())
    assert [v["level"] for v in report["vertebrae"]] == ["L5", "L4", "L3"]
    assert {v["source"] for v in report["vertebrae"]} == {"imported"}
    assert report["series"]["slices"] == 68
    assert report["series"]["hu_max"] == 3000


def test_label_maps_lie_on_the_grid_of_the_ct(done: Done) -> None:
    case = treated_spine(ORIENTATIONS[1])
    for name in ("vertebrae", "materials"):
        stored = read_label_map(done.folder / f"{name}.nii.gz")
        corners = {tuple(c) for c in stored.geometry.corners_lps_mm().round(2)}
        assert corners == {tuple(c) for c in case.ct.geometry.corners_lps_mm().round(2)}
    materials = read_label_map(done.folder / "materials.nii.gz")
    assert set(materials.labels.ravel().tolist()) <= {0, 1, 2, 3, 4}


def test_pictures_and_html_are_whole(done: Done) -> None:
    with Image.open(done.folder / "preview.png") as picture:
        assert picture.width > 1000
    parser = Texts()
    text = (done.folder / "report.html").read_text(encoding="utf-8")
    parser.feed(text)
    assert not parser.open
    assert "not a medical device" in parser.text
    assert "L4" in parser.text
    assert text.count("data:image/png;base64,") >= 1
    assert "http" not in text.split("</style>")[1], "the report needs nothing else"


def test_the_table_goes_to_stdout_and_messages_to_stderr(done: Done) -> None:
    assert done.stdout.startswith("level")
    assert "L4" in done.stdout
    assert "total:" in done.stdout
    assert "report.html" in done.stderr
    assert CANARY.series_instance_uid in done.stderr
    assert "Traceback" not in done.stderr


def test_patient_identity_stands_in_no_output_but_the_provenance(done: Done) -> None:
    texts = [done.stdout, done.stderr]
    texts += [
        path.read_bytes().decode("latin-1")
        for path in done.folder.iterdir()
        if path.name != "provenance.json"
    ]
    found = [secret for secret in SECRETS for text in texts if secret in text]
    assert not found


def test_provenance_names_input_versions_configuration_and_cost(done: Done) -> None:
    record = json.loads((done.folder / "provenance.json").read_text())
    report = json.loads((done.folder / "report.json").read_text())
    assert record["input"]["series_instance_uid"] == CANARY.series_instance_uid
    assert len(record["input"]["sop_instance_uids"]) == 68
    assert record["config_hash"] == report["software"]["config_hash"]
    assert {t["stage"] for t in record["timings"]} >= {"reading", "vertebrae", "cement"}
    assert record["peak_memory_mib"] > 50
    assert "numpy" in record["package_versions"]


def test_json_is_the_report_and_nothing_else(
    inputs: Inputs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = main([*inputs.arguments, "--out", str(tmp_path / "case"), "--json", "-q"])
    captured = capsys.readouterr()
    assert status == 0
    assert captured.err == ""
    assert captured.out == (tmp_path / "case" / "report.json").read_text()


@dataclass(frozen=True)
class Refusal:
    name: str
    words: tuple[str, ...]
    status: int
    message: str


USAGE = (
    Refusal("no out", (), 2, "--out"),
    Refusal("unknown option", ("--out", "{out}", "--colour"), 2, "--colour"),
    Refusal("unknown setting", ("--out", "{out}", "--set", "slab=1"), 2, "slab_mm"),
    Refusal("wrong value", ("--out", "{out}", "--set", "slab_mm=-1"), 2, "slab_mm"),
    Refusal("wrong anchor", ("--out", "{out}", "--anchor", "Q5"), 2, "Q5"),
    Refusal("no such config", ("--out", "{out}", "--config", "none"), 2, "none"),
    Refusal("no such series", ("--out", "{out}", "--series", "9.9"), 3, "9.9"),
    Refusal("no such labels", ("--out", "{out}", "--vertebrae", "none"), 2, "none"),
)


@pytest.mark.parametrize("case", USAGE, ids=lambda c: c.name)
def test_wrong_use_ends_in_one_line_and_no_case(
    case: Refusal, inputs: Inputs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [word.format(out=tmp_path / "case") for word in case.words]
    assert main(["analyze", str(inputs.series), *words]) == case.status
    captured = capsys.readouterr()
    assert captured.out == ""
    assert case.message in captured.err
    assert "Traceback" not in captured.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["empty", "text", "png"])
@pytest.mark.parametrize("command", ["analyze", "inspect"])
def test_what_is_no_ct_is_refused(
    kind: str, command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "input"
    folder.mkdir()
    if kind == "text":
        (folder / "slice.dcm").write_text("this is no DICOM")
    if kind == "png":
        Image.new("L", (8, 8)).save(folder / "picture.png")
    out = ["--out", str(tmp_path / "case")] if command == "analyze" else []
    assert main([command, str(folder), *out]) == 3
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "error:" in captured.err
    assert not (tmp_path / "case").exists()


def test_a_path_that_does_not_exist_is_wrong_use(tmp_path: Path) -> None:
    assert main(["inspect", str(tmp_path / "none")]) == 2


def test_a_failure_inside_shows_no_traceback_unless_asked(
    inputs: Inputs,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("secret of the header")

    monkeypatch.setattr("cemscope_pipelines.analysis.analyse_case", fail)
    arguments = [*inputs.arguments, "--out", str(tmp_path / "case")]
    assert main(arguments) == 4
    plain = capsys.readouterr().err
    assert "internal error (ZeroDivisionError)" in plain
    assert "secret" not in plain
    assert "Traceback" not in plain
    assert main([*arguments, "-vv"]) == 4
    assert "Traceback" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_is_130_and_leaves_nothing(
    inputs: Inputs,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cemscope_pipelines.analysis.write_label_map", interrupt)
    assert main([*inputs.arguments, "--out", str(tmp_path / "case")]) == 130
    assert "interrupted" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM to catch")
def test_a_polite_kill_cleans_up(tmp_path: Path) -> None:
    script = (
        "import sys, time, pathlib; from cemscope_pipelines.cli import main as m;"
        "from cemscope_pipelines.cli.main import cemscope;"
        "from cemscope_pipelines.case_folder import written_whole\n"
        "def slow(**_):\n"
        "    with written_whole(pathlib.Path(sys.argv[1])):\n"
        "        print('writing', flush=True); time.sleep(60)\n"
        "cemscope.main = slow; sys.exit(m([]))"
    )
    process = subprocess.Popen(  # noqa: S603 -- our own command
        [sys.executable, "-c", script, str(tmp_path / "case")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    assert any(tmp_path.iterdir()), "the temporary folder stands beside the target"
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 130
    assert list(tmp_path.iterdir()) == []


def test_inspect_lists_the_series(
    inputs: Inputs, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(inputs.series)]) == 0
    captured = capsys.readouterr()
    assert f"* {CANARY.series_instance_uid}" in captured.out
    assert "68 x 76 x 65 voxels of 2.000 x 2.000 x 2.000 mm" in captured.out
    assert not [s for s in SECRETS if s in captured.out + captured.err]


def test_inspect_as_json(inputs: Inputs, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(inputs.series), "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["chosen"] == CANARY.series_instance_uid
    assert data["refusal"] is None
    (series,) = data["series"]
    assert series["measurable"]
    assert series["spacing_mm"] == [2.0, 2.0, 2.0]


def test_inspect_says_why_nothing_would_be_taken(
    inputs: Inputs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "gap"
    folder.mkdir()
    for number, path in enumerate(sorted(inputs.series.iterdir())):
        if number not in (20, 21):
            (folder / path.name).write_bytes(path.read_bytes())
    assert main(["inspect", str(folder), "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["chosen"] is None
    assert "mm" in data["refusal"]
    assert data["series"][0]["findings"]
    assert main(["analyze", str(folder), "--out", str(tmp_path / "case")]) == 3


@pytest.mark.parametrize("command", ["analyze", "inspect", "demo"])
def test_every_command_has_help_with_examples(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "--help"]) == 0
    text = capsys.readouterr().out
    assert "Examples:" in text
    assert f"cemscope {command}" in text
    for option in ("--verbose", "--quiet", "--json"):
        assert option in text


def test_help_needs_no_heavy_library() -> None:
    script = (
        "import sys; from cemscope_pipelines.cli import main; main(['--help']);"
        "heavy = {'numpy', 'scipy', 'matplotlib', 'pydicom', 'SimpleITK', 'pydantic'};"
        "sys.exit(','.join(sorted(heavy & set(sys.modules))) or 0)"
    )
    run = subprocess.run(  # noqa: S603 -- our own command
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert "analyze" in run.stdout


def test_the_installed_command_is_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("cemscope ")


def test_an_unknown_command_is_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["analyse"]) == 2
    assert "analyse" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name", ["pydicom", "pydicom.valuerep", "py.warnings", "highdicom.sr"]
)
def test_libraries_that_quote_headers_are_not_repeated(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with logging_to_stderr(verbosity=2, quiet=False):
        logging.getLogger(name).warning("Invalid value for VR DA: %s", "Canary")
        logging.getLogger("cemscope.dicom").warning("kept")
    text = capsys.readouterr().err
    assert "Canary" not in text
    assert "withheld" in text
    assert "kept" in text


def test_quiet_keeps_errors_only(capsys: pytest.CaptureFixture[str]) -> None:
    handlers = list(logging.getLogger().handlers)
    with logging_to_stderr(verbosity=0, quiet=True):
        logging.getLogger("cemscope").warning("hidden")
        logging.getLogger("cemscope").error("shown")
    assert logging.getLogger().handlers == handlers, "nothing is left behind"
    text = capsys.readouterr().err
    assert "hidden" not in text
    assert "shown" in text


@pytest.mark.real_data
def test_a_tilted_irregular_series_is_refused_with_its_numbers(
    cemscope_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    series = cemscope_data / "real-ge-tilt-irregular"
    assert main(["analyze", str(series), "--out", str(tmp_path / "case")]) == 3
    message = capsys.readouterr().err
    for number in ("18.5 degrees", "1.14 mm", "4.22 mm", "7.38 mm"):
        assert number in message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.real_data
def test_inspect_tells_the_series_of_a_folder_apart(
    cemscope_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(cemscope_data), "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    by_slices = {series["slices"]: series for series in data["series"]}
    # The folder holds scans of two patients: nothing is taken unasked.
    assert not any(series["chosen"] for series in data["series"])
    assert by_slices[112]["measurable"]
    assert by_slices[20]["measurable"]
    assert {f["code"] for f in by_slices[28]["findings"]} >= {"gantry_tilt"}
