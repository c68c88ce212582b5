"""Cement as dark as bone that left a vertebra, and bone that only touches cement."""

from dataclasses import dataclass

import numpy as np
import pytest

from cemscope.geometry import VoxelGeometry
from cemscope.segmentation.cement.other_bone import joined_to_cement, other_bone
from cemscope.segmentation.scan_region import ScanRegion, box_of

SHAPE, BODY, WALL = (40, 60, 40), 22, 30
LEVEL_HU, ARCH_HU, DENSE_HU = 1100, 1150.0, 700


@dataclass(frozen=True)
class Piece:
    """A bar outside the wall of a body; a bridge of cement may lead there."""

    name: str
    cement: bool
    core_hu: int = LEVEL_HU
    rim_hu: int = LEVEL_HU
    bridge: int = 4
    half_mm: float = 3.5
    spacing_mm: float = 0.7


PIECES = (
    Piece("vein", cement=True),
    Piece("vein on a thread", cement=False, bridge=1),
    Piece("vein apart", cement=False, bridge=0),
    Piece("osteophyte", cement=False, core_hu=150, rim_hu=760),
    Piece("pelvis", cement=False, half_mm=16.0, spacing_mm=2.0),
)


@pytest.mark.parametrize("piece", PIECES, ids=lambda piece: piece.name)
def test_dark_matter_is_cement_where_cement_goes_over_into_it(piece: Piece) -> None:
    hu = np.full(SHAPE, 50, np.int16)
    labels = np.zeros(SHAPE, np.uint8)
    labels[5:35, :WALL, 5:35] = BODY
    hu[labels == BODY] = 120
    hu[12:28, 8:22, 12:28] = LEVEL_HU
    half = piece.bridge // 2
    if piece.bridge:
        bridge = slice(20 - half, 20 - half + piece.bridge)
        hu[bridge, 20 : WALL + 1, bridge] = LEVEL_HU
    start = WALL + (1 if piece.bridge else 3)
    across = round(piece.half_mm / piece.spacing_mm)
    wide = slice(20 - across, 20 + across)
    deep = start + 2 * across
    hu[wide, start:deep, wide] = piece.rim_hu
    hu[wide, start + 1 : deep - 1, wide][1:-1, :, 1:-1] = piece.core_hu
    origin = (0.0, 0.0, 0.0)
    geometry = VoxelGeometry.from_axes(SHAPE, (piece.spacing_mm,) * 3, origin)
    box = box_of(np.zeros(3, int), np.array(SHAPE))
    region = ScanRegion(box, hu, labels, geometry)
    dense = hu >= DENSE_HU
    dark = other_bone(region, hu, dense, ARCH_HU)
    outside = dense & (labels == 0)
    assert (dark == outside).all()
    inside = dense & (labels == BODY)
    joined = joined_to_cement(region, hu, dark, inside, float(LEVEL_HU))
    assert joined.any() == piece.cement
    assert not (joined & ~outside).any()
