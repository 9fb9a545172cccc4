"""The configuration as people and editors read it: effective YAML, JSON Schema, and a reference."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml
from pydantic import BaseModel, Secret
from pydantic.fields import FieldInfo

from nexusd.settings.keys import is_duration, is_secret, leaves, locate, models_in
from nexusd.settings.loading import Loaded
from nexusd.settings.model import Settings
from nexusd.settings.values import format_duration
from nexusd.settings.yamlfile import KeyPath


def as_plain(section: BaseModel) -> dict[str, Any]:
    """Every key with its value in the file's own spelling; secrets are masked."""
    plain = {
        info.alias or name: _plain(getattr(section, name), info)
        for name, info in type(section).model_fields.items()
    }
    if isinstance(section, Settings):
        plain["placement"]["max_data_age"] = format_duration(section.max_data_age_s)
    return plain


def _plain(value: Any, info: FieldInfo | None) -> Any:
    if isinstance(value, BaseModel):
        return as_plain(value)
    if isinstance(value, Secret):
        return str(value)
    if isinstance(value, dict):
        return {key: _plain(item, None) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_plain(item, None) for item in value]
    if isinstance(value, float) and info is not None and is_duration(info):
        return format_duration(value)
    return value if isinstance(value, bool | int | float | str | None) else str(value)


def as_yaml(loaded: Loaded) -> str:
    """A file that says what is in effect, with a comment behind each value that was given somewhere."""
    return "\n".join(_section(as_plain(loaded.settings), (), loaded)) + "\n"


def _section(values: dict[str, Any], path: KeyPath, loaded: Loaded) -> Iterator[str]:
    margin = "  " * len(path)
    for key, value in values.items():
        here = (*path, key)
        _, info = locate(Settings, here)
        nested = isinstance(value, dict) and value and info is not None and models_in(info.annotation)
        if nested and len(here) == 1:
            yield f"{margin}{key}:"
            yield from _section(value, here, loaded)
            continue
        origin = loaded.layer.origins.get(here)
        comment = f"  # {_comment(origin)}" if origin and origin != "default" else ""
        yield f"{margin}{key}: {_flow(value)}{comment}"


def _comment(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text)


def _flow(value: Any) -> str:
    """A value on one line of YAML."""
    text = yaml.safe_dump(_without_none(value), default_flow_style=True, width=10**9, sort_keys=False)
    return text.removesuffix("\n").removesuffix("\n...")


def _without_none(value: Any) -> Any:
    """Inside a list's entries, what is absent is left out."""
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item not in (None, [], {})}
    return [_without_none(item) for item in value] if isinstance(value, list) else value


def reference() -> str:
    """The Markdown table of every key, for docs/configuration.md."""
    lines = ["| key | default | what |", "| --- | --- | --- |"]
    for key, info in leaves(Settings):
        default = _default(info, in_rule=key.startswith("alerts.rules."))
        lines.append(f"| `{key}` | {default} | {_cell(info.description or '')} |")
    return "\n".join(lines) + "\n"


def _default(info: FieldInfo, *, in_rule: bool) -> str:
    if info.is_required():
        return "required"
    value = info.default
    if value in (None, (), {}) or (is_secret(info.annotation) and not value):
        return "the rule's own" if in_rule and value is None else "–"
    plain = _plain(value, info)
    return f"`{_flow(plain)}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
