"""Secrets out of files: a password, a key. Never shown, not even in an error."""

import os
import re
import stat
from pathlib import Path

from pipeline.errors import Misconfigured

CONTROL = re.compile(r"[\x00-\x1f\x7f]")
"""A line break, or another character that is not seen."""

_LIMIT = 4096
_ENDS_AS_A_FILE = re.compile(r"\w\.(?:key|pem|txt|token|secret|password|pass)$", re.ASCII)


def read_secret(file: Path, *, setting: str, what: str, shown: bool = False) -> str:
    """The one line of text that a file holds; line breaks and blanks around it do not belong to it.

    `setting` is what names the file and `what` what it holds, "password". Raises Misconfigured for
    a file that cannot be read or holds anything else. The name of a file that is not there is
    `shown` only if it is known to be one: somebody may have put the secret in its place.
    """
    told = f"The {what} file {file}, which {setting} names,"
    must = f"It must hold the {what}, on one line, and nothing else"
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK)  # a pipe would wait for ever
        try:
            mode = os.fstat(descriptor).st_mode
            if not stat.S_ISREG(mode):
                kind = "a folder" if stat.S_ISDIR(mode) else "no ordinary file"
                raise Misconfigured(f"{told} is {kind}; name the file. {must}.")
            with os.fdopen(descriptor, "rb", closefd=False) as opened:
                data = opened.read(_LIMIT + 1)
        finally:
            os.close(descriptor)
        text = data.decode("utf-8").removeprefix("\ufeff").strip()
    except (OSError, ValueError) as error:
        if isinstance(error, UnicodeDecodeError):
            # not chained: what cannot be decoded is shown by the error, and may be the secret
            raise Misconfigured(f"{told} is not UTF-8 text. {must}.") from None
        if not shown and not is_there(file):
            told = f"The {what} file that {setting} names"
        reason = getattr(error, "strerror", None) or "its name cannot be one"
        raise Misconfigured(f"{told} cannot be read: {reason}. {must}.") from None
    if not text:
        raise Misconfigured(f"{told} is empty. {must}.")
    if CONTROL.search(text) or len(data) > _LIMIT:
        raise Misconfigured(f"{told} holds more than one line of text. {must}.")
    return text


def is_plainly_a_path(named: str, file: Path) -> bool:
    """Whether what names a file is no secret in the file's place, whether or not it is there.

    It ends as such files' names do, or lies in a folder that is there and is not the root.
    """
    if _ENDS_AS_A_FILE.search(named):
        return True
    try:
        return "/" in named and file.parent != file.parent.parent and file.parent.is_dir()
    except (OSError, ValueError):
        return False


def is_there(file: Path) -> bool:
    """Whether there is something of this name, so that the name can be shown."""
    try:
        return os.path.lexists(file)
    except (OSError, ValueError):
        return False


def readable_by_all(file: Path) -> bool:
    """Whether everybody on this machine may read the file."""
    try:
        mode = file.stat().st_mode
    except (OSError, ValueError):
        return False  # whoever needs it is told by `read_secret`
    return stat.S_ISREG(mode) and bool(mode & stat.S_IROTH)
