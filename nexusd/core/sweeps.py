"""What sweeps say, and what one of them changes: records only. Made by `cloud` (`Sweep`) and `comparing`
(`Delta`), applied by `inventory`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from nexusd.core.changes import InstanceChange
from nexusd.core.records import Instance


@dataclass(frozen=True, slots=True)
class Renewal:
    """A listing told by its difference from an earlier one, whose `mark` is `of`: it has the same ids, and
    only `records` may be others.
    """

    of: object
    records: Mapping[str, Instance]


@dataclass(frozen=True, slots=True)
class Sweep:
    """One complete, consistent reading of all pages of `GET /instances`, by id.

    `began_at` is when the first request was sent: nothing created after it need be in here. `mark` names the
    listing, for the `renewal` of later ones; a renewal says nothing that is not in `instances`, too.
    """

    began_at: float
    ended_at: float
    instances: Mapping[str, Instance]
    mark: object = field(default_factory=object, compare=False)
    renewal: Renewal | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class SweepPolicy:
    """When an absence is believed (product.md, section 2)."""

    vanish_after_sweeps: int = 2
    mass_share: float = 0.30
    mass_count: int = 10
    mass_sweeps: int = 3


@dataclass(frozen=True, slots=True)
class Hold:
    """A mass disappearance that is being confirmed: `gone` was absent from each of the last `sweeps` sweeps.

    `since`: when the first sweep that was held back began, though another set may have been gone from it.
    `of`: how many live instances were known.
    """

    since: float
    sweeps: int
    gone: frozenset[str]
    of: int


@dataclass(frozen=True, slots=True)
class Delta:
    """What one complete sweep changes. `hold` set: it is held back, and all else but `returned` is empty.

    `upserts`: new or changed records. `missed`: ids that are absent and not yet believed gone, each with the
    sweeps in a row that missed it, this one included. `returned`: ids that were missed and are no more: they
    are back, or a sweep that is held back may have had them.
    `vanished`: ids to drop; `lost_most`: these are most of the live instances.
    """

    sweep: Sweep
    upserts: Mapping[str, Instance] = field(default_factory=dict)
    missed: Mapping[str, int] = field(default_factory=dict)
    returned: frozenset[str] = frozenset()
    vanished: frozenset[str] = frozenset()
    changes: tuple[InstanceChange, ...] = ()
    hold: Hold | None = None
    lost_most: bool = False
