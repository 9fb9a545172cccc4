"""How the polls have fared: age, staleness, reachability."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nexusd.core.polls import INSTANCES, REGIONS, PollState, needs_early_poll, unauthorized, unreachable
from nexusd.core.suspension import NOT_SUSPENDED, Suspension

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
    failed = poll().succeeded(START, 0.1).failed("timeout", "no answer", None, 10.0, START)
    assert failed.age_s(START + 15.0) == 15.0
    assert (failed.failure, failed.failure_message, failed.duration_s) == ("timeout", "no answer", 10.0)


def test_a_success_clears_the_failure() -> None:
    read = poll().failed("timeout", "no answer", None, 10.0, START).succeeded(START + 1.0, 0.2)
    assert (read.failure, read.failure_message) == (None, None)


def test_a_partial_sweep_is_an_answer_and_no_reading() -> None:
    partial = poll(INSTANCES).failed("partial", "total changed", START + 100.0, 1.0, START)
    assert partial.stale(START + 100.0)
    assert not unreachable((partial,), START + 100.0)


def test_an_answer_is_never_forgotten_for_an_older_one() -> None:
    read = poll().succeeded(START + 30.0, 0.1)
    assert read.failed("timeout", "", START + 10.0, 1.0, START).answered_at == START + 30.0
    assert read.failed("timeout", "", None, 1.0, START).answered_at == START + 30.0


def test_the_api_is_unreachable_after_three_intervals_without_an_answer_of_either_kind() -> None:
    polls = [
        poll(resource, interval_s).failed("timeout", "", None, 10.0, START)
        for resource, interval_s in ((REGIONS, 15.0), (INSTANCES, 30.0))
    ]
    assert not unreachable(tuple(polls), START + 45.0)
    assert unreachable(tuple(polls), START + 45.1)


@pytest.mark.parametrize("resource", [REGIONS, INSTANCES])
def test_a_kind_that_is_polled_rarely_and_has_not_failed_keeps_the_api_reachable(resource: str) -> None:
    failing = poll(resource, 5.0).failed("server_error", "", None, 0.1, START + 70.0)
    rare = poll(INSTANCES if resource == REGIONS else REGIONS, 60.0).succeeded(START + 50.0, 0.1)
    assert not unreachable((failing, rare), START + 75.0)
    assert needs_early_poll(rare, (failing, rare), START + 75.0)
    assert not needs_early_poll(rare, (failing, rare), START + 60.0)
    assert not needs_early_poll(failing, (failing, rare), START + 75.0)
    assert unreachable((failing, rare.failed("timeout", "", None, 1.0, START + 75.0)), START + 80.0)


def test_time_in_which_no_request_failed_proves_nothing_about_the_api() -> None:
    assert not unreachable((poll(REGIONS, 15.0), poll(INSTANCES, 30.0)), START + 3600.0)


class TestSuspension:
    suspensions = NOT_SUSPENDED.extended(Suspension(START + 20.0, START + 1020.0))

    def test_data_read_before_it_is_stale(self) -> None:
        read = replace(poll().succeeded(START, 0.1), suspensions=self.suspensions)
        assert read.stale(START + 20.0)
        assert not read.succeeded(START + 1021.0, 0.1).stale(START + 1022.0)

    def test_a_reading_that_began_before_it_is_stale(self) -> None:
        read = replace(poll(), suspensions=self.suspensions)
        assert read.succeeded(START + 1020.1, 1000.5, began_at=START + 19.6).stale(START + 1021.0)

    def test_a_request_made_before_it_proves_nothing_after_it(self) -> None:
        interrupted = replace(poll(), suspensions=self.suspensions).failed(
            "timeout", "", None, 1.0, START + 19.0
        )
        assert not unreachable((interrupted,), START + 1020.0 + 60.0)

    def test_it_does_not_count_as_silence(self) -> None:
        failed = replace(poll(), suspensions=self.suspensions).failed(
            "timeout", "", None, 1.0, START + 1021.0
        )
        assert not unreachable((failed,), START + 1000.0 + 45.0)
        assert unreachable((failed,), START + 1000.0 + 45.1)

    def test_a_process_that_is_suspended_again_and_again_notices_an_outage(self) -> None:
        """A blocked event loop looks like suspensions: one hid an outage for as long as it lasted."""
        failing = poll().succeeded(START, 0.1)
        found = []
        for at in range(20, 220, 10):
            now = START + at
            failing = failing.failed("timeout", "", None, 8.0, now - 8.0)
            found.append(unreachable((failing,), now))
            suspensions = failing.suspensions.extended(Suspension(now, now + 5.0))
            failing = replace(failing, suspensions=suspensions)
        assert found[-1]
        assert found == sorted(found)

    def test_interrupted_readings_do_not_make_the_data_young(self) -> None:
        read = poll().succeeded(START, 0.1)
        for at in range(10, 210, 10):
            now = START + at
            read = replace(read, suspensions=read.suspensions.extended(Suspension(now - 5.0, now)))
            read = read.succeeded(now, 8.0)
            assert read.stale(now)
        assert read.awake_age_s(START + 200.0) == 100.0


def test_one_kind_that_answers_keeps_the_api_reachable() -> None:
    answering = poll(INSTANCES, 30.0).succeeded(START + 100.0, 0.1)
    assert not unreachable((poll(REGIONS), answering), START + 140.0)


def test_a_refused_key_is_known_until_a_poll_succeeds() -> None:
    refused = poll().failed("unauthorized", "401", None, 0.1, START)
    assert unauthorized((refused, poll(INSTANCES)))
    assert not unauthorized((refused.succeeded(START, 0.1), poll(INSTANCES)))
