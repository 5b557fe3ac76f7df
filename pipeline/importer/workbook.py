"""A workbook into tables: each sheet is a relation, as each file of a folder is."""

import hashlib
import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from io import BufferedReader
from pathlib import Path
from typing import Any, TypeVar

from pipeline import schema
from pipeline.errors import BadData
from pipeline.importer import values
from pipeline.importer.cells import WHITE_SPACE, Wrong, did_you_mean, near, shown
from pipeline.importer.notes import edition_notes
from pipeline.importer.origins import Sheet
from pipeline.importer.package import vet
from pipeline.importer.reading import Cell, Reading, Record, read_rows, refusal
from pipeline.importer.relations import RELATIONS
from pipeline.importer.tables import Source, Tables
from pipeline.importer.values import Value

SHEETS: tuple[str, ...] = tuple(relation.name for relation in RELATIONS)
"""The sheets that a workbook may hold."""

_ROWS = 1_048_576  # of a sheet in any spreadsheet program
_SHOWN = 5

_T = TypeVar("_T")


def read_workbook(path: Path) -> Tables:
    """Read and check the sheets of the workbook `path`, as `read_folder` does with files.

    Raises BadData with every fault of every sheet, or with none if the file cannot be taken for a
    workbook at all: then its summary says why.
    """
    reading = read(path)
    if reading.faults:
        raise refusal(reading.faults, path)
    return reading.tables


def read(path: Path) -> Reading:
    """All that the sheets hold, right and wrong. Raises BadData if there is nothing to read."""
    place = shown(str(path), limit=400)
    try:
        _refuse_lock(path)
        with path.open("rb") as file:
            return _read(file, path)
    except Wrong as wrong:
        raise BadData(f"{place} {wrong}", ()) from wrong.__cause__
    except OSError as error:
        raise BadData(
            f"{place} cannot be read: {error.strerror or error}. "
            "If it is open in a spreadsheet program, close it there; otherwise let whoever runs "
            "this read it.",
            (),
        ) from error


def _refuse_lock(path: Path) -> None:
    for sign, end in (("~$", ""), (".~lock.", "#")):
        if path.name.startswith(sign):
            book = path.name.removeprefix(sign).removesuffix(end)
            raise Wrong(
                f"is the mark that a spreadsheet program keeps while {shown(book)} is open; "
                f"close it there, and import {shown(book)}."
            )


def _read(file: BufferedReader, path: Path) -> Reading:
    reading = Reading(workbook=True)
    if any(path.with_name(name).exists() for name in (f"~${path.name}", f".~lock.{path.name}#")):
        reading.notes.append(
            f"{shown(path.name)} is open in a spreadsheet program; "
            "what has not been saved there was not read."
        )
    package = vet(file, os.fstat(file.fileno()).st_size)
    file.seek(0)
    digest = hashlib.file_digest(file, "sha256").hexdigest()
    file.seek(0)
    with warnings.catch_warnings():
        # It warns of whatever it does not keep of a workbook's looks, which nobody asked it to.
        warnings.filterwarnings("ignore", module=r"openpyxl\.")
        reader = _parsed(lambda: _opened(file))
        for name, sheet in _known(reader, path, reading).items():
            reading.sources.append(Source(name=f"sheet {sheet.title}", sha256=digest))
            _read_sheet(name, sheet, package.merged.get(_part(reader, sheet), ()), reading)
    reading.notes += edition_notes(reading.tables)
    return reading


def _opened(file: BufferedReader) -> Any:
    # No other command has to wait until it is loaded.
    from openpyxl.reader.excel import ExcelReader  # type: ignore[import-untyped]

    reader = ExcelReader(file, read_only=True, keep_links=False)
    reader.read()
    return reader


def _parsed(step: Callable[[], _T]) -> _T:
    """What a step of the parser gives. Raises Wrong with whatever it stumbled over."""
    try:
        return step()
    except (Wrong, MemoryError):
        raise
    except Exception as error:  # it raises anything at all where a workbook is not as it expects
        reason = str(error).strip().rstrip(".").partition("\n")[0][:80] or type(error).__name__
        raise Wrong(
            f"is damaged, or was not written by a spreadsheet program ({shown(reason)}); open it "
            "in one and save it as “Excel Workbook (.xlsx)”."
        ) from error


def _part(reader: Any, sheet: Any) -> str:
    """The name of a sheet's part within the package."""
    targets = {found.name: rel.target for found, rel in reader.parser.find_sheets()}
    return str(targets.get(sheet.title, ""))


def _plain(title: str) -> str:
    return re.sub(r"[\s-]+", "_", title.strip(WHITE_SPACE).casefold())


def _known(reader: Any, path: Path, reading: Reading) -> Mapping[str, Any]:
    """The sheets that are known by name, in the order of the relations; the others are noted."""
    sheets: dict[str, list[Any]] = {}
    for sheet in reader.wb.worksheets:
        sheets.setdefault(_plain(sheet.title), []).append(sheet)
    known: dict[str, Any] = {}
    for name in SHEETS:
        match sheets.pop(name, []):
            case [sheet]:
                known[name] = sheet
                if sheet.sheet_state != "visible":
                    reading.notes.append(f"Sheet {shown(sheet.title)} is hidden, and was read.")
            case [_, *_] as several:
                titles = " and ".join(f"“{shown(sheet.title)}”" for sheet in several)
                reading.faults.append(
                    f"sheets {titles} are both {name}; rename or delete all but one."
                )
                reading.register_unread |= name == schema.authorities.name
            case _:
                pass
    absent = tuple(name for name in SHEETS if name not in known)
    others = [sheet.title for one in sheets.values() for sheet in one]
    if not known and not reading.faults:
        found = ", ".join(f"“{shown(title)}”" for title in others[:_SHOWN]) or "no sheet of cells"
        more = f" and {len(others) - _SHOWN:,} more" if len(others) > _SHOWN else ""
        raise BadData(
            f"{shown(str(path), limit=400)} holds none of the sheets {', '.join(SHEETS[:-1])} or "
            f"{SHEETS[-1]}; it holds {found}{more}. Name each sheet as what it holds.",
            [_ignored(title, absent) for title in others],
        )
    reading.notes += [_ignored(title, absent) for title in others]
    return known


def _ignored(title: str, absent: tuple[str, ...]) -> str:
    return f"Sheet {shown(title)} is ignored{did_you_mean(near(title, absent))}"


def _read_sheet(name: str, sheet: Any, merged: Sequence[str], reading: Reading) -> None:
    """Add one sheet's rows to `reading`, or its faults."""
    relation = next(one for one in RELATIONS if one.name == name)
    origin = Sheet(title=sheet.title)
    if merged:
        more = f" and {len(merged) - _SHOWN:,} more ranges" if len(merged) > _SHOWN else ""
        reading.faults.append(
            f"{origin}, cells {', '.join(merged[:_SHOWN])}{more}: are merged, and only the first "
            "of them holds what they show; unmerge them and fill in each."
        )
    try:
        read_rows(relation, origin, _records(sheet), reading)
    except Wrong as wrong:
        reading.faults.append(f"{origin}{wrong}")
        reading.register_unread |= relation.table is schema.authorities


@contextmanager
def _closing(rows: Iterator[Any]) -> Iterator[Iterator[Any]]:
    """The rows, and in the end the part of the package that they are read from."""
    try:
        yield rows
    finally:
        close = getattr(rows, "close", None)
        if close is not None:
            close()


def _records(sheet: Any) -> Iterator[Record]:
    """The rows of a sheet that hold anything, each at least as wide as the first.

    Raises Wrong where the rest cannot be read.
    """
    sheet.reset_dimensions()  # what it says of its own size may be wrong
    epoch = sheet.parent.epoch
    width = 0
    number = 0
    with _closing(sheet.iter_rows()) as rows:
        while True:
            try:
                found = _parsed(lambda: next(rows, None))
            except Wrong as wrong:
                raise Wrong(f", after row {number}: {wrong}") from wrong.__cause__
            if found is None:
                return
            number += 1
            if number > _ROWS:
                raise Wrong(f", row {number}: no sheet has more than {_ROWS:,} rows.")
            cells = [_cell(one, epoch) for one in found]
            while cells and _blank(cells[-1]):
                cells.pop()
            if not cells:
                continue
            width = width or len(cells)
            yield number, cells + [""] * (width - len(cells))


def _blank(cell: Cell) -> bool:
    return isinstance(cell, str) and not cell.strip(WHITE_SPACE)


def _cell(cell: Any, epoch: datetime) -> Cell:
    value = cell.value
    if cell.data_type == "f":
        return values.FORMULA
    if value is None:
        return ""
    if isinstance(value, str):
        return values.error(value) if cell.data_type == "e" else _unescaped(value)
    return Value(value=value, format=_format(cell), epoch=epoch)


def _unescaped(value: str) -> str:
    """A text without the escapes in which a workbook writes control characters (_x000D_)."""
    if "_x" not in value:
        return value
    return re.sub("_x([0-9A-Fa-f]{4})_", lambda found: chr(int(found[1], 16)), value)


def _format(cell: Any) -> str:
    return str(_parsed(lambda: cell.number_format))
