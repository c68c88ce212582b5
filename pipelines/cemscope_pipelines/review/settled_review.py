"""Bring a review on the disk to rest, e.g. after a crash, before it is signed."""

from pathlib import Path

from cemscope_pipelines.review.review_document import ReviewDocument, read_review
from cemscope_pipelines.review.review_journal import JOURNAL_FILE, Journal
from cemscope_pipelines.review.review_session import ReviewSession


def settle_review(case_folder: Path) -> ReviewDocument | None:
    """Write what stands in the journal only, e.g. after a crash.

    Corrected maps, and a ``review.json`` that lags behind the journal.

    Needs no scan and no screen.

    Returns
    -------
    ReviewDocument or None
        None where the case was not reviewed.

    Raises
    ------
    ReviewError
        As `ReviewSession`.
    """
    if Journal.open(case_folder).head is None and read_review(case_folder) is None:
        return None
    session = ReviewSession(case_folder)
    session.settle()
    return session.document()


def is_settled(case_folder: Path) -> bool:
    """Tell whether ``review.json`` shows the whole journal, without reading the maps.

    Raises
    ------
    ReviewError
        If ``review.json`` is damaged.
    """
    review = read_review(case_folder)
    journal = case_folder / JOURNAL_FILE
    size = journal.stat().st_size if journal.is_file() else 0
    if review is None:
        return size == 0
    return review.maps_current and review.journal_bytes == size
