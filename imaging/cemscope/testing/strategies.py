"""Hypothesis strategies for geometry; needs the development tools."""

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from cemscope.geometry import VoxelGeometry


def orthonormal_directions(
    max_tilt_deg: float = 180.0,
) -> st.SearchStrategy[npt.NDArray[np.float64]]:
    """Draw three orthonormal axes in LPS, one per row: an axial scan, turned.

    Parameters
    ----------
    max_tilt_deg
        Largest turn about each patient axis.
    """
    angle = st.floats(-max_tilt_deg, max_tilt_deg)

    def turned(angles_deg: tuple[float, float, float]) -> npt.NDArray[np.float64]:
        axial = np.array([[0.0, 0, 1], [0, 1, 0], [1, 0, 0]])
        matrix: npt.NDArray[np.float64] = Rotation.from_euler(
            "xyz", angles_deg, degrees=True
        ).as_matrix()
        return axial @ matrix.T

    return st.tuples(angle, angle, angle).map(turned)


def voxel_geometries(
    max_voxels: int = 8, max_tilt_deg: float = 180.0
) -> st.SearchStrategy[VoxelGeometry]:
    """Draw small grids of any orientation with CT-like spacing.

    Parameters
    ----------
    max_voxels
        Largest number of voxels along an axis.
    max_tilt_deg
        Largest turn about each patient axis.
    """
    size = st.integers(1, max_voxels)
    spacing = st.floats(0.25, 5.0)
    position = st.floats(-500.0, 500.0)
    return st.builds(
        VoxelGeometry.from_axes,
        st.tuples(size, size, size),
        st.tuples(spacing, spacing, spacing),
        st.tuples(position, position, position),
        orthonormal_directions(max_tilt_deg),
        st.none() | st.just("1.2.826.0.1.3680043.8.498.1"),
    )
