"""Times on the command line: RFC 3339, or a duration from now."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import time_machine

from tests.cli.conftest import Run
from tests.cli.daemon import Answer, FakeDaemon, page

NOW = datetime(2030, 1, 31, 12, tzinfo=UTC)
SILENCES = "/api/v2/silences"


@pytest.mark.parametrize(
    ("since", "sent"),
    [
        ("1h", "2030-01-31T11:00:00.000Z"),
        ("1d12h", "2030-01-30T00:00:00.000Z"),
        ("0", "0"),
        ("17", "17"),
        ("2030-01-01T00:00:00Z", "2030-01-01T00:00:00Z"),
    ],
)
@pytest.mark.parametrize("more", [[], ["--type", "AlertFired"]])
def test_events_since_a_duration_are_those_since_that_time(
    run: Run, daemon: FakeDaemon, since: str, sent: str, more: list[str]
) -> None:
    daemon.on("GET", "/api/v1/events", Answer(page([])))
    with time_machine.travel(NOW, tick=False):
        assert run("events", "--since", since, *more).code == 0
    assert daemon.requests[0].query["since"] == sent


@pytest.mark.parametrize(
    "since", ["yesterday", "1x", "-5m", "", "1000000000000h", "2030-01-01", "2030-13-01T00:00:00Z"]
)
def test_events_since_other_text_is_refused_and_durations_are_named(
    run: Run, daemon: FakeDaemon, since: str
) -> None:
    ran = run("events", "--since", since)
    assert ran.code == 2
    assert "is not an event ID, a duration such as 1h, or an RFC 3339 time" in ran.err
    assert not daemon.requests


@pytest.mark.parametrize(
    ("start", "expected"),
    [("30m", NOW + timedelta(minutes=30)), ("2030-02-01T01:00:00+01:00", datetime(2030, 2, 1, tzinfo=UTC))],
)
def test_a_silence_may_start_later(run: Run, daemon: FakeDaemon, start: str, expected: datetime) -> None:
    daemon.on("POST", SILENCES, Answer({"silenceID": "x"}))
    with time_machine.travel(NOW, tick=False):
        ran = run("silence", "add", "Foo", "-c", "x", "-d", "2h", "--start", start)
    body = daemon.requests[0].body
    assert datetime.fromisoformat(body["startsAt"]) == expected
    assert datetime.fromisoformat(body["endsAt"]) == expected + timedelta(hours=2)
    assert ran.err == f"from {body['startsAt']} until {body['endsAt']}\n"


@pytest.mark.parametrize(
    ("option", "text", "said"),
    [
        ("--start", "tomorrow", "'tomorrow' is not a duration such as 30m, or an RFC 3339 time"),
        ("--start", "2030-02-01T01:00:00", "is not a duration such as 30m, or an RFC 3339 time"),
        ("--start", "9999999999d", "9999999999d is too long"),
        ("--duration", "9999999999d", "9999999999d is too long"),
        ("--duration", "soon", "'soon' is not a duration such as 30s, 5m or 1h30m"),
    ],
)
def test_an_invalid_time_is_a_usage_error(
    run: Run, daemon: FakeDaemon, option: str, text: str, said: str
) -> None:
    ran = run("silence", "add", "Foo", "-c", "x", option, text)
    assert (ran.code, daemon.requests) == (2, [])
    assert said in ran.err
    assert option in ran.err


def test_a_duration_before_the_calendar_is_a_usage_error(run: Run, daemon: FakeDaemon) -> None:
    ran = run("events", "--since", "9999999999w")
    assert (ran.code, daemon.requests) == (2, [])
    assert "9999999999w is too long" in ran.err
