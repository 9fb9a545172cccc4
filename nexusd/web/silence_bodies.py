"""The body of `POST /api/v2/silences`: Alertmanager's `postableSilence`. Every error names the field."""

from __future__ import annotations

import re
from typing import Annotated

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from nexusd.core.errors import InputError
from nexusd.core.matchers import Matcher, matcher
from nexusd.core.silences import SilenceRequest
from nexusd.ports import Clock
from nexusd.web.bodies import read_as
from nexusd.web.queries import parse_time

MAX_MATCHERS = 50
_TIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[T ]([0-9]{1,2}:[0-9]{2})(?:(:[0-9]{2})([.,][0-9]{1,20})?)?"
    r"(Z|[+-][0-9]{2}:[0-9]{2})?",
    re.ASCII,
)
_OPERATORS = {(False, True): "=", (False, False): "!=", (True, True): "=~", (True, False): "!~"}
"""By `isRegex` and `isEqual`."""


Time = Annotated[str, Field(max_length=64, json_schema_extra={"format": "date-time"})]


class MatcherBody(BaseModel):
    model_config = ConfigDict(strict=True)

    name: Annotated[str, Field(min_length=1, max_length=128)]
    value: Annotated[str, Field(max_length=4096)]
    isRegex: bool  # noqa: N815 - Alertmanager's name
    isEqual: bool = True  # noqa: N815 - likewise

    def matcher(self) -> Matcher:
        """Raises `InputError` for a pattern that cannot be used."""
        return matcher(self.name, _OPERATORS[self.isRegex, self.isEqual], self.value)


class SilenceBody(BaseModel):
    """What it says besides is ignored, so that what was read can be sent back."""

    model_config = ConfigDict(strict=True)

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{0,64}$")] | None = None
    matchers: list[MatcherBody] = Field(min_length=1, max_length=MAX_MATCHERS)
    startsAt: Time  # noqa: N815 - Alertmanager's name
    endsAt: Time  # noqa: N815 - likewise
    createdBy: Annotated[str, Field(max_length=256)]  # noqa: N815 - likewise
    comment: Annotated[str, Field(max_length=4096)]


async def read_silence(request: web.Request, clock: Clock) -> SilenceRequest:
    """Raises `RequestError` and `InputError`."""
    body = await read_as(SilenceBody, request)
    return SilenceRequest(
        matchers=tuple(_matcher(each, number) for number, each in enumerate(body.matchers)),
        starts_at=_instant(body.startsAt, "startsAt", clock),
        ends_at=_instant(body.endsAt, "endsAt", clock),
        created_by=body.createdBy,
        comment=body.comment,
        id=body.id or "",
    )


def _matcher(body: MatcherBody, number: int) -> Matcher:
    try:
        return body.matcher()
    except InputError as error:
        field = f"matchers[{number}].value"
        raise InputError(f"{field}: {error}", field) from error


def parse_alertmanager_time(value: str) -> float:
    """Return UTC seconds since the epoch, parsed as Alertmanager does.

    Alertmanager uses go-openapi's `strfmt`.

    Raises `ValueError`.

    Without a zone, as Python's `isoformat()` writes it, it is UTC. Seconds are optional. "" is the epoch.
    """
    match = _TIME.fullmatch(value)
    if match is None:
        return parse_time(value) if value else 0.0
    date, minutes, seconds, fraction, zone = match.groups()
    text = f"{date}T{minutes:0>5}{seconds or ':00'}{(fraction or '').replace(',', '.')}{zone or 'Z'}"
    return parse_time(text)


def _instant(value: str, field: str, clock: Clock) -> float:
    try:
        return parse_alertmanager_time(value) - clock.utc_offset_s()
    except ValueError as error:
        raise InputError(f"{field}: {error} is expected", field) from None
