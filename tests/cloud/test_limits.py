"""`Retry-After`, base URLs, the refusal table and regions: the parts that need no server."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexusd.cloud.options import CloudOptions, check_base_url
from nexusd.cloud.stitch import Page, Run, agree, slide
from nexusd.cloud.wire import decode_error, decode_page, decode_regions
from nexusd.core.errors import BadAnswerError, ConfigError
from nexusd.core.records import Instance

NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    "url",
    [
        "https://api.cloudnexus.io/v1",
        "http://127.0.0.1:8080/v1",
        "http://127.9.9.9/",
        "http://localhost:1/v1",
        "http://[::1]:1/v1",
        "https://gateway.example.com/%7ecn%2Fv1",
    ],
)
def test_https_and_plain_loopback_are_accepted(url: str) -> None:
    assert check_base_url(url) == url.rstrip("/")


@pytest.mark.parametrize(
    "url",
    [
        "http://api.cloudnexus.io/v1",
        "http://127.0.0.1.example.com/v1",
        "http://localhost.example.com",
        "http://10.0.0.1/v1",
        "http://0.0.0.0/v1",
        "ftp://api.cloudnexus.io",
        "api.cloudnexus.io/v1",
        "https://",
        "https://user:secret@api.cloudnexus.io/v1",
        "https://api.cloudnexus.io/v1?x=1",
        "https://api.cloudnexus.io/v1#x",
        "https://[::1",
        "",
    ],
)
def test_any_other_base_url_is_a_configuration_error_without_its_password(url: str) -> None:
    with pytest.raises(ConfigError, match=r"cloudnexus\.base_url") as caught:
        CloudOptions(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "latency_ms"),
    [
        (12, 12.0),
        (12.5, 12.5),
        (0, 0.0),
        (None, None),
        (-1, None),
        ("12", None),
        (True, None),
        (10**400, None),
    ],
)
def test_a_latency_that_is_no_sound_number_is_unknown(value: object, latency_ms: float | None) -> None:
    body = json.dumps({"regions": [{"slug": "a", "avg_latency_ms": value}]}).encode()
    assert decode_regions(body, "GET /regions")["a"].latency_ms == latency_ms


@pytest.mark.parametrize(
    ("value", "capacity"),
    [(True, True), (False, False), (3, True), (0, False), (None, False), ("false", False), (-1, False)],
)
def test_capacity_is_there_only_when_it_is_surely_said(value: object, capacity: bool) -> None:
    body = json.dumps({"regions": [{"slug": "a", "capacity": value}]}).encode()
    assert decode_regions(body, "GET /regions")["a"].capacity is capacity


def test_an_unknown_region_status_is_kept_and_is_not_healthy() -> None:
    region = decode_regions(b'{"regions": [{"slug": "a", "status": "sunny"}]}', "GET /regions")["a"]
    assert (region.status, region.healthy) == ("sunny", False)


@given(st.binary(max_size=200))
def test_no_body_breaks_the_decoders(body: bytes) -> None:
    decode_error(body)
    for decode in (decode_page, decode_regions):
        with contextlib.suppress(BadAnswerError):
            decode(body, "GET /x")


def _page(offset: int, ids: str, total: int = 100, limit: int = 4) -> Page:
    return Page(offset, limit, total, tuple(Instance(i, "", "running", "r") for i in ids))


@pytest.mark.parametrize(
    ("left", "right", "fits"),
    [
        ("abcd", "defg", True),
        ("abcd", "cdef", True),
        ("abcd", "efgh", False),
        ("abcd", "ceef", False),
        ("abcd", "bc", False),
        ("abcd", "", False),
    ],
)
def test_runs_agree_when_the_tail_of_one_is_the_head_of_the_other(left: str, right: str, fits: bool) -> None:
    assert agree(_page(0, left), _page(3, right)) is fits


@pytest.mark.parametrize(
    ("before", "after", "shift"),
    [
        ("abcd", "abcd", 0),
        ("abcd", "xabc", 1),
        ("abcd", "bcde", -1),
        ("abcd", "axbc", None),
        ("abcd", "acde", None),
        ("abcd", "xacd", None),
        ("abcd", "wxyz", None),
        ("abcd", "", None),
    ],
)
def test_a_page_that_only_moved_says_by_how_much(before: str, after: str, shift: int | None) -> None:
    assert slide(_page(10, before), _page(10, after)) == shift


def test_options_are_plain_values() -> None:
    assert CloudOptions("https://api.cloudnexus.io/v1", ca_file=Path("ca.pem")).timeout_s == 10.0
    assert Run(1, 1, _page(0, "a")).page.reaches_end is False
