"""Profiles read beside one screw of the halo phantom."""

from functools import cache

import numpy as np

from cemscope.measurement.lucency import LucencyScan, expected_metal
from cemscope.measurement.lucency_streaks import CleanProfiles, clean_profiles
from cemscope.measurement.lucency_surface import LucencySettings
from cemscope.segmentation.implants.screw_model import ScrewModel
from cemscope.segmentation.scan_region import ScanRegion, box_of
from cemscope.testing.halo_scene import HaloPlan, build_halo_scene
from cemscope.testing.phantoms import Contrast, Scanner


@cache
def halo_profiles(
    width_mm: float, marrow_hu: float = 140.0
) -> tuple[CleanProfiles, ScrewModel]:
    scan, screw = halo_scan(width_mm, marrow_hu)
    settings = LucencySettings().profiles
    metal = expected_metal(scan, (screw,))
    cleaned = clean_profiles(scan.region, scan.materials, (screw,), settings, metal)[0]
    assert cleaned is not None
    return cleaned, cleaned.screw


@cache
def halo_scan(width_mm: float, marrow_hu: float) -> tuple[LucencyScan, ScrewModel]:
    """The scan that they are read from."""
    scene = build_halo_scene(
        HaloPlan(width_mm), Scanner(noise_hu=12.0), Contrast(marrow_hu=marrow_hu)
    )
    ct = scene.phantom.ct
    whole = box_of(np.zeros(3, int), np.array(ct.hu.shape))
    region = ScanRegion.of_box(ct, scene.phantom.spine.labels, whole)
    return LucencyScan(
        region, scene.materials, ct.spacing_mm[0], ct.clipped_at_hu
    ), scene.screws[0]
