"""The request target of a configured URL: path and query exactly as written.

A signed URL is valid only byte for byte, so `%2F`, `%7e` and an empty query must reach the server unchanged.
URL libraries normalize them (RFC 3986, 6.2.2). Used by `cloud` and `delivery`.
"""

from __future__ import annotations

import re
import string
from urllib.parse import quote

_AFTER_AUTHORITY = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://[^/?#]*([^#]*)", re.DOTALL)
_AS_WRITTEN = string.punctuation
"""With letters and digits, every visible ASCII character; others are percent-encoded as UTF-8."""


def request_target(url: str) -> str:
    """Return path and query of an absolute URL, without fragment (RFC 9112, 3.2.1)."""
    found = _AFTER_AUTHORITY.match(url)
    target = quote(found[1], safe=_AS_WRITTEN) if found is not None else ""
    return target if target.startswith("/") else f"/{target}"


def with_path(target: str, path: str) -> str:
    """Return the request target with `path` appended, in place of its query."""
    return f"{target.partition('?')[0].rstrip('/')}/{path}"
