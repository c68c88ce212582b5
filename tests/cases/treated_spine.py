"""A small scan of three vertebrae with cement, a leak and a screw, of known places.

Everything is a ball or a box in patient coordinates (LPS mm), drawn on any grid:

- bodies L5, L4, L3 at z = 0, 36, 72, 40 mm wide, 30 mm deep, 26 mm high;
- cement in L4, 8 mm to the patient's RIGHT of its centre;
- a leak 19 mm BEHIND the centre of L4, in the canal;
- a screw on the patient's LEFT of L4, from the pedicle to the body.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cemscope.anatomy import VertebraLevel
from cemscope.findings import (
    CementElsewhere,
    CementVolume,
    Certainty,
    Interval,
    Leak,
    LeakType,
    MetalKind,
    MetalVolume,
    NotAssessed,
    Screw,
    Side,
    TotalCement,
)
from cemscope.geometry import VoxelGeometry
from cemscope.measurement.augmentation import Augmentation, VertebraCement
from cemscope.spine import Spine, Vertebra, VertebraFrame, VertebraSource
from cemscope.volume import Acquisition, CTVolume, LabelMap, Notice, SeriesSource

LEVELS = ("L5", "L4", "L3")
LEVEL_Z_MM = {"L5": 0.0, "L4": 36.0, "L3": 72.0}
CEMENT_LPS_MM = (-8.0, -2.0, 36.0)
LEAK_LPS_MM = (0.0, 19.0, 38.0)
SCREW_HEAD_LPS_MM = (20.0, 40.0, 36.0)
SCREW_TIP_LPS_MM = (10.0, -6.0, 36.0)
MARROW_HU, CEMENT_HU, METAL_HU, TISSUE_HU = 150, 1800, 3000, 40


@dataclass(frozen=True)
class Orientation:
    """Which patient axis each array axis follows, and in which direction."""

    name: str
    axes: tuple[int, int, int]
    signs: tuple[int, int, int]


ORIENTATIONS = (
    Orientation("axial from the feet", (2, 1, 0), (1, 1, 1)),
    Orientation("axial from the head", (2, 1, 0), (-1, 1, 1)),
    Orientation("prone", (2, 1, 0), (1, -1, -1)),
    Orientation("sagittal", (0, 2, 1), (1, -1, 1)),
    Orientation("coronal", (1, 2, 0), (-1, -1, 1)),
)


@dataclass(frozen=True)
class TreatedSpine:
    """The scan and what is in it."""

    ct: CTVolume
    spine: Spine
    augmentation: Augmentation


def scan_geometry(orientation: Orientation, spacing_mm: float = 2.0) -> VoxelGeometry:
    low, high = np.array([-64.0, -60.0, -30.0]), np.array([64.0, 90.0, 104.0])
    directions = np.zeros((3, 3))
    origin = np.zeros(3)
    shape = []
    for array_axis, (axis, sign) in enumerate(
        zip(orientation.axes, orientation.signs, strict=True)
    ):
        directions[array_axis, axis] = sign
        origin[axis] = low[axis] if sign > 0 else high[axis]
        shape.append(round((high[axis] - low[axis]) / spacing_mm) + 1)
    return VoxelGeometry.from_axes(
        (shape[0], shape[1], shape[2]),
        [spacing_mm] * 3,
        origin,
        directions,
        "1.2.826.0.1.3680043.8.498.1",
    )


def _vertebra(level: str) -> Vertebra:
    return Vertebra(
        VertebraLevel(level),
        0.9,
        VertebraSource.EMBEDDED,
        level != "L3",
        VertebraFrame(
            np.array([0.0, 0.0, LEVEL_Z_MM[level]]),
            np.array([1.0, 0.0, 0.0]),
            np.array([0.0, 1.0, 0.0]),
            np.array([0.0, 0.0, 1.0]),
        ),
        40.0 * 30.0 * 26.0 / 1000.0,
    )


CEMENT = {
    "L5": CementVolume("L5", 0.0, Interval(0.0, 0.03), 0.0, 0.0, 0.0, 0.0),
    "L4": CementVolume("L4", 2.4444, Interval(2.1, 2.8), 2.6, 2.1, 0.27, 0.0673),
    "L3": NotAssessed("the body is cut by the edge of the scan"),
}


def augmentation(materials: LabelMap) -> Augmentation:
    return Augmentation(
        materials=materials,
        cement=tuple(VertebraCement(level, CEMENT[level]) for level in LEVELS),
        leaks=(
            Leak(
                "L4-1",
                "L4",
                (LeakType.BASIVERTEBRAL,),
                Certainty.INDETERMINATE,
                ("epidural",),
                0.268,
                6.125,
                LEAK_LPS_MM,
                NotAssessed("the canal is not outlined"),
            ),
        ),
        elsewhere=(CementElsewhere("lung", 0.05, (40.0, -30.0, 90.0)),),
        screws=(
            Screw(
                "L4-left",
                "L4",
                Side.LEFT,
                SCREW_HEAD_LPS_MM,
                SCREW_TIP_LPS_MM,
                6.04,
                47.07,
                True,
                NotAssessed("the cement touches no screw alone"),
            ),
        ),
        metal=(MetalVolume(MetalKind.SCREW, 1.33, SCREW_HEAD_LPS_MM),),
        total=TotalCement(2.4944, Interval(2.15, 2.85), 0.268, 1),
        notices=(Notice("metal_near_cement", "cement and metal touch in L4"),),
    )


def treated_spine(orientation: Orientation = ORIENTATIONS[0]) -> TreatedSpine:
    geometry = scan_geometry(orientation)
    index = np.stack(np.indices(geometry.shape), axis=-1)
    points = geometry.index_to_lps(index)
    x, y, z = points[..., 0], points[..., 1], points[..., 2]

    def ball(
        centre: tuple[float, float, float], radius: float
    ) -> npt.NDArray[np.bool_]:
        inside: npt.NDArray[np.bool_] = (
            np.sum((points - np.array(centre)) ** 2, axis=-1) < radius**2
        )
        return inside

    hu = np.full(geometry.shape, TISSUE_HU, np.int16)
    labels = np.zeros(geometry.shape, np.uint8)
    for level, height in LEVEL_Z_MM.items():
        body = (abs(x) < 20) & (abs(y) < 15) & (abs(z - height) < 13)
        labels[body] = VertebraLevel(level).number
        hu[body] = MARROW_HU
    materials = np.zeros(geometry.shape, np.uint8)
    for step in np.linspace(0, 1, 40):
        centre = np.array(SCREW_HEAD_LPS_MM) * (1 - step) + step * np.array(
            SCREW_TIP_LPS_MM
        )
        materials[ball(tuple(centre), 3.0)] = 3
    materials[ball(CEMENT_LPS_MM, 8.0)] = 1
    materials[ball(LEAK_LPS_MM, 4.0)] = 2
    hu[(materials == 1) | (materials == 2)] = CEMENT_HU
    hu[materials == 3] = METAL_HU
    spine = Spine(
        LabelMap(labels, geometry),
        tuple(_vertebra(level) for level in LEVELS),
        notices=(Notice("level_from_anchor", "levels follow the anchor L5"),),
    )
    ct = CTVolume(
        hu,
        geometry,
        SeriesSource("1.2.3", "1.2.3.4", "1.2.840.10008.5.1.4.1.1.2", ("1.2.3.4.5",)),
        Acquisition(kvp=120.0, acquisition_date="20260102"),
        clipped_at_hu=None,
        notices=(Notice("level_from_anchor", "levels follow the anchor L5"),),
    )
    return TreatedSpine(ct, spine, augmentation(LabelMap(materials, geometry)))
