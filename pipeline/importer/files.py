"""A folder of CSV files into tables."""

import hashlib
from pathlib import Path

from pipeline import schema
from pipeline.errors import BadData, Refused
from pipeline.importer.cells import Wrong, did_you_mean, near, shown
from pipeline.importer.lines import Misencoded, decoded, open_csv, records
from pipeline.importer.notes import edition_notes
from pipeline.importer.origins import CsvFile
from pipeline.importer.reading import Reading, read_rows, refusal
from pipeline.importer.relations import RELATIONS, Relation
from pipeline.importer.tables import Source, Tables

FILES: tuple[str, ...] = tuple(relation.file for relation in RELATIONS)
"""The files that a folder may hold."""

LISTED = f"{', '.join(FILES[:-1])} or {FILES[-1]}"
"""The same for a sentence."""


def read_folder(folder: Path) -> Tables:
    """Read and check the CSV files in `folder`.

    Raises BadData with every fault of every file. What one file says about another (codes of
    authorities, for instance) is checked by `load`, which also knows what is already stored.
    """
    reading = read(folder)
    if reading.faults:
        raise refusal(reading.faults, folder)
    return reading.tables


def read(folder: Path) -> Reading:
    """All that the files hold, right and wrong.

    Raises BadData if there is nothing to read, Refused if it is no folder.
    """
    reading = Reading()
    files = _files(folder, reading)
    for relation in RELATIONS:
        if relation.file in files:
            _read_file(files[relation.file], relation, reading)
    register = schema.authorities.name
    reading.register_unread = f"{register}.csv" in files and register not in reading.relations
    reading.notes += edition_notes(reading.tables)
    return reading


def _files(folder: Path, reading: Reading) -> dict[str, Path]:
    """The files in a folder that are known by name; the others are noted."""
    place = shown(str(folder), limit=400)
    try:
        if folder.is_file():
            raise Refused(f"{place} is a file. Give the folder that holds {LISTED}.")
        if not folder.is_dir():
            whole = shown(str(folder.absolute()), limit=400)
            raise Refused(f"There is no folder {whole}; it should hold {LISTED}.")
        found = sorted(
            path for path in folder.iterdir() if not path.name.startswith((".", "~$", "__"))
        )
    except OSError as error:
        raise BadData(
            f"The folder {place} cannot be read: {error.strerror}. "
            "Let whoever runs this read it, or copy it to where they can.",
            (),
        ) from error
    known: dict[str, Path] = {}
    for path in found:
        if path.name in FILES:
            known[path.name] = path
        elif path.suffix.casefold() == ".xlsx":
            reading.notes.append(
                f"{shown(path.name)} is ignored: a workbook is imported by its own name, "
                "not with its folder."
            )
        elif path.suffix.casefold() not in {".md", ".py", ".txt"}:  # what explains the data
            meant = near(path.name, FILES) if path.suffix.casefold() == ".csv" else None
            reading.notes.append(f"{shown(path.name)} is ignored{did_you_mean(meant)}")
    if not known:
        raise BadData(f"The folder {place} holds none of the files {LISTED}.", reading.notes)
    return known


def _read_file(path: Path, relation: Relation, reading: Reading) -> None:
    """Add one file's rows to `reading`, or its faults."""
    before = len(reading.faults)
    origin = CsvFile(name=relation.file)
    misencoded = Misencoded()
    digest = hashlib.sha256()
    try:
        with open_csv(path) as file:
            read_rows(relation, origin, records(decoded(file, misencoded, digest)), reading)
    except Wrong as wrong:
        reading.faults.append(f"{origin}{wrong}")
    except OSError as error:
        reading.faults.append(
            f"{origin} cannot be read: {error.strerror}. "
            "Put a file there that whoever runs this may read."
        )
    if misencoded.count:  # first, because it may be the cause of others
        reading.faults.insert(before, f"{origin}, {misencoded}")
    reading.sources.append(Source(name=origin.name, sha256=digest.hexdigest()))
