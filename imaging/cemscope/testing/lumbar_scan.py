"""Scan a simulated patient: from a scene to a `CTVolume`."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from cemscope.geometry import VoxelGeometry
from cemscope.testing.lumbar_scene import LumbarScene
from cemscope.testing.lumbar_tissue import material_grids
from cemscope.testing.scalar_field import PlaneGrid, Pose
from cemscope.testing.scanner import (
    chunks,
    scan_slices,
    slice_planes_mm,
    to_scale,
)
from cemscope.testing.scanner_settings import ScannerSettings
from cemscope.volume import Acquisition, CTVolume

_logger = logging.getLogger(__name__)

SLICES_AT_ONCE = 40
"""Slices that share the work of a projection; more take more memory (about 1 GiB)."""

MANUFACTURER = "cemscope simulation"
"""Written into the DICOM header, so that nobody takes the scan for a real one."""


@dataclass(frozen=True, slots=True)
class ScanPlan:
    """One scan of a patient.

    Attributes
    ----------
    scanner : ScannerSettings
        How the scan is made.
    first_z_mm : float
        Table position of the lowest slice; the slices go upwards.
    slices : int
        How many.
    pose : Pose
        How the patient lies.
    """

    scanner: ScannerSettings
    first_z_mm: float
    slices: int
    pose: Pose = field(default_factory=Pose)

    @property
    def voxels(self) -> PlaneGrid:
        """The scan's voxels, for `lumbar_tissue.truth_maps`."""
        scanner = self.scanner
        reach = 0.5 * (scanner.matrix - 1) * scanner.pixel_mm
        x, y = scanner.centre_xy_mm
        return PlaneGrid(
            (x - reach, y - reach, self.first_z_mm),
            scanner.pixel_mm,
            scanner.slice_increment_mm,
            (self.slices, scanner.matrix, scanner.matrix),
            self.pose,
        )

    @property
    def geometry(self) -> VoxelGeometry:
        """The scan's voxels as `CTVolume` needs them."""
        grid = self.voxels
        spacing_mm = (grid.plane_mm, grid.cell_mm, grid.cell_mm)
        return VoxelGeometry.from_axes(grid.shape, spacing_mm, grid.first_mm)


def scan_scene(
    scene: LumbarScene,
    plan: ScanPlan,
    progress: Callable[[int, int], None] | None = None,
) -> CTVolume:
    """Scan a patient.

    Parameters
    ----------
    scene, plan
        Patient and scan.
    progress
        Called with the number of finished slices and of all slices.

    Raises
    ------
    ConfigError
        If the extra ``simulation`` is missing.
    """
    scanner = plan.scanner
    z_mm = plan.first_z_mm + scanner.slice_increment_mm * np.arange(plan.slices)
    hu = np.empty(plan.geometry.shape, np.int16)
    for part in chunks(plan.slices, SLICES_AT_ONCE):
        planes, profile = slice_planes_mm(z_mm[part], scanner)
        grids = material_grids(scene, planes, plan.pose)
        hu[part] = to_scale(scan_slices(grids, profile, scanner, part.start), scanner)
        _logger.info("scanned %d of %d slices", part.stop, plan.slices)
        if progress is not None:
            progress(part.stop, plan.slices)
    return CTVolume(
        hu,
        plan.geometry,
        acquisition=Acquisition(
            kvp=scanner.kvp,
            kernel=scanner.kernel.value,
            slice_thickness_mm=scanner.slice_thickness_mm,
            manufacturer=MANUFACTURER,
        ),
        clipped_at_hu=scanner.ceiling_hu if (hu >= scanner.ceiling_hu).any() else None,
    )
