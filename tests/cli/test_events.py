"""`nexusd events`: the history, and following what happens."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, get_args

import pytest

import nexusd
from nexusd.cli import events as command
from nexusd.cli.options import EVENT_TYPES
from nexusd.core.changes import InstanceChange, RegionChange
from tests.cli.conftest import Run
from tests.cli.daemon import Answer, FakeDaemon, Request, error

PATH = "/api/v1/events"
STREAM = {"Content-Type": "text/event-stream"}


def event(number: int, kind: str = "InstanceVanished", **more: Any) -> dict[str, Any]:
    return {
        "id": number,
        "at": f"2030-01-31T12:00:{number % 60:02}.000Z",
        "type": kind,
        "subject": {"kind": "instance", "id": "inst_1", "name": "web-1", "region": "us-east-1"},
        "detail": {"status": "running"},
    } | more


def stream(*events: dict[str, Any], begin: int = 0) -> Answer:
    """It ends after them, as when the daemon restarts."""
    blocks = [f"retry: 2000\nid: {begin}\n\n:\n\n"]
    blocks += [f"id: {e['id']}\nevent: {e['type']}\ndata: {json.dumps(e)}\n\n" for e in events]
    return Answer(raw="".join(blocks).encode(), headers=STREAM)


def history(events: Iterable[dict[str, Any]]) -> Any:
    """Answers as the daemon does."""
    stored = list(events)

    def answer(request: Request) -> Answer:
        limit, since = int(request.query["limit"]), request.query.get("since")
        if since is None:
            found = stored[-limit:]
        elif since.isdecimal():
            found = [e for e in stored if e["id"] > int(since)][:limit]
        else:
            found = [e for e in stored if e["at"] >= since][:limit]
        return Answer({"data": found, "meta": {"total": None, "limit": limit, "offset": 0}})

    return answer


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "RETRY_S", 0.001)


def test_events_are_asked_for_since_an_id(run: Run, daemon: FakeDaemon) -> None:
    daemon.on("GET", PATH, history([event(7)]))
    ran = run("events", "--since", "6", "--limit", "10")
    assert daemon.requests[0].query == {"since": "6", "limit": "10"}
    assert "instance web-1 in us-east-1" in ran.out
    assert "status=running" in ran.out


@pytest.mark.parametrize(
    ("detail", "said"),
    [
        ({"from": "queued", "to": "creating", "reason": None}, "queued → creating"),
        ({"from": "a", "to": "b", "reason": "full"}, "a → b, reason=full"),
        ({"labels": {"alertname": "X"}, "summary": "X is so"}, "X is so"),
        ({"labels": {"alertname": "X"}, "by": "Y"}, 'labels={"alertname": "X"}, by=Y'),
    ],
)
def test_what_happened_is_said_in_short(
    run: Run, daemon: FakeDaemon, detail: dict[str, Any], said: str
) -> None:
    daemon.on("GET", PATH, history([event(1, detail=detail)]))
    assert run("events").out.splitlines()[1].endswith(f"  {said}")


def test_a_region_is_named_as_commands_take_it(run: Run, daemon: FakeDaemon) -> None:
    subject = {"kind": "region", "id": "us-east-1", "name": "Virginia, US", "region": "us-east-1"}
    daemon.on("GET", PATH, history([event(1, "RegionStatusChanged", subject=subject)]))
    assert "  region us-east-1  " in run("events").out


def test_only_a_type_is_shown_of_the_newest(run: Run, daemon: FakeDaemon) -> None:
    daemon.on("GET", PATH, history([event(1), event(2, "AlertFired"), event(3), event(4, "AlertResolved")]))
    ran = run("events", "--type", "AlertFired", "--type", "AlertResolved", "-o", "json")
    assert [e["id"] for e in json.loads(ran.out)["data"]] == [2, 4]


@pytest.mark.parametrize("since", ["0", "2030-01-31T12:00:00.000Z"])
def test_a_type_is_looked_for_page_by_page(run: Run, daemon: FakeDaemon, since: str) -> None:
    stored = [event(n, "AlertFired" if n % 700 == 0 else "AlertResolved") for n in range(1, 3_001)]
    daemon.on("GET", PATH, history(stored))
    ran = run("events", "--type", "AlertFired", "--since", since, "--limit", "3", "-o", "json")
    assert [e["id"] for e in json.loads(ran.out)["data"]] == [700, 1400, 2100]


def test_followed_events_are_a_line_each(run: Run, daemon: FakeDaemon) -> None:
    daemon.on("GET", PATH, stream(event(1), event(2, detail={"name": "evil\x1b[2J"})))
    ran = run("events", "--follow", "--limit", "2")
    assert ran.code == 0
    assert ran.out.splitlines() == [
        "1  2030-01-31T12:00:01.000Z  InstanceVanished  instance web-1 in us-east-1  status=running",
        "2  2030-01-31T12:00:02.000Z  InstanceVanished  instance web-1 in us-east-1  name=evil\\x1b[2J",
    ]
    assert daemon.requests[0].headers["Accept"] == "text/event-stream"


def test_followed_events_are_json_lines(run: Run, daemon: FakeDaemon) -> None:
    daemon.on("GET", PATH, stream(event(1), event(2)))
    ran = run("events", "-f", "--limit", "2", "-o", "json")
    assert [json.loads(line) for line in ran.out.splitlines()] == [event(1), event(2)]


def test_only_a_type_is_followed(run: Run, daemon: FakeDaemon) -> None:
    daemon.on("GET", PATH, stream(event(1), event(2, "AlertFired")))
    ran = run("events", "-f", "--type", "AlertFired", "--limit", "1", "-o", "json")
    assert json.loads(ran.out)["id"] == 2


def test_a_stream_that_ends_is_resumed_from_the_last_event(run: Run, daemon: FakeDaemon) -> None:
    daemon.on("GET", PATH, stream(event(6), begin=5), Answer(drop=True), stream(event(7), begin=6))
    ran = run("events", "-f", "--since", "5", "--limit", "2", "-o", "json")
    assert [json.loads(line)["id"] for line in ran.out.splitlines()] == [6, 7]
    assert [r.headers.get("Last-Event-ID") for r in daemon.requests] == [None, "6", "6"]
    assert daemon.requests[0].query == {"since": "5"}
    assert ran.err == "the daemon is away; trying again\n"


def test_a_stream_that_ends_before_its_first_event_loses_none(run: Run, daemon: FakeDaemon) -> None:
    daemon.on("GET", PATH, stream(begin=5), stream(event(6)))
    assert run("events", "-f", "--limit", "1").code == 0
    assert daemon.requests[1].headers["Last-Event-ID"] == "5"


def test_a_daemon_that_stops_sends_nothing_and_is_asked_again(run: Run, daemon: FakeDaemon) -> None:
    stopping = Answer(raw=b"retry: 2000\n\n", headers=STREAM)
    daemon.on(
        "GET", PATH, stream(begin=5), stopping, error(503, "STORE_UNAVAILABLE", "away"), stream(event(6))
    )
    assert run("events", "-f", "--limit", "1").code == 0


def test_a_daemon_that_is_not_there_is_one_line(run: Run, daemon: FakeDaemon) -> None:
    url = daemon.url.replace("127.0.0.1", "127.0.0.2")
    ran = run("events", "--follow", "--url", url)
    assert (ran.code, ran.out) == (1, "")
    assert (
        ran.err == f"nexusd: no daemon runs at {url} (--url or $NEXUSD_URL says where): connection refused\n"
    )


def test_a_daemon_that_stays_away_is_given_up(
    run: Run, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "PATIENCE_S", 0.0)
    daemon.on("GET", PATH, stream(event(1)), Answer(drop=True))
    ran = run("events", "--follow")
    assert ran.code == 1
    assert len(ran.err.splitlines()) == 2


@pytest.mark.parametrize(("status", "code"), [(400, 2), (401, 1)])
def test_what_the_daemon_refuses_is_not_asked_again(
    run: Run, daemon: FakeDaemon, status: int, code: int
) -> None:
    daemon.on("GET", PATH, stream(event(1)), error(status, "NO", "not so"))
    ran = run("events", "--follow")
    assert (ran.code, len(daemon.requests)) == (code, 2)
    assert ran.err.startswith("nexusd: not so")


def test_one_that_does_not_stream_is_named(run: Run, daemon: FakeDaemon) -> None:
    daemon.on("GET", PATH, Answer({"data": []}))
    ran = run("events", "--follow")
    assert (ran.code, ran.err) == (1, f"nexusd: what answers at {daemon.url} does not stream {PATH}\n")


FOLLOWING = """
import signal, sys
from nexusd.__main__ import main
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs are given it ignored
sys.argv = ["nexusd", "events", "--follow"]
main()
"""


def interrupted(process: subprocess.Popen[bytes]) -> int:
    """The exit code after Ctrl-C, pressed again where Python loses one (in a finaliser, say)."""
    for _ in range(20):
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            return process.wait(0.5)
    process.kill()
    raise AssertionError("it goes on")


def test_control_c_ends_it(daemon: FakeDaemon) -> None:
    daemon.on("GET", PATH, stream(event(1)))
    with subprocess.Popen(
        [sys.executable, "-c", FOLLOWING],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ.copy(),
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        assert interrupted(process) == 130
        assert b"Traceback" not in process.stderr.read()


def test_an_unknown_type_is_an_error_that_lists_the_accepted_ones(run: Run, daemon: FakeDaemon) -> None:
    ran = run("events", "--type", "InstanceVanishd")
    assert ran.code == 2
    assert (
        "'InstanceVanishd' is unknown; did you mean InstanceVanished? known: AlertBecamePending, " in ran.err
    )
    assert daemon.requests == []


def test_the_listed_types_are_those_that_are_recorded() -> None:
    package = Path(nexusd.__file__).parent
    sources = [path.read_text() for path in package.rglob("*.py") if path.parent.name != "cli"]
    quoted = set(re.findall(r'"([A-Z][A-Za-z]+)"', "\n".join(sources)))
    recorded = {kind.__name__ for kind in (*get_args(InstanceChange), *get_args(RegionChange))}
    assert set(EVENT_TYPES) - quoted <= recorded <= set(EVENT_TYPES)
