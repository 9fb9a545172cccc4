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
    assert retry_after_s(header, NOW) == wait_s


@given(st.text())
def test_no_text_breaks_anything(header: str) -> None:
    wait_s = retry_after_s(header, NOW)
    assert wait_s is None or 1.0 <= wait_s <= 300.0
