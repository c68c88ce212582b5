"""Register the vertebrae of a follow-up scan to those of the baseline, one by one.

Every vertebra is a rigid body of its own: between two scans a spine bends. First the
image (SimpleITK, normalised correlation) from several starting poses, then the edges
of bone, which also tell how well the result holds.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from cemscope.findings import NotAssessed
from cemscope.registration.bone_edges import BoneEdges, find_bone_edges
from cemscope.registration.edge_pose import EdgePose, refine_pose
from cemscope.registration.initial_pose import LevelPair, starting_poses
from cemscope.registration.intensity_pose import register_image
from cemscope.registration.registration_settings import RegistrationSettings
from cemscope.registration.vertebra_patch import (
    PatchLimits,
    ScannedSpine,
    VertebraPatch,
    cut_patch,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class RegisteredVertebra:
    """A vertebra found again in the follow-up scan.

    Attributes
    ----------
    pair : LevelPair
        The vertebra in both scans.
    found : EdgePose
        Its pose and how well it holds.
    edges : BoneEdges
        What it rests on.
    baseline, followup : VertebraPatch
        Both images, at a common resolution.
    """

    pair: LevelPair
    found: EdgePose
    edges: BoneEdges
    baseline: VertebraPatch
    followup: VertebraPatch


@dataclass(frozen=True, slots=True)
class RefusedPose:
    """A vertebra that was not found again, and how much of it agreed at best."""

    reason: str
    agreement: float


def register_pair(
    baseline: ScannedSpine,
    followup: ScannedSpine,
    pair: LevelPair,
    pairs: Sequence[LevelPair],
    settings: RegistrationSettings | None = None,
) -> RegisteredVertebra | RefusedPose:
    """Register one vertebra.

    Parameters
    ----------
    baseline, followup
        Both scans.
    pair
        The vertebra in both.
    pairs
        All vertebrae in both: they tell where to start.
    settings
        Tunables; None for the defaults.

    Returns
    -------
    RegisteredVertebra or RefusedPose
        Refused where the residual is poor or too few edges agree.
    """
    settings = settings or RegistrationSettings()
    limits = PatchLimits(
        settings.blur_mm,
        settings.metal_margin_mm,
        settings.cement_margin_mm,
        settings.highest_hu,
    )
    first = cut_patch(baseline, pair[0].level, limits)
    second = cut_patch(followup, pair[1].level, limits)
    if first is None or second is None:
        return RefusedPose("the vertebra is outlined in one of the scans only", 0.0)
    edges = find_bone_edges(first, settings.edge_hu_per_mm)
    best: EdgePose | None = None
    for starts in starting_poses(pair, pairs):
        for guess in register_image(first, second, starts, settings):
            refined = refine_pose(edges, second, guess.pose, settings)
            if refined is not None and (
                best is None or refined.agreement > best.agreement
            ):
                best = refined
        if best is not None and best.agreement >= settings.sure_agreement:
            break
    name = pair[0].level.name
    if best is None:
        return RefusedPose(
            "too little of the vertebra's surface is seen away from implants in both "
            "scans",
            0.0,
        )
    log.info(
        "%s: %d edges, %.2f mm, %.0f %% agree",
        name,
        best.edges,
        best.residual_mm,
        100.0 * best.agreement,
    )
    reason = refusal(best, settings)
    if reason is not None:
        return RefusedPose(reason, best.agreement)
    return RegisteredVertebra(pair, best, edges, first, second)


def refusal(found: EdgePose, settings: RegistrationSettings) -> str | None:
    """Tell why a pose is not believed; None where it is."""
    if found.residual_mm > settings.poor_residual_mm:
        return (
            f"the registration left {found.residual_mm:.2f} mm on bone (more than "
            f"{settings.poor_residual_mm:.2f} mm is refused)"
        )
    if found.agreement < settings.least_agreement:
        return (
            f"only {100.0 * found.agreement:.0f} % of the bone's surface agrees "
            f"between the scans (less than {100.0 * settings.least_agreement:.0f} % is "
            "refused): another vertebra, another patient, or bone that has changed "
            "shape throughout"
        )
    return None


class Registrar:
    """Registers pairs of vertebrae of two scans, each pair once.

    Parameters
    ----------
    baseline, followup
        Both scans.
    settings
        Tunables.
    """

    def __init__(
        self,
        baseline: ScannedSpine,
        followup: ScannedSpine,
        settings: RegistrationSettings,
    ) -> None:
        self._scans = (baseline, followup)
        self._settings = settings
        self._known: dict[tuple[str, str], RegisteredVertebra | RefusedPose] = {}

    def register(
        self, pair: LevelPair, pairs: Sequence[LevelPair]
    ) -> RegisteredVertebra | NotAssessed:
        """Find a vertebra again, or say why not."""
        found = self._found(pair, pairs)
        return NotAssessed(found.reason) if isinstance(found, RefusedPose) else found

    def agreement(self, pair: LevelPair, pairs: Sequence[LevelPair]) -> float:
        """Share of the bone's surface that agrees, believed or not."""
        found = self._found(pair, pairs)
        if isinstance(found, RefusedPose):
            return found.agreement
        return found.found.agreement

    def _found(
        self, pair: LevelPair, pairs: Sequence[LevelPair]
    ) -> RegisteredVertebra | RefusedPose:
        key = (pair[0].level.name, pair[1].level.name)
        if key not in self._known:
            self._known[key] = register_pair(*self._scans, pair, pairs, self._settings)
        return self._known[key]
