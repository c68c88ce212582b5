"""The overview of a batch: one page, one row per case, that needs nothing else."""

import base64
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from cemscope_pipelines.batch.ledger_case import Unsuitable
from cemscope_pipelines.batch.request import CASES_FOLDER
from cemscope_pipelines.batch.rows import SEPARATOR, CaseRow
from cemscope_pipelines.case_folder import HTML_FILE

OVERVIEW_FILE = "batch.html"


@dataclass(frozen=True, slots=True)
class OverviewCase:
    """A row of ``cases.csv`` and the key of its thumbnail."""

    row: CaseRow
    key: str


@dataclass(frozen=True, slots=True)
class OverviewRow:
    """A row as it is shown."""

    row: CaseRow
    thumbnail: str
    link: str
    warnings: tuple[str, ...]


def _ml(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"  # noqa: RUF001 - a dash is meant


def _count(value: int | None) -> str:
    return "–" if value is None else str(value)  # noqa: RUF001 - a dash is meant


def _date(text: str) -> str:
    return f"{text[:4]}-{text[4:6]}-{text[6:]}" if len(text) == 8 else text


def _shown(
    cases: Sequence[OverviewCase], thumbnail: Callable[[str], bytes]
) -> Iterator[OverviewRow]:
    for case in cases:
        picture = thumbnail(case.key) if case.row.status == "done" else b""
        text = base64.b64encode(picture).decode("ascii")
        warnings = case.row.warnings
        yield OverviewRow(
            row=case.row,
            thumbnail=f"data:image/jpeg;base64,{text}" if text else "",
            link=f"{CASES_FOLDER}/{case.row.case}/{HTML_FILE}",
            warnings=tuple(warnings.split(SEPARATOR)) if warnings else (),
        )


def _reasons(cases: Sequence[OverviewCase]) -> list[tuple[str, str, int]]:
    """Status and code of the failures, with how many there are of each."""
    counts: dict[tuple[str, str], int] = {}
    for case in cases:
        row = case.row
        if row.status not in ("done", "waiting"):
            key = (row.status, row.reason_code)
            counts[key] = counts.get(key, 0) + 1
    found = [(status, code, n) for (status, code), n in counts.items()]
    return sorted(found, key=lambda f: (-f[2], f[0], f[1]))


def write_overview(
    out: Path,
    cases: Sequence[OverviewCase],
    unsuitable: Sequence[Unsuitable],
    thumbnail: Callable[[str], bytes],
) -> None:
    """Write ``batch.html``.

    Parameters
    ----------
    out
        Output folder of the batch.
    cases
        All cases.
    unsuitable
        Series that are no cases.
    thumbnail
        JPEG of a case by its key; b"" where there is none.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("cemscope_pipelines"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"ml": _ml, "count_or_dash": _count, "date": _date}
    done = [c.row for c in cases if c.row.status == "done"]
    stream = environment.get_template("batch.html.j2").stream(
        rows=_shown(cases, thumbnail),
        cases=len(cases),
        done=len(done),
        waiting=sum(c.row.status == "waiting" for c in cases),
        reasons=_reasons(cases),
        with_leaks=sum(bool(row.leaks) for row in done),
        loose=sum(row.screws_loose or 0 for row in done),
        lucency_open=sum(row.screws_lucency_not_assessed or 0 for row in done),
        screws=sum(row.screws or 0 for row in done),
        total_open=sum(bool(row.cement_not_assessed) for row in done),
        unsuitable=unsuitable,
        version=done[0].software_version if done else "",
    )
    stream.enable_buffering(50)
    target = out / OVERVIEW_FILE
    part = target.with_name(f".{target.name}.part")
    with part.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(stream)
    part.replace(target)
