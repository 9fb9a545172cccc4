"""What can be known after `POST /instances`. Made by `cloud/`, judged by `core.lifecycle`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from nexusd.core.records import Instance

Kind = Literal["rejected", "capacity", "quota", "auth", "throttled", "unavailable", "unknown"]
Scope = Literal["request", "region", "account"]
"""What a refusal is for, and what it is about (product.md, section 3)."""

UNKNOWN: Literal["unknown"] = "unknown"
"""The kind of an answer that tells nothing about why."""
MADE: Literal["made"] = "made"
"""The kind of an unreadable answer with a 2xx status: an instance was made, so it is never sent again."""


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

    `kind` is a `Kind` but `unknown`, `scope` a `Scope`: what is refused for the request can never succeed.
    `message` and `details` are the provider's own words, each one printable line of bounded length.
    `retry_after_s` as it asked, clamped, or None.
    """

    status: int
    code: str
    message: str
    kind: str
    scope: str
    details: str = ""
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class NotSent:
    """No byte of the request left this machine: refused connection, open circuit, passed deadline."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """Bytes were sent and no definite answer came back: in doubt means stop.

    `kind`, `scope` and `code` are what the answer, if there was one, says once it is proven that nothing was
    made: the classes of `Refused`, and the kind `unknown` when it says nothing. The kind `made`: it can never
    be proven.
    """

    reason: str
    kind: str = UNKNOWN
    scope: str = "region"
    code: str = ""


CreateAnswer = Created | Refused | NotSent | Unknown


def error_text(status: int, code: str, message: str, details: str) -> str:
    """The provider's own words, on one line: `422 VALIDATION_ERROR: plan is unknown (details)`."""
    if not (code or message or details):
        return f"{status} without a CloudNexus error"
    words = " ".join(text for text in (message, f"({details})" if details else "") if text)
    said = ": ".join(text for text in (code, words) if text)
    return f"{status} {said}"
