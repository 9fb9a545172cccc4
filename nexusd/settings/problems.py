"""What is wrong with a configuration, one line each: where, which key, what was given, what is expected."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import ValidationError

from nexusd.core.errors import ConfigError
from nexusd.settings.keys import Model, dotted, is_duration, is_secret, locate, nearest_key
from nexusd.settings.sources import Layer
from nexusd.settings.values import format_duration
from nexusd.settings.yamlfile import KeyPath

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_MOST_SHOWN = 20
_EXPECTED = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "dict_type": "keys and values",
    "float_parsing": "a number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a whole number of a sensible size",
    "int_type": "a whole number",
    "model_attributes_type": "keys and values",
    "model_type": "keys and values",
    "path_type": "the path of a file",
    "string_type": "text (put it in quotes)",
    "tuple_type": "a list",
}
_SHAPES = frozenset({"dict_type", "model_type", "model_attributes_type", "tuple_type", "list_type"})


@dataclass(frozen=True)
class Problem:
    path: KeyPath
    message: str


def as_error(problems: Iterable[Problem], layer: Layer) -> ConfigError:
    """All of them as one error, in the order in which they stand in the file."""
    lines = sorted({_line(problem, layer) for problem in problems}, key=_by_place)
    if len(lines) > _MOST_SHOWN:
        lines = [*lines[:_MOST_SHOWN], f"and {len(lines) - _MOST_SHOWN} more"]
    return ConfigError("\n".join(lines))


def _line(problem: Problem, layer: Layer) -> str:
    origin = layer.origin(problem.path)
    key = _printable(dotted(problem.path))
    return f"{origin}: {key}: {problem.message}" if origin else f"{key}: {problem.message}"


def _by_place(line: str) -> tuple[str, int, str]:
    file, _, rest = line.partition(":")
    number = rest.partition(":")[0]
    return (file, int(number), line) if number.isdigit() else (file, 0, line)


def of_validation(error: ValidationError, layer: Layer, root: Model) -> list[Problem]:
    """pydantic's errors in the words of this project. A value that may be secret is never repeated."""
    return [_problem(detail, layer, root) for detail in error.errors(include_url=False)]


def _problem(detail: ErrorDetails, layer: Layer, root: Model) -> Problem:
    path = _path(detail["loc"])
    section, info = locate(root, path, layer.data)
    kind = detail["type"]
    if kind == "extra_forbidden":
        hint = nearest_key(root, section, str(path[-1]))
        return Problem(path, f'unknown key, did you mean "{hint}"?')
    if kind == "missing":
        return Problem(path, "is missing")
    if kind == "refused":
        return Problem(path, detail["msg"])
    if kind.startswith("union_tag"):
        return _wrong_kind(detail, path)
    if info is not None and is_duration(info) and kind == "greater_than_equal":
        least = format_duration(detail["ctx"]["ge"])
        return Problem(path, f"expected at least {least}, got {format_duration(detail['input'])}")
    secret = info is None or is_secret(info.annotation)
    return Problem(path, f"expected {_expected(detail)}{_given(detail, secret=secret)}")


def _path(loc: tuple[str | int, ...]) -> KeyPath:
    """pydantic's location without what it inserts: the kind of a receiver, and `[key]`."""
    path = tuple(part for part in loc if part != "[key]")
    if len(path) > 2 and path[0] == "receivers":
        return (*path[:2], *path[3:])
    return path


def _wrong_kind(detail: ErrorDetails, path: KeyPath) -> Problem:
    kinds = detail.get("ctx", {}).get("expected_tags", "'webhook', 'alertmanager', 'heartbeat', 'apprise'")
    if detail["type"] == "union_tag_not_found":
        return Problem((*path, "type"), f"is missing, expected one of {kinds}")
    given = _printable(str(detail["ctx"]["tag"]))
    return Problem((*path, "type"), f"expected one of {kinds}, got {given!r}")


def _expected(detail: ErrorDetails) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind in _EXPECTED:
        return _EXPECTED[kind]
    match kind:
        case "greater_than_equal":
            return f"at least {_number(context['ge'])}"
        case "greater_than":
            return f"more than {_number(context['gt'])}"
        case "less_than_equal":
            return f"at most {_number(context['le'])}"
        case "literal_error":
            return f"one of {context['expected']}"
        case "string_pattern_mismatch":
            return "letters, digits and single punctuation, as the reference says"
        case "string_too_long":
            return f"at most {context['max_length']} characters"
        case "string_too_short":
            return "text that is not empty"
        case "too_short":
            return f"a list of at least {context['min_length']}, got {context['actual_length']}"
        case "duration" | "expected":
            return detail["msg"]
    return detail["msg"][:1].lower() + detail["msg"][1:]


def _number(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _given(detail: ErrorDetails, *, secret: bool) -> str:
    """What was given, unless it is or may hold a secret."""
    value = detail["input"]
    if isinstance(value, dict):
        return ", got keys and values"
    if isinstance(value, list | tuple):
        return "" if detail["type"] == "too_short" else ", got a list"
    if value is None:
        return ", got nothing"
    if secret or detail["type"] in _SHAPES:
        return ""
    shown = str(value).lower() if isinstance(value, bool) else _printable(str(value))
    return f", got {shown[:60]!r}" if isinstance(value, str) else f", got {shown[:60]}"


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)
