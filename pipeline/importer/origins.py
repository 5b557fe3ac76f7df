"""Where rows come from, a file or a sheet, and how a person finds a place there again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from pipeline.importer.cells import shown

Places = Mapping[str, int]
"""Where each named column stands, from 0."""


class Origin(Protocol):
    """What a relation's rows were read from.

    `str` names it at the head of a sentence, `called` within one.
    """

    @property
    def called(self) -> str:
        """Its name within a sentence."""

    def with_columns(self, places: Places) -> "Origin":
        """The same, when it is known where each named column stands."""

    def line(self, number: int) -> str:
        """A line or row by its number: "line 2"."""

    def nth(self, place: int) -> str:
        """A column by its place from 0, where it has no name: "column 2"."""

    def on(self, number: int) -> str:
        """Where something is that stands there already: "on line 2"."""

    def at(self, number: int, column: str = "") -> str:
        """The head of a fault's sentence: this, the line or row, and the column if one is named."""

    def too_wide(self, number: int, cells: Sequence[Any], width: int) -> str:
        """The fault of a row with more cells than the first row names columns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CsvFile:
    """A file in a folder; its places are lines and named columns."""

    name: str

    def __str__(self) -> str:
        return self.name

    def with_columns(self, places: Places) -> "CsvFile":  # noqa: ARG002
        """As in `Origin`; in a file the name of a column says enough."""
        return self

    @property
    def called(self) -> str:
        """As in `Origin`."""
        return self.name

    def line(self, number: int) -> str:
        """As in `Origin`."""
        return f"line {number}"

    def nth(self, place: int) -> str:
        """As in `Origin`."""
        return f"column {place + 1}"

    def on(self, number: int) -> str:
        """As in `Origin`."""
        return f"on line {number}"

    def at(self, number: int, column: str = "") -> str:
        """As in `Origin`."""
        return f"{self.name}, line {number}" + (f", column {column}" if column else "")

    def too_wide(self, number: int, cells: Sequence[Any], width: int) -> str:
        """As in `Origin`."""
        return (
            f"{self.at(number)}: has {len(cells)} cells where the first line names {width} "
            "columns; put a text that holds a comma within quotation marks."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """A sheet of a workbook; its places are cells, as the Name Box of a spreadsheet takes them.

    `places` says where each named column stands, once the first row has been read.
    """

    title: str
    places: Places = field(default_factory=dict)

    def __str__(self) -> str:
        return f"sheet {shown(self.title)}"

    def with_columns(self, places: Places) -> "Sheet":
        """As in `Origin`."""
        return replace(self, places=places)

    @property
    def called(self) -> str:
        """As in `Origin`."""
        return f"the sheet {shown(self.title)}"

    def line(self, number: int) -> str:
        """As in `Origin`."""
        return f"row {number}"

    def nth(self, place: int) -> str:
        """As in `Origin`."""
        return f"column {column_letters(place)}"

    def on(self, number: int) -> str:
        """As in `Origin`."""
        return f"in row {number}"

    def at(self, number: int, column: str = "") -> str:
        """As in `Origin`; a column that is not in the sheet leaves the row."""
        if column not in self.places:
            return f"{self}, row {number}" + (f", column {column}" if column else "")
        return f"{self}, cell {cell_name(number, self.places[column])} ({column})"

    def too_wide(self, number: int, cells: Sequence[Any], width: int) -> str:
        """As in `Origin`."""
        first = next(place for place in range(width, len(cells)) if cells[place] != "")
        return (
            f"{self}, cell {cell_name(number, first)}: stands beyond the columns that the first "
            "row names; name its column there, or clear it."
        )


def column_letters(place: int) -> str:
    """A column as spreadsheets name it, by its place from 0: A, Z, AA."""
    before, last = divmod(place, 26)
    return (column_letters(before - 1) if before else "") + chr(ord("A") + last)


def cell_name(number: int, place: int) -> str:
    """A cell by its row and its column's place (from 0): D14."""
    return f"{column_letters(place)}{number}"
