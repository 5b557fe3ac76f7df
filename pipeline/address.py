"""Addresses and names: what an envelope can carry, and what no name may hide.

Pure. `ascii_address` is the one rule for every address that mail is sent to or from; data that
comes in through files is held to a stricter one there. `hidden_character` is the one rule for
characters that do not show.
"""

import ipaddress
import re
import unicodedata
from typing import Final

from pipeline.errors import LetterFault

ATEXT: Final = r"[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~]+"
DOT_ATOM: Final = rf"{ATEXT}(?:\.{ATEXT})*"
LOCAL_PART: Final = re.compile(DOT_ATOM)

_ADDRESS_LIMIT: Final = 254  # RFC 5321 section 4.5.3.1.3, without the angle brackets
_LOCAL_PART_LIMIT: Final = 64
_LABEL_LIMIT: Final = 63
_SHOWN: Final = 320
_LABEL: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?")
_MAILBOX: Final = re.compile(r"\s*(?P<name>[^<>]*?)\s*<(?P<address>[^<>]*)>\s*")
_QUOTED: Final = re.compile(r'"(?P<inner>(?:[^"\\]|\\.)*)"')

# Direction overrides make "fdp.exe" read as "exe.pdf"; no name or subject of ours needs them.
_BIDI_CONTROLS: Final = frozenset(
    "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)

_HIDDEN_CATEGORIES: Final = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"})

# Letters, marks and a symbol by their category, and yet nothing is to be seen of them.
_INVISIBLE: Final = frozenset(
    "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0"
    + "".join(map(chr, [*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)]))
)

# Control characters have no names in Unicode; these are known by common ones.
_CONTROLS: Final = {
    "\0": "NULL",
    "\a": "BELL",
    "\b": "BACKSPACE",
    "\t": "TAB",
    "\n": "LINE FEED",
    "\v": "VERTICAL TAB",
    "\f": "FORM FEED",
    "\r": "CARRIAGE RETURN",
    "\x1b": "ESCAPE",
    "\x7f": "DELETE",
    "\x85": "NEXT LINE",
}

# What to call the characters to which Unicode gives no name, by category.
_NAMELESS: Final = {
    "Cc": "CONTROL CHARACTER",
    "Cn": "UNASSIGNED CHARACTER",
    "Co": "PRIVATE USE CHARACTER",
    "Cs": "SURROGATE",
}

# The idna codec follows IDNA 2003, which maps these to something else: another domain.
_IDNA_DEVIATIONS: Final = frozenset("ßẞς\u200c\u200d")


def split_mailbox(mailbox: str) -> tuple[str, str]:
    """Return the display name ("" for none) and the address of "Name <address>" or "address".

    A name in quotation marks loses them. Raises `LetterFault` if it is neither; the address itself
    is looked at by `ascii_address`.
    """
    refuse_unprintable("The mailbox", mailbox)
    match = _MAILBOX.fullmatch(mailbox)
    if match is None:
        if "<" in mailbox or ">" in mailbox:
            raise LetterFault(f"The mailbox {mailbox!r} is not of the form Name <address>.")
        return "", mailbox.strip()
    name = match["name"]
    if quoted := _QUOTED.fullmatch(name):
        name = re.sub(r"\\(.)", r"\1", quoted["inner"])
    return name, match["address"].strip()


def ascii_address(address: str) -> str:
    """Return the address as SMTP without extensions can carry it: its domain in A-labels.

    The local part is left alone. Raises `LetterFault` with the reason for what is no single
    address, is too long, or would need an extension that not every mail system has.
    """
    local, at, domain = address.rpartition("@")
    if (reason := _not_one_address(address, local, at, domain)) is not None:
        raise _unwritable(address, reason)
    if (reason := _no_local_part(local)) is not None:
        raise _unwritable(address, reason)
    labels = [_ascii_label(label, address) for label in domain.split(".")]
    if labels[-1].isdigit():
        raise _unwritable(address, "it names a computer by number; give a domain")
    plain = f"{local}@{'.'.join(labels)}"
    if len(plain) > _ADDRESS_LIMIT:
        raise _unwritable(
            address, f"it is {len(plain)} characters long, and mail allows {_ADDRESS_LIMIT}"
        )
    return plain


def _unwritable(address: str, reason: str) -> LetterFault:
    shown = repr(address if len(address) <= _SHOWN else f"{address[:_SHOWN]}…")
    return LetterFault(f"The address {shown} cannot be written to: {reason}.")


def _not_one_address(address: str, local: str, at: str, domain: str) -> str | None:
    """Why a text is not one address and nothing else, or None if it may be."""
    hidden = hidden_character(address)
    reasons = (
        (hidden is not None, f"it holds {hidden}; take it out"),
        (not at, "it has no @"),
        (
            "<" in address or ">" in address,
            "it holds a name or brackets beside the address; give the address alone",
        ),
        (
            local.startswith('"'),
            "it has a quoted part before the @, which many mail systems refuse",
        ),
        (
            "@" in local or "," in address or ";" in address,
            "it holds more than one address, or a comma or semicolon; give one, and whoever else is"
            " written to a row of their own",
        ),
        (
            any(character.isspace() for character in address),
            "it holds a space, or two addresses with a space between them",
        ),
        (domain.startswith("["), "it names a computer by number; give a domain"),
    )
    return next((reason for wrong, reason in reasons if wrong), None)


def _no_local_part(local: str) -> str | None:
    """Why a text cannot stand before the @, or None if it can."""
    reasons = (
        (not local, "nothing stands before the @"),
        (
            not local.isascii(),
            "letters before the @ that are not plain A to Z need an extension (SMTPUTF8) that not"
            " every mail system has; ask for an address without accents",
        ),
        (
            len(local) > _LOCAL_PART_LIMIT,
            f"{len(local)} characters stand before the @, and mail allows {_LOCAL_PART_LIMIT}",
        ),
        (
            local.startswith(".") or local.endswith(".") or ".." in local,
            "what stands before the @ begins or ends with a dot, or has two dots in a row",
        ),
        (
            not LOCAL_PART.fullmatch(local),
            "what stands before the @ must be plain letters, digits and signs",
        ),
    )
    return next((reason for wrong, reason in reasons if wrong), None)


def _ascii_label(label: str, address: str) -> str:
    plain = label
    if not label.isascii():
        try:
            if not _IDNA_DEVIATIONS.isdisjoint(label):
                raise UnicodeError
            plain = label.encode("idna").decode("ascii")
        except UnicodeError:
            raise _unwritable(
                address,
                f"the part {label!r} of its domain cannot be put into plain letters; write it in"
                " its xn-- form",
            ) from None
    if not label:
        raise _unwritable(
            address, "its domain is empty, begins or ends with a dot, or has two dots in a row"
        )
    if len(plain) > _LABEL_LIMIT:
        raise _unwritable(
            address,
            f"a part of its domain is {len(plain)} characters long, and mail allows {_LABEL_LIMIT}",
        )
    if not _LABEL.fullmatch(plain):
        raise _unwritable(
            address, f"the part {label!r} of its domain is none that mail could be sent to"
        )
    return plain


def hidden_character(text: str) -> str | None:
    """Name the first character that would not show or would reorder the text, or return None.

    Control, format (bidirectional and zero-width) and unassigned characters, private use, line
    separators, fillers: none belongs in a name, and some can make one text read as another.
    """
    if text.isprintable() and text.isascii():
        return None
    for character in text:
        if (
            unicodedata.category(character) in _HIDDEN_CATEGORIES
            or character in _INVISIBLE
            or _is_noncharacter(character)
        ):
            return character_name(character)
    return None


def character_name(character: str) -> str:
    """Return what to call a character in a sentence: RIGHT-TO-LEFT OVERRIDE (U+202E)."""
    name = (
        "NONCHARACTER"
        if _is_noncharacter(character)
        else unicodedata.name(character, "")
        or _CONTROLS.get(character)
        or _NAMELESS.get(unicodedata.category(character), "CHARACTER WITHOUT A NAME")
    )
    return f"{name} (U+{ord(character):04X})"


def _is_noncharacter(character: str) -> bool:
    return "\ufdd0" <= character <= "\ufdef" or ord(character) & 0xFFFE == 0xFFFE


def refuse_unprintable(what: str, value: str) -> None:
    """Raise `LetterFault` if `value` could break out of its line or read as something else."""
    for character in value:
        if unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"}:
            raise LetterFault(
                f"{what} {value!r} holds a line break or control character "
                f"(U+{ord(character):04X}); take it out."
            )
        if character in _BIDI_CONTROLS:
            raise LetterFault(
                f"{what} {value!r} holds an invisible change of writing direction "
                f"(U+{ord(character):04X}); take it out."
            )


def is_loopback(host: str) -> bool:
    """Whether a host, by its name or its number, is this machine itself."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
