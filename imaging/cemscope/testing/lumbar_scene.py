"""A postoperative lumbar spine: a person, implants, cement and leaks.

`build_scene` makes it; `cemscope.testing.lumbar_tissue` fills a scanner's planes with
its materials and `cemscope.testing.lumbar_truth` measures it.
"""

from dataclasses import dataclass, field
from enum import Enum
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cemscope.findings import Side
from cemscope.testing.attenuation import (
    COBALT_CHROME,
    TITANIUM_ALLOY,
    Material,
    bone_cement,
)
from cemscope.testing.lumbar_anatomy import LumbarAnatomy, build_anatomy
from cemscope.testing.lumbar_atlas import AnatomySettings
from cemscope.testing.lumbar_cement import (
    CementPlan,
    LeakPlan,
    LevelCement,
    place_cement,
)
from cemscope.testing.lumbar_implants import (
    PlacedScrew,
    ScrewPlan,
    capsule,
    place_screw,
    rod_field,
    rod_line_mm,
    screw_field,
)
from cemscope.testing.scalar_field import Lattice, ScalarField

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]


class Opacifier(Enum):
    """What makes the cement visible."""

    BARIUM_SULFATE = "BaSO4"
    ZIRCONIA = "ZrO2"


class ImplantMetal(Enum):
    """Alloy of screws and rods."""

    TITANIUM = TITANIUM_ALLOY
    COBALT_CHROME = COBALT_CHROME


@dataclass(frozen=True, slots=True)
class SceneSettings:
    """A patient.

    Attributes
    ----------
    seed : int
        Of cement shapes and bone texture.
    anatomy : AnatomySettings
        The person.
    trabecular_share, trabecular_spread : float
        Volume fraction of compact bone in the spongy bone, and the standard deviation
        of its texture; 0.06 gives about 75 HU at 120 kVp.
    opacifier, opacifier_fraction : Opacifier, float
        Weight fraction of the set cement.
    metal : ImplantMetal
        Alloy of the implants.
    screws : tuple of ScrewPlan
        Pedicle screws, cemented or not.
    rods : bool
        Whether rods connect the screws of each side.
    vertebroplasties : tuple of CementPlan
        Cement without screws.
    leaks : tuple of LeakPlan
        Leaks of cemented levels.
    aortic_plaque : bool
        Calcified plaques in front of the spine, which are no cement.
    metal_grid_mm, cement_grid_mm : float
        Grids on which implants and cement are known; the default resolves the thread.
    """

    seed: int = 1
    anatomy: AnatomySettings = field(default_factory=AnatomySettings)
    trabecular_share: float = 0.06
    trabecular_spread: float = 0.015
    opacifier: Opacifier = Opacifier.BARIUM_SULFATE
    opacifier_fraction: float = 0.15
    metal: ImplantMetal = ImplantMetal.TITANIUM
    screws: tuple[ScrewPlan, ...] = ()
    rods: bool = True
    vertebroplasties: tuple[CementPlan, ...] = ()
    leaks: tuple[LeakPlan, ...] = ()
    aortic_plaque: bool = True
    metal_grid_mm: float = 0.3
    cement_grid_mm: float = 0.4

    @property
    def cement(self) -> Material:
        """The cement with its opacifier."""
        share = self.opacifier_fraction
        if self.opacifier is Opacifier.BARIUM_SULFATE:
            return bone_cement(barium_sulfate_fraction=share)
        return bone_cement(zirconia_fraction=share)


@dataclass(frozen=True, slots=True, eq=False)
class LumbarScene:
    """A patient with implants, in the patient's own frame.

    Attributes
    ----------
    settings : SceneSettings
        How it was made.
    anatomy : LumbarAnatomy
        The bones and the trunk.
    screws : tuple of PlacedScrew
        Screws.
    metal : tuple of ScalarField
        Signed distances to screws, then rods.
    cements : tuple of LevelCement
        Cement per level, from the head to the feet.
    texture : ScalarField
        Volume fraction of compact bone in the spongy bone.
    plaque : tuple of ScalarField
        Calcifications outside the bones.
    """

    settings: SceneSettings
    anatomy: LumbarAnatomy
    screws: tuple[PlacedScrew, ...]
    metal: tuple[ScalarField, ...]
    cements: tuple[LevelCement, ...]
    texture: ScalarField
    plaque: tuple[ScalarField, ...]


def build_scene(
    settings: SceneSettings, anatomy: LumbarAnatomy | None = None
) -> LumbarScene:
    """Make a patient; the same settings give the same patient.

    Raises
    ------
    ConfigError
        If a plan does not fit the anatomy.
    """
    anatomy = anatomy or build_anatomy(settings.anatomy)
    screws = tuple(place_screw(p, anatomy.vertebra(p.level)) for p in settings.screws)
    metal = metal_fields(screws, settings.rods, settings.metal_grid_mm)
    cements = []
    for index, vertebra in enumerate(anatomy.vertebrae):
        level = vertebra.level.name
        plans = [p for p in settings.vertebroplasties if p.level == level]
        for screw in screws:
            if screw.plan.level == level and screw.plan.cement_ml > 0:
                centre = vertebra.frame.to_local_mm(screw.tip_mm - 6.0 * screw.axis)
                at = (float(centre[0]), float(centre[1]), float(centre[2]))
                plans.append(CementPlan(level, screw.plan.cement_ml, at, 2.5))
        leaks = [p for p in settings.leaks if p.level == level]
        if plans or leaks:
            seed = settings.seed * 100 + index
            cements.append(
                place_cement(
                    vertebra, plans, leaks, metal, seed, settings.cement_grid_mm
                )
            )
    return LumbarScene(
        settings,
        anatomy,
        screws,
        metal,
        tuple(cements),
        _texture(anatomy, settings),
        _plaque(anatomy) if settings.aortic_plaque else (),
    )


def metal_fields(
    screws: tuple[PlacedScrew, ...], rods: bool, grid_mm: float
) -> tuple[ScalarField, ...]:
    """Signed distances to screws with their heads, then to the rods of both sides."""
    parts: list[ScalarField] = []
    rod_parts = []
    for side in Side:
        row = [s for s in screws if s.plan.side is side]
        connected = rods and len(row) >= 2
        for screw in row:
            direction = None
            if connected:
                line = rod_line_mm(row)
                nearest = int(np.abs(line[1:-1, 2] - screw.head_mm[2]).argmin()) + 1
                direction = line[nearest + 1] - line[nearest - 1]
                direction = direction / np.linalg.norm(direction)
            parts.append(screw_field(screw, direction, grid_mm))
        if connected:
            rod_parts.append(rod_field(row, grid_mm))
    return (*parts, *rod_parts)


def _texture(anatomy: LumbarAnatomy, settings: SceneSettings) -> ScalarField:
    corners = np.concatenate([v.bone.corners_mm() for v in anatomy.vertebrae])
    lattice = Lattice.around(corners.min(axis=0), corners.max(axis=0), 1.0)
    rng = np.random.default_rng([settings.seed, 7])
    total = np.zeros(lattice.shape, np.float32)
    for sigma, weight in (((1.1, 0.7, 0.7), 0.8), ((6.0, 5.0, 5.0), 0.6)):
        white = rng.standard_normal(lattice.shape, dtype=np.float32)
        smooth = ndimage.gaussian_filter(white, sigma)
        total += np.float32(weight) * smooth / smooth.std()
    share = settings.trabecular_share + settings.trabecular_spread * total
    return ScalarField(
        np.clip(share, 0.005, 0.4).astype(np.float32),
        lattice,
        settings.trabecular_share,
    )


def _plaque(anatomy: LumbarAnatomy) -> tuple[ScalarField, ...]:
    """Two crescents in the wall of the aorta, left in front of L3 and L4."""
    plaques = []
    for level, turn in (("L3", 0.3), ("L4", 1.4)):
        frame = anatomy.vertebra(level).frame
        centre = frame.to_lps_mm([8.0, -32.0, 2.0])
        lattice = Lattice.around(centre - 14.0, centre + 14.0, 0.5)
        points = lattice.points_mm()
        arc = [
            centre + 8.0 * np.array([np.cos(a), np.sin(a), 0.1 * (a - turn)])
            for a in np.linspace(turn, turn + 0.9, 5)
        ]
        distance = np.min(
            [capsule(points, a, b) for a, b in pairwise(arc)],
            axis=0,
        )
        plaques.append(ScalarField(distance - np.float32(0.9), lattice, 30.0))
    return tuple(plaques)
