"""Pedicle screws found by their shape: a straight round core through a pedicle.

On clipped scans cement and metal both read the ceiling: brightness alone tells nothing.
A screw is searched as a line that runs from behind the spine through the pedicle
region into the body, bright all the way, and round and even where it is free of cement.
What is as straight and bright but cannot be told from cement is reported as undecided.
"""

import logging
from dataclasses import dataclass, replace

import numpy as np

from cemscope.findings import Side
from cemscope.segmentation.implants.cement_bound import cement_bound_hu
from cemscope.segmentation.implants.implant_metals import (
    USUAL_CEMENT_SHARE,
    titanium_hu,
)
from cemscope.segmentation.implants.metal_proof import (
    bright_casts,
    may_be_metal,
    told_by_brightness,
    told_by_shape,
)
from cemscope.segmentation.implants.rods import RodModel, find_rods
from cemscope.segmentation.implants.screw_fit import AxisFit
from cemscope.segmentation.implants.screw_head import find_head
from cemscope.segmentation.implants.screw_model import ScrewModel as ScrewModel
from cemscope.segmentation.implants.screw_pairs import share_lengths, share_sizes
from cemscope.segmentation.implants.screw_profile import (
    ScrewAxis,
    ShaftProfile,
)
from cemscope.segmentation.implants.screw_search import (
    BrightLine,
    PedicleCube,
    search_box,
    search_lines,
)
from cemscope.segmentation.implants.screw_settings import Brightness
from cemscope.segmentation.implants.screw_settings import ScrewSettings as ScrewSettings
from cemscope.segmentation.implants.screw_thread import (
    ThreadEstimate,
    estimate_taper,
)
from cemscope.segmentation.implants.screw_tip import find_tip
from cemscope.segmentation.implants.shaft_choice import (
    SearchedLines,
    different_fits,
    steadied_fits,
)
from cemscope.segmentation.implants.shaft_radius import fit_shafts
from cemscope.segmentation.scan_region import ScanRegion, box_of
from cemscope.spine import Spine
from cemscope.volume import CTVolume, Notice

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class UndecidedObject:
    """An elongated dense object of which shape does not tell metal from cement.

    Attributes
    ----------
    level : str
        Vertebra that it runs into.
    side : Side
        The patient's side.
    axis : ScrewAxis
        Its line.
    """

    level: str
    side: Side
    axis: ScrewAxis


@dataclass(frozen=True, slots=True, eq=False)
class ScrewSearch:
    """Result of the search.

    Attributes
    ----------
    screws : tuple of ScrewModel
        From the lowest level upwards, at most one per level and side.
    undecided : tuple of UndecidedObject
        At most one per level and side, where there is no screw.
    """

    screws: tuple[ScrewModel, ...]
    undecided: tuple[UndecidedObject, ...]

    @property
    def notices(self) -> tuple[Notice, ...]:
        """What a reader of volumes must know."""
        return tuple(
            Notice(
                "metal_undecided",
                f"A straight dense object in the {item.side} pedicle of {item.level} "
                "may be metal or cement: its shape does not tell, and it is measured "
                "as cement. Check it on the images.",
            )
            for item in self.undecided
        ) + tuple(
            Notice(
                "screw_diameter_uncertain",
                f"The diameter of the {screw.side} screw of {screw.level} is known to "
                f"+/- {screw.diameter_uncertainty_mm:.1f} mm: the scale is clipped, or "
                "streaks or cement hide its edge.",
            )
            for screw in self.screws
            if screw.diameter_uncertainty_mm > TOLD_DIAMETER_MM
        )


TOLD_DIAMETER_MM = 0.7
"""Diameters of pedicle screws come in steps of 0.5 to 1 mm: what is known less exactly
than this is said to be uncertain."""


def search_screws(
    ct: CTVolume,
    spine: Spine,
    core_level_hu: float,
    settings: ScrewSettings | None = None,
) -> ScrewSearch:
    """Find and fit every pedicle screw of a scan, and say what could not be decided.

    Parameters
    ----------
    core_level_hu
        Metal is about this bright (cement may be, too).
    settings
        Limits of shape; None for the defaults.
    """
    settings = settings or ScrewSettings()
    ceiling = None if ct.clipped_at_hu is None else float(ct.clipped_at_hu)
    brightness = Brightness(core_level_hu, ceiling, titanium_hu(ct.acquisition.kvp))
    guesses: list[_Guess] = []
    undecided: list[UndecidedObject] = []
    retry: dict[tuple[str, Side], tuple[ScanRegion, SearchedLines]] = {}
    for vertebra in spine.vertebrae:
        box = search_box(ct, spine, vertebra)
        if box is None:
            continue
        region = ScanRegion.of_box(ct, spine.labels, box)
        levels = _search_levels(float(region.hu.max()), core_level_hu)
        cube = PedicleCube.sample(region, vertebra) if levels else None
        if cube is None:
            continue
        for side in (Side.LEFT, Side.RIGHT):
            lines = [
                (line, replace(brightness, level_hu=level))
                for level in levels
                for line in search_lines(
                    cube, side, level, settings.search_angle_deg, LINES_PER_SIDE
                )
            ]
            fits = different_fits(region, lines, settings)
            guesses.extend(_Guess(vertebra.level.name, side, fit) for fit in fits)
            if fits and not fits[0].streaky:
                retry[vertebra.level.name, side] = (region, lines)
            line = _surest(lines, brightness)
            if (
                not fits
                and line is not None
                and may_be_metal(region, line.axis, brightness, settings)
            ):
                undecided.append(UndecidedObject(vertebra.level.name, side, line.axis))
    screws = tuple(model for _, model in _screws(guesses, brightness, settings))
    told = {(screw.level, screw.side) for screw in screws}
    again = [
        _Guess(level, side, fit)
        for (level, side), (region, lines) in retry.items()
        if screws and (level, side) not in told
        for fit in steadied_fits(region, lines, settings)
    ]
    if again:
        # Blur and metal are shared: lines that follow no screw must not tell them.
        made = _screws([*guesses, *again], brightness, settings)
        made = _screws([guess for guess, _ in made], brightness, settings)
        screws = tuple(model for _, model in made)
    undecided.extend(
        UndecidedObject(guess.level, guess.side, guess.fit.axis)
        for guess in guesses
        if not any(_along(screw, guess.fit.axis) for screw in screws)
        and may_be_metal(guess.fit.region, guess.fit.axis, brightness, settings)
    )
    whole = box_of(np.zeros(3, int), np.array(ct.hu.shape))
    region = ScanRegion.of_box(ct, spine.labels, whole)
    usual_hu = USUAL_CEMENT_SHARE * brightness.titanium_hu
    screws = _without_duplicates(screws, spine)
    casts = bright_casts(screws, region, spine, brightness)
    undecided.extend(UndecidedObject(k.level, k.side, k.axis) for k in casts)
    screws = tuple(k for k in screws if k not in casts)
    screws = share_sizes(
        screws, cement_bound_hu(region, spine, screws, ceiling, usual_hu)
    )
    rods = find_rods(region, screws, core_level_hu, ceiling)
    heads = share_lengths(tuple(_on_rods(screw, rods) for screw in screws))
    told = {(screw.level, screw.side) for screw in heads}
    # The first of each level and side; the search lists the best line first.
    doubts = {(item.level, item.side): item for item in reversed(undecided)}
    rest = (item for key, item in doubts.items() if key not in told)
    return ScrewSearch(heads, tuple(rest))


def _on_rods(screw: ScrewModel, rods: tuple[RodModel, ...]) -> ScrewModel:
    """Move a head's centre to where the rod runs through it."""
    for rod in rods:
        shift = rod.nearest_on_axis(screw.axis)
        near = rod.distances_mm(screw.axis.at(shift)[None])[0] < ROD_BESIDE_HEAD_MM
        if rod.side is screw.side and near and abs(shift) < ROD_BESIDE_HEAD_MM:
            return replace(
                screw,
                axis=ScrewAxis(screw.axis.at(shift), screw.axis.forward),
                neck_mm=max(screw.neck_mm - shift, 0.0),
                tip_mm=screw.tip_mm - shift,
            )
    return screw


ROD_BESIDE_HEAD_MM = 5.0
"""A rod lies in the slot of a head: this near to its centre."""


def _surest(
    lines: list[tuple[BrightLine, Brightness]], brightness: Brightness
) -> BrightLine | None:
    """Best line; on a clipped scan only among those at the ceiling."""
    for line, used in lines:
        if brightness.ceiling_hu is None or used.level_hu >= brightness.level_hu:
            return line
    return None


LINES_PER_SIDE = 3
"""Different bright lines that are looked at in one pedicle region."""

SEARCH_SHARES = (1.0, 0.67, 0.45)
"""On an extended scale heads and rods read up to twice as much as a shaft in bone, and
cobalt chrome three times as much as titanium: the search goes down in steps. On a
clipped scan starved rays leave cannulated shafts below the ceiling, too."""

LOWEST_METAL_HU = 2000.0
"""No shaft of a pedicle screw is darker: titanium reads at least twice as much."""


def _search_levels(brightest_hu: float, core_level_hu: float) -> tuple[float, ...]:
    if brightest_hu < min(core_level_hu, LOWEST_METAL_HU):
        return ()
    levels = {max(share * core_level_hu, LOWEST_METAL_HU) for share in SEARCH_SHARES}
    return tuple(sorted(levels, reverse=True))


@dataclass(frozen=True, slots=True, eq=False)
class _Guess:
    level: str
    side: Side
    fit: AxisFit


def _screws(
    guesses: list[_Guess], brightness: Brightness, settings: ScrewSettings
) -> list[tuple[_Guess, ScrewModel]]:
    """Fit the shafts of all guesses and keep those that are screws."""
    if not guesses:
        return []
    shafts, brightness = fit_shafts([guess.fit for guess in guesses], brightness)
    models = (
        (guess, _complete(guess, shaft, brightness, settings))
        for guess, shaft in zip(guesses, shafts, strict=True)
    )
    return [(guess, model) for guess, model in models if model is not None]


def _complete(
    guess: _Guess,
    shaft: ShaftProfile,
    brightness: Brightness,
    settings: ScrewSettings,
) -> ScrewModel | None:
    """Add thread, tip and head to a fitted shaft; None where it is no screw."""
    fit, ceiling_hu = guess.fit, brightness.ceiling_hu
    if not settings.minimum_radius_mm <= shaft.radius_mm <= settings.maximum_radius_mm:
        return None
    tip = find_tip(fit.region, fit.axis, fit.middle_mm, shaft, ceiling_hu)
    if tip is None:
        return None
    head = find_head(fit)
    if tip.t_mm - head.centre_mm < settings.minimum_length_mm:
        return None
    has_shape = told_by_shape(fit, shaft, head, settings)
    if not has_shape and not told_by_brightness(fit, brightness, settings):
        return None
    taper = estimate_taper(fit.region, fit.axis, tip, shaft, ceiling_hu)
    # The foremost part of a cone is narrower than the blur and cannot be seen.
    unseen_mm = taper * min(1.1 * shaft.sigma_mm / shaft.radius_mm, 0.5)
    return ScrewModel(
        level=guess.level,
        side=guess.side,
        axis=ScrewAxis(fit.axis.at(head.centre_mm), fit.axis.forward),
        neck_mm=head.neck_mm - head.centre_mm,
        tip_mm=tip.t_mm + unseen_mm - head.centre_mm,
        shaft=shaft,
        thread=ThreadEstimate(shaft.metal_radius_mm, taper),
        tip_uncertainty_mm=tip.uncertainty_mm,
        free_length_mm=fit.free_length_mm,
        surrounded_share=fit.surrounded_share,
        has_shape=has_shape,
    )


def _along(screw: ScrewModel, axis: ScrewAxis) -> bool:
    """Tell whether a line follows a screw."""
    distance, _ = screw.distances_mm(axis.at(np.array([-5.0, 0.0, 5.0])))
    return bool(distance.max() < 2.0)


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
        elif held_length_mm(model, spine) > held_length_mm(kept[twin], spine):
            kept[twin] = model
    held = {id(k): held_length_mm(k, spine) for k in kept}
    longest: dict[tuple[str, Side], ScrewModel] = {}
    for model in sorted(kept, key=lambda k: held[id(k)]):
        longest[model.level, model.side] = model
    return tuple(
        k
        for k in kept
        if held[id(k)] >= LEAST_HELD_MM and longest[k.level, k.side] is k
    )


LEAST_HELD_MM = 5.0
"""A screw is held by its vertebra along more than this."""


def _same_screw(first: ScrewModel, second: ScrewModel) -> bool:
    tips = np.linalg.norm(first.tip_lps_mm - second.tip_lps_mm)
    heads = np.linalg.norm(first.head_lps_mm - second.head_lps_mm)
    return bool(tips < 10.0 and heads < 10.0)


def held_length_mm(model: ScrewModel, spine: Spine) -> float:
    """Length of the axis inside or beside the body and arch of its vertebra."""
    vertebra = spine.vertebra(model.level)
    t = np.arange(0.0, model.tip_mm, 0.5)
    first, second = model.axis.cross_vectors()
    beside = BESIDE_BONE_MM * np.array([0 * first, first, -first, second, -second])
    points = model.axis.at(t)[:, None] + beside
    index = np.round(spine.labels.geometry.lps_to_index(points)).astype(int)
    shape = np.array(spine.labels.geometry.shape)
    inside = np.all((index >= 0) & (index < shape), axis=-1)
    index = np.where(inside[..., None], index, 0)
    values = spine.labels.labels[tuple(np.moveaxis(index, -1, 0))]
    held = (values == vertebra.level.number) | (values == vertebra.level.arch_number)
    return float((held & inside).any(axis=1).sum()) * 0.5


BESIDE_BONE_MM = 3.0
"""A screw that left the pedicle still lies this near to its vertebra."""
