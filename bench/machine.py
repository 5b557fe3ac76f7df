"""What a figure was measured on."""

import os
import platform
from importlib.metadata import version
from pathlib import Path


def described(*packages: str) -> str:
    """The processor, memory, system and versions, in one line each."""
    return "\n".join(
        (
            f"machine   {_processor()}, {os.cpu_count()} cores, {_memory()} GB",
            f"system    {_system()}, Python {platform.python_version()}",
            "versions  " + ", ".join(f"{name} {version(name)}" for name in packages),
        )
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _memory() -> int:
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)


def _system() -> str:
    release = platform.freedesktop_os_release()
    return f"{release.get('PRETTY_NAME', 'Linux')}, Linux {platform.release()}"
