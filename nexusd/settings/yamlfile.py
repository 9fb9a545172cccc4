"""Reading a YAML file so that every key remembers its line. Called by `loading`.

Scalars are those of YAML 1.2's core schema, so `no` and `12:30` are text. Duplicate keys are errors. What a
file can cost is bounded: its size, its depth, and how many values its aliases may expand to.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from nexusd.core.errors import ConfigError
from nexusd.core.yaml_loader import MAX_DEPTH, TOO_DEEP, BoundedLoader

MAX_BYTES = 1 << 20
MAX_VALUES = 50_000

KeyPath = tuple[str | int, ...]
_MERGE = "tag:yaml.org,2002:merge"


@dataclass
class Document:
    """`lines`: the line (from 1) of each key or list item, by its path."""

    data: dict[str, object] = field(default_factory=dict)
    lines: dict[KeyPath, int] = field(default_factory=dict)


def read(path: Path) -> Document:
    """Raises `ConfigError` with one line per problem, each naming file and line."""
    return parse(_text(path), str(path))


def parse(text: str, name: str) -> Document:
    """The same from text; `name` is what messages call it."""
    try:
        node = yaml.compose(text, Loader=_CoreLoader)
        return _Walk(name).document(node)
    except yaml.MarkedYAMLError as error:
        raise ConfigError(_syntax_error(name, error)) from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{name}: not valid YAML: {str(error).splitlines()[0]}") from None


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{path}: larger than {MAX_BYTES // 1024} KiB")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text (byte {error.start})") from None


def _syntax_error(name: str, error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    where = f"{name}:{mark.line + 1}" if mark else name
    return f"{where}: not valid YAML: {error.problem or error.context}"


class _CoreLoader(BoundedLoader):
    """Resolves plain scalars as YAML 1.2's core schema does (10.3.2), and `<<` as a merge."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's own


_SCALARS = (
    ("tag:yaml.org,2002:null", r"|null|Null|NULL|~", ["", "n", "N", "~"]),
    ("tag:yaml.org,2002:bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("tag:yaml.org,2002:int", r"[-+]?[0-9]+", list("-+0123456789")),
    (
        "tag:yaml.org,2002:float",
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?",
        list("-+.0123456789"),
    ),
    (_MERGE, r"<<", ["<"]),
)
for _tag, _pattern, _first in _SCALARS:
    _CoreLoader.add_implicit_resolver(_tag, re.compile(rf"^(?:{_pattern})$"), _first)


class _Walk:
    """Turns PyYAML's node tree into plain values. One use."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._values = 0
        self._lines: dict[KeyPath, int] = {}

    def document(self, node: yaml.Node | None) -> Document:
        if node is None:
            return Document()
        value = self._value(node, ())
        if value is None:
            return Document()
        if not isinstance(value, dict):
            raise self._error(node, "expected keys and values at the top, such as `log:`")
        return Document(value, self._lines)

    def _value(self, node: yaml.Node, path: KeyPath) -> object:
        self._values += 1
        if self._values > MAX_VALUES:
            raise self._error(node, f"more than {MAX_VALUES} values (aliases counted as often as used)")
        if len(path) > MAX_DEPTH:
            raise self._error(node, TOO_DEEP)
        if isinstance(node, yaml.MappingNode) and node.tag == "tag:yaml.org,2002:map":
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode) and node.tag == "tag:yaml.org,2002:seq":
            return self._sequence(node, path)
        return self._scalar(node)

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, object]:
        found: dict[str, object] = {}
        own_lines: dict[str, int] = {}
        merged: dict[str, object] = {}
        merges = [value for key, value in node.value if key.tag == _MERGE]
        for source in (source for value in merges for source in self._merge_sources(value)):
            merged = self._mapping(source, path) | merged
        for key_node, value_node in node.value:
            if key_node.tag == _MERGE:
                continue
            key = self._key(key_node)
            line = key_node.start_mark.line + 1
            if key in found:
                shown = ".".join(map(str, (*path, key)))
                raise self._error(key_node, f"{shown}: given twice, first on line {own_lines[key]}")
            own_lines[key] = line
            found[key] = self._value(value_node, (*path, key))
            self._lines[*path, key] = line
        return merged | found

    def _merge_sources(self, node: yaml.Node) -> Iterator[yaml.MappingNode]:
        sources = node.value if isinstance(node, yaml.SequenceNode) else [node]
        for source in sources:
            self._values += 1
            if self._values > MAX_VALUES:
                raise self._error(node, f"more than {MAX_VALUES} values (aliases counted as often as used)")
            if not isinstance(source, yaml.MappingNode):
                raise self._error(source, "<< merges mappings only")
            yield source

    def _sequence(self, node: yaml.SequenceNode, path: KeyPath) -> list[object]:
        items = []
        for index, item in enumerate(node.value):
            self._lines[*path, index] = item.start_mark.line + 1
            items.append(self._value(item, (*path, index)))
        return items

    def _key(self, node: yaml.Node) -> str:
        if not isinstance(node, yaml.ScalarNode):
            raise self._error(node, "a key must be plain text")
        return str(node.value)

    def _scalar(self, node: yaml.Node) -> object:
        text = str(node.value)
        match node.tag.removeprefix("tag:yaml.org,2002:"):
            case "str":
                return text
            case "null":
                return None
            case "bool":
                return text.lower() == "true"
            case "int" if len(text) <= 40 and re.fullmatch(r"[-+]?[0-9]+", text):
                return int(text)
            case "float" if len(text) <= 40:
                try:
                    return float(text)
                except ValueError:
                    raise self._error(node, "not a number") from None
            case "int":
                raise self._error(node, "not a whole number, or too long a one")
        raise self._error(node, f"the YAML tag {node.tag} is not allowed here")

    def _error(self, node: yaml.Node, message: str) -> ConfigError:
        return ConfigError(f"{self._name}:{node.start_mark.line + 1}: {message}")
