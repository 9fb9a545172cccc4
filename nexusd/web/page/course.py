"""The recent course of each region, from the answers of `/regions` that the store keeps, and its drawing.

A course is a row of slots over the time shown, each with the highest latency and the worst state that was
answered in it: a spike of one poll is seen, and memory is bounded however often is polled.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from nexusd.core.recordings import RecordedAnswer
from nexusd.core.records import Region
from nexusd.web.page.html import Html, element
from nexusd.web.page.words import duration

SLOTS = 60
POLLS_A_SLOT = 2
"""So that half an hour is shown at the default interval of 15 s."""

WIDTH, HEIGHT = 120, 28
_MARGIN = 3.0
_LEAST_SPAN = 0.25
"""A drawing spans at least this share of its highest latency, so that a steady one looks steady."""


@dataclass(slots=True)
class Slot:
    """`latency_ms`: the highest answered, None when none was. `hindered`: nothing could be placed there."""

    latency_ms: float | None = None
    hindered: bool = False


@dataclass(slots=True)
class Courses:
    """`slot_s`: how long a slot lasts. `upto`: the instant to which answers were taken in, None before any.

    Taking an answer in again changes nothing.
    """

    slot_s: float
    upto: float | None = None
    _slots: dict[str, dict[int, Slot]] = field(default_factory=dict)

    @property
    def span_s(self) -> float:
        return SLOTS * self.slot_s

    def since(self, now: float) -> float:
        """From when on answers are wanted still."""
        oldest = now - self.span_s
        return oldest if self.upto is None else max(oldest, self.upto)

    def take(self, answers: Iterable[RecordedAnswer], now: float) -> int:
        """Take answers in, oldest first, and forget what is no longer shown; how many there were."""
        taken = 0
        first = self._number(now) - SLOTS + 1
        for taken, answer in enumerate(answers, 1):  # noqa: B007 - the count is what is wanted
            self._take(answer, first, self._number(now))
            self.upto = answer.until
        self._forget(first)
        return taken

    def of(self, slug: str, now: float) -> tuple[Slot | None, ...]:
        """Oldest first; None where nothing was answered."""
        slots, last = self._slots.get(slug, {}), self._number(now)
        return tuple(slots.get(number) for number in range(last - SLOTS + 1, last + 1))

    def _take(self, answer: RecordedAnswer, first: int, last: int) -> None:
        numbers = range(max(first, self._number(answer.at)), min(last, self._number(answer.until)) + 1)
        for region in answer.regions:
            slots = self._slots.setdefault(region.slug, {})
            for number in numbers:
                _add(slots.setdefault(number, Slot()), region)

    def _forget(self, first: int) -> None:
        for slug, slots in list(self._slots.items()):
            for number in [n for n in slots if n < first]:
                del slots[number]
            if not slots:
                del self._slots[slug]

    def _number(self, at: float) -> int:
        return int(at // self.slot_s)


def _add(slot: Slot, region: Region) -> None:
    if region.latency_ms is not None:
        slot.latency_ms = max(slot.latency_ms or 0.0, region.latency_ms)
    slot.hindered = slot.hindered or not (region.healthy and region.capacity)


def drawing(course: tuple[Slot | None, ...], slot_s: float) -> Html | None:
    """An inline picture with its meaning in words; None when there is nothing to draw."""
    known = [slot.latency_ms for slot in course if slot is not None and slot.latency_ms is not None]
    if not known:
        return None
    low, high = min(known), max(known)
    floor = min(low, high - max(high * _LEAST_SPAN, 1.0))
    points = [_point(n, slot, floor, high) for n, slot in enumerate(course)]
    lines = [element("polyline", points=" ".join(run)) for run in _runs(points)]
    last = next(point for point in reversed(points) if point is not None)
    x, y = last.split(",")
    return element(
        "svg",
        element("path", d=f"M0 {HEIGHT - 0.5}H{WIDTH}"),
        *_hindered(course),
        *lines,
        element("circle", cx=x, cy=y, r="2.2"),
        class_="course",
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        width=str(WIDTH),
        height=str(HEIGHT),
        role="img",
        aria_label=_in_words(course, low, high, slot_s),
    )


def _point(number: int, slot: Slot | None, floor: float, high: float) -> str | None:
    if slot is None or slot.latency_ms is None:
        return None
    x = _MARGIN + number * (WIDTH - 2 * _MARGIN) / (SLOTS - 1)
    y = HEIGHT - _MARGIN - (slot.latency_ms - floor) / (high - floor) * (HEIGHT - 2 * _MARGIN)
    return f"{x:.1f},{y:.1f}"


def _runs(points: Iterable[str | None]) -> Iterator[list[str]]:
    """A line where there are answers, a gap where there are none."""
    run: list[str] = []
    for point in (*points, None):
        if point is not None:
            run.append(point)
            continue
        if len(run) > 1:
            yield run
        run = []


def _hindered(course: tuple[Slot | None, ...]) -> Iterator[Html]:
    """A band where nothing could be placed there."""
    step = (WIDTH - 2 * _MARGIN) / (SLOTS - 1)
    began: int | None = None
    for number, slot in enumerate((*course, None)):
        hindered = slot is not None and slot.hindered
        if hindered and began is None:
            began = number
        if not hindered and began is not None:
            x, width = max(0.0, _MARGIN + (began - 0.5) * step), (number - began) * step
            yield element("rect", x=f"{x:.1f}", y="0", width=f"{width:.1f}", height=str(HEIGHT))
            began = None


def _in_words(course: tuple[Slot | None, ...], low: float, high: float, slot_s: float) -> str:
    hindered = sum(slot is not None and slot.hindered for slot in course)
    text = f"{low:g} to {high:g} ms in the last {duration(SLOTS * slot_s)}"
    if hindered:
        text += f", nothing could be placed there during {duration(hindered * slot_s)} of it"
    return text
