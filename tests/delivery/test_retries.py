"""When a failed try is repeated."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from nexusd.delivery.retries import after_try, backoff_s
from nexusd.ports import Delivery
from tests.delivery.receivers import message

NOW = 1_700_000_000.0
UNAVAILABLE = Delivery("retry", "503")


@given(st.integers())
def test_a_receiver_down_for_ten_minutes_gets_at_most_twenty_tries_whatever_the_luck(seed: int) -> None:
    random, spent_s, tries = Random(seed), 0.0, 1
    while (spent_s := spent_s + backoff_s(tries, random)) < 600.0:
        tries += 1
    assert tries <= 20


@given(st.integers(), st.integers(1, 10_000))
def test_the_first_wait_is_within_five_seconds_and_none_is_over_five_minutes(seed: int, tries: int) -> None:
    assert 0.0 < backoff_s(1, Random(seed)) <= 5.0
    assert backoff_s(tries, Random(seed)) <= 300.0


def test_the_waits_are_spread() -> None:
    waits = [backoff_s(7, Random(seed)) for seed in range(100)]
    assert max(waits) - min(waits) > 150.0


def test_retry_after_is_not_undercut_and_does_not_shorten_the_backoff() -> None:
    asked = Delivery("retry", "429", retry_after_s=200.0)
    assert after_try(message(created_at=NOW), asked, NOW, Random(1)).next_try_at >= NOW + 200.0
    often = replace(message(created_at=NOW), tries=9)
    soon = Delivery("retry", "429", retry_after_s=1.0)
    assert after_try(often, soon, NOW, Random(1)).next_try_at >= NOW + 60.0


def test_the_last_try_is_when_it_expires() -> None:
    row = replace(message(created_at=NOW), expires_at=NOW + 1.0, tries=20)
    again = after_try(row, UNAVAILABLE, NOW, Random(1))
    assert (again.state, again.next_try_at) == ("pending", NOW + 1.0)
    assert after_try(again, UNAVAILABLE, NOW + 1.0, Random(1)).state == "dead"
