"""Alerts counted as they change, as if all were counted anew (`test_tracks_properties` has whole passes)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nexusd.core.alerts import Alert, AlertState
from nexusd.core.census import AlertKind, Census, counted
from nexusd.core.muting import Muted, Muting

FIRING, PENDING, RESOLVED = AlertState.FIRING, AlertState.PENDING, AlertState.RESOLVED
MARKS = st.sampled_from("abc")
KINDS = st.tuples(
    st.sampled_from(["RegionUnhealthy", "Watchdog"]),
    st.sampled_from(["critical", "none"]),
    st.sampled_from([FIRING, PENDING, RESOLVED]),
)
MUTED = st.builds(
    Muted,
    st.sampled_from([(), ("x",)]),
    st.sampled_from([(), ("s1",)]),
)


def made(mark: str, name: str, severity: str, state: AlertState) -> Alert:
    return Alert(mark, (("alertname", name), ("severity", severity)), (), state, 1.0)


@given(st.lists(st.tuples(MARKS, st.none() | KINDS, MUTED), max_size=20))
def test_what_is_kept_up_is_what_is_counted_anew(course: list) -> None:  # type: ignore[type-arg]
    census = Census()
    alerts: dict[str, Alert] = {}
    muted: dict[str, Muted] = {}
    for mark, kind, by in course:
        alerts.pop(mark, None)
        if kind is not None:
            alerts[mark] = made(mark, *kind)
        muted[mark] = by
        muting = Muting(dict(muted))
        census.look_at(mark, alerts.get(mark), muting)
        assert census.counts() == counted(alerts, muting)
        assert sum(census.counts().of.values()) == len(alerts)


def test_what_is_muted_is_counted_by_reason_and_a_watchdog_is_nobodys_news() -> None:
    alerts = {
        mark: made(mark, name, severity, state)
        for mark, name, severity, state in (
            ("a", "RegionUnhealthy", "critical", FIRING),
            ("b", "InstanceStopped", "warning", FIRING),
            ("c", "InstanceStopped", "warning", FIRING),
            ("d", "InstanceStopped", "warning", PENDING),
            ("e", "InstanceStopped", "warning", RESOLVED),
            ("f", "Watchdog", "none", FIRING),
        )
    }
    both = Muted(("a",), ("s1",))
    counts = counted(alerts, Muting({"b": both, "d": both, "f": Muted(silenced_by=("s1",))}))
    assert (counts.firing, counts.pending, counts.muted) == (3, 1, 1)
    assert counts.told == {"critical": 1, "warning": 1}
    assert counts.suppressed == {"inhibited": 1, "silenced": 2}
    assert counts.groups == {
        ("RegionUnhealthy", FIRING): 1,
        ("InstanceStopped", FIRING): 2,
        ("InstanceStopped", PENDING): 1,
    }
    assert counts.of[AlertKind("InstanceStopped", "warning", FIRING, True, True)] == 1
