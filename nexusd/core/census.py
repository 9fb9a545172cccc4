"""How many alerts there are of each kind, kept up as they change. Used by `alerting`.

After an outage there are tens of thousands, and the counts are asked for at each scrape: none of them is
looked at for that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from nexusd.core.alerts import Alert, AlertState
from nexusd.core.muting import Muted, Muting

UNTOLD_SEVERITY = "none"
"""Of a watchdog, which fires as long as all is well: people are told of the other ones."""


class AlertKind(NamedTuple):
    """What alerts are counted by."""

    name: str
    severity: str
    state: AlertState
    inhibited: bool
    silenced: bool

    @property
    def muted(self) -> bool:
        return self.inhibited or self.silenced


@dataclass(frozen=True, slots=True)
class AlertCounts:
    """`of`: how many there are of each kind; none of them is 0. What follows from it leaves those of severity
    `none` out, unless it says otherwise.
    """

    of: Mapping[AlertKind, int] = field(default_factory=dict)

    def state(self, state: AlertState) -> int:
        return sum(n for kind, n in self._people(state))

    @property
    def firing(self) -> int:
        return self.state(AlertState.FIRING)

    @property
    def pending(self) -> int:
        return self.state(AlertState.PENDING)

    @property
    def muted(self) -> int:
        """Those firing that are told to nobody."""
        return sum(n for kind, n in self._people(AlertState.FIRING) if kind.muted)

    @property
    def told(self) -> Mapping[str, int]:
        """Those firing that are not muted, by severity."""
        told: Counter[str] = Counter()
        for kind, n in self._people(AlertState.FIRING):
            if not kind.muted:
                told[kind.severity] += n
        return told

    @property
    def groups(self) -> Mapping[tuple[str, AlertState], int]:
        """Those pending and those firing, by name and state."""
        groups: Counter[tuple[str, AlertState]] = Counter()
        for state in (AlertState.FIRING, AlertState.PENDING):
            for kind, n in self._people(state):
                groups[kind.name, state] += n
        return groups

    @property
    def suppressed(self) -> dict[str, int]:
        """Those firing that are muted, by reason, of every severity. One that is both counts twice."""
        firing = [(kind, n) for kind, n in self.of.items() if kind.state is AlertState.FIRING]
        return {
            "inhibited": sum(n for kind, n in firing if kind.inhibited),
            "silenced": sum(n for kind, n in firing if kind.silenced),
        }

    def _people(self, state: AlertState) -> Iterator[tuple[AlertKind, int]]:
        """Those of the state that people are told of."""
        return (
            (kind, n)
            for kind, n in self.of.items()
            if kind.state is state and kind.severity != UNTOLD_SEVERITY
        )


NONE_COUNTED = AlertCounts()


class Census:
    """Counts alerts between two passes."""

    def __init__(self) -> None:
        self._kinds: dict[str, AlertKind] = {}
        self._shared: dict[AlertKind, AlertKind] = {}
        self._counts: Counter[AlertKind] = Counter()

    def look_at(self, mark: str, alert: Alert | None, muting: Muting) -> None:
        """The alert is new, changed, muted otherwise, or (None) gone."""
        before = self._kinds.pop(mark, None)
        if before is not None:
            self._counts[before] -= 1
            if not self._counts[before]:
                del self._counts[before], self._shared[before]
        if alert is not None:
            made = _kind(alert, muting.muted.get(mark, _NOT_MUTED))
            kind = self._kinds[mark] = self._shared.setdefault(made, made)
            self._counts[kind] += 1

    def counts(self) -> AlertCounts:
        return AlertCounts(dict(self._counts))


_NOT_MUTED = Muted()


def counted(alerts: Mapping[str, Alert], muting: Muting) -> AlertCounts:
    """All of them, looked at one by one."""
    census = Census()
    for mark, alert in alerts.items():
        census.look_at(mark, alert, muting)
    return census.counts()


def _kind(alert: Alert, muted: Muted) -> AlertKind:
    labels = dict(alert.labels)
    return AlertKind(
        labels.get("alertname", ""),
        labels.get("severity", ""),
        alert.state,
        bool(muted.inhibited_by),
        bool(muted.silenced_by),
    )
