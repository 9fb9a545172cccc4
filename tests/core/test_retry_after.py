"""`Retry-After`: seconds or a date, and never what would stop everything or nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexusd.core.retry_after import retry_after_s

NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("header", "wait_s"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("1.5", None),
        ("٣", None),
        ("30", 30.0),
        (" 30 ", 30.0),
        ("0", 1.0),
        ("-1", 1.0),
        ("86400", 300.0),
        ("9" * 5000, 300.0),
        ("-" + "9" * 5000, 1.0),
        ("Tue, 14 Nov 2023 22:14:20 GMT", 60.0),
        ("Tue, 14 Nov 2023 22:14:20 -0000", 60.0),
        ("Tue, 14 Nov 2023 22:14:20", 60.0),
        ("Tuesday, 14-Nov-23 22:14:20 GMT", 60.0),
        ("Tue Nov 14 22:14:20 2023", 60.0),
        ("Tue, 14 Nov 2023 20:00:00 GMT", 1.0),
        ("Tue, 14 Nov 2033 20:00:00 GMT", 300.0),
        ("Tue, 99 Nov 2023 99:99:99 GMT", None),
    ],
)
def test_it_is_seconds_or_a_date_between_1_and_300_s(header: str | None, wait_s: float | None) -> None:
    assert retry_after_s(header, None, NOW) == wait_s


@given(st.text())
def test_no_text_breaks_anything(header: str) -> None:
    wait_s = retry_after_s(header, None, NOW)
    assert wait_s is None or 1.0 <= wait_s <= 300.0


@pytest.mark.parametrize(
    ("date", "wait_s"),
    [
        ("Tue, 14 Nov 2023 22:14:18 GMT", 2.0),
        ("Tue, 14 Nov 2023 20:14:18 GMT", 300.0),
        (None, 60.0),
        ("", 60.0),
        ("yesterday", 60.0),
        ("Tue, 99 Nov 2023 99:99:99 GMT", 60.0),
    ],
)
def test_a_date_is_measured_from_the_date_of_the_response(date: str | None, wait_s: float) -> None:
    assert retry_after_s("Tue, 14 Nov 2023 22:14:20 GMT", date, NOW) == wait_s


def test_seconds_do_not_depend_on_the_date_of_the_response() -> None:
    assert retry_after_s("7", "Tue, 14 Nov 2033 22:14:18 GMT", NOW) == 7.0
