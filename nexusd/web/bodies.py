"""Reads and checks request bodies: bytes from anybody become a `PlacementRequest` or a `Verdict`, or an error
that names the field. Nothing a client sends may end in a 500.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import unicodedata
from typing import Annotated, Any, TypeVar

import msgspec
from aiohttp import web
from aiohttp.typedefs import Middleware
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from nexusd.core.durations import parse_duration
from nexusd.core.errors import InputError
from nexusd.core.lifecycle import Verdict
from nexusd.core.nesting import MAX_DEPTH, is_too_deep
from nexusd.core.placement import DEFAULT_IMAGE, PLANS, PlacementRequest, Spread
from nexusd.ports import Clock, IdempotencyKey
from nexusd.web import schemas
from nexusd.web.answers import Handler, RequestError
from nexusd.web.auth import SAFE_METHODS
from nexusd.web.body_errors import describe
from nexusd.web.options import WebOptions
from nexusd.web.queries import parse_time

Body = TypeVar("Body", bound=BaseModel)

_LONGEST_WAIT_S = 10 * 366 * 86_400.0
_MAX_DETAILS = 20
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Cn", "Zl", "Zp"})
"""Unicode categories no name may have: control, format, surrogate, unassigned, line and paragraph break."""


def _whole(value: object) -> object:
    """2.0 is a whole number in JSON, as JSON Schema has it."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _visible(value: str) -> str:
    if value.isascii() and value.isprintable() and value == value.strip():
        return value  # nearly all, without a look at each character's category
    if value != value.strip() or any(unicodedata.category(c) in _UNSEEN for c in value):
        raise ValueError("visible characters without leading or trailing spaces are expected")
    return value


def _plan(value: str) -> str:
    if value not in PLANS:
        raise ValueError(f"one of {', '.join(PLANS)} is expected")
    return value


def _verdict(value: str) -> str:
    if value not in set(Verdict):
        raise ValueError(f"one of {', '.join(Verdict)} is expected")
    return value


def _expression(value: str) -> str:
    if any(unicodedata.category(c) in ("Cc", "Cs") and c not in "\t\n\r" for c in value):
        raise ValueError("no control characters are allowed")
    return value


Whole = Annotated[int, BeforeValidator(_whole)]
Text = Annotated[
    str,
    Field(min_length=1, max_length=255, json_schema_extra={"format": "visible-text"}),
    AfterValidator(_visible),
]
Expression = Annotated[
    str,
    Field(min_length=1, max_length=4096, json_schema_extra={"format": "cel"}),
    AfterValidator(_expression),
]
Deadline = Annotated[
    str, Field(min_length=1, max_length=64, json_schema_extra={"format": "duration-or-date-time"})
]


class SpreadBody(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    group: Text
    max_skew: Whole = Field(default=1, ge=1, le=10_000)


class PlacementBody(BaseModel):
    """A request for one instance.

    CloudNexus documents a name only as "human-readable identifier", so every visible character is accepted.
    """

    model_config = ConfigDict(strict=True, extra="forbid")

    name: Text
    plan: Annotated[str, AfterValidator(_plan)] = Field(json_schema_extra={"enum": list(PLANS)})
    image: Text = DEFAULT_IMAGE
    ssh_keys: list[Text] = Field(default_factory=list, max_length=100)
    regions: list[Text] | None = Field(default=None, min_length=1, max_length=1000)
    avoid_regions: list[Text] = Field(default_factory=list, max_length=1000)
    where: Expression | None = None
    spread: SpreadBody | None = None
    priority: Whole = Field(default=0, ge=-1_000_000, le=1_000_000)
    deadline: Deadline | None = None

    def request(self, clock: Clock) -> PlacementRequest:
        """Raises `InputError` when the deadline cannot be read."""
        return PlacementRequest(
            name=self.name,
            plan=self.plan,
            image=self.image,
            ssh_keys=tuple(self.ssh_keys),
            regions=tuple(self.regions) if self.regions is not None else None,
            avoid_regions=tuple(self.avoid_regions),
            where=self.where,
            spread=Spread(self.spread.group, self.spread.max_skew) if self.spread is not None else None,
            priority=self.priority,
            deadline=_instant(self.deadline, clock) if self.deadline is not None else None,
        )

    def digest(self) -> str:
        """The same for bodies that mean the same: defaults filled in, keys sorted, a relative deadline as it
        was written.
        """
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(canonical.encode()).hexdigest()


class ResolveBody(BaseModel):
    """`POST /api/v1/placements/{id}/resolve`."""

    model_config = ConfigDict(strict=True, extra="forbid")

    outcome: Annotated[str, AfterValidator(_verdict)] = Field(json_schema_extra={"enum": list(Verdict)})


class TestBody(BaseModel):
    """`POST /api/v1/alerts/test`. `receiver` None: all of them."""

    model_config = ConfigDict(strict=True, extra="forbid")

    receiver: Text | None = None


async def read_placement(request: web.Request) -> PlacementBody:
    """Raises `RequestError` 413 or 415, and `InputError`."""
    return await read_as(PlacementBody, request)


async def read_verdict(request: web.Request) -> Verdict:
    """The same of what a person says became of a held placement."""
    return Verdict((await read_as(ResolveBody, request)).outcome)


async def read_tested_receiver(request: web.Request) -> str | None:
    """The same of which receiver to test; without a body it is all of them."""
    if not request.body_exists:
        return None
    return (await read_as(TestBody, request)).receiver


async def read_as(model: type[Body], request: web.Request) -> Body:
    """Any body. Raises `RequestError` and `InputError`."""
    content = _decoded(await _read(request))
    if not isinstance(content, dict):
        raise InputError("the body must be a JSON object")
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise _refused(error, model) from None


def idempotency_key(request: web.Request, body: PlacementBody) -> IdempotencyKey | None:
    """The `Idempotency-Key` header with the digest of the body. Raises `InputError`."""
    given = request.headers.getall("Idempotency-Key", [])
    if not given:
        return None
    if len(given) > 1 or not re.fullmatch(r"[\x20-\x7e]{1,255}", given[0], re.ASCII):
        raise InputError(
            "Idempotency-Key: 1 to 255 printable ASCII characters are expected", "Idempotency-Key"
        )
    return IdempotencyKey(given[0], body.digest())


async def _read(request: web.Request) -> bytes:
    if request.content_type != "application/json" or (request.charset or "utf-8").lower() != "utf-8":
        raise RequestError(415, "UNSUPPORTED_MEDIA_TYPE", "Content-Type: application/json is expected")
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise RequestError(415, "UNSUPPORTED_MEDIA_TYPE", "Content-Encoding: no encoding is taken")
    return await request.read()


def bounded(options: WebOptions) -> Middleware:
    """A body has come whole, and is not too large, before anything is done; also where nobody reads it. What
    only reads has none that anybody would wait for.
    """

    @web.middleware
    async def bound(request: web.Request, handler: Handler) -> web.StreamResponse:
        unsafe = request.method not in SAFE_METHODS
        if unsafe and request.body_exists and request.match_info.http_exception is None:
            await _take(request, options)
        return await handler(request)

    return bound


async def _take(request: web.Request, options: WebOptions) -> None:
    """Read it. Raises `RequestError` 413, and 408."""
    if request.content.is_eof():
        await request.read()  # small ones come with their headers: nothing is waited for
        return
    try:
        async with asyncio.timeout(options.body_timeout_s):
            await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise RequestError(413, "REQUEST_ENTITY_TOO_LARGE", "the body is too large") from None
    except TimeoutError:
        raise RequestError(408, "REQUEST_TIMEOUT", "the body did not arrive in time") from None


def _decoded(body: bytes) -> Any:
    if not body:
        raise InputError("the body is empty; a JSON object is expected")
    if is_too_deep(body):
        raise InputError(f"the body is nested more than {MAX_DEPTH} levels deep")
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        raise InputError(f"the body is not JSON that can be read: {error}") from None
    except UnicodeDecodeError:
        raise InputError("the body is not UTF-8") from None


def _refused(error: ValidationError, model: type[BaseModel]) -> RequestError:
    details = [_detail(e, model) for e in error.errors(include_url=False, include_input=False)[:_MAX_DETAILS]]
    return RequestError(400, "VALIDATION_ERROR", details[0]["message"], details)


def _detail(error: ErrorDetails, model: type[BaseModel]) -> schemas.FieldError:
    field = _field(error["loc"])
    if error["type"] == "extra_forbidden":
        known = ", ".join(model.model_fields if len(error["loc"]) == 1 else SpreadBody.model_fields)
        return {"field": field, "message": f"{field}: no such field; there are {known}"}
    if error["type"] == "value_error":
        return {"field": field, "message": f"{field}: {error['ctx']['error']}"}
    return {"field": field, "message": f"{field}: {describe(error)}"}


def _field(location: tuple[int | str, ...]) -> str:
    """`("ssh_keys", 0)` → `ssh_keys[0]`. A key is the client's text: clipped, and seen whatever is in it."""
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{_shown(part)}" for part in location)
    return path.removeprefix(".")


def _shown(key: str) -> str:
    return "".join(c if unicodedata.category(c) not in _UNSEEN else "�" for c in key[:64])


def _instant(deadline: str, clock: Clock) -> float:
    """UTC seconds, from a time as people's clocks show it, or from a duration from now by them."""
    now = clock.now() + clock.utc_offset_s()
    try:
        at = parse_time(deadline) if "-" in deadline else now + parse_duration(deadline)
    except ValueError:
        raise InputError(
            "deadline: a duration such as 30m, or an RFC 3339 time such as 2030-01-31T12:00:00Z, is expected",
            "deadline",
        ) from None
    if at - now > _LONGEST_WAIT_S:
        raise InputError("deadline: is more than ten years away", "deadline")
    return at
