"""All alerts at a glance: counted, grouped by name and put in order, once for each change of them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from nexusd.core.alerts import Alert, AlertState
from nexusd.core.muting import UNMUTED, Muting
from nexusd.web.status import urgency

AT_ONCE = 1_000
"""Alerts looked at before the event loop has a turn again."""


@dataclass(frozen=True, slots=True)
class Board:
    """Without those of severity `none`: a watchdog that fires is as it should be.

    `ordered`: the firing and pending ones, the most pressing first: what is muted last, and of those that are
    alike what mutes others first, since it is likely their cause. `groups`: how many by name and state.
    `told`: those firing that are not muted, by severity; `muted`: how many firing are.
    """

    ordered: tuple[Alert, ...] = ()
    groups: Mapping[tuple[str, AlertState], int] = field(default_factory=dict)
    told: Mapping[str, int] = field(default_factory=dict)
    muted: int = 0

    @property
    def firing(self) -> int:
        return self._counted(AlertState.FIRING)

    @property
    def pending(self) -> int:
        return self._counted(AlertState.PENDING)

    def _counted(self, state: AlertState) -> int:
        return sum(n for (_, each), n in self.groups.items() if each is state)


_Order = tuple[bool, bool, int, bool, float, str]
_Keyed = tuple[_Order, Alert]


@dataclass(frozen=True, slots=True)
class _Look:
    """What the board takes from one alert, as long as it does not change. `shown`: it fires or is pending,
    and its severity is not `none`.
    """

    alert: Alert
    shown: bool
    group: tuple[str, AlertState]
    severity: str
    quiet: bool
    rank: int


def _look(alert: Alert) -> _Look:
    severity = alert.label("severity")
    quiet, rank, _, _ = urgency(alert)
    shown = alert.state is not AlertState.RESOLVED and severity != "none"
    return _Look(alert, shown, (alert.name, alert.state), severity, quiet, rank)


class Boards:
    """Makes boards. Of thousands of alerts few change between two: only these are looked into."""

    def __init__(self) -> None:
        self._alerts: Mapping[str, Alert] = {}
        self._muting = UNMUTED
        self._board = Board()
        self._looks: dict[str, _Look] = {}

    async def of(self, alerts: Mapping[str, Alert], muting: Muting) -> Board:
        """The one of before where nothing was replaced since. Others have their turn meanwhile."""
        if alerts is not self._alerts or muting is not self._muting:
            self._board = await self._made(alerts, muting)
            self._alerts, self._muting = alerts, muting
        return self._board

    async def _made(self, alerts: Mapping[str, Alert], muting: Muting) -> Board:
        keyed: list[_Keyed] = []
        groups: Counter[tuple[str, AlertState]] = Counter()
        told: Counter[str] = Counter()
        muted = 0
        causes = {mark for each in muting.muted.values() for mark in each.inhibited_by}
        looks: dict[str, _Look] = {}
        for count, (mark, alert) in enumerate(tuple(alerts.items()), 1):
            if count % AT_ONCE == 0:
                await asyncio.sleep(0)
            look = self._looks.get(mark)
            if look is None or look.alert is not alert:
                look = _look(alert)
            looks[mark] = look
            if not look.shown:
                continue
            groups[look.group] += 1
            mute = mark in muting.muted
            keyed.append(((mute, look.quiet, look.rank, mark not in causes, alert.active_at, mark), alert))
            if look.quiet:
                continue
            if mute:
                muted += 1
            else:
                told[look.severity] += 1
        keyed.sort(key=_urgency)
        self._looks = looks
        return Board(tuple(alert for _, alert in keyed), groups, told, muted)


def _urgency(keyed: _Keyed) -> _Order:
    return keyed[0]
