"""The rows on their way: as they were read from a folder, and as they meet a database."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from pipeline.importer.relations import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """The rows of one file, checked, with the line that each began on."""

    rows: tuple[Row, ...]
    lines: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """What a folder holds, by relation; a relation without a file is not there.

    `notes` are sentences about what was left aside or looks odd, and is no fault.
    """

    relations: Mapping[str, Rows]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """One import before one database, within one transaction; `replace` as in `load`."""

    connection: sa.Connection
    tables: Tables
    replace: bool

    def has(self, table: sa.Table) -> bool:
        """Whether there is a file for a table."""
        return table.name in self.tables.relations

    def given(self, table: sa.Table) -> Iterator[tuple[int, Row]]:
        """The rows of a table's file with their lines; nothing if it has no file."""
        if (found := self.tables.relations.get(table.name)) is not None:
            yield from zip(found.lines, found.rows, strict=True)

    def keeps(self, table: sa.Table) -> bool:
        """Whether rows that are stored, and not in the files, will still be there afterwards."""
        return not (self.replace and self.has(table))
