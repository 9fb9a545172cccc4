"""`POST /api/v1/alerts/test`."""

from __future__ import annotations

import pytest

from nexusd.ports import Delivery, ReceiverTest
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
