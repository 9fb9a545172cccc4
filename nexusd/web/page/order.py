"""All alerts in the order in which a person wants to see them, made once for each change of them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from nexusd.core.alerts import Alert, AlertState
from nexusd.core.census import UNTOLD_SEVERITY
from nexusd.core.muting import UNMUTED, Muting
from nexusd.web.status import urgency

AT_ONCE = 2_000
"""Known alerts put in order before the event loop has a turn again. One that changed counts for `NEW`."""
NEW = 4

_Place = tuple[bool, bool, int, bool, float, str]


@dataclass(frozen=True, slots=True)
class _Look:
    """What is taken from one alert, as long as it does not change. `shown`: it fires or is pending, and its
    severity is not `none`: a watchdog that fires is as it should be.
    """

    alert: Alert
    shown: bool
    quiet: bool
    rank: int


def _look(alert: Alert) -> _Look:
    quiet, rank, _, _ = urgency(alert)
    shown = (
        alert.state in (AlertState.FIRING, AlertState.PENDING) and alert.label("severity") != UNTOLD_SEVERITY
    )
    return _Look(alert, shown, quiet, rank)


class AlertOrder:
    """Of thousands of alerts few change between two times: only these are looked into."""

    def __init__(self) -> None:
        self._alerts: Mapping[str, Alert] = {}
        self._muting = UNMUTED
        self._ordered: tuple[Alert, ...] = ()
        self._looks: dict[str, _Look] = {}

    async def of(self, alerts: Mapping[str, Alert], muting: Muting) -> tuple[Alert, ...]:
        """The firing and pending ones, the most pressing first: what is muted last, and of those that are
        alike what mutes others first, since it is likely their cause.

        The same tuple as before where nothing was replaced since. Others have their turn meanwhile.
        """
        if alerts is not self._alerts or muting is not self._muting:
            self._ordered = await self._put_in_order(alerts, muting)
            self._alerts, self._muting = alerts, muting
        return self._ordered

    async def _put_in_order(self, alerts: Mapping[str, Alert], muting: Muting) -> tuple[Alert, ...]:
        causes = {mark for each in muting.muted.values() for mark in each.inhibited_by}
        looks: dict[str, _Look] = {}
        placed: list[tuple[_Place, Alert]] = []
        done = 0
        for mark, alert in tuple(alerts.items()):
            look = self._looks.get(mark)
            done += 1
            if look is None or look.alert is not alert:
                look = _look(alert)
                done += NEW - 1
            if done >= AT_ONCE:
                done = 0
                await asyncio.sleep(0)
            looks[mark] = look
            if look.shown:
                muted, causing = mark in muting.muted, mark in causes
                placed.append(((muted, look.quiet, look.rank, not causing, alert.active_at, mark), alert))
        placed.sort(key=_place)
        self._looks = looks
        return tuple(alert for _, alert in placed)


def _place(placed: tuple[_Place, Alert]) -> _Place:
    return placed[0]
