"""The image builds, and what it says about itself holds: no privileges, a read-only root, a health check."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.packaging.images import Image
from tests.packaging.machines import API_KEY, free_port, need, run, status_of, wait_for

need("debootstrap", "buildah", "unshare", "setpriv", "chroot", "mount")

pytestmark = pytest.mark.slow

UID, GID = 65532, 65532

LAUNCH = """
set -eu
mount --bind "$ROOT" "$ROOT"
mount --bind "$STATE" "$ROOT/var/lib/nexusd"
mount -t proc proc "$ROOT/proc"
mount --rbind /dev "$ROOT/dev"
mount -o remount,bind,ro "$ROOT"
exec setpriv --no-new-privs chroot --userspec="$OWNER" --groups= "$ROOT" "$@"
"""
"""What an engine does for `docker run --read-only`: the image's root read-only, one volume, one process 1."""


@dataclass(frozen=True)
class Container:
    process: subprocess.Popen[bytes]
    port: int
    log: Path

    @property
    def pid(self) -> int:
        """The container's process 1, as this machine numbers it."""
        return int(Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()[0])

    def stop(self) -> int:
        os.kill(self.pid, signal.SIGTERM)
        return self.process.wait(30.0)


def inside(image: Image, state: Path, environment: Mapping[str, str], *command: str) -> list[str]:
    """The command line that runs the command in the image, with its environment and as its user."""
    variables = [*image.config["Env"], *(f"{name}={value}" for name, value in environment.items())]
    setting = ["env", f"ROOT={image.root}", f"STATE={state}", f"OWNER={image.config['User']}"]
    own_mounts = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation=private"]
    return [*setting, *own_mounts, "sh", "-c", LAUNCH, "sh", "/usr/bin/env", "-i", *variables, *command]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """The volume, given to the image's user as an engine does."""
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    os.chown(folder, UID, GID)
    return folder


@contextmanager
def running(image: Image, state: Path, cloud_url: str) -> Iterator[Container]:
    """The image's own command, until the block ends."""
    port = free_port()
    environment = {
        "NEXUSD_CLOUDNEXUS__BASE_URL": cloud_url,
        "NEXUSD_SERVER__LISTEN": f"127.0.0.1:{port}",
        "CN_API_KEY": API_KEY,
    }
    command = inside(image, state, environment, *image.config["Entrypoint"], *image.config["Cmd"])
    log = state.parent / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out)
        try:
            yield Container(process, port, log)
        finally:
            process.kill()
            process.wait(10.0)


def test_it_runs_without_privileges_on_a_read_only_root_and_ends_in_order(
    image: Image, state: Path, cloud_url: str
) -> None:
    with running(image, state, cloud_url) as container:
        try:
            wait_for(lambda: status_of(container.port, "/-/healthy") == 200, "/-/healthy", container.process)
            wait_for(lambda: status_of(container.port, "/-/ready") == 200, "/-/ready", container.process)
            status = dict(
                line.split(":\t", 1)
                for line in Path(f"/proc/{container.pid}/status").read_text().splitlines()
            )
            assert status["Uid"].split() == [str(UID)] * 4
            assert int(status["CapEff"], 16) == 0
            assert container.stop() == 0
        except BaseException:
            print(container.log.read_text())
            raise
    (kept,) = state.glob("nexusd.db")
    assert kept.stat().st_uid == UID
    assert stat.S_IMODE(kept.stat().st_mode) & 0o077 == 0
    assert API_KEY not in container.log.read_text()


def test_the_root_is_really_read_only_in_this_test(image: Image, state: Path) -> None:
    attempt = inside(image, state, {}, "python", "-c", "open('/opt/nexusd/x', 'w')")
    done = subprocess.run(attempt, capture_output=True, text=True, timeout=60.0, check=False)
    assert done.returncode != 0
    assert "Read-only file system" in done.stderr or "Permission denied" in done.stderr


def test_its_health_check_needs_no_shell_and_tells_health_from_sickness(
    image: Image, state: Path, cloud_url: str
) -> None:
    kind, *check = image.config["Healthcheck"]["Test"]
    assert kind == "CMD"
    with running(image, state, cloud_url) as container:
        wait_for(lambda: status_of(container.port, "/-/healthy") == 200, "/-/healthy", container.process)
        listening = {"NEXUSD_SERVER__LISTEN": f"127.0.0.1:{container.port}"}
        began = time.monotonic()
        run(inside(image, state, listening, *check))
        assert time.monotonic() - began < 3.0
        container.stop()
        sick = subprocess.run(inside(image, state, listening, *check), timeout=60.0, check=False)
        assert sick.returncode == 1


def test_what_the_image_says_of_itself(image: Image) -> None:
    assert image.config["User"] == f"{UID}:{GID}"
    assert image.config["StopSignal"] == "SIGTERM"
    assert (image.config["Entrypoint"], image.config["Cmd"]) == (["nexusd"], ["run"])
    assert not any("KEY" in variable for variable in image.config["Env"])


def test_nothing_that_only_builds_is_left_in_it(image: Image) -> None:
    assert not (image.root / "opt/build").exists()
    assert not (image.root / "src").exists()
    assert not (image.root / "opt/nexusd/bin/pip").exists()
