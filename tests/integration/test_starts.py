"""Starts on both kinds of database: one holder at a time, and each thing noted once."""

import threading
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from pipeline import schema
from pipeline.database import Database
from pipeline.delivery import Accepted, Mode, Reply
from pipeline.ledger import deliveries, holds, messages, runs, starts, story
from pipeline.ledger.starts import Hold
from pipeline.schema import Step
from tests.integration.test_ledger import CAPTURE, LIVE, letter, opened, prepare_all

NOW = datetime(2020, 7, 22, 8, tzinfo=UTC)
DUE = NOW - timedelta(hours=1)
LEASE = timedelta(minutes=3)


def take(
    db: Database,
    owner: str = "one",
    *,
    now: datetime = NOW,
    gone: bool = False,
    begins: bool = True,
    mode: Mode = Mode.LIVE,
    due_at: datetime = DUE,
) -> Hold | None:
    return starts.take(
        db,
        2020,
        Step.DISPATCH,
        mode,
        due_at=due_at,
        owner=owner,
        lease=LEASE,
        gone=lambda _owner: gone,
        now=now,
        begins=begins,
    )


def taken(db: Database, owner: str = "one", *, now: datetime = NOW, begins: bool = True) -> Hold:
    hold = take(db, owner, now=now, begins=begins)
    assert hold is not None
    return hold


def miss(db: Database, *, due_at: datetime = DUE) -> bool:
    return starts.miss(db, 2020, Step.DISPATCH, Mode.LIVE, due_at=due_at, now=NOW)


def record(db: Database, mode: Mode = Mode.LIVE) -> starts.Start:
    return starts.on_record(db, mode)[2020, Step.DISPATCH]


def noted(db: Database) -> list[tuple[str, dict[str, object]]]:
    e = schema.events
    with db.read() as connection:
        rows = connection.execute(
            sa.select(e.c.kind, e.c.data).where(e.c.kind.startswith("start_")).order_by(e.c.id)
        ).all()
    return [(row.kind, row.data) for row in rows]


def test_a_start_is_begun_once_and_done_once(db: Database) -> None:
    hold = taken(db)
    assert (hold.first, hold.new) == (True, True)
    assert record(db).begun_at == NOW
    assert starts.done(db, hold, run_id=None, now=NOW + LEASE)
    assert not starts.done(db, hold, run_id=None, now=NOW + LEASE)
    assert record(db).done_at == NOW + LEASE
    assert take(db, "two", gone=True, now=NOW + 9 * LEASE) is None
    data = {"year": 2020, "step": "dispatch", "mode": "live", "due_at": DUE.isoformat()}
    assert noted(db) == [("start_begun", data), ("start_done", data)]


def test_nobody_else_takes_what_is_held(db: Database) -> None:
    taken(db)
    assert take(db, "two") is None
    assert take(db, "two", now=NOW + LEASE - timedelta(seconds=1)) is None


def test_who_holds_it_may_take_it_again(db: Database) -> None:
    taken(db)
    assert not taken(db).first
    assert [kind for kind, _ in noted(db)] == ["start_begun"]


def test_it_is_taken_over_from_the_dead_and_from_whom_time_has_left(db: Database) -> None:
    first = taken(db)
    dead = take(db, "two", gone=True)
    assert dead is not None
    assert not dead.first
    assert not starts.renew(db, first, lease=LEASE, now=NOW)
    assert not starts.release(db, first)
    assert not starts.done(db, first, run_id=None, now=NOW)
    late = take(db, "three", now=NOW + LEASE)
    assert late is not None
    assert record(db).begun_at == NOW
    assert starts.done(db, late, run_id=None, now=NOW + LEASE)
    assert [kind for kind, _ in noted(db)] == ["start_begun", "start_done"]


def test_a_renewed_lease_lasts_longer(db: Database) -> None:
    hold = taken(db)
    later = NOW + timedelta(minutes=2)
    assert starts.renew(db, hold, lease=LEASE, now=later)
    assert take(db, "two", now=NOW + LEASE) is None
    assert take(db, "two", now=later + LEASE) is not None


def test_what_is_released_anybody_may_take_and_go_on_with(db: Database) -> None:
    assert starts.release(db, taken(db))
    hold = taken(db, "two")
    assert (hold.first, hold.new) == (False, False)


def test_what_is_forgotten_never_began(db: Database) -> None:
    assert starts.forget(db, taken(db))
    assert record(db).begun_at is None
    assert taken(db, "two").first


def test_holding_to_settle_is_not_beginning(db: Database) -> None:
    hold = taken(db, begins=False)
    assert record(db).begun_at is None
    assert starts.done(db, hold, run_id=None, now=NOW)
    assert [kind for kind, _ in noted(db)] == ["start_done"]


def test_of_many_at_once_one_takes_it(db: Database) -> None:
    everybody = threading.Barrier(8)
    got: list[Hold | None] = []

    def try_to(name: str) -> None:
        everybody.wait()
        got.append(take(db, name))

    threads = [threading.Thread(target=try_to, args=(f"owner {n}",)) for n in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(got) == 8
    [hold] = [one for one in got if one is not None]
    assert (hold.first, hold.new) == (True, True)
    assert [kind for kind, _ in noted(db)] == ["start_begun"]


def test_a_start_is_missed_once(db: Database) -> None:
    assert miss(db)
    assert not miss(db)
    assert record(db).missed_at == NOW
    assert [kind for kind, _ in noted(db)] == ["start_missed"]
    moved = DUE + timedelta(days=30)
    assert miss(db, due_at=moved)  # another day was set, and missed as well
    assert record(db).due_at == moved


def test_what_was_begun_or_done_cannot_be_missed(db: Database) -> None:
    hold = taken(db)
    assert not miss(db)
    starts.done(db, hold, run_id=None, now=NOW)
    assert not miss(db)
    assert record(db).missed_at is None


def test_a_missed_start_that_is_begun_for_another_day_is_missed_no_more(db: Database) -> None:
    miss(db)
    moved = DUE + timedelta(days=30)
    assert take(db, due_at=moved) is not None
    assert (record(db).missed_at, record(db).due_at) == (None, moved)


def test_each_mode_has_its_own(db: Database) -> None:
    starts.done(db, taken(db), run_id=None, now=NOW)
    assert starts.on_record(db, Mode.CAPTURE) == {}
    rehearsal = take(db, mode=Mode.CAPTURE)
    assert rehearsal is not None
    assert rehearsal.first


def test_missed_until_somebody_has_made_up_for_it(db: Database) -> None:
    miss(db)
    assert starts.missed(db, 2020, Mode.CAPTURE) == []
    assert starts.missed(db, 2019, Mode.LIVE) == []
    run = opened(db, letter("A"))
    prepare_all(db, run)
    assert [one.step for one in starts.missed(db, 2020, Mode.LIVE)] == [Step.DISPATCH]
    messages.plan(db, run.id, LIVE, now=NOW)
    while claimed := deliveries.claim(db, run.id, Mode.LIVE, owner="me", lease=LEASE, now=NOW):
        assert starts.missed(db, 2020, Mode.LIVE)
        assert deliveries.intend(db, claimed, relay="relay:25", local_port=1, lease=LEASE, now=NOW)
        accepted = Accepted(reply=Reply(code=250, text="queued"))
        assert deliveries.settle(db, claimed, accepted, now=NOW)
    assert starts.missed(db, 2020, Mode.LIVE) == []


def test_finished_is_when_nothing_is_left_to_a_run(db: Database) -> None:
    run = opened(db, letter("A"), letter("B", fault="no address"))
    assert not starts.is_finished(db, run, Step.PREPARE, Mode.LIVE)
    prepare_all(db, run)
    assert starts.is_finished(db, run, Step.PREPARE, Mode.LIVE)
    assert not starts.is_finished(db, run, Step.DISPATCH, Mode.LIVE)
    assert story.summary(db, run, Mode.LIVE).unplanned == 1
    messages.plan(db, run.id, CAPTURE, now=NOW)
    assert story.summary(db, run, Mode.LIVE).unplanned == 1
    messages.plan(db, run.id, LIVE, now=NOW)
    assert story.summary(db, run, Mode.LIVE).unplanned == 0
    assert not starts.is_finished(db, run, Step.DISPATCH, Mode.LIVE)


def test_given_up_is_a_year_whose_newest_run_was_cancelled(db: Database) -> None:
    assert not starts.given_up(db, 2020)
    run = opened(db, letter("A"))
    assert not starts.given_up(db, 2020)
    holds.cancel(db, run, because="wrong", person="tester", now=NOW)
    assert starts.given_up(db, 2020)
    again = opened(db, letter("A"))
    assert not starts.given_up(db, 2020)
    assert runs.find_run(db, 2020) == again
