"""A folder of CSV files into tables, with every fault that can be seen in the files alone."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline import schema
from pipeline.errors import BadData, Refused
from pipeline.importer.cells import WHITE_SPACE, Wrong, did_you_mean, near, shown
from pipeline.importer.lines import Misencoded, decoded, open_csv, records
from pipeline.importer.relations import RELATIONS, Complaint, Relation, Row, alike
from pipeline.importer.tables import Rows, Tables

FILES: tuple[str, ...] = tuple(relation.file for relation in RELATIONS)
"""The files that a folder may hold."""


@dataclass(slots=True, kw_only=True)
class Reading:
    """What is known while files are read.

    `codes` are those of authorities.csv, of rows with faults elsewhere too; `register_unread` says
    that it is there and could not be read at all.
    """

    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    relations: dict[str, Rows] = field(default_factory=dict)
    codes: set[str] = field(default_factory=set)
    register_unread: bool = False

    @property
    def tables(self) -> Tables:
        """What has been read without fault."""
        return Tables(relations=self.relations, notes=tuple(self.notes))


def read_folder(folder: Path) -> Tables:
    """Read and check the CSV files in `folder`.

    Raises BadData with every fault of every file. What one file says about another (codes of
    authorities, for instance) is checked by `load`, which also knows what is already stored.
    """
    reading = read(folder)
    if reading.faults:
        raise refusal(reading.faults, folder)
    return reading.tables


def refusal(faults: Sequence[str], folder: Path | None = None) -> BadData:
    """The error that tells of all faults at once."""
    number = "1 fault" if len(faults) == 1 else f"{len(faults):,} faults"
    place = f" in {folder}" if folder is not None else ""
    return BadData(f"Nothing was imported: {number}{place}.", faults)


def read(folder: Path) -> Reading:
    """All that the files hold, right and wrong. Raises BadData if there is nothing to read."""
    reading = Reading()
    files = _files(folder, reading)
    for relation in RELATIONS:
        if relation.file in files:
            _read_file(files[relation.file], relation, reading)
    register = schema.authorities.name
    reading.register_unread = f"{register}.csv" in files and register not in reading.relations
    if (editions := reading.relations.get(schema.editions.name)) is not None:
        reading.notes += [
            f"editions.csv: the period of the letter of {row['year']} ends on "
            f"{row['period_end']}; the letter of 2020 is about a period that ends in 2020."
            for row in editions.rows
            if row["period_end"].year != row["year"]
        ]
    return reading


def _files(folder: Path, reading: Reading) -> dict[str, Path]:
    """The files in a folder that are known by name; the others are noted."""
    listed = f"{', '.join(FILES[:-1])} or {FILES[-1]}"
    if folder.is_file():
        if folder.suffix.casefold() in {".xlsx", ".xls", ".xlsm", ".ods"}:
            what = "a workbook; save each of its sheets as “CSV UTF-8” into a folder"
        else:
            what = "a file"
        raise Refused(f"{folder} is {what}. Give the folder that holds {listed}.")
    if not folder.is_dir():
        raise Refused(f"There is no folder {folder.absolute()}; it should hold {listed}.")
    try:
        found = sorted(path for path in folder.iterdir() if not path.name.startswith((".", "~$")))
    except OSError as error:
        raise BadData(f"The folder {folder} cannot be read: {error.strerror}.", ()) from error
    known: dict[str, Path] = {}
    for path in found:
        if path.name in FILES:
            known[path.name] = path
        elif path.suffix.casefold() not in {".md", ".py", ".txt"}:  # what explains the data
            meant = near(path.name, FILES) if path.suffix.casefold() == ".csv" else None
            reading.notes.append(f"{shown(path.name)} is ignored{did_you_mean(meant)}")
    if not known:
        raise BadData(f"The folder {folder} holds none of the files {listed}.", reading.notes)
    return known


def _read_file(path: Path, relation: Relation, reading: Reading) -> None:
    """Add one file's rows to `reading`, or its faults."""
    before = len(reading.faults)
    misencoded = Misencoded()
    try:
        with open_csv(path) as file:
            _read_rows(relation, decoded(file, misencoded), reading)
    except Wrong as wrong:
        reading.faults.append(f"{relation.file}{wrong}")
    except OSError as error:
        reading.faults.append(f"{relation.file} cannot be read: {error.strerror}.")
    if misencoded.count:  # first, because it may be the cause of others
        reading.faults.insert(before, f"{relation.file}, {misencoded}")


def _read_rows(relation: Relation, lines: Iterable[str], reading: Reading) -> None:
    """Add the rows to `reading` if all of the file can be told apart, else raise Wrong."""
    numbered = records(lines)
    header = next(numbered, None)
    if header is None:
        raise Wrong(" is empty; its first line must name its columns.")
    places = _columns(relation, header[1])
    width = len(places)
    rows: list[Row] = []
    starts: list[int] = []
    seen: dict[tuple[Any, ...], tuple[int, Row]] = {}
    for line, cells in numbered:
        if len(cells) < width:
            reading.faults.append(
                f"{relation.file}, line {line}: has only {len(cells)} cells where the first line "
                f"names {width} columns."
            )
            continue
        if any(cells[width:]):
            reading.faults.append(
                f"{relation.file}, line {line}: has {len(cells)} cells where the first line names "
                f"{width} columns; put a text that holds a comma within quotation marks."
            )
            continue
        row, wrong = _read_row(relation, places, cells)
        if relation.table is schema.authorities and "code" in row:
            reading.codes.add(row["code"])
        if not wrong:
            wrong = list(relation.check(row))
        if all(column in row for column in relation.key):
            key = tuple(alike(row[column]) for column in relation.key)
            first, other = seen.setdefault(key, (line, row))
            if first != line:
                wrong.append((relation.key[0], _repeated(relation, row, first, other)))
        reading.faults += [
            f"{relation.file}, line {line}, column {column}: {reason}" for column, reason in wrong
        ]
        if not wrong:
            rows.append(row)
            starts.append(line)
    reading.relations[relation.name] = Rows(rows=tuple(rows), lines=tuple(starts))


def _columns(relation: Relation, header: Sequence[str]) -> dict[str, int]:
    """Where each column stands. Raises Wrong with all that is the matter with the first line."""
    names = [name.strip(WHITE_SPACE) for name in header]
    while names and not names[-1]:
        names.pop()  # empty columns at the end, as spreadsheets leave them
    for separator, called in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
        if len(names) == 1 and separator in names[0]:
            raise Wrong(
                f", line 1: the columns are separated by {called}; save the file with commas."
            )
    required = [column.name for column in relation.columns if not column.may_be_absent]
    optional = [column.name for column in relation.columns if column.may_be_absent]
    # A name that is there is not what another one was meant for.
    absent = tuple(column.name for column in relation.columns if column.name not in names)
    missing = [name for name in required if name in absent]
    problems: list[str] = []
    for place, name in enumerate(names):
        if not name:
            problems.append(f"column {place + 1} has no name")
        elif name not in required and name not in optional:
            meant = near(name, absent)
            if meant in missing:
                missing.remove(meant)  # one mistake, said once
            wanted = f"; did you mean {meant}" if meant else " in this file"
            problems.append(f"there is no column “{shown(name)}”{wanted}")
        elif names.index(name) != place:
            problems.append(f"the column {name} is there twice")
    problems += [f"the column {name} is missing" for name in missing]
    if problems:
        raise Wrong(
            f", line 1: {'; '.join(problems)}. The columns are {', '.join(required)}"
            + (f" and, if wanted, {', '.join(optional)}." if optional else ".")
        )
    return {name: place for place, name in enumerate(names)}


def _read_row(
    relation: Relation, places: Mapping[str, int], cells: Sequence[str]
) -> tuple[dict[str, Any], list[Complaint]]:
    """The values that could be read, and what is wrong with the others."""
    row: dict[str, Any] = {}
    wrong: list[Complaint] = []
    for column in relation.columns:
        place = places.get(column.name)
        cell = cells[place].strip(WHITE_SPACE) if place is not None else ""
        try:
            if cell:
                row[column.name] = column.read(cell)
            elif column.may_be_empty:
                row[column.name] = column.blank
            else:
                raise Wrong("is empty.")
        except Wrong as reason:
            wrong.append((column.name, str(reason)))
    return row, wrong


def _repeated(relation: Relation, row: Row, first: int, other: Row) -> str:
    if relation.table is schema.officers:
        return f"the same officer in the same role is on line {first}; keep one of the two."
    key, before = (" ".join(str(one[column]) for column in relation.key) for one in (row, other))
    spelt = "" if key == before else f", written {before}"
    return f"{key} is already on line {first}{spelt}; keep one of the two."
