"""Whether imported bodies look like bodies beside their neighbours."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy import ndimage

from cemscope.geometry import VoxelGeometry
from cemscope.segmentation.labels.imported_pieces import VertebraPiece
from cemscope.segmentation.levels.level_sequence import SequenceFinding
from cemscope.volume import LabelArray, Notice


@dataclass(frozen=True, slots=True)
class BodyCheckSettings:
    """Tunables of the check.

    Attributes
    ----------
    unusual_volume_factor
        A body that differs from the median of its neighbours by more than this
        factor is told.
    touching_fraction
        Two bodies that share more than this part of their cross-section are told.
    sliver_fraction
        A cut body with less than this part of the largest body's volume is left out.
    """

    unusual_volume_factor: float = 1.7
    touching_fraction: float = 0.3
    sliver_fraction: float = 0.15


def drop_slivers(
    pieces: Sequence[VertebraPiece], settings: BodyCheckSettings
) -> tuple[list[VertebraPiece], list[Notice]]:
    """Leave out cut vertebrae of whose body hardly anything is in view."""
    volumes = [float(piece.body.sum()) for piece in pieces]
    kept, notices = [], []
    for rank, piece in enumerate(pieces):
        others = [v for i, v in enumerate(volumes) if i != rank]
        enough = not others or volumes[rank] > settings.sliver_fraction * max(others)
        if piece.complete or enough:
            kept.append(piece)
            continue
        notices.append(
            Notice(
                "level_without_body",
                f"The imported label of {piece.level.name} is left out: the image cuts "
                f"it, and only {volumes[rank] / max(others):.0%} of a body is in view.",
            )
        )
    return kept, notices


def check_bodies(
    pieces: Sequence[VertebraPiece],
    geometry: VoxelGeometry,
    settings: BodyCheckSettings,
) -> SequenceFinding:
    """Tell bodies of unusual size and bodies that run into each other.

    Bodies that touch cast doubt on both names; an unusual volume alone does not.
    """
    notices = []
    doubtful: set[str] = set()
    volumes = np.array([float(p.body.sum()) for p in pieces])
    whole = [i for i, p in enumerate(pieces) if p.complete]
    for rank in whole:
        others = sorted((abs(i - rank), i) for i in whole if i != rank)[:2]
        if len(others) < 2:
            continue
        ratio = float(volumes[rank] / np.median(volumes[[i for _, i in others]]))
        factor = settings.unusual_volume_factor
        if not 1 / factor < ratio < factor:
            notices.append(
                Notice(
                    "body_volume_unusual",
                    f"The body of {pieces[rank].level.name} has {ratio:.2f} times the "
                    "volume of its neighbours: collapsed, or outlined wrongly.",
                )
            )
    for lower, upper in pairwise(pieces):
        share = _shared_face(lower, upper, geometry)
        if share > settings.touching_fraction:
            notices.append(
                Notice(
                    "bodies_touch",
                    f"The bodies of {lower.level.name} and {upper.level.name} touch "
                    f"over {share:.0%} of their cross-section: fused, or one vertebra "
                    "under two labels.",
                )
            )
            doubtful.update((lower.level.name, upper.level.name))
    return SequenceFinding(tuple(notices), frozenset(doubtful))


def _shared_face(
    lower: VertebraPiece, upper: VertebraPiece, geometry: VoxelGeometry
) -> float:
    """Contact between two bodies over the cross-section of the smaller one."""
    box = lower.box
    both: LabelArray = np.zeros([p.stop - p.start for p in box], dtype=np.uint8)
    both[lower.body] = 1
    index = np.argwhere(upper.body) + [p.start for p in upper.box]
    index -= [p.start for p in box]
    inside = ((index >= 0) & (index < both.shape)).all(axis=1)
    both[tuple(index[inside].T)] = 2
    rim = ndimage.binary_dilation(both == 1) & (both == 2)
    face_mm2 = geometry.voxel_volume_mm3 ** (2 / 3)
    body_mm3 = min(lower.body.sum(), upper.body.sum()) * geometry.voxel_volume_mm3
    contact_mm2 = float(rim.sum()) * face_mm2
    return float(contact_mm2 / float(body_mm3) ** (2 / 3))
