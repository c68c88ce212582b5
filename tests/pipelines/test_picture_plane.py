import numpy as np
import pytest

from cases.treated_spine import (
    CEMENT_LPS_MM,
    LEAK_LPS_MM,
    LEVEL_Z_MM,
    ORIENTATIONS,
    SCREW_HEAD_LPS_MM,
    Orientation,
    treated_spine,
)
from cemscope.volume import LabelMap
from cemscope_pipelines.pictures.plane import (
    LongView,
    PicturePlane,
    SpineCourse,
    axial_plane,
    bent_plane,
)
from cemscope_pipelines.pictures.sampling import (
    OUTSIDE_HU,
    depths_mm,
    project_labels,
    sample_hu,
    sample_labels,
)

CASE = treated_spine()
COURSE = SpineCourse.of(CASE.spine)
Z_RANGE = (-20.0, 90.0)
CORONAL = bent_plane(COURSE, LongView.CORONAL, Z_RANGE, (-50.0, 50.0), 1.0)
SAGITTAL = bent_plane(COURSE, LongView.SAGITTAL, Z_RANGE, (-50.0, 80.0), 1.0)
AXIAL = axial_plane(CASE.spine.vertebra("L4"), (0.0, 15.0, 36.0), 50.0, 1.0)
PLANES = {"coronal": CORONAL, "sagittal": SAGITTAL, "axial": AXIAL}


def centre_of(mask: np.ndarray) -> tuple[float, float]:
    row, column = np.argwhere(mask).mean(axis=0)
    return float(row), float(column)


def test_coronal_shows_the_patients_right_on_the_left_and_the_head_on_top() -> None:
    _rows, columns = CORONAL.shape
    row, column = CORONAL.pixel_of(CEMENT_LPS_MM)
    assert column < columns / 2, "cement lies in the patient's right half"
    assert CORONAL.pixel_of(SCREW_HEAD_LPS_MM)[1] > columns / 2
    assert CORONAL.pixel_of((0, 0, LEVEL_Z_MM["L3"]))[0] < row
    assert (CORONAL.left_mark, CORONAL.right_mark) == ("R", "L")


def test_sagittal_shows_the_front_on_the_left() -> None:
    assert SAGITTAL.pixel_of(LEAK_LPS_MM)[1] > SAGITTAL.pixel_of(CEMENT_LPS_MM)[1]
    assert (SAGITTAL.left_mark, SAGITTAL.right_mark) == ("A", "P")


def test_axial_is_seen_from_the_feet() -> None:
    _rows, columns = AXIAL.shape
    assert AXIAL.pixel_of(CEMENT_LPS_MM)[1] < columns / 2
    assert AXIAL.pixel_of(LEAK_LPS_MM)[0] > AXIAL.pixel_of(CEMENT_LPS_MM)[0]
    assert (AXIAL.left_mark, AXIAL.top_mark) == ("R", "A")


@pytest.mark.parametrize("plane", PLANES.values(), ids=PLANES.keys())
def test_pixels_are_square_and_of_the_size_they_claim(plane: PicturePlane) -> None:
    across = np.diff(plane.points_lps_mm, axis=1)
    down = np.diff(plane.points_lps_mm, axis=0)
    # On a bent plane the step along the depth is the bend, not the pixel.
    down = down - (down @ plane.depth_axis)[..., None] * plane.depth_axis
    np.testing.assert_allclose(np.linalg.norm(across, axis=-1), plane.pixel_mm)
    np.testing.assert_allclose(np.linalg.norm(down, axis=-1), plane.pixel_mm)


@pytest.mark.parametrize("orientation", ORIENTATIONS, ids=lambda o: o.name)
@pytest.mark.parametrize("plane", PLANES.values(), ids=PLANES.keys())
def test_the_picture_does_not_depend_on_how_the_scan_is_stored(
    orientation: Orientation, plane: PicturePlane
) -> None:
    other = treated_spine(orientation)
    np.testing.assert_allclose(
        sample_hu(other.ct, plane, 6.0), sample_hu(CASE.ct, plane, 6.0), atol=0.01
    )
    mine = project_labels(CASE.augmentation.materials, plane, (1, 2, 3), (-40.0, 40.0))
    theirs = project_labels(
        other.augmentation.materials, plane, (1, 2, 3), (-40.0, 40.0)
    )
    for label, thickness in mine.items():
        # Samples half-way between two voxels may fall to either side.
        differing = np.abs(thickness - theirs[label]) > 2.0
        assert differing.mean() < 0.01, (label, differing.mean())


def test_projected_thickness_is_that_of_the_ball() -> None:
    projected = project_labels(
        CASE.augmentation.materials, CORONAL, (1,), (-40.0, 40.0)
    )[1]
    # A ball of 8 mm radius on a 2 mm grid: 16 mm thick, give or take a voxel.
    assert projected.max() == pytest.approx(16.0, abs=2.0)
    row, column = centre_of(projected > 0)
    wanted_row, wanted_column = CORONAL.pixel_of(CEMENT_LPS_MM)
    assert abs(row - wanted_row) * CORONAL.pixel_mm < 1.0
    assert abs(column - wanted_column) * CORONAL.pixel_mm < 1.0
    area_mm2 = float((projected > 0).sum()) * CORONAL.pixel_mm**2
    assert area_mm2 == pytest.approx(np.pi * 8.0**2, rel=0.15)


def test_projection_stops_at_the_given_depths() -> None:
    behind = project_labels(CASE.augmentation.materials, CORONAL, (1,), (15.0, 40.0))
    assert not behind[1].any()


def test_nothing_is_projected_where_there_is_no_material() -> None:
    empty = LabelMap(np.zeros((4, 4, 4), np.uint8), CASE.ct.geometry.crop(
        (slice(0, 4), slice(0, 4), slice(0, 4))))  # fmt: skip
    assert not project_labels(empty, CORONAL, (1,), (-40.0, 40.0))[1].any()


def test_beyond_the_scan_the_picture_is_black() -> None:
    far = axial_plane(None, (0.0, 0.0, 500.0), 20.0, 1.0)
    assert (sample_hu(CASE.ct, far, 3.0) == OUTSIDE_HU).all()
    assert not sample_labels(CASE.spine.labels, far).any()


def test_a_bent_plane_follows_the_bodies() -> None:
    course = SpineCourse(np.array([0.0, 100.0]), np.zeros(2), np.array([0.0, 50.0]))
    plane = bent_plane(course, LongView.CORONAL, (0.0, 100.0), (-10.0, 10.0), 1.0)
    top, bottom = plane.points_lps_mm[0, 0], plane.points_lps_mm[-1, 0]
    assert top[1] == pytest.approx(top[2] / 2)
    assert bottom[1] == pytest.approx(bottom[2] / 2)


def test_axial_planes_tilt_with_the_vertebra() -> None:
    vertebra = CASE.spine.vertebra("L4")
    flat = axial_plane(vertebra, vertebra.centroid_lps_mm, 20.0, 1.0)
    np.testing.assert_allclose(flat.depth_axis, vertebra.frame.superior)
    spread = flat.points_lps_mm @ vertebra.frame.superior
    assert np.ptp(spread) < 1e-9


@pytest.mark.parametrize(("thickness", "step"), [(12.0, 1.5), (3.0, 0.7), (0.5, 2.0)])
def test_layers_fill_the_slab_evenly(thickness: float, step: float) -> None:
    layers = depths_mm(thickness, step)
    assert layers.mean() == pytest.approx(0.0, abs=1e-9)
    width = thickness / len(layers)
    assert layers[-1] - layers[0] + width == pytest.approx(thickness)


def test_a_spine_without_vertebrae_has_no_course() -> None:
    empty = type(CASE.spine)(CASE.spine.labels, ())
    with pytest.raises(ValueError, match="vertebra"):
        SpineCourse.of(empty)
