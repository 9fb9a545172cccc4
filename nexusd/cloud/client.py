"""`ports.CloudApi` over HTTP: retries, limits, and what an answer's status means. Built by `app`.

async with CloudNexus(options, KeyFile(path), clock, rng, metrics) as cloud:
    sweep = await cloud.sweep_instances()
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Self, TypeVar

import aiohttp
import structlog

from nexusd.cloud.create import REQUEST as POST_INSTANCES
from nexusd.cloud.create import Post, SendGuard, judge, post_once, unknown
from nexusd.cloud.faults import TRANSPORT_ERRORS, explain
from nexusd.cloud.http import Answer, Http, read_answer, status_label
from nexusd.cloud.key import KeySource
from nexusd.cloud.limits import RETRY_AFTER_UNSAID_S, CircuitBreaker, HoldBack, Pace, Stretch
from nexusd.cloud.listing import Listing
from nexusd.cloud.options import CloudOptions
from nexusd.cloud.pages import Known, PageReader, nothing_known
from nexusd.cloud.stitch import Page
from nexusd.cloud.sweep import sweep
from nexusd.cloud.wire import PartialPageError, decode_regions, encode_create
from nexusd.core.answers import CreateAnswer, CreateRequest, NotSent, Unknown
from nexusd.core.errors import (
    ApiError,
    BadAnswerError,
    RefusedError,
    ThrottledError,
    UnauthorizedError,
    UnavailableError,
)
from nexusd.core.polls import INSTANCES, REGIONS
from nexusd.core.records import Region
from nexusd.core.regions import RegionList
from nexusd.core.retry_after import retry_after_s
from nexusd.core.sweeps import Sweep
from nexusd.ports import Clock, Metrics

log = structlog.get_logger(__name__)

T = TypeVar("T")

GET_REGIONS = "GET /regions"
GET_INSTANCES = "GET /instances"
ENDPOINTS = (GET_REGIONS, GET_INSTANCES, POST_INSTANCES)

_UNHELPED_REASONS = frozenset({"circuit_open", "tls", "redirect", "too_large", "partial"})


class CloudNexus:
    """The CloudNexus API.

    One per process: limits and `Retry-After` apply to the API as a whole.

    Each endpoint has a circuit breaker of its own, so that a failing `/instances` does not stop `/regions`.
    """

    def __init__(
        self,
        options: CloudOptions,
        key: KeySource,
        clock: Clock,
        rng: random.Random,
        metrics: Metrics,
        known: Known = nothing_known,
    ) -> None:
        """`known`: the records that the snapshot has. Those that are still listed are used again."""
        self._options = options
        self._clock = clock
        self._random = rng
        self._metrics = metrics
        self._http = Http(options, key)
        self._slots = asyncio.Semaphore(options.max_concurrent_requests)
        self._pace = Pace(options.max_requests_per_second)
        self._stretch = Stretch()
        self._hold = HoldBack()
        self._circuits = {
            endpoint: CircuitBreaker(
                options.circuit_failures,
                options.circuit_first_wait_s,
                options.circuit_longest_wait_s,
                partial(self._circuit_changed, endpoint),
            )
            for endpoint in ENDPOINTS
        }
        self._pages = PageReader(known)
        self._listing: Listing | None = None
        self._answered_at: dict[str, float] = {}
        self._refused_paths: set[str] = set()

    async def __aenter__(self) -> Self:
        self._metrics.api_circuit("closed")  # that of a client before this one may have been open
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections. Nothing can be asked afterwards."""
        await self._http.close()

    def last_answer_at(self, resource: str) -> float | None:
        """See `ports.CloudApi`."""
        return self._answered_at.get(resource)

    async def read_regions(self) -> RegionList:
        """All regions (reference: GET /regions). Raises `ApiError`."""
        began_at = self._clock.now()

        def decode(body: bytes) -> dict[str, Region]:
            try:
                return decode_regions(body, GET_REGIONS)
            except PartialPageError:
                self._answered_at[REGIONS] = self._clock.now()
                raise

        async with self._http.session() as session:
            regions = await self._get(session, "/regions", "", decode)
        ended_at = self._answered_at[REGIONS] = self._clock.now()
        return RegionList(began_at, ended_at, regions)

    async def sweep_instances(self) -> Sweep:
        """All instances (reference: GET /instances), complete and consistent. Raises `ApiError`."""
        began_at = self._clock.now()
        concurrency, most = self._options.max_concurrent_requests, self._options.max_instances
        listing = None
        try:
            async with asyncio.timeout(self._options.sweep_timeout_s), self._http.session() as session:
                listing = await sweep(partial(self._read_page, session), concurrency, most, self._listing)
        except TimeoutError:
            pass  # raised below, outside this block, without what was cancelled as its context
        if listing is None:
            raise UnavailableError(
                f"{GET_INSTANCES}: not read within {self._options.sweep_timeout_s:g} s", "timeout"
            )
        self._pages.swept()
        self._listing = listing.kept()
        return Sweep(began_at, self._clock.now(), listing, listing.mark, listing.renewal)

    async def create_instance(self, request: CreateRequest, deadline: float) -> CreateAnswer:
        """POST exactly once (reference: POST /instances); see `ports.CloudApi`."""
        try:
            body = encode_create(request)
        except ValueError as error:
            return NotSent(
                f"{POST_INSTANCES}: the request cannot be written as JSON ({type(error).__name__})"
            )
        guard = SendGuard(self._clock.now, deadline, self._create_forbidden)
        try:
            async with asyncio.timeout(max(0.0, deadline - self._clock.now())), self._slots:
                await self._pace.turn()
                return await self._create(request, body, guard, deadline)
        except TimeoutError:
            pass
        if guard.sent:
            return unknown(f"{POST_INSTANCES}: no complete answer before the deadline", guard)
        return NotSent(f"{POST_INSTANCES}: it could not be sent before the deadline")

    async def _create(
        self, request: CreateRequest, body: bytes, guard: SendGuard, deadline: float
    ) -> CreateAnswer:
        held_s = self._hold.remaining_s(self._now())
        if held_s > 0:
            return NotSent(f"{POST_INSTANCES}: the API asked to be left alone for {held_s:.0f} s more")
        forbidden = self._create_forbidden()
        if forbidden is not None:
            return NotSent(forbidden)
        for read in (GET_REGIONS, GET_INSTANCES):
            if self._circuits[read].open:
                return NotSent(f"{POST_INSTANCES}: the circuit of {read} is open, it has failed repeatedly")
        circuit = self._circuits[POST_INSTANCES]
        try:
            probe = circuit.enter(self._now())
        except UnavailableError as error:
            return NotSent(f"{POST_INSTANCES}: {error}")
        began_s = self._now()
        timeout_s = max(0.001, min(self._options.timeout_s, deadline - self._clock.now()))
        try:
            post = await post_once(self._http, body, guard, timeout_s, self._options.max_body_bytes)
        except BaseException:
            circuit.abandoned(probe=probe)
            raise
        self._count_post(post, self._now() - began_s)
        said = None
        if post.answer is not None and not 200 <= post.answer.status < 300:
            said = self._http.error_answer(post.answer, self._held_back(post.answer))
        result = judge(post, said, request, self._options.refusals, guard)
        if _is_available(post, result):
            circuit.succeeded()
        else:
            circuit.failed(self._now(), probe=probe)
        return result

    def _create_forbidden(self) -> str | None:
        """Return why no create may be sent: the key was refused for the last read."""
        if not self._refused_paths:
            return None
        return f"{POST_INSTANCES}: CloudNexus refuses the key for {' and '.join(sorted(self._refused_paths))}"

    def _count_post(self, post: Post, duration_s: float) -> None:
        if post.answer is not None:
            code = status_label(post.answer.status)
        else:
            code = post.error.reason if post.error is not None else "reset"
        self._metrics.api_request("/instances", "POST", code, duration_s)

    # reading

    async def _read_page(self, session: aiohttp.ClientSession, offset: int, limit: int) -> Page:
        def decode(body: bytes) -> Page:
            try:
                page = self._pages.decode(body, offset)
            except PartialPageError:
                self._answered_at[INSTANCES] = self._clock.now()
                raise
            self._answered_at[INSTANCES] = self._clock.now()
            return page

        return await self._get(session, "/instances", f"?limit={limit}&offset={offset}", decode)

    async def _get(
        self, session: aiohttp.ClientSession, path: str, query: str, decode: Callable[[bytes], T]
    ) -> T:
        """GET and decode, tried again while that may help and the budget lasts. Raises `ApiError`."""
        ends_s = self._now() + self._options.get_budget_s
        tries = 0
        while True:
            tries += 1
            try:
                return await self._try_get(session, path, query, decode, ends_s)
            except ApiError as error:
                failure = error  # judged below, outside this block: it must not become its own context
            pause_s = max(self._backoff_s(tries), self._hold.remaining_s(self._now()))
            over = tries >= self._options.get_tries or self._now() + pause_s >= ends_s
            if over or self._circuits[f"GET {path}"].open or not _may_help(failure):
                raise failure
            self._metrics.api_retry(path)
            await asyncio.sleep(pause_s)

    async def _try_get(
        self,
        session: aiohttp.ClientSession,
        path: str,
        query: str,
        decode: Callable[[bytes], T],
        ends_s: float,
    ) -> T:
        """Send the request once, when rate limit, `Retry-After` and circuit allow it."""
        request = f"GET {path}"
        circuit = self._circuits[request]
        async with self._slots:
            await self._pace.turn()
            await self._wait_held_back(request, ends_s)
            headers = self._http.authorization()
            probe = circuit.enter(self._now())
            began_s = self._now()
            code = ""
            try:
                timeout_s = max(0.001, min(self._options.timeout_s, ends_s - began_s))
                answer = await self._exchange(session, request, path + query, headers, timeout_s)
                code = status_label(answer.status)
                body = self._usable(request, answer)
                self._refused_paths.discard(f"GET {path}")
                await self._stretch.turn()
                with self._stretch:
                    value = decode(body)
            except ApiError as error:
                if isinstance(error, UnauthorizedError):
                    self._refused_paths.add(f"GET {path}")
                code = code or error.reason
                self._learn(circuit, error, probe=probe)
                raise
            except BaseException:
                circuit.abandoned(probe=probe)
                raise
            else:
                circuit.succeeded()
                return value
            finally:
                if code:
                    self._metrics.api_request(path, "GET", code, self._now() - began_s)

    async def _wait_held_back(self, request: str, ends_s: float) -> None:
        """Wait while the API asked to be left alone. Raises `ThrottledError` when the budget ends first."""
        while (wait_s := self._hold.remaining_s(self._now())) > 0:
            if self._now() + wait_s >= ends_s:
                raise ThrottledError(
                    f"{request}: the API asked to be left alone for {wait_s:.0f} s more", wait_s
                )
            await asyncio.sleep(wait_s)

    async def _exchange(
        self,
        session: aiohttp.ClientSession,
        request: str,
        target: str,
        headers: dict[str, str],
        timeout_s: float,
    ) -> Answer:
        """Send one request and return its response of any status.

        Raises `ApiError` without a response.
        """
        http = self._http
        try:
            async with session.get(
                http.url(target),
                headers=headers,
                proxy_headers=http.proxy_headers,
                allow_redirects=False,
                timeout=http.timeout(timeout_s),
            ) as response:
                return await read_answer(response, self._options.max_body_bytes, request)
        except TRANSPORT_ERRORS as error:
            failure = explain(error, request)
        raise failure

    def _usable(self, request: str, answer: Answer) -> bytes:
        """The body of a 2xx. Raises the `ApiError` that any other status is."""
        status = answer.status
        if 200 <= status < 300:
            return answer.body
        if 300 <= status < 400:
            raise BadAnswerError(f"{request}: {status}, redirects are not followed", "redirect")
        wait_s = self._held_back(answer)
        said = self._http.error_answer(answer, wait_s)
        if status in (401, 403):
            raise UnauthorizedError(f"{request}: the key is refused: {said}")
        if status == 408:
            raise UnavailableError(f"{request}: {said}", "timeout")
        if status == 429:
            raise ThrottledError(f"{request}: {said}", wait_s or RETRY_AFTER_UNSAID_S)
        if 400 <= status < 500:
            raise RefusedError(status, said.code, said.message or f"{request} is refused", said.details)
        raise UnavailableError(f"{request}: {said}", "server_error")

    def _held_back(self, answer: Answer) -> float | None:
        """The answer's `Retry-After` in seconds, clamped; that of a 429 or 5xx holds the whole API back."""
        utc = self._clock.now() + self._clock.utc_offset_s()
        wait_s = retry_after_s(answer.retry_after, answer.date, utc)
        if wait_s is None and answer.status == 429:
            wait_s = RETRY_AFTER_UNSAID_S
        if wait_s is not None and (answer.status == 429 or answer.status >= 500):
            self._hold.extend(self._now(), wait_s)
        return wait_s

    def _learn(self, circuit: CircuitBreaker, error: ApiError, *, probe: bool) -> None:
        """Record a failed GET. An API that refuses or throttles a request is available."""
        dead = isinstance(error, UnavailableError) or (
            isinstance(error, BadAnswerError) and error.reason != "partial"
        )
        if dead:
            circuit.failed(self._now(), probe=probe)
        else:
            circuit.succeeded()

    def _backoff_s(self, tries: int) -> float:
        """Exponential backoff with full jitter."""
        longest_s = min(self._options.backoff_longest_s, self._options.backoff_first_s * 2 ** (tries - 1))
        return self._random.uniform(0.0, longest_s)

    def _circuit_changed(self, endpoint: str, state: str) -> None:
        """Log the change. The metric has no label: it shows whether any circuit is open."""
        is_any_open = any(circuit.open for circuit in self._circuits.values())
        self._metrics.api_circuit("open" if is_any_open else "closed")
        log.warning("api_circuit_changed", endpoint=endpoint, state=state)

    def _now(self) -> float:
        """Loop time: what durations are measured by."""
        return asyncio.get_running_loop().time()


def _is_available(post: Post, result: CreateAnswer) -> bool:
    """Return whether the result of a POST shows an available endpoint.

    It does if it created an instance, or refused for a documented reason.
    """
    if post.answer is None:
        return isinstance(post.error, UnauthorizedError)
    return 200 <= post.answer.status < 300 or not isinstance(result, Unknown)


def _may_help(failure: ApiError) -> bool:
    """Whether the same GET may succeed when tried again."""
    retried = isinstance(failure, UnavailableError | ThrottledError | BadAnswerError)
    return retried and failure.reason not in _UNHELPED_REASONS
