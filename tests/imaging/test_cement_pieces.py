"""Pieces without a core: which of them join cement, by brightness and distance."""

from dataclasses import dataclass

import numpy as np
import pytest

from cemscope.anatomy import VertebraLevel
from cemscope.geometry import VoxelGeometry
from cemscope.segmentation.cement.cement_cores import VertebraCores
from cemscope.segmentation.cement.cement_level import CementLevel
from cemscope.segmentation.cement.cement_pieces import accepted_pieces
from cemscope.segmentation.cement.cement_settings import CementSettings
from cemscope.segmentation.implants.shaft_rim import TissueImage
from cemscope.segmentation.scan_region import ScanRegion, box_of
from cemscope.segmentation.tissue_levels import TissueLevels

SHAPE = (60, 60, 60)
BODY = VertebraLevel("L2")
LEVELS = TissueLevels(120.0, 600.0, 400.0, 1000.0, 10.0, None, 1)
"""Bone reads up to 1,300 HU (1.3 times the arches), solid cortex 1,600 HU anywhere."""
CEMENT = slice(20, 30)


@dataclass(frozen=True)
class Plate:
    """A plate of 2 mm beside a cube of cement."""

    name: str
    cement_hu: int
    hu: int
    gap_mm: int
    joins: bool
    labelled: bool = True


PLATES = (
    Plate("faint, near", 1400, 1200, 2, joins=True),
    Plate("faint, an endplate", 1400, 1200, 6, joins=False),
    Plate("brighter than bone", 1400, 1700, 6, joins=True),
    Plate("dense cement", 2600, 2400, 6, joins=True),
    Plate("dense cement, as bone", 2600, 1350, 6, joins=False),
    Plate("dense cement, across the body", 2600, 2400, 22, joins=True),
    Plate("calcified vessel, far", 2600, 2400, 22, joins=False, labelled=False),
)


@pytest.mark.parametrize("plate", PLATES, ids=lambda plate: plate.name)
def test_a_plate_beside_cement(plate: Plate) -> None:
    hu = np.full(SHAPE, 120, np.int16)
    labels = np.full(SHAPE, BODY.number, np.uint8)
    cube = (CEMENT,) * 3
    hu[cube] = plate.cement_hu
    start = CEMENT.stop + plate.gap_mm
    where = (slice(start, start + 2), CEMENT, CEMENT)
    hu[where] = plate.hu
    if not plate.labelled:
        labels[start:] = 0
    geometry = VoxelGeometry.from_axes(SHAPE, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    box = box_of(np.zeros(3, int), np.array(SHAPE))
    region = ScanRegion(box, hu, labels, geometry)
    nothing = np.zeros(SHAPE, np.bool_)
    percent = np.zeros(SHAPE, np.uint8)
    tissue = TissueImage(hu, percent, nothing, nothing, nothing, ())
    core = nothing.copy()
    core[22:28, 22:28, 22:28] = True
    cores = [VertebraCores(BODY.number, box, core, nothing)]
    level = CementLevel(float(plate.cement_hu), 30.0, clipped=False)
    solid, boxes = accepted_pieces(
        region, tissue, cores, level, LEVELS, CementSettings()
    )
    assert solid[cube].all()
    assert solid[where].all() == plate.joins
    assert len(boxes) == 1 + plate.joins
