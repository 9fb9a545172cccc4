"""How the polls have fared: age, staleness, reachability."""

from __future__ import annotations

from nexusd.core.polls import INSTANCES, REGIONS, PollState, unauthorized, unreachable

START = 1_000.0


def poll(resource: str = REGIONS, interval_s: float = 15.0) -> PollState:
    return PollState(resource, interval_s, known_since=START)


def test_what_was_never_read_is_stale_and_ages_from_the_start() -> None:
    assert poll().stale(START)
    assert poll().age_s(START + 5.0) == 5.0


def test_data_is_stale_after_more_than_three_intervals() -> None:
    read = poll().succeeded(START, 0.1)
    assert not read.stale(START + 45.0)
    assert read.stale(START + 45.1)


def test_a_failure_keeps_the_age_and_says_why() -> None:
    failed = poll().succeeded(START, 0.1).failed("timeout", "no answer", None, 10.0)
    assert failed.age_s(START + 15.0) == 15.0
    assert (failed.failure, failed.failure_message, failed.duration_s) == ("timeout", "no answer", 10.0)


def test_a_success_clears_the_failure() -> None:
    read = poll().failed("timeout", "no answer", None, 10.0).succeeded(START + 1.0, 0.2)
    assert (read.failure, read.failure_message) == (None, None)


def test_a_partial_sweep_is_an_answer_and_no_reading() -> None:
    partial = poll(INSTANCES).failed("partial", "total changed", START + 100.0, 1.0)
    assert partial.stale(START + 100.0)
    assert not unreachable((partial,), START + 100.0)


def test_an_answer_is_never_forgotten_for_an_older_one() -> None:
    read = poll().succeeded(START + 30.0, 0.1)
    assert read.failed("timeout", "", START + 10.0, 1.0).answered_at == START + 30.0
    assert read.failed("timeout", "", None, 1.0).answered_at == START + 30.0


def test_the_api_is_unreachable_after_three_intervals_without_an_answer_of_either_kind() -> None:
    polls = (poll(REGIONS, 15.0), poll(INSTANCES, 30.0))
    assert not unreachable(polls, START + 45.0)
    assert unreachable(polls, START + 45.1)


def test_one_kind_that_answers_keeps_the_api_reachable() -> None:
    answering = poll(INSTANCES, 30.0).succeeded(START + 100.0, 0.1)
    assert not unreachable((poll(REGIONS), answering), START + 140.0)


def test_a_refused_key_is_known_until_a_poll_succeeds() -> None:
    refused = poll().failed("unauthorized", "401", None, 0.1)
    assert unauthorized((refused, poll(INSTANCES)))
    assert not unauthorized((refused.succeeded(START, 0.1), poll(INSTANCES)))
