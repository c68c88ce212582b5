"""Both scans must be of one patient, and in the right order."""

from datetime import datetime

from cemscope.dicom import SeriesSummary
from cemscope.dicom.patient_match import PatientMatch, compare_patients
from cemscope.errors import SeriesError
from cemscope.volume import Notice
from cemscope_pipelines.report_followup import PatientCheckEntry


def check_patient(
    baseline: SeriesSummary, followup: SeriesSummary, override: str | None
) -> PatientCheckEntry:
    """Refuse a scan of another patient, or the baseline itself.

    Parameters
    ----------
    baseline, followup
        Both series.
    override
        The user's reason to compare them nevertheless; it goes on the record.

    Raises
    ------
    SeriesError
        If the patients differ and no reason is given, or both are one series.
    """
    if baseline.series_instance_uid == followup.series_instance_uid:
        raise SeriesError(
            "the follow-up is the very series that the baseline case was made from: "
            "give the later scan"
        )
    found = compare_patients(baseline, followup)
    if found.match is PatientMatch.DIFFERENT:
        if override is None:
            raise SeriesError(
                f"the scans are of different patients ({found.reason} in their "
                "headers). If they are of one patient all the same, e.g. after a "
                "change of the ID, say why with --same-patient REASON: it is recorded"
            )
        return PatientCheckEntry(
            result="overridden",
            reason=f"{found.reason}; accepted by the user: {override}",
        )
    if found.match is PatientMatch.NOT_KNOWN:
        if override is not None:
            return PatientCheckEntry(
                result="overridden",
                reason=f"{found.reason}; accepted by the user: {override}",
            )
        return PatientCheckEntry(result="not_known", reason=found.reason)
    return PatientCheckEntry(result="same", reason=found.reason)


def patient_notices(check: PatientCheckEntry) -> tuple[Notice, ...]:
    """Tell what a reader must know of the check."""
    if check.result == "same":
        return ()
    if check.result == "overridden":
        return (
            Notice(
                "patient_overridden",
                f"The check that both scans are of one patient was overridden "
                f"({check.reason}).",
            ),
        )
    return (
        Notice(
            "patient_not_checked",
            f"Whether both scans are of one patient could not be checked "
            f"({check.reason}).",
        ),
    )


def days_between(baseline_date: str | None, followup_date: str | None) -> int | None:
    """Days from the first scan to the second; None where a date is missing."""
    try:
        first, second = (
            datetime.strptime(date or "", "%Y%m%d").date()  # noqa: DTZ007 - dates only
            for date in (baseline_date, followup_date)
        )
    except ValueError:
        return None
    return (second - first).days


def order_notices(days: int | None) -> tuple[Notice, ...]:
    """Tell where the scans come in the wrong order."""
    if days is None or days > 0:
        return ()
    when = "on the same day as" if days == 0 else f"{-days} days before"
    return (
        Notice(
            "followup_not_later",
            f"This scan was made {when} the baseline: what is called growth or loss "
            "here may be the reverse.",
        ),
    )
