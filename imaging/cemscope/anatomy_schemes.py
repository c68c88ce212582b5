"""How other programs number and name vertebrae, brought to cemscope's levels.

Class numbers were read in the class maps of the programs:

- VerSe (Sekuboyina 2021, doi:10.1016/j.media.2021.102166): 1 = C1 ... 24 = L5, 25 = L6,
  26 = sacrum, 27 = coccyx, 28 = T13.
- SPINEPS (Moeller 2024, doi:10.1007/s00330-024-11155-y), map of vertebrae "seg-vert"
  (class map of TPTBox): VerSe's numbers, S2 ... S6 = 29 ... 33, ribs 40 ... 55, the
  disc below at +100 and the endplates at +200. Its map of parts "seg-spine" names no
  levels: 41 ... 48 = arch and processes, 49 and 50 = body, 60 = cord, 61 = canal, 62 =
  endplate, 100 = disc, 26 = sacrum.
- TotalSegmentator 2 (Wasserthal 2023, doi:10.1148/ryai.230024; class map of version
  2.18), task 'total': 25 = sacrum, 26 = S1, 27 = L5 ... 31 = L1, 32 = T12 ... 43 = T1,
  44 = C7 ... 50 = C1. Task 'total_v3' is the same with 26 = L6 (its files hold a table
  of names). Task 'vertebrae_mr': 1 = sacrum, 2 = L5 ... 6 = L1, 7 = T12 ... 25 = C1.
  Task 'vertebrae_pp': bodies under VerSe's numbers. Task 'vertebrae_body': 1 = all
  bodies, 2 = all discs.
- TotalSegmentator 1, task 'total_v1': 18 = L5 ... 22 = L1, 23 = T12 ... 34 = T1,
  35 = C7 ... 41 = C1, 92 = sacrum.
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from cemscope.anatomy import (
    ARCH_OFFSET,
    UNNAMED_COUNT,
    UNNAMED_OFFSET,
    VERSE_NUMBERS,
    VertebraLevel,
)

SPINEPS_DISC_OFFSET = 100
"""SPINEPS writes the disc below a vertebra under its number + 100."""

SPINEPS_ENDPLATE_OFFSET = 200
"""SPINEPS writes the endplate of a vertebra under its number + 200."""

SPINEPS_NUMBERS = frozenset(
    [*range(1, 34), *range(40, 56), *range(101, 134), *range(201, 234)]
)
"""Every number that SPINEPS' vertebra map can hold."""

SPINEPS_BODY_PARTS = frozenset({49, 50})
"""Numbers of the body in SPINEPS' part map (border and core)."""

SPINEPS_ARCH_PARTS = frozenset(range(41, 49))
"""Numbers of arch and processes in SPINEPS' part map."""

SPINEPS_OTHER_PARTS = frozenset({26, 60, 61, 62, 100})
"""Sacrum, cord, canal, endplate and disc in SPINEPS' part map."""

_PRESACRAL_FROM_L5 = (
    *(f"L{i}" for i in range(5, 0, -1)),
    *(f"T{i}" for i in range(12, 0, -1)),
    *(f"C{i}" for i in range(7, 0, -1)),
)


class LabelScheme(StrEnum):
    """A numbering of vertebrae; the values are the words of ``--label-scheme``."""

    VERSE = "verse"
    TOTALSEGMENTATOR = "totalsegmentator"
    TOTALSEGMENTATOR_V1 = "totalsegmentator-v1"
    TOTALSEGMENTATOR_MR = "totalsegmentator-mr"
    SPINEPS = "spineps"
    CEMSCOPE = "cemscope"

    @property
    def levels(self) -> Mapping[int, VertebraLevel]:
        """Level of each number that stands for a vertebra or its body."""
        return _LEVELS[self]

    @property
    def arches(self) -> Mapping[int, VertebraLevel]:
        """Level of each number that stands for an arch; empty for most schemes."""
        if self is not LabelScheme.CEMSCOPE:
            return MappingProxyType({})
        return MappingProxyType(
            {number + ARCH_OFFSET: level for number, level in self.levels.items()}
        )

    @property
    def grows_towards_feet(self) -> bool:
        """Whether numbers grow from the head to the feet."""
        return self not in TOTALSEGMENTATOR_SCHEMES


TOTALSEGMENTATOR_SCHEMES = (
    LabelScheme.TOTALSEGMENTATOR,
    LabelScheme.TOTALSEGMENTATOR_V1,
    LabelScheme.TOTALSEGMENTATOR_MR,
)
"""Numberings of one program; the first is that of its present main task."""


def _numbered(numbers: Mapping[int, str]) -> Mapping[int, VertebraLevel]:
    return MappingProxyType({n: VertebraLevel(name) for n, name in numbers.items()})


_VERSE_BY_NUMBER = {number: name for name, number in VERSE_NUMBERS.items()}
_UNNAMED = {UNNAMED_OFFSET + i: f"V{i}" for i in range(1, UNNAMED_COUNT + 1)}

_LEVELS: Mapping[LabelScheme, Mapping[int, VertebraLevel]] = MappingProxyType(
    {
        LabelScheme.VERSE: _numbered(_VERSE_BY_NUMBER),
        LabelScheme.SPINEPS: _numbered(_VERSE_BY_NUMBER),
        LabelScheme.CEMSCOPE: _numbered({**_VERSE_BY_NUMBER, **_UNNAMED}),
        LabelScheme.TOTALSEGMENTATOR: _numbered(
            {26: "S1", **dict(enumerate(_PRESACRAL_FROM_L5, start=27))}
        ),
        LabelScheme.TOTALSEGMENTATOR_V1: _numbered(
            dict(enumerate(_PRESACRAL_FROM_L5, start=18))
        ),
        LabelScheme.TOTALSEGMENTATOR_MR: _numbered(
            dict(enumerate(_PRESACRAL_FROM_L5, start=2))
        ),
    }
)

TOTALSEGMENTATOR_CLASSES: Mapping[str, str] = MappingProxyType(
    {
        level.name: f"vertebrae_{level.name}"
        for level in _LEVELS[LabelScheme.TOTALSEGMENTATOR].values()
    }
)
"""Level name -> class name of TotalSegmentator's task 'total'."""

_SHORT = re.compile(r"(?<![A-Za-z0-9])([CTLSV])\s?-?0?(\d{1,2})(?![A-Za-z0-9])")
_ORDINALS = (
    "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth",
    "ninth", "tenth", "eleventh", "twelfth", "thirteenth",
)  # fmt: skip
_REGIONS = MappingProxyType({"cervical": "C", "thoracic": "T", "lumbar": "L"})
_NUMBER_WORD = re.compile(
    r"\b(" + "|".join(_ORDINALS) + r"|\d{1,2}(?:st|nd|rd|th))\s+"
    r"(cervical|thoracic|lumbar)\b"
)
_NO_VERTEBRA = re.compile(r"\b(dis[ck]|ivd|rib|screw|cement|root|nerve|endplate)s?\b")


def level_from_text(text: str) -> VertebraLevel | None:
    """Read a level out of a structure's name.

    Parameters
    ----------
    text
        Such as "vertebrae_L3", "L3 vertebra", "T12 body", "Third lumbar vertebra" or
        "Sacrum".

    Returns
    -------
    VertebraLevel or None
        None where the text names no level, names several ("L3/L4 disc"), or names a
        structure that is no vertebra.
    """
    plain = text.replace("_", " ").strip()
    lowered = plain.lower()
    if _NO_VERTEBRA.search(lowered):
        return None
    names = {f"{letter}{int(n)}" for letter, n in _SHORT.findall(plain.upper())}
    for number, region in _NUMBER_WORD.findall(lowered):
        index = (
            _ORDINALS.index(number) + 1
            if number in _ORDINALS
            else int(re.sub(r"\D", "", number))
        )
        names.add(f"{_REGIONS[region]}{index}")
    if not names and lowered in ("sacrum", "sacral bone", "s1 segment"):
        names = {"S1"}
    if len(names) != 1:
        return None
    try:
        return VertebraLevel(names.pop())
    except ValueError:
        return None


def is_arch_text(text: str) -> bool:
    """Tell whether a structure's name means the arch of a vertebra only."""
    return bool(re.search(r"\b(arch|posterior elements?|lamina)\b", text.lower()))


def scheme_from_name(name: str) -> LabelScheme:
    """Scheme of a ``--label-scheme`` word.

    Raises
    ------
    ValueError
        Listing the known words.
    """
    try:
        return LabelScheme(name.strip().lower())
    except ValueError as error:
        known = ", ".join(LabelScheme)
        raise ValueError(
            f"expected a label scheme out of {known}, found {name!r}"
        ) from error
