"""Names within the archive: what a file is called, and what it may not be called."""

import re
import unicodedata
from pathlib import PurePosixPath

from pipeline.errors import Refused

CODE_LENGTH = 32
SLUG_LENGTH = 80
HASH_LENGTH = 12


def letter_name(year: int, code: str, authority: str, sha256: str) -> str:
    """Answer the name of a letter's PDF: `2020/E07000243-stevenage-borough-council.<hash>.pdf`.

    `<hash>` is the first 12 hexadecimal digits of the file's SHA-256. Whatever stands in the code
    and the name, the answer is one folder and one file of letters, digits, `-` and `.`, of a
    bounded length.
    """
    return f"{year:04d}/{_stem(code, authority, sha256)}.pdf"


def message_name(year: int, code: str, authority: str, sha256: str) -> str:
    """Answer the name of a message's frozen bytes: `2020/messages/E07000243-....<hash>.eml`."""
    return f"{year:04d}/messages/{_stem(code, authority, sha256)}.eml"


def enclosure_name(year: int, code: str, authority: str, kind: str, sha256: str) -> str:
    """Answer the name of an enclosure: `2020/enclosures/E07000243-...-decisions.<hash>.xlsx`."""
    stem, _, mark = _stem(code, authority, sha256).rpartition(".")
    return f"{year:04d}/enclosures/{stem}-{kind}.{mark}.xlsx"


def checked(name: str) -> str:
    """The name, if it stays within the archive and every place can keep it; raises Refused."""
    path = PurePosixPath(name)
    parts = name.split("/")
    if (
        path.is_absolute()
        or any(part.startswith(".") or not part for part in parts)
        or re.search(r"[\x00-\x1f\\:*?\"<>|]", name)
    ):
        raise Refused(
            f"The archive keeps no file named {name!r}: it must be a plain relative path."
        )
    return name


def _stem(code: str, authority: str, sha256: str) -> str:
    if not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise ValueError(f"not a SHA-256: {sha256!r}")
    parts = [
        re.sub(r"[^A-Za-z0-9]+", "-", _ascii(code)).strip("-")[:CODE_LENGTH],
        re.sub(r"[^a-z0-9]+", "-", _ascii(authority).lower().replace("'", ""))[:SLUG_LENGTH],
    ]
    stem = "-".join(part.strip("-") for part in parts if part.strip("-")) or "letter"
    return f"{stem}.{sha256[:HASH_LENGTH].lower()}"


def _ascii(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text.replace("’", "'").replace("&", " and "))
    return plain.encode("ascii", "ignore").decode()
