"""Placements with their attempts, decisions and idempotency keys (`ports.PlacementsTable`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import msgspec
import sqlalchemy as sa

from nexusd.core.errors import ConflictError
from nexusd.core.fleets import TRIED_LOOKED_AT, FleetPlacements
from nexusd.core.identifiers import fleet_of
from nexusd.core.lifecycle import CLOSED, Attempt, Outcome, Placement, State
from nexusd.core.placement import Considered, Decision, PlacementRequest
from nexusd.core.records import TERMINATED
from nexusd.core.spread import Group, Member
from nexusd.store.schema import (
    CLOSED_STATES,
    IN_A_GROUP,
    OPEN_STATES,
    TRIED_STATES,
    attempts,
    decisions,
    idempotency_keys,
    instances,
    placements,
)
from nexusd.store.statements import (
    Insert,
    InsertAbsent,
    Row,
    Session,
    Values,
    begins_with,
    given,
    parameters,
)

KEPT_WHILE_WAITING = 50
"""Decisions that found no region, of one placement: it may wait for months while regions come and go."""
FIRST_KEPT = 10
NEWEST_KEPT = 40
"""Attempts of one placement, and decisions that chose a region: a region may refuse it for weeks."""
FORGET_AT_MOST = 10_000
"""Rows that one call deletes at most, so that no retention holds the store for long."""

_t = placements.c
RECORD = sa.select(
    _t.id,
    _t.request,
    _t.state,
    _t.created_at,
    _t.updated_at,
    _t.reason,
    _t.region,
    _t.instance_id,
    _t.attempts,
    _t.provisioning_at,
)
_MUTABLE = ("state", "updated_at", "reason", "region", "instance_id", "attempts", "provisioning_at")
_LIMIT = given("n", sa.Integer)
_OFFSET = given("skip", sa.Integer)
_IN_STATE = _t.state == given("in_state", sa.Text)

_INSERT = InsertAbsent(placements)
_GET = RECORD.where(_t.id == given("which", sa.Text))
_UPDATE = (
    sa.update(placements)
    .where(_t.id == given("which", sa.Text), _IN_STATE)
    .values(parameters(placements, _MUTABLE))
)
_NEWEST = RECORD.order_by(_t.created_at.desc(), _t.id.desc()).limit(_LIMIT).offset(_OFFSET)
_NEWEST_IN_STATE = _NEWEST.where(_IN_STATE)
_HOW_MANY = sa.select(sa.func.count()).select_from(placements)
_HOW_MANY_IN_STATE = _HOW_MANY.where(_IN_STATE)
_MATCH = given("match", sa.Text)
_MATCHES = sa.and_(
    sa.or_(_t.name == _MATCH, begins_with(_t.id, _MATCH)),
    sa.or_(given("in_state", sa.Text) == "", _IN_STATE),
)
_MATCHING = _NEWEST.where(_MATCHES)
_HOW_MANY_MATCH = _HOW_MANY.where(_MATCHES)
_ALL_IN_STATE = RECORD.where(_IN_STATE).order_by(_t.created_at, _t.id)
OLDEST = RECORD.where(_IN_STATE).order_by(_t.created_at, _t.id).limit(_LIMIT)
_ENDED_SINCE = (_IN_STATE, CLOSED_STATES, _t.updated_at >= given("since", sa.Double))
ENDED = RECORD.where(*_ENDED_SINCE).order_by(_t.updated_at.desc()).limit(_LIMIT)
HOW_MANY_ENDED = sa.select(sa.func.count()).select_from(placements).where(*_ENDED_SINCE)
_COUNTS = sa.select(_t.state, sa.func.count()).group_by(_t.state)
OPEN_NAME = RECORD.where(_t.name == given("name", sa.Text), OPEN_STATES)
_HAS_KEY = _t.id.in_(sa.select(idempotency_keys.c.placement_id))
_HAS_INSTANCE = sa.select(instances.c.id).where(instances.c.id == _t.instance_id).exists()
OF_INSTANCES = sa.select(_t.instance_id, _t.request).where(*_ENDED_SINCE, _HAS_INSTANCE)
_OF_FLEET = given("of_fleet", sa.Text)
MEMBERS = RECORD.where(_t.member_of == _OF_FLEET, OPEN_STATES).order_by(_t.created_at, _t.id)
TRIED = (
    RECORD.where(_t.fleet == _OF_FLEET, TRIED_STATES)
    .order_by(_t.updated_at.desc(), _t.id.desc())
    .limit(_LIMIT)
)
MADE = (
    sa.select(sa.func.count())
    .select_from(placements)
    .join(instances, instances.c.id == _t.instance_id)
    .where(
        _t.fleet == _OF_FLEET,
        TRIED_STATES,
        instances.c.status != sa.literal_column(f"'{TERMINATED}'"),
    )
)
_QUEUED_FOR_FLEETS = _ALL_IN_STATE.where(_t.fleet.is_not(None))
_FORGET_CLOSED = sa.delete(placements).where(
    _t.id.in_(
        sa.select(_t.id)
        .where(
            _IN_STATE,
            CLOSED_STATES,
            _t.updated_at < given("before", sa.Double),
            sa.not_(_HAS_KEY),
            sa.not_(_HAS_INSTANCE),
        )
        .limit(_LIMIT),
    )
)
GROUP = sa.select(_t.region, _t.state, _t.name, _t.instance_id).where(
    IN_A_GROUP,
    _t.spread_group == given("which", sa.Text),
    _t.region.is_not(None),
    sa.or_(OPEN_STATES, sa.and_(_t.instance_id.is_not(None), _t.updated_at >= given("since", sa.Double))),
)
SETTLED = (
    sa.select(_t.region, sa.func.count())
    .join(instances, instances.c.id == _t.instance_id)
    .where(
        IN_A_GROUP,
        _t.spread_group == given("which", sa.Text),
        CLOSED_STATES,
        _t.updated_at < given("since", sa.Double),
        instances.c.status != sa.literal_column(f"'{TERMINATED}'"),
    )
    .group_by(_t.region)
)
_SETTLED_OF_FLEET = SETTLED.where(_t.member_of == _OF_FLEET)

_ADD_ATTEMPT = Insert(attempts)
_FINISH_ATTEMPT = (
    sa.update(attempts)
    .where(
        attempts.c.placement_id == given("which", sa.Text), attempts.c.number == given("attempt", sa.Integer)
    )
    .values(parameters(attempts, ("outcome", "detail", "kind", "scope", "code")))
)
_ATTEMPTS = (
    sa.select(attempts).where(attempts.c.placement_id == given("which", sa.Text)).order_by(attempts.c.number)
)
_FORGET_ATTEMPTS = sa.delete(attempts).where(
    attempts.c.placement_id == given("which", sa.Text),
    attempts.c.number > given("first", sa.Integer),
    attempts.c.number <= given("before", sa.Integer),
    attempts.c.outcome.is_not(None),
)
_LAST_ATTEMPTS = (
    sa.select(attempts)
    .join(placements, sa.and_(_t.id == attempts.c.placement_id, _t.attempts == attempts.c.number))
    .where(_IN_STATE)
)
_ADD_DECISION = Insert(decisions)
_newer = decisions.alias("newer")


def _chosen(order: sa.ColumnElement[int], skipped: str) -> sa.ScalarSelect[int]:
    """The id of the placement's decision that chose a region after so many skipped in that order."""
    return (
        sa.select(_newer.c.id)
        .where(_newer.c.placement_id == given("which", sa.Text), _newer.c.region.is_not(None))
        .order_by(order)
        .limit(1)
        .offset(given(skipped, sa.Integer))
        .scalar_subquery()
    )


_FORGET_EARLIER = sa.delete(decisions).where(
    decisions.c.placement_id == given("which", sa.Text),
    decisions.c.region.is_(None),
    decisions.c.id
    <= sa.select(_newer.c.id)
    .where(_newer.c.placement_id == given("which", sa.Text), _newer.c.region.is_(None))
    .order_by(_newer.c.id.desc())
    .limit(1)
    .offset(given("kept", sa.Integer))
    .scalar_subquery(),
)
_FORGET_CHOSEN = sa.delete(decisions).where(
    decisions.c.placement_id == given("which", sa.Text),
    decisions.c.region.is_not(None),
    decisions.c.id > _chosen(_newer.c.id.asc(), "first"),
    decisions.c.id <= _chosen(_newer.c.id.desc(), "newest"),
)
_DECISIONS = (
    sa.select(decisions).where(decisions.c.placement_id == given("which", sa.Text)).order_by(decisions.c.id)
)
_KEY = sa.select(idempotency_keys.c.digest, idempotency_keys.c.placement_id).where(
    idempotency_keys.c.key == given("which", sa.Text)
)
_ADD_KEY = InsertAbsent(idempotency_keys)
_FORGET_KEYS = sa.delete(idempotency_keys).where(
    idempotency_keys.c.key.in_(
        sa.select(idempotency_keys.c.key)
        .where(idempotency_keys.c.at < given("before", sa.Double))
        .limit(_LIMIT)
    )
)

_REQUEST = msgspec.json.Decoder(PlacementRequest)
_CONSIDERED = msgspec.json.Decoder(tuple[Considered, ...])
_NAMESAKES = msgspec.json.Decoder(tuple[str, ...])


class Placements:
    def __init__(self, session: Session) -> None:
        self._session = session

    def insert(self, placement: Placement) -> None:
        if self._session.execute(_INSERT, _values(placement)) == 0:
            name = placement.request.name
            raise ConflictError(f"the name {name!r} belongs to another open placement")

    def get(self, placement_id: str) -> Placement | None:
        return self._one(_GET, {"which": placement_id})

    def update(self, placement: Placement, expected: State) -> bool:
        values = {
            "which": placement.id,
            "in_state": expected.value,
            "state": placement.state.value,
            "updated_at": placement.updated_at,
            "reason": placement.reason,
            "region": placement.region,
            "instance_id": placement.instance_id,
            "attempts": placement.attempts,
            "provisioning_at": placement.provisioning_at,
        }
        return self._session.execute(_UPDATE, values) == 1

    def page(self, state: State | None, limit: int, offset: int) -> tuple[list[Placement], int]:
        values: dict[str, object] = {"n": limit, "skip": offset}
        if state is None:
            return self.newest(limit, offset), self._session.rows(_HOW_MANY)[0][0]
        found = self._all(_NEWEST_IN_STATE, {**values, "in_state": state.value})
        return found, self.count(state)

    def find(self, match: str, state: State | None, limit: int, offset: int) -> tuple[list[Placement], int]:
        values = {"match": match, "in_state": state.value if state is not None else ""}
        total: int = self._session.rows(_HOW_MANY_MATCH, values)[0][0]
        return self._all(_MATCHING, {**values, "n": limit, "skip": offset}), total

    def newest(self, limit: int, offset: int = 0) -> list[Placement]:
        return self._all(_NEWEST, {"n": limit, "skip": offset})

    def in_states(self, states: Iterable[State]) -> list[Placement]:
        """Oldest first."""
        found = [
            placement
            for state in frozenset(states)
            for placement in self._all(_ALL_IN_STATE, {"in_state": state.value})
        ]
        return sorted(found, key=lambda placement: (placement.created_at, placement.id))

    def oldest(self, state: State, limit: int) -> list[Placement]:
        return self._all(OLDEST, {"in_state": state.value, "n": limit})

    def ended_since(self, state: State, since: float, limit: int) -> tuple[list[Placement], int]:
        values: dict[str, object] = {"in_state": state.value, "since": since}
        found = self._all(ENDED, {**values, "n": limit})
        if len(found) < limit:
            return found, len(found)
        return found, self._session.rows(HOW_MANY_ENDED, values)[0][0]

    def count(self, state: State) -> int:
        total: int = self._session.rows(_HOW_MANY_IN_STATE, {"in_state": state.value})[0][0]
        return total

    def counts(self) -> dict[State, int]:
        return {State(state): count for state, count in self._session.rows(_COUNTS)}

    def plans_of_instances(self, closed_since: float) -> dict[str, str]:
        return {
            instance_id: _REQUEST.decode(request).plan
            for state in (State.RUNNING, State.FAILED)
            for instance_id, request in self._session.rows(
                OF_INSTANCES, {"in_state": state.value, "since": closed_since}
            )
        }

    def open_name(self, name: str) -> Placement | None:
        return self._one(OPEN_NAME, {"name": name})

    def members(self, fleet: str) -> list[Placement]:
        """Open, with the name of a member, oldest first."""
        return self._all(MEMBERS, {"of_fleet": fleet})

    def of_fleets(self, names: Iterable[str], *, count_made: bool) -> dict[str, FleetPlacements]:
        return {
            name: FleetPlacements(
                self.members(name),
                self._all(TRIED, {"of_fleet": name, "n": TRIED_LOOKED_AT}),
                self._session.rows(MADE, {"of_fleet": name})[0][0] if count_made else None,
            )
            for name in names
        }

    def queued_for_fleets(self) -> list[Placement]:
        return self._all(_QUEUED_FOR_FLEETS, {"in_state": State.QUEUED.value})

    def add_attempt(self, attempt: Attempt) -> None:
        self._session.execute(_ADD_ATTEMPT, _attempt_values(attempt))
        if attempt.number > FIRST_KEPT + NEWEST_KEPT:
            self._forget_middle(attempt)

    def _forget_middle(self, newest: Attempt) -> None:
        """Of what was tried and chosen, all but the first and the newest. An attempt in doubt is kept."""
        which = {"which": newest.placement_id}
        before = newest.number - NEWEST_KEPT
        self._session.execute(_FORGET_ATTEMPTS, {**which, "first": FIRST_KEPT, "before": before})
        self._session.execute(_FORGET_CHOSEN, {**which, "first": FIRST_KEPT - 1, "newest": NEWEST_KEPT})

    def finish_attempt(self, attempt: Attempt) -> None:
        values = {
            "which": attempt.placement_id,
            "attempt": attempt.number,
            **_ending(attempt),
        }
        self._session.execute(_FINISH_ATTEMPT, values)

    def attempts(self, placement_id: str) -> list[Attempt]:
        """In the order they were made."""
        return [_attempt(row) for row in self._session.rows(_ATTEMPTS, {"which": placement_id})]

    def last_attempts(self, states: Iterable[State]) -> dict[str, Attempt]:
        """The latest attempt of each placement in these states, by placement id."""
        rows = [
            row
            for s in frozenset(states)
            for row in self._session.rows(_LAST_ATTEMPTS, {"in_state": s.value})
        ]
        return {row[0]: _attempt(row) for row in rows}

    def group(self, name: str, fleets: Iterable[str], since: float) -> Group:
        """Those closed before `since` are only counted, and not at all if they are members of the fleets."""
        values: dict[str, object] = {"which": name, "since": since}
        rows = self._session.rows(GROUP, values)
        settled = Counter[str](dict(self._session.rows(SETTLED, values)))
        for fleet in fleets:
            settled -= Counter(dict(self._session.rows(_SETTLED_OF_FLEET, {**values, "of_fleet": fleet})))
        return Group([Member(region, State(state), name, key) for region, state, name, key in rows], settled)

    def add_decision(self, placement_id: str, decision: Decision) -> None:
        values = {
            "placement_id": placement_id,
            "decided_at": decision.decided_at,
            "region": decision.region,
            "reason": decision.reason,
            "policy": decision.policy,
            "observed_at": decision.observed_at,
            "considered": msgspec.json.encode(decision.considered).decode(),
        }
        self._session.execute(_ADD_DECISION, values)
        if decision.region is None:
            self._session.execute(_FORGET_EARLIER, {"which": placement_id, "kept": KEPT_WHILE_WAITING})

    def decisions(self, placement_id: str) -> list[Decision]:
        return [decision_of(row) for row in self._session.rows(_DECISIONS, {"which": placement_id})]

    def idempotent(self, key: str) -> tuple[str, str] | None:
        row = self._session.first(_KEY, {"which": key})
        return (row[0], row[1]) if row is not None else None

    def claim_key(self, key: str, digest: str, placement_id: str, at: float) -> bool:
        values = {"key": key, "digest": digest, "placement_id": placement_id, "at": at}
        return self._session.execute(_ADD_KEY, values) == 1

    def forget_keys(self, before: float) -> int:
        """Delete idempotency keys first used before the instant, `FORGET_AT_MOST` at most; how many.

        Call it again while it returns more than 0, each time in a transaction of its own.
        """
        return self._session.execute(_FORGET_KEYS, {"before": before, "n": FORGET_AT_MOST})

    def forget_closed(self, before: float) -> int:
        """Delete placements that were closed before the instant, with their attempts and decisions,
        `FORGET_AT_MOST` of each closed state at most; how many. Call it again as `forget_keys`. One whose
        idempotency key is remembered is kept as long: a repeat is answered with it.
        """
        values: dict[str, object] = {"before": before, "n": FORGET_AT_MOST}
        return sum(
            self._session.execute(_FORGET_CLOSED, {**values, "in_state": state.value})
            for state in sorted(CLOSED)
        )

    def _all(self, statement: sa.Select[*tuple[object, ...]], values: Values) -> list[Placement]:
        return [placement_of(row) for row in self._session.rows(statement, values)]

    def _one(self, statement: sa.Select[*tuple[object, ...]], values: Values) -> Placement | None:
        row = self._session.first(statement, values)
        return placement_of(row) if row is not None else None


def placement_of(row: Row) -> Placement:
    key, request, state, *rest = row
    return Placement(key, _REQUEST.decode(request), State(state), *rest)


def _values(placement: Placement) -> Values:
    request = placement.request
    return {
        "id": placement.id,
        "name": request.name,
        "state": placement.state.value,
        "priority": request.priority,
        "created_at": placement.created_at,
        "updated_at": placement.updated_at,
        "region": placement.region,
        "instance_id": placement.instance_id,
        "reason": placement.reason,
        "attempts": placement.attempts,
        "provisioning_at": placement.provisioning_at,
        "deadline": request.deadline,
        "fleet": request.fleet,
        "request": msgspec.json.encode(request).decode(),
        "constraint_class": request.constraint_class,
        "spread_group": request.spread.group if request.spread is not None else None,
        "member_of": fleet_of(request.name),
    }


def _attempt(row: Row) -> Attempt:
    placement_id, number, region, sent_at, send_deadline, epoch, namesakes, outcome, *said = row
    return Attempt(
        placement_id,
        number,
        region,
        sent_at,
        send_deadline,
        epoch,
        _NAMESAKES.decode(namesakes),
        Outcome(outcome) if outcome is not None else None,
        *said,
    )


def _attempt_values(attempt: Attempt) -> Values:
    return {
        "placement_id": attempt.placement_id,
        "number": attempt.number,
        "region": attempt.region,
        "sent_at": attempt.sent_at,
        "send_deadline": attempt.send_deadline,
        "epoch": attempt.epoch,
        "namesakes": msgspec.json.encode(attempt.namesakes).decode(),
        **_ending(attempt),
    }


def _ending(attempt: Attempt) -> Values:
    return {
        "outcome": attempt.outcome.value if attempt.outcome is not None else None,
        "detail": attempt.detail,
        "kind": attempt.kind,
        "scope": attempt.scope,
        "code": attempt.code,
    }


def decision_of(row: Row) -> Decision:
    _, _, decided_at, region, reason, policy, observed_at, considered = row
    return Decision(decided_at, region, reason, observed_at, _CONSIDERED.decode(considered), policy)
