"""Places an instance and follows it with the client that openapi-generator makes.

Run by a test.
"""
# The test reads what is printed, and makes the package that is imported.
# ruff: noqa: T201
# mypy: ignore-errors

from __future__ import annotations

import sys
import time

import openapi_client

configuration = openapi_client.Configuration(host=sys.argv[1])
with openapi_client.ApiClient(configuration) as client:
    placements = openapi_client.PlacementsApi(client)
    body = openapi_client.PlacementBody(name="generated-2", plan="pro")
    placed = placements.create_placement(body)
    for _ in range(300):
        placed = placements.get_placement(placed.id)
        if placed.state == "running":
            break
        time.sleep(0.1)
    page = openapi_client.InventoryApi(client).list_instances(name="generated-2")
    same = placed.instance_id == page.data[0].id
    print(placed.state.value, same, placed.decisions[0].region == placed.region)
