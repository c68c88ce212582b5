"""Settings of a review: one definition for command line, file and window."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cemscope.errors import ConfigError
from cemscope_pipelines.config import read_config_file


class ReviewSettings(BaseModel):
    """How a case is shown and corrected.

    Titles and descriptions are the labels and tooltips of the window.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    brush_radius_mm: float = Field(
        default=2.0, ge=0.3, le=20.0, title="Brush radius",
        description="Radius of the brush in millimetres.",
    )  # fmt: skip
    brush_is_ball: bool = Field(
        default=False, title="Through slices",
        description="The brush is a ball: it paints in neighbouring slices, too.",
    )  # fmt: skip
    view_height_mm: float = Field(
        default=110.0, ge=20.0, le=600.0, title="Shown height",
        description="Millimetres from the top to the bottom of a view when a finding "
        "is chosen.",
    )  # fmt: skip
    go_on: bool = Field(
        default=True, title="Go on",
        description="After a decision the next open finding is shown.",
    )  # fmt: skip
    idle_seconds: float = Field(
        default=0.3, ge=0.0, le=60.0, title="Pause before routes",
        description="Seconds without an edit after which the routes of changed leaks "
        "are followed anew.",
    )  # fmt: skip


def settings_from_words(words: tuple[str, ...]) -> ReviewSettings:
    """Read ``key=value`` words of the command line.

    Raises
    ------
    ConfigError
        If a key is unknown or a value out of range.
    """
    values: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise ConfigError(f"--set: expected key=value, found {word!r}")
        if key not in ReviewSettings.model_fields:
            known = ", ".join(ReviewSettings.model_fields)
            raise ConfigError(f"--set: unknown key {key!r}; there are {known}")
        values[key] = value
    try:
        return ReviewSettings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(f"--set {first['loc'][0]}: {first['msg']}") from None


def words_of_file(path: Path) -> tuple[str, ...]:
    """Read a TOML or JSON file of settings as ``key=value`` words.

    Raises
    ------
    ConfigError
        If the file cannot be read.
    """
    return tuple(f"{key}={value}" for key, value in read_config_file(path).items())
