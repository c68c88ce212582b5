"""What speaks for a disc at each step of the spine's axis."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from cemscope.geometry import FloatArray
from cemscope.segmentation.canal.spine_axis import SpineAxis
from cemscope.segmentation.discs.disc import BODY_DEPTH_MM
from cemscope.segmentation.discs.disc_planes import (
    DiscPlanes,
    PlaneSettings,
    disc_planes,
)
from cemscope.segmentation.discs.pedicle_evidence import (
    PedicleEvidence,
    PedicleSettings,
    pedicle_evidence,
)
from cemscope.segmentation.spine_working_volume import WorkingVolume


@dataclass(frozen=True, slots=True)
class EvidenceSettings:
    """Tunables of the evidence.

    Attributes
    ----------
    planes, pedicles
        Tunables of its parts.
    """

    planes: PlaneSettings = field(default_factory=PlaneSettings)
    pedicles: PedicleSettings = field(default_factory=PedicleSettings)


@dataclass(frozen=True, slots=True, eq=False)
class HiddenParts:
    """What hides discs, as shares (0-1) on cubes.

    Attributes
    ----------
    implants : WorkingVolume or None
        Cement and metal; None if there are none.
    streaked : WorkingVolume or None
        The same, and the planes with streaks; None if there are none.
    """

    implants: WorkingVolume | None = None
    streaked: WorkingVolume | None = None


@dataclass(frozen=True, slots=True, eq=False)
class DiscEvidence:
    """Signs of discs and pedicles per step, on the bodies' axis.

    Attributes
    ----------
    planes : DiscPlanes
        Every plane that was tried.
    pedicles : PedicleEvidence
        Pedicles and foramina at the posterior wall.
    likeness : ndarray, shape (steps,)
        Disc at its best tilt, 0 ... 1.
    tilts_deg : ndarray, shape (steps, 2)
        That tilt (sagittal, lateral).
    thickness_mm : ndarray, shape (steps,)
        Distance of its endplates; 0 where they melt into one.
    centres_lps_mm, normals : ndarray, shape (steps, 3)
        Middle of that disc and the direction across it.
    inside : ndarray of bool, shape (steps,)
        Whether the scan covers the body's middle here.
    """

    planes: DiscPlanes
    pedicles: PedicleEvidence
    likeness: FloatArray
    tilts_deg: FloatArray
    thickness_mm: FloatArray
    centres_lps_mm: FloatArray
    normals: FloatArray
    inside: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.likeness)


@dataclass(frozen=True, slots=True, eq=False)
class DiscSigns:
    """All that is measured along an axis, before streaks are weighed.

    Attributes
    ----------
    planes : DiscPlanes
        Every plane that was tried, free of cement and metal.
    clear : DiscPlanes or None
        The same, free of streaks too; None without streaks.
    pedicles : PedicleEvidence
        Pedicles and foramina at the posterior wall.
    """

    planes: DiscPlanes
    clear: DiscPlanes | None
    pedicles: PedicleEvidence


class DiscSight:
    """Discs and pedicles of one scan, measured once along each axis.

    Rows of discs are looked for with streaks weighed in several ways, mostly along the
    same axes, and measuring the planes takes nearly all of that time.

    Parameters
    ----------
    volume
        Working volume, cut at the level of cortex.
    hidden
        What hides discs, on the same cubes.
    settings
        Tunables.
    """

    def __init__(
        self, volume: WorkingVolume, hidden: HiddenParts, settings: EvidenceSettings
    ) -> None:
        self._volume = volume
        self._hidden = hidden
        self._settings = settings
        self._measured: list[tuple[SpineAxis, DiscSigns]] = []

    def along(self, axis: SpineAxis, streaked_weight: float) -> DiscEvidence:
        """Weigh the signs along an axis.

        Parameters
        ----------
        axis
            The spine's axis.
        streaked_weight
            What a disc's likeness counts that rests on planes with streaks (0-1): a
            bright streak across a body looks like an endplate, the marrow beside it
            like a disc. Without streaks it has no meaning.
        """
        signs = self._signs(axis)
        planes = signs.planes
        if signs.clear is not None:
            planes = planes.or_clearer(signs.clear, streaked_weight)
        centres = (
            axis.points_lps_mm
            + axis.posterior * ((axis.wall_mm - BODY_DEPTH_MM)[:, None])
        )
        inside = self._volume.sample_inside(centres) > 0.5
        return _evidence(axis, planes, signs.pedicles, centres, inside)

    def _signs(self, axis: SpineAxis) -> DiscSigns:
        for known, signs in self._measured:
            if known.is_same(axis):
                return signs
        volume, hidden, settings = self._volume, self._hidden, self._settings
        signs = DiscSigns(
            disc_planes(axis, volume, hidden.implants, settings.planes),
            None
            if hidden.streaked is None
            else disc_planes(axis, volume, hidden.streaked, settings.planes),
            pedicle_evidence(axis, volume, settings.pedicles),
        )
        self._measured.append((axis, signs))
        return signs


def _evidence(
    axis: SpineAxis,
    planes: DiscPlanes,
    pedicles: PedicleEvidence,
    centres: FloatArray,
    inside: npt.NDArray[np.bool_],
) -> DiscEvidence:
    """Take the best tilt at each step."""
    flat = planes.likeness.reshape(-1, len(axis))
    best = flat.argmax(axis=0)
    likeness = flat.max(axis=0).astype(float)
    sagittal, lateral = np.unravel_index(best, planes.likeness.shape[:2])
    tilts = np.stack(
        [planes.sagittal_deg[sagittal], planes.lateral_deg[lateral]], axis=1
    )
    tilts[likeness <= 0.0] = 0.0
    every = np.arange(len(axis))
    thickness = planes.thickness_mm[sagittal, lateral, every].astype(float)
    slopes = np.tan(np.radians(tilts))
    normals = axis.superior + slopes[:, :1] * axis.posterior - slopes[:, 1:] * axis.left
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return DiscEvidence(
        planes, pedicles, likeness, tilts, thickness, centres, normals, inside
    )
