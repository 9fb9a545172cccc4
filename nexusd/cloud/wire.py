"""What CloudNexus sends, decoded. Called by `client` and `create`.

Instances are decoded straight into `core.records.Instance`. Only a page that does not fit the types is read
a second time, record by record and liberally: an optional field of a wrong type becomes None, and a record
without a required field is named. Regions are few and read that way always.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from nexusd.core.answers import CreateRequest
from nexusd.core.errors import BadAnswerError
from nexusd.core.records import Instance, Region, Specs
from nexusd.core.text import one_line

MAX_TEXT = 500
"""Characters kept of each thing that the provider says."""
MAX_CODE = 100
_REQUIRED = ("id", "name", "status", "region")

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


class _LoosePage(msgspec.Struct, frozen=True):
    data: list[dict[str, object]]
    meta: Meta


class _RegionsAnswer(msgspec.Struct, frozen=True):
    regions: list[dict[str, object]]


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
_loose_page_decoder = msgspec.json.Decoder(_LoosePage)
_regions_decoder = msgspec.json.Decoder(_RegionsAnswer)
_any_decoder = msgspec.json.Decoder()


def decode_page(body: bytes, request: str) -> InstancePage:
    """A page of instances.

    Raises `PartialPageError` for a record that cannot be used, `BadAnswerError` (`partial`) when it is JSON
    but no page, and (`invalid`) when it is no JSON.
    """
    try:
        if not body.isascii():
            body.decode()
        return _page_decoder.decode(body)
    except (msgspec.ValidationError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    loose = _parse(_loose_page_decoder.decode, body, request, "partial")
    instances = [_instance(record, index, request) for index, record in enumerate(loose.data)]
    return InstancePage(instances, loose.meta)


def split_page(body: bytes) -> RecordsPage | None:
    """A page with its records not decoded yet; None when it is not as documented."""
    try:
        if not body.isascii():
            body.decode()
        return _records_page_decoder.decode(body)
    except (msgspec.ValidationError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def decode_record(record: msgspec.Raw) -> Instance | None:
    """One of its records; None when it is not as documented: `decode_page` says what it is then."""
    try:
        return _record_decoder.decode(record)
    except (msgspec.ValidationError, msgspec.DecodeError, RecursionError):
        return None


def decode_regions(body: bytes, request: str) -> dict[str, Region]:
    """The regions by slug. Raises `BadAnswerError` (`invalid`), for a missing or repeated slug too.

    A latency that is not a number of at least 0 is None. Capacity is there only when the answer is true or a
    positive number: whatever else it says, nothing is placed on a guess.
    """
    answer = _parse(_regions_decoder.decode, body, request, "invalid")
    regions: dict[str, Region] = {}
    for index, record in enumerate(answer.regions):
        slug = record.get("slug")
        if not isinstance(slug, str) or not slug:
            raise BadAnswerError(f"{request}: region {index} of the answer has no slug")
        if slug in regions:
            raise BadAnswerError(f"{request}: region {one_line(slug, MAX_TEXT)!r} is listed twice")
        regions[slug] = Region(
            slug=slug,
            name=_text(record, "name", ""),
            status=_text(record, "status", "unknown"),
            latency_ms=_not_negative(record.get("avg_latency_ms")),
            capacity=(_not_negative(record.get("capacity")) or 0) > 0 or record.get("capacity") is True,
        )
    return regions


def decode_created(body: bytes, asked: CreateRequest) -> Instance | None:
    """The instance that a 2xx to `POST /instances` describes; None when the answer has no id.

    What it leaves out is filled in from the request. Raises `ValueError` when it is no JSON object or is
    about another instance.
    """
    record = msgspec.json.decode(body, type=dict[str, object])
    for name, mine in (("name", asked.name), ("region", asked.region)):
        if record.get(name) not in (None, mine):
            raise ValueError(f"the answer is about another {name}")
    instance_id = record.get("id")
    if not isinstance(instance_id, str) or not instance_id:
        return None
    return Instance(
        id=instance_id,
        name=asked.name,
        status=_text(record, "status", "pending"),
        region=asked.region,
        public_ip=_text_or_none(record, "public_ip"),
        created_at=_text_or_none(record, "created_at"),
        specs=_specs(record.get("specs")),
        plan=_text(record, "plan", asked.plan),
        image=_text(record, "image", asked.image),
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
    """What an error's body says; never raises, because the status alone already counts."""
    try:
        answer = _any_decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ErrorBody()
    error = answer.get("error") if isinstance(answer, dict) else None
    if not isinstance(error, dict):
        return ErrorBody()
    return ErrorBody(_text(error, "code", ""), _text(error, "message", ""), _as_text(error.get("details")))


def _as_text(details: object) -> str:
    if isinstance(details, str):
        return details
    try:
        return msgspec.json.encode(details).decode() if details else ""
    except RecursionError:
        return ""


def _parse(decode: Callable[[bytes], T], body: bytes, request: str, mismatch: str) -> T:
    """Decode, with the errors as `BadAnswerError`; `mismatch` is the reason for JSON of another shape."""
    try:
        if not body.isascii():
            body.decode()
        return decode(body)
    except msgspec.ValidationError as error:
        raise BadAnswerError(
            f"{request}: not the documented answer: {one_line(str(error), MAX_TEXT)}", mismatch
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadAnswerError(f"{request}: the answer is not JSON: {one_line(str(error), MAX_TEXT)}") from None
    except RecursionError:
        raise BadAnswerError(f"{request}: the answer is nested too deeply") from None


def _instance(record: dict[str, object], index: int, request: str) -> Instance:
    for name in _REQUIRED:
        if not isinstance(record.get(name), str):
            raise PartialPageError(f"{request}: record {index} has no usable `{name}`", "partial")
    return Instance(
        id=_text(record, "id", ""),
        name=_text(record, "name", ""),
        status=_text(record, "status", ""),
        region=_text(record, "region", ""),
        public_ip=_text_or_none(record, "public_ip"),
        created_at=_text_or_none(record, "created_at"),
        specs=_specs(record.get("specs")),
        plan=_text_or_none(record, "plan"),
        image=_text_or_none(record, "image"),
    )


def _specs(value: object) -> Specs | None:
    if not isinstance(value, dict):
        return None
    return Specs(*(_not_negative(value.get(name)) for name in ("cpu", "ram_gb", "disk_gb")))


def _text(record: dict[str, object], name: str, default: str) -> str:
    value = record.get(name)
    return value if isinstance(value, str) and value else default


def _text_or_none(record: dict[str, object], name: str) -> str | None:
    value = record.get(name)
    return value if isinstance(value, str) else None


def _not_negative(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if 0 <= number < float("inf") else None
