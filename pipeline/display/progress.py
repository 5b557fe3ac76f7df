"""Work as it goes on: bars on a terminal, plain lines elsewhere; and being interrupted."""

import errno
import os
import signal
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pipeline.display.console import err
from pipeline.run import Progress as Watcher

_interruption = threading.Event()


def interrupted(number: int, _frame: FrameType | None) -> None:
    """Handle Ctrl-C, a request to end or a closed terminal: at once, else at the next step.

    An exception that a signal raises is lost where Python cannot let it through (in a finalizer,
    say); so it is also remembered, and whoever reports progress next is stopped.
    """
    _interruption.set()
    if number == signal.SIGHUP:
        _leave_a_closed_terminal()
    raise KeyboardInterrupt


def _leave_a_closed_terminal() -> None:
    """Let what is still said go nowhere: a terminal that is gone makes a fault of every line."""
    for descriptor in (1, 2):
        try:
            termios.tcgetattr(descriptor)
        except termios.error as error:
            if error.args[0] == errno.EIO:  # ENOTTY is a file or a pipe, which goes on
                nothing = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nothing, descriptor)
                os.close(nothing)


def _stop_if_interrupted() -> None:
    if _interruption.is_set():
        raise KeyboardInterrupt


class _Bars:
    """Progress bars on a terminal."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._task = bars.add_task("", visible=False)

    def begin(self, stage: str, total: int) -> None:
        self._task = self._bars.add_task(stage, total=total)

    def advance(self) -> None:
        _stop_if_interrupted()
        self._bars.advance(self._task)

    def end(self) -> None:
        self._bars.stop_task(self._task)


class _Lines:
    """Plain lines where nobody watches a terminal: at the start, at each tenth and at the end."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._stage = ""
        self._total = 0
        self._done = 0

    def begin(self, stage: str, total: int) -> None:
        self._stage, self._total, self._done = stage, total, 0
        self._say()

    def advance(self) -> None:
        _stop_if_interrupted()
        self._done += 1
        if self._done * 10 // max(self._total, 1) != (self._done - 1) * 10 // max(self._total, 1):
            self._say()

    def end(self) -> None:
        pass

    def _say(self) -> None:
        if not self._quiet:
            err.print(f"{self._stage} {self._done:,} of {self._total:,}", markup=False)


@contextmanager
def watching(*, quiet: bool) -> Iterator[Watcher]:
    """Bars on a terminal, plain lines elsewhere, nothing at all if quiet."""
    if quiet or not err.is_terminal:
        yield _Lines(quiet=quiet)
        return
    with Progress(
        TextColumn("{task.description:10}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=err,
    ) as bars:
        yield _Bars(bars)
