"""The bound on nesting is exact, and brackets inside strings do not count."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexusd.core import nesting
from nexusd.core.nesting import MAX_DEPTH, is_too_deep

KEYS = st.text(alphabet='[]{}"\\')
JSON = st.recursive(
    st.none() | st.integers() | st.text(alphabet='[]{}"\\ax'),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=30,
)


def depth(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth, value), default=0)
    return 0


@given(JSON, st.integers(0, 5))
def test_the_depth_of_any_json_is_exact(value: object, limit: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nesting, "MAX_DEPTH", limit)
        assert is_too_deep(json.dumps(value).encode()) == (depth(value) > limit)


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (b"[" * MAX_DEPTH + b"]" * MAX_DEPTH, False),
        (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), True),
        (b'{"a":' * (MAX_DEPTH + 1), True),
        (b"[" + b"[]," * 10_000 + b"0]", False),
        (b'"' + b"[" * 10_000 + b'"', False),
        (b'"' + b'\\"' * 100_000 + b"[" * 10_000, False),
        (b'["]",' * 10_000, True),
    ],
    ids=lambda value: repr(value[:12]) if isinstance(value, bytes) else None,
)
def test_nesting_is_bounded(document: bytes, expected: bool) -> None:
    assert is_too_deep(document) == expected
