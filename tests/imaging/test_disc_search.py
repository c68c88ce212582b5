"""Discs found in light analytic spines: none missed, none invented, in their place."""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest
from scipy import ndimage

from cemscope.segmentation.canal.canal_settings import CanalSettings
from cemscope.segmentation.canal.spinal_canal import find_canal
from cemscope.segmentation.canal.spine_axis import AxisSettings, SpineAxis, spine_axis
from cemscope.segmentation.discs.chain_scores import ChainSettings
from cemscope.segmentation.discs.disc import BODY_DEPTH_MM
from cemscope.segmentation.discs.disc_evidence import (
    DiscSight,
    EvidenceSettings,
    HiddenParts,
)
from cemscope.segmentation.discs.disc_search import find_discs
from cemscope.segmentation.discs.lumbosacral_bend import bent_axis
from cemscope.segmentation.discs.tilted_columns import TiltedColumns
from cemscope.segmentation.spine_working_volume import (
    IntensityWindow,
    working_volume,
)
from cemscope.testing.spine_phantom import PatientShape, PhantomScan, spine_phantom
from cemscope.volume import CTVolume

LUMBAR = PatientShape(levels=("S1", "L5", "L4", "L3", "L2"), ribs_on=())
THORACIC = PatientShape(levels=("T11", "T10", "T9", "T8", "T7"), size=0.7)
SCAN = PhantomScan((2.0, 1.5, 1.5), None, (-60, -60, -20), (60, 70, 165))
THICK = replace(SCAN, spacing_mm=(3.0, 1.5, 1.5), high_lps_mm=(60, 70, 110))


@dataclass(frozen=True)
class Scene:
    name: str
    shape: PatientShape
    scan: PhantomScan = SCAN
    noise_hu: float = 0.0
    streak_hu: float = 0.0


SCENES = [
    Scene("scoliosis, collapsed", replace(LUMBAR, scoliosis_mm=15.0, collapsed="L3")),
    Scene("screws, streaks, noise", replace(LUMBAR, screws_on=("L5", "L4", "L3")),
          noise_hu=60.0, streak_hu=250.0),
    Scene("osteoporosis, steep sacrum", replace(
        LUMBAR, marrow_hu=40.0, sacral_tilt_deg=42.0)),
    Scene("thin thoracic discs, 3 mm slices", THORACIC, THICK),
]  # fmt: skip


@cache
def searched(scene):
    phantom = spine_phantom(scene.shape, scene.scan)
    hu = phantom.ct.hu.astype(float)
    random = np.random.default_rng(1)
    hu += random.normal(0.0, scene.noise_hu, hu.shape)
    if scene.streak_hu:
        # Streaks lie in the slices of the metal and run across them.
        slices = (phantom.ct.hu > 2000).any(axis=(1, 2))
        rows = ndimage.gaussian_filter1d(random.normal(size=hu.shape[:2]), 1.5, axis=1)
        hu += (slices[:, None] * scene.streak_hu * rows)[..., None]
    ct = CTVolume(np.clip(hu, -1024, 3071).astype(np.int16), phantom.ct.geometry)
    window = IntensityWindow()
    path = find_canal(working_volume(ct, 2.0, window), CanalSettings())
    volume = working_volume(ct, 1.0, window)
    axis = spine_axis(path, volume, AxisSettings())
    return phantom, find_discs(
        axis, DiscSight(volume, HiddenParts(), EvidenceSettings()), ChainSettings()
    )


def plane(disc, axis):
    """Middle of a disc and the direction across it."""
    near = int(np.clip(round(disc.step), 0, len(axis) - 1))
    slopes = np.tan(np.radians([disc.sagittal_tilt_deg, disc.lateral_tilt_deg]))
    normal = axis.superior[near] + slopes[0] * axis.posterior[near]
    normal = normal - slopes[1] * axis.left[near]
    wall = axis.points_lps_mm[near] + axis.posterior[near] * axis.wall_mm[near]
    rise = BODY_DEPTH_MM * slopes[0] + disc.step - near
    middle = wall - BODY_DEPTH_MM * axis.posterior[near] + rise * axis.superior[near]
    return middle, normal / np.linalg.norm(normal)


def gaps(phantom):
    """Middle of the gap between each two bodies, on the line through their centres."""
    labels, geometry = phantom.truth.labels, phantom.truth.geometry
    found = []
    for low, high, first, second in zip(
        phantom.frames[:-1], phantom.frames[1:],
        phantom.levels[:-1], phantom.levels[1:], strict=True,
    ):  # fmt: skip
        way = np.linspace(low.origin_lps_mm, high.origin_lps_mm, 400)
        index = np.rint(geometry.lps_to_index(way)).astype(int)
        seen = ((index >= 0) & (index < geometry.shape)).all(axis=1)
        numbers = np.where(
            seen, labels[tuple(np.clip(index, 0, np.array(labels.shape) - 1).T)], 0
        )
        if (numbers == first.number).any() and (numbers == second.number).any():
            leave = np.flatnonzero(numbers == first.number)[-1]
            enter = np.flatnonzero(numbers == second.number)[0]
            found.append((way[leave] + way[enter]) / 2)
    return np.array(found)


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
def test_discs_are_where_they_are(scene):
    phantom, found = searched(scene)
    middles = gaps(phantom)
    assert len(middles) >= 3
    planes = [plane(disc, found.axis) for disc in found.discs if not disc.supposed]
    for gap in middles:
        away = [abs(float((gap - middle) @ normal)) for middle, normal in planes]
        apart = [float(np.linalg.norm(gap - middle)) for middle, _ in planes]
        nearest = int(np.argmin(apart))
        # Slices of 2-3 mm, of which the body's edges are read to about a half.
        assert away[nearest] < 2.5
        assert apart[nearest] < 12.0
    heights = [middle[2] for middle, _ in planes]
    between = [z for z in heights if middles[0][2] - 6 < z < middles[-1][2] + 6]
    assert len(between) == len(middles)
    assert len(found.margins) == len(found.discs) - 1


def straight_axis(count):
    steps = np.arange(count, dtype=float)
    points = np.stack([0 * steps, 0 * steps, steps], axis=1)
    return SpineAxis(
        points, np.tile([0.0, 0, 1], (count, 1)), np.tile([0.0, 1, 0], (count, 1)),
        np.tile([1.0, 0, 0], (count, 1)), np.full(count, -8.0), 0, count,
    )  # fmt: skip


def test_bent_axis_turns_back_and_keeps_its_steps():
    axis = straight_axis(120)
    bent = bent_axis(axis, 60, 30.0)
    np.testing.assert_array_equal(bent.points_lps_mm[60:], axis.points_lps_mm[60:])
    lengths = np.linalg.norm(np.diff(bent.points_lps_mm, axis=0), axis=1)
    np.testing.assert_allclose(lengths, 1.0, atol=1e-9)
    down = bent.points_lps_mm[0] - bent.points_lps_mm[1]
    angle = np.degrees(np.arctan2(down[1], -down[2]))
    assert angle == pytest.approx(30.0, abs=1e-6)
    np.testing.assert_allclose(
        np.cross(bent.posterior, bent.superior), bent.left, atol=1e-9
    )


def test_tilted_columns_against_interpolation():
    random = np.random.default_rng(3)
    values = random.normal(size=(2, 5, 40)).astype(np.float32)
    rise = random.uniform(-6.0, 6.0, (3, 5))
    groups = (np.array([1, 1, 0, 0, 0], bool), np.array([0, 0, 1, 1, 1], bool))
    sums = TiltedColumns(rise, 40).sums(values, groups)
    steps = np.arange(40)
    padded = np.pad(values, [(0, 0), (0, 0), (20, 20)])
    for lead in range(2):
        for tilt in range(3):
            for k, group in enumerate(groups):
                expected = sum(
                    np.interp(
                        steps + rise[tilt, c], np.arange(-20, 60), padded[lead, c]
                    )
                    for c in np.flatnonzero(group)
                )
                np.testing.assert_allclose(sums[lead, k, tilt], expected, atol=1e-4)
