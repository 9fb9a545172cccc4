"""The files of a SQLite database: identity, and locks against a second daemon."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from pathlib import Path

from nexusd.core.errors import StartError

_COMPANIONS = ("-wal", "-shm")

_FLOCK = struct.Struct("hhqqi0q")
"""`struct flock` (fcntl(2)): type, whence, start, length, pid."""
_LOCK_BYTE = 1 << 62
"""Beyond every database (at most 2^48 bytes), so that it is none of the bytes that SQLite locks."""

Identities = dict[str, tuple[int, int] | None]
"""Device and inode of each file, by its path; None for one that cannot be found."""


def identify(path: Path) -> Identities:
    """Return what the paths of the database, its log and its index lead to."""
    return {name: _identity(name) for name in (str(path), *(f"{path}{end}" for end in _COMPANIONS))}


def find_changed(expected: Identities) -> str | None:
    """Return the first path that leads elsewhere than expected."""
    return next((name for name, identity in expected.items() if _identity(name) != identity), None)


def _identity(name: str) -> tuple[int, int] | None:
    try:
        found = os.stat(name)  # noqa: PTH116 - at each transaction, and quicker than a Path's
    except OSError:
        return None
    return found.st_dev, found.st_ino


class DaemonLock:
    """Locks a database file against other daemons.

    The lock lasts until `release` or the end of the process, even by kill -9.

    Two locks: an flock on `FILE.lock`, which names the process that holds it, and an open file description
    lock (fcntl(2)) on one byte of the database itself, which holds for each of its names (hard links, bind
    mounts) and also when `FILE.lock` was deleted. SQLite's own locks are POSIX locks: closing any descriptor
    of the database drops those of the whole process, so `release` must follow the last connection.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock: int | None = None
        self._database: int | None = None

    def take(self) -> None:
        """Lock the name. Raises `StartError`, also for a folder that cannot be written to."""
        path = self._path.with_name(self._path.name + ".lock")
        try:
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise unusable(path, error) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(lock, 0)
            os.pwrite(lock, str(os.getpid()).encode(), 0)
        except OSError as error:
            other = os.pread(lock, 20, 0).decode(errors="replace").strip()
            os.close(lock)
            if not isinstance(error, BlockingIOError):
                raise unusable(path, error) from error
            pid = f" (pid {other})" if other.isdigit() else ""
            raise StartError(
                f"{self._path} is in use by another nexusd{pid}: stop that one, or set another store.url"
            ) from error
        self._lock = lock

    def take_database(self) -> None:
        """Lock the file itself, which exists. Raises `StartError`."""
        database = os.open(self._path, os.O_RDWR)
        try:
            request = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, _LOCK_BYTE, 1, 0)
            fcntl.fcntl(database, fcntl.F_OFD_SETLK, request)
        except (BlockingIOError, PermissionError) as error:
            os.close(database)
            raise StartError(
                f"{self._path} is in use by another nexusd, which opened it by another name or whose .lock "
                "file was deleted: stop that one, or set another store.url"
            ) from error
        except (OSError, AttributeError):
            os.close(database)  # such locks are not supported: `.lock` remains
            return
        self._database = database

    def release(self) -> None:
        for descriptor in (self._database, self._lock):
            if descriptor is not None:
                os.close(descriptor)
        self._database = self._lock = None


def unusable(path: Path, error: OSError) -> StartError:
    """Return the error for a file that cannot be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StartError(f"cannot write {path}: {error.strerror}: free some space, or set another store.url")
    return StartError(
        f"cannot write {path}: {error.strerror}: make it and its folder writable for "
        f"user {os.geteuid()}, or set another store.url"
    )
