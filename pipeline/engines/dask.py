"""Many machines: letters are made by the workers of a Dask cluster.

A worker makes letters as a lane on this machine does (`lanes`), and writes them to the archive that
all share. Only this process writes to the ledger, from what the workers answer; so a letter that is
made twice, by a worker that was thought dead, gives the same file under the same name and is
recorded once.

A few letters for each of the cluster's threads are on their way at a time, however many there are
in all, and what has been answered is forgotten by the scheduler at once. Mail is never sent from
here: that is `pipeline.dispatch`, which knows of no engine.
"""

import queue
import secrets
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any

from pipeline import bootstrap
from pipeline.cluster import Cluster, Worker, connected, program_version, soon
from pipeline.engines.lanes import Assignment, Made, Makings, Sealed, Stopped, make
from pipeline.errors import LettersError, Misconfigured, Unavailable
from pipeline.ledger.letters import Faulted, FrozenLetter, Prepared
from pipeline.prepare import Job
from pipeline.settings import Settings

_AHEAD = 4
"""Letters on their way for each thread of the cluster, so that none waits for the next one."""
_LEAST = 8
_TOGETHER = 256
"""Results that are fetched at once, at most."""
_LOOK_EVERY = 2.0
"""Seconds between two looks at who works."""
_TRIES = 3
"""Times that a letter is given to workers of which each says that it cannot work just now."""
_START = 90.0
"""Seconds that LibreOffice may take to start on a cold machine, and to make a first letter."""
_FETCH = 10.0
"""Seconds that answers may take to be fetched, until it is looked who is still there."""
_SEEN = 30.0
"""Seconds until a file that one machine wrote is seen by another, over a network drive."""


def _to_nobody(_sentence: str) -> None:
    pass


@dataclass(frozen=True, slots=True)
class DaskEngine:
    """Prepares letters in the cluster whose scheduler is at `settings.engine.address`.

    `say` is told, in a sentence, what is waited for.
    """

    settings: Settings
    say: Callable[[str], None] = _to_nobody

    def each(self, job: Job, letters: Iterable[FrozenLetter]) -> Iterator[Prepared | Faulted]:
        """The result for each letter, as it is done.

        Raises Unavailable if the scheduler goes, or nobody works for `engine.patience_seconds`, and
        Misconfigured if the workers do not make the same of a letter, or write it elsewhere. What
        was done is kept.
        """
        waiting = iter(letters)
        first = next(waiting, None)
        if first is None:
            return
        patience = self.settings.engine.patience_seconds
        place = bootstrap.cluster(self.settings)
        with connected(place, seconds=min(patience, 30.0)) as cluster:
            turn = _Turn(cluster, first.run_id, self.settings, self.say)
            try:
                turn.begin(job, first)
                yield from turn.results(first, waiting)
            finally:
                turn.end()


class _Turn:
    """The letters of one job on their way through a cluster."""

    def __init__(
        self, cluster: Cluster, run_id: int, settings: Settings, say: Callable[[str], None]
    ) -> None:
        self._cluster = cluster
        # Of its own for each turn, so that nothing that is left of another is taken for ours.
        self._key = f"letters-{run_id}-{secrets.token_hex(4)}"
        self._archive = bootstrap.open_archive(settings)
        self._patience = settings.engine.patience_seconds
        self._say = say
        self._under_way: dict[str, tuple[Any, FrozenLetter]] = {}
        self._arrived: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._again: deque[FrozenLetter] = deque()
        self._suspects: deque[FrozenLetter] = deque()
        self._suspected: set[int] = set()
        self._tries: dict[int, int] = {}
        self._number = 0
        self._room = _LEAST
        self._looked = 0.0
        self._left_alone: float | None = None
        self._agreed: dict[str, Makings] = {}
        self._seen: set[str] = set()

    def begin(self, job: Job, first: FrozenLetter) -> None:
        """Find workers, tell them what is to be made, and hold their first letters side by side."""
        while not (workers := self._looked_at()):
            time.sleep(0.2)
        from pipeline.engines.assigned import Assigned

        assigned = Assigned(assignment=Assignment(key=self._key, job=job, trial=first))
        client = self._cluster.client

        async def told() -> None:
            await client.register_plugin(assigned, name=self._key)

        try:
            self._cluster.sync(told, self._patience)  # who is late is told all the same
        except ImportError as error:
            _refuse_another_program(self._cluster, error)
        self._compare(workers)

    def results(
        self, first: FrozenLetter, waiting: Iterator[FrozenLetter]
    ) -> Iterator[Prepared | Faulted]:
        """What comes of every letter."""
        self._again.append(first)
        while self._hand_out(waiting):
            keys = self._arrivals()
            if keys:
                yield from self._answers(keys)
            if not keys or time.monotonic() - self._looked > _LOOK_EVERY:
                self._looked_at()

    def end(self) -> None:
        """Leave nothing of ours with the cluster; whoever still works on it may finish."""
        client = self._cluster.client
        for future, _ in self._under_way.values():
            with suppress(Exception):
                future.release()
        self._under_way.clear()

        async def withdrawn() -> None:
            await client.unregister_worker_plugin(self._key)

        with suppress(Exception):  # a cluster that has gone has nothing left of ours
            self._cluster.sync(withdrawn, _LOOK_EVERY)

    def _looked_at(self) -> list[Worker]:
        """Who works now; raises Unavailable once nobody has for longer than we have patience."""
        workers = self._cluster.workers()
        self._looked = time.monotonic()
        self._room = max(_LEAST, sum(one.threads for one in workers) * _AHEAD)
        if workers:
            self._left_alone = None
        elif self._left_alone is None:
            self._left_alone = self._looked
            self._say(
                f"Nobody works in the Dask cluster at {self._cluster.place.address} at present; "
                f"waiting up to {self._patience:g} seconds for a worker."
            )
        elif self._looked - self._left_alone >= self._patience:
            raise Unavailable(
                f"Nobody has worked in the Dask cluster at {self._cluster.place.address} for "
                f"{self._patience:g} seconds. Everything done so far is kept: start a worker, as "
                "docs/scaling.md says, and run this again to go on."
            )
        return workers

    def _compare(self, workers: list[Worker]) -> None:
        """Have everybody open a lane and make the same letter, and refuse what differs."""
        client = self._cluster.client
        asked: dict[str, tuple[Any, Worker]] = {}
        for one in workers:
            for thread in range(one.threads):
                future = client.submit(
                    make,
                    self._key,
                    None,
                    key=f"lane-{self._key}-{len(asked)}-{thread}",
                    workers=[one.address],
                    pure=False,
                )
                self._await(future)
                asked[future.key] = (future, one)
        left, answered = soon(_START + self._patience), 0
        while asked and left() and (left() > _START or not answered):
            for key in self._arrivals(asked):
                future, _ = asked.pop(key)
                if future.status == "error":  # it ended over it; what it makes later is compared
                    _refuse_another_program(self._cluster, future.exception())
                    continue
                for answer in self._fetched({key: future}):
                    if isinstance(answer, Stopped):
                        raise _stopped(answer)
                    self._agree(answer)
                    answered += 1
                future.release()
            there = {one.address for one in self._looked_at()}
            for key, (future, one) in list(asked.items()):
                if one.address not in there:  # it has ended since
                    future.release()
                    del asked[key]
        for future, _ in asked.values():
            future.release()

    def _hand_out(self, waiting: Iterator[FrozenLetter]) -> bool:
        """Give out as many letters as there is room for; False when there is nothing left to do."""
        room = self._room - len(self._under_way)
        if room > 0:
            letters = [self._again.popleft() for _ in range(min(room, len(self._again)))]
            letters += islice(waiting, room - len(letters))
            if not letters and not self._under_way and self._suspects:
                letters = [self._suspects.popleft()]  # alone, so that no other can be to blame
            if letters:
                self._give(letters)
        return bool(self._under_way)

    def _give(self, letters: list[FrozenLetter]) -> None:
        keys = []
        for letter in letters:
            self._number += 1
            keys.append(f"letter-{letter.run_id}-{letter.id}-{self._key[-8:]}-{self._number}")
        futures = self._cluster.client.map(
            make,
            [self._key] * len(letters),
            [Sealed(letter) for letter in letters],
            key=keys,
            pure=False,
        )
        for future, letter in zip(futures, letters, strict=True):
            self._under_way[future.key] = (future, letter)
            self._await(future)

    def _await(self, future: Any) -> None:
        future.add_done_callback(lambda done: self._arrived.put(done.key))

    def _arrivals(self, among: Collection[str] | None = None) -> list[str]:
        """What is done, as soon as anything is; nothing after a while."""
        keys = []
        with suppress(queue.Empty):
            keys.append(self._arrived.get(timeout=_LOOK_EVERY / 4))
            while len(keys) < _TOGETHER:
                keys.append(self._arrived.get_nowait())
        known = self._under_way if among is None else among
        return [key for key in keys if key in known]

    def _answers(self, keys: list[str]) -> Iterator[Prepared | Faulted]:
        """What came of these letters; those whose worker could not make them are tried again."""
        done = {}
        for key in keys:
            future, letter = self._under_way[key]
            if future.status == "error":
                del self._under_way[key]
                yield from self._killed(letter, future)
                future.release()
            else:
                done[key] = future
        for key, answer in zip(done, self._fetched(done), strict=False):
            future, letter = self._under_way.pop(key)
            future.release()
            if isinstance(answer, Stopped):
                self._tries[letter.id] = self._tries.get(letter.id, 0) + 1
                if answer.lasting or self._tries[letter.id] >= _TRIES:
                    raise _stopped(answer)
                self._again.append(letter)
                continue
            self._agree(answer)
            if answer.result is not None:
                self._see(answer.worker, answer.result)
                self._tries.pop(letter.id, None)
                yield answer.result

    def _fetched(self, done: Mapping[str, Any]) -> list[Made | Stopped]:
        """The answers to these, in their order; none if they cannot be had just now.

        A worker that ends before its answers are fetched has its letters made again.
        """
        if any(future.status in {"cancelled", "lost"} for future in done.values()):
            raise self._cluster.gone()
        from distributed import KilledWorker

        client, futures = self._cluster.client, list(done.values())

        async def fetched() -> list[Made | Stopped]:
            found: list[Made | Stopped] = await client.gather(futures)
            return found

        try:
            answers = self._cluster.sync(fetched, _FETCH)
        except KilledWorker:  # a worker ended first, and those who made its letters again did too
            answers = None
        if answers is None:
            for future in futures:
                self._await(future)
            return []
        return answers

    def _killed(self, letter: FrozenLetter, future: Any) -> Iterator[Faulted]:
        """A letter that was under way in each of several workers that have ended."""
        error = future.exception()
        _refuse_another_program(self._cluster, error)
        times = getattr(error, "allowed_failures", None)
        if times is None:
            raise Unavailable(
                f"A worker of the Dask cluster at {self._cluster.place.address} failed in a way "
                f"that nobody foresaw ({type(error).__name__}). Everything done so far is kept; "
                "see its own output, and run this again to go on."
            )
        if letter.id not in self._suspected:
            # Others were under way beside it, and one of them may have been to blame.
            self._suspected.add(letter.id)
            self._suspects.append(letter)
            return
        yield Faulted(
            letter_id=letter.id,
            reason=(
                f"Making this letter has ended each of {times + 1} workers that tried it, with no "
                "other letter under way (out of memory?). Look at what its data have that others "
                "lack, and at what the workers wrote when they ended."
            ),
        )

    def _agree(self, made: Made) -> None:
        """Raise Misconfigured unless this worker makes of a letter what the others do."""
        ours = program_version()
        if made.makings.kit.program != ours:
            raise Misconfigured(
                f"The worker {made.worker} has letters {made.makings.kit.program}, and this "
                f"machine {ours}. Install the same version everywhere, and start the workers anew."
            )
        for name, other in self._agreed.items():
            same_kit = other.kit == made.makings.kit
            if same_kit and (not other.trial or not made.makings.trial):
                continue
            if other != made.makings:
                raise Misconfigured(_differing(made.worker, made.makings, name, other))
        self._agreed.setdefault(made.worker, made.makings)

    def _see(self, worker: str, result: Prepared | Faulted) -> None:
        """That a worker's first file is in the archive of this machine too."""
        if worker in self._seen or not isinstance(result, Prepared):
            return
        left = soon(_SEEN)
        while not self._archive.exists(result.pdf):
            if not left():
                raise Misconfigured(
                    f"The worker {worker} has made {result.pdf}, and it is not in this machine's "
                    f"archive ({self._archive.location(result.pdf)}). Name the same place in "
                    "archive.url on every machine, and run this again."
                )
            time.sleep(0.1)
        self._seen.add(worker)


def _stopped(answer: Stopped) -> LettersError:
    said = f"The worker {answer.worker} cannot make letters. {answer.said}"
    if answer.lasting:
        return Misconfigured(said)
    return Unavailable(f"{said} Everything done so far is kept; run this again to go on.")


def _differing(name: str, one: Makings, other_name: str, other: Makings) -> str:
    if one.kit != other.kit:
        told = f"The worker {name} has {one.kit}, and the worker {other_name} has {other.kit}"
    else:
        told = (
            f"The workers {name} and {other_name} both have {one.kit}, and make different files "
            "of the same letter, as their fonts or libraries differ"
        )
    return (
        f"{told}: the letters of a year would not look alike. Install the same on every machine, "
        "or end one of these workers; then run this again."
    )


def _refuse_another_program(cluster: Cluster, error: BaseException | None) -> None:
    """Raise Misconfigured if a worker does not even know what it is asked for."""
    if not isinstance(error, ImportError | AttributeError):
        return
    raise Misconfigured(
        f"A worker of the Dask cluster at {cluster.place.address} cannot load this program "
        f"({error}). Install the same version of it, with requirements-scale.txt, on every machine "
        "that runs a worker, and start the workers with its own Python."
    ) from error
