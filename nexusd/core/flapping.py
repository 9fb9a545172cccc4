"""Flap damping: an alert that begins and ends too often is told once, as firing (product.md, section 4).

Used by `alerts`, which keeps such an alert firing until it is calm, and by `notifications`, which lets an end
that may be one of many last before it is told.
"""

from __future__ import annotations

REMEMBERED_S = 1800.0
"""Within what time changes are too many; so long an alert that is over is remembered."""
TOO_MANY = 6
"""Beginnings and ends within `REMEMBERED_S`: more than 5."""
CALM_AFTER_S = 900.0
"""It is over once the alert has neither begun nor ended for this long."""

RESTLESS = 4
"""Beginnings and ends within `REMEMBERED_S` after which an end is trusted less: it has ended before."""
RESTLESS_INTERVALS = 3.0
"""So many `group_interval`s such an end must last before it is told; one after a short firing lasts one."""

ANNOTATION = "flapping"
"""What an alert has while it flaps; its summary begins with it, too."""
_PREFIX = "Flapping: "
_TEXT = (
    f"It began or ended {TOO_MANY} times within {REMEMBERED_S / 60:.0f} min. It is told once, as firing, "
    f"until it has stayed the same for {CALM_AFTER_S / 60:.0f} min."
)

Pairs = tuple[tuple[str, str], ...]


def with_change(changes: tuple[float, ...], at: float) -> tuple[float, ...]:
    """When it changed, oldest first, as many as matter."""
    return (*changes, at)[-TOO_MANY:]


def too_often(changes: tuple[float, ...]) -> bool:
    return len(changes) == TOO_MANY and changes[-1] - changes[0] <= REMEMBERED_S


def calm_at(changes: tuple[float, ...]) -> float:
    """When one that flaps stops doing so if it does not change before."""
    return changes[-1] + CALM_AFTER_S


def end_lasts_s(changes: tuple[float, ...], fired_s: float, group_interval_s: float) -> float:
    """How long an end must last before it is told, in seconds: who is told of each before the sixth change is
    told of the next beginning, too. An end of what fired for long, and had not ended before, is told soon.
    """
    if len(changes) >= RESTLESS and changes[-1] - changes[-RESTLESS] <= REMEMBERED_S:
        return RESTLESS_INTERVALS * group_interval_s
    return group_interval_s if fired_s < group_interval_s else 0.0


def marked(annotations: Pairs) -> Pairs:
    """The annotations of an alert while it flaps."""
    known = dict(annotations)
    return tuple(sorted({**known, "summary": _PREFIX + known.get("summary", ""), ANNOTATION: _TEXT}.items()))


def unmarked(annotations: Pairs) -> Pairs:
    """The same without what `marked` added."""
    known = {name: value for name, value in annotations if name != ANNOTATION}
    summary = known.pop("summary", "").removeprefix(_PREFIX)
    return tuple(sorted({**known, "summary": summary}.items())) if summary else tuple(sorted(known.items()))
