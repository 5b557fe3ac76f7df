"""Reports as a real Postfix writes them."""

import smtplib
from collections.abc import Iterator

import pytest

from pipeline.envelope import ReturnAddress, xtext
from pipeline.report import Kind, Report, read_mail
from tests.postfix import COUNCIL, OMBUDSMAN, Postfix, running_postfix

OWN = ReturnAddress(
    mailbox=f"bounces@{OMBUDSMAN}", keys=(b"a key that only the tests have",), separator="+"
)


@pytest.fixture(scope="module")
def postfix() -> Iterator[Postfix]:
    with running_postfix() as running:
        yield running


@pytest.mark.parametrize(
    ("who", "kind", "status"),
    [
        (f"chief@{COUNCIL}", Kind.DELIVERED, "2.0.0"),
        (f"nobody@{COUNCIL}", Kind.FAILED, "5.1.1"),
        (f"chief@elsewhere.{COUNCIL}", Kind.FAILED, "5.4.4"),
        (f"slow@{COUNCIL}", Kind.DELAYED, "4.2.2"),
    ],
)
def test_what_a_real_relay_reports_is_read_and_matched(
    postfix: Postfix, who: str, kind: Kind, status: str
) -> None:
    token = f"a{kind.value}{status.replace('.', '')}"
    sender = OWN.verp(token)
    envelope_id = f"{token}+=x"
    message_id = f"<{token}@{OMBUDSMAN}>"
    with smtplib.SMTP(postfix.host, postfix.late_port) as client:
        client.ehlo()
        client.mail(sender, [f"ENVID={xtext(envelope_id)}", "RET=HDRS"])
        client.rcpt(who, ["NOTIFY=SUCCESS,FAILURE,DELAY", f"ORCPT=rfc822;{xtext(who)}"])
        client.data(
            f"From: letters@{OMBUDSMAN}\r\nTo: {who}\r\nSubject: Letter\r\n"
            f"Message-ID: {message_id}\r\n\r\nDear Chief Executive,\r\n".encode()
        )
    (raw,) = postfix.await_copies(sender)
    report = read_mail(raw, own=OWN)
    assert isinstance(report, Report), raw.decode()
    (recipient,) = report.recipients
    assert (recipient.kind, recipient.status) == (kind, status)
    assert recipient.original_recipient == who
    assert recipient.final_recipient == who
    assert recipient.diagnostic
    assert report.form == "fields"
    assert report.arrived is not None
    assert [(one.matched_by.value, one.value) for one in report.head.references] == [
        ("verp", token),
        ("envid", envelope_id),
        ("message_id", message_id),
    ], raw.decode()
    assert report.head.forged == ()
