"""Versions of files, to notice that a file has changed.

Used by `cloud` and `delivery`.
"""

from __future__ import annotations

from pathlib import Path

FileVersion = tuple[int, int, int]
"""Inode, size, and modification time in nanoseconds."""


def file_version(path: Path) -> FileVersion | None:
    """Return the version of a file, None if it cannot be read."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
