"""What the packaging tests are run on: a Debian folder, an emulated cloud, free ports, patience."""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

REPOSITORY = Path(__file__).parents[2]
MIRROR = os.environ.get("NEXUSD_TEST_DEBIAN_MIRROR", "http://deb.debian.org/debian")
PACKAGES = ("systemd", "systemd-sysv", "dbus", "procps", "python3", "python3-venv")
API_KEY = "packaging-test-key-3f9c1d"

T = TypeVar("T")


def need(*programs: str) -> None:
    """Skip the module where the programs, or root, are missing; in CI that is an error."""
    missing = [
        name for name in programs if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None
    ]
    if os.geteuid() != 0:
        missing.append("root")
    if missing and os.environ.get("NEXUSD_CI"):
        raise RuntimeError(f"these tests need {', '.join(missing)}")
    if missing:
        pytest.skip(f"needs {', '.join(missing)}", allow_module_level=True)


def cache() -> Path:
    """Where things that take minutes to make are kept from run to run."""
    folder = Path(os.environ.get("NEXUSD_TEST_CACHE") or Path(tempfile.gettempdir()) / "nexusd-test-cache")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def run(command: Sequence[str | Path], timeout_s: float = 60.0, env: Mapping[str, str] | None = None) -> str:
    """Its stdout; fails with everything it printed."""
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        env={**os.environ, **(env or {})},
        check=False,
    )
    words = " ".join(map(str, command))
    assert done.returncode == 0, (
        f"{words}\nexit code {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    )
    return done.stdout


def debian() -> Path:
    """A folder with a minimal Debian that can boot and has Python; made once."""
    folder = cache() / f"debian-bookworm-{zlib.crc32(' '.join(PACKAGES).encode()):08x}"
    if folder.exists():
        return folder
    unfinished = Path(tempfile.mkdtemp(prefix="debian-", dir=cache()))
    unfinished.chmod(0o755)
    debootstrap: list[str | Path] = [
        "debootstrap",
        "--variant=minbase",
        f"--include={','.join(PACKAGES)}",
        "bookworm",
        unfinished,
        MIRROR,
    ]
    run(debootstrap, timeout_s=900.0)
    return unfinished.rename(folder)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def emulated_cloud() -> Iterator[str]:
    """An emulated CloudNexus on loopback; its base URL."""
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "nexusd",
        "emulate",
        "--listen",
        f"127.0.0.1:{port}",
        "--api-key",
        API_KEY,
    ]
    process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL)
    try:
        wait_for(lambda: status_of(port, "/v1/regions") == 401, "the emulated cloud", process)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(10.0)


def status_of(port: int, path: str) -> int | None:
    """The status of a GET, None while nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5.0)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except OSError:
        return None
    finally:
        connection.close()


def wait_for(
    there: Callable[[], T | None],
    what: str,
    process: subprocess.Popen[bytes] | None = None,
    timeout_s: float = 30.0,
) -> T:
    """Ask every 50 ms until it is truthy; fails when it takes too long, or when the process has ended."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        answer = there()
        if answer:
            return answer
        assert process is None or process.poll() is None, f"{what}: the process has ended"
        time.sleep(0.05)
    pytest.fail(f"{what}: nothing after {timeout_s} s")
