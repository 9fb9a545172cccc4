"""The placement's state machine: what each answer and each listing proves."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexusd.core import lifecycle
from nexusd.core.answers import Created, NotSent, Refused, Unknown
from nexusd.core.comparing import compare
from nexusd.core.inventory import Inventory
from nexusd.core.lifecycle import CLOSED, OPEN, TRANSITIONS, Attempt, Outcome, Placement, State, Verdict
from nexusd.core.placement import Decision, PlacementRequest
from nexusd.core.records import Instance
from nexusd.core.sweeps import Sweep, SweepPolicy

REQUEST = PlacementRequest(name="worker-01", plan="pro")
QUEUED = Placement("plc_1", REQUEST, State.QUEUED, created_at=100.0, updated_at=100.0)
CHOSE_EAST = Decision(110.0, "us-east-1", None, 105.0)


def inventory_of(*instances: Instance, began_at: float = 500.0) -> Inventory:
    inventory = Inventory()
    sweep = Sweep(began_at, began_at + 1, {i.id: i for i in instances})
    inventory.apply(compare(inventory, sweep, SweepPolicy()))
    return inventory


def instance(**changes: object) -> Instance:
    fields: dict[str, object] = {"id": "inst_1", "name": "worker-01", "status": "pending"}
    fields["region"] = "us-east-1"
    return Instance(**{**fields, **changes})  # type: ignore[arg-type]


def begun(namesakes: tuple[str, ...] = ()) -> tuple[Placement, Attempt]:
    return lifecycle.begin(QUEUED, CHOSE_EAST, send_deadline=120.0, epoch=7, namesakes=namesakes)


def test_beginning_writes_name_region_attempt_epoch_and_deadline() -> None:
    placement, attempt = begun()
    assert (placement.state, placement.region, placement.attempts) == (State.CREATING, "us-east-1", 1)
    assert attempt == Attempt("plc_1", 1, "us-east-1", 110.0, 120.0, 7)


def test_a_decision_without_a_region_begins_nothing() -> None:
    with pytest.raises(ValueError, match="chose a region"):
        lifecycle.begin(QUEUED, Decision(110.0, None, "no region is eligible", 105.0), 120.0, 7, ())


def test_a_2xx_with_an_id_is_provisioning_under_that_id() -> None:
    placement, attempt = lifecycle.answered(*begun(), Created(instance()), 111.0)
    assert (placement.state, placement.instance_id, placement.provisioning_at) == (
        State.PROVISIONING,
        "inst_1",
        111.0,
    )
    assert attempt.outcome is Outcome.CREATED


def test_a_2xx_without_an_id_is_provisioning_with_the_id_still_to_be_learnt() -> None:
    placement, _ = lifecycle.answered(*begun(), Created(None), 111.0)
    assert (placement.state, placement.instance_id) == (State.PROVISIONING, None)


def test_a_rejected_request_fails_with_the_providers_words() -> None:
    refusal = Refused(422, "VALIDATION_ERROR", "plan is unknown", "rejected", "request", '["plan"]')
    placement, attempt = lifecycle.answered(*begun(), refusal, 111.0)
    assert placement.state is State.FAILED
    assert placement.reason == 'CloudNexus rejected it: 422 VALIDATION_ERROR: plan is unknown (["plan"])'
    assert attempt.outcome is Outcome.REFUSED


@pytest.mark.parametrize("kind", ["rejected", "capacity", "unavailable"])
def test_whatever_is_refused_for_the_request_fails_it(kind: str) -> None:
    placement, _ = lifecycle.answered(*begun(), Refused(422, "X", "no", kind, "request"), 111.0)
    assert (placement.state, placement.reason) == (State.FAILED, "CloudNexus rejected it: 422 X: no")


@pytest.mark.parametrize("kind", ["capacity", "quota", "auth", "throttled", "unavailable"])
def test_any_other_refusal_goes_back_to_the_queue(kind: str) -> None:
    placement, attempt = lifecycle.answered(*begun(), Refused(409, "X", "no", kind, "region"), 111.0)
    assert (placement.state, placement.region) == (State.QUEUED, None)
    assert attempt.outcome is Outcome.REFUSED


def test_what_was_never_sent_goes_back_to_the_queue() -> None:
    placement, attempt = lifecycle.answered(*begun(), NotSent("connection refused"), 111.0)
    assert (placement.state, attempt.outcome) == (State.QUEUED, Outcome.NOT_SENT)


def test_an_unknown_outcome_is_verified_and_keeps_its_region() -> None:
    placement, attempt = lifecycle.answered(*begun(), Unknown("connection reset"), 111.0)
    assert (placement.state, placement.region) == (State.VERIFYING, "us-east-1")
    assert attempt.outcome is Outcome.UNKNOWN


@pytest.mark.parametrize(
    "answer",
    [
        Refused(409, "NO_CAPACITY", "", "capacity", "region"),
        Unknown("503 NO_CAPACITY", "capacity", "region", "NO_CAPACITY"),
    ],
)
def test_what_an_error_says_stays_with_the_attempt(answer: Refused | Unknown) -> None:
    _, attempt = lifecycle.answered(*begun(), answer, 111.0)
    assert (attempt.kind, attempt.scope, attempt.code) == ("capacity", "region", "NO_CAPACITY")


def test_an_outcome_without_an_answer_says_nothing_of_why() -> None:
    _, attempt = lifecycle.answered(*begun(), Unknown("connection reset"), 111.0)
    assert (attempt.kind, attempt.scope, attempt.code) == ("unknown", "region", None)


def test_proven_absence_keeps_what_the_answer_said() -> None:
    said = Unknown("503 NO_CAPACITY", "capacity", "region", "NO_CAPACITY")
    doubted, attempt = lifecycle.answered(*begun(), said, 111.0)
    _, absent = lifecycle.proven_absent(doubted, attempt, 900.0)
    assert (absent.outcome, absent.kind, absent.code) == (Outcome.ABSENT, "capacity", "NO_CAPACITY")


def test_a_found_instance_is_adopted() -> None:
    doubted, attempt = lifecycle.answered(*begun(), Unknown("time-out"), 111.0)
    placement, adopted = lifecycle.found(doubted, attempt, instance(), 200.0)
    assert (placement.state, placement.instance_id, adopted.outcome) == (
        State.PROVISIONING,
        "inst_1",
        Outcome.ADOPTED,
    )


def test_proven_absence_goes_back_to_the_queue_without_a_region() -> None:
    doubted, attempt = lifecycle.answered(*begun(), Unknown("time-out"), 111.0)
    placement, absent = lifecycle.proven_absent(doubted, attempt, 900.0)
    assert (placement.state, placement.region, absent.outcome) == (State.QUEUED, None, Outcome.ABSENT)


def test_quiet_time_of_ones_own_attempt_is_its_deadline_plus_settle() -> None:
    _, attempt = begun()
    assert lifecycle.quiet_until(attempt, 300.0, epoch=7, term_began_at=0.0, timeout_s=10.0) == 420.0


def test_quiet_time_of_an_earlier_terms_attempt_counts_from_this_term() -> None:
    _, attempt = begun()
    assert lifecycle.quiet_until(attempt, 300.0, epoch=8, term_began_at=5000.0, timeout_s=10.0) == 5310.0


@pytest.mark.parametrize(
    "other",
    [
        instance(name="worker-02"),
        instance(region="eu-west-2"),
        instance(plan="starter"),
        instance(image="debian-12"),
    ],
    ids=["name", "region", "plan", "image"],
)
def test_an_instance_that_disagrees_is_not_ours(other: Instance) -> None:
    placement, attempt = begun()
    assert lifecycle.match_instance(placement, attempt, inventory_of(other)) is None


def test_an_instance_that_was_there_before_the_attempt_is_not_ours() -> None:
    placement, attempt = begun(namesakes=("inst_1",))
    assert lifecycle.match_instance(placement, attempt, inventory_of(instance(status="terminated"))) is None


def test_of_several_matches_the_oldest_is_adopted() -> None:
    placement, attempt = begun()
    older = instance(id="inst_9", created_at="2026-01-01T00:00:00Z")
    newer = instance(id="inst_2", created_at="2026-01-01T00:00:05Z")
    assert lifecycle.match_instance(placement, attempt, inventory_of(newer, older)) == older


def provisioning(instance_id: str | None = "inst_1") -> Placement:
    made = instance(id=instance_id) if instance_id else None
    return lifecycle.answered(*begun(), Created(made), 111.0)[0]


def test_a_running_instance_ends_the_placement() -> None:
    after = lifecycle.followed(provisioning(), inventory_of(instance(status="running")), 900.0, 0.0, 130.0)
    assert after is not None
    assert after.state is State.RUNNING


@pytest.mark.parametrize("status", ["stopped", "terminated"])
def test_an_instance_that_stopped_before_it_ran_fails_the_placement(status: str) -> None:
    after = lifecycle.followed(provisioning(), inventory_of(instance(status=status)), 900.0, 0.0, 130.0)
    assert after is not None
    assert (after.state, after.reason) == (State.FAILED, f"instance inst_1 is {status}")


def test_an_unknown_status_is_waited_on() -> None:
    inventory = inventory_of(instance(status="hibernating"))
    assert lifecycle.followed(provisioning(), inventory, 900.0, 0.0, 130.0) is None


def test_a_time_out_needs_a_listing_begun_after_it() -> None:
    old_listing = inventory_of(instance(), began_at=1010.0)
    new_listing = inventory_of(instance(), began_at=1011.5)
    assert lifecycle.followed(provisioning(), old_listing, 900.0, 0.0, 5000.0) is None
    after = lifecycle.followed(provisioning(), new_listing, 900.0, 0.0, 1012.0)
    assert after is not None
    assert after.reason == "still pending 900s after it was created"


@pytest.mark.parametrize("term_began_at", [50_000.0, 100.0], ids=["clock set forward", "clock set back"])
def test_a_time_out_begun_in_an_earlier_term_counts_from_this_one(term_began_at: float) -> None:
    placement = provisioning() if term_began_at > 111.0 else replace(provisioning(), provisioning_at=50_000.0)
    early, late = (inventory_of(instance(), began_at=term_began_at + s) for s in (899.0, 901.0))
    assert lifecycle.followed(placement, early, 900.0, term_began_at, term_began_at + 899.5) is None
    assert lifecycle.followed(placement, late, 900.0, term_began_at, term_began_at + 901.5) is not None


def test_an_instance_that_is_never_listed_fails_and_says_so() -> None:
    after = lifecycle.followed(provisioning(None), inventory_of(began_at=2000.0), 900.0, 0.0, 2001.0)
    assert after is not None
    assert after.reason == "never listed 900s after it was created"


def test_only_a_queued_placement_can_be_cancelled() -> None:
    assert lifecycle.cancel(QUEUED, 120.0).state is State.CANCELLED
    with pytest.raises(ValueError, match="cannot go from creating to cancelled"):
        lifecycle.cancel(begun()[0], 120.0)


def test_no_way_leads_out_of_a_closed_state() -> None:
    assert not CLOSED & TRANSITIONS.keys()
    assert TRANSITIONS.keys() == OPEN


ANSWERS = st.one_of(
    st.just(Created(None)),
    st.just(Created(instance())),
    st.builds(NotSent, st.text(max_size=5)),
    st.builds(Unknown, st.text(max_size=5)),
    st.builds(
        Refused,
        st.integers(400, 499),
        st.just("CODE"),
        st.text(max_size=5),
        st.sampled_from(["rejected", "capacity", "quota", "auth", "throttled", "unavailable"]),
        st.sampled_from(["request", "region", "account"]),
    ),
)


@given(ANSWERS)
def test_only_a_definite_answer_may_lead_to_another_post(answer: object) -> None:
    """I1: from `creating`, the way back to the queue needs proof that nothing was made."""
    placement, attempt = lifecycle.answered(*begun(), answer, 111.0)  # type: ignore[arg-type]
    if placement.state is State.QUEUED:
        assert isinstance(answer, Refused | NotSent)
    if isinstance(answer, Unknown):
        assert placement.state is State.VERIFYING
    assert attempt.outcome is not None


def held() -> tuple[Placement, Attempt]:
    doubted, attempt = lifecycle.answered(*begun(), Unknown("time-out"), 111.0)
    return lifecycle.hold(doubted, "sweeps stay incomplete", 5000.0), attempt


@pytest.mark.parametrize("listed", [instance(), None], ids=["listed", "not listed yet"])
def test_a_held_placement_that_a_person_says_exists_is_followed(listed: Instance | None) -> None:
    placement, attempt = lifecycle.resolve(*held(), Verdict.EXISTS, listed, 6000.0)
    assert (placement.state, placement.region) == (State.PROVISIONING, "us-east-1")
    assert placement.instance_id == (listed.id if listed is not None else None)
    assert placement.provisioning_at == 6000.0
    assert (attempt.outcome, attempt.detail) == (Outcome.ADOPTED, "time-out; resolved by an operator")


def test_a_held_placement_that_a_person_says_is_absent_is_queued_again() -> None:
    placement, attempt = lifecycle.resolve(*held(), Verdict.ABSENT, instance(), 6000.0)
    assert (placement.state, placement.region, placement.instance_id) == (State.QUEUED, None, None)
    assert placement.reason == "attempt 1 made no instance: resolved by an operator"
    assert (attempt.outcome, attempt.detail) == (Outcome.ABSENT, "time-out; resolved by an operator")


@pytest.mark.parametrize("verdict", list(Verdict))
@pytest.mark.parametrize("state", sorted(set(State) - {State.HELD}))
def test_only_a_held_placement_can_be_resolved(state: State, verdict: Verdict) -> None:
    """I1: what is being verified is settled by listings alone."""
    placement, attempt = held()
    with pytest.raises(ValueError, match="only a held one"):
        lifecycle.resolve(replace(placement, state=state), attempt, verdict, None, 6000.0)
