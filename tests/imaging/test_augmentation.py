"""The one entry: zero is not 'not assessed', totals add up, real bone holds nothing."""

from dataclasses import replace

import numpy as np
import pytest

from cases.augmented_spines import fixation, vertebroplasty
from cemscope.findings import CementVolume, NotAssessed
from cemscope.measurement.augmentation import (
    CEMENT,
    OTHER_METAL,
    SCREW,
    measure_augmentation,
)
from cemscope.spine import Spine
from cemscope.testing.phantoms import Contrast, build_phantom
from cemscope.volume import LabelMap


def test_vertebra_without_cement_is_zero_with_an_upper_bound() -> None:
    phantom = build_phantom(("L3", "L2"))
    found = measure_augmentation(phantom.ct, phantom.spine)
    assert [item.level for item in found.cement] == ["L3", "L2"]
    for item in found.cement:
        assert isinstance(item.cement, CementVolume)
        assert item.cement.volume_ml == 0.0
        assert item.cement.interval.low_ml == 0.0
        assert 0.0 < item.cement.interval.high_ml < 0.1
    assert found.screws == ()
    assert found.metal == ()
    assert found.total.vertebrae_augmented == 0
    assert not found.materials.labels.any()


def test_cut_vertebra_without_cement_is_not_assessed() -> None:
    phantom = build_phantom(("L3", "L2"))
    cut = tuple(
        _incomplete(vertebra) if vertebra.level.name == "L3" else vertebra
        for vertebra in phantom.spine.vertebrae
    )
    found = measure_augmentation(phantom.ct, Spine(phantom.spine.labels, cut))
    values = {item.level: item.cement for item in found.cement}
    assert isinstance(values["L3"], NotAssessed)
    assert isinstance(values["L2"], CementVolume)


def _incomplete(vertebra):  # type: ignore[no-untyped-def]  # frozen dataclass in, same out
    return replace(vertebra, complete=False)


def test_totals_and_screws_add_up() -> None:
    phantom = fixation()
    found = measure_augmentation(phantom.ct, phantom.spine)
    values = [
        item.cement for item in found.cement if isinstance(item.cement, CementVolume)
    ]
    assert found.total.cement_ml == pytest.approx(sum(v.volume_ml for v in values))
    assert found.total.vertebrae_augmented == 2
    shares = [s.cement_volume_ml for s in found.screws]
    assert all(isinstance(share, float) for share in shares)
    assert sum(shares) == pytest.approx(found.total.cement_ml, rel=0.02)
    assert {s.screw_id for s in found.screws} == {
        "L4-left", "L4-right", "L3-left", "L3-right",
    }  # fmt: skip


def test_materials_overlap_the_truth() -> None:
    phantom = fixation()
    labels = measure_augmentation(phantom.ct, phantom.spine).materials.labels
    cement, truth = labels == CEMENT, phantom.cement_fraction >= 0.5
    metal, metal_truth = labels >= SCREW, phantom.metal_fraction >= 0.5
    assert dice(cement, truth) >= 0.85
    assert dice(metal, metal_truth) >= 0.85
    assert (labels == OTHER_METAL).any()


def dice(first: np.ndarray, second: np.ndarray) -> float:
    return 2.0 * float((first & second).sum()) / float(first.sum() + second.sum())


def test_scan_without_vertebrae_says_so() -> None:
    phantom = vertebroplasty()
    empty = np.zeros_like(phantom.spine.labels.labels)
    spine = Spine(LabelMap(empty, phantom.ct.geometry), ())
    found = measure_augmentation(phantom.ct, spine)
    assert found.cement == ()
    assert [notice.code for notice in found.notices] == ["no-vertebra"]


def test_clipped_cement_is_told() -> None:
    phantom = vertebroplasty(contrast=Contrast(cement_hu=3700.0))
    found = measure_augmentation(phantom.ct, phantom.spine)
    assert "cement-clipped" in [notice.code for notice in found.notices]
