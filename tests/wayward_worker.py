"""Loaded by a worker that is to go astray at one exact point: while it makes a certain letter.

WAYWARD is `SIGNAL LETTER FOLDER`: the signal that it sends itself, the number of the letter (or
`any`), and where it leaves a note first. SIGSTOP comes once, SIGKILL each time. A note named
`done-NUMBER` is left for every letter that it was through with.
"""

import os
import re
import signal
from pathlib import Path
from typing import Any

from distributed import Worker, WorkerPlugin

_LETTER = re.compile(r"letter-\d+-(\d+)-")


class Wayward(WorkerPlugin):
    """Sends its own process a signal when it begins with a letter."""

    def __init__(self) -> None:
        name, self._which, folder = os.environ["WAYWARD"].split()
        self._signal = signal.Signals[name]
        self._notes = Path(folder)

    def transition(self, key: Any, _start: str, finish: str, **_: Any) -> None:
        found = _LETTER.match(str(key))
        if found is None:
            return
        if finish == "memory":
            (self._notes / f"done-{found[1]}").touch()
        if finish != "executing" or self._which not in {"any", found[1]}:
            return
        note = self._notes / f"{self._signal.name}-{os.getpid()}"
        if self._signal is signal.SIGKILL or not list(self._notes.glob("SIGSTOP-*")):
            note.touch()
            os.kill(os.getpid(), self._signal)


def dask_setup(worker: Worker) -> Any:
    return worker.plugin_add(Wayward(), name="wayward")
