"""Doubts and a person's word: what speaks against it, and that nothing that is settled is moved."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from pipeline import schema
from pipeline.database import Database
from pipeline.delivery import Accepted, Lost, Mode, Reply, State
from pipeline.display.console import out
from pipeline.display.resolve import print_choices, print_doubts
from pipeline.ledger import deliveries, doubts, messages
from pipeline.ledger.deliveries import Claim, Doubt
from pipeline.ledger.runs import Run
from tests.integration.test_ledger import CAPTURE, LEASE, LIVE, NOW, letter, opened, prepare_all

WORKER = "mail1/boot/ns/4711/1/1"
LOST = Lost(reason="After the dot: silence.")


@pytest.fixture
def run(db: Database) -> Run:
    """One letter to one person, queued in live and in capture mode."""
    one = letter("A")
    found = opened(db, replace(one, recipients=one.recipients[:1]))
    prepare_all(db, found)
    for sender in (LIVE, CAPTURE):
        messages.plan(db, found.id, sender, now=NOW)
    return found


def intended(db: Database, run: Run, mode: Mode = Mode.LIVE) -> Claim:
    found = deliveries.claim(db, run.id, mode, owner=WORKER, lease=LEASE, now=NOW)
    assert found is not None
    assert deliveries.intend(
        db, found, relay="relay.test:25", local_host="::1", local_port=4, lease=LEASE, now=NOW
    )
    return found


def in_doubt(db: Database, run: Run, mode: Mode = Mode.LIVE) -> Doubt:
    assert deliveries.settle(db, intended(db, run, mode), LOST, now=NOW)
    [doubt] = deliveries.doubts(db, run.id, mode)
    return doubt


def row(db: Database, doubt: Doubt) -> Any:
    d = schema.deliveries
    with db.read() as connection:
        return connection.execute(sa.select(d).where(d.c.id == doubt.delivery_id)).one()


def alive(_owner: str) -> bool:
    return False


def ended(_owner: str) -> bool:
    return True


def test_a_doubt_holds_what_is_known_of_its_attempt(db: Database, run: Run) -> None:
    doubt = in_doubt(db, run)
    assert (doubt.attempt, doubt.outcome, doubt.reply) == (1, "lost", LOST.reason)
    assert (doubt.relay, doubt.local_port, doubt.owner) == ("relay.test:25", 4, WORKER)
    assert (doubt.intent_at, doubt.ended_at) == (NOW, NOW)


@pytest.mark.parametrize("target", [State.ACCEPTED, State.QUEUED, State.CANCELLED])
def test_a_persons_word_is_kept_with_the_person_and_the_reason(
    db: Database, run: Run, target: State
) -> None:
    doubt = in_doubt(db, run)
    later = NOW + timedelta(minutes=5)
    assert deliveries.resolve(db, doubt, target, evidence="seen it", person="Ann", now=later)
    [settled] = doubts.settled(db, doubt.letter_id, Mode.LIVE)
    assert settled == doubts.Settled(
        recipient=doubt.recipient,
        attempt=1,
        target=target,
        at=later,
        person="Ann",
        because="seen it",
    )
    assert row(db, doubt).state == target.value
    assert (row(db, doubt).settled_at is None) is (target is State.QUEUED)
    # of another mode nothing is told
    assert doubts.settled(db, doubt.letter_id, Mode.CAPTURE) == []


def test_what_was_settled_meanwhile_stays_as_it_is(db: Database, run: Run) -> None:
    doubt = in_doubt(db, run)
    assert deliveries.resolve(db, doubt, State.ACCEPTED, evidence="the log", now=NOW)
    assert not deliveries.resolve(db, doubt, State.QUEUED, evidence="x", person="Ann", now=NOW)
    assert row(db, doubt).state == "accepted"
    [settled] = doubts.settled(db, doubt.letter_id, Mode.LIVE)
    assert (settled.person, settled.because) == (None, "the log")


def test_a_doubt_of_a_later_attempt_is_another_doubt(db: Database, run: Run) -> None:
    first = in_doubt(db, run)
    assert deliveries.resolve(db, first, State.QUEUED, evidence="data=0/1", now=NOW)
    second = in_doubt(db, run)
    assert (first.delivery_id, first.attempt + 1) == (second.delivery_id, second.attempt)
    # whoever looked at the first one has not seen what became of the second
    assert not deliveries.resolve(db, first, State.ACCEPTED, evidence="x", person="Ann", now=NOW)
    assert row(db, second).state == "in_doubt"
    assert deliveries.resolve(db, second, State.ACCEPTED, evidence="x", person="Ann", now=NOW)
    told = doubts.settled(db, first.letter_id, Mode.LIVE)
    assert [(one.attempt, one.target) for one in told] == [
        (1, State.QUEUED),
        (2, State.ACCEPTED),
    ]


@pytest.mark.parametrize(
    ("gone", "seconds", "may_write"),
    [(alive, 0, True), (alive, 3599, True), (alive, 3600, False), (ended, 0, False)],
)
def test_a_worker_that_was_given_up_may_still_write_until_no_relay_waits(
    db: Database, run: Run, gone: Callable[[str], bool], seconds: int, may_write: bool
) -> None:
    intended(db, run)
    deliveries.recover(db, run.id, gone=alive, now=NOW + 2 * LEASE)
    [doubt] = deliveries.doubts(db, run.id, Mode.LIVE)
    assert (doubt.outcome, doubt.reply) == ("abandoned", "the lease is over")
    until = doubts.may_write_until(doubt, gone=gone, now=NOW + timedelta(seconds=seconds))
    assert until == (NOW + timedelta(hours=1) if may_write else None)


def test_a_worker_that_has_found_no_answer_writes_no_more(db: Database, run: Run) -> None:
    assert doubts.may_write_until(in_doubt(db, run), gone=alive, now=NOW) is None


def test_doubts_of_other_modes_are_counted(db: Database, run: Run) -> None:
    doubt = in_doubt(db, run, Mode.CAPTURE)
    assert doubts.elsewhere(db, doubt.letter_id, Mode.LIVE) == {Mode.CAPTURE: 1}
    assert doubts.elsewhere(db, doubt.letter_id, Mode.CAPTURE) == {}
    deliveries.resolve(db, doubt, State.ACCEPTED, evidence="kept", now=NOW)
    assert doubts.elsewhere(db, doubt.letter_id, Mode.LIVE) == {}


def test_who_holds_what_is_being_sent(db: Database, run: Run) -> None:
    assert deliveries.in_hand(db, run.id, Mode.LIVE) == []
    one = intended(db, run)
    assert deliveries.in_hand(db, run.id, Mode.LIVE) == [WORKER]
    assert deliveries.in_hand(db, run.id, Mode.CAPTURE) == []
    deliveries.settle(db, one, Accepted(reply=Reply(code=250, text="Ok")), now=NOW)
    assert deliveries.in_hand(db, run.id, Mode.LIVE) == []


@pytest.mark.parametrize(
    ("mode", "says"),
    [
        (Mode.LIVE, "Ask the recipient"),
        (Mode.REDIRECT, "Look into the inbox"),
        (Mode.CAPTURE, "letters send 2020 looks there"),
    ],
)
def test_what_to_look_for_depends_on_where_mail_goes(
    db: Database, run: Run, mode: Mode, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    doubt = in_doubt(db, run)
    until = NOW + timedelta(seconds=600)
    print_doubts(out, "A Council (A)", 2020, mode, [doubt], {doubt.delivery_id: until})
    print_choices(out, mode, 2020, "letters resolve A --year 2020")
    shown = capsys.readouterr().out
    for fact in (doubt.recipient, doubt.message_id, "relay.test:25", "from port 4", LOST.reason):
        assert fact in shown
    assert "process 4711 on mail1" in shown
    assert "until 09:10:00" in shown, "London time"
    assert says in shown
    assert f"in {mode.value} mode" in shown
