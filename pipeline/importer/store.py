"""Tables into a database, in one transaction."""

import stat
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from errno import ELOOP
from pathlib import Path

import sqlalchemy as sa

from pipeline.database import Database
from pipeline.errors import Refused
from pipeline.importer import files, workbook
from pipeline.importer.cells import shown
from pipeline.importer.changes import Change, Counted, change
from pipeline.importer.checks import case_faults, code_faults, successor_faults
from pipeline.importer.notes import load_notes
from pipeline.importer.reading import Reading, refusal
from pipeline.importer.relations import RELATIONS
from pipeline.importer.tables import Incoming, Source, Tables


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What an import did, by relation, and sentences about what a person should look at.

    `sources` are the files or sheets that it was read from.
    """

    counts: Mapping[str, Counted]
    notes: tuple[str, ...] = ()
    sources: tuple[Source, ...] = ()


Recorder = Callable[[sa.Connection, Loaded], None]
"""What a caller adds to the storing transaction when all else in it is done."""


def import_from(
    db: Database, path: Path, *, replace: bool = False, record: Recorder | None = None
) -> Loaded:
    """Read the folder of CSV files, or the workbook, `path`, and store what it holds; see `load`.

    Raises Refused if it is neither, BadData with every fault, those within the files or sheets and
    those between them.
    """
    if _is_folder(path):
        return import_folder(db, path, replace=replace, record=record)
    return _stored(db, workbook.read(path), path, replace=replace, record=record)


def import_folder(
    db: Database, folder: Path, *, replace: bool = False, record: Recorder | None = None
) -> Loaded:
    """As `import_from`, of a folder only."""
    return _stored(db, files.read(folder), folder, replace=replace, record=record)


def _is_folder(path: Path) -> bool:
    """Whether this is a folder, or else a file. Raises Refused if it is neither or is one of CSV.

    Nothing is opened for it: a pipe would have to be waited for.
    """
    place = shown(str(path), limit=400)
    either = f"give a workbook (.xlsx), or a folder that holds {files.LISTED}"
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        if path.is_symlink():
            raise Refused(f"{place} is a link to something that is not there; {either}.") from None
        raise Refused(
            f"There is nothing at {shown(str(path.absolute()), limit=400)}; {either}."
        ) from None
    except OSError as error:
        if error.errno == ELOOP:
            raise Refused(f"{place} is a link that leads back to itself; {either}.") from None
        raise Refused(
            f"{place} cannot be read: {error.strerror}. "
            "Let whoever runs this read it, or copy it to where they can."
        ) from error
    if stat.S_ISDIR(mode):
        return True
    if not stat.S_ISREG(mode):
        raise Refused(f"{place} is neither a folder nor a file (a pipe or a device); {either}.")
    if path.suffix.casefold() in {".csv", ".tsv", ".txt"}:
        raise Refused(f"{place} is a single file. Give the folder that holds {files.LISTED}.")
    return False


def _stored(
    db: Database, reading: Reading, path: Path, *, replace: bool, record: Recorder | None
) -> Loaded:
    """Store what was read, or raise BadData with its faults and those against what is stored."""
    if not reading.faults:
        return load(db, reading.tables, replace=replace, record=record)
    faults = list(reading.faults)
    if not reading.register_unread:  # otherwise every code would seem unknown
        with db.read() as connection:
            incoming = Incoming(connection=connection, tables=reading.tables, replace=replace)
            faults += _examined(incoming, also_known=reading.codes)[1]
    raise refusal(faults, path)


def load(
    db: Database, tables: Tables, *, replace: bool = False, record: Recorder | None = None
) -> Loaded:
    """Store `tables` in one transaction: everything or nothing.

    A row with the key of one that is already there replaces it. Rows that are not given stay,
    unless `replace` is: then each relation that has a file or sheet holds exactly its rows
    afterwards. `record` is called in the transaction's end; what it raises undoes everything.

    Raises BadData with every fault found between the files or against what is stored.
    """
    with db.write() as connection:
        if not db.is_sqlite:  # one import at a time, as on SQLite; readers are not held up
            names = ", ".join(relation.name for relation in RELATIONS)
            connection.execute(sa.text(f"LOCK TABLE {names} IN SHARE ROW EXCLUSIVE MODE"))
        incoming = Incoming(connection=connection, tables=tables, replace=replace)
        changes, faults = _examined(incoming)
        if faults:
            raise refusal(faults)
        notes = (
            *tables.notes,
            *load_notes(incoming),
            *(note for found in changes.values() for note in found.notes),
        )
        counts = {name: found.carry_out(connection) for name, found in changes.items()}
        loaded = Loaded(counts=counts, notes=notes, sources=tables.sources)
        if record is not None:
            record(connection, loaded)
    return loaded


def _examined(
    incoming: Incoming, *, also_known: Iterable[str] = ()
) -> tuple[dict[str, Change], list[str]]:
    """What there is to do, by relation, and every reason why it cannot be done."""
    changes = {
        relation.name: change(incoming, relation)
        for relation in RELATIONS
        if incoming.has(relation.table)
    }
    faults = [
        *code_faults(incoming, also_known),
        *successor_faults(incoming),
        *case_faults(incoming),
    ]
    for found in changes.values():
        faults += found.faults
    return changes, faults
