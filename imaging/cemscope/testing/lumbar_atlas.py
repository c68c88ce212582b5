"""The stored shapes of a lumbar spine, and how a person is made from them.

See ``data/README.md`` for their origin.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

ATLAS_FILE = "lumbar_atlas.npz"
"""Package data with the shapes."""

ATLAS_LEVELS: tuple[str, ...] = ("T12", "L1", "L2", "L3", "L4", "L5")
"""Vertebrae in the atlas, from the head to the feet; the sacrum is in the trunk."""

SURFACE_STEP_MM = 0.1
"""Quantisation of the stored distances to the surface of a vertebra."""

SURFACE_LIMIT_MM = 1.6
"""Stored distances end here; beyond, they are computed from the outline."""

SHAPE_MM = 1.0
"""Grid of the stored vertebra shapes."""

TRUNK_MM = 3.0
"""Grid of the stored trunk."""

CLASS_FAT, CLASS_SOFT, CLASS_BONE, CLASS_GAS, CLASS_SACRAL_BODY = 1, 2, 3, 4, 5
"""Numbers in the stored trunk; 0 is the air outside."""

TONE_STEP_HU = 8.0
"""Step of the stored soft-tissue tone."""


@dataclass(frozen=True, slots=True)
class AnatomySettings:
    """A person made from the atlas.

    Attributes
    ----------
    scale_lr, scale_ap, scale_si : float
        Size relative to the atlas.
    bend_coronal_mm, bend_sagittal_mm : float
        Sideways and forward shift at 100 mm above or below the middle (a mild
        scoliosis; more or less lordosis).
    grid_mm, trunk_grid_mm : float
        Grids of the vertebrae's and the trunk's distance fields.
    """

    scale_lr: float = 0.93
    scale_ap: float = 0.92
    scale_si: float = 0.95
    bend_coronal_mm: float = 3.0
    bend_sagittal_mm: float = 2.0
    grid_mm: float = 0.75
    trunk_grid_mm: float = 2.5


def load_atlas() -> dict[str, npt.NDArray[Any]]:
    """Read the package data: arrays by name."""
    path = files("cemscope.testing").joinpath("data", ATLAS_FILE)
    with path.open("rb") as stream, np.load(stream) as stored:
        return {name: stored[name] for name in stored.files}


@dataclass(frozen=True, slots=True, eq=False)
class AtlasWarp:
    """Patient's frame -> trunk of the atlas -> vertebrae of the atlas (z, y, x mm)."""

    scale: FloatArray
    origin: FloatArray
    bend: FloatArray
    centres: FloatArray
    linear: FloatArray
    source_centres: FloatArray
    superior: FloatArray

    @classmethod
    def of(cls, atlas: Mapping[str, Any], settings: AnatomySettings) -> "AtlasWarp":
        """Read the fits of the levels and add the person's size and posture."""
        centres = np.array([atlas[f"{n}_centre_mm"] for n in ATLAS_LEVELS])
        linear = np.array([atlas[f"{n}_to_source"] for n in ATLAS_LEVELS])
        sources = np.array([atlas[f"{n}_source_centre_mm"] for n in ATLAS_LEVELS])
        axes = np.array([atlas[f"{n}_source_axes"][0] for n in ATLAS_LEVELS])
        superior = np.array(
            [a @ np.linalg.inv(m) for a, m in zip(axes, linear, strict=True)]
        )
        superior /= np.linalg.norm(superior, axis=1, keepdims=True)
        scale = np.array([settings.scale_si, settings.scale_ap, settings.scale_lr])
        bend = np.array([settings.bend_sagittal_mm, settings.bend_coronal_mm]) / 1e4
        middle = centres[ATLAS_LEVELS.index("L3")]
        return cls(scale, middle, bend, centres, linear, sources, superior)

    def trunk_mm(self, points_mm: FloatArray) -> FloatArray:
        """Atlas (z, y, x) of patient LPS points."""
        x, y, z = np.moveaxis(points_mm, -1, 0)
        straight = np.stack(
            [z, y - self.bend[0] * z**2, x - self.bend[1] * z * np.abs(z)], axis=-1
        )
        atlas: FloatArray = straight / self.scale + self.origin
        return atlas

    def patient_mm(self, atlas_zyx: FloatArray) -> FloatArray:
        """Inverse of `trunk_mm`: LPS of atlas (z, y, x)."""
        z, y, x = np.moveaxis((atlas_zyx - self.origin) * self.scale, -1, 0)
        return np.stack(
            [x + self.bend[1] * z * np.abs(z), y + self.bend[0] * z**2, z], axis=-1
        )

    def source_mm(self, points_mm: FloatArray) -> FloatArray:
        """Where in the stored vertebrae patient points lie, (z, y, x) mm."""
        target = self.trunk_mm(points_mm)
        above = np.stack(
            [
                (target - c) @ s
                for c, s in zip(self.centres, self.superior, strict=True)
            ],
            axis=-1,
        )
        source = np.zeros_like(target)
        total = np.zeros(target.shape[:-1])
        for level in range(len(self.centres)):
            weight = np.ones(target.shape[:-1])
            if level > 0:
                weight *= _step(above[..., level - 1], above[..., level])
            if level < len(self.centres) - 1:
                weight *= 1.0 - _step(above[..., level], above[..., level + 1])
            moved = (target - self.centres[level]) @ self.linear[level]
            source += weight[..., None] * (moved + self.source_centres[level])
            total += weight
        return source / np.maximum(total, 1e-9)[..., None]


def _step(above_upper: FloatArray, above_lower: FloatArray) -> FloatArray:
    """0 at the centre of the upper body, 1 at that of the lower one, flat near both."""
    span = np.maximum(above_lower - above_upper, 1.0)
    t = np.clip((-above_upper / span - 0.25) / 0.5, 0.0, 1.0)
    smooth: FloatArray = t * t * (3.0 - 2.0 * t)
    return smooth
