"""Decoding of what CloudNexus sends. Called by `client` and `create`.

Instances are decoded straight into `core.records.Instance`. Only a page that does not fit the types is
decoded again, field by field and liberally, so that one odd record does not stop all others:

- A lone surrogate (`"\\ud800"`) and a NUL (`"\\u0000"`), which JSON can express but not every store can hold,
  are read as U+FFFD.
- An id that is a number is its text. A record without an id makes the listing partial: it cannot be counted.
- Without a usable name, status or region, the name is empty and the others are `UNKNOWN`. An optional field
  of a wrong type or size is None.
- A string longer than `MAX_STRING_LENGTH` is cut, with a hash of the whole in place of the rest, so that
  different strings stay different.

Regions are few and always decoded that way.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from nexusd.core.answers import CreateRequest
from nexusd.core.errors import BadAnswerError
from nexusd.core.nesting import is_too_deep
from nexusd.core.records import MAX_STRING_LENGTH, UNKNOWN, Instance, Region, Specs
from nexusd.core.text import one_line

MAX_TEXT = 500
"""Characters kept of each thing that the provider says."""
MAX_CODE = 100
MAX_LATENCY_MS = 1e9
"""A latency above this is no measurement."""

_HASH_LENGTH = 16
_ESCAPES = re.compile(
    rb"(?:\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"  # a pair
    rb"|\\(?!u[dD][89a-fA-F]|u0000).){1,1000}"  # any other escape; bounded: each needs memory
    rb"|(\\u(?:[dD][89a-fA-F][0-9a-fA-F]{2}|0000))",  # a lone surrogate or a NUL
    re.DOTALL,
)
_REPLACEMENT = rb"\ufffd"
_NUL = rb"\u0000"

T = TypeVar("T")


class Meta(msgspec.Struct, frozen=True, gc=False):
    """Reference: GET /instances, `meta`. All three are needed to know what a page is."""

    total: int
    limit: int
    offset: int


class InstancePage(msgspec.Struct, frozen=True, gc=False):
    """Reference: GET /instances."""

    data: list[Instance]
    meta: Meta


class RecordsPage(msgspec.Struct, frozen=True, gc=False):
    """The same with each record as the bytes that it was sent as."""

    data: list[msgspec.Raw]
    meta: Meta


class _RegionsAnswer(msgspec.Struct, frozen=True):
    regions: list[msgspec.Raw]


Fields = Mapping[str, msgspec.Raw]
"""A record's fields, each as the bytes that it was sent as."""


class PartialPageError(BadAnswerError):
    """The API answered with a page, but one of its records cannot be used."""


@dataclass(frozen=True, slots=True)
class ErrorBody:
    """An ErrorResponse (reference: Schemas); all empty when the body was something else.

    As long and as wild as it came. `details` is text as it is, anything else as JSON.
    """

    code: str = ""
    message: str = ""
    details: str = ""


_page_decoder = msgspec.json.Decoder(InstancePage)
_records_page_decoder = msgspec.json.Decoder(RecordsPage)
_record_decoder = msgspec.json.Decoder(Instance)
_regions_decoder = msgspec.json.Decoder(_RegionsAnswer)
_fields_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_any_decoder = msgspec.json.Decoder()


def decode_page(body: bytes, request: str) -> InstancePage:
    """A page of instances.

    Raises `PartialPageError` for a record that cannot be used, `BadAnswerError` (`partial`) when it is JSON
    but no page, and (`invalid`) when it is no JSON.
    """
    if _NUL not in body:
        try:
            _check_text(body, request)
            return _page_decoder.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            pass
    page = _parse(_records_page_decoder.decode, body, request, "partial")
    instances = [_instance(record, index, request) for index, record in enumerate(page.data)]
    return InstancePage(instances, page.meta)


def split_page(body: bytes) -> RecordsPage | None:
    """Return a page with undecoded records, or None if it is not as documented."""
    if _NUL in body:
        return None
    try:
        _check_text(body, "")
        return _records_page_decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, BadAnswerError):
        return None


def decode_record(record: msgspec.Raw) -> Instance | None:
    """One of its records; None when it is not as documented: `decode_page` says what it is then."""
    try:
        return _record_decoder.decode(record)
    except msgspec.DecodeError:
        return None


def decode_regions(body: bytes, request: str) -> dict[str, Region]:
    """Return the regions by slug.

    Raises `PartialPageError` for a region without a slug, `BadAnswerError` (`invalid`) for another document.
    A latency that is not a number from 0 to `MAX_LATENCY_MS` is None. A region has capacity only when the API
    sends true or a positive number. Where nothing may be placed, the status is `UNKNOWN`: for a slug that is
    listed twice with different data, or that cannot be sent back as it is.
    """
    document = _parse(_regions_decoder.decode, body, request, "invalid")
    regions: dict[str, Region] = {}
    for index, record in enumerate(document.regions):
        fields = _fields(record)
        slug = _text_or_number(fields, "slug")
        if not slug:
            raise PartialPageError(f"{request}: region {index} of the response has no slug", "partial")
        region = _region(slug, fields)
        if regions.setdefault(region.slug, region) != region:
            regions[region.slug] = msgspec.structs.replace(region, status=UNKNOWN)
    return regions


def _region(slug: str, fields: Fields | None) -> Region:
    latency_ms, capacity = _not_negative(_value(fields, "avg_latency_ms")), _value(fields, "capacity")
    usable = len(slug) <= MAX_STRING_LENGTH and "\N{REPLACEMENT CHARACTER}" not in slug
    return Region(
        slug=_bounded(slug),
        name=_bounded(_text_or_number(fields, "name") or ""),
        status=_bounded(_text_or_number(fields, "status") or UNKNOWN) if usable else UNKNOWN,
        latency_ms=latency_ms if latency_ms is not None and latency_ms <= MAX_LATENCY_MS else None,
        capacity=(_not_negative(capacity) or 0) > 0 or capacity is True,
    )


def decode_created(body: bytes, asked: CreateRequest) -> Instance | None:
    """Return the instance in a 2xx to `POST /instances`, or None if it has no id.

    What it leaves out is filled in from the request. CloudNexus may store the name or region in another form,
    so neither has to be the requested one. Raises `ValueError` if it is no JSON object.
    """
    body.decode()
    if is_too_deep(body):
        raise ValueError("the response is nested too deeply")
    fields = _fields(repair_text(body))
    if fields is None:
        raise ValueError("the response is not a JSON object")
    instance_id = _text_or_number(fields, "id")
    if not instance_id:
        return None
    return Instance(
        id=_bounded(instance_id),
        name=asked.name,
        status=_bounded(_text_or_number(fields, "status") or "pending"),
        region=asked.region,
        public_ip=_short_text(fields, "public_ip"),
        created_at=_short_text(fields, "created_at"),
        specs=_specs(fields),
        plan=_bounded(_text_or_number(fields, "plan") or asked.plan),
        image=_bounded(_text_or_number(fields, "image") or asked.image),
    )


def encode_create(request: CreateRequest) -> bytes:
    """The body of `POST /instances`. Raises `ValueError` for text that is not Unicode."""
    body: dict[str, object] = {
        "name": request.name,
        "region": request.region,
        "plan": request.plan,
        "image": request.image,
    }
    if request.ssh_keys:
        body["ssh_keys"] = list(request.ssh_keys)
    return msgspec.json.encode(body)


def decode_error(body: bytes) -> ErrorBody:
    """Return the contents of an error response.

    They are empty if unreadable, because the status alone counts.
    """
    if is_too_deep(body):
        return ErrorBody()
    try:
        answer = _any_decoder.decode(repair_text(body))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ErrorBody()
    error = answer.get("error") if isinstance(answer, dict) else None
    if not isinstance(error, dict):
        return ErrorBody()
    code, message = (value if isinstance(value := error.get(n), str) else "" for n in ("code", "message"))
    return ErrorBody(code, message, _as_text(error.get("details")))


def _as_text(details: object) -> str:
    if isinstance(details, str):
        return details
    return msgspec.json.encode(details).decode() if details else ""


def _check_text(body: bytes, request: str) -> None:
    """Check the encoding and nesting of a body.

    Raises `UnicodeDecodeError`, and `BadAnswerError` (`invalid`) for a body that is nested too deeply.
    """
    if not body.isascii():
        body.decode()
    if is_too_deep(body):
        raise BadAnswerError(f"{request}: the answer is nested too deeply")


def _parse(decode: Callable[[bytes], T], body: bytes, request: str, mismatch: str) -> T:
    """Decode, with the errors as `BadAnswerError`; `mismatch` is the reason for JSON of another shape."""
    try:
        _check_text(body, request)
        return decode(repair_text(body))
    except msgspec.ValidationError as error:
        raise BadAnswerError(
            f"{request}: not the documented answer: {one_line(str(error), MAX_TEXT)}", mismatch
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadAnswerError(f"{request}: the answer is not JSON: {one_line(str(error), MAX_TEXT)}") from None


def repair_text(body: bytes) -> bytes:
    """Replace escapes of lone surrogates and NUL in a JSON document by U+FFFD's."""
    if rb"\ud" not in body and rb"\uD" not in body and _NUL not in body:
        return body
    return _ESCAPES.sub(lambda match: _REPLACEMENT if match[1] else match[0], body)


def _instance(record: msgspec.Raw, index: int, request: str) -> Instance:
    fields = _fields(record)
    instance_id = _text_or_number(fields, "id")
    if not instance_id:
        raise PartialPageError(f"{request}: record {index} has no usable `id`", "partial")
    plan, image = _text(fields, "plan"), _text(fields, "image")
    return Instance(
        id=_bounded(instance_id),
        name=_bounded(_text_or_number(fields, "name") or ""),
        status=_bounded(_text_or_number(fields, "status") or UNKNOWN),
        region=_bounded(_text_or_number(fields, "region") or UNKNOWN),
        public_ip=_short_text(fields, "public_ip"),
        created_at=_short_text(fields, "created_at"),
        specs=_specs(fields),
        plan=_bounded(plan) if plan is not None else None,
        image=_bounded(image) if image is not None else None,
    )


def _fields(record: bytes | msgspec.Raw) -> Fields | None:
    """Return the fields of a JSON object, None for anything else."""
    try:
        return _fields_decoder.decode(record)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _value(fields: Fields | None, name: str) -> object:
    """Return a field's value, None when it is absent or cannot be represented."""
    raw = fields.get(name) if fields is not None else None
    if raw is None:
        return None
    try:
        return _any_decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _text(fields: Fields | None, name: str) -> str | None:
    value = _value(fields, name)
    return value if isinstance(value, str) else None


def _short_text(fields: Fields | None, name: str) -> str | None:
    value = _text(fields, name)
    return value if value is not None and len(value) <= MAX_STRING_LENGTH else None


def _text_or_number(fields: Fields | None, name: str) -> str | None:
    """Return a string field, or a number as it was written."""
    raw = bytes(fields[name]).strip() if fields is not None and name in fields else b""
    if raw[:1].isdigit() or raw[:1] == b"-":
        return raw.decode("ascii")
    return _text(fields, name)


def _bounded(text: str) -> str:
    """Return a text cut to `MAX_STRING_LENGTH`, different for different texts."""
    if len(text) <= MAX_STRING_LENGTH:
        return text
    suffix = hashlib.sha256(text.encode()).hexdigest()[:_HASH_LENGTH]
    return f"{text[: MAX_STRING_LENGTH - _HASH_LENGTH - 1]}~{suffix}"


def _specs(fields: Fields | None) -> Specs | None:
    sizes = _fields(fields["specs"]) if fields is not None and "specs" in fields else None
    if sizes is None:
        return None
    return Specs(*(_not_negative(_value(sizes, name)) for name in ("cpu", "ram_gb", "disk_gb")))


def _not_negative(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if 0 <= number < float("inf") else None
