"""The mailbox that `reports.mailbox` names: a Maildir's folder, or a URL of an IMAP folder."""

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote, urlsplit

from pipeline.errors import Misconfigured

_PORTS = {"imaps": 993, "imap": 143}
_FORM = "imaps://NAME@HOST/INBOX"
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:(?![0-9]+(/|$))|imaps?//", re.IGNORECASE)
_SERVER = re.compile(r"(?P<name>[^@/]+@)?(?P<host>[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+)(?P<port>:\d+)?")


def _looks_like_a_server(value: str) -> bool:
    """Whether a path begins with what is a mail server's name rather than a folder's."""
    found = _SERVER.fullmatch(value.partition("/")[0])
    if found is None:
        return False
    labels = found["host"].lower().split(".")
    return bool(found["name"] or found["port"] or labels[0] in {"imap", "imaps"} or len(labels) > 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImapFolder:
    """A folder on an IMAP server, and whose it is."""

    host: str
    port: int
    username: str
    folder: str
    security: Literal["tls", "starttls"]


def imap_folder(value: str) -> ImapFolder | None:
    """The IMAP folder that a setting names; None for the path of a Maildir.

    `imaps://` is encrypted at once, `imap://` by STARTTLS. The name may hold an @, and all parts
    %XX. Raises Misconfigured, without the value: somebody may have put a password into it. So it
    does for what is neither, as a server's name without imaps:// before it.
    """
    if not _URL.match(value):
        if _SCHEME.match(value):
            raise Misconfigured(
                "It begins like a URL and is none; write it as "
                f"{_FORM}, with two slashes, or give the path of a Maildir."
            )
        if _looks_like_a_server(value):
            raise Misconfigured(
                f"It looks like a mailbox on a mail server; write it as {_FORM}. If it is the path "
                "of a Maildir, write the whole path, or ./ before it."
            )
        return None
    try:
        parts = urlsplit(value)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise Misconfigured(f"It is no URL that can be read; write it as {_FORM}.") from None
    if parts.scheme not in _PORTS:
        raise Misconfigured(
            "It must be the path of a Maildir, or a URL that begins with imaps:// or imap://; "
            f"write it as {_FORM}."
        )
    if parts.password is not None:
        raise Misconfigured(
            "It holds a password, which must not stand in the settings; put that into a file and "
            "name the file in reports.password_file."
        )
    if not parts.username or not host or port == 0:
        raise Misconfigured(f"It must name whose mailbox it is, and where; write it as {_FORM}.")
    if parts.query or parts.fragment:
        raise Misconfigured(
            f"It holds more than a name, a host and a folder; write it as {_FORM}, with %3F for a "
            "question mark and %23 for a number sign."
        )
    return ImapFolder(
        host=host,
        port=port or _PORTS[parts.scheme],
        username=unquote(parts.username),
        folder=unquote(parts.path.strip("/")) or "INBOX",
        security="tls" if parts.scheme == "imaps" else "starttls",
    )
