"""Limit of descriptors, and the share of clients."""

from __future__ import annotations

import resource

import pytest

from nexusd.core.errors import StartError
from nexusd.runtime import descriptors
from nexusd.web.stream import max_readers


@pytest.mark.parametrize(
    ("limit", "connections", "readers"),
    [
        (64, 32, 24),
        (128, 64, 48),
        (1_024, 768, 576),
        (4_096, 3_840, 2_000),
        (1 << 20, 4_096, 2_000),
        (resource.RLIM_INFINITY, 4_096, 2_000),
    ],
)
def test_clients_get_the_descriptors_that_are_not_reserved(
    monkeypatch: pytest.MonkeyPatch, limit: int, connections: int, readers: int
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, resource.RLIM_INFINITY))
    assert descriptors.max_connections() == connections
    assert max_readers(connections) == readers


def test_the_soft_limit_is_raised_to_the_hard_one(monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1_024, 4_096))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limit: limits.append(limit))
    descriptors.raise_limit()
    assert limits == [(4_096, 4_096)]


def test_a_system_that_refuses_more_keeps_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int, __: tuple[int, int]) -> None:
        raise ValueError("not allowed to raise maximum limit")

    monkeypatch.setattr(resource, "setrlimit", refuse)
    descriptors.raise_limit()


def test_a_limit_that_is_too_low_to_run_with_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (10, 10))
    monkeypatch.setattr(resource, "setrlimit", lambda _, __: None)
    with pytest.raises(StartError, match=r"at most 10 files may be open, and nexusd needs 64: .*ulimit -n"):
        descriptors.raise_limit()
