"""What surrounds cement: the HU that a voxel would have without it."""

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cemscope.segmentation.cement.cement import CementRegion
from cemscope.segmentation.tissue_levels import TissueLevels
from cemscope.volume import BoolArray

Float32Array = npt.NDArray[np.float32]

BACKGROUND_SIGMA_MM = 2.0
"""Width of the neighbourhood that counts as local background: the reach of the blur."""


def background_hu(
    part: CementRegion, levels: TissueLevels, halo: BoolArray
) -> Float32Array:
    """Average what is neither cement nor metal around each voxel."""
    usable = ~halo & ~part.shell & ~part.forbidden
    sigma = BACKGROUND_SIGMA_MM / np.array(part.region.geometry.spacing_mm)
    # Cortex is thin: its share of the halo is what its share of the mean is.
    hu = np.clip(part.tissue_hu, -150.0, levels.cortex_upper_hu).astype(np.float32)
    weight = ndimage.gaussian_filter(usable.astype(np.float32), sigma, truncate=2.5)
    total = ndimage.gaussian_filter(
        np.where(usable, hu, np.float32(0.0)), sigma, truncate=2.5
    )
    prior = np.float32(1e-3)
    mean: Float32Array = (total + prior * np.float32(levels.marrow_hu)) / (
        weight + prior
    )
    return mean
