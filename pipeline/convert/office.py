"""Find LibreOffice, and the Python that goes with it."""

import dataclasses
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from pipeline.errors import Misconfigured

START_SECONDS = 60.0
"""How long a LibreOffice may take to start, the first time on a cold disk included."""

INSTALL = (
    "Install LibreOffice Writer and its Python bridge by hand"
    " (apt install libreoffice-writer-nogui python3-uno),"
    " or name another LibreOffice in the environment variable LETTERS_SOFFICE."
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Office:
    """A LibreOffice that was found: its soffice.bin, a Python with uno, and its version."""

    program: Path
    python: Path
    version: str


def find_office() -> Office:
    """Find LibreOffice and a Python that can `import uno`; takes some tenths of a second.

    Looks at LETTERS_SOFFICE (a program or its directory) and nowhere else if that is set, then at
    `soffice` and `libreoffice` on PATH, /usr/lib/libreoffice and /opt/libreoffice*.
    Raises `Misconfigured`, which says what to install, when there is none.
    """
    faults = []
    for program in _programs():
        version = _ask(program, "--version", "-env:UserInstallation=file:///nonexistent")
        found = re.search(r"\b\d+(\.\d+)+\b", version or "")
        if found is None:
            faults.append(f"{program} does not tell its version.")
            continue
        # A LibreOffice not from the distribution brings a Python of its own; it goes first,
        # because /usr/bin/python3 may have the bridge to another version.
        for python in (program.with_name("python"), Path("/usr/bin/python3")):
            if python.is_file() and _ask(python, "-I", "-c", "import uno; print('uno')") == "uno":
                return Office(program=program, python=python, version=found.group())
        faults.append(f"For {program} there is no Python that can import uno.")
    named = os.environ.get("LETTERS_SOFFICE")
    if named and not faults:
        faults.append(f"LETTERS_SOFFICE names {named}, where there is no soffice.bin.")
    raise Misconfigured(" ".join(["LibreOffice was not found.", *faults, INSTALL]))


def _programs() -> Iterator[Path]:
    named = os.environ.get("LETTERS_SOFFICE")
    if named:
        places = [Path(named)]
    else:
        on_path = [shutil.which(name) for name in ("soffice", "libreoffice")]
        places = [Path(place) for place in on_path if place]
        places.append(Path("/usr/lib/libreoffice/program"))
        places += sorted(Path("/opt").glob("libreoffice*/program"), reverse=True)
    seen = set()
    for place in places:
        directory = place.resolve() if place.is_dir() else place.resolve().parent
        for program in (directory / "soffice.bin", directory / "program" / "soffice.bin"):
            if program.is_file() and program not in seen:
                seen.add(program)
                yield program


def environment(home: Path) -> dict[str, str]:
    """Answer all the environment that LibreOffice and its Python are given."""
    # UTC, because LibreOffice writes local time into the PDF; nothing of the owner's environment,
    # because it may hold secrets and a virtual environment's paths.
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": str(home),
        "TMPDIR": str(home),
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "SAL_USE_VCLPLUGIN": "svp",
    }


def _ask(*command: str | Path) -> str | None:
    try:
        done = subprocess.run(  # noqa: S603  (no shell)
            command,
            cwd="/",
            env=environment(Path("/nonexistent")),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=START_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode(errors="replace").strip() if done.returncode == 0 else None
