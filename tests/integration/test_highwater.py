"""The high-water mark: a ledger that is a copy, or was put back, sends nothing by itself."""

import hashlib
import multiprocessing
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import parseaddr
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url

from pipeline import home, schema
from pipeline.archive import Archive
from pipeline.database import Database
from pipeline.delivery import Mode, State
from pipeline.dispatch import Outbox, dispatch
from pipeline.errors import LettersError, Misconfigured, Unavailable
from pipeline.highwater import Mark, MarkFile
from pipeline.home import Standing
from pipeline.ledger import deliveries, events, holds, instance, messages, runs
from pipeline.ledger.runs import Run
from pipeline.schema import Event
from pipeline.transport import Relay
from tests.integration.test_dispatch import PDF, WORDING, archive
from tests.integration.test_ledger import LEASE, LIVE, OPENING, letter, opened, prepare_all
from tests.postgres import PostgresServer
from tests.relays import WaywardRelay

__all__ = ["archive"]  # a fixture

NOW = datetime(2026, 7, 20, 8, tzinfo=UTC)
EVERYBODY = ["chief@a.example", "chief@b.example"]

Copy = Callable[[], Database]
Send = Callable[..., None]


@pytest.fixture
def mark(tmp_path: Path) -> MarkFile:
    return MarkFile(tmp_path / "site" / "high-water-mark")


@pytest.fixture
def relay() -> Iterator[WaywardRelay]:
    with WaywardRelay() as running:
        yield running


@pytest.fixture
def run(db: Database, archive: Archive) -> Run:
    """Two letters to one person each, made and archived."""
    a, b = letter("A"), letter("B")
    made = opened(
        db, replace(a, recipients=a.recipients[:1]), replace(b, recipients=b.recipients[:1])
    )
    prepare_all(db, made)
    for name in "AB":
        archive.put(f"2020/{name}.pdf", PDF)
    with db.write() as connection:
        connection.execute(
            sa.update(schema.letters).values(pdf_sha256=hashlib.sha256(PDF).hexdigest())
        )
        connection.execute(sa.update(schema.runs).values(wording=WORDING))
    return made


@pytest.fixture
def copy(
    db: Database, db_url: str, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Copy]:
    """Make a copy of the ledger as it stands, as a backup does or somebody who moves it."""
    made: list[Database] = []
    named: list[str] = []

    def copied() -> Database:
        if db.path is not None:
            place = tmp_path / f"copy-{len(made)}.db"
            with closing(sqlite3.connect(db.path)) as old, closing(sqlite3.connect(place)) as new:
                old.backup(new)
            made.append(Database(f"sqlite:///{place}"))
        else:
            server: PostgresServer = request.getfixturevalue("postgres")
            db.close()  # a database that is copied may have no connections
            named.append(server.create(template=make_url(db_url).database))
            made.append(Database(server.url(named[-1])))
        return made[-1]

    yield copied
    for one in made:
        one.close()
    for name in named:
        request.getfixturevalue("postgres").drop(name)


@pytest.fixture
def send(archive: Archive, run: Run, mark: MarkFile, relay: WaywardRelay, tmp_path: Path) -> Send:
    """Dispatch the run with a ledger and a mark: live, over one connection."""

    def sent(ledger: Database, marked: MarkFile = mark, **more: object) -> None:
        out = Outbox(
            sender=LIVE,
            relay=lambda: Relay(host="127.0.0.1", port=relay.port),
            maildir=tmp_path / "captured",
            connections=1,
            mark=marked,
        )
        dispatch(ledger, archive, run, out, **more)  # type: ignore[arg-type]

    return sent


def mailed(relay: WaywardRelay) -> list[str]:
    """Whom the relay has taken mail for, one for each copy."""
    return sorted(
        parseaddr(line.decode().partition(" ")[2])[1]
        for body in relay.messages
        for line in body.split(b"\r\n")
        if line.startswith(b"To: ")
    )


def count(db: Database, table: sa.Table) -> int:
    with db.read() as connection:
        return connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0


def states(db: Database) -> list[str]:
    d = schema.deliveries
    with db.read() as connection:
        return list(connection.scalars(sa.select(d.c.state).order_by(d.c.id)))


def note(db: Database, times: int = 1) -> None:
    for _ in range(times):
        with db.write() as connection:
            events.note(connection, Event.REPORT_NOTED, at=datetime.now(UTC))


def standing(db: Database, mark: MarkFile) -> Standing:
    return home.look(db, mark).standing


def test_a_ledger_at_home_sends_and_its_mark_goes_with_it(
    db: Database, send: Send, mark: MarkFile, relay: WaywardRelay
) -> None:
    assert standing(db, mark) is Standing.FRESH
    seen: list[int] = []

    def settled() -> None:
        found = mark.read()
        assert found is not None
        assert found.mark is not None
        seen.append(found.mark.event)

    send(db, settled=settled)
    assert mailed(relay) == EVERYBODY
    assert seen == sorted(set(seen)), "further with each"
    home.keep(db, mark, now=NOW)
    found = home.look(db, mark)
    assert found.standing is Standing.HOME
    assert found.mark is not None
    assert found.newest is not None
    assert (found.mark.event, found.mark.sends) == (found.newest.event, True)
    assert "example" not in mark.path.read_text(), "no address of anybody"
    send(db)
    assert mailed(relay) == EVERYBODY
    noted = instance.last_held(db), count(db, schema.events)
    send(db)
    assert (instance.last_held(db), count(db, schema.events)) == noted, "taken up once"


def test_a_ledger_put_back_on_its_own_machine_sends_nothing(
    db: Database, copy: Copy, send: Send, mark: MarkFile, relay: WaywardRelay
) -> None:
    home.keep(db, mark, now=NOW)
    yesterdays = copy()
    send(db)
    assert mailed(relay) == EVERYBODY
    before = count(yesterdays, schema.events)
    for grown in (0, 60):
        note(yesterdays, grown)  # past the mark's number, with other content
        with pytest.raises(Misconfigured, match="does not hold what was recorded") as refused:
            send(yesterdays)
        assert "letters db confirm --note" in str(refused.value)
        home.keep(yesterdays, mark, now=NOW)
        assert standing(yesterdays, mark) is Standing.OLDER, "its mark is left as it is"
    assert count(yesterdays, schema.events) == before + 60, "a refusal changes nothing"
    assert mailed(relay) == EVERYBODY
    assert standing(db, mark) is Standing.HOME, "the newer one may go on"


def test_a_backup_from_the_midst_of_sending_is_told_even_without_a_good_end(
    db: Database, run: Run, copy: Copy, mark: MarkFile
) -> None:
    home.require(db, mark, now=NOW)
    messages.plan(db, run.id, LIVE, now=NOW)
    claimed = deliveries.claim(db, run.id, Mode.LIVE, owner="w", lease=LEASE, now=NOW)
    assert claimed is not None
    home.keep(db, mark, now=NOW)
    before_the_intent = copy()
    intent = deliveries.intend(db, claimed, relay="r:25", local_port=1, lease=LEASE, now=NOW)
    assert intent is not None
    # A crash here: no dot was written, and the mark is behind the ledger.
    assert standing(db, mark) is Standing.HOME
    assert standing(before_the_intent, mark) is Standing.HOME
    home.advance(mark, home.look(db, mark).ledger, intent)
    # A crash here: the dot may have been written, and the backup knows nothing of it.
    assert standing(db, mark) is Standing.HOME
    assert standing(before_the_intent, mark) is Standing.OLDER
    after_the_intent = copy()
    assert standing(after_the_intent, mark) is Standing.HOME, "nothing is missing: it is in doubt"
    deliveries.recover(after_the_intent, run.id, gone=lambda _: True, now=NOW)
    assert sorted(states(after_the_intent)) == [State.IN_DOUBT, State.QUEUED]


def test_what_is_confirmed_goes_on_only_when_a_person_has_looked(
    db: Database, copy: Copy, run: Run, send: Send, mark: MarkFile, relay: WaywardRelay
) -> None:
    home.keep(db, mark, now=NOW)
    yesterdays = copy()
    send(db)
    assert home.to_hold(yesterdays) == [2020]
    paused = home.confirm(
        yesterdays, mark, note="disk replaced", person="Ann Other", hold=True, now=NOW
    )
    assert paused == [2020]
    assert standing(yesterdays, mark) is Standing.HOME
    send(yesterdays)
    assert mailed(relay) == EVERYBODY, "nothing went by itself"
    e = schema.events
    with yesterdays.read() as connection:
        told = connection.execute(
            sa.select(e.c.person, e.c.data)
            .where(e.c.kind == Event.LEDGER_CONFIRMED.value)
            .order_by(e.c.id.desc())
            .limit(1)
        ).one()
    assert told.person == "Ann Other"
    assert told.data["note"] == "disk replaced"
    assert told.data["found"] == "older"
    assert told.data["mark"]["event"] > 0
    # Somebody has read the relay's log and let the year go on.
    held = runs.find_run(yesterdays, 2020)
    assert held is not None
    assert held.paused_by == "Ann Other"
    holds.withhold_unsent(yesterdays, run, because="the log says so", person="Ann", now=NOW)
    holds.resume(yesterdays, run, person="Ann", now=NOW)
    send(yesterdays)
    assert mailed(relay) == EVERYBODY
    assert standing(db, mark) is Standing.OLDER, "of two, only one is at home"


def test_without_a_hold_what_looks_unsent_goes(
    db: Database, copy: Copy, send: Send, tmp_path: Path, mark: MarkFile, relay: WaywardRelay
) -> None:
    home.keep(db, mark, now=NOW)
    moved, elsewhere = copy(), MarkFile(tmp_path / "elsewhere" / "mark")
    with pytest.raises(Misconfigured, match="this machine knows nothing of it"):
        send(moved, elsewhere)
    assert not elsewhere.path.exists()
    assert home.confirm(moved, elsewhere, note="moved", person="Ann", hold=False, now=NOW) == []
    send(moved, elsewhere)
    assert mailed(relay) == EVERYBODY


def test_two_machines_of_one_server_have_a_mark_each(
    db: Database, send: Send, tmp_path: Path, mark: MarkFile, relay: WaywardRelay
) -> None:
    other = MarkFile(tmp_path / "other machine" / "mark")
    home.require(db, mark, now=NOW)
    with pytest.raises(Misconfigured, match="knows nothing"):
        send(db, other)
    home.confirm(db, other, note="a second server", person="Ann", hold=False, now=NOW)
    send(db, other)
    note(db, 3)
    send(db, mark)
    assert standing(db, mark) is standing(db, other) is Standing.HOME
    assert mailed(relay) == EVERYBODY


@pytest.mark.parametrize("sends", [True, False])
def test_the_mark_of_another_ledger_counts_once_that_has_sent(
    db: Database, send: Send, mark: MarkFile, relay: WaywardRelay, sends: bool
) -> None:
    with mark.held(make=True) as held:
        another = Mark(ledger="f" * 32, sends=sends, event=9, at=NOW, kind="run_opened")
        held.write(another, durable=True)
    home.keep(db, mark, now=NOW)
    found = mark.read()
    assert found is not None
    assert found.mark == another, "a rehearsal leaves it alone"
    if sends:
        with pytest.raises(Misconfigured, match="is of another ledger"):
            send(db)
        assert mailed(relay) == []
    else:
        send(db)
        assert standing(db, mark) is Standing.HOME
        assert mailed(relay) == EVERYBODY


def test_a_mark_that_was_itself_copied_or_put_back_is_told(
    db: Database, mark: MarkFile, tmp_path: Path
) -> None:
    home.require(db, mark, now=NOW)
    kept, text = tmp_path / "backup", mark.path.read_bytes()
    shutil.copy2(mark.path, kept)
    assert standing(db, mark) is Standing.HOME
    assert standing(db, MarkFile(kept)) is Standing.COPIED, "a project that was copied whole"
    note(db)
    home.keep(db, mark, now=NOW)
    assert standing(db, mark) is Standing.HOME
    mark.path.write_bytes(text)  # into the file that is there, as cp does
    assert standing(db, mark) is Standing.COPIED
    with pytest.raises(Misconfigured, match="was not written to this file"):
        home.require(db, mark, now=NOW)
    home.keep(db, mark, now=NOW)
    assert standing(db, mark) is Standing.COPIED
    home.confirm(db, mark, note="all of it put back", person="Ann", hold=True, now=NOW)
    assert standing(db, mark) is Standing.HOME


def test_whatever_is_changed_in_a_mark_it_is_damaged(
    db: Database, mark: MarkFile, send: Send, relay: WaywardRelay
) -> None:
    home.require(db, mark, now=NOW)
    text = mark.path.read_bytes().rstrip()
    wrong = [
        text[:at] + bytes([text[at] ^ 1]) + text[at + 1 :]
        for at in range(text.index(b'"ledger"'), len(text), 7)
    ]
    for each in (*wrong, text[:-40], b"\0" * 512, b"[]", b"{}", b"\xff\xfe", b" "):
        mark.path.write_bytes(each)
        assert standing(db, mark) is Standing.DAMAGED, each
    with pytest.raises(Misconfigured, match="is damaged"):
        send(db)
    assert mailed(relay) == []


def test_a_mark_that_cannot_be_written_stops_what_would_be_sent_without_it(
    db: Database, send: Send, mark: MarkFile, relay: WaywardRelay, tmp_path: Path
) -> None:
    with pytest.raises(Unavailable, match="cannot be written"):
        send(db, MarkFile(Path("/proc/high-water-mark")))
    with pytest.raises(Misconfigured, match="is no file"):
        send(db, MarkFile(tmp_path))
    (tmp_path / "file").touch()
    with pytest.raises(Misconfigured, match="is no file"):
        send(db, MarkFile(tmp_path / "file" / "mark"))
    assert mailed(relay) == []
    assert count(db, schema.deliveries) == 0
    # Gone in the midst of it: the one in hand is not sent, and certainly so.
    with pytest.raises(LettersError, match="high-water mark"):
        send(db, mark, settled=lambda: mark.path.unlink(missing_ok=True))
    assert mailed(relay) == EVERYBODY[:1]
    assert states(db) == [State.ACCEPTED, State.QUEUED]
    with db.read() as connection:
        put_off = connection.scalars(sa.select(schema.deliveries.c.deferrals)).all()
    assert put_off == [0, 0], "it is no letter's trouble"


def test_a_crash_while_a_ledger_is_taken_up_is_made_up_for(db: Database, mark: MarkFile) -> None:
    mark.path.parent.mkdir()
    mark.path.touch()  # made, and nothing written
    assert standing(db, mark) is Standing.FRESH
    mark.path.with_name(".high-water-mark.part").write_text("half")
    name, _ = instance.newest(db)
    with mark.held() as held:  # written, and nothing noted
        held.write(Mark(ledger=name, sends=False, event=0, at=NOW), durable=True)
    assert not instance.is_taken_up(db)
    home.keep(db, mark, now=NOW)
    assert instance.is_taken_up(db)
    found = home.look(db, mark)
    assert found.standing is Standing.HOME
    assert found.mark is not None
    assert found.mark.event == 1
    assert [each.name for each in mark.path.parent.iterdir()] == ["high-water-mark"]


def test_a_rehearsal_on_a_copy_is_nobodys_concern(
    db: Database, copy: Copy, run: Run, send: Send, mark: MarkFile, archive: Archive, tmp_path: Path
) -> None:
    home.keep(db, mark, now=NOW)
    a_copy = copy()
    send(db)
    before = mark.path.read_bytes()
    out = Outbox(
        sender=replace(LIVE, mode=Mode.CAPTURE),
        relay=None,
        maildir=tmp_path / "captured",
        mark=mark,
    )
    dispatch(a_copy, archive, run, out)
    home.keep(a_copy, mark, now=NOW)
    assert states(a_copy) == [State.ACCEPTED, State.ACCEPTED]
    assert mark.path.read_bytes() == before
    with pytest.raises(Misconfigured):
        send(a_copy)


def test_a_year_that_is_opened_soon_after_is_held_once(db: Database, mark: MarkFile) -> None:
    assert home.confirm(db, mark, note="put back", person="Ann", hold=True, now=NOW) == []
    runs.open_run(db, OPENING, [letter("A")], person="schedule", now=NOW + timedelta(hours=1))
    run = runs.find_run(db, 2020)
    assert run is not None
    assert home.hold(db, run, now=NOW + timedelta(hours=2))
    held = runs.find_run(db, 2020)
    assert held is not None
    assert held.paused_by == "Ann"
    assert "confirmed as a copy or a backup on 20 July 2026" in str(held.paused_because)
    holds.resume(db, run, person="Ann", now=NOW + timedelta(hours=3))
    assert not home.hold(db, run, now=NOW + timedelta(hours=4))
    later = replace(run, year=2021, opened_at=NOW + home.HOLDS_FOR + timedelta(days=1))
    assert not home.hold(db, later, now=later.opened_at)
    assert home.hold(db, replace(run, opened_at=NOW - timedelta(days=1)), now=NOW) is False


TIMES = 40


def advancing(url: str, path: str) -> None:
    """Another process, that writes to the ledger and moves the mark on."""
    db, mark = Database(url), MarkFile(Path(path))
    for at in range(TIMES):
        note(db)
        name, newest = instance.newest(db)
        assert newest is not None
        home.advance(mark, name, newest)
        if at % 8 == 0:
            home.keep(db, mark, now=NOW)
    db.close()


def test_processes_that_advance_together_leave_the_newest(
    db: Database, db_url: str, mark: MarkFile
) -> None:
    home.require(db, mark, now=NOW)
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=advancing, args=(db_url, str(mark.path))) for _ in range(3)]
    for one in workers:
        one.start()
    seen = [0]
    while any(one.is_alive() for one in workers):
        found = mark.read()
        assert found is not None
        assert found.mark is not None, "never half of one"
        assert found.is_original
        seen.append(found.mark.event)
    for one in workers:
        one.join()
        assert one.exitcode == 0
    assert seen == sorted(seen), "never backwards"
    _, newest = instance.newest(db)
    last = home.look(db, mark)
    assert last.standing is Standing.HOME
    assert last.mark is not None
    assert newest is not None
    assert last.mark.event == newest.event
