"""Alembic's scripts. Run by `nexusd.store.upgrade` at start, never by hand."""
