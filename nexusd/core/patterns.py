"""Regular expressions from outside (matchers of routes, silences, queries) that no text can make slow.

Alertmanager's engine takes linear time; Python's may take exponential time. So patterns that Python matches
quickly whatever the text are left to it, and all others go to the linear engine that CEL brings along.
Used by `matchers` and by the Alertmanager API.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import lru_cache

from nexusd.core.errors import InputError
from nexusd.core.expression_syntax import SyntaxComplaint, bounded_pattern

Pattern = Callable[[str], bool]

MAX_LENGTH = 1000
_TOKEN = re.compile(
    r"""
    (?P<atom>   [^\\()\[\]{}*+?.^$|] | \\[^A-Za-z0-9\s] | \. | \[ \^? [A-Za-z0-9_\ .:/-]+ \] )
  | (?P<repeat> [*+?] )
  | (?P<open>   \( (?:\?:)? )
  | (?P<close>  \) )
  | (?P<or>     \| )
    """,
    re.VERBOSE,
)
_MOST_CHOICES = 2
"""Repetitions, `?` and groups: the time grows with the text's length to the power of their number."""
_CACHED = 4096


def pattern(text: str) -> Pattern:
    """Whether the pattern matches the whole of a text, as Alertmanager's patterns do. Raises `InputError`."""
    if len(text) > MAX_LENGTH:
        raise InputError(f"the pattern is longer than {MAX_LENGTH} characters")
    return _quick(text) if _is_plain(text) else _linear(text)


class LazyPattern:
    """A pattern that is compiled on first use.

    Most stored patterns are read far more often than used.
    """

    __slots__ = ("_compiled", "_text")

    def __init__(self, text: str) -> None:
        self._text = text
        self._compiled: Pattern | None = None

    def __call__(self, value: str) -> bool:
        """Raises `InputError` for a pattern that cannot be used."""
        if self._compiled is None:
            self._compiled = pattern(self._text)
        return self._compiled(value)


def _is_plain(text: str) -> bool:
    """Made of characters, classes, alternatives, few repetitions and groups, and no repeated group."""
    at, choices, before = 0, 0, "open"
    while at < len(text):
        token = _TOKEN.match(text, at)
        if token is None or (token.lastgroup == "repeat" and before != "atom"):
            return False
        before = str(token.lastgroup)
        choices += before in ("repeat", "open")
        at = token.end()
    return choices <= _MOST_CHOICES


def _quick(text: str) -> Pattern:
    try:
        compiled = re.compile(text)
    except (re.error, RecursionError, OverflowError) as error:
        raise InputError(f"the pattern {text!r} cannot be used: {error}") from error
    return lambda value: compiled.fullmatch(value) is not None


def _linear(text: str) -> Pattern:
    """About 20 µs, because the engine compiles the pattern each time; the values of labels come again."""
    import cel  # brings 30 MB of terminal toolkits along: only when there is such a pattern

    try:
        anchored = json.dumps(f"^(?:{bounded_pattern(text)})$", ensure_ascii=False)
        program = cel.compile(f"value.matches({anchored})")
        program.execute({"value": ""})
    except SyntaxComplaint as complaint:
        raise InputError(f"the pattern {text!r} cannot be used: {complaint}") from None
    except Exception as error:
        raise InputError(f"the pattern {text!r} cannot be used: {_reason(error)}") from error
    return lru_cache(_CACHED)(lambda value: bool(program.execute({"value": value})))


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = next((line for line in lines if line.startswith("error:")), "it is not a regular expression")
    return said.removeprefix("error:").strip().partition(". Check")[0]
