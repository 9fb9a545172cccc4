"""Regions: health, capacity, latency and its course, and where the next placement would go."""

from __future__ import annotations

from urllib.parse import urlencode

from nexusd.core.placement import Considered
from nexusd.core.polls import REGIONS
from nexusd.core.records import Region
from nexusd.web.page.course import drawing
from nexusd.web.page.frame import folded, lead, section
from nexusd.web.page.html import Cell, Html, Row, element, table, together
from nexusd.web.page.reading import View
from nexusd.web.page.words import Kind, ago, duration, milliseconds, status, where_next

SHOWN = 12
FOLDED = 100


def overview(view: View) -> Html:
    listed = {region.slug: region for region in view.world.regions.listed}
    ranked = [(listed[c.region], c) for c in view.eligibility if c.region in listed]
    if not ranked:
        return section("regions", "Regions", lead("No regions are known yet."))
    rest = ranked[SHOWN : SHOWN + FOLDED]
    more = f"{len(ranked) - SHOWN:,} more" + (
        f", the first {FOLDED} shown" if len(ranked) > SHOWN + FOLDED else ""
    )
    return section(
        "regions",
        "Regions",
        lead(*_next_placement(view)),
        _table("Regions, best first", ranked[:SHOWN], view),
        folded(more, _table("More regions", rest, view), "more-regions") if rest else None,
        _left(view),
    )


def _next_placement(view: View) -> tuple[object, ...]:
    poll = view.world.polls[REGIONS]
    if poll.stale(view.now):
        return "The next placement would wait: what is known of the regions is old.", ""
    best = next((c for c in view.eligibility if c.eligible), None)
    if best is None:
        return "The next placement would wait: no region is eligible.", ""
    latency = f" at {milliseconds(best.latency_ms)}" if best.latency_ms is not None else ""
    return "The next placement without constraints goes to ", element("b", best.region), f"{latency}."


def _table(caption: str, regions: list[tuple[Region, Considered]], view: View) -> Html:
    span = duration(view.courses.span_s)
    headings = ("Region", "Health", "Capacity", "Latency", f"Last {span}", "Instances", "Next placement")
    return table(caption, headings, (_row(region, judged, view) for region, judged in regions))


def _row(region: Region, judged: Considered, view: View) -> Row:
    course = view.courses.of(region.slug, view.now) if view.courses.slot_s else ()
    instances = element(
        "a",
        f"{judged.instances:,}",
        href="?" + urlencode({"show": "instances", "region": region.slug}, errors="replace"),
    )
    cells = (
        Cell(together(element("b", region.slug), element("span", region.name, class_="remark")), "two"),
        Cell(status(Kind.GOOD if region.healthy else Kind.BAD, region.status), "short"),
        Cell(status(Kind.GOOD, "yes") if region.capacity else status(Kind.POOR, "none"), "short"),
        Cell(_latency(region, judged), "number"),
        Cell(drawing(course, view.courses.slot_s) or "not known", "drawn"),
        Cell(instances, "number"),
        Cell(where_next(judged), None if judged.eligible else "long"),
    )
    return Row(region.slug, cells)


def _latency(region: Region, judged: Considered) -> object:
    if judged.smoothed_ms is None:
        return milliseconds(region.latency_ms)
    smoothed = element("span", f"smoothed {judged.smoothed_ms:.1f} ms", class_="remark")
    return together(milliseconds(region.latency_ms), smoothed)


def _left(view: View) -> Html | None:
    """Those that are no longer listed and still remembered."""
    gone = [
        (slug, known.left_at) for slug, known in sorted(view.world.regions.known.items()) if known.left_at
    ]
    if not gone:
        return None
    items = [
        element("li", status(Kind.BAD, slug), " left ", ago(at, view.shaper)) for slug, at in gone[:SHOWN]
    ]
    more = f", {SHOWN} of them shown" if len(gone) > SHOWN else ""
    return together(lead(f"No longer listed by CloudNexus ({len(gone):,}{more}):"), element("ul", *items))
