"""Names in another form: similar ones, cut ones, members of fleets."""

from __future__ import annotations

from unicodedata import normalize

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexusd.core.identifiers import fleet_of
from nexusd.core.names import FleetNames, canonical, cut_forms, is_cut_form

CUT = "a-region-of-the-production-cluster-with-a-very-long-name-that-ends-here-01"


@pytest.mark.parametrize(
    ("requested", "listed"),
    [
        ("Worker-A", "worker-a"),
        (" worker-a ", "worker-a"),
        ("cafe\u0301", "caf\u00e9"),
        ("CAFÉ", "cafe\u0301"),
        ("Straße", "STRASSE"),
    ],
)
def test_names_that_differ_in_form_only_are_the_same(requested: str, listed: str) -> None:
    assert canonical(requested) == canonical(listed)


@given(st.text(max_size=20))
def test_the_canonical_form_is_stable_and_does_not_depend_on_normalization(name: str) -> None:
    form = canonical(name)
    assert canonical(form) == form
    assert canonical(normalize("NFC", name)) == canonical(normalize("NFD", name)) == form


def test_prefixes_shorter_than_any_limit_are_not_cut_forms() -> None:
    forms = list(cut_forms(CUT, 60))
    assert forms == [CUT[:end] for end in range(60, len(CUT))]
    assert list(cut_forms("worker-10", 15)) == []


def test_a_name_cut_within_a_character_is_found_by_bytes() -> None:
    name = "é" * 40
    cut = name.encode()[:63].decode(errors="replace")
    assert canonical(cut) in set(cut_forms(canonical(name), 60))


def test_a_cut_form_is_a_proper_prefix() -> None:
    assert is_cut_form(CUT[:20].upper(), CUT)
    assert not is_cut_form(CUT, CUT)
    assert not is_cut_form("", CUT)
    assert not is_cut_form("another", CUT)


@pytest.mark.parametrize(
    ("name", "fleet"),
    [
        ("Web-X7f2k", "Web"),
        ("web-x7f2k", "Web"),
        (" WEB-X7F2K ", "Web"),
        ("web-x7f2", None),
        ("db-x7f2k", "db"),
        ("Db-x7f2k", "db"),
        (f"{'f' * 61}-a", "F" * 61),
        (f"{'f' * 61}-", "F" * 61),
        ("f" * 60, "F" * 61),
        ("g" * 60, None),
    ],
)
def test_a_fleets_members_are_found_in_whatever_form(name: str, fleet: str | None) -> None:
    assert FleetNames(["Web", "db", "F" * 61]).fleet_of(name) == fleet


def test_fleets_whose_names_differ_in_case_only_keep_their_own_members() -> None:
    fleets = FleetNames(["web", "Web"])
    assert (fleets.fleet_of("web-aaaaa"), fleets.fleet_of("Web-aaaaa")) == ("web", "Web")


@given(st.text("ab-0", max_size=9), st.sets(st.text("ab-", max_size=3)))
def test_a_name_in_its_own_form_is_a_member_of_the_fleet_that_it_begins_with(
    name: str, fleets: set[str]
) -> None:
    assert FleetNames(fleets).fleet_of(name) == (fleet_of(name) if fleet_of(name) in fleets else None)
