"""Count the cement of one vertebra again, with the library's own measure.

The count is not the machine's to the last microlitre: layers beside shafts are not
fitted again. It is used for differences only: what an edit changes in it is added to
the machine's value, so that a case without edits keeps the machine's numbers exactly.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cemscope.anatomy import VertebraLevel
from cemscope.findings import CementVolume, Screw
from cemscope.measurement.cement_fraction import (
    FractionMap,
    Ownership,
    assign_owners,
    map_fractions,
)
from cemscope.measurement.cement_volume import (
    CementCluster,
    ScanModel,
    measure_volumes,
)
from cemscope.measurement.screw_cement import screw_findings, shaft_doubts
from cemscope.segmentation.cement.cement import CementRegion
from cemscope.segmentation.scan_region import (
    Box,
    ScanRegion,
    box_of,
    grown,
    widened,
)
from cemscope.spine import Spine
from cemscope.volume import LabelArray
from cemscope_pipelines.review.case_maps import CaseMaps
from cemscope_pipelines.review.review_state import ReviewState
from cemscope_pipelines.review.scan_context import ScanContext, screw_model
from cemscope_pipelines.review.voxel_change import (
    CEMENT,
    ERASED,
    FIRST_OWNED,
    LAST_OWNED,
    OTHER_METAL,
    SCREW,
    is_cement,
    is_leak,
)

Shape = tuple[int, int, int]

LEAK_REACH_MM = 60.0
"""Leaks of a vertebra are searched this far around it."""

SHAFT_RIM_MM = 1.0
"""Beside metal its blur hides cement; the share of the next voxels is taken."""


@dataclass(frozen=True, slots=True, eq=False)
class BoxCount:
    """Cement of one box of the scan as counted now.

    Attributes
    ----------
    levels : dict of str to CementVolume
        By the machine's level name; levels without cement are left out.
    leaks_ml : dict of int to float
        Volume outside the body, by the leak's code in the working map.
    screws : dict of str to Screw
        With the cement nearest to each, by the screw's id in the state.
    cluster : CementCluster or None
        What was counted.
    """

    levels: dict[str, CementVolume]
    leaks_ml: dict[int, float]
    screws: dict[str, Screw]
    cluster: CementCluster | None = None

    def owners_at(self, index: npt.NDArray[np.int64], shape: Shape) -> set[int]:
        """Places (from 1) of the vertebrae that own cement at some voxels.

        Parameters
        ----------
        index
            Places in the flattened array of the scan, within the box.
        shape
            Shape of the scan.
        """
        if self.cluster is None:
            return set()
        places = np.array(np.unravel_index(index, shape))
        start = [part.start for part in self.cluster.fractions.part.region.box]
        local = tuple(axis - first for axis, first in zip(places, start, strict=True))
        return {int(n) for n in np.unique(self.cluster.owners.owner[local]) if n}

    def volume_ml(self, level: str) -> float:
        """All cement of a level in the box."""
        return self.levels[level].volume_ml if level in self.levels else 0.0

    def intrabody_ml(self, level: str) -> float:
        """Cement of a level within its body, in the box."""
        return self.levels[level].intrabody_ml if level in self.levels else 0.0

    def threshold_ml(self, level: str) -> float:
        """Voxels over the plain threshold, in the box."""
        return self.levels[level].threshold_volume_ml if level in self.levels else 0.0


def count_box(
    context: ScanContext, maps: CaseMaps, state: ReviewState, box: Box
) -> BoxCount:
    """Count cement, leaks and the screws' share in a box.

    Parameters
    ----------
    context
        The scan and its levels.
    maps
        Maps as they are now.
    state
        Tells whose the leaks are and where screws lie.
    box
        Part of the scan's arrays; what an edit changes must lie `EDIT_MARGIN_MM`
        within it.
    """
    cluster = cement_cluster(context, maps, state, box)
    if cluster is None:
        return BoxCount({}, {}, {})
    spine = context.spine(maps, state)
    owner = cluster.owners.owner
    present = {
        entry.level
        for place, entry in enumerate(state.vertebrae, start=1)
        if (owner == place).any()
    }
    entries = [screw for screw in state.screws if screw.level in present]
    screws = tuple(screw_model(entry) for entry in entries)
    measured = measure_volumes(
        (cluster,),
        tuple((v.level.name, v.body_volume_ml) for v in spine.vertebrae),
        ScanModel(context.cement, context.levels, context.quality),
        shaft_doubts(screws, spine, context.cement),
        context.settings.volume,
    )
    codes = cluster.leak_numbers.ravel()
    shares = cluster.fractions.fraction.ravel().astype(np.float64)
    sums = np.bincount(codes, shares, minlength=256)
    sums[0] = 0.0
    ml = cluster.fractions.part.region.voxel_ml
    return BoxCount(
        {volume.level: volume for volume in measured if volume is not None},
        {int(code): float(sums[code]) * ml for code in np.flatnonzero(sums)},
        {
            entry.id: found
            for entry, found in zip(
                entries, screw_findings(screws, [cluster], spine), strict=True
            )
        },
        cluster,
    )


def cement_cluster(
    context: ScanContext, maps: CaseMaps, state: ReviewState, box: Box
) -> CementCluster | None:
    """Shares, owners and leak codes on a box; None where it holds no cement."""
    codes = maps.materials[box]
    if not is_cement(codes).any():
        return None
    spine = context.spine(maps, state)
    region = ScanRegion.of_box(context.ct, spine.labels, box)
    fractions = fractions_of(context, region, codes)
    nearest = _nearest_codes(codes, region)
    owners = _owners(fractions, spine, state, codes, nearest)
    outside = is_leak(codes) | ((owners.outside_mm > 0.0) & ~owners.bone)
    leaked = (fractions.halo | fractions.shell) & is_leak(nearest) & outside
    leaked &= owners.owner > 0
    numbers = np.where(leaked, nearest, 0).astype(np.uint8)
    return CementCluster(fractions, owners, numbers)


EDIT_MARGIN_MM = 10.0
"""What changes at a voxel reaches no further: the halo, the local background (2.5 times
2 mm) and the local brightness of cement (2.5 times 3 mm)."""


def box_of_index(
    index: npt.NDArray[np.int64], maps: CaseMaps, margin_mm: float = EDIT_MARGIN_MM
) -> Box:
    """Box around voxels given by their place in the flattened array."""
    places = np.array(np.unravel_index(index, maps.geometry.shape))
    box = box_of(places.min(axis=1), places.max(axis=1) + 1)
    return widened(box, margin_mm, maps.geometry)


def cement_box(
    context: ScanContext, maps: CaseMaps, state: ReviewState, level: str
) -> Box | None:
    """Box of the cement that may be a vertebra's own, with room for its blur."""
    outline = context.boxes.get(level)
    if outline is None:
        return None
    geometry = maps.geometry
    own = np.zeros(256, np.bool_)
    for leak in state.vertebra(level).leaks:
        own[state.leak_codes[leak.id]] = True
    place = [entry.level for entry in state.vertebrae].index(level)
    if FIRST_OWNED + place <= LAST_OWNED:
        own[FIRST_OWNED + place] = True
    far = widened(outline, LEAK_REACH_MM, geometry)
    name = VertebraLevel(level)
    found = []
    start = np.array([part.start for part in far])
    for number, (codes, labels) in enumerate(
        zip(maps.materials[far], maps.vertebrae[far], strict=True)
    ):
        if not codes.any():
            continue
        held = own[codes]
        outlined = (labels == name.number) | (labels == name.arch_number)
        held |= (codes == CEMENT) & outlined
        rows, columns = np.flatnonzero(held.any(1)), np.flatnonzero(held.any(0))
        if len(rows):
            first = (number, rows[0], columns[0])
            last = (number, rows[-1], columns[-1])
            found += [start + first, start + last]
    if not found:
        return None
    margin_mm = 2.0 * context.settings.cement.halo_mm + 4.0
    tight = box_of(np.min(found, axis=0), np.max(found, axis=0) + 1)
    return widened(tight, margin_mm, geometry)


def fractions_of(
    context: ScanContext, region: ScanRegion, codes: LabelArray
) -> FractionMap:
    """Share of cement per voxel: the reader says where, the scan says how much."""
    solid = is_cement(codes)
    metal = (codes == SCREW) | (codes == OTHER_METAL)
    shell = grown(metal, SHAFT_RIM_MM, region.geometry) & ~metal
    part = CementRegion(
        region=region,
        solid=solid & ~shell,
        shell=shell,
        metal=metal.astype(np.float32),
        tissue_hu=region.hu,
        corrected=shell,
        forbidden=metal,
        layers=(),
    )
    cement = context.settings.cement
    found = map_fractions(part, context.cement, context.levels, context.quality, cement)
    erased = codes == ERASED
    if erased.any():
        share = np.where(erased, np.float32(0.0), found.fraction)
        found = replace(found, fraction=share, halo=found.halo & ~erased)
    return found


def _nearest_codes(codes: LabelArray, region: ScanRegion) -> LabelArray:
    solid = is_cement(codes)
    if not solid.any():
        return np.zeros_like(codes)
    index = ndimage.distance_transform_edt(
        ~solid,
        sampling=region.geometry.spacing_mm,
        return_distances=False,
        return_indices=True,
    )
    nearest: LabelArray = codes[tuple(index)]
    return nearest


def _owners(
    fractions: FractionMap,
    spine: Spine,
    state: ReviewState,
    codes: LabelArray,
    nearest: LabelArray,
) -> Ownership:
    """Owners by anatomy, but leaks and what the reader moved by the reader's word."""
    found = assign_owners(fractions, spine)
    places = {entry.level: k for k, entry in enumerate(state.vertebrae, start=1)}
    table = np.zeros(256, np.uint8)
    for code in state.leak_codes.values():
        level = state.level_of_leak_code(code)
        if level is not None:
            table[code] = places[level]
    for place in range(len(state.vertebrae)):
        if FIRST_OWNED + place <= LAST_OWNED:
            table[FIRST_OWNED + place] = place + 1
    forced = table[nearest]
    forced[is_leak(nearest) & found.inside & ~is_leak(codes)] = 0
    told = fractions.halo & (forced > 0)
    owner = np.where(told, forced, found.owner)
    moved = told & ~is_leak(nearest)
    return replace(found, owner=owner, inside=found.inside | moved)
