"""What a follow-up's report says of the change since the baseline, in words.

No reader judges the comparison in a review: it is the machine's word in signed
documents, too, and stands there as such.
"""

from cemscope_pipelines.export.case_record import CaseContent, ContentState
from cemscope_pipelines.export.machine_words import readers_names
from cemscope_pipelines.report import CementEntry, NotAssessedEntry, Report
from cemscope_pipelines.report_followup import ConclusionEntry, FollowupEntry

NOT_JUDGED = "The comparison is the machine's; the reader did not judge it."


def comparison_sentences(content: CaseContent, machine: Report) -> tuple[str, ...]:
    """Say what changed since the baseline; empty where there is none.

    Parameters
    ----------
    content
        What the reader renamed or rejected is marked.
    machine
        The report that holds the comparison.
    """
    followup = machine.followup
    if followup is None:
        return ()
    sentences = [f"Compared with {_baseline(followup)}."]
    if content.state is not ContentState.DRAFT:
        sentences.append(NOT_JUDGED)
    if any(was != now for was, now in readers_names(content.decisions).items()):
        sentences.append("Levels are named here as the machine named them.")
    sentences += [_conclusion(one, content) for one in followup.conclusions]
    if not followup.conclusions:
        sentences.append("Nothing changed beyond the limits, as far as was assessed.")
    untold = _untold(followup, machine)
    if untold:
        sentences.append(f"Not assessed: {untold}.")
    return tuple(sentences)


def comparison_summary(machine: Report) -> str:
    """One sentence for the first page; "" where there is no baseline."""
    followup = machine.followup
    if followup is None:
        return ""
    number = len(followup.conclusions)
    found = "nothing changed beyond the limits, as far as was assessed"
    if number:
        subjects = dict.fromkeys(one.subject for one in followup.conclusions)
        found = f"look at {', '.join(subjects)} (see the change since the baseline)"
    return f"Compared with {_baseline(followup)}: {found}."


def _baseline(followup: FollowupEntry) -> str:
    date, days = followup.baseline_acquisition_date, followup.days_between
    text = "the baseline CT"
    if isinstance(date, str) and len(date) == 8:
        text += f" of {date[:4]}-{date[4:6]}-{date[6:]}"
    if not isinstance(days, NotAssessedEntry):
        text += f" ({days} days before)"
    return text


def _conclusion(one: ConclusionEntry, content: CaseContent) -> str:
    rejected = any(
        d.decision == "rejected" and d.finding_id == one.subject
        for d in content.decisions
    )
    mark = " (The reader rejected this finding.)" if rejected else ""
    return f"{one.message.rstrip('.')}.{mark}"


def _untold(followup: FollowupEntry, machine: Report) -> str:
    """Count what could not be compared."""
    screws, vertebrae = followup.screws, followup.vertebrae
    holding = {
        v.level
        for v in machine.vertebrae
        if isinstance(v.cement, CementEntry) and v.cement.volume_ml > 0
    }
    counts = (
        ("movement of screws", [s.movement for s in screws]),
        ("growth of lucent rims", [s.growth_mm for s in screws]),
        ("heights of vertebrae", [v.heights for v in vertebrae]),
        (
            "movement of cement",
            [v.cement for v in vertebrae if v.level in holding],
        ),
    )
    told = []
    for name, values in counts:
        missing = sum(isinstance(one, NotAssessedEntry) for one in values)
        if missing:
            told.append(f"{name} ({missing} of {len(values)})")
    return ", ".join(told)
