"""Values that a database could refuse: another encoding, long texts, NUL."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from nexusd.core.cooling import CoolingOff
from nexusd.core.errors import StartError, StoreError
from nexusd.core.lifecycle import Placement, State
from nexusd.core.notifications import MAX_GROUP_KEY_BYTES, LoggedNotification
from nexusd.core.placement import PlacementRequest, Spread
from nexusd.core.records import MAX_STRING_LENGTH, Instance, Region, Specs
from nexusd.core.regions import KnownRegion, RegionSnapshot
from nexusd.ports import Transaction
from nexusd.store.executors import InlineExecutor
from nexusd.store.opening import StoreOptions, open_store
from nexusd.store.store import SqlStore
from tests.fakes import FakeClock
from tests.store.cluster import Cluster

SPECS = Specs(1.0, 2.0, 3.0)
MAX_NAME = 255
"""Characters of a name, plan or group in a request."""


def incompressible(length: int) -> str:
    """Return a text of four bytes a character that PostgreSQL cannot compress."""
    rng = random.Random(length)
    return "".join(chr(rng.randrange(0x1F000, 0x2F000)) for _ in range(length))


async def test_the_longest_accepted_values_can_be_stored_and_indexed(store: SqlStore) -> None:
    """PostgreSQL indexes at most 2,704 bytes; a longer id ended the daemon, and each start after it."""
    text, name = incompressible(MAX_STRING_LENGTH), incompressible(MAX_NAME)
    instance = Instance(text, text, text, text, text, text, None, text, text)
    region = KnownRegion(Region(text, text, text, 1.0, True))
    cooling = CoolingOff(text, 1.0, 1, text, plan=name)
    request = PlacementRequest(name, name, name, spread=Spread(name))
    placement = Placement("plc_1", request, State.QUEUED, 1.0, 1.0, region=text, instance_id=text)
    entry = LoggedNotification(
        "r" * 63, incompressible(MAX_GROUP_KEY_BYTES // 4), 1.0, frozenset("a"), frozenset()
    )

    def transaction(tx: Transaction) -> None:
        tx.instances.save([instance], {}, [])
        tx.regions.save(RegionSnapshot(1.0, {text: region}))
        tx.regions.save_cooling_off(cooling)
        tx.placements.insert(placement)
        tx.placements.claim_key("k" * MAX_NAME, "digest", placement.id, 1.0)
        tx.notification_log.save([entry])

    await store.run(transaction)
    assert (await store.run(lambda tx: tx.instances.load()))[0] == {text: instance}
    assert await store.run(lambda tx: tx.notification_log.load()) == [entry]


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_of_another_encoding_is_refused_with_advice(cluster: Cluster, encoding: str) -> None:
    name = f"db_{encoding.lower()}"
    cluster.execute(
        f"CREATE DATABASE {name} ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    )
    with pytest.raises(StartError, match=rf"encoding {encoding}.*createdb --encoding UTF8") as caught:
        open_store(StoreOptions(cluster.url(name), "me"), FakeClock(), InlineExecutor())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE instances SET name = CAST(x'ff1b' AS TEXT)",
        "UPDATE instances SET specs = '{'",
        "UPDATE instances SET specs = '[]'",
    ],
)
async def test_a_stored_value_that_cannot_be_read_gets_advice(
    tmp_path: Path, migrated_file: Path, change: str
) -> None:
    path = Path(shutil.copy(migrated_file, tmp_path))
    store = open_store(StoreOptions(f"sqlite:///{path}", "me"), FakeClock(), InlineExecutor())
    await store.run(
        lambda tx: tx.instances.save([Instance("i", "web", "running", "eu-1", specs=SPECS)], {}, [])
    )
    await store.run(lambda tx: tx.session.script(change))  # type: ignore[attr-defined]
    with pytest.raises(StoreError, match=r"restore the (file|database) from a backup") as caught:
        await store.run(lambda tx: tx.instances.load())
    assert str(caught.value).isprintable()
    await store.close()
