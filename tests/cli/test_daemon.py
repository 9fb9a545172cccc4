"""How a client talks to the daemon, and what it says when that fails."""

from __future__ import annotations

import socket

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from nexusd.cli.daemon import NO_SUCH_PATH
from nexusd.web.answers import _of_http
from tests.cli.conftest import Run
from tests.cli.daemon import Answer, FakeDaemon, error

STATUS = "/api/v1/status"


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_daemon_that_is_not_there_is_told_with_where_it_was_looked_for(run: Run) -> None:
    url = f"http://127.0.0.1:{closed_port()}"
    ran = run("status", "--url", url)
    assert ran.code == 1
    assert (
        ran.err == f"nexusd: no daemon runs at {url} (--url or $NEXUSD_URL says where): connection refused\n"
    )


def test_the_url_of_the_command_line_beats_the_environment(
    run: Run, daemon: FakeDaemon, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("NEXUSD_URL", f"http://127.0.0.1:{closed_port()}")
    daemon.on("GET", STATUS, Answer({}))
    assert run("status", "--url", daemon.url).code == 0


def test_the_token_is_sent_and_never_shown(
    run: Run, daemon: FakeDaemon, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("NEXUSD_TOKEN", "canary-7f3a")
    daemon.on("GET", STATUS, error(403, "FORBIDDEN", "not with this token"))
    ran = run("status")
    assert daemon.requests[0].headers["Authorization"] == "Bearer canary-7f3a"
    assert "canary" not in ran.out + ran.err + run("status", "--help").out


def test_a_missing_token_is_hinted_at(run: Run, daemon: FakeDaemon) -> None:
    daemon.on("GET", STATUS, error(401, "UNAUTHORIZED", "a token is needed"))
    assert run("status").err == "nexusd: a token is needed (give --token or $NEXUSD_TOKEN)\n"


def test_a_response_nested_without_end_is_one_line(run: Run, daemon: FakeDaemon) -> None:
    daemon.on("GET", STATUS, Answer(raw=b"[" * 100_000))
    ran = run("status")
    assert (ran.code, ran.out, ran.err.count("\n")) == (1, "", 1)


def test_a_redirect_is_not_followed_with_the_token(run: Run, daemon: FakeDaemon) -> None:
    daemon.on("GET", STATUS, Answer({}, 302, {"Location": f"{daemon.url}/elsewhere"}))
    ran = run("status", "--token", "t")
    assert ran.code == 1
    assert "redirects" in ran.err
    assert len(daemon.requests) == 1


@pytest.mark.parametrize(
    "answer",
    [
        Answer(raw=b"<html>", status=200),
        Answer(raw=b"<html>", status=502),
        Answer({"error": "x"}, 500),
        Answer([], 404),
        Answer([]),
        Answer(7),
        Answer(raw=b""),
    ],
)
def test_something_else_that_answers_there_is_told_apart(
    run: Run, daemon: FakeDaemon, answer: Answer
) -> None:
    daemon.on("GET", STATUS, answer)
    ran = run("status")
    assert ran.code == 1
    assert "is not a nexusd" in ran.err
    assert ran.err.count("\n") == 1


def test_a_path_that_a_daemon_lacks_is_named(run: Run, daemon: FakeDaemon) -> None:
    daemon.on("GET", STATUS, error(404, "NOT_FOUND", NO_SUCH_PATH))
    ran = run("status")
    assert (ran.code, ran.out) == (1, "")
    why = "not the daemon's URL, or its nexusd is of another version"
    assert ran.err == f"nexusd: {daemon.url} has no /api/v1/status: {why}\n"


def test_what_a_daemon_lacks_is_said_in_these_words() -> None:
    answered = _of_http(web.HTTPNotFound(), make_mocked_request("GET", "/"))
    assert str(answered) == NO_SUCH_PATH


def test_rows_that_are_none_are_left_out(run: Run, daemon: FakeDaemon) -> None:
    daemon.on("GET", "/api/v1/instances", Answer({"data": [7, None, {"id": "inst_1"}], "meta": 3}))
    assert run("instances").out.splitlines()[1].startswith("inst_1")


def test_tls_that_is_not_spoken_is_hinted_at(run: Run, daemon: FakeDaemon) -> None:
    ran = run("status", "--url", daemon.url.replace("http:", "https:"))
    assert ran.code == 1
    assert ran.err.endswith(": it does not speak TLS; is it http:// there?\n")


def test_a_dropped_connection_is_one_line(run: Run, daemon: FakeDaemon) -> None:
    daemon.on("GET", STATUS, Answer(drop=True))
    ran = run("status")
    assert ran.code == 1
    assert ran.err.count("\n") == 1


def test_an_errors_text_cannot_steer_the_terminal(run: Run, daemon: FakeDaemon) -> None:
    daemon.on("GET", STATUS, error(400, "X", "a\x1b[31mb\nc", ["d\x07"]))
    assert run("status").err == "nexusd: a\\x1b[31mb\\x0ac; d\\x07\n"


def test_a_path_before_the_api_is_kept(run: Run, daemon: FakeDaemon) -> None:
    daemon.on("GET", f"/nexusd{STATUS}", Answer({}))
    assert run("status", "--url", f"{daemon.url}/nexusd/").code == 0


@pytest.mark.parametrize(
    "url", ["ftp://x", "x", "http://", "http://a:b", "http://u:p@x", "http://x?y", "http://x/\r\nA: b"]
)
def test_a_url_that_cannot_be_used_exits_2(run: Run, url: str) -> None:
    ran = run("status", "--url", url)
    assert ran.code == 2
    assert ran.err.count("\n") == 1


def test_a_token_that_cannot_be_sent_exits_2(run: Run) -> None:
    ran = run("status", "--token", "a\r\nX-Evil: 1")
    assert ran.code == 2
    assert "Evil" not in ran.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("explain", "\udcff"),
        ("instances", "--name", "\udcff"),
        ("placements", "\udcff"),
        ("cancel", "\udcff"),
    ],
)
def test_what_is_no_text_is_a_usage_error(run: Run, daemon: FakeDaemon, arguments: tuple[str, ...]) -> None:
    """The shell gave bytes that are nothing in its encoding."""
    ran = run(*arguments)
    assert (ran.code, len(ran.err.splitlines())) == (2, 1)
    assert "is not text" in ran.err
    assert daemon.requests == []


@pytest.mark.parametrize("url", ["http://a..b:1", f"http://{'x' * 64}.example"])
def test_a_host_that_can_be_none_is_a_usage_error(run: Run, url: str) -> None:
    ran = run("regions", "--url", url)
    assert (ran.code, len(ran.err.splitlines())) == (2, 1)
    assert "is not a URL" in ran.err
