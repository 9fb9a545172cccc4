"""What schemathesis cannot make up from the OpenAPI description: texts of nexusd's formats. Loaded by it."""

from __future__ import annotations

import schemathesis
from hypothesis import strategies

_SEEN = strategies.text(
    strategies.characters(exclude_categories=["Cc", "Cf", "Cs", "Cn", "Co", "Zl", "Zp", "Zs"]),
    min_size=1,
    max_size=255,
)
_MATCHERS = ['severity="critical"', "region=~eu-.+", "alertname!=Watchdog", 'name!~"a|b"']
_EXPRESSIONS = ["region.latency_ms < 80.0", 'region.slug.startsWith("eu-")', "true", "region.capacity"]

schemathesis.openapi.format("visible-text", _SEEN)
schemathesis.openapi.format("cel", strategies.sampled_from(_EXPRESSIONS))
schemathesis.openapi.format("matcher", strategies.sampled_from(_MATCHERS))
schemathesis.openapi.format("regex", strategies.sampled_from(["ops", "web.*", "(a|b)?", ""]))
schemathesis.openapi.format(
    "duration-or-date-time", strategies.sampled_from(["30m", "1h30m", "2030-01-31T12:00:00Z", "500ms"])
)
