"""One file a schema version, oldest first; the newest is named in `nexusd.store.upgrade.HEAD`."""
