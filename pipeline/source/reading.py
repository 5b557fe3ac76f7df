"""Reading rows of the statistics database, and gathering everything that is wrong with them."""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import sqlalchemy as sa

from pipeline import schema
from pipeline.database import Database
from pipeline.errors import Misconfigured, Unavailable
from pipeline.source.values import Wrong

_T = TypeVar("_T")

_SENTENCES = 40  # more would not be read, and the first ones show what is the matter


class Faults:
    """What is wrong with the statistics, to be refused all together."""

    def __init__(self, db: Database) -> None:
        self._db = db
        # Of the rows the first, and how many there are: it may be all of them.
        self._rows: dict[tuple[sa.Table, str, str, str], tuple[str, int]] = {}

    def add(self, table: sa.Table, column: str, wrong: Wrong, row: str = "") -> None:
        """Note a fault, of one row or (without `row`) of the column; the same one is said once."""
        fault = (table, column, wrong.problem, wrong.fix)
        first, number = self._rows.get(fault, ("", 0))
        shown = row if row.isprintable() else ascii(row)
        self._rows[fault] = (first or shown, number + bool(row))

    def read(
        self,
        table: sa.Table,
        row: Mapping[str, Any],
        key: str,
        column: str,
        reader: Callable[[Any], _T],
    ) -> _T | None:
        """The value in a row's column; None, with the fault noted, where it cannot be taken."""
        try:
            return reader(row[column])
        except Wrong as wrong:
            self.add(table, column, wrong, key)
            return None

    def refuse(self) -> None:
        """Raise Misconfigured if there are any."""
        sentences = [
            f"{table.name}.{column} {problem}{_rows(first, number)}{fix}"
            for (table, column, problem, fix), (first, number) in self._rows.items()
        ]
        if not sentences:
            return
        if len(sentences) == 1:
            raise Misconfigured(f"The statistics database {self._db}: {sentences[0]}")
        left_out = len(sentences) - _SENTENCES
        if left_out > 0:
            sentences = [*sentences[:_SENTENCES], f"and {left_out} more."]
        raise Misconfigured(
            "\n  ".join((f"The statistics database {self._db} has these faults:", *sentences))
        )


def _rows(first: str, number: int) -> str:
    if not number:
        return ""
    more = f" and {number - 1} more" if number > 1 else ""
    return f" ({first}{more})"


def raw(*columns: sa.Column[Any]) -> list[sa.ColumnElement[Any]]:
    """Columns to select as the driver gives them.

    The types that the schema's columns have would raise on a value that a view gives wrongly,
    before anything could say in which row it is.
    """
    return [sa.type_coerce(one, sa.types.NullType()).label(one.name) for one in columns]


def rows(
    connection: sa.Connection, db: Database, statement: sa.Select[Any], *tables: sa.Table
) -> list[dict[str, Any]]:
    """All rows, by the names of their columns; errors as in `translated`."""
    with translated(db, *tables):
        return [row._asdict() for row in connection.execute(statement)]


def streamed(
    connection: sa.Connection, db: Database, statement: sa.Select[Any], *tables: sa.Table
) -> Iterator[dict[str, Any]]:
    """The same, a few at a time, however many there are."""
    with (
        translated(db, *tables),
        connection.execute(statement, execution_options={"yield_per": 1000}) as found,
    ):
        for row in found:
            yield row._asdict()


@contextmanager
def translated(db: Database, *tables: sa.Table) -> Iterator[None]:
    """Say what an error means that is raised while `tables` of the statistics database are read.

    Raises Unavailable where the database does not answer, Misconfigured where it does not hold
    what it should. Nothing but the reading may happen inside: an error of another database would
    be blamed on this one.
    """
    names = _listed(table.name for table in tables) or "it"
    try:
        yield
    except (sa.exc.SQLAlchemyError, ValueError, TypeError, OverflowError) as error:
        reason = str(getattr(error, "orig", None) or error).strip().partition("\n")[0].rstrip(".")
        if _unanswered(error):
            raise Unavailable(
                f"The statistics database {db} cannot be read: {reason}. "
                "Check that it can be reached and is not held by another program; then try again."
            ) from error
        raise Misconfigured(
            f"The statistics database {db} does not offer what is needed of {names}: "
            f"{reason or type(error).__name__}. It needs tables or views named "
            f"{_listed(table.name for table in schema.STATISTICS)}, with the columns and values "
            "that docs/data.md describes."
        ) from error


def _unanswered(error: Exception) -> bool:
    if not isinstance(error, sa.exc.OperationalError | sa.exc.InterfaceError):
        return False
    if isinstance(error.orig, sqlite3.Error):
        # SQLite calls everything operational: what is wrong with a view has this code, and what
        # the driver itself cannot make of a value has none.
        code = getattr(error.orig, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
        return bool(code != sqlite3.SQLITE_ERROR)
    return True


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)
