"""Patterns from outside: they mean what they mean in Alertmanager, and none is slow."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexusd.core.errors import InputError
from nexusd.core.patterns import MAX_LENGTH, _is_plain, _linear, pattern


@pytest.mark.parametrize(
    ("text", "value", "matches"),
    [
        ("web|api", "web", True),
        ("web|api", "web-1", False),
        ("web-.*", "web-12", True),
        (".*web.*", "my-web-12", True),
        ("", "", True),
        (".+", "", False),
        (r"a\.b", "a.b", True),
        (r"a\.b", "axb", False),
        ("[a-c]+", "abcabc", True),
        ("[^a-c]x?", "d", True),
        ("(web|api)-[0-9]+", "api-7", True),
        ("(web)?-1", "-1", True),
        ("^web$", "web", True),
        (r"web-\d{2,3}", "web-123", True),
        (r"\w+", "ü", False),
        ("(?i)WEB", "web", True),
        ("a.b", "a\nb", False),
        ("(a|aa)+", "aaa", True),
        ("日.*", "日本", True),
        ('"\\\\', '"\\', True),
    ],
)
def test_a_pattern_matches_whole_values(text: str, value: str, matches: bool) -> None:
    assert pattern(text)(value) is matches


@pytest.mark.parametrize("text", ["(", "a{2", "[", "a**b(", r"\p{Greek}", "(?=a)", r"(a)\1", "*", "x" * 1001])
def test_what_is_no_pattern_is_refused_with_its_text(text: str) -> None:
    with pytest.raises(InputError, match="pattern") as refused:
        pattern(text)
    assert "\n" not in str(refused.value)


def test_a_pattern_may_be_as_long_as_a_list_of_names() -> None:
    names = "|".join(f"web-{n}" for n in range(120))[:MAX_LENGTH]
    assert pattern(names)("web-17")


@pytest.mark.parametrize(
    "text",
    ["(a+)+b", "(a|aa)+b", "(a*)*b", "(.*)(.*)(.*)(.*)b", "a?" * 40 + "a" * 40 + "b", "(a|aa)" * 40 + "b"],
)
def test_no_pattern_takes_exponential_time(text: str) -> None:
    """It would not end."""
    assert not _is_plain(text)
    assert pattern(text)("a" * 60) is False


PARTS = st.sampled_from(
    ["a", "b", ".", "[ab]", "[^a]", "a*", "b+", ".*", "a?", "|", "(a|b)", "(?:ab)", r"\."]
)


@given(st.lists(PARTS, max_size=6).map("".join), st.text("ab.", max_size=6))
def test_both_engines_agree_on_what_is_plain(text: str, value: str) -> None:
    if _is_plain(text):
        assert pattern(text)(value) is _linear(text)(value) is (re.fullmatch(text, value) is not None)
