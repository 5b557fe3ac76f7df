"""Addresses: what an envelope can carry, and what may stand beside one in a header.

Pure. `ascii_address` is the one rule for every address that mail is sent to or from; data that
comes in through files is held to a stricter one there.
"""

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
_LABEL: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?")
_MAILBOX: Final = re.compile(r"\s*(?P<name>[^<>]*?)\s*<(?P<address>[^<>]*)>\s*")
_QUOTED: Final = re.compile(r'"(?P<inner>(?:[^"\\]|\\.)*)"')

# Direction overrides make "fdp.exe" read as "exe.pdf"; no name or subject of ours needs them.
_BIDI_CONTROLS: Final = frozenset(
    "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)

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

    The local part is left alone. Raises `LetterFault` for an address that is no address, is too
    long, or whose local part is not ASCII.
    """
    local, at, domain = address.rpartition("@")
    if not at:
        raise LetterFault(f"The address {address!r} cannot be written to: it has no @.")
    if not LOCAL_PART.fullmatch(local) or len(local) > _LOCAL_PART_LIMIT:
        raise LetterFault(
            f"The address {address!r} cannot be written to: what stands before the @ must be "
            "plain letters, digits and signs, 64 characters at most."
        )
    labels = [_ascii_label(label, address) for label in domain.split(".")]
    plain = f"{local}@{'.'.join(labels)}"
    if len(plain) > _ADDRESS_LIMIT:
        raise LetterFault(f"The address {address!r} is longer than the 254 characters mail allows.")
    return plain


def _ascii_label(label: str, address: str) -> str:
    plain = label
    if not label.isascii():
        try:
            if not _IDNA_DEVIATIONS.isdisjoint(label):
                raise UnicodeError
            plain = label.encode("idna").decode("ascii")
        except UnicodeError:
            raise LetterFault(
                f"The address {address!r} has a domain that cannot be put into plain letters; "
                "write it in its xn-- form."
            ) from None
    if not _LABEL.fullmatch(plain) or len(plain) > _LABEL_LIMIT:
        raise LetterFault(f"The address {address!r} has no domain that mail could be sent to.")
    return plain


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
