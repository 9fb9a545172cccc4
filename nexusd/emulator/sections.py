"""YAML read with its places, so that every mistake can be named by file, line and key.

`Value` is one node of the document, `Section` a mapping whose keys must all be known.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from difflib import get_close_matches
from typing import TypeVar

import yaml

from nexusd.core.errors import ConfigError

T = TypeVar("T")
_STRING, _NULL = "tag:yaml.org,2002:str", "tag:yaml.org,2002:null"
_TRUTH = {"true": True, "false": False}


class Value:
    """One value of the document. The readers raise `ConfigError` when it is not of their kind."""

    def __init__(self, node: yaml.Node, source: str, path: str) -> None:
        self._node = node
        self._source = source
        self._path = path

    @property
    def is_scalar(self) -> bool:
        return isinstance(self._node, yaml.ScalarNode)

    def error(self, problem: str) -> ConfigError:
        path = f"{self._path}: " if self._path else ""
        return ConfigError(f"{self._source}:{self._node.start_mark.line + 1}: {path}{problem}")

    def build(self, make: Callable[[], T]) -> T:
        """What `make` makes of this value; its `ValueError` becomes a `ConfigError` with the place."""
        try:
            return make()
        except ValueError as error:
            raise self.error(str(error)) from error

    def text(self) -> str:
        """A scalar as it is written, numbers included; not empty."""
        if not isinstance(self._node, yaml.ScalarNode) or self._node.tag == _NULL or not self._node.value:
            raise self.error("must be a text")
        return str(self._node.value)

    def integer(self) -> int:
        text = self.text()
        if not (text.isascii() and text.removeprefix("-").isdigit() and len(text) <= 18):
            raise self.error(f"must be a whole number, not {text!r}")
        return int(text)

    def number(self) -> float:
        text = self.text()
        try:
            number = float(text)
        except ValueError:
            raise self.error(f"must be a number, not {text!r}") from None
        if not math.isfinite(number):
            raise self.error(f"must be a number, not {text!r}")
        return number

    def boolean(self) -> bool:
        text = self.text()
        if text not in _TRUTH:
            raise self.error(f"must be true or false, not {text!r}")
        return _TRUTH[text]

    def items(self) -> list[Value]:
        if not isinstance(self._node, yaml.SequenceNode):
            raise self.error("must be a list")
        return [
            Value(node, self._source, f"{self._path}[{index}]") for index, node in enumerate(self._node.value)
        ]

    def texts(self) -> dict[str, str]:
        """A mapping with any keys to texts."""
        return {key: value.text() for key, value in self.pairs().items()}

    def pairs(self) -> dict[str, Value]:
        if not isinstance(self._node, yaml.MappingNode):
            raise self.error("must be a mapping of keys to values")
        pairs: dict[str, Value] = {}
        for key_node, node in self._node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise self.error("must have plain keys")
            key = str(key_node.value)
            path = f"{self._path}.{key}" if self._path else key
            value = Value(node, self._source, path)
            if key in pairs:
                raise Value(key_node, self._source, path).error("is given twice")
            pairs[key] = value
        return pairs

    def section(self) -> Section:
        return Section(self, self._source, self._path)

    @staticmethod
    def one_of(*words: str) -> Callable[[Value], str]:
        """A reader of one of these words."""

        def read(value: Value) -> str:
            text = value.text()
            if text not in words:
                raise value.error(f"must be one of {', '.join(words)}, not {text!r}")
            return text

        return read


class Section:
    """A mapping. `take` every key it may have, then `finish`: what is left over is unknown."""

    def __init__(self, value: Value, source: str, path: str) -> None:
        self._value = value
        self._source = source
        self._path = path
        self._pairs = value.pairs()
        self._known: set[str] = set()
        self.build = value.build

    def take(self, key: str, read: Callable[[Value], T]) -> T | None:
        """What `read` makes of the key's value, or None when there is no such key."""
        self._known.add(key)
        value = self._pairs.get(key)
        return None if value is None else read(value)

    def need(self, key: str, read: Callable[[Value], T]) -> T:
        """As `take`; raises `ConfigError` when there is no such key."""
        if key not in self._pairs:
            raise self.error(f"needs {key}")
        self._known.add(key)
        return read(self._pairs[key])

    def finish(self) -> None:
        """Raises `ConfigError` for a key that nobody took."""
        for key, value in self._pairs.items():
            if key not in self._known:
                near = get_close_matches(key, sorted(self._known), n=1)
                raise value.error(f"unknown key{f', did you mean {near[0]}?' if near else ''}")

    def error(self, problem: str, key: str | None = None) -> ConfigError:
        value = self._pairs.get(key) if key is not None else None
        return (value or self._value).error(problem)
