"""The stored inventory (`ports.InstancesTable`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from sys import intern

import msgspec
import sqlalchemy as sa

from nexusd.core.records import RUNNING, Instance, Specs
from nexusd.store.schema import instances, marks
from nexusd.store.statements import Row, Session, Upsert, Values, given

RESOURCE = "instances"
LOST_MOST = "instances lost"

_RECORD = ("id", "name", "status", "region", "public_ip", "created_at", "specs", "plan", "image")

_LOAD = sa.select(*(instances.c[name] for name in _RECORD), instances.c.missed)
_SAVE = Upsert(instances, _RECORD, _RECORD[1:])
_MISSED = (
    sa.update(instances)
    .where(instances.c.id == given("which", sa.Text))
    .values(missed=given("n", sa.Integer))
)
_DROP = sa.delete(instances).where(instances.c.id == given("which", sa.Text))
_SEEN = (
    sa.update(instances)
    .where(instances.c.id == given("which", sa.Text), instances.c.seen_running.is_(False))
    .values(seen_running=True)
)
_STOPPED = sa.select(instances.c.id).where(
    instances.c.seen_running.is_(True), instances.c.status != given("running", sa.Text)
)

OBSERVED = sa.select(marks.c.observed_at).where(marks.c.resource == given("resource", sa.Text))
MARK = Upsert(marks, ("resource", "observed_at"), ("observed_at",))


class Instances:
    def __init__(self, session: Session) -> None:
        self._session = session

    def load(self) -> tuple[dict[str, Instance], dict[str, int], float | None]:
        specs: dict[str, Specs] = {}
        found: dict[str, Instance] = {}
        missed: dict[str, int] = {}
        for row in self._session.rows(_LOAD):
            found[row[0]] = _instance(row, specs)
            if row[9]:
                missed[row[0]] = row[9]
        return found, missed, self.observed_at()

    def save(self, upserts: Iterable[Instance], missed: Mapping[str, int], gone: Iterable[str]) -> None:
        texts: dict[Specs, str] = {}
        self._session.many(_SAVE, (_values(instance, texts) for instance in upserts))
        self._session.many(_MISSED, ({"which": key, "n": n} for key, n in missed.items()))
        self._session.many(_DROP, ({"which": key} for key in gone))

    def observed(self, at: float) -> None:
        self._session.execute(MARK, {"resource": RESOURCE, "observed_at": at})

    def observed_at(self) -> float | None:
        mark = self._session.first(OBSERVED, {"resource": RESOURCE})
        return mark[0] if mark else None

    def lost_most(self, at: float) -> None:
        self._session.execute(MARK, {"resource": LOST_MOST, "observed_at": at})

    def lost_most_at(self) -> float | None:
        mark = self._session.first(OBSERVED, {"resource": LOST_MOST})
        return mark[0] if mark else None

    def seen_running(self, instance_ids: Iterable[str]) -> None:
        self._session.many(_SEEN, ({"which": key} for key in instance_ids))

    def stopped_running(self) -> frozenset[str]:
        return frozenset(row[0] for row in self._session.rows(_STOPPED, {"running": RUNNING}))


def _instance(row: Row, specs: dict[str, Specs]) -> Instance:
    """Status and region are interned and specs shared: a fleet has few of each, and keeps them for long."""
    key, name, status, region, public_ip, created_at, text, plan, image, _ = row
    size = None
    if text is not None:
        size = specs.get(text)
        if size is None:
            size = specs[text] = msgspec.json.decode(text, type=Specs)
    return Instance(key, name, intern(status), intern(region), public_ip, created_at, size, plan, image)


def _values(instance: Instance, texts: dict[Specs, str]) -> Values:
    return {
        "id": instance.id,
        "name": instance.name,
        "status": instance.status,
        "region": instance.region,
        "public_ip": instance.public_ip,
        "created_at": instance.created_at,
        "specs": _specs_text(instance.specs, texts),
        "plan": instance.plan,
        "image": instance.image,
    }


def _specs_text(specs: Specs | None, texts: dict[Specs, str]) -> str | None:
    if specs is None:
        return None
    text = texts.get(specs)
    if text is None:
        text = texts[specs] = msgspec.json.encode(specs).decode()
    return text
