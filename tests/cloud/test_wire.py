"""Odd values in every field of the API's records."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nexusd.cloud.wire import (
    PartialPageError,
    decode_created,
    decode_error,
    decode_page,
    decode_regions,
    repair_text,
)
from nexusd.core.answers import CreateRequest
from nexusd.core.errors import BadAnswerError
from nexusd.core.records import MAX_STRING_LENGTH, Instance, Region

GOOD: dict[str, Any] = {"id": "inst_1", "name": "web-1", "status": "running", "region": "us-east-1"}
ASKED = CreateRequest("worker-01", "us-east-1", "pro", "ubuntu-22.04")
LONG = "n" * 9_000
HUGE = int("9" * 400)
ODD = [
    None,
    "",
    True,
    [],
    {},
    [[{"a": "\ud800"}]],
    {"x": {"y": [1]}},
    1.5,
    -1,
    HUGE,
    LONG,
    "\ud800",
    "\0\x1b[2J\u202e",
]


def decoded(record: object, *, raw: bytes | None = None) -> Instance:
    sent = raw if raw is not None else json.dumps(record).encode()
    meta = b'"meta": {"total": 2, "limit": 100, "offset": 0}'
    good = json.dumps({**GOOD, "id": "inst_good"}).encode()
    page = decode_page(b'{"data": [' + good + b", " + sent + b"], " + meta + b"}", "GET /instances")
    assert page.data[0].id == "inst_good"
    return page.data[1]


def region(**fields: object) -> Region:
    document = {"regions": [{"slug": "good"}, {"slug": "odd", "status": "healthy", **fields}]}
    regions = decode_regions(json.dumps(document).encode(), "GET /regions")
    assert "good" in regions
    return next(region for slug, region in regions.items() if slug != "good")


@pytest.mark.parametrize(
    ("written", "text"),
    [("17", "17"), ("-3", "-3"), ("1.50", "1.50"), ("1e400", "1e400"), ("12345678901234567890123", None)],
)
def test_an_id_that_is_a_number_is_its_text(written: str, text: str | None) -> None:
    sent = json.dumps(GOOD).replace('"inst_1"', written).encode()
    assert decoded(None, raw=sent).id == (text or written)


@pytest.mark.parametrize("value", [None, True, [], {}, "missing"])
def test_without_name_status_or_region_an_instance_is_kept_and_not_running(value: object) -> None:
    record = {**GOOD, "name": value, "status": value, "region": value}
    if value == "missing":
        record = {"id": "inst_1"}
    assert decoded(record) == Instance("inst_1", "", "unknown", "unknown")


def test_an_empty_status_or_region_is_unknown() -> None:
    assert decoded({**GOOD, "status": "", "region": ""}) == Instance("inst_1", "web-1", "unknown", "unknown")


@pytest.mark.parametrize(
    "field", ["name", "status", "region", "public_ip", "created_at", "specs", "plan", "image"]
)
@pytest.mark.parametrize("value", ODD)
def test_no_value_of_another_field_loses_an_instance(field: str, value: object) -> None:
    instance = decoded({**GOOD, field: value})
    assert instance.id == "inst_1"
    for text in msgspec.structs.astuple(instance):
        assert not isinstance(text, str) or len(text) <= MAX_STRING_LENGTH
    rest = {name: getattr(instance, name) for name in GOOD if name != field}
    assert rest == {name: GOOD[name] for name in GOOD if name != field}


def test_optional_fields_of_a_wrong_type_or_size_are_none() -> None:
    odd = {**GOOD, "public_ip": LONG, "created_at": 1_700_000_000, "specs": [4], "plan": {}, "image": 3}
    assert decoded(odd) == Instance(**GOOD)


@pytest.mark.parametrize("number", ["1e400", "9" * 400, "-1", '"4"', "null", "true", "[4]", "{}"])
def test_a_size_that_is_no_sane_number_is_none(number: str) -> None:
    sent = json.dumps({**GOOD, "specs": {"cpu": "CPU", "ram_gb": 16}}).replace('"CPU"', number).encode()
    instance = decoded(None, raw=sent)
    assert instance.specs is not None
    assert instance.specs.ram_gb == 16
    assert instance.specs.cpu in (None, -1.0)


def test_long_strings_are_cut_and_stay_different() -> None:
    ids = {decoded({**GOOD, "id": LONG + end}).id for end in ("", "a", "b")}
    assert len(ids) == 3
    assert {len(instance_id) for instance_id in ids} == {MAX_STRING_LENGTH}


def test_an_instance_is_in_the_region_whose_long_slug_it_names() -> None:
    assert decoded({**GOOD, "region": LONG}).region == region(slug=LONG).slug


@pytest.mark.parametrize("value", [True, 5, 0.5])
def test_capacity_is_true_or_a_positive_number(value: object) -> None:
    assert region(capacity=value).capacity


@pytest.mark.parametrize("value", [False, None, 0, -1, "true", "5", [1], {"free": 3}, "\ud800"])
def test_any_other_capacity_is_none(value: object) -> None:
    assert not region(capacity=value).capacity


@pytest.mark.parametrize("value", [None, "12", -1, True, HUGE, 1e300, [], {}])
def test_a_latency_that_is_no_measurement_is_none(value: object) -> None:
    assert region(avg_latency_ms=value).latency_ms is None


@pytest.mark.parametrize("value", ODD)
def test_a_region_with_an_odd_name_or_status_is_kept(value: object) -> None:
    odd = region(name=value, status=value)
    assert odd.slug == "odd"
    assert not odd.healthy
    assert len(odd.name) <= MAX_STRING_LENGTH
    assert len(odd.status) <= MAX_STRING_LENGTH


def test_a_slug_that_is_a_number_is_its_text() -> None:
    assert region(slug=17) == Region("17", status="healthy")


@pytest.mark.parametrize("slug", [LONG, "eu-\ud800"])
def test_a_slug_that_cannot_be_sent_back_is_never_healthy(slug: str) -> None:
    assert not region(slug=slug).healthy


def test_a_region_that_is_listed_twice_is_kept_once_and_healthy_only_when_both_agree() -> None:
    one = {"slug": "a", "status": "healthy", "capacity": True}
    twice = decode_regions(json.dumps({"regions": [one, one]}).encode(), "GET /regions")
    assert twice == {"a": Region("a", status="healthy", capacity=True)}
    other = {**one, "capacity": False}
    for order in ([one, other], [other, one], [one, other, one]):
        regions = decode_regions(json.dumps({"regions": order}).encode(), "GET /regions")
        assert [r.healthy for r in regions.values()] == [False]


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        (rb"\ud800", "\ufffd"),
        (rb"\uDFFF", "\ufffd"),
        (rb"web-\ud83d", "web-\ufffd"),
        (rb"\ud83d\ude00", "\U0001f600"),
        (rb"\ude00\ud83d", "\ufffd\ufffd"),
        (rb"\ud83d\ud83d\ude00", "\ufffd\U0001f600"),
        (rb"\ud83dx\ude00", "\ufffdx\ufffd"),
        (rb"\\ud800", r"\ud800"),
        (rb"\\\ud800", "\\\ufffd"),
        (rb"\"\ud800\"", '"\ufffd"'),
        (rb"\u00e9\ud7ff\ue000", "\u00e9\ud7ff\ue000"),
        (rb"web\u0000-1", "web\ufffd-1"),
        (rb"\\u0000", r"\u0000"),
        (rb"\u0000\ud800\u00000", "\ufffd\ufffd\ufffd0"),
    ],
)
def test_a_lone_surrogate_and_a_nul_are_read_as_a_replacement_character(sent: bytes, read: str) -> None:
    document = json.dumps({**GOOD, "name": "NAME"}).encode().replace(b"NAME", sent)
    assert decoded(None, raw=document).name == read


@given(st.text(st.characters(exclude_categories=())), st.booleans())
@example("\\" * 7 + "\ud800", False)
def test_a_repaired_document_equals_pythons_with_those_characters_replaced(text: str, upper: bool) -> None:
    sent = json.dumps(text)
    expected = json.loads(sent)
    expected = "".join("\ufffd" if c == "\0" or "\ud800" <= c <= "\udfff" else c for c in expected)
    assert msgspec.json.decode(repair_text(sent.encode())) == expected


def test_repairing_is_linear_in_the_size_of_the_document() -> None:
    body = b'"' + rb"\\" * 500_000 + rb"\n\ud83d\ude00" * 100_000 + rb'\ud8"'
    assert repair_text(body) == body


def test_invalid_utf_8_is_refused_as_before() -> None:
    with pytest.raises(BadAnswerError, match="not JSON"):
        decoded(None, raw=b'{"id": "\xed\xa0\x80"}')


def test_records_that_are_no_objects_have_no_id() -> None:
    for value in ODD:
        with pytest.raises(PartialPageError, match="record 1 has no usable `id`"):
            decoded(value)


@pytest.mark.parametrize(
    ("sent", "instance_id"),
    [
        (b'{"id": 17}', "17"),
        (rb'{"id": "i-\ud800"}', "i-\ufffd"),
        (b'{"id": null}', None),
        (b'{"id": [1]}', None),
    ],
)
def test_the_id_of_a_created_instance_is_read_as_that_of_a_listed_one(
    sent: bytes, instance_id: str | None
) -> None:
    created = decode_created(sent, ASKED)
    assert (created.id if created is not None else None) == instance_id


@pytest.mark.parametrize("value", ODD)
def test_no_value_of_an_optional_field_hides_a_created_instance(value: object) -> None:
    sent = {
        "id": "inst_1",
        **dict.fromkeys(("status", "public_ip", "created_at", "specs", "plan", "image"), value),
    }
    created = decode_created(json.dumps(sent).encode(), ASKED)
    assert created is not None
    assert created.id == "inst_1"


def test_an_error_with_a_lone_surrogate_keeps_its_code() -> None:
    error = decode_error(
        rb'{"error": {"code": "INSUFFICIENT_CAPACITY", "message": "\ud800", "details": ["\udc00"]}}'
    )
    assert (error.code, error.message) == ("INSUFFICIENT_CAPACITY", "\ufffd")
