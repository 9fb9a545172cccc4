"""Faults from a YAML scenario file, read strictly: every mistake is named with its line and key.

The file's shape is described in docs/emulator.md, with examples in config/scenarios/.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import yaml

from nexusd.core.durations import parse_duration
from nexusd.core.errors import ConfigError
from nexusd.core.yaml_loader import BoundedLoader
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
from nexusd.emulator.sections import Section, Value

_MAX_FILE_BYTES = 1024 * 1024


def load_scenario(path: Path) -> tuple[Fault, ...]:
    """The faults of a scenario file. Raises `ConfigError`: one line with file, line and key."""
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    if len(data) > _MAX_FILE_BYTES:
        raise ConfigError(f"{path}: is larger than {_MAX_FILE_BYTES} bytes")
    try:
        return parse_scenario(data.decode(), str(path))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text") from error


def parse_scenario(text: str, source: str = "scenario") -> tuple[Fault, ...]:
    """The faults of a scenario's text; `source` is what errors call it. Raises `ConfigError`."""
    try:
        node = yaml.compose(text, Loader=BoundedLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark is not None else 1
        raise ConfigError(f"{source}:{line}: not YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{source}: not YAML: {' '.join(str(error).split())}") from error
    if node is None:
        raise ConfigError(f"{source}: is empty; a scenario has a list of faults")
    top = Value(node, source, "").section()
    top.take("description", Value.text)
    faults = top.take("faults", Value.items)
    top.finish()
    if faults is None:
        raise top.error("needs a list of faults", "faults")
    return tuple(_fault(item.section()) for item in faults)


def _fault(section: Section) -> Fault:
    name = section.take("name", Value.text) or ""
    match = section.take("match", _match) or Match()
    schedule = _schedule(section)
    effects = [effect for key, read in _EFFECTS.items() if (effect := section.take(key, read)) is not None]
    section.finish()
    if len(effects) != 1:
        raise section.error(f"needs exactly one of {', '.join(_EFFECTS)}, and has {len(effects)}")
    return section.build(lambda: Fault(effects[0], match, schedule, name))


def _match(value: Value) -> Match:
    section = value.section()
    match = Match(
        endpoint=section.take("endpoint", Value.one_of("instances", "regions")),  # type: ignore[arg-type]
        method=section.take("method", Value.one_of("GET", "POST")),  # type: ignore[arg-type]
        region=section.take("region", Value.text),
        name=section.take("name", Value.text),
    )
    section.finish()
    return match


def _schedule(section: Section) -> Schedule:
    at_s = section.take("at", _duration)
    for_s = section.take("for", _duration)
    nth = section.take("nth", Value.integer)
    every = section.take("every", Value.integer)
    count = section.take("count", Value.integer)
    probability = section.take("probability", Value.number)
    return section.build(lambda: Schedule(at_s or 0.0, for_s, nth, every, count, probability))


def _duration(value: Value) -> float:
    text = value.text()
    try:
        return parse_duration(text)
    except ValueError as error:
        raise value.error(f"{text!r} is not {error}") from error


def _answer(value: Value) -> Answer:
    return _any_answer(value, after_commit=False)


def _commit_then_answer(value: Value) -> Answer:
    return _any_answer(value, after_commit=True)


def _any_answer(value: Value, *, after_commit: bool) -> Answer:
    section = value.section()
    status = section.need("status", Value.integer)
    body = section.take("body", Value.text)
    encoded = section.take("body_base64", lambda item: item.build(lambda: Answer.decode_body(item.text())))
    if body is not None and encoded is not None:
        raise section.error("has both body and body_base64", "body_base64")
    fields = {
        "code": section.take("code", Value.text),
        "message": section.take("message", Value.text),
        "retry_after": section.take("retry_after", _retry_after),
    }
    details = section.take("details", Value.items)
    content_type = section.take("content_type", Value.text) or "application/json"
    headers = section.take("headers", _headers) or {}
    section.finish()
    return section.build(
        lambda: Answer(
            status,
            **fields,
            details=None if details is None else tuple(_detail(item) for item in details),
            body=encoded if body is None else body.encode(),
            content_type=content_type,
            headers=headers,
            after_commit=after_commit,
        )
    )


def _retry_after(value: Value) -> str:
    """As it is to be sent; a duration (`30s`) becomes seconds."""
    text = value.text()
    try:
        return str(round(parse_duration(text)))
    except ValueError:
        return text


def _headers(value: Value) -> Mapping[str, str]:
    headers = value.texts()
    for name, text in headers.items():
        if not name.isascii() or any(ord(char) < 32 or char in ' :"' for char in name):
            raise value.error(f"{name!r} cannot be a header's name")
        if any(char in "\r\n\0" for char in text):
            raise value.error(f"the header {name} must be one line")
    return headers


def _detail(value: Value) -> Mapping[str, object]:
    return dict(value.texts())


def _drop(value: Value) -> Drop:
    """`drop: before`, `drop: after_commit`, or `{when, how}`."""
    if value.is_scalar:
        return Drop(Value.one_of("before", "after_commit")(value))  # type: ignore[arg-type]
    section = value.section()
    when = section.need("when", Value.one_of("before", "after_commit"))
    how = section.take("how", Value.one_of("reset", "close")) or "reset"
    section.finish()
    return Drop(when, how)  # type: ignore[arg-type]


def _truncate(value: Value) -> Truncate:
    share = value.number()
    return value.build(lambda: Truncate(share))


def _drip(value: Value) -> Drip:
    rate = value.number()
    return value.build(lambda: Drip(rate))


def _omit(value: Value) -> Omit:
    names = tuple(item.text() for item in value.items())
    return value.build(lambda: Omit(names))


def _page_cap(value: Value) -> PageCap:
    limit = value.integer()
    return value.build(lambda: PageCap(limit))


def _region(value: Value) -> RegionChange:
    section = value.section()
    change = RegionChange(
        slug=section.need("slug", Value.text),
        status=section.take("status", Value.text),
        latency_ms=section.take("latency", lambda item: _duration(item) * 1000),
        capacity=section.take("capacity", Value.boolean),
        gone=section.take("gone", Value.boolean) or False,
    )
    section.finish()
    if change == RegionChange(change.slug):
        raise section.error("needs status, latency, capacity or gone")
    return change


def _instance(value: Value) -> InstanceChange:
    section = value.section()
    status = section.take("status", Value.text)
    vanish = section.take("vanish", Value.boolean)
    name = section.take("name", Value.text)
    instance_id = section.take("id", Value.text)
    take = section.take("take", Value.integer)
    section.finish()
    if (status is None) is not (vanish is True):
        raise section.error("needs either status or vanish: true")
    if name is not None and instance_id is not None:
        raise section.error("has both name and id", "id")
    return section.build(
        lambda: InstanceChange(status, name or "*", instance_id, 1 if take is None else take)
    )


def _drift(value: Value) -> Drift:
    section = value.section()
    insert = section.take("insert", Value.integer) or 0
    remove = section.take("remove", Value.integer) or 0
    move = section.take("move", Value.integer) or 0
    each = section.take("each", Value.one_of("sweep", "page")) or "sweep"
    section.finish()
    return section.build(lambda: Drift(insert, remove, move, each))  # type: ignore[arg-type]


_EFFECTS: dict[str, Callable[[Value], Effect]] = {
    "latency": lambda value: Latency(_duration(value)),
    "late_answer": lambda value: LateAnswer(_duration(value)),
    "answer": _answer,
    "commit_then_answer": _commit_then_answer,
    "drop": _drop,
    "truncate": _truncate,
    "drip": _drip,
    "omit": _omit,
    "list_lag": lambda value: ListLag(_duration(value)),
    "page_cap": _page_cap,
    "region": _region,
    "instance": _instance,
    "drift": _drift,
}
