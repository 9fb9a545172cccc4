"""Prints what a replay found: the decisions side by side, and what each policy came to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from nexusd.cli.output import note, show
from nexusd.cli.replaying import Report
from nexusd.cli.tables import print_table
from nexusd.core.replay import Choice, Replayed, Summary, Variant, summary

ACTUAL, CONFIGURED, CHANGED = "actual", "configured", "changed"
REGIONS_SHOWN = 5


def as_json(report: Report) -> dict[str, Any]:
    """Every decision, whether it differs or not."""
    return {
        "since": _time(report.since),
        "until": _time(report.until),
        "every_s": report.every_s,
        "cut": report.cut,
        "decisions": len(report.rows),
        "differ": sum(row.differs for row in report.rows),
        "policies": {
            name: {**_policy_json(variant), **_summary_json(found)}
            for name, variant, found in _policies(report)
        },
        "rows": [_row_json(row) for row in report.rows],
    }


def print_report(report: Report, *, show_all: bool) -> None:
    rows = [row for row in report.rows if show_all or row.differs]
    if rows:
        _print_rows(rows, synthetic=report.every_s is not None)
        print()
    _print_summary(report)
    differ = sum(row.differs for row in report.rows)
    note(f"{differ} of {len(report.rows)} decisions differ" + ("" if show_all else "; --all lists every one"))
    if report.every_s is not None:
        note(f"no placements replayed: a request without constraints every {report.every_s:g} s instead")
    if report.cut:
        note(f"only the newest {len(report.rows)} placements are replayed: take a shorter time by --since")


def _print_rows(rows: Sequence[Replayed], *, synthetic: bool) -> None:
    chosen = (CONFIGURED, CHANGED)
    if synthetic:
        print_table(("at", *chosen), [(_time(r.past.at), *_cells(r.choices)) for r in rows], words=chosen)
        return
    print_table(
        ("at", "placement", ACTUAL, *chosen),
        [(_time(r.past.at), r.past.request.name, _cell(r.past.actual), *_cells(r.choices)) for r in rows],
        words=(ACTUAL, *chosen),
    )


def _cells(choices: Iterable[Choice]) -> list[str]:
    return [_cell(choice) for choice in choices]


def _cell(choice: Choice | None) -> str:
    """`us-east-1 12 ms`, or why nowhere."""
    if choice is None:
        return "-"
    if choice.region is None:
        return f"none: {choice.reason}"
    return f"{choice.region} {show(choice.latency_ms)} ms"


def _print_summary(report: Report) -> None:
    headings = ("policy", "placed", "nowhere", "mean ms", "p95 ms", "switches", "regions")
    rows = [(name, *_summary_cells(found)) for name, _, found in _policies(report)]
    print_table(headings, rows, words=("regions",))


def _summary_cells(found: Summary) -> tuple[Any, ...]:
    share = [f"{region} {100 * count / found.placed:.0f} %" for region, count in found.regions]
    more = f"{len(share) - REGIONS_SHOWN} more"
    told = share if len(share) <= REGIONS_SHOWN else [*share[:REGIONS_SHOWN], more]
    return (
        found.placed,
        found.nowhere,
        _rounded(found.mean_ms),
        _rounded(found.p95_ms),
        found.switches,
        ", ".join(told),
    )


def _policies(report: Report) -> list[tuple[str, Variant | None, Summary]]:
    """What really happened, where anything did, and both policies, with what each came to."""
    found: list[tuple[str, Variant | None, Summary]] = [
        (name, variant, summary(row.choices[n] for row in report.rows))
        for n, (name, variant) in enumerate(((CONFIGURED, report.configured), (CHANGED, report.changed)))
    ]
    happened = [row.past.actual for row in report.rows if row.past.actual is not None]
    return [(ACTUAL, None, summary(happened)), *found] if happened else found


def _policy_json(variant: Variant | None) -> dict[str, Any]:
    if variant is None:
        return {}
    constraints = variant.constraints
    return {
        "smoothing_s": variant.half_life_s,
        "switch_margin_ms": variant.policy.switch_margin_ms,
        "max_per_region": variant.policy.max_per_region,
        "regions": constraints.regions,
        "avoid_regions": constraints.avoid_regions,
        "where": constraints.where,
    }


def _summary_json(found: Summary) -> dict[str, Any]:
    return {
        "placed": found.placed,
        "nowhere": found.nowhere,
        "mean_ms": found.mean_ms,
        "p95_ms": found.p95_ms,
        "switches": found.switches,
        "by_region": dict(found.regions),
    }


def _row_json(row: Replayed) -> dict[str, Any]:
    past = row.past
    return {
        "at": _time(past.at),
        "placement_id": past.placement_id,
        "name": past.request.name if past.placement_id is not None else None,
        ACTUAL: _choice_json(past.actual),
        CONFIGURED: _choice_json(row.choices[0]),
        CHANGED: _choice_json(row.choices[1]),
        "differs": row.differs,
    }


def _choice_json(choice: Choice | None) -> dict[str, Any] | None:
    if choice is None:
        return None
    return {"region": choice.region, "latency_ms": choice.latency_ms, "reason": choice.reason}


def _rounded(ms: float | None) -> float | None:
    return round(ms, 1) if ms is not None else None


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
