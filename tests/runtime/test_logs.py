from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import re
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from nexusd.runtime.logs import LogOptions, logs_configured, set_level
from nexusd.runtime.logs_text import LONGEST_TEXT, cleaned
from nexusd.runtime.logs_writer import LogWriter

log = structlog.get_logger()
NASTY = "web\n2026-01-01 [info] forged\x1b[2J\x9b31m\u202e\x00\x7f\u2028\udc80"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def logged(act: Callable[[], object], options: LogOptions | None = None, stream: Any = None) -> list[str]:
    """The lines that came out while `act` ran."""
    out = stream if stream is not None else io.StringIO()
    with logs_configured(options or LogOptions(format="json"), out):
        act()
    return out.getvalue().splitlines() if out.getvalue().endswith("\n") else [out.getvalue()][:0]


def only(act: Callable[[], object], level: str = "info") -> dict[str, Any]:
    (line,) = logged(act, LogOptions(level, "json"))
    event = json.loads(line)
    assert isinstance(event, dict)
    return event


def test_an_event_is_a_line_of_json_with_level_and_utc_time() -> None:
    event = only(lambda: log.info("region_unhealthy", region="us-east-1", latency_ms=12.5))
    assert event.pop("timestamp").endswith("Z")
    assert event == {
        "event": "region_unhealthy",
        "level": "info",
        "region": "us-east-1",
        "latency_ms": 12.5,
    }


def test_off_a_terminal_the_format_is_json_by_itself() -> None:
    (line,) = logged(lambda: log.info("started"), LogOptions())
    assert json.loads(line)["event"] == "started"


def test_on_a_terminal_it_is_for_people() -> None:
    out = Terminal()
    with logs_configured(LogOptions(), out):
        log.info("started", port=9650)
    assert not out.getvalue().startswith("{")
    assert "started" in out.getvalue()


def test_colours_are_left_out_where_they_are_not_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    out = Terminal()
    with logs_configured(LogOptions(), out):
        log.info("started", port=9650)
    assert "\x1b" not in out.getvalue()


@pytest.mark.parametrize("format_", ["json", "console"])
@given(text=st.text())
def test_whatever_a_name_contains_an_event_is_one_printable_line(format_: Any, text: str) -> None:
    out = io.StringIO()
    with logs_configured(LogOptions(format=format_), out):
        log.info("seen", name=text, names=[text], by_name={text: text}, **{f"k{text}": 1})
        log.info(text)
    lines = out.getvalue().split("\n")
    assert lines.pop() == ""
    assert len(lines) == 2
    assert all(line.isprintable() for line in lines)


def test_a_forged_line_stays_inside_its_event() -> None:
    out = io.StringIO()
    with logs_configured(LogOptions(format="console"), out):
        log.info("seen", name=NASTY)
    assert out.getvalue().count("\n") == 1
    assert r"web\n2026" in out.getvalue()


def test_json_gives_a_name_back_as_it_was() -> None:
    assert only(lambda: log.info("seen", name=NASTY))["name"] == NASTY


def _failing(message: str) -> Callable[[], None]:
    def act() -> None:
        try:
            raise ValueError(message)
        except ValueError:
            log.exception("failed")

    return act


def test_an_exception_is_one_field() -> None:
    event = only(_failing("boom"))
    assert event["exception"].startswith("Traceback")
    assert event["exception"].endswith("ValueError: boom")


def test_on_the_console_a_traceback_cannot_pass_for_an_event() -> None:
    first, *rest = logged(_failing(NASTY), LogOptions(format="console"))
    assert "failed" in first
    assert rest
    assert all(line.startswith("    ") and line.isprintable() for line in rest)


def test_a_very_long_text_keeps_its_ends() -> None:
    event = only(lambda: log.info("answered", body="a" * 1_000_000 + "end"))
    assert len(event["body"]) < LONGEST_TEXT + 100
    assert event["body"].endswith("end")


def test_numbers_that_json_cannot_say_are_texts() -> None:
    assert only(lambda: log.info("seen", latency_ms=float("nan")))["latency_ms"] == "nan"


class Unshowable:
    def __str__(self) -> str:
        raise RuntimeError("no")


def test_a_value_that_cannot_be_shown_breaks_nothing() -> None:
    assert "cannot be shown" in only(lambda: log.info("seen", thing=Unshowable()))["thing"]


def test_a_value_that_contains_itself_is_bounded() -> None:
    loop: list[Any] = []
    loop.append(loop)
    assert only(lambda: log.info("seen", thing=loop))


SECRET = "hunter2-hunter2"


@pytest.mark.parametrize(
    "fields",
    [
        {"api_key": SECRET},
        {"X-Api-Key": SECRET},
        {"Authorization": f"Bearer {SECRET}"},
        {"headers": {"authorization": SECRET, "Cookie": SECRET}},
        {"write_token": SECRET},
        {"tokens": [SECRET]},
        {"receiver": [{"client_secret": SECRET}]},
        {"password": SECRET.encode()},
        {"url": f"https://user:{SECRET}@hooks.example.com/x"},
        {"error": f"cannot connect to postgresql://nexusd:{SECRET}@db/nexusd"},
        {"error": f"sent 'Authorization: Bearer {SECRET}'"},
        {"error": f"GET https://x.example/?token={SECRET}&a=1"},
        {"thing": f"Options(api_key='{SECRET}', timeout=3)"},
    ],
)
def test_secrets_are_masked(fields: dict[str, Any]) -> None:
    (line,) = logged(lambda: log.info("seen", **fields))
    assert SECRET not in line
    assert "***" in line


def test_a_secret_in_an_exception_is_masked() -> None:
    (line,) = logged(_failing(f"https://u:{SECRET}@h/"))
    assert SECRET not in line


def test_the_place_of_a_secret_is_no_secret() -> None:
    fields = {"api_key_file": "/etc/nexusd/api-key", "tokens_left": 3, "token": None}
    assert cleaned(fields) == fields


@pytest.fixture
def library() -> Iterator[logging.Logger]:
    logger = logging.getLogger("apscheduler.test")
    yield logger
    logger.setLevel(logging.NOTSET)


def test_what_libraries_log_comes_through_from_warning_up(library: logging.Logger) -> None:
    def act() -> None:
        library.info("Running job")
        library.warning("skipped %s", "job\n1")

    event = only(act)
    assert (event["event"], event["level"], event["logger"]) == ("skipped job\n1", "warning", library.name)


def test_a_librarys_traceback_is_one_field_too(library: logging.Logger) -> None:
    def act() -> None:
        try:
            raise ValueError("inside")
        except ValueError:
            library.exception("failed")

    assert only(act)["exception"].endswith("ValueError: inside")


def test_a_level_that_only_logging_knows_is_kept(library: logging.Logger) -> None:
    assert only(lambda: library.log(35, "odd"))["level"] == "warning"


def test_warnings_are_events() -> None:
    def act() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("old thing", DeprecationWarning, stacklevel=2)

    assert "old thing" in only(act)["event"]


def test_the_level_holds_and_can_be_changed() -> None:
    def act() -> None:
        log.info("too quiet")
        set_level("debug")
        log.debug("heard")

    assert only(act, "warning")["event"] == "heard"


def test_logging_is_as_before_afterwards() -> None:
    before = structlog.get_config(), list(logging.getLogger().handlers), logging.getLogger().level
    logged(lambda: None)
    assert (structlog.get_config(), logging.getLogger().handlers, logging.getLogger().level) == before


class BlockedSink:
    """Takes nothing until it is let go."""

    def __init__(self) -> None:
        self.free = threading.Event()
        self.reached = threading.Event()
        self.data = b""

    def __call__(self, data: bytes) -> None:
        self.reached.set()
        self.free.wait(10.0)
        self.data += data


def report(count: int) -> str:
    return f"dropped {count}"


def test_a_sink_that_blocks_holds_nobody_up_and_the_loss_is_counted() -> None:
    sink = BlockedSink()
    writer = LogWriter(sink, report, capacity=10)
    writer.write("first")
    assert sink.reached.wait(5.0)
    began = time.monotonic()
    for number in range(1000):
        writer.write(str(number))
    assert time.monotonic() - began < 1.0
    assert writer.dropped == 990
    sink.free.set()
    writer.close()
    assert sink.data.decode().splitlines() == ["first", *map(str, range(10)), "dropped 990"]


def test_a_sink_that_fails_counts_what_it_lost() -> None:
    lines: list[str] = []

    def full_disk_once(data: bytes) -> None:
        if not lines:
            lines.append("")
            raise OSError(28, "No space left on device")
        lines.extend(data.decode().splitlines())

    writer = LogWriter(full_disk_once, report)
    writer.write("lost")
    deadline = time.monotonic() + 5.0
    while "dropped 1" not in lines and time.monotonic() < deadline:
        time.sleep(0.01)
    writer.close()
    assert lines == ["", "dropped 1"]


def test_closing_gives_up_on_a_sink_that_stays_blocked() -> None:
    sink = BlockedSink()
    writer = LogWriter(sink, report)
    writer.write("first")
    began = time.monotonic()
    writer.close(timeout_s=0.05)
    assert time.monotonic() - began < 2.0
    sink.free.set()


async def test_a_full_pipe_does_not_stop_the_event_loop() -> None:
    reader, writer = os.pipe()
    reported = threading.Event()
    with os.fdopen(reader, "rb") as out:
        reading = threading.Thread(target=_read_to_the_end, args=(out, reported))
        with os.fdopen(writer, "w") as stream, logs_configured(LogOptions(format="json"), stream) as logs:
            async with asyncio.timeout(5.0):
                for _ in range(12_000):
                    log.info("tick", padding="x" * 100)
                await asyncio.sleep(0)
            assert logs.dropped > 0
            reading.start()
            assert await asyncio.to_thread(reported.wait, 10.0), "the loss was never reported"
        await asyncio.to_thread(reading.join, 10.0)


def _read_to_the_end(out: Any, reported: threading.Event) -> None:
    for line in out:
        if re.search(rb'"dropped_log_events":[1-9]', line):
            reported.set()
