"""ULIDs: fixed in form, sorted by time, all of the entropy kept. Names of fleets' members."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from nexusd.core.identifiers import ulid

instants = st.floats(0.0, 2.0**48 / 1000 - 1.0)
entropy = st.integers(0, 2**80 - 1)


def test_the_specifications_example_reads_the_same() -> None:
    assert ulid(1469918176.385, 0)[:10] == "01aryz6s41"


@given(instants, st.integers(0))
def test_an_identifier_is_26_characters_of_crockfords_alphabet(now: float, number: int) -> None:
    assert re.fullmatch("[0-7][0-9a-hjkmnp-tv-z]{25}", ulid(now, number))


@given(instants, instants, entropy, entropy)
def test_identifiers_sort_by_the_millisecond(a: float, b: float, low: int, high: int) -> None:
    if int(a * 1000) < int(b * 1000):
        assert ulid(a, low) < ulid(b, high)


@given(instants, entropy, entropy)
def test_within_a_millisecond_other_entropy_gives_another_identifier(now: float, a: int, b: int) -> None:
    assert (ulid(now, a) == ulid(now, b)) == (a == b)
