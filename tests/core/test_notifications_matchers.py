"""Matchers, as Alertmanager reads and writes them."""

from __future__ import annotations

import pytest

from nexusd.core import patterns
from nexusd.core.errors import InputError
from nexusd.core.matchers import parse_matcher, parse_matchers, stored_matcher

LABELS = {"severity": "critical", "region": "eu-west-2"}


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ('severity="critical"', True),
        ("severity=critical", True),
        (' severity = "critical" ', True),
        ('severity!="critical"', False),
        ('region=~"eu-.*"', True),
        ('region=~"eu"', False),
        ('region!~"eu-.*"', False),
        ('fleet=""', True),
        ('fleet!=""', False),
        ('fleet=~".+"', False),
        ('fleet!~".+"', True),
    ],
)
def test_a_matcher_matches(text: str, matches: bool) -> None:
    assert parse_matcher(text).matches(LABELS) is matches


def test_quotes_newlines_and_backslashes_are_escaped_both_ways() -> None:
    matcher = parse_matcher(r'name="a\"b\\c\nd"')
    assert matcher.value == 'a"b\\c\nd'
    assert parse_matcher(str(matcher)) == matcher


def test_a_backslash_in_a_pattern_stays() -> None:
    assert parse_matcher(r'name=~"web-\d+"').matches({"name": "web-12"})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "severity",
        "=x",
        '""="x"',
        'my label="x"',
        '"my label="x"',
        'a{b="x"',
        'a="x',
        'a=x"y',
        'a="x" b="y"',
        'a=~"("',
        'a="x\\"',
        '{a="b"',
        "{}",
        '{a="b" c="d"}',
        '{a="b",,c="d"}',
        "{a=b,c}",
        "{a=~(}",
        '{a="b}',
    ],
)
def test_what_is_not_a_matcher_is_refused_with_its_text(text: str) -> None:
    with pytest.raises(InputError, match=r"matcher|pattern"):
        parse_matchers(text)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ('{"my label"="x", foo=~"a|b"}', [("my label", "=", "x"), ("foo", "=~", "a|b")]),
        ("{a=b}", [("a", "=", "b")]),
        (' { a = "b" , } ', [("a", "=", "b")]),
        ('{a="x,y}",b!=z}', [("a", "=", "x,y}"), ("b", "!=", "z")]),
        ('{a="",b!~".+"}', [("a", "=", ""), ("b", "!~", ".+")]),
        ('"größe"="x"', [("größe", "=", "x")]),
        ("größe=x", [("größe", "=", "x")]),
        ("service.name=x", [("service.name", "=", "x")]),
        ("a-b=c", [("a-b", "=", "c")]),
        ('"a\\"b"!="c"', [('a"b', "!=", "c")]),
        ("severity=critical,info", [("severity", "=", "critical,info")]),
        ('a="{b}"', [("a", "=", "{b}")]),
    ],
)
def test_names_may_be_quoted_and_several_matchers_be_in_braces(
    text: str, parts: list[tuple[str, str, str]]
) -> None:
    found = parse_matchers(text)
    assert [(m.name, m.operator, m.value) for m in found] == parts
    assert parse_matchers("{" + ",".join(map(str, found)) + "}") == found


def test_a_name_is_quoted_where_the_syntax_needs_it() -> None:
    assert str(parse_matcher('"my label"="x"')) == '"my label"="x"'
    assert str(parse_matcher('"größe"="x"')) == 'größe="x"'


@pytest.mark.parametrize(
    ("text", "accepts"),
    [
        ('a=""', True),
        ("a=~.*", True),
        ("a=~b|", True),
        ("a=b", False),
        ("a=~.+", False),
        ("a!=b", False),
        ("a!~b", False),
        ('a!=""', False),
    ],
)
def test_only_positive_matchers_accept_the_empty_value(text: str, accepts: bool) -> None:
    assert parse_matcher(text).accepts_empty is accepts


def test_a_stored_pattern_is_compiled_once_and_only_when_used(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str] = []

    def compile_one(text: str) -> patterns.Pattern:
        compiled.append(text)
        return pattern(text)

    pattern = patterns.pattern
    monkeypatch.setattr(patterns, "pattern", compile_one)
    stored = stored_matcher("region", "=~", "eu-.*")
    assert (stored, compiled) == (parse_matcher("region=~eu-.*"), [])
    assert [stored.matches(LABELS) for _ in range(3)] == [True] * 3
    assert compiled == ["eu-.*"]
