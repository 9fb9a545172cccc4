"""A notification as people read it: a title and a few lines, from a webhook's body. Used by `delivery`."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import msgspec

MOST_ALERTS = 20
"""Alerts that are told one by one."""
_LONGEST_LINE = 500
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


@dataclass(frozen=True, slots=True)
class MessageText:
    """`severity`: the gravest of what fires; "" when all of it has ended."""

    title: str
    body: str
    severity: str


class _Alert(msgspec.Struct):
    status: str
    labels: dict[str, str]
    annotations: dict[str, str]


class _Body(msgspec.Struct, rename="camel"):
    alerts: list[_Alert]
    group_labels: dict[str, str]
    common_labels: dict[str, str]
    external_url: str = msgspec.field(name="externalURL", default="")
    truncated_alerts: int = 0


_DECODER = msgspec.json.Decoder(_Body)
_GRAVEST_FIRST = ("critical", "warning")


def message_text(body: bytes) -> MessageText:
    """Raises `ValueError` for a body that is not one of `webhook_body`.

    The title is that of Alertmanager's own templates: `[FIRING:2] InstanceStopped (eu-west-2 warning)`.
    """
    try:
        said = _DECODER.decode(body)
    except msgspec.DecodeError as error:
        raise ValueError("the message is not one of alerts") from error
    firing = [a for a in said.alerts if a.status == "firing"]
    ended = [a for a in said.alerts if a.status != "firing"]
    lines = [*_section("Firing", firing), *_section("Resolved", ended)]
    if said.truncated_alerts:
        lines.append(f"… and {said.truncated_alerts} more")
    if said.external_url:
        lines += ["", said.external_url]
    return MessageText(_title(said, len(firing)), "\n".join(lines).strip(), _severity(firing))


def _title(said: _Body, firing: int) -> str:
    status = f"FIRING:{firing}" if firing else "RESOLVED"
    group = " ".join(_in_order(said.group_labels))
    common = " ".join(_in_order({k: v for k, v in said.common_labels.items() if k not in said.group_labels}))
    return " ".join(part for part in (f"[{status}]", group, f"({common})" if common else "") if part)


def _in_order(labels: Mapping[str, str]) -> Iterator[str]:
    """The values, the alert's name first."""
    for name in sorted(labels, key=lambda name: (name != "alertname", name)):
        yield _shown(labels[name])


def _section(heading: str, alerts: list[_Alert]) -> Iterator[str]:
    if not alerts:
        return
    yield f"{heading}:"
    for alert in alerts[:MOST_ALERTS]:
        labels = alert.labels
        yield f"- {_shown(alert.annotations.get('summary') or ' '.join(_in_order(labels)))}"
        for name in ("description", "runbook_url"):
            if alert.annotations.get(name):
                yield f"  {_shown(alert.annotations[name])}"
    if len(alerts) > MOST_ALERTS:
        yield f"… and {len(alerts) - MOST_ALERTS} more"


def _severity(firing: list[_Alert]) -> str:
    found = {alert.labels.get("severity", "") for alert in firing}
    gravest = next((severity for severity in _GRAVEST_FIRST if severity in found), None)
    return gravest or ("info" if firing else "")


def _shown(text: str) -> str:
    """On one line, with nothing in it that is not seen: names come from the cloud."""
    seen = "".join(c if unicodedata.category(c) not in _HIDDEN else "\N{REPLACEMENT CHARACTER}" for c in text)
    return seen if len(seen) <= _LONGEST_LINE else seen[: _LONGEST_LINE - 1] + "…"
