"""What every status from 300 to 599 proves and means, with every kind of body."""

from __future__ import annotations

import json
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexusd.cloud.create import Post, SendGuard, judge
from nexusd.cloud.http import Answer, Http
from nexusd.cloud.key import LiteralKey
from nexusd.cloud.options import CloudOptions
from nexusd.cloud.refusals import CLIENT_ERROR, DEFAULT_RULES, ErrorAnswer, RefusalRule, classify, only
from nexusd.core.answers import CreateAnswer, CreateRequest, Refused, Unknown
from nexusd.core.nesting import MAX_DEPTH
from tests.cloud.server import KEY

ROOT = Path(__file__).parents[2]
ASKED = CreateRequest("worker-01", "us-east-1", "pro", "ubuntu-22.04")
STATUSES = range(300, 600)
IN_DOUBT = {*range(300, 400), 408, 425, 499, *range(500, 600)}

Meaning = tuple[str, str, str]
"""What is known (`nothing made` or `in doubt`), kind, scope."""


def documented(code: str, message: str = "no", details: object = None) -> bytes:
    return json.dumps({"error": {"code": code, "message": message, "details": details}}).encode()


def outcome(status: int, body: bytes, *rules: RefusalRule) -> CreateAnswer:
    http = Http(CloudOptions("http://127.0.0.1:1/v1"), LiteralKey(KEY))
    answer = Answer(status, body, None, None)
    guard = SendGuard(lambda: 0.0, 1.0)
    return judge(Post(sent=True, answer=answer), http.error_answer(answer, None), ASKED, rules, guard)


def meaning(answer: CreateAnswer) -> Meaning:
    assert isinstance(answer, Refused | Unknown)
    return "nothing made" if isinstance(answer, Refused) else "in doubt", answer.kind, answer.scope


def meanings(body: bytes, *rules: RefusalRule) -> dict[int, Meaning]:
    return {status: meaning(outcome(status, body, *rules)) for status in STATUSES}


def table(documented: Meaning, in_doubt: Meaning, rows: dict[int, Meaning]) -> dict[int, Meaning]:
    """`documented` for every 4xx that proves something, `in_doubt` for the rest, but for `rows`."""
    return {s: rows.get(s, in_doubt if s in IN_DOUBT else documented) for s in STATUSES}


UNKNOWN: Meaning = ("in doubt", "unknown", "region")
BY_STATUS: dict[int, Meaning] = {
    401: ("nothing made", "auth", "account"),
    402: ("nothing made", "quota", "account"),
    403: ("nothing made", "auth", "account"),
    429: ("nothing made", "throttled", "account"),
}
WITHOUT_ERROR = table(
    UNKNOWN,
    UNKNOWN,
    {
        **BY_STATUS,
        404: ("nothing made", "unavailable", "account"),
        405: ("nothing made", "unavailable", "account"),
        413: ("nothing made", "rejected", "request"),
        414: ("nothing made", "unavailable", "account"),
    },
)
REJECTED = table(("nothing made", "rejected", "request"), UNKNOWN, BY_STATUS)


def whatever_the_status(kind: str, scope: str) -> dict[int, Meaning]:
    return table(("nothing made", kind, scope), ("in doubt", kind, scope), {})


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", WITHOUT_ERROR),
        (b"<html><h1>Bad Gateway</h1></html>", WITHOUT_ERROR),
        (b'{"error": {"code": "VALI', WITHOUT_ERROR),
        (b'{"message": "no Route matched with those values"}', WITHOUT_ERROR),
        (b'{"error": "not found"}', WITHOUT_ERROR),
        (b'{"error": {"code": 404, "message": "not found"}}', WITHOUT_ERROR),
        (b'{"error": {"code": "", "message": "not found"}}', WITHOUT_ERROR),
        (b'[{"error": {"code": "VALIDATION_ERROR"}}]', WITHOUT_ERROR),
        (documented("VALIDATION_ERROR"), REJECTED),
        (documented("SOMETHING_NEW"), REJECTED),
        (b'{"error": {"code": "SOMETHING_NEW"}}', REJECTED),
        (documented("UNAUTHORIZED"), REJECTED),
        (documented("INSUFFICIENT_CAPACITY"), whatever_the_status("capacity", "region")),
        (documented("no_capacity_left"), whatever_the_status("capacity", "region")),
        (documented("REGION_UNAVAILABLE"), whatever_the_status("unavailable", "region")),
        (documented("REGION_NOT_FOUND"), whatever_the_status("unavailable", "region")),
        (documented("QUOTA_EXCEEDED", "8 of 8 in us-east-1"), whatever_the_status("quota", "region")),
        (documented("QUOTA_EXCEEDED", "", ["us-east-1"]), whatever_the_status("quota", "region")),
        (documented("QUOTA_EXCEEDED", "8 of 8 instances"), whatever_the_status("quota", "account")),
        (documented("QUOTA_EXCEEDED", "8 of 8 in us-east-12"), whatever_the_status("quota", "account")),
    ],
)
def test_every_status_proves_and_means_what_the_table_says(body: bytes, expected: dict[int, Meaning]) -> None:
    assert meanings(body) == expected


@given(st.integers(100, 999), st.text(max_size=20), st.text(max_size=20))
def test_nothing_but_a_4xx_ever_proves_that_nothing_was_made(status: int, code: str, message: str) -> None:
    answer = classify(ErrorAnswer(status, code, message), "us-east-1")
    assert isinstance(answer, Unknown) or status in set(CLIENT_ERROR) - IN_DOUBT


# rows from the configuration


@pytest.mark.parametrize("body", [b"", documented("SOMETHING_NEW")])
def test_a_row_of_the_configuration_changes_what_it_means_and_never_what_it_proves(body: bytes) -> None:
    mine = RefusalRule("capacity", "region")
    proven = {status: known for status, (known, _, _) in meanings(body).items()}
    assert meanings(body, mine) == {s: (known, "capacity", "region") for s, known in proven.items()}


def test_a_row_of_the_kind_unknown_makes_a_refusal_one_to_verify() -> None:
    careful = RefusalRule("unknown", "region", only(409))
    assert meaning(outcome(409, documented("CONFLICT"), careful)) == UNKNOWN
    assert meaning(outcome(422, documented("CONFLICT"), careful)) == ("nothing made", "rejected", "request")


def test_the_first_row_that_matches_counts() -> None:
    rows = (
        RefusalRule("quota", "account", only(503), "BUSY*"),
        RefusalRule("unavailable", "region", only(503)),
    )
    assert meaning(outcome(503, documented("busy_today"), *rows)) == ("in doubt", "quota", "account")
    assert meaning(outcome(503, b"", *rows)) == ("in doubt", "unavailable", "region")


# the provider's words


def test_the_words_of_a_refusal_are_kept() -> None:
    refused = outcome(422, documented("VALIDATION_ERROR", "name is long", [{"field": "name"}]))
    assert isinstance(refused, Refused)
    assert (refused.code, refused.message, refused.details) == (
        "VALIDATION_ERROR",
        "name is long",
        '[{"field":"name"}]',
    )


def test_the_words_of_an_error_in_doubt_are_its_reason() -> None:
    unknown = outcome(503, documented("NO_CAPACITY", "none left", ["try\nlater"]))
    assert isinstance(unknown, Unknown)
    assert unknown.reason == r'POST /instances: 503 NO_CAPACITY: none left (["try\nlater"])'
    assert unknown.code == "NO_CAPACITY"


def test_a_body_that_says_nothing_is_said_to() -> None:
    unknown = outcome(502, b"<html>")
    assert isinstance(unknown, Unknown)
    assert unknown.reason == "POST /instances: 502 without a CloudNexus error"


def test_hostile_words_are_printable_and_bounded() -> None:
    refused = outcome(422, documented("X" * 999, "a\x1b[2J\r\nb\u202e" * 999, "\x00" * 9999))
    assert isinstance(refused, Refused)
    assert [len(text) for text in (refused.code, refused.message, refused.details)] == [100, 500, 500]
    assert (refused.code + refused.message + refused.details).isprintable()


def with_details(depth: int) -> bytes:
    """An error response nested `depth` deep."""
    details = b"[" * (depth - 2) + b"]" * (depth - 2)
    return b'{"error": {"code": "X", "message": "deep", "details": %s}}' % details


def test_details_up_to_the_depth_limit_are_read() -> None:
    refused = outcome(422, with_details(MAX_DEPTH))
    assert isinstance(refused, Refused)
    assert refused.message == "deep"


def test_a_refusal_nested_too_deeply_counts_by_its_status() -> None:
    assert outcome(422, with_details(MAX_DEPTH + 1)) == outcome(422, b"")


def test_a_created_instance_nested_too_deeply_is_an_unknown_outcome() -> None:
    assert isinstance(outcome(201, b'{"id": "inst_1", "x": %s}' % (b"[" * 999 + b"]" * 999)), Unknown)


def test_the_table_ends_with_a_row_for_everything() -> None:
    assert all(DEFAULT_RULES[-1].matches(status, code) for status in STATUSES for code in ("", "X"))


def _generator() -> ModuleType:
    spec = spec_from_file_location("generate_refusals", ROOT / "docs" / "generate_refusals.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_shows_the_tables() -> None:
    page = (ROOT / "docs" / "refusals.md").read_text()
    again = "run python docs/generate_refusals.py"
    assert _generator().generated(page) == page, again
