"""Loaded by a worker that is to go astray at one exact point: while it makes a certain letter.

WAYWARD is `SIGNAL LETTER FOLDER`: the signal that it sends itself, the number of the letter (or
`any`), and where it leaves a note first. SIGSTOP comes once, SIGKILL each time.
"""

import os
import re
import signal
import threading
from pathlib import Path
from typing import Any

from distributed import Worker, WorkerPlugin

from pipeline.engines import lanes

_LETTER = re.compile(r"letter-\d+-(\d+)-")


class Wayward(WorkerPlugin):
    """Sends its own process a signal when it is at work on a letter."""

    def __init__(self) -> None:
        name, self._which, folder = os.environ["WAYWARD"].split()
        self._signal = signal.Signals[name]
        self._notes = Path(folder)

    def transition(self, key: Any, start: Any, finish: Any, **_: Any) -> None:  # noqa: ARG002
        found = _LETTER.match(str(key))
        if found is None or finish != "executing" or self._which not in {"any", found[1]}:
            return
        if self._signal is signal.SIGKILL:
            self._send()
        elif not list(self._notes.glob(f"{self._signal.name}-*")):
            threading.Thread(target=self._send_once_at_work, daemon=True).start()

    def _send_once_at_work(self) -> None:
        while not any(lane.busy for lane in list(lanes._lanes.values())):
            pass
        self._send()

    def _send(self) -> None:
        (self._notes / f"{self._signal.name}-{os.getpid()}").touch()
        os.kill(os.getpid(), self._signal)


def dask_setup(worker: Worker) -> Any:
    return worker.plugin_add(Wayward(), name="wayward")
