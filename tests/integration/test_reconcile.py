"""A real ledger, corrupted in each way: exactly that is found, and nothing in one that is well."""

import gc
import hashlib
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from pipeline import schema
from pipeline.archive import Archive
from pipeline.audit import Kind
from pipeline.database import Database
from pipeline.delivery import Accepted, Lost, Mode, Patience, Rejected, Reply, State
from pipeline.dispatch import Outbox
from pipeline.display.reconciliation import Tally
from pipeline.ledger import approvals, deliveries, holds, letters, messages, relays, runs, starts
from pipeline.ledger.deliveries import Claim
from pipeline.ledger.letters import Faulted, Prepared
from pipeline.ledger.runs import Run
from pipeline.reconciliation import Finding, Matter, Weight, reconcile
from pipeline.run import Pipeline, template_name
from pipeline.schema import Step
from tests.integration.test_audit import OPENED, TEMPLATE, Office, Watched
from tests.integration.test_ledger import LEASE, LIVE, NOW, letter

OK = Accepted(reply=Reply(code=250, text="queued as X1"), queue_id="X1")
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
SOON = NOW + timedelta(minutes=10)
D, M, L, A = schema.deliveries, schema.messages, schema.letters, schema.attempts


@dataclass(frozen=True, slots=True)
class Site:
    """A ledger, its archive, and a pipeline over both in live mode."""

    office: Office
    run: Run
    pipeline: Pipeline

    @property
    def db(self) -> Database:
        return self.office.db

    def claim(self) -> Claim | None:
        return deliveries.claim(
            self.db, self.run.id, Mode.LIVE, owner="worker", lease=LEASE, now=NOW
        )

    def intend(self, claimed: Claim) -> None:
        assert deliveries.intend(
            self.db, claimed, relay="127.0.0.1:25", local_port=1, lease=LEASE, now=NOW
        )

    def send_all(self) -> None:
        """Claim, freeze, intend, accepted: every delivery there is."""
        while claimed := self.claim():
            self.freeze(claimed.message_id)
            self.intend(claimed)
            assert deliveries.settle(self.db, claimed, OK, now=NOW)

    def freeze(self, message_id: int) -> None:
        message = messages.read(self.db, message_id)
        if message.eml is None:
            data = f"Message-ID: {message.message_id}\n\nText".encode()
            sha256 = hashlib.sha256(data).hexdigest()
            name = f"2020/messages/{message.authority_code}.{sha256[:12]}.eml"
            self.pipeline.archive.put(name, data)
            assert messages.freeze(self.db, message, dated=NOW, eml=name, eml_sha256=sha256)

    def change(self, statement: sa.Executable) -> None:
        """What no command would do."""
        with self.db.write() as connection:
            assert connection.execute(statement).rowcount

    def found(self, now: datetime = SOON, *, files: bool = True) -> list[Finding]:
        return list(reconcile(self.pipeline, None, now=now, progress=Watched(), read_files=files))

    def one(self, now: datetime = SOON, *, files: bool = False) -> Finding:
        [found] = self.found(now, files=files)
        return found

    def matters(self, now: datetime = SOON, *, files: bool = False) -> list[Matter]:
        return [one.matter for one in self.found(now, files=files)]

    def first(self, column: Any) -> Any:
        with self.db.read() as connection:
            return connection.scalar(sa.select(column).order_by(column).limit(1))


def pipeline_of(office: Office, **changes: Any) -> Pipeline:
    outbox = Outbox(
        sender=LIVE, relay=None, maildir=office.folder / "captured", patience=Patience(times=3)
    )
    return Pipeline(
        ledger=office.db,
        statistics=office.db,
        archive=office.archive,
        template=Path("letter.docx"),
        wording=Path(),
        outbox=replace(outbox, **changes),
        people=0,
    )


@pytest.fixture
def planned(db: Database, tmp_path: Path) -> Site:
    """Two letters made and planned, each to two people, and one that could not be composed."""
    office = Office(db=db, archive=Archive(str(tmp_path / "archive")), folder=tmp_path / "archive")
    composed = [letter("A"), letter("B"), letter("Z", "It has no address.")]
    runs.open_run(db, OPENED, composed, person="tester", now=NOW)
    run = runs.find_run(db, 2020)
    assert run is not None
    office.archive.put(template_name(OPENED.template_sha256), TEMPLATE)
    office.make(run)
    messages.plan(db, run.id, LIVE, now=NOW)
    return Site(office, run, pipeline_of(office))


@pytest.fixture
def site(planned: Site) -> Site:
    """The same, sent: every delivery accepted."""
    planned.send_all()
    return planned


def test_a_ledger_that_is_well(site: Site) -> None:
    assert site.found() == []
    assert site.found(NOW + 400 * DAY) == []
    assert list(reconcile(site.pipeline, 1999, now=NOW, progress=Watched())) == [], "another year"


def test_one_that_is_being_worked_on_is_well_too(planned: Site) -> None:
    assert planned.found() == [], "queued"
    claimed = planned.claim()
    assert claimed is not None
    assert planned.found() == [], "claimed"
    planned.freeze(claimed.message_id)
    planned.intend(claimed)
    assert planned.found() == [], "about to write the dot"


def test_every_delivery_that_is_not_where_its_events_lead(site: Site) -> None:
    first = site.first(D.c.id)
    site.change(sa.update(D).where(D.c.id == first).values(state=State.DELIVERED.value))
    found = site.one(files=True)
    assert (found.matter, found.weight) == (Matter.STATE, Weight.FAULT)
    assert found.thing == (
        "The live delivery to chief@a.example of the letter of 2020 to A Council (A)"
    )
    assert found.place.startswith(str(site.db))
    assert found.place.endswith(f", delivery {first}")
    assert found.found == "It is on record as delivered, and its events say accepted."
    assert "letters show A --year 2020" in found.fix


def test_events_that_fit_nothing(site: Site) -> None:
    first = site.first(D.c.id)
    letter_id = site.first(L.c.id)
    for data in (
        {"from": "accepted", "to": "queued"},
        {"from": "accepted", "to": "lost in the post"},
        {"said": "nothing"},
    ):
        site.change(
            sa.insert(schema.events).values(
                kind="delivery_moved", at=NOW, letter_id=letter_id, delivery_id=first, data=data
            )
        )
        found = site.one()
        assert found.matter is Matter.STATE
        assert "its events do not fit together" in found.found


def _no_end(site: Site) -> None:
    first = site.first(A.c.id)
    site.change(sa.update(A).where(A.c.id == first).values(ended_at=None, outcome=None))


def _no_attempt(site: Site) -> None:
    site.change(sa.delete(A).where(A.c.id == site.first(A.c.id)))


def _unfrozen(site: Site) -> None:
    first = site.first(M.c.id)
    site.change(sa.update(M).where(M.c.id == first).values(dated=None, eml=None, eml_sha256=None))


def _frozen_anew(site: Site) -> None:
    site.change(sa.update(M).where(M.c.id == site.first(M.c.id)).values(eml_sha256="f" * 64))


def _unprepared(site: Site) -> None:
    nothing = dict.fromkeys(("pdf", "pdf_sha256", "pages", "prepared_at"))
    site.change(sa.update(L).where(L.c.id == site.first(L.c.id)).values(**nothing))


def _made_anew(site: Site) -> None:
    site.change(sa.update(L).where(L.c.id == site.first(L.c.id)).values(pdf_sha256="f" * 64))


def _one_more_recipient(site: Site) -> None:
    site.change(
        sa.update(M)
        .where(M.c.id == site.first(M.c.id))
        .values(recipients=[{"address": f"{one}@a.example"} for one in ("chief", "link", "third")])
    )


def _another_recipient(site: Site) -> None:
    first = site.first(D.c.id)
    site.change(sa.update(D).where(D.c.id == first).values(recipient="other@a.example"))


def _letter_gone(site: Site) -> None:
    site.change(sa.delete(L).where(L.c.authority_code == "Z"))


@pytest.mark.parametrize(
    ("corrupt", "matter", "said"),
    [
        (_no_end, Matter.ATTEMPT, "nothing is on record of what came of it"),
        (_no_attempt, Matter.ATTEMPT, "It has been tried once, and 0 attempts are on record."),
        (_unfrozen, Matter.FROZEN, "It was frozen, and its bytes are not on record any more."),
        (_frozen_anew, Matter.FROZEN, "Other bytes are on record"),
        (_unprepared, Matter.PREPARED, "It was made, and no file is on record."),
        (_made_anew, Matter.PREPARED, "another file than that is on record"),
        (_one_more_recipient, Matter.PLAN, "It was planned for 3 people, and has 2 deliveries."),
        (_another_recipient, Matter.PLAN, "It was planned for 2 people, and has 2 deliveries."),
        (_letter_gone, Matter.PLAN, "It was opened with 3 letters, and 2 are on record."),
    ],
)
def test_what_the_record_says_twice_and_not_the_same(
    site: Site, corrupt: Callable[[Site], None], matter: Matter, said: str
) -> None:
    corrupt(site)
    found = site.one()
    assert (found.matter, found.weight) == (matter, Weight.FAULT)
    assert said in found.found
    assert found.place.startswith(f"{site.db}, run {site.run.id}")


def test_a_message_about_to_be_sent_that_was_never_frozen(planned: Site) -> None:
    claimed = planned.claim()
    assert claimed is not None
    planned.intend(claimed)
    found = planned.one()
    assert found.matter is Matter.FROZEN
    assert "its bytes were never put on record" in found.found
    assert f", message {claimed.message_id}" in found.place


def test_files_that_are_missing_altered_or_unknown(site: Site) -> None:
    site.office.path(Kind.LETTER, "A").unlink()
    site.office.path(Kind.MESSAGE, "B").write_bytes(b"other")
    stray = site.office.folder / "2020" / "messages" / "X.0123456789ab.eml"
    stray.write_bytes(b"Message-ID: <never@ombudsman.example>\n\nText")
    lost, altered, strange = site.found()
    assert (lost.matter, altered.matter, strange.matter) == (
        Matter.FILE,
        Matter.FILE,
        Matter.STRANGER,
    )
    assert lost.authority == "A"
    assert altered.authority == "B"
    assert strange.place == str(stray)
    assert site.found(files=False) == []


def test_what_was_left_in_the_middle(planned: Site) -> None:
    before = planned.claim()
    after = planned.claim()
    assert before is not None
    assert after is not None
    planned.freeze(after.message_id)
    planned.intend(after)
    assert planned.found(NOW + HOUR, files=False) == []
    claimed, sending = planned.found(NOW + 2 * HOUR, files=False)
    assert (claimed.matter, claimed.weight) == (Matter.ABANDONED, Weight.WARNING)
    assert "(claimed)" in claimed.found
    assert "certainly unsent" in claimed.fix
    assert "(sending)" in sending.found
    assert "in doubt" in sending.fix
    assert "letters send 2020" in sending.fix


def test_old_doubts(planned: Site) -> None:
    claimed = planned.claim()
    assert claimed is not None
    planned.freeze(claimed.message_id)
    planned.intend(claimed)
    assert deliveries.settle(planned.db, claimed, Lost(reason="time-out"), now=NOW)
    planned.send_all()
    assert planned.found(NOW + 23 * HOUR) == []
    found = planned.one(NOW + 2 * DAY)
    assert found.matter is Matter.DOUBT
    assert "22 July 2020 09:00" in found.found, "London time"
    assert "letters resolve A --year 2020" in found.fix


def test_a_letter_that_was_made_and_never_planned(site: Site) -> None:
    late = letter("Y")
    with site.db.write() as connection:
        id_ = connection.execute(
            sa.insert(L)
            .values(
                run_id=site.run.id,
                authority_code="Y",
                authority_name=late.authority_name,
                kind="district",
                revision=2,  # one that came later: it is not among those the run was opened with
                replaces_id=sa.select(sa.func.min(L.c.id)).scalar_subquery(),
                reissued_because="miscounted",
                reissued_by="Ann",
                figures={},
                fields={},
                recipients=late.recipients,
            )
            .returning(L.c.id)
        ).scalar_one()
    assert site.found(NOW + DAY, files=False) == [], "not made yet"
    letters.record(site.db, site.run.id, Faulted(letter_id=id_, reason="no"), now=NOW)
    assert site.found(NOW + DAY, files=False) == [], "it could not be made"
    made = Prepared(
        letter_id=id_, pdf="2020/Y.pdf", pdf_sha256="1" * 64, docx_sha256="2" * 64, pages=1
    )
    assert letters.record(site.db, site.run.id, made, now=NOW)
    assert site.found(NOW + 2 * HOUR, files=False) == [], "it waits for approval"
    sender = site.pipeline.outbox.sender.identity
    approvals.approve(site.db, site.run, person="Ann", login="ann", now=NOW, sender=sender)
    assert site.found(NOW + HOUR / 2, files=False) == [], "it may be planned at this moment"
    found = site.one(NOW + 2 * HOUR)
    assert (found.matter, found.authority) == (Matter.UNSENT, "Y")
    assert "letters send 2020" in found.fix
    site.change(sa.update(L).where(L.c.id == id_).values(withheld_at=NOW, withheld_because="wait"))
    assert site.found(NOW + 2 * HOUR, files=False) == []


def test_an_approved_run_that_nobody_sent(db: Database, tmp_path: Path) -> None:
    office = Office(db=db, archive=Archive(str(tmp_path / "archive")), folder=tmp_path / "archive")
    opening = replace(OPENED, edition={"year": 2020, "dispatch_at": NOW.isoformat()})
    run = office.open("A", opening=opening)
    office.make(run)
    pipeline = replace(pipeline_of(office), people=1)
    site = Site(office, run, pipeline)
    assert site.found(NOW + 2 * DAY) == [], "it waits for approval, which is no secret"
    approvals.approve(db, run, person="Ann Other", login="ann other", now=NOW, sender=LIVE.identity)
    assert site.found(NOW + HOUR) == []
    found = site.one(NOW + 2 * DAY)
    assert found.matter is Matter.UNSENT
    assert "They are approved and were to be sent 22 July 2020 09:00" in found.found
    assert replace(site, pipeline=replace(pipeline, people=0)).found(NOW + 2 * DAY) == []


def test_an_approved_letter_is_missed_though_others_wait_for_approval(
    db: Database, tmp_path: Path
) -> None:
    office = Office(db=db, archive=Archive(str(tmp_path / "archive")), folder=tmp_path / "archive")
    opening = replace(OPENED, edition={"year": 2020, "dispatch_at": NOW.isoformat()})
    run = office.open("A", "B", "C", opening=opening)
    office.make(run)
    site = Site(office, run, replace(pipeline_of(office), people=1))
    by_ann = partial(
        approvals.approve, db, run, person="Ann", login="ann", sender=LIVE.identity, now=NOW
    )
    by_ann(codes=["A", "B"])
    found = site.one(NOW + 2 * DAY)
    assert found.matter is Matter.UNSENT
    assert "2 of them are approved and were to be sent 22 July 2020 09:00" in found.found

    messages.plan(db, run.id, LIVE, now=NOW, people=1)
    unsent = site.found(NOW + 2 * DAY, files=False)
    assert [(one.matter, one.authority) for one in unsent] == [
        (Matter.OVERDUE, "A"),
        (Matter.OVERDUE, "A"),
        (Matter.OVERDUE, "B"),
        (Matter.OVERDUE, "B"),
    ]
    site.send_all()
    assert site.found(NOW + 2 * DAY, files=False) == [], "the third still waits"

    by_ann(codes=["C"])
    found = site.one(NOW + 2 * DAY)
    assert (found.matter, found.authority) == (Matter.UNSENT, "C")
    assert "It is made, and has no message in live mode" in found.found


def settled_while_it_was_sent(planned: Site, target: State, evidence: str) -> Claim:
    """A delivery whose worker was given up, and the doubt settled; the worker may still answer."""
    claimed = planned.claim()
    assert claimed is not None
    planned.freeze(claimed.message_id)
    planned.intend(claimed)
    deliveries.recover(planned.db, claimed.run_id, gone=lambda _: True, now=NOW)
    [doubt] = deliveries.doubts(planned.db, claimed.run_id, Mode.LIVE)
    assert deliveries.resolve(planned.db, doubt, target, evidence=evidence, now=NOW)
    planned.send_all()
    return claimed


def test_what_was_taken_after_it_was_given_up(planned: Site) -> None:
    claimed = settled_while_it_was_sent(planned, State.CANCELLED, "by post")
    refused = Rejected(reply=Reply(code=550, text="no"))
    deliveries.answer_late(planned.db, claimed, refused, now=NOW)
    assert planned.found(files=False) == []
    assert deliveries.answer_late(planned.db, claimed, OK, now=NOW) is None
    found = planned.one()
    assert (found.matter, found.weight) == (Matter.LATE_ANSWER, Weight.NOTE)
    assert "250 queued as X1" in found.found
    assert "it was given up" in found.found
    assert claimed.recipient in found.thing


def test_what_was_taken_as_is_known_already_is_no_gap(planned: Site) -> None:
    claimed = settled_while_it_was_sent(planned, State.ACCEPTED, "its log")
    assert deliveries.answer_late(planned.db, claimed, OK, now=NOW) is None
    assert planned.found(files=False) == []


def test_what_is_due_and_nobody_tries(planned: Site) -> None:
    assert planned.found(NOW + DAY / 2) == []
    later = NOW + 2 * DAY
    assert planned.matters(later) == [Matter.OVERDUE] * 4
    elsewhere = pipeline_of(planned.office, sender=replace(LIVE, mode=Mode.CAPTURE))
    found = replace(planned, pipeline=elsewhere).found(later, files=False)[0]
    assert "mail.mode is capture now" in found.fix


def _paused(site: Site) -> Site:
    assert holds.pause(site.db, site.run, because="wait", person="tester", now=NOW)
    return site


def _other_domains(site: Site) -> Site:
    return replace(site, pipeline=pipeline_of(site.office, only_to=("other.example",)))


def _awaiting(site: Site) -> Site:
    return replace(site, pipeline=replace(site.pipeline, people=1))


def _withheld(site: Site) -> Site:
    holds.withhold_unsent(site.db, site.run, because="wait", person="tester", now=NOW)
    return site


@pytest.mark.parametrize("hold", [_paused, _other_domains, _awaiting, _withheld])
def test_what_is_held_back_is_not_forgotten(planned: Site, hold: Callable[[Site], Site]) -> None:
    assert hold(planned).found(NOW + 2 * DAY, files=False) == []


def test_a_relay_in_trouble_for_days(planned: Site) -> None:
    relays.fails(planned.db, "relay.example port 25", reason="away", chance=0.5, now=NOW)
    half = NOW + DAY / 2
    relays.fails(planned.db, "relay.example port 25", reason="away", chance=0.5, now=half)
    assert planned.found(half, files=False) == []
    last = NOW + 2 * DAY
    relays.fails(planned.db, "relay.example port 25", reason="away", chance=0.5, now=last)
    found = planned.one(last)
    assert (found.matter, found.thing) == (Matter.RELAY, "The relay relay.example port 25")
    after = last + 2 * DAY
    assert planned.matters(after) == [Matter.OVERDUE] * 4, "nobody has tried it since"


def test_a_start_without_an_end(planned: Site) -> None:
    planned.send_all()

    def take(step: Step, at: datetime) -> starts.Hold:
        hold = starts.take(
            planned.db,
            2020,
            step,
            Mode.LIVE,
            due_at=NOW,
            owner="server",
            lease=LEASE,
            gone=lambda _owner: False,
            now=at,
        )
        assert hold is not None
        return hold

    hold = take(Step.DISPATCH, NOW)
    assert starts.release(planned.db, hold)
    assert planned.found(NOW + 3 * DAY, files=False) == [], "a relay may put off for so long"
    late = NOW + 5 * DAY
    found = planned.one(late)
    assert found.matter is Matter.START
    assert "start dispatch of 2020, live mode" in found.place
    hold = take(Step.DISPATCH, late)
    assert planned.found(late, files=False) == [], "somebody is at work on it"
    assert starts.done(planned.db, hold, run_id=planned.run.id, now=late)
    assert planned.found(late + DAY, files=False) == []
    assert starts.release(planned.db, take(Step.PREPARE, NOW))
    assert planned.matters(NOW + 2 * DAY) == [Matter.START]
    assert _paused(planned).found(NOW + 2 * DAY, files=False) == []


def test_silence_where_reports_are_read_is_worth_knowing_and_no_more(site: Site) -> None:
    later = NOW + 8 * DAY
    assert site.found(later, files=False) == [], "no reports are asked for"
    asking = pipeline_of(site.office, notify=("SUCCESS", "FAILURE", "DELAY"))
    asking_site = replace(site, pipeline=asking)
    assert asking_site.found(NOW + 6 * DAY, files=False) == []
    found = asking_site.one(later)
    assert (found.matter, found.weight) == (Matter.SILENCE, Weight.NOTE)
    assert found.thing == "4 deliveries of 2020"
    assert "No mail that came back has ever been read." in found.found
    with site.db.write() as connection:
        ids = connection.scalars(sa.select(D.c.id)).all()
        for id_ in ids[1:]:
            connection.execute(
                sa.insert(schema.reports).values(
                    once=f"report {id_}",
                    delivery_id=id_,
                    noted_at=NOW,
                    kind="delivered",
                    matched_by="relay_log",
                    status="2.0.0",
                    said="",
                    remote="mx.a.example",
                )
            )
    assert asking_site.one(later).thing == "1 delivery of 2020"
    tally = Tally()
    tally.take(asking_site.found(later, files=False))
    assert not tally.is_wrong


def test_the_worst_comes_first(site: Site) -> None:
    _no_end(site)
    site.change(
        sa.update(D).where(D.c.id == site.first(D.c.id)).values(state=State.DELIVERED.value)
    )
    _one_more_recipient(site)
    site.office.path(Kind.LETTER, "B").unlink()
    found = site.found()
    order = list(Matter)
    assert [order.index(one.matter) for one in found] == sorted(
        order.index(one.matter) for one in found
    )
    assert len(found) == 4


def test_many_letters_take_no_more_memory_than_few(db: Database, tmp_path: Path) -> None:
    office = Office(db=db, archive=Archive(str(tmp_path / "archive")), folder=tmp_path / "archive")

    def fill(first: int, many: int) -> None:
        with db.write() as connection:
            rows = [
                {
                    "run_id": run.id,
                    "authority_code": f"M{number}",
                    "authority_name": "Much",
                    "kind": "district",
                    "figures": {},
                    "fields": {},
                    "recipients": [{"address": f"chief@m{number}.example"}],
                }
                for number in range(first, first + many)
            ]
            ids = connection.scalars(sa.insert(L).returning(L.c.id), rows).all()
            connection.execute(
                sa.insert(M),
                [
                    {
                        "letter_id": id_,
                        "mode": "live",
                        "message_id": f"<{id_}@ombudsman.example>",
                        "created_at": NOW,
                        "envelope_sender": "letters@ombudsman.example",
                        "recipients": row["recipients"],
                    }
                    for id_, row in zip(ids, rows, strict=True)
                ],
            )
            connection.execute(
                sa.text(
                    "INSERT INTO deliveries"
                    " (message_id, letter_id, mode, recipient, domain, state, due_at, settled_at)"
                    " SELECT m.id, m.letter_id, 'live', 'x@m.example', 'm.example', 'accepted',"
                    " m.created_at, m.created_at FROM messages m"
                    " WHERE NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.message_id = m.id)"
                )
            )

    run = office.open()
    site = Site(office, run, pipeline_of(office))

    def most() -> tuple[int, int]:
        """What it holds on to at most, and how much it finds: every delivery and every message."""
        held, number = 0, 0
        tracemalloc.start()
        for number, _ in enumerate(_findings(site), start=1):
            if number % 1000 == 0:
                gc.collect()  # else it is chance how much rubbish is waiting
                held = max(held, tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
        return held, number

    fill(0, 1000)
    most()  # what is kept for good, such as compiled statements
    few, found_few = most()
    fill(1000, 2500)
    many, found_many = most()
    assert found_few == 2 * 1000 + 1, "each not where its events lead, and with another recipient"
    assert found_many == 2 * 3500 + 1
    assert many < few + 1_000_000, "five thousand findings take several times that"


def _findings(site: Site) -> Iterator[Finding]:
    return reconcile(site.pipeline, None, now=NOW, progress=Watched(), read_files=False)
