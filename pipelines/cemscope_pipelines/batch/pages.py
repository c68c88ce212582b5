"""Write the tables and the overview of a batch; runs in a process of its own."""

import json
import logging
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from cemscope.errors import ExportError
from cemscope_pipelines.batch.batch_html import OverviewCase, write_overview
from cemscope_pipelines.batch.case_view import CaseView, read_case
from cemscope_pipelines.batch.comparisons import comparison_of, comparisons_by_series
from cemscope_pipelines.batch.isolated_call import Message, MessageKind, Report
from cemscope_pipelines.batch.ledger import LEDGER_FILE, Ledger
from cemscope_pipelines.batch.ledger_case import (
    UNREADABLE_REPORT,
    CaseStatus,
    LedgerCase,
)
from cemscope_pipelines.batch.request import CASES_FOLDER
from cemscope_pipelines.batch.rows import (
    CaseRow,
    LeakRow,
    ScrewRow,
    VertebraRow,
    case_row,
    leak_rows,
    screw_rows,
    vertebra_rows,
)
from cemscope_pipelines.batch.table_files import (
    DICTIONARY_FILE,
    DescribedTable,
    TableWriter,
    write_dictionary,
)

logger = logging.getLogger(__name__)

TABLES = (
    DescribedTable("cases", CaseRow),
    DescribedTable("vertebrae", VertebraRow),
    DescribedTable("leaks", LeakRow),
    DescribedTable("screws", ScrewRow),
)


def _viewed(
    entry: LedgerCase, cases_folder: Path
) -> tuple[LedgerCase, CaseView | None]:
    """Read the report of a case; one that cannot be read is shown as failed."""
    if entry.status is not CaseStatus.DONE:
        return entry, None
    try:
        return entry, read_case(cases_folder / entry.name)
    except ExportError as error:
        broken = replace(
            entry,
            status=CaseStatus.FAILED,
            reason=f"{error}. Remove the folder of the case to have it measured again",
            reason_code=UNREADABLE_REPORT,
        )
        return broken, None


def write_all(out: Path) -> dict[str, str]:
    """Write ``cases``, ``vertebrae``, ``leaks`` and ``screws`` and ``batch.html``.

    Parameters
    ----------
    out
        Output folder of a batch.

    Returns
    -------
    dict of str to str
        Why reports cannot be read, by the keys of their cases.
    """
    damaged: dict[str, str] = {}
    cases_folder = out / CASES_FOLDER
    compared = comparisons_by_series(out)
    rows: list[OverviewCase] = []
    with Ledger(out / LEDGER_FILE, read_only=True) as ledger:
        with ExitStack() as stack:
            cases, vertebrae, leaks, screws = (
                stack.enter_context(TableWriter(out, t.name, t.row_class))
                for t in TABLES
            )
            for case in ledger.cases():
                entry, view = _viewed(case, cases_folder)
                if entry.reason_code == UNREADABLE_REPORT:
                    damaged[entry.key] = entry.reason
                comparison = comparison_of(entry, compared)
                row = case_row(entry, view, comparison)
                cases.add([row])
                rows.append(OverviewCase(row, entry.key))
                if view is not None:
                    vertebrae.add(vertebra_rows(entry, view))
                    leaks.add(leak_rows(entry, view))
                    followup = None if comparison is None else comparison.followup
                    screws.add(screw_rows(entry, view, followup))
        write_dictionary(out / DICTIONARY_FILE, TABLES)
        write_overview(out, rows, tuple(ledger.unsuitable()), ledger.thumbnail)
    return damaged


def run(payload: str, report: Report) -> str:
    """Write the pages of the folder that ``payload`` names; tell what is damaged."""
    report(Message(MessageKind.STAGE, "tables"))
    return json.dumps(write_all(Path(payload)))
