"""The high-water mark: what is the newest in the ledger, in a small file that is not the ledger.

A ledger that was put back from a backup cannot know that it is old, and a copy cannot know that it
is one. The mark can: it names the ledger and its newest entry, the machine it was written on, and
the very file it was written to, so that a mark that was itself copied or put back is told, too.
"""

import fcntl
import hashlib
import json
import os
import socket
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pipeline.errors import Misconfigured, Unavailable
from pipeline.machine import machine as _machine

SETTING = "database.mark"
_SIZE = 512  # one sector: it is there old or new, never in part
_GET_GENERATION = 0x80087601  # FS_IOC_GETVERSION: told anew whenever an inode is used again
_WHAT = "The newest entry of the ledger of the letters. Do not copy, edit or back up."


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """The ledger's name and its newest entry; `event` is 0 while it has none.

    `sends`: mail has been about to leave this machine with it, be it redirected.
    """

    ledger: str
    sends: bool
    event: int
    at: datetime
    kind: str = ""
    delivery: int | None = None
    attempt: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What the file holds: `mark` is None if it is damaged.

    `is_original`: it was written to this file on this machine, as far as that can be known; `host`
    is the name that the machine which wrote it had.
    """

    mark: Mark | None
    is_original: bool = True
    host: str = ""


class Held:
    """The file while nobody else may change it; `found` is what it held then, None for nothing."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._open = [descriptor]
        self.found = _found(descriptor)

    def write(self, mark: Mark, *, durable: bool) -> None:
        """Put the mark there; `durable`: in a file anew, so that it outlives a power cut as well.

        What the file held before names another file from then on. So it is told when it comes back
        from a backup, even by writing into the file that is there.
        """
        if not durable:
            _write(self._open[-1], mark)
            return
        place = self._path.with_name(f".{self._path.name}.part")
        place.unlink(missing_ok=True)  # a crash's
        descriptor = os.open(place, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        self._open.append(descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            _as_before(descriptor, os.fstat(self._open[0]))
            _write(descriptor, mark)
            os.fsync(descriptor)
            place.replace(self._path)
        except OSError:
            place.unlink(missing_ok=True)
            raise
        _sync_folder(self._path.parent)

    def close(self) -> None:
        """Let others change it."""
        for descriptor in self._open:
            os.close(descriptor)


class MarkFile:
    """The mark's file. Raises Unavailable where it cannot be used, Misconfigured for no file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __str__(self) -> str:
        return str(self.path)

    def read(self) -> Found | None:
        """What it holds; None if there is no such file, or an empty one."""
        with self._explained("read"):
            try:
                descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                return None
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH)
                return _found(descriptor)
            finally:
                os.close(descriptor)

    @contextmanager
    def held(self, *, make: bool = False) -> Iterator[Held]:
        """Keep everybody else from changing it meanwhile; with `make` there may be none yet."""
        with self._explained("written"):
            if make:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            held = Held(self.path, self._locked(make=make))
            try:
                yield held
            finally:
                held.close()

    def _locked(self, *, make: bool) -> int:
        flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if make else 0)
        while True:
            descriptor = os.open(self.path, flags, 0o666)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                if _is_at(descriptor, self.path):
                    return descriptor
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)  # another has put a new one there while we waited

    @contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        try:
            yield
        except (IsADirectoryError, NotADirectoryError, FileExistsError) as error:
            raise Misconfigured(
                f"The ledger's high-water mark {self.path} is no file, or its folder is none; "
                f"name a file in {SETTING}, such as var/high-water-mark."
            ) from error
        except OSError as error:
            raise Unavailable(
                f"The ledger's high-water mark {self.path} cannot be {what}: {error.strerror}. "
                "Without it a ledger that was put back from a backup would not be noticed, so "
                "nothing is sent; let whoever runs this read and write the file and its folder, "
                f"make room on its disk, or name another place in {SETTING}."
            ) from error


def _write(descriptor: int, mark: Mark) -> None:
    facts = {
        **asdict(mark),
        "at": mark.at.isoformat(),
        "host": socket.gethostname()[:64],
        "machine": _machine(),
        "file": _identity(descriptor),
    }
    text = json.dumps({"what": _WHAT, **facts, "sum": _sum(facts)})
    os.pwrite(descriptor, text.encode().ljust(_SIZE - 1) + b"\n", 0)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _as_before(descriptor: int, before: os.stat_result) -> None:
    """Give a file the rights of the one whose place it takes, and its owner where that may be."""
    os.fchmod(descriptor, stat.S_IMODE(before.st_mode))
    for owner, group in ((before.st_uid, before.st_gid), (-1, before.st_gid)):
        with suppress(OSError):
            os.fchown(descriptor, owner, group)
            return


def _found(descriptor: int) -> Found | None:
    data = os.pread(descriptor, _SIZE + 1, 0)
    if not data:
        return None  # made, and then there was a crash
    try:
        facts: dict[str, Any] = json.loads(data)
        facts.pop("what")
        if facts.pop("sum") != _sum(facts):
            return Found(mark=None)
        host, machine, file = (facts.pop(key) for key in ("host", "machine", "file"))
        mark = Mark(**{**facts, "at": datetime.fromisoformat(facts["at"])})
    except (ValueError, TypeError, KeyError, AttributeError):
        return Found(mark=None)
    here = not machine or not _machine() or machine == _machine()
    return Found(mark=mark, is_original=here and _same_file(file, _identity(descriptor)), host=host)


def _sum(facts: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def _identity(descriptor: int) -> str:
    """Which file this is: its inode, and where the file system tells, which use of that it is."""
    try:
        told = fcntl.ioctl(descriptor, _GET_GENERATION, bytes(8))
        generation = struct.unpack_from("=I", told)[0]
    except OSError:
        generation = 0
    return f"{os.fstat(descriptor).st_ino}.{generation}"


def _same_file(one: str, other: str) -> bool:
    (inode, _, use), (inode_, _, use_) = one.partition("."), other.partition(".")
    return inode == inode_ and (use == use_ or "0" in {use, use_})


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
