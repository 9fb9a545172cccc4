"""The emulated cloud over HTTP: routes, authentication, and carrying out what the faults ask.

One low-level handler instead of an application with routes: a page of a static fleet is served from bytes
that are kept, and nothing else should cost as much as sending them.
"""

from __future__ import annotations

import asyncio
import hmac
import os
from types import TracebackType
from typing import Self

import msgspec
from aiohttp import web

from nexusd.core.errors import StartError
from nexusd.emulator.calls import (
    CODES,
    CreateOrder,
    RefusalError,
    create_order,
    error_body,
    json_object,
    page_query,
)
from nexusd.emulator.cloud import Cloud, SeenCreate
from nexusd.emulator.effects import Answer
from nexusd.emulator.faults import Call
from nexusd.emulator.plan import Plan
from nexusd.emulator.protocol import ErrorResponseServer
from nexusd.emulator.wire import Reply, break_off, send, send_dripping, send_truncated

BASE_PATH = "/v1"
MAX_BODY_BYTES = 1024 * 1024
_METHODS = {"regions": ("GET",), "instances": ("GET", "POST")}
_ENDPOINTS = {f"{BASE_PATH}/{endpoint}": endpoint for endpoint in _METHODS}
_STOP_WITHIN_S = 0.2
_UNPLANNED = Plan()


class EmulatorServer:
    """Serves a `Cloud` on a host and port (0: any free one) for as long as the context is open.

    `url` is the base URL to point a client at. Entering raises `StartError` when the port is taken.

        async with EmulatorServer(Cloud(EmulatorOptions(instances=100))) as server:
            ... server.url ...
    """

    def __init__(self, cloud: Cloud, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self.cloud = cloud
        self._host = host
        self._port = port
        self._runner: web.ServerRunner | None = None
        self._site: web.TCPSite | None = None

    @property
    def url(self) -> str:
        """The base URL, e.g. `http://127.0.0.1:9660/v1`; the port is known once the context is entered."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}{BASE_PATH}"

    @property
    def port(self) -> int:
        return self._port

    async def __aenter__(self) -> Self:
        self._runner = web.ServerRunner(self.protocols(), shutdown_timeout=_STOP_WITHIN_S)
        await self._runner.setup()
        try:
            await self.accept()
        except BaseException:
            await self._runner.cleanup()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = self._site = None

    def protocols(self) -> web.Server:
        """The factory of HTTP protocols, to serve the cloud over another transport than TCP."""
        return ErrorResponseServer(self._serve, access_log=None, lingering_time=0)

    async def accept(self) -> None:
        """Listen (again, after `refuse`) on the same port. Raises `StartError` when it is taken."""
        if self._runner is None or self._site is not None:
            return
        site = web.TCPSite(self._runner, self._host, self._port, reuse_address=True, backlog=512)
        try:
            await site.start()
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else error
            raise StartError(f"cannot listen on {self._host}:{self._port}: {reason}") from error
        self._site = site
        self._port = self._runner.addresses[0][1]

    async def refuse(self) -> None:
        """Stop listening and cut all connections, so that clients are refused until `accept`."""
        if self._site is None or self._runner is None:
            return
        await self._site.stop()
        self._site = None
        server = self._runner.server
        for connection in list(server.connections) if server is not None else ():
            connection.force_close()

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        path, _, query = request.raw_path.partition("?")
        endpoint = _ENDPOINTS.get(path)
        if endpoint is None:
            return _refused(RefusalError(404, CODES[404], f"there is no {path}"))
        method = request.method
        seen = self.cloud.requests
        seen[method, endpoint] = seen.get((method, endpoint), 0) + 1
        if method not in _METHODS[endpoint]:
            return _not_allowed(method, endpoint)
        if method == "POST":
            return await self._create(request)
        return await self._read(request, endpoint, query)

    async def _read(self, request: web.BaseRequest, endpoint: str, query: str) -> web.StreamResponse:
        plan = _UNPLANNED
        if self.cloud.faulty:
            call = self._read_call(endpoint, query)
            if (drop := self.cloud.dropping_unread(call)) is not None:
                return break_off(request, drop.how)
            plan = self.cloud.plan(call)
            if plan.latency_s:
                await asyncio.sleep(plan.latency_s)
        return await _deliver(request, self._read_reply(request, endpoint, query, plan), plan)

    def _read_reply(self, request: web.BaseRequest, endpoint: str, query: str, plan: Plan) -> Reply:
        if plan.answer is not None:
            return _reply_of(plan.answer)
        try:
            self._authenticate(request)
            if endpoint == "regions":
                return Reply(200, self.cloud.read_regions())
            return Reply(200, self.cloud.read_instances(page_query(query), plan.page_cap))
        except RefusalError as refusal:
            return _reply_to(refusal)

    def _read_call(self, endpoint: str, query: str) -> Call:
        if endpoint == "regions":
            return Call(endpoint, "GET")
        try:
            page = page_query(query)
        except RefusalError:
            return Call(endpoint, "GET")
        self.cloud.advance()
        pages = self.cloud.pages(page)
        return Call(endpoint, "GET", region=page.region, offset=page.offset, pages=pages)

    async def _create(self, request: web.BaseRequest) -> web.StreamResponse:
        arrived_at = self.cloud.now
        if (drop := self.cloud.dropping_unread(Call("instances", "POST"))) is not None:
            self.cloud.creates.append(SeenCreate(arrived_at, None, None, "dropped"))
            return break_off(request, drop.how)
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            return _refused(RefusalError(413, CODES[413], f"the body is larger than {MAX_BODY_BYTES} bytes"))
        call = _create_call(body)
        plan = self.cloud.plan(call) if self.cloud.faulty else _UNPLANNED
        if plan.latency_s:
            await asyncio.sleep(plan.latency_s)
        reply, instance_id = self._create_reply(request, body, plan)
        outcome = _outcome(plan, instance_id)
        self.cloud.creates.append(
            SeenCreate(arrived_at, call.name, call.region, outcome, instance_id, reply.code)
        )
        return await _deliver(request, reply, plan)

    def _create_reply(self, request: web.BaseRequest, body: bytes, plan: Plan) -> tuple[Reply, str | None]:
        """The answer, and the id of what was made, whatever the answer says."""
        if plan.answer is not None and not plan.answer.after_commit:
            return _reply_of(plan.answer), None
        try:
            self._authenticate(request)
            instance_id = self.cloud.create(_order(request, body), plan.list_lag_s).id
        except RefusalError as refusal:
            return _reply_to(refusal), None
        reply = Reply(201, self.cloud.body_of(instance_id))
        return (reply if plan.answer is None else _reply_of(plan.answer)), instance_id

    def _authenticate(self, request: web.BaseRequest) -> None:
        """Raises `RefusalError` unless the one key is given as a bearer token."""
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        known = hmac.compare_digest(
            key.strip().encode("utf-8", "surrogateescape"), self.cloud.api_key.encode()
        )
        if scheme.lower() != "bearer" or not known:
            raise RefusalError(401, CODES[401], "the API key is missing or not known")


async def _deliver(request: web.BaseRequest, reply: Reply, plan: Plan) -> web.StreamResponse:
    if plan is _UNPLANNED:
        return send(reply)
    if plan.late_s:
        await asyncio.sleep(plan.late_s)
    if plan.omit:
        reply = _without(reply, plan.omit)
    if plan.drop is not None:
        return break_off(request, plan.drop.how)
    if plan.truncate is not None:
        return await send_truncated(request, reply, plan.truncate.share)
    if plan.drip is not None:
        return await send_dripping(request, reply, plan.drip.bytes_per_second)
    return send(reply)


def _order(request: web.BaseRequest, body: bytes) -> CreateOrder:
    if "Content-Type" in request.headers and request.content_type != "application/json":
        raise RefusalError(415, CODES[415], "the body must be sent as application/json")
    return create_order(json_object(body))


def _create_call(body: bytes) -> Call:
    """What a fault can see of a create, however bad its body is."""
    try:
        fields = json_object(body)
    except RefusalError:
        fields = {}
    name, region = fields.get("name"), fields.get("region")
    return Call(
        "instances",
        "POST",
        region=region if isinstance(region, str) else None,
        name=name if isinstance(name, str) else None,
    )


def _outcome(plan: Plan, instance_id: str | None) -> str:
    if instance_id is not None:
        return "unanswered" if plan.loses_answer else "created"
    return "dropped" if plan.drop is not None or plan.truncate is not None else "refused"


def _without(reply: Reply, fields: set[str]) -> Reply:
    """The answer with the fields left out of each of its records."""
    if reply.status >= 300:
        return reply
    value = msgspec.json.decode(reply.body)
    records = value.get("data") or value.get("regions") or [value]
    for record in records:
        for name in fields:
            record.pop(name, None)
    return Reply(reply.status, msgspec.json.encode(value))


def _reply_of(answer: Answer) -> Reply:
    code = answer.code or CODES.get(answer.status, "ERROR")
    body = answer.body
    if body is None:
        body = error_body(code, answer.message or code.replace("_", " ").lower(), answer.details)
    headers = dict(answer.headers)
    if answer.retry_after is not None:
        headers["Retry-After"] = answer.retry_after
    return Reply(answer.status, body, answer.content_type, headers, code)


def _reply_to(refusal: RefusalError) -> Reply:
    body = error_body(refusal.code, refusal.message, refusal.details)
    headers = {"WWW-Authenticate": "Bearer"} if refusal.status == 401 else {}
    return Reply(refusal.status, body, headers=headers, code=refusal.code)


def _refused(refusal: RefusalError) -> web.StreamResponse:
    return send(_reply_to(refusal))


def _not_allowed(method: str, endpoint: str) -> web.StreamResponse:
    allowed = ", ".join(_METHODS[endpoint])
    body = error_body(CODES[405], f"{method} is not allowed here, only {allowed}")
    return send(Reply(405, body, headers={"Allow": allowed}, code=CODES[405]))
