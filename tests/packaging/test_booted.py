"""The unit under a real systemd, booted in a container of systemd-nspawn that shares the loopback."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.packaging.images import Image
from tests.packaging.machines import (
    API_KEY,
    REPOSITORY,
    emulated_cloud,
    free_port,
    need,
    run,
    status_of,
    wait_for,
)

need("debootstrap", "buildah", "systemd-nspawn", "nsenter", "mount")

pytestmark = pytest.mark.slow

CONFIG = """\
cloudnexus: {{base_url: "{cloud_url}", timeout: 5s}}
polling: {{regions: 1s, instances: 1s}}
server: {{listen: "127.0.0.1:{port}"}}
log: {{level: {level}}}
"""
QUICK = "[Service]\nWatchdogSec=3s\nTimeoutStartSec=4s\n"
SERVICE = "nexusd.service"


@dataclass(frozen=True)
class Machine:
    """A booted system with the unit installed. `leader`: its process 1, as this machine numbers it."""

    root: Path
    leader: int
    port: int
    cloud_url: str

    def command(self, *words: str) -> list[str]:
        return _inside(self.leader, *words)

    def systemctl(self, *words: str) -> str:
        return run(self.command("systemctl", *words), timeout_s=120.0)

    def shows(self, name: str) -> str:
        return self.systemctl("show", SERVICE, f"--property={name}", "--value").strip()

    def journal(self) -> str:
        return run(self.command("journalctl", "--no-pager", "--output=cat", f"--unit={SERVICE}"))

    def configure(self, level: str = "info", cloud_url: str | None = None) -> None:
        text = CONFIG.format(cloud_url=cloud_url or self.cloud_url, port=self.port, level=level)
        (self.root / "etc/nexusd/nexusd.yaml").write_text(text)


def _inside(leader: int, *words: str) -> list[str]:
    """A command run in the system whose process 1 this is."""
    entered = ("mount", "pid", "ipc", "uts", "root", "wd")
    return ["nsenter", f"--target={leader}", *(f"--{what}" for what in entered), *words]


@contextmanager
def overlaid(image: Image, folder: Path) -> Iterator[Path]:
    """A copy of the image's folder to write to, that costs nothing."""
    for name in ("upper", "work", "root"):
        (folder / name).mkdir()
    layers = f"lowerdir={image.root},upperdir={folder / 'upper'},workdir={folder / 'work'}"
    run(["mount", "-t", "overlay", "overlay", "-o", layers, folder / "root"])
    try:
        yield folder / "root"
    finally:
        run(["umount", "--lazy", folder / "root"])


def install(root: Path) -> None:
    """As docs/running.md says: the program is in /opt/nexusd, the unit and the key where systemd looks."""
    shutil.copy(REPOSITORY / "systemd/nexusd.service", root / "etc/systemd/system/nexusd.service")
    overrides = root / "etc/systemd/system/nexusd.service.d"
    overrides.mkdir()
    (overrides / "quick.conf").write_text(QUICK)
    key = root / "etc/credstore/nexusd.cloudnexus.api_key"
    key.parent.mkdir(mode=0o700, exist_ok=True)
    key.write_text(f"{API_KEY}\n")
    key.chmod(0o600)
    (root / "etc/machine-id").write_text("")
    (root / "var/lib/nexusd").rmdir()  # the image's; systemd makes its own


@pytest.fixture(scope="module")
def machine(image: Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    folder = tmp_path_factory.mktemp("machine")
    with emulated_cloud() as cloud_url, overlaid(image, folder) as root:
        install(root)
        nspawn = [
            "systemd-nspawn",
            "--quiet",
            "--keep-unit",
            "--register=no",
            "--boot",
            f"--directory={root}",
        ]
        with (folder / "console").open("wb") as console:
            process = subprocess.Popen(nspawn, stdin=subprocess.DEVNULL, stdout=console, stderr=console)
        try:
            leader = wait_for(lambda: _booted(process.pid), "the boot", process, timeout_s=90.0)
            machine = Machine(root, leader, free_port(), cloud_url)
            machine.configure()
            yield machine
        except BaseException:
            print((folder / "console").read_text(errors="replace")[-4000:])
            raise
        finally:
            process.terminate()
            try:
                process.wait(20.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _booted(nspawn: int) -> int | None:
    """The process 1 of a system that is up. Asked anew each time: at first nspawn has another child, which
    makes the namespaces.
    """
    for child in Path(f"/proc/{nspawn}/task/{nspawn}/children").read_text().split():
        asked = subprocess.run(
            _inside(int(child), "systemctl", "is-system-running"), capture_output=True, text=True, check=False
        )
        if asked.stdout.strip() in ("running", "degraded"):
            return int(child)
    return None


@pytest.fixture
def started(machine: Machine) -> Iterator[Machine]:
    machine.systemctl("start", SERVICE)
    yield machine
    machine.systemctl("stop", SERVICE)


def test_a_start_returns_when_the_daemon_is_ready(started: Machine) -> None:
    assert started.shows("ActiveState") == "active"
    assert status_of(started.port, "/-/ready") == 200
    assert "instances" in started.shows("StatusText")


def test_a_start_waits_for_a_cloud_that_cannot_be_reached(machine: Machine) -> None:
    machine.configure(cloud_url=f"http://127.0.0.1:{free_port()}/v1")
    try:
        machine.systemctl("start", "--no-block", SERVICE)
        time.sleep(10.0)  # more than twice TimeoutStartSec
        assert machine.shows("ActiveState") == "activating"
        assert machine.shows("NRestarts") == "0"
    finally:
        machine.systemctl("stop", SERVICE)
        machine.configure()


def test_it_runs_as_nobody_in_particular(started: Machine) -> None:
    leader, pid = started.leader, started.shows("MainPID")
    status = Path(f"/proc/{leader}/root/proc/{pid}/status").read_text()
    found = re.search(r"(?m)^Uid:\t(\d+)", status)
    assert found is not None
    assert int(found[1]) >= 61184  # systemd's range for DynamicUser


def test_the_key_comes_as_a_credential_and_is_not_in_the_journal(started: Machine) -> None:
    assert (started.root / "etc/credstore/nexusd.cloudnexus.api_key").stat().st_mode & 0o077 == 0
    assert API_KEY not in started.journal()


def test_its_process_is_measured(started: Machine) -> None:
    """Which wants /proc/stat; rules and dashboards go by it."""
    with urllib.request.urlopen(f"http://127.0.0.1:{started.port}/metrics") as answer:
        metrics = answer.read().decode()
    for name in ("start_time_seconds", "cpu_seconds_total", "resident_memory_bytes", "open_fds"):
        assert re.search(rf"(?m)^process_{name} [0-9.]", metrics), name


def test_a_daemon_that_hangs_is_restarted_by_the_watchdog(started: Machine) -> None:
    before = started.shows("MainPID")
    run(started.command("kill", "-STOP", before))
    began = time.monotonic()
    wait_for(lambda: started.shows("MainPID") not in (before, "0"), "another process", timeout_s=30.0)
    assert time.monotonic() - began < 20.0
    assert int(started.shows("NRestarts")) >= 1
    wait_for(lambda: started.shows("ActiveState") == "active", "active again")


def test_a_reload_takes_the_new_configuration_without_a_new_process(started: Machine) -> None:
    before = started.shows("MainPID")
    started.configure(level="debug")
    started.systemctl("reload", SERVICE)
    wait_for(lambda: "configuration_reloaded" in started.journal(), "the reload")
    assert started.shows("MainPID") == before
    wait_for(lambda: started.shows("ActiveState") == "active", "active again")
    started.configure()


def test_a_stop_is_clean(machine: Machine) -> None:
    machine.systemctl("start", SERVICE)
    before = machine.journal()
    began = time.monotonic()
    machine.systemctl("stop", SERVICE)
    assert time.monotonic() - began < 10.0
    said = machine.journal().removeprefix(before)
    assert "nexusd.service: Deactivated successfully." in said
    assert "Main process exited" not in said  # systemd says this of a bad status or a signal
    assert "Traceback" not in said


def test_its_state_stays_and_is_its_own(machine: Machine) -> None:
    machine.systemctl("start", SERVICE)
    machine.systemctl("stop", SERVICE)
    assert run(machine.command("stat", "--format=%a", "/var/lib/private/nexusd")).strip() == "700"
    run(machine.command("test", "-s", "/var/lib/private/nexusd/nexusd.db"))


def test_a_wrong_configuration_is_not_tried_again(machine: Machine) -> None:
    (machine.root / "etc/nexusd/nexusd.yaml").write_text("cloudnexsus: {}\n")
    try:
        asked = subprocess.run(machine.command("systemctl", "start", SERVICE), check=False, timeout=60.0)
        assert asked.returncode != 0
        assert machine.shows("ExecMainStatus") == "2"
        assert machine.shows("ActiveState") == "failed"
    finally:
        machine.configure()
        machine.systemctl("reset-failed", SERVICE)
