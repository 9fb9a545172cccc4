"""Which addresses a receiver's connections may go to (docs/alerting.md, Addresses). Used by `webhook`.

The check is made when a socket is made, so it holds for literal addresses and for whatever a name resolves
to at that moment: a name that is pointed at the inside of a network after it was configured gains nothing.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeAlias

from nexusd.core.errors import InputError

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

METADATA = frozenset(
    ip_address(text)
    for text in (
        "169.254.169.254",  # most clouds; all of 169.254.0.0/16 is refused as link-local
        "fd00:ec2::254",  # AWS: instance metadata
        "fd00:ec2::23",  # AWS: EKS Pod Identity
        "fd20:ce::254",  # Google Cloud
        "100.100.100.200",  # Alibaba Cloud
        "168.63.129.16",  # Azure
        "192.0.0.192",  # Oracle Cloud
        "fd00:c1::a9fe:a9fe",  # Oracle Cloud
        "fd00:42::42",  # Scaleway
        "fd00:a9fe:a9fe::1",  # Akamai (Linode)
    )
)
"""Addresses at which clouds serve credentials to the machines inside them."""

PRIVATE_SUFFIXES = frozenset(
    {"localhost", "local", "localdomain", "internal", "intranet", "private", "lan", "home", "corp"}
    | {"home.arpa", "svc", "test"}
)
_NAT64 = (ip_network("64:ff9b::/96"), ip_network("64:ff9b:1::/48"))
"""RFC 6052 and RFC 8215; the IPv4 address is the last 32 bits, as under any /96 prefix."""


class AddressRefusedError(OSError):
    """The address is one that no receiver may be at. Its errno tells it from other failures to connect."""

    def __init__(self) -> None:
        super().__init__(errno.EACCES, "the address is refused")


class AddressPolicy:
    """What the URL of one receiver names. Raises `InputError` for a host that can never be connected to.

    Private and loopback addresses are allowed when the host is such an address itself, or a name that can
    only be a private one: a single label, or under one of `PRIVATE_SUFFIXES`. A name in the public tree is
    not, unless `networks` has the address.
    """

    def __init__(self, host: str, networks: Iterable[str] = ()) -> None:
        literal = _literal(host)
        self._private_named = literal is not None or private_name(host)
        self._networks = [ip_network(text) for text in networks]
        if literal is not None and not self.allows(literal):
            raise InputError("the URL's address is link-local, reserved or a metadata service", "url")

    def allows(self, address: Address) -> bool:
        judged = _stands_for(address)
        if _never(judged):
            return False
        return judged.is_global or self._private_named or any(judged in network for network in self._networks)

    def make_socket(self, info: tuple[int, int, int, str, tuple[object, ...]]) -> socket.socket:
        """For aiohttp's connector. Raises `AddressRefusedError`."""
        family, kind, proto, _, where = info
        address = _literal(str(where[0]))
        if address is None or not self.allows(address):
            raise AddressRefusedError
        return socket.socket(family, kind, proto)


def private_name(host: str) -> bool:
    """Whether a name can only be meant for a private network."""
    labels = host.rstrip(".").lower().split(".")
    return len(labels) == 1 or labels[-1] in PRIVATE_SUFFIXES or ".".join(labels[-2:]) in PRIVATE_SUFFIXES


def _literal(host: str) -> Address | None:
    try:
        return ip_address(host.partition("%")[0])
    except ValueError:
        return None


def _stands_for(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 address embeds, else the address itself."""
    if isinstance(address, IPv4Address):
        return address
    if any(address in network for network in _NAT64):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    teredo_client = address.teredo[1] if address.teredo is not None else None
    return address.ipv4_mapped or address.sixtofour or teredo_client or address


def _never(address: Address) -> bool:
    if address.is_loopback:
        return False
    special = address.is_link_local or address.is_multicast or address.is_unspecified or address.is_reserved
    return special or address in METADATA
