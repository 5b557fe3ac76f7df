"""Keep frozen files by name and hash: in a folder, in a bucket, or wherever fsspec reaches.

A file is there whole or not at all, is never overwritten, and is checked against its hash when it
is read. `folder`, `bucket` and `elsewhere` are the places, `naming` says what files are called.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Protocol

from pipeline.archive.bucket import Account, Bucket, Limits
from pipeline.archive.elsewhere import Elsewhere
from pipeline.archive.folder import Folder
from pipeline.archive.naming import checked, enclosure_name, letter_name, message_name
from pipeline.errors import Refused, Unavailable

__all__ = [
    "PROBE",
    "PROBE_BYTES",
    "Account",
    "Archive",
    "Bucket",
    "Limits",
    "enclosure_name",
    "letter_name",
    "message_name",
]

PROBE = "letters-check/written-by-letters-check.txt"
"""What `letters check` leaves in a bucket, where nothing is deleted: no file of the archive's."""
PROBE_BYTES = b"letters check wrote this once, and reads it since.\n"
"""What is in it: never to be changed, as it is never overwritten."""


class _Place(Protocol):
    def location(self, name: str) -> str: ...
    def require(self) -> None: ...
    def put(self, name: str, data: bytes) -> bytes | None: ...
    def get(self, name: str) -> bytes: ...
    def beginning(self, name: str, size: int) -> bytes: ...
    def exists(self, name: str) -> bool: ...
    def names(self, within: str) -> Iterator[str]: ...
    def remove(self, names: Iterable[str]) -> Iterator[bool]: ...


class Archive:
    """The frozen files under one URL: a plain path, file://, s3://, memory://...

    Names are relative paths with `/` between their parts; one that would leave the archive is
    refused. Every method raises `Unavailable` when the place cannot be reached or has no room, and
    `Misconfigured` when it never will be without a person. `account` and `limits` are for a bucket.
    """

    def __init__(
        self, url: str, account: Account | None = None, limits: Limits | None = None
    ) -> None:
        self._place: _Place
        self.bucket: Bucket | None = None
        if "://" not in url:
            self._place = Folder(Path(os.path.abspath(Path(url).expanduser())))  # noqa: PTH100 - keeps links
        elif url.startswith(("s3://", "s3a://")):
            self._place = self.bucket = Bucket(url, account, limits)
        elif url.startswith(("file://", "local://")):
            from fsspec.implementations.local import LocalFileSystem  # type: ignore[import-untyped]

            self._place = Folder(Path(LocalFileSystem._strip_protocol(url)))  # noqa: SLF001 - as fsspec reads it
        else:
            self._place = Elsewhere(url)

    def put(self, name: str, data: bytes) -> None:
        """Keep a file under a name, whole or not at all; the same file again is left alone.

        Raises `Refused` when another file has that name already.
        """
        there = self._place.put(checked(name), data)
        if there is not None and there != data:
            raise Refused(
                f"The archive has another file as {self.location(name)} already, and frozen files"
                " are never overwritten. Move it away by hand if it does not belong there."
            )

    def get(self, name: str, sha256: str) -> bytes:
        """Answer the file; raises `Unavailable` when it is missing or its hash is another."""
        data = self._place.get(checked(name))
        found = hashlib.sha256(data).hexdigest()
        if found != sha256.lower() and self.bucket is not None:
            # Perhaps it was changed on its way: before that is said of a letter, look twice.
            data = self._place.get(name)
            found = hashlib.sha256(data).hexdigest()
        if found != sha256.lower():
            raise Unavailable(
                f"The archive's file {self.location(name)} is not the one that was put there: its"
                f" SHA-256 is {found} and was {sha256.lower()}. Put it back from a backup."
            )
        return data

    def exists(self, name: str) -> bool:
        """Tell whether a file of that name is kept here."""
        return self._place.exists(checked(name))

    def location(self, name: str) -> str:
        """Answer the path (of a folder) or URL (of anything else) at which a file is opened."""
        return self._place.location(checked(name))

    def names(self, within: str = "") -> Iterator[str]:
        """Answer the names of all files, or of those below one folder; streamed, however many.

        A folder's names may hold what no archived file's can, as somebody else may have put it
        there; so may half-written files, whose names begin with a full stop.
        """
        return (name for name in self._place.names(within and checked(within)) if name != PROBE)

    def beginning(self, name: str, size: int) -> bytes:
        """Answer at most `size` bytes from a file's beginning, unproved: it is no one's record.

        Takes every name that `names` gives.
        """
        return self._place.beginning(name, size)

    def remove(self, names: Iterable[str]) -> Iterator[bool]:
        """Remove files for good, one after another; for what is to be forgotten, and nothing else.

        Takes every name that `names` gives; one that is not there any more is removed. Answers for
        each, once it is gone, whether the place has kept an older version of it all the same.
        """
        return self._place.remove(_inside(name) for name in names)

    def require(self) -> None:
        """Raise unless the place is there, where that can be told."""
        self._place.require()


def _inside(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise Refused(f"There is no file {name!r} in the archive; nothing outside it is removed.")
    return name
