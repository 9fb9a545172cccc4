"""Processes that are measured: started, asked for what they have cost (from /proc, so Linux only), ended."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nexusd.emulator.options import DEMO_API_KEY

READY_WITHIN_S = 60.0
END_WITHIN_S = 30.0
LOOK_EVERY_S = 0.02
ELSEWHERE = 10
"""The niceness of what would be on other machines: it gets what the daemon leaves of the processors."""


@dataclass(frozen=True, slots=True)
class Process:
    """One that runs: whatever was started, or nexusd with where it listens."""

    pid: int
    url: str = ""

    def cpu_s(self) -> float:
        """User and system time so far of all threads."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        user, system = fields[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def rss_mb(self) -> float:
        return self._memory("VmRSS:")

    def peak_mb(self) -> float:
        """Resident memory at its highest since the start."""
        return self._memory("VmHWM:")

    def _memory(self, name: str) -> float:
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.partition(name)[2].split()[0]) / 1024


@contextmanager
def program(arguments: Sequence[str], ready_url: str) -> Iterator[Process]:
    """Run a program until the block ends; the block begins when the URL answers 200."""
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL)
    try:
        wait_for(ready_url, process)
        yield Process(process.pid)
    finally:
        end(process)


@contextmanager
def nexusd_run(settings: Mapping[str, str], ready_path: str = "/-/ready") -> Iterator[Process]:
    """`nexusd run` with these settings in its environment, and a store and a port of its own."""
    with tempfile.TemporaryDirectory() as folder:
        environment = nexusd_environment(Path(folder), settings)
        url = "http://" + environment["NEXUSD_SERVER__LISTEN"]
        process = subprocess.Popen([sys.executable, "-m", "nexusd", "run"], env=environment)
        try:
            wait_for(url + ready_path, process)
            yield Process(process.pid, url)
        finally:
            end(process)


def nexusd_environment(folder: Path, settings: Mapping[str, str]) -> dict[str, str]:
    """For a daemon with its store in the folder and a port of its own, beside an emulated cloud."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("NEXUSD_")},
        "CN_API_KEY": DEMO_API_KEY,
        "NEXUSD_SERVER__LISTEN": f"127.0.0.1:{free_port()}",
        "NEXUSD_STORE__URL": f"sqlite:///{folder}/nexusd.db",
        "NEXUSD_LOG__LEVEL": "error",
        **settings,
    }


@contextmanager
def emulated_cloud(instances: int, *arguments: str) -> Iterator[str]:
    """`nexusd emulate` with so many instances; its base URL."""
    address = f"127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "nexusd", "emulate", "--listen", address, "--instances", str(instances)]
    process = subprocess.Popen([*command, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.setpriority(os.PRIO_PROCESS, process.pid, ELSEWHERE)
    try:
        wait_for_port(address, process)
        yield f"http://{address}/v1"
    finally:
        end(process)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(url: str, process: subprocess.Popen[bytes], within_s: float = READY_WITHIN_S) -> None:
    """Until it answers 200. Raises `RuntimeError` when the process ends before, or takes longer."""
    until = time.monotonic() + within_s
    while not _answers(url):
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with {process.returncode}")
        if time.monotonic() > until:
            raise RuntimeError(f"{url} was not there within {within_s:.0f} s")
        time.sleep(LOOK_EVERY_S)


def wait_for_port(address: str, process: subprocess.Popen[bytes], within_s: float = READY_WITHIN_S) -> None:
    """Until somebody listens there. Raises `RuntimeError` as `wait_for`."""
    host, _, port = address.rpartition(":")
    until = time.monotonic() + within_s
    while True:
        try:
            socket.create_connection((host, int(port))).close()
        except OSError:
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"nobody listens at {address}") from None
            time.sleep(LOOK_EVERY_S)
        else:
            return


def end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(END_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5.0):
            return True
    except (urllib.error.URLError, OSError):
        return False
