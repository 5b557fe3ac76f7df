"""Dispatch against relays that answer late, or never, while others look on."""

import concurrent.futures
import hashlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from aiosmtpd.controller import Controller

from pipeline import dispatch as dispatching
from pipeline import schema
from pipeline.archive import Archive
from pipeline.capture import CaptureServer
from pipeline.database import Database
from pipeline.delivery import (
    Accepted,
    Deferred,
    Lost,
    Mode,
    NotTried,
    Patience,
    Rejected,
    Reply,
    State,
)
from pipeline.dispatch import Outbox, dispatch
from pipeline.errors import Unavailable
from pipeline.ledger import deliveries, messages
from pipeline.ledger.deliveries import Claim
from pipeline.ledger.runs import Run
from pipeline.transport import Relay
from tests.integration.test_ledger import LEASE, LIVE, NOW, letter, opened, prepare_all
from tests.postgres import free_port

WORDING = {"subject": "Letter", "text": "Enclosed.", "html": "<p>Enclosed.</p>"}
PDF = b"%PDF-1.7 a letter"


class HeldRelay:
    """A relay that keeps its answer to the dot until it is let go."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.arrived = threading.Event()
        self.let_go = threading.Event()

    async def handle_DATA(  # noqa: N802 - aiosmtpd's name
        self, server: Any, _session: Any, envelope: Any
    ) -> str:
        self.arrived.set()
        await server.loop.run_in_executor(None, self.let_go.wait)
        self.taken += envelope.rcpt_tos
        return "250 2.0.0 Ok: queued as Q1"


@pytest.fixture
def relay() -> Iterator[tuple[HeldRelay, Relay]]:
    handler, port = HeldRelay(), free_port()
    controller = Controller(handler, hostname="127.0.0.1", port=port)
    controller.start()
    yield handler, Relay(host="127.0.0.1", port=port)
    handler.let_go.set()
    controller.stop()


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(str(tmp_path / "archive"))


@pytest.fixture
def run(db: Database, archive: Archive) -> Run:
    """One letter to one person, made and archived."""
    one = letter("A")
    made = opened(db, replace(one, recipients=one.recipients[:1]))
    prepare_all(db, made)
    sha256 = hashlib.sha256(PDF).hexdigest()
    archive.put("2020/A.pdf", PDF)
    with db.write() as connection:
        connection.execute(sa.update(schema.letters).values(pdf_sha256=sha256))
        connection.execute(sa.update(schema.runs).values(wording=WORDING))
    return made


def outbox(relay: Relay, tmp_path: Path) -> Outbox:
    return Outbox(
        sender=LIVE,
        relay=lambda: relay,
        maildir=tmp_path / "captured",
    )


def row(db: Database) -> Any:
    with db.read() as connection:
        return connection.execute(sa.select(schema.deliveries)).one()


def moves(db: Database) -> list[dict[str, Any]]:
    e = schema.events
    with db.read() as connection:
        return list(
            connection.scalars(
                sa.select(e.c.data).where(e.c.kind == "delivery_moved").order_by(e.c.id)
            )
        )


def in_background(db: Database, archive: Archive, run: Run, out: Outbox, **more: Any) -> Any:
    done: list[BaseException | None] = []

    def work() -> None:
        try:
            dispatch(db, archive, run, out, **more)
        except BaseException as error:  # noqa: BLE001 - looked at by the test
            done.append(error)
        else:
            done.append(None)

    thread = threading.Thread(target=work)
    thread.start()
    return thread, done


def test_a_worker_that_waits_keeps_its_lease(
    db: Database, archive: Archive, run: Run, relay: tuple[HeldRelay, Relay], tmp_path: Path
) -> None:
    handler, where = relay
    lease = timedelta(seconds=2)
    thread, done = in_background(db, archive, run, outbox(where, tmp_path), lease=lease)
    assert handler.arrived.wait(30)
    first = row(db).lease_until
    while row(db).lease_until <= first + lease:
        assert thread.is_alive()
    # Somebody who looks long after the first lease finds the worker alive all the same.
    assert (
        deliveries.recover(db, run.id, gone=lambda _: False, now=first + timedelta(seconds=1)) == 0
    )
    handler.let_go.set()
    thread.join()
    assert done == [None]
    assert row(db).state == State.ACCEPTED.value
    assert handler.taken == ["chief@a.example"]


def test_an_answer_that_comes_after_the_claim_was_lost_is_evidence(
    db: Database, archive: Archive, run: Run, relay: tuple[HeldRelay, Relay], tmp_path: Path
) -> None:
    handler, where = relay
    thread, done = in_background(db, archive, run, outbox(where, tmp_path))
    assert handler.arrived.wait(30)
    late = datetime.now(UTC) + timedelta(days=1)
    assert deliveries.recover(db, run.id, gone=lambda _: False, now=late) == 1
    assert row(db).state == State.IN_DOUBT.value
    handler.let_go.set()
    thread.join()
    assert done == [None]
    assert row(db).state == State.ACCEPTED.value
    assert "came late: 250 2.0.0 Ok" in moves(db)[-1]["evidence"]
    with db.read() as connection:
        attempt = connection.execute(sa.select(schema.attempts)).one()
    assert (attempt.outcome, attempt.queue_id) == ("accepted", "Q1")


def test_a_relay_that_does_not_answer_is_not_waited_for_when_the_program_is_to_stop(
    db: Database,
    archive: Archive,
    run: Run,
    relay: tuple[HeldRelay, Relay],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    handler, where = relay
    monkeypatch.setattr(dispatching, "_LAST_SECONDS", 0.1)

    def interrupt(*_: Any, **__: Any) -> Any:
        assert handler.arrived.wait(30)
        raise KeyboardInterrupt

    waits = [interrupt]
    real = concurrent.futures.wait

    def wait(*arguments: Any, **named: Any) -> Any:
        return waits.pop()() if waits else real(*arguments, **named)

    monkeypatch.setattr(dispatching, "wait", wait)
    with pytest.raises(KeyboardInterrupt):
        dispatch(db, archive, run, outbox(where, tmp_path))
    assert row(db).state == State.IN_DOUBT.value
    assert "After the dot" in moves(db)[-1]["said"]


OK = Accepted(reply=Reply(code=250, text="Ok"), queue_id="X1")
LATER = Deferred(reply=Reply(code=450, text="4.2.0 greylisted"))
NO = Rejected(reply=Reply(code=550, text="5.1.1 no such user"))


@pytest.fixture
def queued(db: Database, run: Run) -> Run:
    messages.plan(db, run.id, LIVE, now=NOW)
    return run


def claimed(db: Database, run: Run, now: datetime = NOW, worker: str = "worker") -> Claim:
    found = deliveries.claim(db, run.id, Mode.LIVE, owner=worker, lease=LEASE, now=now)
    assert found is not None
    return found


def intended(db: Database, run: Run, now: datetime = NOW) -> Claim:
    found = claimed(db, run, now)
    assert deliveries.intend(db, found, relay="127.0.0.1:25", local_port=1, lease=LEASE, now=now)
    return found


@pytest.mark.parametrize(
    ("outcome", "state"),
    [(OK, State.ACCEPTED), (LATER, State.QUEUED), (NO, State.QUEUED)],
)
def test_a_late_answer_settles_the_doubt_that_it_is_about(
    db: Database, queued: Run, outcome: Any, state: State
) -> None:
    mine = intended(db, queued)
    deliveries.recover(db, queued.id, gone=lambda _: True, now=NOW)
    assert not deliveries.settle(db, mine, outcome, now=NOW)
    assert deliveries.answer_late(db, mine, outcome, now=NOW) is state
    assert row(db).state == state.value
    assert deliveries.answer_late(db, mine, outcome, now=NOW) is None, "once"


def test_a_late_answer_about_an_earlier_attempt_changes_nothing(db: Database, queued: Run) -> None:
    first = intended(db, queued)
    deliveries.recover(db, queued.id, gone=lambda _: True, now=NOW)
    [doubt] = deliveries.doubts(db, queued.id, Mode.LIVE)
    deliveries.resolve(db, doubt, State.QUEUED, evidence="the log says so", now=NOW)
    second = intended(db, queued)
    before = row(db)
    assert deliveries.answer_late(db, first, OK, now=NOW) is None
    assert row(db) == before
    e = schema.events
    with db.read() as connection:
        [noted] = connection.scalars(sa.select(e.c.data).where(e.c.kind == "answer_late")).all()
    assert noted == {"attempt": first.attempt, "said": "250 Ok"}
    assert deliveries.settle(db, second, OK, now=NOW)


def test_what_is_lost_late_stays_in_doubt(db: Database, queued: Run) -> None:
    mine = intended(db, queued)
    deliveries.recover(db, queued.id, gone=lambda _: True, now=NOW)
    assert deliveries.answer_late(db, mine, Lost(reason="dropped"), now=NOW) is None
    assert row(db).state == State.IN_DOUBT.value


def test_a_renewed_lease_is_renewed_for_its_holder_alone(db: Database, queued: Run) -> None:
    mine = claimed(db, queued)
    later = NOW + timedelta(hours=1)
    deliveries.renew(db, [replace(mine, owner="somebody else")], lease=LEASE, now=later)
    assert row(db).lease_until == NOW + LEASE
    deliveries.renew(db, [mine], lease=LEASE, now=later)
    assert row(db).lease_until == later + LEASE
    assert deliveries.settle(db, mine, NO, now=later)
    deliveries.renew(db, [mine], lease=LEASE, now=later)
    assert row(db).lease_until is None


def test_what_is_put_off_waits_longer_each_time_and_then_expires(db: Database, queued: Run) -> None:
    now, waits = NOW, []
    patience = Patience(times=4, within=timedelta(days=3))
    for _ in range(4):
        mine = intended(db, queued, now)
        assert deliveries.settle(db, mine, LATER, now=now, patience=patience)
        waits.append(row(db).due_at - now)
        now = row(db).due_at
    assert [wait / timedelta(minutes=1) for wait in waits[:3]] == [5, 10, 20]
    assert row(db).state == State.EXPIRED.value
    assert "put off 4 times" in moves(db)[-1]["said"]
    assert (
        deliveries.claim(
            db, queued.id, Mode.LIVE, owner="w", lease=LEASE, now=now + timedelta(days=9)
        )
        is None
    )


def test_what_is_put_off_for_too_long_expires(db: Database, queued: Run) -> None:
    patience = Patience(times=99, within=timedelta(days=3))
    mine = intended(db, queued)
    assert deliveries.settle(db, mine, LATER, now=NOW, patience=patience)
    late = NOW + timedelta(days=3)
    assert deliveries.settle(db, intended(db, queued, late), LATER, now=late, patience=patience)
    assert row(db).state == State.EXPIRED.value


def test_the_relays_own_trouble_is_not_held_against_a_letter(db: Database, queued: Run) -> None:
    trouble = NotTried(reason="535 wrong password", trouble=True)
    for _ in range(40):
        assert deliveries.settle(
            db, claimed(db, queued), trouble, now=NOW, patience=Patience(times=1)
        )
    assert (row(db).state, row(db).deferrals, row(db).due_at) == ("queued", 0, NOW)
    dropped = NotTried(reason="dropped before the dot", trouble=False)
    assert deliveries.settle(db, claimed(db, queued), dropped, now=NOW)
    assert row(db).deferrals == 1
    assert row(db).due_at == NOW + timedelta(minutes=5)


def test_a_file_that_is_lost_keeps_its_own_letter_and_no_other(
    db: Database, archive: Archive, tmp_path: Path
) -> None:
    made = opened(db)
    prepare_all(db, made)
    archive.put("2020/B.pdf", PDF)  # and that of A is not there
    with db.write() as connection:
        connection.execute(
            sa.update(schema.letters).values(pdf_sha256=hashlib.sha256(PDF).hexdigest())
        )
        connection.execute(sa.update(schema.runs).values(wording=WORDING))
    with CaptureServer(tmp_path / "relay") as server:
        where = Relay(host="127.0.0.1", port=server.port)
        with pytest.raises(Unavailable, match=r"A\.pdf"):
            dispatch(db, archive, made, outbox(where, tmp_path))
    d = schema.deliveries
    with db.read() as connection:
        rows = connection.execute(sa.select(d.c.recipient, d.c.state).order_by(d.c.id)).all()
    assert {(row.recipient[-9:], row.state) for row in rows} == {
        ("a.example", "queued"),
        ("b.example", "accepted"),
    }
