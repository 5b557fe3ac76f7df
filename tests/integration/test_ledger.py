"""The ledger on both kinds of database: conditional writes whose row count is the answer."""

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from pipeline import schema
from pipeline.database import Database
from pipeline.delivery import Accepted, Deferred, Lost, Mode, NotTried, Rejected, Reply, State
from pipeline.errors import Refused
from pipeline.ledger import approvals, deliveries, hindrances, holds, letters, messages, runs, story
from pipeline.ledger.deliveries import Claim
from pipeline.ledger.instance import Entry
from pipeline.ledger.letters import Faulted, Prepared
from pipeline.ledger.messages import Request, Resent, Sender
from pipeline.ledger.runs import Opening, Run
from pipeline.letter import Letter

NOW = datetime(2020, 7, 22, 8, tzinfo=UTC)
LEASE = timedelta(minutes=20)
CAPTURE = Sender(address="letters@ombudsman.example", mode=Mode.CAPTURE)
LIVE = replace(CAPTURE, mode=Mode.LIVE, mailbox="Ombudsman <letters@ombudsman.example>")


def letter(code: str, fault: str | None = None) -> Letter:
    return Letter(
        authority_code=code,
        authority_name=f"{code} Council",
        kind="district",
        fields={"authority": f"{code} Council"},
        figures={"upheld": {"part": 1, "whole": 1, "percent": 100, "average": 45}},
        recipients=[
            {
                "address": f"{role}@{code.lower()}.example",
                "name": role,
                "roles": [role],
                "kind": kind,
            }
            for role, kind in (("chief", "to"), ("link", "cc"))
        ],
        fault=fault,
    )


OPENING = Opening(
    year=2020,
    edition={"year": 2020},
    template_sha256="0" * 64,
    wording={"subject": "s", "text": "t", "html": "h"},
)


def opened(db: Database, *composed: Letter) -> Run:
    runs.open_run(db, OPENING, composed or [letter("A"), letter("B")], person="tester", now=NOW)
    found = runs.find_run(db, 2020)
    assert found is not None
    return found


def prepare_all(db: Database, run: Run) -> None:
    for one in letters.unprepared(db, run.id):
        assert letters.record(
            db,
            run.id,
            Prepared(
                letter_id=one.id,
                pdf=f"2020/{one.authority_code}.pdf",
                pdf_sha256="1" * 64,
                docx_sha256="2" * 64,
                pages=3,
            ),
            now=NOW,
        )


@pytest.fixture
def ready(db: Database) -> Run:
    """Two prepared letters with four deliveries queued."""
    run = opened(db)
    prepare_all(db, run)
    assert messages.plan(db, run.id, CAPTURE, now=NOW) == 2
    return run


def claim(db: Database, run: Run, owner: str = "worker", now: datetime = NOW) -> Claim:
    claimed = deliveries.claim(db, run.id, Mode.CAPTURE, owner=owner, lease=LEASE, now=now)
    assert claimed is not None
    return claimed


def intend(db: Database, claimed: Claim) -> Entry | None:
    return deliveries.intend(db, claimed, relay="127.0.0.1:25", local_port=1, lease=LEASE, now=NOW)


def settle(db: Database, claimed: Claim, outcome: Any) -> bool:
    return deliveries.settle(db, claimed, outcome, now=NOW)


def state(db: Database, claimed: Claim) -> str:
    d = schema.deliveries
    with db.read() as connection:
        return str(connection.scalar(sa.select(d.c.state).where(d.c.id == claimed.delivery_id)))


def count(db: Database, table: sa.Table) -> int:
    with db.read() as connection:
        return connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0


OK = Accepted(reply=Reply(code=250, text="queued as X1"), queue_id="X1")


def test_a_run_is_opened_whole_or_not_at_all(db: Database) -> None:
    def breaks() -> Any:
        yield letter("A")
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        runs.open_run(db, OPENING, breaks(), person="tester", now=NOW)
    assert runs.find_run(db, 2020) is None
    assert count(db, schema.letters) == 0


def test_a_year_has_one_live_run(db: Database) -> None:
    first = opened(db, letter("A"))
    again = opened(db, letter("B"), letter("C"))
    assert again == first
    assert count(db, schema.letters) == 1
    assert runs.years(db) == [2020]


def test_only_faults_of_making_are_tried_again(db: Database) -> None:
    run = opened(db, letter("A"), letter("B", fault="no address"))
    assert [one.authority_code for one in letters.unprepared(db, run.id)] == ["A"]
    [one] = letters.unprepared(db, run.id)
    fault = Faulted(letter_id=one.id, reason="no PDF came out")
    assert letters.record(db, run.id, fault, now=NOW)
    assert not letters.record(db, run.id, fault, now=NOW)  # the same fault is no news
    assert story.summary(db, run, Mode.CAPTURE).letters == {
        "unprepared": 0,
        "fault": 2,
        "prepared": 0,
        "withheld": 0,
    }
    prepare_all(db, run)
    assert story.summary(db, run, Mode.CAPTURE).letters["prepared"] == 1


def test_a_prepared_letter_is_never_prepared_again(db: Database) -> None:
    run = opened(db, letter("A"))
    [one] = letters.unprepared(db, run.id)
    prepare_all(db, run)
    late = Prepared(
        letter_id=one.id, pdf="other", pdf_sha256="3" * 64, docx_sha256="4" * 64, pages=4
    )
    assert not letters.record(db, run.id, late, now=NOW)
    assert not letters.record(db, run.id, Faulted(letter_id=one.id, reason="late"), now=NOW)
    found = story.find_letter(db, run, "a")
    assert found is not None
    assert (found.pdf, found.fault) == ("2020/A.pdf", None)


def test_a_letter_has_one_first_message_in_each_mode(db: Database, ready: Run) -> None:
    assert messages.plan(db, ready.id, CAPTURE, now=NOW) == 0
    assert messages.plan(db, ready.id, LIVE, now=NOW) == 2
    assert count(db, schema.messages) == 4
    assert count(db, schema.deliveries) == 8


def test_intent_and_outcome_wait_for_the_disk(db: Database, ready: Run) -> None:
    """A power cut may take a claim away, and then nobody was sent anything; not what follows."""
    asked = "PRAGMA synchronous" if db.is_sqlite else "SHOW synchronous_commit"
    waited: list[bool] = []

    def committing(connection: sa.Connection) -> None:
        found = connection.exec_driver_sql(asked).scalar_one()
        waited.append(str(found) in {"2", "on"})

    sa.event.listen(db.engine, "commit", committing)
    claimed = claim(db, ready)
    assert waited == [False]
    assert intend(db, claimed)
    assert settle(db, claimed, OK)
    assert waited == [False, True, True]


def test_what_was_captured_never_counts_as_sent(db: Database, ready: Run) -> None:
    for _ in range(4):
        claimed = claim(db, ready)
        assert intend(db, claimed)
        assert settle(db, claimed, OK)
    assert story.summary(db, ready, Mode.CAPTURE).deliveries["accepted"] == 4
    assert sum(story.summary(db, ready, Mode.LIVE).deliveries.values()) == 0
    assert story.to_send(db, ready, Mode.CAPTURE) == 0
    assert story.to_send(db, ready, Mode.LIVE) == 4
    assert {one.state for one in story.statuses(db, ready, Mode.LIVE)} == {"prepared"}
    assert {one.state for one in story.statuses(db, ready, Mode.CAPTURE)} == {"accepted"}


def test_redirected_mail_goes_to_one_inbox(db: Database) -> None:
    run = opened(db, letter("A"))
    prepare_all(db, run)
    redirect = Sender(
        address="letters@ombudsman.example", mode=Mode.REDIRECT, redirect_to="me@office.example"
    )
    assert story.to_send(db, run, Mode.REDIRECT) == 1
    assert messages.plan(db, run.id, redirect, now=NOW) == 1
    with db.read() as connection:
        assert connection.scalars(sa.select(schema.deliveries.c.recipient)).all() == [
            "me@office.example"
        ]


def at_once(work: Callable[[], None], threads: int = 4) -> list[BaseException]:
    errors: list[BaseException] = []
    start = threading.Barrier(threads)

    def one() -> None:
        try:
            start.wait()
            work()
        except BaseException as error:  # noqa: BLE001 - looked at by the test
            errors.append(error)

    running = [threading.Thread(target=one) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return errors


def test_planning_at_once_makes_each_message_once(db: Database) -> None:
    run = opened(db, *(letter(f"A{number}") for number in range(20)))
    prepare_all(db, run)
    made: list[int] = []
    assert at_once(lambda: made.append(messages.plan(db, run.id, CAPTURE, now=NOW))) == []
    assert sum(made) == 20
    assert count(db, schema.messages) == 20


def test_workers_at_once_never_claim_the_same_delivery(db: Database) -> None:
    run = opened(db, *(letter(f"A{number}") for number in range(20)))
    prepare_all(db, run)
    messages.plan(db, run.id, CAPTURE, now=NOW)
    claimed: list[int] = []

    def work() -> None:
        me = str(threading.get_ident())
        idle = 0
        while idle < 20:  # on PostgreSQL a row that another worker has locked is passed over
            found = deliveries.claim(db, run.id, Mode.CAPTURE, owner=me, lease=LEASE, now=NOW)
            if found is None:
                idle += 1
            else:
                claimed.append(found.delivery_id)

    assert at_once(work) == []
    assert len(claimed) == 40
    assert len(set(claimed)) == 40


def test_the_way_of_an_accepted_delivery(db: Database, ready: Run) -> None:
    claimed = claim(db, ready)
    assert claimed.attempt == 1
    assert state(db, claimed) == "claimed"
    assert intend(db, claimed)
    assert state(db, claimed) == "sending"
    assert settle(db, claimed, OK)
    assert state(db, claimed) == "accepted"
    told = story.story(db, claimed.letter_id)
    [made] = [one for one in told.deliveries if one["id"] == claimed.delivery_id]
    assert made["settled_at"] is not None
    assert made["attempts"][0]["queue_id"] == "X1"
    moves = [one for one in told.events if one["delivery"] == claimed.delivery_id]
    assert [(one["from"], one["to"]) for one in moves] == [
        ("queued", "claimed"),
        ("claimed", "sending"),
        ("sending", "accepted"),
    ]


@pytest.mark.parametrize(
    ("outcome", "after_intent", "expected"),
    [
        (Deferred(reply=Reply(code=451, text="later")), False, "queued"),
        (Deferred(reply=Reply(code=451, text="later")), True, "queued"),
        (Rejected(reply=Reply(code=550, text="no")), False, "rejected"),
        (Rejected(reply=Reply(code=550, text="no")), True, "rejected"),
        (NotTried(reason="no connection"), False, "queued"),
        (Lost(reason="dropped after the dot"), True, "in_doubt"),
    ],
)
def test_what_each_outcome_leads_to(
    db: Database, ready: Run, outcome: Any, after_intent: bool, expected: str
) -> None:
    claimed = claim(db, ready)
    if after_intent:
        assert intend(db, claimed)
    assert settle(db, claimed, outcome)
    assert state(db, claimed) == expected
    assert not settle(db, claimed, outcome)


def test_a_deferred_delivery_waits_for_its_time(db: Database, ready: Run) -> None:
    claimed = claim(db, ready)
    settle(db, claimed, Deferred(reply=Reply(code=451, text="greylisted")))
    taken = [claim(db, ready) for _ in range(3)]
    assert claimed.delivery_id not in [one.delivery_id for one in taken]
    assert deliveries.claim(db, ready.id, Mode.CAPTURE, owner="w", lease=LEASE, now=NOW) is None
    assert deliveries.next_due(db, ready.id, Mode.CAPTURE) == NOW + timedelta(minutes=5)
    again = claim(db, ready, now=NOW + timedelta(minutes=5))
    assert (again.delivery_id, again.attempt) == (claimed.delivery_id, 2)


def test_a_fenced_worker_writes_no_dot_and_changes_no_row(db: Database, ready: Run) -> None:
    stopped = claim(db, ready)
    later = NOW + LEASE + timedelta(seconds=1)
    assert deliveries.recover(db, ready.id, gone=lambda _owner: False, now=later) == 1
    assert state(db, stopped) == "queued"
    assert not intend(db, stopped)
    assert not settle(db, stopped, OK)
    taken = claim(db, ready, owner="another", now=later)
    while taken.delivery_id != stopped.delivery_id:
        taken = claim(db, ready, owner="another", now=later)
    assert taken.attempt == 2
    assert not intend(db, stopped)
    assert not intend(db, replace(stopped, owner="another"))  # right owner, old attempt
    assert intend(db, taken)
    assert not settle(db, stopped, OK)
    assert state(db, taken) == "sending"


def test_what_a_dead_worker_held_is_unsent_before_the_intent_and_in_doubt_after(
    db: Database, ready: Run
) -> None:
    before, after, alive = claim(db, ready, "dead"), claim(db, ready, "dead"), claim(db, ready)
    assert intend(db, after)
    moved = deliveries.recover(db, ready.id, gone=lambda owner: owner == "dead", now=NOW)
    assert moved == 2
    assert state(db, before) == "queued"
    assert state(db, after) == "in_doubt"
    assert state(db, alive) == "claimed"
    [doubt] = deliveries.doubts(db, ready.id, Mode.CAPTURE)
    assert (doubt.delivery_id, doubt.owner) == (after.delivery_id, "dead")
    assert deliveries.resolve(db, doubt, State.ACCEPTED, evidence="found", now=NOW)
    assert not deliveries.resolve(db, doubt, State.QUEUED, evidence="late", now=NOW)
    assert state(db, after) == "accepted"


@pytest.mark.usefixtures("ready")
def test_a_recipient_has_one_open_delivery_of_a_letter(db: Database) -> None:
    d = schema.deliveries
    with db.read() as connection:
        row = connection.execute(sa.select(d).limit(1)).one()
    copy = {
        "message_id": row.message_id + 1,
        "letter_id": row.letter_id,
        "mode": row.mode,
        "recipient": row.recipient,
        "state": "queued",
        "due_at": NOW,
    }
    with pytest.raises(sa.exc.IntegrityError), db.write() as connection:
        connection.execute(sa.insert(d).values(**copy))
    # in another mode, or once the first one is settled, it may be
    with db.write() as connection:
        connection.execute(sa.insert(d).values(**copy | {"mode": "live"}))


@pytest.mark.parametrize(
    "wrong",
    [
        {"state": "sent"},
        {"state": "claimed"},  # without an owner
        {"owner": "me", "lease_until": NOW},  # without being claimed
        {"state": "accepted"},  # without a time
        {"settled_at": NOW},  # while queued
        {"mode": "test"},
    ],
)
def test_the_database_refuses_impossible_deliveries(
    db: Database, ready: Run, wrong: dict[str, Any]
) -> None:
    with pytest.raises(sa.exc.IntegrityError), db.write() as connection:
        connection.execute(sa.update(schema.deliveries).values(**wrong))
    assert ready.year == 2020


def sent(db: Database, run: Run, mode: Mode = Mode.CAPTURE) -> None:
    while claimed := deliveries.claim(
        db, run.id, mode, owner="w", lease=LEASE, now=NOW + timedelta(days=1)
    ):
        assert intend(db, claimed)
        assert settle(db, claimed, OK)


def ask_again(
    db: Database,
    run: Run,
    *,
    code: str = "A",
    sender: Sender = CAPTURE,
    now: datetime = NOW,
    seen: int | None = None,
    **more: Any,
) -> Resent:
    found = story.find_letter(db, run, code)
    assert found is not None
    request = Request(**{"reason": "lost", "person": "tester"} | more)
    return messages.resend(db, found.id, sender, request, now=now, seen=seen)


def again(db: Database, run: Run, to: Any = None) -> int:
    """Another copy on purpose: the id of its message."""
    made = ask_again(db, run, to=to, again=True)
    assert made.new
    return made.id


def test_a_resend_is_a_new_message_linked_to_the_one_before(db: Database, ready: Run) -> None:
    sent(db, ready)
    first = again(db, ready, to=[{"address": "new@a.example", "kind": "to"}])
    sent(db, ready)
    second = again(db, ready)
    found = story.find_letter(db, ready, "A")
    assert found is not None
    told = story.story(db, found.id).messages
    assert [one["id"] for one in told[1:]] == [first, second]
    assert [one["resend_of"] for one in told] == [
        None,
        told[0]["message_id"],
        told[1]["message_id"],
    ]
    assert len({one["message_id"] for one in told}) == 3
    assert {(one["reason"], one["requested_by"]) for one in told[1:]} == {("lost", "tester")}
    assert [one["address"] for one in told[1]["recipients"]] == ["new@a.example"]


def test_a_resend_waits_until_earlier_deliveries_are_settled(db: Database, ready: Run) -> None:
    with pytest.raises(
        Refused, match=r"still on its way to chief@a\.example \(queued since 22 July"
    ):
        again(db, ready)
    sent(db, ready)
    again(db, ready)
    with pytest.raises(Refused, match="still on its way"):
        again(db, ready)


def test_a_letter_that_was_never_sent_cannot_be_sent_again(db: Database) -> None:
    run = opened(db, letter("A"))
    prepare_all(db, run)
    with pytest.raises(Refused, match="has not been sent in capture mode yet"):
        again(db, run)


def test_the_same_request_twice_is_one_message(db: Database, ready: Run) -> None:
    sent(db, ready)
    made: list[Resent] = []
    assert at_once(lambda: made.append(ask_again(db, ready, key="form-1"))) == []
    assert len({one.id for one in made}) == 1
    assert sorted(one.new for one in made) == [False, False, False, True]
    assert count(db, schema.messages) == 3


def test_a_key_names_one_request_of_one_letter_in_one_mode(db: Database, ready: Run) -> None:
    sent(db, ready)
    first = ask_again(db, ready, key="form-1")
    sent(db, ready)
    other = ask_again(db, ready, key="form-1", reason="another", again=True)
    assert (other.id, other.message_id, other.new) == (first.id, first.message_id, False)
    with pytest.raises(Refused, match=r"form-1 belongs .* letter of 2020 to A Council again, 22 J"):
        ask_again(db, ready, code="B", key="form-1")
    messages.plan(db, ready.id, LIVE, now=NOW)
    sent(db, ready, Mode.LIVE)
    live = ask_again(db, ready, sender=LIVE, key="form-1")  # what was captured is a rehearsal
    assert live.new
    assert live.id != first.id


def test_one_key_for_two_letters_at_once_is_taken_by_one(db: Database, ready: Run) -> None:
    sent(db, ready)
    codes = iter(["A", "B", "A", "B"])
    made: list[Resent] = []
    errors = at_once(lambda: made.append(ask_again(db, ready, code=next(codes), key="form-1")))
    assert [type(error) for error in errors] == [Refused, Refused]
    assert len({one.id for one in made}) == 1
    assert count(db, schema.messages) == 3


def test_the_same_asked_twice_on_a_day_is_one_message(db: Database, ready: Run) -> None:
    sent(db, ready)
    first = ask_again(db, ready)
    assert (first.new, first.unsent) == (True, True)
    unfinished = ask_again(db, ready)  # as after a crash: it is there, and was not sent
    assert (unfinished.id, unfinished.new, unfinished.unsent) == (first.id, False, True)
    sent(db, ready)
    second = ask_again(db, ready, reason=" lost ")
    assert (second.id, second.new, second.unsent) == (first.id, False, False)
    evening = datetime(2020, 7, 22, 22, 59, tzinfo=UTC)
    assert not ask_again(db, ready, now=evening).new
    night = evening + timedelta(minutes=1)  # midnight in London, not in Greenwich
    assert ask_again(db, ready, now=night).new


@pytest.mark.parametrize(
    "other",
    [
        {"reason": "another"},
        {"person": "somebody else"},
        {"to": [{"address": "new@a.example", "kind": "to"}]},
        {"again": True},
        {"key": "form-1"},
    ],
)
def test_another_request_is_another_message(
    db: Database, ready: Run, other: dict[str, Any]
) -> None:
    sent(db, ready)
    first = ask_again(db, ready)
    sent(db, ready)
    second = ask_again(db, ready, **other)
    assert second.new
    assert second.id != first.id
    # and which of them is meant by asking once more is clear
    sent(db, ready)
    assert ask_again(db, ready, **other | {"again": False}).id == second.id


def test_people_at_once_send_it_once(db: Database, ready: Run) -> None:
    sent(db, ready)
    people = iter(["Ann", "Bob", "Cas", "Dee"])
    made: list[Resent] = []
    errors = at_once(lambda: made.append(ask_again(db, ready, person=next(people))))
    assert len(made) == 1
    assert len(errors) == 3
    assert all("still on its way to" in str(error) for error in errors)
    assert count(db, schema.messages) == 3


def test_who_has_not_seen_the_latest_is_told(db: Database, ready: Run) -> None:
    sent(db, ready)
    seen = messages.read(db, 1).id
    ask_again(db, ready, person="Ann", seen=seen)
    sent(db, ready)
    with pytest.raises(Refused, match=r"Ann has sent the letter to A Council again meanwhile"):
        ask_again(db, ready, person="Bob", seen=seen)


@pytest.mark.parametrize("ended", ["rejected", "bounced", "expired", "cancelled"])
def test_a_request_that_reached_nobody_may_be_made_again(
    db: Database, ready: Run, ended: str
) -> None:
    d = schema.deliveries
    sent(db, ready)
    first = ask_again(db, ready)
    sent(db, ready)
    with db.write() as connection:
        [one, _other] = connection.scalars(sa.select(d.c.id).where(d.c.message_id == first.id))
        connection.execute(sa.update(d).where(d.c.id == one).values(state=ended))
    assert ask_again(db, ready).id == first.id  # whom it reached must not get it twice
    with db.write() as connection:
        connection.execute(sa.update(d).where(d.c.message_id == first.id).values(state=ended))
    second = ask_again(db, ready)
    assert second.new
    sent(db, ready)
    assert ask_again(db, ready).id == second.id


def test_what_hinders_sending_again_is_said_with_what_to_do(db: Database, ready: Run) -> None:
    found = story.find_letter(db, ready, "A")
    assert found is not None

    def hindered() -> str:
        said = hindrances.hindrance(db, found.id, Mode.CAPTURE)
        assert said is not None
        with pytest.raises(Refused) as refused:
            ask_again(db, ready)
        assert str(refused.value) == said
        return said

    assert "chief@a.example (queued since 22 July 2020, 09:00)" in hindered()
    assert "letters send 2020" in hindered()
    claimed = claim(db, ready)
    assert "chief@a.example (being sent since 22 July 2020, 09:00)" in hindered()
    intend(db, claimed)
    settle(db, claimed, Lost(reason="dropped"))
    message_id = messages.read(db, claimed.message_id).message_id
    assert f"chief@a.example (since 22 July 2020, 09:00, Message-ID {message_id})" in hindered()
    assert "Settle it first" in hindered()
    assert "link@a.example (queued" in hindered()
    holds.pause(db, ready, because="wrong averages", person="Ann", now=NOW)
    assert "paused, by Ann since 22 July 2020, 09:00: wrong averages" in hindered()
    assert hindered().endswith("letters resume 2020")
    holds.resume(db, ready, person="Ann", now=NOW)
    sent(db, ready)
    [doubt] = deliveries.doubts(db, ready.id, Mode.CAPTURE)
    deliveries.resolve(db, doubt, State.ACCEPTED, evidence="found", now=NOW)
    assert hindrances.hindrance(db, found.id, Mode.CAPTURE) is None
    holds.withhold(db, ready, found.id, because="wrong", person="Ann", now=NOW)
    assert "is withheld (wrong)" in hindered()
    assert hindered().endswith("letters resume A --year 2020")


def test_letters_without_a_file_cannot_be_sent_again(db: Database) -> None:
    run = opened(db, letter("A"), letter("B", fault="no address"))
    with pytest.raises(Refused, match="to A Council to send again: it has not been made yet"):
        ask_again(db, run)
    with pytest.raises(Refused, match="to B Council to send again: no address"):
        ask_again(db, run, code="B")


@pytest.mark.parametrize(
    ("column", "value", "part"),
    [
        ("pdf_sha256", "9" * 64, "pdf"),
        ("recipients", [{"address": "other@a.example"}], "recipients"),
    ],
)
def test_an_approval_is_void_once_anything_changes(
    db: Database, column: str, value: object, part: str
) -> None:
    run = opened(db)
    prepare_all(db, run)
    ann: dict[str, Any] = {"person": "Ann", "login": "ann", "now": NOW}
    first = approvals.approve(db, run, **ann)
    again = approvals.approve(db, run, **ann)
    assert (first.new, again.new, again.digest) == (2, 0, first.digest)
    assert approvals.approvers(db, run) == ["Ann"]
    assert approvals.digest(db, run) == (first.digest, 2)
    change(db, "A", **{column: value})
    assert approvals.approvers(db, run) == []
    standing = approvals.standing(db, run, 1, Mode.LIVE)
    assert (standing.wanted, standing.lacking, standing.approved) == (1, 1, 1), "B's own stays"
    [lost] = approvals.voided(db, run)
    assert (lost.authority, lost.person, lost.because) == ("A", "Ann", [part])
    assert approvals.void_changed(db, run, (), now=NOW) == 1
    assert approvals.void_changed(db, run, (), now=NOW) == 0
    assert approvals.voided(db, run) == [lost]
    second = approvals.approve(db, run, **ann)
    assert (second.new, second.digest == first.digest) == (1, False)
    assert approvals.approvers(db, run) == ["Ann"]
    assert approvals.voided(db, run) == []


def change(db: Database, code: str, **values: object) -> None:
    table = schema.letters
    with db.write() as connection:
        connection.execute(sa.update(table).where(table.c.authority_code == code).values(**values))


def test_at_the_last_moment_every_part_of_the_letter_is_what_was_approved(db: Database) -> None:
    run = opened(db)
    prepare_all(db, run)
    approvals.approve(db, run, person="Ann", login="ann", now=NOW)
    table = schema.letters
    with db.read() as connection:
        a, b = connection.scalars(sa.select(table.c.id).order_by(table.c.authority_code))

    def looked_at(letter_id: int) -> list[str]:
        return approvals.recheck(db, run, letter_id, 1, (), now=NOW)

    assert looked_at(a) == looked_at(b) == []
    change(db, "A", fields={"salutation": "Dear somebody else"})
    assert approvals.approvers(db, run) == ["Ann"], "a text is read only when it is sent"
    assert looked_at(a) == ["letter"]
    assert looked_at(b) == []
    assert approvals.approvers(db, run) == []
    assert [one.because for one in approvals.voided(db, run)] == [["letter"]]
    assert approvals.lacking(db, a, run, 1) == 1
    assert approvals.lacking(db, b, run, 1) == 0
    assert looked_at(a) == ["letter"], "it is not approved any more"


def test_one_login_is_one_person_and_one_name_is_of_one_login(db: Database) -> None:
    run = opened(db)
    prepare_all(db, run)
    for name in ("Ann  Other", "Anna", "Ann Other"):
        approvals.approve(db, run, person=name, login="ann", now=NOW)
    with pytest.raises(Refused, match=r"Ann Other has approved .* logged in as ann; .* as ben"):
        approvals.approve(db, run, person="ann OTHER", login="ben", now=NOW)
    assert approvals.standing(db, run, 2, Mode.LIVE).wanted == 1
    approvals.approve(db, run, person="Ben", login="ben", now=NOW)
    assert approvals.approvers(db, run) == ["Ann Other", "Ben"]
    assert count(db, schema.approvals) == 2
    assert count(db, schema.approved_letters) == 4
    assert approvals.standing(db, run, 2, Mode.LIVE).wanted == 0


def test_an_approval_of_what_was_looked_at_and_of_some_letters_only(db: Database) -> None:
    run = opened(db, letter("A"), letter("B"), letter("C"))
    prepare_all(db, run)
    root, number = approvals.digest(db, run)
    assert number == 3
    assert [code for code, _ in approvals.leaves(db, run)] == ["A", "B", "C"]
    with pytest.raises(Refused, match=r"their digest is .* Nothing was approved.*letters proof"):
        approvals.approve(db, run, person="Ann", login="ann", now=NOW, seen="0" * 8)
    assert count(db, schema.approvals) == count(db, schema.approved_letters) == 0
    one = approvals.approve(db, run, person="Ann", login="ann", now=NOW, codes=["B"])
    assert (one.letters, one.new, one.digest == root) == (1, 1, False)
    standing = approvals.standing(db, run, 1, Mode.LIVE)
    assert (standing.wanted, standing.lacking, standing.approved) == (1, 2, 1)
    whole = approvals.approve(db, run, person="Ann", login="ann", now=NOW, seen=root[:8])
    assert (whole.letters, whole.new, whole.digest) == (3, 2, root)


def test_only_what_is_approved_is_planned_and_claimed(db: Database) -> None:
    run = opened(db, letter("A"), letter("B"))
    prepare_all(db, run)
    assert messages.plan(db, run.id, LIVE, now=NOW, people=1) == 0
    approvals.approve(db, run, person="Ann", login="ann", now=NOW, codes=["B"])
    assert messages.plan(db, run.id, LIVE, now=NOW, people=1) == 1
    assert messages.plan(db, run.id, LIVE, now=NOW) == 1, "while none is asked for"

    def claimed(people: int) -> str | None:
        found = deliveries.claim(
            db, run.id, Mode.LIVE, owner="w", lease=LEASE, now=NOW, people=people
        )
        return found.authority_code if found else None

    assert [claimed(1) for _ in range(3)] == ["B", "B", None]
    assert claimed(0) == "A"
    approvals.approve(db, run, person="Ben", login="ben", now=NOW)
    assert claimed(2) is None
    approvals.approve(db, run, person="Ann", login="ann", now=NOW)
    assert claimed(2) == "A"


def test_what_is_not_made_yet_cannot_be_approved(db: Database) -> None:
    run = opened(db, letter("A"), letter("B"), letter("C", fault="no address"))
    with pytest.raises(Refused, match=r"2 letters of 2020 have not.*letters prepare 2020"):
        approvals.approve(db, run, person="Ann", login="ann", now=NOW)
    assert approvals.approvers(db, run) == []
    table = schema.letters
    with db.write() as connection:
        connection.execute(
            sa.update(table)
            .where(table.c.authority_code == "A")
            .values(withheld_at=NOW, withheld_because="wrong")
        )
    with pytest.raises(Refused, match=r"1 letter of 2020 has not"):
        approvals.approve(db, run, person="Ann", login="ann", now=NOW)
    prepare_all(db, run)
    approvals.approve(db, run, person="Ann", login="ann", now=NOW)
    assert approvals.approvers(db, run) == ["Ann"]


def test_a_cancelled_year_says_who_when_and_why(db: Database, ready: Run) -> None:
    assert hindrances.cancelled(db, 2020) is None
    holds.cancel(db, ready, because="the averages are wrong", person="Ann", now=NOW)
    said = hindrances.cancelled(db, 2020)
    assert said is not None
    assert said.startswith("The letters of 2020 were cancelled by Ann on ")
    assert said.endswith(": the averages are wrong.")
    opened(db)
    assert hindrances.cancelled(db, 2020) is None


def test_messages_are_frozen_once(db: Database, ready: Run) -> None:
    message = messages.read(db, claim(db, ready).message_id)
    assert messages.freeze(db, message, dated=NOW, eml="a.eml", eml_sha256="1" * 64)
    assert not messages.freeze(db, message, dated=NOW, eml="b.eml", eml_sha256="2" * 64)
    assert messages.read(db, message.id).eml == "a.eml"


def test_a_letters_state_is_its_latest_messages_most_pressing_delivery(
    db: Database, ready: Run
) -> None:
    one, two = claim(db, ready), claim(db, ready)
    assert one.letter_id == two.letter_id
    assert intend(db, one)
    assert settle(db, one, OK)
    assert settle(db, two, Rejected(reply=Reply(code=550, text="unknown")))
    by_code = {one.authority: one for one in story.statuses(db, ready, Mode.CAPTURE)}
    assert by_code["A"].state == "rejected"
    assert by_code["A"].needs_a_person
    assert by_code["B"].state == "queued"
    summary = story.summary(db, ready, Mode.CAPTURE)
    assert sum(summary.deliveries.values()) == 4
    assert (summary.needs_a_person, summary.unfinished) == (1, 2)
    again(db, ready, to=[{"address": "right@a.example", "kind": "to"}])
    sent(db, ready)
    by_code = {one.authority: one for one in story.statuses(db, ready, Mode.CAPTURE)}
    assert by_code["A"].state == "accepted"
    assert list(by_code["A"].recipients) == ["right@a.example"]
    summary = story.summary(db, ready, Mode.CAPTURE)
    assert summary.deliveries["rejected"] == 1
    assert summary.needs_a_person == 0
