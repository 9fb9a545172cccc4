"""What can be known after `POST /instances`. Made by `cloud/`, judged by `core.lifecycle`."""

from __future__ import annotations

from dataclasses import dataclass

from nexusd.core.records import Instance

UNKNOWN = "unknown"
"""The kind of an answer that tells nothing about why."""


@dataclass(frozen=True, slots=True)
class CreateRequest:
    """The body of `POST /instances` (reference: POST /instances)."""

    name: str
    region: str
    plan: str
    image: str
    ssh_keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Created:
    """A 2xx. `instance` is None when the answer has no id (the reference's own example has none)."""

    instance: Instance | None


@dataclass(frozen=True, slots=True)
class Refused:
    """A documented refusal: a 4xx, so nothing was made. The classes are in `cloud/refusals.py`.

    `kind`: rejected, capacity, quota, auth, throttled, unavailable. `scope`: request, region, account.
    `message` and `details` are the provider's own words. `retry_after_s` as it asked, clamped, or None.
    """

    status: int
    code: str
    message: str
    kind: str
    scope: str
    details: object = None
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class NotSent:
    """No byte of the request left this machine: refused connection, open circuit, passed deadline."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """Bytes were sent and no definite answer came back: in doubt means stop.

    `kind`, `scope` and `code` are what the answer, if there was one, says once it is proven that nothing was
    made: the classes of `Refused`, and the kind `unknown` when it says nothing.
    """

    reason: str
    kind: str = UNKNOWN
    scope: str = "region"
    code: str = ""


CreateAnswer = Created | Refused | NotSent | Unknown
