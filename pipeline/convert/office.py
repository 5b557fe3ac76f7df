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

PYTHON = Path("/usr/bin/python3")
"""The distribution's own, for which it has the bridge."""
FONT_PLACES = ("FONTCONFIG_FILE", "FONTCONFIG_PATH")

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
        said = _ask(program, "--version", "-env:UserInstallation=file:///nonexistent")
        # by its name: what GLib says before, on the same output, is full of times and process ids
        found = re.search(r"\bLibreOffice\w*\s+(\d+(?:\.\d+)+)", said.words)
        if said.failed or found is None:
            faults.append(f"{program} does not tell its version: {said}.")
            continue
        # A LibreOffice not from the distribution brings a Python of its own; it goes first,
        # because /usr/bin/python3 may have the bridge to another version.
        asked = []
        for python in (program.with_name("python"), PYTHON):
            if python.is_file():
                answer = _ask(python, "-I", "-c", "import uno; print('uno')")
                if answer.words == "uno" and not answer.failed:
                    return Office(program=program, python=python, version=found[1])
                asked.append(f"{python}: {answer}")
        tried = f" ({'; '.join(asked)})" if asked else ""
        faults.append(f"For {program} there is no Python that can import uno{tried}.")
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
    # UTC, because LibreOffice writes local time into the PDF. Of the owner's environment only where
    # fonts are, because it may hold secrets and a virtual environment's paths.
    fonts = {name: os.environ[name] for name in FONT_PLACES if os.environ.get(name)}
    return {
        **fonts,
        "PATH": "/usr/bin:/bin",
        "HOME": str(home),
        "TMPDIR": str(home),
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "SAL_USE_VCLPLUGIN": "svp",
    }


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Said:
    """What a program answered; `failed` says how it ended, if it did not end well."""

    words: str
    failed: str = ""

    def __str__(self) -> str:
        said = " ".join("".join(c if c.isprintable() else " " for c in self.words).split())
        words = f"it said “{said[:200]}”" if said else "it said nothing"
        return f"{self.failed}, and {words}" if self.failed else words


def ended(*command: str | Path, seconds: float) -> subprocess.CompletedProcess[bytes]:
    """Run a program in nobody's environment; how it ended, and in `stdout` all that it said.

    Raises OSError where it cannot be run, TimeoutExpired after so many seconds.
    """
    return subprocess.run(  # noqa: S603  (no shell)
        command,
        cwd="/",
        env=environment(Path("/nonexistent")),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=seconds,
        check=False,
    )


def _ask(*command: str | Path) -> _Said:
    try:
        done = ended(*command, seconds=START_SECONDS)
    except OSError as fault:
        return _Said(words="", failed=f"it cannot be run ({fault.strerror})")
    except subprocess.TimeoutExpired:
        return _Said(words="", failed=f"it did not answer within {START_SECONDS:g} seconds")
    words = done.stdout.decode(errors="replace").strip()
    if done.returncode:
        # the last line is the reason, where a program has much to say
        *_, last = words.splitlines() or [""]
        return _Said(words=last, failed=f"it ended with exit code {done.returncode}")
    return _Said(words=words)
