"""Lucent rims of a whole scan: measured, put into the findings, and painted."""

from dataclasses import replace

import numpy as np

from cemscope.findings import Screw
from cemscope.measurement.lucency import LucencyScan, measure_lucency
from cemscope.measurement.lucency_profiles import ANGLES
from cemscope.measurement.lucency_surface import LucencyMap, LucencySettings
from cemscope.segmentation.implants.metal import box_near
from cemscope.segmentation.implants.screw_model import ScrewModel
from cemscope.segmentation.scan_region import ScanRegion, box_of, coordinate_along_mm
from cemscope.spine import Spine
from cemscope.volume import CTVolume, LabelArray

LUCENCY = 5
"""Number of a lucent rim in ``materials.nii.gz``."""

MOST_WIDTH_MM = 5.0


def add_lucency(
    ct: CTVolume,
    spine: Spine,
    materials: LabelArray,
    models: tuple[ScrewModel, ...],
    screws: tuple[Screw, ...],
    settings: LucencySettings,
) -> tuple[tuple[Screw, ...], tuple[LucencyMap | None, ...]]:
    """Measure the rims and paint them into the materials.

    Parameters
    ----------
    ct, spine
        The scan and its vertebrae.
    materials
        Cement and metal on the scan's grid; rims are written where there is nothing.
    models, screws
        The fitted screws and their findings, in one order.
    settings
        Limits.

    Returns
    -------
    tuple
        Findings with their lucency, and the unrolled surfaces (None where there is
        none) in the order of the screws.
    """
    if not models:
        return screws, ()
    whole = box_of(np.zeros(3, int), np.array(ct.hu.shape))
    region = ScanRegion.of_box(ct, spine.labels, whole)
    slice_mm = max(ct.spacing_mm[0], ct.acquisition.slice_thickness_mm or 0.0)
    scan = LucencyScan(
        region, materials, slice_mm, ct.clipped_at_hu, ct.acquisition.kvp
    )
    found = measure_lucency(scan, models, settings)
    for model, one in zip(models, found, strict=True):
        if one.surface is not None:
            _paint(region, materials, model, one.surface)
    return (
        tuple(
            replace(screw, lucency=one.finding)
            for screw, one in zip(screws, found, strict=True)
        ),
        tuple(one.surface for one in found),
    )


def _paint(
    region: ScanRegion, materials: LabelArray, screw: ScrewModel, surface: LucencyMap
) -> None:
    """Mark voxels between the shaft's surface and the outer edge of its rim."""
    if not (surface.width_mm > 0.0).any():
        return
    box = box_near(region, screw, MOST_WIDTH_MM)
    geometry = region.geometry.crop(box)
    first, second = screw.axis.cross_vectors()
    t, across, along = (
        np.asarray(coordinate_along_mm(geometry, screw.axis.point, axis))
        for axis in (screw.axis.forward, first, second)
    )
    plane = np.interp(
        t, surface.t_mm, np.arange(surface.t_mm.size), left=-1.0, right=-1.0
    )
    turn = np.arctan2(along, across) * (ANGLES / (2.0 * np.pi))
    width = surface.width_mm[
        np.maximum(np.rint(plane), 0).astype(int), np.rint(turn).astype(int) % ANGLES
    ]
    outside = np.hypot(across, along) - screw.shaft.radius_mm
    rim = (plane >= 0.0) & (outside > 0.0) & (outside <= width)
    view = materials[box]
    view[rim & (view == 0)] = LUCENCY
