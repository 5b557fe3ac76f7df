"""How many lanes this machine has room for, by its cores and memory, within a container's limits.

A lane is a Python process of ours, the worker that speaks to LibreOffice, and LibreOffice.
"""

import dataclasses
import os
import re
from pathlib import Path

LANE = 400_000_000
"""Bytes that a lane takes at its largest, as long as its letters are like the sample's."""
_ROOT = Path("/")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """What is here for lanes: whole processor cores, and bytes of memory (None: unknowable)."""

    cores: int
    memory: int | None

    @property
    def lanes(self) -> int:
        """How many lanes to open, one at the least."""
        return max(1, min(self.cores, self.room))

    @property
    def room(self) -> int:
        """How many lanes memory is there for, which may be none."""
        return self.cores if self.memory is None else self.memory // LANE


def capacity(root: Path = _ROOT) -> Capacity:
    """Answer what this process may use, now; `root` is where /proc and /sys are looked for."""
    cores = len(os.sched_getaffinity(0))
    share = _processor_share(root)
    if share is not None:
        cores = min(cores, max(1, int(share)))
    return Capacity(cores=cores, memory=free_memory(root))


def free_memory(root: Path = _ROOT) -> int | None:
    """Bytes that a new process can have, within this container's limits too; None if unknowable."""
    told = _read(root / "proc/meminfo")
    available = re.search(r"^MemAvailable:\s+(\d+) kB$", told, re.MULTILINE)
    if available is None:
        return None
    free = int(available[1]) * 1024
    for group in _groups(root, "memory"):
        limit = _number(group / "memory.max", group / "memory.limit_in_bytes")
        used = _number(group / "memory.current", group / "memory.usage_in_bytes")
        if limit is None or used is None:  # no limit: it says "max"
            continue
        # what files are kept in memory is given back when somebody wants it
        kept = re.search(
            r"^(?:total_)?inactive_file (\d+)$", _read(group / "memory.stat"), re.MULTILINE
        )
        free = min(free, max(0, limit - used + (int(kept[1]) if kept else 0)))
    return free


def resident(pid: int) -> int:
    """Bytes of memory that a process holds now; 0 where it has ended."""
    words = _read(Path(f"/proc/{pid}/statm")).split()
    return int(words[1]) * _PAGE if len(words) > 1 else 0


def _processor_share(root: Path) -> float | None:
    """How many processors' time all that runs in this container may take; None for any."""
    shares = []
    for group in _groups(root, "cpu"):
        quota, period, *_ = [*_read(group / "cpu.max").split(), "", ""]
        if not quota:
            quota = _read(group / "cpu.cfs_quota_us").strip()
            period = _read(group / "cpu.cfs_period_us").strip()
        if quota.isdigit() and period.isdigit() and int(period):
            shares.append(int(quota) / int(period))
    return min(shares, default=None)


def _groups(root: Path, controller: str) -> list[Path]:
    """The control group that this process is in, and all above it, of either version."""
    found = []
    for line in _read(root / "proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        if number == "0" and not names:
            top = root / "sys/fs/cgroup"
        elif controller in names.split(","):
            top = root / "sys/fs/cgroup" / controller
        else:
            continue
        # In a container the path may be the host's, and what lies at the top is our own.
        here = Path(path.lstrip("/"))
        found += [top / each for each in (here, *here.parents) if ".." not in each.parts]
    return list(dict.fromkeys(found))


def _number(*files: Path) -> int | None:
    for file in files:
        told = _read(file).strip()
        if told.isdigit():
            return int(told)
    return None


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
