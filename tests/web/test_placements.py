"""`/api/v1/placements` and `POST /api/v1/plan`."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from nexusd.core.errors import ConflictError, InputError, LeaseLostError, NotFoundError, StoreUnavailableError
from nexusd.core.lifecycle import Attempt, Outcome, State, Verdict
from nexusd.core.placement import Considered, PlacementRequest, Spread
from tests.web.fakes import EVERYWHERE, NOW, decision, placement, world_of
from tests.web.site import BODY, Site


async def test_a_placement_is_accepted_with_202_and_where_to_find_it(site: Site) -> None:
    answer = await site.post("/api/v1/placements", BODY)

    assert answer.status == 202
    assert answer.headers["Location"] == f"/api/v1/placements/{answer.json['id']}"
    assert answer.headers["Cache-Control"] == "no-store"


async def test_an_accepted_placement_has_the_documented_shape(site: Site) -> None:
    answer = await site.post("/api/v1/placements", BODY)
    assert answer.json == {
        "id": placement().id,
        "name": "worker-01",
        "plan": "pro",
        "image": "ubuntu-22.04",
        "ssh_keys": [],
        "constraints": {"regions": None, "avoid_regions": [], "where": None, "spread": None},
        "priority": 0,
        "deadline": None,
        "fleet": None,
        "created_at": "2023-11-14T22:12:20.000Z",
        "updated_at": "2023-11-14T22:12:20.000Z",
        "state": "queued",
        "reason": None,
        "region": None,
        "instance_id": None,
        "warnings": [],
        "attempts": [],
        "decisions": [],
    }


@pytest.mark.parametrize("path", ["/api/v1/placements", "/api/v1/plan"])
async def test_a_region_that_is_not_listed_is_accepted_with_a_warning(site: Site, path: str) -> None:
    site.daemon.world = world_of([], EVERYWHERE)
    body = BODY | {"regions": ["mars"], "avoid_regions": ["us-eats-1", "eu-west-2"]}
    answer = await site.post(path, body)
    assert answer.status in (200, 202)
    assert answer.json["warnings"] == [
        "regions: CloudNexus does not list region mars; it lists eu-west-2, us-east-1",
        "avoid_regions: CloudNexus does not list region us-eats-1; did you mean us-east-1?",
    ]


@pytest.mark.parametrize(("state", "warned"), [(State.QUEUED, True), (State.CANCELLED, False)])
async def test_an_open_placement_shows_its_warnings(site: Site, state: State, *, warned: bool) -> None:
    site.daemon.world = world_of([], EVERYWHERE)
    site.store.placements.put(
        placement(state=state, request=PlacementRequest("worker-01", "pro", regions=("mars",)))
    )
    answer = await site.get(f"/api/v1/placements/{placement().id}")
    assert bool(answer.json["warnings"]) is warned


async def test_everything_a_request_can_say_arrives(site: Site) -> None:
    body = BODY | {
        "image": "debian-12",
        "ssh_keys": ["key_abc123", "key_def456"],
        "regions": ["us-east-1", "eu-west-2"],
        "avoid_regions": ["ap-south-1"],
        "where": "region.latency_ms < 80.0",
        "spread": {"group": "web", "max_skew": 2},
        "priority": -5,
        "deadline": "1h30m",
    }
    answer = await site.post("/api/v1/placements", body)

    assert answer.status == 202
    assert site.placements.accepted == [
        (
            PlacementRequest(
                name="worker-01",
                plan="pro",
                image="debian-12",
                ssh_keys=("key_abc123", "key_def456"),
                regions=("us-east-1", "eu-west-2"),
                avoid_regions=("ap-south-1",),
                where="region.latency_ms < 80.0",
                spread=Spread("web", 2),
                priority=-5,
                deadline=NOW + 5400,
            ),
            None,
        )
    ]
    assert answer.json["constraints"] == {
        "regions": ["us-east-1", "eu-west-2"],
        "avoid_regions": ["ap-south-1"],
        "where": "region.latency_ms < 80.0",
        "spread": {"group": "web", "max_skew": 2},
    }
    assert answer.json["deadline"] == "2023-11-14T23:43:20.000Z"


async def test_location_starts_with_the_external_url() -> None:
    async with Site().running(external_url="https://nexusd.example.com/cloud/", write_token="w") as site:
        answer = await site.post("/api/v1/placements", BODY, headers={"Authorization": "Bearer w"})
    assert answer.headers["Location"].startswith("https://nexusd.example.com/cloud/api/v1/placements/plc_")


async def test_a_deadline_is_the_time_that_a_person_wrote_whatever_the_wall_clock_did(site: Site) -> None:
    site.clock.step_wall_clock(7200.0)
    answer = await site.post("/api/v1/placements", BODY | {"deadline": "2023-11-15T02:00:00+01:00"})
    assert site.placements.accepted[0][0].deadline == 1_700_010_000.0
    assert answer.json["deadline"] == "2023-11-15T01:00:00.000Z"


async def test_a_deadline_as_a_duration_counts_from_what_peoples_clocks_show(site: Site) -> None:
    site.clock.step_wall_clock(7200.0)
    answer = await site.post("/api/v1/placements", BODY | {"deadline": "1h"})
    assert answer.json["deadline"] == "2023-11-15T01:13:20.000Z"


async def test_times_are_answered_as_the_wall_clock_now_shows_them(site: Site) -> None:
    site.clock.step_wall_clock(-3600.0)
    answer = await site.post("/api/v1/placements", BODY)
    assert answer.json["created_at"] == "2023-11-14T21:12:20.000Z"


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"name": ""}, "name"),
    ({"name": "x" * 256}, "name"),
    ({"name": "a\nb"}, "name"),
    ({"name": "a\x00b"}, "name"),
    ({"name": "\u202eevil"}, "name"),
    ({"name": " padded "}, "name"),
    ({"name": 5}, "name"),
    ({"name": None}, "name"),
    ({"name": ["a"]}, "name"),
    ({"plan": "huge"}, "plan"),
    ({"plan": "Pro"}, "plan"),
    ({"image": ""}, "image"),
    ({"ssh_keys": "key"}, "ssh_keys"),
    ({"ssh_keys": ["ok", 5]}, "ssh_keys[1]"),
    ({"ssh_keys": ["ok"] * 101}, "ssh_keys"),
    ({"regions": []}, "regions"),
    ({"regions": "us-east-1"}, "regions"),
    ({"regions": ["us-east-1", ""]}, "regions[1]"),
    ({"avoid_regions": [None]}, "avoid_regions[0]"),
    ({"where": ""}, "where"),
    ({"where": "x" * 4097}, "where"),
    ({"where": "a\x00"}, "where"),
    ({"spread": {}}, "spread.group"),
    ({"spread": {"group": "web", "max_skew": 0}}, "spread.max_skew"),
    ({"spread": {"group": "web", "skew": 1}}, "spread.skew"),
    ({"spread": "web"}, "spread"),
    ({"priority": "high"}, "priority"),
    ({"priority": 1.5}, "priority"),
    ({"priority": True}, "priority"),
    ({"priority": 10**30}, "priority"),
    ({"priority": 1_000_001}, "priority"),
    ({"deadline": 5}, "deadline"),
    ({"deadline": "soon"}, "deadline"),
    ({"deadline": "5x"}, "deadline"),
    ({"deadline": "5m1h"}, "deadline"),
    ({"deadline": "2030-01-01T00:00:00"}, "deadline"),
    ({"deadline": "2030-13-01T00:00:00Z"}, "deadline"),
    ({"deadline": "9999-01-01T00:00:00Z"}, "deadline"),
    ({"deadline": "9999999999w"}, "deadline"),
    ({"regoin": "us-east-1"}, "regoin"),
    ({"fleet": "web"}, "fleet"),
]


@pytest.mark.parametrize(("change", "field"), WRONG, ids=str)
@pytest.mark.parametrize("path", ["/api/v1/placements", "/api/v1/plan"])
async def test_a_wrong_field_is_named_and_nothing_is_accepted(
    site: Site, path: str, change: dict[str, Any], field: str
) -> None:
    answer = await site.post(path, BODY | change)
    assert answer.status == 400, answer.text
    assert field in answer.fields
    assert field in answer.error["message"]
    assert not site.placements.accepted
    assert not site.placements.planned


@pytest.mark.parametrize("missing", ["name", "plan"])
async def test_a_missing_field_is_named(site: Site, missing: str) -> None:
    body = {key: value for key, value in BODY.items() if key != missing}
    assert (await site.post("/api/v1/placements", body)).fields == [missing]


@pytest.mark.parametrize("name", ["web 1", "Prod.API_primary", "größe", "名前", "a" * 255, "🚀"])
async def test_any_visible_name_is_taken(site: Site, name: str) -> None:
    assert (await site.post("/api/v1/placements", BODY | {"name": name})).status == 202


async def test_all_wrong_fields_are_named_at_once(site: Site) -> None:
    answer = await site.post("/api/v1/placements", {"name": 1, "plan": "x", "extra": 1})
    assert set(answer.fields) == {"name", "plan", "extra"}


async def test_an_expression_that_does_not_compile_is_a_400_that_names_where(site: Site) -> None:
    site.placements.error = InputError("where: unexpected end", "where")
    answer = await site.post("/api/v1/placements", BODY | {"where": "region."})
    assert (answer.status, answer.fields) == (400, ["where"])


async def test_a_name_that_is_taken_is_a_conflict(site: Site) -> None:
    site.placements.error = ConflictError("name: 'worker-01' is taken")
    answer = await site.post("/api/v1/placements", BODY)
    assert (answer.status, answer.error["code"]) == (409, "CONFLICT")
    assert "worker-01" in answer.error["message"]


@pytest.mark.parametrize(
    "error", [StoreUnavailableError("disk full"), LeaseLostError("another replica leads")]
)
async def test_a_store_that_does_not_commit_is_a_503_that_says_when_to_try_again(
    site: Site, error: Exception
) -> None:
    site.placements.error = error
    answer = await site.post("/api/v1/placements", BODY)
    assert (answer.status, answer.error["message"]) == (503, str(error))
    assert int(answer.headers["Retry-After"]) > 0


async def test_the_same_key_and_meaning_give_the_same_placement(site: Site) -> None:
    headers = {"Idempotency-Key": "one"}
    first = await site.post("/api/v1/placements", BODY, headers=headers)
    again = await site.post(
        "/api/v1/placements", {"priority": 0, "plan": "pro", "name": "worker-01"}, headers=headers
    )
    assert (again.status, again.json["id"]) == (202, first.json["id"])
    assert len(site.placements.accepted) == 1


async def test_the_same_key_with_another_body_is_a_conflict(site: Site) -> None:
    headers = {"Idempotency-Key": "one"}
    await site.post("/api/v1/placements", BODY, headers=headers)
    answer = await site.post("/api/v1/placements", BODY | {"plan": "starter"}, headers=headers)
    assert (answer.status, answer.error["code"]) == (409, "CONFLICT")


async def test_a_relative_deadline_does_not_change_the_digest_as_time_passes(site: Site) -> None:
    headers = {"Idempotency-Key": "one"}
    first = await site.post("/api/v1/placements", BODY | {"deadline": "5m"}, headers=headers)
    site.clock.advance(60)
    again = await site.post("/api/v1/placements", BODY | {"deadline": "5m"}, headers=headers)
    assert again.json["id"] == first.json["id"]


@pytest.mark.parametrize("key", ["", "x" * 256, "ключ"])
async def test_a_key_that_is_not_printable_ascii_of_bounded_length_is_refused(site: Site, key: str) -> None:
    answer = await site.post("/api/v1/placements", BODY, headers={"Idempotency-Key": key})
    assert (answer.status, answer.fields) == (400, ["Idempotency-Key"])


async def test_a_replayed_placement_comes_with_its_history(site: Site) -> None:
    attempt = Attempt(placement().id, 1, "us-east-1", NOW - 20, NOW - 10, 1, outcome=Outcome.CREATED)
    later = placement(state=State.PROVISIONING, updated_at=NOW, region="us-east-1", attempts=1)
    headers = {"Idempotency-Key": "one"}
    await site.post("/api/v1/placements", BODY, headers=headers)
    digest, _ = site.placements.keys["one"]
    site.placements.keys["one"] = digest, later
    site.store.placements.made_attempts[later.id] = [attempt]

    answer = await site.post("/api/v1/placements", BODY, headers=headers)

    assert answer.json["state"] == "provisioning"
    assert answer.json["attempts"] == [
        {
            "number": 1,
            "region": "us-east-1",
            "sent_at": "2023-11-14T22:13:00.000Z",
            "outcome": "created",
            "detail": None,
        }
    ]


async def test_one_placement_is_shown_with_attempts_and_decisions(site: Site) -> None:
    one = placement(state=State.VERIFYING, region="us-east-1")
    site.store.placements.put(one)
    site.store.placements.made_attempts[one.id] = [Attempt(one.id, 1, "us-east-1", NOW, NOW + 10, 1)]
    site.store.placements.made_decisions[one.id] = [decision()]

    answer = await site.get(f"/api/v1/placements/{one.id}")

    assert answer.json["attempts"][0]["outcome"] is None
    assert answer.json["decisions"] == [
        {
            "decided_at": "2023-11-14T22:13:15.000Z",
            "region": "us-east-1",
            "reason": None,
            "policy": "lowest-latency",
            "observed_at": "2023-11-14T22:13:10.000Z",
            "data_age_s": 5.0,
            "considered": [
                {
                    "region": "us-east-1",
                    "eligible": True,
                    "rank": 1,
                    "latency_ms": 12.0,
                    "instances": 42,
                    "reasons": [],
                },
                {
                    "region": "eu-west-2",
                    "eligible": False,
                    "rank": None,
                    "latency_ms": 45.0,
                    "instances": 7,
                    "reasons": ["no capacity"],
                },
            ],
        }
    ]


async def test_a_decision_on_smoothed_latencies_has_both(site: Site) -> None:
    one = placement()
    judged = Considered("us-east-1", True, 1, 12.0, 42, (), 33.5)
    site.store.placements.put(one)
    site.store.placements.made_decisions[one.id] = [decision(considered=(judged,))]
    [decided] = (await site.get(f"/api/v1/placements/{one.id}")).json["decisions"]
    assert [(c["latency_ms"], c["smoothed_ms"]) for c in decided["considered"]] == [(12.0, 33.5)]


@pytest.mark.parametrize("placement_id", ["plc_unknown", "%00", "..%2f", "x" * 65, "%F0%9F%9A%80", "a b"])
@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_a_placement_that_does_not_exist_is_a_404(site: Site, method: str, placement_id: str) -> None:
    answer = await site.ask(method, f"/api/v1/placements/{placement_id}")
    assert (answer.status, answer.error["code"]) == (404, "NOT_FOUND")


async def test_a_database_is_not_asked_for_what_can_be_no_id(site: Site) -> None:
    await site.get("/api/v1/placements/%00")
    assert site.store.runs == 0


async def test_a_list_is_newest_first_and_pages(site: Site) -> None:
    site.store.placements.put(*(placement(n) for n in range(1, 26)))

    first = (await site.get("/api/v1/placements")).json
    rest = (await site.get("/api/v1/placements?offset=20")).json

    assert first["meta"] == {"total": 25, "limit": 20, "offset": 0}
    assert first["data"][0]["name"] == "worker-25"
    assert [row["name"] for row in rest["data"]] == [f"worker-{n:02}" for n in range(5, 0, -1)]
    assert "decisions" not in first["data"][0]


async def test_a_list_is_filtered_by_state(site: Site) -> None:
    site.store.placements.put(placement(1), placement(2, State.RUNNING))
    answer = (await site.get("/api/v1/placements?state=running")).json
    assert [row["name"] for row in answer["data"]] == ["worker-02"]


async def test_an_unknown_state_is_refused_with_those_there_are(site: Site) -> None:
    answer = await site.get("/api/v1/placements?state=done")
    assert (answer.status, answer.fields) == (400, ["state"])
    assert "queued, creating" in answer.error["message"]


async def test_a_store_that_hangs_is_a_503_in_bounded_time() -> None:
    async with Site().running(store_timeout_s=0.02) as site:
        site.store.hangs = True
        answer = await site.get("/api/v1/placements")
    assert (answer.status, answer.error["code"]) == (503, "STORE_UNAVAILABLE")


async def test_a_placement_that_no_store_confirms_is_a_503_in_bounded_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def hang(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr("nexusd.web.tallies.COMMIT_TIMEOUT_S", 0.02)
    async with Site().running() as site:
        monkeypatch.setattr(site.placements, "accept", hang)
        answer = await site.post("/api/v1/placements", BODY)
    assert (answer.status, answer.error["code"]) == (503, "STORE_UNAVAILABLE")
    assert "Idempotency-Key" in answer.error["message"]


async def test_cancelling_answers_the_cancelled_placement(site: Site) -> None:
    answer = await site.ask("DELETE", f"/api/v1/placements/{placement().id}")
    assert (answer.status, answer.json["state"]) == (200, "cancelled")


async def test_cancelling_what_is_creating_is_a_conflict(site: Site) -> None:
    site.placements.error = ConflictError("placement plc_1 is creating: only a queued one can be cancelled")
    answer = await site.ask("DELETE", f"/api/v1/placements/{placement().id}")
    assert (answer.status, answer.error["code"]) == (409, "CONFLICT")


@pytest.mark.parametrize(
    ("outcome", "verdict", "state"),
    [("exists", Verdict.EXISTS, "provisioning"), ("absent", Verdict.ABSENT, "queued")],
)
async def test_resolving_passes_on_what_the_person_says_and_answers_the_placement(
    site: Site, outcome: str, verdict: Verdict, state: str
) -> None:
    answer = await site.post(f"/api/v1/placements/{placement().id}/resolve", {"outcome": outcome})
    assert (answer.status, answer.json["state"]) == (200, state)
    assert site.placements.resolved == [(placement().id, verdict)]


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({}, "outcome"),
        ({"outcome": "maybe"}, "outcome"),
        ({"outcome": "EXISTS"}, "outcome"),
        ({"outcome": None}, "outcome"),
        ({"outcome": ["exists"]}, "outcome"),
        ({"outcome": "exists", "force": True}, "force"),
    ],
)
async def test_a_resolution_that_cannot_be_read_is_a_400_that_names_the_field(
    site: Site, body: dict[str, Any], named: str
) -> None:
    answer = await site.post(f"/api/v1/placements/{placement().id}/resolve", body)
    assert (answer.status, answer.fields) == (400, [named])
    assert not site.placements.resolved


@pytest.mark.parametrize("body", [[], "exists", 5])
async def test_a_resolution_that_is_no_object_is_a_400(site: Site, body: object) -> None:
    answer = await site.post(f"/api/v1/placements/{placement().id}/resolve", body)
    assert (answer.status, answer.error["message"]) == (400, "the body must be a JSON object")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("name", 5, "name: a string is expected"),
        ("name", "", "name: at least 1 character is expected"),
        ("name", "x" * 256, "name: at most 255 characters are expected"),
        ("ssh_keys", "key", "ssh_keys: a list is expected"),
        ("ssh_keys", [None], "ssh_keys[0]: a string is expected"),
        ("regions", [], "regions: at least 1 item is expected"),
        ("avoid_regions", ["x"] * 1001, "avoid_regions: at most 1000 items are expected"),
        ("spread", "web", "spread: an object is expected"),
        ("spread", {}, "spread.group: is missing"),
        ("priority", "high", "priority: a whole number is expected"),
        ("priority", 10**7, "priority: at most 1000000 is expected"),
        ("priority", -(10**7), "priority: at least -1000000 is expected"),
    ],
)
async def test_a_refused_value_is_described_without_python_terms(
    site: Site, field: str, value: object, message: str
) -> None:
    body = {"name": "w1", "plan": "pro", field: value}
    for path in ("/api/v1/placements", "/api/v1/plan"):
        answer = await site.post(path, body)
        assert (answer.status, answer.error["message"]) == (400, message)


async def test_an_unknown_field_of_a_resolution_is_told_with_those_there_are(site: Site) -> None:
    answer = await site.post(f"/api/v1/placements/{placement().id}/resolve", {"outcome": "absent", "x": 1})
    assert answer.error["message"] == "x: no such field; there are outcome"


async def test_resolving_what_is_not_held_is_a_conflict(site: Site) -> None:
    site.placements.error = ConflictError("placement plc_1 is running: only a held one can be resolved")
    answer = await site.post(f"/api/v1/placements/{placement().id}/resolve", {"outcome": "exists"})
    assert (answer.status, answer.error["code"]) == (409, "CONFLICT")
    assert "running" in answer.error["message"]


@pytest.mark.parametrize("placement_id", ["plc_unknown", "%00", "x" * 65])
async def test_resolving_what_does_not_exist_is_a_404(site: Site, placement_id: str) -> None:
    site.placements.error = NotFoundError("there is no such placement")
    answer = await site.post(f"/api/v1/placements/{placement_id}/resolve", {"outcome": "exists"})
    assert (answer.status, answer.error["code"]) == (404, "NOT_FOUND")


async def test_plan_answers_one_decision_and_accepts_nothing(site: Site) -> None:
    answer = await site.post("/api/v1/plan", BODY)
    assert (answer.status, answer.json["region"]) == (200, "us-east-1")
    assert answer.json["considered"][1]["reasons"] == ["no capacity"]
    assert not site.placements.accepted


async def test_placements_are_matched_by_name_and_beginning_of_the_id(site: Site) -> None:
    site.store.placements.put(placement(1), placement(2), placement(30, state=State.RUNNING))
    assert await ids(site, "match=worker-02") == [placement(2).id]
    assert await ids(site, f"match={placement(1).id[:-1]}") == [placement(2).id, placement(1).id]
    assert await ids(site, f"match={placement(1).id[:-2]}&state=running") == [placement(30).id]
    assert await ids(site, "match=worker-0") == []


async def ids(site: Site, query: str) -> list[str]:
    return [row["id"] for row in (await site.get(f"/api/v1/placements?{query}")).json["data"]]


@pytest.mark.parametrize("path", ["/api/v1/placements", "/api/v1/outbox"])
@pytest.mark.parametrize("match", ["", "%00", "a%0Ab", "x" * 256])
async def test_a_match_that_can_be_no_name_is_refused(site: Site, path: str, match: str) -> None:
    answer = await site.get(f"{path}?match={match}")
    assert (answer.status, answer.fields) == (400, ["match"])
