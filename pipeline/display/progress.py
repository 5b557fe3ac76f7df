"""Work as it goes on: bars on a terminal, plain lines elsewhere."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pipeline.display.console import err
from pipeline.display.interruption import stop_if_interrupted
from pipeline.progress import Progress as Watcher

if TYPE_CHECKING:
    from rich.progress import Progress


class _Bars:
    """Progress bars on a terminal."""

    def __init__(self, bars: "Progress") -> None:
        self._bars = bars
        self._task = bars.add_task("", visible=False)

    def begin(self, stage: str, total: int) -> None:
        self._task = self._bars.add_task(stage, total=total)

    def advance(self) -> None:
        stop_if_interrupted()
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
        stop_if_interrupted()
        self._done += 1
        if self._done * 10 // max(self._total, 1) != (self._done - 1) * 10 // max(self._total, 1):
            self._say()

    def end(self) -> None:
        pass

    def _say(self) -> None:
        if not self._quiet:
            err.print(f"{self._stage} {self._done:,} of {self._total:,}", markup=False)


def say(sentence: str) -> None:
    """Tell what is waited for, beside whatever shows how the work goes on."""
    err.print(sentence, markup=False)


@contextmanager
def watching(*, quiet: bool) -> Iterator[Watcher]:
    """Bars on a terminal, plain lines elsewhere, nothing at all if quiet."""
    if quiet or not err.is_terminal:
        yield _Lines(quiet=quiet)
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    with Progress(
        TextColumn("{task.description:10}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=err,
    ) as bars:
        yield _Bars(bars)
