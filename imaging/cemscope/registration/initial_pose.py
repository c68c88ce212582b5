"""First guesses of how a vertebra moved, from the outlines of both spines."""

from collections.abc import Sequence

import numpy as np

from cemscope.geometry import FloatArray
from cemscope.registration.rigid_pose import RigidPose
from cemscope.spine import Vertebra, VertebraFrame

ARM_MM = 25.0
"""Ends of a vertebra's axes of this length tell its direction beside its place."""

LevelPair = tuple[Vertebra, Vertebra]
"""The same vertebra in the baseline and in the follow-up scan."""


def spine_pose(pairs: Sequence[LevelPair], near: Vertebra | None = None) -> RigidPose:
    """Rigid movement that carries the bodies of one spine onto those of the other.

    Least squares over the centres of the bodies and the ends of their axes (Kabsch
    1976, doi:10.1107/S0567739476001873).

    Parameters
    ----------
    pairs
        Vertebrae in both scans.
    near
        Vertebra of the baseline whose surroundings count most; None for all alike.
    """
    start = np.concatenate([_corners(first.frame) for first, _ in pairs])
    end = np.concatenate([_corners(second.frame) for _, second in pairs])
    weight = np.ones(len(start))
    if near is not None:
        away = [
            np.linalg.norm(first.centroid_lps_mm - near.centroid_lps_mm)
            for first, _ in pairs
        ]
        weight = np.repeat(np.exp(-0.5 * (np.array(away) / NEAR_MM) ** 2), 4)
    centre = np.average(start, axis=0, weights=weight)
    target = np.average(end, axis=0, weights=weight)
    matrix = (start - centre).T @ ((end - target) * weight[:, None])
    left, _, right = np.linalg.svd(matrix)
    flip = np.diag([1.0, 1.0, np.sign(np.linalg.det(right.T @ left.T))])
    pose = RigidPose(right.T @ flip @ left.T, target - centre, centre)
    return pose if near is None else pose.about(near.centroid_lps_mm)


NEAR_MM = 40.0
"""Neighbours within about this distance tell how a vertebra moved."""


def _corners(frame: VertebraFrame) -> FloatArray:
    axes = np.array([frame.left, frame.posterior, frame.superior])
    # A body's height is outlined better than the turn about its own axis.
    corners: FloatArray = np.concatenate([np.zeros((1, 3)), ARM_MM * axes])
    return frame.origin_lps_mm + corners


def starting_poses(
    pair: LevelPair, pairs: Sequence[LevelPair]
) -> tuple[tuple[RigidPose, ...], ...]:
    """Poses from which the registration of a vertebra starts, in rounds.

    Parameters
    ----------
    pair
        The vertebra.
    pairs
        All vertebrae in both scans, this one among them.

    Returns
    -------
    tuple of tuple of RigidPose
        From its neighbours, then from its own outlines; then, for outlines that end a
        few mm too high or low, both shifted along its axis.
    """
    baseline, later = pair
    own = RigidPose.between(baseline.frame, later.frame)
    guesses = (spine_pose(pairs, baseline), own)
    superior = baseline.frame.superior
    shifted = tuple(
        guess.moved(np.zeros(3), step * superior)
        for guess in guesses
        for step in (-STEP_MM, STEP_MM)
    )
    return guesses[:1], guesses[1:], shifted


STEP_MM = 5.0
"""Outlines of bodies are rarely further off than this."""
