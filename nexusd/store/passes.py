"""Which pass was committed last (`ports.PassesTable`)."""

from __future__ import annotations

import sqlalchemy as sa

from nexusd.store.schema import meta
from nexusd.store.statements import Session, Upsert

_KEY = "last_pass"
_LAST = sa.select(meta.c.value).where(meta.c.key == _KEY)
_SAVE = Upsert(meta, ("key", "value"), ("value",))


class Passes:
    def __init__(self, session: Session) -> None:
        self._session = session

    def last(self) -> tuple[int, int]:
        row = self._session.first(_LAST)
        epoch, _, number = row[0].partition("/") if row is not None else ("0", "", "0")
        return int(epoch), int(number)

    def save(self, epoch: int, number: int) -> None:
        self._session.execute(_SAVE, {"key": _KEY, "value": f"{epoch}/{number}"})
