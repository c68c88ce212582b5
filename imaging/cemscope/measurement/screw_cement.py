"""Screws as findings: their cement, their metal, and what a hidden tip leaves open."""

import numpy as np
import numpy.typing as npt

from cemscope.findings import MetalKind, MetalVolume, NotAssessed, PointLPS, Screw
from cemscope.measurement.cement_volume import (
    SHELL_MM,
    Z95,
    CementCluster,
    ShaftDoubt,
)
from cemscope.segmentation.cement.cement_level import CementLevel
from cemscope.segmentation.cement.shaft_layers import ShaftLayer
from cemscope.segmentation.implants.metal import SpinalMetal
from cemscope.segmentation.implants.screws import ScrewModel, held_length_mm
from cemscope.segmentation.scan_region import ScanRegion
from cemscope.spine import Spine


def screw_findings(
    screws: tuple[ScrewModel, ...],
    clusters: list[CementCluster],
    spine: Spine,
    doubtful: frozenset[str] = frozenset(),
    unlike: frozenset[str] = frozenset(),
) -> tuple[Screw, ...]:
    """Give each screw the cement of its level that lies nearest to it.

    Cement of ``doubtful`` levels (metal) and ``unlike`` ones (what may be bone) is not
    assessed.
    """
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
            cement_volume_ml=(
                NotAssessed("what is dense at this level may be another screw")
                if screw.level in doubtful
                else NotAssessed("what is dense at this level may be bone")
                if screw.level in unlike
                else float(volumes[k])
            ),
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


def shaft_doubts(
    screws: tuple[ScrewModel, ...],
    spine: Spine,
    level: CementLevel | None,
    layers: tuple[ShaftLayer, ...] = (),
) -> tuple[ShaftDoubt, ...]:
    """How uncertain the metal of each vertebra is, in the spine's order.

    Where cement is about as bright as the shaft, neither its edge nor its tip can be
    told from cement that covers it. An even mantle that was taken for the shaft may be
    cement.
    """
    mantles = {(k.screw.level, k.screw.side): k.mantle_mm for k in layers}
    doubts = []
    for vertebra in spine.vertebrae:
        variance, radius_mm, inside_ml, wrapped = 0.0, 0.0, 0.0, 0.0
        even_ml = 0.0
        for screw in screws:
            if screw.level != vertebra.level.name:
                continue
            held_mm = min(held_length_mm(screw, spine), LONGEST_WRAP_MM)
            mantle_mm = mantles.get((screw.level, screw.side), 0.0)
            thick_mm2 = mantle_mm * (2.0 * screw.shaft.radius_mm + mantle_mm)
            even_ml += float(np.pi * thick_mm2 * held_mm / 1000.0)
            alike = level is not None and level.hu > ALIKE_SHARE * screw.shaft.metal_hu
            inside_ml += BORE_AREA_MM2 * BORE_FILL_MM / 1000.0
            tip_mm = screw.tip_uncertainty_mm
            deviation_mm = screw.shaft.radius_deviation_mm
            if alike:
                tip_mm = max(tip_mm, ALIKE_TIP_MM)
                deviation_mm = max(deviation_mm, ALIKE_RADIUS_MM)
                around_mm = 2.0 * np.pi * screw.shaft.radius_mm
                area_mm2 = around_mm * held_mm
                wrapped += (WRAP_SHARE * deviation_mm * area_mm2 / 1000.0) ** 2
            radius_mm = max(radius_mm, deviation_mm)
            if tip_mm > 1.0:
                area_mm2 = np.pi * screw.thread.metal_radius_mm**2
                # The tip lies anywhere in the range: a uniform distribution.
                variance += float(area_mm2 * tip_mm / np.sqrt(3.0) / 1000.0) ** 2
        doubts.append(
            ShaftDoubt(
                float(np.sqrt(variance)),
                radius_mm,
                inside_ml,
                float(np.sqrt(wrapped)),
                even_ml,
            )
        )
    return tuple(doubts)


BORE_AREA_MM2, BORE_FILL_MM = 2.5, 40.0
"""Screws for cement are cannulated with 1.5 to 2 mm; from the tip to the head, where
the cannula was attached, the bore may be full. Metal around it hides it on most scans.
"""


def hidden_cement_ml(doubt: ShaftDoubt, shell_ml: float) -> float:
    """Cement that shafts may hide where none shows.

    Parameters
    ----------
    doubt
        What is not known of the shafts.
    shell_ml
        Volume beside them in which nothing can be seen.
    """
    beside_ml = (HIDDEN_SHARE + doubt.radius_mm / SHELL_MM) * shell_ml
    return beside_ml + Z95 * doubt.hidden_ml + doubt.mantle_ml


HIDDEN_SHARE = 0.25
"""Part of the shell beside a shaft that cement may fill without showing beyond it; more
where the radius is not known, by the shell's nominal width [ours]."""

ALIKE_SHARE = 0.7
"""Cement brighter than this share of a shaft hides its edge [ours]."""

LONGEST_WRAP_MM, WRAP_SHARE = 35.0, 0.5
"""Cement follows a shaft along the pedicle and body at most; how likely it does so
unseen [ours]."""

ALIKE_TIP_MM, ALIKE_RADIUS_MM = 4.0, 0.3
"""How far cement as bright as the shaft draws its tip and edge out on simulated
scans."""


def _as_point(point: npt.NDArray[np.float64]) -> PointLPS:
    return float(point[0]), float(point[1]), float(point[2])
