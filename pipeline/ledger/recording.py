"""Results written down as they come, many to a transaction."""

import signal
import threading
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from pipeline.database import Database
from pipeline.ledger import letters
from pipeline.ledger.letters import Faulted, Prepared

_GATHER_S = 0.25  # how long the first result of a group waits for others, at most
_FULL = 200  # results at which it waits no longer
_MOST = 500  # results that wait for a slow ledger before whoever brings them waits too


class Recording:
    """Records what came of preparing a run's letters, in groups, while more is being prepared.

    A context manager: once it is left, whatever way, everything that was added is on record. In
    between at most a quarter of a second's results, and the group being written, are not; after a
    kill those letters are made again, to the same bytes under the same name.

    It writes in a thread of its own, so that neither who adds ever waits for a disk, nor a result
    for the next one.
    """

    def __init__(self, db: Database, run_id: int) -> None:
        self._db = db
        self._run_id = run_id
        self._waiting: list[Prepared | Faulted] = []
        self._closing = False
        self._failed: BaseException | None = None
        self._change = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="recording")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._change:
            self._closing = True
            self._change.notify_all()
        self._thread.join()
        if self._failed is not None and value is None:
            raise self._failed

    def add(self, result: Prepared | Faulted) -> None:
        """Record it soon. Raises what went wrong in recording an earlier one."""
        with self._change:
            self._change.wait_for(lambda: self._failed is not None or len(self._waiting) < _MOST)
            if self._failed is not None:
                raise self._failed
            self._waiting.append(result)
            self._change.notify_all()

    def _work(self) -> None:
        # A signal is the main thread's: taken here it would not wake that from waiting.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            while group := self._gathered():
                letters.record_all(self._db, self._run_id, group, now=datetime.now(UTC))
        except BaseException as error:  # noqa: BLE001 - raised where results are added
            with self._change:
                self._failed = error
                self._change.notify_all()

    def _gathered(self) -> list[Prepared | Faulted]:
        """What there is to write next; nothing once all is written and nobody adds any more."""
        with self._change:
            self._change.wait_for(lambda: self._closing or self._waiting)
            self._change.wait_for(
                lambda: self._closing or len(self._waiting) >= _FULL, timeout=_GATHER_S
            )
            group, self._waiting = self._waiting[:_FULL], self._waiting[_FULL:]
            self._change.notify_all()
        return group
