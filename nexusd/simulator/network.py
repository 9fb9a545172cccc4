"""What lies between a process and the cloud (`ports.CloudApi`): it delays, loses, cuts, and shows old lists.

A POST that was sent belongs to the network: it arrives by its deadline or never, whatever becomes of the
process, and what it makes is listed by `settle` after the deadline. That is all the engine is promised.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass

from nexusd.core.answers import MADE, CreateAnswer, Created, CreateRequest, NotSent, Refused, Unknown
from nexusd.core.errors import BadAnswerError, UnauthorizedError, UnavailableError
from nexusd.core.polls import INSTANCES, REGIONS
from nexusd.core.records import Instance
from nexusd.core.regions import RegionList
from nexusd.core.sweeps import Sweep
from nexusd.ports import Clock
from nexusd.simulator.cloud import Cloud, Existing
from nexusd.simulator.invariants import Invariants
from nexusd.simulator.killing import Crossing, Life
from nexusd.simulator.options import SETTLE_S, Fault
from nexusd.simulator.trace import Trace
from nexusd.simulator.weather import Weather

GOOD_LISTINGS_BETWEEN = 4
"""Listings that were taken in between two that lack what they had: fewer in a row are believed."""
BIG_FLEET = 30
"""From so many instances on an empty list is held back longer."""


@dataclass(slots=True)
class Post:
    """One POST on its way. `deadline` in loop time."""

    request: CreateRequest
    owner: str
    deadline: float
    answer: asyncio.Future[CreateAnswer]


class Network:
    """Outlives every process."""

    def __init__(
        self, rng: random.Random, cloud: Cloud, weather: Weather, trace: Trace, invariants: Invariants
    ) -> None:
        self.rng = rng
        self.cloud = cloud
        self.weather = weather
        self.trace = trace
        self.invariants = invariants
        self._loop = asyncio.get_running_loop()
        self._bad_listings_left = 0
        self._bad_share = 1.0
        self._good_shown = 0

    def send(self, request: CreateRequest, owner: str, deadline: float) -> Post:
        """The first byte leaves; the rest happens by itself."""
        post = Post(request, owner, deadline, self._loop.create_future())
        rng, now = self.rng, self._loop.time()
        self._loop.call_at(deadline, self._give_up, post)
        if self.weather.on(Fault.LOST_ANSWER) and rng.random() < 0.15:
            self.trace.happened_to(owner, "the POST is lost on its way")
            return post
        late = self.weather.on(Fault.LATE_REQUEST) and rng.random() < 0.3
        arrives_at = max(now, deadline - rng.expovariate(1.0)) if late else now + rng.uniform(0.01, 0.2)
        self._loop.call_at(min(arrives_at, deadline), self._arrive, post)
        return post

    def seen(self) -> dict[str, Instance]:
        """The listing as the network shows it now."""
        listing = self.cloud.listing()
        if not self.weather.on(Fault.EMPTY_LIST):
            self._bad_listings_left = 0
        if self._bad_listings_left == 0 and self._may_lie(listing):
            both = len(listing) >= BIG_FLEET and self.rng.random() < 0.5
            self._bad_listings_left = 2 if both else 1
            self._bad_share = self.rng.choice([1.0, 1.0, 0.6, 0.1])
        if self._bad_listings_left == 0:
            self._good_shown += 1
            return listing
        self._good_shown = 0
        self._bad_listings_left -= 1
        if self._bad_listings_left:
            self._bad_share = 1.0
        self.invariants.good_listings = 0
        kept = {key: i for key, i in listing.items() if self.rng.random() >= self._bad_share}
        self.trace.happened(f"a listing has {len(kept)} of {len(listing)} instances")
        return kept

    def _may_lie(self, listing: dict[str, Instance]) -> bool:
        if not self.weather.on(Fault.EMPTY_LIST) or not listing:
            return False
        # Commits alone do not tell: after a full disk, those of listings from before the last lie come late.
        good = min(self._good_shown, self.invariants.good_listings)
        return good >= GOOD_LISTINGS_BETWEEN and self.rng.random() < 0.3

    def _arrive(self, post: Post) -> None:
        made = self.cloud.create(post.request, post.owner, self._listed_at(post))
        rng = self.rng
        if isinstance(made, Refused):
            self.trace.happened_to(post.owner, f"the cloud refuses: {made.status} {made.code}")
            answer: CreateAnswer = made
        else:
            self.trace.happened_to(post.owner, f"the cloud makes {made.instance.id} in {post.request.region}")
            answer = self._told(made)
        if self.weather.on(Fault.LOST_ANSWER) and rng.random() < 0.3:
            if rng.random() < 0.5:
                return  # it comes when the deadline has passed
            answer = Unknown("the connection was reset after the request was sent")
        self._loop.call_later(rng.uniform(0.01, 0.5), self._answer, post, answer)

    def _told(self, made: Existing) -> CreateAnswer:
        if self.weather.on(Fault.ODD_ANSWER) and self.rng.random() < 0.5:
            cut = Unknown("the answer was cut short", kind=MADE)
            return Created(None) if self.rng.random() < 0.5 else cut
        return Created(made.instance)

    def _listed_at(self, post: Post) -> float:
        """By `settle` after the deadline, and with the fault on not much before."""
        rng, now = self.rng, self._loop.time()
        if not self.weather.on(Fault.LIST_LAG) or rng.random() < 0.3:
            return now + rng.uniform(0.0, 2.0)
        latest = post.deadline + SETTLE_S
        return max(now, latest - rng.expovariate(1 / 20.0))

    def _give_up(self, post: Post) -> None:
        self._answer(post, Unknown("no answer before the deadline"))

    def _answer(self, post: Post, answer: CreateAnswer) -> None:
        if not post.answer.done():
            post.answer.set_result(answer)


class Connection:
    """`ports.CloudApi` of one process; a dead one's does nothing."""

    def __init__(self, network: Network, life: Life, clock: Clock) -> None:
        self._network = network
        self._life = life
        self._clock = clock
        self._answered_at: dict[str, float] = {}
        self._loop = asyncio.get_running_loop()

    async def read_regions(self) -> RegionList:
        began_at = await self._begin_reading(0.2)
        regions = self._network.cloud.regions()
        self._end_reading(REGIONS)
        self._network.invariants.bounds.regions_read(regions)
        return RegionList(began_at, self._clock.now(), regions)

    async def sweep_instances(self) -> Sweep:
        rng, weather = self._network.rng, self._network.weather
        began_at = await self._begin_reading(0.5)
        listing = self._network.seen()
        await asyncio.sleep(rng.uniform(0.0, 1.0))
        if weather.on(Fault.PARTIAL_SWEEP) and rng.random() < 0.6:
            raise BadAnswerError("page 2 and page 3 do not fit together", "partial")
        self._end_reading(INSTANCES)
        self._network.invariants.bounds.instances_read()
        return Sweep(began_at, self._clock.now(), listing)

    async def create_instance(self, request: CreateRequest, deadline: float) -> CreateAnswer:
        network, life = self._network, self._life
        life.crossed(Crossing.BEFORE_POST)
        if network.weather.on(Fault.PARTITION) and network.rng.random() < 0.8:
            await asyncio.sleep(network.rng.uniform(0.0, 3.0))
            life.require()
            return NotSent("connection refused")
        left_s = deadline - self._clock.now()
        if left_s < 0.0:
            return NotSent("the deadline had passed")
        owner = network.invariants.posting(request)
        post = network.send(request, owner, self._loop.time() + left_s)
        life.crossed(Crossing.POST_SENT)
        answer = await post.answer
        life.crossed(Crossing.POST_ANSWERED)
        network.trace.happened_to(owner, f"answer: {_in_short(answer)}")
        return answer

    def requested_name(self, instance_id: str) -> str | None:
        """Return the name in an instance's create request; only broken engines use it."""
        existing = self._network.cloud.instances.get(instance_id)
        return existing.requested_name if existing is not None else None

    def last_answer_at(self, resource: str) -> float | None:
        return self._answered_at.get(resource)

    async def _begin_reading(self, longest_s: float) -> float:
        network = self._network
        self._life.crossed(Crossing.BEFORE_READING)
        began_at = self._clock.now()
        await asyncio.sleep(network.rng.uniform(0.0, longest_s))
        if network.weather.on(Fault.PARTITION) and network.rng.random() < 0.8:
            raise UnavailableError("connection refused", "connect")
        if network.weather.on(Fault.AUTH) and network.rng.random() < 0.3:
            raise UnauthorizedError("the key is not valid")
        return began_at

    def _end_reading(self, resource: str) -> None:
        self._answered_at[resource] = self._clock.now()
        self._life.crossed(Crossing.AFTER_READING)


def _in_short(answer: CreateAnswer) -> str:
    match answer:
        case Created(instance):
            return f"201 {instance.id}" if instance is not None else "201 without an id"
        case Refused(status, code):
            return f"{status} {code}"
        case NotSent(reason) | Unknown(reason):
            return f"{type(answer).__name__}, {reason}"
