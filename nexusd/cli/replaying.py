"""Puts a replay together: the configured policy and a changed one, over what the store has recorded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from nexusd.core.errors import ConfigError, NexusdError
from nexusd.core.recordings import RecordedAnswer
from nexusd.core.region_names import describe_unlisted
from nexusd.core.replay import NO_CONSTRAINTS, Constraints, Past, Replayed, Variant, ticks
from nexusd.core.replay import replay as replayed
from nexusd.settings import load_sections, parts
from nexusd.store.past import placed_between
from nexusd.store.reading import read_store
from nexusd.store.transaction import SqlTransaction

SECTIONS = ("store", "placement", "polling")
"""What of the configuration matters here."""
MOST_PLACEMENTS = 10_000
MOST_TICKS = 100_000
EVERY_S = 60.0
WARM_UP_HALF_LIVES = 10.0
"""Smoothing begins so much earlier than the first decision: what came before weighs a thousandth."""


class ReplayError(NexusdError):
    """There is nothing to replay, or too much."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The options; None is as configured. `smoothing_s`, `max_per_region` 0: off. Times in seconds UTC."""

    since: float
    until: float
    smoothing_s: float | None = None
    switch_margin_ms: float | None = None
    max_per_region: int | None = None
    constraints: Constraints = NO_CONSTRAINTS
    every_s: float | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """`configured` and `changed` are the variants of each row's choices, in that order.

    `every_s`: how often a synthetic request was decided, None where stored placements were. `cut`: whether
    there were more placements than are replayed.
    """

    since: float
    until: float
    configured: Variant
    changed: Variant
    every_s: float | None
    cut: bool
    rows: tuple[Replayed, ...]


def make_report(config: Path | None, store_url: str | None, asked: Asked) -> Report:
    """Replay what the store has of that time.

    Raises `ConfigError`, `StartError`, `StoreError`, `ReplayError`.
    """
    given = {"store.url": store_url} if store_url is not None else {}
    settings = load_sections(config, SECTIONS, given)
    before = Variant(parts.placement_policy(settings), settings.placement.smoothing_s)
    after = _changed(before, asked)
    warm_up_s = WARM_UP_HALF_LIVES * max(v.half_life_s or 0.0 for v in (before, after))

    def work(tx: SqlTransaction) -> tuple[Iterator[RecordedAnswer], list[Past]]:
        answers = iter(tx.region_history.between(asked.since - warm_up_s, asked.until))
        if asked.every_s is not None:
            return answers, []
        return answers, placed_between(tx.session, asked.since, asked.until, MOST_PLACEMENTS + 1)

    answers, placements = read_store(settings.store.url.get_secret_value(), work)
    first = next(answers, None)
    if first is None:
        raise ReplayError("nothing was recorded in that time: a running daemon records what /regions answers")
    every_s = None if placements else asked.every_s or EVERY_S
    past = placements[-MOST_PLACEMENTS:]
    if every_s is not None:
        past = _synthetic(max(asked.since, first.at), asked.until, every_s)
    seen: set[str] = set()
    rows = tuple(replayed(_collect_slugs(chain([first], answers), seen), past, [before, after]))
    _check_regions(asked.constraints, seen)
    return Report(asked.since, asked.until, before, after, every_s, len(placements) > len(past), rows)


def _collect_slugs(answers: Iterable[RecordedAnswer], seen: set[str]) -> Iterator[RecordedAnswer]:
    for answer in answers:
        seen.update(region.slug for region in answer.regions)
        yield answer


def _check_regions(constraints: Constraints, seen: set[str]) -> None:
    """Raise `ConfigError` for a region that was not listed in that time (a typo)."""
    given = {"--regions": constraints.regions or (), "--avoid-regions": constraints.avoid_regions}
    for option, slugs in given.items():
        unknown = [slug for slug in slugs if slug not in seen]
        if unknown:
            raise ConfigError(f"{option}: in that time {describe_unlisted(unknown, sorted(seen))}")


def _changed(before: Variant, asked: Asked) -> Variant:
    """The configured variant with what was asked in its place."""
    policy, half_life_s = before.policy, before.half_life_s
    if asked.max_per_region is not None:
        policy = replace(policy, max_per_region=asked.max_per_region or None)
    if asked.switch_margin_ms is not None:
        policy = replace(policy, switch_margin_ms=asked.switch_margin_ms)
    if asked.smoothing_s is not None:
        half_life_s = asked.smoothing_s or None
    return Variant(policy, half_life_s, asked.constraints)


def _synthetic(since: float, until: float, every_s: float) -> list[Past]:
    if (until - since) / every_s > MOST_TICKS:
        raise ReplayError(
            f"--every {every_s:g}s over that time is more than {MOST_TICKS:,} decisions: "
            "take a longer interval, or a shorter time by --since"
        )
    return list(ticks(since, until, every_s))
