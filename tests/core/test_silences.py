"""Silences: their states, what is refused, and what a change of one comes to."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nexusd.core.errors import InputError
from nexusd.core.matchers import parse_matcher
from nexusd.core.silences import Silence, SilenceRequest, SilenceState, check, expired, taken_in

NOW = 1_000.0
MATCHERS = (parse_matcher("alertname=InstanceStopped"),)
REQUEST = SilenceRequest(MATCHERS, NOW, NOW + 3600.0, "me", "why")
ACTIVE = Silence("old", MATCHERS, NOW - 100.0, NOW + 100.0, NOW - 100.0, "her", "before")
PENDING = replace(ACTIVE, starts_at=NOW + 50.0)
EXPIRED = replace(ACTIVE, ends_at=NOW)


def test_states() -> None:
    assert [s.state(NOW) for s in (PENDING, ACTIVE, EXPIRED)] == [
        SilenceState.PENDING,
        SilenceState.ACTIVE,
        SilenceState.EXPIRED,
    ]


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (replace(REQUEST, matchers=()), "matchers"),
        (replace(REQUEST, matchers=(parse_matcher('a=""'), parse_matcher("b=~.*"))), "matchers"),
        (replace(REQUEST, ends_at=NOW), "endsAt"),
        (replace(REQUEST, starts_at=NOW - 10.0, ends_at=NOW - 5.0), "endsAt"),
    ],
)
def test_what_is_refused(request_: SilenceRequest, field: str) -> None:
    with pytest.raises(InputError) as refused:
        check(request_, NOW)
    assert refused.value.field == field


def test_what_is_right_is_let_through() -> None:
    check(REQUEST, NOW)
    check(replace(REQUEST, matchers=(*MATCHERS, parse_matcher("region!=eu"))), NOW)
    for negative in ("severity!=critical", "severity!~critical|warning", 'fleet!=""'):
        check(replace(REQUEST, matchers=(parse_matcher(negative),)), NOW)


def test_a_new_one_does_not_begin_in_the_past() -> None:
    silence, ended = taken_in(replace(REQUEST, starts_at=NOW - 500.0), None, "new", NOW)
    assert (silence.id, silence.starts_at, silence.ends_at, ended) == ("new", NOW, NOW + 3600.0, None)
    assert (silence.created_by, silence.comment, silence.updated_at) == ("me", "why", NOW)


def test_a_longer_end_keeps_the_id_and_the_start() -> None:
    request = replace(REQUEST, starts_at=ACTIVE.starts_at + 0.4, id="old")
    silence, ended = taken_in(request, ACTIVE, "new", NOW)
    assert (silence.id, silence.starts_at, silence.ends_at) == ("old", ACTIVE.starts_at, NOW + 3600.0)
    assert (silence.comment, ended) == ("why", None)


def test_one_that_has_not_begun_may_be_moved() -> None:
    request = replace(REQUEST, starts_at=NOW + 10.0, id="old")
    silence, ended = taken_in(request, PENDING, "new", NOW)
    assert (silence.id, silence.starts_at, ended) == ("old", NOW + 10.0, None)


@pytest.mark.parametrize(
    ("existing", "request_"),
    [
        (ACTIVE, replace(REQUEST, starts_at=ACTIVE.starts_at, matchers=(parse_matcher("a=b"),))),
        (PENDING, replace(REQUEST, starts_at=PENDING.starts_at, matchers=(parse_matcher("a=b"),))),
        (ACTIVE, replace(REQUEST, starts_at=NOW + 10.0)),
    ],
    ids=["other matchers", "other matchers of one to come", "another start"],
)
def test_any_other_change_ends_it_and_makes_a_new_one(existing: Silence, request_: SilenceRequest) -> None:
    silence, ended = taken_in(replace(request_, id="old"), existing, "new", NOW)
    assert ended is not None
    assert (ended.id, ended.state(NOW)) == ("old", SilenceState.EXPIRED)
    assert (silence.id, silence.matchers) == ("new", request_.matchers)


def test_one_that_is_over_stays_so_and_a_new_one_is_made() -> None:
    silence, ended = taken_in(replace(REQUEST, id="old"), EXPIRED, "new", NOW)
    assert (silence.id, ended) == ("new", None)


def test_expiring() -> None:
    assert expired(ACTIVE, NOW) == replace(ACTIVE, ends_at=NOW, updated_at=NOW)
    assert expired(PENDING, NOW) == replace(PENDING, starts_at=NOW, ends_at=NOW, updated_at=NOW)
    assert expired(EXPIRED, NOW) is EXPIRED
