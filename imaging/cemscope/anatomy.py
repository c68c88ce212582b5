"""Names, numbers and codes of vertebrae.

The only place where a level name meets a number. Numbers follow the VerSe
benchmark (Sekuboyina 2021, doi:10.1016/j.media.2021.102166): C1 = 1 ... C7 = 7,
T1 = 8 ... T12 = 19, L1 = 20 ... L6 = 25, sacrum = 26, T13 = 28. cemscope writes the
body of a vertebra under its number and the arch under number + 100.
"""

from dataclasses import dataclass
from types import MappingProxyType

ARCH_OFFSET = 100
"""Added to a body's number to give the number of its arch."""

UNNAMED_OFFSET = 40
"""V1, V2, ... (levels that cannot be told) are numbered from 41 upwards."""

UNNAMED_COUNT = 30
"""How many unnamed vertebrae a label map can hold (V1 ... V30)."""

_SNOMED = {
    "C1": "14806007", "C2": "39976000", "C3": "113205007", "C4": "5329002",
    "C5": "36978003", "C6": "36054005", "C7": "87391001", "T1": "64864005",
    "T2": "53733008", "T3": "1626008", "T4": "73071006", "T5": "56401006",
    "T6": "45296009", "T7": "62487009", "T8": "11068009", "T9": "82687006",
    "T10": "7610001", "T11": "12989004", "T12": "23215003", "L1": "66794005",
    "L2": "14293000", "L3": "36470004", "L4": "11994002", "L5": "49668003",
    "sacrum": "54735007",
}  # fmt: skip

_VERSE: dict[str, int] = {
    **{f"C{i}": i for i in range(1, 8)},
    **{f"T{i}": i + 7 for i in range(1, 13)},
    **{f"L{i}": i + 19 for i in range(1, 7)},
    "S1": 26,
    "T13": 28,
}

VERSE_NUMBERS = MappingProxyType(_VERSE)
"""Level name -> VerSe number. The sacrum is reported by its first segment, S1."""

CRANIOCAUDAL_ORDER: tuple[str, ...] = (
    *(f"C{i}" for i in range(1, 8)),
    *(f"T{i}" for i in range(1, 14)),
    *(f"L{i}" for i in range(1, 7)),
    "S1",
)
"""Named levels from the head to the feet; T13 and L6 occur in few patients."""


@dataclass(frozen=True, slots=True)
class VertebraLevel:
    """The name of a vertebra.

    Attributes
    ----------
    name : str
        "C1" ... "L6", "S1", or "V1", "V2", ... where the level cannot be told (V1 is
        the lowest vertebra in view).

    Raises
    ------
    ValueError
        If the name is none of these.
    """

    name: str

    def __post_init__(self) -> None:
        if self.name not in VERSE_NUMBERS and not self._is_relative(self.name):
            raise ValueError(
                f"expected a level such as T12, L3, S1 or V2, found {self.name!r}"
            )

    @staticmethod
    def _is_relative(name: str) -> bool:
        digits = name[1:]
        return (
            name[:1] == "V" and digits.isdigit() and 1 <= int(digits) <= UNNAMED_COUNT
        )

    @classmethod
    def from_number(cls, number: int) -> "VertebraLevel":
        """Name of a body's number in a cemscope or VerSe label map.

        Raises
        ------
        ValueError
            If no level has this number.
        """
        for name, verse in VERSE_NUMBERS.items():
            if verse == number:
                return cls(name)
        if 1 <= number - UNNAMED_OFFSET <= UNNAMED_COUNT:
            return cls(f"V{number - UNNAMED_OFFSET}")
        raise ValueError(f"no vertebra has the number {number}")

    @property
    def is_named(self) -> bool:
        """False for the relative names V1, V2, ..."""
        return self.name in VERSE_NUMBERS

    @property
    def number(self) -> int:
        """Label of the body in `vertebrae.nii.gz`."""
        if self.is_named:
            return VERSE_NUMBERS[self.name]
        return UNNAMED_OFFSET + int(self.name[1:])

    @property
    def arch_number(self) -> int:
        """Label of the arch in `vertebrae.nii.gz`."""
        return self.number + ARCH_OFFSET

    @property
    def snomed_code(self) -> str | None:
        """SNOMED CT concept of the vertebra; None where there is none."""
        return _SNOMED.get("sacrum" if self.name == "S1" else self.name)

    def neighbour(self, steps_cranial: int) -> "VertebraLevel":
        """Usual level some steps towards the head (negative: towards the feet).

        T13 and L6 are left out: above L1 comes T12, above S1 comes L5.

        Raises
        ------
        ValueError
            If the level is unnamed or the spine ends before.
        """
        usual = [n for n in CRANIOCAUDAL_ORDER if n not in ("T13", "L6")]
        if self.name not in usual:
            raise ValueError(f"{self.name} has no usual neighbours")
        index = usual.index(self.name) - steps_cranial
        if not 0 <= index < len(usual):
            raise ValueError(f"no level {steps_cranial} steps above {self.name}")
        return VertebraLevel(usual[index])
