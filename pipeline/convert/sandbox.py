"""Keep LibreOffice apart from the machine that it runs on, with bubblewrap where that works.

Kept apart it has the system to read, one directory to write to, no network, no sight of other
processes and none of the machine's sockets. Where bubblewrap is missing, or the kernel refuses it
(containers often do), LibreOffice runs as it always did; only root can still take the network from
it then.
"""

import dataclasses
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Literal

from pipeline.convert.office import FONT_PLACES, ended
from pipeline.errors import Misconfigured

Wanted = Literal["auto", "on", "off"]
PROBE_SECONDS = 10.0

HIDDEN = ("/run", "/var/tmp", "/dev/shm")  # noqa: S108  (hidden, not written to)
"""Where the machine's sockets are: of its name service, its bus, its databases."""
_TMP = Path("/tmp")  # noqa: S108  (no setting of LibreOffice's moves its sockets)
HOMES = ("/home", "/root")

_OFF = "convert.sandbox is off"
_INSTALL = "Install bubblewrap (apt install bubblewrap)."
_ALLOW = (
    "Let this user make namespaces: in a container, run it with more rights; on Ubuntu, give bwrap"
    " an AppArmor profile; elsewhere, set kernel.unprivileged_userns_clone to 1."
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Sandbox:
    """How LibreOffice is kept apart: wholly (`bubblewrap`), from the network alone, or not.

    Where it is not wholly, `reason` is why, as a clause, and `fix` how to mend that. `required`
    when nothing is to be made without it.
    """

    bubblewrap: Path | None = None
    sees_processes: bool = False
    """Whether it can list the machine's other processes, though it can do nothing to them."""
    no_network: Path | None = None
    """A program that starts another without a network, where there is no `bubblewrap`."""
    reason: str = ""
    fix: str = ""
    required: bool = False

    def command(self, directory: Path, program: Path) -> list[str]:
        """Answer what to put before the command that starts `program`, which owns `directory`.

        With bubblewrap the office's /tmp is `directory`/tmp, which must be there.
        """
        if self.bubblewrap is not None:
            return _bubblewrap(self.bubblewrap, directory, program, self.sees_processes)
        if self.no_network is not None:
            return [str(self.no_network), "--net", "--"]
        return []


NONE = Sandbox(reason=_OFF)
"""Nothing is kept apart."""


def find_sandbox(wanted: Wanted) -> Sandbox:
    """Find out how LibreOffice can be kept apart here; tries it, which takes some milliseconds.

    `wanted` is `off` for not at all, `auto` for as well as it goes, `on` for wholly or not at all:
    raises `Misconfigured` where that cannot be had.
    """
    if wanted == "off":
        return NONE
    found = shutil.which("bwrap")
    if found is None:
        reason, fix = "bubblewrap is not installed", _INSTALL
    else:
        # In some containers, and in a service that systemd keeps from the kernel's settings, the
        # list of processes cannot be replaced by an own one.
        for sees_processes in (False, True):
            said = _tried(Path(found), sees_processes)
            if said is None:
                return Sandbox(
                    bubblewrap=Path(found),
                    sees_processes=sees_processes,
                    required=wanted == "on",
                )
        reason, fix = f"bubblewrap does not work here ({said})", _ALLOW
    if wanted == "on":
        raise Misconfigured(
            "LibreOffice cannot be kept apart from this machine, as convert.sandbox wants:"
            f" {reason}. {fix} Or set convert.sandbox to auto, to do without."
        )
    return Sandbox(no_network=_without_network(), reason=reason, fix=fix)


def _tried(program: Path, sees_processes: bool) -> str | None:
    """None if bubblewrap works with all that is asked of it; else what it said."""
    try:
        with tempfile.TemporaryDirectory(prefix="letters-new-") as name:
            directory = Path(name)
            (directory / "tmp").mkdir()
            *keeper, end = _bubblewrap(program, directory, program, sees_processes)
            # As the first process of its own: of any other bubblewrap would leave a parent, dead,
            # to the machine's first process, which in a container may never clear it away.
            return _run(*keeper, "--as-pid-1", end, str(program), "--version")
    except OSError as fault:
        return fault.strerror or str(fault)


def _without_network() -> Path | None:
    # Only root can do this without becoming somebody else on the way, at which the kernel would
    # forget that the office is to die with its worker.
    found = shutil.which("unshare")
    if found is None or os.geteuid() != 0 or _run(found, "--net", "--", "true") is not None:
        return None
    return Path(found)


def _run(*command: str) -> str | None:
    """None if it ended well, else the last that it said."""
    try:
        done = ended(*command, seconds=PROBE_SECONDS)
    except OSError as fault:
        return f"it cannot be run: {fault.strerror}"
    except subprocess.TimeoutExpired:
        return f"it did not end within {PROBE_SECONDS:g} seconds"
    if done.returncode == 0:
        return None
    *_, last = done.stdout.decode(errors="replace").strip().splitlines() or ["it said nothing"]
    return "".join(c if c.isprintable() else " " for c in last).removeprefix("bwrap: ")[:200]


def _bubblewrap(
    bubblewrap: Path, directory: Path, program: Path, sees_processes: bool
) -> list[str]:
    fonts = [Path(os.environ[name]) for name in FONT_PLACES if os.environ.get(name)]
    # Whoever names other fonts may have them at home.
    hidden = [Path(name) for name in (*HIDDEN, *(HOMES if not fonts else ()))]
    command = [str(bubblewrap), "--ro-bind", "/", "/", "--dev", "/dev"]
    if not sees_processes:
        command += ["--proc", "/proc"]
    for place in hidden:
        if place.is_dir() and not place.is_symlink():
            command += ["--tmpfs", str(place)]
    command += ["--bind", str(directory / "tmp"), str(_TMP)]  # the office makes its sockets there
    for needed in (_installation(program), *map(_folder, fonts)):
        if any(needed.is_relative_to(place) for place in (*hidden, _TMP)):
            command += ["--ro-bind-try", str(needed), str(needed)]
    return [
        *command,
        *("--bind", str(directory), str(directory)),  # the last, as it may lie in all these
        *("--unshare-net", "--unshare-pid", "--unshare-ipc", "--cap-drop", "ALL"),
        *("--die-with-parent", "--chdir", str(directory), "--"),
    ]


def _installation(program: Path) -> Path:
    """The folder of which LibreOffice needs all."""
    return program.parent.parent if program.parent.name == "program" else program.parent


def _folder(place: Path) -> Path:
    """What may lie beside a file of fontconfig's, too; not all of /tmp."""
    return place if place.is_dir() or place.parent == _TMP else place.parent
