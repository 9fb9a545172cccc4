"""`nexusd config check --live`: one question to CloudNexus, through the daemon's own client."""
