"""nexusd: a region-aware scheduler and monitoring daemon for the CloudNexus cloud."""

__version__ = "0.1.0"
