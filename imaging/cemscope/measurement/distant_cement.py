"""Cement that left the vertebrae for good: great veins, lungs, muscle.

The one entry is `find_distant_cement`. What is as bright as this scan's own cement, is
no bone, no metal and no calcification, and lies where cement goes, is listed. What
could be something else is told in a notice for a reader to look at, and is not listed.
"""

import logging
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from cemscope.findings import CementElsewhere, MetalVolume
from cemscope.measurement.coarse_scan import (
    CoarseScan,
    aerated_lung,
    has_contrast_medium,
)
from cemscope.measurement.dense_object import (
    DenseObject,
    IndexArray,
    cement_ml,
    connected,
    flank_mm,
    measure_object,
    object_box,
)
from cemscope.measurement.distant_notices import (
    SearchedRoom,
    room_notices,
    uncertain_notices,
    unsearched_notice,
)
from cemscope.measurement.distant_places import body_extents, place_of, veins_in_view
from cemscope.measurement.distant_rules import (
    DistantSettings,
    MetalSigns,
    RuleContext,
    calcification_hu,
    judge,
)
from cemscope.segmentation.cement.cement_level import CementLevel
from cemscope.segmentation.scan_region import Box, ScanRegion, box_of
from cemscope.segmentation.tissue_levels import TissueLevels
from cemscope.spine import Spine
from cemscope.volume import BoolArray, CTVolume, LabelArray, Notice

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class SpinalCement:
    """What was found around the vertebrae: it is not searched for again.

    Attributes
    ----------
    region : ScanRegion
        The spine with its margin.
    taken, metal : ndarray of bool
        Cement, leaks and metal on the region; and the metal alone.
    owned : tuple of (box, ndarray of bool)
        Voxels of the scan that hold cement of vertebrae, with their blur.
    level : CementLevel or None
        How bright cement is in this scan; None where no vertebra shows it surely.
    levels : TissueLevels
        Bone of this scan.
    """

    region: ScanRegion
    taken: BoolArray
    metal: BoolArray
    owned: tuple[tuple[Box, BoolArray], ...]
    level: CementLevel | None
    levels: TissueLevels


@dataclass(frozen=True, slots=True, eq=False)
class DistantCement:
    """What was found away from the vertebrae.

    Attributes
    ----------
    findings : tuple of CementElsewhere
        The largest first.
    voxels : tuple of (box, ndarray of bool)
        Where each lies in the scan.
    notices : tuple of Notice
        What could not be told, was not in view or was not searched.
    """

    findings: tuple[CementElsewhere, ...]
    voxels: tuple[tuple[Box, BoolArray], ...]
    notices: tuple[Notice, ...]

    def mark(
        self,
        materials: LabelArray,
        number: int,
        metal: tuple[tuple[MetalVolume, BoolArray, Box], ...],
    ) -> tuple[MetalVolume, ...]:
        """Write the cement into a map of the whole scan.

        Parameters
        ----------
        materials
            Changed in place.
        number
            Of leaked cement.
        metal
            Bright parts that were taken for metal before, by `find_distant_metal`.

        Returns
        -------
        tuple of MetalVolume
            Those that are no cement.
        """
        mistaken: set[int] = set()
        for box, voxels in self.voxels:
            for place, (_, inside, part) in enumerate(metal):
                own = np.zeros(voxels.shape, np.bool_)
                _add(own, box, (part, inside))
                if (own & voxels).any():
                    mistaken.add(place)
                    materials[part][inside] = 0
        for box, voxels in self.voxels:
            materials[box][voxels] = number
        return tuple(
            volume for k, (volume, _, _) in enumerate(metal) if k not in mistaken
        )


def find_distant_cement(
    ct: CTVolume,
    spine: Spine,
    known: SpinalCement,
    settings: DistantSettings | None = None,
) -> DistantCement:
    """Search a whole scan for cement that belongs to no vertebra.

    Parameters
    ----------
    ct, spine
        The scan and its vertebrae.
    known
        What is known of the spine's own cement and metal.
    settings
        Limits; None for the defaults.
    """
    settings = settings or DistantSettings()
    if known.level is None:
        return DistantCement((), (), (unsearched_notice(),))
    extents = body_extents(spine.labels.labels, ct, spine)
    coarse = CoarseScan.of_scan(ct, spine)
    lung = aerated_lung(coarse, spine)
    fronts = tuple(extent.front_mm for extent in extents)
    context = RuleContext(
        level_hu=known.level.hu,
        clipped=known.level.clipped,
        ceiling_hu=ct.clipped_at_hu,
        calcification_hu=calcification_hu(known.levels),
        contrast_medium=has_contrast_medium(coarse, spine, fronts),
        own_flank_mm=_own_flank_mm(ct, known),
        coarse=coarse,
        lung=lung,
        settings=settings,
    )
    verdicts = []
    for piece in _bright_pieces(ct, spine, known, coarse, context):
        faint = np.quantile(ct.hu[tuple(piece.T)], 0.9) < context.soft_least_hu
        if faint and not _in_lung(piece, coarse, lung):
            continue
        found = _measured(ct, spine, known, piece)
        if found is None:
            continue
        in_lung = context.beside_lung(found)
        place = place_of(found.centre_lps_mm, spine, extents, in_lung=in_lung)
        signs = MetalSigns(
            _metal_share(known, found, settings), _flank_of(ct, known, found)
        )
        verdict = judge(found, place, signs, context)
        if verdict is not None:
            verdicts.append(verdict)
    findings, voxels = [], []
    sure = [one for one in verdicts if not one.doubt]
    for verdict in sorted(sure, key=lambda one: -one.found.volume_ml):
        found = verdict.found
        ml = cement_ml(ct, found, known.level.hu, settings.rim_mm)
        x, y, z = (float(v) for v in found.centre_lps_mm)
        findings.append(CementElsewhere(verdict.place.location, ml, (x, y, z)))
        voxels.append((found.box, found.voxels))
    doubtful = tuple(one for one in verdicts if one.doubt)
    log.info("%d pieces of distant cement, %d doubtful", len(findings), len(doubtful))
    room = SearchedRoom(
        veins_in_view(spine, extents, ct),
        float(lung.sum()) * coarse.cell_ml,
        _cut_lung(lung),
        context.contrast_medium,
        context.soft_limit_hu <= settings.highest_share * known.level.hu,
    )
    notices = room_notices(room) + uncertain_notices(doubtful)
    return DistantCement(tuple(findings), tuple(voxels), notices)


def _bright_pieces(
    ct: CTVolume,
    spine: Spine,
    known: SpinalCement,
    coarse: CoarseScan,
    context: RuleContext,
) -> list[IndexArray]:
    """Connect the voxels that are looked at, neither vertebra nor known."""
    limit = context.candidate_hu
    slab = coarse.steps[0]
    parts = []
    for k in range(len(coarse.max_hu)):
        if int(coarse.max_hu[k].max()) < limit:
            continue
        start, stop = k * slab, min((k + 1) * slab, ct.hu.shape[0])
        bright = ct.hu[start:stop] >= limit
        bright &= spine.labels.labels[start:stop] == 0
        for box, mask in (
            (known.region.box, known.taken),
            *known.owned,
        ):
            low, high = max(box[0].start, start), min(box[0].stop, stop)
            if low >= high:
                continue
            inner = mask[low - box[0].start : high - box[0].start]
            bright[low - start : high - start, box[1], box[2]] &= ~inner
        index = np.argwhere(bright)
        index[:, 0] += start
        parts.append(index)
    index = np.concatenate(parts) if parts else np.zeros((0, 3), np.int64)
    pieces = connected(index, ct.geometry.shape)
    settings = context.settings
    voxel_ml = ct.geometry.voxel_volume_mm3 / 1000.0
    kept = [
        piece
        for piece in pieces
        if len(piece) >= settings.minimum_voxels
        and settings.minimum_core_ml
        <= len(piece) * voxel_ml
        <= settings.maximum_volume_ml
        and _reach_mm(piece, ct) <= settings.longest_mm
    ]
    kept.sort(key=len, reverse=True)
    return kept[: settings.most_objects]


def _reach_mm(piece: IndexArray, ct: CTVolume) -> float:
    """Diagonal of the box around a piece."""
    extent = np.ptp(piece, axis=0) * np.array(ct.spacing_mm)
    return float(np.linalg.norm(extent))


IN_LUNG_SHARE = 0.3
"""Least share of lung among the cells around a faint object that is looked at."""


def _in_lung(piece: IndexArray, coarse: CoarseScan, lung: BoolArray) -> bool:
    """Tell by its cells whether lung may surround an object: not so beside a rib."""
    cells = np.unique(np.stack(coarse.cells_of(piece), -1), axis=0)
    low = np.maximum(cells.min(axis=0) - 2, 0)
    high = np.minimum(cells.max(axis=0) + 3, lung.shape)
    box = box_of(low, high)
    own = np.zeros(high - low, np.bool_)
    own[tuple((cells - low).T)] = True
    ring = ndimage.binary_dilation(own, np.ones((3, 3, 3)), iterations=2) & ~own
    return bool(ring.any() and lung[box][ring].mean() >= IN_LUNG_SHARE)


def _measured(
    ct: CTVolume, spine: Spine, known: SpinalCement, piece: IndexArray
) -> DenseObject | None:
    box = object_box(piece, ct.geometry)
    neutral = spine.labels.labels[box] > 0
    _add(neutral, box, (known.region.box, known.taken))
    for part in known.owned:
        _add(neutral, box, part)
    return measure_object(ct.hu, ct.geometry, piece, (box, neutral))


def _metal_share(
    known: SpinalCement, found: DenseObject, settings: DistantSettings
) -> float:
    """Share of an object that lies beside the spine's metal."""
    metal = np.zeros(found.voxels.shape, np.bool_)
    _add(metal, found.box, (known.region.box, known.metal))
    if not metal.any():
        return 0.0
    geometry = known.region.geometry
    away = ndimage.distance_transform_edt(~metal, sampling=geometry.spacing_mm)
    return float((away[found.voxels] <= settings.metal_rim_mm).mean())


def _add(mask: BoolArray, box: Box, other: tuple[Box, BoolArray]) -> None:
    """Mark what another box's mask holds of this box."""
    low = [max(a.start, b.start) for a, b in zip(box, other[0], strict=True)]
    high = [min(a.stop, b.stop) for a, b in zip(box, other[0], strict=True)]
    if any(a >= b for a, b in zip(low, high, strict=True)):
        return
    mine, theirs = (
        tuple(
            slice(a - side.start, b - side.start)
            for a, b, side in zip(low, high, whole, strict=True)
        )
        for whole in (box, other[0])
    )
    mask[mine] |= other[1][theirs]


def _own_flank_mm(ct: CTVolume, known: SpinalCement) -> float:
    """Flanks of the vertebrae's cement; NaN without a clipped scale."""
    if ct.clipped_at_hu is None:
        return float("nan")
    top_hu = _flank_top_hu(ct, known)
    flanks = [flank_mm(ct.hu[box], m, ct.geometry, top_hu) for box, m in known.owned]
    told = [flank for flank in flanks if np.isfinite(flank)]
    return float(np.median(told)) if told else float("nan")


def _flank_of(ct: CTVolume, known: SpinalCement, found: DenseObject) -> float:
    if ct.clipped_at_hu is None:
        return float("nan")
    top_hu = _flank_top_hu(ct, known)
    return flank_mm(ct.hu[found.box], found.voxels, ct.geometry, top_hu)


def _flank_top_hu(ct: CTVolume, known: SpinalCement) -> float:
    """Highest value that the inside of this scan's cement exceeds."""
    level_hu = known.level.hu if known.level is not None else np.inf
    return float(min(ct.clipped_at_hu or np.inf, 0.95 * level_hu))


def _cut_lung(lung: BoolArray) -> bool:
    """Tell whether the lungs go on beyond the scan."""
    faces = [lung.take(end, axis).sum() for axis in range(3) for end in (0, -1)]
    return bool(max(faces) >= LEAST_FACE_CELLS)


LEAST_FACE_CELLS = 12
"""So many cells of lung on a face of the scan, about a square centimetre, mean that
the lung goes on."""
