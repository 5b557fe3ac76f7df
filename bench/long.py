"""A long run: thousands of letters made and sent, killed in the middle of both, and counted.

    python -m bench.long FOLDER --letters 20000        or --minutes 120, for as many as that holds
                         [--ledger postgresql://...] [--lane plain|auto] [--workers 0]

It works as a site does: the real command, its settings in the environment, all its files in FOLDER,
and sends in live mode to smtp-sink on loopback, which keeps each message until its Message-ID has
been counted. When two fifths are made, and again when two fifths are sent, the command is killed
(-9) and called again. What was in doubt after that is settled as a person would, by what the server
has. At the end every letter must have arrived once, and none twice.

It goes on where it stopped when it is called with the same FOLDER again, and writes how it stands
to FOLDER/log every ten seconds. Start it in the background: nohup python -m bench.long ... &
"""

import argparse
import json
import os
import re
import signal
import smtplib
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa

from bench import authorities, machine, ours
from bench.memory import sizes
from pipeline import schema
from pipeline.database import Database
from pipeline.delivery import State
from tests import servers
from tests.postfix import MAIL_USER
from tests.postgres import free_port

_COMMAND = Path(sys.executable).with_name("letters")
_KILLED_AT = 0.4
_EVERY = 10.0
_GREAT = 100_000
_MESSAGE_ID = re.compile(rb"^Message-ID:\s*(<[^>\s]+>)", re.IGNORECASE | re.MULTILINE)
_AT_REST = 3.0
"""Seconds since its last byte after which a message that the server keeps is taken to be whole."""


@dataclass(slots=True, kw_only=True)
class Story:
    """What has happened so far, kept in the folder; seconds and bytes.

    `samples` are by stage: how long the stage has been worked on, and how many letters were done.
    """

    letters: int
    killed: list[str] = field(default_factory=list)
    spent: dict[str, float] = field(default_factory=dict)
    samples: dict[str, list[tuple[float, int]]] = field(default_factory=dict)
    office: int = 0
    rest: dict[str, int] = field(default_factory=dict)
    doubts: int = 0

    def keep(self, path: Path) -> None:
        """Write it to a file, whole or not at all."""
        part = path.with_suffix(".part")
        part.write_text(json.dumps(asdict(self)), encoding="utf-8")
        part.replace(path)


def main() -> None:
    """Make and send them, and tell what it took."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--letters", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=0.0, help="how many letters these hold")
    parser.add_argument("--ledger", default="", help="a PostgreSQL; else SQLite in the folder")
    parser.add_argument("--lane", default="auto")
    parser.add_argument("--workers", type=int, default=0)
    asked = parser.parse_args()
    folder: Path = asked.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / "story.json"
    if kept.exists():
        story = Story(**json.loads(kept.read_text("utf-8")))
    else:
        count = asked.letters or _held(folder, asked.minutes, asked.workers, asked.lane)
        if not count:
            parser.error("say --letters or --minutes")
        story = Story(letters=count)
        _log(folder, f"{count:,} letters")
        _log(folder, machine.described("sqlalchemy"))
    statistics = folder / "statistics.db"
    if not kept.exists():
        statistics.unlink(missing_ok=True)
        authorities.write(f"sqlite:///{statistics}", story.letters)
        story.keep(kept)
    with ExitStack() as stack:
        sink = stack.enter_context(_sink(folder))
        environment = _environment(folder, asked.ledger, sink.port, asked.lane, asked.workers)
        site = Site(folder=folder, environment=environment, story=story, kept=kept, sink=sink)
        site.db_upgraded()
        ledger = stack.enter_context(
            closing(Database(environment["LETTERS_DATABASE__URL"], read_only=True))
        )
        site.through("prepare", lambda: _prepared(ledger))
        site.through("send", lambda: _sent(ledger))
        site.settled(ledger)
        sink.collected(whole=True)
        _told(site, ledger)


# ---- The site


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A site in a folder: the real command, its settings, what has happened."""

    folder: Path
    environment: Mapping[str, str]
    story: Story
    kept: Path
    sink: "Sink"

    def db_upgraded(self) -> None:
        """Make the ledger's tables, where it has none."""
        self._run("db", "upgrade")

    def through(self, stage: str, done: Callable[[], int]) -> None:
        """Bring a stage to its end; kill it in the middle, once, and call it again."""
        while done() < self.story.letters:
            before = done()
            code = self._watched(stage, done)
            if code == -signal.SIGKILL:
                continue
            if code not in (0, 1) or done() == before:  # 1: something needs a person, told later
                if stage == "send" and self._only_doubts():
                    return
                sys.exit(f"letters {stage} ended with {code}: see {self.folder / 'output'}")

    def _only_doubts(self) -> bool:
        with closing(Database(self.environment["LETTERS_DATABASE__URL"], read_only=True)) as ledger:
            return bool(_doubts(ledger))

    def settled(self, ledger: Database) -> None:
        """Settle what is in doubt as a person would: by what the server has."""
        for code, message_id in _doubts(ledger):
            self.sink.collected(whole=True)
            word = "--sent" if self.sink.has(message_id) else "--requeue"
            self.story.doubts += 1
            _log(self.folder, f"{code} was in doubt: {word}")
            note = "by what the server has kept"
            self._run("resolve", code, word, "--note", note, "--yes", "--by", "bench")
        if _sent(ledger) < self.story.letters:
            self._run("send", str(authorities.YEAR))
        self.story.keep(self.kept)

    def _run(self, *words: str) -> None:
        with (self.folder / "output").open("ab") as output:
            done = subprocess.run(
                [_COMMAND, *words],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                check=False,
            )
        if done.returncode not in (0, 1):
            sys.exit(f"letters {words[0]} ended with {done.returncode}: {self.folder / 'output'}")

    def _watched(self, stage: str, done: Callable[[], int]) -> int:
        """Run a stage's command to its end or its death, and note how it goes; its exit code."""
        story = self.story
        before, begun, told = story.spent.get(stage, 0.0), time.monotonic(), 0.0
        with (self.folder / "output").open("ab") as output:
            running = subprocess.Popen(
                [_COMMAND, stage, str(authorities.YEAR)],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        try:
            while running.poll() is None:
                time.sleep(0.5 if story.letters > 1000 else 0.1)
                office, rest = sizes(running.pid)
                story.office = max(story.office, office)
                story.rest[stage] = max(story.rest.get(stage, 0), rest)
                now = time.monotonic()
                story.spent[stage] = before + now - begun
                made = done()
                middle = made >= _KILLED_AT * story.letters
                if middle and stage not in story.killed and made < story.letters:
                    running.kill()
                    story.killed.append(stage)
                    _log(self.folder, f"{stage}: killed at {made:,}")
                if now - told >= _EVERY:
                    told = now
                    story.samples.setdefault(stage, []).append((story.spent[stage], made))
                    story.keep(self.kept)
                    _log(
                        self.folder,
                        f"{stage}: {made:,} of {story.letters:,} in {story.spent[stage]:,.0f} s;"
                        f" LibreOffice {office >> 20} MB, client and lanes {rest >> 20} MB",
                    )
        finally:
            running.kill()
            running.wait()
            story.spent[stage] = before + time.monotonic() - begun
            story.samples.setdefault(stage, []).append((story.spent[stage], done()))
            story.keep(self.kept)
        return running.returncode


def _environment(
    folder: Path, ledger: str, port: int, lane: str, workers: int
) -> Mapping[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("LETTERS_")}
    found = {
        **clean,
        "LETTERS_DATABASE__URL": ledger or f"sqlite:///{folder}/ledger.db",
        "LETTERS_DATABASE__MARK": str(folder / "mark"),
        "LETTERS_SOURCE__URL": f"sqlite:///{folder}/statistics.db",
        "LETTERS_ARCHIVE__URL": str(folder / "archive"),
        "LETTERS_MAIL__CAPTURE": str(folder / "captured"),
        "LETTERS_MAIL__MODE": "live",
        "LETTERS_SMTP__HOST": "127.0.0.1",
        "LETTERS_SMTP__PORT": str(port),
        "LETTERS_CONVERT__WORKERS": str(workers),
    }
    if ours.has_lanes():
        found["LETTERS_CONVERT__LANE"] = lane
    return found


# ---- The ledger, as it stands


def _prepared(ledger: Database) -> int:
    return _count(ledger, schema.letters.c.pdf.is_not(None))


def _sent(ledger: Database) -> int:
    return _count(ledger, schema.deliveries.c.state == State.ACCEPTED.value)


def _count(ledger: Database, what: sa.ColumnElement[bool]) -> int:
    if ledger.path is not None and not ledger.path.exists():
        return 0
    with ledger.read() as connection:
        return connection.scalar(sa.select(sa.func.count()).where(what)) or 0


def _doubts(ledger: Database) -> list[tuple[str, str]]:
    """The codes of the letters that are in doubt, and the Message-IDs of what was sent."""
    d, m, table = schema.deliveries, schema.messages, schema.letters
    with ledger.read() as connection:
        rows = connection.execute(
            sa.select(table.c.authority_code, m.c.message_id)
            .join_from(d, m, m.c.id == d.c.message_id)
            .join(table, table.c.id == d.c.letter_id)
            .where(d.c.state == State.IN_DOUBT.value)
        ).all()
    return [(row.authority_code, row.message_id) for row in rows]


def _message_ids(ledger: Database) -> Iterator[str]:
    m = schema.messages
    with ledger.read() as connection:
        yield from connection.scalars(sa.select(m.c.message_id))


# ---- The server


class Sink:
    """An smtp-sink, and a count of what it was given, by Message-ID, that outlives both.

    The server writes each message to a file, and removes what was not ended by a dot.
    """

    def __init__(self, folder: Path, port: int) -> None:
        self.port = port
        self._mail = folder / "mail"
        self._lock = threading.Lock()
        self._counted = sqlite3.connect(folder / "arrived.db", check_same_thread=False)
        self._counted.execute(
            "CREATE TABLE IF NOT EXISTS arrived"
            " (file TEXT PRIMARY KEY, message_id TEXT NOT NULL, octets INTEGER NOT NULL)"
        )
        self._counted.execute("CREATE INDEX IF NOT EXISTS by_id ON arrived (message_id)")

    def collected(self, *, whole: bool = False) -> None:
        """Count what the server has written, and remove it; with `whole`, wait for all of it."""
        while True:
            with self._lock:
                left = self._collect()
            if not (whole and left):
                return
            time.sleep(0.2)

    def _collect(self) -> int:
        left, counted = 0, []
        for file in self._mail.iterdir():
            told = file.stat()
            if time.time() - told.st_mtime < _AT_REST:
                left += 1
                continue
            data = file.read_bytes()
            found = _MESSAGE_ID.search(data)
            # A number is the server's own and may come again: with the time it is another file.
            name = f"{file.name} {told.st_mtime_ns}"
            counted.append((file, (name, found[1].decode() if found else "", len(data))))
        self._counted.executemany(
            "INSERT OR IGNORE INTO arrived VALUES (?, ?, ?)", [row for _, row in counted]
        )
        self._counted.commit()
        for file, _ in counted:
            file.unlink()
        return left

    def has(self, message_id: str) -> bool:
        """Whether a message has arrived."""
        with self._lock:
            found = self._counted.execute(
                "SELECT 1 FROM arrived WHERE message_id = ?", (message_id,)
            ).fetchone()
        return found is not None

    def times(self) -> dict[str, int]:
        """How often each message has arrived."""
        with self._lock:
            return dict(
                self._counted.execute("SELECT message_id, count(*) FROM arrived GROUP BY 1")
            )

    def octets(self) -> int:
        """How much has arrived."""
        with self._lock:
            found = self._counted.execute("SELECT coalesce(sum(octets), 0) FROM arrived").fetchone()
        return int(found[0])


@contextmanager
def _sink(folder: Path) -> Iterator[Sink]:
    program = servers.program("smtp-sink")
    if program is None:
        sys.exit("smtp-sink is missing: apt-get install --no-install-recommends postfix")
    mail = folder / "mail"
    mail.mkdir(exist_ok=True)
    as_user: list[str] = []
    if os.geteuid() == 0:
        mail.chmod(0o777)
        for above in (folder, *folder.parents):
            if not above.stat().st_mode & 0o001:
                sys.exit(f"smtp-sink runs as {MAIL_USER}, who may not enter {above}.")
        as_user = ["-u", MAIL_USER]
    port = free_port()
    where = f"{mail}/{time.time_ns():x}."
    running = subprocess.Popen(
        [program, "-4", *as_user, "-d", where, f"127.0.0.1:{port}", "200"], cwd=mail
    )
    sink = Sink(folder, port)
    over = threading.Event()

    def collect() -> None:
        while not over.wait(1.0):
            sink.collected()

    try:
        _await(port)
        thread = threading.Thread(target=collect, daemon=True)
        thread.start()
        yield sink
        over.set()
        thread.join()
    finally:
        over.set()
        running.terminate()
        running.wait()


def _await(port: int) -> None:
    for _ in range(200):
        try:
            with smtplib.SMTP("127.0.0.1", port, timeout=1):
                return
        except OSError:
            time.sleep(0.05)
    sys.exit("smtp-sink does not answer.")


# ---- What it took


def _told(site: Site, ledger: Database) -> None:
    story, folder = site.story, site.folder
    arrived = site.sink.times()
    wanted = set(_message_ids(ledger))
    twice = {one for one, times in arrived.items() if times > 1}
    lost, unknown = wanted - arrived.keys(), arrived.keys() - wanted
    count = story.letters
    lines = [
        f"{count:,} letters, killed while they were made and while they were sent"
        if len(story.killed) == 2
        else f"{count:,} letters, killed: {', '.join(story.killed) or 'never'}",
        f"made {_prepared(ledger):,}, sent {_sent(ledger):,}, arrived {len(arrived):,},"
        f" twice {len(twice)}, lost {len(lost)}, unknown {len(unknown)};"
        f" {story.doubts} in doubt after the kill, settled by what the server had",
    ]
    for stage, name in (("prepare", "making"), ("send", "sending")):
        spent = story.spent.get(stage, 0.0)
        early, late = _slopes(story.samples.get(stage, []))
        lines.append(
            f"{name}: {spent:,.0f} s, {spent / count * 1000:.1f} ms a letter ({early:.1f} in the"
            f" first quarter, {late:.1f} in the last); {_GREAT:,} letters by the last:"
            f" {_GREAT * late / 3_600_000:.1f} hours; client and lanes at most"
            f" {story.rest.get(stage, 0) >> 20} MB"
        )
    archive = _size(folder / "archive")
    base = _size_of_ledger(ledger)
    lines += [
        f"LibreOffice at most {story.office >> 20} MB",
        f"archive {archive / 1e6:,.0f} MB, ledger {base / 1e6:,.0f} MB: {_GREAT:,} letters take"
        f" {archive / count * _GREAT / 1e9:.1f} GB and {base / count * _GREAT / 1e9:.2f} GB;"
        f" mailed {site.sink.octets() / 1e6:,.0f} MB",
    ]
    for line in lines:
        _log(folder, line)
    if twice or lost or unknown or _sent(ledger) != count:
        sys.exit("The figures do not agree.")


def _slopes(samples: list[tuple[float, int]]) -> tuple[float, float]:
    """Milliseconds a letter in the first and in the last quarter of a stage."""
    if not samples or not samples[-1][1]:
        return 0.0, 0.0
    last = samples[-1][1]
    early = _when(samples, last / 4) / last * 4000
    late = (samples[-1][0] - _when(samples, last * 3 / 4)) / last * 4000
    return early, late


def _when(samples: list[tuple[float, int]], count: float) -> float:
    """At which second so many were done, on the straight line between two samples."""
    before = (0.0, 0)
    for one in samples:
        if one[1] >= count:
            share = (count - before[1]) / max(one[1] - before[1], 1)
            return before[0] + share * (one[0] - before[0])
        before = one
    return before[0]


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _size_of_ledger(ledger: Database) -> int:
    if ledger.path is not None:
        return sum(file.stat().st_size for file in ledger.path.parent.glob(f"{ledger.path.name}*"))
    with ledger.read() as connection:
        return int(connection.scalar(sa.text("SELECT pg_database_size(current_database())")) or 0)


def _held(folder: Path, minutes: float, workers: int, lane: str) -> int:
    """How many letters so many minutes hold, by what a few hundred take; a tenth is kept back."""
    if not minutes:
        return 0
    trial = folder / "trial"
    count = 300
    begun = time.monotonic()
    words = [
        *(sys.executable, "-m", "bench.long", str(trial), "--letters", str(count)),
        *("--workers", str(workers), "--lane", lane),
    ]
    subprocess.run(words, check=True)
    spent = time.monotonic() - begun
    subprocess.run(["rm", "-rf", trial], check=True)  # noqa: S607
    return int((minutes * 60 - spent) * 0.9 / spent * count)


def _log(folder: Path, words: str) -> None:
    with (folder / "log").open("a", encoding="utf-8") as file:
        for line in words.splitlines():
            said = f"{datetime.now(UTC):%H:%M:%S} {line}"
            file.write(said + "\n")
            print(said, flush=True)


if __name__ == "__main__":
    main()
