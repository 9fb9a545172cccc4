"""The Prometheus text format 0.0.4 and OpenMetrics 1.0, as far as nexusd's own metrics need them.

Written by hand because nexusd serves a hundred thousand series: joining lines costs a tenth of what a
library's sample objects do. The two formats differ, for the kinds used here, in the name of a counter's
family and in the closing line only, so lines are rendered once for both.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from math import isnan

Labels = tuple[tuple[str, str], ...]

LATENCY_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
OTHER = "other"
_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})


def escape(value: str) -> str:
    """A label's value between its quotes (both formats escape backslash, quote and line feed)."""
    return value.translate(_ESCAPES)


def series(name: str, labels: Labels) -> str:
    """`name{a="b"}`: everything of a sample's line but the value."""
    if not labels:
        return name
    return name + "{" + ",".join(f'{key}="{escape(value)}"' for key, value in labels) + "}"


def number(value: float) -> str:
    """As the formats write floats; whole numbers stay short."""
    if isnan(value):
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(float(value))


def header(name: str, kind: str, text: str) -> str:
    return f"# HELP {name} {text}\n# TYPE {name} {kind}\n"


def gauge(name: str, text: str, samples: Iterable[tuple[Labels, float]]) -> str:
    """A whole gauge family."""
    lines = "".join(f"{series(name, labels)} {number(value)}\n" for labels, value in samples)
    return header(name, "gauge", text) + lines


class BoundedValues:
    """Keeps a label's set of values bounded: the known ones, the first few others, then `other`."""

    def __init__(self, known: Iterable[str], extra: int = 10) -> None:
        self._values = set(known) | {OTHER}
        self._limit = len(self._values) + extra

    def fold(self, value: str) -> str:
        if value in self._values:
            return value
        if len(self._values) >= self._limit:
            return OTHER
        self._values.add(value)
        return value

    def __contains__(self, value: object) -> bool:
        return value in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._values))


class Counter:
    """A family of counters. `name` is without `_total`. Rendered when it has changed: with a thousand regions
    there are tens of thousands of series, and most stand still.
    """

    def __init__(self, name: str, text: str, label_names: tuple[str, ...] = ()) -> None:
        self._name = name
        self._text = text
        self._label_names = label_names
        self._values: dict[tuple[str, ...], float] = {}
        self._series: dict[tuple[str, ...], str] = {}
        self._lines: str | None = None

    def zero(self, *values: str) -> None:
        """Make the series exist."""
        self.add(0, *values)

    def add(self, amount: float, *values: str) -> None:
        if values not in self._values:
            self._values[values] = 0
            labels = tuple(zip(self._label_names, values, strict=True))
            self._series[values] = series(f"{self._name}_total", labels)
        self._values[values] += amount
        self._lines = None

    def render(self, *, openmetrics: bool) -> str:
        family = self._name if openmetrics else f"{self._name}_total"
        if self._lines is None:
            values = self._values.items()
            self._lines = "".join(f"{self._series[key]} {number(value)}\n" for key, value in values)
        return header(family, "counter", self._text) + self._lines


class Histogram:
    """A family of histograms with at most one label."""

    def __init__(
        self,
        name: str,
        text: str,
        label_name: str | None = None,
        bounds: tuple[float, ...] = LATENCY_BUCKETS_S,
    ) -> None:
        self._name = name
        self._text = text
        self._label_name = label_name
        self._bounds = bounds
        self._counts: dict[str, list[int]] = {}
        self._sums: dict[str, float] = {}
        if label_name is None:
            self.zero()

    def zero(self, label: str = "") -> None:
        """Make the series exist."""
        self._counts.setdefault(label, [0] * (len(self._bounds) + 1))
        self._sums.setdefault(label, 0.0)

    def observe(self, value: float, label: str = "") -> None:
        self.zero(label)
        self._counts[label][bisect_left(self._bounds, value)] += 1
        self._sums[label] += value

    def render(self) -> str:
        return header(self._name, "histogram", self._text) + "".join(map(self._series_of, self._counts))

    def _series_of(self, label: str) -> str:
        own: Labels = ((self._label_name, label),) if self._label_name is not None else ()
        bounds = [*(repr(bound) for bound in self._bounds), "+Inf"]
        totals = list(accumulate(self._counts[label]))
        lines = [
            f"{series(f'{self._name}_bucket', (*own, ('le', bound)))} {total}\n"
            for bound, total in zip(bounds, totals, strict=True)
        ]
        lines.append(f"{series(f'{self._name}_count', own)} {totals[-1]}\n")
        lines.append(f"{series(f'{self._name}_sum', own)} {number(self._sums[label])}\n")
        return "".join(lines)


def tally(pairs: Iterable[tuple[Labels, float]]) -> Mapping[Labels, float]:
    """Add up samples that folding gave the same labels: a series may be written once only."""
    sums: dict[Labels, float] = {}
    for labels, value in pairs:
        sums[labels] = sums.get(labels, 0) + value
    return sums
