"""What is seen at each exit of a leak, and the evidence that the report shows."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from cemscope.findings import ExitWall, LeakEvidence, NotAssessed, PointLPS
from cemscope.measurement.canal_encroachment import Encroachment
from cemscope.measurement.leak_path import LeakCourse, LeakExit
from cemscope.measurement.leak_pieces import PieceVoxels
from cemscope.measurement.leak_regions import (
    PLACES,
    VertebraRegions,
    wall_depth_mm,
)
from cemscope.measurement.leak_types import Argument, ExitSigns
from cemscope.measurement.leak_words import leak_sentence
from cemscope.segmentation.implants.screws import ScrewModel
from cemscope.segmentation.scan_region import FloatArray

ENDPLATE_COSINE = 0.75
"""A wall that faces up or down by more than this is an endplate (41 degrees)."""

FACING_COSINE = 0.6
"""A wall that faces backwards by more than this is the posterior wall."""

FRONT_COSINE = 0.77
"""One that faces forwards by more than this is the anterior wall (40 degrees)."""

BESIDE_CANAL = 0.3
"""A wall at the canal is the posterior one, whichever way it faces: within this share
of the body's width of the midline."""


@dataclass(frozen=True, slots=True, eq=False)
class SeenLeak:
    """A leak with all that was measured of it.

    Attributes
    ----------
    regions : VertebraRegions
        Around its vertebra.
    voxels : PieceVoxels
        The leak in the scan.
    course : LeakCourse
        How it runs.
    place_shares : ndarray
        Share of the leak in each of `PLACES`.
    screws : tuple of ScrewModel
        Of the same level.
    """

    regions: VertebraRegions
    voxels: PieceVoxels
    course: LeakCourse
    place_shares: FloatArray
    screws: tuple[ScrewModel, ...]

    def share_in(self, *names: str) -> float:
        """Share of the leak in some places."""
        return float(sum(self.place_shares[PLACES.index(name)] for name in names))

    def track_mm(self, local_mm: FloatArray) -> float:
        """Median distance of points from the nearest shaft; infinite without one."""
        if not self.screws or not len(local_mm):
            return float("inf")
        points = self.regions.vertebra.frame.to_lps_mm(local_mm)
        nearest = np.min([s.distances_mm(points)[0] for s in self.screws], axis=0)
        return float(np.median(np.maximum(nearest, 0.0)))


def wall_of(way: LeakExit, regions: VertebraRegions) -> ExitWall:
    """Tell which wall an exit lies in."""
    if way.through_arch:
        return ExitWall.ARCH
    shell = regions.shell
    left, posterior, superior = shell.normal_at(way.local_mm)
    if superior >= ENDPLATE_COSINE:
        return ExitWall.SUPERIOR_ENDPLATE
    if superior <= -ENDPLATE_COSINE:
        return ExitWall.INFERIOR_ENDPLATE
    flat = max(float(np.hypot(left, posterior)), 1e-6)
    aside = float(way.local_mm[0]) - shell.middle_mm
    at_canal = abs(aside) <= BESIDE_CANAL * float(shell.size_mm[0])
    behind = float(way.local_mm[1]) > 0.25 * float(shell.upper_mm[1])
    if posterior / flat >= FACING_COSINE or (at_canal and behind):
        return ExitWall.POSTERIOR
    if -posterior / flat >= FRONT_COSINE:
        return ExitWall.ANTERIOR
    return ExitWall.LEFT if aside > 0 else ExitWall.RIGHT


def exit_signs(way: LeakExit, seen: SeenLeak) -> ExitSigns:
    """Collect what the type of one exit is argued from."""
    shell = seen.regions.shell
    aside = abs(float(way.local_mm[0]) - shell.middle_mm)
    local = seen.voxels.local_mm
    weights = np.maximum(seen.voxels.share, 0.0)
    behind = local[:, 1] > shell.upper_mm[1] - 2.0
    return ExitSigns(
        wall_of(way, seen.regions),
        shell.height_at(way.local_mm),
        aside / float(shell.size_mm[0]),
        seen.course.elongation,
        seen.course.off_surface_mm,
        seen.course.slope_deg,
        seen.share_in("disc_superior", "disc_inferior"),
        seen.share_in("epidural"),
        float(weights[behind].sum() / max(weights.sum(), 1e-9)),
        seen.track_mm(local),
        seen.track_mm(way.local_mm[None]),
        float(way.local_mm[1]) >= wall_depth_mm(shell) - PEDICLE_ROOT_MM,
        _pedicle_cement(way, seen.regions),
    )


def _pedicle_cement(way: LeakExit, regions: VertebraRegions) -> bool:
    """Tell whether the pedicle or arch beside an exit holds cement."""
    index = np.argwhere(regions.arch & (regions.cement >= HELD_SHARE))
    if not len(index):
        return False
    away = np.linalg.norm(regions.grid.local_mm(index) - way.local_mm, axis=1)
    held = float((away <= BESIDE_EXIT_MM).sum()) * regions.grid.cell_mm**3
    return held >= HELD_MM3


HELD_SHARE, HELD_MM3, BESIDE_EXIT_MM = 0.5, 10.0, 7.0
"""A pedicle holds cement if so much of it is half full or more, so near to the exit
[our choice]."""

PEDICLE_ROOT_MM = 4.0
"""Pedicles spring from the body this far in front of its posterior wall."""

RING_MM = (1.5, 4.5)
"""The wall is looked at between these distances from the opening, beyond the blur."""

FEW_CELLS = 20
"""Fewer cells of a wall tell nothing."""


def cortex_gap(way: LeakExit, regions: VertebraRegions) -> float | NotAssessed:
    """Share of the wall around an opening where no cortex is seen.

    Cortex is brighter than half-way from soft tissue or marrow to the same body's
    wall elsewhere.
    """
    cell = regions.grid.cell_mm
    wall = np.abs(regions.shell.distance_mm + cell) <= cell
    clear = ~ndimage.binary_dilation(regions.cement >= 0.1, iterations=2)
    usable = wall & clear & (regions.hu != 0) & ~regions.arch
    index = np.argwhere(usable)
    if len(index) < FEW_CELLS:
        return NotAssessed("the wall around the opening is hidden by cement")
    away = np.linalg.norm(regions.grid.local_mm(index) - way.local_mm, axis=1)
    away -= 0.5 * way.width_mm
    near = (away >= RING_MM[0]) & (away <= RING_MM[1])
    far = away > RING_MM[1]
    if near.sum() < FEW_CELLS or far.sum() < FEW_CELLS:
        return NotAssessed("too little of the wall around the opening is seen")
    crest = ndimage.maximum_filter(regions.hu, 3)[tuple(index.T)]
    cortex = float(np.median(crest[far]))
    deep = (regions.shell.distance_mm <= -5.0) & clear & (regions.hu != 0)
    marrow = float(np.median(regions.hu[deep])) if deep.any() else SOFT_TISSUE_HU
    limit = 0.5 * (cortex + max(marrow, SOFT_TISSUE_HU))
    if cortex < limit + LEAST_CONTRAST_HU:
        return NotAssessed("the cortex of this body is too faint to show a gap")
    return float((crest[near] < limit).mean())


SOFT_TISSUE_HU = 50.0
LEAST_CONTRAST_HU = 60.0
"""Below this contrast noise decides."""


def leak_evidence(
    seen: SeenLeak,
    signs: tuple[ExitSigns, ...],
    arguments: tuple[Argument, ...],
    places: tuple[str, ...],
    canal: Encroachment | NotAssessed,
) -> LeakEvidence | NotAssessed:
    """Put the signs of the first exit into the report's form and into words."""
    if not arguments:
        return NotAssessed("no way from the bone to this cement is seen")
    course, regions = seen.course, seen.regions
    way, sign, argument = course.exits[0], signs[0], arguments[0]
    midline = float(way.local_mm[0]) - regions.shell.middle_mm
    rivals = () if argument.rival is None else (argument.leak_type, argument.rival)
    told: dict[ExitWall, str] = {}
    for exit_, one, argued in zip(course.exits, signs, arguments, strict=True):
        aside = float(exit_.local_mm[0]) - regions.shell.middle_mm
        words = leak_sentence(exit_, one, aside, course, places, argued)
        told.setdefault(one.wall, words)
    track = sign.track_mm
    return LeakEvidence(
        exit_lps_mm=_point(regions.vertebra.frame.to_lps_mm(way.local_mm)),
        exit_wall=sign.wall,
        exit_height=sign.height,
        midline_mm=midline,
        midline_share=midline / float(regions.shell.size_mm[0]),
        opening_mm=way.width_mm,
        cortex_gap=cortex_gap(way, regions),
        length_mm=course.length_mm,
        width_mm=course.width_mm,
        elongation=course.elongation,
        slope_deg=course.slope_deg,
        off_surface_mm=course.off_surface_mm,
        track_mm=(
            track if np.isfinite(track) else NotAssessed("no screw at this level")
        ),
        canal_depth_mm=(canal.depth_mm if isinstance(canal, Encroachment) else canal),
        candidates=rivals,
        sentence="; it also ".join(told.values()),
    )


def _point(lps_mm: FloatArray) -> PointLPS:
    x, y, z = (float(v) for v in lps_mm)
    return x, y, z
