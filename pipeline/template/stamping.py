"""Write one letter's docx: render the parts that differ, copy those that do not."""

import struct
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from docxtpl import DocxTemplate  # type: ignore[import-untyped]
from jinja2 import StrictUndefined, Template, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from lxml import etree

from pipeline.errors import LetterFault
from pipeline.template.vocabulary import MEBIBYTE

_FIRST_DRAWING: Final = 1001  # the numbers that docxtpl gives to drawings
_DRAWING: Final = ':docPr id="0"'
_MAX_PRINTED: Final = 4 * MEBIBYTE
_DO_NOT_FIT: Final = (
    TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError,
    RecursionError, etree.LxmlError,
)  # fmt: skip
_DECLARATION: Final = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'


@lru_cache(maxsize=2)
def environment(*, escape: bool) -> ImmutableSandboxedEnvironment:
    """The one Jinja environment, escaping for XML or not: no code, no missing fields."""
    return ImmutableSandboxedEnvironment(
        autoescape=escape, undefined=StrictUndefined, keep_trailing_newline=True
    )


def rendered(template: Template, context: Mapping[str, Any]) -> str:
    """Return a template filled in; raise `LetterFault` if these fields do not fit it.

    What it prints is counted while it is printed: long lists and long texts in many loops could
    otherwise fill the memory before anybody sees the letter.
    """
    pieces: list[str] = []
    size = 0
    try:
        for piece in template.generate(context):
            size += len(piece)
            if size > _MAX_PRINTED:
                raise LetterFault(
                    f"The letter grows beyond {_MAX_PRINTED // MEBIBYTE} MB of text, because a"
                    " field or a list in it is very long; shorten it in the data, or print it less"
                    " often in the template."
                )
            pieces.append(piece)
    except _DO_NOT_FIT as error:
        raise LetterFault(f"The letter cannot be filled in: {str(error).rstrip('.')}.") from error
    return "".join(pieces)


@dataclass(frozen=True, slots=True, kw_only=True)
class Raw:
    """A part that every letter has alike: copied as it lay in the template."""

    name: str
    method: int
    crc: int
    size: int
    packed: bytes

    def content(self, _context: Mapping[str, Any]) -> tuple[int, int, int, bytes]:
        """Method, CRC-32, unpacked size and packed bytes."""
        return self.method, self.crc, self.size, self.packed


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamped:
    """A part that is written for each letter."""

    name: str
    template: Template
    listings: DocxTemplate | None
    tables: bool

    def content(self, context: Mapping[str, Any]) -> tuple[int, int, int, bytes]:
        """Method, CRC-32, unpacked size and packed bytes.

        Stored, not deflated: packed bytes differ between versions of zlib, and a letter's docx
        must come out the same on every machine.
        """
        xml = rendered(self.template, context)
        try:
            if self.listings is not None and ("\n" in xml or "\t" in xml):
                xml = self.listings.resolve_listing(xml)
            if self.listings is not None and self.tables:
                xml = etree.tostring(self.listings.fix_tables(xml), encoding="unicode")
        except _DO_NOT_FIT as error:
            raise LetterFault(
                f"The letter's tables do not fit together ({error}); make them anew in the"
                " template."
            ) from error
        first, *others = xml.split(_DRAWING)
        numbered = (
            f':docPr id="{number}"{after}' for number, after in enumerate(others, _FIRST_DRAWING)
        )
        data = "".join([_DECLARATION, first, *numbered]).encode()
        return zipfile.ZIP_STORED, zlib.crc32(data), len(data), data


def packed(members: "Iterable[tuple[Raw | Stamped, tuple[int, int, int, bytes]]]") -> bytes:
    """Write a zip file by hand: zipfile would unpack and pack again what only needs copying.

    Every part is dated 1 January 1980, the first day that zip knows.
    """
    written: list[bytes] = []
    directory: list[bytes] = []
    offset = 0
    for member, (method, crc, size, packed) in members:
        name = member.name.encode()
        flags = 0 if name.isascii() else 0x800
        about = struct.pack(
            "<5H3L2H", 20, flags, method, 0, 0x21, crc, len(packed), size, len(name), 0
        )
        written += [b"PK\x03\x04", about, name, packed]
        directory += [b"PK\x01\x02\x14\x00", about, struct.pack("<3H2L", 0, 0, 0, 0, offset), name]
        offset += 4 + len(about) + len(name) + len(packed)
    listing = b"".join(directory)
    count = len(directory) // 4
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count, count, len(listing), offset, 0)
    return b"".join([*written, listing, end])
