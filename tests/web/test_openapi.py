"""`/api/v1/openapi.json`, and that it is true."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nexusd.web.openapi import description
from nexusd.web.operations import OPERATIONS
from tests.web import described
from tests.web.site import Site

DOCUMENTATION = Path(__file__).parents[2] / "docs" / "http-api.md"


def references(block: object) -> Iterator[str]:
    if isinstance(block, dict):
        yield from (value for key, value in block.items() if key == "$ref")
        for value in block.values():
            yield from references(value)
    elif isinstance(block, list):
        for value in block:
            yield from references(value)


async def test_every_route_of_the_server_is_described_and_nothing_else(site: Site) -> None:
    app = site.server._runner.app
    routes = {(route.method, route.resource.canonical) for route in app.router.routes() if route.resource}
    assert {route for route in routes if route[0] != "HEAD"} == set(OPERATIONS)


async def test_it_is_served_as_it_is_made(site: Site) -> None:
    answer = await site.get("/api/v1/openapi.json")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
    assert answer.json == description("1.2.3")
    assert (answer.json["openapi"], answer.json["info"]["version"]) == ("3.1.0", "1.2.3")


def test_every_reference_leads_somewhere_and_every_schema_is_referred_to() -> None:
    document = description("1")
    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert set(references(document)) == known


def test_every_operation_has_a_name_of_its_own_and_the_parameters_of_its_path() -> None:
    paths = description("1")["paths"]
    operations = [operation for path in paths.values() for operation in path.values()]
    assert len({operation["operationId"] for operation in operations}) == len(OPERATIONS)
    for path, block in paths.items():
        for operation in block.values():
            named = {p["name"] for p in operation.get("parameters", ()) if p["in"] == "path"}
            assert named == set(re.findall(r"\{(\w+)\}", path))


@pytest.mark.parametrize(
    ("method", "path"), [key for key in OPERATIONS if not key[1].startswith(("/static", "/api/v2"))]
)
def test_every_operation_is_in_the_documentation(method: str, path: str) -> None:
    assert f"`{method} {path}`" in DOCUMENTATION.read_text()


def answered(status: int, body: bytes, **headers: str) -> None:
    described.check("GET", "/api/v1/regions", status, {"Content-Type": "application/json"} | headers, body)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b'{"regions": [{}], "observed_at": null}'),
        (200, b'{"regions": []}'),
        (200, b'{"regions": [], "observed_at": 5}'),
        (401, b'{"error": "no"}'),
        (404, b'{"error": {"code": "NOT_FOUND", "message": "", "details": null}}'),
    ],
)
def test_the_web_tests_see_an_answer_that_is_not_described(status: int, body: bytes) -> None:
    answered(200, b'{"regions": [], "observed_at": null}')
    with pytest.raises((AssertionError, ValueError)):
        answered(status, body)


def schema(name: str) -> Any:
    return description("1")["components"]["schemas"][name]


def test_bodies_say_which_values_are_taken() -> None:
    assert schema("PlacementBody")["properties"]["plan"]["enum"] == ["starter", "pro", "enterprise"]
    assert schema("ResolveBody")["properties"]["outcome"]["enum"] == ["exists", "absent"]
    assert schema("PlacementBody")["additionalProperties"] is False


def every_block(block: object) -> Iterator[dict[str, Any]]:
    if isinstance(block, dict):
        yield block
        for value in block.values():
            yield from every_block(value)
    elif isinstance(block, list):
        for value in block:
            yield from every_block(value)


def test_generators_of_clients_can_read_every_schema() -> None:
    for block in every_block(description("1")["components"]["schemas"]):
        assert block.get("items") is not False
        assert "prefixItems" not in block
        for name, member in block.get("properties", {}).items():
            assert member.get("type") != "null", name


def test_every_operation_is_documented_for_readers_and_generators() -> None:
    document = description("1")
    tags = {tag["name"] for tag in document["tags"]}
    for path, block in document["paths"].items():
        for operation in block.values():
            assert re.fullmatch(r"[a-z]+[A-Za-z]{2,24}", operation["operationId"]), path
            assert operation["description"].endswith(".")
            assert set(operation["tags"]) <= tags
            assert operation["security"] == ([] if path == "/-/healthy" else [{"token": []}, {}])


async def test_the_server_is_the_external_url_or_the_same_host(site: Site) -> None:
    assert (await site.get("/api/v1/openapi.json")).json["servers"][0]["url"] == "/"
    async with Site().running(external_url="https://ops.example.com/nexusd/") as proxied:
        servers = (await proxied.get("/api/v1/openapi.json")).json["servers"]
    assert servers[0]["url"] == "https://ops.example.com/nexusd"


@pytest.mark.parametrize("name", ["region", "status", "name", "placement"])
@pytest.mark.parametrize("query", ["", "show=instances&", "show=alerts&", "show=placements&"])
async def test_the_page_keeps_to_its_bounds_whatever_it_shows(site: Site, query: str, name: str) -> None:
    answer = await site.get(f"/?{query}{name}={'x' * 1025}")
    assert answer.status == 400
    assert answer.json["error"]["details"][0]["field"] == name
    assert (await site.get(f"/?{query}offset=-1")).status == 400
