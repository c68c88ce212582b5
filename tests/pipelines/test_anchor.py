import pytest

from cemscope.errors import ConfigError
from cemscope_pipelines.anchor import parse_anchor


def test_a_level_alone_names_the_lowest_complete_vertebra() -> None:
    anchor = parse_anchor("l5")
    assert anchor.level.name == "L5"
    assert anchor.point_lps_mm is None


def test_a_point_names_the_vertebra_that_holds_it() -> None:
    anchor = parse_anchor("T12@-1.5, 20,3e2")
    assert anchor.level.name == "T12"
    assert anchor.point_lps_mm == (-1.5, 20.0, 300.0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "L7",
        "V1",
        "5",
        "L3@",
        "L3@1,2",
        "L3@1,2,3,4",
        "L3@a,b,c",
        "L3@nan,0,0",
        "@1,2,3",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="anchor"):
        parse_anchor(text)
