"""The covering email as one frozen RFC 5322 text.

`compose_message` turns finished wording, a PDF and the people it goes to into the octets that are
sent, stored and sent again byte for byte. The same arguments always give the same octets, on every
Python version: nothing here is random, and the headers are encoded here rather than by the
standard library's folding, which between versions splits, respaces and occasionally corrupts long
display names that mix commas, quotation marks and letters outside ASCII.

What comes out is 7-bit ASCII with CRLF line endings and no line over 998 octets, so that no relay
needs 8BITMIME or SMTPUTF8 to pass it on. A value that would break out of its header, or that no
mail system could carry, is a `LetterFault` that names it.
"""

import base64
import binascii
import hashlib
import itertools
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from typing import Any, Final, Literal
from urllib.parse import quote

from pipeline.address import (
    ATEXT,
    DOT_ATOM,
    LOCAL_PART,
    ascii_address,
    refuse_unprintable,
    split_mailbox,
)
from pipeline.errors import LetterFault

_LINE_TARGET: Final = 76  # RFC 2047 section 2: lines that hold encoded words stay within 76
_LONGEST_WORD: Final = 980  # with the header's name, within RFC 5322's 998 octets for a line
_ENCODED_WORD_LIMIT: Final = 75  # RFC 2047 section 2
_FILENAME_LIMIT: Final = 120
_WORKBOOK: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"

_ATOM: Final = re.compile(ATEXT)
_MESSAGE_ID: Final = re.compile(rf"<{DOT_ATOM}@{DOT_ATOM}>")
_FIELD_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,60}")
_LANGUAGE_TAG: Final = re.compile(r"[A-Za-z]{2,8}(?:-[A-Za-z0-9]{1,8})*")

# Letters that a phrase may hold unencoded inside a Q-encoded word (RFC 2047 section 5, rule 3).
_Q_SAFE: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!*+-/")

_OWN_HEADERS: Final = frozenset(
    {
        "from", "sender", "to", "cc", "bcc", "reply-to", "subject", "date", "message-id",
        "mime-version", "auto-submitted", "return-path", "delivered-to", "received",
        "resent-from", "resent-to", "resent-cc", "resent-bcc", "dkim-signature",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipient:
    """One person the message names.

    `address` may have an international domain; `name` is for display and may be empty; `role` is
    the office held ("chief_executive", "link_officer"); `kind` says which header names them.
    """

    address: str
    name: str
    role: str
    kind: Literal["to", "cc"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wording:
    """What the covering email says: a subject, and the same words as plain text and as HTML."""

    subject: str
    text: str
    html: str


def compose_message(
    *,
    wording: Wording,
    sender: str,
    reply_to: str | None,
    recipients: Sequence[Recipient],
    pdf: bytes,
    pdf_filename: str,
    enclosures: Sequence[tuple[str, bytes]] = (),
    message_id: str,
    date: datetime,
    language: str = "en-GB",
    extra_headers: Mapping[str, str] | None = None,
) -> bytes:
    """Return the message as the octets to send, CRLF line endings and all.

    `sender` and `reply_to` are mailboxes ("Name <address>" or a bare address); `message_id` comes
    from `new_message_id`; `date` is aware. The message is multipart/mixed: the wording as text and
    as HTML, then the PDF and the `enclosures` (workbooks, each with its file name), whose octets
    come out of any mail reader exactly as they went in.
    Raises `LetterFault` for a value that cannot stand where it is put: a line break in a name, an
    address no mail system takes, nobody to write to.
    """
    if date.tzinfo is None or date.utcoffset() is None:
        raise LetterFault(
            f"The message's date {date.isoformat()} has no time zone; give an aware one."
        )
    if not _MESSAGE_ID.fullmatch(message_id) or len(message_id) > 250:
        raise LetterFault(f"The Message-ID {message_id!r} is not of the form <token@domain>.")
    if not _LANGUAGE_TAG.fullmatch(language):
        raise LetterFault(f"The language {language!r} is not a language tag such as en-GB.")
    if not pdf:
        raise LetterFault("The letter's PDF is empty; there is nothing to attach.")
    to = [recipient for recipient in recipients if recipient.kind == "to"]
    copied = [recipient for recipient in recipients if recipient.kind == "cc"]
    if not to:
        raise LetterFault("The message has nobody to go to: no recipient is of the kind 'to'.")
    if not wording.subject.strip():
        raise LetterFault("The message has no subject; the wording's first line must give one.")

    headers = [
        f"Date: {format_datetime(date)}",
        _address_header("From", [split_mailbox(sender)]),
    ]
    if reply_to is not None:
        headers.append(_address_header("Reply-To", [split_mailbox(reply_to)]))
    headers.append(_address_header("To", [(each.name, each.address) for each in to]))
    if copied:
        headers.append(_address_header("Cc", [(each.name, each.address) for each in copied]))
    headers += [
        _text_header("Subject", wording.subject),
        f"Message-ID: {message_id}",
        "Auto-Submitted: auto-generated",
        f"Content-Language: {language}",
        *_extra_headers(extra_headers or {}),
        "MIME-Version: 1.0",
    ]

    # "=_" cannot occur in quoted-printable or base64, so no part can hold a boundary.
    mark = hashlib.sha256(message_id.encode("ascii")).hexdigest()[:32]
    alternative = _multipart(
        "alternative",
        f"=_{mark}_words",
        [_text_part("plain", wording.text), _text_part("html", wording.html)],
    )
    attached = [_file_part("application/pdf", pdf, pdf_filename)]
    attached += [_file_part(_WORKBOOK, data, name) for name, data in enclosures]
    mixed = _multipart("mixed", f"=_{mark}_parts", [alternative, *attached])
    return ("\r\n".join(headers) + "\r\n" + mixed).encode("ascii")


def new_message_id(token: str, sender_address: str) -> str:
    """Return "<token@domain>", the domain being that of `sender_address` as A-labels.

    `token` is what makes the Message-ID unique; it must be letters, digits and the few signs a
    Message-ID may hold, 128 characters at most. Raises `LetterFault`.
    """
    if not LOCAL_PART.fullmatch(token) or len(token) > 128:
        raise LetterFault(f"The token {token!r} cannot stand in a Message-ID.")
    _, _, domain = ascii_address(sender_address).rpartition("@")
    return f"<{token}@{domain.lower()}>"


def pdf_filename(year: int | str, authority: str) -> str:
    """Return the attachment's name, "Annual Review letter 2020 - Stevenage Borough Council.pdf".

    Plain ASCII, with nothing that Windows or a shell objects to, 120 characters at most: letters
    lose their accents, and what has no plain counterpart becomes a hyphen.
    """
    return _named(f"Annual Review letter {_plain(str(year)) or 'undated'}", authority, ".pdf")


def workbook_filename(kind: str, fields: Mapping[str, Any]) -> str:
    """Return an enclosure's name, "Decisions 2019-20 - Stevenage Borough Council.xlsx", as above.

    The period and the authority are those of the letter's merge `fields`.
    """
    first, last = (str(fields[name]).rpartition(" ")[2] for name in ("period_start", "period_end"))
    period = last if first == last else f"{first}-{last[-2:]}"
    return _named(f"{kind.capitalize()} {_plain(period)}", str(fields["authority"]), ".xlsx")


def _named(start: str, authority: str, ending: str) -> str:
    room = _FILENAME_LIMIT - len(start) - len(" - ") - len(ending)
    name = _plain(authority)
    if len(name) > room:
        cut = name[: room + 1]
        name = (cut.rpartition(" ")[0] or cut[:room]).rstrip(" .,-&'(")
    return f"{start} - {name}{ending}" if name else f"{start}{ending}"


# ---------------------------------------------------------------------------------------- headers


def _extra_headers(headers: Mapping[str, str]) -> Iterable[str]:
    for name, value in headers.items():
        lowered = name.lower()
        if not _FIELD_NAME.fullmatch(name):
            raise LetterFault(f"{name!r} is not a header name.")
        if lowered in _OWN_HEADERS or lowered.startswith("content-"):
            raise LetterFault(f"The header {name} is written here and cannot be given as an extra.")
        yield _text_header(name, value)


def _text_header(name: str, value: str) -> str:
    refuse_unprintable(f"The header {name}", value)
    words = value.split()
    # A continuation line of its own may be longer than a first line, which starts with the name.
    room = _LINE_TARGET - len(name) - 2
    if (
        all(word.isascii() and "=?" not in word for word in words)
        and all(len(word) < _LINE_TARGET for word in words)
        and len(words[0] if words else "") <= room
    ):
        return _fold(f"{name}:", words)
    return _fold(f"{name}:", _encoded_words(" ".join(words), room))


def _address_header(name: str, mailboxes: Sequence[tuple[str, str]]) -> str:
    lines: list[str] = []
    for index, (display, address) in enumerate(mailboxes):
        refuse_unprintable("The name", display)
        start = f"{name}:" if index == 0 else ""
        tokens = _phrase(" ".join(display.split()), _LINE_TARGET - len(name) - 2)
        angle = f"<{ascii_address(address)}>" if tokens else ascii_address(address)
        comma = "," if index < len(mailboxes) - 1 else ""
        lines.append(_fold(start, [*tokens, angle + comma]))
    return "\r\n".join(lines)


def _fold(start: str, tokens: Sequence[str]) -> str:
    """Join the tokens with single spaces, or a line break and a space where a line is full.

    The first token stays on the first line: a header whose first line is blank is legal, but not
    every mail system believes it.
    """
    lines = [start]
    for index, token in enumerate(tokens):
        if index > 0 and len(lines[-1]) + 1 + len(token) > _LINE_TARGET:
            lines.append("")
        lines[-1] += f" {token}"
    return "\r\n".join(lines)


def _phrase(name: str, room: int) -> list[str]:
    """Return the tokens of a display name: atoms, a quoted string's words, or encoded words.

    A name too long for one encoded word is split at words that need no encoding, where there are
    any: white space beside a plain word counts for every reader, while some readers (Python's own
    among them) wrongly show the space between two encoded words.
    """
    if not name:
        return []
    words = name.split(" ")
    if name.isascii() and "=?" not in name:
        if not all(map(_ATOM.fullmatch, words)):
            words = ('"' + re.sub(r'(["\\])', r"\\\1", name) + '"').split(" ")
        # A word that fills more than a line is legal, and better than cut up: see above.
        if max(map(len, words)) <= _LONGEST_WORD:
            return words
        words = name.split(" ")
    whole = _encoded_words(name, room)
    if len(whole) == 1:
        return whole
    tokens: list[str] = []
    for plain, group in itertools.groupby(words, _needs_no_encoding):
        run = list(group)
        tokens += run if plain else _encoded_words(" ".join(run), room)
    return tokens


def _needs_no_encoding(word: str) -> bool:
    return len(word) <= 40 and _ATOM.fullmatch(word) is not None and "=?" not in word


def _encoded_words(text: str, room: int) -> list[str]:
    """Split `text` into RFC 2047 words, never within a character; the first fits into `room`.

    Between two encoded words white space does not count, so they may be folded anywhere.
    """
    encode = _q_word if len(_q_word(text)) <= len(_b_word(text)) else _b_word
    words: list[str] = []
    chunk = ""
    for character in text:
        limit = min(room, _ENCODED_WORD_LIMIT) if not words else _ENCODED_WORD_LIMIT
        if chunk and len(encode(chunk + character)) > limit:
            words.append(encode(chunk))
            chunk = ""
        chunk += character
    if chunk:
        words.append(encode(chunk))
    return words


def _q_word(text: str) -> str:
    encoded = "".join(
        chr(octet) if octet in _Q_SAFE else "_" if octet == 0x20 else f"={octet:02X}"
        for octet in text.encode("utf-8")
    )
    return f"=?utf-8?q?{encoded}?="


def _b_word(text: str) -> str:
    return f"=?utf-8?b?{base64.b64encode(text.encode('utf-8')).decode('ascii')}?="


# ------------------------------------------------------------------------------------------ parts


def _multipart(subtype: str, boundary: str, parts: Sequence[str]) -> str:
    opened = "".join(f"--{boundary}\r\n{part}\r\n" for part in parts)
    return (
        f"Content-Type: multipart/{subtype};\r\n"
        f' boundary="{boundary}"\r\n\r\n'
        f"{opened}--{boundary}--\r\n"
    )


def _text_part(subtype: str, text: str) -> str:
    lines = text.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n").split("\n")
    for number, line in enumerate(lines, start=1):
        refuse_unprintable(f"Line {number} of the text/{subtype} wording", line.replace("\t", " "))
    encoded = (_quoted_printable(line.encode("utf-8")) for line in lines)
    return (
        f"Content-Type: text/{subtype}; charset=utf-8\r\n"
        "Content-Transfer-Encoding: quoted-printable\r\n\r\n" + "\r\n".join(encoded) + "\r\n"
    )


def _quoted_printable(line: bytes) -> str:
    """Encode one line; soft line breaks come out as CRLF."""
    encoded = binascii.b2a_qp(line, quotetabs=False, istext=True, header=False)
    return encoded.decode("ascii").replace("=\n", "=\r\n")


def _file_part(kind: str, data: bytes, filename: str) -> str:
    encoded = base64.b64encode(data).decode("ascii")
    lines = (encoded[at : at + 76] for at in range(0, len(encoded), 76))
    return (
        f"Content-Type: {kind};{_parameter('name', filename)}\r\n"
        "Content-Transfer-Encoding: base64\r\n"
        f"Content-Disposition: attachment;{_parameter('filename', filename)}\r\n\r\n"
        + "\r\n".join(lines)
        + "\r\n"
    )


def _parameter(name: str, filename: str) -> str:
    """Return the parameter on lines of its own: quoted if ASCII, else split up as in RFC 2231."""
    refuse_unprintable("The attachment's name", filename)
    if not filename or len(filename) > 200 or not _FORBIDDEN_IN_FILES.isdisjoint(filename):
        raise LetterFault(f"The attachment's name {filename!r} is not one every system can save.")
    if filename.isascii():
        return f'\r\n {name}="{filename}"'
    encoded = quote(filename.encode("utf-8"), safe="")
    # A percent sign and its two digits stay together.
    pieces = re.findall(r"(?:%..|[^%]){1,20}", encoded)
    pieces[0] = f"utf-8''{pieces[0]}"
    return ";".join(f"\r\n {name}*{index}*={piece}" for index, piece in enumerate(pieces))


# -------------------------------------------------------------------------------------- filenames

_FORBIDDEN_IN_FILES: Final = frozenset('<>:"/\\|?*')

_PLAIN_COUNTERPARTS: Final = str.maketrans(
    {
        "‘": "'", "’": "'", "ʼ": "'", "“": "'", "”": "'", "–": "-", "—": "-", "‐": "-", "‑": "-",
        "…": "...", "ß": "ss", "æ": "ae", "Æ": "Ae", "œ": "oe", "Œ": "Oe", "ø": "o", "Ø": "O",
        "ł": "l", "Ł": "L", "đ": "d", "Đ": "D", "ð": "d", "Ð": "D", "þ": "th", "Þ": "Th",
    }
)  # fmt: skip


def _plain(text: str) -> str:
    """Return `text` in ASCII that any file system takes, single spaces, no dot at the end."""
    decomposed = unicodedata.normalize("NFKD", text.translate(_PLAIN_COUNTERPARTS))
    kept = "".join(each for each in decomposed if not unicodedata.combining(each))
    kept = re.sub(r"[^A-Za-z0-9 !#$&'()+,.;=@\[\]^_{}~-]+", "-", " ".join(kept.split()))
    return kept.strip(" .-")
