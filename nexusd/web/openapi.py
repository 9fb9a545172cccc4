"""`GET /api/v1/openapi.json`: the HTTP API as OpenAPI 3.1.

It is rendered from `operations` and `operation_docs`.

Client generators fail at some valid schemas, so there is no `items: false` and no property that is only null.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import lru_cache
from http import HTTPStatus
from typing import Any

import msgspec
from aiohttp import web
from pydantic.json_schema import models_json_schema

from nexusd.web import schemas
from nexusd.web.operation_docs import DOCUMENTATION, TAGS
from nexusd.web.operations import EVERYBODY, JSON, OPERATIONS, PLAIN, Operation, Parameter

_AT = "#/components/schemas/"
_TEXT = {"schema": {"type": "string"}}
_AUTHORIZED: list[dict[str, list[str]]] = [{"token": []}, {}]
"""By a token, or without one where none is configured (docs/http-api.md)."""
_INFO = {
    "title": "nexusd",
    "summary": "Region-aware scheduler and monitoring daemon for the CloudNexus cloud",
    "description": "Places instances in the best region, observes the fleet, and alerts. Times are RFC 3339 "
    'in UTC. Errors have the shape `{"error": {"code", "message", "details"}}`.',
    "contact": {"name": "nexusd", "url": "https://github.com/nexusd/nexusd"},
    "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
}
_WHY = {401: {"WWW-Authenticate": "How to authenticate."}, 503: {"Retry-After": "Seconds to wait for."}}

Block = dict[str, Any]


class OpenApiRoutes:
    """The route of the OpenAPI document.

    `external_url`: where clients reach the API; without it, URLs are relative to the document's host.
    """

    def __init__(self, version: str, external_url: str | None) -> None:
        self._version = version
        self._server = (external_url or "").rstrip("/") or "/"

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/api/v1/openapi.json", self.show)]

    async def show(self, _request: web.Request) -> web.Response:
        """Render the document at the first request, on a thread.

        Rendering takes longer than the loop may be blocked.
        """
        body = await asyncio.to_thread(_encoded, self._version, self._server)
        return web.Response(body=body, content_type=JSON, headers={"Cache-Control": "no-store"})


@lru_cache(maxsize=1)
def _encoded(version: str, server: str) -> bytes:
    return msgspec.json.encode(description(version, server))


def description(version: str, server: str = "/") -> Block:
    """Return the whole document."""
    answers, components = _answers()
    paths: dict[str, Block] = {}
    for (method, path), operation in OPERATIONS.items():
        documentation = DOCUMENTATION[method, path]
        block = {
            "operationId": documentation.id,
            "tags": [documentation.tag],
            "summary": operation.summary,
            "description": documentation.description,
            **_taken(operation),
            "responses": _responses(operation, answers.get((method, path), {}), _failure(path)),
        }
        paths.setdefault(path, {})[method.lower()] = block
    return {
        "openapi": "3.1.0",
        "info": {**_INFO, "version": version},
        "servers": [{"url": server, "description": "This daemon"}],
        "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": {**components, **_bodies()},
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "`server.read_token` to read, `server.write_token` for everything.",
                }
            },
        },
    }


def _answers() -> tuple[dict[tuple[str, str], Block], Block]:
    """The content of the JSON answers, and the schemas that they refer to."""
    types = {key: operation.answer for key, operation in OPERATIONS.items() if operation.answer is not None}
    shown, components = msgspec.json.schema_components(
        [*types.values(), schemas.Error], ref_template=_AT + "{name}"
    )
    return {key: _json(schema) for key, schema in zip(types, shown, strict=False)}, components


def _bodies() -> Block:
    models = {operation.body: None for operation in OPERATIONS.values() if operation.body is not None}
    _, described = models_json_schema(
        [(model, "validation") for model in models], ref_template=_AT + "{model}"
    )
    found: Block = described["$defs"]
    return found


def _json(schema: Block) -> Block:
    return {JSON: {"schema": schema}}


_ERROR = _json({"$ref": f"{_AT}{schemas.Error.__name__}"})


def _failure(path: str) -> Block:
    """As Alertmanager's clients read it under `/api/v2/`, else as CloudNexus has it."""
    return _json({"type": "string"}) if path.startswith("/api/v2/") else _ERROR


def _taken(operation: Operation) -> Block:
    block: Block = {"security": _AUTHORIZED if operation.access is not EVERYBODY else []}
    if operation.parameters:
        block["parameters"] = [_parameter(parameter) for parameter in operation.parameters]
    if operation.body is not None:
        content = _json({"$ref": _AT + operation.body.__name__})
        block["requestBody"] = {"required": operation.demanded, "content": content}
    return block


def _parameter(parameter: Parameter) -> Block:
    return {
        "name": parameter.name,
        "in": parameter.where,
        "description": parameter.text,
        "required": parameter.where == "path",
        "schema": dict(parameter.schema),
    }


def _responses(operation: Operation, answer: Block, failure: Block) -> Block:
    """A request line or header that is too long is refused in plain text: it is not looked at any further."""
    content = {**answer, **dict.fromkeys(operation.media, _TEXT)}
    responses = {operation.status: _response(operation.status, content, operation.headers)}
    for status in (*operation.access, *operation.failures):
        content = {**failure, PLAIN: _TEXT} if status == HTTPStatus.BAD_REQUEST else failure
        responses[status] = _response(status, content, _WHY.get(status, {}))
    for status in operation.verdicts:
        responses[status] = _response(status, dict.fromkeys(operation.media, _TEXT), {})
    return {str(status): responses[status] for status in sorted(responses)}


def _response(status: int, content: Block, headers: Mapping[str, str]) -> Block:
    block: Block = {"description": HTTPStatus(status).phrase}
    if content:
        block["content"] = content
    if headers:
        block["headers"] = {name: {"description": text, **_TEXT} for name, text in headers.items()}
    return block
