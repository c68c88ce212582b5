"""Everything that was implanted: screws, other metal, cement and its leaks.

The one entry that pipelines call: `measure_augmentation`.
"""

import logging
from dataclasses import dataclass, field, replace

import numpy as np

from cemscope.findings import (
    CementElsewhere,
    CementVolume,
    Interval,
    Leak,
    MetalVolume,
    NotAssessed,
    Screw,
    TotalCement,
)
from cemscope.measurement.augmentation_notices import cut_notices, scan_notices
from cemscope.measurement.beyond_spine import beyond_notices
from cemscope.measurement.cement_contour import measure_contours, settle_fringe
from cemscope.measurement.cement_fraction import (
    ImageQuality,
    assign_owners,
    map_fractions,
)
from cemscope.measurement.cement_rim import RimOfVertebra, measure_cement_rims
from cemscope.measurement.cement_volume import (
    CementCluster,
    ScanModel,
    VolumeSettings,
    detection_limit_ml,
    measure_volumes,
)
from cemscope.measurement.cortex_doubt import (
    cement_at_cortex_ml,
    cortex_counts,
    cortex_notices,
    doubt_cortex,
)
from cemscope.measurement.dense_bone import bone_notices, doubt_bone, faint_cut_levels
from cemscope.measurement.distant_cement import SpinalCement, find_distant_cement
from cemscope.measurement.distant_rules import DistantSettings
from cemscope.measurement.leak_doubts import LevelDoubts, doubt_notices
from cemscope.measurement.leakage import LeakageSettings, find_leaks
from cemscope.measurement.lucency_surface import LucencyMap, LucencySettings
from cemscope.measurement.refused_levels import MetalDoubts
from cemscope.measurement.screw_cement import (
    hidden_cement_ml,
    screw_findings,
    screw_metal,
    shaft_doubts,
)
from cemscope.measurement.screw_lucency import LUCENCY, add_lucency
from cemscope.measurement.total_cement import (
    VertebraCement,
    total_cement,
    total_notices,
)
from cemscope.segmentation.cement.cement import find_cement
from cemscope.segmentation.cement.cement_level import CementLevel
from cemscope.segmentation.cement.cement_settings import CementSettings
from cemscope.segmentation.implants.metal import (
    MetalSettings,
    find_distant_metal,
    map_spinal_metal,
    metal_core_level_hu,
)
from cemscope.segmentation.implants.metal_doubts import doubted_metal_notices
from cemscope.segmentation.implants.screw_profile import TYPICAL_BLUR_SIGMA_MM
from cemscope.segmentation.implants.screws import (
    ScrewModel,
    ScrewSettings,
    search_screws,
)
from cemscope.segmentation.implants.shaft_rim import shell_ml, subtract_shafts
from cemscope.segmentation.implants.unexplained_metal import (
    lowest_head_hu,
    lowest_shaft_hu,
    unexplained_metal,
)
from cemscope.segmentation.scan_region import Box, ScanRegion, box_around
from cemscope.segmentation.tissue_levels import estimate_tissue_levels
from cemscope.spine import Spine
from cemscope.volume import CTVolume, LabelArray, LabelMap, Notice

log = logging.getLogger(__name__)

CEMENT, LEAK, SCREW, OTHER_METAL = 1, 2, 3, 4
MATERIAL_NAMES = {
    CEMENT: "cement",
    LEAK: "leaked cement",
    SCREW: "screw",
    OTHER_METAL: "other metal",
    LUCENCY: "lucency",
}

SPINE_MARGIN_MM = 40.0
"""Implants and leaks are searched this far around the vertebrae: heads and rods lie
up to 30 mm behind the arches."""


@dataclass(frozen=True, slots=True)
class AugmentationSettings:
    """Every tunable of the measurement, by structure."""

    metal: MetalSettings = field(default_factory=MetalSettings)
    screws: ScrewSettings = field(default_factory=ScrewSettings)
    cement: CementSettings = field(default_factory=CementSettings)
    volume: VolumeSettings = field(default_factory=VolumeSettings)
    leakage: LeakageSettings = field(default_factory=LeakageSettings)
    elsewhere: DistantSettings = field(default_factory=DistantSettings)
    lucency: LucencySettings = field(default_factory=LucencySettings)


@dataclass(frozen=True, slots=True, eq=False)
class Augmentation:
    """What was implanted into one scan.

    Attributes
    ----------
    materials : LabelMap
        On the scan's grid, numbered as in `MATERIAL_NAMES`.
    cement : tuple of VertebraCement
        One per vertebra of the spine, from the lowest upwards.
    leaks, elsewhere, screws, metal
        Findings; see `cemscope.findings`.
    total : TotalCement or NotAssessed
        Sums over all assessed vertebrae; not assessed where none is.
    notices : tuple of Notice
        What a reader of the numbers should know.
    models : tuple of ScrewModel
        The fitted screws, in the order of ``screws``.
    surfaces : tuple of LucencyMap or None
        Their unrolled surfaces; None where it was not looked at.
    cement_rims : tuple of RimOfVertebra
        Around the cement of the bodies.
    """

    materials: LabelMap
    cement: tuple[VertebraCement, ...]
    leaks: tuple[Leak, ...]
    elsewhere: tuple[CementElsewhere, ...]
    screws: tuple[Screw, ...]
    metal: tuple[MetalVolume, ...]
    total: TotalCement | NotAssessed
    notices: tuple[Notice, ...]
    models: tuple[ScrewModel, ...] = ()
    surfaces: tuple[LucencyMap | None, ...] = ()
    cement_rims: tuple[RimOfVertebra, ...] = ()


def measure_augmentation(
    ct: CTVolume, spine: Spine, settings: AugmentationSettings | None = None
) -> Augmentation:
    """Find and measure screws, metal, cement and leaks of a scan.

    Parameters
    ----------
    ct
        The scan.
    spine
        Its vertebrae on the same grid.
    settings
        Tunables; None for the defaults.

    Returns
    -------
    Augmentation
        Volumes with 95 % intervals; what cannot be assessed says so.
    """
    settings = settings or AugmentationSettings()
    materials = np.zeros(ct.geometry.shape, np.uint8)
    box = box_around(spine.labels.labels > 0, ct.geometry, SPINE_MARGIN_MM)
    distant = find_distant_metal(ct, box, settings.metal)
    for _, inside, part in distant:
        materials[part][inside] = OTHER_METAL
    if box is None or not spine.vertebrae:
        metal_volumes = tuple(volume for volume, _, _ in distant)
        return Augmentation(
            LabelMap(materials, ct.geometry, MATERIAL_NAMES),
            (), (), (), (), metal_volumes,
            NotAssessed("no vertebra is in view"),
            (Notice("no_vertebra", "No vertebra in view: cement was not assessed."),),
        )  # fmt: skip
    found = _measure_region(ct, spine, box, settings)
    materials[box] = np.where(found.materials > 0, found.materials, materials[box])
    away = find_distant_cement(ct, spine, found.known, settings.elsewhere)
    metal_volumes = away.mark(materials, LEAK, distant)
    screws, surfaces = add_lucency(
        ct, spine, materials, found.models, found.screws, settings.lucency
    )
    return Augmentation(
        LabelMap(materials, ct.geometry, MATERIAL_NAMES),
        found.cement,
        found.leaks,
        away.findings,
        screws,
        found.metal + metal_volumes,
        total_cement(found.cement),
        found.notices
        + away.notices
        + total_notices(found.cement, spine)
        + beyond_notices(ct, spine, materials, (CEMENT, LEAK, SCREW)),
        found.models,
        surfaces,
        measure_cement_rims(ct, spine, materials, found.blur_mm, settings.lucency),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _RegionResult:
    materials: LabelArray
    cement: tuple[VertebraCement, ...]
    leaks: tuple[Leak, ...]
    screws: tuple[Screw, ...]
    metal: tuple[MetalVolume, ...]
    notices: tuple[Notice, ...]
    models: tuple[ScrewModel, ...]
    blur_mm: float
    known: SpinalCement


def _measure_region(
    ct: CTVolume, spine: Spine, box: Box, settings: AugmentationSettings
) -> _RegionResult:
    region = ScanRegion.of_box(ct, spine.labels, box)
    levels = estimate_tissue_levels(
        region, spine, ct.clipped_at_hu, settings.cement.levels
    )
    levels = replace(
        levels,
        kvp=ct.acquisition.kvp,
        slice_thickness_mm=ct.acquisition.slice_thickness_mm,
    )
    core_level = metal_core_level_hu(region, ct.clipped_at_hu, settings.metal)
    search = search_screws(ct, spine, core_level, settings.screws)
    screws = search.screws
    metal = map_spinal_metal(
        region, spine, screws, core_level, settings.metal, ct.acquisition.kvp
    )
    log.info(
        "levels %s; %d screws, metal above %.0f HU", levels, len(screws), core_level
    )
    tissue = subtract_shafts(region, metal, screws, settings.metal, settings.cement.rim)
    unexplained = unexplained_metal(
        region,
        spine,
        search,
        metal,
        tissue,
        lowest_shaft_hu(core_level, ct.clipped_at_hu is not None),
        lowest_head_hu(ct.acquisition.kvp, ct.clipped_at_hu is not None),
    )
    in_view = frozenset(v.level.name for v in spine.vertebrae)
    unclear = MetalDoubts.of(region, screws, unexplained, in_view, ct.acquisition.kvp)
    found = find_cement(
        region, spine, tissue, levels, settings.cement, unclear.unclear_levels
    )
    level = found.level
    doubtful = unclear.refused_levels(level, levels.marrow_hu)
    faint_cut = faint_cut_levels(level, spine)
    like_cortex = cortex_counts(level, levels, settings.cement)
    unlike = found.dark_levels | faint_cut
    untold = doubtful | unlike
    hidden = LevelDoubts.of(unclear, doubtful, unlike)
    materials = np.zeros(region.hu.shape, np.uint8)
    materials[metal.hardware == 1] = SCREW
    materials[metal.hardware >= 2] = OTHER_METAL
    materials[metal.shafts > 0] = SCREW
    names = tuple((v.level.name, v.body_volume_ml) for v in spine.vertebrae)
    clusters: list[CementCluster] = []
    leaks: list[Leak] = []
    streaks: list[Notice] = []
    measured: tuple[CementVolume | NotAssessed | None, ...] = (None,) * len(names)
    refused = [k for k, (name, _) in enumerate(names, start=1) if name in untold]
    layers = tuple(layer for part in found.parts for layer in part.layers)
    doubts = shaft_doubts(screws, spine, level, layers)
    blur_mm = _blur_mm(level, screws)
    if level is not None:
        quality = ImageQuality(blur_mm, levels.noise_hu, ct.clipped_at_hu)
        for part in found.parts:
            fractions = map_fractions(part, level, levels, quality, settings.cement)
            owners = assign_owners(fractions, spine)
            contours = measure_contours(fractions, owners, level, levels)
            fractions = settle_fringe(fractions, owners, contours)
            already = tuple(
                sum(leak.level == name for leak in leaks) for name, _ in names
            )
            new, numbers, unsure = find_leaks(
                fractions,
                owners,
                spine,
                screws,
                settings.leakage,
                already,
                hidden,
                region,
            )
            leaks.extend(new)
            streaks.extend(unsure)
            clusters.append(CementCluster(fractions, owners, numbers, contours))
            view = materials[_inner(part.region, region)]
            filled = (fractions.fraction >= 0.5) & (owners.owner > 0) & (view == 0)
            filled &= (numbers > 0) | ~np.isin(owners.owner, refused)
            view[filled] = np.where(numbers[filled] > 0, LEAK, CEMENT)
        summed = measure_volumes(
            tuple(clusters),
            names,
            ScanModel(level, levels, quality),
            doubts,
            settings.volume,
        )
        if like_cortex:
            at_cortex_ml = cement_at_cortex_ml(tuple(clusters), spine)
            summed = doubt_cortex(summed, at_cortex_ml)
        measured = doubt_bone(summed, level, found.dark_levels, faint_cut)
    # Where no level is sure to hold cement, its brightness is not known.
    sure = any(
        isinstance(value, CementVolume) and name not in untold
        for value, (name, _) in zip(measured, names, strict=True)
    )
    beside = shell_ml(region, spine, tissue)
    cement = tuple(
        _vertebra_cement(
            spine,
            index,
            value,
            detection_limit_ml(ct.geometry, levels, settings.cement)
            + hidden_cement_ml(doubts[index], beside[index]),
        )
        for index, value in enumerate(measured)
    )
    cement = tuple(
        VertebraCement(
            item.level,
            unclear.judged(item.level, item.cement, level, levels.marrow_hu),
        )
        for item in cement
    )
    return _RegionResult(
        materials,
        cement,
        tuple(leaks),
        screw_findings(screws, clusters, spine, doubtful, faint_cut),
        screw_metal(screws, metal, region) + metal.volumes,
        scan_notices(levels, screws, level)
        + bone_notices(level, found.dark_levels)
        + unclear.bright_notices(level)
        + cortex_notices(like_cortex, level)
        + doubt_notices(tuple(leaks), hidden)
        + tuple(streaks)
        + tuple(search.notices)
        + doubted_metal_notices(region, metal.hardware, screws, ct.clipped_at_hu)
        + cut_notices(spine, measured),
        screws,
        blur_mm,
        SpinalCement(
            region,
            materials > 0,
            materials >= SCREW,
            tuple((c.fractions.part.region.box, c.fractions.halo) for c in clusters),
            level if sure else None,
            levels,
        ),
    )


def _inner(inner: ScanRegion, outer: ScanRegion) -> Box:
    parts = [
        slice(a.start - b.start, a.stop - b.start)
        for a, b in zip(inner.box, outer.box, strict=True)
    ]
    return parts[0], parts[1], parts[2]


def _blur_mm(level: CementLevel | None, screws: tuple[ScrewModel, ...]) -> float:
    """Blur of the scan: from flanks of cement, else of the shafts, else the usual."""
    if level is not None and level.blur_mm is not None:
        return level.blur_mm
    if not screws:
        return TYPICAL_BLUR_SIGMA_MM
    return float(np.median([screw.shaft.sigma_mm for screw in screws]))


def _vertebra_cement(
    spine: Spine, index: int, value: CementVolume | NotAssessed | None, limit_ml: float
) -> VertebraCement:
    vertebra = spine.vertebrae[index]
    name = vertebra.level.name
    if value is None and not vertebra.complete:
        reason = "only part of the vertebra is outlined, and no cement was found in it"
        return VertebraCement(name, NotAssessed(reason))
    if value is None:
        return VertebraCement(
            name, CementVolume(name, 0.0, Interval(0.0, limit_ml), 0.0, 0.0, 0.0, 0.0)
        )
    return VertebraCement(name, value)
