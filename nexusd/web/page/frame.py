"""The document around what a page says: head, header, navigation."""

from __future__ import annotations

from nexusd.web.page.html import Html, element
from nexusd.web.page.reading import View
from nexusd.web.page.verdict import Verdict

NAVIGATION = (
    ("Overview", "./"),
    ("Alerts", "?show=alerts"),
    ("Instances", "?show=instances"),
    ("Placements", "?show=placements"),
)
WITHOUT_SCRIPTS_S = 10
"""How often the page renews itself where scripts are off."""


def document(view: View, verdict: Verdict, here: str, title: str, main: Html, files: dict[str, str]) -> bytes:
    """`here`: the entry of the navigation. `files`: where each static file is, by name."""
    named = f"{title} · nexusd" if title else "nexusd"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("title", f"{verdict.mark}{named}"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("link", rel="icon", type="image/svg+xml", href=files["nexusd.svg"]),
        element("link", rel="stylesheet", href=files["nexusd.css"]),
        element("script", src=files["nexusd.js"], type="module"),
        element("noscript", element("meta", http_equiv="refresh", content=str(WITHOUT_SCRIPTS_S))),
    )
    body = element(
        "body",
        element("a", "Skip to the content", href="#main", class_="skip"),
        _header(here),
        element("main", main, id="main", tabindex="-1"),
        _footer(view),
    )
    page = element(
        "html",
        head,
        body,
        lang="en",
        data_now=view.shaper.time(view.now),
        data_refresh_s=f"{view.refresh_s:g}",
    )
    return f"<!doctype html>{page}".encode()


def _header(here: str) -> Html:
    links = [
        element("a", name, href=href, aria_current="page" if name == here else None)
        for name, href in NAVIGATION
    ]
    return element(
        "header",
        element("a", element("span", "nexusd"), href="./", class_="brand"),
        element("nav", *links, aria_label="Pages"),
        element(
            "p",
            element("span", f"renewed every {WITHOUT_SCRIPTS_S} s", id="link", role="status", data_own=""),
            class_="link",
        ),
    )


def _footer(view: View) -> Html:
    links = [
        element("a", name, href=path)
        for name, path in (
            ("Metrics", "metrics"),
            ("Status", "api/v1/status"),
            ("Regions", "api/v1/regions"),
            ("Instances", "api/v1/instances"),
            ("Fleets", "api/v1/fleets"),
            ("Placements", "api/v1/placements"),
            ("Alerts", "api/v1/alerts"),
            ("Events", "api/v1/events"),
        )
    ]
    moment = view.shaper.time(view.now) or ""
    return element(
        "footer",
        element(
            "p", f"nexusd {view.version}, as of ", element("span", moment[:19].replace("T", " ") + " UTC")
        ),
        element("nav", *links, aria_label="API"),
    )


def section(id_: str, heading: str, *content: object, more: Html | None = None, level: str = "h2") -> Html:
    """A part of the page with its heading; `more` leads to the rest of it. `level` h1: it is what the page is
    about.
    """
    return element(
        "section",
        element("div", element(level, heading, id=f"{id_}-heading"), more, class_="title"),
        *content,
        id=id_,
        aria_labelledby=f"{id_}-heading",
        data_key=id_,
    )


def lead(*content: object) -> Html:
    return element("p", *content, class_="lead")


def unanswered(what: str) -> Html:
    """Said where the store did not answer."""
    return element("p", f"The store does not answer, so {what}.", class_="status bad")


def folded(summary: str, content: Html, key: str) -> Html:
    return element("details", element("summary", summary), content, data_key=key)


def pages(total: int, limit: int, offset: int, link: str) -> Html | None:
    """Where one is in a long list, and the ways on. `link`: the page's query, without its offset."""
    first, last = min(offset + 1, total), min(offset + limit, total)
    steps = []
    if offset > 0:
        steps.append(element("a", "Previous", href=f"{link}&offset={max(0, offset - limit)}", rel="prev"))
    if last < total:
        steps.append(element("a", "Next", href=f"{link}&offset={offset + limit}", rel="next"))
    where = f"{first:,} to {last:,} of {total:,}" if total else "none"
    return element("nav", element("span", where), *steps, class_="pages", aria_label="Pages of the list")
