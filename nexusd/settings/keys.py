"""What keys exist, as read off the models: for hints, the environment, secrets by file, and the reference."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias, Union, get_args, get_origin

from pydantic import BaseModel, Secret
from pydantic.fields import FieldInfo

from nexusd.core.spelling import nearest
from nexusd.settings.values import Seconds
from nexusd.settings.yamlfile import KeyPath

Model: TypeAlias = type[BaseModel]


@dataclass(frozen=True)
class Place:
    """One mapping of the raw data, the model that it belongs to, and where it stands."""

    model: Model
    data: dict[str, object]
    path: KeyPath


def fields(model: Model) -> dict[str, FieldInfo]:
    """The fields of a section by the name of their key."""
    return {info.alias or name: info for name, info in model.model_fields.items()}


def models_in(annotation: Any) -> list[Model]:
    """Every section that a value of this type may be, or hold: one but for receivers."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    origin = get_origin(annotation)
    if origin is Annotated:
        return models_in(get_args(annotation)[0])
    if origin in (Union, types.UnionType, tuple, dict):
        return [model for part in get_args(annotation) for model in models_in(part)]
    return []


def is_secret(annotation: Any) -> bool:
    """Whether a value of this type must not be shown."""
    if isinstance(annotation, type) and issubclass(annotation, Secret):
        return True
    return any(is_secret(part) for part in get_args(annotation))


def is_duration(info: FieldInfo) -> bool:
    """Whether a key takes a duration."""
    marker = get_args(Seconds)[1]
    inner = [arg for part in get_args(info.annotation) for arg in get_args(part)]
    return marker in info.metadata or marker in inner


def is_scalar(info: FieldInfo) -> bool:
    """Whether a key takes one value, and neither a section nor a list nor a mapping."""
    parts = [info.annotation]
    if get_origin(info.annotation) in (Union, types.UnionType):
        parts = list(get_args(info.annotation))
    return not any(models_in(part) or get_origin(part) in (tuple, dict) for part in parts)


def holds_mapping(info: FieldInfo) -> bool:
    """Whether the key holds sections by name (`alerts.rules`)."""
    return get_origin(info.annotation) is dict


def places(model: Model, data: Mapping[str, object], path: KeyPath = ()) -> Iterator[Place]:
    """Every mapping in the raw data that a section describes, the outer ones first; no unknown ones."""
    if isinstance(data, dict):
        yield Place(model, data, path)
    for key, info in fields(model).items():
        candidates = models_in(info.annotation)
        if not candidates or key not in data:
            continue
        for item, item_path in _items(data[key], info, (*path, key)):
            chosen = choose(candidates, item)
            if chosen is not None:
                yield from places(chosen, item, item_path)


def _items(value: object, info: FieldInfo, path: KeyPath) -> Iterator[tuple[dict[str, object], KeyPath]]:
    if isinstance(value, list):
        yield from ((item, (*path, n)) for n, item in enumerate(value) if isinstance(item, dict))
    elif isinstance(value, dict) and holds_mapping(info):
        yield from ((item, (*path, name)) for name, item in value.items() if isinstance(item, dict))
    elif isinstance(value, dict):
        yield value, path


def choose(candidates: Sequence[Model], item: Mapping[str, object]) -> Model | None:
    """The section that a mapping is, among several by its `type`."""
    if len(candidates) == 1:
        return candidates[0]
    for model in candidates:
        if item.get("type") in get_args(model.model_fields["type"].annotation):
            return model
    return None


def locate(section: Model, path: KeyPath, data: object = None) -> tuple[Model | None, FieldInfo | None]:
    """The section in which a path ends and the field it ends at or in; None where it leads nowhere.

    `data` is what stands at `section`: it tells which kind of receiver an item is.
    """
    info = fields(section).get(str(path[0]))
    if info is None:
        return section, None
    candidates, value, rest = models_in(info.annotation), _inside(data, path[0]), path[1:]
    if rest and candidates and (isinstance(rest[0], int) or holds_mapping(info)):
        value, rest = _inside(value, rest[0]), rest[1:]
    if not rest or not candidates:
        return section, info
    inner = choose(candidates, value if isinstance(value, dict) else {})
    return locate(inner, rest, value) if inner else (None, None)


def _inside(data: object, part: str | int) -> object:
    if isinstance(data, dict):
        return data.get(part)
    if isinstance(data, list) and isinstance(part, int) and part < len(data):
        return data[part]
    return None


def leaves(model: Model, prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every key of every section, dotted: `fleets[].name`, `alerts.rules.<Name>.for`."""
    for key, info in fields(model).items():
        nested = models_in(info.annotation)
        if not nested:
            yield f"{prefix}{key}", info
            continue
        joint = ".<Name>" if holds_mapping(info) else "[]" if get_origin(info.annotation) is tuple else ""
        seen: set[str] = set()
        for section in nested:
            for name, leaf in leaves(section, f"{prefix}{key}{joint}."):
                if name not in seen:
                    seen.add(name)
                    yield name, leaf


def nearest_key(root: Model, section: Model | None, key: str) -> str | None:
    """The known key most like an unknown one: a sibling, one elsewhere, or the least unlike sibling."""
    siblings = list(fields(section)) if section else []
    close = nearest(key, siblings)
    if close is not None:
        return close
    elsewhere = {name.rpartition(".")[2]: name for name, _ in reversed(list(leaves(root)))}
    other = nearest(key, list(elsewhere), 0.85)
    return elsewhere[other] if other else nearest(key, siblings or list(fields(root)), 0.0)


def dotted(path: KeyPath) -> str:
    """A path as people write it: `receivers[0].url`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
