"""The durable memory: one set of queries over SQLite and PostgreSQL (docs/store.md).

`opening.open_store` is the way in; `store.SqlStore` is what the other rooms see as `ports.Store`.
"""
