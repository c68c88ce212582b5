"""The window of a shaft that most speaks for a gap, its shared errors integrated out.

As `lucency_joint`, which adds up what single places tell; here all places tell together
(`lucency_shared`).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cemscope.measurement.lucency_joint import summed
from cemscope.measurement.lucency_profiles import ANGLES
from cemscope.measurement.lucency_shared import (
    BONE,
    PARAMETERS,
    STRIDE,
    SharedEvidence,
    SharedSettings,
)
from cemscope.segmentation.scan_region import FloatArray


@dataclass(frozen=True, slots=True)
class SharedGap:
    """The strongest gap of a shaft.

    Attributes
    ----------
    evidence : float
        Logarithm of its likelihood over that of no gap.
    width_mm : float
        Its width.
    """

    evidence: float
    width_mm: float


def strongest_shared_gap(
    evidence: SharedEvidence, settings: SharedSettings
) -> SharedGap:
    """Find the window and width that all places together speak most for."""
    best = SharedGap(-np.inf, 0.0)
    rows = np.flatnonzero(evidence.seen.any(axis=1))
    if rows.size == 0:
        return best
    used = slice(int(rows[0]), int(rows[-1]) + 1)
    sums = evidence.sums[used]
    seen = evidence.seen[used]
    total = sums[:, :, 0].sum(axis=(0, 1))
    added = summed(sums.reshape(*seen.shape, -1))
    count = summed(seen[..., None].astype(float))
    for planes, angles in _sizes(seen.shape[0], settings):
        where = _places(seen.shape[0], planes, angles)
        enough = _window(count, where, planes, angles)[:, 0]
        where = where[enough >= settings.least_seen * planes * angles]
        if not len(where):
            continue
        inside = _window(added, where, planes, angles)
        inside = inside.reshape(len(where), sums.shape[2], -1)
        outside = total - inside[:, 0]
        tight = _log_evidence(outside, inside[:, 0], settings)
        for k, width in enumerate(settings.widths_mm):
            either = [
                _log_evidence(outside, inside[:, 1 + 2 * k + line], settings)
                for line in (0, 1)
            ]
            gain = np.logaddexp(*either) - np.log(2.0) - tight
            if gain.max() > best.evidence:
                best = SharedGap(float(gain.max()), width)
    return best


def _sizes(planes: int, settings: SharedSettings) -> Iterator[tuple[int, int]]:
    for fraction in settings.length_fractions:
        for arc in settings.arcs_deg:
            yield (
                max(round(fraction * planes), 1),
                round(arc * ANGLES / STRIDE / 360.0),
            )


ROWS_APART, TURNS_APART = 3, 2
"""Windows are tried 3 mm and 40 degrees apart."""


def _places(rows: int, planes: int, angles: int) -> npt.NDArray[np.intp]:
    count = -(-(rows - planes) // ROWS_APART) + 1
    first = np.unique(np.round(np.linspace(0, rows - planes, count)).astype(np.intp))
    around = ANGLES // STRIDE
    turns = (
        np.arange(0, around, TURNS_APART) if angles < around else np.zeros(1, np.intp)
    )
    grid = np.meshgrid(first, turns, indexing="ij")
    return np.stack([part.ravel() for part in grid], axis=1)


def _window(
    sums: FloatArray,
    where: npt.NDArray[np.intp],
    planes: int,
    angles: int,
) -> FloatArray:
    row, turn = where.T
    low, high = sums[row], sums[row + planes]
    each = np.arange(len(row))
    total: FloatArray = (high[each, turn + angles] - high[each, turn]) - (
        low[each, turn + angles] - low[each, turn]
    )
    return total


def _log_evidence(
    outside: FloatArray, inside: FloatArray, settings: SharedSettings
) -> FloatArray:
    """Log evidence with all shared errors integrated out.

    The bone of the window may differ from that of the rest: one parameter more, which
    acts within the window as the shaft's bone does.
    """
    k = PARAMETERS
    total = outside + inside
    share = settings.window_bone_hu / settings.bone_spread_hu
    matrix = np.zeros((len(total), k + 1, k + 1))
    matrix[:, :k, :k] = total[:, : k * k].reshape(-1, k, k)
    within = inside[:, : k * k].reshape(-1, k, k)
    matrix[:, k, :k] = matrix[:, :k, k] = share * within[:, BONE]
    matrix[:, k, k] = share**2 * within[:, BONE, BONE]
    matrix += np.eye(k + 1)
    right = np.zeros((len(total), k + 1))
    right[:, :k] = total[:, k * k : k * k + k]
    right[:, k] = share * inside[:, k * k + BONE]
    lower = np.linalg.cholesky(matrix)
    solved = np.linalg.solve(lower, right[..., None])[..., 0]
    volume = np.log(np.diagonal(lower, axis1=1, axis2=2)).sum(axis=1)
    found: FloatArray = 0.5 * ((solved**2).sum(axis=1) - total[:, -1]) - volume
    return found
