"""What the record costs: sending with the full protocol beside sending with none.

    python -m bench.sending [--messages 2000] [--rounds 5] [--octets 100000] [--connections 2]

Every contender sends the same messages of the same size over as many connections, to smtp-sink and
to a real Postfix, in rounds that take turns, so that a busy moment of the machine meets all of
them. Medians of the rounds are compared, never single figures.

* smtp-source: Postfix's own generator, written in C; nothing is recorded.
* plain smtplib: Python's client, connections kept; nothing is recorded.
* record after send: the same, and each message is noted as sent afterwards, as newsletter programs
  do it; what a crash falls between goes out twice.
* letters: claim, body, intent committed, high-water mark, dot, outcome committed, from messages
  that are frozen already; on SQLite and on PostgreSQL, both synced at each intent and outcome.
* letters, composing: the same from letters that are only prepared: the message is written,
  archived and frozen on the way.
"""

import argparse
import hashlib
import secrets
import smtplib
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa

from bench import machine
from bench.timing import timed
from pipeline import home, migrate, schema
from pipeline.archive import Archive, message_name
from pipeline.database import Database
from pipeline.delivery import Mode
from pipeline.dispatch import Outbox, dispatch
from pipeline.highwater import MarkFile
from pipeline.ledger import deliveries, letters, messages, runs
from pipeline.ledger.letters import Prepared
from pipeline.ledger.messages import Sender
from pipeline.ledger.runs import Opening, Run
from pipeline.letter import Letter
from pipeline.message import Recipient, Wording, compose_message, pdf_filename
from pipeline.transport import Relay, Transport
from tests import servers
from tests.postfix import MAIL_USER, Postfix, running_postfix
from tests.postgres import free_port, running_postgres

WORDING = {"subject": "Annual review letter", "text": "Enclosed.", "html": "<p>Enclosed.</p>"}
SENDER = Sender(
    address="letters@ombudsman.test", mode=Mode.LIVE, mailbox="Ombudsman <letters@ombudsman.test>"
)
RECIPIENT = "chief@council.test"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A server that takes the mail; `settle` waits until it has nothing left to do."""

    name: str
    port: int
    settle: Callable[[], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """A run of letters that are prepared, and its messages frozen or not."""

    db: Database
    archive: Archive
    run: Run
    mark: MarkFile


Contender = Callable[[Target, int], None]
"""Sends the messages of one round (its number) to a server."""


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--messages", type=int, default=2000, help="in all, of each contender")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--octets", type=int, default=100_000, help="of one message")
    parser.add_argument("--connections", type=int, default=2)
    asked = parser.parse_args()
    each = asked.messages // asked.rounds
    pdf = secrets.token_bytes(round(asked.octets * 3 / 4 * 76 / 78) - 1200)
    print(machine.described("sqlalchemy", "psycopg"))
    print(
        f"measured  {each * asked.rounds:,} messages of {len(_message(pdf, 0)):,} octets for each "
        f"contender and server, {asked.rounds} rounds in turn, {asked.connections} connections"
    )
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="letters-bench-")))
        postgres = stack.enter_context(running_postgres())
        ledgers = {
            "SQLite": f"sqlite:///{folder}/{{name}}.db",
            "PostgreSQL": "",
        }
        for server in (_sink, _postfix):
            target = stack.enter_context(server())
            contenders: dict[str, Contender] = {
                "smtp-source": _Source(asked.octets, each, asked.connections),
                "plain smtplib": _Plain(pdf, each, asked.connections),
                "record after send": _RecordAfter(
                    pdf, each, asked.connections, folder / f"after-{target.name}.db"
                ),
            }
            for kind, url in ledgers.items():
                for frozen in (True, False):
                    name = f"{target.name}-{kind}-{frozen}"
                    where = url.format(name=name) or postgres.url(postgres.create())
                    db = Database(where, setting="database.url")
                    stack.callback(db.close)
                    migrate.upgrade(db)
                    archive = Archive(str(folder / f"archive-{name}"))
                    mark = MarkFile(folder / f"mark-{name}")
                    contenders[f"letters, {kind}{'' if frozen else ', composing'}"] = _Letters(
                        db, archive, mark, pdf, each, asked.rounds, asked.connections, frozen=frozen
                    )
            _table(target, _measured(target, contenders, each, asked.rounds))
            _where(target, folder, pdf, min(each, 400))


def _measured(
    target: Target, contenders: Mapping[str, Contender], each: int, rounds: int
) -> dict[str, list[float]]:
    """Messages per second of every contender in every round."""
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    names = list(contenders)
    for number in range(rounds):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:  # nobody is always first, or after the same one
            target.settle()
            begun = time.perf_counter()
            contenders[name](target, number)
            rates[name].append(each / (time.perf_counter() - begun))
            if sys.stderr.isatty():
                print(f"{target.name} {number + 1}/{rounds} {name}  ", end="\r", file=sys.stderr)
    return rates


def _table(target: Target, rates: Mapping[str, list[float]]) -> None:
    print(f"\nto {target.name:<28} {'messages/s':>12} {'of plain':>10}   slowest and fastest round")
    for name, found in rates.items():
        middle = statistics.median(found)
        share = statistics.median(
            one / other for one, other in zip(found, rates["plain smtplib"], strict=True)
        )
        print(
            f"  {name:<29} {middle:>12,.0f} {share:>9.0%}   {min(found):,.0f} to {max(found):,.0f}"
        )


# ---- The servers


@contextmanager
def _sink() -> Iterator[Target]:
    servers.needed()
    port = free_port()
    program = servers.program("smtp-sink")
    assert program is not None
    running = subprocess.Popen([program, "-4", "-u", MAIL_USER, f"127.0.0.1:{port}", "100"])
    try:
        servers.await_that("smtp-sink answers", lambda: _answers(port), lambda: "")
        yield Target(name="smtp-sink", port=port, settle=lambda: None)
    finally:
        running.terminate()
        running.wait()


def _answers(port: int) -> bool:
    try:
        with smtplib.SMTP("127.0.0.1", port, timeout=1):
            return True
    except OSError:
        return False


@contextmanager
def _postfix() -> Iterator[Target]:
    with running_postfix() as postfix:
        yield Target(name="Postfix", port=postfix.port, settle=lambda: _emptied(postfix))


def _emptied(postfix: Postfix) -> None:
    postfix.settle()
    for file in postfix.maildir(RECIPIENT).glob("new/*"):
        file.unlink()


# ---- The contenders


class _Source:
    def __init__(self, octets: int, each: int, connections: int) -> None:
        self._options = ["-s", str(connections), "-m", str(each), "-l", str(octets), "-d"]

    def __call__(self, target: Target, number: int) -> None:
        del number
        program = servers.program("smtp-source")
        assert program is not None
        command = [program, *self._options, "-f", SENDER.address, "-t", RECIPIENT]
        subprocess.run([*command, f"127.0.0.1:{target.port}"], check=True)


class _Plain:
    def __init__(self, pdf: bytes, each: int, connections: int) -> None:
        self._messages = [_message(pdf, number) for number in range(each)]
        self._connections = connections

    def __call__(self, target: Target, number: int) -> None:
        del number
        with ThreadPoolExecutor(self._connections) as threads:
            share = [self._messages[one :: self._connections] for one in range(self._connections)]
            list(threads.map(lambda mine: self._send(target, mine), share))

    def _send(self, target: Target, mine: list[bytes]) -> None:
        with smtplib.SMTP("127.0.0.1", target.port) as client:
            for one in mine:
                client.sendmail(SENDER.address, [RECIPIENT], one)


class _RecordAfter(_Plain):
    def __init__(self, pdf: bytes, each: int, connections: int, path: Path) -> None:
        super().__init__(pdf, each, connections)
        self._path = path
        with sqlite3.connect(path) as db:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("CREATE TABLE sent (id INTEGER PRIMARY KEY, at TEXT)")

    def _send(self, target: Target, mine: list[bytes]) -> None:
        db = sqlite3.connect(self._path, timeout=60, isolation_level=None)
        db.execute("PRAGMA synchronous=FULL")
        with smtplib.SMTP("127.0.0.1", target.port) as client:
            for one in mine:
                client.sendmail(SENDER.address, [RECIPIENT], one)
                db.execute("INSERT INTO sent (at) VALUES (?)", (datetime.now(UTC).isoformat(),))
        db.close()


class _Letters:
    def __init__(
        self,
        db: Database,
        archive: Archive,
        mark: MarkFile,
        pdf: bytes,
        each: int,
        rounds: int,
        connections: int,
        *,
        frozen: bool,
    ) -> None:
        self._connections = connections
        self._ready = [
            _ready(db, archive, mark, pdf, each, 2000 + number, frozen=frozen)
            for number in range(rounds)
        ]

    def __call__(self, target: Target, number: int) -> None:
        _sent(self._ready[number], target, self._connections)


def _sent(ready: Ready, target: Target, connections: int) -> None:
    relay = Relay(host="127.0.0.1", port=target.port)
    outbox = Outbox(
        sender=SENDER,
        relay=lambda: relay,
        maildir=Path("/nonexistent"),
        connections=connections,
        mark=ready.mark,
    )
    done = 0

    def settled() -> None:
        nonlocal done
        done += 1

    dispatch(ready.db, ready.archive, ready.run, outbox, settled=settled)
    assert deliveries.next_due(ready.db, ready.run.id, Mode.LIVE) is None, "all are sent"


def _ready(
    db: Database,
    archive: Archive,
    mark: MarkFile,
    pdf: bytes,
    count: int,
    year: int,
    *,
    frozen: bool,
) -> Ready:
    """A year's run of so many letters with one recipient each, made and planned."""
    now = datetime.now(UTC)
    opening = Opening(year=year, edition={"year": year}, template_sha256="0" * 64, wording=WORDING)
    runs.open_run(db, opening, (_letter(number) for number in range(count)), person="b", now=now)
    run = runs.find_run(db, year)
    assert run is not None
    sha256 = hashlib.sha256(pdf).hexdigest()
    archive.put("letter.pdf", pdf)
    for one in letters.unprepared(db, run.id):
        made = Prepared(
            letter_id=one.id, pdf="letter.pdf", pdf_sha256=sha256, docx_sha256="2" * 64, pages=3
        )
        letters.record(db, run.id, made, now=now)
    messages.plan(db, run.id, SENDER, now=now)
    if frozen:
        _freeze(db, archive, run, pdf, now)
    return Ready(db=db, archive=archive, run=run, mark=mark)


def _freeze(db: Database, archive: Archive, run: Run, pdf: bytes, now: datetime) -> None:
    m, table = schema.messages, schema.letters
    with db.read() as connection:
        of_run = sa.select(m.c.id).join(table, table.c.id == m.c.letter_id)
        ids = connection.scalars(of_run.where(table.c.run_id == run.id)).all()
    for id_ in ids:
        one = messages.read(db, id_)
        data = _message(pdf, id_, one.message_id)
        sha256 = hashlib.sha256(data).hexdigest()
        name = message_name(one.year, one.authority_code, one.authority_name, sha256)
        archive.put(name, data)
        messages.freeze(db, one, dated=now, eml=name, eml_sha256=sha256)


def _letter(number: int) -> Letter:
    return Letter(
        authority_code=f"B{number:07}",
        authority_name=f"Council {number}",
        kind="district",
        fields={"authority": f"Council {number}"},
        figures={},
        recipients=[
            {"address": RECIPIENT, "name": "Chief", "roles": ["chief_executive"], "kind": "to"}
        ],
        fault=None,
    )


def _message(pdf: bytes, number: int, message_id: str = "") -> bytes:
    return compose_message(
        wording=Wording(**WORDING),
        sender=SENDER.mailbox,
        reply_to=None,
        recipients=[Recipient(address=RECIPIENT, name="Chief", role="chief_executive", kind="to")],
        pdf=pdf,
        pdf_filename=pdf_filename(2020, f"Council {number}"),
        message_id=message_id or f"<bench{number}@ombudsman.test>",
        date=datetime.now(UTC),
    )


# ---- Where the time goes


def _where(target: Target, folder: Path, pdf: bytes, count: int) -> None:
    """Print how long each part of one delivery takes, over one connection, on SQLite."""
    db = Database(f"sqlite:///{folder}/where-{target.name}.db", setting="database.url")
    migrate.upgrade(db)
    archive = Archive(str(folder / f"where-{target.name}"))
    mark = MarkFile(folder / f"where-{target.name}.mark")
    ready = _ready(db, archive, mark, pdf, count, 2000, frozen=True)
    spent: dict[str, float] = {}
    target.settle()
    with ExitStack() as stack:
        for place, name, part in (
            (deliveries, "claim", "claim, committed"),
            (deliveries, "intend", "intent, committed"),
            (home, "advance", "moving the high-water mark"),
            (deliveries, "settle", "outcome, committed"),
            (Archive, "get", "reading and hashing its bytes"),
            (Transport, "_announce", "MAIL, RCPT, DATA and their answers"),
            (Transport, "_body", "writing the body"),
            (Transport, "_dot", "the dot and the answer to it"),
        ):
            stack.enter_context(timed(place, name, part, spent))
        begun = time.perf_counter()
        _sent(ready, target, 1)
        whole = time.perf_counter() - begun
    db.close()
    print(f"\nwhere the time goes, to {target.name}, 1 connection, SQLite (ms a message)")
    spent["all else"] = whole - sum(spent.values())
    for part, seconds in spent.items():
        print(f"  {part:<36} {seconds / count * 1000:>6.2f} {seconds / whole:>6.0%}")


if __name__ == "__main__":
    main()
