"""Cement outside the closed surface of a vertebral body.

Thin so far: volume, distance and place of each leak are measured; the route (type) is
left open and every leak's certainty is indeterminate.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from cemscope.findings import Certainty, Leak, NotAssessed
from cemscope.measurement.cement_fraction import FractionMap, Ownership
from cemscope.segmentation.implants.metal import points_near
from cemscope.segmentation.implants.screws import ScrewModel
from cemscope.segmentation.scan_region import FloatArray, ScanRegion
from cemscope.spine import Spine, Vertebra
from cemscope.volume import BoolArray, LabelArray


@dataclass(frozen=True, slots=True)
class LeakageSettings:
    """What counts as a leak [our operational definition].

    Attributes
    ----------
    minimum_distance_mm
        Cement nearer to the body's surface abuts the cortex.
    minimum_reach_mm
        A leak's furthest point; more than the usual error of a vertebra's outline.
    minimum_volume_ml, minimum_voxels
        Smaller pieces are not told from blur.
    track_mm
        Cement behind the body within this distance of a screw's axis lies in its track.
    """

    minimum_distance_mm: float = 1.0
    minimum_reach_mm: float = 2.5
    minimum_volume_ml: float = 0.02
    minimum_voxels: int = 27
    track_mm: float = 5.0


@dataclass(frozen=True, slots=True, eq=False)
class BodyExtent:
    """Extent of a body in its own frame, (left, posterior, superior) in mm."""

    lower_mm: FloatArray
    upper_mm: FloatArray

    @classmethod
    def of_vertebra(cls, region: ScanRegion, vertebra: Vertebra) -> "BodyExtent | None":
        """Measure a body's outline; None where it is not in the region."""
        index = np.argwhere(region.labels == vertebra.level.number)
        if len(index) < 8:
            return None
        local = vertebra.frame.to_local_mm(region.geometry.index_to_lps(index))
        return cls(np.percentile(local, 2, axis=0), np.percentile(local, 98, axis=0))


def find_leaks(
    fractions: FractionMap,
    owners: Ownership,
    spine: Spine,
    screws: tuple[ScrewModel, ...],
    settings: LeakageSettings,
    first_numbers: tuple[int, ...],
) -> tuple[tuple[Leak, ...], LabelArray]:
    """Find the leaks of one cluster of cement.

    Parameters
    ----------
    first_numbers
        Number of leaks already found per vertebra; the ids count on from there.

    Returns
    -------
    tuple of Leak
        With empty types and indeterminate certainty.
    ndarray of uint8
        Number of the leak (from 1, in the order of the first result) per voxel.
    """
    part = fractions.part
    region = part.region
    spacing = region.geometry.spacing_mm
    numbers = np.zeros(region.hu.shape, np.uint8)
    solid = (fractions.fraction >= 0.35) & fractions.halo & (owners.owner > 0)
    arch = owners.bone & ~_before_canal(
        region, spine, owners, owners.bone & fractions.halo & ~owners.inside
    )
    outside = (
        solid
        & ~owners.inside
        & ~arch
        & (owners.outside_mm >= settings.minimum_distance_mm)
    )
    outside &= ~_tracks(region, spine, screws, settings)
    if not outside.any():
        return (), numbers
    pieces, _ = ndimage.label(outside, np.ones((3, 3, 3)))
    leaks: list[Leak] = []
    counts = list(first_numbers)
    reach = int(np.ceil(3.0 / min(spacing)))
    sizes = np.bincount(pieces.ravel())
    for piece_number, box in enumerate(ndimage.find_objects(pieces), start=1):
        if sizes[piece_number] < settings.minimum_voxels:
            continue
        wide = tuple(slice(max(p.start - reach, 0), p.stop + reach) for p in box)
        piece = pieces[wide] == piece_number
        distance = np.where(piece, owners.outside_mm[wide], 0.0)
        farthest = float(distance[np.isfinite(distance)].max(initial=0.0))
        if farthest < settings.minimum_reach_mm:
            continue
        # The blur around the piece, as far as it is outside and no other piece's.
        index = ndimage.distance_transform_edt(~piece, sampling=spacing)
        mine = (index <= 2.0) & ~owners.inside[wide] & ~arch[wide]
        mine &= (pieces[wide] == 0) | piece
        mine &= (numbers[wide] == 0) & fractions.halo[wide]
        share = np.where(mine, fractions.fraction[wide], 0.0).astype(float)
        volume = float(share.sum()) * region.voxel_ml
        if volume < settings.minimum_volume_ml:
            continue
        owner = int(np.argmax(np.bincount(owners.owner[wide][piece])))
        vertebra = spine.vertebrae[owner - 1]
        counts[owner - 1] += 1
        voxels = np.argwhere(mine) + [p.start for p in wide]
        points = region.geometry.index_to_lps(voxels)
        weights = np.maximum(share[mine], 0.0)
        centre = np.average(points, axis=0, weights=weights)
        leaks.append(
            Leak(
                leak_id=f"{vertebra.level.name}-{counts[owner - 1]}",
                level=vertebra.level.name,
                types=(),
                certainty=Certainty.INDETERMINATE,
                locations=_locations(region, spine, vertebra, points, weights),
                volume_ml=volume,
                max_distance_mm=farthest,
                centroid_lps_mm=(float(centre[0]), float(centre[1]), float(centre[2])),
                canal_encroachment_percent=NotAssessed(
                    "the share of the canal is not measured in this version"
                ),
            )
        )
        numbers[wide][mine] = len(leaks)
    return tuple(leaks), numbers


EPIDURAL_DEPTH_MM = 10.0
"""Cement before the canal lies no further from it; half a canal's depth and a bit."""

LEAST_CANAL_MM = 3.0
"""The canal behind a voxel is at least this deep; less is a brush with its rim."""


def _before_canal(
    region: ScanRegion, spine: Spine, owners: Ownership, candidates: BoolArray
) -> BoolArray:
    """Tell which voxels lie between a body and the canal behind it.

    An arch has pedicles beside the canal and laminae behind it, but no bone in front:
    what an outline of the arch takes for bone there is cement.
    """
    before = np.zeros(candidates.shape, np.bool_)
    if spine.canal is None or not candidates.any():
        return before
    canal = spine.canal.voxels[region.box]
    index = np.argwhere(candidates)
    points = region.geometry.index_to_lps(index)
    step = 0.5 * min(region.geometry.spacing_mm)
    way = np.arange(step, EPIDURAL_DEPTH_MM + LEAST_CANAL_MM, step)
    limit = np.array(canal.shape) - 1
    owner = owners.owner[candidates]
    for number in np.unique(owner[owner > 0]):
        mine = owner == number
        back = spine.vertebrae[int(number) - 1].frame.posterior
        depth = np.zeros(int(mine.sum()))
        for distance in way:
            behind = region.geometry.lps_to_index(points[mine] + distance * back)
            at = np.rint(behind).astype(int)
            seen = ((at >= 0) & (at <= limit)).all(axis=1)
            at = np.clip(at, 0, limit)
            depth += step * (seen & canal[tuple(at.T)])
        before[tuple(index[mine][depth >= LEAST_CANAL_MM].T)] = True
    return before


def _tracks(
    region: ScanRegion,
    spine: Spine,
    screws: tuple[ScrewModel, ...],
    settings: LeakageSettings,
) -> BoolArray:
    """Cement along a screw behind the body is neither inside nor a leak."""
    track = np.zeros(region.hu.shape, np.bool_)
    if not screws:
        return track
    for screw in screws:
        box, points = points_near(region, screw, settings.track_mm)
        vertebra = spine.vertebra(screw.level)
        distance, t = screw.distances_mm(points)
        behind = vertebra.frame.to_local_mm(points)[..., 1] > 0.0
        near = distance + screw.shaft.radius_mm <= settings.track_mm
        track[box] |= near & behind & (t < screw.tip_mm)
    return track


MINIMUM_SHARE = 0.25
"""A place is named if it holds at least this share of a leak [our choice]."""


def _locations(
    region: ScanRegion,
    spine: Spine,
    vertebra: Vertebra,
    points_lps_mm: FloatArray,
    weights: FloatArray,
) -> tuple[str, ...]:
    """Places that hold a relevant share of a leak, the largest first."""
    extent = BodyExtent.of_vertebra(region, vertebra)
    if extent is None:
        return ("paravertebral",)
    local = vertebra.frame.to_local_mm(points_lps_mm)
    left, posterior, superior = local.T
    in_canal = np.zeros(len(local), np.bool_)
    if spine.canal is not None:
        index = np.round(spine.labels.geometry.lps_to_index(points_lps_mm)).astype(int)
        index = np.clip(index, 0, np.array(spine.labels.geometry.shape) - 1)
        in_canal = spine.canal.voxels[tuple(index.T)]
    width = extent.upper_mm[0] - extent.lower_mm[0]
    middle = 0.5 * (extent.upper_mm[0] + extent.lower_mm[0])
    over = (left > extent.lower_mm[0]) & (left < extent.upper_mm[0])
    over &= (posterior > extent.lower_mm[1]) & (posterior < extent.upper_mm[1])
    behind = posterior >= extent.upper_mm[1] - 1.0
    central = np.abs(left - middle) <= 0.25 * width
    names = np.full(len(local), "paravertebral_right", dtype="<U20")
    names[left > middle] = "paravertebral_left"
    front = posterior < extent.lower_mm[1] + 0.15 * np.ptp(
        [extent.lower_mm[1], extent.upper_mm[1]]
    )
    names[front & (np.abs(left - middle) <= 0.35 * width)] = "prevertebral"
    names[over & (superior > extent.upper_mm[2] - 1.0)] = "disc_superior"
    names[over & (superior < extent.lower_mm[2] + 1.0)] = "disc_inferior"
    names[behind & (left > middle)] = "foraminal_left"
    names[behind & (left <= middle)] = "foraminal_right"
    names[behind & central] = "epidural"
    names[in_canal] = "epidural"
    far_behind = posterior > extent.upper_mm[1] + 20.0
    names[far_behind & ~in_canal] = "needle_track"
    shares = {str(n): float(weights[names == n].sum()) for n in np.unique(names)}
    total = max(sum(shares.values()), 1e-9)
    order = sorted(shares, key=lambda name: -shares[name])
    named = tuple(n for n in order if shares[n] >= MINIMUM_SHARE * total)
    return named or (order[0],)
