"""A CT series of a few slices of air, of a patient of one's choice."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cemscope.dicom import SeriesSummary, list_series
from cemscope.geometry import VoxelGeometry
from cemscope.testing.dicom_writer import SeriesIdentity, write_series
from cemscope.volume import CTVolume


def small_ct() -> CTVolume:
    geometry = VoxelGeometry.from_axes((8, 16, 16), (2.0, 1.0, 1.0))
    return CTVolume(np.zeros(geometry.shape, np.int16), geometry)


def written(folder: Path, **identity: Any) -> SeriesSummary:
    """Write the series of patient A-1, born in 1940, with changes of its identity."""
    base = SeriesIdentity(patient_id="A-1", patient_birth_date="19400101")
    write_series(small_ct(), folder, replace(base, **identity))
    return list_series(folder)[0]
