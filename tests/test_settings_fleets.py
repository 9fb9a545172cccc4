"""`fleets`: what of it is warned of, and that all of it reaches the engine."""

from __future__ import annotations

from pathlib import Path

from nexusd.core.fleets import Fleets, FleetSpec
from nexusd.core.placement import Spread
from nexusd.settings import load, parts, warnings

KEY = {"CN_API_KEY": "key-1"}


def test_a_fleet_that_can_never_do_what_it_says_is_warned_of(tmp_path: Path) -> None:
    path = tmp_path / "nexusd.yaml"
    path.write_text(
        "fleets:\n"
        "  - {name: a, count: 1, plan: pro, replace_stopped: true, max_replacements: 0}\n"
        "  - {name: b, count: 1, plan: pro, regions: [eu-1], avoid_regions: [eu-1, us-1]}\n"
        "  - {name: a-b, count: 1, plan: pro, regions: [eu-1, eu-2], avoid_regions: [eu-1]}\n"
    )
    assert [warning for warning in warnings(load(path, {}, KEY)) if "fleets" in warning] == [
        "fleets[0].replace_stopped: has no effect while max_replacements is 0",
        "fleets[1].avoid_regions: leaves no region of fleets[1].regions",
    ]


def test_fleets_reach_the_engine_as_declared(tmp_path: Path) -> None:
    path = tmp_path / "nexusd.yaml"
    path.write_text(
        "polling: {instances: 20s}\nplacement: {settle: 2m}\n"
        "fleets:\n"
        "  - {name: web, count: 6, plan: pro}\n"
        "  - name: db\n    count: 2\n    plan: enterprise\n    image: debian-12\n    ssh_keys: [key_1]\n"
        "    regions: [eu-1]\n    avoid_regions: [us-1]\n    where: region.latency_ms < 80.0\n"
        "    spread: {group: db, max_skew: 2}\n    replace_stopped: true\n    max_replacements: 3\n"
    )
    assert parts.fleets(load(path, {}, KEY)) == Fleets(
        (
            FleetSpec("web", 6, "pro"),
            FleetSpec(
                "db",
                2,
                "enterprise",
                "debian-12",
                ("key_1",),
                ("eu-1",),
                ("us-1",),
                "region.latency_ms < 80.0",
                Spread("db", 2),
                replace_stopped=True,
                max_replacements=3,
            ),
        ),
        max_inventory_age_s=60.0,
        recovery_s=120.0,
    )
