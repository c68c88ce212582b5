"""A leak in a radiologist's words."""

from cemscope.findings import ExitWall, LeakType
from cemscope.measurement.leak_path import LeakCourse, LeakExit
from cemscope.measurement.leak_types import Argument, ExitSigns

_WALLS = {
    ExitWall.ANTERIOR: "the anterior wall",
    ExitWall.LEFT: "the left wall",
    ExitWall.RIGHT: "the right wall",
    ExitWall.POSTERIOR: "the posterior wall",
    ExitWall.SUPERIOR_ENDPLATE: "the upper endplate",
    ExitWall.INFERIOR_ENDPLATE: "the lower endplate",
}

_PLACES = {
    "epidural": "the anterior epidural space",
    "disc_superior": "the disc above",
    "disc_inferior": "the disc below",
    "foraminal_left": "the left neural foramen",
    "foraminal_right": "the right neural foramen",
    "prevertebral": "the prevertebral tissue",
    "paravertebral_left": "the left paravertebral tissue",
    "paravertebral_right": "the right paravertebral tissue",
    "needle_track": "the soft tissue behind the vertebra",
}

_ROUTES = {
    LeakType.BASIVERTEBRAL: "the basivertebral vein",
    LeakType.SEGMENTAL: "a segmental vein",
    LeakType.CORTICAL: "a cortical defect",
    LeakType.DISC: "the endplate",
    LeakType.INSTRUMENT: "the screw or needle track",
}

MIDLINE_MM = 3.0
"""No further aside than this is 'in the midline'."""


def leak_sentence(
    way: LeakExit,
    signs: ExitSigns,
    midline_mm: float,
    course: LeakCourse,
    places: tuple[str, ...],
    argument: Argument,
) -> str:
    """Say where a leak leaves the bone, how it runs, and by which way."""
    place = " and ".join(_PLACES.get(name, name) for name in places[:2])
    if signs.wall is ExitWall.ARCH:
        side = "left" if midline_mm > 0 else "right"
        start = f"leaves the {side} pedicle or arch"
    elif signs.wall in (ExitWall.SUPERIOR_ENDPLATE, ExitWall.INFERIOR_ENDPLATE):
        start = f"leaves {_WALLS[signs.wall]} {_aside(midline_mm)}"
    else:
        aside = "" if signs.wall in _SIDES else f" {_aside(midline_mm)}"
        height = round(100 * min(max(signs.height, 0.0), 1.0))
        start = f"leaves {_WALLS[signs.wall]}{aside} at {height} % of its height"
    start += f" through an opening of {way.width_mm:.0f} mm"
    form = _form(signs, course)
    words = f"{start} and {form} {place}"
    if argument.rival is not None:
        words += (
            f"; {_ROUTES[argument.leak_type]} or {_ROUTES[argument.rival]}: "
            "the signs do not decide"
        )
    return words


_SIDES = (ExitWall.LEFT, ExitWall.RIGHT)


def _aside(midline_mm: float) -> str:
    if abs(midline_mm) <= MIDLINE_MM:
        return "in the midline"
    side = "left" if midline_mm > 0 else "right"
    return f"{abs(midline_mm):.0f} mm to the {side} of the midline"


def _form(signs: ExitSigns, course: LeakCourse) -> str:
    if signs.elongation < 2.0:
        return "lies in"
    if signs.wall in (ExitWall.POSTERIOR, ExitWall.ARCH):
        return "spreads in"
    if signs.off_surface_mm <= HUGGING_MM and signs.elongation >= 3.0:
        return f"runs {course.length_mm:.0f} mm along the body in"
    return "spreads in"


HUGGING_MM = 5.0
"""A leak no further from the body runs along it."""
