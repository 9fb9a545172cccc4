"""Notifications: from alerts to messages, by Alertmanager's rules (product.md, section 4)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LoggedNotification:
    """What a receiver was last told about a group (Alertmanager's nflog): what was said, not what is true.

    `firing`, `resolved`: the fingerprints in that message.
    """

    receiver: str
    group_key: str
    at: float
    firing: frozenset[str]
    resolved: frozenset[str]
