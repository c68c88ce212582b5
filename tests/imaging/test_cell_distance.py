"""Distances from cells are those of scipy, to the last bit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from cemscope.measurement.cell_distance import cells_within, distance_from


@given(
    arrays(
        np.bool_,
        st.tuples(*[st.integers(1, 9)] * 3),
        elements=st.booleans(),
        fill=st.just(False),
    )
)
def test_the_distance_is_that_of_scipy(cells: np.ndarray) -> None:
    found = distance_from(cells)
    np.testing.assert_array_equal(found, ndimage.distance_transform_edt(~cells))
    assert found.dtype == np.float64


@pytest.mark.parametrize("seed", range(3))
def test_so_it_is_on_a_large_grid_with_few_cells(seed: int) -> None:
    cells = np.random.default_rng(seed).random((60, 70, 80)) > 0.9999
    cells[20:30, 40:44, 10:60] = True
    np.testing.assert_array_equal(
        distance_from(cells), ndimage.distance_transform_edt(~cells)
    )


def test_a_view_of_other_order_is_read_right() -> None:
    cells = np.zeros((5, 6, 7), np.bool_)
    cells[1, 2, 3] = True
    turned = cells[::-1].transpose(2, 0, 1)
    np.testing.assert_array_equal(
        distance_from(turned), ndimage.distance_transform_edt(~turned)
    )


@pytest.mark.parametrize("reach", [0.0, 1.0, 2.0**0.5, 3.4, 40.0])
def test_what_lies_within_reach_is_found_around_the_cells_alone(reach: float) -> None:
    cells = np.zeros((30, 25, 20), np.bool_)
    cells[3:5, 20, 10:12] = True
    cells[9, 24, 0] = True
    np.testing.assert_array_equal(
        cells_within(cells, reach), ndimage.distance_transform_edt(~cells) <= reach
    )
    assert not cells_within(np.zeros((4, 4, 4), np.bool_), reach).any()
