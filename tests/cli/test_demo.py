"""`nexusd demo`: where it serves, and how its lines look. That it plays to its end is for .ci/run to see."""

from __future__ import annotations

import asyncio
import errno
import io
import os
import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from nexusd.cli.demo_stage import Stage, _free, _together, _url
from nexusd.core.errors import StartError
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
    Stage(asyncio.Event()).line("webhook", "word " * 40 + "\x1b[2J", "31")
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert "\x1b" not in out


def test_a_line_that_cannot_be_printed_stops_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    stop = asyncio.Event()
    stage = Stage(stop)
    monkeypatch.setattr("sys.stdout", Full())
    stage.say("one")
    stage.say("two")
    assert stop.is_set()
    assert stage.failure is not None
    assert stage.failure.errno == errno.ENOSPC


async def test_the_part_that_ends_first_stops_the_other_before_its_error_is_raised() -> None:
    stop, ended = asyncio.Event(), False

    async def daemon() -> None:
        nonlocal ended
        await stop.wait()
        await asyncio.sleep(0)
        ended = True

    async def audience() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(fail())

    async def fail() -> None:
        raise StartError("no room")

    with pytest.raises(StartError, match="no room"):
        await _together(daemon(), audience(), stop)
    assert ended


@pytest.mark.slow  # the daemon is started
@pytest.mark.parametrize(
    ("output", "code", "said"),
    [("| head -1", 0, ""), ("> /dev/full", 1, "nexusd: cannot write: No space left on device")],
)
def test_an_output_that_ends_leaves_no_folder_and_no_traceback(
    tmp_path: Path, output: str, code: int, said: str
) -> None:
    command = f"{shlex.quote(sys.executable)} -m nexusd demo --listen 127.0.0.1:0 {output}"
    ran = subprocess.run(
        ["bash", "-c", f"{command}; exit ${{PIPESTATUS[0]}}"],
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert (ran.returncode, ran.stderr.strip()) == (code, said)
    assert list(tmp_path.iterdir()) == []


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
