"""Real processes that send a run's letters and die, or stand still, exactly where they are told.

A worker calls the product's own `dispatch` on a ledger, an archive and a relay. Nothing in it is
replaced: around the steps that matter this program looks on, and at the one it was told of it sends
itself SIGKILL or SIGSTOP. As starting Python takes longer than sending a letter, a nursery has
imported everything once and forks the workers; each is a process with a number of its own, and
nothing that it opened was open before.

The points, in the order in which one delivery passes them. "commit" is within the transaction, all
of it written and not committed:

    recover recover-commit plan plan-commit claim claim-commit claimed freeze freeze-commit
    intent intent-commit intended dotted answered outcome outcome-commit settled
"""

import contextlib
import ctypes
import dataclasses
import gc
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import IO, Any, Final

from sqlalchemy import event

from pipeline import transport
from pipeline.archive import Archive
from pipeline.database import Database
from pipeline.delivery import Mode, Pace
from pipeline.dispatch import Outbox, dispatch
from pipeline.envelope import ReturnAddress
from pipeline.errors import LettersError
from pipeline.ledger import deliveries, messages, runs
from pipeline.ledger.messages import Sender
from pipeline.transport import Relay

ROOT = Path(__file__).resolve().parents[2]
PATIENCE: Final = 90.0
DOT: Final = b".\r\n"

SENDER = Sender(
    address="letters@ombudsman.test",
    mode=Mode.LIVE,
    mailbox="Ombudsman <letters@ombudsman.test>",
    envelope="bounces@ombudsman.test",
    returns=lambda: ReturnAddress(
        mailbox="bounces@ombudsman.test", keys=(b"a key for tests only",)
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a worker is to do, and what is to become of it.

    At `point`, once it has been passed `after` times, the worker is killed, or with `stop` stands
    still until it is told to go on. Or it is killed after so many `steps` of any kind (statements,
    commits, octets written and read) and some more seconds (`delay`). Times are in seconds, `pace`
    is that between two letters. `output` is the file that
    gets what it prints.
    """

    url: str
    archive: str
    year: int
    output: str
    relay: Mapping[str, Any]
    connections: int = 1
    lease: float = 180.0
    pace: float = 0.0
    only: list[int] | None = None
    point: str = ""
    after: int = 0
    stop: bool = False
    steps: int = 0
    delay: float = 0.0


class _Watch:
    """Looks on while letters are sent, and ends it where the order says."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._passed = 0
        self._taken = 0
        self._lock = threading.Lock()
        self._renewing = threading.Lock()
        self._within = threading.local()

    def look_on(self, db: Database) -> None:
        """Be there at every step from now on."""
        for module, function, before, after in (
            (deliveries, "recover", "recover", "recovered"),
            (messages, "plan", "plan", "planned"),
            (deliveries, "claim", "claim", "claimed"),
            (messages, "freeze", "freeze", "frozen"),
            (deliveries, "intend", "intent", "intended"),
            (deliveries, "settle", "outcome", "settled"),
        ):
            setattr(module, function, self._observed(getattr(module, function), before, after))
        deliveries.renew = self._apart(deliveries.renew)
        # The private parts of the client are where the dot is.
        client: Any = transport._Client
        for name in ("write", "getreply"):
            setattr(client, name, self._wired(getattr(client, name)))
        answer = "_dot"
        setattr(transport.Transport, answer, self._answered(getattr(transport.Transport, answer)))

        @event.listens_for(db.engine, "commit")
        def committing(_: object) -> None:
            self.reach(f"{getattr(self._within, 'step', 'other')}-commit")

        @event.listens_for(db.engine, "before_cursor_execute")
        def executing(*_: object) -> None:
            self.step()

        @event.listens_for(db.engine, "after_cursor_execute")
        def executed(*_: object) -> None:
            self.step()

    def reach(self, point: str) -> None:
        """Come to a point with a name."""
        self.step()
        if point != self._order.point:
            return
        with self._lock:
            self._passed += 1
            if self._passed != self._order.after + 1:
                return
        if self._order.stop:
            # To this thread, so that it does not go a step further while others are stopped first.
            with self._renewing:
                signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)
        else:
            os.kill(os.getpid(), signal.SIGKILL)

    def step(self) -> None:
        """Take a step of any kind."""
        if not self._order.steps:
            return
        with self._lock:
            self._taken += 1
            if self._taken != self._order.steps:
                return
        threading.Thread(target=self._die_soon, daemon=True).start()

    def _die_soon(self) -> None:
        time.sleep(self._order.delay)
        os.kill(os.getpid(), signal.SIGKILL)

    def _observed(
        self, function: Callable[..., Any], before: str, after: str
    ) -> Callable[..., Any]:
        def observed(*arguments: Any, **named: Any) -> Any:
            self.reach(before)
            self._within.step = before
            try:
                found = function(*arguments, **named)
            finally:
                self._within.step = "other"
            # Nothing was claimed, or not granted: then the point after it is not reached.
            if found is not None and found is not False:
                self.reach(after)
            return found

        return observed

    def _apart(self, function: Callable[..., Any]) -> Callable[..., Any]:
        # Who is stopped while another thread renews the lease holds the lock on its row, on SQLite
        # that on everything: true to life, and not the point that the test asked for.
        def apart(*arguments: Any, **named: Any) -> None:
            with self._renewing:
                function(*arguments, **named)

        return apart

    def _wired(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def wired(client: Any, *arguments: Any) -> Any:
            self.step()
            found = method(client, *arguments)
            if arguments == (DOT,):
                self.reach("dotted")
            self.step()
            return found

        return wired

    def _answered(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def answered(*arguments: Any) -> Any:
            found = method(*arguments)
            self.reach("answered")
            return found

        return answered


def send(order: Order) -> int:
    """Send what is due, as the command line would, and return what it would end with."""
    db = Database(order.url, setting="database.url")
    try:
        _Watch(order).look_on(db)
        run = runs.find_run(db, order.year)
        assert run is not None
        dispatch(
            db,
            Archive(order.archive),
            run,
            Outbox(
                sender=SENDER,
                relay=lambda: Relay(**order.relay),
                maildir=Path("/nonexistent"),
                connections=order.connections,
                pace=Pace(overall=timedelta(seconds=order.pace)),
            ),
            only=order.only,
            lease=timedelta(seconds=order.lease),
        )
    except LettersError as error:
        print(f"letters: {error}", file=sys.stderr)  # noqa: T201
        return error.exit_code
    finally:
        # A database that has gone away must not hide why.
        with contextlib.suppress(Exception):
            db.close()
    return 0


# ------------------------------------------------------------------------------- the nursery itself


def _be_worker(order: Order) -> None:
    """The life of a worker, after the fork."""
    code = 70
    try:
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: no worker outlives its test
        output = os.open(order.output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        for descriptor in (1, 2):
            os.dup2(output, descriptor)
        code = send(order)
    except BaseException:  # noqa: BLE001 - the test reads it
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _import_all() -> None:
    """What is loaded when it is first needed would be loaded by every single worker."""
    for name in (
        *("encodings.idna", "fsspec.implementations.local", "pipeline.wording", "psycopg"),
        *("sqlalchemy.dialects.postgresql.psycopg", "sqlalchemy.dialects.sqlite.pysqlite"),
    ):
        importlib.import_module(name)


def nurse() -> None:
    """Fork a worker for every line of standard input, and tell when each has ended."""
    _import_all()
    gc.freeze()
    answers = os.dup(1)
    children: dict[int, int] = {}
    orders = b""

    def tell(**said: int) -> None:
        os.write(answers, json.dumps(said).encode() + b"\n")

    try:
        while True:
            ready, _, _ = select.select([0, *children], [], [])
            for one in ready:
                if one:
                    _, status = os.waitpid(children[one], 0)
                    tell(ended=children.pop(one), status=os.waitstatus_to_exitcode(status))
                    os.close(one)
            if 0 not in ready:
                continue
            octets = os.read(0, 65536)
            if not octets:
                return
            orders += octets
            while b"\n" in orders:
                line, _, orders = orders.partition(b"\n")
                order = Order(**json.loads(line))
                if (pid := os.fork()) == 0:
                    for each in (0, answers, *children):
                        os.close(each)
                    _be_worker(order)
                children[os.pidfd_open(pid)] = pid
                tell(pid=pid)
    finally:
        for pid in children.values():
            os.kill(pid, signal.SIGKILL)


# ----------------------------------------------------------------------------------- for the tests


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """A worker that was started; what it printed is in `output`."""

    nursery: "Nursery"
    pid: int
    output: Path

    def wait(self) -> int:
        """How it ended: its exit code, or the signal that killed it, negative."""
        return self.nursery.wait(self.pid)

    def await_stopped(self) -> None:
        """Wait until it stands still at the point where it was told to."""
        deadline = time.monotonic() + PATIENCE
        while self._state() != "T":
            assert self._state() not in "ZX", f"It ended instead:\n{self.output.read_text('utf-8')}"
            assert time.monotonic() < deadline, "It never stood still."
            time.sleep(0.005)

    def go_on(self) -> None:
        """Let it go on where it stands."""
        os.kill(self.pid, signal.SIGCONT)

    def end(self) -> None:
        """Kill it, should it still be there."""
        if self.nursery.has(self.pid):
            os.kill(self.pid, signal.SIGKILL)
            self.nursery.wait(self.pid)

    def _state(self) -> str:
        try:
            stat = Path(f"/proc/{self.pid}/stat").read_text("ascii")
        except OSError:
            return "X"
        return stat.rpartition(")")[2].split()[0]


@dataclass(slots=True, kw_only=True)
class Nursery:
    """The process that forks workers."""

    process: subprocess.Popen[bytes]
    _said: bytes = b""
    _at_work: set[int] = field(default_factory=set)
    _ended: dict[int, int] = field(default_factory=dict)

    def start(self, order: Order) -> Worker:
        """Start a worker."""
        self._to.write(json.dumps(dataclasses.asdict(order)).encode() + b"\n")
        self._to.flush()
        while "pid" not in (said := self._hear()):
            pass
        self._at_work.add(said["pid"])
        return Worker(nursery=self, pid=said["pid"], output=Path(order.output))

    def has(self, pid: int) -> bool:
        """Whether nobody has been told yet that this worker has ended."""
        return pid in self._at_work

    def wait(self, pid: int) -> int:
        """Wait until a worker has ended; how it did."""
        while pid not in self._ended:
            self._hear()
        self._at_work.remove(pid)
        return self._ended.pop(pid)

    def wait_for_any(self, workers: Collection[Worker]) -> Worker:
        """Wait until one of the workers has ended; which."""
        while True:
            for worker in workers:
                if worker.pid in self._ended:
                    return worker
            self._hear()

    @property
    def _to(self) -> IO[bytes]:
        assert self.process.stdin is not None
        return self.process.stdin

    def _hear(self) -> dict[str, int]:
        assert self.process.stdout is not None
        while b"\n" not in self._said:
            descriptor = self.process.stdout.fileno()
            ready, _, _ = select.select([descriptor], [], [], PATIENCE)
            assert ready, "No worker has ended for a long time."
            octets = os.read(descriptor, 65536)
            assert octets, "The nursery has ended."
            self._said += octets
        line, _, self._said = self._said.partition(b"\n")
        said: dict[str, int] = json.loads(line)
        if "ended" in said:
            self._ended[said["ended"]] = said["status"]
        return said


@contextmanager
def running_nursery() -> Iterator[Nursery]:
    """Start a nursery; end it, and whatever it started, afterwards."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.crash.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith("LETTERS_")},
    ) as process:
        yield Nursery(process=process)
        assert process.stdin is not None
        process.stdin.close()


if __name__ == "__main__":
    nurse()
