"""Bounded nesting depth of JSON documents.

Decoders stop at the depth where their stack ends, which differs between Python versions. This bound is the
same everywhere and is checked before a document from outside is decoded.
"""

from __future__ import annotations

import re
from array import array
from itertools import accumulate

MAX_DEPTH = 256
"""Deeper than any document of an API, and more than the 203 brackets of a full page of `GET /instances`."""

_STRING = re.compile(rb'"[^"]*"?')  # of a document without escaped quotes
_BRACKETS = b"[]{}"
_NOT_BRACKETS = bytes(set(range(256)) - set(_BRACKETS))
_TO_STEPS = bytes.maketrans(_BRACKETS, bytes((1, 255, 1, 255)))
"""An opening bracket is one level down, a closing one (-1 as a signed byte) one level up."""


def is_too_deep(document: bytes) -> bool:
    """Return whether arrays and objects are nested more than `MAX_DEPTH` deep.

    A document with few brackets is accepted without a scan. One that is not JSON may give either result.
    """
    if document.count(b"[") + document.count(b"{") <= MAX_DEPTH:
        return False
    without_escapes = document.replace(rb"\\", b"").replace(rb"\"", b"")
    steps = _STRING.sub(b"", without_escapes).translate(_TO_STEPS, _NOT_BRACKETS)
    depths = accumulate(array("b", steps))
    return any(map(MAX_DEPTH.__lt__, depths))
