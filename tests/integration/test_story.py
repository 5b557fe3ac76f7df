"""A letter's story in people's words: from the ledger to the lines that are printed."""

import re
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from pipeline import schema
from pipeline.database import Database
from pipeline.delivery import Accepted, Deferred, Lost, Mode, NotTried, Rejected, Reply, State
from pipeline.display.happened import happened
from pipeline.display.story import following, print_story
from pipeline.ledger import approvals, deliveries, holds, messages, story
from pipeline.ledger.deliveries import Claim
from pipeline.ledger.runs import Run
from tests.integration.test_ledger import (
    CAPTURE,
    LEASE,
    LIVE,
    NOW,
    letter,
    opened,
    prepare_all,
)

CHIEF, LINK = "chief@a.example", "link@a.example"
MINUTE = timedelta(minutes=1)
HOST = "mail1/boot/ns/4711/1/1"


@pytest.fixture
def run(db: Database) -> Run:
    """One letter to two people, queued in live mode."""
    found = opened(db, letter("A"))
    prepare_all(db, found)
    messages.plan(db, found.id, LIVE, now=NOW)
    return found


def claim(db: Database, run: Run, minutes: int = 0, mode: Mode = Mode.LIVE) -> Claim:
    now = NOW + minutes * MINUTE
    found = deliveries.claim(db, run.id, mode, owner=HOST, lease=LEASE, now=now)
    assert found is not None
    return found


def intend(db: Database, claimed: Claim, minutes: int = 0) -> None:
    assert deliveries.intend(
        db, claimed, relay="relay.test:25", local_port=4, lease=LEASE, now=NOW + minutes * MINUTE
    )


def settle(db: Database, claimed: Claim, outcome: Any, minutes: int = 0) -> None:
    assert deliveries.settle(db, claimed, outcome, now=NOW + minutes * MINUTE, chance=0.5)


def facts(db: Database, run: Run, mode: Mode = Mode.LIVE, **more: Any) -> dict[str, Any]:
    """As `letters show` has them."""
    [row] = _rows(db, run)
    return {
        "year": 2020,
        "authority": "A",
        "name": row.authority_name,
        "withheld": row.withheld_because,
        "withheld_at": row.withheld_at and row.withheld_at.isoformat(),
        "withheld_by": story.withheld_by(db, run, row),
        "fault": row.fault,
        "pdf": row.pdf,
        "sha256": row.pdf_sha256,
        "pages": row.pages,
        "file": f"/archive/{row.pdf}",
        "figures": row.figures,
        **asdict(story.story(db, row.id)),
        "earlier_runs": story.earlier(db, run, "A"),
        "mode": mode.value,
        "only_to_domains": (),
        "paused": None,
        "approvals_wanted": 0,
        **more,
    }


def _rows(db: Database, run: Run) -> Any:
    with db.read() as connection:
        table = schema.letters
        return connection.execute(sa.select(table).where(table.c.run_id == run.id)).all()


def told(db: Database, run: Run) -> list[str]:
    """Each line, with what was said behind it."""
    return [
        f"{one.text} | {one.said}" if one.said else one.text for one in happened(facts(db, run))
    ]


def test_from_the_statistics_to_the_relay_each_attempt_is_one_line(db: Database, run: Run) -> None:
    approvals.approve(db, run, person="Ann", login="ann", now=NOW)
    chief, link = claim(db, run, 1), claim(db, run, 1)
    intend(db, chief, 1)
    settle(db, chief, Accepted(reply=Reply(code=250, text="Ok: queued as Q1"), queue_id="Q1"), 1)
    settle(db, link, Deferred(reply=Reply(code=450, text="greylisted")), 1)
    link = claim(db, run, 7)
    intend(db, link, 7)
    assert told(db, run)[-1] == f"Being sent, by process 4711 on mail1: {LINK}"
    settle(db, link, Rejected(reply=Reply(code=550, text="no such user")), 7)
    assert told(db, run) == [
        "The year's letters were composed by tester.",
        "The letter was made and proved: 3 pages.",
        f"To be sent to {CHIEF} (chief) and in copy {LINK} (link).",
        "Approved as it stands by Ann.",
        f"Taken by the relay relay.test:25: {CHIEF} | 250 Ok: queued as Q1",
        f"Put off by the relay, to be tried again: {LINK} | 450 greylisted",
        f"Refused for good by the relay: {LINK} | 550 no such user",
    ]


def test_the_same_again_and_again_is_one_line(db: Database, run: Run) -> None:
    away = NotTried(reason="The relay cannot be reached.")
    for minutes in range(1, 6):  # by turns, as each goes behind the other in the queue
        settle(db, claim(db, run, minutes), away, minutes)
    assert told(db, run)[-2:] == [
        f"Not sent yet, to be tried again: {CHIEF} (the same 2 more times, until 22 July, 09:05:00)"
        " | The relay cannot be reached.",
        f"Not sent yet, to be tried again: {LINK} (the same 1 more time, until 22 July, 09:04:00)"
        " | The relay cannot be reached.",
    ]
    assert len(facts(db, run)["events"]) == 2 + 1 + 10, "every move is on record"


@pytest.mark.parametrize(
    ("intended", "gone", "says"),
    [
        (
            False,
            True,
            "the process that was sending it ended in that moment; nothing had been sent",
        ),
        (False, False, "gave no sign of life any more; nothing had been sent"),
        (True, True, "ended in that moment; it may have gone, or not"),
        (True, False, "gave no sign of life any more; it may have gone, or not"),
    ],
)
def test_a_worker_that_was_given_up(
    db: Database, run: Run, intended: bool, gone: bool, says: str
) -> None:
    one = claim(db, run)
    if intended:
        intend(db, one)
    deliveries.recover(db, run.id, gone=lambda _owner: gone, now=NOW + 2 * LEASE)
    last = told(db, run)[-1]
    assert last.startswith("Broken off, as the process that was sending it ")
    assert f"{says}: {one.recipient}" in last


def test_a_doubt_is_told_with_who_settled_it_and_why(db: Database, run: Run) -> None:
    for _ in range(2):
        one = claim(db, run)
        intend(db, one)
        settle(db, one, Lost(reason="After the dot: silence."))
    shown = facts(db, run)
    [next_step] = following(shown)
    assert f"{CHIEF} and {LINK}" in next_step
    assert next_step.endswith("letters resolve A --year 2020")
    chief, link = deliveries.doubts(db, run.id, Mode.LIVE)
    deliveries.resolve(db, chief, State.QUEUED, evidence="data=0/1", person="Ann", now=NOW + MINUTE)
    deliveries.resolve(db, link, State.ACCEPTED, evidence="the relay's log: Q7", now=NOW + MINUTE)
    lines = told(db, run)
    assert lines[-4:] == [
        f"In doubt: handed to the relay relay.test:25, and no answer came: {CHIEF} | "
        "After the dot: silence.",
        f"In doubt: handed to the relay relay.test:25, and no answer came: {LINK} | "
        "After the dot: silence.",
        f"The doubt was settled by Ann, it has not gone, and is sent again: {CHIEF} | data=0/1",
        f"The doubt was settled by evidence, the relay has taken it: {LINK} | the relay's log: Q7",
    ]


def test_withheld_and_asked_for_again(db: Database, run: Run) -> None:
    settle(db, sent := claim(db, run), Rejected(reply=Reply(code=550, text="no")))
    [row] = _rows(db, run)
    holds.withhold(db, run, row.id, because="in court", person="Ann", now=NOW + MINUTE)
    assert following(facts(db, run)) == [
        "Nothing of it is sent before somebody says: letters resume A --year 2020"
    ]
    assert told(db, run)[-2:] == [
        f"Not sent any more, stopped by Ann: {LINK} | in court",
        "Withheld by Ann. | in court",
    ]
    holds.release(db, run, row.id, LIVE, person="Ben", now=NOW + 2 * MINUTE)
    assert "Released by Ben: it may be sent." in told(db, run)
    again = claim(db, run, 3)
    intend(db, again, 3)
    settle(db, again, Accepted(reply=Reply(code=250, text="Ok")), 3)
    [to_chief] = following(facts(db, run))
    assert to_chief == (
        f"{sent.recipient} has not got it. To send it there again, or with --to elsewhere: "
        f"letters resend A --year 2020 --to {sent.recipient} --reason TEXT"
    )


def test_what_comes_next_is_said_for_every_standing(db: Database, run: Run) -> None:
    plain = facts(db, run)
    assert following(plain) == [
        f"It is tried with {CHIEF} and {LINK} at the next run: letters send 2020"
    ]
    outside = following(plain | {"only_to_domains": ("b.example",)})
    assert "mail may only go to b.example (mail.only_to_domains" in outside[0]
    assert following(plain | {"paused": "The letters of 2020 are paused."}) == [
        "The letters of 2020 are paused."
    ]
    assert following(plain | {"mode": "redirect"}) == [
        "To send it, with all others that wait: letters send 2020"
    ]
    assert "letters prepare 2020" in following(plain | {"pdf": None})[0]
    assert "letters refresh 2020" in following(plain | {"fault": "No address."})[0]
    one = claim(db, run)
    assert following(facts(db, run))[0] == f"It is being sent to {one.recipient} at this moment."
    settle(db, one, Deferred(reply=Reply(code=451, text="later")))
    later = [step for step in following(facts(db, run)) if one.recipient in step]
    assert len(later) == 1
    for each in (claim(db, run, 60), claim(db, run, 60)):
        intend(db, each, 60)
        settle(db, each, Accepted(reply=Reply(code=250, text="Ok")), 60)
    assert following(facts(db, run)) == [
        "Nothing: it has reached everybody it is for, as far as is known."
    ]


def test_a_rehearsal_is_called_one_and_nothing_steers_a_terminal(
    db: Database, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    messages.plan(db, run.id, CAPTURE, now=NOW)
    one = claim(db, run, mode=Mode.CAPTURE)
    intend(db, one)
    reply = Reply(code=250, text="kept \x1b[2J\nhere")
    settle(db, one, Accepted(reply=reply))
    print_story(facts(db, run, Mode.CAPTURE))
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "“250 kept [2J here”" in shown
    assert f"A rehearsal, to be kept on this machine for {CHIEF} (chief)" in shown
    assert f"Kept on this machine: {CHIEF}" in shown
    # the mode that is set comes first
    assert re.search("Captured on this machine, a rehearsal:.*To the authority:", shown, re.DOTALL)
    assert shown.index("How it stands") < shown.index("What comes next")
    assert shown.index("What comes next") < shown.index("What happened")
    assert "<" in shown.partition("The letter")[2], "its messages, by Message-ID"
