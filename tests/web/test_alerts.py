"""`GET /api/v1/alerts` and `POST /api/v1/alerts/test`."""

from __future__ import annotations

import pytest

from nexusd.core.alerts import AlertState
from nexusd.core.notifications import Routing
from nexusd.ports import Delivery, ReceiverTest
from tests.web.fakes import alert, muted_world
from tests.web.site import Site

OPS = ReceiverTest("ops", "webhook", Delivery("delivered", "204"), 0.01234567)
WEB = ReceiverTest("web", "webhook", Delivery("retry", "timeout", "no answer within 10s"), 10.0)


async def test_each_answer_is_told(site: Site) -> None:
    site.daemon.tested = [OPS, WEB]
    answer = await site.post("/api/v1/alerts/test", {})
    assert answer.status == 200
    assert answer.json == {
        "data": [
            {
                "receiver": "ops",
                "type": "webhook",
                "delivered": True,
                "code": "204",
                "error": None,
                "duration_s": 0.0123,
            },
            {
                "receiver": "web",
                "type": "webhook",
                "delivered": False,
                "code": "timeout",
                "error": "no answer within 10s",
                "duration_s": 10.0,
            },
        ]
    }
    assert site.daemon.tests == [None]


async def test_without_a_body_all_are_tested(site: Site) -> None:
    assert (await site.ask("POST", "/api/v1/alerts/test")).status == 200
    assert site.daemon.tests == [None]


async def test_one_receiver_is_named(site: Site) -> None:
    site.daemon.tested = [OPS, WEB]
    answer = await site.post("/api/v1/alerts/test", {"receiver": "web"})
    assert [row["receiver"] for row in answer.json["data"]] == ["web"]


async def test_an_unknown_receiver_is_a_404_that_names_those_there_are(site: Site) -> None:
    answer = await site.post("/api/v1/alerts/test", {"receiver": "opps"})
    assert answer.status == 404
    assert answer.error["message"] == "there is no receiver opps; there are ops, web"


@pytest.mark.parametrize("receiver", [7, "", "a\x00b", ["ops"], "x" * 300])
async def test_a_name_that_is_none_is_a_400_that_names_the_field(site: Site, receiver: object) -> None:
    answer = await site.post("/api/v1/alerts/test", {"receiver": receiver})
    assert (answer.status, answer.fields) == (400, ["receiver"])


class TestList:
    async def test_the_most_pressing_first_with_what_mutes_them_and_who_is_told(self) -> None:
        site = Site()
        site.daemon.world = world = muted_world()
        site.store.silences.rows.update(world.silences)
        async with site.running(routing=Routing({"ops": True})):
            listed = (await site.get("/api/v1/alerts")).json
        assert listed["meta"] == {"total": 3, "limit": 20, "offset": 0}
        shown = next(a for a in listed["data"] if a["labels"].get("instance_id") == "inst_1")
        source = next(f for f, a in world.alerts.items() if a.name == "RegionUnhealthy")
        assert shown["inhibited_by"] == [source]
        assert shown["inhibited_by_names"] == ["RegionUnhealthy"]
        assert shown["silenced_by"] == list(world.silences)
        assert (shown["receivers"], shown["resolved_at"]) == (["ops"], None)

    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ("", ["RegionUnhealthy", "InstanceStuck"]),
            ("state=firing", ["RegionUnhealthy"]),
            ("state=pending", ["InstanceStuck"]),
            ("state=resolved", ["NoEligibleRegion"]),
            ("state=suppressed", []),
            ("filter=alertname%3D~Instance.*", ["InstanceStuck"]),
            ("limit=1&offset=1", ["InstanceStuck"]),
        ],
    )
    async def test_by_state_and_matchers(self, site: Site, query: str, expected: list[str]) -> None:
        found = (
            alert(),
            alert("InstanceStuck", AlertState.PENDING),
            alert("NoEligibleRegion", AlertState.RESOLVED),
        )
        site.daemon.world.alerts = {a.fingerprint: a for a in found}
        listed = (await site.get(f"/api/v1/alerts?{query}")).json["data"]
        assert [a["labels"]["alertname"] for a in listed] == expected

    async def test_the_suppressed_are_those_that_fire_and_are_told_to_nobody(self, site: Site) -> None:
        site.daemon.world = muted_world()
        listed = (await site.get("/api/v1/alerts?state=suppressed")).json["data"]
        assert [a["labels"]["instance_id"] for a in listed] == ["inst_1"]

    @pytest.mark.parametrize(("query", "field"), [("state=angry", "state"), ("filter=x", "filter")])
    async def test_a_bad_query_names_the_parameter(self, site: Site, query: str, field: str) -> None:
        answer = await site.get(f"/api/v1/alerts?{query}")
        assert (answer.status, answer.fields) == (400, [field])
