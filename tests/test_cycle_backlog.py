"""What receivers have not got is a fact for rules, read only when the outbox has changed."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

from nexusd.core.alerting import Alerting
from nexusd.core.backlog import Backlog
from nexusd.core.notifications import Routing
from nexusd.core.rules import NOTHING_FOUND, Condition, Facts, Judgement, Rule
from nexusd.cycle import LONGEST_WAIT_S, Observers, Parts, nobody_is_told
from tests.delivery.receivers import message
from tests.test_cycle import INTERVALS_S, Watch, watch
from tests.virtual_time import in_virtual_time

OPS = message(1, "ops", 1.0)


class Seen:
    """Takes the place of the rules, and of who changes the outbox."""

    def __init__(self, here: Watch) -> None:
        self.backlogs: list[tuple[Backlog, ...] | None] = []
        self.changes = 0
        self._here = here

    def judge(self, facts: Facts, _: Rule) -> Judgement:
        self.backlogs.append(facts.backlog)
        return NOTHING_FOUND

    def parts(self) -> Parts:
        alerting = Alerting((Rule("Seen", Condition(self.judge), "none"),), Routing({}))
        nobody = Observers(lambda: None, lambda _: None, lambda _: None)
        return Parts(
            self._here.cloud,
            alerting,
            nobody_is_told,
            INTERVALS_S,
            nobody,
            outbox_changes=lambda: self.changes,
        )

    async def latest(self) -> tuple[Backlog, ...] | None:
        """As of a new pass."""
        await self._here.cycle.poll_regions()
        return self.backlogs[-1]


@in_virtual_time
async def test_it_is_read_when_the_outbox_has_changed_and_only_then(tmp_path: Path) -> None:
    async with watch(tmp_path) as here:
        seen = Seen(here)
        here.cycle.reconfigure(seen.parts())
        assert await seen.latest() == ()
        await here.store.run(lambda tx: tx.outbox.add([OPS]))
        assert await seen.latest() == ()
        seen.changes += 1
        assert await seen.latest() == (Backlog("ops", waiting=1, waiting_since=1.0),)
        await here.store.run(lambda tx: tx.outbox.finish([replace(OPS, state="dead", ended_at=9.0)]))
        seen.changes += 1
        assert await seen.latest() == (Backlog("ops", dead=1, dead_at=9.0),)


@in_virtual_time
async def test_what_another_replica_changed_is_read_within_a_minute(tmp_path: Path) -> None:
    async with watch(tmp_path) as here:
        seen = Seen(here)
        here.cycle.reconfigure(seen.parts())
        assert await seen.latest() == ()
        await here.store.run(lambda tx: tx.outbox.add([OPS]))
        await asyncio.sleep(LONGEST_WAIT_S + 1.0)
        assert seen.backlogs[-1] == (Backlog("ops", waiting=1, waiting_since=1.0),)


@in_virtual_time
async def test_it_is_read_anew_after_a_reload_which_counts_from_nothing(tmp_path: Path) -> None:
    async with watch(tmp_path) as here:
        seen = Seen(here)
        here.cycle.reconfigure(seen.parts())
        assert await seen.latest() == ()
        await here.store.run(lambda tx: tx.outbox.add([OPS]))
        again = Seen(here)
        here.cycle.reconfigure(again.parts())
        assert await again.latest() == (Backlog("ops", waiting=1, waiting_since=1.0),)
