from __future__ import annotations

import pytest

from nexusd.core.shortage import describe_shortage


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (MemoryError(), "out of memory"),
        (RuntimeError("can't start new thread"), "cannot start a thread"),
        (ImportError("x.so: failed to map segment from shared object", name="x"), "while loading x"),
        (ExceptionGroup("tasks", [ValueError(), ExceptionGroup("more", [MemoryError()])]), "out of memory"),
    ],
)
def test_a_shortage_is_named_with_the_limit_to_raise(error: Exception, text: str) -> None:
    described = describe_shortage(error)
    assert described is not None
    assert text in described
    assert "ulimit" in described
    assert "\n" not in described


@pytest.mark.parametrize(
    "error",
    [RuntimeError("no running event loop"), ImportError("no module"), ExceptionGroup("", [OSError()])],
)
def test_other_errors_are_none(error: Exception) -> None:
    assert describe_shortage(error) is None
