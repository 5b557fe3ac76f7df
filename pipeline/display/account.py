"""A year's account as CSV, for a spreadsheet, or as JSON; written as it comes."""

import csv
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from datetime import datetime
from typing import Any, BinaryIO

from pipeline.display.console import harmless, harmless_json
from pipeline.ledger.account import Entry

COLUMNS = (
    "year",
    "authority",
    "name",
    "revision",
    "mode",
    "recipient",
    "roles",
    "state",
    "fault",
    "withheld_because",
    "tried",
    "intent",
    "settled",
    "attempts",
    "relay",
    "queue_id",
    "reply",
    "message_id",
    "date",
    "resend_of",
    "reason",
    "requested_by",
    "approved_by",
    "pdf",
    "pdf_sha256",
    "pages",
    "prepared",
    "eml",
    "eml_sha256",
    "run",
    "run_opened",
    "run_cancelled",
    "forgotten",
)
"""The columns, in their order: who, what came of it, when, by which message, with which file."""

# The last four are what a keyboard for Chinese or Japanese writes, and are understood likewise.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


class _Lines:
    """What the csv module writes lines of text to."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, text: str) -> None:
        self._file.write(text.encode())


def write_csv(entries: Iterable[Entry], file: BinaryIO, *, marked: bool) -> int:
    """One line for each entry below a line of names; how many there were.

    UTF-8, with a byte order mark if `marked`. A cell that a spreadsheet would take for a formula
    gets an apostrophe before it, and what a terminal would obey is replaced.
    """
    if marked:
        file.write(b"\xef\xbb\xbf")
    # Whatever is text stands in quotes: a spreadsheet set to another separator keeps it whole.
    writer = csv.writer(_Lines(file), quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow(COLUMNS)
    number = 0
    for number, entry in enumerate(entries, 1):  # noqa: B007 - the last number is the answer
        facts = _plain(entry)
        writer.writerow([_cell(facts[column]) for column in COLUMNS])
    return number


def write_json(entries: Iterable[Entry], file: BinaryIO) -> int:
    """An array with an object for each entry; how many there were."""
    number = 0
    for number, text in enumerate(_texts(entries), 1):
        file.write(("[\n" if number == 1 else ",\n").encode() + text.encode())
    file.write(b"\n]\n" if number else b"[]\n")
    return number


def _texts(entries: Iterable[Entry]) -> Iterator[str]:
    for entry in entries:
        facts = _plain(entry)
        chosen = {column: facts[column] for column in COLUMNS}
        yield harmless_json(json.dumps(chosen, ensure_ascii=False))


def _plain(entry: Entry) -> dict[str, Any]:
    return {
        name: value.isoformat(timespec="seconds") if isinstance(value, datetime) else value
        for name, value in asdict(entry).items()
    }


def _cell(value: Any) -> str | int:
    match value:
        case None:
            return ""
        case int():
            return value
        case list() | tuple():
            text = "; ".join(value)
        case _:
            text = str(value)
    text = harmless(text)
    return f"'{text}" if text.startswith(_FORMULA) else text
