"""Takes silences in: checks, makes them durable, and only then says yes. Called by the web."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable

import structlog

from nexusd.core.errors import ConflictError, NotFoundError
from nexusd.core.events import Event, Subject
from nexusd.core.silences import Silence, SilenceRequest, check, expired, taken_in
from nexusd.ports import Clock, Store, Transaction

log = structlog.get_logger(__name__)

MOST_OPEN = 1_000
"""Silences that are not over: each is compared with every alert that fires."""


class Silencing:
    """`ports.Silences`. `changed` is called after each commit, so that the alerts are looked at again."""

    def __init__(self, store: Store, clock: Clock, rng: random.Random, changed: Callable[[], None]) -> None:
        self._store = store
        self._clock = clock
        self._rng = rng
        self._changed = changed

    async def put(self, request: SilenceRequest) -> Silence:
        now = self._clock.now()
        check(request, now)
        new_id = str(uuid.UUID(int=self._rng.getrandbits(128), version=4))

        def transaction(tx: Transaction) -> Silence:
            existing = _existing(tx, request.id) if request.id else None
            silence, ended = taken_in(request, existing, new_id, now)
            if silence.id == new_id and ended is None and len(tx.silences.open(now)) >= MOST_OPEN:
                raise ConflictError(f"there are {MOST_OPEN} silences already; expire some first")
            tx.silences.save([silence] if ended is None else [ended, silence])
            made = "SilenceCreated" if silence.id == new_id else "SilenceChanged"
            events = [] if ended is None else [_event(ended, "SilenceExpired", now)]
            tx.events.append([*events, _event(silence, made, now)])
            return silence

        silence = await self._store.run(transaction)
        name = "silence_created" if silence.id == new_id else "silence_changed"
        log.info(name, silence=silence.id, matchers=_written(silence), by=silence.created_by)
        self._changed()
        return silence

    async def expire(self, silence_id: str) -> Silence:
        now = self._clock.now()

        def transaction(tx: Transaction) -> Silence:
            silence = _existing(tx, silence_id)
            ended = expired(silence, now)
            if ended is not silence:
                tx.silences.save([ended])
                tx.events.append([_event(ended, "SilenceExpired", now)])
            return ended

        silence = await self._store.run(transaction)
        log.info("silence_expired", silence=silence.id, matchers=_written(silence))
        self._changed()
        return silence


def _existing(tx: Transaction, silence_id: str) -> Silence:
    silence = tx.silences.get(silence_id)
    if silence is None:
        raise NotFoundError(f"there is no silence {silence_id}")
    return silence


def _event(silence: Silence, change: str, at: float) -> Event:
    detail = {
        "matchers": [str(m) for m in silence.matchers],
        "created_by": silence.created_by,
        "comment": silence.comment,
    }
    return Event(at, change, Subject("silence", silence.id), detail)


def _written(silence: Silence) -> str:
    return ", ".join(str(m) for m in silence.matchers)
