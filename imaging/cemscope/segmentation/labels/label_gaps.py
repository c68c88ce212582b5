"""Gaps that metal and cement leave in imported labels.

Networks that were trained on untreated spines leave screws out of a vertebra, often
with a rim of the streaks around them. What lies inside a screw's channel belongs to the
vertebra all the same: a body with a channel is smaller than it is, and the cement in
the channel would count as leaked.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from cemscope.anatomy import ARCH_OFFSET, VertebraLevel
from cemscope.resampling import grow_box, label_boxes
from cemscope.volume import BoolArray, CTVolume, LabelArray, LabelMap, Notice


@dataclass(frozen=True, slots=True)
class GapSettings:
    """Tunables of the filling.

    Attributes
    ----------
    closing_radius_mm
        Gaps narrower than twice this are closed: screws measure up to 8.5 mm across,
        with the rim of streaks 12 mm. The canal is wider.
    implant_hu
        A gap is closed where something at least this dense lies in it: metal, or
        cement with its opacifier. Bone that a label leaves out lies at its rim.
    halo_mm
        Width of the rim of streaks around metal that labels leave out as well.
    told_volume_ml
        Less is filled without a notice.
    """

    closing_radius_mm: float = 6.0
    implant_hu: float = 1000.0
    halo_mm: float = 3.0
    told_volume_ml: float = 0.2


def fill_implant_gaps(
    labels: LabelMap, ct: CTVolume, settings: GapSettings | None = None
) -> tuple[LabelMap, tuple[Notice, ...]]:
    """Close channels of implants in whole vertebrae.

    Parameters
    ----------
    labels
        Vertebrae under cemscope's numbers on the CT's grid; where arches have numbers
        of their own, a gap takes the number of the part that is nearer.
    ct
        The CT.
    settings
        Tunables.

    Returns
    -------
    LabelMap, tuple of Notice
        Filled labels, and one notice per vertebra.
    """
    settings = settings or GapSettings()
    spacing = ct.spacing_mm
    array = labels.labels.copy()
    notices = []
    margin = tuple(int(np.ceil(settings.closing_radius_mm / mm)) + 1 for mm in spacing)
    boxes = label_boxes(array)
    for number, box in boxes.items():
        if number > ARCH_OFFSET:
            continue
        whole = _joined(box, boxes.get(number + ARCH_OFFSET))
        crop = grow_box(whole, array.shape, margin)
        piece = array[crop]
        own = (piece == number) | (piece == number + ARCH_OFFSET)
        dense = (ct.hu[crop] >= settings.implant_hu) & (piece == 0)
        if not dense.any():
            continue
        gap = closed(own, spacing, settings.closing_radius_mm) & (piece == 0)
        if not (dense & gap).any():
            continue
        gap &= _near(dense, spacing, settings.halo_mm)
        volume_ml = float(gap.sum()) * ct.geometry.voxel_volume_mm3 / 1000.0
        piece[gap] = number
        if number + ARCH_OFFSET in boxes:
            piece[gap & _nearer_to_arch(piece, number, gap, spacing)] = (
                number + ARCH_OFFSET
            )
        if volume_ml >= settings.told_volume_ml:
            notices.append(
                Notice(
                    "label_gaps_filled",
                    f"Imported label of {VertebraLevel.from_number(number).name}: "
                    f"{volume_ml:.2f} mL left out around metal or cement were filled.",
                )
            )
    return LabelMap(array, labels.geometry, labels.names), tuple(notices)


def closed(
    mask: BoolArray, spacing_mm: tuple[float, float, float], radius_mm: float
) -> BoolArray:
    """Morphological closing by a ball; the crop must leave the radius as a margin."""
    grown = ndimage.distance_transform_edt(~mask, sampling=spacing_mm) <= radius_mm
    result: BoolArray = (
        ndimage.distance_transform_edt(grown, sampling=spacing_mm) > radius_mm
    )
    result |= mask
    return result


def _near(
    mask: BoolArray, spacing_mm: tuple[float, float, float], distance_mm: float
) -> BoolArray:
    near: BoolArray = (
        ndimage.distance_transform_edt(~mask, sampling=spacing_mm) <= distance_mm
    )
    return near


def _nearer_to_arch(
    piece: LabelArray, number: int, gap: BoolArray, spacing: tuple[float, float, float]
) -> BoolArray:
    to_arch = ndimage.distance_transform_edt(
        piece != number + ARCH_OFFSET, sampling=spacing
    )
    body = (piece == number) & ~gap
    to_body = ndimage.distance_transform_edt(~body, sampling=spacing)
    nearer: BoolArray = to_arch < to_body
    return nearer


def _joined(
    first: tuple[slice, slice, slice], second: tuple[slice, slice, slice] | None
) -> tuple[slice, slice, slice]:
    if second is None:
        return first
    low = [min(a.start, b.start) for a, b in zip(first, second, strict=True)]
    high = [max(a.stop, b.stop) for a, b in zip(first, second, strict=True)]
    return slice(low[0], high[0]), slice(low[1], high[1]), slice(low[2], high[2])
