"""The table of the benchmarks: ratios, limits and what is said of each."""

from __future__ import annotations

import pytest

from benchmarks.table import Figure, Row, at_least, at_most, skipped

PEER = Figure(40.0, "s", "Peer")


def test_a_ratio_is_ours_to_theirs() -> None:
    assert Row("G1", "read", Figure(10.0, "s"), PEER).ratio == 0.25


def test_without_anything_beside_there_is_no_ratio() -> None:
    assert Row("G8", "start", Figure(10.0, "s")).ratio is None


def test_a_limit_without_unit_is_of_the_ratio() -> None:
    ours = Figure(50.0, "s")
    assert Row("G1", "read", ours, PEER, at_most(1.3)).met is True
    assert Row("G1", "read", ours, PEER, at_most(1.2)).met is False


def test_a_limit_with_a_unit_is_of_the_figure() -> None:
    assert Row("G7", "explain", Figure(9_999.0, "/s"), limit=at_least(10_000, "/s")).met is False
    assert Row("G7", "explain", Figure(10_000.0, "/s"), limit=at_least(10_000, "/s")).met is True


def test_a_row_without_limit_is_neither_met_nor_missed() -> None:
    assert Row("", "read", Figure(1.0, "s"), PEER).met is None


def test_figures_of_two_units_are_not_compared() -> None:
    with pytest.raises(ValueError, match="ms beside s"):
        _ = Row("G1", "read", Figure(1.0, "ms"), PEER).ratio
    with pytest.raises(ValueError, match="a limit in ms for s"):
        _ = Row("G1", "read", Figure(1.0, "s"), limit=at_most(5, "ms")).met


def test_a_row_is_a_line_of_the_table() -> None:
    row = Row("G3", "poll, CPU", Figure(1.5, "s"), Figure(4.0, "s", "Prometheus"), at_most(0.1))
    assert str(row) == "| G3 | poll, CPU | 1.50 s | Prometheus: 4.00 s | 0.375 | ≤ 0.1 × | **no** |"


def test_rates_are_written_in_full() -> None:
    row = Row("", "accept", Figure(12_345.6, "/s"))
    assert str(row) == "| – | accept | 12,346/s | – | – | – | – |"


def test_what_is_skipped_says_why_and_meets_nothing() -> None:
    row = skipped("G5", "scrape", "prometheus-pushgateway is not installed")
    assert row.met is None
    assert "| skipped: prometheus-pushgateway is not installed |" in str(row)
