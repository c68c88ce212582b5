import pytest

from cemscope.anatomy import CRANIOCAUDAL_ORDER, VERSE_NUMBERS, VertebraLevel
from cemscope.anatomy_schemes import (
    TOTALSEGMENTATOR_CLASSES,
    LabelScheme,
    is_arch_text,
    level_from_text,
    scheme_from_name,
)


@pytest.mark.parametrize(
    ("scheme", "number", "name"),
    [
        (LabelScheme.VERSE, 1, "C1"),
        (LabelScheme.VERSE, 8, "T1"),
        (LabelScheme.VERSE, 19, "T12"),
        (LabelScheme.VERSE, 20, "L1"),
        (LabelScheme.VERSE, 25, "L6"),
        (LabelScheme.VERSE, 28, "T13"),
        (LabelScheme.SPINEPS, 24, "L5"),
        (LabelScheme.TOTALSEGMENTATOR, 26, "S1"),
        (LabelScheme.TOTALSEGMENTATOR, 27, "L5"),
        (LabelScheme.TOTALSEGMENTATOR, 31, "L1"),
        (LabelScheme.TOTALSEGMENTATOR, 32, "T12"),
        (LabelScheme.TOTALSEGMENTATOR, 43, "T1"),
        (LabelScheme.TOTALSEGMENTATOR, 44, "C7"),
        (LabelScheme.TOTALSEGMENTATOR, 50, "C1"),
        (LabelScheme.TOTALSEGMENTATOR_V1, 18, "L5"),
        (LabelScheme.TOTALSEGMENTATOR_V1, 23, "T12"),
        (LabelScheme.TOTALSEGMENTATOR_V1, 41, "C1"),
        (LabelScheme.CEMSCOPE, 22, "L3"),
        (LabelScheme.CEMSCOPE, 41, "V1"),
    ],
)
def test_numbers_of_each_scheme(scheme: LabelScheme, number: int, name: str) -> None:
    assert scheme.levels[number] == VertebraLevel(name)


def test_numbers_that_are_no_vertebra() -> None:
    assert 27 not in LabelScheme.VERSE.levels  # coccyx
    assert 25 not in LabelScheme.TOTALSEGMENTATOR.levels  # whole sacrum
    assert 51 not in LabelScheme.TOTALSEGMENTATOR.levels  # heart
    assert LabelScheme.CEMSCOPE.arches[122] == VertebraLevel("L3")
    assert not LabelScheme.VERSE.arches


def test_schemes_grow_as_they_say() -> None:
    for scheme in LabelScheme:
        usual = [
            CRANIOCAUDAL_ORDER.index(level.name)
            for _, level in sorted(scheme.levels.items())
            if level.is_named and level.name != "T13"
        ]
        assert usual == sorted(usual, reverse=not scheme.grows_towards_feet)


def test_totalsegmentator_class_names() -> None:
    assert TOTALSEGMENTATOR_CLASSES["L3"] == "vertebrae_L3"
    assert len(TOTALSEGMENTATOR_CLASSES) == 25


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("vertebrae_L3", "L3"),
        ("L3 vertebra", "L3"),
        ("T12 body", "T12"),
        ("Third lumbar vertebra", "L3"),
        ("12th thoracic vertebra", "T12"),
        ("Sacrum", "S1"),
        ("c07", "C7"),
        ("V2", "V2"),
        ("L3 arch", "L3"),
        ("L3/L4 disc", None),
        ("disc_L3", None),
        ("rib_left_3", None),
        ("kidney cyst", None),
        ("L3 screw left", None),
        ("L3-L4", None),
        ("L9", None),
        ("", None),
    ],
)
def test_level_from_text(text: str, name: str | None) -> None:
    level = level_from_text(text)
    assert (None if level is None else level.name) == name


def test_arch_text() -> None:
    assert is_arch_text("L3 posterior elements")
    assert not is_arch_text("L3 vertebra")


def test_scheme_words() -> None:
    assert scheme_from_name(" VerSe ") is LabelScheme.VERSE
    with pytest.raises(ValueError, match=r"verse, totalsegmentator.*found 'verso'"):
        scheme_from_name("verso")


def test_level_numbers_and_neighbours() -> None:
    for name in VERSE_NUMBERS:
        level = VertebraLevel(name)
        assert VertebraLevel.from_number(level.number) == level
        assert level.arch_number == level.number + 100
    assert VertebraLevel("L1").neighbour(1) == VertebraLevel("T12")
    assert VertebraLevel("L5").neighbour(-1) == VertebraLevel("S1")
    assert VertebraLevel("V3").number == 43
    assert VertebraLevel("L3").snomed_code == "36470004"
    with pytest.raises(ValueError, match="found 'L7'"):
        VertebraLevel("L7")
    with pytest.raises(ValueError, match="no vertebra has the number 27"):
        VertebraLevel.from_number(27)
