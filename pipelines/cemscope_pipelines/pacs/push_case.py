"""Sends the objects of a case: only what the archive lacks, and checks that it came."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cemscope.dicom.pacs.archive import Archive, StoredObject, stored_object
from cemscope.errors import PacsError
from cemscope_pipelines.export.case_objects import ObjectChoice
from cemscope_pipelines.export.case_record import ContentState
from cemscope_pipelines.export.export_case import ExportJob, export_case
from cemscope_pipelines.report_builder import software_version
from cemscope_pipelines.signing.audit_trail import append_entry


@dataclass(frozen=True, slots=True)
class PushResult:
    """What was sent.

    Attributes
    ----------
    state : ContentState
        Whether a reader answers for it.
    sent, present : tuple of str
        SOP instance UIDs that were sent now, and that lay there before.
    study_uid : str
        Study they belong to.
    """

    state: ContentState
    sent: tuple[str, ...]
    present: tuple[str, ...]
    study_uid: str


def push_case(
    case_folder: Path,
    archive: Archive,
    series: Path | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> PushResult:
    """Send the objects of a case.

    A signed case sends what was signed with the machine's report; an unsigned one
    sends drafts. Objects that the archive holds are not sent again, so that a push
    that broke off is completed by the next one.

    Parameters
    ----------
    series
        Where the CT series lies, for unsigned cases.
    progress
        Told the number of objects done and of all.

    Raises
    ------
    PacsError
        If the archive cannot be reached, refuses an object, or does not list it
        afterwards; the message says how many are there.
    """
    with tempfile.TemporaryDirectory(prefix="cemscope-push-") as folder:
        target = Path(folder) / "objects"
        choice = ObjectChoice(pdf=True, pictures=True, key_objects=True)
        job = ExportJob(case_folder, target, series, choice=choice, recorded=False)
        exported = export_case(job)
        objects = tuple(stored_object(path) for path in sorted(target.glob("*.dcm")))
        push = _RecordedPush(case_folder, exported.state, archive)
        push.started(objects)
        sent, present = push.send(objects, progress)
    return PushResult(exported.state, sent, present, objects[0].study_uid)


class _RecordedPush:
    """A push that stands in the audit trail, however it ends.

    The first line is written before the first object leaves, so that a push that was
    killed is told, too.
    """

    def __init__(
        self, case_folder: Path, state: ContentState, archive: Archive
    ) -> None:
        self._case_folder = case_folder
        self._facts = {"state": state.value, "archive": archive.place}
        self._archive = archive

    def started(self, objects: Sequence[StoredObject]) -> None:
        uids = [one.instance_uid for one in objects]
        self._record("push_started", {"objects": uids})

    def send(
        self, objects: Sequence[StoredObject], progress: Callable[[int, int], None]
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        taken: list[str] = []
        try:
            sent, present = send_missing(
                objects, self._archive, progress, lambda o: taken.append(o.instance_uid)
            )
        except BaseException as error:
            # Interrupted, too: what left the house is told.
            told = str(error) if isinstance(error, PacsError) else type(error).__name__
            self._record("push_failed", {"sent": taken, "error": told})
            raise
        self._record("pushed", {"sent": list(sent), "present": list(present)})
        return sent, present

    def _record(self, event: str, facts: dict[str, Any]) -> None:
        details = {**self._facts, **facts}
        append_entry(self._case_folder, event, software_version(), details)


def send_missing(
    objects: Sequence[StoredObject],
    archive: Archive,
    progress: Callable[[int, int], None] = lambda done, total: None,
    taken: Callable[[StoredObject], None] = lambda one: None,
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Send what the archive lacks, and check that all of it came.

    Parameters
    ----------
    objects, archive
        What, and where to.
    progress
        Told the number of objects done and of all.
    taken
        Told each object that the archive took.

    Returns
    -------
    tuple
        UIDs that were sent, UIDs that lay there before.

    Raises
    ------
    PacsError
        If the archive cannot be reached, refuses an object, or does not list it.
    """
    before = _listed(objects, archive) or frozenset()
    missing = [one for one in objects if one.instance_uid not in before]
    present = tuple(o.instance_uid for o in objects if o.instance_uid in before)
    done = len(present)
    progress(done, len(objects))

    def stored(one: StoredObject) -> None:
        nonlocal done
        done += 1
        taken(one)
        progress(done, len(objects))

    try:
        archive.store(missing, stored)
    except PacsError as error:
        raise PacsError(
            f"{done} of {len(objects)} objects are in the archive, then: {error} "
            "Push again to complete: what is there is not sent twice."
        ) from error
    after = _listed(objects, archive)
    lost = [
        one for one in missing if after is not None and one.instance_uid not in after
    ]
    if lost:
        raise PacsError(
            f"the archive took {len(missing)} objects and does not list {len(lost)} of "
            f"them (first: {lost[0].path.name}): push again, or ask its administrator"
        )
    return tuple(one.instance_uid for one in missing), present


def _listed(objects: Sequence[StoredObject], archive: Archive) -> frozenset[str] | None:
    """Which instances of the objects' series the archive lists; None if it does not."""
    found: set[str] = set()
    for study in sorted({one.study_uid for one in objects}):
        series = sorted({o.series_uid for o in objects if o.study_uid == study})
        instances = archive.instances_of(study, series)
        if instances is None:
            return None
        found |= instances
    return frozenset(found)
