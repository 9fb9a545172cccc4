"""`nexusd demo`: where it serves, and how its lines look. That it plays to its end is for .ci/run to see."""

from __future__ import annotations

import re
import socket

import pytest

from nexusd.cli.demo_stage import Stage, _free, _url
from tests.cli.conftest import Run
from tests.cli.test_terminal import on_a_terminal


def test_a_port_that_is_taken_is_said_before_anything_is_played(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        ran = run("demo", "--listen", address)
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == (
        f"nexusd: cannot listen on {address}: address already in use; "
        "choose another by --listen (port 0: any that is free)\n"
    )


@pytest.mark.parametrize("address", ["foo", "127.0.0.1", "127.0.0.1:99999", "127.0.0.1:http"])
def test_an_address_that_is_none_is_wrong_usage(run: Run, address: str) -> None:
    ran = run("demo", "--listen", address)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == f"nexusd: --listen {address!r} is not an address and port such as 127.0.0.1:9650\n"


async def test_port_0_is_one_that_is_free() -> None:
    host, port = await _free("127.0.0.1:0")
    with socket.create_server((host, port)):
        pass


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("", "http://127.0.0.1:1"),
        ("0.0.0.0", "http://127.0.0.1:1"),
        ("::", "http://[::1]:1"),
        ("::1", "http://[::1]:1"),
    ],
)
def test_what_serves_everywhere_is_looked_at_on_loopback(host: str, url: str) -> None:
    assert _url(host, 1) == url


def test_a_pipe_gets_one_plain_line(capsys: pytest.CaptureFixture[str]) -> None:
    Stage().line("webhook", "word " * 40 + "\x1b[2J", "31")
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert "\x1b" not in out


@pytest.mark.slow  # the daemon is started
def test_a_narrow_terminal_gets_lines_that_fit() -> None:
    code, shown = on_a_terminal("demo", "--listen", ":0", "--duration", "1s", rows=24, columns=60)
    assert code == 0
    assert "\x1b[36m" in shown
    lines = re.sub(r"\x1b\[[0-9;]*m", "", shown).splitlines()
    assert max(map(len, lines)) <= 60
    assert any(line.startswith(" " * 19) for line in lines)


@pytest.mark.slow  # the daemon is started
def test_no_color_is_honoured() -> None:
    code, shown = on_a_terminal("demo", "--listen", ":0", "--duration", "1s", NO_COLOR="1")
    assert code == 0
    assert "\x1b" not in shown
