"""Every option of the daemon, read from a file, the environment and the command line (product.md, section 7).

`load` is what `app.py` and the commands call; the parts of the daemon get plain values out of the result.
"""

from nexusd.settings.loading import Loaded, find_file, load, load_sections, load_with_origins
from nexusd.settings.model import Settings
from nexusd.settings.support import warnings

__all__ = [
    "Loaded",
    "Settings",
    "find_file",
    "load",
    "load_sections",
    "load_with_origins",
    "warnings",
]
