"""Who may see the page where a read token is set: a browser asks its user for it as a password."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest

from tests.web.site import BODY, Site

TOKENS = {"read_token": "read-me", "write_token": "write-me"}


def basic(given: str) -> dict[str, str]:
    return {"Authorization": f"Basic {b64encode(given.encode()).decode()}"}


@pytest.mark.parametrize("given", ["any:read-me", ":read-me", "any:write-me"])
@pytest.mark.parametrize("path", ["/", "/static/nexusd.js", "/api/v1/events", "/?show=instances"])
async def test_the_token_as_a_password_lets_a_browser_read(given: str, path: str) -> None:
    async with Site().running(**TOKENS) as site:
        assert (await site.get(path, headers=basic(given))).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        basic("any:wrong"),
        basic("read-me:"),
        basic("read-me"),
        {"Authorization": "Basic ~~~"},
        {"Authorization": "Basic /w=="},
    ],
)
async def test_without_it_the_browser_is_told_to_ask(headers: dict[str, str]) -> None:
    async with Site().running(**TOKENS) as site:
        answer = await site.get("/", headers=headers)
        elsewhere = await site.get("/api/v1/status", headers=headers)
    assert answer.status == elsewhere.status == 401
    assert answer.headers["WWW-Authenticate"] == 'Basic realm="nexusd", charset="UTF-8"'
    assert "Basic" not in elsewhere.headers["WWW-Authenticate"]


@pytest.mark.parametrize(
    ("method", "path", "more"),
    [
        ("POST", "/api/v1/placements", {"json": BODY}),
        ("POST", "/api/v1/plan", {"json": BODY}),
        ("POST", "/-/reload", {"skip_auto_headers": ["Content-Type"]}),
    ],
)
async def test_a_password_commands_nothing(method: str, path: str, more: Any) -> None:
    async with Site().running(**TOKENS) as site:
        answer = await site.ask(method, path, headers=basic("any:write-me"), **more)
    assert answer.status == 401
    assert not site.placements.accepted
    assert not site.daemon.reloads
