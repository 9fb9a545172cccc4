"""Delivery: outbox rows to receivers, at least once, the same id on every try (product.md, section 4).

`outbox` turns the messages of `core.notifications` into rows, `worker` leases and sends them, and each kind
of receiver has a file of its own.
"""
