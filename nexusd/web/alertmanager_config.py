"""nexusd's routing in Alertmanager's words, for `/api/v2/status` (`amtool config show|routes`, Grafana)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from nexusd.core.matchers import matcher
from nexusd.core.muting import INHIBITIONS
from nexusd.core.notifications import Route, Routing, routes_of

Block = dict[str, Any]


def written(routing: Routing) -> str:
    """A configuration that Alertmanager takes. Its receivers have names only: where they are is a secret.

    Alertmanager sends all that no route takes to its root; here that is a receiver that tells nobody.
    """
    names = list(routing.receivers)
    nobody = "nobody"
    while nobody in names:
        nobody += "_"
    routes = [block for route in routes_of(routing) for block in _routes(route)]
    config = {
        "route": {"receiver": nobody, "routes": routes},
        "receivers": [{"name": name} for name in (nobody, *names)],
        "inhibit_rules": [
            {
                "source_matchers": [str(matcher("alertname", "=", inhibition.source))],
                "target_matchers": [str(m) for m in inhibition.target],
                "equal": list(inhibition.equal),
            }
            for inhibition in INHIBITIONS
        ],
    }
    return yaml.safe_dump(config, sort_keys=False, allow_unicode=True)


def _routes(route: Route) -> Iterator[Block]:
    """One for each receiver: a route of Alertmanager's has only one."""
    for receiver in route.receivers:
        last = receiver == route.receivers[-1]
        yield {
            "receiver": receiver,
            "matchers": [str(m) for m in route.matchers],
            "group_by": list(route.group_by),
            "group_wait": _duration(route.group_wait_s),
            "group_interval": _duration(route.group_interval_s),
            "repeat_interval": _duration(route.repeat_interval_s),
            "continue": route.continues or not last,
        }


def _duration(seconds: float) -> str:
    return f"{round(seconds)}s" if seconds == round(seconds) else f"{round(seconds * 1000)}ms"
