"""JSON answers, and every error in CloudNexus's shape: `{"error": {"code", "message", "details"}}`; under
`/api/v2/` in Alertmanager's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus

import msgspec
import structlog
from aiohttp import web

from nexusd.core.errors import ConfigError, ConflictError, InputError, NexusdError, NotFoundError, StoreError
from nexusd.web import schemas

log = structlog.get_logger(__name__)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

RETRY_AFTER_S = 5
"""What a client is told to wait when the store is away."""
_TAKEN_WITHIN_S = 60.0
"""Who has not taken a whole answer by then is cut off."""


class RequestError(Exception):
    """A request that is answered with `status` and the error shape. Raised by `auth` and `bodies`."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        details: list[schemas.FieldError] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.details = details
        self.headers = headers or {}


def answer(
    content: object, status: int = HTTPStatus.OK, headers: Mapping[str, str] | None = None
) -> web.Response:
    """A JSON answer that no cache keeps."""
    return web.Response(
        body=msgspec.json.encode(content),
        status=status,
        content_type="application/json",
        headers={"Cache-Control": "no-store", **(headers or {})},
    )


async def answer_in_chunks(
    request: web.Request, chunks: Sequence[bytes], headers: Mapping[str, str]
) -> web.StreamResponse:
    """So that ten megabytes are neither copied nor written at once."""
    if len(chunks) == 1:
        return web.Response(body=chunks[0], headers=headers)
    response = web.StreamResponse(headers=headers)
    response.content_length = sum(map(len, chunks))
    await response.prepare(request)
    if request.method == "HEAD":
        return response
    try:
        async with asyncio.timeout(_TAKEN_WITHIN_S):
            for chunk in chunks:
                await response.write(chunk)
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()
    return response


def _error_answer(error: RequestError, request: web.Request) -> web.Response:
    """Under `/api/v2/` as Alertmanager's clients read it: the message as a JSON string."""
    if request.path.startswith("/api/v2/"):
        return answer(str(error), error.status, error.headers)
    content: schemas.Error = {"error": {"code": error.code, "message": str(error), "details": error.details}}
    return answer(content, error.status, error.headers)


@web.middleware
async def errors_as_answers(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turns whatever a handler raises into an answer; the outermost middleware."""
    try:
        return await handler(request)
    except RequestError as error:
        return _error_answer(error, request)
    except NexusdError as error:
        return _error_answer(_refusal_of(error), request)
    except web.HTTPException as error:
        return _error_answer(_of_http(error, request), request)
    except Exception as error:
        if isinstance(error, ConnectionError) and _is_disconnected(request):
            return web.Response()  # aiohttp drops it; it would log the error with a traceback
        log.exception("request_failed", method=request.method, route=_route(request))
        failed = RequestError(500, "INTERNAL", "nexusd failed to answer; its log says why")
        return _error_answer(failed, request)


def _is_disconnected(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()


def _refusal_of(error: NexusdError) -> RequestError:
    """How an error is answered, by what the caller should do."""
    message = str(error)
    if isinstance(error, InputError):
        details: list[schemas.FieldError] | None = (
            [{"field": error.field, "message": message}] if error.field else None
        )
        return RequestError(400, "VALIDATION_ERROR", message, details)
    if isinstance(error, NotFoundError):
        return RequestError(404, "NOT_FOUND", message)
    if isinstance(error, ConflictError):
        return RequestError(409, "CONFLICT", message)
    if isinstance(error, ConfigError):
        return RequestError(400, "CONFIG_ERROR", message)
    if isinstance(error, StoreError):
        return RequestError(503, "STORE_UNAVAILABLE", message, headers={"Retry-After": str(RETRY_AFTER_S)})
    return RequestError(502, "UPSTREAM_ERROR", message)


def _of_http(error: web.HTTPException, request: web.Request) -> RequestError:
    """aiohttp's own refusals. The path is not repeated: it is the client's text."""
    status = HTTPStatus(error.status)
    message = {
        HTTPStatus.NOT_FOUND: "there is nothing at this path",
        HTTPStatus.METHOD_NOT_ALLOWED: f"this path does not take {_method(request)}",
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "the body is too large",
    }.get(status, status.phrase)
    headers = {name: error.headers[name] for name in ("Allow",) if name in error.headers}
    return RequestError(status, status.name, message, headers=headers)


def _method(request: web.Request) -> str:
    return request.method if request.method.isascii() and len(request.method) < 20 else "this method"


def _route(request: web.Request) -> str:
    """The route's pattern, for the log; not the path, which is the client's text."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "none"
