"""From the settings to the rules that alerts are judged by. Used by `parts`."""

from __future__ import annotations

from dataclasses import replace

from nexusd.core.expressions import compile_where
from nexusd.core.rules import Rule, Where
from nexusd.core.rules_custom import condition_over
from nexusd.core.rules_default import DEFAULT_RULES
from nexusd.settings.alerting import CustomRule, looked_at
from nexusd.settings.alerting import Rule as RuleSettings
from nexusd.settings.model import Settings

MILLISECONDS = 1000.0


def rules(settings: Settings) -> tuple[Rule, ...]:
    """The built-in ones as configured, then the user's own. Raises `ExpressionError`."""
    built_in = (_configured(rule, settings.alerts.rules.get(name)) for name, rule in DEFAULT_RULES.items())
    own = (_own(rule, f"alerts.custom[{number}]") for number, rule in enumerate(settings.alerts.custom))
    return (*built_in, *own)


def _configured(rule: Rule, configured: RuleSettings | None) -> Rule:
    """The default with what is configured in its place."""
    if configured is None:
        return rule
    scale = MILLISECONDS if rule.name == "RegionLatencyHigh" else 1.0
    changes: dict[str, object] = {
        "enabled": configured.enabled,
        "for_s": configured.for_s,
        "keep_firing_for_s": configured.keep_firing_for_s,
        "severity": configured.severity,
        "threshold": configured.threshold_s * scale if configured.threshold_s is not None else None,
        "where": _where(looked_at(rule.name), configured.where, f"alerts.rules.{rule.name}.where"),
        "labels": tuple(configured.labels.items()) or None,
        "annotations": tuple(configured.annotations.items()) or None,
        "resolve_after_s": configured.resolve_after_s,
    }
    given = {name: value for name, value in changes.items() if value is not None}
    return replace(rule, **given)  # type: ignore[arg-type]  # the names and types are the fields'


def _own(rule: CustomRule, key: str) -> Rule:
    when = compile_where(rule.when, (rule.each,), f"{key}.when")
    return Rule(
        rule.name,
        condition_over(rule.each, when, rule.when),
        rule.severity,
        enabled=rule.enabled,
        for_s=rule.for_s,
        keep_firing_for_s=rule.keep_firing_for_s,
        where=_where(rule.each, rule.where, f"{key}.where"),
        labels=tuple(rule.labels.items()),
        annotations=tuple(rule.annotations.items()),
    )


def _where(about: str | None, text: str | None, key: str) -> Where | None:
    if text is None or about is None:
        return None
    return compile_where(text, (about,), key)
