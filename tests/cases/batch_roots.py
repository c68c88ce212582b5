"""Folders of tiny series for batches of fake cases."""

import zlib
from dataclasses import dataclass
from pathlib import Path

from cases.fake_cases import (
    BEHAVIOUR_FILE,
    COMPARED_FILE,
    REPORT_SOURCE,
    RUNS_FILE,
)
from cases.reports import LevelCase, ReportCase, made_report
from cases.series import BROKEN_SERIES, datasets, phantom_ct, save
from cemscope.testing.dicom_writer import SeriesIdentity

TINY = (6, 4, 5)

LEVELS = (
    LevelCase("L5", 2.0, screws=(("left", 1.0), ("right", 1.0))),
    LevelCase("L4", 3.1, ((("B",), ("epidural",), 0.1),)),
    LevelCase("L3", None),
)


@dataclass(frozen=True, slots=True)
class FakeSeries:
    """A series and what becomes of its case; ``broken`` names a `BrokenSeries`.

    ``compared`` is what becomes of its comparison with an earlier scan; for one, the
    reports need the UIDs of their scans, ``own_uid``.
    """

    name: str
    behaviour: str = "ok"
    broken: str = ""
    patient: str = "PAT"
    date: str = "20250301"
    compared: str = "ok"
    own_uid: bool = False
    levels: tuple[LevelCase, ...] = LEVELS


TWELVE = (
    *(FakeSeries(f"good{i}", patient=f"PAT{i}") for i in range(6)),
    FakeSeries("good6", "kill_after"),  # dies after its folder is whole
    FakeSeries("truncated", broken="pixels_cut_short"),
    FakeSeries("irregular", broken="missing_slices"),
    FakeSeries("killed", "kill"),
    FakeSeries("hung", "hang"),
    FakeSeries("greedy", "eat"),
)
"""Seven that give a result, and one of each kind that does not."""


def write_fake_series(series: FakeSeries, root: Path) -> Path:
    folder = root / series.name
    if series.broken:
        slices = next(b for b in BROKEN_SERIES if b.name == series.broken).slices()
        for number, dataset in enumerate(slices):
            dataset.SeriesInstanceUID = f"1.2.3.{zlib.crc32(series.name.encode())}"
            dataset.SOPInstanceUID = f"{dataset.SeriesInstanceUID}.{number}"
    else:
        slices = datasets(
            phantom_ct(TINY, (4.0, 0.8, 0.7)),
            SeriesIdentity(
                patient_id=series.patient,
                study_date=series.date,
                study_key=series.name,
                series_key=series.name,
            ),
        )
    save(slices, folder)
    (folder / BEHAVIOUR_FILE).write_text(series.behaviour)
    uid = str(slices[0].SeriesInstanceUID) if series.own_uid else "1.2.3.4"
    report = made_report(ReportCase("1.2.3", uid, series.levels, series.date))
    (folder / COMPARED_FILE).write_text(series.compared)
    (folder / REPORT_SOURCE).write_text(report.to_json())
    return folder


def runs_of(folder: Path) -> tuple[list[int], int]:
    """Processes that were started for a series, and how many came to their end."""
    path = folder / RUNS_FILE
    lines = path.read_text().split() if path.exists() else []
    return [int(x) for x in lines if x != "finished"], lines.count("finished")
