"""Reasons why a field of a request body is refused, in the terms of JSON.

Pydantic's own reasons name Python classes.
"""

from __future__ import annotations

from typing import Any

from pydantic_core import ErrorDetails

_EXPECTED = {
    "bool_type": "true or false is expected",
    "dict_type": "an object is expected",
    "int_type": "a whole number is expected",
    "list_type": "a list is expected",
    "missing": "is missing",
    "model_attributes_type": "an object is expected",
    "model_type": "an object is expected",
    "string_type": "a string is expected",
}


def describe(error: ErrorDetails) -> str:
    """Return what is expected instead of the refused value."""
    kind, context = error["type"], error.get("ctx", {})
    if kind in _EXPECTED:
        return _EXPECTED[kind]
    match kind:
        case "greater_than_equal":
            return f"at least {context['ge']} is expected"
        case "less_than_equal":
            return f"at most {context['le']} is expected"
        case "string_too_short":
            return f"at least {_count(context['min_length'], 'character')} expected"
        case "string_too_long":
            return f"at most {_count(context['max_length'], 'character')} expected"
        case "too_short":
            return f"at least {_count(context['min_length'], 'item')} expected"
        case "too_long":
            return f"at most {_count(context['max_length'], 'item')} expected"
    return error["msg"][:1].lower() + error["msg"][1:]


def _count(number: Any, noun: str) -> str:
    return f"{number} {noun} is" if number == 1 else f"{number} {noun}s are"
