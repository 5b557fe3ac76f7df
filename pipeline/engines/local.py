"""The default engine: as many processes on this machine as it has room for, each with its own lane.

A lane is a process with a compiled template and a LibreOffice that stays up. Only the calling
process writes to the ledger; lanes write files whose names hold their hash, so a lane that is
killed, or a letter that is made twice, does no harm.
"""

import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from multiprocessing import resource_tracker
from multiprocessing.util import Finalize

from pipeline import bootstrap, log
from pipeline.capacity import capacity
from pipeline.errors import Unavailable
from pipeline.ledger.letters import Faulted, FrozenLetter, Prepared
from pipeline.prepare import Job, Preparer
from pipeline.settings import Settings

_AHEAD = 4  # letters handed out per lane, so that none waits for the ledger


@dataclass(frozen=True, slots=True)
class LocalEngine:
    """Prepares letters in `settings.convert.workers` processes (0: as many as have room)."""

    settings: Settings

    def each(self, job: Job, letters: Iterable[FrozenLetter]) -> Iterator[Prepared | Faulted]:
        """The result for each letter, as it is done.

        Raises Unavailable if LibreOffice cannot be started or a lane dies; what was done is kept.
        """
        waiting = iter(letters)
        lanes = self.settings.convert.workers or capacity().lanes
        _start_the_tracker()
        pool = ProcessPoolExecutor(
            max_workers=lanes,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_open_lane,
            initargs=(self.settings, job, os.getpid(), log.begun()),
        )
        try:
            running: set[Future[Prepared | Faulted]] = set()
            with _deaf_to_interrupts():
                for letter in islice(waiting, lanes * _AHEAD):
                    running.add(pool.submit(_prepare, letter))
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for letter in islice(waiting, len(done)):
                    running.add(pool.submit(_prepare, letter))
                for one in done:
                    yield one.result()
        except BrokenProcessPool as error:
            raise Unavailable(
                "A process that prepares letters has ended unexpectedly (out of memory?). "
                "Everything done so far is kept; run again to go on."
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


_TO_THE_WHOLE_GROUP = (signal.SIGINT, signal.SIGHUP)
"""What Ctrl-C and a closed terminal send to every process; only the first decides what it means."""


def _start_the_tracker() -> None:
    """Start Python's own process that tidies up after killed ones, and have it do so silently.

    After kill -9 it would else tell the terminal of leaked semaphores, though it removes them.
    """
    silence = "ignore:resource_tracker:UserWarning"
    sys.warnoptions.append(silence)
    try:
        with _deaf_to_interrupts():
            resource_tracker.ensure_running()
    finally:
        sys.warnoptions.remove(silence)


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Around the start of lanes: they inherit it, and so never hear of Ctrl-C."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _TO_THE_WHOLE_GROUP)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_lane: Preparer | None = None
_lane_error: BaseException | None = None


def _open_lane(settings: Settings, job: Job, parent: int, logged: log.Log | None) -> None:
    """In the lane's own process: open its LibreOffice, and see that it is closed again."""
    global _lane, _lane_error  # noqa: PLW0603 - a lane is a process, and this is its one preparer
    for one in _TO_THE_WHOLE_GROUP:
        signal.signal(one, signal.SIG_IGN)
    _die_with(parent)
    log.begin(logged)
    open_for_life = ExitStack()
    try:
        _lane = open_for_life.enter_context(bootstrap.preparer(settings, job))
    except Exception as error:  # noqa: BLE001 - told by the first letter, as a pool cannot tell it
        _lane_error = error
    Finalize(None, open_for_life.close, exitpriority=10)


def _prepare(letter: FrozenLetter) -> Prepared | Faulted:
    if _lane_error is not None:
        raise _lane_error
    assert _lane is not None  # noqa: S101 - the initializer set one of the two
    return _lane.prepare(letter)


def _die_with(parent: int) -> None:
    """End this process when its parent ends, even by kill -9."""
    if sys.platform != "linux":
        return
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before we asked
        os._exit(1)
