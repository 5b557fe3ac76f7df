"""A terminal of the test's own, with a command running in it as if somebody sat there."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from tests.acceptance.site import LETTERS, Site

_PATIENCE_S = 120  # after which a command that says nothing more is taken to hang


class Terminal:
    """`letters ...` on a terminal: what it shows, and what is typed into it.

    With `pipe`, standard output goes into a pipe (read `piped` afterwards) and only the rest is
    the terminal, as in `letters ... | cat`. `command` is run instead of `letters`.
    """

    def __init__(
        self,
        site: Site,
        *arguments: str,
        columns: int = 80,
        pipe: bool = False,
        env: Mapping[str, str] | None = None,
        command: Sequence[str | Path] = (),
    ) -> None:
        self._seen = ""
        self.piped = b""
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        self._process = subprocess.Popen(
            # it must be the terminal that the process belongs to, or Ctrl-C is only a character
            ["setsid", "--ctty", *(command or [LETTERS, *arguments])],
            env={
                **site.environment,
                "TERM": "xterm-256color",
                "COLUMNS": str(columns),
                **(env or {}),
            },
            stdin=slave,
            stdout=subprocess.PIPE if pipe else slave,
            stderr=slave,
            cwd="/",
        )
        os.close(slave)

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        os.close(self._master)

    def see(self, text: str) -> None:
        """Wait until it shows this."""
        while text not in self._seen:
            assert self._read(), f"{text!r} was not shown in:\n{self._seen}"

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def end(self, code: int) -> str:
        """Wait for the end and hold it to its exit code; all that was shown."""
        while self._read():
            pass
        if self._process.stdout is not None:
            self.piped = self._process.stdout.read()
        assert self._process.wait() == code, self._seen
        assert "Traceback" not in self._seen
        return self._seen

    @property
    def words(self) -> str:
        """What was shown, without colours and however it was wrapped."""
        return " ".join(re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", self._seen).split())

    def _read(self) -> bool:
        ready, _, _ = select.select([self._master], [], [], _PATIENCE_S)
        assert ready, f"nothing more was shown after:\n{self._seen}"
        try:
            data = os.read(self._master, 65536)
        except OSError:  # nobody holds the terminal any more
            return False
        self._seen += data.decode(errors="replace").replace("\r\n", "\n")
        return bool(data)
