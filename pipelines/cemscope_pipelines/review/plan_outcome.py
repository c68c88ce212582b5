"""What becomes of an action: recounted volumes, routes followed anew, decisions."""

from cemscope_pipelines.review.case_maps import CaseMaps
from cemscope_pipelines.review.elsewhere_recount import is_erased
from cemscope_pipelines.review.leak_description import describe_leak
from cemscope_pipelines.review.level_recount import BoxCount, cement_box
from cemscope_pipelines.review.recount_difference import Recount
from cemscope_pipelines.review.review_document import FindingId
from cemscope_pipelines.review.review_plan import Plan
from cemscope_pipelines.review.review_state import ReviewState
from cemscope_pipelines.review.scan_context import ScanContext


def recount_of(
    context: ScanContext,
    maps: CaseMaps,
    plan: Plan,
    before: BoxCount,
    after: BoxCount | None,
) -> Recount:
    """Compare two counts of a plan's box, with the vertebrae that it touched.

    Parameters
    ----------
    context
        The scan.
    maps
        As they are after the action.
    plan
        The action.
    before, after
        Counts; None stands for a box without cement.
    """
    after = after or BoxCount({}, {}, {})
    names = [entry.level for entry in plan.state.vertebrae]
    shape = maps.geometry.shape
    owners = {
        place
        for change in plan.voxels
        if change.map_name == "materials"
        for count in (before, after)
        for place in count.owners_at(change.index, shape)
    }
    levels = plan.levels | {names[place - 1] for place in owners}
    emptied = frozenset(
        level
        for level in levels
        if after.volume_ml(level) <= 0.0 < before.volume_ml(level)
        and cement_box(context, maps, plan.state, level) is None
    )
    return Recount(before, after, levels, plan.joined, emptied)


def with_routes(
    context: ScanContext, maps: CaseMaps, state: ReviewState
) -> ReviewState:
    """Follow the routes of all leaks that wait for it."""
    for leak_id in state.unfollowed:
        try:
            volume_ml = state.leak(leak_id)[1].volume_ml
        except KeyError:
            continue  # erased or joined meanwhile
        state = state.with_leak(describe_leak(context, maps, state, leak_id, volume_ml))
    return state.replace(unfollowed=())


def modified(state: ReviewState, finding: FindingId, action: str) -> ReviewState:
    """Judge a finding by an action that touched it."""
    try:
        decision = state.decision(finding)
    except KeyError:
        return state
    if decision.decision == "rejected" and is_erased(state, finding):
        return state
    if decision.decision == "rejected" and finding.kind == "leak":
        try:
            state.leak(finding.finding_id)
        except KeyError:
            return state  # erased by this action
    return state.decided(finding, "modified", action)
