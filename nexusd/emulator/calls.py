"""What a request asks, checked as strictly as the reference allows, and what is refused.

Bad values are answered 400 `VALIDATION_ERROR` with one entry of `details` for each field that is wrong.
Unknown query parameters and unknown fields of a body are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl

import msgspec

from nexusd.core.nesting import MAX_DEPTH, is_too_deep
from nexusd.emulator.options import DEFAULT_IMAGE, DEFAULT_PAGE, MAX_PAGE, PLANS

VALIDATION_ERROR = "VALIDATION_ERROR"
MAX_OFFSET = 2**53 - 1
MAX_TEXT = 255
_INTEGER = re.compile(r"-?\d{1,16}", re.ASCII)

CODES = {
    400: VALIDATION_ERROR,
    401: "UNAUTHORIZED",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    408: "REQUEST_TIMEOUT",
    409: "CONFLICT",
    413: "PAYLOAD_TOO_LARGE",
    415: "UNSUPPORTED_MEDIA_TYPE",
    422: VALIDATION_ERROR,
    429: "RATE_LIMITED",
    500: "INTERNAL_ERROR",
    502: "BAD_GATEWAY",
    503: "SERVICE_UNAVAILABLE",
    504: "GATEWAY_TIMEOUT",
}


class RefusalError(Exception):
    """A request is refused, with what an ErrorResponse says of it (reference: Schemas)."""

    def __init__(
        self, status: int, code: str, message: str, details: tuple[Mapping[str, object], ...] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.details = details


@dataclass(frozen=True, slots=True)
class PageQuery:
    """`GET /instances`: which page."""

    limit: int = DEFAULT_PAGE
    offset: int = 0
    region: str | None = None


@dataclass(frozen=True, slots=True)
class CreateOrder:
    """`POST /instances`: what to make."""

    name: str
    region: str
    plan: str
    image: str = DEFAULT_IMAGE
    ssh_keys: tuple[str, ...] = ()


def error_body(code: str, message: str, details: object = None) -> bytes:
    """An ErrorResponse."""
    return msgspec.json.encode({"error": {"code": code, "message": message, "details": details}})


def page_query(query: str) -> PageQuery:
    """The page that a raw query string asks for. Raises `RefusalError`."""
    if not query:
        return PageQuery()
    given: dict[str, list[str]] = {}
    for key, value in parse_qsl(query, keep_blank_values=True, errors="replace"):
        given.setdefault(key, []).append(value)
    wrong: list[dict[str, object]] = []
    limit = _integer(given, "limit", (1, MAX_PAGE), wrong)
    offset = _integer(given, "offset", (0, MAX_OFFSET), wrong)
    region = _slug(given, wrong)
    if wrong:
        raise _invalid(wrong)
    return PageQuery(DEFAULT_PAGE if limit is None else limit, offset or 0, region)


def json_object(body: bytes) -> dict[str, object]:
    """A body that must be one JSON object. Raises `RefusalError`."""
    if is_too_deep(body):
        raise RefusalError(400, VALIDATION_ERROR, f"the body is nested more than {MAX_DEPTH} levels deep")
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RefusalError(400, VALIDATION_ERROR, f"the body is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise RefusalError(400, VALIDATION_ERROR, "the body must be a JSON object")
    return value


def create_order(body: Mapping[str, object]) -> CreateOrder:
    """The create that a body asks for; whether the region exists is for the cloud to say.

    Raises `RefusalError` that names every field that is wrong.
    """
    required = ("name", "region", "plan")
    wrong: list[dict[str, object]] = [
        {"field": key, "message": "is required"} for key in required if key not in body
    ]
    wrong += [
        {"field": key, "message": problem}
        for key in (*required, "image")
        if key in body and (problem := _text_problem(body[key]))
    ]
    plan = body.get("plan")
    if isinstance(plan, str) and plan and plan not in PLANS:
        wrong.append({"field": "plan", "message": f"must be one of {', '.join(PLANS)}"})
    keys = body.get("ssh_keys", [])
    wrong += _key_problems(keys)
    if wrong:
        raise _invalid(wrong)
    return CreateOrder(
        name=str(body["name"]),
        region=str(body["region"]),
        plan=str(plan),
        image=str(body.get("image", DEFAULT_IMAGE)),
        ssh_keys=tuple(keys) if isinstance(keys, list) else (),
    )


def unknown_region(slug: str) -> RefusalError:
    return _invalid([{"field": "region", "message": f"must be the slug of a listed region, not {slug!r}"}])


def _integer(
    given: Mapping[str, list[str]], key: str, bounds: tuple[int, int], wrong: list[dict[str, object]]
) -> int | None:
    values = given.get(key)
    if values is None:
        return None
    low, high = bounds
    if len(values) > 1:
        wrong.append({"field": key, "message": "is given more than once"})
    elif not _INTEGER.fullmatch(values[0]):
        wrong.append({"field": key, "message": "must be an integer"})
    elif not low <= int(values[0]) <= high:
        wrong.append({"field": key, "message": f"must be between {low} and {high}"})
    else:
        return int(values[0])
    return None


def _slug(given: Mapping[str, list[str]], wrong: list[dict[str, object]]) -> str | None:
    values = given.get("region")
    if values is None:
        return None
    if len(values) > 1:
        wrong.append({"field": "region", "message": "is given more than once"})
    elif not values[0]:
        wrong.append({"field": "region", "message": "must not be empty"})
    return values[0]


def _text_problem(value: object) -> str | None:
    if not isinstance(value, str):
        return "must be a string"
    if not value:
        return "must not be empty"
    if len(value) > MAX_TEXT:
        return f"must be at most {MAX_TEXT} characters"
    return None


def _key_problems(keys: object) -> list[dict[str, object]]:
    if not isinstance(keys, list):
        return [{"field": "ssh_keys", "message": "must be a list of strings"}]
    return [
        {"field": f"ssh_keys[{index}]", "message": problem}
        for index, key in enumerate(keys)
        if (problem := _text_problem(key))
    ]


def _invalid(wrong: list[dict[str, object]]) -> RefusalError:
    """Names the first wrong field in the message and all of them in `details`."""
    first = wrong[0]
    return RefusalError(400, VALIDATION_ERROR, f"{first['field']} {first['message']}", tuple(wrong))
