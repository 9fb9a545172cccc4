"""TLS to receivers: whom we trust, what we show, and files that change."""

from __future__ import annotations

import shutil
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from nexusd.core.errors import ConfigError
from nexusd.delivery.http import HttpOptions, HttpTarget
from nexusd.delivery.tls import TlsFiles
from nexusd.ports import Delivery
from tests.delivery.receivers import endpoint
from tests.virtual_time import VirtualClock, in_virtual_time

CERTIFICATES = Path(__file__).parents[1] / "cloud" / "certificates"
"""Each file has a certificate and its key: `right` is of 127.0.0.1, `elsewhere` of another host."""


def server_tls(name: str = "right", clients: str | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATES / f"{name}.pem")
    if clients is not None:
        context.load_verify_locations(CERTIFICATES / f"{clients}.pem")
        context.verify_mode = ssl.CERT_REQUIRED
    return context


@asynccontextmanager
async def target(url: str, **files: Path) -> AsyncIterator[HttpTarget]:
    options = HttpOptions(url, tls=TlsFiles(**files) if files else None)
    made = HttpTarget("ops", options, VirtualClock())
    try:
        yield made
    finally:
        await made.close()


async def asked(server: ssl.SSLContext, **files: Path) -> Delivery:
    async with endpoint(tls=server) as far_end, target(far_end.url, **files) as ops:
        return await ops.request("GET", None, {})


@in_virtual_time
async def test_the_authority_of_the_ca_file_is_trusted() -> None:
    assert (await asked(server_tls(), ca_file=CERTIFICATES / "right.pem")).outcome == "delivered"


@pytest.mark.parametrize(
    ("server", "trusted"),
    [("right", None), ("right", "elsewhere"), ("elsewhere", "elsewhere"), ("expired", "expired")],
)
def test_a_certificate_that_is_not_right_fails_closed(server: str, trusted: str | None) -> None:
    @in_virtual_time
    async def scenario() -> None:
        files = {"ca_file": CERTIFICATES / f"{trusted}.pem"} if trusted else {}
        delivery = await asked(server_tls(server), **files)
        assert (delivery.outcome, delivery.code) == ("retry", "tls")

    scenario()


@in_virtual_time
async def test_a_receiver_that_asks_for_a_certificate_is_shown_ours() -> None:
    server = server_tls(clients="right")
    ours = CERTIFICATES / "right.pem"
    assert (await asked(server, ca_file=ours, cert_file=ours)).outcome == "delivered"
    assert (await asked(server, ca_file=ours)).outcome == "retry"


@in_virtual_time
async def test_files_that_change_are_read_again_and_bad_ones_change_nothing(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    ca_file = tmp_path_factory.mktemp("ca") / "ca.pem"
    shutil.copy(CERTIFICATES / "elsewhere.pem", ca_file)
    async with endpoint(tls=server_tls()) as far_end, target(far_end.url, ca_file=ca_file) as ops:
        before = await ops.request("GET", None, {"Connection": "close"})
        shutil.copy(CERTIFICATES / "right.pem", ca_file)
        after = await ops.request("GET", None, {"Connection": "close"})
        ca_file.write_text("not a certificate")
        broken = await ops.request("GET", None, {"Connection": "close"})
        ca_file.unlink()
        gone = await ops.request("GET", None, {"Connection": "close"})
    assert [d.outcome for d in (before, after, broken, gone)] == [
        "retry",
        "delivered",
        "delivered",
        "delivered",
    ]


@pytest.mark.parametrize("kind", ["ca_file", "cert_file"])
def test_files_that_cannot_be_used_are_a_configuration_error(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "bad.pem"
    for _ in range(2):
        with pytest.raises(ConfigError, match=rf"receivers: ops: tls: cannot use {file}"):
            HttpTarget("ops", HttpOptions("https://example.com/", tls=TlsFiles(**{kind: file})), NoClock())
        file.write_text("not a certificate")


class NoClock:
    """ports.Clock for what never asks."""

    def now(self) -> float:
        raise AssertionError

    def utc_offset_s(self) -> float:
        raise AssertionError
