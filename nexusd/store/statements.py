"""SQLAlchemy Core statements, compiled once a database and run on the driver's own connection.

SQLAlchemy writes the SQL of both databases; executing through its Connection as well would cost more than the
statement itself (a single-row insert: 25 µs against 5 µs), and group commit lives on small statements.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeAlias

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.base import Executable

_WRITING = (sa.Insert, sa.Update, sa.Delete)

CHUNK = 5_000
"""Rows handed to the driver at once, so that a large write needs little memory."""

Row: TypeAlias = tuple[Any, ...]
Values: TypeAlias = Mapping[str, object]
DialectInsert: TypeAlias = Any
"""`sqlite.insert` or `postgresql.insert`: the same methods under two unrelated types."""


@dataclass(frozen=True, eq=False, slots=True)
class Upsert:
    """Insert rows, and where the primary key exists overwrite `updates` (all other columns stay).

    Both databases have it; SQLAlchemy spells it by a construct of its own for each.
    """

    table: sa.Table
    inserts: tuple[str, ...]
    updates: tuple[str, ...]

    def build(self, insert: Callable[[sa.Table], DialectInsert]) -> Executable:
        made = insert(self.table).values(parameters(self.table, self.inserts))
        built: Executable = made.on_conflict_do_update(
            index_elements=[column.name for column in self.table.primary_key],
            set_={name: made.excluded[name] for name in self.updates},
        )
        return built


@dataclass(frozen=True, eq=False, slots=True)
class InsertAbsent:
    """Insert a row unless some unique key already has it; the row count tells."""

    table: sa.Table

    def build(self, insert: Callable[[sa.Table], DialectInsert]) -> Executable:
        names = tuple(column.name for column in self.table.columns)
        built: Executable = insert(self.table).values(parameters(self.table, names)).on_conflict_do_nothing()
        return built


@dataclass(frozen=True, eq=False, slots=True)
class Insert:
    """Insert rows of every column but a generated id."""

    table: sa.Table

    def build(self, insert: Callable[[sa.Table], DialectInsert]) -> Executable:
        names = [c.name for c in self.table.columns if c is not self.table.autoincrement_column]
        built: Executable = insert(self.table).values(parameters(self.table, names))
        return built


@dataclass(frozen=True, eq=False, slots=True)
class InsertReturningId:
    """The same, and give the generated id back."""

    insert: Insert

    def build(self, insert: Callable[[sa.Table], DialectInsert]) -> Executable:
        built: Any = self.insert.build(insert)
        returning: Executable = built.returning(self.insert.table.autoincrement_column)
        return returning


Statement: TypeAlias = Executable | Upsert | InsertAbsent | Insert | InsertReturningId


def parameters(table: sa.Table, names: Iterable[str]) -> dict[str, sa.BindParameter[Any]]:
    """Each named column set from the parameter of its own name."""
    return {name: sa.bindparam(name, type_=table.c[name].type) for name in names}


def given(name: str, type_: sa.types.TypeEngine[Any] | type[sa.types.TypeEngine[Any]]) -> Any:
    """A parameter given when the statement is run."""
    return sa.bindparam(name, type_=type_)


def begins_with(column: Any, parameter: Any) -> Any:
    """Return the condition that a text begins with another, compared exactly.

    LIKE ignores case in SQLite.
    """
    return sa.func.substr(column, 1, sa.func.length(parameter)) == parameter


def chunks(rows: Iterable[Values], size: int = CHUNK) -> Iterator[list[Values]]:
    """The rows in lists of at most `size`."""
    remaining = iter(rows)
    while chunk := list(islice(remaining, size)):
        yield chunk


class Session:
    """One driver connection and what happens on it between `begin` and `commit`.

    The driver's own errors come out as they are; `commits.GroupCommit` turns them into the store's.
    `wrote` tells whether anything was written since it was last set to False.
    """

    _begin = "BEGIN"

    def __init__(self, connection: Any, dialect: sa.Dialect) -> None:
        self._connection = connection
        self._cursor = connection.cursor()
        self._dialect = dialect
        self._dialect_insert = postgresql.insert if dialect.name == "postgresql" else sqlite.insert
        self._compiled: dict[Statement, tuple[str, dict[str, object]]] = {}
        self.wrote = False

    def rows(self, statement: Statement, values: Values | None = None) -> list[Row]:
        """Every row of a query."""
        sql, merged = self._prepare(statement, values)
        self.wrote = self.wrote or isinstance(statement, _WRITING)
        self._cursor.execute(sql, merged)
        found: list[Row] = self._cursor.fetchall()
        return found

    def first(self, statement: Statement, values: Values | None = None) -> Row | None:
        rows = self.rows(statement, values)
        return rows[0] if rows else None

    def execute(self, statement: Statement, values: Values | None = None) -> int:
        """Run a statement that writes; how many rows it touched."""
        self.wrote = True
        sql, merged = self._prepare(statement, values)
        self._cursor.execute(sql, merged)
        count: int = self._cursor.rowcount
        return count

    def many(self, statement: Statement, rows: Iterable[Values]) -> int:
        """Run a statement that writes once for each row; how many rows were touched in all."""
        sql, defaults = self._compile(statement)
        count = 0
        for chunk in chunks(rows):
            self.wrote = True
            count += self._execute_many(sql, self._clean_many(defaults, chunk))
        return count

    def insert(self, statement: Insert, rows: Iterable[Values]) -> list[int]:
        """Insert rows into a table that numbers them; their numbers, in order."""
        found: list[int] = []
        for chunk in chunks(rows):
            self.wrote = True
            found += self._insert_numbered(statement, chunk)
        return found

    def writers(self, table: sa.Table) -> frozenset[str]:  # noqa: ARG002 - where there is one process
        """Transactions of other sessions that have written to the table, or are about to, and not ended."""
        return frozenset()

    def begin(self) -> None:
        self._cursor.execute(self._begin)

    def commit(self) -> None:
        """Returns when the commit is on stable storage."""
        self._cursor.execute("COMMIT")

    def rollback(self) -> None:
        self._cursor.execute("ROLLBACK")

    def savepoint(self) -> None:
        self._cursor.execute("SAVEPOINT one")

    def release(self) -> None:
        self._cursor.execute("RELEASE SAVEPOINT one")

    def undo(self) -> None:
        """Back to the savepoint. Fails when the database has already rolled back everything."""
        self._cursor.execute("ROLLBACK TO SAVEPOINT one")
        self._cursor.execute("RELEASE SAVEPOINT one")

    def tidy(self, *, idle: bool) -> None:
        """Between two transactions: what need not be done within a commit. `idle`: nobody waits."""

    def close(self) -> None:
        self._connection.close()

    def script(self, sql: str) -> list[Row]:
        """Run one literal statement (settings, checks) and give its rows."""
        self._cursor.execute(sql)
        return list(self._cursor.fetchall()) if self._cursor.description else []

    def compiled_sql(self, statement: Statement) -> str:
        """The statement in this database's words, for EXPLAIN."""
        return self._compile(statement)[0]

    def _execute_many(self, sql: str, rows: Sequence[Values]) -> int:
        self._cursor.executemany(sql, rows)
        count: int = self._cursor.rowcount
        return count

    def _insert_numbered(self, statement: Insert, rows: Sequence[Values]) -> list[int]:
        raise NotImplementedError

    def _prepare(self, statement: Statement, values: Values | None) -> tuple[str, Values]:
        sql, defaults = self._compile(statement)
        if values is None:
            return sql, defaults
        return sql, self._clean({**defaults, **values} if defaults else values)

    def _clean(self, values: Values) -> Values:
        """What the driver can take of the values."""
        return values

    def _clean_many(self, defaults: Values, rows: Sequence[Values]) -> Sequence[Values]:
        return [{**defaults, **row} for row in rows] if defaults else rows

    def _compile(self, statement: Statement) -> tuple[str, dict[str, object]]:
        """The SQL, and the parameters whose values the statement itself carries."""
        found = self._compiled.get(statement)
        if found is None:
            built = statement if isinstance(statement, Executable) else statement.build(self._dialect_insert)
            compiled = built.compile(dialect=self._dialect)  # type: ignore[attr-defined]
            defaults = {name: value for name, value in compiled.params.items() if value is not None}
            found = self._compiled[statement] = (str(compiled), defaults)
        return found
