"""The parameters of `/api/v2/`: which alerts and silences are asked for. Every error names the parameter."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from aiohttp import web

from nexusd.core.alerts import Alert, AlertState
from nexusd.core.errors import InputError
from nexusd.core.matchers import Matcher, all_match, parse_matchers
from nexusd.core.muting import Muted, Muting
from nexusd.core.patterns import Pattern, pattern
from nexusd.core.silences import Silence
from nexusd.web.queries import text

MAX_FILTERS = 50
LONGEST_FILTER = 2048
_FLAGS = {"true": True, "1": True, "false": False, "0": False}
_NOT_MUTED = Muted()


@dataclass(frozen=True, slots=True)
class AlertFilter:
    """`active`, `silenced`, `inhibited`: whether such alerts are wanted. `receiver`: a pattern of names."""

    matchers: tuple[Matcher, ...]
    receiver: Pattern | None
    active: bool
    silenced: bool
    inhibited: bool

    @classmethod
    def of(cls, request: web.Request) -> AlertFilter:
        """Raises `InputError`."""
        receiver = text(request, "receiver")
        _flag(request, "unprocessed")  # Alertmanager's word for an alert it has not looked at: there is none
        return cls(
            matchers_of(request),
            _receiver(receiver) if receiver else None,
            _flag(request, "active"),
            _flag(request, "silenced"),
            _flag(request, "inhibited"),
        )

    def firing(self, alerts: Iterable[Alert], muting: Muting) -> Iterator[Alert]:
        for alert in alerts:
            if alert.state is AlertState.FIRING and self._wants(alert, muting):
                yield alert

    def goes_to(self, receivers: Collection[str]) -> bool:
        return self.receiver is None or any(map(self.receiver, receivers))

    def _wants(self, alert: Alert, muting: Muting) -> bool:
        muted = muting.muted.get(alert.fingerprint, _NOT_MUTED)
        if muted == _NOT_MUTED and not self.active:
            return False
        if (muted.silenced_by and not self.silenced) or (muted.inhibited_by and not self.inhibited):
            return False
        return all_match(self.matchers, dict(alert.labels))


def same_matchers(silence: Silence, wanted: Iterable[Matcher]) -> bool:
    """Whether the silence has each of these matchers, word for word, as Alertmanager filters them."""
    return all(matcher in silence.matchers for matcher in wanted)


def matchers_of(request: web.Request) -> tuple[Matcher, ...]:
    """The parameters `filter`. Raises `InputError`."""
    given = request.query.getall("filter", [])
    if len(given) > MAX_FILTERS or any(len(each) > LONGEST_FILTER for each in given):
        raise InputError(
            f"filter: at most {MAX_FILTERS}, each of up to {LONGEST_FILTER} characters", "filter"
        )
    try:
        return tuple(m for each in given for m in parse_matchers(each))
    except InputError as error:
        raise InputError(f"filter: {error}", "filter") from error


def _receiver(value: str) -> Pattern:
    try:
        return pattern(value)
    except InputError as error:
        raise InputError(f"receiver: {error}", "receiver") from error


def _flag(request: web.Request, name: str) -> bool:
    value = text(request, name)
    if value is None:
        return True
    if value.lower() not in _FLAGS:
        raise InputError(f"{name}: true or false is expected", name)
    return _FLAGS[value.lower()]
