"""The envelope's marks: what is written on it so that returned mail tells which letter it was.

Pure. Mail that comes back is sent to the envelope's sender, so each delivery has a sender address
of its own (VERP): `bounces+<token>.<mac>@domain`. The token names the delivery and the mac, made
with a secret key, shows that the address was given out here: nobody can report the failure of a
letter whose envelope they have not seen. Letters and digits only, and no capitals, because some
mail systems turn all of an address into small letters.

`xtext` is how RFC 3461 writes ENVID and ORCPT, for which the standard library has nothing.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from pipeline.address import ATEXT, ascii_address
from pipeline.errors import LetterFault, Misconfigured

MAC_LENGTH: Final = 16
"""Characters of a mac: 80 bits in base32. More would leave too little room for the token."""

SHORTEST_KEY: Final = 16
"""Octets a key must have at least."""

_LOCAL_PART_LIMIT: Final = 64  # RFC 5321 section 4.5.3.1.1
_LONGEST_ADDRESS: Final = 320
_TOKEN: Final = re.compile(r"[a-z0-9]+")
_MARK: Final = re.compile(rf"(?P<token>[a-z0-9]+)\.(?P<mac>[a-z2-7]{{{MAC_LENGTH}}})")
_SEPARATOR: Final = re.compile(rf"(?![A-Za-z0-9.])(?={ATEXT})[!-~]")

# The key may serve for other things too; what is signed says what it is for.
_PURPOSE: Final = b"verp\0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """What a genuine address names: the token it was made with."""

    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Forged:
    """An address of the right form whose mac fits no key: somebody made it up, or damaged it."""

    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReturnAddress:
    """Where returned mail goes: the plain mailbox, the keys, and the recipient delimiter.

    The first of `keys` signs and all of them are accepted, so a new key is put in front and the old
    one stays until no mail made with it can come back. Keys are octets, `SHORTEST_KEY` or more.
    `separator` is what the mail server that takes the returned mail splits addresses at (Postfix:
    `recipient_delimiter`). Raises `Misconfigured`.
    """

    mailbox: str
    keys: tuple[bytes, ...] = field(repr=False)
    separator: str = "+"

    def __post_init__(self) -> None:
        if not self.keys:
            raise Misconfigured(
                f"The address for returned mail {self.mailbox!r} has no key to sign with; give one."
            )
        for key in self.keys:
            _check(self.mailbox, key, self.separator)

    def verp(self, token: str) -> str:
        """Return the sender address that carries `token`; see `verp`."""
        return verp(self.mailbox, token, self.keys[0], separator=self.separator)

    def token_of(self, address: str) -> Token | Forged | None:
        """Return what `address` names; None for every mailbox but this one. See `token_of`."""
        return token_of(address, self.keys, separator=self.separator, mailbox=self.mailbox)


def verp(mailbox: str, token: str, key: bytes, *, separator: str = "+") -> str:
    """Return `mailbox` with the token and its mac: bounces+<token>.<mac>@domain.

    `token` is small letters and digits. Raises `Misconfigured` for a mailbox, key or separator that
    will not do, and `LetterFault` for a token that is none or is too long: 64 octets may stand
    before the @, which leaves 39 for the token beside "bounces".
    """
    local, domain = _check(mailbox, key, separator)
    if not _TOKEN.fullmatch(token):
        raise LetterFault(
            f"The token {token!r} cannot stand in a sender address; it must be small letters and"
            " digits."
        )
    marked = f"{local}{separator}{token}.{_mac(token, key)}"
    if len(marked) > _LOCAL_PART_LIMIT:
        raise LetterFault(
            f"The token {token!r} makes the part before the @ of the sender address"
            f" {len(marked)} characters long, and mail allows {_LOCAL_PART_LIMIT}; shorten the"
            f" token, or {local!r} in the address for returned mail."
        )
    return f"{marked}@{domain}"


def token_of(
    address: str, keys: Sequence[bytes], *, separator: str = "+", mailbox: str | None = None
) -> Token | Forged | None:
    """Return the token in an address that `verp` made, in whatever case it came back.

    `Forged` is an address of that form whose mac fits none of `keys`; None is any other text. With
    `mailbox` only addresses made from its local part count: other senders too mark their addresses
    so. Its domain may differ, because mail is handed on under other domains. Never raises.
    """
    bare = address.strip().removeprefix("<").removesuffix(">")
    # Only ASCII: the Kelvin sign, for one, is a k in small letters.
    if len(bare) > _LONGEST_ADDRESS or not bare.isascii() or not separator:
        return None
    local, _, _ = bare.rpartition("@")
    before, _, marked = local.removeprefix('"').removesuffix('"').lower().rpartition(separator)
    mark = _MARK.fullmatch(marked)
    if not before or mark is None:
        return None
    if mailbox is not None and before != mailbox.rpartition("@")[0].lower():
        return None
    # A key that is too short would let anybody sign: better no key.
    usable = [key for key in keys if len(key) >= SHORTEST_KEY]
    fits = [hmac.compare_digest(_mac(mark["token"], key), mark["mac"]) for key in usable]
    return Token(value=mark["token"]) if any(fits) else Forged(address=bare)


def _mac(token: str, key: bytes) -> str:
    digest = hmac.digest(key, _PURPOSE + token.encode("ascii"), hashlib.sha256)
    return base64.b32encode(digest).decode("ascii").lower()[:MAC_LENGTH]


def _check(mailbox: str, key: bytes, separator: str) -> tuple[str, str]:
    """Return the local part and the domain in A-labels."""
    try:
        local, _, domain = ascii_address(mailbox).rpartition("@")
    except LetterFault as fault:
        raise Misconfigured(
            f"The address for returned mail will not do: {fault} Correct it in the settings."
        ) from None
    if not _SEPARATOR.fullmatch(separator):
        raise Misconfigured(
            f"The separator {separator!r} for addresses of returned mail must be one sign such as"
            " + or -, the one the mail server has as its recipient delimiter."
        )
    if len(key) < SHORTEST_KEY:
        raise Misconfigured(
            f"A key for the addresses of returned mail has {len(key)} octets; give one of"
            f" {SHORTEST_KEY} or more."
        )
    return local, domain


# ------------------------------------------------------------------------------------------ xtext

_TO_ENCODE: Final = re.compile(rb"[^!-~]|[+=]")
_XTEXT: Final = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-Fa-f]{2})*")


def xtext(text: str) -> str:
    """Return `text` as RFC 3461 writes it in SMTP: "+", "=", blanks and octets beyond ASCII as +HH.

    Letters beyond ASCII are written as their UTF-8 octets. An ENVID may be 100 characters long when
    so written; nothing here cuts it.
    """
    octets = text.encode("utf-8", "surrogatepass")
    return _TO_ENCODE.sub(lambda one: b"+%02X" % ord(one[0]), octets).decode("ascii")


def unxtext(text: str) -> str | None:
    """Return what `xtext` was given, or None if `text` is not so written. Never raises."""
    if not _XTEXT.fullmatch(text):
        return None
    head, *rest = text.encode("ascii").split(b"+")
    octets = head + b"".join(bytes([int(one[:2], 16)]) + one[2:] for one in rest)
    try:
        return octets.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return None
