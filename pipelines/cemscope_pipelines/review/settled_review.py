"""Bring a review on the disk to rest, e.g. after a crash, before it is signed."""

from pathlib import Path

from cemscope_pipelines.review.review_document import ReviewDocument, read_review
from cemscope_pipelines.review.review_journal import Journal
from cemscope_pipelines.review.review_session import ReviewSession


def settle_review(case_folder: Path) -> ReviewDocument | None:
    """Write corrected maps that stand in the journal only, e.g. after a crash.

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
    return session.document() if session.maps_current else session.save()
