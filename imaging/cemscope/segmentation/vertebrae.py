"""Find, outline and name the vertebrae of a CT without a network.

Bodies and arches are found along the spinal canal (see `vertebra_surfaces`), named
from the sacrum and the ribs (see `level_names`) and brought back to the scan's grid
as smooth shapes.
"""

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from scipy import ndimage

from cemscope.anatomy import VertebraLevel
from cemscope.errors import NoVertebraFoundError, SegmentationError
from cemscope.geometry import FloatArray, VoxelGeometry
from cemscope.segmentation.bodies.body_surface import BodySurface
from cemscope.segmentation.bodies.vertebra_frame import vertebra_frame
from cemscope.segmentation.bodies.vertebra_surfaces import (
    FoundBody,
    FoundSpine,
    SurfaceSettings,
    find_surfaces,
)
from cemscope.segmentation.bodies.vertebral_arches import (
    PEDICLE_FLAG,
    ArchSettings,
    arch_labels,
)
from cemscope.segmentation.canal.canal_lumen import LumenSettings, canal_lumen
from cemscope.segmentation.ct_grid import Box, box_corners, voxel_box, voxels_inside
from cemscope.segmentation.levels.anchored_names import names_from_anchor
from cemscope.segmentation.levels.level_names import (
    LevelNames,
    LevelSettings,
    name_levels,
    sacral_indices,
    unless_doubtful,
)
from cemscope.segmentation.levels.unfollowed_spine import goes_on_beyond
from cemscope.segmentation.worker_threads import side_by_side
from cemscope.spine import LevelAnchor, Spine, Vertebra, VertebraSource
from cemscope.volume import (
    BoolArray,
    CTVolume,
    HUArray,
    LabelArray,
    LabelMap,
    Mask,
    Notice,
)

logger = logging.getLogger(__name__)

ANCHOR_TOLERANCE_MM = 3.0
"""An anchor point this far outside a body still means that body."""


@dataclass(frozen=True, slots=True)
class VertebraSettings:
    """Tunables of the embedded vertebra finder.

    Attributes
    ----------
    surfaces : SurfaceSettings
        Canal, discs and bodies.
    arches : ArchSettings
        Posterior elements.
    lumen : LumenSettings
        Outline of the canal.
    levels : LevelSettings
        Naming.
    """

    surfaces: SurfaceSettings = field(default_factory=SurfaceSettings)
    arches: ArchSettings = field(default_factory=ArchSettings)
    lumen: LumenSettings = field(default_factory=LumenSettings)
    levels: LevelSettings = field(default_factory=LevelSettings)


def find_vertebrae(
    ct: CTVolume,
    settings: VertebraSettings | None = None,
    anchor: LevelAnchor | None = None,
) -> Spine:
    """Find all vertebrae of a scan.

    Parameters
    ----------
    ct
        Scan of any orientation, slice order and field of view.
    settings
        Tunables; the defaults if None.
    anchor
        The user's word on one level; all others are counted from it. Without a
        point it names the lowest complete vertebra above the sacrum.

    Returns
    -------
    Spine
        Labels on the scan's grid, vertebrae from the lowest to the highest, the
        canal, and notices: ``levels_not_told``, ``levels_from_sacrum_only``,
        ``levels_from_ribs_only``, ``transitional_anatomy``, ``anchor_conflict``,
        ``thoracic_levels_from_lowest_ribs``, ``levels_counted_from_anchor``,
        ``vertebra_row_doubtful``,
        ``spine_not_followed`` per end, and ``outline_doubtful`` per vertebra.

    Raises
    ------
    NoVertebraFoundError
        If there is no spine in the scan.
    SegmentationError
        If the anchor's point lies in no vertebra.
    """
    settings = settings or VertebraSettings()
    found = find_surfaces(ct, settings.surfaces)
    surfaces = tuple(body.surface for body in found.bodies)
    with ThreadPoolExecutor(1) as other:
        tube = other.submit(canal_lumen, found.axis, found.fine, settings.lumen)
        arches = arch_labels(found.fine, found.axis, surfaces, settings.arches)
        lumen = tube.result()
    names = _names(found, arches, settings, anchor)
    labels, boxes = _body_voxels(ct.geometry, found.bodies, names)
    canal = lumen.voxels(ct.geometry, labels)
    _add_arches(labels, ct, found, arches, names, settings, canal)
    vertebrae = _vertebrae(ct.geometry, labels, boxes, found, names)
    if not vertebrae:
        raise NoVertebraFoundError(
            "expected at least one vertebral body in the scan, found none. Is this a "
            "CT of the spine?"
        )
    used = {v.level for v in vertebrae}
    table = {level.number: level.name for level in used}
    table |= {level.arch_number: f"{level.name} arch" for level in used}
    return Spine(
        LabelMap(labels, ct.geometry, table),
        vertebrae,
        Mask(canal, ct.geometry),
        names.notices
        + _unfollowed(found, names)
        + _outline_notices(found, names, settings),
    )


def _unfollowed(found: FoundSpine, names: LevelNames) -> tuple[Notice, ...]:
    """Say where the spine goes on without a recognised vertebra."""
    below, above = goes_on_beyond(found.bodies, found.coarse)
    lowest = names.levels[0]
    below &= lowest is None or lowest.name != "S1"  # the rest of the sacrum
    ends = ((below, "below", lowest), (above, "above", names.levels[-1]))
    return tuple(
        Notice(
            "spine_not_followed",
            f"The scan shows bone where the next vertebra {where} {level.name} would "
            "lie, but none was recognised there: it, and what follows, is missing "
            "from this report.",
        )
        for goes_on, where, level in ends
        if goes_on and level is not None
    )


def _outline_notices(
    found: FoundSpine, names: LevelNames, settings: VertebraSettings
) -> tuple[Notice, ...]:
    """Name the vertebrae whose outline must be looked at."""
    notices = []
    for body, level in zip(found.bodies, names.levels, strict=True):
        doubts = body.doubts(settings.surfaces.checks)
        if level is not None and doubts:
            reasons = "; ".join(doubts[:MOST_DOUBTS])
            notices.append(
                Notice(
                    "outline_doubtful",
                    f"{level.name}: the outline of the body is doubtful ({reasons}). "
                    "Its fill ratio and leaks rest on it: check the picture of the "
                    "levels.",
                )
            )
    return tuple(notices)


MOST_DOUBTS = 3
"""Reasons that are told of one outline."""


def _names(
    found: FoundSpine,
    arches: LabelArray,
    settings: VertebraSettings,
    anchor: LevelAnchor | None,
) -> LevelNames:
    landmarks = tuple(body.landmarks for body in found.bodies)
    margins = tuple(body.chain_margin for body in found.bodies)
    if anchor is None:
        names = name_levels(landmarks, settings.levels, chain_margins=margins)
        checks = settings.surfaces.checks
        return unless_doubtful(names, [bool(b.doubts(checks)) for b in found.bodies])
    if anchor.point_lps_mm is not None:
        index = _body_at(np.array(anchor.point_lps_mm), found, arches)
    else:
        index = _lowest_complete(found, anchor.level, settings.levels)
    anchored = (index, anchor.level)
    return names_from_anchor(landmarks, settings.levels, anchored, margins)


def _lowest_complete(
    found: FoundSpine, level: VertebraLevel, settings: LevelSettings
) -> int:
    """Lowest complete vertebra; the sacrum only if it is the sacrum that is named."""
    sacral = sacral_indices(tuple(b.landmarks for b in found.bodies), settings)
    if level.name == "S1" and sacral:
        return max(sacral)
    for k, body in enumerate(found.bodies):
        if body.complete and k not in sacral:
            return k
    raise SegmentationError(
        f"the anchor {level.name} names the lowest complete vertebra, but none is "
        "whole in the scan. Give a point inside the vertebra: --anchor "
        f"{level.name}@X,Y,Z (LPS, mm)."
    )


def _body_at(point: FloatArray, found: FoundSpine, arches: LabelArray) -> int:
    depths = [
        float(body.surface.depth_mm(body.surface.frame.to_local_mm(point[None]))[0])
        for body in found.bodies
    ]
    nearest = int(np.argmax(depths))
    if depths[nearest] >= -ANCHOR_TOLERANCE_MM:
        return nearest
    index = np.rint(found.fine.geometry.lps_to_index(point)).astype(int)
    if (index >= 0).all() and (index < arches.shape).all():
        number = int(arches[tuple(index)]) & (PEDICLE_FLAG - 1)
        if number:
            return number - 1
    raise SegmentationError(
        "the anchor's point "
        f"({point[0]:.0f}, {point[1]:.0f}, {point[2]:.0f}) mm lies in no vertebra; the "
        f"nearest body is about {-depths[nearest]:.0f} mm away. Give LPS coordinates "
        "in mm of a point inside a vertebral body."
    )


def _body_voxels(
    geometry: VoxelGeometry, bodies: tuple[FoundBody, ...], names: LevelNames
) -> tuple[LabelArray, tuple[Box | None, ...]]:
    """Paint the bodies on the scan's grid; where two touch, the lower one wins.

    Also gives a box round each body, None where it is not in the grid.
    """

    def voxels(body: FoundBody) -> tuple[Box, BoolArray] | None:
        frame = body.surface.frame
        axes = np.array([frame.left, frame.posterior, frame.superior])
        corners = box_corners(frame.origin_lps_mm, axes, body.surface.reach_mm())
        box = voxel_box(geometry, corners)
        if box is None:
            return None
        return box, voxels_inside(geometry, box, partial(_depth_mm, body.surface))

    labels = np.zeros(geometry.shape, np.uint8)
    painted = side_by_side(voxels, bodies)
    for level, found in zip(names.levels, painted, strict=True):
        if level is not None and found is not None:
            box, inside = found
            labels[box][inside & (labels[box] == 0)] = level.number
    return labels, tuple(None if found is None else found[0] for found in painted)


def _depth_mm(surface: BodySurface, points_lps_mm: FloatArray) -> FloatArray:
    return surface.depth_mm(surface.frame.to_local_mm(points_lps_mm))


def _add_arches(
    labels: LabelArray,
    ct: CTVolume,
    found: FoundSpine,
    arches: LabelArray,
    names: LevelNames,
    settings: VertebraSettings,
    canal: BoolArray,
) -> None:
    """Paint the arches: bone of the scan that lies in a level's part of the grid."""
    grown = ndimage.maximum_filter(arches, size=3)
    grown[arches > 0] = arches[arches > 0]
    numbers = np.zeros(256, np.uint8)
    for k, level in enumerate(names.levels, start=1):
        if level is not None:
            numbers[[k, k | PEDICLE_FLAG]] = level.arch_number
    where = np.argwhere(arches)
    if not len(where):
        return
    fine = found.fine
    ends = np.array(np.meshgrid(*zip(where.min(0), where.max(0), strict=True)))
    corners = fine.geometry.index_to_lps(ends.reshape(3, -1).T)
    box = voxel_box(ct.geometry, corners)
    if box is None:
        return
    inner = arches * ndimage.binary_erosion(arches > 0)
    reach_mm = settings.arches.nearby_mm
    near = tuple(2 * round(reach_mm / spacing) + 1 for spacing in ct.spacing_mm)
    margin = near[0] // 2
    rows, columns = box[1:]

    def paint(first: int) -> None:
        part = (slice(first, min(first + ARCH_SLAB, box[0].stop)), rows, columns)
        target = ct.geometry.crop(part)
        there = _looked_up(grown, fine.geometry, target)
        if not there.any():
            return
        hu = ct.hu[part]
        marrow = _looked_up(inner, fine.geometry, target) > 0
        low, high = max(first - margin, 0), part[0].stop + margin
        edge = _half_way_hu(ct.hu[low:high, rows, columns], near, settings)
        bone = (there > 0) & (marrow | (hu > edge[first - low :][: len(hu)]))
        # Screw heads and rods are no bone; a screw in a pedicle stands for it.
        metal = hu > settings.surfaces.window.metal_above_hu
        if metal.any():
            bone &= (there >= PEDICLE_FLAG) | ~ndimage.maximum_filter(metal, near)
        bone &= (labels[part] == 0) & ~canal[part]
        labels[part][bone] = numbers[there[bone]]

    side_by_side(paint, range(box[0].start, box[0].stop, ARCH_SLAB))


def _half_way_hu(
    hu: HUArray, near: tuple[int, ...], settings: VertebraSettings
) -> HUArray:
    """Value half way from soft tissue to the brightest bone nearby."""
    arches = settings.arches
    bone = np.minimum(hu, np.int16(arches.brightest_hu))
    bone[hu > settings.surfaces.window.metal_above_hu] = np.int16(arches.soft_tissue_hu)
    brightest = ndimage.maximum_filter(bone, near)
    half_way = arches.soft_tissue_hu + (brightest - arches.soft_tissue_hu) / 2
    edge: HUArray = np.maximum(half_way, arches.bone_above_hu).astype(np.int16)
    return edge


ARCH_SLAB = 16
"""Slices of the scan that are painted at a time."""


def _looked_up(
    values: LabelArray, grid: VoxelGeometry, target: VoxelGeometry
) -> LabelArray:
    """Value of the nearest voxel of a grid; beyond it, of the nearest at its border."""
    mapping = np.linalg.inv(grid.affine_lps) @ target.affine_lps
    matrix, offset = mapping[:3, :3], mapping[:3, 3]
    if np.allclose(matrix, np.diag(np.diag(matrix)), rtol=0.0, atol=1e-7):
        at = [
            np.clip(np.rint(matrix[k, k] * np.arange(n) + offset[k]), 0, size - 1)
            for k, (n, size) in enumerate(zip(target.shape, values.shape, strict=True))
        ]
        found: LabelArray = values[np.ix_(*(index.astype(int) for index in at))]
        return found
    sampled: LabelArray = ndimage.affine_transform(
        values, matrix, offset, target.shape, order=0, mode="nearest"
    )
    return sampled


def _vertebrae(
    geometry: VoxelGeometry,
    labels: LabelArray,
    boxes: tuple[Box | None, ...],
    found: FoundSpine,
    names: LevelNames,
) -> tuple[Vertebra, ...]:
    vertebrae = []
    centres = [body.surface.frame.origin_lps_mm for body in found.bodies]
    for k, (body, level) in enumerate(zip(found.bodies, names.levels, strict=True)):
        box = boxes[k]
        if level is None or box is None:
            continue
        index = np.argwhere(labels[box] == level.number)
        points = geometry.index_to_lps(index + [part.start for part in box])
        if len(points) < 8:
            continue
        frame = body.surface.frame
        if body.complete:
            frame = vertebra_frame(
                points,
                frame.origin_lps_mm + 40.0 * frame.posterior,
                centres[k + 1] if k + 1 < len(centres) else None,
                centres[k - 1] if k > 0 else None,
            )
        vertebrae.append(
            Vertebra(
                level,
                names.confidence,
                VertebraSource.EMBEDDED,
                body.complete,
                frame,
                len(points) * geometry.voxel_volume_mm3 / 1000.0,
            )
        )
    return tuple(vertebrae)
