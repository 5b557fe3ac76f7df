"""The archive in a folder of this machine.

A file is written beside its place under a name that starts with a full stop, synced, and linked to
its own name; what a crash leaves behind is such a dotted file and nothing else.
"""

import contextlib
import errno
import os
import stat
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from pipeline.archive.showing import reason
from pipeline.errors import Unavailable

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


class Folder:
    """Files below one folder, which is made when the first of them is put there."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def location(self, name: str) -> str:
        """The file's path."""
        return f"{self._root}/{name}"

    def require(self) -> None:
        """Raise Unavailable if the folder is not there."""
        if not self._root.is_dir():
            raise Unavailable(
                f"There is no archive at {self._root}. If it lies on another disk or machine, see"
                " that it is mounted; if archive.url is wrong, correct it; if it is lost, restore"
                " it from a backup."
            )

    def put(self, name: str, data: bytes) -> bytes | None:
        """Write a file whole or not at all; the bytes of one that had the name before, or None."""
        path = self._root / name
        try:
            if path.exists():
                return path.read_bytes()
            _make_directory(path.parent)
            try:
                _write(path, data)
            except FileExistsError:  # put by another process in the meantime
                return path.read_bytes()
        except OSError as fault:
            fix = next((fix for codes, fix in _FIXES if fault.errno in codes), _SEE_THE_DISK)
            raise Unavailable(
                f"The archive cannot keep {path}: {reason(fault)}. {fix}, and run this"
                " again; nothing of the file is left behind."
            ) from fault
        return None

    def get(self, name: str) -> bytes:
        """The file's bytes, unproved; raises Unavailable, from FileNotFoundError if missing."""
        path = self._root / name
        try:
            with _ordinary(path) as file:
                return file.read()
        except FileNotFoundError as fault:
            raise Unavailable(
                f"The archive has no file {path}. Put it back from a backup."
            ) from fault
        except OSError as fault:
            raise Unavailable(
                f"The archive's file {path} cannot be read: {reason(fault)}. Mend that,"
                " or put the file back from a backup."
            ) from fault

    def beginning(self, name: str, size: int) -> bytes:
        """The first `size` bytes of a file, or all; raises Unavailable as `get`."""
        path = self._root / name
        try:
            with _ordinary(path) as file:
                return file.read(size)
        except OSError as fault:
            raise Unavailable(
                f"The archive's file {path} cannot be read: {reason(fault)}. Mend that."
            ) from fault

    def exists(self, name: str) -> bool:
        """Whether there is a file of that name."""
        try:
            return (self._root / name).is_file()
        except OSError as fault:
            raise Unavailable(
                f"The archive {self._root} cannot be looked at: {reason(fault)}. Check"
                " that archive.url is right and may be read."
            ) from fault

    def names(self, within: str) -> Iterator[str]:
        """The names of all files, or of those in one folder and below it; streamed."""
        folders = [within]
        while folders:
            folder = folders.pop()
            try:
                with os.scandir(self._root / folder) as entries:
                    for entry in entries:
                        name = f"{folder}/{entry.name}" if folder else entry.name
                        if entry.is_dir(follow_symlinks=False):
                            folders.append(name)
                        else:
                            yield name
            except FileNotFoundError:
                continue  # no such year
            except OSError as fault:
                raise Unavailable(
                    f"The archive's folder {self._root / folder} cannot be listed: {reason(fault)}."
                ) from fault

    def remove(self, names: Iterable[str]) -> Iterator[bool]:
        """Remove files, and let that reach the disk in the end; no older version is kept here."""
        folders: set[Path] = set()
        try:
            for name in names:
                path = self._root / name
                path.unlink(missing_ok=True)
                folders.add(path.parent)
                yield False
            for folder in folders:
                with contextlib.suppress(FileNotFoundError):
                    _sync(folder)
        except OSError as fault:
            raise Unavailable(
                f"The archive's file {fault.filename} cannot be removed: {reason(fault)}. Make the"
                " folder writable for whoever runs this, and run this again."
            ) from fault


@contextlib.contextmanager
def _ordinary(path: Path) -> Iterator[BinaryIO]:
    """The file, open; a pipe or a device in its place would keep whoever reads it for ever."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is no ordinary file")
        yield file


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
