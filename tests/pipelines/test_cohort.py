"""The tables of a made-up study of 30 patients against tables computed by hand."""

import csv
import html.parser
import json
import math
import re
import statistics
from dataclasses import dataclass, field
from pathlib import Path

import docx
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from cases.study30 import CANNULATED, ORDINARY, PLASTY, write_study
from cemscope.errors import ConfigError
from cemscope_pipelines.cli import main
from cemscope_pipelines.cohort.clinical_file import read_clinical
from cemscope_pipelines.cohort.comparison import (
    between_groups,
    paired_t,
    signed_rank,
)
from cemscope_pipelines.cohort.published import read_published
from cemscope_pipelines.cohort.study import level_order, read_study
from cemscope_pipelines.cohort.summary import (
    Rounding,
    Summary,
    impossible,
    largest_sd,
    proportion,
    summarise,
)

Row = dict[str, str]


@dataclass
class Made:
    """The output of ``cemscope cohort`` on the made-up study."""

    folder: Path
    rows: list[dict[str, str]]

    def find(self, table: str, group: str, measure: str, subset: str = "") -> Row:
        found = [
            r
            for r in self.rows
            if (r["table"], r["group"], r["measure"], r["subset"])
            == (table, group, measure, subset)
        ]
        assert len(found) == 1, (table, group, measure, subset, len(found))
        return found[0]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("study")
    clinical = write_study(folder)
    command = ["cohort", str(folder), "--clinical", str(clinical), "--quiet"]
    assert main(command) == 0
    with (folder / "cohort.csv").open(newline="") as stream:
        return Made(folder, list(csv.DictReader(stream)))


# Cannulated: 4 x (1.0 + 0.1 i) mL, i = 0 ... 7, the sample variance of 0 ... 7 is 6.
# Ordinary: two patients have a level that was not assessed, so no sum; of the others
# 3.0 and 3.5 mL three times, 4.0 four times: mean 3.55, sum of squares 1.725, over 9.
# Vertebroplasty: 2.0 + 0.2 i mL, i = 0 ... 9, the sample variance of 0 ... 9 is 55 / 6.
BY_HAND = (
    ("cement per patient", CANNULATED, 8, 5.4, 0.4 * math.sqrt(6), 4.0, 6.8, 5.4),
    ("cement per patient", ORDINARY, 10, 3.55, math.sqrt(1.725 / 9), 3.0, 4.0, 3.5),
    ("cement per patient", PLASTY, 10, 2.9, 0.2 * math.sqrt(55 / 6), 2.0, 3.8, 2.9),
    (
        "cement per vertebra with cement", CANNULATED, 16, 2.7,
        0.2 * math.sqrt(84 / 15), 2.0, 3.4, 2.7,
    ),
    (
        "cement per cemented screw", ORDINARY, 24, 1.75,
        math.sqrt(16 * 0.0625 / 23), 1.5, 2.0, 1.75,
    ),
)  # fmt: skip


@pytest.mark.parametrize(
    ("measure", "group", "n", "mean", "sd", "low", "high", "median"), BY_HAND
)
def test_volumes_are_those_computed_by_hand(
    made: Made,
    measure: str,
    group: str,
    n: int,
    mean: float,
    sd: float,
    low: float,
    high: float,
    median: float,
) -> None:
    row = made.find("B", group, measure)
    assert row["unit"] == "mL"
    assert int(row["n"]) == n
    found = [float(row[k]) for k in ("mean", "sd", "minimum", "maximum", "median")]
    assert found == pytest.approx([mean, sd, low, high, median], abs=1e-9)


def test_quartiles_by_hand(made: Made) -> None:
    row = made.find("B", PLASTY, "cement per patient")  # 2.0, 2.2 ... 3.8
    assert float(row["q1"]) == pytest.approx(2.45)
    assert float(row["q3"]) == pytest.approx(3.35)


LEAKS = (
    ("leak per patient with cement", "any leak", "all", 5, 28),
    ("leak per patient with cement", "any leak", CANNULATED, 2, 8),
    ("leak per patient with cement", "any leak", ORDINARY, 1, 10),
    ("leak per level with cement", "any leak", "all", 5, 38),
    ("leak per level with cement", "any leak", CANNULATED, 2, 16),
    ("leak per patient with cement", "type S, segmental vein", "all", 2, 28),
    ("leak per patient with cement", "type C, cortical defect", ORDINARY, 1, 10),
    ("leak per level with cement", "type D, into a disc", PLASTY, 1, 10),
    ("leak per patient with cement", "place: spinal canal (epidural)", "all", 1, 28),
    ("leak per level with cement", "place: paravertebral", "all", 2, 38),
)


@pytest.mark.parametrize(("measure", "subset", "group", "count", "n"), LEAKS)
def test_leaks_are_those_counted_by_hand(
    made: Made, measure: str, subset: str, group: str, count: int, n: int
) -> None:
    row = made.find("C", group, measure, subset)
    assert (int(row["count"]), int(row["n"])) == (count, n)
    wilson = stats.binomtest(count, n).proportion_ci(method="wilson")
    found = [float(row[k]) for k in ("percent", "low_percent", "high_percent")]
    assert found == pytest.approx(
        [100 * count / n, 100 * wilson.low, 100 * wilson.high]
    )


def test_what_was_not_assessed_is_counted_and_never_zero(made: Made) -> None:
    row = made.find("B", ORDINARY, "cement per vertebra with cement")
    assert (row["n"], row["not_assessed"]) == ("12", "2")
    row = made.find("D", CANNULATED, "loosened, per screw")
    assert (row["n"], row["not_assessed"], row["percent"]) == ("0", "32", "")
    row = made.find("D", "all", "loosened, per screw")
    assert (row["count"], row["n"], row["not_assessed"]) == ("1", "24", "32")
    row = made.find("D", ORDINARY, "loosened, per patient with screws")
    assert (row["count"], row["n"]) == ("1", "12")
    page = (made.folder / "cohort.html").read_text(encoding="utf-8")
    assert "not assessed (32)" in page
    row = made.find("3", "all", "Pain (VAS), after")  # three patients without a value
    assert (row["n"], row["not_assessed"], row["mean"]) == ("27", "3", "3.0")


def test_levels(made: Made) -> None:
    row = made.find("E", "all", "cement per vertebra with cement", "L4")
    assert (row["n"], row["not_assessed"]) == ("8", "2")
    row = made.find("E", "all", "level with a leak", "T12")
    assert (row["count"], row["n"]) == ("2", "10")
    row = made.find("E", "all", "cement per vertebra with cement", "lumbar")
    assert row["n"] == "28"
    assert made.find("F", "all", "S", "L3")["count"] == "1"
    assert made.find("F", "all", "disc above", "T12")["count"] == "1"


def test_clinical_tables(made: Made) -> None:
    row = made.find("1", CANNULATED, "hospital stay")  # 5, 6, 5, 6 ...
    assert float(row["mean"]) == 5.5
    assert float(row["sd"]) == pytest.approx(statistics.stdev([5, 6] * 4))
    row = made.find("1", "all", "women")
    assert (row["count"], row["n"]) == ("15", "30")
    tests = {
        r["test"]: r
        for r in made.rows
        if r["table"] == "2" and r["group"] == PLASTY and r["kind"] == "paired"
    }
    change = [30.0 - (70 + i) for i in range(10)]
    mean, sd = statistics.mean(change), statistics.stdev(change)
    t = tests["paired t test"]
    assert float(t["change"]) == pytest.approx(mean)
    assert float(t["statistic"]) == pytest.approx(mean / (sd / math.sqrt(10)))
    assert float(t["effect"]) == pytest.approx(mean / sd)
    half = 2.2621571627 * sd / math.sqrt(10)  # t table, 9 degrees of freedom
    assert float(t["change_low"]) == pytest.approx(mean - half)
    rank = tests["Wilcoxon signed-rank test"]
    assert float(rank["p_value"]) == pytest.approx(2 / 2**10)  # all ten fall
    assert float(rank["effect"]) == -1.0
    assert not [r for r in made.rows if r["table"] == "4" and "t test" in r["test"]]
    row = made.find("5", CANNULATED, "patients with", "fever")
    assert (row["count"], row["n"]) == ("1", "8")


@dataclass
class Cells(html.parser.HTMLParser):
    """Cells of a page: file and id of the row, text."""

    cells: list[tuple[str, str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self._open = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "td":
            told = dict(attrs)
            self._open = True
            self.cells.append(
                (told.get("data-file") or "", told.get("data-row") or "", "")
            )

    def handle_endtag(self, tag: str) -> None:
        if tag == "td":
            self._open = False

    def handle_data(self, data: str) -> None:
        if self._open:
            file, row, text = self.cells[-1]
            self.cells[-1] = (file, row, text + data)


def test_every_number_of_the_page_traces_to_the_csv(made: Made) -> None:
    page = Cells()
    page.feed((made.folder / "cohort.html").read_text(encoding="utf-8"))
    by_id = {r["row"]: r for r in made.rows}
    assert len(by_id) == len(made.rows)
    numbers = 0
    for file, row_id, text in page.cells:
        assert file == ("cohort.csv" if row_id else "")
        if not row_id:
            # Words; a digit in them belongs to a name such as L4.
            text = text.replace("[95 % CI]", "")
            assert not re.search(r"(?<![A-Z\d])\d", text), text
            continue
        row = by_id[row_id]
        values = [float(v) for v in row.values() if re.fullmatch(r"-?[\d.e-]+", v)]
        shown = text
        for name in (row["test"], row["effect_name"], row["note"]):
            shown = shown.replace(name, "") if name else shown
        for word in re.findall(r"-?\d+(?:\.\d+)?", shown):
            numbers += 1
            digits = len(word.partition(".")[2])
            if "< 0.001" in shown:
                assert any(0 <= v < 0.001 for v in values), (row_id, text)
                continue
            assert any(f"{v:.{digits}f}" == word for v in values), (row_id, text, row)
    assert numbers > 700


def test_parquet_word_and_patients_say_the_same(made: Made) -> None:
    table = pq.read_table(made.folder / "cohort.parquet").to_pylist()
    assert [r["row"] for r in table] == [r["row"] for r in made.rows]
    for ours, theirs in zip(table, made.rows, strict=True):
        if ours["mean"] is not None:
            assert ours["mean"] == float(theirs["mean"])
    patients = pq.read_table(made.folder / "cohort_patients.parquet").to_pylist()
    assert len(patients) == 30
    volumes = [p["cement_ml"] for p in patients if p["cement_ml"] is not None]
    assert len(volumes) == 28
    mean = statistics.mean(volumes)
    assert mean == pytest.approx(
        float(made.find("B", "all", "cement per patient")["mean"])
    )
    document = docx.Document(str(made.folder / "cohort.docx"))
    texts = [c.text for t in document.tables for row in t.rows for c in row.cells]
    assert "5.40 ± 0.98" in texts
    assert len(document.inline_shapes) == 2
    for name in ("cohort_leak_map", "cohort_volume_by_level"):
        assert (made.folder / f"{name}.png").stat().st_size > 10_000


def test_without_a_clinical_file_the_scan_tells_the_groups(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_study(tmp_path)
    assert main(["cohort", str(tmp_path), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    groups = {r["group"]: r["count"] for r in rows if r["measure"] == "patients"}
    assert groups == {"all": 30, "screws with cement": 20, "cement without screws": 10}
    template = tmp_path / "template.csv"
    assert main(["cohort", str(tmp_path), "--template", str(template)]) == 0
    assert len(template.read_text().splitlines()) == 31
    assert main(["cohort", str(tmp_path), "--template", str(template)]) == 2


BAD_CLINICAL = (
    ("patient_key,procedure,vas_before\nP-1,x,12\n", "line 2, column vas_before"),
    ("patient_key,procedure,vas_before\nP-1,x,nan\n", "line 2, column vas_before"),
    ("patient_key,procedure,vas\nP-1,x,2\n", "unknown column 'vas'"),
    ("patient_key,procedure\nP-1,x\nP-1,y\n", "line 3: the patient stands"),
    ("patient_key,procedure\n,x\n", "line 2: expected a patient_key or"),
    ("patient_id,procedure\n4711,x\n", "cemscope batch only"),
    ("procedure\nx\n", "expected the columns"),
    ("patient_key,procedure\n", "found none"),
)


@pytest.mark.parametrize(("text", "words"), BAD_CLINICAL)
def test_a_clinical_file_that_cannot_be_right_is_refused(
    tmp_path: Path, text: str, words: str
) -> None:
    path = tmp_path / "clinical.csv"
    path.write_text(text)
    with pytest.raises(ConfigError, match=re.escape(words)):
        read_clinical(path, None)


def test_semicolons_and_decimal_commas(tmp_path: Path) -> None:
    path = tmp_path / "clinical.csv"
    path.write_text(
        "patient_id;procedure;vas_before\nab 1;x;7,5\n", encoding="utf-8-sig"
    )
    (patient,) = read_clinical(path, b"salt")
    assert patient.values == {"vas_before": 7.5}
    assert patient.key.startswith("P-")
    assert "ab" not in patient.key


PRINTED = Rounding(0.006, 0.006, 0.006, 0.006)

IMPOSSIBLE = (
    (Summary(30, 0, 5.0, 6.0, 0.0, 10.0), None, "SD 6 is impossible"),
    (Summary(12, 0, 7.9, 3.0, 7.0, 9.0), None, "SD 3 is impossible"),
    (Summary(30, 0, 9.5, 4.0), (0.0, 10.0), "SD 4 is impossible"),
    (Summary(30, 0, 11.0, 1.0, 0.0, 10.0), None, "mean 11 lies outside"),
    (Summary(30, 0, 5.0, 1.0, 6.0, 4.0), None, "smaller than the minimum"),
    (Summary(30, 0, 5.0, 1.0, -1.0, 10.0), (0.0, 10.0), "below the scale"),
)


@pytest.mark.parametrize(("summary", "scale", "words"), IMPOSSIBLE)
def test_impossible_summaries_are_told(
    summary: Summary, scale: tuple[float, float] | None, words: str
) -> None:
    assert words in impossible(summary, scale, PRINTED)


PAPER = "measure,group,unit,n,mean,sd,minimum,maximum,scale_low,scale_high\n"

POSSIBLE = (
    "cement,all,mL,30,6.27,2.48,2,10,,",
    "pain,all,,30,5,5,0,10,,",  # rounded from 5.085 at most
    "pain,all,,30,5,,0,10,,",
    "stay,all,days,1,5,,5,5,,",
    "pain,all,,30,2.3,1.1,,,0,10",
)


@pytest.mark.parametrize("line", POSSIBLE)
def test_possible_summaries_are_taken(tmp_path: Path, line: str) -> None:
    path = tmp_path / "paper.csv"
    path.write_text(PAPER + line + "\n")
    (one,) = read_published(path)
    assert one.summary.mean == float(line.split(",")[4])
    path.write_text((PAPER + line).replace(",", ";").replace(".", ","))
    assert read_published(path) == (one,)


BAD_PAPER = (
    ("cement,all,mL,30,6.27,5.2,2,10,,", "line 2 (cement, all): the SD 5.2 is imposs"),
    ("pain,all,,12,5,6,0,10,,", "SD 6 is impossible"),
    ("pain,all,,30,9.5,4.0,,,0,10", "SD 4 is impossible"),
    ("cement,all,mL,,6.27,2.48,2,10,,", "line 2 (cement, all): n is empty"),
    ("cement,all,mL,30.5,6.27,2.48,2,10,,", "whole number from 1 up"),
    ("cement,all,mL,0,6.27,2.48,2,10,,", "whole number from 1 up"),
    ("cement,all,mL,1,6.27,2.48,2,10,,", "an SD needs two values"),
    ("cement,all,mL,30,nan,2.48,2,10,,", "column mean: expected a number"),
    ("cement,all,mL,30,6.27,-1,2,10,,", "SD -1 is negative"),
    ("cement,all,mL,30,,,10,2,,", "smaller than the minimum"),
    ("pain,all,,30,5,1,,,0,", "both ends of the scale"),
    ("pain,all,,30,5,1,0,12,0,10", "above the scale"),
    ("pain,all,,30,12,1,0,,0,10", "lies outside"),
    ("", "expected one line per summary"),
)


@pytest.mark.parametrize(("line", "words"), BAD_PAPER)
def test_impossible_published_summaries_are_refused(
    tmp_path: Path, line: str, words: str
) -> None:
    path = tmp_path / "paper.csv"
    path.write_text(PAPER + line + "\n")
    with pytest.raises(ConfigError, match=re.escape(words)):
        read_published(path)


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=40))
def test_a_summary_of_real_numbers_is_always_possible(values: list[float]) -> None:
    found = summarise(values)
    assert found.mean is not None
    assert found.sd is not None
    assert found.sd == pytest.approx(statistics.stdev(values), abs=1e-6)
    assert impossible(found, rounding=Rounding(1e-6, 1e-6, 1e-6, 1e-6)) == ""
    rounded = Summary(
        found.n, 0, round(found.mean, 2), round(found.sd, 2),
        round(min(values), 2), round(max(values), 2),
    )  # fmt: skip
    assert impossible(rounded, rounding=PRINTED) == ""


@pytest.mark.parametrize("low", range(1, 20))
def test_the_largest_sd_is_reached(low: int) -> None:
    values = [0.0] * low + [10.0] * (20 - low)
    most = largest_sd(20, statistics.mean(values), 0.0, 10.0)
    assert statistics.stdev(values) == pytest.approx(most)


@given(st.integers(0, 60), st.integers(1, 60))
def test_wilson_intervals_agree_with_scipy(count: int, extra: int) -> None:
    n = count + extra
    ours = proportion(count, n)
    theirs = stats.binomtest(count, n).proportion_ci(method="wilson")
    assert ours.low_percent == pytest.approx(100 * theirs.low, abs=1e-9)
    assert ours.high_percent == pytest.approx(100 * theirs.high, abs=1e-9)


def test_tests_that_cannot_be_done_say_why() -> None:
    assert paired_t([1.0], [2.0]).note == "fewer than two pairs"
    assert paired_t([1.0, 2.0], [2.0, 3.0]).p_value is None
    assert signed_rank([1.0, 2.0], [1.0, 2.0]).note == "no pair changes"
    assert between_groups([[1.0], []]).note
    assert between_groups([[1.0], [1.0]]).note == "all values are equal"
    assert signed_rank([5, 5, 5, 5], [5, 4, 3, 2]).note == "1 pairs without a change"


def test_levels_stand_in_their_order() -> None:
    mixed = ["V2", "L6", "S1", "T13", "L1", "C7", "T1", "T12", "V10"]
    ordered = ["C7", "T1", "T12", "T13", "L1", "L6", "S1", "V10", "V2"]
    assert level_order(mixed) == ordered


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="found no case with a result"):
        read_study(tmp_path)
