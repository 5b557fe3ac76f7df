"""The parts of a mail that may be anything: cut up without raising, in bounded time and memory.

Pure. The standard library's parser is not used to cut a mail up: it reads line by line in Python
and keeps one matcher per open multipart, so ten megabytes of empty lines or some hundred nested
multiparts keep it busy for many seconds or end in a RecursionError. Here the octets are searched
for boundaries and never copied per level, and there are limits to what is looked at. Within one
header (content types, encoded words, transfer encodings, dates) the standard library does the work,
on texts of bounded length.

Attached messages (message/rfc822) are not entered: what is in them was not said by this mail.
"""

import base64
import binascii
import codecs
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from email.errors import MessageError
from email.header import decode_header
from email.message import Message
from typing import Final

SIZE_LIMIT: Final = 10 * 1024 * 1024
"""Octets of the largest mail that is read."""

HEADER_LIMIT: Final = 256 * 1024
"""Octets of the longest header a mail may have; those of its parts are looked at less far."""

TEXT_LIMIT: Final = 256 * 1024
"""Octets of a part that are looked at."""

_PART_HEADER_LIMIT: Final = 8 * 1024
_PARTS_LIMIT: Final = 100
_DEPTH_LIMIT: Final = 20
_DELIMITERS_LIMIT: Final = 1000
_VALUE_LIMIT: Final = 8 * 1024
_FIELDS_LIMIT: Final = 5000

_FIELD: Final = re.compile(rb"([!-9;-~]{1,80})[ \t]*:(.*)", re.DOTALL)
_REST_OF_DELIMITER: Final = re.compile(rb"(--)?[ \t]*(?:\n|\Z)")
_NOT_BASE64: Final = re.compile(rb"[^A-Za-z0-9+/]+")

# Some of Python's codecs are no charsets and take quadratic time (punycode, idna).
_CHARSET: Final = re.compile(
    r"(?:utf|us-?ascii|ascii|iso|latin|cp|windows|koi|gb|big5|shift|sjis|euc|mac|tis|hz|ks)"
    r"[a-z0-9_.:-]{0,30}",
    re.IGNORECASE,
)

# What the standard library raises for junk it was not made for.
_JUNK: Final = (ValueError, TypeError, LookupError, OverflowError, AttributeError, MessageError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """A block of header fields: names in small letters, values unfolded, in the order they came."""

    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def first(self, name: str) -> str:
        """The first value of a field, "" if there is none."""
        return next(iter(self.values.get(name, ())), "")

    def all(self, name: str) -> tuple[str, ...]:
        """Every value of a field."""
        return self.values.get(name, ())

    def __contains__(self, name: object) -> bool:
        return name in self.values

    def __bool__(self) -> bool:
        return bool(self.values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part: its type in small letters, its fields, and where its body lies in the mail.

    `divided` is true of a multipart whose boundary was found, so that its parts follow.
    """

    kind: str
    fields: Fields
    divided: bool
    mail: bytes = field(repr=False)
    start: int
    end: int

    def content(self, limit: int = TEXT_LIMIT) -> bytes:
        """The first `limit` octets of the body, transfer encoding undone, lines ended by LF."""
        body = self.mail[self.start : min(self.end, self.start + limit)]
        encoding = self.fields.first("content-transfer-encoding").strip().lower()
        if encoding == "base64":
            return plain_lines(_from_base64(body))
        if encoding == "quoted-printable":
            return plain_lines(binascii.a2b_qp(body))
        return body

    def text(self, limit: int = TEXT_LIMIT) -> str:
        """The first `limit` octets of the body as text, whatever its charset says it is."""
        charset = parameter(self.fields.first("content-type"), "charset")
        return as_text(self.content(limit), charset)


def read_parts(raw: bytes) -> tuple[Part, ...]:
    """Return the mail itself and then its parts, those of multiparts too, in the order they come.

    There is always at least one. Never raises; what lies beyond the limits is left out.
    """
    mail = plain_lines(raw[:SIZE_LIMIT])
    start = len(mail) - len(mail.lstrip(b" \t\n"))
    found: list[Part] = []
    waiting = [(start, len(mail), 0)]
    while waiting and len(found) < _PARTS_LIMIT:
        start, end, depth = waiting.pop()
        header_limit = _PART_HEADER_LIMIT if depth else HEADER_LIMIT
        fields, body = _head(mail, start, end, header_limit)
        content_type = fields.first("content-type")
        kind = _kind(content_type)
        pieces: list[tuple[int, int]] = []
        if kind.startswith("multipart/") and depth < _DEPTH_LIMIT:
            pieces = _pieces(mail, body, end, parameter(content_type, "boundary"))
        found.append(
            Part(kind=kind, fields=fields, divided=bool(pieces), mail=mail, start=body, end=end)
        )
        waiting += [(first, last, depth + 1) for first, last in reversed(pieces)]
    return tuple(found)


def fields_of(block: bytes | Iterable[bytes]) -> Fields:
    """Return the fields of a block of header lines; lines that are none are passed over."""
    lines = block.split(b"\n") if isinstance(block, bytes) else block
    values: dict[str, list[str]] = {}
    name, pieces = "", [b""]
    count = 0

    def keep() -> None:
        if name:
            whole = b" ".join(b" ".join(pieces)[:_VALUE_LIMIT].split())
            values.setdefault(name, []).append(as_text(whole, ""))

    for line in lines:
        if line[:1] in {b" ", b"\t"}:
            pieces.append(line)
            continue
        match = _FIELD.match(line)
        if match is None:
            continue
        keep()
        name, pieces = match[1].decode("ascii").lower(), [match[2]]
        count += 1
        if count > _FIELDS_LIMIT:
            break
    keep()
    return Fields(values={name: tuple(each) for name, each in values.items()})


def plain_lines(octets: bytes) -> bytes:
    """Return the octets with every line end as LF, and without NULs."""
    if b"\0" in octets:
        octets = octets.replace(b"\0", b"")
    if b"\r" in octets:
        octets = octets.replace(b"\r\r\n", b"\n").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return octets


def as_text(octets: bytes, charset: str) -> str:
    """Return the octets as text: in the charset named, or else in UTF-8 or Windows' Latin."""
    if _CHARSET.fullmatch(charset):
        try:
            named = codecs.lookup(charset)
            if named.name not in {"utf-8", "ascii"}:
                return octets.decode(named.name, "replace")
        except _JUNK:
            pass
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError:
        return octets.decode("cp1252", "replace")


def decoded(value: str, limit: int = 2000) -> str:
    """Return a header's value with its encoded words (RFC 2047) read, as far as they can be."""
    value = value[:limit]
    if "=?" not in value:
        return value
    try:
        words = decode_header(value)
    except _JUNK:
        return value
    return "".join(_word(word, charset) for word, charset in words)


def _word(word: str | bytes, charset: str | None) -> str:
    if isinstance(word, str):
        return word
    if charset is None:  # what stood between encoded words; this is how the library hands it on
        return word.decode("raw-unicode-escape", "replace")
    return as_text(word, charset)


def parameter(content_type: str, name: str) -> str:
    """Return a parameter of a Content-Type, "" if it has none."""
    try:
        value = _content_type(content_type).get_param(name, "")
    except _JUNK:
        return ""
    if isinstance(value, tuple):  # written as in RFC 2231: charset, language, value
        value = value[2]
    return value.strip()


def _kind(content_type: str) -> str:
    try:
        return _content_type(content_type).get_content_type()
    except _JUNK:
        return "text/plain"


def _content_type(value: str) -> "Message[str, str]":
    holder: Message[str, str] = Message()
    holder["Content-Type"] = value[:2000]
    return holder


def _head(mail: bytes, start: int, end: int, limit: int) -> tuple[Fields, int]:
    """Return the fields that begin at `start`, and where the body begins."""
    if mail.startswith(b"\n", start, end):
        return Fields(), start + 1
    blank = mail.find(b"\n\n", start, end)
    last = end if blank < 0 else blank
    body = end if blank < 0 else blank + 2
    return fields_of(mail[start : min(last, start + limit)]), body


def _pieces(mail: bytes, start: int, end: int, boundary: str) -> list[tuple[int, int]]:
    """Return where the parts of a multipart lie; none if its boundary does not occur."""
    if not boundary:
        return []
    mark = b"\n--" + boundary.encode("utf-8", "replace")
    pieces: list[tuple[int, int]] = []
    opened: int | None = None
    at = max(start - 1, 0)
    for _ in range(_DELIMITERS_LIMIT):
        at = mail.find(mark, at, end)
        if at < 0:
            break
        rest = _REST_OF_DELIMITER.match(mail, at + len(mark), end)
        if rest is None:  # the boundary is only the beginning of another one
            at += len(mark)
            continue
        if opened is not None:
            pieces.append((opened, max(at, opened)))
        opened = None if rest[1] else rest.end()
        if opened is None:
            break
        at = rest.end() - 1
    if opened is not None:  # the last delimiter is missing: the mail was cut off
        pieces.append((opened, end))
    return pieces


def _from_base64(body: bytes) -> bytes:
    digits = _NOT_BASE64.sub(b"", body)
    if len(digits) % 4 == 1:  # one digit left over stands for nothing
        digits = digits[:-1]
    return base64.b64decode(digits + b"=" * (-len(digits) % 4))
