"""An outage that begins in the middle of a sweep is one alert: unreachable, and not "stale" before."""

from __future__ import annotations

import pytest

from nexusd.core.inventory import Inventory
from nexusd.core.polls import INSTANCES, REGIONS, PollState
from nexusd.core.regions import NO_REGIONS
from nexusd.core.rules import UNKNOWN, Facts
from nexusd.core.rules_cloud import snapshot_stale
from nexusd.core.rules_default import DEFAULT_RULES


@pytest.mark.parametrize(("failure", "wait_s"), [("connect", 30.0), ("timeout", 30.0), ("partial", 0.0)])
def test_stale_at_once_only_if_the_last_reading_was_answered(failure: str, wait_s: float) -> None:
    regions = PollState(REGIONS, 10.0, 0.0, answered_at=125.0, succeeded_at=125.0, answering_since=20.0)
    broken = PollState(
        INSTANCES, 10.0, 0.0, answered_at=110.0, succeeded_at=100.0, failure=failure, failed_began_at=105.0
    )
    facts = Facts(131.0, {REGIONS: regions, INSTANCES: broken}, NO_REGIONS, Inventory())
    [finding] = snapshot_stale(facts, DEFAULT_RULES["SnapshotStale"]).findings
    assert finding.wait_s == wait_s


def test_data_is_not_called_stale_while_it_is_undecided_whether_the_api_answers() -> None:
    """Both kinds are silent, and the poll of one has not ended yet."""
    failed = PollState(
        REGIONS, 10.0, 0.0, answered_at=100.0, succeeded_at=100.0, failure="timeout", failed_began_at=110.0
    )
    polled = PollState(INSTANCES, 10.0, 0.0, answered_at=100.0, succeeded_at=100.0)
    facts = Facts(131.0, {REGIONS: failed, INSTANCES: polled}, NO_REGIONS, Inventory())
    assert not snapshot_stale(facts, DEFAULT_RULES["SnapshotStale"]).known


def test_data_that_grows_old_without_a_failed_poll_proves_nothing() -> None:
    regions = PollState(REGIONS, 10.0, 0.0, answered_at=125.0, succeeded_at=125.0)
    late = PollState(INSTANCES, 10.0, 0.0, answered_at=100.0, succeeded_at=100.0)
    facts = Facts(131.0, {REGIONS: regions, INSTANCES: late}, NO_REGIONS, Inventory())
    assert snapshot_stale(facts, DEFAULT_RULES["SnapshotStale"]) == UNKNOWN


def test_the_first_kind_to_answer_after_an_outage_does_not_convict_the_other() -> None:
    """Both were silent from 100 on, and the polls of regions failed. Instances answer again at 135."""
    instances = PollState(INSTANCES, 10.0, 0.0).succeeded(100.0, 1.0).succeeded(135.0, 1.0)
    regions = (
        PollState(REGIONS, 10.0, 0.0).succeeded(99.0, 1.0).failed("timeout", "no answer", None, 9.0, 118.0)
    )
    facts = Facts(136.0, {REGIONS: regions, INSTANCES: instances}, NO_REGIONS, Inventory())
    assert snapshot_stale(facts, DEFAULT_RULES["SnapshotStale"]) == UNKNOWN
    polls = {REGIONS: regions.failed("timeout", "no answer", None, 9.0, 137.0), INSTANCES: instances}
    later = Facts(147.0, polls, NO_REGIONS, Inventory())
    assert snapshot_stale(later, DEFAULT_RULES["SnapshotStale"]).findings
