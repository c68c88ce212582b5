"""What an action of the reader is going to do, before it is done."""

from dataclasses import dataclass, field

from cemscope.segmentation.scan_region import Box
from cemscope_pipelines.review.review_document import FindingId, ParameterValue
from cemscope_pipelines.review.review_state import ReviewState
from cemscope_pipelines.review.voxel_change import VoxelChange


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """What an action is going to do.

    Attributes
    ----------
    action : str
        Its name in the log.
    parameters : dict
        What it was told.
    findings : tuple of FindingId
        What it touches; those that are not decided by the action itself become
        "modified".
    state : ReviewState
        The new state, volumes not counted yet.
    voxels : tuple of VoxelChange
        Voxels that change.
    box : tuple of slice or None
        Part of the scan whose volumes may change; None if none do.
    levels : frozenset of str
        Vertebrae that are counted in any case.
    rerouted : tuple of str
        Leaks whose way is followed anew.
    joined : dict of int to int
        Codes of leaks that became part of another, whose volume holds theirs already.
    """

    action: str
    parameters: dict[str, ParameterValue]
    findings: tuple[FindingId, ...]
    state: ReviewState
    voxels: tuple[VoxelChange, ...] = ()
    box: Box | None = None
    levels: frozenset[str] = frozenset()
    rerouted: tuple[str, ...] = ()
    joined: dict[int, int] = field(default_factory=dict)
