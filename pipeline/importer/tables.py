"""The rows on their way: as they were read, and as they meet a database."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from pipeline.importer.origins import CsvFile, Origin, Sheet
from pipeline.importer.relations import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """The rows of one file or sheet, checked, with the line that each began on."""

    rows: tuple[Row, ...]
    lines: tuple[int, ...]
    origin: Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A file or sheet that was read, and the SHA-256 of its bytes, or its workbook's, in hex."""

    name: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """What a folder or workbook holds, by relation; one without a file or sheet is not there.

    `notes` are sentences about what was left aside or looks odd, and is no fault.
    """

    relations: Mapping[str, Rows]
    notes: tuple[str, ...] = ()
    sources: tuple[Source, ...] = ()
    workbook: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """One import before one database, within one transaction; `replace` as in `load`."""

    connection: sa.Connection
    tables: Tables
    replace: bool

    def has(self, table: sa.Table) -> bool:
        """Whether there is a file or sheet for a table."""
        return table.name in self.tables.relations

    def given(self, table: sa.Table) -> Iterator[tuple[int, Row]]:
        """The rows that are given for a table, with their lines."""
        if (found := self.tables.relations.get(table.name)) is not None:
            yield from zip(found.lines, found.rows, strict=True)

    def keeps(self, table: sa.Table) -> bool:
        """Whether rows that are stored, and not given, will still be there afterwards."""
        return not (self.replace and self.has(table))

    def origin(self, table: sa.Table) -> Origin:
        """Where a table's rows come from; those of one that is not given would come from there."""
        if (found := self.tables.relations.get(table.name)) is not None:
            return found.origin
        if self.tables.workbook:
            return Sheet(title=table.name)
        return CsvFile(name=f"{table.name}.csv")
