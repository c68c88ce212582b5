"""Cement along a screw or a needle's way through the pedicle, and dense bone."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cemscope.findings import Side
from cemscope.testing.lumbar_anatomy import FAR_MM, VertebraShape
from cemscope.testing.lumbar_cement import LevelCement
from cemscope.testing.lumbar_implants import PlacedScrew, capsule
from cemscope.testing.scalar_field import Lattice, ScalarField
from cemscope.testing.tissue_layers import Tissue, TissueLayer

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]

TRACK_WALL_MM = 0.8
"""A track stays this far inside the surface of the bone."""

TRACK_NOISE_MM = 0.5
"""Standard deviation of a track's radius."""

ISLAND_GRID_MM = 0.5
"""Grid of a bone island."""


@dataclass(frozen=True, slots=True)
class TrackPlan:
    """Cement along the axis of a pedicle.

    Attributes
    ----------
    level : str
        Vertebra.
    side : Side
        The patient's side.
    radius_mm : float
        Of the track; beside a screw, from the screw's axis.
    length_mm : float
        From the foremost end backwards.
    start_mm : float
        Of the foremost end, behind the tip of the screw or of the needle's way.
    """

    level: str
    side: Side
    radius_mm: float
    length_mm: float
    start_mm: float = 0.0


@dataclass(frozen=True, slots=True)
class IslandPlan:
    """A sclerotic bone island (enostosis).

    Attributes
    ----------
    level : str
        Vertebra.
    centre_local_mm : tuple of float
        (left, posterior, superior) in the vertebra's frame.
    semi_axes_mm : tuple of float
        Along the same axes.
    compact_share : float
        Compact bone in it; islands read 600 to 1200 HU (Ulano 2016,
        doi:10.2214/AJR.15.15729, tells them from metastases above 885 HU).
    """

    level: str
    centre_local_mm: tuple[float, float, float]
    semi_axes_mm: tuple[float, float, float]
    compact_share: float = 0.6


def add_tracks(
    cement: LevelCement,
    shape: VertebraShape,
    tracks: Sequence[tuple[TrackPlan, PlacedScrew]],
    seed: int,
) -> LevelCement:
    """Join tracks to the cement of a level; each comes with the axis it follows."""
    rng = np.random.default_rng([seed, 17])
    field = cement.cement
    for plan, way in tracks:
        front = way.tip_mm - plan.start_mm * way.axis
        back = front - plan.length_mm * way.axis
        field = grown_field(field, np.stack([front, back]), plan.radius_mm + 3.0)
        points = field.lattice.points_mm()
        white = rng.standard_normal(field.lattice.shape, dtype=np.float32)
        rough = ndimage.gaussian_filter(white, 1.6 / field.lattice.spacing_mm)
        rough *= np.float32(TRACK_NOISE_MM / rough.std())
        tube = capsule(points, front, back) - np.float32(plan.radius_mm) + rough
        tube = np.maximum(tube, shape.bone.at(points) + np.float32(TRACK_WALL_MM))
        joined = np.minimum(field.values, tube)
        field = ScalarField(joined.astype(np.float32), field.lattice, FAR_MM)
    return LevelCement(cement.level, field, cement.leaks)


def island_layer(plan: IslandPlan, shape: VertebraShape) -> TissueLayer:
    """Lay a bone island into its vertebra."""
    half = np.asarray(plan.semi_axes_mm)
    centre = shape.frame.to_lps_mm(np.asarray(plan.centre_local_mm))
    reach = float(half.max()) + 2.0
    lattice = Lattice.around(centre - reach, centre + reach, ISLAND_GRID_MM)
    points = lattice.points_mm()
    local = shape.frame.to_local_mm(points) - np.asarray(plan.centre_local_mm)
    # Distance to an ellipsoid to first order: exact on its surface.
    radius = np.linalg.norm(local / half, axis=-1)
    slope = np.linalg.norm(local / half**2, axis=-1) / np.maximum(radius, 1e-6)
    distance = (radius - 1.0) / np.maximum(slope, 1.0 / reach)
    distance = np.maximum(distance, shape.bone.at(points)).astype(np.float32)
    share = plan.compact_share
    tissue = Tissue(compact=share, marrow=1.0 - share)
    return TissueLayer(ScalarField(distance, lattice, FAR_MM), tissue)


def grown_field(
    field: ScalarField, ends_mm: FloatArray, margin_mm: float
) -> ScalarField:
    """Extend a field's lattice by whole cells until it holds some points."""
    lattice = field.lattice
    origin, step = np.asarray(lattice.origin_mm), lattice.spacing_mm
    last = origin + (np.array(lattice.shape)[::-1] - 1) * step
    below = np.ceil((origin - ends_mm.min(axis=0) + margin_mm) / step).astype(int)
    above = np.ceil((ends_mm.max(axis=0) + margin_mm - last) / step).astype(int)
    below, above = np.maximum(below, 0), np.maximum(above, 0)
    pad = [(int(a), int(b)) for a, b in zip(below[::-1], above[::-1], strict=True)]
    values = np.pad(field.values, pad, constant_values=FAR_MM)
    x, y, z = (float(v) for v in origin - below * step)
    shape = (values.shape[0], values.shape[1], values.shape[2])
    return ScalarField(values, Lattice((x, y, z), step, shape), FAR_MM)
