"""TLS fails closed: expired, another host's, an unknown authority, and a CA file may change."""

from __future__ import annotations

import shutil
import ssl
from pathlib import Path

import pytest

from nexusd.core.answers import CreateRequest, NotSent
from nexusd.core.errors import ConfigError, UnavailableError
from tests.cloud.server import KEY, Reply, chain_text, cloud, reply
from tests.virtual_time import VIRTUAL_EPOCH, in_virtual_time

CERTIFICATES = Path(__file__).parent / "certificates"
REQUEST = CreateRequest("worker-01", "us-east-1", "pro", "ubuntu-22.04")


def regions(request: object) -> Reply:
    return reply({"regions": []})


def server_tls(name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATES / f"{name}.pem")
    return context


@in_virtual_time
async def test_https_with_a_trusted_certificate_works() -> None:
    async with cloud(regions, tls=server_tls("right"), ca_file=CERTIFICATES / "right.pem") as c:
        await c.api.read_regions()
    assert c.server.base_url.startswith("https:")


@pytest.mark.parametrize(
    ("name", "trusted"), [("expired", "expired"), ("elsewhere", "elsewhere"), ("right", None)]
)
def test_a_certificate_that_is_not_right_fails_closed(name: str, trusted: str | None) -> None:
    @in_virtual_time
    async def scenario() -> None:
        ca_file = CERTIFICATES / f"{trusted}.pem" if trusted else None
        async with cloud(regions, tls=server_tls(name), ca_file=ca_file) as c:
            with pytest.raises(UnavailableError) as caught:
                await c.api.read_regions()
            answer = await c.api.create_instance(REQUEST, VIRTUAL_EPOCH + 10.0)
            assert not any(c.server.received)
        assert caught.value.reason == "tls"
        assert "certificate" in str(caught.value)
        assert KEY not in chain_text(caught.value)
        assert isinstance(answer, NotSent)

    scenario()


@in_virtual_time
async def test_a_ca_file_that_changes_is_read_again(tmp_path_factory: pytest.TempPathFactory) -> None:
    ca_file = tmp_path_factory.mktemp("ca") / "ca.pem"
    shutil.copy(CERTIFICATES / "elsewhere.pem", ca_file)
    async with cloud(regions, tls=server_tls("right"), ca_file=ca_file) as c:
        with pytest.raises(UnavailableError):
            await c.api.read_regions()
        shutil.copy(CERTIFICATES / "right.pem", ca_file)
        await c.api.read_regions()


@in_virtual_time
async def test_a_certificate_that_leaves_the_ca_file_is_trusted_no_more(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    ca_file = tmp_path_factory.mktemp("ca") / "ca.pem"
    shutil.copy(CERTIFICATES / "right.pem", ca_file)
    async with cloud(regions, tls=server_tls("right"), ca_file=ca_file) as c:
        await c.api.read_regions()
        shutil.copy(CERTIFICATES / "elsewhere.pem", ca_file)
        with pytest.raises(UnavailableError):
            await c.api.read_regions()


@pytest.mark.parametrize("content", [None, "", "not a certificate"])
def test_a_ca_file_that_breaks_leaves_the_last_good_one_with_one_warning(
    content: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ca_file = tmp_path / "ca.pem"
    shutil.copy(CERTIFICATES / "right.pem", ca_file)

    @in_virtual_time
    async def scenario() -> None:
        async with cloud(regions, tls=server_tls("right"), ca_file=ca_file) as c:
            await c.api.read_regions()
            if content is None:
                ca_file.unlink()
            else:
                ca_file.write_text(content)
            await c.api.read_regions()
            await c.api.read_regions()

    scenario()
    logged = capsys.readouterr().out
    assert logged.count("api_ca_file_reload_failed") == 1
    assert str(ca_file) in logged


@in_virtual_time
async def test_a_ca_file_that_cannot_be_used_is_a_configuration_error(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    ca_file = tmp_path_factory.mktemp("ca") / "ca.pem"
    for _ in range(2):
        with pytest.raises(ConfigError, match=str(ca_file)):
            async with cloud(regions, tls=server_tls("right"), ca_file=ca_file):
                pass
        ca_file.write_text("not a certificate")
