"""`POST /instances`, sent exactly once, and what is known afterwards (I1). Called by `client`.

`SendGuard` stands directly before the first byte. aiohttp hands headers and body to the socket together, at
the moment the body is asked to write itself (`_GuardedBody`): before that moment nothing has left, after it
everything may have. aiohttp never repeats a POST, no redirect is followed, and the connection is new.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_writer import StreamWriter
from aiohttp.payload import BytesPayload

from nexusd.cloud.faults import TRANSPORT_ERRORS, explain
from nexusd.cloud.http import Answer, Http, read_answer
from nexusd.cloud.refusals import ErrorAnswer, RefusalRule, classify
from nexusd.cloud.wire import decode_created
from nexusd.core.answers import MADE, CreateAnswer, Created, CreateRequest, NotSent, Unknown
from nexusd.core.errors import ApiError
from nexusd.status_line import StatusTap, tap

REQUEST = "POST /instances"


def nothing_forbids() -> str | None:
    """Allow every request: a `SendGuard`'s `forbidden` that never objects."""
    return None


class SendGuard:
    """Sends the request at most once, and not after `deadline` (an instant of `now`).

    `forbidden` returns why nothing may be sent now, or None. `status`: that of the response, once its status
    line was read.
    """

    __slots__ = ("_deadline", "_forbidden", "_now", "_shut", "_tap", "refusal", "sent")

    def __init__(
        self,
        now: Callable[[], float],
        deadline: float,
        forbidden: Callable[[], str | None] = nothing_forbids,
    ) -> None:
        self._now = now
        self._deadline = deadline
        self._forbidden = forbidden
        self._shut = False
        self.sent = False
        self.refusal: str | None = None
        self._tap: StatusTap | None = None

    @property
    def status(self) -> int | None:
        return self._tap.status if self._tap is not None else None

    @property
    def succeeded(self) -> bool:
        """Whether the status line of a 2xx was read."""
        return self.status is not None and 200 <= self.status < 300

    def open(self) -> None:
        """Called directly before the first byte. Raises `TimeoutError`, and then no byte leaves."""
        if self._shut or self.sent or self._now() >= self._deadline:
            raise TimeoutError("too late to send")
        self.refusal = self._forbidden()
        if self.refusal is not None:
            raise TimeoutError(self.refusal)
        self.sent = True

    def watch(self, writer: AbstractStreamWriter) -> None:
        """Read the response's status line off the connection of the request."""
        transport = writer.transport if isinstance(writer, StreamWriter) else None
        if transport is not None:
            self._tap = tap(transport)

    def shut(self) -> None:
        """Nothing leaves from now on that has not left yet."""
        self._shut = True


class _GuardedBody(BytesPayload):
    """A body that asks the guard before anything is written, the headers before it included."""

    def __init__(self, body: bytes, guard: SendGuard) -> None:
        super().__init__(body, content_type="application/json")
        self._guard = guard

    async def write(self, writer: AbstractStreamWriter) -> None:
        self._guard.open()
        self._guard.watch(writer)
        await super().write(writer)

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        self._guard.open()
        self._guard.watch(writer)
        await super().write_with_length(writer, content_length)


@dataclass(frozen=True, slots=True)
class Post:
    """How one POST went: the answer, or the error instead of it."""

    sent: bool
    answer: Answer | None = None
    error: ApiError | None = None


def forgetful_socket(timeout_s: float, address: aiohttp.AddrInfoType) -> socket.socket:
    """Return a socket that drops unacknowledged bytes on close and after `timeout_s`.

    By default the kernel goes on sending the bytes of a closed socket, or of a process that was killed or
    stopped. A network that drops packets for minutes would then deliver a create long after its deadline.
    """
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux, RFC 5482
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, max(1, int(timeout_s * 1000)))
    return made


async def post_once(http: Http, body: bytes, guard: SendGuard, timeout_s: float, max_bytes: int) -> Post:
    """Send it. Raises nothing but `asyncio.CancelledError`."""
    try:
        async with (
            http.session(partial(forgetful_socket, timeout_s)) as session,
            session.post(
                http.url("/instances"),
                data=_GuardedBody(body, guard),
                headers=http.authorization(),
                proxy_headers=http.proxy_headers,
                allow_redirects=False,
                timeout=http.timeout(timeout_s),
            ) as response,
        ):
            answer = await read_answer(response, max_bytes, REQUEST)
    except ApiError as error:
        return Post(guard.sent, error=error)
    except TRANSPORT_ERRORS as error:
        return Post(guard.sent, error=explain(error, REQUEST))
    finally:
        guard.shut()
    return Post(guard.sent, answer=answer)


def judge(
    post: Post,
    said: ErrorAnswer | None,
    request: CreateRequest,
    rules: tuple[RefusalRule, ...],
    guard: SendGuard,
) -> CreateAnswer:
    """Return the outcome.

    `said`: the meaning of a response other than a 2xx, None if there is none.
    """
    if not post.sent:
        not_sent = guard.refusal or post.error or f"{REQUEST}: answered before it was sent"
        return NotSent(str(not_sent))
    if post.answer is None:
        return unknown(str(post.error), guard)
    if said is None:
        return _created(post.answer, request)
    return classify(said, request.region, rules)


def _created(answer: Answer, request: CreateRequest) -> CreateAnswer:
    try:
        return Created(decode_created(answer.body, request))
    except ValueError:
        return Unknown(f"{REQUEST}: {answer.status}, but its body cannot be read", kind=MADE)


def unknown(reason: str, guard: SendGuard) -> Unknown:
    """Return the outcome of a POST without a complete response.

    After the status line of a 2xx, the instance was made.
    """
    return Unknown(f"{reason} after a {guard.status}", kind=MADE) if guard.succeeded else Unknown(reason)
