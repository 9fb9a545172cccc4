"""From the file, the environment and the command line to `Settings`, or to one clear error."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from pydantic import ValidationError

from nexusd.core.errors import ConfigError
from nexusd.settings import checks, sources
from nexusd.settings.keys import fields
from nexusd.settings.model import Settings
from nexusd.settings.problems import Problem, as_error, of_validation
from nexusd.settings.sources import Layer, merge

DEFAULT_FILE = Path("/etc/nexusd/nexusd.yaml")
NOTHING: Mapping[str, object] = MappingProxyType({})


@dataclass(frozen=True)
class Loaded:
    """`file`: the one that was read, None when there was none. `layer`: every given value and its origin."""

    settings: Settings
    file: Path | None
    layer: Layer


def load(
    path: Path | None, overrides: Mapping[str, object] = NOTHING, environ: Mapping[str, str] = os.environ
) -> Settings:
    """Every option, by the precedence command line, environment, file, default.

    `path` None means `find_file`. `overrides` are dotted keys. Raises `ConfigError`: one line per problem.
    """
    return load_with_origins(path, overrides, environ).settings


def load_with_origins(
    path: Path | None, overrides: Mapping[str, object] = NOTHING, environ: Mapping[str, str] = os.environ
) -> Loaded:
    """The same, and where each value came from."""
    file = path if path is not None else find_file(environ)
    layer = _layer(file, overrides, environ)
    return Loaded(_validated(layer, checks.problems), file, layer)


def load_sections(
    path: Path | None,
    sections: Iterable[str],
    overrides: Mapping[str, object] = NOTHING,
    environ: Mapping[str, str] = os.environ,
) -> Settings:
    """Load these sections alone, with all others at their defaults.

    For a command that reads nothing else, and so runs where the daemon's key and other secrets are missing.
    A top-level key that is no section is an error here, too.
    """
    file = path if path is not None else find_file(environ)
    layer = _layer(file, overrides, environ)
    others = fields(Settings).keys() - set(sections)
    data = {name: value for name, value in layer.data.items() if name not in others}
    return _validated(Layer(data, layer.origins), lambda _: ())


def _layer(file: Path | None, overrides: Mapping[str, object], environ: Mapping[str, str]) -> Layer:
    layer = sources.from_file(file, Settings) if file is not None else Layer()
    layer = merge(layer, sources.from_environment(environ, Settings))
    layer = merge(layer, sources.from_overrides(overrides))
    folder = _state_folder(environ)
    if folder is not None:
        layer.put_new(("store", "url"), f"sqlite:///{folder / 'nexusd.db'}", "default")
    return layer


def find_file(environ: Mapping[str, str]) -> Path | None:
    """$NEXUSD_CONFIG, else the default file if there is one."""
    named = environ.get("NEXUSD_CONFIG")
    if named:
        return Path(named)
    try:
        return DEFAULT_FILE if DEFAULT_FILE.exists() else None
    except OSError:  # who reads it says what stands against that
        return DEFAULT_FILE


def _state_folder(environ: Mapping[str, str]) -> Path | None:
    """Where the store is by default. None: in the current folder, which somebody has deleted."""
    state = environ.get("STATE_DIRECTORY", "").partition(":")[0]
    try:
        return Path(state or ".").absolute()
    except OSError:
        return None


def _validated(layer: Layer, check: Callable[[Settings], Iterable[Problem]]) -> Settings:
    unreadable = [Problem(path, message) for path, message in sources.read_secret_files(layer, Settings)]
    try:
        settings = Settings.model_validate(layer.data)
    except ValidationError as error:
        raise as_error([*unreadable, *of_validation(error, layer, Settings)], layer) from None
    found = [*unreadable, *check(settings)]
    if found:
        raise as_error(found, layer)
    return settings


__all__ = ["ConfigError", "Loaded", "find_file", "load", "load_sections", "load_with_origins"]
