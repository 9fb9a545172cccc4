"""The real client sweeping the emulator while its listing changes under it: nothing false is ever seen."""

from __future__ import annotations

import random

import pytest

from nexusd.cloud.client import CloudNexus
from nexusd.cloud.key import LiteralKey
from nexusd.cloud.options import CloudOptions
from nexusd.core.changes import InstanceAppeared, InstanceVanished
from nexusd.core.comparing import compare
from nexusd.core.errors import BadAnswerError
from nexusd.core.inventory import Inventory
from nexusd.core.sweeps import SweepPolicy
from nexusd.emulator.cloud import Cloud
from nexusd.emulator.effects import Drift
from nexusd.emulator.faults import Fault
from nexusd.emulator.options import EmulatorOptions
from nexusd.emulator.server import EmulatorServer
from nexusd.runtime.clock import SystemClock
from tests.e2e.daemon import KEY
from tests.fakes import NullMetrics

SWEEPS = 200


@pytest.mark.slow
@pytest.mark.parametrize(
    "drift",
    [Drift(insert=1, remove=1), Drift(insert=2), Drift(remove=2), Drift(insert=2, remove=2, move=2)],
    ids=["replaced", "growing", "shrinking", "everything"],
)
async def test_200_sweeps_of_5000_drifting_instances_show_nothing_false(drift: Drift) -> None:
    cloud = Cloud(EmulatorOptions(api_key=KEY, instances=5000))
    cloud.add_fault(Fault(drift))
    inventory, completed = Inventory(), 0
    async with EmulatorServer(cloud) as server:
        options = CloudOptions(server.url, max_requests_per_second=100_000)
        async with CloudNexus(
            options, LiteralKey(KEY), SystemClock(), random.Random(1), NullMetrics()
        ) as api:
            for _ in range(SWEEPS):
                before = {i.id for i in cloud.instances()}
                try:
                    sweep = await api.sweep_instances()
                except BadAnswerError:
                    continue
                after = {i.id for i in cloud.instances()}
                seen = set(sweep.instances)
                # Pages prove nothing about one that changes its place while others come and go: the
                # inventory's second sweep is for that. Without moves every sweep is exact by itself.
                assert drift.move or before & after <= seen, "one that was there all the time was missed"
                assert seen <= before | after, "an instance that was never there was seen"
                delta = compare(inventory, sweep, SweepPolicy())
                assert not {c.instance.id for c in delta.changes if isinstance(c, InstanceVanished)} & after
                assert {c.instance.id for c in delta.changes if isinstance(c, InstanceAppeared)} <= seen
                inventory.apply(delta)
                assert before & after <= {i.id for i in inventory}, "a false disappearance"
                assert len(inventory) - len(inventory.missed) == len(seen)
                completed += 1
    assert completed >= 0.9 * SWEEPS
