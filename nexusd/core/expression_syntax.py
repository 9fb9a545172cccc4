"""What an expression may say, judged from its words before anything runs it. Used by `expressions` only.

CEL's engine has no budget for time, memory or stack, so what could grow without bound is refused here:
nesting, long chains of operators, loops in loops, and patterns that are computed or explode.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import NamedTuple

MAX_LENGTH = 2000
MAX_DEPTH = 20
MAX_OPERATORS = 200
MAX_LOOPS = 4
MAX_PATTERNS = 4
MAX_PATTERN_WEIGHT = 300

LOOPS = frozenset({"all", "exists", "exists_one", "existsOne", "map", "filter"})
FUNCTIONS = frozenset(
    {"contains", "startsWith", "endsWith", "matches", "size", "has"}
    | {"int", "uint", "double", "string", "bytes", "type", "dyn", "timestamp", "duration"}
    | {"getFullYear", "getMonth", "getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear"}
    | {"getHours", "getMinutes", "getSeconds", "getMilliseconds"}
)
_CONSTANTS = frozenset({"true", "false", "null", "in"})
_TYPES = frozenset({"int", "uint", "double", "bool", "string", "bytes", "list", "map", "null_type", "type"})
_OTHER_LANGUAGES = {"and": "&&", "or": "||", "not": "!", "True": "true", "False": "false", "None": "null"}

_TOKEN = re.compile(
    r"""
    (?P<skip>   \s+ | //[^\n]* )
  | (?P<string> [bB]?[rR] (?: \"{3}[\s\S]*?\"{3} | '{3}[\s\S]*?'{3} | "[^"\r\n]*" | '[^'\r\n]*' )
              | [bB]? (?: \"{3}(?:\\[\s\S]|[^\\])*?\"{3} | '{3}(?:\\[\s\S]|[^\\])*?'{3}
                        | "(?:\\.|[^"\\\r\n])*" | '(?:\\.|[^'\\\r\n])*' ) )
  | (?P<number> (?: 0[xX][0-9a-fA-F]+ | [0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)? ) [uU]? )
  | (?P<name>   [A-Za-z_][A-Za-z0-9_]* )
  | (?P<mark>   && | \|\| | [<>=!]= | [\s\S] )
    """,
    re.VERBOSE,
)
_BRACKETS = {"(": ")", "[": "]", "{": "}"}
_OPERATORS = frozenset("+-*/%!<>?.[") | {"&&", "||", "<=", ">=", "==", "!="}
_PATTERN_PART = re.compile(
    r"""
    \\[\s\S]                                                # an escape
  | \[ \^? \]? (?: \\[\s\S] | \[[^\]]*\] | [^\]\\] )* \]    # a class
  | (?P<counted> \{ [^}]* \} )
  | [\s\S]
    """,
    re.VERBOSE,
)
_ASCII_CLASSES = {
    "w": "[0-9A-Za-z_]",
    "W": "[^0-9A-Za-z_]",
    "d": "[0-9]",
    "D": "[^0-9]",
    "s": r"[\t\n\f\r ]",
    "S": r"[^\t\n\f\r ]",
}


class SyntaxComplaint(Exception):  # noqa: N818 - turned into an ExpressionError at once
    """Why the text is refused, one line."""


class Token(NamedTuple):
    kind: str
    text: str
    start: int


@dataclass(frozen=True, slots=True)
class Outline:
    """What an expression reads. `fields`: by record, those it names, or None when it uses it as a whole.

    `patterns`: the string literals given to `matches`.
    """

    fields: Mapping[str, frozenset[str] | None]
    patterns: tuple[Token, ...]


def check_size(text: str) -> list[Token]:
    """The words of an expression of which the engine can be trusted to survive every part."""
    if not text.strip():
        raise SyntaxComplaint("the expression is empty")
    if len(text) > MAX_LENGTH:
        raise SyntaxComplaint(f"longer than {MAX_LENGTH} characters")
    tokens = [
        Token(kind, match.group(), match.start())
        for match in _TOKEN.finditer(text)
        if (kind := str(match.lastgroup)) != "skip"
    ]
    operators = sum(1 for t in tokens if t.kind != "string" and (t.text in _OPERATORS or t.text == "in"))
    if operators > MAX_OPERATORS:
        raise SyntaxComplaint(f'more than {MAX_OPERATORS} operators (region.slug in ["a", "b"] is one)')
    _check_nesting(tokens)
    return tokens


def _check_nesting(tokens: list[Token]) -> None:
    """Loops stand side by side, never within another, and only one may build a list that a next one reads."""
    loops: list[str] = []
    brackets: list[bool] = []  # the open ones: whether each is a loop's
    called = ""
    for token in tokens:
        if token.kind == "mark" and token.text in _BRACKETS:
            loop = token.text == "(" and called in LOOPS
            if any(brackets) and (loop or called == "matches"):
                raise SyntaxComplaint(f"{called}() within a loop is not allowed")
            brackets.append(loop)
            loops += [called] * loop
        elif token.kind == "mark" and token.text in _BRACKETS.values() and brackets:
            brackets.pop()
        called = token.text if token.kind == "name" else ""
        if len(brackets) > MAX_DEPTH:
            raise SyntaxComplaint(f"nested more than {MAX_DEPTH} deep")
    if len(loops) > MAX_LOOPS:
        raise SyntaxComplaint(f"more than {MAX_LOOPS} loops ({', '.join(sorted(LOOPS))})")
    if loops.count("map") > 1:
        raise SyntaxComplaint("more than one map()")


def outline(tokens: list[Token], records: Mapping[str, frozenset[str]]) -> Outline:
    """Check every name in the expression against `records` (name → fields) and CEL's functions."""
    bound = set(_bound_names(tokens))
    if shadowed := sorted(bound & records.keys()):
        raise SyntaxComplaint(f"{shadowed[0]!r} cannot name a loop's variable")
    fields: dict[str, frozenset[str] | None] = {}
    for index, token in enumerate(tokens):
        if token.kind != "name":
            continue
        member = _text(tokens, index - 1) == "."
        if _text(tokens, index + 1) == "(":
            _check_function(token.text)
        elif not member and token.text in records:
            used = _field_used(tokens, index)
            if used is not None:
                _check_field(token.text, used, records[token.text])
            before = fields.get(token.text, frozenset())
            fields[token.text] = None if used is None or before is None else before | {used}
        elif not member and token.text not in bound | _CONSTANTS | _TYPES:
            raise SyntaxComplaint(_unknown_name(token.text, records))
    return Outline(fields, tuple(_patterns(tokens)))


def _text(tokens: list[Token], index: int) -> str:
    return tokens[index].text if 0 <= index < len(tokens) and tokens[index].kind != "string" else ""


def _bound_names(tokens: list[Token]) -> Iterator[str]:
    """`x` in `list.all(x, …)`."""
    for index, token in enumerate(tokens):
        if token.kind == "name" and token.text in LOOPS and _text(tokens, index + 3) == ",":
            yield tokens[index + 2].text


def _field_used(tokens: list[Token], index: int) -> str | None:
    """`slug` in `region.slug` and `region["slug"]`; None when the record is used as a whole."""
    following = tokens[index + 1 : index + 4]
    marks = [t.text if t.kind != "string" else "" for t in following]
    if len(following) > 1 and marks[0] == "." and following[1].kind == "name" and marks[2:] != ["("]:
        return following[1].text
    if len(following) == 3 and marks == ["[", "", "]"] and following[1].text[0] in "\"'":
        return following[1].text.strip("\"'")
    return None


def _check_field(record: str, field: str, known: frozenset[str]) -> None:
    if field in known:
        return
    near = get_close_matches(field, sorted(known), n=1)
    hint = f"did you mean {record}.{near[0]}?" if near else f"{record} has {', '.join(sorted(known))}"
    raise SyntaxComplaint(f"unknown field {record}.{field}; {hint}")


def _check_function(name: str) -> None:
    known = FUNCTIONS | LOOPS
    if name in known or name == "in":  # `in (a)` is an operator and a bracket
        return
    near = get_close_matches(name, sorted(known), n=1)
    hint = f"did you mean {near[0]}()?" if near else f"known: {', '.join(sorted(known))}"
    raise SyntaxComplaint(f"unknown function {name}(); {hint}")


def _unknown_name(name: str, records: Mapping[str, frozenset[str]]) -> str:
    if name in _OTHER_LANGUAGES:
        return f"unknown name {name}; CEL writes {_OTHER_LANGUAGES[name]}"
    for record, fields in records.items():
        if name in fields:
            return f"unknown name {name}; did you mean {record}.{name}?"
    near = get_close_matches(name, sorted(records), n=1)
    if near:
        return f"unknown name {name}; did you mean {near[0]}?"
    return f'unknown name {name}; known: {", ".join(sorted(records))} (text goes in quotes: "{name}")'


def _patterns(tokens: list[Token]) -> Iterator[Token]:
    """The literals of `text.matches("…")`. Computed patterns are refused: their cost cannot be known."""
    count = 0
    for index, token in enumerate(tokens):
        if token.kind != "name" or token.text != "matches" or _text(tokens, index + 1) != "(":
            continue
        count += 1
        literal = tokens[index + 2] if index + 2 < len(tokens) else token
        method = _text(tokens, index - 1) == "."
        if not method or literal.kind != "string" or _text(tokens, index + 3) != ")":
            raise SyntaxComplaint('matches() takes one pattern in quotes: region.slug.matches("^eu-")')
        if count > MAX_PATTERNS:
            raise SyntaxComplaint(f"more than {MAX_PATTERNS} uses of matches()")
        yield literal


def bounded_pattern(pattern: str) -> str:
    r"""The pattern with `\w`, `\d`, `\s` meaning ASCII, as in RE2, which CEL's specification names.

    The engine takes them as Unicode classes and compiles the pattern at each use: 600 µs for `\w+`, against
    20 µs for the ASCII class. It never backtracks, so only repetition can make a pattern large.
    """
    if _weight(pattern) > MAX_PATTERN_WEIGHT:
        raise SyntaxComplaint(f"a pattern that expands to more than {MAX_PATTERN_WEIGHT} parts")
    if any(a.group(1) in "pP" for a in re.finditer(r"\\([\s\S])", pattern)):
        raise SyntaxComplaint(r"a pattern with a Unicode class (\p)")
    return re.sub(r"\\([\s\S])", lambda m: _ASCII_CLASSES.get(m.group(1), m.group()), pattern)


def _weight(pattern: str) -> int:
    """How many parts the pattern has once its counted repetitions are written out."""
    groups = [0]
    last = 0
    for part in _PATTERN_PART.finditer(pattern):
        if part.group("counted"):
            times = max([int(n) for n in re.findall(r"[0-9]+", part.group())], default=1)
            groups[-1] += last * (times - 1)
            last *= times
        elif part.group() == "(":
            groups.append(0)
        elif part.group() == ")" and len(groups) > 1:
            last = groups.pop()
            groups[-1] += last
        else:
            last = 1
            groups[-1] += 1
    return sum(groups)


def replace_tokens(text: str, replaced: Mapping[Token, str]) -> str:
    """The text with some of its words replaced."""
    for token in sorted(replaced, key=lambda t: t.start, reverse=True):
        text = text[: token.start] + replaced[token] + text[token.start + len(token.text) :]
    return text
