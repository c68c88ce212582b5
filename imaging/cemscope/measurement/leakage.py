"""Cement outside the closed surface of a vertebral body: how much, where, by which way.

The one entry is `find_leaks`.
"""

from dataclasses import dataclass, field

import numpy as np

from cemscope.findings import Certainty, Leak
from cemscope.measurement.canal_encroachment import (
    Encroachment,
    canal_encroachment,
)
from cemscope.measurement.cement_fraction import FractionMap, Ownership
from cemscope.measurement.leak_doubts import (
    DoubtSettings,
    LevelDoubts,
    doubted,
    doubted_outline,
    stands_out,
    streaks_notice,
    sure_share,
    touches_metal,
    unsure_volume,
)
from cemscope.measurement.leak_enclosure import ends_early, is_walled
from cemscope.measurement.leak_path import leak_course
from cemscope.measurement.leak_pieces import (
    LeakPiece,
    PieceLimits,
    PieceVoxels,
    find_pieces,
    voxels_of_pieces,
)
from cemscope.measurement.leak_regions import (
    PLACES,
    VertebraRegions,
    find_regions,
    location_names,
)
from cemscope.measurement.leak_signs import SeenLeak, exit_signs, leak_evidence
from cemscope.measurement.leak_types import TypeSettings, argue
from cemscope.segmentation.implants.screws import ScrewModel
from cemscope.segmentation.scan_region import ScanRegion
from cemscope.spine import Spine, VertebraSource
from cemscope.volume import LabelArray, Notice


@dataclass(frozen=True, slots=True)
class LeakageSettings:
    """What counts as a leak [our operational definition].

    Attributes
    ----------
    minimum_distance_mm
        Cement nearer to the surface of the bone abuts the cortex.
    minimum_reach_mm, embedded_reach_mm
        A leak's furthest point, for imported and for embedded outlines: more than
        their usual error.
    minimum_volume_ml, minimum_voxels
        Smaller pieces are not told from blur.
    told_streaks_ml
        What was taken for streaks of metal is named from this volume on.
    place_share
        A place is named if it holds at least this share of a leak.
    streaky_from_share
        Where streaks of metal read as this share of cement, a leak must have a core.
    streaky_core_share
        Least part of such a leak in voxels that are nearly pure cement.
    types
        Limits between the types.
    refused
        What counts at levels whose cement is refused because of metal.
    """

    minimum_distance_mm: float = 1.0
    minimum_reach_mm: float = 1.6
    embedded_reach_mm: float = 2.0
    minimum_volume_ml: float = 0.02
    minimum_voxels: int = 27
    told_streaks_ml: float = 0.05
    place_share: float = 0.2
    streaky_from_share: float = 0.25
    streaky_core_share: float = 0.45
    types: TypeSettings = field(default_factory=TypeSettings)
    refused: DoubtSettings = field(default_factory=DoubtSettings)


def find_leaks(
    fractions: FractionMap,
    owners: Ownership,
    spine: Spine,
    screws: tuple[ScrewModel, ...],
    settings: LeakageSettings,
    first_numbers: tuple[int, ...],
    doubts: LevelDoubts | None = None,
    whole: ScanRegion | None = None,
) -> tuple[tuple[Leak, ...], LabelArray, tuple[Notice, ...]]:
    """Find the leaks of one cluster of cement.

    Parameters
    ----------
    fractions, owners
        Cement of the cluster, and the vertebra of each voxel.
    spine
        All vertebrae.
    screws
        All screws of the scan.
    settings
        Limits.
    first_numbers
        Number of leaks already found per vertebra; the ids count on from there.
    doubts
        Levels whose cement is refused; None for none.
    whole
        The spine with margin: where cement hides a wall, the other half of the
        vertebra is looked at.

    Returns
    -------
    tuple of Leak
        The largest of each vertebra first.
    ndarray of uint8
        Number of the leak (from 1, in the order of the first result) per voxel.
    tuple of Notice
        What was taken for streaks of metal, but may be a leak.
    """
    numbers = np.zeros(fractions.fraction.shape, np.uint8)
    leaks: list[Leak] = []
    notices: list[Notice] = []
    doubts = doubts or LevelDoubts()
    for number, vertebra in enumerate(spine.vertebrae, start=1):
        name = vertebra.level.name
        if name in doubts.unlike:
            continue
        embedded = vertebra.source is VertebraSource.EMBEDDED
        # Outlines by brightness may hold all of a leak.
        if not embedded and not _may_leak(fractions, owners, number, settings):
            continue
        if not (owners.owner == number).any():
            continue
        regions = find_regions(fractions, owners, spine, number, whole)
        if regions is None:
            continue
        limits = PieceLimits(
            settings.minimum_distance_mm,
            settings.embedded_reach_mm if embedded else settings.minimum_reach_mm,
            settings.minimum_volume_ml,
            embedded,
        )
        least = None
        if name in doubts.metal:
            least = sure_share(regions, settings.refused)
        pieces = find_pieces(regions, limits, least)
        voxels = voxels_of_pieces(pieces, regions, fractions, owners, number)
        count = first_numbers[number - 1]
        for piece, found in zip(pieces, voxels, strict=True):
            solid = int((found.share >= 0.35).sum())
            small = found.volume_ml < settings.minimum_volume_ml
            if name in doubts.metal:
                small |= not stands_out(
                    piece, found.volume_ml, regions, doubts.metal[name],
                    settings.refused,
                )  # fmt: skip
            elif not small and solid >= settings.minimum_voxels:
                small = _feigned(piece, found, regions, settings)
                if small and found.volume_ml >= settings.told_streaks_ml:
                    notices.append(streaks_notice(name, found.volume_ml))
            if small or solid < settings.minimum_voxels or len(leaks) >= 255:
                continue
            if embedded and (is_walled(piece, regions) or ends_early(piece, regions)):
                continue
            count += 1
            leak_id = f"{name}-{count}"
            leak = _described(leak_id, piece, found, regions, screws, settings)
            if touches_metal(piece, regions):
                leak = unsure_volume(leak)
            if embedded and not regions.vertebra.complete:
                leak = doubted_outline(leak)
            leaks.append(doubted(leak, doubts) if name in doubts.metal else leak)
            numbers[tuple(found.index.T)] = len(leaks)
    return tuple(leaks), numbers, tuple(notices)


CORE_SHARE = 0.7
"""Cement of a leak's core fills so much of a voxel."""

OVER_STREAKS = 1.5
"""What exceeds the brightest streaks by this factor is no streak [our choice]."""

BESIDE_METAL_MM = 12.0
BRIGHTEST, LEAST_BRIGHTEST = 0.9, 0.6
"""So near to metal the brightest tenth of a leak reaches this share, whatever the
streaks in its planes: single crests between two shafts leave them [our choice]."""


def _feigned(
    piece: LeakPiece,
    found: PieceVoxels,
    regions: VertebraRegions,
    settings: LeakageSettings,
) -> bool:
    """Tell whether streaks of metal may have made a piece: it has hardly a core."""
    if not len(found.index):
        return True
    streaks = regions.grid.at(regions.streak_share, found.local_mm)
    if float(np.median(streaks)) < settings.streaky_from_share:
        beside = regions.metal_mm[piece.cells] <= BESIDE_METAL_MM
        brightest = float(np.quantile(found.share, BRIGHTEST))
        return float(beside.mean()) >= 0.5 and brightest < LEAST_BRIGHTEST
    weights = np.maximum(found.share, 0.0)
    # A vein narrower than the blur never fills a voxel.
    full = min(CORE_SHARE, OVER_STREAKS * float(np.median(streaks)))
    core = float(weights[found.share >= full].sum())
    return core < settings.streaky_core_share * float(weights.sum())


def _may_leak(
    fractions: FractionMap, owners: Ownership, number: int, settings: LeakageSettings
) -> bool:
    """Tell by the plain outlines whether a closer look is worth its time."""
    solid = (owners.owner == number) & fractions.halo & (fractions.fraction >= 0.35)
    outside = solid & ~owners.inside & (owners.outside_mm > 0.0)
    if not outside.any():
        return bool((solid & owners.bone).any())
    return bool(owners.outside_mm[outside].max() >= settings.minimum_distance_mm)


def _described(
    leak_id: str,
    piece: LeakPiece,
    found: PieceVoxels,
    regions: VertebraRegions,
    screws: tuple[ScrewModel, ...],
    settings: LeakageSettings,
) -> Leak:
    name = regions.vertebra.level.name
    weights = np.maximum(found.share, 0.0)
    cell = np.rint(regions.grid.index_of(found.local_mm)).astype(int)
    codes = regions.places[tuple(cell.T)]
    places = location_names(codes, weights, settings.place_share)
    centre_mm = np.average(found.local_mm, axis=0, weights=weights)
    x, y, z = (float(v) for v in regions.vertebra.frame.to_lps_mm(centre_mm))
    seen = SeenLeak(
        regions,
        found,
        leak_course(piece, regions),
        np.bincount(codes, weights, minlength=len(PLACES)) / weights.sum(),
        tuple(screw for screw in screws if screw.level == name),
    )
    canal = canal_encroachment(piece.cells, regions)
    signs = tuple(exit_signs(way, seen) for way in seen.course.exits)
    arguments = tuple(argue(one, settings.types) for one in signs)
    sure = bool(arguments) and all(one.rival is None for one in arguments)
    return Leak(
        leak_id=leak_id,
        level=name,
        types=tuple(dict.fromkeys(argument.leak_type for argument in arguments)),
        certainty=Certainty.DEFINITE if sure else Certainty.INDETERMINATE,
        locations=places,
        volume_ml=found.volume_ml,
        max_distance_mm=piece.distance_mm,
        centroid_lps_mm=(x, y, z),
        canal_encroachment_percent=(
            canal.percent if isinstance(canal, Encroachment) else canal
        ),
        evidence=leak_evidence(seen, signs, arguments, places, canal),
    )
