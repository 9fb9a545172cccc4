"""Places an instance with the client that openapi-python-client generates.

Run by a test.
"""
# The test reads what is printed, and makes the package that is imported.
# ruff: noqa: T201
# mypy: ignore-errors

from __future__ import annotations

import sys
import time

from nexusd_client import Client
from nexusd_client.api.inventory import list_instances
from nexusd_client.api.placements import create_placement, get_placement
from nexusd_client.models import PlacementBody, PlacementBodyPlan

client = Client(base_url=sys.argv[1], raise_on_unexpected_status=True)
body = PlacementBody(name="generated-1", plan=PlacementBodyPlan.PRO)
placed = create_placement.sync(client=client, body=body)
for _ in range(300):
    placed = get_placement.sync(placed.id, client=client)
    if placed.state == "running":
        break
    time.sleep(0.1)
page = list_instances.sync(client=client, name="generated-1")
print(placed.state, placed.instance_id == page.data[0].id, placed.decisions[0].region == placed.region)
