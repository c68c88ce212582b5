"""The configuration as a TOML text that explains itself."""

import dataclasses
import json
import re
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from cemscope_pipelines.config import AnalysisConfig

_ENTRY = re.compile(r"^(?P<names>\w+(?:, \w+)*)(?: : .+)?$")
_COMMENT_WIDTH = 84


def attribute_help(settings_class: type) -> dict[str, str]:
    """Meaning of each field from the "Attributes" section of a numpy docstring."""
    lines = textwrap.dedent("    " + (settings_class.__doc__ or "")).splitlines()
    meanings: dict[str, str] = {}
    names: list[str] = []
    inside = False
    for number, line in enumerate(lines):
        below = lines[number + 1].strip() if number + 1 < len(lines) else ""
        if below and set(below) == {"-"}:
            inside = line.strip() == "Attributes"
            names = []
            continue
        entry = _ENTRY.match(line)
        if inside and entry:
            names = entry["names"].split(", ")
            meanings.update(dict.fromkeys(names, ""))
        elif inside and line.startswith("    "):
            for name in names:
                meanings[name] = f"{meanings[name]} {line.strip()}".strip()
    return meanings


def _value(value: object) -> str:
    """JSON and TOML agree on numbers, texts, truth values and flat arrays."""
    return json.dumps(value)


def _section(name: str, settings: Any, dumped: Mapping[str, Any]) -> Iterator[str]:
    meanings = attribute_help(type(settings))
    yield ""
    yield f"[{name}]"
    nested = []
    for key, value in dumped.items():
        if isinstance(value, Mapping):
            nested.append(key)
            continue
        for line in textwrap.wrap(meanings.get(key, ""), _COMMENT_WIDTH):
            yield f"# {line}"
        yield f"# {key} = (none)" if value is None else f"{key} = {_value(value)}"
    for key in nested:
        yield from _section(f"{name}.{key}", getattr(settings, key), dumped[key])


def config_toml(config: AnalysisConfig) -> str:
    """Write a configuration as TOML with a comment on every setting.

    Returns
    -------
    str
        A text that `load_config` reads back as the same configuration.
    """
    dumped = config.model_dump(mode="json")
    lines = ["# Settings of cemscope analyze: --config FILE, or --set name=value."]
    sections = []
    for key, field in type(config).model_fields.items():
        settings = getattr(config, key)
        if dataclasses.is_dataclass(settings):
            sections.append((key, settings))
            continue
        lines += [f"# {line}" for line in textwrap.wrap(field.description or "", 84)]
        value = dumped[key]
        lines.append(
            f"# {key} = (none)" if value is None else f"{key} = {_value(value)}"
        )
    for key, settings in sections:
        lines += _section(key, settings, dumped[key])
    return "\n".join(lines) + "\n"
