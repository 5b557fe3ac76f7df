"""Rows for a spreadsheet, as CSV that no spreadsheet takes for anything but text and numbers."""

import csv
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

from pipeline.display.console import harmless

# The last four are what a keyboard for Chinese or Japanese writes, and are understood likewise.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


class _Lines:
    """What the csv module writes lines of text to."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, text: str) -> None:
        self._file.write(text.encode())


class Sheet:
    """A line of names, then one line for each row; `rows` counts them.

    UTF-8, with a byte order mark if `marked`. A cell that a spreadsheet would take for a formula
    gets an apostrophe before it, and what a terminal would obey is replaced.
    """

    def __init__(self, file: BinaryIO, columns: Sequence[str], *, marked: bool) -> None:
        if marked:
            file.write(b"\xef\xbb\xbf")
        # Whatever is text stands in quotes: a spreadsheet set to another separator keeps it whole.
        self._writer = csv.writer(_Lines(file), quoting=csv.QUOTE_NONNUMERIC)
        self._writer.writerow(columns)
        self._columns = columns
        self.rows = 0

    def add(self, facts: Mapping[str, Any]) -> None:
        """One row: numbers, texts, and lists of texts."""
        self._writer.writerow([_cell(facts[column]) for column in self._columns])
        self.rows += 1


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
