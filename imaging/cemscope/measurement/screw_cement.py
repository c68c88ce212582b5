"""Screws as findings: their cement, their metal, and what a hidden tip leaves open."""

import numpy as np
import numpy.typing as npt

from cemscope.findings import MetalKind, MetalVolume, PointLPS, Screw
from cemscope.measurement.cement_volume import CementCluster
from cemscope.segmentation.metal import SpinalMetal
from cemscope.segmentation.scan_region import ScanRegion
from cemscope.segmentation.screws import ScrewModel
from cemscope.spine import Spine


def screw_findings(
    screws: tuple[ScrewModel, ...],
    clusters: list[CementCluster],
    spine: Spine,
) -> tuple[Screw, ...]:
    """Give each screw the cement of its level that lies nearest to it."""
    volumes = np.zeros(len(screws))
    beside = np.zeros(len(screws))
    order = {v.level.name: number for number, v in enumerate(spine.vertebrae, start=1)}
    for cluster in clusters:
        maps = cluster.fractions
        used = (maps.fraction > 0.05) & (cluster.owners.owner > 0)
        if not used.any() or not screws:
            continue
        points = maps.part.region.geometry.index_to_lps(np.argwhere(used))
        owner = cluster.owners.owner[used]
        weight = maps.fraction[used].astype(float) * maps.part.region.voxel_ml
        distance = np.full((len(screws), len(points)), np.inf)
        for k, screw in enumerate(screws):
            mine = owner == order[screw.level]
            if mine.any():
                distance[k, mine] = screw.distances_mm(points[mine])[0]
        nearest = np.argmin(distance, axis=0)
        reached = np.isfinite(distance.min(axis=0))
        for k in range(len(screws)):
            mine = reached & (nearest == k)
            volumes[k] += weight[mine].sum()
            touching = mine & (distance[k] <= BESIDE_SHAFT_MM)
            beside[k] += weight[touching].sum()
    return tuple(
        Screw(
            screw_id=f"{screw.level}-{screw.side}",
            level=screw.level,
            side=screw.side,
            head_lps_mm=_as_point(screw.head_lps_mm),
            tip_lps_mm=_as_point(screw.tip_lps_mm),
            diameter_mm=2.0 * screw.shaft.radius_mm,
            length_mm=screw.tip_mm,
            cemented=bool(beside[k] >= CEMENTED_ML),
            cement_volume_ml=float(volumes[k]),
        )
        for k, screw in enumerate(screws)
    )


BESIDE_SHAFT_MM = 2.5
CEMENTED_ML = 0.05
"""Cement within `BESIDE_SHAFT_MM` of the shaft that makes a screw cemented [ours]."""


def screw_metal(
    screws: tuple[ScrewModel, ...], metal: SpinalMetal, region: ScanRegion
) -> tuple[MetalVolume, ...]:
    """Volume of each screw: its fitted shaft and its head."""
    inside = metal.shafts[metal.shafts > 0]
    counts = np.bincount(inside, minlength=len(screws) + 1)
    return tuple(
        MetalVolume(
            MetalKind.SCREW,
            float(counts[k + 1]) * region.voxel_ml + metal.head_ml[k],
            _as_point(screw.axis.at(0.5 * screw.tip_mm)),
        )
        for k, screw in enumerate(screws)
    )


def hidden_metal_ml(screws: tuple[ScrewModel, ...], spine: Spine) -> tuple[float, ...]:
    """Estimate how uncertain the shafts' volume is at tips hidden in cement."""
    variance = dict.fromkeys((v.level.name for v in spine.vertebrae), 0.0)
    for screw in screws:
        if screw.tip_uncertainty_mm > 1.0:
            area_mm2 = np.pi * screw.thread.metal_radius_mm**2
            # The tip lies anywhere in the range: a uniform distribution.
            deviation_mm = screw.tip_uncertainty_mm / np.sqrt(3.0)
            variance[screw.level] += float(area_mm2 * deviation_mm / 1000.0) ** 2
    return tuple(float(np.sqrt(value)) for value in variance.values())


def _as_point(point: npt.NDArray[np.float64]) -> PointLPS:
    return float(point[0]), float(point[1]), float(point[2])
