"""Pedicle screws found by their shape: a straight round core through a pedicle.

On clipped scans cement and metal both read the ceiling: brightness alone tells nothing.
A screw is searched as a line that runs from behind the spine through the pedicle
region into the body, bright all the way, and round and even where it is free of cement.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cemscope.findings import Side
from cemscope.geometry import VoxelGeometry
from cemscope.segmentation.scan_region import (
    FloatArray,
    ScanRegion,
    coordinate_along_mm,
)
from cemscope.segmentation.screw_profile import (
    AXIAL_STEP_MM,
    CrossSections,
    ScrewAxis,
    ShaftProfile,
    circle_of_rays,
    find_tip,
    fit_shaft,
)
from cemscope.segmentation.screw_search import (
    PedicleCube,
    search_axis,
    search_box,
)
from cemscope.segmentation.screw_thread import (
    ThreadEstimate,
    estimate_taper,
    estimate_thread,
)
from cemscope.spine import Spine, Vertebra
from cemscope.volume import CTVolume


@dataclass(frozen=True, slots=True)
class ScrewSettings:
    """What counts as a pedicle screw.

    Attributes
    ----------
    minimum_radius_mm, maximum_radius_mm
        Radius of the shaft at its free part.
    minimum_length_mm
        Straight core from head to tip.
    minimum_free_length_mm
        Length on which the shaft must be round, even and free of cement.
    maximum_roughness_mm
        Root mean square deviation of a free cross-section from a circle.
    search_angle_deg
        Widest angle between screw and the vertebra's posterior axis.
    """

    minimum_radius_mm: float = 1.5
    maximum_radius_mm: float = 4.75
    minimum_length_mm: float = 20.0
    minimum_free_length_mm: float = 5.0
    maximum_roughness_mm: float = 0.45
    search_angle_deg: float = 45.0


@dataclass(frozen=True, slots=True, eq=False)
class ScrewModel:
    """A fitted screw.

    Attributes
    ----------
    level : str
        Vertebra whose body or pedicle holds it.
    side : Side
        Side of the pedicle.
    axis : ScrewAxis
        From the head (``t_mm = 0`` at the head's centre) to the tip.
    neck_mm, tip_mm : float
        Positions on the axis where the shaft leaves the head, and of the tip.
    shaft : ShaftProfile
        Radius, blur and HU of the shaft.
    thread : ThreadEstimate
        Mean radius of the metal where the shaft is threaded, and how it narrows.
    tip_uncertainty_mm : float
        Half-width of the range in which the tip may lie.
    free_length_mm : float
        Length of shaft that was seen free of cement.
    """

    level: str
    side: Side
    axis: ScrewAxis
    neck_mm: float
    tip_mm: float
    shaft: ShaftProfile
    thread: ThreadEstimate
    tip_uncertainty_mm: float
    free_length_mm: float

    @property
    def head_lps_mm(self) -> FloatArray:
        """Centre of the head."""
        return self.axis.at(0.0)

    @property
    def tip_lps_mm(self) -> FloatArray:
        """Foremost point of the shaft on the axis."""
        return self.axis.at(self.tip_mm)

    def distances_mm(
        self, points_lps_mm: npt.ArrayLike
    ) -> tuple[FloatArray, FloatArray]:
        """Distance of points from the surface of the shaft (negative: inside), and t.

        The shaft reaches from the head's centre to the tip.
        """
        offset = np.asarray(points_lps_mm, float) - self.axis.point
        t = offset @ self.axis.forward
        radial = np.sqrt(np.maximum((offset**2).sum(-1) - t**2, 0.0))
        return self._from_surface_mm(radial, t), t

    def distances_on(self, geometry: VoxelGeometry) -> tuple[FloatArray, FloatArray]:
        """`distances_mm` of all voxels of a grid, without their coordinates."""
        first, second = self.axis.cross_vectors()
        t, across, along = (
            coordinate_along_mm(geometry, self.axis.point, axis)
            for axis in (self.axis.forward, first, second)
        )
        return self._from_surface_mm(np.hypot(across, along), t), t

    def _from_surface_mm(self, radial: FloatArray, t: FloatArray) -> FloatArray:
        beyond = np.maximum(np.maximum(t - self.tip_mm, -t), 0.0)
        over = np.maximum(radial - self.shaft.radius_mm, 0.0)
        outside = np.hypot(over, beyond)
        inside = np.maximum(
            radial - self.shaft.radius_mm, np.maximum(t - self.tip_mm, -t)
        )
        distance: FloatArray = np.where(outside > 0, outside, inside)
        return distance

    def metal_depth_mm(self, distance_mm: FloatArray, t_mm: FloatArray) -> FloatArray:
        """Depth inside the metal, given the result of `distances_mm`.

        The shaft counts as a cylinder of the mean radius of its thread that narrows
        towards the tip.
        """
        taper = max(self.thread.taper_mm, 1e-3)
        narrow = np.clip((self.tip_mm - t_mm) / taper, 0.0, 1.0)
        surface = self.thread.metal_radius_mm * narrow - self.shaft.radius_mm
        depth: FloatArray = np.minimum(surface - distance_mm, self.tip_mm - t_mm)
        return depth


def find_screws(
    ct: CTVolume,
    spine: Spine,
    core_level_hu: float,
    settings: ScrewSettings = ScrewSettings(),
) -> tuple[ScrewModel, ...]:
    """Find and fit every pedicle screw of a scan.

    Parameters
    ----------
    core_level_hu
        Metal is at least this bright (cement may be, too).
    settings
        Limits of shape.

    Returns
    -------
    tuple of ScrewModel
        From the lowest level upwards, at most one per level and side.
    """
    guesses: list[_Guess] = []
    for vertebra in spine.vertebrae:
        box = search_box(ct, spine, vertebra)
        if box is None:
            continue
        region = ScanRegion.of_box(ct, spine.labels, box)
        if not (region.hu >= core_level_hu).any():
            continue
        cube = PedicleCube.sample(region, vertebra, core_level_hu)
        if cube is None:
            continue
        for side in (Side.LEFT, Side.RIGHT):
            axis = search_axis(cube, side, settings.search_angle_deg)
            if axis is None:
                continue
            guess = _fit_axis(region, vertebra, axis, core_level_hu, settings)
            if guess is not None:
                guesses.append(guess)
    ceiling = None if ct.clipped_at_hu is None else float(ct.clipped_at_hu)
    first = [_fit_shaft(guess, core_level_hu, ceiling, None) for guess in guesses]
    if not first:
        return ()
    # Blur belongs to the scan, not to a screw: all flanks share it.
    blur = float(np.median([shaft.sigma_mm for shaft in first]))
    found = []
    for guess in guesses:
        shaft = _fit_shaft(guess, core_level_hu, ceiling, blur)
        model = _complete(guess, shaft, core_level_hu, ceiling, settings)
        if model is not None:
            found.append(model)
    return _without_duplicates(tuple(found), spine)


@dataclass(frozen=True, slots=True, eq=False)
class _Guess:
    """A fitted axis with its cross-sections, before radius and tip are known."""

    region: ScanRegion
    vertebra: Vertebra
    axis: ScrewAxis
    sections: CrossSections
    edge_mm: FloatArray
    radius_mm: FloatArray
    free: npt.NDArray[np.bool_]

    @property
    def typical_mm(self) -> float:
        return float(np.median(self.radius_mm[self.free]))

    def bare(self, level_hu: float) -> npt.NDArray[np.bool_]:
        """Planes whose shaft is surrounded by neither cement nor metal."""
        ring = _ring_hu(self.sections, self.typical_mm)
        bare: npt.NDArray[np.bool_] = self.free & (ring < 0.35 * level_hu)
        return bare if bare.sum() >= 6 else self.free


def _fit_axis(
    region: ScanRegion,
    vertebra: Vertebra,
    axis: ScrewAxis,
    level_hu: float,
    settings: ScrewSettings,
) -> _Guess | None:
    """Move an axis into the centres of its free cross-sections."""
    t = np.arange(-40.0, 40.0, AXIAL_STEP_MM)
    for _ in range(5):
        sections = CrossSections.sample(region, axis, t)
        edge = sections.edge_mm(level_hu)
        radius, offset, roughness = circle_of_rays(edge)
        free = (
            (roughness < settings.maximum_roughness_mm)
            & (radius > settings.minimum_radius_mm * 0.8)
            & (radius < settings.maximum_radius_mm + 1.0)
            & (np.abs(t) < 30.0)
        )
        free = _main_run(free, radius)
        if free.sum() * AXIAL_STEP_MM < settings.minimum_free_length_mm:
            return None
        previous, axis = axis, _refit(axis, t[free], offset[free])
    return _Guess(region, vertebra, previous, sections, edge, radius, free)


def _fit_shaft(
    guess: _Guess, level_hu: float, ceiling_hu: float | None, blur_mm: float | None
) -> ShaftProfile:
    bare_t = guess.sections.t_mm[guess.bare(level_hu)]
    return fit_shaft(
        guess.region, guess.axis, bare_t, ceiling_hu, guess.typical_mm, blur_mm
    )


def _complete(
    guess: _Guess,
    shaft: ShaftProfile,
    level_hu: float,
    ceiling_hu: float | None,
    settings: ScrewSettings,
) -> ScrewModel | None:
    """Add thread, tip and head to a fitted shaft; None where it is no screw."""
    if not settings.minimum_radius_mm <= shaft.radius_mm <= settings.maximum_radius_mm:
        return None
    t = guess.sections.t_mm
    middle = float(t[guess.free].mean())
    tip = find_tip(guess.region, guess.axis, middle, shaft, ceiling_hu)
    if tip is None:
        return None
    neck, head = _find_head(t, guess.radius_mm, guess.edge_mm, guess.typical_mm, middle)
    if tip.t_mm - head < settings.minimum_length_mm:
        return None
    bare = guess.bare(level_hu) & (t > neck + 1.5) & (t < tip.t_mm - 3.0)
    thread = estimate_thread(guess.sections, bare, shaft, level_hu, guess.region)
    taper = estimate_taper(guess.region, guess.axis, tip, shaft, ceiling_hu)
    side_mm = guess.vertebra.frame.to_local_mm(guess.axis.at(middle))[0]
    return ScrewModel(
        level=guess.vertebra.level.name,
        side=Side.LEFT if side_mm > 0 else Side.RIGHT,
        axis=ScrewAxis(guess.axis.at(head), guess.axis.forward),
        neck_mm=neck - head,
        tip_mm=tip.t_mm - head,
        shaft=shaft,
        thread=ThreadEstimate(thread, taper),
        tip_uncertainty_mm=tip.uncertainty_mm,
        free_length_mm=float(guess.free.sum()) * AXIAL_STEP_MM,
    )


def _ring_hu(sections: CrossSections, radius_mm: float) -> FloatArray:
    """Brightest quarter of the ring just outside the shaft's blur, per plane."""
    r = sections.radius_mm
    ring = sections.hu[:, :, (r >= radius_mm + 1.2) & (r <= radius_mm + 2.4)].mean(
        axis=2
    )
    upper: FloatArray = np.quantile(ring, 0.75, axis=1)
    return upper


def _main_run(free: npt.NDArray[np.bool_], radius: FloatArray) -> npt.NDArray[np.bool_]:
    """Free planes whose radius agrees with the most frequent one."""
    if not free.any():
        return free
    # Cement and heads only widen a section: the shaft is the narrow, even part.
    narrow = float(np.percentile(radius[free], 30.0))
    agreeing: npt.NDArray[np.bool_] = free & (np.abs(radius - narrow) < 0.5)
    return agreeing


def _refit(axis: ScrewAxis, t: FloatArray, offset: FloatArray) -> ScrewAxis:
    """Shift and tilt an axis so that it runs through the centres of its free planes."""
    first, second = axis.cross_vectors()
    if np.ptp(t) < 4.0:
        shift = offset.mean(axis=0)
        return ScrewAxis(
            axis.point + shift[0] * first + shift[1] * second, axis.forward
        )
    a = np.polyfit(t, offset[:, 0], 1)
    b = np.polyfit(t, offset[:, 1], 1)
    forward = axis.forward + a[0] * first + b[0] * second
    point = axis.point + a[1] * first + b[1] * second
    return ScrewAxis(point, forward / np.linalg.norm(forward))


def _find_head(
    t: FloatArray, radius: FloatArray, edge: FloatArray, typical: float, middle: float
) -> tuple[float, float]:
    """Go backwards from the shaft to its neck and the centre of its head."""
    behind = np.flatnonzero(t < middle)[::-1]
    wide = np.median(edge, axis=1) > typical + 1.2
    dark = radius < 0.5 * typical
    neck = end = None
    for index in behind:
        if neck is None:
            if wide[index]:
                neck = t[index]
            elif dark[index]:
                # A shaft without a visible head ends here.
                return float(t[index]), float(t[index])
        elif not wide[index]:
            end = t[index]
            break
    if neck is None:
        return float(t[0]), float(t[0])
    end = t[0] if end is None else end
    return float(neck), float(max(0.5 * (neck + end), neck - 9.0))


def _without_duplicates(
    models: tuple[ScrewModel, ...], spine: Spine
) -> tuple[ScrewModel, ...]:
    """Give a screw seen from two vertebrae to the one that holds its front."""
    kept: list[ScrewModel] = []
    for model in models:
        twin = next(
            (k for k, other in enumerate(kept) if _same_screw(model, other)), None
        )
        if twin is None:
            kept.append(model)
        elif _held_length_mm(model, spine) > _held_length_mm(kept[twin], spine):
            kept[twin] = model
    return tuple(k for k in kept if _held_length_mm(k, spine) >= 5.0)


def _same_screw(first: ScrewModel, second: ScrewModel) -> bool:
    tips = np.linalg.norm(first.tip_lps_mm - second.tip_lps_mm)
    heads = np.linalg.norm(first.head_lps_mm - second.head_lps_mm)
    return bool(tips < 10.0 and heads < 10.0)


def _held_length_mm(model: ScrewModel, spine: Spine) -> float:
    """Length of the axis inside the body and arch of its vertebra."""
    vertebra = spine.vertebra(model.level)
    t = np.arange(0.0, model.tip_mm, 0.5)
    index = np.round(spine.labels.geometry.lps_to_index(model.axis.at(t))).astype(int)
    shape = np.array(spine.labels.geometry.shape)
    index = index[np.all((index >= 0) & (index < shape), axis=1)]
    values = spine.labels.labels[tuple(index.T)]
    held = (values == vertebra.level.number) | (values == vertebra.level.arch_number)
    return float(held.sum()) * 0.5
