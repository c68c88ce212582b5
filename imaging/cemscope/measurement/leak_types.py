"""The type of a leak, argued from where it left the bone and how it runs.

B, S and C follow Yeom 2003 (J Bone Joint Surg Br 85:83-9); D (disc) and I (along the
instrument, Guo 2019, doi:10.1007/s00586-019-05985-4) are later additions. The papers
give no limits in mm: those here are our operational definitions.
"""

from dataclasses import dataclass

from cemscope.findings import ExitWall, LeakType

B, S, C = LeakType.BASIVERTEBRAL, LeakType.SEGMENTAL, LeakType.CORTICAL
D, INSTRUMENT = LeakType.DISC, LeakType.INSTRUMENT


@dataclass(frozen=True, slots=True)
class TypeSettings:
    """Limits between the types [our operational definition].

    Attributes
    ----------
    basivertebral_midline_share
        A type B exit is no further from the midline, against the body's width: the
        middle third.
    basivertebral_height_low, basivertebral_height_high
        Its height between the endplates.
    segmental_height_low, segmental_height_high
        Height of a type S exit.
    tube_elongation
        Length over width of a vein.
    vein_off_surface_mm
        A segmental vein runs no further from the body.
    vein_slope_deg
        Steepest course of a segmental vein.
    track_mm
        A leak along a screw lies within this distance of its shaft.
    breach_mm
        A screw that breaks into the canal passes its wall within this distance.
    pedicle_midline_share, pedicle_height_low
        Where pedicles spring: no nearer to the midline, against the body's width, and
        no lower.
    disc_share
        Share of a leak that makes it one into the disc.
    doubt
        Width of the zone round each limit in which the type is indeterminate, as a
        share of the limit (heights: of the body's height).
    """

    basivertebral_midline_share: float = 1.0 / 6.0
    basivertebral_height_low: float = 0.25
    basivertebral_height_high: float = 0.85
    segmental_height_low: float = 0.22
    segmental_height_high: float = 0.78
    tube_elongation: float = 2.6
    vein_off_surface_mm: float = 5.0
    vein_slope_deg: float = 40.0
    track_mm: float = 5.0
    breach_mm: float = 2.0
    pedicle_midline_share: float = 0.33
    pedicle_height_low: float = 0.35
    disc_share: float = 0.35
    doubt: float = 0.12


@dataclass(frozen=True, slots=True)
class ExitSigns:
    """What is known of one exit and the leak behind it.

    Attributes
    ----------
    wall : ExitWall
        Where it is.
    height : float
        Between the endplates, 0 to 1.
    midline_share : float
        Distance from the midline against the body's width, without its sign.
    elongation, off_surface_mm, slope_deg : float
        Of the leak.
    disc_share, epidural_share, behind_share : float
        Parts of the leak in a disc, in the canal, and behind the body.
    track_mm, exit_track_mm : float
        Distance of the leak and of its exit from the nearest shaft; infinite where
        there is none.
    at_pedicle : bool
        Whether the exit lies where a pedicle springs from the body, or behind.
    pedicle_cement : bool
        Whether the pedicle or arch beside the exit holds cement.
    """

    wall: ExitWall
    height: float
    midline_share: float
    elongation: float
    off_surface_mm: float
    slope_deg: float
    disc_share: float
    epidural_share: float
    behind_share: float
    track_mm: float
    exit_track_mm: float
    at_pedicle: bool
    pedicle_cement: bool = False


@dataclass(frozen=True, slots=True)
class Argument:
    """The type of one exit.

    Attributes
    ----------
    leak_type : LeakType
        The likelier.
    rival : LeakType or None
        The other candidate, where the signs lie near a limit.
    """

    leak_type: LeakType
    rival: LeakType | None


def argue(signs: ExitSigns, settings: TypeSettings) -> Argument:
    """Decide the type of one exit."""
    endplate = signs.wall in (ExitWall.SUPERIOR_ENDPLATE, ExitWall.INFERIOR_ENDPLATE)
    if signs.wall is ExitWall.ARCH:
        return Argument(INSTRUMENT, None)
    aside = signs.midline_share >= settings.pedicle_midline_share
    springs = aside and signs.height >= settings.pedicle_height_low
    into_disc = endplate and signs.disc_share >= settings.disc_share
    if signs.at_pedicle and signs.pedicle_cement and springs:
        return Argument(INSTRUMENT, D if into_disc else None)
    along = signs.track_mm <= settings.track_mm and signs.behind_share >= HALF
    # Between the pedicles a shaft passes near the wall without leaving the body.
    between = signs.wall is ExitWall.POSTERIOR and not aside
    near_mm = settings.breach_mm if between else settings.track_mm
    along |= signs.at_pedicle and signs.exit_track_mm <= near_mm
    if along and not between:
        return Argument(INSTRUMENT, None)
    if endplate:
        return Argument(D, None if into_disc else C)
    if signs.wall is ExitWall.POSTERIOR:
        argument = _posterior(signs, settings)
        if along:
            return Argument(INSTRUMENT, argument.leak_type)
        if argument.leak_type is C and signs.exit_track_mm <= settings.track_mm:
            return Argument(C, argument.rival or INSTRUMENT)
        return argument
    if signs.disc_share >= HALF:
        return Argument(D, C)
    return _lateral(signs, settings)


HALF = 0.5


def _posterior(signs: ExitSigns, settings: TypeSettings) -> Argument:
    """Basivertebral vein or a defect of the posterior wall."""
    margin = min(
        1.0 - signs.midline_share / settings.basivertebral_midline_share,
        signs.height - settings.basivertebral_height_low,
        settings.basivertebral_height_high - signs.height,
    )
    return _either(B, C, margin, settings.doubt)


def _lateral(signs: ExitSigns, settings: TypeSettings) -> Argument:
    """Segmental vein or a defect of the side or front."""
    tube = signs.elongation / settings.tube_elongation - 1.0
    margin = min(
        signs.height - settings.segmental_height_low,
        settings.segmental_height_high - signs.height,
        tube,
        1.0 - signs.slope_deg / settings.vein_slope_deg,
    )
    beside = 1.0 - signs.off_surface_mm / settings.vein_off_surface_mm
    if margin >= 0.0 > beside:
        # Tissue gives a tube of this form only in a vessel, if not in the usual one.
        return Argument(S, C) if tube >= LONG_TUBE else Argument(C, S)
    return _either(S, C, min(margin, beside), settings.doubt)


LONG_TUBE = 1.0
"""Twice as long for its width as the least of a tube."""


def _either(venous: LeakType, other: LeakType, margin: float, doubt: float) -> Argument:
    """Venous where all signs keep within their limits; unsure near the worst one."""
    first, second = (venous, other) if margin >= 0.0 else (other, venous)
    # Near the limit from inside, one sign is weak; from outside, one contradicts.
    return Argument(first, second if abs(margin) < doubt / 2.0 else None)
