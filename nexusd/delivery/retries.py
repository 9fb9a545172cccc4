"""When a failed try is repeated, and when it is given up: plain functions, used by `worker`."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from nexusd.ports import Delivery, OutboxMessage

FIRST_RETRY_WITHIN_S = 5.0
LONGEST_BACKOFF_S = 300.0
_LEAST_SHARE = 0.2
_DOUBLINGS = 10


def backoff_s(tries: int, random: Random) -> float:
    """Seconds until the next try after `tries` failed ones: exponential, with jitter.

    Drawn from the whole of 5 s, 10 s, 20 s, … 300 s but the lowest fifth, so that bad luck cannot hammer a
    receiver: one that is down for ten minutes gets at most 16 tries of a message.
    """
    most_s = min(LONGEST_BACKOFF_S, FIRST_RETRY_WITHIN_S * 2 ** min(max(tries, 1) - 1, _DOUBLINGS))
    return random.uniform(_LEAST_SHARE * most_s, most_s)


def after_try(message: OutboxMessage, delivery: Delivery, now: float, random: Random) -> OutboxMessage:
    """The row after one try: sent, pending again, or dead. The last try is made when it expires."""
    tried = replace(message, tries=message.tries + 1, leased_until=None)
    if delivery.outcome == "delivered":
        return replace(tried, state="sent", ended_at=now, last_error=None)
    error = f"{delivery.code}: {delivery.detail}" if delivery.detail else delivery.code
    if delivery.outcome != "retry" or now >= message.expires_at:
        return replace(tried, state="dead", ended_at=now, last_error=error)
    wait_s = max(backoff_s(tried.tries, random), delivery.retry_after_s or 0.0)
    return replace(tried, next_try_at=min(now + wait_s, message.expires_at), last_error=error)
