"""A simulated patient on the scanner's table: spine, trunk, implants and cement."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from cemscope.testing.aligned_sampling import coverage_of, sample_aligned
from cemscope.testing.beam_table import Substance
from cemscope.testing.cement_track import IslandPlan, TrackPlan, island_layer
from cemscope.testing.lumbar_cement import CementPlan, LeakPlan, LevelCement
from cemscope.testing.lumbar_implants import PlacedScrew, ScrewPlan
from cemscope.testing.lumbar_scene import metal_fields
from cemscope.testing.quick_scanner import TissueFractions
from cemscope.testing.scalar_field import Box, PlaneGrid, Pose, ScalarField
from cemscope.testing.spine_bones import BoneFields, BoneQuality, bone_fields
from cemscope.testing.spine_posture import (
    LevelPlan,
    PersonSize,
    StandingSpine,
    fallen_mm,
    stand,
)
from cemscope.testing.spine_ribs import (
    COMPACT_BONE,
    RIB_MARROW,
    TableReach,
    aorta_layers,
    canal_layers,
    cava_layers,
    disc_layers,
    rib_layers,
)
from cemscope.testing.spine_treatment import (
    CementPlans,
    placed_cements,
    placed_screws,
)
from cemscope.testing.spine_trunk import (
    TrunkFields,
    sacrum_centre_mm,
    trunk_box_mm,
    trunk_fields,
)
from cemscope.testing.spongy_texture import SpongyTexture, spongy_texture
from cemscope.testing.tissue_layers import (
    Tissue,
    TissueLayer,
    box_of,
    paint,
    tube_fields,
)

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]

PELVIS_CORTEX_MM = 1.3
"""Cortex of sacrum and pelvis."""

MARGIN_MM = 25.0
"""Vertebrae further than this outside the slices are left out."""

METAL_GRID_MM = 0.45
"""Grid of implants."""

SUPERSAMPLING = 2
"""Cement and metal are filled on cells this much finer."""


@dataclass(frozen=True, slots=True)
class PatientSettings:
    """A patient.

    Attributes
    ----------
    levels : tuple of LevelPlan
        From the head to the feet.
    size : PersonSize
        Relative to the atlas.
    pose : Pose
        How the patient lies.
    quality : BoneQuality
        Cortex.
    trabecular_share, trabecular_spread, cortex_share : float
        Compact bone in spongy bone, standard deviation of its texture, and compact
        bone in the cortex.
    screws : tuple of ScrewPlan
        Those that find a pedicle.
    vertebroplasties : tuple of CementPlan
        Cement without screws.
    leaks : tuple of LeakPlan
        Of cemented levels.
    tracks : tuple of TrackPlan
        Cement in pedicles of cemented levels.
    islands : tuple of IslandPlan
        Dense spots in the spongy bone.
    rods : bool
        Whether rods connect the screws of each side.
    metal : Substance
        Of the implants.
    barium_sulfate_fraction, zirconia_fraction : float
        Of the cement.
    contrast_hu : float
        Enhancement of the aorta.
    plaques : int
        Calcifications in its wall.
    cava_hu : float or None
        Enhancement of the vena cava; None leaves the vein to the trunk's soft tissue.
    sacralised : bool
        Whether the lowest vertebra is fused to the sacral alae.
    seed : int
        Of texture, cement and plaques.
    """

    levels: tuple[LevelPlan, ...]
    size: PersonSize = field(default_factory=PersonSize)
    pose: Pose = field(default_factory=Pose)
    quality: BoneQuality = field(default_factory=BoneQuality)
    trabecular_share: float = 0.06
    trabecular_spread: float = 0.015
    cortex_share: float = 0.8
    screws: tuple[ScrewPlan, ...] = ()
    vertebroplasties: tuple[CementPlan, ...] = ()
    leaks: tuple[LeakPlan, ...] = ()
    tracks: tuple[TrackPlan, ...] = ()
    islands: tuple[IslandPlan, ...] = ()
    rods: bool = True
    metal: Substance = Substance.TITANIUM
    barium_sulfate_fraction: float = 0.15
    zirconia_fraction: float = 0.0
    contrast_hu: float = 0.0
    plaques: int = 0
    cava_hu: float | None = None
    sacralised: bool = False
    seed: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class SpinePatient:
    """A patient on the table; a `TissueSource` of the quick scanner.

    Attributes
    ----------
    settings : PatientSettings
        How it was made.
    standing : StandingSpine
        All vertebrae in the patient's own frame.
    bones : tuple of BoneFields
        Vertebrae near the scanned slices, from the head to the feet.
    trunk : TrunkFields
        Soft tissue.
    layers : tuple of TissueLayer
        Vessels, canal, discs, ribs, pelvis: in the order of painting.
    islands : tuple of TissueLayer
        Dense bone, painted over the vertebrae.
    screws : tuple of PlacedScrew
        On the table.
    metal_parts : tuple of ScalarField
        Screws, then rods.
    cements : tuple of LevelCement
        Cement by level.
    box_mm : tuple of ndarray
        Corners of the trunk in the patient's frame.
    texture : SpongyTexture
        Of the spongy bone.
    """

    settings: PatientSettings
    standing: StandingSpine
    bones: tuple[BoneFields, ...]
    trunk: TrunkFields
    layers: tuple[TissueLayer, ...]
    islands: tuple[TissueLayer, ...]
    screws: tuple[PlacedScrew, ...]
    metal_parts: tuple[ScalarField, ...]
    cements: tuple[LevelCement, ...]
    box_mm: tuple[FloatArray, FloatArray]
    texture: SpongyTexture

    @property
    def barium_sulfate_fraction(self) -> float:
        """Of the cement."""
        return self.settings.barium_sulfate_fraction

    @property
    def zirconia_fraction(self) -> float:
        """Of the cement."""
        return self.settings.zirconia_fraction

    @property
    def metal(self) -> Substance:
        """Of the implants."""
        return self.settings.metal

    def body_box_mm(self) -> tuple[FloatArray, FloatArray]:
        """Lower and upper corner of the trunk in the patient's frame."""
        return self.box_mm

    def fine_box(self, grid: PlaneGrid) -> Box | None:
        """Cells round the vertebrae and implants, over all planes."""
        shapes = [b.shape.bone for b in self.bones] + list(self.metal_parts)
        boxes = [b for b in (box_of(s, grid) for s in shapes) if b is not None]
        if not boxes:
            return None
        rows = slice(min(b[1].start for b in boxes), max(b[1].stop for b in boxes))
        columns = slice(min(b[2].start for b in boxes), max(b[2].stop for b in boxes))
        return slice(0, grid.shape[0]), rows, columns

    def sacrum_centre_mm(self) -> FloatArray:
        """Centre of the body of S1 on the table."""
        return self.settings.pose.to_table(sacrum_centre_mm(self.standing.size))

    def fractions(self, grid: PlaneGrid) -> TissueFractions:
        """Materials in the cells of a grid on the table."""
        parts = TissueFractions(*(np.zeros(grid.shape, np.float32) for _ in range(6)))
        self.trunk.paint(parts, grid)
        for layer in self.layers:
            paint(layer, parts, grid)
        for bone in self.bones:
            self._paint_bone(bone, parts, grid)
        for island in self.islands:
            paint(island, parts, grid)
        parts.metal[...] = _union(self.metal_parts, grid)
        parts.cement[...] = _union([c.cement for c in self.cements], grid)
        np.multiply(parts.cement, 1.0 - parts.metal, out=parts.cement)
        if self.metal_parts or self.cements:
            free = 1.0 - parts.metal - parts.cement
            for part in (parts.fat, parts.muscle, parts.compact, parts.marrow):
                part *= free
        return parts

    def _paint_bone(
        self, bone: BoneFields, parts: TissueFractions, grid: PlaneGrid
    ) -> None:
        box = box_of(bone.shape.bone, grid)
        if box is None:
            return
        part = grid.crop(box)
        whole = coverage_of(sample_aligned(bone.shape.bone, part), part.cell_mm)
        core = coverage_of(sample_aligned(bone.inner, part), part.cell_mm)
        share = self.texture.at(part) * sample_aligned(bone.factor, part)
        np.clip(share, 0.005, 0.6, out=share)
        compact = (whole - core) * np.float32(self.settings.cortex_share) + core * share
        keep = 1.0 - whole
        for layer in (parts.fat, parts.muscle, parts.compact, parts.marrow):
            layer[box] *= keep
        parts.compact[box] += compact
        parts.marrow[box] += whole - compact


def lay_patient(
    settings: PatientSettings, reach_z_mm: tuple[float, float]
) -> SpinePatient:
    """Build a patient for a scan between two table positions.

    Parameters
    ----------
    settings
        The patient.
    reach_z_mm
        Lowest and highest slice on the table; what is far beyond is left out.
    """
    standing = stand(settings.levels, settings.size)
    pose = settings.pose
    low_z, high_z = reach_z_mm[0] - MARGIN_MM, reach_z_mm[1] + MARGIN_MM
    near = [
        v
        for v in standing.vertebrae
        if low_z - 25.0 < pose.to_table(v.frame.origin_lps_mm)[2] < high_z + 25.0
    ]
    bones = tuple(bone_fields(v, pose, settings.quality) for v in near)
    low, high = trunk_box_mm(standing)
    corners = _box_corners(low, high)
    table = pose.to_table(corners)
    box = (table.min(axis=0), table.max(axis=0))
    box[0][2], box[1][2] = max(box[0][2], low_z), min(box[1][2], high_z)
    trunk = trunk_fields(standing, pose, box)
    reach = TableReach(pose, (low_z, high_z))
    layers = tuple(_layers(settings, standing, trunk, reach))
    by_name = {b.name: b for b in bones}
    screws = tuple(placed_screws(settings.screws, by_name))
    metal = metal_fields(screws, settings.rods, METAL_GRID_MM) if screws else ()
    plans = CementPlans(
        settings.vertebroplasties, settings.leaks, settings.tracks, settings.seed
    )
    cements = tuple(placed_cements(plans, by_name, screws, metal))
    islands = tuple(
        island_layer(p, by_name[p.level].shape)
        for p in settings.islands
        if p.level in by_name
    )
    return SpinePatient(
        settings,
        standing,
        bones,
        trunk,
        layers,
        islands,
        screws,
        metal,
        cements,
        (low, high),
        spongy_texture(
            settings.trabecular_share, settings.trabecular_spread, settings.seed
        ),
    )


def _box_corners(low: FloatArray, high: FloatArray) -> FloatArray:
    unit = np.array(np.meshgrid([0, 1], [0, 1], [0, 1])).reshape(3, -1).T
    return np.asarray(low + unit * (high - low))


def _layers(
    settings: PatientSettings,
    standing: StandingSpine,
    trunk: TrunkFields,
    reach: TableReach,
) -> Iterator[TissueLayer]:
    yield from aorta_layers(
        standing, reach, settings.contrast_hu, settings.plaques, settings.seed
    )
    if settings.cava_hu is not None:
        yield from cava_layers(standing, reach, settings.cava_hu)
    yield from canal_layers(standing, reach)
    spine = standing.vertebrae
    sacrum = sacrum_centre_mm(standing.size)
    for upper, lower in zip(spine, (*spine[1:], None), strict=True):
        if lower is not None:
            plate = lower.upper_endplate_mm - fallen_mm(lower) * lower.frame.superior
        else:
            plate = upper.lower_endplate_mm + 0.3 * (sacrum - upper.lower_endplate_mm)
        yield from disc_layers(upper, plate, reach)
    for vertebra in spine:
        yield from rib_layers(vertebra, reach)
    share = settings.trabecular_share
    spongy = Tissue(compact=share, marrow=1.0 - share)
    yield TissueLayer(trunk.pelvis, spongy, COMPACT_BONE, PELVIS_CORTEX_MM)
    if settings.sacralised:
        last = spine[-1]
        for sign in (1.0, -1.0):
            line = last.frame.to_lps_mm(
                np.array(
                    [
                        [sign * 22.0, 12.0, -2.0],
                        [sign * 33.0, 13.0, -10.0],
                        [sign * 40.0, 13.0, -26.0],
                    ]
                )
            )
            on_table = reach.pose.to_table(line)
            for part in tube_fields(on_table, [6.0, 9.0, 11.0], reach.z_mm):
                yield TissueLayer(part, RIB_MARROW, COMPACT_BONE, 0.9)


def _union(
    shapes: tuple[ScalarField, ...] | list[ScalarField], grid: PlaneGrid
) -> Float32Array:
    """Volume fraction of a union of shapes."""
    total = np.zeros(grid.shape, np.float32)
    n = SUPERSAMPLING if grid.cell_mm < 2.0 else 1
    for shape in shapes:
        box = box_of(shape, grid)
        if box is None:
            continue
        fine = grid.crop(box).refine(n)
        share = coverage_of(sample_aligned(shape, fine), fine.cell_mm)
        planes, rows, columns = (count // n for count in share.shape)
        cells = share.reshape(planes, n, rows, n, columns, n).mean(axis=(1, 3, 5))
        total[box] = np.maximum(total[box], cells)
    return total
