"""The bytes of one CSV file into lines of text, and those into the cells of each row."""

import csv
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from pipeline.importer.cells import WHITE_SPACE, Wrong

FILE_LIMIT = 512 * 1024 * 1024
"""Bytes that a file may have."""

_LINE_LIMIT = 1024 * 1024


def open_csv(path: Path) -> BinaryIO:
    """The file, open at its beginning.

    Raises OSError if it cannot be opened, and Wrong for what cannot be CSV in UTF-8, mostly
    spreadsheets saved otherwise.
    """
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):  # to open a pipe would be to wait for whoever fills it
        raise Wrong(" is not a file; put the file itself there.")
    size = found.st_size
    if size == 0:
        raise Wrong(" is empty; its first line must name its columns.")
    if size > FILE_LIMIT:
        raise Wrong(
            f" is {size // 1_000_000:,} MB long; at most {FILE_LIMIT // 1_000_000:,} MB "
            "are read. Split it and import one part after the other."
        )
    with path.open("rb") as file:
        start = file.read(8)
    if start.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise Wrong(
            " is a workbook that was named .csv; open it in the spreadsheet program and save it "
            "as “CSV UTF-8”."
        )
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise Wrong(" is encoded as UTF-16 (“Unicode text”); save it as “CSV UTF-8”.")
    if b"\0" in start:
        raise Wrong(
            " holds NUL bytes at its beginning and is no text, or encoded as UTF-16; "
            "save it as “CSV UTF-8”."
        )
    return path.open("rb")


class Digest(Protocol):
    """What the bytes that are read are added to, such as a hashlib object."""

    def update(self, data: bytes, /) -> object:
        """Add bytes."""


@dataclass(slots=True, kw_only=True)
class Misencoded:
    """The lines of a file that turned out not to be UTF-8: what is said of the first, and how many.

    One sentence stands for all of them, because they have one cause.
    """

    first: str = ""
    count: int = 0

    def add(self, number: int, byte: int) -> None:
        """Take down a line by its number, and the first byte in it that does not fit."""
        self.count += 1
        if self.count == 1:
            guess = bytes([byte]).decode("cp1252", errors="replace")
            self.first = (
                f"line {number}: the byte 0x{byte:02X} is not UTF-8; it looks like "
                f"Windows-1252, where it is “{guess}”. Save the file as “CSV UTF-8”."
            )

    def __str__(self) -> str:
        if self.count <= 1:
            return self.first
        others = f"{self.count - 1:,} more {'line is' if self.count == 2 else 'lines are'}"
        return f"{self.first} ({others} like it.)"


def decoded(file: BinaryIO, misencoded: Misencoded, digest: Digest) -> Iterator[str]:
    """The lines of a file as text; those that are not UTF-8 are added to `misencoded`.

    Their bytes are added to `digest` as they are read.

    Raises Wrong for a line without end.
    """
    number = 0
    while line := file.readline(_LINE_LIMIT + 1):
        number += 1
        digest.update(line)
        if len(line) > _LINE_LIMIT:
            raise Wrong(
                f", line {number}: is over {_LINE_LIMIT // 1024:,} KB long; "
                "this is not a table in CSV."
            )
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        try:
            yield line.decode("utf-8")
        except UnicodeDecodeError as error:
            misencoded.add(number, line[error.start])
            # Read on for the other faults, with a stand-in that any cell of text may hold:
            # what is wrong with this line has been said.
            yield line.decode("utf-8", errors="replace").replace("\ufffd", "x")


def records(lines: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    """Each row's first line number and cells; skips the empty rows that spreadsheets leave.

    Raises Wrong where the rest cannot be told apart.
    """
    reader = csv.reader(lines, strict=True)
    while True:
        first = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            reason = _reason(str(error))
            raise Wrong(f", line {first}: {reason}. Nothing after it was read.") from None
        if any(cell.strip(WHITE_SPACE) for cell in cells):
            yield first, cells


def _reason(error: str) -> str:
    """What is the matter, for what the csv module says of it."""
    if "new-line" in error:
        return "the line endings are those of old Macintosh files; save it as “CSV UTF-8”"
    if "unexpected end" in error or "field larger" in error:
        return "a quotation mark is opened and never closed"
    return (
        "a quotation mark stands within a cell; "
        'put the cell within quotation marks and double those inside it: "the ""old"""'
    )
