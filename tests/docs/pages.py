"""README and the pages of docs/, taken apart: headings, links, code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")
_TABLE = re.compile(r"(?:^\|.*\n)+", re.MULTILINE)
_HEADING = re.compile(r"^#{1,6} +(.+?)\s*$", re.MULTILINE)


def blocks(name: str) -> Iterator[tuple[str, str]]:
    """(language, text) of each block of code."""
    yield from _FENCE.findall((ROOT / name).read_text())


def prose(name: str) -> str:
    """Without the blocks of code."""
    return _FENCE.sub("", (ROOT / name).read_text())


def inline_code(name: str) -> list[str]:
    return [code.replace("\\|", "|") for code in _CODE.findall(prose(name))]


def tables(name: str) -> list[list[str]]:
    """The lines of each table."""
    return [found.splitlines() for found in _TABLE.findall(prose(name))]


def links(name: str) -> list[str]:
    """Where links lead that stay in the repository."""
    found = _LINK.findall(_CODE.sub("", prose(name)))
    return [target for target in found if "://" not in target and not target.startswith("mailto:")]


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of the headings."""
    found: set[str] = set()
    for heading in _HEADING.findall(_FENCE.sub("", page.read_text())):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        anchor = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        number = sum(other.rpartition("-")[0] == anchor or other == anchor for other in found)
        found.add(anchor if not number else f"{anchor}-{number}")
    return found
