"""A simulated spine patient on the full scanner: projection, not an image model.

The same patient and the same scan as on the quick scanner, some ten times slower. It
needs the extra ``simulation``.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from cemscope.testing.attenuation import (
    ADIPOSE,
    COBALT_CHROME,
    CORTICAL_BONE,
    MARROW,
    MUSCLE,
    STAINLESS_STEEL,
    TITANIUM_ALLOY,
    Material,
    bone_cement,
)
from cemscope.testing.beam_table import Substance
from cemscope.testing.quick_scanner import (
    QuickScan,
    TissueFractions,
    TissueSource,
    as_ct,
)
from cemscope.testing.scalar_field import PlaneGrid
from cemscope.testing.scanner import (
    MaterialGrid,
    MaterialLayer,
    chunks,
    scan_slices,
    slice_planes_mm,
    to_scale,
)
from cemscope.testing.scanner_settings import ScannerSettings
from cemscope.volume import CTVolume

FloatArray = npt.NDArray[np.float64]

FINE_CELL_MM, COARSE_CELL_MM = 0.5, 1.5
"""Cells near the spine and of the rest of the body; the coarse ones are three wide."""

SLICES_AT_ONCE = 30
"""Slices that share the work of a projection."""

METALS = {
    Substance.TITANIUM: TITANIUM_ALLOY,
    Substance.COBALT_CHROME: COBALT_CHROME,
    Substance.STEEL: STAINLESS_STEEL,
}


def full_scan(
    patient: TissueSource,
    scan: QuickScan,
    settings: ScannerSettings | None = None,
    progress: Callable[[int, int], None] | None = None,
    slices_at_once: int = SLICES_AT_ONCE,
) -> CTVolume:
    """Scan a patient by projection.

    Parameters
    ----------
    patient, scan
        Patient and scan; the image noise ``scan.noise_hu`` follows from
        ``scan.photons`` here.
    settings
        Views, bins and sub-slices; what the scan tells is taken from there.
    progress
        Called with the number of finished slices and of all slices.
    slices_at_once
        More are faster and take more memory.

    Returns
    -------
    CTVolume
        On ``scan.geometry``.

    Raises
    ------
    ConfigError
        If the extra ``simulation`` is missing.
    """
    side = max(scan.rows, scan.columns)
    matrix = int(np.ceil(side * np.sqrt(2.0))) + 3
    matrix += (matrix - side) % 2
    x, y, z = scan.first_mm
    pixel = scan.pixel_mm
    centre = (x + 0.5 * (side - 1) * pixel, y + 0.5 * (side - 1) * pixel)
    settings = replace(
        settings or ScannerSettings(),
        kvp=float(scan.kvp),
        kernel=scan.kernel,
        matrix=matrix,
        pixel_mm=pixel,
        centre_xy_mm=centre,
        slice_increment_mm=scan.slice_increment_mm,
        slice_thickness_mm=scan.slice_thickness_mm,
        blur_fwhm_mm=scan.blur_fwhm_mm,
        photons=scan.photons,
        scatter_fraction=scan.scatter_fraction,
        ceiling_hu=scan.ceiling_hu,
        floor_hu=scan.floor_hu,
        seed=scan.seed,
    )
    first = (matrix - side) // 2
    part = (slice(first, first + scan.rows), slice(first, first + scan.columns))
    slice_z = z + scan.slice_increment_mm * np.arange(scan.slices)
    hu = np.empty((scan.slices, scan.rows, scan.columns), np.int16)
    for chosen in chunks(scan.slices, slices_at_once):
        planes, profile = slice_planes_mm(slice_z[chosen], settings)
        grids = material_grids(patient, scan, planes)
        image = to_scale(scan_slices(grids, profile, settings, chosen.start), settings)
        hu[chosen] = image[:, *part]
        if progress is not None:
            progress(min(chosen.stop, scan.slices), scan.slices)
    return as_ct(np.asarray(scan.stored(hu), np.int16), scan)


def material_grids(
    patient: TissueSource, scan: QuickScan, plane_z_mm: FloatArray
) -> tuple[MaterialGrid, ...]:
    """Fill planes with materials: small cells round the spine, large ones elsewhere."""
    plane_mm = float(plane_z_mm[1] - plane_z_mm[0])
    low, high = patient.body_box_mm()
    unit = np.array(np.meshgrid([0, 1], [0, 1], [0, 1])).reshape(3, -1).T
    corners = scan.pose.to_table(low + unit * (high - low))
    start, end = corners.min(axis=0), corners.max(axis=0)
    counts = np.ceil((end - start)[:2] / COARSE_CELL_MM).astype(int)
    coarse = PlaneGrid(
        (
            float(start[0] + 0.5 * COARSE_CELL_MM),
            float(start[1] + 0.5 * COARSE_CELL_MM),
            float(plane_z_mm[0]),
        ),
        COARSE_CELL_MM,
        plane_mm,
        (len(plane_z_mm), int(counts[1]), int(counts[0])),
        scan.pose,
    )
    around = patient.fractions(coarse)
    grids = []
    box = patient.fine_box(coarse)
    if box is not None:
        n = round(COARSE_CELL_MM / FINE_CELL_MM)
        part = coarse.crop(box)
        back = 0.5 * (1.0 / n - 1.0) * COARSE_CELL_MM
        x, y, z = part.first_mm
        planes, rows, columns = part.shape
        fine = PlaneGrid(
            (x + back, y + back, z),
            COARSE_CELL_MM / n,
            plane_mm,
            (planes, rows * n, columns * n),
            scan.pose,
        )
        grids.append(_grid(patient, fine, patient.fractions(fine)))
        for layer in _layers(around):
            layer[box] = 0.0
    grids.append(_grid(patient, coarse, around))
    return tuple(grids)


def _layers(parts: TissueFractions) -> tuple[npt.NDArray[np.float32], ...]:
    p = parts
    return p.fat, p.muscle, p.compact, p.marrow, p.cement, p.metal


def _grid(
    patient: TissueSource, grid: PlaneGrid, parts: TissueFractions
) -> MaterialGrid:
    cement = bone_cement(patient.barium_sulfate_fraction, patient.zirconia_fraction)
    metal = METALS[patient.metal]
    materials: tuple[Material, ...] = (
        ADIPOSE,
        MUSCLE,
        CORTICAL_BONE,
        MARROW,
        cement,
        metal,
    )
    layers = tuple(
        MaterialLayer(material, part)
        for material, part in zip(materials, _layers(parts), strict=True)
        if part.any()
    )
    return MaterialGrid(grid.cell_mm, grid.first_mm[:2], layers)
