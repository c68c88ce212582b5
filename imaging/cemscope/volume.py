"""Images on a voxel grid: CT values, masks and label maps.

All arrays have the axes (slice, row, column) and are read-only: the constructor
takes the caller's array over without a copy and locks it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from cemscope.geometry import VoxelGeometry

HUArray = npt.NDArray[np.int16]
BoolArray = npt.NDArray[np.bool_]
LabelArray = npt.NDArray[np.uint8]

PADDING_HU = -1024
"""Value that stands where the scanner stored padding instead of a measurement.

It is the value of air on the usual 12-bit scale, so that no algorithm takes
padding for tissue. `CTVolume.padded_fraction` tells how much of it there is.
"""


def _lock(array: npt.NDArray[Any], shape: tuple[int, int, int], what: str) -> None:
    if array.shape != shape:
        raise ValueError(f"{what} has shape {array.shape}, its geometry {shape}")
    array.setflags(write=False)


@dataclass(frozen=True, slots=True)
class SeriesSource:
    """Which DICOM objects the voxels come from; exports refer to them.

    Attributes
    ----------
    sop_instance_uids
        One per slice, in the order of the array's first axis.
    scanned_geometry
        Grid of the DICOM objects where the voxels were resampled (slices of a tilted
        gantry lie sheared); segmentations that refer to them belong on it. None
        where the array is on their grid.
    patient_digest
        Keyed digest of the patient's id (see `cemscope.dicom.patient_key`), to tell
        later whether objects of the same UIDs are of the same patient.
    """

    study_instance_uid: str
    series_instance_uid: str
    sop_class_uid: str
    sop_instance_uids: tuple[str, ...]
    scanned_geometry: VoxelGeometry | None = None
    patient_digest: str | None = None


@dataclass(frozen=True, slots=True)
class Acquisition:
    """How the scan was made, as far as an algorithm or the report reads it.

    None stands for what the header does not say. ``acquisition_date`` is the DICOM
    text YYYYMMDD.
    """

    kvp: float | None = None
    kernel: str | None = None
    slice_thickness_mm: float | None = None
    manufacturer: str | None = None
    acquisition_date: str | None = None
    metal_artifact_reduction: bool = False


@dataclass(frozen=True, slots=True)
class Notice:
    """Something a reader of the result should know: a stable code and a sentence."""

    code: str
    message: str


@dataclass(frozen=True, slots=True, eq=False)
class CTVolume:
    """A CT series on one regular grid.

    Attributes
    ----------
    hu : ndarray of int16, shape (slices, rows, columns)
        Hounsfield units; padding stands at `PADDING_HU`. Read-only.
    geometry : VoxelGeometry
        Position of the voxels in the patient.
    source, acquisition
        Origin of the data; None and an empty record for simulated arrays.
    clipped_at_hu : int or None
        The ceiling of the scale if values pile up there (3071 on 12-bit scans):
        a voxel at that value is *at least* that dense.
    padded_fraction : float
        Share of voxels that hold padding.
    notices
        What the reader saw that is worth telling.

    Raises
    ------
    ValueError
        If the array is not int16 or does not fit the geometry.
    """

    hu: HUArray
    geometry: VoxelGeometry
    source: SeriesSource | None = None
    acquisition: Acquisition = field(default_factory=Acquisition)
    clipped_at_hu: int | None = None
    padded_fraction: float = 0.0
    notices: tuple[Notice, ...] = ()

    def __post_init__(self) -> None:
        if self.hu.dtype != np.int16:
            raise ValueError(
                f"expected Hounsfield units as int16, found {self.hu.dtype}"
            )
        _lock(self.hu, self.geometry.shape, "the CT array")

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between neighbouring voxels along (slice, row, column)."""
        return self.geometry.spacing_mm


@dataclass(frozen=True, slots=True, eq=False)
class Mask:
    """A set of voxels.

    Attributes
    ----------
    voxels : ndarray of bool, shape (slices, rows, columns)
        Read-only.
    geometry : VoxelGeometry
        Position of the voxels in the patient.
    """

    voxels: BoolArray
    geometry: VoxelGeometry

    def __post_init__(self) -> None:
        if self.voxels.dtype != np.bool_:
            raise ValueError(f"expected a boolean mask, found {self.voxels.dtype}")
        _lock(self.voxels, self.geometry.shape, "the mask")

    @property
    def volume_ml(self) -> float:
        """Volume of the voxels that are set."""
        return float(self.voxels.sum()) * self.geometry.voxel_volume_mm3 / 1000.0


@dataclass(frozen=True, slots=True, eq=False)
class LabelMap:
    """Numbered structures; 0 is background.

    Attributes
    ----------
    labels : ndarray of uint8, shape (slices, rows, columns)
        Read-only.
    geometry : VoxelGeometry
        Position of the voxels in the patient.
    names : mapping of int to str
        Name of each number that may occur. Read-only.
    """

    labels: LabelArray
    geometry: VoxelGeometry
    names: Mapping[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.labels.dtype != np.uint8:
            raise ValueError(f"expected labels as uint8, found {self.labels.dtype}")
        _lock(self.labels, self.geometry.shape, "the label map")
        object.__setattr__(self, "names", MappingProxyType(dict(self.names)))

    def mask(self, label: int) -> Mask:
        """Voxels that carry one label."""
        return Mask(self.labels == label, self.geometry)
