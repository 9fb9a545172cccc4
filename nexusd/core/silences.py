"""Silences: what is told to nobody, and how long, as in Alertmanager. Used by `muting` and `silencing`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from nexusd.core.errors import InputError
from nexusd.core.matchers import Matcher, all_match


class SilenceState(StrEnum):
    ACTIVE = "active"
    PENDING = "pending"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Silence:
    """While it is active, alerts that all `matchers` match are told to nobody. Instants of the clock."""

    id: str
    matchers: tuple[Matcher, ...]
    starts_at: float
    ends_at: float
    updated_at: float
    created_by: str
    comment: str

    def state(self, now: float) -> SilenceState:
        if now >= self.ends_at:
            return SilenceState.EXPIRED
        return SilenceState.ACTIVE if now >= self.starts_at else SilenceState.PENDING

    def matches(self, labels: Mapping[str, str]) -> bool:
        return all_match(self.matchers, labels)


@dataclass(frozen=True, slots=True)
class SilenceRequest:
    """What somebody asks for. `id`: of the silence it is to replace, "" for a new one."""

    matchers: tuple[Matcher, ...]
    starts_at: float
    ends_at: float
    created_by: str
    comment: str
    id: str = ""


def check(request: SilenceRequest, now: float) -> None:
    """Raises `InputError` for what Alertmanager refuses, too."""
    if not request.matchers:
        raise InputError("matchers: at least one is needed", "matchers")
    if all(m.accepts_empty for m in request.matchers):
        raise InputError("matchers: at least one must not match the empty value", "matchers")
    if request.ends_at <= request.starts_at:
        raise InputError("endsAt: must be later than startsAt", "endsAt")
    if request.ends_at <= now:
        raise InputError("endsAt: is in the past", "endsAt")


def taken_in(
    request: SilenceRequest, existing: Silence | None, new_id: str, now: float
) -> tuple[Silence, Silence | None]:
    """The silence that a request makes, and the one that it ends, if any.

    A change of one that is not over keeps its id when its past stays as it was: its matchers, and its start
    if that has come. Any other change ends it and makes a new one (Alertmanager does the same).
    """
    wanted = Silence(
        new_id,
        request.matchers,
        max(request.starts_at, now),
        request.ends_at,
        now,
        request.created_by,
        request.comment,
    )
    if existing is None or existing.state(now) is SilenceState.EXPIRED:
        return wanted, None
    if existing.matchers == request.matchers and existing.state(now) is SilenceState.PENDING:
        return replace(wanted, id=existing.id), None
    if existing.matchers == request.matchers and int(existing.starts_at) == int(request.starts_at):
        return replace(wanted, id=existing.id, starts_at=existing.starts_at), None
    return wanted, expired(existing, now)


def expired(silence: Silence, now: float) -> Silence:
    """The silence, ended now; one that is over stays as it is."""
    if silence.state(now) is SilenceState.EXPIRED:
        return silence
    return replace(silence, starts_at=min(silence.starts_at, now), ends_at=now, updated_at=now)
