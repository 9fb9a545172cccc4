"""Flap damping: an alert that begins and ends too often is told once, as firing (product.md, section 4).

Used by `alerts`, which keeps such an alert firing until it is calm.
"""

from __future__ import annotations

REMEMBERED_S = 1800.0
"""Within what time changes are too many; so long an alert that is over is remembered."""
TOO_MANY = 6
"""Beginnings and ends within `REMEMBERED_S`: more than 5."""
CALM_AFTER_S = 900.0
"""It is over once the alert has neither begun nor ended for this long."""

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


def marked(annotations: Pairs) -> Pairs:
    """The annotations of an alert while it flaps."""
    known = dict(annotations)
    return tuple(sorted({**known, "summary": _PREFIX + known.get("summary", ""), ANNOTATION: _TEXT}.items()))


def unmarked(annotations: Pairs) -> Pairs:
    """The same without what `marked` added."""
    known = {name: value for name, value in annotations if name != ANNOTATION}
    summary = known.pop("summary", "").removeprefix(_PREFIX)
    return tuple(sorted({**known, "summary": summary}.items())) if summary else tuple(sorted(known.items()))
