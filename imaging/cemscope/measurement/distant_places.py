"""Where cement away from the vertebrae lies, by the vertebrae's own axes."""

from dataclasses import dataclass

import numpy as np

from cemscope.segmentation.scan_region import FloatArray
from cemscope.spine import Spine, Vertebra
from cemscope.volume import CTVolume, LabelArray

AZYGOS_MM = ((-26.0, 5.0), (-12.0, 24.0))
"""Azygos vein, right in front of the thoracic bodies: across (left positive), and in
front of the anterior wall (negative: beside the body) [ours, from its usual course]."""

HEMIAZYGOS_MM = ((5.0, 28.0), (-20.0, 12.0))
"""Its counterpart on the left, behind the aorta."""

CAVA_MM = ((-42.0, 8.0), (-8.0, 40.0))
"""Inferior vena cava from L1 to L5, right in front of the bodies."""

HIGH_CAVA_MM = ((-48.0, 5.0), (24.0, 70.0))
"""The same behind and in the liver, T10 to T12: in front of the azygos vein."""

BESIDE_MM = 70.0
"""Muscle beside and behind the spine reaches this far from the midline."""

NEAR_FRONT_MM = 45.0
"""Nothing farther in front of the spine is told from what the bowel may hold."""

AXIS_MM = 38.0
"""A vertebra that was not outlined, with its arch, lies this near to the line of the
others."""


OUTLINED_MM = 4.0
"""What lies this far in front of the line of the bodies, or no farther above the
highest, is in no vertebra."""


@dataclass(frozen=True, slots=True)
class BodyExtent:
    """How far a body reaches from its centre, mm along its own axes."""

    front_mm: float
    back_mm: float
    half_width_mm: float
    half_height_mm: float


@dataclass(frozen=True, slots=True)
class DistantPlace:
    """Where an object lies.

    Attributes
    ----------
    location : str
        "azygos", "hemiazygos", "vena_cava", "lung_left", "lung_right",
        "paravertebral_left", "paravertebral_right" or "soft_tissue".
    level : str
        Nearest vertebra.
    near : bool
        Whether it lies among the veins and muscles of the spine.
    beyond : bool
        Whether a vertebra that was not outlined may hold it.
    """

    location: str
    level: str
    near: bool
    beyond: bool


def body_extents(
    labels: LabelArray, ct: CTVolume, spine: Spine
) -> tuple[BodyExtent, ...]:
    """Measure each body, of every second voxel."""
    extents = []
    for vertebra in spine.vertebrae:
        centre = np.rint(ct.geometry.lps_to_index(vertebra.centroid_lps_mm)).astype(int)
        reach = np.ceil(40.0 / np.array(ct.spacing_mm)).astype(int)
        low = np.clip(centre - reach, 0, np.array(labels.shape) - 1)
        high = np.clip(centre + reach + 1, low + 1, labels.shape)
        box = tuple(slice(a, b, 2) for a, b in zip(low, high, strict=True))
        index = np.argwhere(labels[box] == vertebra.level.number) * 2 + low
        if len(index) < 20:
            extents.append(BodyExtent(16.0, 16.0, 22.0, 13.0))
            continue
        local = vertebra.frame.to_local_mm(ct.geometry.index_to_lps(index))
        small, large = np.quantile(local, (0.02, 0.98), axis=0)
        extents.append(
            BodyExtent(
                -float(small[1]),
                float(large[1]),
                0.5 * float(large[0] - small[0]),
                0.5 * float(large[2] - small[2]),
            )
        )
    return tuple(extents)


def nearest_vertebra(point_lps_mm: FloatArray, spine: Spine) -> tuple[int, FloatArray]:
    """Give the vertebra at the height of a point, and the point in its axes."""
    local = [v.frame.to_local_mm(point_lps_mm) for v in spine.vertebrae]
    index = int(np.argmin([abs(float(one[2])) for one in local]))
    return index, local[index]


def place_of(
    point_lps_mm: FloatArray,
    spine: Spine,
    extents: tuple[BodyExtent, ...],
    *,
    in_lung: bool,
) -> DistantPlace:
    """Name the place of a point outside all vertebrae."""
    index, local = nearest_vertebra(point_lps_mm, spine)
    vertebra, extent = spine.vertebrae[index], extents[index]
    name = vertebra.level.name
    left, behind, up = (float(v) for v in local)
    side = "left" if left > 0 else "right"
    if in_lung:
        return DistantPlace(f"lung_{side}", name, near=True, beyond=False)
    ahead = -behind - extent.front_mm
    reach = extent.half_height_mm + OUTLINED_MM
    beyond = index == 0 and up < -reach
    beyond |= index == len(spine.vertebrae) - 1 and up > reach
    beyond &= abs(left) <= AXIS_MM and ahead <= OUTLINED_MM
    location = _front_vein(vertebra, left, ahead)
    near = location != ""
    if not near and abs(left) <= BESIDE_MM:
        beside = abs(left) > extent.half_width_mm - 3.0 and ahead < 0.0
        if beside or behind > extent.back_mm:
            location, near = f"paravertebral_{side}", True
        elif ahead <= NEAR_FRONT_MM and abs(left) <= NEAR_FRONT_MM:
            near = True
    # Far above or below all outlines nothing is told by the axes of the last one.
    near &= abs(up) <= FAR_UP_MM
    return DistantPlace(location or "soft_tissue", name, near, beyond)


FAR_UP_MM = 60.0
"""The spine curves: its axes hold no farther than this beyond the last vertebra."""


def _front_vein(vertebra: Vertebra, left: float, ahead: float) -> str:
    name = vertebra.level.name
    thoracic = name.startswith("T")
    rooms = []
    if thoracic:
        rooms += [("azygos", AZYGOS_MM), ("hemiazygos", HEMIAZYGOS_MM)]
    if name in ("T10", "T11", "T12", "T13"):
        rooms.append(("vena_cava", HIGH_CAVA_MM))
    if name.startswith("L"):
        rooms.append(("vena_cava", CAVA_MM))
    for location, (across, depth) in rooms:
        if across[0] <= left <= across[1] and depth[0] <= ahead <= depth[1]:
            return location
    return ""


@dataclass(frozen=True, slots=True)
class VeinsInView:
    """Levels, from the lowest upwards, at which the scan holds the room of a vein."""

    azygos: tuple[str, ...]
    cava: tuple[str, ...]


def veins_in_view(
    spine: Spine, extents: tuple[BodyExtent, ...], ct: CTVolume
) -> VeinsInView:
    """Tell along which vertebrae the great veins could be searched."""
    azygos: list[str] = []
    cava: list[str] = []
    for vertebra, extent in zip(spine.vertebrae, extents, strict=True):
        name = vertebra.level.name
        if not name.startswith(("T", "L")):
            continue
        thoracic = name.startswith("T")
        room = AZYGOS_MM if thoracic else CAVA_MM
        left = 0.5 * (room[0][0] + room[0][1])
        depths = -extent.front_mm - np.array(room[1])
        points = vertebra.frame.to_lps_mm([(left, depth, 0.0) for depth in depths])
        if all(ct.geometry.contains_lps(point) for point in points):
            (azygos if thoracic else cava).append(name)
    return VeinsInView(tuple(azygos), tuple(cava))
