"""The same cement gives the same volume however the scan is stored; iodine gives none.

One simulated scan of one vertebra, whose true outline is used.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest
from scipy import ndimage

from cases.augmented_spines import regridded
from cemscope.findings import CementVolume, LeakType, Side
from cemscope.geometry import VoxelGeometry
from cemscope.measurement.augmentation import measure_augmentation
from cemscope.resampling import resample_labels_smooth
from cemscope.spine import Spine
from cemscope.testing.cement_draw import CementFamily
from cemscope.testing.cement_scene import make_cement_scene
from cemscope.testing.lumbar_cement import CementPlan, LeakPlan
from cemscope.testing.quick_scanner import QuickScan
from cemscope.testing.spine_patient import PatientSettings
from cemscope.testing.spine_posture import LevelPlan, stand
from cemscope.volume import CTVolume, LabelMap

LEVELS = tuple(LevelPlan(n, n) for n in ("L3", "L4"))

TREATED = PatientSettings(
    LEVELS,
    vertebroplasties=(CementPlan("L3", 1.6, (5.0, -5.0, 0.0), 3.0, 1.0),),
    leaks=(LeakPlan("L3", LeakType.SEGMENTAL, Side.LEFT, 0.2),),
    barium_sulfate_fraction=0.15,
    seed=5,
)
ENHANCED = PatientSettings(LEVELS, contrast_hu=380.0, cava_hu=320.0, plaques=8, seed=6)
"""Contrast medium in aorta and cava, and plaques."""

MIDDLE = stand(LEVELS, TREATED.size).vertebrae[0].frame.origin_lps_mm

SCAN = QuickScan(
    pixel_mm=0.8,
    rows=110,
    columns=108,
    slice_increment_mm=1.2,
    slice_thickness_mm=1.2,
    slices=40,
    first_mm=(MIDDLE[0] - 43.0, MIDDLE[1] - 44.0, MIDDLE[2] - 24.0),
    noise_hu=15.0,
    seed=7,
)


@dataclass(frozen=True)
class SmallCase:
    """A scan of one vertebra."""

    patient: PatientSettings
    scan: QuickScan = SCAN
    seed: int = 0
    family: CementFamily = CementFamily.LEAKING
    targets: tuple[str, ...] = ("L3",)
    notes: str = ""


MARGIN_MM = 14.0

SAME = 0.03

FALSE_ML = 0.02

Change = Callable[[CTVolume, Spine], tuple[CTVolume, Spine]]


@cache
def scene(patient: PatientSettings) -> tuple[CTVolume, Spine, dict[str, float]]:
    """A scan, its vertebrae, and the cement of those that it holds as a whole."""
    made = make_cement_scene(SmallCase(patient))
    truth = {
        v["level"]: v["cement_ml"]
        for v in made.truth["vertebrae"]
        if v["whole_in_view"]
    }
    spine = made.spine()
    whole = tuple(v for v in spine.vertebrae if v.level.name in truth)
    numbers = [n for v in whole for n in (v.level.number, v.level.arch_number)]
    labels = np.where(np.isin(made.labels.labels, numbers), made.labels.labels, 0)
    known = Spine(LabelMap(labels.astype(np.uint8), made.ct.geometry), whole)
    box = bounds(labels > 0, made.ct.geometry, MARGIN_MM)
    ct, known = cut(made.ct, known, box)
    return ct, known, truth


def bounds(
    mask: np.ndarray, geometry: VoxelGeometry, margin_mm: float
) -> tuple[slice, slice, slice]:
    margin = np.ceil(margin_mm / np.array(geometry.spacing_mm)).astype(int)
    used = np.argwhere(mask)
    start = np.maximum(used.min(0) - margin, 0)
    stop = np.minimum(used.max(0) + margin + 1, mask.shape)
    first, second, third = (slice(*ends) for ends in zip(start, stop, strict=True))
    return first, second, third


def cut(
    ct: CTVolume, spine: Spine, box: tuple[slice, slice, slice]
) -> tuple[CTVolume, Spine]:
    geometry = ct.geometry.crop(box)
    labels = LabelMap(spine.labels.labels[box], geometry)
    return (
        replace(ct, hu=np.ascontiguousarray(ct.hu[box]), geometry=geometry),
        Spine(labels, spine.vertebrae),
    )


def flipped(ct: CTVolume, spine: Spine) -> tuple[CTVolume, Spine]:
    return regridded(ct, spine, (0, 1, 2), (0, 2))


def other_axes(ct: CTVolume, spine: Spine) -> tuple[CTVolume, Spine]:
    return regridded(ct, spine, (1, 2, 0), (1,))


def cropped(ct: CTVolume, spine: Spine) -> tuple[CTVolume, Spine]:
    box = bounds(spine.labels.labels > 0, ct.geometry, MARGIN_MM - 7.0)
    return cut(ct, spine, box)


def oblique(ct: CTVolume, spine: Spine) -> tuple[CTVolume, Spine]:
    """The grid turned about two axes, as a tilted acquisition lies."""
    return on_grid(ct, spine, turn(12.0, (1, 2)) @ turn(9.0, (0, 1)), 1.0)


def finer(ct: CTVolume, spine: Spine) -> tuple[CTVolume, Spine]:
    return on_grid(ct, spine, np.eye(3), 0.8)


def coarser(ct: CTVolume, spine: Spine) -> tuple[CTVolume, Spine]:
    return on_grid(ct, spine, np.eye(3), 1.25)


def coarse_scale(ct: CTVolume, spine: Spine) -> tuple[CTVolume, Spine]:
    """Values as a DICOM slope of 4 stores them."""
    stored = np.round(ct.hu / 4.0)
    return replace(ct, hu=(4.0 * stored).astype(np.int16)), spine


def turn(degrees: float, axes: tuple[int, int]) -> np.ndarray:
    angle = np.deg2rad(degrees)
    matrix = np.eye(3)
    first, second = axes
    matrix[first, first] = matrix[second, second] = np.cos(angle)
    matrix[first, second], matrix[second, first] = np.sin(angle), -np.sin(angle)
    return matrix


def on_grid(
    ct: CTVolume, spine: Spine, turned: np.ndarray, pixel_factor: float
) -> tuple[CTVolume, Spine]:
    """Sample a scan on a grid turned about its middle, with pixels of another size."""
    old = ct.geometry
    factors = np.array([1.0, pixel_factor, pixel_factor])
    steps = turned @ old.affine_lps[:3, :3] * factors
    shape = tuple(int(n / f) for n, f in zip(old.shape, factors, strict=True))
    middle = old.index_to_lps(0.5 * (np.array(old.shape) - 1))
    affine = np.eye(4)
    affine[:3, :3] = steps
    affine[:3, 3] = middle - steps @ (0.5 * (np.array(shape) - 1))
    geometry = VoxelGeometry(shape, affine, old.frame_of_reference_uid)
    points = geometry.index_to_lps(np.moveaxis(np.indices(shape), 0, -1))
    index = np.moveaxis(old.lps_to_index(points), -1, 0)
    hu = ndimage.map_coordinates(
        ct.hu.astype(np.float32), index, order=3, mode="nearest"
    )
    top = ct.clipped_at_hu or 30000
    hu = np.clip(np.round(hu), -1024, top).astype(np.int16)
    labels = resample_labels_smooth(spine.labels, geometry)
    return replace(ct, hu=hu, geometry=geometry), Spine(labels, spine.vertebrae)


@cache
def plain_volumes() -> dict[str, float]:
    ct, spine, _ = scene(TREATED)
    return volumes(ct, spine)


def volumes(ct: CTVolume, spine: Spine) -> dict[str, float]:
    found = measure_augmentation(ct, spine)
    assert found.screws == ()
    result = {}
    for item in found.cement:
        assert isinstance(item.cement, CementVolume)
        result[item.level] = item.cement.volume_ml
    return result


def test_the_scan_as_it_is_agrees_with_its_truth() -> None:
    _, _, truth = scene(TREATED)
    assert min(truth.values()) > 0.3
    for level, volume in plain_volumes().items():
        assert volume == pytest.approx(truth[level], abs=max(0.05 * truth[level], 0.1))


@pytest.mark.parametrize(
    "change",
    [flipped, other_axes, cropped, oblique, finer, coarser, coarse_scale],
    ids=lambda change: change.__name__,
)
def test_the_same_cement_gives_the_same_volume(change: Change) -> None:
    ct, spine, _ = scene(TREATED)
    for level, volume in volumes(*change(ct, spine)).items():
        assert volume == pytest.approx(plain_volumes()[level], rel=SAME), level


def test_contrast_medium_and_plaques_are_no_cement() -> None:
    ct, spine, truth = scene(ENHANCED)
    assert not any(truth.values())
    assert (ct.hu > 250).any()
    found = measure_augmentation(ct, spine)
    assert found.screws == ()
    assert found.leaks == ()
    for item in found.cement:
        assert isinstance(item.cement, CementVolume)
        assert item.cement.volume_ml < FALSE_ML
