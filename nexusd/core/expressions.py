"""CEL, the Common Expression Language: `where` of placements, fleets and rules, `when` of custom rules.

An expression is compiled once, when it is received, and everything that can be known to be wrong with it is
said then. It sees one record of each kind named in `RECORDS`; an optional field that the cloud did not send
is `null`. A number from the cloud is a double: `region.latency_ms < 80` and `< 80.0` are the same, while
arithmetic wants `80.0`. `&&` and `||` decide what they can although one side cannot be evaluated.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from nexusd.core.errors import InputError
from nexusd.core.expression_syntax import (
    Outline,
    SyntaxComplaint,
    bounded_pattern,
    check_size,
    outline,
    replace_tokens,
)
from nexusd.core.records import Fleet, Instance, Region, Specs

if TYPE_CHECKING:
    import cel

Record = Region | Instance | Fleet
Reader = Callable[[Any], object]

_NO_SPECS = Specs()


def _spec(name: str) -> Reader:
    return lambda instance: getattr(instance.specs or _NO_SPECS, name)


RECORDS: Mapping[str, Mapping[str, Reader]] = {
    "region": {name: attrgetter(name) for name in ("slug", "name", "status", "latency_ms", "capacity")},
    "instance": {
        name: attrgetter(name)
        for name in ("id", "name", "status", "region", "public_ip", "created_at", "plan", "image")
    }
    | {name: _spec(name) for name in ("cpu", "ram_gb", "disk_gb")},
    "fleet": {
        name: attrgetter(name)
        for name in ("name", "plan", "count", "alive", "running", "stopped", "missing", "surplus")
    },
}
"""The records that expressions may name, with their fields and how each is read."""

_SAMPLES: tuple[dict[str, Record], ...] = (
    {
        "region": Region("us-east-1", "Virginia, US", "healthy", 12.0, capacity=True),
        "instance": Instance(
            "inst_8x92j1k0",
            "prod-api-primary",
            "running",
            "us-east-1",
            "203.0.113.7",
            "2026-01-31T12:00:00Z",
            Specs(4.0, 16.0, 200.0),
            "pro",
            "ubuntu-22.04",
        ),
        "fleet": Fleet("web", "pro", count=6, alive=6, running=5, stopped=0),
    },
    {
        "region": Region("eu-west-2", "London, UK", "degraded", 450.0, capacity=False),
        "instance": Instance(
            "6f1c2a52-0f0e-4b2a-9d53-6d6a53c2b9b1",
            "worker-01",
            "stopped",
            "eu-west-2",
            "198.51.100.1",
            "2020-02-29T00:00:00.5+00:00",
            Specs(1.0, 0.5, 10.0),
            "starter",
            "debian-12",
        ),
        "fleet": Fleet("api", "starter", count=3, alive=1, running=1, stopped=2),
    },
)


class ExpressionError(InputError):
    """An expression that cannot be used, or cannot be evaluated for one record. One line."""


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled condition. It is called with one record for each of `variables`, in that order.

    `readers`: by variable, the fields that it reads; no others are handed to the engine.
    """

    text: str
    variables: tuple[str, ...]
    readers: Mapping[str, Mapping[str, Reader]]
    _program: cel.Program

    def __call__(self, *records: Record) -> bool:
        """Whether it is true of the records. About 5 µs.

        Raises `ExpressionError`, saying which field is not known or what else is wrong.
        """
        context = {
            name: {field: read(record) for field, read in self.readers[name].items()}
            for name, record in zip(self.variables, records, strict=True)
            if name in self.readers
        }
        try:
            result = _execute(self._program, context)
        except ExpressionError as error:
            if (unknown := _null_fields(context)) and isinstance(error.__cause__, TypeError):
                raise ExpressionError(f"{unknown} is not known") from error
            raise
        if not isinstance(result, bool):
            raise ExpressionError(f"the result is {_type_name(result)}, not true or false")
        return result


def compile_where(text: str, variables: tuple[str, ...], field: str = "where") -> Expression:
    """Compile a condition over the named records (keys of `RECORDS`).

    Raises `ExpressionError`, whose `field` is the given one, for: wrong syntax, unknown names, fields or
    functions, types that cannot fit, a result that is not true or false, and whatever is not bounded
    (`expression_syntax`).
    """
    try:
        return _compile(text, variables)
    except SyntaxComplaint as complaint:
        raise ExpressionError(str(complaint), field) from None
    except ExpressionError as error:
        error.field = field
        raise


def region_where(text: str, field: str = "where") -> Callable[[Region], bool]:
    """A `where` over `region`, as `placement.decide` takes it. Raises as `compile_where` does."""
    return compile_where(text, ("region",), field)


def instance_where(text: str, field: str = "where") -> Callable[[Instance], bool]:
    """A `where` over `instance`. Raises as `compile_where` does."""
    return compile_where(text, ("instance",), field)


@lru_cache(maxsize=256)
def _compile(text: str, variables: tuple[str, ...]) -> Expression:
    tokens = check_size(text)
    _parse(text)
    found = outline(tokens, {name: frozenset(RECORDS[name]) for name in variables})
    expression = Expression(text, variables, _readers(found), _parse(_with_bounded_patterns(text, found)))
    _try_samples(expression)
    return expression


def _parse(text: str) -> cel.Program:
    import cel  # brings 30 MB of terminal toolkits along: only when there is an expression

    try:
        return cel.compile(text)
    except ValueError as error:
        raise ExpressionError(_syntax_message(str(error))) from None
    except BaseException as error:
        raise _from_engine(error) from error


def _readers(found: Outline) -> dict[str, dict[str, Reader]]:
    return {
        record: {field: read for field, read in RECORDS[record].items() if used is None or field in used}
        for record, used in found.fields.items()
    }


def _with_bounded_patterns(text: str, found: Outline) -> str:
    """The text with each pattern made cheap, and tried, so that a wrong one is refused on receipt."""
    replaced = {}
    for token in found.patterns:
        pattern = _execute(_parse(token.text), {})
        if not isinstance(pattern, str):
            raise ExpressionError('matches() takes one pattern in quotes: region.slug.matches("^eu-")')
        replaced[token] = json.dumps(bounded_pattern(pattern), ensure_ascii=False)
        try:
            _execute(_parse(f'"".matches({replaced[token]})'), {})
        except ExpressionError as error:
            why = str(error).rpartition("error: ")[2].partition(". Check")[0]
            raise ExpressionError(f"the pattern {token.text} is not valid: {why}") from error
    return replace_tokens(text, replaced)


def _try_samples(expression: Expression) -> None:
    """Refuse what fails for records that have every field. A conversion may fail for one and not another."""
    for sample in _SAMPLES:
        try:
            expression(*(sample[name] for name in expression.variables))
        except ExpressionError as error:
            if not _depends_on_data(error.__cause__):
                raise


def _depends_on_data(cause: BaseException | None) -> bool:
    """Whether another record may do better: a key of a map, text that is no number, a value out of range."""
    if isinstance(cause, RuntimeError):
        return " error: " in str(cause)
    return isinstance(cause, (KeyError, OverflowError))


def _execute(program: cel.Program, context: dict[str, dict[str, object]]) -> object:
    try:
        return program.execute(context)
    except BaseException as error:
        raise _from_engine(error) from error


def _from_engine(error: BaseException) -> BaseException:
    """What the engine raised, as an `ExpressionError`; what was not its doing (an interrupt) as it is.

    A panic inside it arrives as `pyo3_runtime.PanicException`, a `BaseException` of no importable name.
    """
    if isinstance(error, TypeError):
        return ExpressionError(
            "an operator or function is given values of the wrong type "
            "(whole numbers and decimals do not mix in arithmetic: write 80.0)"
        )
    if isinstance(error, KeyError):
        return ExpressionError(f"there is no key {_one_line(str(error))}")
    if unfit := _UNFIT.match(str(error)):
        return ExpressionError(f"{unfit.group(1)} cannot be used on these values")
    if isinstance(error, Exception):
        return ExpressionError(_one_line(str(error)))
    if type(error).__name__ == "PanicException":
        return ExpressionError("the expression engine failed on it")
    return error


def _null_fields(context: Mapping[str, Mapping[str, object]]) -> str:
    return ", ".join(
        f"{record}.{field}"
        for record, fields in context.items()
        for field, value in fields.items()
        if value is None
    )


def _type_name(value: object) -> str:
    if value is None:
        return "null"
    names = {int: "a number", float: "a number", str: "text", list: "a list", dict: "a map"}
    return names.get(type(value), f"a {type(value).__name__}")


_POSITION = re.compile(r"ERROR: <input>:(\d+):(\d+): (?:Syntax error: )?(.*)")
_UNFIT = re.compile(r"Undefined variable or function: '([^']*)'")  # names are known to exist: `outline`
_HINTS = {"unexpected '=": "; compare with ==", "'and'": "; CEL writes &&", "'or'": "; CEL writes ||"}


def _syntax_message(message: str) -> str:
    """The engine's first complaint without its drawing."""
    found = _POSITION.search(message)
    if found is None:
        return "syntax error"
    line, column, what = found.groups()
    what = re.sub(r" expecting .*| \{ .*", "", what)
    what = re.sub(
        r"(token recognition error at:|mismatched input|extraneous input|no viable alternative at input)",
        "unexpected",
        what,
    ).replace("unexpected '<EOF>'", "unexpected end")
    hint = next((text for sign, text in _HINTS.items() if sign in what), "")
    where = f"line {line}, column {column}" if line != "1" else f"column {column}"
    return f"syntax error at {where}: {_one_line(what)}{hint}"


def _one_line(text: str) -> str:
    """At most 200 printable characters on one line."""
    return "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))[:200]
