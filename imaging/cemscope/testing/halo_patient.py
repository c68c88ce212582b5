"""Gaps around the screws of a simulated patient: what a loosened screw wears away.

A `HaloPatient` is a patient with gaps and sclerotic rims of exactly known width, arc
and length; it is scanned by projection (`spine_full_scan.full_scan`), so that metal
hardens the beam over the halo as it does in life.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cemscope.findings import Side
from cemscope.segmentation.implants.screw_profile import ScrewAxis
from cemscope.testing.beam_table import Substance
from cemscope.testing.lumbar_implants import PlacedScrew
from cemscope.testing.lumbar_tissue import GRANULATION_DENSITY, SCLEROTIC_MM
from cemscope.testing.quick_scanner import TissueFractions
from cemscope.testing.scalar_field import Box, PlaneGrid, ScalarField, coverage
from cemscope.testing.spine_patient import SpinePatient
from cemscope.testing.tissue_layers import box_of

FloatArray = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
Float32Array = np.ndarray[tuple[int, ...], np.dtype[np.float32]]

BEYOND_ENTRY_MM = 6.0
"""A gap that reaches the entry of the screw opens to the outside."""


@dataclass(frozen=True, slots=True)
class ScrewHalo:
    """A gap around one shaft.

    Attributes
    ----------
    level : str
        Vertebra.
    side : Side
        The patient's side.
    width_mm : float
        From the crests of the thread to the bone; 0 for a tight screw.
    rim_share : float
        Compact bone added in the sclerotic rim; 0 for none.
    arc_deg, middle_deg : float
        Extent around the shaft, and its middle from the first cross vector of
        `ScrewAxis`.
    from_share, to_share : float
        Extent along the shaft in bone: 0 at the tip, 1 at the entry.
    """

    level: str
    side: Side
    width_mm: float
    rim_share: float = 0.0
    arc_deg: float = 360.0
    middle_deg: float = 0.0
    from_share: float = 0.0
    to_share: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class HaloPatient:
    """A patient with gaps; a `TissueSource`.

    Attributes
    ----------
    patient : SpinePatient
        Whose screws these are.
    target : str
        The vertebra that is scanned: small cells around it and the metal only.
    halos : tuple of ScrewHalo
        The gaps.
    """

    patient: SpinePatient
    target: str
    halos: tuple[ScrewHalo, ...]

    @property
    def barium_sulfate_fraction(self) -> float:
        """Of the cement."""
        return self.patient.barium_sulfate_fraction

    @property
    def zirconia_fraction(self) -> float:
        """Of the cement."""
        return self.patient.zirconia_fraction

    @property
    def metal(self) -> Substance:
        """Of the implants."""
        return self.patient.metal

    def body_box_mm(self) -> tuple[FloatArray, FloatArray]:
        """Lower and upper corner of the trunk in the patient's frame."""
        return self.patient.body_box_mm()

    def fine_box(self, grid: PlaneGrid) -> Box | None:
        """Cells of the target and the implants, over all planes."""
        shapes: list[ScalarField] = [
            bone.shape.bone for bone in self.patient.bones if bone.name == self.target
        ]
        shapes += self.patient.metal_parts
        boxes = [b for b in (box_of(s, grid) for s in shapes) if b is not None]
        if not boxes:
            return None
        rows = slice(min(b[1].start for b in boxes), max(b[1].stop for b in boxes))
        columns = slice(min(b[2].start for b in boxes), max(b[2].stop for b in boxes))
        return slice(0, grid.shape[0]), rows, columns

    def fractions(self, grid: PlaneGrid) -> TissueFractions:
        """Materials in the cells of a grid on the table."""
        parts = self.patient.fractions(grid)
        for halo in self.halos:
            if halo.width_mm > 0.0:
                _wear(parts, grid, halo, _screw_of(halo, self.patient.screws))
        return parts


def _screw_of(halo: ScrewHalo, screws: Sequence[PlacedScrew]) -> PlacedScrew:
    return next(
        s for s in screws if (s.plan.level, s.plan.side) == (halo.level, halo.side)
    )


def _wear(
    parts: TissueFractions, grid: PlaneGrid, halo: ScrewHalo, screw: PlacedScrew
) -> None:
    """Replace the bone of a sleeve around a screw by granulation tissue."""
    reach = 0.5 * screw.plan.diameter_mm + halo.width_mm + 2.0 * SCLEROTIC_MM
    ends = np.stack([screw.head_mm, screw.tip_mm])
    box = _box_around(grid, ends.min(axis=0) - reach, ends.max(axis=0) + reach)
    if box is None:
        return
    part = grid.crop(box)
    # The patient's screws lie on the table, whatever the pose.
    points = _table_points(part)
    behind, radius = screw.cylinder_coordinates(points)
    wall = radius - 0.5 * screw.plan.diameter_mm - halo.width_mm
    bone_mm = float(np.linalg.norm(screw.tip_mm - screw.entry_mm))
    first, last = halo.from_share * bone_mm, halo.to_share * bone_mm
    last += BEYOND_ENTRY_MM if halo.to_share >= 1.0 else 0.0
    ends_mm = np.maximum(first - behind, behind - last)
    if halo.arc_deg < 360.0:
        axis = ScrewAxis(screw.head_mm, screw.axis)
        one, other = axis.cross_vectors()
        offset = points - screw.head_mm
        turn = np.arctan2(offset @ other, offset @ one) - np.deg2rad(halo.middle_deg)
        turn = np.abs(np.arctan2(np.sin(turn), np.cos(turn)))
        outside = turn - np.deg2rad(0.5 * halo.arc_deg)
        ends_mm = np.maximum(ends_mm, outside * np.maximum(radius, 0.5))
    sleeve = np.maximum(wall, ends_mm).astype(np.float32)
    gap = coverage(sleeve, grid.cell_mm)
    if halo.rim_share > 0.0:
        shell = np.maximum(wall - SCLEROTIC_MM, ends_mm - SCLEROTIC_MM)
        rim = coverage(shell.astype(np.float32), grid.cell_mm) - gap
        added = np.minimum(parts.marrow[box], halo.rim_share * rim)
        parts.compact[box] += added
        parts.marrow[box] -= added
    worn = gap * (parts.compact[box] + parts.marrow[box])
    for layer in (parts.compact, parts.marrow):
        layer[box] *= 1.0 - gap
    parts.muscle[box] += worn * np.float32(GRANULATION_DENSITY)


def _box_around(grid: PlaneGrid, low: FloatArray, high: FloatArray) -> Box | None:
    steps = np.array([grid.cell_mm, grid.cell_mm, grid.plane_mm])
    first = np.floor((low - grid.first_mm) / steps).astype(int)
    last = np.ceil((high - grid.first_mm) / steps).astype(int) + 1
    first = np.maximum(first, 0)
    last = np.minimum(last, grid.shape[::-1])
    if (last <= first).any():
        return None
    x, y, z = (slice(int(a), int(b)) for a, b in zip(first, last, strict=True))
    return z, y, x


def _table_points(grid: PlaneGrid) -> FloatArray:
    x, y, z = grid.first_mm
    axes = np.meshgrid(
        z + grid.plane_mm * np.arange(grid.shape[0]),
        y + grid.cell_mm * np.arange(grid.shape[1]),
        x + grid.cell_mm * np.arange(grid.shape[2]),
        indexing="ij",
    )
    return np.stack([axes[2], axes[1], axes[0]], axis=-1)
