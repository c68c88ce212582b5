"""What the measuring functions of the library need to know of a reviewed scan.

A case folder holds volumes, maps and points, but not the state of the analysis. The
levels of tissue and cement are read again from the scan where the maps say they are;
the axes of the vertebrae come from their outlines, and screws from their ends.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from cemscope.anatomy import VertebraLevel
from cemscope.findings import Side
from cemscope.measurement.augmentation import SPINE_MARGIN_MM, AugmentationSettings
from cemscope.measurement.cement_fraction import ImageQuality
from cemscope.segmentation.bodies.vertebra_frame import vertebra_frame
from cemscope.segmentation.cement.cement_level import (
    CementLevel,
    level_of_cores,
    level_of_flanks,
    sample_flanks,
)
from cemscope.segmentation.implants.screw_model import ScrewModel
from cemscope.segmentation.implants.screw_profile import (
    TYPICAL_BLUR_SIGMA_MM,
    ScrewAxis,
    ShaftProfile,
)
from cemscope.segmentation.implants.screw_thread import ThreadEstimate
from cemscope.segmentation.scan_region import (
    Box,
    ScanRegion,
    grown,
    joint,
    widened,
)
from cemscope.segmentation.tissue_levels import TissueLevels, estimate_tissue_levels
from cemscope.spine import Spine, Vertebra, VertebraFrame, VertebraSource
from cemscope.volume import CTVolume, LabelMap
from cemscope_pipelines.report import ScrewEntry, VertebraEntry
from cemscope_pipelines.review.case_maps import CaseMaps
from cemscope_pipelines.review.review_state import ReviewState
from cemscope_pipelines.review.voxel_change import is_cement

MAXIMUM_POINTS = 20_000
"""So many voxels of a body tell its axes."""

FLANK_REACH_MM = 3.5
"""Flanks of cement end within this distance of its core."""

LEAST_CORE_VOXELS = 30
"""Fewer voxels of cement tell no brightness."""

USUAL_CEMENT_HU = 2000.0
"""Cement with 25-30 % opacifier where a scan shows none (900-3,000 HU in the
literature); its spread is the rest of that range."""

USUAL_CEMENT_SPREAD_HU = 500.0


@dataclass(frozen=True, slots=True, eq=False)
class ScanContext:
    """A scan, its spine and its levels of brightness.

    Attributes
    ----------
    ct : CTVolume
        The scan.
    boxes : dict
        Box of body and arch in the scan's arrays, by the machine's level name.
    frames : dict
        Axes, by the machine's level name.
    levels : TissueLevels
        Marrow, cortex and noise.
    cement : CementLevel
        Brightness of pure cement.
    settings : AugmentationSettings
        Tunables of the analysis.
    """

    ct: CTVolume
    boxes: dict[str, Box]
    frames: dict[str, VertebraFrame]
    levels: TissueLevels
    cement: CementLevel
    settings: AugmentationSettings

    @classmethod
    def of_case(
        cls,
        ct: CTVolume,
        maps: CaseMaps,
        state: ReviewState,
        settings: AugmentationSettings | None = None,
    ) -> "ScanContext":
        """Read the levels of a scan from where its maps say they are."""
        settings = settings or AugmentationSettings()
        found = ndimage.find_objects(maps.vertebrae)
        boxes: dict[str, Box] = {}
        for entry in state.vertebrae:
            level = VertebraLevel(entry.level)
            parts = tuple(
                found[number - 1]
                for number in (level.number, level.arch_number)
                if number <= len(found) and found[number - 1] is not None
            )
            if parts:
                boxes[entry.level] = joint(parts)
        frames = {
            entry.level: _frame(entry, maps, boxes, state) for entry in state.vertebrae
        }
        spine = _spine(maps, state, frames)
        if boxes:
            box = widened(joint(tuple(boxes.values())), SPINE_MARGIN_MM, maps.geometry)
        else:
            box = (slice(0, 1), slice(0, 1), slice(0, 1))
        region = ScanRegion.of_box(ct, spine.labels, box)
        levels = estimate_tissue_levels(
            region, spine, ct.clipped_at_hu, settings.cement.levels
        )
        cement = _cement_level(region, is_cement(maps.materials[box]), levels)
        return cls(ct, boxes, frames, levels, cement, settings)

    def spine(self, maps: CaseMaps, state: ReviewState) -> Spine:
        """Vertebrae with their outlines as they are now."""
        return _spine(maps, state, self.frames)

    @property
    def quality(self) -> ImageQuality:
        """Noise, blur and ceiling of the scan."""
        blur_mm = self.cement.blur_mm or TYPICAL_BLUR_SIGMA_MM
        return ImageQuality(blur_mm, self.levels.noise_hu, self.ct.clipped_at_hu)


def _frame(
    entry: VertebraEntry, maps: CaseMaps, boxes: dict[str, Box], state: ReviewState
) -> VertebraFrame:
    origin = np.asarray(entry.centroid_lps_mm, float)
    places = [other.level for other in state.vertebrae]
    here = places.index(entry.level)
    below = state.vertebrae[here - 1].centroid_lps_mm if here > 0 else None
    above = (
        state.vertebrae[here + 1].centroid_lps_mm
        if here + 1 < len(state.vertebrae)
        else None
    )
    plain = VertebraFrame(
        origin,
        np.array([1.0, 0.0, 0.0]),
        np.array([0.0, 1.0, 0.0]),
        np.array([0.0, 0.0, 1.0]),
    )
    if entry.level not in boxes:
        return plain
    box = boxes[entry.level]
    level = VertebraLevel(entry.level)
    geometry = maps.geometry.crop(box)
    body = np.argwhere(maps.vertebrae[box] == level.number)
    arch = np.argwhere(maps.vertebrae[box] == level.arch_number)
    step = max(1, len(body) // MAXIMUM_POINTS)
    behind = geometry.index_to_lps(arch).mean(axis=0) if len(arch) else None
    try:
        return vertebra_frame(geometry.index_to_lps(body[::step]), behind, above, below)
    except ValueError:
        return plain


def _spine(
    maps: CaseMaps, state: ReviewState, frames: dict[str, VertebraFrame]
) -> Spine:
    vertebrae = tuple(
        Vertebra(
            VertebraLevel(entry.level),
            entry.level_confidence,
            VertebraSource(entry.source),
            entry.complete,
            frames[entry.level],
            entry.body_volume_ml,
        )
        for entry in state.vertebrae
    )
    # A view: the label map locks the array it is given.
    return Spine(LabelMap(maps.vertebrae.view(), maps.geometry), vertebrae)


def _cement_level(
    region: ScanRegion, cement: np.ndarray, levels: TissueLevels
) -> CementLevel:
    core = ndimage.binary_erosion(cement)
    values = region.hu[core]
    if values.size < LEAST_CORE_VOXELS:
        values = region.hu[cement]
    if values.size < LEAST_CORE_VOXELS:
        return CementLevel(USUAL_CEMENT_HU, USUAL_CEMENT_SPREAD_HU, False)
    level = level_of_cores(values.astype(np.float64), levels.ceiling_hu)
    if not level.clipped:
        return level
    near = grown(core, FLANK_REACH_MM, region.geometry)
    spacing_mm = region.geometry.spacing_mm
    samples = sample_flanks(region.hu, near, spacing_mm, float(levels.ceiling_hu or 0))
    return level_of_flanks(samples, spacing_mm, levels)


def screw_model(entry: ScrewEntry) -> ScrewModel:
    """Smooth cylinder between the ends of a screw, for distances to its shaft."""
    head = np.asarray(entry.head_lps_mm, float)
    way = np.asarray(entry.tip_lps_mm, float) - head
    length_mm = max(float(np.linalg.norm(way)), 1e-3)
    radius_mm = 0.5 * entry.diameter_mm
    return ScrewModel(
        level=entry.level,
        side=Side(entry.side),
        axis=ScrewAxis(head, way / length_mm),
        neck_mm=0.0,
        tip_mm=length_mm,
        shaft=ShaftProfile(radius_mm, TYPICAL_BLUR_SIGMA_MM, 3000.0),
        thread=ThreadEstimate(radius_mm, 0.0),
        tip_uncertainty_mm=0.0,
        free_length_mm=length_mm,
    )
