"""Implants beside the outlined spine are told; those of outlined vertebrae are not."""

from dataclasses import replace

import numpy as np
import pytest

from cases.augmented_spines import analysed, fixation, vertebroplasty
from cemscope.measurement.augmentation import CEMENT, LEAK, SCREW, measure_augmentation
from cemscope.measurement.beyond_spine import DENSE_HU, dense_beyond
from cemscope.spine import Spine
from cemscope.testing.phantoms import Phantom, build_phantom
from cemscope.volume import LabelMap

CODE = "implants_without_vertebra"


def without(phantom: Phantom, level: str) -> Spine:
    """The phantom's spine, as if a finder had missed one vertebra."""
    spine = phantom.spine
    missed = spine.vertebra(level).level
    labels = spine.labels.labels.copy()
    labels[np.isin(labels, (missed.number, missed.arch_number))] = 0
    kept = tuple(v for v in spine.vertebrae if v.level != missed)
    return Spine(LabelMap(labels, spine.labels.geometry), kept)


@pytest.mark.parametrize("phantom", [vertebroplasty(), fixation()])
def test_implants_of_outlined_vertebrae_are_not_beyond(phantom: Phantom) -> None:
    assert CODE not in {notice.code for notice in analysed(phantom).notices}


@pytest.mark.parametrize(
    ("phantom", "missed", "level"),
    [(vertebroplasty(), "L2", "L3"), (fixation(), "L4", "L5")],
)
def test_implants_of_a_missed_vertebra_are_told(
    phantom: Phantom, missed: str, level: str
) -> None:
    found = measure_augmentation(phantom.ct, without(phantom, missed))
    told = [notice for notice in found.notices if notice.code == CODE]
    assert len(told) == 1
    assert f"above {level}" in told[0].message


def test_volume_and_place_are_those_of_the_dense_voxels() -> None:
    phantom = vertebroplasty()
    materials = np.zeros(phantom.ct.geometry.shape, np.uint8)
    (found,) = dense_beyond(
        phantom.ct, without(phantom, "L2"), materials, (CEMENT, LEAK, SCREW)
    )
    dense = phantom.ct.hu >= DENSE_HU
    expected_ml = dense.sum() * phantom.ct.geometry.voxel_volume_mm3 / 1000.0
    assert found.volume_ml == pytest.approx(expected_ml, rel=0.05)
    centre = phantom.ct.geometry.index_to_lps(np.argwhere(dense)).mean(axis=0)
    assert np.linalg.norm(np.array(found.centroid_lps_mm) - centre) < 1.0
    assert not found.below


def test_bone_alone_is_not_told() -> None:
    phantom = build_phantom(("L3", "L2"))
    found = measure_augmentation(phantom.ct, without(phantom, "L2"))
    assert CODE not in {notice.code for notice in found.notices}


@pytest.mark.parametrize(("thick_mm", "told"), [(2.0, False), (8.0, True)])
def test_a_dense_plate_is_cortex_and_no_implant(thick_mm: float, told: bool) -> None:
    phantom = build_phantom(("L3", "L2"))
    missed = phantom.spine.vertebra("L2").frame
    voxels = np.indices(phantom.ct.geometry.shape).reshape(3, -1).T
    local = missed.to_local_mm(phantom.ct.geometry.index_to_lps(voxels.astype(float)))
    plate = (np.abs(local) <= (10.0, 0.5 * thick_mm, 10.0)).all(axis=1)
    hu = phantom.ct.hu.copy()
    hu[plate.reshape(hu.shape)] = 1500
    materials = np.zeros(hu.shape, np.uint8)
    found = dense_beyond(
        replace(phantom.ct, hu=hu), without(phantom, "L2"), materials, (CEMENT,)
    )
    assert bool(found) is told
