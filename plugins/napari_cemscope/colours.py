"""Colours of what is marked: the same everywhere, and apart for all eyes.

They are those of the pictures in the report: orange, magenta, blue and yellow stay
apart with any colour vision deficiency, by lightness where not by hue.
"""

from dataclasses import dataclass

import numpy as np

from cemscope.anatomy import ARCH_OFFSET
from cemscope_pipelines.review.voxel_change import (
    CEMENT,
    FIRST_LEAK,
    FIRST_OWNED,
    LAST_LEAK,
    LAST_OWNED,
    LEAKED,
    LUCENCY,
    OTHER_METAL,
    SCREW,
)

RGBA = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class MaterialColour:
    """A layer of the working map: its name, its colour and its codes.

    Attributes
    ----------
    name : str
        Of the layer and in the legend.
    hex_code : str
        Colour.
    codes : tuple of int
        Codes of the working map that it shows.
    tooltip : str
        What it is.
    opacity : float
        Of the layer.
    """

    name: str
    hex_code: str
    codes: tuple[int, ...]
    tooltip: str
    opacity: float = 0.55


MATERIALS: tuple[MaterialColour, ...] = (
    MaterialColour(
        "metal", "#26BFFF", (SCREW, OTHER_METAL), "Screws, rods and other metal", 0.45
    ),
    MaterialColour(
        "cement",
        "#FF990D",
        (CEMENT, *range(FIRST_OWNED, LAST_OWNED + 1)),
        "Bone cement within a vertebra",
    ),
    MaterialColour(
        "leaks",
        "#FF1A80",
        (LEAKED, *range(FIRST_LEAK, LAST_LEAK + 1)),
        "Cement outside the bone of its vertebra",
        0.75,
    ),
    MaterialColour("lucency", "#FFF04D", (LUCENCY,), "Lucent rim around a screw", 0.7),
)
"""From the lowest layer to the topmost."""

VERTEBRA_COLOURS = ("#8CFF99", "#C4B5FD")
"""Outlines; neighbouring vertebrae alternate."""


def rgba(hex_code: str, alpha: float = 1.0) -> RGBA:
    """Colour as four numbers from 0 to 1."""
    red, green, blue = (int(hex_code[k : k + 2], 16) / 255.0 for k in (1, 3, 5))
    return red, green, blue, alpha


CLEAR = np.zeros(4, np.float32)
"""What is not shown."""


def material_table(material: MaterialColour) -> dict[int | None, np.ndarray]:
    """Colours of one layer by code, for a direct colour map."""
    shown = np.array(rgba(material.hex_code), np.float32)
    table: dict[int | None, np.ndarray] = {None: CLEAR, 0: CLEAR}
    table |= dict.fromkeys(material.codes, shown)
    return table


def vertebra_table(numbers: list[int]) -> dict[int | None, np.ndarray]:
    """Colours of bodies and arches by number; ``numbers`` run along the spine."""
    table: dict[int | None, np.ndarray] = {None: CLEAR, 0: CLEAR}
    for place, number in enumerate(numbers):
        colour = np.array(rgba(VERTEBRA_COLOURS[place % 2]), np.float32)
        table[number] = colour
        table[number + ARCH_OFFSET] = colour
    return table
