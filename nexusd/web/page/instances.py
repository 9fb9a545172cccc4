"""Instances: counted by state and region first, one by one on a page of their own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlencode

from nexusd.core.inventory import Inventory
from nexusd.core.records import RUNNING, STARTING, STOPPED, TERMINATED, Instance
from nexusd.web.beside import about_instances
from nexusd.web.inventory import Filter as WholeFilter
from nexusd.web.metrics import INSTANCE_STATUSES
from nexusd.web.page.frame import folded, lead, pages, section
from nexusd.web.page.html import Cell, Html, Row, element, scrolled, table
from nexusd.web.page.reading import View
from nexusd.web.page.words import Kind, plural, status

SHOWN_REGIONS = 12
FOLDED_REGIONS = 100
MANY_STATUSES = 10
LIST_LIMIT = 50
_BAR_WIDTH = 1000


@dataclass(frozen=True, slots=True)
class Filter:
    """`region` and `status` are compared whole, `name` is looked for anywhere and in any case. None: all."""

    region: str | None = None
    status: str | None = None
    name: str | None = None

    def query(self) -> str:
        wanted = {"region": self.region, "status": self.status, "name": self.name}
        given = {key: value for key, value in wanted.items() if value is not None}
        return "?" + urlencode({"show": "instances", **given}, errors="replace")


@dataclass(frozen=True, slots=True)
class Found:
    """One page of what was looked for, and how many there are."""

    rows: list[Instance]
    total: int


async def find(inventory: Inventory, wanted: Filter, offset: int) -> Found:
    """In the order in which they were first seen. Looks at no more than it has to."""
    whole = WholeFilter(wanted.region, wanted.status)
    if not wanted.name:
        return Found(*await whole.page(inventory, LIST_LIMIT, offset))
    part = wanted.name.casefold()

    def looked_for(instances: Iterable[Instance]) -> Found:
        rows, total = [], 0
        admitted = (i for i in instances if whole.matches(i) and part in i.name.casefold())
        for total, instance in enumerate(admitted, 1):
            if offset < total <= offset + LIST_LIMIT:
                rows.append(instance)
        return Found(rows, total)

    return await about_instances(len(inventory), looked_for, inventory)


def overview(view: View) -> Html:
    inventory = view.world.inventory
    more = element("a", "All instances", href="?show=instances")
    return section(
        "instances",
        "Instances",
        lead(plural(len(inventory), "instance", "instances"), _missed(inventory)),
        _hold(inventory),
        _bar(inventory),
        _matrix(inventory),
        more=more if len(inventory) else None,
    )


def _missed(inventory: Inventory) -> str:
    """An instance that one listing lacked stays until the next confirms it."""
    missed = len(inventory.missed)
    return f", {missed:,} of them not in the last listing." if missed else "."


def _hold(inventory: Inventory) -> Html | None:
    held = inventory.hold
    if held is None:
        return None
    text = f"{len(held.gone):,} of {held.of:,} instances are missing at once; this is being confirmed."
    return element("p", status(Kind.BAD, text))


def _bar(inventory: Inventory) -> Html | None:
    """The shares of the statuses, as a picture; the table has the numbers."""
    counts = Counter[Kind]()
    for (_, each), count in inventory.counts.items():
        counts[kind_of(each)] += count
    total = sum(counts.values())
    if not total:
        return None
    pieces, x = [], 0.0
    for kind in Kind:
        width = counts[kind] * _BAR_WIDTH / total
        if width:
            pieces.append(
                element("rect", x=f"{x:.1f}", y="0", width=f"{width:.1f}", height="8", class_=str(kind))
            )
        x += width
    return element(
        "svg",
        *pieces,
        class_="bar",
        viewBox=f"0 0 {_BAR_WIDTH} 8",
        preserveAspectRatio="none",
        aria_hidden="true",
    )


def _matrix(inventory: Inventory) -> Html | None:
    counts = inventory.counts
    unknown = sorted({each for _, each in counts} - set(INSTANCE_STATUSES))[:MANY_STATUSES]
    statuses = [*INSTANCE_STATUSES, *unknown]
    regions = sorted({region for region, _ in counts})
    if not regions:
        return None
    shown, rest = regions[:SHOWN_REGIONS], regions[SHOWN_REGIONS : SHOWN_REGIONS + FOLDED_REGIONS]
    first = _counts("Instances by region and status", shown, statuses, inventory)
    if not rest:
        return first
    left = len(regions) - len(shown)
    more = f"{left:,} more" + (f", the first {FOLDED_REGIONS} shown" if left > len(rest) else "")
    others = _counts("More instances by region and status", rest, statuses, inventory)
    return Html(first + folded(more, others, "more-counts"))


def _counts(caption: str, regions: list[str], statuses: list[str], inventory: Inventory) -> Html:
    rows = [Row(region, _counted(region, statuses, inventory)) for region in regions]
    return scrolled(caption, table(caption, ("Region", *statuses), rows, class_="wide"))


def _counted(region: str, statuses: Iterable[str], inventory: Inventory) -> list[object]:
    cells: list[object] = [region]
    for each in statuses:
        count = inventory.counts.get((region, each), 0)
        shown = element("a", f"{count:,}", href=Filter(region, each).query()) if count else "0"
        cells.append(Cell(shown, "number" if count else "number none"))
    return cells


def listing(view: View, wanted: Filter, found: Found, offset: int) -> Html:
    inventory = view.world.inventory
    headings = ("Name", "Status", "Region", "Address", "Size", "Created", "Id")
    rows = [_row(instance, inventory) for instance in found.rows]
    return section(
        "instances",
        "Instances",
        _filters(wanted, inventory),
        table("Instances, in the order in which they were first seen", headings, rows) if rows else None,
        pages(found.total, LIST_LIMIT, offset, wanted.query()),
        level="h1",
    )


def _filters(wanted: Filter, inventory: Inventory) -> Html:
    """A form that works without scripts."""
    regions = sorted({region for region, _ in inventory.counts})
    statuses = sorted({each for _, each in inventory.counts} | set(INSTANCE_STATUSES))
    return element(
        "form",
        element("input", type="hidden", name="show", value="instances"),
        element(
            "label",
            element("span", "Name contains"),
            element("input", type="search", name="name", value=wanted.name or "", autocomplete="off"),
        ),
        element("label", element("span", "Region"), _choice("region", regions, wanted.region)),
        element("label", element("span", "Status"), _choice("status", statuses, wanted.status)),
        element("button", "Show", type="submit"),
        method="get",
        action="./",
        class_="filters",
    )


def _choice(name: str, values: list[str], chosen: str | None) -> Html:
    known = values if chosen is None or chosen in values else [chosen, *values]
    options = [
        element("option", value, value=value, selected="" if value == chosen else None) for value in known
    ]
    return element("select", element("option", "any", value=""), *options, name=name)


def _row(instance: Instance, inventory: Inventory) -> Row:
    listed = inventory.listed(instance.id)
    said = instance.status if listed else f"{instance.status}, not in the last listing"
    cells = (
        element("b", instance.display_name),
        status(kind_of(instance.status), said),
        instance.region,
        instance.public_ip or "none",
        _size(instance),
        (instance.created_at or "not told")[:19].replace("T", " "),
        element("code", instance.id),
    )
    return Row(instance.id, cells)


def _size(instance: Instance) -> str:
    specs = instance.specs
    if specs is None or specs.cpu is None or specs.ram_gb is None:
        return instance.plan or "not told"
    return f"{specs.cpu:g} CPU, {specs.ram_gb:g} GB"


def kind_of(instance_status: str) -> Kind:
    """An unknown status is never taken for running."""
    if instance_status == RUNNING:
        return Kind.GOOD
    if instance_status in STARTING or instance_status == TERMINATED:
        return Kind.IDLE
    return Kind.BAD if instance_status == STOPPED else Kind.POOR
