"""Rows of cells into a relation's rows, with every fault that can be seen in them alone.

The one way in for files and sheets: both give the first row and the others as cells, and an origin
that says where each of them stands.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline import schema
from pipeline.errors import BadData
from pipeline.importer.cells import WHITE_SPACE, Wrong, near, shown
from pipeline.importer.origins import Origin, Places, Sheet
from pipeline.importer.relations import RELATIONS, Column, Complaint, Relation, Row, alike
from pipeline.importer.tables import Rows, Source, Tables
from pipeline.importer.values import Value

Cell = str | Value | Wrong
"""A cell's text, or what a spreadsheet holds in place of it, or why it cannot be taken."""

Record = tuple[int, Sequence[Cell]]
"""A row's number, as a person counts, and its cells."""


@dataclass(slots=True, kw_only=True)
class Reading:
    """What is known while files or sheets are read.

    `codes` are those of the register, of rows with faults elsewhere too; `register_unread` says
    that it is there and could not be read at all.
    """

    workbook: bool = False
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    relations: dict[str, Rows] = field(default_factory=dict)
    sources: list[Source] = field(default_factory=list)
    codes: set[str] = field(default_factory=set)
    register_unread: bool = False

    @property
    def tables(self) -> Tables:
        """What has been read without fault."""
        return Tables(
            relations=self.relations,
            notes=tuple(self.notes),
            sources=tuple(self.sources),
            workbook=self.workbook,
        )


def refusal(faults: Sequence[str], place: object = None) -> BadData:
    """The error that tells of all faults at once."""
    number = "1 fault" if len(faults) == 1 else f"{len(faults):,} faults"
    within = f" in {shown(str(place), limit=400)}" if place is not None else ""
    return BadData(f"Nothing was imported: {number}{within}.", faults)


def read_rows(
    relation: Relation, origin: Origin, records: Iterable[Record], reading: Reading
) -> None:
    """Add the rows to `reading`, and the faults of those that cannot be taken.

    Raises Wrong if the columns cannot be told apart; its sentence follows the origin's name.
    """
    numbered = iter(records)
    header = next(numbered, None)
    if header is None:
        raise Wrong(f" is empty; its first {origin.line(1).split()[0]} must name its columns.")
    places = _columns(relation, origin, *header)
    origin = origin.with_columns(places)
    width = len(places)
    rows: list[Row] = []
    numbers: list[int] = []
    seen: dict[tuple[Any, ...], tuple[int, Row]] = {}
    for number, cells in numbered:
        if len(cells) < width:
            reading.faults.append(
                f"{origin.at(number)}: has only {len(cells)} cells where the first line "
                f"names {width} columns."
            )
            continue
        if any(cell != "" for cell in cells[width:]):
            reading.faults.append(origin.too_wide(number, cells, width))
            continue
        if all(_named(cells[place]) == name for name, place in places.items()):
            reading.faults.append(
                f"{origin.at(number)}: names the columns again; take it out, with what was joined "
                "there if it does not belong."
            )
            continue
        row, wrong = _read_row(relation, places, cells)
        if relation.table is schema.authorities and "code" in row:
            reading.codes.add(row["code"])
        if not wrong:
            wrong = list(relation.check(row))
        if all(column in row for column in relation.key):
            key = tuple(alike(row[column]) for column in relation.key)
            first, other = seen.setdefault(key, (number, row))
            if first != number:
                wrong.append((relation.key[0], _repeated(relation, row, origin.on(first), other)))
        reading.faults += [f"{origin.at(number, column)}: {reason}" for column, reason in wrong]
        if not wrong:
            rows.append(row)
            numbers.append(number)
    reading.relations[relation.name] = Rows(rows=tuple(rows), lines=tuple(numbers), origin=origin)


def _named(cell: Cell) -> str:
    return cell.strip(WHITE_SPACE) if isinstance(cell, str) else ""


def _columns(
    relation: Relation, origin: Origin, number: int, header: Sequence[Cell]
) -> dict[str, int]:
    """Where each column stands. Raises Wrong with all that is the matter with the first row."""
    names, problems = _names(header, origin)
    line = origin.line(number)
    if len(names) == 1:
        _refuse_separators(names[0], origin, line)
    required = [column.name for column in relation.columns if not column.may_be_absent]
    optional = [column.name for column in relation.columns if column.may_be_absent]
    listed = f"The columns are {', '.join(required)}" + (
        f" and, if wanted, {', '.join(optional)}." if optional else "."
    )
    known = (*required, *optional)
    if (other := _other_relation(relation, names)) is not None:
        raise Wrong(f", {line}: these are the columns of {other}, not of {relation.name}. {listed}")
    if len(names) > 1 and not any(name in known or near(name, known) for name in names):
        raise Wrong(
            f", {line}: there is no column “{shown(names[0])}” here, nor any of the others that "
            f"stand beside it; the first {line.split()[0]} must name the columns. {listed}"
        )
    problems += _problems(names, origin, required, optional)
    if problems:
        raise Wrong(f", {line}: {'; '.join(problems)}. {listed}")
    return {name: place for place, name in enumerate(names)}


def _names(header: Sequence[Cell], origin: Origin) -> tuple[list[str], list[str]]:
    """The names in a first row without the empty columns at its end, and what is not a name."""
    names: list[str] = []
    problems: list[str] = []
    for place, cell in enumerate(header):
        if isinstance(cell, str):
            names.append(cell.strip(WHITE_SPACE))
            continue
        names.append("?")
        problems.append(f"the name in {origin.nth(place)} must be plain text")
    while names and not names[-1]:
        names.pop()
    return names, problems


def _refuse_separators(name: str, origin: Origin, line: str) -> None:
    separators = {";": "semicolons", "\t": "tabs", "|": "bars"}
    fix = "save the file with commas"
    if isinstance(origin, Sheet):
        separators[","] = "commas"
        fix = "all of them stand in one; split it (Data, Text to Columns)"
    for separator, called in separators.items():
        if separator in name:
            raise Wrong(f", {line}: the columns are separated by {called}; {fix}.")


def _other_relation(relation: Relation, names: Sequence[str]) -> str | None:
    """The relation whose columns these are, if they cannot be those of `relation`."""

    def fits(one: Relation) -> bool:
        return all(column.name in names for column in one.columns if not column.may_be_absent)

    if fits(relation):
        return None
    return next((one.name for one in RELATIONS if one is not relation and fits(one)), None)


def _problems(
    names: Sequence[str], origin: Origin, required: Sequence[str], optional: Sequence[str]
) -> list[str]:
    # A name that is there is not what another one was meant for.
    absent = tuple(name for name in (*required, *optional) if name not in names)
    missing = [name for name in required if name in absent]
    problems: list[str] = []
    for place, name in enumerate(names):
        if not name:
            problems.append(f"{origin.nth(place)} has no name")
        elif name == "?":
            continue  # has been said
        elif name not in required and name not in optional:
            meant = near(name, absent)
            if meant in missing:
                missing.remove(meant)  # one mistake, said once
            wanted = f"; did you mean {meant}" if meant else " here"
            problems.append(f"there is no column “{shown(name)}”{wanted}")
        elif names.index(name) != place:
            problems.append(f"the column {name} is there twice")
    return problems + [f"the column {name} is missing" for name in missing]


def _read_row(
    relation: Relation, places: Places, cells: Sequence[Cell]
) -> tuple[dict[str, Any], list[Complaint]]:
    """The values that could be read, and what is wrong with the others."""
    row: dict[str, Any] = {}
    wrong: list[Complaint] = []
    for column in relation.columns:
        place = places.get(column.name)
        try:
            written = _text(cells[place], column) if place is not None else ""
            if written:
                row[column.name] = column.read(written)
            elif column.may_be_empty:
                row[column.name] = column.blank
            else:
                raise Wrong("is empty.")
        except Wrong as reason:
            wrong.append((column.name, str(reason)))
    return row, wrong


def _text(cell: Cell, column: Column) -> str:
    """A cell's text without the white space around it, as its column means it."""
    match cell:
        case str():
            return cell.strip(WHITE_SPACE)
        case Value():
            return cell.text(column.holds)
        case Wrong():
            raise cell


def _repeated(relation: Relation, row: Row, on_first: str, other: Row) -> str:
    if relation.table is schema.officers:
        return f"the same officer in the same role is {on_first}; keep one of the two."
    key, before = (" ".join(str(one[column]) for column in relation.key) for one in (row, other))
    spelt = "" if key == before else f", written {before}"
    return f"{key} is already {on_first}{spelt}; keep one of the two."
