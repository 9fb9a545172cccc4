"""The status page: server-rendered, no script, one stylesheet of its own, nothing from another host."""
