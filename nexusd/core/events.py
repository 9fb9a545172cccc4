"""Events: what happened, for the history and the live stream (product.md, section 5, Shapes)."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class Subject(msgspec.Struct, frozen=True, gc=False):
    """What an event is about. `kind`: instance, region, placement, alert, silence."""

    kind: str
    id: str
    name: str | None = None
    region: str | None = None


class Event(msgspec.Struct, frozen=True, gc=False):
    """`type` is a past-tense CamelCase name (`InstanceVanished`); `detail` is JSON-able and small.

    `id` is given by the store when it is appended: a number that only grows.
    """

    at: float
    type: str
    subject: Subject
    detail: Mapping[str, object] = {}
    id: int | None = None
