"""Whether imported labels lie where the bone of the CT lies."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cemscope.errors import LabelMapError
from cemscope.geometry import VoxelGeometry
from cemscope.resampling import Box, grow_box
from cemscope.volume import BoolArray, CTVolume, LabelMap, Notice

_CELL_MM = 3.0
"""Cell of the coarse grid on which labels are held against bone."""

_WINDOW_HU = (-100, 500)
"""Values are clipped to this range, so that metal and air do not decide."""


@dataclass(frozen=True, slots=True)
class PlacementSettings:
    """Tunables of the check against bone.

    Attributes
    ----------
    search_mm
        How far around their place the labels are tried.
    min_contrast_hu
        Vertebrae are at least this much denser than the tissue around them; less
        means that the labels do not lie on bone.
    told_shift_mm
        A better place at least this far away is told.
    better_by
        Factor by which the contrast has to rise for another place to count.
    """

    search_mm: float = 45.0
    min_contrast_hu: float = 25.0
    told_shift_mm: float = 6.0
    better_by: float = 1.3


def require_overlap(labels: LabelMap, ct: VoxelGeometry) -> tuple[Notice, ...]:
    """Refuse labels that lie outside the CT or in another frame of reference.

    Returns
    -------
    tuple of Notice
        Telling how much of the labels lies outside, if any does.

    Raises
    ------
    LabelMapError
        With the distance in mm, or both frames of reference.
    """
    own = labels.geometry.frame_of_reference_uid
    theirs = ct.frame_of_reference_uid
    if own is not None and theirs is not None and own != theirs:
        raise LabelMapError(
            f"the labels refer to another frame of reference ({own}) than the CT "
            f"({theirs}): they were drawn on another scan. Register them first"
        )
    indices = np.argwhere(labels.labels)
    points = labels.geometry.index_to_lps(indices[:: max(1, len(indices) // 200_000)])
    index = ct.lps_to_index(points)
    beyond = np.maximum(-0.5 - index, index - (np.array(ct.shape) - 0.5))
    outside = (beyond > 0).any(axis=1)
    share = float(outside.mean())
    if share > 0.98:
        gap_mm = np.linalg.norm(np.maximum(beyond, 0) * ct.spacing_mm, axis=1)
        centre = points.mean(axis=0)
        middle = ct.corners_lps_mm().mean(axis=0)
        raise LabelMapError(
            f"the labels lie outside the CT: {share:.0%} of their volume, on average "
            f"{gap_mm.mean():.0f} mm away. Centre of the labels (LPS) "
            f"{_point(centre)} mm, of the CT {_point(middle)} mm. Is the map of "
            "another scan, or were its axes exchanged (RAS against LPS)?"
        )
    if share > 0.001:
        return (
            Notice(
                "labels_outside_ct",
                f"{share:.0%} of the imported labels lie outside the CT and are "
                "left out.",
            ),
        )
    return ()


def require_bone(
    bone: BoolArray, ct: CTVolume, settings: PlacementSettings | None = None
) -> tuple[Notice, ...]:
    """Refuse labels that do not lie on bone.

    The labels are shifted over the CT; where they belong, the contrast between their
    inside and a rim around them is highest.

    Parameters
    ----------
    bone : ndarray of bool
        All vertebra labels on the CT's grid.
    ct
        The CT.
    settings
        Tunables.

    Returns
    -------
    tuple of Notice
        A warning where a better place lies some way off.

    Raises
    ------
    LabelMapError
        With the contrast in HU and, where there is one, the better place in mm.
    """
    settings = settings or PlacementSettings()
    objects = ndimage.find_objects(bone.view(np.uint8))
    if not objects or objects[0] is None:
        raise LabelMapError("no label lies inside the CT")
    here, best, offset_cells, cell_mm, directions = _best_place(
        bone, ct, objects[0], settings.search_mm
    )
    shift_mm = (offset_cells * cell_mm) @ directions
    distance_mm = float(np.linalg.norm(shift_mm))
    elsewhere = (
        distance_mm >= settings.told_shift_mm
        and best > settings.better_by * max(here, 0.0)
        and best >= settings.min_contrast_hu
    )
    if here < settings.min_contrast_hu:
        hint = (
            f"; they would fit {distance_mm:.0f} mm away (x, y, z: "
            f"{_point(shift_mm)} mm)"
            if elsewhere
            else ""
        )
        raise LabelMapError(
            f"the labels do not lie on bone: their inside is {here:.0f} HU denser than "
            f"the tissue around, expected at least {settings.min_contrast_hu:.0f} HU"
            f"{hint}. Is the map of another scan or in another patient space?"
        )
    if elsewhere:
        return (
            Notice(
                "labels_displaced",
                f"The imported labels fit the bone better {distance_mm:.0f} mm away "
                f"(x, y, z: {_point(shift_mm)} mm; contrast {best:.0f} instead of "
                f"{here:.0f} HU): check their position.",
            ),
        )
    return ()


def _best_place(
    bone: BoolArray, ct: CTVolume, box: Box, search_mm: float
) -> tuple[
    float,
    float,
    npt.NDArray[np.float64],
    npt.NDArray[np.float64],
    npt.NDArray[np.float64],
]:
    """Contrast here, the best one nearby, and its offset in cells."""
    spacing = np.array(ct.spacing_mm)
    factors = np.maximum(1, np.rint(_CELL_MM / spacing)).astype(int)
    cell_mm = factors * spacing
    reach = np.maximum(1, np.rint(search_mm / cell_mm)).astype(int)
    wide = grow_box(box, ct.geometry.shape, tuple((reach * factors).tolist()))
    density = _block_mean(np.clip(ct.hu[wide], *_WINDOW_HU), factors)
    share = _block_mean(bone[wide], factors)
    inside = share > 0.5
    near = ndimage.binary_dilation(share > 0.05)
    rim = ndimage.binary_dilation(near, iterations=2) & ~near
    if not inside.any() or not rim.any():
        return 0.0, 0.0, np.zeros(3), cell_mm, ct.geometry.directions_lps
    weights = inside / inside.sum() - rim / rim.sum()
    used = ndimage.find_objects((weights != 0).astype(np.uint8))[0]
    padded = np.pad(density, [(int(r), int(r)) for r in reach], mode="edge")
    window = tuple(
        slice(part.start, part.stop + 2 * int(r))
        for part, r in zip(used, reach, strict=True)
    )
    # scipy.signal takes a second to load; most cases need it never
    from scipy import signal

    scores = signal.fftconvolve(
        padded[window], weights[used][::-1, ::-1, ::-1].astype(np.float32), mode="valid"
    )
    here = float(scores[tuple(reach)])
    place = np.array(np.unravel_index(int(scores.argmax()), scores.shape))
    return (
        here,
        float(scores.max()),
        (place - reach).astype(np.float64),
        cell_mm,
        ct.geometry.directions_lps,
    )


def _block_mean(
    array: npt.NDArray[np.generic], factors: npt.NDArray[np.int_]
) -> npt.NDArray[np.float32]:
    """Mean of blocks; the incomplete blocks at the far ends are left out."""
    counts = [max(1, n // int(f)) for n, f in zip(array.shape, factors, strict=True)]
    blocks = [min(int(f), n) for n, f in zip(array.shape, factors, strict=True)]
    result = np.empty(counts, dtype=np.float32)
    rows, columns = counts[1] * blocks[1], counts[2] * blocks[2]
    for index in range(counts[0]):
        slab = array[index * blocks[0] : (index + 1) * blocks[0], :rows, :columns]
        result[index] = slab.reshape(
            blocks[0], counts[1], blocks[1], counts[2], blocks[2]
        ).mean(axis=(0, 2, 4), dtype=np.float32)
    return result


def _point(point: npt.NDArray[np.float64]) -> str:
    return ", ".join(f"{value:.0f}" for value in point)
