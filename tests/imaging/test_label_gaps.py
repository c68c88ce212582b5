from functools import cache

import numpy as np
import numpy.typing as npt
import pytest

from cases.vertebra_labels import Row, dice
from cemscope.geometry import VoxelGeometry
from cemscope.segmentation.labels.label_gaps import fill_implant_gaps
from cemscope.segmentation.labels.vertebra_import import spine_from_labels
from cemscope.volume import CTVolume, LabelMap

ROW = Row(("L4", "L3"))
METAL_HU = 3071
SCREW_RADIUS_MM, HALO_MM = 3.25, 1.25


def screws(grid: VoxelGeometry, radius_mm: float) -> npt.NDArray[np.bool_]:
    """Cylinders through both pedicles of L3 into its body."""
    _, centre, axes = ROW.poses()[1]
    index = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), -1)
    x, p, s = np.moveaxis((grid.index_to_lps(index) - centre) @ axes.T, -1, 0)
    inside: npt.NDArray[np.bool_] = (
        (np.hypot(np.abs(x) - 11.5, s - 6.0) <= radius_mm) & (p > -8) & (p < 45)
    )
    return inside


@cache
def scene() -> tuple[CTVolume, LabelMap, npt.NDArray[np.bool_]]:
    grid = ROW.grid((1.0, 1.0, 1.0))
    bone: CTVolume = ROW.ct(grid)
    metal = screws(grid, SCREW_RADIUS_MM)
    hu = np.where(metal, METAL_HU, bone.hu).astype(np.int16)
    left_out = screws(grid, SCREW_RADIUS_MM + HALO_MM)
    return CTVolume(hu, grid), ROW.labels(grid), left_out


def test_channels_of_screws_are_filled_and_told() -> None:
    ct, truth, left_out = scene()
    holed = np.where(left_out, 0, truth.labels).astype(np.uint8)
    filled, notices = fill_implant_gaps(LabelMap(holed, truth.geometry), ct)
    l3 = truth.labels == 22
    lost = l3 & (holed == 0)
    assert (filled.labels == 22)[lost].mean() > 0.95
    # Only what lies between walls is filled, and the rim of a channel that is wider
    # (9 mm) than the pedicle (7 mm); most of the screw lies outside and stays there.
    beyond = left_out & ~l3
    assert ((filled.labels == 22) & ~l3).sum() < 0.3 * beyond.sum()
    assert beyond.sum() > 1500
    assert np.array_equal(filled.labels == 23, truth.labels == 23)
    assert [n.code for n in notices] == ["label_gaps_filled"]
    assert "of L3" in notices[0].message
    told_ml = float(notices[0].message.split(": ")[1].split(" mL")[0])
    assert told_ml == pytest.approx((filled.labels != holed).sum() / 1000, abs=0.006)


def test_whole_labels_and_gaps_without_implants_stay() -> None:
    ct, truth, left_out = scene()
    whole, notices = fill_implant_gaps(truth, ct)
    assert ((whole.labels > 0) != (truth.labels > 0)).sum() < 150  # mm3, at the entries
    assert notices == ()
    holed = LabelMap(np.where(left_out, 0, truth.labels).astype(np.uint8), ct.geometry)
    untreated, notices = fill_implant_gaps(holed, ROW.ct(ct.geometry))
    assert np.array_equal(untreated.labels, holed.labels)
    assert notices == ()


def test_gap_between_body_and_arch_is_shared() -> None:
    ct, _, left_out = scene()
    parts = ROW.labels(ct.geometry, arches=True)
    holed = np.where(left_out, 0, parts.labels).astype(np.uint8)
    filled, _ = fill_implant_gaps(LabelMap(holed, ct.geometry), ct)
    assert dice(filled.labels == 22, parts.labels == 22) > 0.985
    assert dice(filled.labels == 122, parts.labels == 122) > 0.97


def test_body_with_channels_is_cut_like_a_whole_one() -> None:
    ct, truth, left_out = scene()
    holed = np.where(left_out, 0, truth.labels).astype(np.uint8)
    spine = spine_from_labels(LabelMap(holed, ct.geometry), ct.geometry, ct=ct)
    body, _ = ROW.parts(ct.geometry)["L3"]
    assert dice(spine.labels.labels == 22, body) > 0.96
