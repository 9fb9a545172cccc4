"""All alerts at a glance: counted, grouped by name and put in order, once for each change of them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from nexusd.core.alerts import Alert, AlertState
from nexusd.core.muting import Muting
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


async def board_of(alerts: Mapping[str, Alert], muting: Muting) -> Board:
    """Others have their turn meanwhile."""
    keyed: list[_Keyed] = []
    groups: Counter[tuple[str, AlertState]] = Counter()
    told: Counter[str] = Counter()
    muted = 0
    causes = {mark for each in muting.muted.values() for mark in each.inhibited_by}
    for count, alert in enumerate(tuple(alerts.values()), 1):
        if count % AT_ONCE == 0:
            await asyncio.sleep(0)
        severity = alert.label("severity")
        if alert.state is AlertState.RESOLVED or severity == "none":
            continue
        groups[alert.name, alert.state] += 1
        quiet, rank, active_at, mark = urgency(alert)
        keyed.append(((alert in muting, quiet, rank, mark not in causes, active_at, mark), alert))
        if alert.state is not AlertState.FIRING:
            continue
        if alert in muting:
            muted += 1
        else:
            told[severity] += 1
    keyed.sort(key=_urgency)
    return Board(tuple(alert for _, alert in keyed), groups, told, muted)


def _urgency(keyed: _Keyed) -> _Order:
    return keyed[0]
