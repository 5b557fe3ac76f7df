"""A relay in trouble is left alone by everybody, and mail keeps the pace that was set."""

import hashlib
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from pipeline import schema
from pipeline.archive import Archive
from pipeline.capture import CaptureServer
from pipeline.database import Database
from pipeline.delivery import Mode, Pace
from pipeline.dispatch import Outbox, dispatch
from pipeline.errors import Unavailable
from pipeline.ledger import deliveries, messages, relays
from pipeline.ledger.deliveries import Claim
from pipeline.ledger.runs import Run
from pipeline.transport import Relay
from tests.integration.test_dispatch import archive, outbox, run
from tests.integration.test_ledger import LEASE, LIVE, NOW, opened, prepare_all
from tests.postgres import free_port

__all__ = ["archive", "run"]  # fixtures

RELAY = "mail.example port 25"
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)


@pytest.fixture
def ready(db: Database) -> Run:
    """Letters A and B, two people each at a.example and b.example, queued."""
    made = opened(db)
    prepare_all(db, made)
    messages.plan(db, made.id, LIVE, now=NOW)
    return made


def claim(db: Database, run: Run, now: datetime = NOW, pace: Pace | None = None) -> Claim | None:
    return deliveries.claim(
        db, run.id, Mode.LIVE, owner="w", lease=LEASE, now=now, relay=RELAY, pace=pace or Pace()
    )


def kinds(db: Database) -> list[str]:
    e = schema.events
    with db.read() as connection:
        return list(
            connection.scalars(sa.select(e.c.kind).where(e.c.kind.like("relay%")).order_by(e.c.id))
        )


def fails(db: Database, now: datetime) -> None:
    relays.fails(db, RELAY, reason="no connection", chance=0.5, now=now)


def test_a_relay_in_trouble_is_left_alone_until_its_time(db: Database, ready: Run) -> None:
    assert relays.in_trouble(db, RELAY) is None
    fails(db, NOW)
    assert claim(db, ready) is None
    assert claim(db, ready, NOW + 59 * SECOND) is None
    other = deliveries.claim(
        db, ready.id, Mode.LIVE, owner="w", lease=LEASE, now=NOW, relay="another port 25"
    )
    assert other is not None, "another relay has nothing to do with it"
    assert claim(db, ready, NOW + MINUTE) is not None


def test_waits_grow_while_it_fails_and_begin_anew_once_it_works(db: Database) -> None:
    now, waits = NOW, []
    for _ in range(6):
        fails(db, now)
        trouble = relays.in_trouble(db, RELAY)
        assert trouble is not None
        assert trouble.since == NOW
        waits.append((trouble.retry_at - now) / MINUTE)
        now = trouble.retry_at
    assert waits == [1, 2, 4, 8, 15, 15]
    assert relays.answers(db, RELAY, now=now)
    assert not relays.answers(db, RELAY, now=now)
    assert relays.in_trouble(db, RELAY) is None
    fails(db, now)
    again = relays.in_trouble(db, RELAY)
    assert again is not None
    assert again.retry_at - now == MINUTE
    assert kinds(db) == ["relay_in_trouble", "relay_well_again", "relay_in_trouble"]


def test_several_that_fail_together_are_one_failure(db: Database) -> None:
    for _ in range(5):
        fails(db, NOW)
    trouble = relays.in_trouble(db, RELAY)
    assert trouble is not None
    assert trouble.retry_at == NOW + MINUTE


def test_a_person_may_have_it_tried_at_once(db: Database, ready: Run) -> None:
    fails(db, NOW)
    relays.try_now(db, RELAY, now=NOW)
    assert claim(db, ready) is not None
    relays.try_now(db, RELAY, now=NOW + timedelta(days=1))
    trouble = relays.in_trouble(db, RELAY)
    assert trouble is not None
    assert trouble.retry_at == NOW, "what lies in the past stays there"


def test_overall_pace_holds_for_everybody(db: Database, ready: Run) -> None:
    pace = Pace(overall=2 * SECOND)
    taken: list[datetime] = []
    now = NOW
    while len(taken) < 4:
        if claim(db, ready, now, pace) is not None:
            taken.append(now)
            assert claim(db, ready, now, pace) is None
        now += SECOND
    assert [at - NOW for at in taken] == [0 * SECOND, 2 * SECOND, 4 * SECOND, 6 * SECOND]


def test_pace_to_one_domain_lets_the_others_go(db: Database, ready: Run) -> None:
    pace = Pace(to_one_domain=MINUTE)
    first, second = claim(db, ready, NOW, pace), claim(db, ready, NOW, pace)
    assert first is not None
    assert second is not None
    assert {first.recipient, second.recipient} == {"chief@a.example", "chief@b.example"}
    assert claim(db, ready, NOW, pace) is None

    def held_up(now: datetime) -> datetime | None:
        return deliveries.held_up(db, ready.id, Mode.LIVE, now=now, relay=RELAY, pace=pace)

    assert held_up(NOW) == NOW + MINUTE
    assert claim(db, ready, NOW + MINUTE, pace) is not None
    assert claim(db, ready, NOW + MINUTE, pace) is not None
    assert held_up(NOW + MINUTE) is None, "nothing is left to wait for"


def test_many_at_once_take_one_turn(db: Database, ready: Run) -> None:
    pace = Pace(overall=MINUTE)
    together = threading.Barrier(4)
    found: list[Claim | None] = []

    def work() -> None:
        together.wait()
        found.append(claim(db, ready, NOW, pace))

    workers = [threading.Thread(target=work) for _ in range(4)]
    for one in workers:
        one.start()
    for one in workers:
        one.join()
    assert sum(one is not None for one in found) == 1


def test_nothing_is_held_up_without_a_pace_or_behind_a_relay_in_trouble(
    db: Database, ready: Run
) -> None:
    look: Callable[[Pace], Any] = lambda pace: deliveries.held_up(  # noqa: E731
        db, ready.id, Mode.LIVE, now=NOW, relay=RELAY, pace=pace
    )
    assert look(Pace()) is None
    fails(db, NOW)
    assert look(Pace(overall=MINUTE)) is None


def test_dispatch_pauses_on_a_relay_in_trouble_and_burns_nothing(
    db: Database, archive: Archive, run: Run, tmp_path: Path
) -> None:
    nobody = Relay(host="127.0.0.1", port=free_port())
    by_itself = replace(outbox(nobody, tmp_path), at_once=False)
    with pytest.raises(Unavailable, match="refused"):
        dispatch(db, archive, run, by_itself)
    with pytest.raises(Unavailable, match=r"left alone until \d\d:\d\d.*letters send 2020"):
        dispatch(db, archive, run, by_itself)
    with db.read() as connection:
        row = connection.execute(sa.select(schema.deliveries)).one()
        tried = connection.scalar(sa.select(sa.func.count()).select_from(schema.attempts))
    assert (row.state, row.deferrals, tried) == ("queued", 0, 1)
    with pytest.raises(Unavailable, match="refused"):  # a person has it tried at once
        dispatch(db, archive, run, outbox(nobody, tmp_path))
    assert kinds(db) == ["relay_in_trouble"]


def test_dispatch_keeps_the_pace_and_sends_everything(
    db: Database, archive: Archive, tmp_path: Path
) -> None:
    made = opened(db)
    prepare_all(db, made)
    pdf = b"%PDF-1.7 a letter"
    archive.put("2020/A.pdf", pdf)
    archive.put("2020/B.pdf", pdf)
    words = {"subject": "Letter", "text": "Enclosed.", "html": "<p>Enclosed.</p>"}
    with db.write() as connection:
        connection.execute(
            sa.update(schema.letters).values(pdf_sha256=hashlib.sha256(pdf).hexdigest())
        )
        connection.execute(sa.update(schema.runs).values(wording=words))
    with CaptureServer(tmp_path / "relay") as server:
        where = Relay(host="127.0.0.1", port=server.port)
        every = timedelta(milliseconds=200)
        out: Outbox = replace(outbox(where, tmp_path), pace=Pace(overall=every), connections=4)
        dispatch(db, archive, made, out)
    e = schema.attempts
    with db.read() as connection:
        claims = sorted(connection.scalars(sa.select(e.c.claimed_at)))
    assert len(claims) == 4
    assert all(after - before >= every for before, after in pairwise(claims))


def test_times_that_a_wrong_clock_wrote_are_not_waited_for(db: Database, ready: Run) -> None:
    pace, ahead = Pace(overall=MINUTE, to_one_domain=MINUTE), NOW + timedelta(days=3650)
    assert claim(db, ready, NOW, pace) is not None
    fails(db, NOW)
    with db.write() as connection:
        connection.execute(sa.update(schema.paces).values(next_at=ahead))
        connection.execute(sa.update(schema.relays).values(retry_at=ahead))
    now = NOW + MINUTE
    assert deliveries.held_up(db, ready.id, Mode.LIVE, now=now, relay=RELAY, pace=pace) == now
    assert claim(db, ready, now, pace) is not None
    assert claim(db, ready, now, pace) is None, "from then on the pace is kept as ever"
