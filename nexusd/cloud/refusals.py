"""What an error of `POST /instances` means. The table is data; `placement.refusals` adds rows before it.

The reference documents the shape of errors but no list of codes, so rows match a pattern of the code, a
status, or both (product.md, sections 3 and 11).
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from nexusd.core.answers import Refused
from nexusd.core.errors import ConfigError

KINDS = frozenset({"rejected", "capacity", "quota", "auth", "throttled", "unavailable"})
SCOPES = frozenset({"request", "region", "account"})


@dataclass(frozen=True, slots=True)
class RefusalRule:
    """One row: a 4xx with this `status` (None: any) and a code like `code` (shell pattern) means this.

    `scope_unnamed`, when given, is the scope of a refusal whose message does not name the region.
    """

    kind: str
    scope: str
    status: int | None = None
    code: str = "*"
    scope_unnamed: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigError(f"placement.refusals: kind {self.kind!r} is none of {', '.join(sorted(KINDS))}")
        for scope in (self.scope, self.scope_unnamed or self.scope):
            if scope not in SCOPES:
                raise ConfigError(
                    f"placement.refusals: scope {scope!r} is none of {', '.join(sorted(SCOPES))}"
                )

    def matches(self, status: int, code: str) -> bool:
        return self.status in (None, status) and fnmatchcase(code.upper(), self.code.upper())


DEFAULT_RULES = (
    RefusalRule("capacity", "region", code="*CAPACITY*"),
    RefusalRule("unavailable", "region", code="REGION_UNAVAILABLE"),
    RefusalRule("unavailable", "region", code="REGION_NOT_FOUND"),  # it left the list since the last poll
    RefusalRule("throttled", "account", status=429),
    RefusalRule("quota", "region", code="*QUOTA*", scope_unnamed="account"),
    RefusalRule("quota", "account", status=402),
    RefusalRule("auth", "account", status=401),
    RefusalRule("auth", "account", status=403),
    RefusalRule("rejected", "request"),
)
"""The first row that matches counts; the last matches everything."""


@dataclass(frozen=True, slots=True)
class ErrorAnswer:
    """An ErrorResponse (reference: Schemas) with its status; `code` is "" for any other body."""

    status: int
    code: str
    message: str
    details: object = None
    retry_after_s: float | None = None

    def __str__(self) -> str:
        said = f"{self.code}: {self.message}" if self.code else self.message
        return f"{self.status} {said}".rstrip()


def classify(answer: ErrorAnswer, region: str, extra: tuple[RefusalRule, ...] = ()) -> Refused:
    """The refusal that a 4xx about a create in `region` is; `extra` rows come first."""
    rule = next(r for r in (*extra, *DEFAULT_RULES) if r.matches(answer.status, answer.code))
    scope = rule.scope
    if rule.scope_unnamed is not None and region not in f"{answer.message} {answer.details}":
        scope = rule.scope_unnamed
    return Refused(
        answer.status, answer.code, answer.message, rule.kind, scope, answer.details, answer.retry_after_s
    )
