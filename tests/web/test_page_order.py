"""All alerts in order, from what changed of them: as if all were looked at anew."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace as altered

from nexusd.core.alerts import Alert, AlertState
from nexusd.core.muting import Muted, Muting
from nexusd.web.page.order import AT_ONCE, NEW, AlertOrder
from tests.effort import examples

NAMES = ("RegionUnhealthy", "InstanceStopped", "Watchdog")
SEVERITIES = ("critical", "warning", "none", "odd")
MARKS = st.integers(0, 5)


def made(mark: int, name: str, severity: str, state: AlertState, at: float) -> Alert:
    labels = tuple(sorted({"alertname": name, "severity": severity, "n": str(mark)}.items()))
    return Alert(f"{mark:016x}", labels, (), state, at, at)


ALERTS = st.dictionaries(
    MARKS,
    st.tuples(
        st.sampled_from(NAMES),
        st.sampled_from(SEVERITIES),
        st.sampled_from(list(AlertState)),
        st.sampled_from([1.0, 2.0, 3.0]),
    ),
)


@given(st.lists(st.tuples(ALERTS, st.sets(MARKS), MARKS), min_size=1, max_size=4))
@settings(max_examples=examples(60), deadline=None)
async def test_the_order_is_as_if_all_were_looked_at_anew(
    course: list[tuple[dict[int, tuple[str, str, AlertState, float]], set[int], int]],
) -> None:
    order = AlertOrder()
    for given_alerts, muted, cause in course:
        alerts = {a.fingerprint: a for a in (made(mark, *what) for mark, what in given_alerts.items())}
        muting = Muting({f"{mark:016x}": Muted(inhibited_by=(f"{cause:016x}",)) for mark in muted})
        assert await order.of(alerts, muting) == await AlertOrder().of(alerts, muting)


async def test_an_alert_that_changed_is_looked_at_again() -> None:
    order = AlertOrder()
    early, late = (made(n, "RegionUnhealthy", "warning", AlertState.PENDING, float(n)) for n in (1, 2))
    assert await order.of({a.fingerprint: a for a in (late, early)}, Muting()) == (early, late)
    fires = altered(late, state=AlertState.FIRING)
    assert await order.of({a.fingerprint: a for a in (fires, early)}, Muting()) == (fires, early)


async def test_what_is_not_muted_comes_first_and_a_cause_before_what_it_may_cause() -> None:
    cause = made(1, "RegionUnhealthy", "warning", AlertState.FIRING, 3.0)
    other = made(2, "InstanceStopped", "warning", AlertState.FIRING, 1.0)
    muted = made(3, "InstanceStopped", "critical", AlertState.FIRING, 1.0)
    alerts = {a.fingerprint: a for a in (muted, other, cause)}
    muting = Muting({muted.fingerprint: Muted(inhibited_by=(cause.fingerprint,))})
    assert await AlertOrder().of(alerts, muting) == (cause, other, muted)


async def test_others_have_their_turn_while_many_are_put_in_order() -> None:
    many = {
        f"{n:016x}": made(n, "InstanceStopped", "warning", AlertState.FIRING, 1.0) for n in range(AT_ONCE)
    }
    turns: list[int] = []

    async def others() -> None:
        while True:
            turns.append(1)
            await asyncio.sleep(0)

    watching = asyncio.ensure_future(others())
    await AlertOrder().of(many, Muting())
    watching.cancel()
    assert len(turns) >= NEW - 1
