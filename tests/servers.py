"""Real mail servers as test tools: what they need, and how they are started and always stopped.

Postfix and Dovecot are the distribution's programs, run as private instances: nothing of the
machine's own servers is read or touched. They start their workers as other users, so only root can
run them.
"""

import functools
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

_PROGRAMS = {
    "postfix": ("postconf", "smtp-sink"),
    "dovecot-imapd": ("dovecot", "doveconf"),
}
_SBIN = ":/usr/local/sbin:/usr/sbin:/sbin"
PATIENCE = 60.0
"""Seconds that a server may take for anything before a test is called failed."""


def program(name: str) -> str | None:
    """Where a program is; administrators' programs are found by ordinary users too."""
    return shutil.which(name, path=os.environ.get("PATH", "") + _SBIN)


def absent() -> list[str]:
    """The distribution's packages that are still to be installed."""
    return [
        package
        for package, programs in _PROGRAMS.items()
        if not all(program(each) for each in programs)
    ]


@functools.cache
def lacking() -> str:
    """Say what is needed before the servers can be run; "" when nothing is."""
    if packages := absent():
        return (
            f"Real mail servers cannot be run without {' and '.join(packages)}"
            f" (Debian, Ubuntu: apt-get install --no-install-recommends {' '.join(packages)})"
        )
    if os.geteuid() != 0:
        return "Real mail servers (Postfix, Dovecot) can be run by root only"
    return ""


def needed() -> None:
    """Skip what is being tested where there are no servers; where checks must be whole, fail."""
    if lacks := lacking():
        if os.environ.get("CI") == "true":
            pytest.fail(f"{lacks}.", pytrace=False)
        pytest.skip(f"NOT TESTED: {lacks}.")


def await_that(what: str, true: Callable[[], bool], evidence: Callable[[], str] = str) -> None:
    """Wait until something is so; when it never is, fail with `evidence`."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        if time.monotonic() > deadline:
            pytest.fail(f"It never came to pass that {what}.\n{evidence()}")
        time.sleep(0.01)


def free_ports(number: int) -> list[int]:
    """Ports on loopback that nothing listens on just now, all different."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [int(each.getsockname()[1]) for each in held]
    for each in held:
        each.close()
    return ports


def listening(port: int) -> bool:
    """Whether something takes connections on a port of loopback."""
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except OSError:
        return False
    return True


@contextmanager
def folder(prefix: str) -> Iterator[Path]:
    """A folder that every user may enter, removed afterwards."""
    made = Path(tempfile.mkdtemp(prefix=prefix))
    try:
        made.chmod(0o755)
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


_GUARD = """
place=$1 output=$2; shift 2
setsid "$@" </dev/null >"$output" 2>&1 & server=$!
read -r word
kill -TERM "$server" 2>/dev/null
wait "$server"
kill -KILL -- "-$server" 2>/dev/null
[ -n "$word" ] || rm -rf "$place"
"""


@contextmanager
def running(command: Sequence[str | Path], place: Path, output: Path) -> Iterator[None]:
    """Run a server that stays in the foreground; end it, and all that it started, afterwards.

    A shell holds it, and one end of a pipe: should the tests be killed, the other end closes, and
    the shell ends the server and removes `place` in their stead.
    """
    guard = subprocess.Popen(
        ["sh", "-c", _GUARD, "guard", place, output, *command],
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        cwd="/",
        env={"PATH": os.environ.get("PATH", "") + _SBIN, "LC_ALL": "C", "TZ": "UTC"},
    )
    try:
        yield
    finally:
        guard.communicate(b"end\n", timeout=PATIENCE)
