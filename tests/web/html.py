"""Reads a page as a browser would, far enough to test it."""

from __future__ import annotations

from html.parser import HTMLParser

from tests.web.site import Site

_VOID = {"meta", "link", "input"}


class Page(HTMLParser):
    """The text of a page, its elements, and whether every element is closed in order."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(markup)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " | ".join(self.words)

    def values(self, *names: str) -> list[str]:
        return [value or "" for name, value in self.attributes if name in names]


async def read(site: Site, path: str = "/", status: int = 200) -> Page:
    answer = await site.get(path)
    assert answer.status == status
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    page = Page(answer.text)
    assert page.open == []
    return page
