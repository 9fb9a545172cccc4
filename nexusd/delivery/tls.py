"""The TLS files of a receiver, read again when they change. Used by `http`."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

import structlog

from nexusd.core.errors import ConfigError
from nexusd.file_version import FileVersion, file_version

log = structlog.get_logger(__name__)

_Stamp = tuple[FileVersion | None, ...]


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """`ca_file`: the authorities that are trusted instead of the system's. `cert_file`: shown to a server
    that asks for a certificate; `key_file` None: its key is in the same file.
    """

    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None

    @property
    def given(self) -> tuple[Path, ...]:
        return tuple(path for path in (self.ca_file, self.cert_file, self.key_file) if path is not None)


class ClientTls:
    """Certificates and host names are always checked. Raises `ConfigError`, which names the files and nothing
    that is in them.
    """

    def __init__(self, files: TlsFiles, receiver: str) -> None:
        self._files = files
        self._receiver = receiver
        self._stamp = self._stamp_now()
        try:
            self._context = _context(files)
        except (OSError, ValueError) as error:
            names = ", ".join(str(path) for path in files.given)
            raise ConfigError(f"receivers: {receiver}: tls: cannot use {names}: {_reason(error)}") from error

    def context(self) -> ssl.SSLContext:
        """For the next connection. Files that changed and cannot be used leave what they were before."""
        stamp = self._stamp_now()
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self._context = _context(self._files)
            except (OSError, ValueError) as error:
                log.warning("receiver_tls_unusable", receiver=self._receiver, reason=_reason(error))
        return self._context

    def _stamp_now(self) -> _Stamp:
        return tuple(file_version(path) for path in self._files.given)


def _context(files: TlsFiles) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=files.ca_file)
    if files.cert_file is not None:
        # an empty password: a key that has one is an error, not a question on the terminal
        context.load_cert_chain(files.cert_file, files.key_file, password="")
    return context


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "not usable").replace("_", " ").lower()
    return str(getattr(error, "strerror", None) or error).lower()
