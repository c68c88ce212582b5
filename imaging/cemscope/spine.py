"""The vertebrae of one scan: outlines, names, local axes and the spinal canal."""

from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from cemscope.anatomy import VertebraLevel
from cemscope.volume import LabelMap, Mask, Notice

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LevelAnchor:
    """The user's word on one level, from which all others are counted.

    Attributes
    ----------
    level : VertebraLevel
        A named level.
    point_lps_mm : tuple of float or None
        A patient point inside that vertebra; None for the lowest complete vertebra.
    """

    level: VertebraLevel
    point_lps_mm: tuple[float, float, float] | None = None


class VertebraSource(StrEnum):
    """Where the outline of a vertebra comes from."""

    EMBEDDED = "embedded"
    TOTALSEGMENTATOR = "totalsegmentator"
    IMPORTED = "imported"


@dataclass(frozen=True, slots=True, eq=False)
class VertebraFrame:
    """A vertebra's own axes, so that 'left' or 'posterior' do not depend on the table.

    Attributes
    ----------
    origin_lps_mm : ndarray, shape (3,)
        Centre of the vertebral body.
    left, posterior, superior : ndarray, shape (3,)
        Orthogonal unit vectors in LPS: along the endplates to the patient's left,
        from the body towards the canal, and along the body axis to the head.
    """

    origin_lps_mm: FloatArray
    left: FloatArray
    posterior: FloatArray
    superior: FloatArray

    def __post_init__(self) -> None:
        axes = np.array([self.left, self.posterior, self.superior], dtype=float)
        if axes.shape != (3, 3) or not np.allclose(axes @ axes.T, np.eye(3), atol=1e-6):
            raise ValueError("expected three orthogonal unit vectors")
        for name in ("origin_lps_mm", "left", "posterior", "superior"):
            value = np.array(getattr(self, name), dtype=float)
            value.setflags(write=False)
            object.__setattr__(self, name, value)

    def to_local_mm(self, points_lps_mm: npt.ArrayLike) -> FloatArray:
        """Express LPS points, shape (..., 3), as (left, posterior, superior) in mm."""
        axes = np.array([self.left, self.posterior, self.superior])
        local: FloatArray = (
            np.asarray(points_lps_mm, float) - self.origin_lps_mm
        ) @ axes.T
        return local

    def to_lps_mm(self, local_mm: npt.ArrayLike) -> FloatArray:
        """Inverse of `to_local_mm`."""
        axes = np.array([self.left, self.posterior, self.superior])
        points: FloatArray = np.asarray(local_mm, float) @ axes + self.origin_lps_mm
        return points


@dataclass(frozen=True, slots=True, eq=False)
class Vertebra:
    """One vertebra in the scan.

    Attributes
    ----------
    level : VertebraLevel
        Its name; V1, V2, ... from the lowest upwards where it cannot be told.
    level_confidence : float
        0 (relative name only) to 1.
    source : VertebraSource
        Where the outline comes from.
    complete : bool
        Whether the whole body lies in the field of view.
    frame : VertebraFrame
        Its own axes; the origin is the centroid of the body.
    body_volume_ml : float
        Volume of the body's outline.
    """

    level: VertebraLevel
    level_confidence: float
    source: VertebraSource
    complete: bool
    frame: VertebraFrame
    body_volume_ml: float

    @property
    def centroid_lps_mm(self) -> FloatArray:
        """Centre of the vertebral body."""
        return self.frame.origin_lps_mm


@dataclass(frozen=True, slots=True, eq=False)
class Spine:
    """All vertebrae of a scan on the scan's grid.

    Attributes
    ----------
    labels : LabelMap
        Body of a vertebra under ``level.number``, its arch under
        ``level.arch_number``.
    vertebrae : tuple of Vertebra
        From the lowest to the highest.
    canal : Mask or None
        Spinal canal, where the source gives it.
    notices : tuple of Notice
        What a reader should know, e.g. that levels could not be told.
    """

    labels: LabelMap
    vertebrae: tuple[Vertebra, ...]
    canal: Mask | None = None
    notices: tuple[Notice, ...] = field(default=())

    def vertebra(self, level_name: str) -> Vertebra:
        """Find a vertebra by its level name.

        Raises
        ------
        KeyError
            If the level is not in the scan.
        """
        for vertebra in self.vertebrae:
            if vertebra.level.name == level_name:
                return vertebra
        raise KeyError(level_name)
