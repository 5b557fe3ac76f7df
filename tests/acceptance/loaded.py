"""The command in a process that has loaded it already, for tests that call it again and again.

Loading takes most of a second of each call, and says the same each time. So one process loads
every command once and forks for each call: a process of its own, with the environment, folder,
streams and exit code that a shell would give it, in which `letters` begins at its beginning.
Nothing has been called or read before in the one that it is forked from.

What this cannot tell is what loading itself does: `--cold` starts every call from nothing, as do
tests of start-up, signals, terminals and servers always, and all calls in whose environment
anything but settings is unlike that of the tests.
"""

import atexit
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

LETTERS = Path(sys.executable).with_name("letters")
_ROOT = Path(__file__).resolve().parent.parent.parent
_STREAMS = 2
_LENGTH = 4  # octets that say how long a call is
_OTHERWISE = frozenset({"SUDO_USER"})
"""What is no setting and is read only once the command runs."""

cold = False
"""Whether every call is to start from nothing; set by pytest's own option."""


def environment() -> dict[str, str]:
    """What every call of a test has in common: no settings, and a terminal's usual width."""
    ours = ("LETTERS_", "PYTEST_")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {**clean, "COLUMNS": "80"}


def run(arguments: Sequence[str], env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Call the command and wait for its end, like `subprocess.run`, without anything to read."""
    if cold or not _is_usual(env):
        return subprocess.run(
            [LETTERS, *arguments],
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
        )
    with (
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as err,
        socket.socket(socket.AF_UNIX) as call,
    ):
        call.connect(_loaded().address)
        words = json.dumps([list(map(str, arguments)), dict(env)]).encode()
        socket.send_fds(call, [len(words).to_bytes(_LENGTH)], [out.fileno(), err.fileno()])
        call.sendall(words)
        status = int.from_bytes(_read(call, _LENGTH), signed=True)
        for stream in (out, err):
            stream.seek(0)
        return subprocess.CompletedProcess(
            args=[LETTERS, *arguments],
            returncode=os.waitstatus_to_exitcode(status),
            stdout=out.read().decode(),
            stderr=err.read().decode(),
        )


def _is_usual(env: Mapping[str, str]) -> bool:
    """Whether nothing but settings is unlike what the process was loaded with."""
    loaded = _loaded().environment
    return not any(
        loaded.get(name) != env.get(name)
        for name in {*loaded, *env}
        if not name.startswith("LETTERS_") and name not in _OTHERWISE
    )


class _Loaded:
    """The process that has loaded the command, and where it listens."""

    def __init__(self) -> None:
        self.environment = environment()
        self._folder = tempfile.TemporaryDirectory(prefix="letters-loaded-")
        self.address = f"{self._folder.name}/calls"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.acceptance.loaded", self.address],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=_ROOT,
            env=self.environment,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.read(1) == b"."  # it listens

    def end(self) -> None:
        """End it, which it also does by itself when this process is no more."""
        self._process.communicate()
        self._folder.cleanup()


@cache
def _loaded() -> _Loaded:
    one = _Loaded()
    atexit.register(one.end)
    return one


def _read(stream: socket.socket, number: int) -> bytes:
    found = b""
    while len(found) < number:
        octets = stream.recv(number - len(found))
        if not octets:
            raise EOFError("The process that has the command loaded has ended.")
        found += octets
    return found


# ------------------------------------------------------------------ within the process that forks


def _load() -> None:
    """Everything that some command loads, and nothing that is done at a call."""
    import importlib  # noqa: PLC0415 - only there
    import pkgutil  # noqa: PLC0415

    import alembic.command  # noqa: F401, PLC0415
    import psycopg  # noqa: F401, PLC0415
    import sqlalchemy.dialects.postgresql.psycopg  # noqa: PLC0415
    import sqlalchemy.dialects.sqlite.pysqlite  # noqa: F401, PLC0415

    import pipeline  # noqa: PLC0415

    for found in pkgutil.walk_packages(pipeline.__path__, "pipeline."):
        if found.name not in {"pipeline.__main__", "pipeline.uno_worker"}:
            with suppress(ModuleNotFoundError):  # what only an engine's extra has
                importlib.import_module(found.name)


def _serve(address: str) -> tuple[list[str], dict[str, str], list[int]] | None:
    """Fork for each call until nobody wants any; only what is forked comes back with one."""
    with socket.socket(socket.AF_UNIX) as listening, selectors.DefaultSelector() as ready:
        woken, wake = socket.socketpair()
        wake.setblocking(False)
        signal.set_wakeup_fd(wake.fileno())
        signal.signal(signal.SIGCHLD, lambda *_: None)
        listening.bind(address)
        listening.listen(64)
        for one in (sys.stdin.buffer, listening, woken):
            ready.register(one, selectors.EVENT_READ)
        os.write(sys.stdout.fileno(), b".")
        at_work: dict[int, socket.socket] = {}
        while True:
            for key, _ in ready.select():
                if key.fileobj is sys.stdin.buffer:  # closed: the tests have ended
                    return None
                if key.fileobj is woken:
                    woken.recv(4096)
                    _tell(at_work)
                    continue
                call, _address = listening.accept()
                given, streams, _flags, _from = socket.recv_fds(call, _LENGTH, _STREAMS)
                arguments, env = json.loads(_read(call, int.from_bytes(given)))
                pid = os.fork()
                if pid == 0:
                    signal.set_wakeup_fd(-1)
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    for each in (call, woken, wake, *at_work.values()):
                        each.close()
                    return arguments, env, streams
                for descriptor in streams:
                    os.close(descriptor)
                at_work[pid] = call


def _tell(at_work: dict[int, socket.socket]) -> None:
    """Say of each call that has ended how it did."""
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            call = at_work.pop(ended[0])
            with suppress(OSError):  # whoever called may have been killed
                call.sendall(ended[1].to_bytes(_LENGTH, signed=True))
            call.close()


def _become(arguments: list[str], env: dict[str, str], streams: list[int]) -> None:
    """What a shell would have given the command."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    for descriptor, as_what in zip((nothing, *streams), range(_STREAMS + 1), strict=True):
        os.dup2(descriptor, as_what)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(env)
    os.chdir("/")
    sys.argv = [str(LETTERS), *arguments]
    main: Any = sys.modules["__main__"]
    main.__spec__ = main.__package__ = None  # by which the command would find its own name
    main.__file__ = str(LETTERS)  # with which a process that it spawns begins


def _leave(main: Callable[[], NoReturn]) -> NoReturn:
    """Call it, and end as Python does, but for taking apart all that was loaded: a third of a call.

    What the command asked to be done at its end is done, threads that it left are waited for, and
    what it wrote is written out.
    """
    try:
        main()
    except SystemExit as ended:
        if not isinstance(ended.code, int | None):
            raise
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit((ended.code or 0) & 0xFF)
    raise AssertionError("the command came back")


if __name__ == "__main__":
    import gc

    _load()
    gc.freeze()
    if (called := _serve(sys.argv[1])) is not None:
        _become(*called)
        from pipeline.__main__ import main

        _leave(main)
