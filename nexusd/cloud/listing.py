"""What a complete sweep lists, and what of it is new since the last one. Made by `sweep`, kept by `client`.

A fleet is mostly as it was half a minute ago, and pages that are as they were are the same objects
(`pages`). So where a sweep found the same ids at the same places, only the rows of other pages are looked at,
and no dictionary of all instances is made. That holds while each page shares exactly its first row with the
one before it, and no other: an id is then in two pages only where they overlap.
"""

from __future__ import annotations

from collections.abc import Iterator, KeysView, Mapping, Sequence, ValuesView
from itertools import compress, pairwise
from operator import is_not

from nexusd.cloud.stitch import Run
from nexusd.core.records import Instance
from nexusd.core.sweeps import Renewal


class Listing(Mapping[str, Instance]):
    """All instances by id, each as last read, from runs that are a chain. `runs` are in order of offset.

    `renewal`: what of it differs from an earlier listing, None when it was not made from one.
    """

    def __init__(
        self, runs: Sequence[Run], instances: dict[str, Instance] | None, size: int, renewal: Renewal | None
    ) -> None:
        self._runs = runs
        self._instances = instances
        self._size = size
        self.renewal = renewal
        self.mark = object()
        """What the next renewal refers to. Not the listing itself: each would keep all before it."""

    @classmethod
    def read(cls, runs: Sequence[Run], instances: dict[str, Instance]) -> Listing:
        return cls(runs, instances, len(instances), None)

    def renewed(self, runs: Sequence[Run]) -> Listing | None:
        """The listing that these runs are, when they have the same ids at the same places as this one."""
        if len(runs) != len(self._runs) or not self._plain():
            return None
        records: dict[str, Instance] = {}
        for before, now in zip(self._runs, runs, strict=True):
            if not _collect(before, now, records):
                return None
        for left, right in pairwise(runs):
            a, b = left.page.rows[-1], right.page.rows[0]
            if a.id in records or a != b:
                records[a.id] = a if left.number > right.number else b
        return Listing(runs, None, self._size, Renewal(self.mark, records))

    def kept(self) -> Listing:
        """The same without the dictionary: the next sweep needs no more."""
        kept = Listing(self._runs, None, self._size, None)
        kept.mark = self.mark
        return kept

    def __getitem__(self, instance_id: str) -> Instance:
        return self._all()[instance_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return self._size

    def __contains__(self, instance_id: object) -> bool:
        return instance_id in self._all()

    def keys(self) -> KeysView[str]:
        return self._all().keys()

    def values(self) -> ValuesView[Instance]:
        return self._all().values()

    def _all(self) -> dict[str, Instance]:
        if self._instances is None:
            self._instances = {}
            for run in sorted(self._runs, key=lambda run: run.number):
                self._instances.update([(row.id, row) for row in run.page.rows])
        return self._instances

    def _plain(self) -> bool:
        """Whether an id is in two pages only where they overlap, by one row."""
        pages = [run.page for run in self._runs]
        rows = sum(len(page.rows) for page in pages)
        return (
            rows - len(pages) + 1 == self._size
            and all(page.rows for page in pages)
            and all(a.rows[-1].id == b.rows[0].id for a, b in pairwise(pages))
        )


def _collect(before: Run, now: Run, records: dict[str, Instance]) -> bool:
    """Add the rows that are other objects than they were; False when the ids are not the same."""
    old, new = before.page, now.page
    if old.rows is new.rows and old.offset == new.offset:
        return True
    if old.offset != new.offset or len(old.rows) != len(new.rows):
        return False
    others = map(is_not, old.rows, new.rows)
    for was, row in compress(zip(old.rows, new.rows, strict=True), others):
        if was.id != row.id:
            return False
        records[row.id] = row
    return True
