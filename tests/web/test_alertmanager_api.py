"""`/api/v2/`: the shapes and habits of Alertmanager's API. `tests/e2e/test_amtool.py` has a real client."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import yaml

from nexusd.core.alerts import AlertState
from nexusd.core.errors import StoreUnavailableError
from nexusd.core.matchers import parse_matcher
from nexusd.core.notifications import Route, Routing
from tests.web.fakes import NOW, alert, muted_world
from tests.web.site import Site

ROUTING = Routing(
    {"ops": True, "dev": True},
    (
        Route(("ops",), (parse_matcher("severity=warning"),), ("alertname", "region"), continues=True),
        Route(("dev", "ops"), (parse_matcher("alertname=~Instance.*"),)),
    ),
)
SILENCE: dict[str, Any] = {
    "matchers": [{"name": "alertname", "value": "InstanceStopped", "isRegex": False}],
    "startsAt": "2023-11-14T22:13:20Z",
    "endsAt": "2023-11-15T00:13:20+01:00",
    "createdBy": "ada",
    "comment": "being moved",
}
EXISTING = "6f1c2a52-0f0e-4b2a-9d53-6d6a53c2b9b1"


@pytest.fixture
async def muted(site: Site) -> Site:
    """Three alerts, of which the one of inst_1 is inhibited and silenced."""
    site.daemon.world = muted_world()
    site.store.silences.rows.update(site.daemon.world.silences)
    return site


class TestAlerts:
    async def test_an_alert_has_alertmanagers_form(self, site: Site) -> None:
        one = alert(region="eu-west-2")
        site.daemon.world.alerts = {one.fingerprint: one}
        (shown,) = (await site.get("/api/v2/alerts")).json
        assert shown == {
            "annotations": {"summary": "RegionUnhealthy in eu-west-2"},
            "endsAt": "2023-11-14T22:18:20.000Z",
            "fingerprint": one.fingerprint,
            "receivers": [],
            "startsAt": "2023-11-14T22:10:00.000Z",
            "status": {"inhibitedBy": [], "mutedBy": [], "silencedBy": [], "state": "active"},
            "updatedAt": "2023-11-14T22:13:20.000Z",
            "generatorURL": "",
            "labels": {"alertname": "RegionUnhealthy", "region": "eu-west-2", "severity": "warning"},
        }

    async def test_a_muted_one_says_by_what(self, muted: Site) -> None:
        found = {a["labels"].get("instance_id"): a for a in (await muted.get("/api/v2/alerts")).json}
        assert found["inst_1"]["status"] == {
            "inhibitedBy": [found[None]["fingerprint"]],
            "mutedBy": [],
            "silencedBy": [EXISTING],
            "state": "suppressed",
        }
        assert found["inst_2"]["status"]["state"] == "active"

    @pytest.mark.parametrize("state", [AlertState.PENDING, AlertState.RESOLVED])
    async def test_only_what_fires_is_an_alert_here(self, site: Site, state: AlertState) -> None:
        site.daemon.world.alerts = {"a": alert(state=state)}
        assert (await site.get("/api/v2/alerts")).json == []

    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ("", {None, "inst_1", "inst_2"}),
            ("active=false", {"inst_1"}),
            ("silenced=false", {None, "inst_2"}),
            ("inhibited=false&unprocessed=false", {None, "inst_2"}),
            ("filter=alertname%3DInstanceStopped", {"inst_1", "inst_2"}),
            ('filter=alertname%3D~"Inst.*"&filter=region!%3D"eu-west-2"', {"inst_2"}),
            ('filter=instance_id%3D""', {None}),
            ("receiver=o.*", {None, "inst_1", "inst_2"}),
            ("receiver=dev", {"inst_1", "inst_2"}),
            ("receiver=de", set()),
        ],
    )
    async def test_filters(self, query: str, expected: set[str | None]) -> None:
        site = Site()
        site.daemon.world = muted_world()
        site.store.silences.rows.update(site.daemon.world.silences)
        async with site.running(routing=ROUTING):
            found = (await site.get(f"/api/v2/alerts?{query}")).json
        assert {a["labels"].get("instance_id") for a in found} == expected
        assert [a["fingerprint"] for a in found] == sorted(a["fingerprint"] for a in found)

    @pytest.mark.parametrize(
        ("query", "said"),
        [
            ("filter=nonsense", "filter: 'nonsense' is not a matcher"),
            ('filter=a%3D~"("', "filter: the pattern"),
            ("receiver=(", "receiver: the pattern"),
            ("active=perhaps", "active: true or false"),
            ("&".join(["filter=a%3Db"] * 51), "filter: at most 50"),
        ],
    )
    @pytest.mark.parametrize("path", ["/api/v2/alerts", "/api/v2/alerts/groups"])
    async def test_a_bad_query_is_a_400_whose_body_is_text(
        self, site: Site, path: str, query: str, said: str
    ) -> None:
        answer = await site.get(f"{path}?{query}")
        assert answer.status == 400
        assert isinstance(answer.json, str)
        assert answer.json.startswith(said)

    async def test_none_can_be_posted(self, site: Site) -> None:
        answer = await site.post("/api/v2/alerts", [{"labels": {"alertname": "mine"}}])
        assert (answer.status, answer.json[:10]) == (400, "alerts are")

    async def test_alerts_are_shown_without_the_store(self, muted: Site) -> None:
        muted.store.error = StoreUnavailableError("disk full")
        found = (await muted.get("/api/v2/alerts?active=false")).json
        assert [a["status"]["silencedBy"] for a in found] == [[EXISTING]]


class TestGroups:
    async def test_groups_are_those_of_the_routes(self) -> None:
        site = Site()
        site.daemon.world = muted_world()
        async with site.running(routing=ROUTING):
            found = (await site.get("/api/v2/alerts/groups")).json
            shown = [(g["receiver"]["name"], g["labels"], len(g["alerts"])) for g in found]
            dev = (await site.get("/api/v2/alerts/groups?receiver=dev&inhibited=false")).json
        stopped = {"alertname": "InstanceStopped"}
        assert shown == [
            ("dev", stopped, 2),
            ("ops", stopped, 2),
            ("ops", stopped | {"region": "eu-west-2"}, 1),
            ("ops", stopped | {"region": "us-east-1"}, 1),
            ("ops", {"alertname": "RegionUnhealthy", "region": "eu-west-2"}, 1),
        ]
        assert [[a["labels"]["instance_id"] for a in group["alerts"]] for group in dev] == [["inst_2"]]
        assert [r["name"] for r in dev[0]["alerts"][0]["receivers"]] == ["ops", "dev"]

    async def test_without_routes_severity_none_is_told_to_nobody(self) -> None:
        site = Site()
        site.daemon.world.alerts = {"a": alert("Watchdog", severity="none"), "b": alert()}
        async with site.running(routing=Routing({"ops": True})):
            found = (await site.get("/api/v2/alerts/groups")).json
        assert [g["labels"] for g in found] == [{"alertname": "RegionUnhealthy"}]


class TestSilences:
    async def test_one_is_made_shown_and_expired(self, site: Site) -> None:
        made = await site.post("/api/v2/silences", SILENCE)
        assert made.status == 200
        silence_id = made.json["silenceID"]
        shown = await site.get(f"/api/v2/silence/{silence_id}")
        assert shown.json == {
            "id": silence_id,
            "status": {"state": "active"},
            "updatedAt": "2023-11-14T22:13:20.000Z",
            "comment": "being moved",
            "createdBy": "ada",
            "startsAt": "2023-11-14T22:13:20.000Z",
            "endsAt": "2023-11-14T23:13:20.000Z",
            "matchers": [
                {"name": "alertname", "value": "InstanceStopped", "isRegex": False, "isEqual": True}
            ],
        }
        ended = await site.ask("DELETE", f"/api/v2/silence/{silence_id}")
        assert (ended.status, ended.body) == (200, b"")
        (listed,) = (await site.get("/api/v2/silences")).json
        assert listed["status"]["state"] == "expired"

    async def test_it_silences_at_once(self, site: Site) -> None:
        one = alert("InstanceStopped", instance_id="inst_1")
        site.daemon.world.alerts = {one.fingerprint: one}
        silence_id = (await site.post("/api/v2/silences", SILENCE)).json["silenceID"]
        (shown,) = (await site.get("/api/v2/alerts")).json
        assert shown["status"]["silencedBy"] == [silence_id]

    async def test_what_was_read_can_be_sent_back_changed(self, muted: Site) -> None:
        known = (await muted.get(f"/api/v2/silence/{EXISTING}")).json
        longer = await muted.post("/api/v2/silences", known | {"endsAt": "2023-11-20T00:00:00Z"})
        assert longer.json == {"silenceID": EXISTING}
        shown = (await muted.get(f"/api/v2/silence/{EXISTING}")).json
        assert (shown["endsAt"], shown["startsAt"]) == ("2023-11-20T00:00:00.000Z", known["startsAt"])

    @pytest.mark.parametrize(
        ("parts", "operator"),
        [
            ({"isRegex": False}, "="),
            ({"isRegex": False, "isEqual": False}, "!="),
            ({"isRegex": True, "isEqual": True}, "=~"),
            ({"isRegex": True, "isEqual": False}, "!~"),
        ],
    )
    async def test_every_operator_goes_in_and_comes_out(
        self, site: Site, parts: dict[str, bool], operator: str
    ) -> None:
        matchers = [*SILENCE["matchers"], {"name": "region", "value": "eu", **parts}]
        await site.post("/api/v2/silences", SILENCE | {"matchers": matchers})
        (silence,) = site.store.silences.rows.values()
        assert silence.matchers[1].operator == operator
        (shown,) = (await site.get("/api/v2/silences")).json
        assert shown["matchers"][1] == {"isEqual": True, "name": "region", "value": "eu", **parts}

    async def test_they_are_listed_as_alertmanager_orders_them(self, site: Site) -> None:
        times = {
            "late": ("2023-11-14T22:13:20Z", "2023-11-14T23:59:00Z"),
            "soon": ("2023-11-14T22:13:20Z", "2023-11-14T23:00:00Z"),
            "to come": ("2023-11-14T23:00:00Z", "2023-11-14T23:59:00Z"),
            "over": ("2023-11-14T22:13:20Z", "2023-11-14T22:13:30Z"),
        }
        for comment, (start, end) in times.items():
            body = SILENCE | {"startsAt": start, "endsAt": end, "comment": comment}
            assert (await site.post("/api/v2/silences", body)).status == 200
        site.clock.advance(60.0)
        found = (await site.get("/api/v2/silences")).json
        assert [s["comment"] for s in found] == ["soon", "late", "to come", "over"]

    async def test_they_are_filtered_by_their_own_matchers(self, muted: Site) -> None:
        await muted.post("/api/v2/silences", SILENCE)
        for query, count in (
            ("filter=instance_id%3Dinst_1", 1),
            ("filter=alertname%3DInstanceStopped", 1),
            ("filter=alertname%3D~InstanceStopped", 0),
            ("filter=nothing%3Dhere", 0),
        ):
            assert len((await muted.get(f"/api/v2/silences?{query}")).json) == count

    @pytest.mark.parametrize(
        ("start", "shown"),
        [
            ("2029-01-02T03:04:05", "03:04:05.000"),
            ("2029-01-02T03:04:05.123456", "03:04:05.123"),
            ("2029-01-02 03:04:05", "03:04:05.000"),
            ("2029-01-02T03:04", "03:04:00.000"),
            ("2029-01-02T3:04:05Z", "03:04:05.000"),
            ("2029-01-02T03:04:05,5Z", "03:04:05.500"),
            ("2029-01-02T03:04:05.123456789Z", "03:04:05.123"),
            ("2029-01-02T03:04:05+02:00", "01:04:05.000"),
        ],
    )
    async def test_times_are_read_as_alertmanager_reads_them(
        self, site: Site, start: str, shown: str
    ) -> None:
        body = SILENCE | {"startsAt": start, "endsAt": "2030-01-01T00:00:00"}
        assert (await site.post("/api/v2/silences", body)).status == 200
        (silence,) = (await site.get("/api/v2/silences")).json
        assert silence["startsAt"] == f"2029-01-02T{shown}Z"
        assert silence["endsAt"] == "2030-01-01T00:00:00.000Z"

    async def test_an_empty_start_is_now(self, site: Site) -> None:
        assert (await site.post("/api/v2/silences", SILENCE | {"startsAt": ""})).status == 200

    @pytest.mark.parametrize(
        "start",
        ["2029-01-02", "2029-01-02T03:04:05 Z", "2029-1-2T03:04:05", "20290102"],
    )
    async def test_a_time_that_alertmanager_refuses_is_a_400(self, site: Site, start: str) -> None:
        answer = await site.post(
            "/api/v2/silences", SILENCE | {"startsAt": start, "endsAt": "2030-01-01T00:00"}
        )
        assert answer.status == 400
        assert answer.json.startswith("startsAt: an RFC 3339 time")

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"matchers": []}, "matchers"),
            ({"matchers": [{"name": "a", "value": "", "isRegex": False}]}, "matchers: at least one"),
            ({"matchers": [{"name": "", "value": "x", "isRegex": False}]}, "matchers[0].name"),
            ({"matchers": [{"name": "a", "value": "(", "isRegex": True}]}, "matchers[0].value"),
            ({"matchers": [{"name": "a", "value": "x"}]}, "matchers[0].isRegex"),
            ({"matchers": [{"name": "a", "value": 1, "isRegex": False}]}, "matchers[0].value"),
            ({"endsAt": "2023-11-14T22:13:20Z"}, "endsAt: must be later"),
            (
                {"startsAt": "2023-01-01T00:00:00Z", "endsAt": "2023-01-02T00:00:00Z"},
                "endsAt: is in the past",
            ),
            ({"startsAt": "yesterday"}, "startsAt"),
            ({"endsAt": None}, "endsAt"),
            ({"comment": None}, "comment"),
            ({"createdBy": "x" * 257}, "createdBy"),
        ],
    )
    async def test_a_bad_one_is_a_400_that_names_the_field(
        self, site: Site, change: dict[str, Any], said: str
    ) -> None:
        answer = await site.post("/api/v2/silences", SILENCE | change)
        assert answer.status == 400
        assert answer.json.startswith(said)
        assert site.store.silences.rows == {}

    @pytest.mark.parametrize("method", ["GET", "DELETE"])
    @pytest.mark.parametrize("silence_id", ["unknown", "6f1c2a52-0f0e-4b2a-9d53-000000000000", "a%00b"])
    async def test_one_that_is_not_there_is_a_404(self, site: Site, method: str, silence_id: str) -> None:
        answer = await site.ask(method, f"/api/v2/silence/{silence_id}")
        assert (answer.status, type(answer.json)) == (404, str)
        assert (await site.post("/api/v2/silences", SILENCE | {"id": "unknown"})).status == 404

    async def test_a_store_that_is_away_is_a_503(self, site: Site) -> None:
        site.store.error = StoreUnavailableError("disk full")
        for answer in (await site.get("/api/v2/silences"), await site.post("/api/v2/silences", SILENCE)):
            assert (answer.status, answer.json) == (503, "disk full")

    async def test_only_who_may_write_may_silence(self) -> None:
        site = Site()
        async with site.running(write_token="w", read_token="r"):
            assert (await site.post("/api/v2/silences", SILENCE)).status == 401
            read = {"Authorization": "Bearer r"}
            assert (await site.post("/api/v2/silences", SILENCE, headers=read)).status == 403
            assert (await site.ask("DELETE", f"/api/v2/silence/{EXISTING}", headers=read)).status == 403
            assert (await site.get("/api/v2/silences", headers=read)).status == 200
            write = {"Authorization": "Bearer w"}
            assert (await site.post("/api/v2/silences", SILENCE, headers=write)).status == 200

    async def test_times_are_those_of_peoples_clocks(self, site: Site) -> None:
        site.clock.step_wall_clock(3600.0)
        body = SILENCE | {"startsAt": "2023-11-14T23:13:20Z", "endsAt": "2023-11-15T00:13:20Z"}
        silence_id = (await site.post("/api/v2/silences", body)).json["silenceID"]
        assert site.store.silences.rows[silence_id].starts_at == NOW
        shown = (await site.get(f"/api/v2/silence/{silence_id}")).json
        assert shown["endsAt"] == "2023-11-15T00:13:20.000Z"


class TestStatus:
    async def test_it_is_what_amtool_and_grafana_look_for(self, site: Site) -> None:
        status = (await site.get("/api/v2/status")).json
        assert status["cluster"] == {"status": "disabled", "peers": []}
        assert status["versionInfo"]["version"] == "1.2.3"
        assert set(status["versionInfo"]) == {
            *("version", "revision", "branch", "buildUser", "buildDate", "goVersion")
        }
        assert status["uptime"] == "2023-11-14T22:11:40.000Z"

    async def test_the_routes_are_told_in_alertmanagers_words(self) -> None:
        site = Site()
        routing = replace(ROUTING, receivers={**ROUTING.receivers, "nobody": True})
        async with site.running(routing=routing, receivers=("ops", "dev", "dev/2", "nobody")):
            config = yaml.safe_load((await site.get("/api/v2/status")).json["config"]["original"])
            receivers = (await site.get("/api/v2/receivers")).json
        assert receivers == [{"name": "ops"}, {"name": "dev"}, {"name": "nobody"}]
        assert config["receivers"] == [{"name": "nobody_"}, *receivers]
        assert [(r["receiver"], r["matchers"], r["continue"]) for r in config["route"]["routes"]] == [
            ("ops", ['severity="warning"'], True),
            ("dev", ['alertname=~"Instance.*"'], True),
            ("ops", ['alertname=~"Instance.*"'], False),
        ]
        assert config["route"]["routes"][0]["group_by"] == ["alertname", "region"]
        assert [r["source_matchers"] for r in config["inhibit_rules"]][1] == ['alertname="RegionUnhealthy"']
