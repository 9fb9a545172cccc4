"""The recent course of a region, and its drawing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nexusd.core.recordings import RecordedAnswer
from nexusd.core.records import Region
from nexusd.web.page.course import SLOTS, Courses, Slot, drawing
from tests.web.fakes import LONDON, NOW, VIRGINIA
from tests.web.html import Page, read
from tests.web.site import Site

SLOT_S = 30.0
NOT_KNOWN = Region("a", "", "healthy", None, capacity=True)


def answer(at: float, until: float, latency_ms: float | None, status: str = "healthy") -> RecordedAnswer:
    return RecordedAnswer(at, until, (Region("a", "", status, latency_ms, capacity=True),))


def test_a_slot_has_the_highest_latency_and_the_worst_state() -> None:
    courses = Courses(SLOT_S)
    courses.take([answer(0, 5, 10.0, "down"), answer(10, 12, 90.0), answer(20, 25, 20.0)], 25.0)
    assert courses.of("a", 25.0)[-1] == Slot(90.0, hindered=True)


def test_what_was_not_answered_is_a_gap() -> None:
    courses = Courses(SLOT_S)
    courses.take([answer(0, 29, 10.0), answer(90, 119, 20.0)], 119.0)
    assert courses.of("a", 119.0)[-4:] == (Slot(10.0), None, None, Slot(20.0))
    assert courses.of("b", 119.0) == (None,) * SLOTS


def test_a_latency_that_is_not_known_is_no_zero() -> None:
    courses = Courses(SLOT_S)
    courses.take([RecordedAnswer(0, 1, (NOT_KNOWN,))], 1.0)
    assert courses.of("a", 1.0)[-1] == Slot(None)
    assert drawing(courses.of("a", 1.0), SLOT_S) is None


@given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 100), st.integers(1, 500)), max_size=30))
def test_it_is_bounded_and_taking_an_answer_in_again_changes_nothing(
    given_: list[tuple[int, int, int]],
) -> None:
    answers = [answer(at, at + lasts, ms) for at, lasts, ms in sorted(given_)]
    now = max((a.until for a in answers), default=0.0)
    once, twice = Courses(SLOT_S), Courses(SLOT_S)
    once.take(answers, now)
    twice.take(answers, now)
    twice.take(answers, now)
    assert once.of("a", now) == twice.of("a", now)
    assert len(once.of("a", now)) == SLOTS
    assert once.of("a", now + once.span_s + SLOT_S) == (None,) * SLOTS


def test_the_drawing_says_in_words_what_it_shows() -> None:
    course = (None,) * (SLOTS - 4) + (Slot(10.0), Slot(14.0, hindered=True), None, Slot(12.5))
    drawn = drawing(course, SLOT_S)
    assert drawn is not None
    page = Page(drawn)
    assert page.open == []
    assert page.values("aria-label") == [
        "10 to 14 ms in the last 30 min, nothing could be placed there during 30 s of it"
    ]
    assert page.tags.count("polyline") == 1  # a single point is no line
    assert page.tags.count("rect") == 1


def test_a_steady_latency_is_drawn_as_steady() -> None:
    drawn = drawing((Slot(100.0), Slot(101.0)) * (SLOTS // 2), SLOT_S)
    assert drawn is not None
    heights = {point.split(",")[1] for points in Page(drawn).values("points") for point in points.split()}
    assert max(map(float, heights)) - min(map(float, heights)) < 2.0


async def test_the_page_draws_what_the_store_remembers_and_goes_on_from_there(site: Site) -> None:
    site.store.region_history.answers = [
        RecordedAnswer(NOW - 600 + n, NOW - 599.5 + n, (VIRGINIA, LONDON)) for n in range(200)
    ]
    assert "12 to 12 ms in the last 30 min" in (await read(site)).values("aria-label")
    slower = Region("us-east-1", "", "healthy", 99.0, capacity=True)
    site.store.region_history.answers.append(RecordedAnswer(NOW, NOW, (slower,)))
    site.daemon.world.regions = type(site.daemon.world.regions)(NOW, site.daemon.world.regions.known)
    site.clock.advance(1.0)
    assert "12 to 99 ms in the last 30 min" in (await read(site)).values("aria-label")
