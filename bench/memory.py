"""What memory a program and all that it started take together, sampled while it runs."""

import threading
from pathlib import Path
from types import TracebackType
from typing import Self

_EVERY = 0.5
_OFFICE = ("soffice.bin", "oosplash")


class Memory:
    """A context manager that watches a process and its descendants.

    Proportional set sizes in bytes: what several processes share is counted once. `office` is the
    greatest sum over LibreOffice's own processes, `rest` that over all the others, `most` that over
    all of them together.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.office = 0
        self.rest = 0
        self.most = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(_EVERY):
            office, rest = sizes(self._pid)
            self.office = max(self.office, office)
            self.rest = max(self.rest, rest)
            self.most = max(self.most, office + rest)


def sizes(pid: int) -> tuple[int, int]:
    """What LibreOffice takes of a process and its descendants, and what all the others take."""
    office = rest = 0
    for one in descendants(pid):
        if _name(one) in _OFFICE:
            office += _size(one)
        else:
            rest += _size(one)
    return office, rest


def descendants(pid: int) -> list[int]:
    """The process and all that it started and that are still there."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                told = (entry / "stat").read_text("utf-8", "replace")
            except OSError:
                continue  # it has ended meanwhile
            parent = int(told.rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(entry.name))
    found = [pid]
    for one in found:
        found.extend(children.get(one, ()))
    return found


def _size(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text("utf-8").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass  # it has ended meanwhile
    return 0


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text("utf-8").strip()
    except OSError:
        return ""
