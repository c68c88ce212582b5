"""Leaks in the whole measurement: volume, distance, place, owner; none invented."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from scipy import ndimage

from cases.augmented_spines import (
    BODY,
    DISC_LEAK,
    EPIDURAL_LEAK,
    NEEDLE_TRACK,
    PREVERTEBRAL_LEAK,
    VEIN_LEAK,
    analysed,
    vertebroplasty,
)
from cemscope.findings import LeakType
from cemscope.measurement.augmentation import CEMENT, LEAK, measure_augmentation
from cemscope.testing.phantom_shapes import Ellipsoid, Solid
from cemscope.testing.phantoms import Implant, Phantom, build_phantom
from cemscope.volume import LabelMap, Mask

B, S, C, D, _ = LeakType


@dataclass(frozen=True)
class LeakCase:
    name: str
    extra: tuple[Solid, ...]
    location: str
    distance_mm: float
    leak_type: LeakType


CASES = (
    LeakCase("disc", DISC_LEAK, "disc_superior", 4.5, D),
    LeakCase("epidural", EPIDURAL_LEAK, "epidural", 8.0, B),
    LeakCase("segmental vein", VEIN_LEAK, "paravertebral_left", 18.0, S),
    LeakCase("prevertebral", PREVERTEBRAL_LEAK, "prevertebral", 8.0, C),
)


def true_outside_ml(phantom: Phantom) -> float:
    body = phantom.spine.labels.labels == 21
    distance = ndimage.distance_transform_edt(~body, sampling=phantom.ct.spacing_mm)
    share = phantom.cement_fraction[distance > 0]
    return float(share.sum()) * phantom.ct.geometry.voxel_volume_mm3 / 1000.0


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_leak_is_measured_and_placed(case: LeakCase) -> None:
    phantom = vertebroplasty(extra=case.extra)
    found = analysed(phantom)
    (leak,) = found.leaks
    truth = true_outside_ml(phantom)
    assert leak.level == "L2"
    assert leak.leak_id == "L2-1"
    assert leak.locations[0] == case.location
    assert leak.volume_ml == pytest.approx(truth, abs=max(0.2 * truth, 0.02))
    assert leak.max_distance_mm == pytest.approx(case.distance_mm, abs=1.5)
    assert leak.types == (case.leak_type,)
    assert (leak.canal_encroachment_percent > 1.0) == (case.location == "epidural")
    assert found.total.leaked_ml == pytest.approx(leak.volume_ml, rel=0.05)
    index = np.round(phantom.ct.geometry.lps_to_index(leak.centroid_lps_mm)).astype(int)
    assert phantom.spine.labels.labels[tuple(index)] != 21


@pytest.mark.parametrize(
    "extra", [(), (NEEDLE_TRACK,)], ids=["inside", "in the pedicle"]
)
def test_cement_in_bone_is_no_leak(extra: tuple[Solid, ...]) -> None:
    phantom = vertebroplasty(extra=extra)
    found = analysed(phantom)
    assert found.leaks == ()
    assert not (found.materials.labels == LEAK).any()
    assert (found.materials.labels == CEMENT).any()


def test_epidural_cement_that_an_arch_swallowed_is_a_leak() -> None:
    # An outline of the arch by brightness takes cement at the canal for bone.
    phantom = vertebroplasty(extra=EPIDURAL_LEAK)
    labels = phantom.spine.labels.labels.copy()
    assert phantom.spine.canal is not None
    cement = phantom.cement_fraction > 0.2
    # In front of the cavity of the canal, as if the leak had pushed it back.
    swallowed = cement & (labels != 21)
    labels[swallowed] = 121
    canal = phantom.spine.canal.voxels & ~swallowed
    spine = replace(
        phantom.spine,
        labels=LabelMap(labels, phantom.ct.geometry),
        canal=Mask(canal, phantom.ct.geometry),
    )
    (leak,) = measure_augmentation(phantom.ct, spine).leaks
    assert leak.locations[0] == "epidural"
    assert leak.volume_ml == pytest.approx(true_outside_ml(phantom), rel=0.3)


def test_two_leaks_are_two() -> None:
    phantom = vertebroplasty(extra=DISC_LEAK + PREVERTEBRAL_LEAK)
    found = analysed(phantom)
    assert {leak.leak_id for leak in found.leaks} == {"L2-1", "L2-2"}
    assert {leak.locations[0] for leak in found.leaks} == {
        "disc_superior",
        "prevertebral",
    }


def test_disc_leak_between_two_cemented_levels_goes_to_the_one_it_hangs_on() -> None:
    lower = Implant(Ellipsoid((-4.0, -2.0, 0.0), (8.0, 7.0, 6.0)), level="L3")
    upper = Implant(BODY, level="L2")
    stem, blob = (Implant(piece, level="L2") for piece in DISC_LEAK)
    phantom = build_phantom(("L3", "L2"), (lower, upper, stem, blob))
    found = analysed(phantom)
    assert [leak.level for leak in found.leaks] == ["L2"]


def test_abutting_cement_is_no_leak() -> None:
    # Cement that reaches the anterior wall from inside, 0 mm beyond it.
    touching = Ellipsoid((0.0, -11.0, 36.0), (5.0, 5.0, 5.0))
    phantom = vertebroplasty(extra=(touching,))
    found = analysed(phantom)
    assert found.leaks == ()
