"""HTTPS (`server.tls`). Used by `server`, and by `nexusd config check`."""

from __future__ import annotations

import os
import ssl

from nexusd.core.errors import ConfigError
from nexusd.web.options import TlsFiles


def tls_context(files: TlsFiles) -> ssl.SSLContext:
    """Raises `ConfigError`, which names the files and nothing that is in them."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(files.cert_file, files.key_file, password="")
        if files.client_ca_file is not None:
            context.load_verify_locations(files.client_ca_file)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ValueError) as error:
        names = ", ".join(str(f) for f in (files.cert_file, files.key_file, files.client_ca_file) if f)
        raise ConfigError(f"server.tls: cannot use {names}: {_reason(error)}") from error
    return context


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "not usable").replace("_", " ").lower()
    if not isinstance(error, OSError) or error.errno is None:
        return str(error).lower()
    return os.strerror(error.errno).lower()
