"""Placements, from the request to the running instance: taken in (`intake`), then worked on (`worker`).

What must happen outside, the POST, is first a durable row; `core.lifecycle` says which transition follows.
"""
