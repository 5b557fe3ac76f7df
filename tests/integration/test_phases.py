"""Each phase of a year, on both databases: worked out from what is on record."""

from datetime import timedelta

import pytest
import sqlalchemy as sa

from pipeline import schema
from pipeline.database import Database
from pipeline.delivery import Accepted, Lost, Mode, Rejected, Reply
from pipeline.ledger import holds, letters, messages, phases, runs, starts, story
from pipeline.ledger.letters import Prepared
from pipeline.ledger.messages import Sender
from pipeline.ledger.phases import Phase
from pipeline.ledger.runs import Run
from pipeline.schema import Step
from tests.integration.test_ledger import (
    CAPTURE,
    LIVE,
    NOW,
    claim,
    intend,
    letter,
    opened,
    prepare_all,
    settle,
)

DAY = timedelta(days=1)
TAKEN = Accepted(reply=Reply(code=250, text="2.0.0 Ok"))


def phase(db: Database, *, approved: bool = False, mode: Mode = Mode.CAPTURE) -> Phase | None:
    """As `run.phase_of` asks for it, without a pipeline."""
    missed, run = starts.missed(db, 2020, mode), runs.find_run(db, 2020)
    if run is None:
        return phases.without_run(given_up=starts.given_up(db, 2020), missed=missed)
    return phases.of_run(
        story.summary(db, run, mode), opened_at=run.opened_at, approved=approved, missed=missed
    )


def miss(db: Database, step: Step, *, days: int = 4) -> None:
    assert starts.miss(db, 2020, step, Mode.CAPTURE, due_at=NOW, now=NOW + days * DAY)


def cancel(db: Database, run: Run) -> None:
    holds.cancel(db, run, because="wrong figures", person="tester", now=NOW)


def sent(db: Database, run: Run, *, outcome: object = TAKEN, times: int = 4) -> None:
    for _ in range(times):
        claimed = claim(db, run)
        assert intend(db, claimed) is not None
        assert settle(db, claimed, outcome)


def letter_of(db: Database, code: str) -> int:
    table = schema.letters
    with db.read() as connection:
        found: int = connection.execute(
            sa.select(table.c.id).where(table.c.authority_code == code)
        ).scalar_one()
    return found


def planned(db: Database, sender: Sender = CAPTURE) -> Run:
    run = opened(db)
    prepare_all(db, run)
    assert messages.plan(db, run.id, sender, now=NOW) == 2
    return run


def test_nothing_begun_is_no_phase(db: Database) -> None:
    assert phase(db) is None


def test_open_until_the_last_letter_is_made(db: Database) -> None:
    run = opened(db)
    assert phase(db) is Phase.OPEN
    first, *_ = letters.unprepared(db, run.id)
    letters.record(
        db,
        run.id,
        Prepared(
            letter_id=first.id, pdf="2020/A.pdf", pdf_sha256="1" * 64, docx_sha256="2" * 64, pages=3
        ),
        now=NOW,
    )
    assert phase(db, approved=True) is Phase.OPEN
    prepare_all(db, run)
    assert phase(db) is Phase.PREPARED


def test_a_letter_at_fault_or_withheld_keeps_nobody_waiting(db: Database) -> None:
    run = opened(db, letter("A"), letter("B", fault="no address"))
    prepare_all(db, run)
    assert phase(db) is Phase.PREPARED


def test_approved_only_where_approval_is_asked_for_and_complete(db: Database) -> None:
    prepare_all(db, opened(db))
    assert phase(db, approved=False) is Phase.PREPARED
    assert phase(db, approved=True) is Phase.APPROVED


def test_dispatching_from_the_first_plan_until_all_is_settled(db: Database) -> None:
    run = planned(db)
    assert phase(db, approved=True) is Phase.DISPATCHING
    sent(db, run, times=3)
    assert phase(db) is Phase.DISPATCHING
    sent(db, run, times=1)
    assert phase(db) is Phase.DONE


def test_done_though_somebody_has_to_look_at_a_refusal(db: Database) -> None:
    run = planned(db)
    sent(db, run, outcome=Rejected(reply=Reply(code=550, text="5.1.1 no such user")))
    assert phase(db) is Phase.DONE


def test_a_doubt_is_not_settled(db: Database) -> None:
    run = planned(db)
    sent(db, run, times=3)
    sent(db, run, outcome=Lost(reason="no answer"), times=1)
    assert phase(db) is Phase.DISPATCHING


def test_a_letter_released_after_the_others_went_is_still_to_go(db: Database) -> None:
    run = opened(db)
    prepare_all(db, run)
    other = letter_of(db, "B")
    holds.withhold(db, run, other, because="a complaint is open", person="tester", now=NOW)
    assert messages.plan(db, run.id, CAPTURE, now=NOW) == 1
    sent(db, run, times=2)
    assert phase(db) is Phase.DONE
    holds.release(db, run, other, CAPTURE, person="tester", now=NOW)
    assert phase(db) is Phase.DISPATCHING


def test_what_a_rehearsal_has_sent_the_real_thing_has_not(db: Database) -> None:
    sent(db, planned(db))
    assert phase(db, mode=Mode.CAPTURE) is Phase.DONE
    assert phase(db, mode=Mode.LIVE) is Phase.PREPARED
    run = runs.find_run(db, 2020)
    assert run is not None
    assert messages.plan(db, run.id, LIVE, now=NOW) == 2
    assert phase(db, mode=Mode.LIVE) is Phase.DISPATCHING


@pytest.mark.parametrize("step", list(Step))
def test_missed_where_nobody_has_begun(db: Database, step: Step) -> None:
    miss(db, step)
    assert phase(db) is Phase.MISSED
    assert phase(db, mode=Mode.LIVE) is None


def test_missed_though_made_until_it_is_sent(db: Database) -> None:
    run = opened(db)
    prepare_all(db, run)
    miss(db, Step.DISPATCH)
    assert phase(db, approved=True) is Phase.MISSED
    assert messages.plan(db, run.id, CAPTURE, now=NOW) == 2
    assert phase(db) is Phase.DISPATCHING
    sent(db, run)
    assert phase(db) is Phase.DONE


@pytest.mark.parametrize(
    ("step", "days"),
    [(Step.PREPARE, 4), (Step.DISPATCH, -4)],
    ids=["making", "before it was opened"],
)
def test_a_run_that_is_there_all_the_same_counts_as_it_stands(
    db: Database, step: Step, days: int
) -> None:
    miss(db, step, days=days)
    prepare_all(db, opened(db))
    assert phase(db) is Phase.PREPARED


def test_cancelled_until_it_is_opened_anew(db: Database) -> None:
    cancel(db, opened(db))
    assert phase(db) is Phase.CANCELLED
    miss(db, Step.DISPATCH)
    assert phase(db) is Phase.CANCELLED
    opened(db)
    assert phase(db) is Phase.MISSED
