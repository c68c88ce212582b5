"""Jobs of a batch that end in a known way without measuring anything.

A text file beside the slices says what becomes of the case. The module is imported by
the processes of the cases, so it imports little.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from cemscope.errors import SegmentationError
from cemscope_pipelines.batch.case_job import CaseJob
from cemscope_pipelines.batch.isolated_call import Message, MessageKind, Report
from cemscope_pipelines.case_folder import written_whole

RUNNER = "cases.fake_cases:run"
BEHAVIOUR_FILE = "behaviour.txt"
COMPARED_FILE = "compared.txt"
"""What becomes of the comparison with an earlier scan."""
REPORT_SOURCE = "report_source.txt"
RUNS_FILE = "runs.txt"
"""One line per execution: the process, and "finished" when it came to its end."""


def _stage(report: Report, name: str) -> None:
    report(Message(MessageKind.STAGE, name))


def _eat_memory() -> None:
    eaten = []
    while True:
        eaten.append(bytearray(os.urandom(1024)) * (16 * 1024))
        time.sleep(0.005)


def _work(seconds: float) -> None:
    """Keep one processor busy."""
    end = time.process_time() + seconds
    while time.process_time() < end:
        sum(range(1000))


def _compared(text: str, baseline: Path) -> str:
    """Add to a report that every screw moved and its rim grew by 1.5 mm."""
    report = json.loads(text)
    first = json.loads((baseline / "report.json").read_text())["series"]
    report["followup"] = {
        "baseline_study_instance_uid": first["study_instance_uid"],
        "baseline_series_instance_uid": first["series_instance_uid"],
        "screws": [
            {
                "level": screw["level"],
                "side": screw["side"],
                "movement": {"status": "assessed", "moved": True},
                "growth_mm": 1.5,
                "integrity": {"status": "not_assessed", "reason": "hidden"},
            }
            for screw in report["screws"]
        ],
    }
    return json.dumps(report)


def run(payload: str, report: Report) -> str:
    job = CaseJob.model_validate_json(payload)
    series = Path(job.series_path)
    told = COMPARED_FILE if job.baseline_folder else BEHAVIOUR_FILE
    word, _, number = (series / told).read_text().strip().partition(" ")
    runs = series / RUNS_FILE
    with runs.open("a") as stream:
        stream.write(f"{os.getpid()}\n")
    _stage(report, "vertebrae")
    sys.stdout.write("words on stdout that are no message\n")
    if word == "hang":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        with runs.open("a") as stream:
            stream.write(f"{child.pid}\n")
        time.sleep(600)
    if word == "eat":
        _eat_memory()
    if word == "raise":
        raise SegmentationError("no vertebra looks like one")
    if word == "crash":
        raise KeyError("Canary^Wilhelmina")
    if word == "exit":
        os._exit(7)
    if word == "sleep":
        time.sleep(float(number))
    if word == "work":
        _work(float(number))
    _stage(report, "cement")
    with written_whole(Path(job.case_folder)) as part:
        source = series / REPORT_SOURCE
        text = source.read_text() if source.exists() else json.dumps({})
        if job.baseline_folder:
            text = _compared(text, Path(job.baseline_folder))
        (part / "report.json").write_text(text)
        if word == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
    with runs.open("a") as stream:
        stream.write("finished\n")
    if word == "kill_after":
        os.kill(os.getpid(), signal.SIGKILL)
    return ""
