"""Words of a server, fit to be shown: on one line, and without the secrets that it was given.

A careless server repeats what was said to it, and its words go into messages and onto the record.
"""

import re
from collections.abc import Iterable
from typing import Final

_RECOGNISED: Final = 16
"""Characters by which a token is recognised."""


def printable(said: str | bytes) -> str:
    """Text without what cannot be seen, on one line; octets are taken for UTF-8."""
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
    kept = "".join(each if each.isprintable() else " " for each in text)
    return " ".join(kept.split())


def masked(said: str | bytes, *, passwords: Iterable[str] = (), tokens: Iterable[str] = ()) -> str:
    """The same without secrets, in whichever of the forms given they come back.

    A password is known by all of it, a token by how it begins: it is long, and may come back cut
    short.
    """
    words = printable(said)
    for password in passwords:
        if whole := printable(password):
            words = words.replace(whole, "***")
    for token in tokens:
        if begins := printable(token)[:_RECOGNISED]:
            words = re.sub(re.escape(begins) + r"\S*", "***", words)
    return words
