"""Muting: firing alerts that send no notification, inhibited or silenced.

Used by `alerting`. The inhibitions are built in; `/api/v2/status` lists them in Alertmanager's form.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from nexusd.core.alerts import Alert, AlertState
from nexusd.core.matchers import Matcher, all_match, matcher
from nexusd.core.silences import Silence, SilenceState

MAX_GRACE_S = 60.0
"""Maximum time for which a resolved alert inhibits.

It ends earlier when rules have evaluated a snapshot begun after the alert resolved, which shows the alerts
that resolved with it.
"""
NEVER_EVALUATED = float("-inf")


@dataclass(frozen=True, slots=True)
class Inhibition:
    """While the alert `source` fires, those that match `target` and agree on the labels `equal` are muted."""

    source: str
    target: tuple[Matcher, ...]
    equal: tuple[str, ...] = ()


def _alertname(operator: str, *names: str) -> Matcher:
    return matcher("alertname", operator, "|".join(names))


INHIBITIONS = (
    Inhibition(
        "CloudAPIUnreachable",
        (
            _alertname(
                "!~",
                "CloudAPIUnreachable",
                "CloudAPIUnauthorized",
                "NotificationsFailing",
                "PlacementFailed",
                "PlacementHeld",
                "Watchdog",
            ),
        ),
    ),
    Inhibition(
        "RegionUnhealthy",
        (_alertname("!=", "RegionUnhealthy"), matcher("placement_id", "=", "")),
        equal=("region",),
    ),
    Inhibition("NoEligibleRegion", (_alertname("=~", "RegionCapacityExhausted", "PlacementDelayed"),)),
)
"""First: all that depends on what the API says. Second: a region's other alerts and its instances'."""


@dataclass(frozen=True, slots=True)
class Muted:
    """Why an alert is told to nobody: fingerprints of alerts, ids of silences."""

    inhibited_by: tuple[str, ...] = ()
    silenced_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Muting:
    """`muted` by fingerprint.

    `next_due`: when time alone changes it. `grace_since`: when the first of the resolved alerts that still
    inhibit resolved; a snapshot begun later ends its inhibition.
    """

    muted: Mapping[str, Muted] = field(default_factory=dict)
    next_due: float | None = None
    grace_since: float | None = None

    def ended_by(self, evaluated_from: float) -> bool:
        """Return whether evaluated snapshots that began at this instant end an inhibition."""
        return self.grace_since is not None and self.grace_since < evaluated_from

    def __contains__(self, alert: Alert) -> bool:
        return alert.fingerprint in self.muted


UNMUTED = Muting()


def mute(
    alerts: Iterable[Alert],
    silences: Iterable[Silence],
    now: float,
    evaluated_from: float = NEVER_EVALUATED,
) -> Muting:
    """What is muted now, be it pending, firing or ended. Inhibition asks only for what fires: an alert that
    is itself muted still inhibits, as in Alertmanager.
    """
    known = {alert.fingerprint: alert for alert in alerts}
    muting, _ = Mutes(known.values()).mute({}, known, silences, UNMUTED, now, evaluated_from)
    return muting


class Mutes:
    """What mutes, between two passes: as long as that is the same, only alerts that changed are looked at."""

    def __init__(self, alerts: Iterable[Alert]) -> None:
        self._inhibiting: dict[str, Alert] = {}
        self._under: object = None
        for alert in alerts:
            self._learn(alert.fingerprint, alert)

    def mute(
        self,
        changed: Mapping[str, Alert | None],
        alerts: Mapping[str, Alert],
        silences: Iterable[Silence],
        before: Muting,
        now: float,
        evaluated_from: float = NEVER_EVALUATED,
    ) -> tuple[Muting, list[str]]:
        """As `mute`, and of whom that differs from before.

        `changed`: of `alerts`, since then; None: gone. `evaluated_from`: as in `Facts`.
        """
        silences = tuple(silences)
        for mark, alert in changed.items():
            self._learn(mark, alert)
        sources = _sources(self._inhibiting.values(), now, evaluated_from)
        active = [s for s in silences if s.state(now) is SilenceState.ACTIVE]
        looked_at: Mapping[str, Alert | None] = changed
        if (sources, active) != self._under:
            self._under = sources, active
            looked_at = {**dict.fromkeys(before.muted), **alerts} if sources or active or before.muted else {}
        found = {mark: _muted(alert, sources, active) for mark, alert in looked_at.items()}
        different = [mark for mark, muted in found.items() if muted != before.muted.get(mark)]
        muted = before.muted
        if different:
            now_muted = {**before.muted, **{mark: found[mark] for mark in different}}
            muted = {mark: by for mark, by in now_muted.items() if by is not None}
        graces = [ended_at for ended_at in self._ended() if evaluated_from <= ended_at > now - MAX_GRACE_S]
        dues = [due for due in _dues(graces, silences) if due > now]
        return Muting(muted, min(dues, default=None), min(graces, default=None)), different

    def _ended(self) -> Iterator[float]:
        ends = (_ended_at(alert) for alert in self._inhibiting.values())
        return (ended_at for ended_at in ends if ended_at is not None)

    def _learn(self, mark: str, alert: Alert | None) -> None:
        if alert is None:
            self._inhibiting.pop(mark, None)
        elif alert.name in _BY_SOURCE:
            self._inhibiting[mark] = alert


_Sources = Mapping[tuple[Inhibition, tuple[str, ...]], list[str]]
_BY_SOURCE = {inhibition.source: inhibition for inhibition in INHIBITIONS}


def _sources(alerts: Iterable[Alert], now: float, evaluated_from: float) -> _Sources:
    """The fingerprints of what inhibits, by inhibition and the values of its `equal` labels."""
    sources: dict[tuple[Inhibition, tuple[str, ...]], list[str]] = {}
    for alert in alerts:
        inhibition = _BY_SOURCE.get(alert.name)
        if inhibition is not None and _inhibits(alert, now, evaluated_from):
            values = tuple(alert.label(name) for name in inhibition.equal)
            sources.setdefault((inhibition, values), []).append(alert.fingerprint)
    return sources


def _inhibits(alert: Alert, now: float, evaluated_from: float) -> bool:
    ended_at = _ended_at(alert)
    if ended_at is None:
        return alert.state is AlertState.FIRING
    return evaluated_from <= ended_at and now < ended_at + MAX_GRACE_S


def _ended_at(alert: Alert) -> float | None:
    """When that ended which it says; None while it holds. One that flaps fires on after that, for a quarter
    of an hour: what others say meanwhile is news.
    """
    if alert.state is not AlertState.FIRING:
        return alert.resolved_at
    return alert.keep_firing_since if alert.flapping_since is not None else None


def _muted(alert: Alert | None, sources: _Sources, active: Sequence[Silence]) -> Muted | None:
    if alert is None or alert.settled or not (sources or active):
        return None
    labels = dict(alert.labels)
    inhibited_by = tuple(
        mark
        for (inhibition, values), marks in sources.items()
        if all(labels.get(n, "") == v for n, v in zip(inhibition.equal, values, strict=True))
        and all_match(inhibition.target, labels)
        for mark in marks
    )
    silenced_by = tuple(s.id for s in active if s.matches(labels))
    return Muted(inhibited_by, silenced_by) if inhibited_by or silenced_by else None


def _dues(graces: Iterable[float], silences: Iterable[Silence]) -> Iterator[float]:
    for ended_at in graces:
        yield ended_at + MAX_GRACE_S
    for silence in silences:
        yield silence.starts_at
        yield silence.ends_at
