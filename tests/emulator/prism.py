"""Prism, a mock server that knows CloudNexus only from the OpenAPI description.

A test module imports the fixture `prism_url` from here to point any client at it.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.npm import install

DESCRIPTION = Path(__file__).parents[1] / "cloudnexus.openapi.yaml"
_PACKAGE = "@stoplight/prism-cli@5.14.2"
_START_WITHIN_S = 60


@pytest.fixture(scope="session")
def prism_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `prism` command: the machine's, else installed by npm into a temporary folder."""
    found = shutil.which("prism")
    if found is not None:
        return Path(found)
    return install(tmp_path_factory.mktemp("prism"), _PACKAGE) / ".bin" / "prism"


@pytest.fixture
def prism_url(prism_program: Path, tmp_path: Path) -> Iterator[str]:
    """The base URL of a Prism that answers from tests/cloudnexus.openapi.yaml; any bearer key is accepted.

    Where Prism needs a hint which documented answer to give, send `Prefer: code=429` and the like.
    """
    port = _free_port()
    log = tmp_path / "prism.log"
    command = [str(prism_program), "mock", "--host", "127.0.0.1", "--port", str(port), str(DESCRIPTION)]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=_environment())
    try:
        _await_listening(process, port, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=10)


def _environment() -> dict[str, str]:
    return {**os.environ, "NO_COLOR": "1", "CI": "1"}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _await_listening(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    until = time.monotonic() + _START_WITHIN_S
    while time.monotonic() < until and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    pytest.fail(f"prism does not listen on port {port}: {log.read_text(errors='replace')[-2000:]}")
