"""The configuration of an analysis: every tunable, by name and unit.

One frozen model holds the choices of the command line and the settings of the
algorithms. Files are TOML or JSON; unknown keys are refused with the nearest name.
"""

import difflib
import hashlib
import json
import math
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cemscope.anatomy_schemes import LabelScheme
from cemscope.dicom import ReadSettings
from cemscope.errors import ConfigError
from cemscope.measurement.augmentation import AugmentationSettings
from cemscope.measurement.followup_settings import FollowupSettings
from cemscope.segmentation.labels.vertebra_import import ImportSettings
from cemscope.segmentation.vertebrae import VertebraSettings
from cemscope.spine import LevelAnchor
from cemscope_pipelines.anchor import parse_anchor
from cemscope_pipelines.pictures.settings import PictureSettings
from cemscope_pipelines.totalsegmentator import TotalSegmentatorSettings


class AnalysisConfig(BaseModel):
    """Everything that decides how a case is measured and shown.

    Raises
    ------
    pydantic.ValidationError
        On unknown keys, wrong types or values out of range. `load_config` turns it
        into a `ConfigError`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    vertebra_source: str = Field(
        default="embedded",
        min_length=1,
        description="embedded, totalsegmentator, or the path of a label map.",
    )
    label_scheme: LabelScheme | None = Field(
        default=None,
        description="Numbering of an imported label map: "
        + ", ".join(LabelScheme)
        + "; null: detect.",
    )
    anchor: str | None = Field(
        default=None, description="L5, or L3@X,Y,Z with a patient point in LPS mm."
    )
    reading: ReadSettings = Field(default_factory=ReadSettings)
    vertebrae: VertebraSettings = Field(default_factory=VertebraSettings)
    label_import: ImportSettings = Field(default_factory=ImportSettings)
    totalsegmentator: TotalSegmentatorSettings = Field(
        default_factory=TotalSegmentatorSettings
    )
    augmentation: AugmentationSettings = Field(default_factory=AugmentationSettings)
    followup: FollowupSettings = Field(default_factory=FollowupSettings)
    pictures: PictureSettings = Field(default_factory=PictureSettings)

    @property
    def level_anchor(self) -> LevelAnchor | None:
        """The anchor as a value.

        Raises
        ------
        ConfigError
            If the text is none.
        """
        return None if self.anchor is None else parse_anchor(self.anchor)

    def canonical_json(self) -> str:
        """Return the configuration as JSON without choices of layout."""
        return json.dumps(
            self.model_dump(mode="json"), sort_keys=True, separators=(",", ":")
        )

    @property
    def config_hash(self) -> str:
        """SHA-256 of `canonical_json`, hexadecimal."""
        return hashlib.sha256(self.canonical_json().encode()).hexdigest()

    def leaves(self) -> dict[str, Any]:
        """Every setting by its dotted name, in the order of the model."""
        return _flatten(self.model_dump(mode="json"))

    def with_values(self, values: Mapping[str, Any]) -> Self:
        """Replace settings by dotted name and check the whole again.

        A name may lack its first parts where the rest is unambiguous.

        Raises
        ------
        ConfigError
            Naming the setting that is unknown, ambiguous or out of range.
        """
        leaves = self.leaves()
        tree = self.model_dump(mode="json")
        for key, value in values.items():
            name = _full_name(key, leaves)
            _check_number(name, leaves[name], value)
            *sections, last = name.split(".")
            branch = tree
            for section in sections:
                branch = branch[section]
            branch[last] = value
        try:
            config = type(self).model_validate(tree)
        except ValidationError as error:
            raise ConfigError(_describe(error)) from None
        _ = config.level_anchor
        return config


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            leaves.update(_flatten(value, f"{name}."))
        else:
            leaves[name] = value
    return leaves


def _full_name(key: str, leaves: Mapping[str, Any]) -> str:
    if key in leaves:
        return key
    endings = [name for name in leaves if name.endswith(f".{key}")]
    if len(endings) == 1:
        return endings[0]
    if endings:
        raise ConfigError(
            f"the setting {key!r} is ambiguous: it could be {' or '.join(endings)}"
        )
    sections = [name for name in leaves if name.startswith(f"{key}.")]
    if sections:
        raise ConfigError(
            f"{key!r} is a section, not a setting; it holds {', '.join(sections)}"
        )
    close = difflib.get_close_matches(key, leaves, n=3, cutoff=0.5)
    last = {name: name.rsplit(".", 1)[-1] for name in leaves}
    near = set(difflib.get_close_matches(key.rsplit(".", 1)[-1], last.values(), n=3))
    close += [name for name in leaves if last[name] in near and name not in close]
    hint = f" Did you mean {' or '.join(close[:3])}?" if close else ""
    raise ConfigError(
        f"unknown setting {key!r}.{hint} --print-config lists all of them."
    )


def _check_number(name: str, default: object, value: object) -> None:
    """Refuse what pydantic would turn into a number in silence."""
    wants_number = isinstance(default, int | float) and not isinstance(default, bool)
    if wants_number and not (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
    ):
        raise ConfigError(f"{name}: expected a number, found {value!r}")


def _describe(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False)[0]
    name = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    return f"{name}: {message} (found {first['input']!r})" if name else message


def read_config_file(path: Path) -> dict[str, Any]:
    """Read the settings of a TOML or JSON file, by dotted name.

    Raises
    ------
    ConfigError
        If the file cannot be read or is not a table of settings.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the configuration file cannot be read: {error}") from None
    try:
        tree = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except ValueError as error:  # both parsers' errors are ValueErrors
        raise ConfigError(f"the configuration file {path.name}: {error}") from None
    if not isinstance(tree, dict):
        raise ConfigError(f"the configuration file {path.name} holds no table")
    return _flatten(tree)


def parse_assignment(text: str) -> tuple[str, Any]:
    """Split ``key=value``; the value is read as TOML, else as plain text.

    Raises
    ------
    ConfigError
        If there is no key or no equals sign.
    """
    key, equals, value = text.partition("=")
    key, value = key.strip(), value.strip()
    if not equals or not key:
        raise ConfigError(f"expected key=value, found {text!r}")
    if value in ("null", "none", "None"):
        return key, None
    try:
        return key, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key, value


def load_config(
    path: Path | None = None,
    assignments: Iterable[str] = (),
    choices: Mapping[str, Any] | None = None,
) -> AnalysisConfig:
    """Build the configuration: defaults, then the file, then ``--set``, then options.

    Parameters
    ----------
    path
        TOML or JSON file.
    assignments
        Texts ``key=value``.
    choices
        Options of the command line by setting name; None leaves a setting alone.

    Raises
    ------
    ConfigError
        Naming the setting that is unknown or out of range.
    """
    values = read_config_file(path) if path is not None else {}
    config = AnalysisConfig().with_values(values)
    config = config.with_values(dict(parse_assignment(text) for text in assignments))
    given = {k: v for k, v in (choices or {}).items() if v is not None}
    return config.with_values(given)
