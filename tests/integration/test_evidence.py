"""What came back, brought to the deliveries it speaks of: in any order, again and again, forged."""

import hashlib
import itertools
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from pipeline import evidence, home, schedule, schema
from pipeline.archive import Archive
from pipeline.checks import Check, returned
from pipeline.checks import Kind as Finding
from pipeline.checks.found import guarded
from pipeline.database import Database
from pipeline.delivery import Accepted, Lost, Mode, Rejected, Reply, State
from pipeline.dispatch import Outbox
from pipeline.envelope import Forged, ReturnAddress, Token
from pipeline.errors import Misconfigured, Refused, Unavailable
from pipeline.evidence import Reading, Sources
from pipeline.highwater import MarkFile
from pipeline.ledger import counts, deliveries, holds, messages, reports
from pipeline.ledger.deliveries import Claim
from pipeline.ledger.letters import Faulted, FrozenLetter, Prepared
from pipeline.ledger.runs import Run
from pipeline.mailbox import Cursor, Mail, Maildir, Unreadable
from pipeline.prepare import Job
from pipeline.relaylog import Position, RelayLog
from pipeline.report import Kind, Reason
from pipeline.run import Pipeline
from pipeline.schedule import Returns
from pipeline.schema import Event, Returned
from pipeline.transport import Relay, Session, Transport
from tests.integration.test_checks import site
from tests.integration.test_ledger import LEASE, LIVE, count, letter, opened, prepare_all
from tests.postfix import COUNCIL, Postfix, running_postfix
from tests.servers import await_that

KEY = b"a key that only the tests have"
OWN = ReturnAddress(mailbox="bounces@ombudsman.example", keys=(KEY,))
MARKED = replace(LIVE, envelope=OWN.mailbox, returns=lambda: OWN)
OK = Accepted(reply=Reply(code=250, text="queued as X1"), queue_id="X1")
LOST = Lost(reason="the relay hung up after the dot")


class Silence:
    """Nobody watches."""

    def begin(self, stage: str, total: int) -> None: ...

    def advance(self) -> None: ...

    def end(self) -> None: ...


@dataclass
class Watched(Silence):
    """Counts what is reported."""

    begun: list[tuple[str, int]] = field(default_factory=list)
    done: int = 0
    ended: int = 0

    def begin(self, stage: str, total: int) -> None:
        self.begun.append((stage, total))

    def advance(self) -> None:
        self.done += 1

    def end(self) -> None:
        self.ended += 1


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """A planned delivery, and what is written on its envelope and in its header."""

    id: int
    token: str
    recipient: str
    sender: str
    message_id: str


@dataclass(kw_only=True)
class Office:
    """A ledger with live deliveries, the Maildir that reports come to, and an archive."""

    db: Database
    run: Run
    archive: Archive
    maildir: Path
    own: ReturnAddress | None = OWN
    log: Path | None = None
    move_to: str | None = None
    mark: MarkFile | None = None
    names: "itertools.count[int]" = field(default_factory=itertools.count)

    def deliveries(self) -> list[Delivery]:
        d, m = schema.deliveries, schema.messages
        with self.db.read() as connection:
            rows = connection.execute(
                sa.select(
                    d.c.id,
                    d.c.token,
                    d.c.recipient,
                    d.c.envelope_sender.label("sender"),
                    m.c.message_id,
                )
                .join(m, m.c.id == d.c.message_id)
                .order_by(d.c.id)
            )
            return [Delivery(**row._mapping) for row in rows]

    def attempt(self, one: Delivery, outcome: object = OK, *, intended: bool = True) -> Claim:
        """Take one delivery up to the outcome given; None leaves it in the worker's hands."""
        while True:
            claimed = deliveries.claim(
                self.db, self.run.id, Mode.LIVE, owner="worker", lease=LEASE, now=now()
            )
            assert claimed is not None
            if claimed.delivery_id == one.id:
                break
            self.others.append(claimed)
        if intended:
            assert deliveries.intend(
                self.db,
                claimed,
                relay="127.0.0.1:25",
                local_host="127.0.0.1",
                local_port=40000 + one.id,
                lease=LEASE,
                now=now(),
            )
        if outcome is not None:
            assert deliveries.settle(self.db, claimed, outcome, now=now())  # type: ignore[arg-type]
        return claimed

    others: list[Claim] = field(default_factory=list)

    def state(self, one: Delivery) -> State:
        d = schema.deliveries
        with self.db.read() as connection:
            found = connection.execute(sa.select(d).where(d.c.id == one.id)).one()
        assert (found.settled_at is None) == (
            found.state in {"queued", "claimed", "sending", "in_doubt"}
        )
        return State(found.state)

    def put(self, mail: bytes) -> bytes:
        path = self.maildir / "new" / f"{next(self.names):06}.test"
        path.write_bytes(mail)
        return mail

    def sources(self) -> Sources:
        own = self.own
        return Sources(
            mailbox=lambda: Maildir(path=self.maildir, move_to=self.move_to),
            own=None if own is None else lambda: own,
            log=RelayLog(self.log, zone=UTC) if self.log else None,
            mark=self.mark,
        )

    def read(self) -> Reading:
        return evidence.read(self.db, self.archive, self.sources(), progress=Silence())

    def quiet(self) -> Reading:
        reading = self.read()
        assert reading.troubles == []
        return reading

    def moves(self, one: Delivery) -> list[tuple[str, str]]:
        e = schema.events
        with self.db.read() as connection:
            data = connection.scalars(
                sa.select(e.c.data)
                .where(e.c.delivery_id == one.id, e.c.kind == Event.DELIVERY_MOVED.value)
                .order_by(e.c.id)
            )
            return [(each["from"], each["to"]) for each in data]

    def noted(self, one: Delivery) -> list[str]:
        e = schema.events
        with self.db.read() as connection:
            data = connection.scalars(
                sa.select(e.c.data)
                .where(e.c.delivery_id == one.id, e.c.kind == Event.REPORT_NOTED.value)
                .order_by(e.c.id)
            )
            return [each["report"] for each in data]

    def everything(self) -> list[list[tuple[object, ...]]]:
        with self.db.read() as connection:
            return [
                [tuple(map(str, row)) for row in connection.execute(sa.select(table))]
                for table in (
                    schema.deliveries,
                    schema.reports,
                    schema.returned_mail,
                    schema.events,
                    schema.attempts,
                )
            ]


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def office(db: Database, tmp_path: Path) -> Office:
    run = opened(db, letter("A"), letter("B"))
    prepare_all(db, run)
    assert messages.plan(db, run.id, MARKED, now=now() - timedelta(minutes=5)) == 2
    maildir = tmp_path / "bounces"
    for name in ("tmp", "new", "cur"):
        (maildir / name).mkdir(parents=True)
    return Office(db=db, run=run, archive=Archive(str(tmp_path / "archive")), maildir=maildir)


def test_a_requeued_letter_that_has_arrived_after_all_is_not_sent_again(office: Office) -> None:
    one, _other = office.deliveries()[:2]
    office.attempt(one, LOST)
    [doubt] = deliveries.doubts(office.db, office.run.id, Mode.LIVE)
    assert deliveries.resolve(
        office.db, doubt, State.QUEUED, evidence="I think not", person="Ann", now=now()
    )
    office.put(reported(one, "delivered"))
    assert [each.target for each in office.quiet().moved] == [State.DELIVERED]
    assert office.state(one) is State.DELIVERED


def test_what_was_never_tried_is_not_believed_to_have_arrived(office: Office) -> None:
    one = office.deliveries()[0]
    office.put(reported(one, "delivered"))
    assert office.quiet().moved == []
    assert office.state(one) is State.QUEUED


def test_a_copy_of_the_ledger_takes_no_mail_away_from_it(office: Office, tmp_path: Path) -> None:
    office.move_to, office.mark = "Read", MarkFile(tmp_path / "mark")
    one = office.deliveries()[0]
    office.attempt(one)
    office.put(reported(one, "failed"))
    reading = office.read()
    assert [type(one) for one in reading.troubles] == [Misconfigured]
    assert reading.mails == 0
    assert len(list((office.maildir / "new").iterdir())) == 1
    mark, office.mark = office.mark, None
    assert office.quiet().mails == 1, "a rehearsal reads it"
    assert len(list((office.maildir / "new").iterdir())) == 1, "and leaves it there"
    office.mark = mark
    home.confirm(office.db, office.mark, note="mine", person="Ann", hold=False, now=now())
    assert office.quiet().mails == 1
    assert list((office.maildir / "new").iterdir()) == []


def dsn(
    *groups: str,
    to: str = "bounces@ombudsman.example",
    envid: str = "",
    returned: str = "",
    number: int = 1,
) -> bytes:
    """A delivery status notification, as a mail system writes it."""
    fields = "\r\n\r\n".join(group.replace("\n", "\r\n") for group in groups)
    original = f"Original-Envelope-Id: {envid}\r\n" if envid else ""
    back = (
        f"--b\r\nContent-Type: text/rfc822-headers\r\n\r\nMessage-ID: {returned}\r\n\r\n"
        if returned
        else ""
    )
    return (
        "Return-Path: <>\r\n"
        f"Delivered-To: {to}\r\n"
        "From: MAILER-DAEMON@relay.example\r\n"
        f"To: {to}\r\n"
        "Subject: Delivery Status Notification\r\n"
        f"Message-ID: <{number}@relay.example>\r\n"
        "MIME-Version: 1.0\r\nContent-Type: multipart/report; report-type=delivery-status;"
        ' boundary="b"\r\n\r\n'
        "--b\r\nContent-Type: text/plain\r\n\r\nSomething became of your mail.\r\n\r\n"
        f"--b\r\nContent-Type: message/delivery-status\r\n\r\n"
        f"Reporting-MTA: dns; relay.example\r\n{original}\r\n{fields}\r\n\r\n"
        f"{back}--b--\r\n"
    ).encode()


def about(recipient: str, action: str = "failed", status: str = "5.1.1") -> str:
    return (
        f"Original-Recipient: rfc822; {recipient}\nFinal-Recipient: rfc822; {recipient}\n"
        f"Action: {action}\nStatus: {status}\nRemote-MTA: dns; mx.council.example\n"
        f"Diagnostic-Code: smtp; 550 {status} no such user"
    )


STATUS = {
    "failed": "5.1.1",
    "delivered": "2.0.0",
    "delayed": "4.2.2",
    "relayed": "2.0.0",
    "expanded": "2.0.0",
}


def reported(one: Delivery, action: str, number: int = 1) -> bytes:
    return dsn(about(one.recipient, action, STATUS[action]), to=one.sender, number=number)


# ------------------------------------------------------------------- from mail to the ledger


def test_each_delivery_is_moved_by_the_address_its_report_came_to(office: Office) -> None:
    first, second, third, fourth = office.deliveries()
    for one in (first, second, third, fourth):
        office.attempt(one)
    office.put(reported(first, "failed", 1))
    office.put(reported(second, "delivered", 2))
    office.put(reported(third, "delayed", 3))
    office.put(reported(fourth, "relayed", 4))
    reading = office.quiet()
    assert list(map(office.state, (first, second, third, fourth))) == [
        State.BOUNCED, State.DELIVERED, State.ACCEPTED, State.ACCEPTED,
    ]  # fmt: skip
    assert (reading.mails, dict(reading.new)) == (4, {Returned.REPORT: 4})
    assert {(one.recipient, one.source, one.target) for one in reading.moved} == {
        (first.recipient, State.ACCEPTED, State.BOUNCED),
        (second.recipient, State.ACCEPTED, State.DELIVERED),
    }
    [bounce] = [one for one in reading.moved if one.target is State.BOUNCED]
    assert "5.1.1" in bounce.because
    assert "mx.council.example" in bounce.because
    assert (bounce.authority, bounce.year, bounce.mode) == ("A", 2020, Mode.LIVE)
    assert office.moves(first)[-1] == ("accepted", "bounced")
    assert office.noted(third) == ["delayed"]
    assert office.noted(fourth) == ["relayed"]


def test_reading_again_changes_nothing(office: Office) -> None:
    first, second, *_ = office.deliveries()
    office.attempt(first)
    office.attempt(second, LOST)
    mail = office.put(reported(first, "failed"))
    office.put(b"From: somebody@council.example\r\nSubject: Hello\r\n\r\nWho are you?\r\n")
    before = office.quiet()
    assert before.is_news
    record = office.everything()
    again = office.quiet()
    assert not again.is_news
    assert (again.mails, again.for_a_person) == (2, 0)
    # the same report once more, by another way: another mail, and no other report
    office.put(b"Received: from elsewhere.example\r\n" + mail)
    once_more = office.quiet()
    assert once_more.new[Returned.REPORT] == 1
    assert once_more.moved == []
    assert [len(rows) for rows in office.everything()] == [
        len(rows) + (at == 2) for at, rows in enumerate(record)
    ]


@pytest.mark.parametrize("order", list(itertools.permutations(["failed", "delivered", "delayed"])))
def test_the_order_of_reports_does_not_matter(office: Office, order: Sequence[str]) -> None:
    first = office.deliveries()[0]
    office.attempt(first)
    for number, action in enumerate(order):
        office.put(reported(first, action, number))
        office.quiet()
    assert office.state(first) is State.BOUNCED
    assert sorted(office.noted(first)) == ["delayed", "delivered", "failed"]
    assert office.moves(first)[-1][1] == "bounced"


@pytest.mark.parametrize(
    ("action", "outcome", "ends"),
    [
        ("delivered", OK, State.DELIVERED),
        ("failed", OK, State.BOUNCED),
        ("failed", LOST, State.BOUNCED),
        ("relayed", LOST, State.ACCEPTED),
        ("expanded", LOST, State.ACCEPTED),
        ("delayed", LOST, State.IN_DOUBT),
        ("delivered", Rejected(reply=Reply(code=550, text="no")), State.REJECTED),
    ],
)
def test_a_report_that_comes_before_the_outcome_counts_after_it(
    office: Office, action: str, outcome: object, ends: State
) -> None:
    first = office.deliveries()[0]
    claimed = office.attempt(first, None)
    office.put(reported(first, action))
    reading = office.quiet()
    assert office.state(first) is State.SENDING
    assert reading.moved == []
    assert office.noted(first) == [action]
    assert deliveries.settle(office.db, claimed, outcome, now=now())  # type: ignore[arg-type]
    office.quiet()
    assert office.state(first) is ends
    record = office.everything()
    office.quiet()
    assert office.everything() == record


def test_a_dead_worker_s_delivery_is_settled_by_its_report(office: Office) -> None:
    first = office.deliveries()[0]
    office.attempt(first, None)
    with office.db.write() as connection:
        connection.execute(
            sa.update(schema.deliveries)
            .where(schema.deliveries.c.id == first.id)
            .values(lease_until=now() - timedelta(seconds=1))
        )
    office.put(reported(first, "delivered"))
    office.quiet()
    assert office.state(first) is State.DELIVERED
    assert office.moves(first)[-2:] == [("sending", "in_doubt"), ("in_doubt", "delivered")]


def test_without_marks_the_identifier_on_the_envelope_tells_the_delivery(office: Office) -> None:
    first, second, *_ = office.deliveries()
    for one in (first, second):
        office.attempt(one)
    office.put(dsn(about(second.recipient), envid=second.token))
    office.quiet()
    assert office.state(first) is State.ACCEPTED
    assert office.state(second) is State.BOUNCED


def test_a_message_id_tells_the_message_and_the_recipient_the_delivery(office: Office) -> None:
    first, second, third, _ = office.deliveries()
    for one in (first, second, third):
        office.attempt(one)
    assert first.message_id == second.message_id
    office.put(dsn(about(second.recipient.upper()), returned=second.message_id))
    office.put(dsn(about("forwarded@elsewhere.example"), returned=third.message_id, number=2))
    reading = office.quiet()
    assert list(map(office.state, (first, second, third))) == [
        State.ACCEPTED, State.BOUNCED, State.ACCEPTED,
    ]  # fmt: skip
    assert dict(reading.new) == {Returned.REPORT: 1, Returned.UNMATCHED: 1}
    [waits] = reports.waiting(office.db)
    assert waits.reason is not None
    assert "forwarded@elsewhere.example" in waits.reason
    assert "B Council (B)" in waits.reason


def test_the_only_delivery_of_a_message_needs_no_recipient(db: Database, tmp_path: Path) -> None:
    run = opened(db, replace(letter("A"), recipients=letter("A").recipients[:1]))
    prepare_all(db, run)
    messages.plan(db, run.id, LIVE, now=now() - timedelta(minutes=5))
    maildir = tmp_path / "bounces"
    for name in ("tmp", "new", "cur"):
        (maildir / name).mkdir(parents=True)
    office = Office(
        db=db, run=run, archive=Archive(str(tmp_path / "archive")), maildir=maildir, own=None
    )
    [only] = office.deliveries()
    office.attempt(only)
    office.put(dsn(about("forwarded@elsewhere.example"), returned=only.message_id))
    office.quiet()
    assert office.state(only) is State.BOUNCED


# ------------------------------------------------------------------- what nobody can be sure of


def forged(one: Delivery) -> str:
    local, _, domain = one.sender.rpartition("@")
    return f"{local[:-1]}{'a' if local[-1] != 'a' else 'b'}@{domain}"


@pytest.mark.parametrize("beside", ["nothing", "message_id", "envid", "answer", "words"])
def test_an_address_that_somebody_made_up_moves_nothing(office: Office, beside: str) -> None:
    first = office.deliveries()[0]
    office.attempt(first)
    to = forged(first)
    mail = {
        "nothing": dsn(about(first.recipient), to=to),
        "message_id": dsn(about(first.recipient), to=to, returned=first.message_id),
        "envid": dsn(about(first.recipient), to=to, envid=first.token),
        "answer": f"From: {first.recipient}\r\nTo: {to}\r\nSubject: Out of office\r\n"
        f"Auto-Submitted: auto-replied\r\nIn-Reply-To: {first.message_id}\r\n\r\nx".encode(),
        "words": f"From: x@council.example\r\nTo: {to}\r\nSubject: Hi\r\n\r\nx".encode(),
    }[beside]
    office.put(mail)
    reading = office.quiet()
    assert dict(reading.new) == {Returned.FORGED: 1}
    assert office.state(first) is State.ACCEPTED
    assert office.noted(first) == []
    [waits] = reports.waiting(office.db)
    assert waits.reason is not None
    assert to in waits.reason
    assert waits.kept is not None
    assert office.archive.get(waits.kept, waits.sha256) == mail


def test_beside_a_genuine_address_a_forged_one_merely_does_not_count(office: Office) -> None:
    first, second, *_ = office.deliveries()
    for one in (first, second):
        office.attempt(one)
    mail = dsn(about(first.recipient), to=first.sender)
    office.put(f"X-Original-To: {forged(second)}\r\n".encode() + mail)
    office.quiet()
    assert office.state(first) is State.BOUNCED
    assert office.state(second) is State.ACCEPTED


@pytest.mark.parametrize("other", ["verp", "envid", "message_id"])
def test_a_mail_that_points_to_several_deliveries_is_for_a_person(
    office: Office, other: str
) -> None:
    first, _, third, _ = office.deliveries()
    for one in (first, third):
        office.attempt(one)
    mail = {
        "verp": f"Envelope-To: {third.sender}\r\n".encode() + reported(first, "failed"),
        "envid": dsn(about(first.recipient), to=first.sender, envid=third.token),
        "message_id": dsn(about(first.recipient), to=first.sender, returned=third.message_id),
    }[other]
    office.put(mail)
    reading = office.quiet()
    assert dict(reading.new) == {Returned.UNMATCHED: 1}
    assert office.state(first) is office.state(third) is State.ACCEPTED
    [waits] = reports.waiting(office.db)
    assert waits.reason is not None
    assert first.recipient in waits.reason
    assert third.recipient in waits.reason


def test_a_genuine_address_of_another_ledger_is_for_a_person(office: Office) -> None:
    first = office.deliveries()[0]
    office.attempt(first)
    office.put(dsn(about(first.recipient), to=OWN.verp("a" * 16), returned=first.message_id))
    reading = office.quiet()
    assert dict(reading.new) == {Returned.UNMATCHED: 1}
    assert office.state(first) is State.ACCEPTED
    assert "not in this ledger" in str(reports.waiting(office.db)[0].reason)


def test_an_automatic_answer_is_told_and_moves_nothing(office: Office) -> None:
    first = office.deliveries()[0]
    office.attempt(first)
    absence = (
        f"Return-Path: <>\r\nFrom: Chief <{first.recipient}>\r\nTo: letters@ombudsman.example\r\n"
        "Subject: Automatic reply: away until Monday\r\nAuto-Submitted: auto-replied\r\n"
        f"In-Reply-To: {first.message_id}\r\nMessage-ID: <away@council.example>\r\n\r\nAway.\r\n"
    )
    office.put(absence.encode())
    reading = office.quiet()
    assert dict(reading.new) == {Returned.AUTO_REPLY: 1}
    assert not reading.is_news
    assert office.state(first) is State.ACCEPTED
    assert office.noted(first) == ["auto_reply"]
    assert reports.waiting(office.db) == []
    assert count(office.db, schema.reports) == 0


def test_what_cannot_be_understood_is_kept_whole_and_waits(office: Office) -> None:
    first = office.deliveries()[0]
    office.attempt(first)
    junk = {
        "nothing": b"",
        "octets": bytes(range(256)) * 40,
        "charset": b"From: a@b.example\r\nSubject: =?x-none?B?//8=?=\r\n"
        b"Content-Type: text/plain; charset=klingon-8\r\n\r\n\xff\xfe\x00\x80",
        "half": dsn(
            about(first.recipient, "failed") + "\nFinal-Recipient: rfc822; b@c.example",
            about(first.recipient),
            to=first.sender,
        ),
    }
    for mail in junk.values():
        office.put(mail)
    reading = office.quiet()
    assert sum(reading.new.values()) == len(junk)
    assert reading.for_a_person == len(junk)
    # of a report that can be read in part, that part counts
    assert office.state(first) is State.BOUNCED
    waiting = reports.waiting(office.db)
    kept = {office.archive.get(str(one.kept), one.sha256) for one in waiting}
    assert kept == set(junk.values())
    for one in waiting:
        assert one.reason is not None
        assert one.reason.endswith((".", "?"))
        assert one.kept == evidence.kept_name(
            hashlib.sha256(office.archive.get(str(one.kept), one.sha256)).hexdigest()
        )


def test_ten_megabytes_are_read_up_to_a_limit(office: Office) -> None:
    first = office.deliveries()[0]
    office.attempt(first)
    huge = reported(first, "failed").replace(b"--b--", b"--b\r\n\r\n" + b"x" * 10_000_000)
    office.put(huge)
    office.put(b"\x00\xff" * 5_000_000)
    reading = office.quiet()
    assert office.state(first) is State.BOUNCED
    assert dict(reading.new) == {Returned.REPORT: 1, Returned.UNREADABLE: 1}
    [waits] = reports.waiting(office.db)
    assert waits.size == 10_000_000
    assert "Only the first 1,048,576 of its 10,000,000 octets" in str(waits.reason)


def test_a_mail_that_the_mailbox_cannot_give_waits_for_a_person_once(office: Office) -> None:
    path = office.maildir / "new" / "000.folder"
    path.symlink_to(office.maildir)  # no mail
    unnamed = b"no mail at all"
    office.put(unnamed)
    office.quiet()
    assert count(office.db, schema.returned_mail) == 1


# ------------------------------------------------------------------- looking at what waits


def test_somebody_has_looked_and_it_waits_no_more(office: Office) -> None:
    office.put(b"From: a@b.example\r\nSubject: A complaint\r\n\r\nx")
    office.put(b"From: c@d.example\r\nSubject: Another\r\n\r\nx")
    office.quiet()
    first, second = reports.waiting(office.db)
    assert reports.count_waiting(office.db) == {Returned.OTHER: 2}
    [seen] = reports.mark_seen(office.db, [first.id], note="to casework", person="Ann", now=now())
    assert (seen.seen_by, seen.seen_note) == ("Ann", "to casework")
    assert [one.id for one in reports.waiting(office.db)] == [second.id]
    for number, said in ((first.id, "Ann has looked"), (999, "No returned mail 999")):
        with pytest.raises(Refused, match=said):
            reports.mark_seen(office.db, [second.id, number], note="again", person="Bob", now=now())
        assert [one.id for one in reports.waiting(office.db)] == [second.id], "all or none"
    first_delivery = office.deliveries()[0]
    office.attempt(first_delivery)
    office.put(reported(first_delivery, "delivered"))
    office.quiet()
    with office.db.read() as connection:
        understood = connection.scalar(
            sa.select(schema.returned_mail.c.id).where(schema.returned_mail.c.kind == "report")
        )
    assert understood is not None
    with pytest.raises(Refused, match="waits for nobody"):
        reports.mark_seen(office.db, [understood], note="x", person="Bob", now=now())
    assert [one.id for one in reports.waiting(office.db)] == [second.id]


def test_what_came_back_is_told_with_why_until_it_is_made_up_for(office: Office) -> None:
    first, second, third, _ = office.deliveries()
    for one in (first, second, third):
        office.attempt(one)
    assert reports.came_back(office.db) == []
    office.put(reported(first, "failed"))
    full = dsn(about(second.recipient, "failed", "5.2.2"), to=second.sender, number=2)
    office.put(full)
    office.put(reported(third, "delivered", 3))
    office.quiet()
    told = {one.sent.delivery_id: one for one in reports.came_back(office.db)}
    assert {number: one.reason for number, one in told.items()} == {
        first.id: Reason.NO_MAILBOX,
        second.id: Reason.FULL,
    }
    assert told[first.id].status == "5.1.1"
    assert "no such user" in told[first.id].said
    assert told[first.id].at is not None
    assert told[first.id].sent.recipient == first.recipient
    with office.db.write() as connection:
        connection.execute(sa.update(schema.runs).values(cancelled_at=now()))
    assert reports.came_back(office.db) == []


# ------------------------------------------------------------------- troubles


def test_a_key_that_cannot_be_read_leaves_the_mail_unread(office: Office) -> None:
    first = office.deliveries()[0]
    office.attempt(first)
    office.put(reported(first, "failed"))

    def missing() -> ReturnAddress:
        raise Misconfigured("The key file cannot be read.")

    sources = replace(office.sources(), own=missing)
    reading = evidence.read(office.db, office.archive, sources, progress=Silence())
    assert [str(one) for one in reading.troubles] == ["The key file cannot be read."]
    assert count(office.db, schema.returned_mail) == 0
    office.quiet()
    assert office.state(first) is State.BOUNCED


def test_an_archive_that_is_away_loses_no_mail(office: Office, tmp_path: Path) -> None:
    first = office.deliveries()[0]
    office.attempt(first)
    office.put(reported(first, "failed"))
    office.put(b"From: a@b.example\r\nSubject: A complaint\r\n\r\nx")
    (tmp_path / "archive").write_text("in the way")
    reading = office.read()
    assert [type(one) for one in reading.troubles] == [Unavailable]
    assert office.state(first) is State.BOUNCED
    assert reports.waiting(office.db) == []
    (tmp_path / "archive").unlink()
    assert dict(office.quiet().new) == {Returned.OTHER: 1}


def test_what_was_read_is_put_away(office: Office, tmp_path: Path) -> None:
    office.move_to, office.mark = "Read", MarkFile(tmp_path / "mark")
    home.confirm(office.db, office.mark, note="mine", person="Ann", hold=False, now=now())
    first = office.deliveries()[0]
    office.attempt(first)
    office.put(reported(first, "failed"))
    office.put(b"From: a@b.example\r\nSubject: A complaint\r\n\r\nx")
    assert office.quiet().mails == 2
    assert not list((office.maildir / "new").iterdir())
    assert len(list((office.maildir / ".Read" / "cur").iterdir())) == 2
    assert office.quiet().mails == 0


def test_a_mailbox_that_is_not_there_is_said_and_the_rest_goes_on(office: Office) -> None:
    first = office.deliveries()[0]
    claimed = office.attempt(first, None)
    office.put(reported(first, "failed"))
    office.quiet()
    assert deliveries.settle(office.db, claimed, OK, now=now())
    (office.maildir / "new").rename(office.maildir / "gone")
    reading = office.read()
    assert [type(one) for one in reading.troubles] == [Misconfigured]
    assert office.state(first) is State.BOUNCED


def test_hundreds_of_mails_are_watched_and_counted(office: Office) -> None:
    first = office.deliveries()[0]
    office.attempt(first)
    for number in range(250):
        office.put(reported(first, "delayed", number))
    watched = Watched()
    reading = evidence.read(office.db, office.archive, office.sources(), progress=watched)
    assert (reading.mails, reading.noted[Kind.DELAYED]) == (250, 250)
    assert watched.begun == [("Reading", 250)]
    assert (watched.done, watched.ended) == (250, 1)
    assert office.state(first) is State.ACCEPTED


def test_two_that_read_at_once_record_each_thing_once(office: Office, db_url: str) -> None:
    everyone = office.deliveries()
    for one in everyone:
        office.attempt(one)
    for number, (one, action) in enumerate(itertools.product(everyone, ("failed", "delivered"))):
        office.put(reported(one, action, number))
    office.put(b"From: a@b.example\r\nSubject: A complaint\r\n\r\nx")
    others = [Database(db_url) for _ in range(3)]
    start = threading.Barrier(len(others))
    readings: list[Reading] = []

    def look(db: Database) -> None:
        start.wait()
        readings.append(evidence.read(db, office.archive, office.sources(), progress=Silence()))

    threads = [threading.Thread(target=look, args=(db,)) for db in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for db in others:
        db.close()
    assert [one.troubles for one in readings] == [[], [], []]
    assert sum(sum(one.new.values()) for one in readings) == 9
    assert count(office.db, schema.reports) == 8
    assert count(office.db, schema.returned_mail) == 9
    for one in everyone:
        assert office.state(one) is State.BOUNCED
        assert sorted(office.noted(one)) == ["delivered", "failed"]
        assert [move for move in office.moves(one) if move[1] == "bounced"] in (
            [("accepted", "bounced")], [("delivered", "bounced")],
        )  # fmt: skip
    told = [(move.delivery_id, move.target) for one in readings for move in one.moved]
    assert len(told) == len(set(told))


def test_two_that_note_something_of_one_delivery_never_wait_crosswise(
    office: Office, db_url: str
) -> None:
    """Whoever has named a delivery and then wants it alone gets it, while another notes of it."""
    one, *_ = office.deliveries()
    office.attempt(one)
    if office.db.is_sqlite:
        return  # one writer at a time: nobody waits with anything in hand
    sent = reports.by_id(office.db, [one.id])[one.id]
    told = reports.Note(sent=sent, once="log:1", kind=Kind.FAILED, matched_by="relay_log")
    other, e, d = Database(db_url), schema.events, schema.deliveries
    noted: list[object] = []
    noting = threading.Thread(
        target=lambda: noted.extend(reports.note(other, [told], now=now())), name="noting"
    )
    try:
        with office.db.write() as connection:
            connection.execute(
                sa.insert(e).values(
                    kind=Event.ANSWER_LATE.value, at=now(), delivery_id=one.id, data={}
                )
            )
            noting.start()
            await_that("the other waits", lambda: _waiting(other))
            connection.execute(sa.select(d.c.id).where(d.c.id == one.id).with_for_update())
        noting.join()
    finally:
        other.close()
    assert len(noted) == 1
    assert office.state(one) is State.BOUNCED


def _waiting(db: Database) -> bool:
    """Whether some connection to this database waits for another's lock."""
    with db.read() as connection:
        return bool(
            connection.scalar(
                sa.text(
                    "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
                    "AND datname = current_database()"
                )
            )
        )


# ------------------------------------------------------------------- the relay's log


@pytest.fixture(scope="module")
def postfix() -> Iterator[Postfix]:
    with running_postfix() as running:
        yield running


def handed(office: Office, one: Delivery, postfix: Postfix, to: str, *, dot: bool) -> Claim:
    """Hand a delivery to a real relay and die before the answer; without the dot, before that."""
    claimed = office.attempt(one, None, intended=False)
    text = (
        f"From: letters@ombudsman.test\r\nTo: {to}\r\nMessage-ID: {one.message_id}\r\n"
        "Subject: Annual review letter\r\n\r\n" + "Dear Chief Executive\r\n" * 2000
    )

    def commit(session: Session) -> bool:
        assert deliveries.intend(
            office.db,
            claimed,
            relay=f"{session.host}:{session.port}",
            local_host=session.local_host,
            local_port=session.local_port,
            lease=timedelta(0),
            now=now(),
        )
        return dot

    with Transport(Relay(host=postfix.host, port=postfix.late_port)) as transport:
        outcome = transport.send(one.sender, to, text.encode(), commit)
    assert isinstance(outcome, Accepted) is dot
    postfix.settle()
    return claimed


@pytest.fixture
def near(db: Database, tmp_path: Path, postfix: Postfix) -> Office:
    """Two letters to mailboxes of a real relay, whose log can be read."""
    told = [letter(code) for code in ("A", "B")]
    for one, names in zip(told, (("chief", "other"), ("nobody", "link")), strict=True):
        for recipient, name in zip(one.recipients, names, strict=True):
            recipient["address"] = f"{name}@{COUNCIL}"  # type: ignore[index]
    run = opened(db, *told)
    prepare_all(db, run)
    messages.plan(db, run.id, MARKED, now=now() - timedelta(minutes=5))
    maildir = tmp_path / "bounces"
    for name in ("tmp", "new", "cur"):
        (maildir / name).mkdir(parents=True)
    archive = Archive(str(tmp_path / "archive"))
    return Office(db=db, run=run, archive=archive, maildir=maildir, log=postfix.log)


def test_the_log_settles_doubts_both_ways_and_nothing_else_does(
    near: Office, postfix: Postfix
) -> None:
    taken, absent, bounced, _ = near.deliveries()
    before = [len(postfix.copies(one.recipient)) for one in (taken, absent)]
    handed(near, taken, postfix, taken.recipient, dot=True)
    handed(near, absent, postfix, absent.recipient, dot=False)
    handed(near, bounced, postfix, bounced.recipient, dot=True)
    log, near.log = near.log, None
    blind = near.quiet()
    everyone = [taken, absent, bounced]
    assert {near.state(one) for one in everyone} == {State.IN_DOUBT}
    assert [one.sent.delivery_id for one in blind.unsettled] == [one.id for one in everyone]
    near.log = log
    reading = near.quiet()
    assert reading.unsettled == []
    assert near.moves(taken)[-2:] == [("in_doubt", "accepted"), ("accepted", "delivered")]
    assert near.moves(absent)[-1] == ("in_doubt", "queued")
    assert near.moves(bounced)[-2:] == [("in_doubt", "accepted"), ("accepted", "bounced")]
    [queued] = [one for one in reading.moved if one.target is State.QUEUED]
    assert "data=0/1" in queued.because
    [back] = [one for one in reading.moved if one.target is State.BOUNCED]
    assert "status=bounced" in back.because
    record = near.everything()
    assert not near.quiet().is_news
    assert near.everything() == record
    # and what was proved absent goes, once
    handed(near, absent, postfix, absent.recipient, dot=True)
    near.quiet()
    assert near.state(absent) is State.DELIVERED
    after = [len(postfix.copies(one.recipient)) for one in (taken, absent)]
    assert after == [number + 1 for number in before]


@pytest.mark.parametrize("lacking", ["port", "elsewhere", "log", "another's"])
def test_without_proof_a_doubt_stays(
    near: Office, postfix: Postfix, lacking: str, tmp_path: Path
) -> None:
    absent = near.deliveries()[0]
    handed(near, absent, postfix, absent.recipient, dot=False)
    a = schema.attempts
    with near.db.write() as connection:
        match lacking:
            case "port":
                connection.execute(sa.update(a).values(local_port=None))
            case "elsewhere":
                connection.execute(
                    sa.update(a).values(relay="relay.example:25", local_host="192.0.2.7")
                )
            case "log":
                near.log = tmp_path / "no-such.log"
            case _:
                connection.execute(sa.update(a).values(local_port=a.c.local_port - 1))
    reading = near.read()
    away = [Unavailable] if lacking == "log" else []
    assert [type(each) for each in reading.troubles] == away
    assert reading.log == (str(near.log) if lacking == "another's" else None)
    [left] = reading.unsettled
    assert left.sent.delivery_id == absent.id
    assert left.reason.endswith(".")
    assert near.state(absent) is State.IN_DOUBT
    assert reading.moved == []


def test_a_doubt_of_a_year_that_was_given_up_is_never_sent(near: Office, postfix: Postfix) -> None:
    absent = near.deliveries()[0]
    handed(near, absent, postfix, absent.recipient, dot=False)
    near.log, log = None, near.log
    near.quiet()
    with near.db.write() as connection:
        connection.execute(sa.update(schema.runs).values(cancelled_at=now()))
    near.log = log
    near.quiet()
    assert near.moves(absent)[-1] == ("in_doubt", "cancelled")


def test_a_rehearsals_doubt_goes_out_of_sight_with_its_run(db: Database, tmp_path: Path) -> None:
    run = opened(db, letter("A"))
    prepare_all(db, run)
    messages.plan(
        db, run.id, replace(MARKED, mode=Mode.REDIRECT, redirect_to="me@c.test"), now=now()
    )
    claimed = deliveries.claim(db, run.id, Mode.REDIRECT, owner="w", lease=LEASE, now=now())
    assert claimed is not None
    assert deliveries.intend(db, claimed, relay="r:25", local_port=1, lease=LEASE, now=now())
    assert deliveries.settle(db, claimed, LOST, now=now())
    sources, place = Sources(log=RelayLog(tmp_path / "no.log")), Archive(str(tmp_path / "kept"))

    def seen() -> tuple[int, int]:
        found = evidence.read(db, place, sources, progress=Silence())
        return len(found.unsettled), len(counts.count(db).doubts)

    assert seen() == (1, 1)
    holds.cancel(db, run, because="x", person="Ann", now=now())
    assert seen() == (0, 0)


class Counting(RelayLog):
    """Counts how often it is opened for doubts, and the lines that are heard then."""

    opened = heard = 0

    def _follow(self, trails: Any, after: Position | None) -> Position:
        self.opened += 1
        return super()._follow(trails, after)

    def _hear(self, line: bytes, file: Any, trails: Any) -> None:
        self.heard += 1
        super()._hear(line, file, trails)


def told(pid: str, text: str, at: datetime | None = None) -> str:
    return f"{(at or now()).isoformat(timespec='microseconds')} relay postfix/{pid}: {text}\n"


def test_all_doubts_are_looked_up_in_one_reading_from_where_the_last_ended(
    office: Office, tmp_path: Path
) -> None:
    path = tmp_path / "mail.log"
    everyone = office.deliveries()[:3]
    for one in everyone:
        office.attempt(one, LOST)
    d, a = schema.deliveries, schema.attempts
    old = now() - timedelta(days=3)
    with office.db.write() as connection:
        connection.execute(sa.update(a).values(intent_at=old))
        recipients = connection.execute(sa.select(d.c.id, d.c.envelope_sender)).all()
    senders = {row.id: row.envelope_sender for row in recipients}
    between = "".join(told("anvil[1]", "statistics", old + timedelta(hours=12)) for _ in range(900))
    since = "".join(told("anvil[1]", "statistics", now()) for _ in range(3000))
    first = "".join(
        told("smtpd[7]", f"Q{one.id}z: client=localhost[127.0.0.1]:{40000 + one.id}", old)
        + told("cleanup[8]", f"Q{one.id}z: message-id={one.message_id}", old)
        for one in everyone
    )
    path.write_text(first + between + since, encoding="utf-8")
    log = Counting(path, zone=UTC)

    def read() -> Reading:
        return evidence.read(office.db, office.archive, Sources(log=log), progress=Silence())

    assert len(read().unsettled) == 3
    assert (log.opened, log.heard) == (1, 3906)
    log.heard = 0
    reading = read()
    assert len(reading.unsettled) == 3
    assert reading.log == str(path)
    assert log.heard < 3000, "the day of the attempt, and what halving overshoots"
    # half a line, then its end
    line = told("qmgr[9]", f"Q{everyone[0].id}z: from=<{senders[everyone[0].id]}>, size=9, nrcpt=1 "
                "(queue active)")  # fmt: skip
    with path.open("a", encoding="utf-8") as opened:
        opened.write(line[:60])
    assert len(read().unsettled) == 3
    with path.open("a", encoding="utf-8") as opened:
        opened.write(line[60:])
    assert [one.target for one in read().moved] == [State.ACCEPTED]
    assert office.state(everyone[0]) is State.ACCEPTED
    assert log.opened == 4  # once for each look


def test_what_became_of_letters_is_read_from_where_the_last_look_ended(
    office: Office, tmp_path: Path
) -> None:
    path = tmp_path / "mail.log"
    office.log = path
    first, second, third = office.deliveries()[:3]
    for one in (first, second):
        reply = Reply(code=250, text=f"queued as Q{one.id}z")
        office.attempt(one, Accepted(reply=reply, queue_id=f"Q{one.id}z"))

    def fate(one: Delivery, status: str) -> str:
        return told(
            "virtual[9]",
            f"Q{one.id}z: to=<{one.recipient}>, relay=virtual, delay=1, delays=1/0/0/0, "
            f"dsn=2.0.0, status={status} (delivered to maildir)",
        )

    head = told("qmgr[9]", "nothing")
    path.write_text(head + fate(second, "deferred") + fate(first, "sent"), encoding="utf-8")
    assert [one.target for one in office.quiet().moved] == [State.DELIVERED]
    # so long ago that nothing that is on record by now can have been overlooked
    c, d = schema.cursors, schema.deliveries
    with office.db.write() as connection:
        connection.execute(
            sa.update(d).where(d.c.settled_at.is_not(None)).values(settled_at=now() - LONG_AGO)
        )
    # what was read is not read again, so a lie in its place is not noticed
    size = path.stat().st_size
    lie = head + fate(second, "bounced")
    path.write_text(lie + "#" * (size - len(lie) - 1) + "\n", encoding="utf-8")
    assert office.quiet().moved == []
    # what was handed over since is looked for from its own time on
    office.attempt(third, Accepted(reply=OK.reply, queue_id=f"Q{third.id}z"))
    path.write_text(
        (lie + fate(third, "sent")).ljust(size, "#")[: size - 1] + "\n", encoding="utf-8"
    )
    assert {one.delivery_id for one in office.quiet().moved} == {second.id, third.id}
    # a rotation loses nothing
    fourth = office.deliveries()[3]
    office.attempt(fourth, Accepted(reply=OK.reply, queue_id=f"Q{fourth.id}z"))
    assert office.quiet().moved == []
    with office.db.write() as connection:
        connection.execute(
            sa.update(d).where(d.c.settled_at.is_not(None)).values(settled_at=now() - LONG_AGO)
        )
    with path.open("a", encoding="utf-8") as opened:
        opened.write(fate(fourth, "bounced"))
    path.rename(tmp_path / "mail.log.1")
    path.write_text(told("qmgr[9]", "a new file"), encoding="utf-8")
    assert [one.target for one in office.quiet().moved] == [State.BOUNCED]
    with office.db.read() as connection:
        places = connection.scalars(sa.select(c.c.place)).all()
    assert sorted(places) == [f"the relay's log {path}", f"the relay's log {path}, when looked at"]


LONG_AGO = timedelta(hours=1)


def test_what_was_not_read_is_not_said_to_have_been(office: Office, tmp_path: Path) -> None:
    (office.maildir / "new").rename(office.maildir / "gone")
    office.log = tmp_path / "figures.csv"
    office.log.write_text("code,name\n", encoding="utf-8")
    one = office.deliveries()[0]
    office.attempt(one, LOST)
    reading = office.read()
    assert (reading.mailbox, reading.log) == (None, None)
    assert [type(each) for each in reading.troubles] == [Misconfigured, Misconfigured]
    [left] = reading.unsettled
    assert "is not the log of a mail server" in left.reason
    # a log of which nothing is asked is not said to have been asked
    (office.maildir / "gone").rename(office.maildir / "new")
    with office.db.write() as connection:
        connection.execute(sa.update(schema.runs).values(cancelled_at=now()))
        connection.execute(sa.update(schema.deliveries).values(state="queued"))
    office.log.write_text(told("qmgr[9]", "nothing"), encoding="utf-8")
    reading = office.quiet()
    assert reading.mailbox == f"the Maildir {office.maildir}"
    assert reading.log is None


def test_a_report_outweighs_what_the_log_told(near: Office, postfix: Postfix) -> None:
    taken = near.deliveries()[0]
    handed(near, taken, postfix, taken.recipient, dot=True)
    near.quiet()
    assert near.state(taken) is State.DELIVERED
    near.put(reported(taken, "failed"))
    near.quiet()
    assert near.moves(taken)[-1] == ("delivered", "bounced")


@pytest.mark.parametrize(
    ("relay", "local_host", "here"),
    [
        ("127.0.0.1:25", "127.0.0.1", True),
        ("[::1]:25", "::1", True),
        ("localhost:25", None, True),
        ("relay.example:25", "127.0.0.1", True),
        ("192.0.2.7:25", "192.0.2.7", True),
        ("192.0.2.7:25", "192.0.2.8", False),
        ("relay.example:25", "192.0.2.8", False),
        ("relay.example:25", None, False),
        (None, None, False),
    ],
)
def test_only_a_relay_on_this_machine_writes_its_log(
    relay: str | None, local_host: str | None, *, here: bool
) -> None:
    assert evidence.is_here(relay, local_host) is here


# ------------------------------------------------------------------- how far a mailbox was read


def test_a_place_in_a_mailbox_is_kept_and_never_goes_back(db: Database) -> None:
    place = "the folder INBOX"
    assert reports.cursor(db, place) is None
    for uidvalidity, uid, kept in (
        (7, 5, (7, 5)),
        (7, 3, (7, 5)),  # another process, which began earlier
        (7, 8, (7, 8)),
        (9, 1, (9, 1)),  # the server has numbered it anew
    ):
        reports.advance(db, place, uidvalidity, uid)
        assert reports.cursor(db, place) == kept
    assert reports.cursor(db, "another") is None


@dataclass(kw_only=True)
class Broken:
    """A Maildir that is away after so many messages; it has numbers, as an IMAP folder has."""

    maildir: Maildir
    after: int
    asked: list[Cursor | None] = field(default_factory=list)

    @property
    def place(self) -> str:
        return self.maildir.place

    def read(self, after: Cursor | None = None) -> Iterator[Mail | Unreadable]:
        self.asked.append(after)
        known = after.uid if after is not None else 0
        for number, each in enumerate(self.maildir.read(), start=1):
            if number <= known:
                continue
            if number > self.after:
                raise Unavailable("The mail server has gone away.")
            yield replace(each, cursor=Cursor(uidvalidity=1, uid=number))

    def put_away(self, keys: Iterable[str]) -> None:
        self.maildir.put_away(keys)


def test_what_was_read_before_a_mailbox_went_away_is_kept(office: Office) -> None:
    first, second, *_ = office.deliveries()
    for one in (first, second):
        office.attempt(one)
    office.put(reported(first, "failed", 1))
    office.put(reported(second, "failed", 2))
    mailbox = Broken(maildir=Maildir(path=office.maildir), after=1)
    sources = replace(office.sources(), mailbox=lambda: mailbox)
    reading = evidence.read(office.db, office.archive, sources, progress=Silence())
    assert [str(one) for one in reading.troubles] == ["The mail server has gone away."]
    assert (reading.mails, office.state(first)) == (1, State.BOUNCED)
    assert office.state(second) is State.ACCEPTED
    mailbox.after = 2
    reading = evidence.read(office.db, office.archive, sources, progress=Silence())
    assert mailbox.asked == [None, Cursor(uidvalidity=1, uid=1)]
    assert (reading.mails, reading.troubles, office.state(second)) == (1, [], State.BOUNCED)


class Killed(BaseException):
    """Stands for a kill."""


def test_killed_between_two_mails_nothing_is_lost_or_counted_twice(office: Office) -> None:
    everyone = office.deliveries()
    for number, one in enumerate(everyone):
        office.attempt(one)
        office.put(reported(one, "failed", number))

    class Dies(Silence):
        left = 2

        def advance(self) -> None:
            self.left -= 1
            if not self.left:
                raise Killed

    with pytest.raises(Killed):
        evidence.read(office.db, office.archive, office.sources(), progress=Dies())
    assert [office.state(one) for one in everyone] == [
        *[State.BOUNCED] * 2, *[State.ACCEPTED] * 2,
    ]  # fmt: skip
    assert sum(office.quiet().new.values()) == 2
    assert {office.state(one) for one in everyone} == {State.BOUNCED}
    assert count(office.db, schema.reports) == len(everyone)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fragile(ReturnAddress):
    """An address that the program itself fails at."""

    fails_at: str

    def token_of(self, address: str) -> Token | Forged | None:
        if address == self.fails_at:
            raise RecursionError
        return super(Fragile, self).token_of(address)


def test_a_mail_that_makes_the_program_fail_does_not_stop_the_others(office: Office) -> None:
    first, second, *_ = office.deliveries()
    for one in (first, second):
        office.attempt(one)
    poison = office.put(reported(first, "failed", 1))
    office.put(reported(second, "failed", 2))
    office.own = Fragile(mailbox=OWN.mailbox, keys=OWN.keys, fails_at=first.sender)
    office.quiet()
    assert (office.state(first), office.state(second)) == (State.ACCEPTED, State.BOUNCED)
    [waits] = reports.waiting(office.db)
    assert "RecursionError" in str(waits.reason)
    assert office.archive.get(str(waits.kept), waits.sha256) == poison


# ------------------------------------------------------------------- the schedule, and the check


def test_the_schedule_reads_every_so_often_and_remembers_what_was_in_the_way(
    office: Office, tmp_path: Path
) -> None:
    pipeline = Pipeline(
        ledger=office.db,
        statistics=office.db,
        archive=office.archive,
        template=tmp_path,
        wording=tmp_path,
        outbox=Outbox(sender=LIVE, relay=None, maildir=tmp_path / "captured"),
        people=0,
    )
    (office.maildir / "new").rename(office.maildir / "gone")
    returns = Returns(sources=office.sources(), every=3600)
    done = schedule.tick(
        pipeline, Idle(), now(), catch_up_days=0, progress=Silence(), returns=returns
    )
    assert done.evidence is not None
    assert [type(one.error) for one in done.troubles] == [Misconfigured]
    assert done.exit_code == 78
    # it is not time to look again, and what was in the way is not mended
    (office.maildir / "gone").rename(office.maildir / "new")
    first = office.deliveries()[0]
    office.attempt(first)
    office.put(reported(first, "failed"))
    done = schedule.tick(
        pipeline, Idle(), now(), catch_up_days=0, progress=Silence(), returns=returns
    )
    assert done.evidence is None
    assert len(done.troubles) == 1
    returns = Returns(sources=office.sources())
    for exit_code, moved in ((1, 1), (0, 0)):
        done = schedule.tick(
            pipeline, Idle(), now(), catch_up_days=0, progress=Silence(), returns=returns
        )
        assert done.evidence is not None
        assert (done.exit_code, len(done.evidence.moved)) == (exit_code, moved)
    nothing = Returns(sources=Sources())
    assert nothing.read(pipeline, Silence()) is None


class Idle:
    """An engine that has nothing to make."""

    def each(self, job: Job, letters: Iterable[FrozenLetter]) -> Iterator[Prepared | Faulted]:
        del job, letters
        return iter(())


def looked(folder: Path, mode: str = "live", **named: str) -> list[Check]:
    mail = {"mode": mode, "sender": "letters@ombudsman.example"}
    settings = site(folder, mail={**mail, "capture": str(folder / "captured")}, reports=named)
    found = list(guarded(returned.CHECK, lambda: returned.returned(settings)))
    for one in found:
        assert one.check == "reports"
        assert bool(one.fix) or one.state in {Finding.OK, Finding.NOTE}
    return found


def test_check_looks_where_reports_come_to(office: Office, tmp_path: Path) -> None:
    folder = tmp_path / "site"
    assert looked(folder, "capture") == []
    [nowhere] = looked(folder)
    assert nowhere.state is Finding.NOTE
    assert "read nowhere" in nowhere.found
    key = tmp_path / "key"
    key.write_text(KEY.decode().replace(" ", "-"), encoding="utf-8")
    key.chmod(0o600)
    log = tmp_path / "mail.log"
    log.write_text("", encoding="utf-8")
    whole = {
        "address": OWN.mailbox,
        "key_file": str(key),
        "mailbox": str(office.maildir),
        "relay_log": str(log),
    }
    assert [one.state for one in looked(folder, **whole)] == [Finding.OK, Finding.OK]
    assert "it is empty" in looked(folder, **whole)[1].found
    log.write_text(told("qmgr[9]", "nothing"), encoding="utf-8")
    assert looked(folder, **whole)[1].found == f"The relay's log {log} can be read."
    office.put(b"From: a@b.example\r\nSubject: x\r\n\r\nx")
    office.put(b"From: a@b.example\r\nSubject: y\r\n\r\nx")
    mailbox, _ = looked(folder, **whole)
    assert "it holds 2 mails" in mailbox.found
    assert len(list((office.maildir / "new").iterdir())) == 2
    _, no_key, _ = looked(folder, **{**whole, "key_file": ""})
    assert no_key.state is Finding.NOTE
    assert "No key is set" in no_key.found
    for name, value in (
        ("mailbox", str(tmp_path / "nowhere")),
        ("mailbox", "imap://a@127.0.0.1:1/INBOX"),
        ("key_file", str(tmp_path / "no-key")),
        ("relay_log", str(tmp_path / "no.log")),
        ("relay_log", str(key)),
    ):
        *_, last = looked(folder, **{**whole, "password_file": str(key), name: value})
        assert last.state is Finding.FAULT, name
