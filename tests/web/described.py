"""Holds every answer that a web test gets to the table that the OpenAPI description is made of."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from nexusd.web import schemas
from nexusd.web.operations import JSON, OPERATIONS, Operation

DEFECTS = {500, 502}
"""Described nowhere: they are not meant to be."""


def operation_of(method: str, path: str) -> tuple[str, Operation] | None:
    """The operation with its path, those without a parameter before those with one."""
    bare = path.partition("?")[0]
    for template in sorted((p for m, p in OPERATIONS if m == method), key=lambda p: "{" in p):
        if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), bare):
            return template, OPERATIONS[method, template]
    return None


def check(method: str, path: str, status: int, headers: Mapping[str, str], body: bytes) -> None:
    found = operation_of(method, path)
    if found is None or not body:
        return
    template, operation = found
    content_type = headers["Content-Type"].partition(";")[0]
    if status == operation.status:
        if content_type != JSON:
            assert content_type in operation.media, f"{method} {template}: {content_type} is not described"
        elif headers.get("Content-Encoding") is None:
            msgspec.json.decode(body, type=operation.answer)
    elif status in operation.verdicts:
        assert content_type in operation.media
    else:
        described = {*operation.access, *operation.failures}
        assert status in described | DEFECTS, f"{method} {template}: {status} is not described"
        text = template.startswith("/api/v2/")
        msgspec.json.decode(body, type=str if text else schemas.Error)
