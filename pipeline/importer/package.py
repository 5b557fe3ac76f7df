"""What a workbook is on the outside: the right kind of file, whole, not too big, and harmless.

Everything here is found out before a parser sees the workbook, and without unpacking it to memory
or disk. Each refusal says what the file is and how to make a workbook of it.
"""

import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO, Final
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException  # type: ignore[import-untyped]
from defusedxml import ElementTree as Defused

from pipeline.errors import Misconfigured
from pipeline.importer.cells import Wrong, shown

WORKBOOK_LIMIT: Final = 128 * 1024 * 1024
"""Bytes that a workbook may have."""

UNPACKED_LIMIT: Final = 512 * 1024 * 1024
"""Bytes that its parts may have together."""

PART_LIMIT: Final = 64 * 1024 * 1024
"""Bytes that a part may have which is not a sheet and so has to be held in memory."""

_PARTS: Final = 10_000
CHUNK: Final = 1024 * 1024
_OVERLAP: Final = 200  # a merged range may lie across the border
_SHEETS: Final = "xl/worksheets/"
_SAVE: Final = "open it in the spreadsheet program and save it as “Excel Workbook (.xlsx)”"
_MAIN: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"
_MANIFEST: Final = "[Content_Types].xml"
_STRICT: Final = "http://purl.oclc.org/ooxml/spreadsheetml/main"

# Content types of what else comes in such a package, by a part of their names.
_OTHERS: Final = {
    "ms-excel.sheet.macroEnabled": "a workbook with macros (.xlsm), which are not taken",
    "ms-excel.sheet.binary": "a binary workbook (.xlsb)",
    "ms-excel.template": "a template with macros (.xltm), which are not taken",
    "ms-excel.addin": "an add-in",
    "spreadsheetml.template": "a template (.xltx)",
    "wordprocessingml": "a Word document",
    "presentationml": "a presentation",
}

_WORKBOOK_STREAMS: Final = ("Workbook", "Book")
_ENCRYPTED_STREAM: Final = "EncryptedPackage"

# A sheet's list of merged cells comes after its rows, and the parser that streams the rows does
# not tell of it. Within the text of a cell < is escaped, so this finds nothing else.
_MERGED: Final = re.compile(rb'<(?:\w+:)?mergeCell\s[^<>]*?\bref="([A-Z0-9:]+)"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A workbook that may be parsed; `merged` has the merged ranges of each part that has any."""

    merged: Mapping[str, tuple[str, ...]]


def vet(file: BinaryIO, size: int) -> Package:
    """Look a workbook over, from its first byte to its last.

    Raises Wrong for what is not one, or not to be trusted, and Misconfigured where the parser that
    is to read it would not refuse what must be refused.
    """
    import openpyxl  # type: ignore[import-untyped]

    if not openpyxl.DEFUSEDXML:
        raise Misconfigured(
            "Workbooks cannot be read safely here: openpyxl does not use defusedxml. Install it, "
            "and take OPENPYXL_DEFUSEDXML out of the environment."
        )
    if size == 0:
        raise Wrong("is empty; copy it again.")
    if size > WORKBOOK_LIMIT:
        raise Wrong(
            f"is {size // 1_000_000:,} MB long; at most {WORKBOOK_LIMIT // 1_000_000:,} MB of a "
            "workbook are read. Delete what is not data, or save its sheets as “CSV UTF-8”."
        )
    _refuse_other_kinds(file)
    try:
        with zipfile.ZipFile(file) as archive:
            return _vet_archive(archive)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError) as error:
        raise Wrong(
            f"is cut short or damaged ({_reason(error)}); copy it again, or {_SAVE}."
        ) from (error)


def _reason(error: Exception) -> str:
    return str(error).strip().rstrip(".").partition("\n")[0][:80] or type(error).__name__


def _refuse_other_kinds(file: BinaryIO) -> None:
    """By the first bytes: all that is not a zip archive."""
    file.seek(0)
    start = file.read(4096)
    if start.startswith(b"PK\x03\x04"):
        return
    if start.startswith(b"\xd0\xcf\x11\xe0"):
        if _holds(file, _ENCRYPTED_STREAM.encode("utf-16-le")):
            raise Wrong(
                "is protected by a password; open it in the spreadsheet program, take the password "
                "off (File, Info, Protect Workbook, Encrypt with Password) and save it."
            )
        raise Wrong(f"is of the old Excel format (.xls); {_SAVE}.")
    if start.startswith((b"PK\x05\x06", b"PK\x07\x08")):
        raise Wrong("is an empty or divided zip archive and no workbook; copy it again.")
    plain = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if plain.startswith((b"<html", b"<!doctype html", b"<table", b"<?xml")):
        raise Wrong(f"is not a workbook, but a web page or XML named like one; {_SAVE}.")
    if b"\0" not in start:
        raise Wrong(
            "is not a workbook, but text named like one. If it is CSV, give it the name of its "
            "relation, such as decisions.csv, and import the folder that holds it."
        )
    raise Wrong(f"is not a workbook; {_SAVE}.")


def _holds(file: BinaryIO, wanted: bytes) -> bool:
    file.seek(0)
    before = b""
    while chunk := file.read(CHUNK):
        if wanted in before + chunk:
            return True
        before = chunk[-len(wanted) :]
    return False


def _vet_archive(archive: zipfile.ZipFile) -> Package:
    parts = archive.infolist()
    names = {part.filename for part in parts}
    if any(part.flag_bits & 0x1 for part in parts):
        raise Wrong("is packed with a password; take it off, and save the workbook without one.")
    if len(parts) > _PARTS or len(names) < len(parts):
        raise Wrong(f"is not packed as a workbook is; {_SAVE}.")
    # What the archive says of itself. No more than that is ever unpacked of a part, and where more
    # is in it the check sum is wrong: below, each is read to its end.
    if sum(part.file_size for part in parts) > UNPACKED_LIMIT:
        raise Wrong(
            f"unpacks to more than {UNPACKED_LIMIT // 1_000_000:,} MB, which no year's statistics "
            "do; delete what is not data, or save its sheets as “CSV UTF-8”."
        )
    _refuse_other_packages(archive, names)
    merged = {}
    for part in parts:
        sheet = part.filename.startswith(_SHEETS)
        if part.file_size > PART_LIMIT and not sheet:
            raise Wrong(
                f"has a part, {shown(part.filename)}, of more than {PART_LIMIT // 1_000_000:,} MB "
                "unpacked; delete what is not data (pictures, long texts) and save it again."
            )
        ranges = [
            found.decode()
            for chunk in _whole(archive, part)
            for found in _MERGED.findall(chunk if sheet else b"")
        ]
        if ranges:
            merged[part.filename] = tuple(dict.fromkeys(ranges))
        root = _root(archive, part)
        if root is not None and root.tag.startswith(f"{{{_STRICT}}}"):
            raise Wrong(
                "is saved as “Strict Open XML”; save it as plain “Excel Workbook (.xlsx)” instead."
            )
    return Package(merged=merged)


def _whole(archive: zipfile.ZipFile, part: zipfile.ZipInfo) -> Iterator[bytes]:
    """A part's bytes to their end, where its check sum is verified; its chunks overlap a little.

    No more than a chunk is unpacked at once.
    """
    with archive.open(part) as stream:
        before = b""
        while chunk := stream.read(CHUNK):
            yield before + chunk
            before = chunk[-_OVERLAP:]


def _root(archive: zipfile.ZipFile, part: zipfile.ZipInfo) -> Element | None:
    """The first element of a part that is XML. Raises Wrong for one with a document type."""
    try:
        with archive.open(part) as stream:
            _, root = next(iter(Defused.iterparse(stream, events=("start",), forbid_dtd=True)))
            assert isinstance(root, Element)  # noqa: S101 - what a start event comes with
            return root
    except DefusedXmlException:
        raise Wrong(
            f"has a document type or entity in its part {shown(part.filename)}, which no "
            f"spreadsheet program writes and which is never read; {_SAVE}."
        ) from None
    except (ParseError, StopIteration, LookupError, ValueError):
        return None  # a picture, or XML at which the parser will stop


def _refuse_other_packages(archive: zipfile.ZipFile, names: set[str]) -> None:
    """By what the archive says that it holds: all that is not a plain workbook."""
    if "mimetype" in names:
        with archive.open("mimetype") as stream:
            if stream.read(200).startswith(b"application/vnd.oasis.opendocument.spreadsheet"):
                raise Wrong(f"is an OpenDocument spreadsheet (.ods); {_SAVE}.")
    if _MANIFEST not in names:
        raise Wrong(
            "is a zip archive that holds no workbook; if it holds CSV files, unpack it and import "
            "the folder."
        )
    with archive.open(_MANIFEST) as stream:
        manifest = stream.read(PART_LIMIT)
    try:
        kinds = {
            str(element.get("ContentType"))
            for element in Defused.fromstring(manifest, forbid_dtd=True)
        }
    except (ParseError, DefusedXmlException):
        raise Wrong(f"is damaged: its list of contents cannot be read; {_SAVE}.") from None
    if any("vbaProject" in kind for kind in kinds):
        raise Wrong(f"is {_OTHERS['ms-excel.sheet.macroEnabled']}; {_SAVE}.")
    if _MAIN in kinds:
        return
    for sign, called in _OTHERS.items():
        if any(sign.casefold() in kind.casefold() for kind in kinds):
            raise Wrong(f"is {called}; {_SAVE}.")
    raise Wrong(f"is not a workbook; {_SAVE}.")
