"""What an error of `POST /instances` means, and whether it proves that nothing was made. All of it is data.

The reference documents the shape of errors but no list of codes, so rows match a pattern of the code, some
statuses, or both (product.md, sections 3 and 11). docs/refusals.md shows the table and says why.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from re import IGNORECASE, escape, search

from nexusd.core.answers import UNKNOWN, Kind, Refused, Scope, Unknown, error_text

ANY_STATUS = range(1000)
CLIENT_ERROR = range(400, 500)

ANY_CODE = "*"
SOME_CODE = "?*"
"""Any code, and so only an answer whose body is a CloudNexus error: an ErrorResponse with a `code`."""
NO_CODE = ""
"""Only an answer whose body is something else, such as a proxy's page."""


def only(status: int) -> range:
    return range(status, status + 1)


@dataclass(frozen=True, slots=True)
class RefusalRule:
    """One row: an error with one of these `statuses` and a code like `code` (shell pattern) means this.

    `scope_unnamed`, when given, is the scope of one that does not name the region. The kind `unknown` says
    that nothing is proven, whatever the status.
    """

    kind: Kind
    scope: Scope
    statuses: range = ANY_STATUS
    code: str = ANY_CODE
    scope_unnamed: Scope | None = None

    def matches(self, status: int, code: str) -> bool:
        return status in self.statuses and fnmatchcase(code.upper(), self.code.upper())


DEFAULT_RULES = (
    RefusalRule("capacity", "region", code="*CAPACITY*"),
    RefusalRule("unavailable", "region", code="REGION_UNAVAILABLE"),
    RefusalRule("unavailable", "region", code="REGION_NOT_FOUND"),  # it left the list since the last poll
    RefusalRule("quota", "region", code="*QUOTA*", scope_unnamed="account"),
    RefusalRule("auth", "account", only(401)),
    RefusalRule("quota", "account", only(402)),
    RefusalRule("auth", "account", only(403)),
    RefusalRule("throttled", "account", only(429)),
    RefusalRule(UNKNOWN, "region", only(408)),
    RefusalRule(UNKNOWN, "region", only(425)),
    RefusalRule(UNKNOWN, "region", only(499)),
    RefusalRule("unavailable", "account", only(404), NO_CODE),
    RefusalRule("unavailable", "account", only(405), NO_CODE),
    RefusalRule("rejected", "request", only(413), NO_CODE),
    RefusalRule("unavailable", "account", only(414), NO_CODE),
    RefusalRule("rejected", "request", CLIENT_ERROR, SOME_CODE),
    RefusalRule(UNKNOWN, "region"),
)
"""The first row that matches counts; the last matches everything."""

IN_DOUBT = frozenset({408, 425, 499})
"""A 4xx by which somebody on the way may have lost patience after the request went on: proves nothing."""

PROOF_WITHOUT_CODE = frozenset({401, 402, 403, 404, 405, 413, 414, 429})
"""A 4xx that proves it by its status, though its body is no CloudNexus error: a server or gateway says so
before anything could be made. Any other such 4xx is not the documented refusal (I1), so it proves nothing.
"""


@dataclass(frozen=True, slots=True)
class ErrorAnswer:
    """An ErrorResponse (reference: Schemas) with its status; all "" for any other body."""

    status: int
    code: str = ""
    message: str = ""
    details: str = ""
    retry_after_s: float | None = None

    def __str__(self) -> str:
        return error_text(self.status, self.code, self.message, self.details)


def classify(answer: ErrorAnswer, region: str, extra: tuple[RefusalRule, ...] = ()) -> Refused | Unknown:
    """What an answer that is no 2xx, to a create in `region`, proves and means; `extra` rows come first.

    A row says what it means. Only status and body, never a row, can prove that nothing was made.
    """
    rule = next(r for r in (*extra, *DEFAULT_RULES) if r.matches(answer.status, answer.code))
    scope = rule.scope
    if rule.scope_unnamed is not None and not _names(region, answer):
        scope = rule.scope_unnamed
    if rule.kind == UNKNOWN or not proves_nothing_made(answer):
        return Unknown(f"POST /instances: {answer}", rule.kind, scope, answer.code)
    return Refused(
        answer.status, answer.code, answer.message, rule.kind, scope, answer.details, answer.retry_after_s
    )


def proves_nothing_made(answer: ErrorAnswer) -> bool:
    """Whether it is a documented refusal (I1): everything else leaves the create in doubt."""
    if answer.status not in CLIENT_ERROR or answer.status in IN_DOUBT:
        return False
    return bool(answer.code) or answer.status in PROOF_WITHOUT_CODE


def _names(region: str, answer: ErrorAnswer) -> bool:
    """Whether it names the region as a whole word: `eu-1` is not named by `eu-12`."""
    said = f"{answer.message} {answer.details}"
    return search(rf"(?<![\w-]){escape(region)}(?![\w-])", said, IGNORECASE) is not None
