"""Foreign text is shown on one printable line of bounded length."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nexusd.core.text import one_line, printable


def test_line_ends_are_spaces_and_other_control_characters_are_escaped() -> None:
    assert one_line(" a\r\nb\x00\x1b[31mc\u2028d\u202e\t", 99) == "a b\\x00\\x1b[31mc d\\u202e"


def test_what_is_too_long_ends_in_an_ellipsis() -> None:
    assert one_line("abcdef", 6) == "abcdef"
    assert one_line("abcdefg", 6) == "abcde…"


@given(st.text(max_size=300), st.integers(1, 100))
def test_whatever_it_was_it_is_printable_and_no_longer_than_allowed(text: str, most: int) -> None:
    line = one_line(text, most)
    assert line.isprintable()
    assert len(line) <= most


@given(st.text())
def test_nothing_is_lost_by_escaping(text: str) -> None:
    assert printable(text).isprintable()
    assert text.isprintable() == (printable(text) == text)
