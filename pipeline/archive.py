"""Keep frozen files by name and hash, in a folder or wherever fsspec reaches.

A file is there whole or not at all, is never overwritten, and is checked against its hash when it
is read. Locally it is written beside its place under a name that starts with a full stop, synced,
and linked to its own name; what a crash leaves behind is such a dotted file and nothing else.
"""

import contextlib
import errno
import hashlib
import os
import re
import tempfile
import unicodedata
from pathlib import Path, PurePosixPath

from pipeline.errors import Misconfigured, Refused, Unavailable

CODE_LENGTH = 32
SLUG_LENGTH = 80
HASH_LENGTH = 12
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS)
_SEE_THE_DISK = "See to its disk, or name another folder in archive.url"
_FIXES = (
    ((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "Make room on its disk"),
    (
        (errno.ENOTDIR, errno.EEXIST, errno.EISDIR),
        "Something else is in the way of one of its folders: move it, or correct archive.url",
    ),
    (
        (errno.EACCES, errno.EPERM, errno.EROFS),
        "Make the folder writable for whoever runs this, or name another in archive.url",
    ),
)
_URL = re.compile(r"://([^/\s]*@)?([^?\s]*)(\?\S+)?")


class Archive:
    """The frozen files under one URL: a plain path, file://, memory://, s3://...

    Names are relative paths with `/` between their parts; one that would leave the archive is
    refused. Every method raises `Unavailable` when the place cannot be reached or has no room.
    """

    def __init__(self, url: str) -> None:
        import fsspec  # type: ignore[import-untyped]
        from fsspec.implementations.local import LocalFileSystem  # type: ignore[import-untyped]

        self._url = _without_secrets(url)
        try:
            self._files, root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as fault:
            raise Misconfigured(
                f"The archive {self._url} cannot be used: {_sentence(fault)}. Give a folder in"
                " archive.url, or install what its protocol needs."
            ) from None  # the fault's own words may hold the whole URL, and that a password
        except OSError as fault:
            raise Unavailable(
                f"The archive {self._url} cannot be reached: {_reason(fault)}. Check that"
                " archive.url is right and that its server runs."
            ) from fault
        self._root = str(root).rstrip("/")
        self._folder = Path(root) if isinstance(self._files, LocalFileSystem) else None

    def put(self, name: str, data: bytes) -> None:
        """Keep a file under a name, whole or not at all; the same file again is left alone.

        Raises `Refused` when another file has that name already.
        """
        if self._folder is None:
            self._put_far(name, data)
        else:
            self._put_near(self._folder / _checked(name), data)

    def get(self, name: str, sha256: str) -> bytes:
        """Answer the file; raises `Unavailable` when it is missing or its hash is another."""
        place = self.location(name)
        try:
            data: bytes = self._files.cat_file(self._path(name))
        except FileNotFoundError as fault:
            raise Unavailable(
                f"The archive has no file {place}. Put it back from a backup."
            ) from fault
        except OSError as fault:
            raise Unavailable(
                f"The archive's file {place} cannot be read: {_reason(fault)}. Mend that,"
                " or put the file back from a backup."
            ) from fault
        found = hashlib.sha256(data).hexdigest()
        if found != sha256.lower():
            raise Unavailable(
                f"The archive's file {place} is not the one that was put there: its SHA-256 is"
                f" {found} and was {sha256.lower()}. Put it back from a backup."
            )
        return data

    def exists(self, name: str) -> bool:
        """Tell whether a file of that name is kept here."""
        try:
            return bool(self._files.isfile(self._path(name)))
        except OSError as fault:
            raise Unavailable(
                f"The archive {self._url} cannot be looked at: {_reason(fault)}. Check"
                " that archive.url is right and may be read."
            ) from fault

    def location(self, name: str) -> str:
        """Answer the path (of a folder) or URL (of anything else) at which a file is opened."""
        path = self._path(name)
        return (
            path
            if self._folder is not None
            else f"{_without_secrets(str(self._files.unstrip_protocol(self._root)))}/{name}"
        )

    def _path(self, name: str) -> str:
        return f"{self._root}/{_checked(name)}"

    def _put_near(self, path: Path, data: bytes) -> None:
        try:
            there = path.read_bytes() if path.exists() else None
            if there is None:
                _make_directory(path.parent)
                try:
                    _write(path, data)
                except FileExistsError:  # put by another process in the meantime
                    there = path.read_bytes()
        except OSError as fault:
            fix = next((fix for codes, fix in _FIXES if fault.errno in codes), _SEE_THE_DISK)
            raise Unavailable(
                f"The archive cannot keep {path}: {_reason(fault)}. {fix}, and run this"
                " again; nothing of the file is left behind."
            ) from fault
        if there is not None:
            self._leave_alone(str(path), there, data)

    def _put_far(self, name: str, data: bytes) -> None:
        # Object stores show an object when all of it is there, so there is no name to change.
        path, place = self._path(name), self.location(name)
        try:
            if self._files.exists(path):
                self._leave_alone(place, self._files.cat_file(path), data)
                return
            self._files.makedirs(path.rpartition("/")[0], exist_ok=True)
            self._files.pipe_file(path, data)
        except OSError as fault:
            raise Unavailable(
                f"The archive cannot keep {place}: {_reason(fault)}. Check that"
                " archive.url is right and that its server runs, and run this again."
            ) from fault

    def _leave_alone(self, place: str, there: bytes, data: bytes) -> None:
        if there != data:
            raise Refused(
                f"The archive has another file as {place} already, and frozen files are never"
                " overwritten. Move it away by hand if it does not belong there."
            )


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


def _stem(code: str, authority: str, sha256: str) -> str:
    if not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise ValueError(f"not a SHA-256: {sha256!r}")
    parts = [
        re.sub(r"[^A-Za-z0-9]+", "-", _ascii(code)).strip("-")[:CODE_LENGTH],
        re.sub(r"[^a-z0-9]+", "-", _ascii(authority).lower().replace("'", ""))[:SLUG_LENGTH],
    ]
    stem = "-".join(part.strip("-") for part in parts if part.strip("-")) or "letter"
    return f"{stem}.{sha256[:HASH_LENGTH].lower()}"


def _without_secrets(text: str) -> str:
    """A URL, or words that hold one, without the login before its host and what it asks for."""

    def shown(found: re.Match[str]) -> str:
        login, place, asked = found.groups(default="")
        if "?" in login:  # where the one ends and the other begins cannot be told
            return "://***"
        return f"://{'***@' if login else ''}{place}{'?***' if asked else ''}"

    return _URL.sub(shown, text)


def _reason(fault: OSError) -> str:
    return fault.strerror or _sentence(fault)


def _sentence(fault: Exception) -> str:
    return _without_secrets(str(fault)).rstrip(".")


def _ascii(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text.replace("’", "'").replace("&", " and "))
    return plain.encode("ascii", "ignore").decode()


def _checked(name: str) -> str:
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


def _make_directory(directory: Path) -> None:
    missing = [each for each in (directory, *directory.parents) if not each.exists()]
    directory.mkdir(parents=True, exist_ok=True)
    for made in missing:
        _sync(made.parent)


def _write(path: Path, data: bytes) -> None:
    descriptor, name = tempfile.mkstemp(prefix=".", suffix=".part", dir=path.parent)
    part = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(descriptor, 0o640)
            os.fsync(descriptor)
        # A link rather than a rename: it fails where a rename would overwrite what another
        # process has put there since. Some file systems have no links.
        try:
            path.hardlink_to(part)
        except OSError as fault:
            if fault.errno not in _NO_LINKS or path.exists():
                raise
            part.rename(path)
    finally:
        with contextlib.suppress(OSError):
            part.unlink()
    _sync(path.parent)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
