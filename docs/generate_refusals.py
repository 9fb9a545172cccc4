"""Writes the tables of refusals.md from the code: `python docs/generate_refusals.py`.

A test fails while the page and the code differ.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from nexusd.cloud.refusals import (
    ANY_STATUS,
    CLIENT_ERROR,
    DEFAULT_RULES,
    IN_DOUBT,
    NO_CODE,
    PROOF_WITHOUT_CODE,
    SOME_CODE,
    RefusalRule,
)

PAGE = Path(__file__).with_name("refusals.md")
CODES = {"*": "any", SOME_CODE: "any, but there is one", NO_CODE: "none: not a CloudNexus error"}


def generated(page: str) -> str:
    """The page with its tables made anew."""
    for name, lines in (("proof", proof()), ("meaning", meaning())):
        begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->\n"
        before, _, rest = page.partition(begin)
        _, _, after = rest.partition(end)
        page = "".join([before, begin, *(f"{line}\n" for line in lines), end, after])
    return page


def proof() -> Iterator[str]:
    yield "| status | with a CloudNexus error | with any other body, or none |"
    yield "| --- | --- | --- |"
    yield "| 3xx | in doubt | in doubt |"
    yield f"| {_listed(IN_DOUBT)} | in doubt | in doubt |"
    yield f"| {_listed(PROOF_WITHOUT_CODE)} | nothing made | nothing made |"
    yield "| any other 4xx | nothing made | in doubt |"
    yield "| 5xx, and whatever else | in doubt | in doubt |"


def meaning() -> Iterator[str]:
    yield "| status | `error.code` | kind | scope |"
    yield "| --- | --- | --- | --- |"
    for rule in DEFAULT_RULES:
        yield f"| {_status(rule.statuses)} | {_code(rule.code)} | {rule.kind} | {_scope(rule)} |"


def _status(statuses: range) -> str:
    return {ANY_STATUS: "any", CLIENT_ERROR: "4xx"}.get(statuses, str(statuses.start))


def _code(pattern: str) -> str:
    return CODES.get(pattern, f"`{pattern}`")


def _scope(rule: RefusalRule) -> str:
    if rule.scope_unnamed is None:
        return rule.scope
    return f"{rule.scope} when the message or the details name it, else {rule.scope_unnamed}"


def _listed(statuses: frozenset[int]) -> str:
    return ", ".join(map(str, sorted(statuses)))


if __name__ == "__main__":
    PAGE.write_text(generated(PAGE.read_text()))
