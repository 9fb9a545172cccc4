"""Alertmanager's label matchers: `=`, `!=`, `=~`, `!~`. Used by routes (and whatever else selects alerts)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches

from nexusd.core.errors import InputError
from nexusd.core.patterns import Pattern, pattern

OPERATORS = ("=", "!=", "=~", "!~")
"""In Alertmanager's order."""
_SYNTAX = re.compile(r"\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*(=~|!~|!=|=)\s*(.*?)\s*", re.DOTALL)
_TO_ESCAPE = re.compile(r'[\\"\n]')
_ESCAPES = {"n": "\n", '"': '"', "\\": "\\"}


@dataclass(frozen=True, slots=True)
class Matcher:
    """One condition on a label. A label that is absent has the value "". Patterns are anchored."""

    name: str
    operator: str
    value: str
    _pattern: Pattern | None = field(default=None, repr=False, compare=False)

    def matches(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.name, "")
        if self._pattern is None:
            return (value == self.value) is (self.operator == "=")
        return self._pattern(value) is (self.operator == "=~")

    def __str__(self) -> str:
        """As Alertmanager writes it, the value always quoted."""
        return f"{self.name}{self.operator}{quoted(self.value)}"


def parse_matcher(text: str) -> Matcher:
    """A matcher from `severity="critical"`; quotes may be left out where the value needs none.

    Raises `InputError`, which says what is wrong with the text.
    """
    found = _SYNTAX.fullmatch(text)
    if found is None:
        raise InputError(f"{text!r} is not a matcher: expected a label name, one of {_operators()}, a value")
    name, operator, value = found.groups()
    return matcher(name, operator, _unquote(value, text))


def matcher(name: str, operator: str, value: str) -> Matcher:
    """A matcher from its parts. Raises `InputError` for an unknown operator or a bad pattern."""
    if operator not in OPERATORS:
        near = get_close_matches(operator, OPERATORS, 1)
        hint = f", did you mean {near[0]}?" if near else ""
        raise InputError(f"{operator!r} is not one of {_operators()}{hint}")
    if operator in ("=", "!="):
        return Matcher(name, operator, value)
    return Matcher(name, operator, value, pattern(value))


def quoted(value: str) -> str:
    """A label's value as Prometheus and Alertmanager write it."""
    if _TO_ESCAPE.search(value) is not None:
        value = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{value}"'


def all_match(matchers: tuple[Matcher, ...], labels: Mapping[str, str]) -> bool:
    return all(m.matches(labels) for m in matchers)


def _unquote(value: str, text: str) -> str:
    """Alertmanager's escapes: `\\"`, `\\n`, `\\\\`; any other backslash stays, as patterns need it."""
    if not value.startswith('"'):
        if '"' in value:
            raise InputError(f"{text!r} is not a matcher: a quote within an unquoted value")
        return value
    if len(value) < 2 or not value.endswith('"'):
        raise InputError(f"{text!r} is not a matcher: the quote is never closed")
    out: list[str] = []
    rest = iter(value[1:-1])
    for char in rest:
        if char == '"':
            raise InputError(f"{text!r} is not a matcher: text after the closing quote")
        if char != "\\":
            out.append(char)
            continue
        follower = next(rest, None)
        if follower is None:
            raise InputError(f"{text!r} is not a matcher: the quote is never closed")
        out.append(_ESCAPES.get(follower, "\\" + follower))
    return "".join(out)


def _operators() -> str:
    return ", ".join(OPERATORS)
