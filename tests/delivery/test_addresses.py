"""Which addresses a receiver may be at."""

from __future__ import annotations

import asyncio
import socket
from ipaddress import ip_address

import pytest

from nexusd.core.errors import InputError
from nexusd.delivery.addresses import AddressPolicy, AddressRefusedError
from nexusd.delivery.http import HttpOptions
from nexusd.delivery.webhook import WebhookOptions, WebhookReceiver
from tests.delivery.receivers import endpoint, message
from tests.virtual_time import VirtualClock

NEVER = [
    "169.254.169.254",
    "169.254.1.1",
    "fe80::1",
    "fd00:ec2::254",
    "fd00:ec2::23",
    "fd20:ce::254",
    "fd00:c1::a9fe:a9fe",
    "fd00:42::42",
    "fd00:a9fe:a9fe::1",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "::ffff:169.254.169.254",
    "::ffff:100.100.100.200",
    "::ffff:168.63.129.16",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b::100.100.100.200",
    "64:ff9b:1::a9fe:a9fe",
    "2002:a9fe:a9fe::1",
    "2002:6464:64c8::1",
    "2001:0:53aa:64c:0:0:5601:5601",
    "::a9fe:a9fe",
    "0.0.0.0",
    "::",
    "224.0.0.1",
    "ff02::1",
    "255.255.255.255",
]
PRIVATE = [
    "127.0.0.1",
    "::1",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "fc00::1",
    "::ffff:10.0.0.1",
]
PUBLIC = ["93.184.216.34", "2606:2800:220:1::1", "::ffff:93.184.216.34"]


@pytest.mark.parametrize("address", NEVER)
@pytest.mark.parametrize("host", ["localhost", "receiver", "hooks.example.com"])
def test_these_are_refused_whatever_names_them(host: str, address: str) -> None:
    assert not AddressPolicy(host, ["0.0.0.0/0", "::/0"]).allows(ip_address(address))


@pytest.mark.parametrize("address", [a for a in NEVER if a not in ("0.0.0.0", "::")])
def test_a_url_with_such_an_address_is_refused_at_once(address: str) -> None:
    with pytest.raises(InputError):
        AddressPolicy(address)


@pytest.mark.parametrize("address", PRIVATE)
def test_a_public_name_may_not_lead_to_a_private_address(address: str) -> None:
    assert not AddressPolicy("hooks.example.com").allows(ip_address(address))


@pytest.mark.parametrize("address", PRIVATE)
@pytest.mark.parametrize(
    "host",
    ["10.0.0.1", "::1", "localhost", "alertmanager", "hooks.internal", "a.svc.cluster.local", "x.home.arpa"],
)
def test_a_private_name_or_address_may(host: str, address: str) -> None:
    assert AddressPolicy(host).allows(ip_address(address))


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_open_to_all(address: str) -> None:
    assert AddressPolicy("hooks.example.com").allows(ip_address(address))


def test_a_network_that_is_configured_is_open_to_a_public_name() -> None:
    policy = AddressPolicy("hooks.corp.example.com", ["10.0.0.0/8"])
    assert policy.allows(ip_address("10.1.2.3"))
    assert not policy.allows(ip_address("192.168.1.1"))


def test_no_socket_is_made_for_a_refused_address() -> None:
    info = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", 80))
    with pytest.raises(AddressRefusedError):
        AddressPolicy("hooks.example.com").make_socket(info)


async def test_a_public_name_that_resolves_to_loopback_reaches_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def resolve(_: object, host: str, port: int, **__: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    async with endpoint() as far_end:
        port = far_end.url.rsplit(":", 1)[1].split("/")[0]
        monkeypatch.setattr(type(asyncio.get_running_loop()), "getaddrinfo", resolve)
        rebound = WebhookReceiver(
            WebhookOptions("ops", HttpOptions(f"http://hooks.example.com:{port}/")), VirtualClock()
        )
        private = WebhookReceiver(
            WebhookOptions("ops", HttpOptions(f"http://receiver:{port}/")), VirtualClock()
        )
        refused, delivered = await rebound.send(message()), await private.send(message(2))
        await rebound.close()
        await private.close()
        assert (refused.outcome, refused.code) == ("retry", "address")
        assert "127" not in refused.detail
        assert delivered.outcome == "delivered"
        assert far_end.ids == ["msg_000002"]
