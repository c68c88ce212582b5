from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
import pytest
from scipy.spatial.transform import Rotation

from cases.vertebra_labels import Row
from cemscope.errors import LabelMapError
from cemscope.geometry import VoxelGeometry
from cemscope.segmentation.labels.label_edges import (
    EdgeImage,
    best_shift_mm,
    edge_shares,
    surface_of_labels,
)
from cemscope.segmentation.labels.label_placement import (
    check_placement,
    require_overlap,
)
from cemscope.volume import CTVolume, LabelMap

# Scoliosis, so that left and right differ; away from the middle of the scan.
ROW = Row(turn=Rotation.from_euler("yz", [12, 10], degrees=True))


@cache
def scene() -> tuple[CTVolume, LabelMap]:
    grid = ROW.grid((2.0, 2.0, 2.0), margin_mm=50.0)
    ct: CTVolume = ROW.ct(grid)
    noise = np.random.default_rng(7).normal(0, 25, grid.shape)
    return CTVolume((ct.hu + noise).astype(np.int16), grid), ROW.labels(grid)


def placed(labels: LabelMap, matrix: npt.NDArray[np.float64]) -> LabelMap:
    """The same voxels under a header that puts them elsewhere."""
    geometry = VoxelGeometry(labels.geometry.shape, matrix @ labels.geometry.affine_lps)
    return LabelMap(labels.labels, geometry)


def shift(*offset_mm: float) -> npt.NDArray[np.float64]:
    matrix = np.eye(4)
    matrix[:3, 3] = offset_mm
    return matrix


def mirror(axis: int, about_mm: float) -> npt.NDArray[np.float64]:
    matrix = np.eye(4)
    matrix[axis, axis] = -1
    matrix[axis, 3] = 2 * about_mm
    return matrix


def told_point(message: str) -> npt.NDArray[np.float64]:
    text = message.split("x, y, z: ")[1].split(" mm")[0]
    return np.array([float(value) for value in text.split(",")])


def test_labels_in_their_place_are_taken_without_a_word() -> None:
    ct, labels = scene()
    assert require_overlap(labels, ct.geometry, ct) == ()
    finding = check_placement(labels, ct)
    assert finding.notices == ()
    assert finding.off_bone == frozenset()


@pytest.mark.parametrize("offset", [(20, 0, 0), (0, -20, 0), (0, 0, 20), (9, -8, 7)])
def test_shifted_labels_are_refused_with_the_way_back(
    offset: tuple[float, float, float],
) -> None:
    ct, labels = scene()
    with pytest.raises(LabelMapError, match=r"\d+% of their outline") as refusal:
        check_placement(placed(labels, shift(*offset)), ct)
    # Found on cells of 2 mm.
    assert np.allclose(told_point(str(refusal.value)), -np.array(offset), atol=2.0)


def test_a_shift_of_four_millimetres_is_told() -> None:
    ct, labels = scene()
    finding = check_placement(placed(labels, shift(4.0, 0.0, 0.0)), ct)
    assert [n.code for n in finding.notices] == ["labels_displaced"]
    assert np.allclose(told_point(finding.notices[0].message), [-4, 0, 0], atol=2.0)


@dataclass(frozen=True)
class Mirrored:
    name: str
    axis: int
    words: str


@pytest.mark.parametrize(
    "case",
    [
        Mirrored("about the scan", 0, "mirrored left to right"),
        Mirrored("about themselves", 0, "mirrored left to right"),
        Mirrored("about the scan", 1, "mirrored front to back"),
    ],
    ids=lambda case: f"{case.words}, {case.name}",
)
def test_mirrored_labels_are_refused_as_such(case: Mirrored) -> None:
    ct, labels = scene()
    middle = ct.geometry.corners_lps_mm().mean(axis=0)
    own = labels.geometry.index_to_lps(np.argwhere(labels.labels)).mean(axis=0)
    about = own if case.name == "about themselves" else middle
    with pytest.raises(LabelMapError, match=case.words):
        check_placement(placed(labels, mirror(case.axis, about[case.axis])), ct)


def test_ras_taken_for_lps_is_named_even_outside_the_scan() -> None:
    ct, labels = scene()
    turned = placed(labels, np.diag([-1.0, -1.0, 1.0, 1.0]))
    ct_far = CTVolume(
        ct.hu, VoxelGeometry(ct.hu.shape, shift(300, 0, 0) @ ct.geometry.affine_lps)
    )
    labels_far = placed(labels, np.diag([-1.0, -1.0, 1.0, 1.0]) @ shift(300, 0, 0))
    with pytest.raises(LabelMapError, match="RAS is taken for LPS"):
        check_placement(turned, ct)
    with pytest.raises(LabelMapError, match=r"outside the CT.*RAS is taken for LPS"):
        require_overlap(labels_far, ct_far.geometry, ct_far)


def test_one_label_off_the_bone_is_named() -> None:
    ct, labels = scene()
    array = labels.labels.copy()
    centre = np.rint(labels.geometry.lps_to_index(ROW.poses()[2][1])).astype(int)
    array[array == 21] = 0
    z, y, x = centre
    array[z - 6 : z + 7, y - 28 : y - 12, x - 8 : x + 9] = 21  # in front of L2
    finding = check_placement(LabelMap(array, labels.geometry, {21: "L2"}), ct)
    assert finding.off_bone == {21}
    assert [n.code for n in finding.notices] == ["label_off_bone"]
    assert "of L2" in finding.notices[0].message


def test_share_falls_with_distance_and_the_shift_is_found() -> None:
    ct, labels = scene()
    surface = surface_of_labels(labels)
    assert np.allclose(np.linalg.norm(surface.inward, axis=1), 1.0, atol=1e-6)
    image = EdgeImage.of(ct, surface.points_lps_mm, 30.0)
    shares = [
        np.median(list(edge_shares(image, surface.moved(np.eye(3), s)).values()))
        for s in np.array([[0, 0, 0], [5, 0, 0], [12, 0, 0]], dtype=float)
    ]
    assert shares[0] > 0.9 > shares[1] > shares[2]
    offset = np.array([-11.0, 7.0, 4.0])
    found = best_shift_mm(image, surface.moved(np.eye(3), offset), 24.0)
    assert np.allclose(found, -offset, atol=1.5)


def test_labels_far_away_are_refused_with_the_distance() -> None:
    ct, labels = scene()
    with pytest.raises(LabelMapError, match=r"outside the CT.* mm away"):
        require_overlap(placed(labels, shift(600, 0, 0)), ct.geometry, ct)
