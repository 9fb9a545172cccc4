"""Alertmanager's label matchers (`=`, `!=`, `=~`, `!~`).

Routes, silences and filters use them.

The syntax is that of Alertmanager 0.27 and later: one matcher (`severity="critical"`), or several in braces
(`{"my label"="x", foo=~"a|b"}`). A name is quoted where it has spaces or characters of the syntax.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches

from nexusd.core.errors import InputError
from nexusd.core.patterns import LazyPattern, Pattern, pattern

OPERATORS = ("=", "!=", "=~", "!~")
"""In Alertmanager's order."""
_RESERVED = r"\s{}!=~,\\\"'`"
_NAME = rf"""\s*("(?:[^"\\]|\\.)*"|[^{_RESERVED}]+)\s*(=~|!~|!=|=)\s*"""
_ONE = re.compile(rf"{_NAME}(.*?)\s*", re.DOTALL)
_ONE_OF_SEVERAL = re.compile(rf"""{_NAME}("(?:[^"\\]|\\.)*"|[^",{{}}]*)\s*(?:,|$)\s*""", re.DOTALL)
_TO_QUOTE = re.compile(rf"[{_RESERVED}]")
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

    @property
    def accepts_empty(self) -> bool:
        """Whether the matcher accepts the empty value by Alertmanager's rule for silences.

        Negative matchers never count, whatever they match (Alertmanager: `validateSilence`).
        """
        return self.operator in ("=", "=~") and self.matches({})

    def __str__(self) -> str:
        """As Alertmanager writes it, the value always quoted."""
        name = quoted(self.name) if _TO_QUOTE.search(self.name) else self.name
        return f"{name}{self.operator}{quoted(self.value)}"


def parse_matchers(text: str) -> tuple[Matcher, ...]:
    """Parse one matcher, or several in braces.

    Raises `InputError`, which describes the mistake.
    """
    stripped = text.strip()
    if not stripped.startswith("{"):
        return (parse_matcher(text),)
    if not stripped.endswith("}"):
        raise InputError(f"{text!r} is not a list of matchers: the brace is never closed")
    inner, at = stripped[1:-1].strip(), 0
    found = []
    while at < len(inner):
        item = _ONE_OF_SEVERAL.match(inner, at)
        if item is None:
            raise InputError(f"{text!r} is not a list of matchers: {_expected()}, separated by commas")
        found.append(_parsed(item, text))
        at = item.end()
    if not found:
        raise InputError(f"{text!r} has no matcher")
    return tuple(found)


def parse_matcher(text: str) -> Matcher:
    """Parse a matcher such as `severity="critical"`; the value's quotes are optional.

    Raises `InputError`, which describes the mistake.
    """
    found = _ONE.fullmatch(text)
    if found is None:
        raise InputError(f"{text!r} is not a matcher: {_expected()}")
    return _parsed(found, text)


def matcher(name: str, operator: str, value: str) -> Matcher:
    """Build a matcher from its parts.

    Raises `InputError` for an unknown operator or a bad pattern.
    """
    if operator not in OPERATORS:
        near = get_close_matches(operator, OPERATORS, 1)
        hint = f", did you mean {near[0]}?" if near else ""
        raise InputError(f"{operator!r} is not one of {_operators()}{hint}")
    if operator in ("=", "!="):
        return Matcher(name, operator, value)
    return Matcher(name, operator, value, pattern(value))


def stored_matcher(name: str, operator: str, value: str) -> Matcher:
    """Build a matcher that was validated before.

    Its pattern is compiled on first use.
    """
    return Matcher(name, operator, value, LazyPattern(value) if operator in ("=~", "!~") else None)


def quoted(value: str) -> str:
    """A label's value as Prometheus and Alertmanager write it."""
    if _TO_ESCAPE.search(value) is not None:
        value = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{value}"'


def all_match(matchers: tuple[Matcher, ...], labels: Mapping[str, str]) -> bool:
    return all(m.matches(labels) for m in matchers)


def _parsed(found: re.Match[str], text: str) -> Matcher:
    name, operator, value = found.groups()
    if name.startswith('"'):
        name = _unquote(name, text)
    if not name:
        raise InputError(f"{text!r} is not a matcher: the label name is empty")
    return matcher(name, operator, _unquote(value, text))


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


def _expected() -> str:
    return f"expected a label name, one of {_operators()}, a value"


def _operators() -> str:
    return ", ".join(OPERATORS)
