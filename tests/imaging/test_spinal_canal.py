"""The path of the canal, the spine's axes and the canal's lumen on analytic spines."""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest

from cemscope.errors import NoVertebraFoundError
from cemscope.geometry import VoxelGeometry
from cemscope.segmentation.canal.canal_lumen import LumenSettings, canal_lumen
from cemscope.segmentation.canal.canal_settings import CanalSettings
from cemscope.segmentation.canal.spinal_canal import find_canal
from cemscope.segmentation.canal.spine_axis import AxisSettings, spine_axis
from cemscope.segmentation.spine_working_volume import IntensityWindow, working_volume
from cemscope.testing.spine_phantom import PatientShape, PhantomScan, spine_phantom
from cemscope.volume import CTVolume

CANAL_BEHIND_AXIS_MM = 26.0
"""In the phantom the canal's centre lies so far behind a lumbar body's axis."""

USUAL = PatientShape()
COARSE = PhantomScan(spacing_mm=(2.0, 1.5, 1.5))


def turned(degrees, axis):
    """Axis directions of a scan that is turned about the patient's x or z axis."""
    cosine, sine = (
        float(np.cos(np.radians(degrees))),
        float(np.sin(np.radians(degrees))),
    )
    if axis == "x":
        return ((0.0, sine, cosine), (0.0, cosine, -sine), (1.0, 0.0, 0.0))
    return ((0.0, 0.0, 1.0), (-sine, cosine, 0.0), (cosine, sine, 0.0))


@dataclass(frozen=True)
class Scene:
    name: str
    shape: PatientShape = USUAL
    scan: PhantomScan = COARSE
    streak: bool = False
    roll_deg: float = 0.0


SCENES = [
    Scene("usual"),
    Scene("head to feet", scan=replace(COARSE, directions_lps=(
        (0, 0, -1), (0, 1, 0), (1, 0, 0)))),
    Scene("oblique slices", scan=replace(COARSE, directions_lps=turned(20.0, "x"))),
    Scene("turned rows", scan=replace(COARSE, directions_lps=turned(15.0, "z"))),
    Scene("rolled patient", roll_deg=15.0),
    Scene("scoliosis", PatientShape(scoliosis_mm=30.0)),
    Scene("osteoporosis", PatientShape(marrow_hu=40.0)),
    Scene("small field of view", scan=replace(
        COARSE, low_lps_mm=(-75, -60, 25), high_lps_mm=(75, 80, 175))),
    Scene("short", scan=replace(
        COARSE, low_lps_mm=(-80, -70, 60), high_lps_mm=(80, 85, 105))),
    Scene("metal streak and leak", PatientShape(screws_on=("L4",)), streak=True),
]  # fmt: skip


@cache
def measured(scene):
    phantom = spine_phantom(scene.shape, scene.scan)
    ct, turn = phantom.ct, np.eye(3)
    hu = ct.hu.copy()
    if scene.streak:
        # 20 mm of the canal and all beside it: dark and bright bands, cement in it.
        level = [level.name for level in phantom.levels].index("L4")
        centre = ct.geometry.lps_to_index(phantom.frames[level].origin_lps_mm)
        first = int(centre[0]) - 5
        rows = np.arange(hu.shape[1])
        band = np.where((rows // 6) % 2 == 0, 350, -250).astype(np.int16)
        slices = slice(first, first + 10)
        hu[slices] += band[None, :, None]
        row = int(centre[1] + CANAL_BEHIND_AXIS_MM / 1.5)
        column = int(centre[2])
        hu[slices, row - 3 : row + 3, column : column + 5] = 1800
    if scene.roll_deg:
        turn = np.array(turned(-scene.roll_deg, "z"))[[2, 1, 0]].T
    affine = ct.geometry.affine_lps.copy()
    affine[:3] = turn @ affine[:3]
    ct = CTVolume(hu, VoxelGeometry(ct.hu.shape, affine))
    coarse = working_volume(ct, 2.0, IntensityWindow())
    path = find_canal(coarse, CanalSettings())
    points = path.points_lps_mm
    margin = np.array([60.0, 65.0, 35.0])
    box = (points.min(axis=0) - margin, points.max(axis=0) + margin)
    fine = working_volume(ct, 1.0, IntensityWindow(), box)
    axis = spine_axis(path, fine, AxisSettings())
    return phantom, ct, path, axis, canal_lumen(axis, fine, LumenSettings()), turn


def lumbar(phantom, ct, turn):
    """Canal, left and superior of each lumbar body in view, as the patient lies."""
    for level, frame in zip(phantom.levels, phantom.frames, strict=True):
        centre = turn @ frame.to_lps_mm(np.array([0.0, CANAL_BEHIND_AXIS_MM, 0.0]))
        if level.name.startswith("L") and ct.geometry.contains_lps(centre):
            yield centre, turn @ frame.left, turn @ frame.superior


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
def test_axis_runs_through_the_canal_and_turns_with_the_vertebrae(scene):
    phantom, ct, _, axis, _, turn = measured(scene)
    seen = 0
    for centre, left, superior in lumbar(phantom, ct, turn):
        seen += 1
        step = int(np.linalg.norm(axis.points_lps_mm - centre, axis=1).argmin())
        assert axis.canal_start <= step < axis.canal_stop
        away = centre - axis.points_lps_mm[step]
        assert abs(away @ axis.left[step]) < 3.0
        assert abs(away @ axis.posterior[step]) < 7.0  # the canal is 18 mm deep
        turn_deg = np.degrees(np.arcsin(axis.posterior[step] @ left))
        assert abs(turn_deg) < 6.0
        assert axis.superior[step] @ superior > np.cos(np.radians(20.0))
    assert seen >= 1


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
def test_lumen_is_one_tube_inside_the_bone(scene):
    phantom, ct, _, axis, lumen, turn = measured(scene)
    inside = lumen.voxels(ct.geometry, np.zeros(ct.geometry.shape, np.uint8))
    for centre, left, _ in lumbar(phantom, ct, turn):
        index = np.rint(ct.geometry.lps_to_index(centre)).astype(int)
        assert inside[tuple(index)]
        for side in (-1.0, 1.0):  # beyond the pedicles, in the way of the foramina
            aside = ct.geometry.lps_to_index(centre + side * 19.0 * left)
            assert not inside[tuple(np.rint(aside).astype(int))]
    # No gap: some voxel at each step between its ends, and no sudden change of width.
    for step in range(axis.canal_start + 2, axis.canal_stop - 2):
        index = np.rint(ct.geometry.lps_to_index(axis.points_lps_mm[step])).astype(int)
        if (index >= 0).all() and (index < ct.hu.shape).all():
            assert inside[tuple(index)]
    seen = lumen.radius_mm[:, axis.canal_start // 2 : axis.canal_stop // 2]
    assert np.abs(np.diff(seen, axis=1)).max() < 3.0


def test_path_of_the_whole_canal_does_not_depend_on_the_pelvis_or_the_arms():
    # Two long bones with dark marrow beside the spine, as straight as it is.
    phantom = spine_phantom(PatientShape(), COARSE)
    hu = phantom.ct.hu.copy()
    rows, columns = np.indices(hu.shape[1:])
    for column in (8, hu.shape[2] - 9):
        radius = np.hypot(rows - 50, columns - column) * 1.5
        hu[:, (radius >= 8.0) & (radius < 14.0)] = 900
        hu[:, radius < 8.0] = 20
    path = find_canal(
        working_volume(CTVolume(hu, phantom.ct.geometry), 2.0, IntensityWindow()),
        CanalSettings(),
    )
    assert np.abs(path.points_lps_mm[:, 0]).max() < 12.0


def test_noise_is_no_canal():
    geometry = VoxelGeometry.from_axes((40, 60, 60), (2.0, 2.0, 2.0))
    hu = np.random.default_rng(3).normal(40, 20, geometry.shape).astype(np.int16)
    volume = working_volume(CTVolume(hu, geometry), 2.0, IntensityWindow())
    with pytest.raises(NoVertebraFoundError, match="mm of spinal canal"):
        find_canal(volume, CanalSettings())
