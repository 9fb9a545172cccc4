"""An operator that resolves held placements, which no listing can decide."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from nexusd.core.answers import MADE
from nexusd.core.errors import ConflictError, NotFoundError, StoreUnavailableError
from nexusd.core.lifecycle import State, Verdict
from nexusd.simulator.invariants import Invariants
from nexusd.simulator.killing import KilledError
from nexusd.simulator.ledger import Ledger, Record
from nexusd.simulator.options import OPERATOR_EVERY_S
from nexusd.simulator.process import Process


async def resolve_held(ledger: Ledger, invariants: Invariants, process: Callable[[], Process | None]) -> None:
    """Resolve them by what the cloud truly made, again and again.

    `process`: the daemon that runs now.
    """
    while True:
        await asyncio.sleep(OPERATOR_EVERY_S)
        for record in [r for r in ledger.open_by_name.values() if _needs_operator(r)]:
            daemon, placement_id = process(), record.placement.id
            if daemon is None:
                break
            verdict = Verdict.EXISTS if invariants.has_made(placement_id) else Verdict.ABSENT
            with suppress(ConflictError, NotFoundError, StoreUnavailableError, KilledError):
                await daemon.resolve(placement_id, verdict)


def _needs_operator(record: Record) -> bool:
    held = record.placement.state is State.HELD
    return held and bool(record.attempts) and record.attempts[-1].kind == MADE
