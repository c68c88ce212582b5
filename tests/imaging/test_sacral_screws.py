"""Screws of the sacrum and the ilium: found at S1, or metal, but never cement."""

import numpy as np
import pytest

from cemscope.findings import MetalKind, Side
from cemscope.measurement.augmentation import Augmentation, measure_augmentation
from cemscope.segmentation.implants.screws import search_screws
from cemscope.spine import Spine
from cemscope.testing.phantom_shapes import Cylinder, Ellipsoid
from cemscope.testing.phantoms import (
    Contrast,
    Implant,
    Phantom,
    build_phantom,
    pedicle_screw,
)
from cemscope.volume import LabelMap

COBALT_CHROME = Contrast(metal_hu=16000.0)
ILIAC = (
    Implant(Cylinder((30.0, 45.0, 4.0), (44.0, -15.0, -14.0), 3.5), is_metal=True),
    Implant(Ellipsoid((30.0, 45.0, 4.0), (6.5, 6.5, 6.5)), is_metal=True),
)


def sacral_screws(contrast: Contrast) -> Phantom:
    screws = pedicle_screw(0, 1) + pedicle_screw(0, -1)
    return build_phantom(("S1", "L5"), screws, contrast=contrast)


def without_sacrum(phantom: Phantom) -> Spine:
    level = phantom.spine.vertebrae[0].level
    labels = phantom.spine.labels.labels.copy()
    labels[(labels == level.number) | (labels == level.arch_number)] = 0
    geometry = phantom.spine.labels.geometry
    return Spine(LabelMap(labels, geometry), phantom.spine.vertebrae[1:])


def cement_ml(found: Augmentation) -> float:
    return sum(getattr(item.cement, "volume_ml", 0.0) for item in found.cement)


def test_sacral_screws_of_cobalt_chrome_are_found_at_s1() -> None:
    phantom = sacral_screws(COBALT_CHROME)
    found = search_screws(phantom.ct, phantom.spine, 2850.0)
    assert {(s.level, s.side) for s in found.screws} == {
        ("S1", Side.LEFT),
        ("S1", Side.RIGHT),
    }
    for screw in found.screws:
        assert abs(2.0 * screw.shaft.radius_mm - 6.0) <= 0.7


@pytest.mark.parametrize("iliac", [False, True], ids=["sacral", "iliac"])
def test_screws_beside_the_outlined_spine_are_other_metal(iliac: bool) -> None:
    phantom = build_phantom(("S1", "L5"), ILIAC) if iliac else sacral_screws(Contrast())
    found = measure_augmentation(phantom.ct, without_sacrum(phantom))
    assert found.screws == ()
    assert cement_ml(found) == 0.0
    assert {part.kind for part in found.metal} == {MetalKind.OTHER}
    voxel_ml = phantom.ct.geometry.voxel_volume_mm3 / 1000.0
    true_ml = float(phantom.metal_fraction.sum(dtype=np.float64)) * voxel_ml
    # Clipped and blurred edges: up to a quarter more.
    assert sum(part.volume_ml for part in found.metal) == pytest.approx(
        true_ml, rel=0.25
    )
