"""The daemon itself: how old what it knows is, who leads, what is still to be told."""

from __future__ import annotations

from collections.abc import Iterator

from nexusd.core.polls import PollState
from nexusd.web.page.frame import section
from nexusd.web.page.html import Cell, Html, Row, element, table, together
from nexusd.web.page.reading import View
from nexusd.web.page.words import Kind, age, ago, milliseconds, status
from nexusd.web.status import started_at

MAX_RECEIVERS = 50


def overview(view: View) -> Html:
    polls = sorted(view.world.polls.values(), key=lambda poll: poll.resource)
    return section(
        "daemon",
        "This daemon",
        table(
            "What is read from CloudNexus",
            ("Data", "State", "Age", "Last poll"),
            (_poll(poll, view) for poll in polls),
        ),
        _outbox(view),
        element("dl", *_facts(view), class_="facts"),
    )


def _poll(poll: PollState, view: View) -> Row:
    took = milliseconds(round(poll.duration_s * 1000)) if poll.duration_s is not None else "none yet"
    cells = (
        together(
            element("b", poll.resource),
            element("span", f"every {poll.interval_s:g} s", class_="remark"),
        ),
        _state(poll, view),
        Cell(age(poll.succeeded_at, view.shaper, "not read yet"), "number"),
        Cell(f"took {took}" if poll.duration_s is not None else took, "number"),
    )
    return Row(poll.resource, cells)


def _state(poll: PollState, view: View) -> Html:
    stale = poll.stale(view.now)
    if poll.failure is None:
        return status(Kind.BAD, "old") if stale else status(Kind.GOOD, "current")
    said = f"last poll failed: {poll.failure_message or poll.failure}"
    return status(Kind.BAD if stale else Kind.POOR, f"old, {said}" if stale else said)


def _outbox(view: View) -> Html | None:
    """Messages by receiver; nothing where none was ever sent."""
    outbox = view.tallies.outbox
    receivers = sorted({receiver for receiver, _ in outbox})[:MAX_RECEIVERS]
    if not receivers:
        return None
    headings = ("Receiver", "Pending", "Given up", "Delivered", "Oldest pending")
    return table("Notifications by receiver", headings, (_receiver(name, view) for name in receivers))


def _receiver(name: str, view: View) -> Row:
    outbox = view.tallies.outbox
    pending, dead = outbox.get((name, "pending"), 0), outbox.get((name, "dead"), 0)
    cells = (
        element("b", name),
        Cell(status(Kind.POOR, f"{pending:,}") if pending else "0", "number"),
        Cell(status(Kind.BAD, f"{dead:,}") if dead else "0", "number"),
        Cell(f"{outbox.get((name, 'sent'), 0):,}", "number"),
        Cell(ago(view.tallies.oldest_pending.get(name), view.shaper, "none"), "number"),
    )
    return Row(name, cells)


def _facts(view: View) -> Iterator[Html]:
    for name, value in _named_facts(view):
        yield element("div", element("dt", name), element("dd", value), data_key=name)


def _named_facts(view: View) -> Iterator[tuple[str, object]]:
    yield "Leader", f"yes, term {view.epoch}" if view.leading else "no: another replica places and notifies"
    yield "Readiness", view.not_ready or "ready"
    yield "Version", view.version
    yield "Running for", age(started_at(view.world), view.shaper)
