"""The text form of a level anchor: ``L5`` or ``L3@X,Y,Z``."""

import math

from cemscope.anatomy import VertebraLevel
from cemscope.errors import ConfigError
from cemscope.spine import LevelAnchor


def parse_anchor(text: str) -> LevelAnchor:
    """Read the user's word on one level.

    Parameters
    ----------
    text
        ``L5`` names the lowest complete vertebra; ``L3@12.5,-40,310`` the vertebra
        that holds this patient point (LPS, mm).

    Raises
    ------
    ConfigError
        If the level or the point cannot be understood.

    Examples
    --------
    >>> parse_anchor("L3@1,2,3").point_lps_mm
    (1.0, 2.0, 3.0)
    """
    name, at, place = text.partition("@")
    name = name.strip().upper()
    try:
        level = VertebraLevel(name)
    except ValueError:
        level = None
    if level is None or not level.is_named:
        raise ConfigError(
            f"anchor: expected a level such as T12, L5 or S1, found {name!r}"
        )
    if not at:
        return LevelAnchor(level)
    try:
        numbers = [float(part) for part in place.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != 3 or not all(math.isfinite(n) for n in numbers):
        raise ConfigError(
            f"anchor: expected three numbers X,Y,Z in LPS mm after @, found {place!r}"
        )
    return LevelAnchor(level, (numbers[0], numbers[1], numbers[2]))
