"""What is written on an envelope, and what a message says of its sender: as it was planned."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from pipeline import schema
from pipeline.archive import Archive
from pipeline.database import Database
from pipeline.delivery import Mode
from pipeline.dispatch import Outbox, dispatch
from pipeline.envelope import ReturnAddress, Token
from pipeline.ledger import approvals, deliveries, messages
from pipeline.ledger.messages import Sender
from pipeline.ledger.runs import Run
from pipeline.transport import Relay
from tests.integration.test_dispatch import archive, run
from tests.integration.test_ledger import LEASE, LIVE, NOW, letter, opened, prepare_all
from tests.relays import PLAIN_ANSWERS, WaywardRelay

__all__ = ["archive", "run"]  # fixtures

RETURNS = ReturnAddress(mailbox="bounces@ombudsman.example", keys=(b"a key of sixteen+",))
MARKED = replace(LIVE, envelope=RETURNS.mailbox, returns=lambda: RETURNS)
DSN = {"EHLO": b"250-relay.example\r\n250-SIZE 20000000\r\n250 DSN\r\n"}

Send = Callable[[Sender, WaywardRelay], None]


@pytest.fixture
def send(db: Database, archive: Archive, run: Run, tmp_path: Path) -> Send:
    def sent(sender: Sender, relay: WaywardRelay) -> None:
        where = Relay(host="127.0.0.1", port=relay.port)
        out = Outbox(sender=sender, relay=lambda: where, maildir=tmp_path / "captured")
        dispatch(db, archive, run, out)

    return sent


def said(relay: WaywardRelay, verb: str) -> list[str]:
    return [command for command in relay.commands if command.startswith(f"{verb} ")]


def token_on_record(db: Database) -> str:
    with db.read() as connection:
        found: str = connection.execute(sa.select(schema.deliveries.c.token)).scalar_one()
    return found


def test_each_delivery_has_a_return_address_that_names_it(db: Database, send: Send) -> None:
    with WaywardRelay(PLAIN_ANSWERS | DSN) as relay:
        send(MARKED, relay)
    token = token_on_record(db)
    [mail] = said(relay, "MAIL")
    assert mail.startswith(f"MAIL FROM:<bounces+{token}.")
    address = mail.partition("<")[2].partition(">")[0]
    assert RETURNS.token_of(address) == Token(value=token)
    assert mail.endswith(f" RET=HDRS ENVID={token}")
    assert said(relay, "RCPT") == [
        "RCPT TO:<chief@a.example> NOTIFY=FAILURE,DELAY ORCPT=rfc822;chief@a.example"
    ]


def test_a_relay_that_does_not_offer_reports_is_not_asked_for_them(send: Send) -> None:
    with WaywardRelay() as relay:
        send(LIVE, relay)
    [mail], [recipient] = said(relay, "MAIL"), said(relay, "RCPT")
    assert mail.startswith("MAIL FROM:<letters@ombudsman.example>")
    assert "ENVID" not in mail
    assert "RET" not in mail
    assert recipient == "RCPT TO:<chief@a.example>"


NEWER = ReturnAddress(mailbox="other@ombudsman.example", keys=(b"another key of its own",))
CHANGED = replace(
    MARKED,
    address="other@ombudsman.example",
    mailbox="Somebody else <other@ombudsman.example>",
    reply_to=None,
    envelope=NEWER.mailbox,
    returns=lambda: NEWER,
)


def test_what_was_planned_and_never_tried_is_from_the_sender_that_is_approved(
    db: Database, send: Send, run: Run
) -> None:
    messages.plan(db, run.id, replace(LIVE, reply_to="liaison@ombudsman.example"), now=NOW)
    token = token_on_record(db)
    with WaywardRelay(PLAIN_ANSWERS | DSN) as relay:
        send(CHANGED, relay)
    [mail], [body] = said(relay, "MAIL"), relay.messages
    assert mail.startswith(f"MAIL FROM:<{NEWER.verp(token)}>")
    assert b"\r\nFrom: Somebody else <other@ombudsman.example>\r\n" in b"\r\n" + body
    assert b"Reply-To" not in body


def test_a_retry_has_the_envelope_and_the_sender_of_the_first_try(
    db: Database,
    send: Send,
    run: Run,
) -> None:
    """Whatever the settings, and the key, have become since."""
    messages.plan(db, run.id, replace(MARKED, reply_to="liaison@ombudsman.example"), now=NOW)
    token = token_on_record(db)
    put_off = {"RCPT": b"450 4.2.0 later\r\n"}
    with WaywardRelay(PLAIN_ANSWERS | DSN | put_off) as relay:
        send(replace(MARKED, reply_to="liaison@ombudsman.example"), relay)
    with db.write() as connection:
        connection.execute(sa.update(schema.deliveries).values(due_at=NOW))
    with WaywardRelay(PLAIN_ANSWERS | DSN) as relay:
        send(CHANGED, relay)
    [mail] = said(relay, "MAIL")
    assert mail.startswith(f"MAIL FROM:<{RETURNS.verp(token)}>")
    [body] = relay.messages
    assert b"\r\nFrom: Ombudsman <letters@ombudsman.example>\r\n" in b"\r\n" + body
    assert b"\r\nReply-To: liaison@ombudsman.example\r\n" in b"\r\n" + body
    assert b"Somebody else" not in body


def test_redirected_mail_is_written_to_the_inbox_it_goes_to(
    db: Database, run: Run, send: Send
) -> None:
    redirect = replace(LIVE, mode=Mode.REDIRECT, redirect_to="one@office.example")
    messages.plan(db, run.id, redirect, now=NOW)
    with WaywardRelay() as relay:
        send(replace(redirect, redirect_to="two@office.example"), relay)
    [recipient], [body] = said(relay, "RCPT"), relay.messages
    assert recipient == "RCPT TO:<one@office.example>"
    assert b"\r\nTo: one@office.example\r\n" in body
    assert b"two@office.example" not in body


def test_the_key_is_not_asked_for_by_whoever_only_looks(db: Database, run: Run) -> None:
    def locked_away() -> ReturnAddress:
        raise AssertionError("read")

    sender = replace(LIVE, envelope=RETURNS.mailbox, returns=locked_away)
    assert sender.envelope_sender == RETURNS.mailbox
    assert deliveries.next_due(db, run.id, Mode.LIVE) is None
    with pytest.raises(AssertionError, match="read"):
        messages.plan(db, run.id, sender, now=NOW)


def test_mail_to_other_domains_waits_until_it_may_go(db: Database) -> None:
    made = opened(db, letter("A"), letter("B"))
    prepare_all(db, made)
    messages.plan(db, made.id, LIVE, now=NOW)

    def next_one(*domains: str) -> str | None:
        claim = deliveries.claim(
            db, made.id, Mode.LIVE, owner="worker", lease=LEASE, now=NOW, only_to=domains
        )
        return claim.recipient if claim else None

    everything = len(letter("A").recipients) + len(letter("B").recipients)
    with db.read() as connection:
        domains = set(connection.scalars(sa.select(schema.deliveries.c.domain)))
    assert domains == {"a.example", "b.example"}
    assert deliveries.next_due(db, made.id, Mode.LIVE, only_to=["c.example"]) is None
    assert deliveries.kept_back(db, made.id, Mode.LIVE, ["c.example"]) == everything
    assert deliveries.kept_back(db, made.id, Mode.LIVE, []) == 0
    assert next_one("c.example") is None
    to_b = [next_one("b.example") for _ in letter("B").recipients]
    assert all(one and one.endswith("@b.example") for one in to_b)
    assert next_one("b.example") is None
    assert str(next_one()).endswith("@a.example"), "no domains named: to all"


def test_an_approval_is_bound_to_the_sender(db: Database) -> None:
    made = opened(db, letter("A"))
    prepare_all(db, made)
    approvals.approve(db, made, person="Ann", login="ann", now=NOW, sender=LIVE.identity)
    assert approvals.approvers(db, made, LIVE.identity) == ["Ann"]
    for other in (
        replace(LIVE, mailbox="Somebody else <letters@ombudsman.example>"),
        replace(LIVE, reply_to="liaison@ombudsman.example"),
    ):
        assert approvals.approvers(db, made, other.identity) == []
    assert approvals.approvers(db, made, replace(LIVE, mode=Mode.CAPTURE).identity) == ["Ann"]
