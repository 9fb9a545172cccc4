"""Reads the options of `nexusd replay`. Apart from them, because it takes the daemon's parts to do so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

import typer

from nexusd.cli.output import printable
from nexusd.cli.replaying import Asked
from nexusd.core.durations import parse_duration
from nexusd.core.errors import InputError
from nexusd.core.expressions import region_where
from nexusd.core.replay import Constraints
from nexusd.web.queries import parse_time

T = TypeVar("T")

MILLISECONDS = 1000.0
SHORTEST_S = 1.0
"""A synthetic request at most this often."""


@dataclass(frozen=True, slots=True)
class Given:
    """The options as they were typed; None for those that were not."""

    since: str
    until: str | None
    smoothing: str | None
    switch_margin: str | None
    max_per_region: int | None
    regions: str | None
    avoid_regions: str | None
    where: str | None
    every: str | None


def asked(given: Given) -> Asked:
    """Raises typer's usage error, which names the option."""
    now = datetime.now(UTC).timestamp()
    until_at = _given("--until", given.until, lambda text: _ago(text, now))
    found = Asked(
        since=_given("--since", given.since, lambda text: _ago(text, now)) or 0.0,
        until=until_at if until_at is not None else now,
        smoothing_s=_given("--smoothing", given.smoothing, parse_duration),
        switch_margin_ms=_given("--switch-margin", given.switch_margin, _milliseconds),
        max_per_region=given.max_per_region,
        constraints=Constraints(
            _given("--regions", given.regions, _slugs),
            _given("--avoid-regions", given.avoid_regions, _slugs) or (),
            _given("--where", given.where, _condition),
        ),
        every_s=_given("--every", given.every, _interval),
    )
    if found.since >= found.until:
        raise typer.BadParameter("is not before --until, or before now", param_hint="--since")
    return found


def _given(option: str, text: str | None, parse: Callable[[str], T]) -> T | None:
    """None when the option was not given. Raises typer's usage error, which names it."""
    if text is None:
        return None
    try:
        return parse(text)
    except InputError as error:
        raise typer.BadParameter(printable(str(error)), param_hint=option) from None
    except ValueError as error:
        raise typer.BadParameter(f"{printable(text)!r} is not {error}", param_hint=option) from None


def _ago(text: str, now: float) -> float:
    """Return the time, or the time that a duration was ago."""
    return parse_time(text) if "-" in text else now - parse_duration(text)


def _milliseconds(text: str) -> float:
    return parse_duration(text) * MILLISECONDS


def _interval(text: str) -> float:
    every_s = parse_duration(text)
    if every_s < SHORTEST_S:
        raise ValueError(f"at least {SHORTEST_S:g}s")
    return every_s


def _slugs(text: str) -> tuple[str, ...]:
    slugs = tuple(slug.strip() for slug in text.split(","))
    if not all(slugs):
        raise ValueError("a list of regions such as us-east-1,eu-west-2")
    return slugs


def _condition(text: str) -> str:
    region_where(text)
    return text
