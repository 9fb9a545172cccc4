"""Scenario files: what can be written, and how mistakes are named."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexusd.core.errors import ConfigError
from nexusd.emulator.effects import (
    Answer,
    Drift,
    Drip,
    Drop,
    Effect,
    InstanceChange,
    LateAnswer,
    Latency,
    ListLag,
    Omit,
    PageCap,
    RegionChange,
    Truncate,
)
from nexusd.emulator.faults import Fault, Match, Schedule
from nexusd.emulator.scenario import load_scenario, parse_scenario
from tests.emulator.clients import WORKER, a_cloud, emulated

SCENARIOS = Path(__file__).parents[2] / "config" / "scenarios"


@pytest.mark.parametrize(
    ("text", "effect"),
    [
        ("latency: 200ms", Latency(0.2)),
        ("late_answer: 1m", LateAnswer(60.0)),
        ("answer: {status: 429, retry_after: 30s}", Answer(429, retry_after="30")),
        ("answer: {status: 429, retry_after: -5}", Answer(429, retry_after="-5")),
        (
            'answer: {status: 503, retry_after: "Wed, 21 Oct 2026 07:28:00 GMT"}',
            Answer(503, retry_after="Wed, 21 Oct 2026 07:28:00 GMT"),
        ),
        (
            "answer: {status: 400, code: X, message: y, details: [{field: z}]}",
            Answer(400, "X", "y", ({"field": "z"},)),
        ),
        (
            "answer: {status: 200, body: <p>, content_type: text/html, headers: {X-A: b}}",
            Answer(200, body=b"<p>", content_type="text/html", headers={"X-A": "b"}),
        ),
        ("answer: {status: 200, body_base64: //4=}", Answer(200, body=b"\xff\xfe")),
        ("commit_then_answer: {status: 500}", Answer(500, after_commit=True)),
        ("drop: before", Drop("before")),
        ("drop: {when: after_commit, how: close}", Drop("after_commit", "close")),
        ("truncate: 0.25", Truncate(0.25)),
        ("drip: 100", Drip(100)),
        ("omit: [id, name]", Omit(("id", "name"))),
        ("list_lag: 1h30m", ListLag(5400)),
        ("page_cap: 50", PageCap(50)),
        (
            "region: {slug: a, status: odd, latency: 1s, capacity: true}",
            RegionChange("a", "odd", 1000.0, True),
        ),
        ("region: {slug: a, gone: true}", RegionChange("a", gone=True)),
        ("instance: {name: web-*, status: stopped, take: 2}", InstanceChange("stopped", "web-*", take=2)),
        ("instance: {id: inst_1, vanish: true}", InstanceChange(None, id="inst_1")),
        ("drift: {insert: 1, remove: 2, move: 3, each: page}", Drift(1, 2, 3, "page")),
    ],
)
def test_every_effect_can_be_written(text: str, effect: Effect) -> None:
    assert parse_scenario(f"faults:\n  - {text}") == (Fault(effect),)


def test_matches_and_schedules_can_be_written() -> None:
    text = """
    description: everything
    faults:
      - name: all of it
        match: {endpoint: instances, method: POST, region: eu-*, name: web-*}
        at: 10s
        for: 1m30s
        nth: 3
        latency: 1s
      - {every: 5, count: 2, probability: 0.5, latency: 1s}
    """
    assert parse_scenario(text) == (
        Fault(
            Latency(1),
            Match("instances", "POST", "eu-*", "web-*"),
            Schedule(at_s=10, for_s=90, nth=3),
            "all of it",
        ),
        Fault(Latency(1), schedule=Schedule(every=5, count=2, probability=0.5)),
    )


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "s.yaml: is empty"),
        ("- 1", "s.yaml:1: must be a mapping"),
        ("description: x", "s.yaml:1: needs a list of faults"),
        ("faults: {}", "s.yaml:1: faults: must be a list"),
        ("fault: []", "s.yaml:1: fault: unknown key, did you mean faults?"),
        ("faults: [", "s.yaml:1: not YAML"),
        ("faults: " + "[" * 10_000, "s.yaml:1: not YAML: nested more than 40 levels deep"),
        ("faults: []\nfaults: []", "s.yaml:2: faults: is given twice"),
        (
            "faults:\n  - latency: 1s\n    latncy: 2s",
            "s.yaml:3: faults[0].latncy: unknown key, did you mean latency?",
        ),
        (
            "faults:\n  - match: {metod: GET}\n    latency: 1s",
            "s.yaml:2: faults[0].match.metod: unknown key, did you",
        ),
        (
            "faults:\n  - match: {method: PUT}\n    latency: 1s",
            "faults[0].match.method: must be one of GET, POST",
        ),
        ("faults:\n  - at: 1s", "s.yaml:2: faults[0]: needs exactly one of latency, .* has 0"),
        ("faults:\n  - {latency: 1s, drop: before}", "faults[0]: needs exactly one of .* has 2"),
        ("faults:\n  - latency: 10", "s.yaml:2: faults[0].latency: '10' is not a duration"),
        ("faults:\n  - latency: 5m1h", "faults[0].latency: '5m1h' is not a duration"),
        ("faults:\n  - {latency: 1s, nth: 0}", "faults[0]: nth must be at least 1"),
        ("faults:\n  - {latency: 1s, nth: x}", "faults[0].nth: must be a whole number"),
        ("faults:\n  - {latency: 1s, for: 0s}", "for must be more than 0"),
        ("faults:\n  - {latency: 1s, probability: 2}", "probability must be between 0 and 1"),
        ("faults:\n  - {latency: 1s, probability: .nan}", "faults[0].probability: must be a number"),
        ("faults:\n  - {latency: }", "faults[0].latency: must be a text"),
        ("faults:\n  - answer: {code: X}", "faults[0].answer: needs status"),
        ("faults:\n  - answer: {status: 99}", "faults[0].answer: status must be between"),
        ("faults:\n  - answer: {status: 200, body: a, body_base64: YQ==}", "has both body and body_base64"),
        ("faults:\n  - answer: {status: 200, body_base64: '!'}", "faults[0].answer.body_base64: "),
        ("faults:\n  - answer: {status: 200, headers: {'A b': c}}", "cannot be a header's name"),
        ('faults:\n  - answer: {status: 200, headers: {A: "b\\r\\nC: d"}}', "the header A must be one line"),
        ("faults:\n  - drop: sometimes", "faults[0].drop: must be one of before, after_commit"),
        ("faults:\n  - {drop: before, match: {name: x}}", "cannot match by name or region"),
        ("faults:\n  - truncate: 1", "faults[0].truncate: share must be"),
        ("faults:\n  - region: {slug: a}", "faults[0].region: needs status, latency, capacity or gone"),
        (
            "faults:\n  - region: {slug: a, capacity: maybe}",
            "faults[0].region.capacity: must be true or false",
        ),
        ("faults:\n  - instance: {name: a}", "faults[0].instance: needs either status or vanish"),
        ("faults:\n  - instance: {status: a, vanish: true}", "needs either status or vanish"),
        ("faults:\n  - instance: {status: a, name: b, id: c}", "faults[0].instance.id: has both name and id"),
        ("faults:\n  - instance: {status: a, take: 0}", "take must be at least 1"),
        ("faults:\n  - drift: {}", "faults[0].drift: drift needs"),
        ("faults:\n  - page_cap: 101", "faults[0].page_cap: page_cap must be"),
        ("faults:\n  - ? [a]\n    : b", "must have plain keys"),
    ],
)
def test_a_mistake_is_one_line_with_place_and_key(text: str, error: str) -> None:
    pattern = error.replace("[", r"\[").replace("]", r"\]").replace("?", r"\?")
    with pytest.raises(ConfigError, match=pattern) as caught:
        parse_scenario(text, "s.yaml")
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"description: \xe9")
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read: No such file"):
        load_scenario(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match=r"latin\.yaml: is not UTF-8"):
        load_scenario(tmp_path / "latin.yaml")


@given(st.text(max_size=200))
def test_any_text_is_faults_or_a_config_error(text: str) -> None:
    try:
        parse_scenario(text)
    except ConfigError as error:
        assert "\n" not in str(error)  # noqa: PT017 - either outcome is right


@pytest.mark.parametrize("path", sorted(SCENARIOS.glob("*.yaml")), ids=lambda path: path.name)
def test_the_examples_can_be_read(path: Path) -> None:
    assert load_scenario(path)


async def test_the_example_of_lost_creates_loses_each_and_makes_each() -> None:
    cloud = a_cloud()
    names = [f"web-{number}" for number in range(6)]
    async with emulated(cloud, *load_scenario(SCENARIOS / "lost-creates.yaml")) as client:
        for name in names:
            with suppress(aiohttp.ClientError):
                await client.post({**WORKER, "name": name})
        listed = await client.names()
    assert [seen.outcome for seen in cloud.creates] == ["unanswered"] * 5 + ["created"]
    assert [len(cloud.instances_named(name)) for name in names] == [1] * 6
    assert listed == [name for name in names if name != "web-4"]
