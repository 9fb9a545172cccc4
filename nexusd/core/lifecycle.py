"""The life of a placement: its states and every transition, as pure functions (product.md, section 3).

    queued ──begin──▶ creating ──created──▶ provisioning ──followed──▶ running ■ or failed ■
      ▲                 │  └──in doubt──▶ verifying ──found──▶ provisioning
      ├── not made ─────┘                  │      └──hold──▶ held ──found──▶ provisioning
      └── proven absent ───────────────────┴───────────────────┘
                                           held ──a person says──▶ provisioning or queued
    queued ──cancel──▶ cancelled ■   queued ──expire──▶ expired ■   queued, creating ──fail──▶ failed ■

Each transition takes the placement as it is and gives the placement as it becomes; `provisioning/` writes the
result by compare and swap on the state, so a transition from a state that is no longer true changes nothing.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from nexusd.core.answers import MADE, CreateAnswer, Created, NotSent, Refused, Unknown, error_text
from nexusd.core.inventory import Inventory
from nexusd.core.names import MIN_CUT_BYTES, MIN_SUSPECTED_CUT_BYTES, canonical
from nexusd.core.placement import Decision, PlacementRequest
from nexusd.core.records import RUNNING, STOPPED, TERMINATED, Instance

ABSENCES_NEEDED = 2
"""Complete listings, each begun after the quiet time, that prove an instance was never made (I1)."""


class State(StrEnum):
    QUEUED = "queued"
    CREATING = "creating"
    VERIFYING = "verifying"
    PROVISIONING = "provisioning"
    HELD = "held"
    RUNNING = "running"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


CLOSED = frozenset({State.RUNNING, State.FAILED, State.CANCELLED, State.EXPIRED})
OPEN = frozenset(State) - CLOSED
UNDER_WAY = (State.CREATING, State.VERIFYING, State.PROVISIONING, State.HELD)
"""Open and past the queue: each counts for what it may have made until its instance is listed."""
IN_DOUBT = frozenset({State.CREATING, State.VERIFYING, State.HELD})

TRANSITIONS: dict[State, frozenset[State]] = {
    State.QUEUED: frozenset(
        {State.CREATING, State.CANCELLED, State.EXPIRED, State.FAILED, State.PROVISIONING}
    ),
    State.CREATING: frozenset({State.PROVISIONING, State.VERIFYING, State.QUEUED, State.FAILED}),
    State.VERIFYING: frozenset({State.PROVISIONING, State.QUEUED, State.HELD}),
    State.HELD: frozenset({State.PROVISIONING, State.QUEUED}),
    State.PROVISIONING: frozenset({State.RUNNING, State.FAILED}),
}
"""Where each open state may go; closed states go nowhere."""


class Outcome(StrEnum):
    """How an attempt ended; an attempt without one is in doubt."""

    CREATED = "created"
    REFUSED = "refused"
    NOT_SENT = "not_sent"
    UNKNOWN = "unknown"
    ADOPTED = "adopted"
    ABSENT = "absent"


class Verdict(StrEnum):
    """What a person says of the instance that a held placement may have made."""

    EXISTS = "exists"
    ABSENT = "absent"


BY_OPERATOR = "resolved by an operator"
MAX_UNNAMED = 1000
"""Instances without a name that an attempt remembers as older than itself."""
NEVER_LISTED = "never listed"
_NO_REGION = frozenset({"", "unknown"})
"""How a region reads that CloudNexus does not state."""


@dataclass(frozen=True, slots=True)
class Placement:
    """One placement as stored. `attempts` counts those begun; `instance_id` None until it is known.

    `provisioning_at`: when the create was known to have happened.
    """

    id: str
    request: PlacementRequest
    state: State
    created_at: float
    updated_at: float
    reason: str | None = None
    region: str | None = None
    instance_id: str | None = None
    attempts: int = 0
    provisioning_at: float | None = None

    @property
    def was_never_listed(self) -> bool:
        """Whether it failed although its create was answered: an instance may exist."""
        return self.state is State.FAILED and (self.reason or "").startswith(NEVER_LISTED)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One POST, written and synced before its first byte (I1).

    `send_deadline`: when the POST is surely over. `epoch`: the lease term that made it; a later term cannot
    know what became of it. `namesakes`: instances that had the name, or a similar one, already and so are
    never its result. `outcome` None: no answer was recorded. `kind`, `scope` and `code`: what an error answer
    says of the refusal (`core.answers`); of one in doubt it counts only after nothing was proven to be made.
    A `kind` of `made`: something was made, so no listing proves that it is absent.
    """

    placement_id: str
    number: int
    region: str
    sent_at: float
    send_deadline: float
    epoch: int
    namesakes: tuple[str, ...] = ()
    outcome: Outcome | None = None
    detail: str | None = None
    kind: str | None = None
    scope: str | None = None
    code: str | None = None


def begin(
    placement: Placement, decision: Decision, send_deadline: float, epoch: int, namesakes: Iterable[str]
) -> tuple[Placement, Attempt]:
    """queued → creating, with the attempt that must be on disk before the POST's first byte."""
    if decision.region is None:
        raise ValueError("an attempt needs a decision that chose a region")
    now = decision.decided_at
    number = placement.attempts + 1
    begun = replace(
        _move(placement, State.CREATING, now), region=decision.region, attempts=number, reason=None
    )
    attempt = Attempt(placement.id, number, decision.region, now, send_deadline, epoch, tuple(namesakes))
    return begun, attempt


def answered(
    placement: Placement, attempt: Attempt, answer: CreateAnswer, now: float
) -> tuple[Placement, Attempt]:
    """creating → provisioning, queued, failed or verifying, by what the POST's answer proves."""
    match answer:
        case Created(instance):
            instance_id = instance.id if instance is not None else None
            made = _provisioning(placement, attempt.region, instance_id, now)
            return made, replace(attempt, outcome=Outcome.CREATED)
        case Refused():
            detail = refusal_text(answer)
            refused = replace(_said(attempt, answer), outcome=Outcome.REFUSED, detail=detail)
            if answer.scope == "request":
                return fail(placement, f"CloudNexus rejected it: {detail}", now), refused
            return _requeue(placement, f"{attempt.region} refused it: {detail}", now), refused
        case NotSent(reason):
            not_sent = replace(attempt, outcome=Outcome.NOT_SENT, detail=reason)
            return _requeue(placement, f"could not be sent: {reason}", now), not_sent
        case Unknown(reason):
            unknown = replace(_said(attempt, answer), outcome=Outcome.UNKNOWN, detail=reason)
            return doubt(
                placement, f"the outcome of attempt {attempt.number} is unknown: {reason}", now
            ), unknown


def refusal_text(refusal: Refused) -> str:
    """The provider's own words, on one line: `422 VALIDATION_ERROR: plan is unknown (details)`."""
    return error_text(refusal.status, refusal.code, refusal.message, refusal.details)


def doubt(placement: Placement, reason: str, now: float) -> Placement:
    """creating → verifying: in doubt means stop."""
    return replace(_move(placement, State.VERIFYING, now), reason=reason)


def found(
    placement: Placement, attempt: Attempt, instance: Instance, now: float
) -> tuple[Placement, Attempt]:
    """verifying or held → provisioning: the instance was listed and is adopted.

    Also from queued: a cloud that lists later than `settle` promises may show it after it was thought absent.
    """
    adopted = replace(attempt, outcome=Outcome.ADOPTED, detail=attempt.detail or "found in a listing")
    return _provisioning(placement, attempt.region, instance.id, now), adopted


def proven_absent(placement: Placement, attempt: Attempt, now: float) -> tuple[Placement, Attempt]:
    """verifying or held → queued: nothing was made, so another region may be tried."""
    absent = replace(attempt, outcome=Outcome.ABSENT)
    return _requeue(placement, f"attempt {attempt.number} made no instance", now), absent


def hold(placement: Placement, reason: str, now: float) -> Placement:
    """verifying → held: absence could not be proven in time; a person decides."""
    return replace(_move(placement, State.HELD, now), reason=reason)


def hold_as_made(
    placement: Placement, attempt: Attempt, reason: str, now: float
) -> tuple[Placement, Attempt]:
    """Hold a placement whose instance was made, until an operator or a match decides."""
    made = replace(attempt, outcome=attempt.outcome or Outcome.UNKNOWN, kind=MADE)
    if placement.state is State.HELD:
        return replace(placement, reason=reason, updated_at=now), made
    return hold(placement, reason, now), made


def not_absent_reason(placement: Placement, attempt: Attempt, similar: Instance | None) -> str | None:
    """Return why complete listings do not prove absence, or None if they do.

    `similar`: an instance that may be the attempt's (`similar_instances`).
    """
    if similar is not None:
        what = f"instance {similar.id} appeared after attempt {attempt.number} in {similar.region or '?'}"
        if similar.name == placement.request.name:
            return f"{what} under this name, but its region, plan or image differs"
        return f"{what} under the similar name {similar.name!r}" if similar.name else f"{what} without a name"
    if attempt.kind == MADE:
        return f"attempt {attempt.number} was answered as successful, but no such instance is listed"
    return None


def resolve(
    placement: Placement, attempt: Attempt, verdict: Verdict, instance: Instance | None, now: float
) -> tuple[Placement, Attempt]:
    """held → provisioning or queued, as a person says. `instance`: the one that exists, if it is listed yet;
    else a later listing gives its id.
    """
    if placement.state is not State.HELD:
        raise ValueError(f"placement {placement.id} is {placement.state}: only a held one can be resolved")
    detail = f"{attempt.detail}; {BY_OPERATOR}" if attempt.detail else BY_OPERATOR
    if verdict is Verdict.EXISTS:
        instance_id = instance.id if instance is not None else None
        adopted = replace(attempt, outcome=Outcome.ADOPTED, detail=detail)
        return _provisioning(placement, attempt.region, instance_id, now), adopted
    absent = replace(attempt, outcome=Outcome.ABSENT, detail=detail)
    return _requeue(placement, f"attempt {attempt.number} made no instance: {BY_OPERATOR}", now), absent


def fail(placement: Placement, reason: str, now: float) -> Placement:
    return replace(_move(placement, State.FAILED, now), reason=reason)


def cancel(placement: Placement, now: float) -> Placement:
    """queued → cancelled; any other state is past cancelling."""
    return replace(_move(placement, State.CANCELLED, now), reason="cancelled")


def expire(placement: Placement, now: float) -> Placement:
    """queued → expired, at its deadline."""
    return replace(_move(placement, State.EXPIRED, now), reason="its deadline passed while it was queued")


def named(placement: Placement, instance_id: str, now: float) -> Placement:
    """A create whose answer had no id: the listing gives it."""
    return replace(placement, instance_id=instance_id, updated_at=now)


def followed(
    placement: Placement, inventory: Inventory, timeout_s: float, term_began_at: float, now: float
) -> Placement | None:
    """provisioning → running or failed, by what the latest complete listing says; None while it says neither.

    Only a listing decides: a time-out counts from one that began after it, never from stale data. What began
    to provision in an earlier term was told by another process's clock, so for it the time counts from the
    beginning of this term.
    """
    instance = inventory.get(placement.instance_id) if placement.instance_id is not None else None
    if instance is not None and instance.status == RUNNING:
        return replace(_move(placement, State.RUNNING, now), reason=None)
    if instance is not None and instance.status in {STOPPED, TERMINATED}:
        return fail(placement, f"instance {instance.id} is {instance.status}", now)
    since = placement.provisioning_at
    if since is None or not term_began_at <= since <= now:
        since = term_began_at
    if inventory.began_at is None or inventory.began_at < since + timeout_s:
        return None
    what = f"still {instance.status}" if instance is not None else NEVER_LISTED
    return fail(placement, f"{what} {timeout_s:.0f}s after it was created", now)


def vanished(placement: Placement, now: float) -> Placement:
    """provisioning → failed: the instance was listed and is gone."""
    return fail(placement, f"instance {placement.instance_id} vanished", now)


def quiet_until(
    attempt: Attempt, settle_s: float, epoch: int, term_began_at: float, timeout_s: float
) -> float:
    """A listing begun before this proves no absence: send deadline + settle.

    An attempt of an earlier term may have been under way until that term was over, and its instants were
    told by another process's clock; so for it everything counts from the beginning of this term.
    """
    if attempt.epoch == epoch:
        return attempt.send_deadline + settle_s
    return term_began_at + timeout_s + settle_s


def match_instance(placement: Placement, attempt: Attempt, inventory: Inventory) -> Instance | None:
    """The instance that the attempt made, if listed; of several the oldest, and nothing is created."""
    matches = match_instances(placement, attempt, inventory)
    return min(matches, key=lambda i: (i.created_at or "", i.id), default=None)


def match_instances(placement: Placement, attempt: Attempt, inventory: Inventory) -> list[Instance]:
    """What the attempt may have made, as listed: name, region and what else is known agree."""
    request = placement.request
    return [
        instance
        for instance in inventory.named(request.name)
        if instance.region == attempt.region
        and instance.id not in attempt.namesakes
        and _made_as(instance, request)
    ]


def find_namesakes(request: PlacementRequest, inventory: Inventory) -> list[str]:
    """Return the ids of instances that cannot result from an attempt made now.

    Of unnamed instances, `MAX_UNNAMED` at most: any others count as new, so absence is not proven.
    """
    similar = inventory.similar(request.name, MIN_SUSPECTED_CUT_BYTES)
    return [i.id for i in (*similar, *inventory.named("")[:MAX_UNNAMED])]


def similar_instances(
    placement: Placement, attempt: Attempt, inventory: Inventory, placed: Container[str] = ()
) -> list[Instance]:
    """Return instances with similar names that appeared in the attempt's region since.

    Their plan and image do not matter. A name or region that CloudNexus does not state may be any. `placed`:
    ids of instances that placements made. One of them with a shorter name was not cut: it is another's.
    """
    region = canonical(attempt.region)
    return [
        instance
        for instance in (
            *inventory.similar(placement.request.name, MIN_SUSPECTED_CUT_BYTES),
            *inventory.named(""),
        )
        if instance.id not in attempt.namesakes
        and canonical(instance.region) in {region, *_NO_REGION}
        and not is_of_another(placement, instance, placed)
    ]


def is_of_another(placement: Placement, instance: Instance, placed: Container[str]) -> bool:
    """Return whether a similar instance is another's: its shorter name was not cut."""
    return instance.id in placed and canonical(instance.name) != canonical(placement.request.name)


def identify(
    placement: Placement,
    attempt: Attempt,
    inventory: Inventory,
    placed: Container[str] = (),
    names: Container[str] = (),
) -> Instance | None:
    """Return the listed instance of an attempt that certainly made one.

    Without an exact match it is the one similar instance of this plan and image, if there is only one.
    `names`: canonical names of placements under way. An instance with the name of another one is not this
    placement's, even if it is listed before the other has its id.
    """
    instance = match_instance(placement, attempt, inventory)
    if instance is not None:
        return instance
    own = canonical(placement.request.name)
    mine = [
        i
        for i in similar_instances(placement, attempt, inventory, placed)
        if _made_as(i, placement.request)
        and ((form := canonical(i.name)) == own or _may_be_cut(placement, form, names))
    ]
    return mine[0] if len(mine) == 1 else None


def _may_be_cut(placement: Placement, form: str, names: Container[str]) -> bool:
    """Return whether a shorter canonical name is likely the placement's, cut.

    The id of a response is more certain than a name that a hostname limit would not have cut.
    """
    shortest = MIN_CUT_BYTES if placement.instance_id is not None else 1
    return len(form.encode()) >= shortest and form not in names


def _made_as(instance: Instance, request: PlacementRequest) -> bool:
    """Return whether plan and image, where stated, are the requested ones."""
    return instance.plan in {None, request.plan} and instance.image in {None, request.image}


def _provisioning(placement: Placement, region: str, instance_id: str | None, now: float) -> Placement:
    moved = _move(placement, State.PROVISIONING, now)
    return replace(moved, region=region, instance_id=instance_id, provisioning_at=now, reason=None)


def _said(attempt: Attempt, answer: Refused | Unknown) -> Attempt:
    return replace(attempt, kind=answer.kind, scope=answer.scope, code=answer.code or None)


def _requeue(placement: Placement, reason: str, now: float) -> Placement:
    return replace(_move(placement, State.QUEUED, now), region=None, reason=reason)


def _move(placement: Placement, to: State, now: float) -> Placement:
    if to not in TRANSITIONS.get(placement.state, frozenset()):
        raise ValueError(f"placement {placement.id} cannot go from {placement.state} to {to}")
    return replace(placement, state=to, updated_at=now)
