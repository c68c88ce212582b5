import itertools
import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from cemscope.errors import ConfigError
from cemscope_pipelines.config import AnalysisConfig, load_config, parse_assignment
from cemscope_pipelines.config_text import attribute_help, config_toml
from cemscope_pipelines.pictures.settings import PictureSettings


def test_defaults_name_every_tunable_of_the_algorithms() -> None:
    leaves = AnalysisConfig().leaves()
    sections = {name.split(".")[0] for name in leaves if "." in name}
    assert sections == {
        "reading",
        "vertebrae",
        "label_import",
        "totalsegmentator",
        "augmentation",
        "followup",
        "pictures",
    }
    assert leaves["pictures.slab_mm"] == PictureSettings().slab_mm


@dataclass(frozen=True)
class Refused:
    name: str
    assignment: str
    words: tuple[str, ...]


REFUSED = (
    Refused("no equals sign", "pictures.slab_mm", ("expected key=value",)),
    Refused("no key", "=3", ("expected key=value",)),
    Refused("typo", "pictures.slab_m=3", ("unknown", "pictures.slab_mm")),
    Refused("typo without section", "slabb_mm=3", ("unknown", "pictures.slab_mm")),
    Refused("nonsense", "zzz=1", ("unknown setting 'zzz'",)),
    Refused("a section", "pictures=1", ("section", "pictures.slab_mm")),
    Refused("text for a number", "pictures.slab_mm=thick", ("expected a number",)),
    Refused("truth for a number", "pictures.slab_mm=true", ("expected a number",)),
    Refused("not finite", "pictures.slab_mm=nan", ("expected a number",)),
    Refused("null for a number", "pictures.slab_mm=null", ("expected a number",)),
    Refused("fraction for a count", "pictures.max_axial_views=1.5", ("integer",)),
    Refused("out of range", "pictures.slab_mm=-1", ("slab_mm > 0", "-1")),
    Refused("scheme", "label_scheme=foo", ("label_scheme", "verse")),
    Refused("anchor", "anchor=Q7", ("anchor", "Q7")),
)


@pytest.mark.parametrize("case", REFUSED, ids=lambda c: c.name)
def test_a_wrong_setting_is_refused_by_name(case: Refused) -> None:
    with pytest.raises(ConfigError) as error:
        load_config(assignments=[case.assignment])
    assert all(word in str(error.value) for word in case.words), error.value


def test_a_name_without_its_section_is_accepted_where_unambiguous() -> None:
    full = load_config(assignments=["pictures.slab_mm=8"])
    short = load_config(assignments=["slab_mm=8"])
    assert full == short
    assert full.pictures.slab_mm == 8.0


@pytest.mark.parametrize("suffix", [".toml", ".json"])
def test_file_then_assignments_then_options(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"site{suffix}"
    settings = {"slab_mm": 8.0, "margin_mm": 5.0}
    path.write_text(
        json.dumps({"anchor": "L4", "pictures": settings})
        if suffix == ".json"
        else 'anchor = "L4"\n[pictures]\nslab_mm = 8.0\nmargin_mm = 5.0\n'
    )
    config = load_config(path, ["pictures.slab_mm=9"], {"anchor": "L5"})
    assert config.pictures.slab_mm == 9.0
    assert config.pictures.margin_mm == 5.0
    assert config.anchor == "L5"
    kept = load_config(path, [], {"anchor": None})
    assert kept.anchor == "L4"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("broken.toml", "a = = 1"),
        ("broken.json", "{"),
        ("list.json", "[1]"),
        ("unknown.toml", "[pictures]\nslab = 1"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ConfigError):
        load_config(path)


def test_the_hash_follows_the_values_not_the_spelling() -> None:
    default = AnalysisConfig()
    assert default.config_hash == load_config(assignments=["slab_mm=12"]).config_hash
    assert len(default.config_hash) == 64
    for name, value in default.leaves().items():
        if isinstance(value, float) and name.startswith("pictures."):
            changed = load_config(assignments=[f"{name}={value + 1.0}"])
            assert changed.config_hash != default.config_hash, name


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a=1", 1),
        ("a = 1.5", 1.5),
        ("a=true", True),
        ("a=L5", "L5"),
        ("a=L3@1,2,3", "L3@1,2,3"),
        ("a=[1, 2]", [1, 2]),
        ("a=null", None),
        ("a=b=c", "b=c"),
    ],
)
def test_assignments_are_read_as_toml_or_text(text: str, value: object) -> None:
    assert parse_assignment(text) == ("a", value)


def test_the_printed_configuration_reads_back(tmp_path: Path) -> None:
    config = load_config(assignments=["slab_mm=7", "anchor=L5"])
    path = tmp_path / "printed.toml"
    path.write_text(config_toml(config))
    assert load_config(path) == config


def test_every_setting_is_explained() -> None:
    text = config_toml(AnalysisConfig())
    lines = text.splitlines()
    unexplained = [
        line
        for above, line in itertools.pairwise(lines)
        if " = " in line and not line.startswith("#") and not above.startswith("#")
    ]
    assert not unexplained
    assert attribute_help(PictureSettings)["slab_mm"].startswith("Thickness")
