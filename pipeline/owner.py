"""Who holds a lease, and whether that process can still be running.

A lease that is over says only that time has passed. A process that is certainly gone can no longer
write its dot: that is knowledge, and lets a run go on at once after a crash. Where it cannot be
known (another machine, another container), `is_gone` says False and the lease decides.
"""

import os
import socket
import threading
from pathlib import Path

from pipeline.machine import machine

_BOOT = Path("/proc/sys/kernel/random/boot_id")


def identity() -> str:
    """This process and thread: host, boot, PID namespace, PID, its start, thread, machine."""
    process = (str(os.getpid()), _started(os.getpid()), str(threading.get_ident()))
    return "/".join((*_here(), *process, machine()))


def is_gone(owner: str) -> bool:
    """Whether the process that called itself `owner` has certainly ended."""
    host, boot, namespace, pid, started, _, on, *_ = [*owner.split("/"), *7 * [""]]
    here = _here()
    if not pid.isdigit() or not started or host != here[0]:
        return False
    if boot and here[1] and boot != here[1]:
        # The same machine, started again since; by its name alone it may be another one.
        return bool(on) and on == machine()
    if (boot, namespace) != here[1:] or (on and machine() and on != machine()):
        return False
    return _started(int(pid)) != started


def _here() -> tuple[str, str, str]:
    return socket.gethostname().replace("/", "-"), _boot(), _namespace()


def _boot() -> str:
    try:
        return _BOOT.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink()).strip("pid:[]")
    except OSError:
        return ""


def _started(pid: int) -> str:
    """When a process started, in clock ticks since boot; "0" if there is none, "" if unknowable."""
    if not Path("/proc/self/stat").exists():
        return ""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return "0"
    after_name = stat.rpartition(")")[2].split()
    # A zombie has ended; it only waits for its parent to take notice.
    return "0" if after_name[0] in "ZX" else after_name[19]
