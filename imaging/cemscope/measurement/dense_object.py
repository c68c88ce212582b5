"""A dense thing away from the vertebrae: its core, its shape, and what surrounds it."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage, sparse
from scipy.sparse import csgraph

from cemscope.geometry import VoxelGeometry
from cemscope.segmentation.scan_region import Box, FloatArray, box_of
from cemscope.volume import BoolArray, CTVolume, HUArray

IndexArray = npt.NDArray[np.int64]

SHELL_MM = 2.5
"""Thickness of the surroundings that are looked at."""

GAP_MM = 1.0
"""They begin so far from the contour, and one voxel: the blur has ended there."""

WIDEST_GAP_MM = 2.5
"""Thick slices leave no more out."""

LUNG_TISSUE_HU, GAS_HU, BONE_HU = -400.0, -200.0, 250.0
"""Lung with blur lies below the first, fat above the second, soft tissue with contrast
medium below the third [ours]."""

OUTLINE_ERROR_MM = 2.0
"""Bone of an outlined vertebra reaches this far beyond its outline [ours]."""

OCTANT_VOXELS = 8
"""Fewer voxels of a shell's octant tell nothing."""


@dataclass(frozen=True, slots=True)
class Shell:
    """Shares of an object's surroundings.

    Attributes
    ----------
    lung, soft, bone, gas : float
        Of the voxels around it, outlined vertebrae and known cement left out. ``gas``
        is darker than fat, where the soft tissue of a vein or muscle would be.
    neutral : float
        Share of the voxels that are outlined vertebrae or known cement.
    least_lung : float
        Lung in the octant with least of it.
    most_bone : float
        Bone in the octant with most of it.
    """

    lung: float
    soft: float
    bone: float
    gas: float
    neutral: float
    least_lung: float
    most_bone: float


@dataclass(frozen=True, slots=True, eq=False)
class DenseObject:
    """A connected dense thing within the contour of half its own brightness.

    Attributes
    ----------
    box : tuple of slice
        Where on the scan, with a margin.
    voxels : ndarray of bool
        On the box.
    core_hu : float
        Brightness that its brightest tenth exceeds.
    interior_hu : float
        Dark tenth of what lies deep in it; ``core_hu`` where it is too thin.
    volume_ml : float
        Of the contour.
    length_mm, width_mm : float
        Along its longest axis, and of a tube of that length and volume.
    hollow : float
        Volume with what it encloses in some plane, over its volume.
    cut : bool
        Whether it reaches the end of the scan.
    shell : Shell
        Surroundings.
    centre_lps_mm : ndarray, shape (3,)
        Middle of the contour.
    """

    box: Box
    voxels: BoolArray
    core_hu: float
    interior_hu: float
    volume_ml: float
    length_mm: float
    width_mm: float
    hollow: float
    cut: bool
    shell: Shell
    centre_lps_mm: FloatArray

    @property
    def elongation(self) -> float:
        """Length over width: 1.2 for a ball, 3 and more for a tube."""
        return self.length_mm / max(self.width_mm, 1e-6)


def connected(index: IndexArray, shape: tuple[int, int, int]) -> list[IndexArray]:
    """Split voxels, shape (n, 3), into connected pieces without an image of them.

    Memory follows the voxels and not the scan; faces, edges and corners join.
    """
    if not len(index):
        return []
    _, rows, columns = (n + 2 for n in shape)
    flat = (index[:, 0] * rows + index[:, 1] + 1) * columns + index[:, 2] + 1
    order = np.argsort(flat, kind="stable")
    flat, index = flat[order], index[order]
    steps = [
        (a * rows + b) * columns + c
        for a in (0, 1)
        for b in (-1, 0, 1)
        for c in (-1, 0, 1)
        if (a, b, c) > (0, 0, 0)
    ]
    first, second = [], []
    for step in steps:
        at = np.searchsorted(flat, flat + step)
        at[at == len(flat)] = 0
        joined = np.flatnonzero(flat[at] == flat + step)
        first.append(joined)
        second.append(at[joined])
    one, two = np.concatenate(first), np.concatenate(second)
    graph = sparse.coo_array(
        (np.ones(len(one), np.bool_), (one, two)), shape=(len(flat), len(flat))
    )
    _, number = csgraph.connected_components(graph, directed=False)
    by_number = np.argsort(number, kind="stable")
    ends = np.cumsum(np.bincount(number))
    return np.split(index[by_number], ends[:-1])


def gap_mm(geometry: VoxelGeometry) -> float:
    """How far from an object's contour its surroundings begin."""
    return GAP_MM + min(max(geometry.spacing_mm), WIDEST_GAP_MM)


def measure_object(
    hu: HUArray,
    geometry: VoxelGeometry,
    piece: IndexArray,
    neutral: tuple[Box, BoolArray],
) -> DenseObject | None:
    """Measure the object that some bright voxels are the core of.

    Parameters
    ----------
    hu, geometry
        The whole scan.
    piece
        Bright voxels, shape (n, 3).
    neutral
        Box of `object_box`, and its voxels that are outlined bone or known cement.

    Returns
    -------
    DenseObject or None
        None for a bright place in something larger, and where nothing surrounds it.
    """
    box, known = neutral
    part = hu[box]
    start = np.array([side.start for side in box])
    within = tuple((piece - start).T)
    core_hu = float(np.quantile(part[within], 0.9))
    labels, _ = ndimage.label((part >= 0.5 * core_hu) & ~known, np.ones((3, 3, 3)))
    held = np.bincount(labels[within])
    held[0] = 0
    if not held.any():
        return None
    voxels = labels == int(np.argmax(held))
    local = geometry.crop(box)
    index = np.argwhere(voxels)
    sides = zip(box, part.shape, hu.shape, strict=True)
    cut = False
    for axis, (side, n, whole) in enumerate(sides):
        low, high = int(index[:, axis].min()) == 0, int(index[:, axis].max()) == n - 1
        if (low and side.start > 0) or (high and side.stop < whole):
            return None
        cut |= low or high
    shell = _shell(part, voxels, known, local)
    if shell is None:
        return None
    depth = ndimage.distance_transform_edt(np.pad(voxels, 1), sampling=local.spacing_mm)
    deep = depth[1:-1, 1:-1, 1:-1] > GAP_MM + 0.5 * max(local.spacing_mm)
    interior = float(np.quantile(part[deep], 0.1)) if deep.sum() >= 10 else core_hu
    points = local.index_to_lps(index)
    length_mm, width_mm = _extent(points, local)
    return DenseObject(
        box,
        voxels,
        core_hu,
        interior,
        len(index) * local.voxel_volume_mm3 / 1000.0,
        length_mm,
        width_mm,
        _hollow(voxels),
        cut,
        shell,
        points.mean(axis=0),
    )


def object_box(piece: IndexArray, geometry: VoxelGeometry) -> Box:
    """Box around bright voxels that holds their object and its surroundings."""
    reach_mm = gap_mm(geometry) + SHELL_MM + 3.0
    margin = np.ceil(reach_mm / np.array(geometry.spacing_mm)).astype(int)
    low = np.maximum(piece.min(axis=0) - margin, 0)
    high = np.minimum(piece.max(axis=0) + margin + 1, geometry.shape)
    return box_of(low, high)


def _extent(points: FloatArray, geometry: VoxelGeometry) -> tuple[float, float]:
    """Length along the longest axis, and width of a tube of that length and volume."""
    voxel_mm = geometry.voxel_volume_mm3 ** (1 / 3)
    offset = points - points.mean(axis=0)
    _, axes = np.linalg.eigh(offset.T @ offset)
    along = offset @ axes[:, -1]
    length_mm = float(np.ptp(along)) + voxel_mm
    volume_mm3 = len(points) * geometry.voxel_volume_mm3
    return length_mm, float(np.sqrt(4.0 * volume_mm3 / (np.pi * length_mm)))


def _hollow(voxels: BoolArray) -> float:
    """How much larger an object is with what it encloses in a plane of the grid."""
    most = 1.0
    count = int(voxels.sum())
    for axis in range(3):
        flat = [(0 if k == axis else 1) for k in range(3)]
        plane = ndimage.generate_binary_structure(3, 1)
        if flat[0] == 0:
            plane[0], plane[2] = False, False
        elif flat[1] == 0:
            plane[:, 0], plane[:, 2] = False, False
        else:
            plane[:, :, 0], plane[:, :, 2] = False, False
        filled = ndimage.binary_fill_holes(voxels, plane)
        most = max(most, float(filled.sum()) / count)
    return most


def _shell(
    hu: HUArray, voxels: BoolArray, known: BoolArray, geometry: VoxelGeometry
) -> Shell | None:
    """Sort what lies around an object, also by octants of the outward direction."""
    distance, nearest = ndimage.distance_transform_edt(
        ~voxels, sampling=geometry.spacing_mm, return_indices=True
    )
    near = gap_mm(geometry)
    ring = (distance > near) & (distance <= near + SHELL_MM)
    if not ring.any():
        return None
    index = np.argwhere(ring)
    outwards = index - np.stack([axis[ring] for axis in nearest], -1)
    octant = ((outwards > 0) * (4, 2, 1)).sum(axis=1)
    free = ~known[ring]
    if known.any():
        beside = ndimage.distance_transform_edt(~known, sampling=geometry.spacing_mm)
        free = beside[ring] > OUTLINE_ERROR_MM
    values = hu[ring]
    if free.sum() < OCTANT_VOXELS:
        return Shell(0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0)
    lung, bone = values < LUNG_TISSUE_HU, values > BONE_HU
    gas = values < GAS_HU
    whole = np.bincount(octant[free], minlength=8)
    told = np.maximum(whole, 1)
    lung_of = np.bincount(octant[free], lung[free], 8) / told
    bone_of = np.bincount(octant[free], bone[free], 8) / told
    seen = whole >= OCTANT_VOXELS
    return Shell(
        float(lung[free].mean()),
        float((~gas & ~bone)[free].mean()),
        float(bone[free].mean()),
        float((gas & ~lung)[free].mean()),
        1.0 - float(free.mean()),
        float(lung_of[seen].min()) if seen.any() else 0.0,
        float(bone_of[seen].max()) if seen.any() else 0.0,
    )


def cement_ml(ct: CTVolume, found: DenseObject, pure_hu: float, rim_mm: float) -> float:
    """Cement of an object by partial volume, with its blur; see `cement_share`."""
    share = cement_share(ct, found.box, found.voxels, pure_hu, rim_mm)
    return float(share.sum(dtype=np.float64)) * ct.geometry.voxel_volume_mm3 / 1000.0


def cement_share(
    ct: CTVolume, box: Box, voxels: BoolArray, pure_hu: float, rim_mm: float
) -> npt.NDArray[np.float32]:
    """Share of cement in each voxel of a box, for cement within a contour.

    Each voxel holds (HU - surroundings) / (cement - surroundings) of cement, at most 1;
    a voxel at the ceiling of the scale is full.

    Parameters
    ----------
    ct
        The scan.
    box, voxels
        Part of the scan, and the contour on it.
    pure_hu
        Brightness of cement.
    rim_mm
        Blur beyond the contour that is counted; 0 further away.
    """
    part = ct.hu[box].astype(np.float32)
    spacing = ct.geometry.spacing_mm
    distance = ndimage.distance_transform_edt(~voxels, sampling=spacing)
    reach = rim_mm + 0.5 * max(spacing)
    near = distance <= reach
    around = (distance > reach) & (distance <= reach + SHELL_MM)
    background = float(np.median(part[around])) if around.any() else 0.0
    share = (part - background) / (pure_hu - background)
    # Vessels and bone beside it rise above the surroundings without being cement.
    share[share < FAINT_SHARE] = 0.0
    if ct.clipped_at_hu is not None:
        share[part >= 0.985 * ct.clipped_at_hu] = 1.0
    np.minimum(share, 1.0, out=share)
    share[~near] = 0.0
    return share


FAINT_SHARE = 0.03
"""Smaller shares of cement are noise and vessels: 100 HU beside cement of 3,000."""


def flank_mm(
    hu: HUArray, where: BoolArray, geometry: VoxelGeometry, top_hu: float
) -> float:
    """Thickness of the blurred flanks below some brightness that the inside exceeds.

    Volume of the voxels between a fifth and nearly the whole of it, over the surface at
    its half. Metal several times as bright crosses that range in half of the way that
    cement needs, on any grid and at any blur.

    Returns
    -------
    float
        NaN where the surface is smaller than `LEAST_FACES` voxel faces, or the voxels
        are too large to show a flank.
    """
    if geometry.voxel_volume_mm3 > LARGEST_VOXEL_MM**3:
        return float("nan")
    half = where & (hu >= 0.5 * top_hu)
    near = ndimage.binary_dilation(half, iterations=3)
    between = near & (hu >= 0.2 * top_hu) & (hu < 0.95 * top_hu)
    area_mm2, count = 0.0, 0
    for axis, spacing in enumerate(geometry.spacing_mm):
        faces = int(np.diff(half, axis=axis).sum())
        area_mm2 += faces * geometry.voxel_volume_mm3 / spacing
        count += faces
    if count < LEAST_FACES:
        return float("nan")
    return float(between.sum()) * geometry.voxel_volume_mm3 / area_mm2


LEAST_FACES, LARGEST_VOXEL_MM = 60, 2.0
"""Surface of a ball of six voxels' width; voxels wider than twice the blur show edges
of any brightness alike."""
