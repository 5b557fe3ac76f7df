"""A year's account as CSV, for a spreadsheet, or as JSON; written as it comes."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from datetime import datetime
from typing import Any, BinaryIO

from pipeline.display.console import harmless_json
from pipeline.display.sheet import Sheet
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


def write_csv(entries: Iterable[Entry], file: BinaryIO, *, marked: bool) -> int:
    """One line for each entry below a line of names; how many there were.

    UTF-8, with a byte order mark if `marked`. A cell that a spreadsheet would take for a formula
    gets an apostrophe before it, and what a terminal would obey is replaced.
    """
    sheet = Sheet(file, COLUMNS, marked=marked)
    for entry in entries:
        sheet.add(_plain(entry))
    return sheet.rows


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
