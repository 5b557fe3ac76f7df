"""Tables into a database, in one transaction."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from pipeline.database import Database
from pipeline.importer.changes import Change, Counted, change
from pipeline.importer.checks import case_faults, code_faults
from pipeline.importer.files import read, refusal
from pipeline.importer.relations import RELATIONS
from pipeline.importer.tables import Incoming, Tables


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What an import did, by relation, and sentences about what a person should look at."""

    counts: Mapping[str, Counted]
    notes: tuple[str, ...] = ()


def import_folder(db: Database, folder: Path, *, replace: bool = False) -> Loaded:
    """Read `folder` and store what it holds, everything or nothing; see `load`.

    Raises BadData with every fault, those within the files and those between them.
    """
    reading = read(folder)
    if not reading.faults:
        return load(db, reading.tables, replace=replace)
    faults = list(reading.faults)
    if not reading.register_unread:  # otherwise every code would seem unknown
        with db.read() as connection:
            incoming = Incoming(connection=connection, tables=reading.tables, replace=replace)
            faults += _examined(incoming, also_known=reading.codes)[1]
    raise refusal(faults, folder)


def load(db: Database, tables: Tables, *, replace: bool = False) -> Loaded:
    """Store `tables` in one transaction: everything or nothing.

    A row with the key of one that is already there replaces it. Rows that the files do not hold
    stay, unless `replace` is given: then each relation that has a file holds exactly that file's
    rows afterwards.

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
        counts = {name: found.carry_out(connection) for name, found in changes.items()}
    notes = [note for found in changes.values() for note in found.notes]
    return Loaded(counts=counts, notes=(*tables.notes, *notes))


def _examined(
    incoming: Incoming, *, also_known: Iterable[str] = ()
) -> tuple[dict[str, Change], list[str]]:
    """What there is to do, by relation, and every reason why it cannot be done."""
    changes = {
        relation.name: change(incoming, relation)
        for relation in RELATIONS
        if incoming.has(relation.table)
    }
    faults = code_faults(incoming, also_known) + case_faults(incoming)
    for found in changes.values():
        faults += found.faults
    return changes, faults
