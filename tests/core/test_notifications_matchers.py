"""Matchers, as Alertmanager reads and writes them."""

from __future__ import annotations

import pytest

from nexusd.core.errors import InputError
from nexusd.core.matchers import parse_matcher

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
        '1a="x"',
        'a="x',
        'a=x"y',
        'a="x" b="y"',
        'a=~"("',
        'a="x\\"',
        "a-b=c",
    ],
)
def test_what_is_not_a_matcher_is_refused_with_its_text(text: str) -> None:
    with pytest.raises(InputError, match=r"matcher|pattern"):
        parse_matcher(text)
