"""Sources of the API key.

A key file is checked on each request, so rotation needs no restart.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Protocol

import structlog

from nexusd.core.errors import UnauthorizedError
from nexusd.core.text import strip_secret

log = structlog.get_logger(__name__)

MAX_KEY_BYTES = 4096
_REDACTED = "[key]"


class KeySource(Protocol):
    """Gives the key to use now. Raises `UnauthorizedError`, which never contains the key."""

    def current(self) -> str: ...


class LiteralKey:
    """A key given as a value."""

    __slots__ = ("_key", "_usable")

    def __init__(self, key: str) -> None:
        self._key = strip_secret(key)
        self._usable = ""

    def current(self) -> str:
        self._usable = self._usable or _checked(self._key, "the API key")
        return self._usable

    def __repr__(self) -> str:
        return "LiteralKey(***)"


class KeyFile:
    """A key in a file, read again when inode, size or modification time change.

    A file that is removed, emptied or does not hold a key leaves the last good key in use, with a warning in
    the log. `initial`: the key that was read from the file before, if any. `current` raises
    `UnauthorizedError` while there was no good key yet.
    """

    __slots__ = ("_path", "_problem", "_stamp", "_usable")

    def __init__(self, path: Path, initial: str = "") -> None:
        self._path = path
        self._stamp: tuple[int, int, int, int] | None = None
        self._usable = initial
        self._problem = ""

    def current(self) -> str:
        try:
            self._refresh()
        except UnauthorizedError as error:
            if not self._usable:
                self._stamp = None
                raise
            self._warn(str(error))
        return self._usable

    def _refresh(self) -> None:
        try:
            status = self._path.stat()
            stamp = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
            if stamp == self._stamp:
                return
            text = self._read()
        except OSError as error:
            self._stamp = None
            reason = (error.strerror or type(error).__name__).lower()
            raise UnauthorizedError(f"cannot read the API key file {self._path}: {reason}") from error
        self._stamp = stamp
        self._usable = _checked(text, f"the API key file {self._path}")
        if self._problem:
            self._problem = ""
            log.info("api_key_reloaded", file=str(self._path))

    def _warn(self, problem: str) -> None:
        if problem != self._problem:
            self._problem = problem
            log.warning("api_key_reload_failed", error=f"{problem}; the last good key stays in use")

    def _read(self) -> str:
        with self._path.open("rb") as file:
            return strip_secret(file.read(MAX_KEY_BYTES + 1).decode("utf-8", "replace"))

    def __repr__(self) -> str:
        return f"KeyFile({os.fspath(self._path)!r})"


def redact(text: str, key: str) -> str:
    """The text with every occurrence of the key replaced, as it is or as a JSON string has it.

    An API may quote the key it refuses; what it says is logged and shown.
    """
    if not key:
        return text
    return text.replace(key, _REDACTED).replace(json.dumps(key)[1:-1], _REDACTED)


def _checked(key: str, where: str) -> str:
    if not key:
        raise UnauthorizedError(f"{where} is empty")
    if len(key) > MAX_KEY_BYTES or not all("!" <= character <= "~" for character in key):
        raise UnauthorizedError(f"{where} does not hold a key: one word of visible ASCII is expected")
    return key
