"""Every link in README and docs/ leads somewhere, and every file that is named exists."""

from __future__ import annotations

import re

import pytest

from nexusd.core.rules_default import DEFAULT_RULES, RUNBOOK
from tests.docs.pages import NAMES, ROOT, anchors, inline_code, links, tables

FILE = re.compile(r"(?:benchmarks|config|docs|nexusd|systemd|tests)/[\w./-]*\w/?")
SEPARATOR = re.compile(r"(?<!\\)\|")
REPOSITORY = "https://github.com/nexusd/nexusd/blob/main/"


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_to_files_and_headings_that_exist(name: str) -> None:
    here = ROOT / name
    for link in links(name):
        path, _, anchor = link.partition("#")
        target = (here.parent / path).resolve() if path else here
        assert target.exists(), f"{name} links to {link}"
        assert target.is_relative_to(ROOT)
        assert not anchor or anchor in anchors(target), f"{name} links to {link}: no such heading"


@pytest.mark.parametrize("name", NAMES)
def test_files_that_are_named_exist(name: str) -> None:
    named = [code for code in inline_code(name) if FILE.fullmatch(code)]
    assert [path for path in named if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("name", NAMES)
def test_every_row_of_a_table_has_as_many_cells_as_its_head(name: str) -> None:
    """A `|` in code ends a cell unless a backslash is before it."""
    for head, *rows in tables(name):
        cells = len(SEPARATOR.findall(head))
        assert [row for row in rows if len(SEPARATOR.findall(row)) != cells] == []


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("docs/")])
def test_every_page_is_found_from_the_readme(name: str) -> None:
    found, waiting = set(), ["README.md"]
    while waiting:
        page = waiting.pop()
        if page in found or page not in NAMES:
            continue
        found.add(page)
        to = [((ROOT / page).parent / link.partition("#")[0]).resolve() for link in links(page)]
        waiting += [str(path.relative_to(ROOT)) for path in to if path.is_relative_to(ROOT)]
    assert name in found


@pytest.mark.parametrize("rule", DEFAULT_RULES)
def test_an_alerts_runbook_url_leads_to_a_heading(rule: str) -> None:
    url = DEFAULT_RULES[rule].runbook_url
    assert url.startswith(f"{RUNBOOK}#")
    path, _, anchor = url.removeprefix(REPOSITORY).partition("#")
    assert anchor in anchors(ROOT / path)


def test_the_runbook_urls_of_prometheus_rules_lead_to_headings() -> None:
    text = (ROOT / "config/prometheus/rules.yml").read_text()
    urls = re.findall(r"runbook_url: (\S+)", text)
    assert len(urls) == text.count("- alert: ")
    for url in urls:
        path, _, anchor = url.removeprefix(REPOSITORY).partition("#")
        assert anchor in anchors(ROOT / path)
