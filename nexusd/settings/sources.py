"""The places that values come from, and merging them so that each value remembers its place."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nexusd.core.errors import ConfigError
from nexusd.core.text import strip_secret
from nexusd.settings import yamlfile
from nexusd.settings.alerting import RULE_NAMES
from nexusd.settings.keys import (
    Model,
    fields,
    is_scalar,
    leaves,
    locate,
    nearest_key,
    places,
)
from nexusd.settings.values import read_secret_file
from nexusd.settings.yamlfile import KeyPath

PREFIX = "NEXUSD_"
NOT_KEYS = frozenset({"NEXUSD_CONFIG", "NEXUSD_URL", "NEXUSD_TOKEN"})
"""Variables of the command line, not of the configuration."""

RESEMBLES = 0.85
"""How much of two names must be the same for one to be a slip of the other (`difflib`: of 1)."""


@dataclass
class Layer:
    """Values of one source (or of several, merged), and where each was given, by path."""

    data: dict[str, object] = field(default_factory=dict)
    origins: dict[KeyPath, str] = field(default_factory=dict)

    def origin(self, path: KeyPath) -> str | None:
        """Where the value at a path was given, or the closest thing around it."""
        for depth in range(len(path), 0, -1):
            if path[:depth] in self.origins:
                return self.origins[path[:depth]]
        return None

    def put(self, path: KeyPath, value: object, origin: str) -> None:
        section = self.data
        for part in path[:-1]:
            inner = section.setdefault(str(part), {})
            if not isinstance(inner, dict):
                return
            section = inner
        section[str(path[-1])] = value
        self.origins[path] = origin

    def put_new(self, path: KeyPath, value: object, origin: str) -> None:
        """The same, unless the key or its `_file` counterpart was given already."""
        given: object = self.data
        for part in path[:-1]:
            given = given.get(str(part), {}) if isinstance(given, dict) else {}
        if isinstance(given, dict) and not {str(path[-1]), _counterpart(str(path[-1]))} & given.keys():
            self.put(path, value, origin)


def merge(lower: Layer, upper: Layer) -> Layer:
    """`upper` over `lower`: sections merge key by key, everything else is replaced whole."""
    origins = dict(lower.origins)
    data = _merged(lower.data, upper, upper.data, (), origins)
    return Layer(data, origins)


def _merged(
    below: Mapping[str, object],
    upper: Layer,
    above: Mapping[str, object],
    path: KeyPath,
    origins: dict[KeyPath, str],
) -> dict[str, object]:
    result = dict(below)
    for key, value in above.items():
        here = (*path, key)
        was = result.get(key)
        if _counterpart(key) not in above:
            result.pop(_counterpart(key), None)
        if isinstance(value, dict):
            if here in upper.origins:
                origins.setdefault(here, upper.origins[here])
            result[key] = _merged(was if isinstance(was, dict) else {}, upper, value, here, origins)
            continue
        result[key] = value
        for stale in [known for known in origins if known[: len(here)] == here]:
            del origins[stale]
        origins.update({k: v for k, v in upper.origins.items() if k[: len(here)] == here})
    return result


def _counterpart(key: str) -> str:
    """`api_key` and `api_key_file` say the same thing in two ways: the later source wins."""
    return key.removesuffix("_file") if key.endswith("_file") else f"{key}_file"


def from_file(path: Path, root: Model) -> Layer:
    """The YAML file. Relative paths in it are relative to its folder, known keys without a value count as
    absent. Raises `ConfigError`.
    """
    document = yamlfile.read(path)
    for place in list(places(root, document.data)):
        for key, value in list(place.data.items()):
            if value is None and key in fields(place.model):
                del place.data[key]
            elif key.endswith("_file"):
                place.data[key] = _beside(path, value)
    return Layer(document.data, {key: f"{path}:{line}" for key, line in document.lines.items()})


def _beside(file: Path, value: object) -> object:
    if isinstance(value, list):
        return [_beside(file, item) for item in value]
    return str(file.parent / value) if isinstance(value, str) and value else value


def from_overrides(overrides: Mapping[str, object]) -> Layer:
    """The command line, keys dotted: `{"server.listen": "127.0.0.1:0"}`."""
    layer = Layer()
    for key, value in overrides.items():
        if value is not None:
            layer.put(tuple(key.split(".")), value, "command line")
    return layer


def from_environment(environ: Mapping[str, str], root: Model) -> Layer:
    """`NEXUSD_…` variables, then systemd credentials, then CN_API_KEY: earlier ones win.

    Empty variables count as absent. Raises `ConfigError` for one that is no key.
    """
    layer = Layer()
    problems: list[str] = []
    for name in sorted(environ):
        if not name.startswith(PREFIX) or name in NOT_KEYS or not environ[name]:
            continue
        try:
            _put_variable(layer, name, environ[name], root)
        except ConfigError as error:
            problems.append(str(error))
    if problems:
        raise ConfigError("\n".join(problems))
    for path, file in credentials(environ, root):
        layer.put_new(path, str(file), f"credential {file.name}")
    if environ.get("CN_API_KEY"):
        layer.put_new(
            ("cloudnexus", "api_key"), strip_secret(environ["CN_API_KEY"]), "environment CN_API_KEY"
        )
    return layer


def _put_variable(layer: Layer, name: str, text: str, root: Model) -> None:
    words = name.removeprefix(PREFIX).lower().split("__")
    if len(words) == 1 and words[0] not in fields(root):
        _refuse_misspelt(name, root)
        return
    path = _spelt(words)
    section, info = locate(root, path)
    if info is None:
        hint = nearest_key(root, section, words[-1])
        raise ConfigError(f'environment {name}: unknown key {".".join(words)}, did you mean "{hint}"?')
    layer.put(path, text if is_scalar(info) else _parsed(text, name), f"environment {name}")


def _refuse_misspelt(name: str, root: Model) -> None:
    """One underscore where two belong, or a letter or two too few. What resembles no key is left alone:
    Kubernetes makes NEXUSD_PORT and such, and people have variables of their own.
    """
    keys = {
        _letters(key): key for key in [*fields(root), *(key for key, _ in leaves(root))] if "[]" not in key
    }
    for found in difflib.get_close_matches(_letters(name.removeprefix(PREFIX)), keys, 1, RESEMBLES):
        right = PREFIX + keys[found].upper().replace(".", "__")
        raise ConfigError(f"environment {name}: not a key, did you mean {right}?")


def _letters(key: str) -> str:
    return key.lower().replace(".", "").replace("_", "")


def _spelt(words: list[str]) -> KeyPath:
    """The path as the file spells it: variables have no case, but the names of rules do."""
    rule_names = {rule.lower(): rule for rule in RULE_NAMES}
    if words[:2] == ["alerts", "rules"] and len(words) > 2:
        words = [*words[:2], rule_names.get(words[2], words[2]), *words[3:]]
    return tuple(words)


def _parsed(text: str, name: str) -> object:
    """A list or a section in a variable is written as YAML, or JSON, on one line."""
    return yamlfile.parse(f"value: {text}", f"environment {name}").data.get("value")


def credentials(environ: Mapping[str, str], root: Model) -> list[tuple[KeyPath, Path]]:
    """systemd credentials that are named like a secret key, as values of its `_file` counterpart."""
    folder = environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        return []
    found: list[tuple[KeyPath, Path]] = []
    for key, _ in leaves(root):
        name = key.removesuffix("_file")
        if key.endswith("_file") and "[]" not in key and (Path(folder) / name).is_file():
            found.append((tuple(key.split(".")), Path(folder) / name))
    return found


def read_secret_files(layer: Layer, root: Model) -> list[tuple[KeyPath, str]]:
    """Put what each `*_file` of a secret holds beside it; the problems, by path.

    A key given both ways at once is a problem.
    """
    problems: list[tuple[KeyPath, str]] = []
    for place in list(places(root, layer.data)):
        known = fields(place.model)
        for file_key in [key for key in place.data if key.endswith("_file") and _counterpart(key) in known]:
            key, value = _counterpart(file_key), place.data[file_key]
            if key in place.data:
                problems.append(((*place.path, file_key), f"given together with {key}: keep one of them"))
                continue
            try:
                place.data[key] = _contents(value)
            except ValueError as error:
                problems.append(((*place.path, file_key), str(error)))
                place.data[key] = _STAND_IN
    return problems


_STAND_IN = "http://unreadable.invalid"
"""Keeps one unreadable file from being reported a second time as a wrong value."""


def _contents(value: object) -> object:
    if isinstance(value, list):
        return [_contents(item) for item in value]
    if not isinstance(value, str) or not value:
        raise ValueError("expected the path of a file")
    return read_secret_file(Path(value))
