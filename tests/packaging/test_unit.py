"""The unit file, judged without a running systemd."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from nexusd.settings.sections import Server

UNIT = Path(__file__).parents[2] / "systemd" / "nexusd.service"

if shutil.which("systemd-analyze") is None:
    if os.environ.get("NEXUSD_CI"):
        raise RuntimeError("systemd-analyze is missing")
    pytest.skip("needs systemd-analyze", allow_module_level=True)


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = ["systemd-analyze", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60.0, check=False)


def test_its_exposure_is_at_most_1_5() -> None:
    judged = analyze("security", "--offline=yes", "--threshold=15", UNIT)
    assert judged.returncode == 0, judged.stdout


def test_a_unit_without_the_hardening_would_not_pass(tmp_path: Path) -> None:
    bare = tmp_path / "nexusd.service"
    bare.write_text(re.sub(r"(?m)^(Protect|Private|Restrict|Capability|SystemCall).*$", "", UNIT.read_text()))
    assert analyze("security", "--offline=yes", "--threshold=15", bare).returncode != 0


def verified(folder: Path, text: str) -> str:
    """What `verify` says of the unit; the program, which is not installed here, is replaced."""
    unit = folder / "nexusd.service"
    unit.write_text(text.replace("/opt/nexusd/bin/nexusd", shutil.which("true") or "/bin/true"))
    done = analyze("verify", "--man=no", unit)
    return done.stdout + done.stderr


def test_systemd_has_nothing_to_say_about_it(tmp_path: Path) -> None:
    assert verified(tmp_path, UNIT.read_text()) == ""


def test_systemd_would_name_an_unknown_key(tmp_path: Path) -> None:
    assert "ProtectEverything" in verified(tmp_path, UNIT.read_text() + "[Service]\nProtectEverything=yes\n")


def test_a_stop_is_given_longer_than_the_daemon_takes() -> None:
    found = re.search(r"(?m)^TimeoutStopSec=(\d+)s$", UNIT.read_text())
    assert found is not None
    assert int(found[1]) > Server().shutdown_timeout_s + 10.0
