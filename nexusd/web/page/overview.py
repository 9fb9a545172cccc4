"""The page at a glance, in the order in which a person needs it who was just woken."""

from __future__ import annotations

import asyncio

from nexusd.web.page import alerts, daemon, fleets, happened, instances, placements, regions
from nexusd.web.page.html import Html, element, together
from nexusd.web.page.reading import View
from nexusd.web.page.verdict import Verdict, headline

_WHOLE = (alerts.overview, regions.overview)
_ROWS = (
    (instances.overview, fleets.overview),
    (placements.overview,),
    (happened.overview, daemon.overview),
)
_TURNS_BEFORE = (0, 2)
"""Of the rows: about a third of the work each."""


async def overview(view: View, verdict: Verdict) -> Html:
    """Others have their turn twice: while a poll is under way each turn of theirs takes milliseconds."""
    parts = [headline(view, verdict), *(make(view) for make in _WHOLE)]
    for number, makers in enumerate(_ROWS):
        if number in _TURNS_BEFORE:
            await asyncio.sleep(0)
        row = [make(view) for make in makers]
        parts.append(element("div", *row, class_="row") if len(row) > 1 else row[0])
    return together(*parts)
