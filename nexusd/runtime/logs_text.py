"""Makes a log event fit to be written: no secret, nothing endless, no control characters. For `logs.py`."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

MASK = "***"
LONGEST_TEXT = 8_192
MOST_ITEMS = 100
DEEPEST = 6

SECRET_WORDS = (
    "authorization",
    "apikey",
    "token",
    "secret",
    "password",
    "passphrase",
    "privatekey",
    "credential",
    "cookie",
)
_NAMES_A_PLACE = ("file", "path", "directory")
_USERINFO = re.compile(r"(?<=://)[^/\s?#@]*@")
_AUTH_SCHEME = re.compile(r"\b(Bearer|Basic)\s+[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE)
_ASSIGNED = re.compile(
    r"""((?:api_?key|token|secret|password)\w*(?<!file)=['"]?)[^\s'",;&)\]}]+""", re.IGNORECASE
)


def cleaned(value: object, depth: int = 0) -> Any:
    """The value with secrets masked and its size bounded, in JSON's types only."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, str):
        return clean_text(value)
    if depth >= DEEPEST:
        return clean_text(_described(value))
    if isinstance(value, Mapping):
        return {
            clean_text(str(key)): MASK if _is_secret(str(key), item) else cleaned(item, depth + 1)
            for key, item in list(value.items())[:MOST_ITEMS]
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [cleaned(item, depth + 1) for item in list(value)[:MOST_ITEMS]]
    return clean_text(_described(value))


def clean_text(text: str) -> str:
    """The text with credentials masked, and its middle left out when it is too long."""
    if "://" in text:
        text = _USERINFO.sub(f"{MASK}@", text)
    if "=" in text:
        text = _ASSIGNED.sub(rf"\1{MASK}", text)
    text = _AUTH_SCHEME.sub(rf"\1 {MASK}", text)
    if len(text) <= LONGEST_TEXT:
        return text
    half = LONGEST_TEXT // 2
    return f"{text[:half]}… ({len(text) - 2 * half} characters left out) …{text[-half:]}"


def json_line(event: Mapping[str, object]) -> str:
    """A cleaned event as one line of JSON, all of it printable ASCII."""
    return json.dumps(event, ensure_ascii=True, separators=(",", ":")).replace("\x7f", "\\u007f")


def _is_secret(key: str, value: object) -> bool:
    """By the key's name. A number, a flag or the path of a secret's file tells nothing and stays."""
    if value is None or isinstance(value, bool | int | float):
        return False
    squeezed = "".join(c for c in key.lower() if c.isalnum())
    return not squeezed.endswith(_NAMES_A_PLACE) and any(word in squeezed for word in SECRET_WORDS)


def _described(value: object) -> str:
    try:
        return str(value)
    except Exception as error:  # noqa: BLE001 - whatever its __str__ does, the log call must not raise
        return f"<{type(value).__name__} that cannot be shown: {type(error).__name__}>"
