"""`nexusd status`: what there is, in short, and whether anything is wrong."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.cli.conftest import Run
from tests.cli.daemon import Answer, FakeDaemon
from tests.cli.test_terminal import ago, on_a_terminal

PATH = "/api/v1/status"
POLL = {"observed_at": "2030-01-31T12:00:00Z", "age_s": 3.2, "stale": False, "failure": None}


def status(**more: Any) -> dict[str, Any]:
    return {
        "version": "0.1.0",
        "ready": True,
        "not_ready_reason": None,
        "leader": True,
        "resources": {"instances": POLL, "regions": POLL},
        "instances": {"total": 7, "by_status": {"running": 7, "stopped": 0}},
        "regions": {"total": 3, "healthy": 2, "with_capacity": 2, "eligible": 1, "best": "us-east-1"},
        "placements": {"by_state": {"queued": 2, "failed": 0}},
        "alerts": {"firing": 1, "pending": 0, "active": []},
        "outbox": {"pending": 0, "dead": 0},
    } | more


def lines_of(text: str) -> dict[str, str]:
    return {line[:16].strip(): line[16:].strip() for line in text.splitlines()}


def test_status_says_what_there_is_in_short(run: Run, daemon: FakeDaemon) -> None:
    daemon.on("GET", PATH, Answer(status()))
    out = run("status").out
    assert "3: 2 healthy, 2 with capacity, 1 eligible" in out
    assert "7: 7 running" in out
    assert "2 queued" in out
    assert "3 s old" in out


def test_status_says_why_it_is_not_ready(run: Run, daemon: FakeDaemon) -> None:
    daemon.on("GET", PATH, Answer(status(ready=False, not_ready_reason="the key is refused")))
    assert "no: the key is refused" in run("status").out


def test_status_lists_the_alerts(run: Run, daemon: FakeDaemon) -> None:
    daemon.on("GET", PATH, Answer(with_alerts(alert())))
    row = next(line for line in run("status").out.splitlines() if line.startswith("RegionUnhealthy"))
    assert row.split() == ["RegionUnhealthy", "warning", "firing", "region=us-east-1", "2030-01-31T12:02:00Z"]


def test_status_survives_a_daemon_that_answers_less(run: Run, daemon: FakeDaemon) -> None:
    daemon.on("GET", PATH, Answer({"version": "9"}))
    assert run("status").code == 0


def alert(name: str = "RegionUnhealthy", severity: str = "warning", **more: Any) -> dict[str, Any]:
    return {
        "state": "firing",
        "labels": {"alertname": name, "severity": severity, "region": "us-east-1"},
        "active_at": "2030-01-31T12:00:00Z",
        "fired_at": "2030-01-31T12:02:00Z",
    } | more


def with_alerts(*alerts: dict[str, Any]) -> dict[str, Any]:
    return status(alerts={"firing": len(alerts), "pending": 0, "active": list(alerts)})


WRONG: list[tuple[dict[str, Any], str]] = [
    (status(ready=False, not_ready_reason="the key is refused"), "not ready: the key is refused"),
    (status(resources={"regions": POLL | {"stale": True}}), "regions data is stale"),
    (with_alerts(alert()), "1 alert fires: RegionUnhealthy"),
    (with_alerts(alert(), alert(severity="critical")), "2 alerts fire: RegionUnhealthy"),
    (with_alerts(*(alert(name) for name in "ABCDE")), "5 alerts fire: A, B, C and 2 more"),
]


@pytest.mark.parametrize(("answer", "said"), WRONG)
def test_something_wrong_exits_1_and_is_said(
    run: Run, daemon: FakeDaemon, answer: dict[str, Any], said: str
) -> None:
    daemon.on("GET", PATH, Answer(answer))
    ran = run("status")
    assert (ran.code, ran.err) == (1, f"nexusd: {said}\n")


@pytest.mark.parametrize("answer", [answer for answer, _ in WRONG])
def test_json_is_whole_when_something_is_wrong(run: Run, daemon: FakeDaemon, answer: dict[str, Any]) -> None:
    daemon.on("GET", PATH, Answer(answer))
    ran = run("status", "-o", "json")
    assert (ran.code, json.loads(ran.out)) == (1, answer)


@pytest.mark.parametrize(
    "harmless",
    [
        alert(severity="info"),
        alert("Watchdog", "none"),
        alert(state="pending"),
        alert(inhibited_by=["f00"]),
        alert(silenced_by=["f00"]),
    ],
)
def test_what_nobody_has_to_mend_exits_0(run: Run, daemon: FakeDaemon, harmless: dict[str, Any]) -> None:
    daemon.on("GET", PATH, Answer(with_alerts(harmless)))
    ran = run("status")
    assert (ran.code, ran.err) == (0, "")


@pytest.mark.parametrize("number", [0, 100])
def test_it_fits_one_screen(daemon: FakeDaemon, number: int) -> None:
    long = {"alertname": "RegionCapacityExhausted", "severity": "critical", "name": "a-long-name-" * 9}
    failed = POLL | {"failure": "network", "failure_message": "the connection was refused; " * 4}
    answer = with_alerts(*[alert(labels=long, fired_at=ago(days=9))] * number)
    daemon.on("GET", PATH, Answer(answer | {"resources": {"instances": failed, "regions": failed}}))
    _, shown = on_a_terminal("status", rows=24, columns=80)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", shown).rstrip().splitlines()
    assert len(lines) < 24, shown
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("key", ["resources", "instances", "regions", "alerts", "outbox", "placements"])
@pytest.mark.parametrize("value", [None, 7, "x", [], [7], {"active": 7}, {"active": [7, {"labels": 7}]}])
def test_nonsense_is_no_traceback(run: Run, daemon: FakeDaemon, key: str, value: Any) -> None:
    daemon.on("GET", PATH, Answer(status(**{key: value})))
    assert run("status").code == 0
