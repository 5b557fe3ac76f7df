"""Holding back: what is paused, cancelled or withheld is not sent, and nothing is taken back."""

import threading
from datetime import datetime, timedelta
from typing import TypedDict

import pytest
import sqlalchemy as sa

from pipeline import schema
from pipeline.database import Database
from pipeline.delivery import Lost, Mode, NotTried
from pipeline.errors import Refused
from pipeline.ledger import approvals, deliveries, holds, letters, messages, renewal, runs, story
from pipeline.ledger.deliveries import Claim
from pipeline.ledger.messages import Sender
from pipeline.ledger.runs import Run
from tests.integration.test_ledger import (
    CAPTURE,
    LEASE,
    LIVE,
    NOW,
    OK,
    OPENING,
    intend,
    letter,
    opened,
    prepare_all,
    settle,
)


class Why(TypedDict):
    because: str
    person: str
    now: datetime


WHY = Why(because="the signatory has left", person="Ann", now=NOW)


def ready(db: Database, sender: Sender = LIVE) -> Run:
    """Two prepared letters, A and B, with two deliveries each queued."""
    run = opened(db)
    prepare_all(db, run)
    messages.plan(db, run.id, sender, now=NOW)
    return run


def next_claim(db: Database, run: Run) -> Claim | None:
    return deliveries.claim(db, run.id, Mode.LIVE, owner="worker", lease=LEASE, now=NOW)


def claimed(db: Database, run: Run) -> Claim:
    found = next_claim(db, run)
    assert found is not None
    return found


def send_next(db: Database, run: Run) -> Claim:
    found = claimed(db, run)
    assert intend(db, found)
    assert settle(db, found, OK)
    return found


def ids(db: Database, run: Run) -> dict[str, int]:
    found = {code: story.find_letter(db, run, code) for code in "AB"}
    return {code: row.id for code, row in found.items() if row is not None}


def states(db: Database, letter_id: int) -> list[str]:
    d = schema.deliveries
    with db.read() as connection:
        return list(
            connection.scalars(
                sa.select(d.c.state).where(d.c.letter_id == letter_id).order_by(d.c.id)
            )
        )


def events(db: Database, kind: str) -> list[tuple[str | None, dict[str, object]]]:
    e = schema.events
    with db.read() as connection:
        rows = connection.execute(
            sa.select(e.c.person, e.c.data).where(e.c.kind == kind).order_by(e.c.id)
        )
        return [(row.person, row.data) for row in rows]


def test_a_paused_run_gives_nothing_to_send_until_it_is_resumed(db: Database) -> None:
    run = ready(db)
    assert holds.pause(db, run, **WHY)
    assert next_claim(db, run) is None
    found = runs.find_run(db, 2020)
    assert found is not None
    assert (found.paused_at, found.paused_by, found.paused_because) == (
        NOW, "Ann", "the signatory has left",
    )  # fmt: skip
    assert holds.resume(db, run, person="Bob", now=NOW)
    assert next_claim(db, run) is not None
    assert events(db, "run_paused") == [("Ann", {"reason": "the signatory has left"})]
    assert events(db, "run_resumed") == [("Bob", {})]


def test_pausing_and_resuming_twice_is_once(db: Database) -> None:
    run = ready(db)
    assert holds.pause(db, run, **WHY)
    assert not holds.pause(db, run, because="another reason", person="Bob", now=NOW)
    found = runs.find_run(db, 2020)
    assert found is not None
    assert found.paused_by == "Ann"
    assert holds.resume(db, run, person="Ann", now=NOW)
    assert not holds.resume(db, run, person="Bob", now=NOW)
    assert len(events(db, "run_paused")) == len(events(db, "run_resumed")) == 1


def test_a_delivery_in_hand_is_finished_when_the_run_is_paused(db: Database) -> None:
    run = ready(db)
    in_hand = claimed(db, run)
    holds.pause(db, run, **WHY)
    assert intend(db, in_hand)
    assert settle(db, in_hand, OK)
    assert next_claim(db, run) is None


def test_a_withheld_letter_is_not_sent_and_the_others_are(db: Database) -> None:
    run = ready(db)
    letter_id = ids(db, run)["A"]
    done = holds.withhold(db, run, letter_id, **WHY)
    assert (done.letters, done.deliveries) == (1, 2)
    assert states(db, letter_id) == ["cancelled", "cancelled"]
    sent = {send_next(db, run).recipient for _ in range(2)}
    assert sent == {"chief@b.example", "link@b.example"}
    assert next_claim(db, run) is None
    assert events(db, "letter_withheld") == [("Ann", {"reason": "the signatory has left"})]
    moves = [data for _, data in events(db, "delivery_moved") if data["to"] == "cancelled"]
    assert [data["from"] for data in moves] == ["queued", "queued"]
    assert holds.withhold(db, run, letter_id, **WHY).letters == 0
    status = {one.authority: one for one in story.statuses(db, run, Mode.LIVE)}
    assert (status["A"].state, status["A"].withheld) == ("withheld", "the signatory has left")
    assert status["B"].state == "accepted"
    summary = story.summary(db, run, Mode.LIVE)
    assert (summary.letters["withheld"], summary.letters["prepared"]) == (1, 1)
    assert not summary.unfinished
    assert not summary.needs_a_person


def test_a_letter_withheld_before_it_is_planned_or_made_gets_no_message(db: Database) -> None:
    run = opened(db)
    letter_id = ids(db, run)["A"]
    assert holds.withhold(db, run, letter_id, **WHY).deliveries == 0
    assert letters.count_unprepared(db, run.id) == 1
    prepare_all(db, run)
    assert messages.plan(db, run.id, LIVE, now=NOW) == 1
    assert story.to_send(db, run, Mode.LIVE) == 2
    assert states(db, letter_id) == []
    assert holds.release(db, run, letter_id, LIVE, person="Ann", now=NOW)
    prepare_all(db, run)
    assert messages.plan(db, run.id, LIVE, now=NOW) == 1
    assert states(db, letter_id) == ["queued", "queued"]


def test_a_released_letter_goes_to_whom_it_was_withheld_from(db: Database) -> None:
    run = ready(db)
    first = send_next(db, run)  # the chief executive of A has it
    letter_id = first.letter_id
    assert holds.withhold(db, run, letter_id, **WHY).deliveries == 1
    assert holds.release(db, run, letter_id, LIVE, person="Bob", now=NOW)
    assert states(db, letter_id) == ["accepted", "cancelled", "queued"]
    sent = [send_next(db, run) for _ in range(3)]
    again = [one for one in sent if one.letter_id == letter_id]
    assert len(again) == 1
    assert again[0].recipient != first.recipient
    told = story.story(db, letter_id)
    assert told.messages[1]["resend_of"] == told.messages[0]["message_id"]
    assert told.messages[1]["requested_by"] == "Bob"
    assert not holds.release(db, run, letter_id, LIVE, person="Bob", now=NOW)


def test_what_has_gone_or_may_have_gone_cannot_be_withheld(db: Database) -> None:
    run = ready(db)
    in_hand = claimed(db, run)
    other = next(one for one in ids(db, run).values() if one != in_hand.letter_id)
    with pytest.raises(Refused, match=r"1 delivery is being made.*letters pause 2020"):
        holds.withhold(db, run, in_hand.letter_id, **WHY)
    assert states(db, in_hand.letter_id).count("queued") == 1, "all or nothing"
    assert intend(db, in_hand)
    with pytest.raises(Refused, match="being made"):
        holds.withhold(db, run, in_hand.letter_id, **WHY)
    assert settle(db, in_hand, Lost(reason="the connection dropped"))
    with pytest.raises(Refused, match="in doubt whether the letter to A Council has gone"):
        holds.withhold(db, run, in_hand.letter_id, **WHY)
    while (rest := next_claim(db, run)) is not None:
        assert intend(db, rest)
        assert settle(db, rest, OK)
    with pytest.raises(Refused, match="has been sent to everybody"):
        holds.withhold(db, run, other, **WHY)
    assert events(db, "letter_withheld") == []


def test_a_worker_and_whoever_withholds_cannot_both_have_their_way(db: Database) -> None:
    """One of the two comes first; never is a letter both withheld and being sent."""
    run = opened(db, letter("A"))
    prepare_all(db, run)
    messages.plan(db, run.id, LIVE, now=NOW)
    letter_id = ids(db, run)["A"]
    together = threading.Barrier(2)
    refused: list[bool] = []

    def withhold() -> None:
        together.wait()
        try:
            holds.withhold(db, run, letter_id, **WHY)
        except Refused:
            refused.append(True)

    other = threading.Thread(target=withhold)
    other.start()
    together.wait()
    found = next_claim(db, run)
    other.join()
    assert bool(refused) == (found is not None)
    expected = ["claimed", "queued"] if refused else ["cancelled", "cancelled"]
    assert sorted(states(db, letter_id)) == expected


def test_a_cancelled_run_leaves_the_year_to_be_opened_anew(db: Database) -> None:
    run = ready(db)
    assert holds.cancel(db, run, **WHY) == 4
    assert runs.find_run(db, 2020) is None
    assert next_claim(db, run) is None
    assert opened(db, letter("C")).id != run.id
    assert events(db, "run_cancelled") == [("Ann", {"reason": "the signatory has left"})]
    with pytest.raises(Refused, match="cancelled by somebody else"):
        holds.cancel(db, run, **WHY)


def test_a_run_that_has_reached_an_authority_cannot_be_cancelled(db: Database) -> None:
    run = ready(db)
    first = send_next(db, run)
    with pytest.raises(Refused, match=r"1 delivery of 2020 .*--unsent"):
        holds.cancel(db, run, **WHY)
    assert runs.find_run(db, 2020) is not None
    done = holds.withhold_unsent(db, run, **WHY)
    assert (done.letters, done.deliveries) == (2, 3), "the rest of the first, and all of the other"
    assert sorted(states(db, first.letter_id)) == ["accepted", "cancelled"]
    assert next_claim(db, run) is None


def test_what_has_gone_to_everybody_is_not_withheld_with_the_rest(db: Database) -> None:
    run = ready(db)
    while (one := next_claim(db, run)) is not None and one.letter_id == ids(db, run)["A"]:
        assert intend(db, one)
        assert settle(db, one, OK)
    assert one is not None
    assert settle(db, one, NotTried(reason="not now"))
    assert holds.withhold_unsent(db, run, **WHY).letters == 1
    assert states(db, ids(db, run)["A"]) == ["accepted", "accepted"]


def test_a_letter_is_released_in_every_mode_that_it_was_withheld_in(db: Database) -> None:
    run = ready(db, LIVE)
    messages.plan(db, run.id, CAPTURE, now=NOW)
    letter_id = ids(db, run)["A"]
    assert holds.withhold(db, run, letter_id, **WHY).deliveries == 4
    assert holds.release(db, run, letter_id, CAPTURE, person="Ann", now=NOW)
    assert sorted(states(db, letter_id)) == ["cancelled"] * 4 + ["queued"] * 4
    assert story.to_send(db, run, Mode.LIVE) == story.to_send(db, run, Mode.CAPTURE) == 4


def test_pausing_a_run_that_is_refreshed_meanwhile_pauses_the_new_one(db: Database) -> None:
    before = opened(db, letter("A"))
    renewal.renew(db, before, OPENING, [letter("B")], person="Bob", now=NOW, keep=True)
    assert holds.pause(db, before, **WHY)
    found = runs.find_run(db, 2020)
    assert found is not None
    assert (found.paused_by, found.id != before.id) == ("Ann", True)
    assert not holds.pause(db, before, **WHY)
    assert holds.resume(db, before, person="Ann", now=NOW)


def test_a_pause_that_came_before_the_refresh_is_taken_over(db: Database) -> None:
    stale = opened(db, letter("A"))
    assert holds.pause(db, stale, **WHY)
    renewal.renew(db, stale, OPENING, [letter("B")], person="Bob", now=NOW, keep=True)
    found = runs.find_run(db, 2020)
    assert found is not None
    assert found.paused_by == "Ann"


def test_a_run_that_was_cancelled_cannot_be_paused(db: Database) -> None:
    run = ready(db)
    holds.cancel(db, run, **WHY)
    with pytest.raises(Refused, match="cancelled by somebody else"):
        holds.pause(db, run, **WHY)


def test_letters_without_a_message_are_not_forgotten(db: Database) -> None:
    run = opened(db)
    prepare_all(db, run)
    assert story.summary(db, run, Mode.LIVE).unplanned == 2
    holds.withhold(db, run, ids(db, run)["A"], **WHY)
    assert story.summary(db, run, Mode.LIVE).unplanned == 1
    messages.plan(db, run.id, LIVE, now=NOW)
    assert story.summary(db, run, Mode.LIVE).unplanned == 0
    holds.release(db, run, ids(db, run)["A"], LIVE, person="Ann", now=NOW)
    assert story.summary(db, run, Mode.LIVE).unplanned == 1


def test_a_rehearsal_does_not_keep_a_run_from_being_cancelled(db: Database) -> None:
    run = ready(db, CAPTURE)
    rehearsed = deliveries.claim(db, run.id, Mode.CAPTURE, owner="w", lease=LEASE, now=NOW)
    assert rehearsed is not None
    with pytest.raises(Refused, match="being made"):
        holds.cancel(db, run, **WHY)
    assert intend(db, rehearsed)
    assert settle(db, rehearsed, OK)
    assert holds.cancel(db, run, **WHY) == 3


def test_an_approval_of_a_run_that_is_gone_is_refused(db: Database) -> None:
    run = ready(db)
    holds.cancel(db, run, **WHY)
    with pytest.raises(Refused, match="refreshed or cancelled"):
        approvals.approve(db, run, person="Ann", login="ann", now=NOW + timedelta(minutes=1))
    assert OPENING.year == run.year


def test_a_letter_that_is_withheld_loses_its_own_approvals_alone(db: Database) -> None:
    run = opened(db)
    prepare_all(db, run)
    withheld = ids(db, run)["A"]
    approvals.approve(db, run, person="Before", login="before", now=NOW)
    holds.withhold(db, run, withheld, **WHY)
    assert approvals.approvers(db, run) == ["Before"], "of what may go"
    done = approvals.approve(db, run, person="Meanwhile", login="meanwhile", now=NOW)
    assert (done.letters, done.left_out) == (1, 1)
    assert approvals.approvers(db, run) == ["Before", "Meanwhile"]
    assert holds.release(db, run, withheld, LIVE, person="Ann", now=NOW)
    assert approvals.approvers(db, run) == [], "nobody has said that this one goes"
    standing = approvals.standing(db, run, 2, Mode.LIVE)
    assert (standing.wanted, standing.lacking, standing.approved) == (2, 1, 1)
    [lost] = approvals.voided(db, run)
    assert (lost.authority, lost.person, lost.because) == ("A", "Before", ["withheld"])
    assert approvals.approve(db, run, person="Before", login="before", now=NOW).new == 1
    assert approvals.approve(db, run, person="Meanwhile", login="meanwhile", now=NOW).new == 1
    assert approvals.approvers(db, run) == ["Before", "Meanwhile"]
    assert approvals.voided(db, run) == []
