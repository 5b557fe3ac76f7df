"""Returned mail: what each form says, and that nothing anybody sends does harm."""

import random
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.address import hidden_character
from pipeline.envelope import ReturnAddress
from pipeline.parts import SIZE_LIMIT, decoded, read_parts
from pipeline.report import (
    AutoReply,
    Head,
    Kind,
    MatchedBy,
    Other,
    RecipientReport,
    Report,
    ReturnedMail,
    Unreadable,
    read_mail,
)
from pipeline.report.shown import DIAGNOSTIC_LIMIT, shown_text

REPORTS = Path(__file__).resolve().parent.parent / "data" / "reports"
SAMPLES = {path.stem: path.read_bytes() for path in sorted(REPORTS.glob("*.eml"))}

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

TOKEN = "d4f7q2k9w1"  # noqa: S105 - names a delivery, opens nothing
MESSAGE_ID = "<8c1e5a70.2020@letters.example>"
OWN = ReturnAddress(mailbox="bounces@letters.example", keys=(b"a key that only the tests have",))
ADDRESS = OWN.verp(TOKEN).encode()

VERP = ("verp", TOKEN)
ENVID = ("envid", TOKEN)
RETURNED = ("message_id", MESSAGE_ID)
ANSWERED = ("in_reply_to", MESSAGE_ID)


def read(sample: str) -> ReturnedMail:
    return read_mail(SAMPLES[sample], own=OWN)


def references(head: Head) -> list[tuple[str, str]]:
    return [(one.matched_by.value, one.value) for one in head.references]


def recipient(
    kind: Kind,
    final: str,
    status: str = "",
    diagnostic: str = "",
    *,
    original: str = "",
    mta: str = "",
) -> RecipientReport:
    return RecipientReport(
        kind=kind,
        final_recipient=final,
        original_recipient=original,
        status=status,
        diagnostic=diagnostic,
        remote_mta=mta,
    )


NINE = datetime(2020, 7, 22, 8, 0, tzinfo=UTC)  # in London

FIELDS: dict[str, tuple[tuple[RecipientReport, ...], list[tuple[str, str]], datetime | None]] = {
    "postfix-failed": (
        (
            recipient(
                Kind.FAILED,
                "chief@stevenage.example",
                "5.1.1",
                "550 5.1.1 <chief@stevenage.example>: Recipient address rejected: User unknown",
                original="Chief@Stevenage.example",
                mta="mx.stevenage.example",
            ),
        ),
        [VERP, ENVID, RETURNED],
        NINE.replace(second=2),
    ),
    "postfix-delayed": (
        (
            recipient(
                Kind.DELAYED,
                "chief@stevenage.example",
                "4.4.1",
                "connect to mx.stevenage.example[192.0.2.25]:25: Connection timed out",
            ),
        ),
        [VERP, RETURNED],
        NINE.replace(second=2),
    ),
    "postfix-delivered": (
        (
            recipient(
                Kind.DELIVERED,
                "chief@stevenage.example",
                "2.0.0",
                "delivered to maildir",
                original="chief@stevenage.example",
            ),
            recipient(
                Kind.RELAYED,
                "link@stevenage.example",
                "2.0.0",
                "250 ok",
                mta="old.stevenage.example",
            ),
        ),
        # some systems leave the identifier in xtext: both readings are given
        [VERP, ("envid", "letter+2B2020"), ("envid", "letter+2020"), RETURNED],
        NINE.replace(second=4),
    ),
    "exim-failed": (
        (
            recipient(
                Kind.FAILED,
                "chief@stevenage.example",
                "5.0.0",
                "552-5.2.2 The mailbox you write to 552 5.2.2 has no room left",
                mta="store.stevenage.example",
            ),
            recipient(Kind.FAILED, "link@stevenage.example", "5.0.0"),
        ),
        [VERP, RETURNED, ANSWERED],
        None,
    ),
    "sendmail-mixed": (
        (
            recipient(
                Kind.FAILED,
                "chief@mail.luton.example",
                "5.7.1",
                "550 5.7.1 Blocked by policy",
                original="chief@luton.example",
                mta="store.luton.example",
            ),
            recipient(Kind.DELIVERED, "link", "2.1.5"),
            recipient(Kind.RELAYED, "clerk@luton.example", "2.1.5", mta="store.luton.example"),
        ),
        [VERP, RETURNED],
        NINE.replace(second=5),
    ),
    "google-failed": (
        (
            recipient(
                Kind.FAILED,
                "chief@harlow.example",
                "5.1.1",
                "550-5.1.1 The account does not exist. Look for 550-5.1.1 a slip of the pen in"
                " 550 5.1.1 the address.",
                mta="mx.harlow.example.",
            ),
        ),
        [VERP, RETURNED, ANSWERED],
        NINE.replace(second=9),
    ),
    "exchange-online": (
        (
            recipient(
                Kind.FAILED,
                "chief@basildon.example",
                "5.1.10",
                "550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient chief@basildon.example not"
                " found by SMTP address lookup",
                original="chief@basildon.example",
            ),
        ),
        [VERP, RETURNED, ANSWERED],
        NINE.replace(second=12),
    ),
    "international": (
        (
            recipient(
                Kind.FAILED,
                "prif@môn.example",
                "5.6.7",
                "550 5.6.7 cyfeiriad heb ei dderbyn – ŵy",
                original="prif-weithredwrô@môn.example",
            ),
        ),
        [VERP, ENVID, RETURNED],
        None,
    ),
    "expanded": (
        (recipient(Kind.EXPANDED, "office@barnet.example", "2.0.0"),),
        [VERP],
        None,
    ),
    "lost-boundary": (
        (recipient(Kind.FAILED, "chief@stevenage.example", "5.4.4", "550 5.4.4 no host"),),
        [VERP, ENVID, RETURNED],
        NINE.replace(second=2),
    ),
    "status-as-text": (
        (
            recipient(
                Kind.FAILED,
                "chief@stevenage.example",
                "5.4.4",
                "550 5.4.4 no host called stevenage",
            ),
        ),
        [VERP],
        None,
    ),
    "no-blank-lines": (
        (
            recipient(
                Kind.FAILED, "c@stevenage.example", "5.1.1", original="chief@stevenage.example"
            ),
            recipient(
                Kind.DELAYED, "l@stevenage.example", "4.2.2", original="link@stevenage.example"
            ),
        ),
        [VERP],
        None,
    ),
    "blank-lines-everywhere": (
        (
            recipient(Kind.FAILED, "chief@stevenage.example", "5.1.1"),
            recipient(Kind.DELAYED, "link@stevenage.example", "4.2.2"),
        ),
        [VERP],
        None,
    ),
}

TEXTS: dict[str, tuple[tuple[RecipientReport, ...], list[tuple[str, str]]]] = {
    "exim-text-failed": (
        (
            recipient(
                Kind.FAILED,
                "chief@stevenage.example",
                "5.1.1",
                "SMTP error from remote mail server after RCPT TO:<chief@stevenage.example>: host"
                " store.stevenage.example [192.0.2.26]: 550 5.1.1 nobody of that name here",
            ),
            recipient(Kind.FAILED, "link@stevenage.example", "", "unrouteable address"),
        ),
        [VERP, RETURNED],
    ),
    "exim-text-delayed": (
        (
            recipient(
                Kind.DELAYED,
                "chief@stevenage.example",
                "",
                "Delay reason: Connection timed out No action is required on your part.",
            ),
        ),
        [VERP],
    ),
    "sendmail-text": (
        (
            recipient(
                Kind.FAILED,
                "chief@luton.example",
                "5.1.1",
                "(reason: 550 5.1.1 <chief@luton.example>... User unknown)",
            ),
            recipient(Kind.DELAYED, "link@luton.example", "4.7.1", "(reason: 451 4.7.1 try later)"),
        ),
        [VERP, RETURNED],
    ),
    "qmail": (
        (
            recipient(
                Kind.FAILED,
                "chief@harlow.example",
                "5.1.1",
                "192.0.2.41 does not like recipient. Remote host said: 550 5.1.1 no such user"
                " Giving up on 192.0.2.41.",
            ),
            recipient(
                Kind.FAILED,
                "link@harlow.example",
                "5.1.1",
                "Sorry, no mailbox here by that name. (#5.1.1)",
            ),
        ),
        [VERP, RETURNED],
    ),
    "google-text": (
        (
            recipient(
                Kind.FAILED,
                "chief@harlow.example",
                "5.1.1",
                "Technical details of permanent failure: The other server said: 550 5.1.1"
                " Empfänger unbekannt",
            ),
        ),
        [VERP, RETURNED],
    ),
    "exchange-text": (
        (
            recipient(
                Kind.FAILED,
                "chief@basildon.example",
                "5.5.0",
                "There was a SMTP communication problem with the recipient's email server."
                " <mail.basildon.example #5.5.0 smtp;554 no room>",
            ),
        ),
        [VERP],
    ),
    "status-missing": (
        (
            recipient(
                Kind.FAILED,
                "chief@stevenage.example",
                "5.7.1",
                "host mx.stevenage.example[192.0.2.25] said: 554 5.7.1 not wanted here (in reply"
                " to end of DATA command)",
            ),
        ),
        [VERP, RETURNED],
    ),
}

NO_REPORTS: dict[str, tuple[type[ReturnedMail], str, list[tuple[str, str]]]] = {
    "absence-outlook": (
        AutoReply,
        "its subject is “Automatic reply: Annual Review letter 2020”",
        [VERP, ANSWERED],
    ),
    "absence-sieve": (
        AutoReply,
        "it has the field auto-submitted with auto-replied (vacation)",
        [VERP, ANSWERED],
    ),
    "absence-vacation": (
        AutoReply,
        "it has the field precedence with junk, and answers a mail",
        [ANSWERED],
    ),
    "receipt": (AutoReply, "it is a receipt: the letter was shown or deleted", [RETURNED]),
    "answer": (Other, "", [ANSWERED, ("in_reply_to", "<first@stevenage.example>")]),
    "newsletter": (Other, "", []),
    "unknown-words": (
        Unreadable,
        "The mail comes from a mail system, and is in no form that is known here.",
        [VERP],
    ),
    "complaint": (
        Unreadable,
        "The mail calls itself a report, and holds none that can be read.",
        [VERP, RETURNED],
    ),
    "contradiction": (
        Unreadable,
        "The report about chief@stevenage.example has the action delivered and the status 5.1.1,"
        " from which it cannot be told what became of the letter.",
        [VERP],
    ),
}


def test_every_sample_is_looked_at() -> None:
    assert set(SAMPLES) == {*FIELDS, *TEXTS, *NO_REPORTS, "half-readable"}


@pytest.mark.parametrize("sample", FIELDS)
def test_fields_are_read(sample: str) -> None:
    recipients, expected, arrived = FIELDS[sample]
    report = read(sample)
    assert isinstance(report, Report), report
    assert report.recipients == recipients
    assert references(report.head) == expected
    assert report.arrived == arrived
    assert report.form == "fields"
    assert report.faults == ()


@pytest.mark.parametrize("sample", TEXTS)
def test_the_words_of_mail_systems_are_read(sample: str) -> None:
    recipients, expected = TEXTS[sample]
    report = read(sample)
    assert isinstance(report, Report), report
    assert report.recipients == recipients
    assert references(report.head) == expected
    assert report.form == "text"


@pytest.mark.parametrize("sample", NO_REPORTS)
def test_what_is_no_report_is_told_apart(sample: str) -> None:
    kind, why, expected = NO_REPORTS[sample]
    mail = read(sample)
    assert type(mail) is kind, mail
    assert (getattr(mail, "sign", "") or getattr(mail, "reason", "")) == why
    assert references(mail.head) == expected


def test_what_could_not_be_read_beside_the_rest_is_said() -> None:
    report = read("half-readable")
    assert isinstance(report, Report)
    assert report.recipients == (recipient(Kind.FAILED, "chief@stevenage.example", "5.1.1"),)
    assert report.faults == (
        "The report about link@stevenage.example has the action teleported and the status 2.0.0,"
        " from which it cannot be told what became of the letter.",
    )


def test_the_head_is_read_for_people() -> None:
    head = read("international").head
    assert head.sender == "Postfeistr <postmaster@môn.example>"
    assert head.subject == "Heb ei ddanfon — undelivered"
    assert head.date == NINE.replace(second=13)
    assert read("postfix-failed").head.message_id == (
        "<20200722080009.4XyZ1k9QbTz2@relay.letters.example>"
    )


# ------------------------------------------------------------------------- the same mail otherwise

WRITTEN: dict[str, Callable[[bytes], bytes]] = {
    "CRLF": lambda raw: raw.replace(b"\n", b"\r\n"),
    "CR": lambda raw: raw.replace(b"\n", b"\r"),
    "CRCRLF": lambda raw: raw.replace(b"\n", b"\r\r\n"),
    "mbox": lambda raw: b"From MAILER-DAEMON Wed Jul 22 09:00:09 2020\n" + raw,
    "blank lines before": lambda raw: b"\r\n \n" + raw,
    "NULs": lambda raw: raw.replace(b"e", b"\0e"),
    "no end": lambda raw: raw.rstrip(b"\n"),
    "field names shouted": lambda raw: (
        re.sub(
            rb"^[A-Za-z-]+:",
            lambda name: name[0].upper(),
            raw[: raw.index(b"\n\n")],
            flags=re.MULTILINE,
        )
        + raw[raw.index(b"\n\n") :]
    ),
}


@pytest.mark.parametrize("sample", SAMPLES)
@pytest.mark.parametrize("how", WRITTEN)
def test_how_lines_end_and_names_are_written_makes_no_difference(how: str, sample: str) -> None:
    assert read_mail(WRITTEN[how](SAMPLES[sample]), own=OWN) == read(sample)


def test_a_report_wrapped_up_by_a_gateway_is_read() -> None:
    headers, _, body = SAMPLES["postfix-failed"].partition(b"\n\n")
    top, _, kind = headers.partition(b"Content-Type:")
    kind = b"Content-Type:" + kind.partition(b"Message-Id")[0]
    wrapped = (
        top
        + b"Content-Type: multipart/mixed; boundary=outer\n\n--outer\nContent-Type: text/plain\n\n"
        + b"This mail was looked at for viruses.\n--outer\n"
        + kind
        + b"\n"
        + body
        + b"\n--outer--\n"
    )
    report = read_mail(wrapped, own=OWN)
    assert isinstance(report, Report)
    assert report.recipients == FIELDS["postfix-failed"][0]
    assert references(report.head) == [VERP, ENVID, RETURNED]


@pytest.mark.parametrize("sample", ["postfix-failed", "google-failed", "exim-failed"])
def test_a_report_cut_off_after_its_fields_is_read(sample: str) -> None:
    raw = SAMPLES[sample]
    end = raw.rindex(b"Return-Path: <bounces")
    report = read_mail(raw[:end], own=OWN)
    assert isinstance(report, Report)
    assert report.recipients == FIELDS[sample][0]


@pytest.mark.parametrize("sample", ["postfix-failed", "google-failed", "exim-failed"])
def test_a_report_cut_off_within_its_fields_is_read(sample: str) -> None:
    raw = SAMPLES[sample]
    end = raw.index(b"\n", raw.rindex(b"\nStatus: 5.") + 1)
    report = read_mail(raw[:end], own=OWN)
    assert isinstance(report, Report)
    assert [(one.kind, one.final_recipient, one.status) for one in report.recipients] == [
        (one.kind, one.final_recipient, one.status) for one in FIELDS[sample][0]
    ]


# ------------------------------------------------------------------------------------- single rules


def report_of(fields: str) -> bytes:
    return (
        "Return-Path: <>\nFrom: MAILER-DAEMON@relay.letters.example\nSubject: x\n"
        "Content-Type: multipart/report; report-type=delivery-status; boundary=b\n\n"
        "--b\nContent-Type: message/delivery-status\n\n"
        f"Reporting-MTA: dns; relay.letters.example\n\n{fields}\n--b--\n"
    ).encode()


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("Action: FAILED\nStatus: 5.1.1", Kind.FAILED),
        ("Action: failed (permanently)\nStatus: 5.1.1", Kind.FAILED),
        ("Action: failed\nStatus: 4.4.7", Kind.FAILED),  # given up after several days
        ("Action: failed", Kind.FAILED),
        ("Action: delayed\nStatus: 4.4.7", Kind.DELAYED),
        ("Action: delivered", Kind.DELIVERED),
        ("Status: 5.1.1", Kind.FAILED),
        ("Status: 4.4.7 (later)", Kind.DELAYED),
        ("Status: 2.0.0", None),  # taken by somebody, but was it delivered?
        ("Action: delivered\nStatus: 4.0.0", None),
        ("Action: relayed\nStatus: 5.0.0", None),
        ("Action: failed\nStatus: 2.0.0", None),
        ("Action: failing\nStatus: 5.1.1", None),
        ("Action: failed\nAction: delivered\nStatus: 5.1.1", None),
    ],
)
def test_what_became_of_a_letter(fields: str, expected: Kind | None) -> None:
    mail = read_mail(report_of(f"Final-Recipient: rfc822; a@x.example\n{fields}"))
    if expected is None:
        assert isinstance(mail, Unreadable)
        assert "a@x.example" in mail.reason
    else:
        assert isinstance(mail, Report)
        assert [one.kind for one in mail.recipients] == [expected]


@pytest.mark.parametrize(
    ("value", "address"),
    [
        ("rfc822; a@x.example", "a@x.example"),
        ("RFC822;a@x.example", "a@x.example"),
        ("rfc822 ; <a@x.example>", "a@x.example"),
        ("rfc822; a@x.example (A. (the) Chief)", "a@x.example"),
        ("rfc822;\n a@x.example\n (folded)", "a@x.example"),
        ("a@x.example", "a@x.example"),
        ("x-local; chief", "chief"),
        ("utf-8; \\x{E4}@x.example", "ä@x.example"),
        ("utf-8; \\x{D800}\\x{FFFFFF}@x.example", "\ufffd\ufffd@x.example"),
        ("rfc822; " + "a" * 400 + "@x.example", "a" * 319 + "…"),
        ("rfc822; a\u202e@x.example", "a\ufffd@x.example"),
    ],
)
def test_recipients_are_read_without_type_and_comment(value: str, address: str) -> None:
    mail = read_mail(report_of(f"Final-Recipient: {value}\nAction: failed\nStatus: 5.1.1"))
    assert isinstance(mail, Report)
    assert mail.recipients[0].final_recipient == address


@pytest.mark.parametrize(
    ("value", "diagnostic"),
    [
        ("smtp; 550 no", "550 no"),
        ("x-unix; exited", "exited"),
        ("Rejected; spam", "Rejected; spam"),
        ("smtp; 550 \x1b[31mred\x07", "550 \ufffd[31mred\ufffd"),
        ("smtp; =?iso-8859-1?q?Empf=E4nger?= unbekannt", "Empfänger unbekannt"),
        ("smtp; " + "550 " * 1000, ("550 " * 1000)[: DIAGNOSTIC_LIMIT - 1] + "…"),
    ],
)
def test_the_remote_words_are_made_fit_to_show(value: str, diagnostic: str) -> None:
    mail = read_mail(
        report_of(f"Final-Recipient: rfc822; a@x.example\nAction: failed\nDiagnostic-Code: {value}")
    )
    assert isinstance(mail, Report)
    assert mail.recipients[0].diagnostic == diagnostic


def test_a_status_is_looked_for_in_the_remote_words_but_decides_nothing() -> None:
    fields = "Final-Recipient: rfc822; a@x.example\nDiagnostic-Code: smtp; 5.2.0.2: 550 5.2.1 no"
    assert isinstance(read_mail(report_of(fields)), Unreadable)
    mail = read_mail(report_of(f"{fields}\nAction: failed"))
    assert isinstance(mail, Report)
    assert mail.recipients[0].status == "5.2.1"


def test_no_recipient_is_lost() -> None:
    whole = "Final-Recipient: rfc822; a@x.example\nAction: failed\nStatus: 5.1.1\n"
    for between in ("", "\n"):
        mail = read_mail(report_of(f"{whole}{between}Final-Recipient: rfc822; b@x.example\n"))
        assert isinstance(mail, Report)
        assert [one.final_recipient for one in mail.recipients] == ["a@x.example"]
        assert len(mail.faults) == 1
        assert "b@x.example has the action missing" in mail.faults[0]


def test_very_many_recipients_are_read_up_to_a_limit() -> None:
    group = "Final-Recipient: rfc822; a{}@x.example\nAction: failed\nStatus: 5.1.1\n\n"
    mail = read_mail(report_of("".join(group.format(number) for number in range(300))))
    assert isinstance(mail, Report)
    assert len(mail.recipients) == 200
    assert mail.faults == ("The report names more than 200 recipients; only so many were read.",)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("Wed, 22 Jul 2020 09:00:00 +0100", NINE),
        ("Wed, 22 Jul 2020 09:00:00 +0100 (BST)", NINE),
        ("22 Jul 2020 08:00:00 -0000", NINE),
        ("Wed, 22 Jul 2020 08:00:00", NINE),
        ("yesterday", None),
        ("Wed, 99 Jul 2020 08:00:00 +0000", None),
        ("Fri, 31 Dec 9999 23:59:59 -0100", None),
        ("Wed, 22 Jul 2020 08:00:00 +9999999999", None),
    ],
)
def test_dates_are_read_in_utc(value: str, expected: datetime | None) -> None:
    fields = f"Final-Recipient: rfc822; a@x.example\nAction: failed\nArrival-Date: {value}"
    mail = read_mail(report_of(fields))
    assert isinstance(mail, Report)
    assert mail.arrived == expected


@pytest.mark.parametrize(
    "subject",
    [
        "Automatic reply: Annual Review letter 2020",
        "Out of Office: Annual Review letter 2020",
        "AUTOREPLY",
        "Ateb awtomatig: Llythyr",
        "Réponse automatique : Lettre",
        "=?utf-8?q?R=C3=A9ponse_automatique_:_Lettre?=",
        "=?iso-8859-1?q?R=E9ponse_automatique?= : Lettre",
        "=?utf-8?b?6Ieq5Yqo5Zue5aSNOiBsZXR0ZXI=?=",
        "Automatische Antwort: Brief",
        "Abwesenheitsnotiz",
        "Respuesta automática",
        "Odpowiedź automatyczna",
        "Freagra uathoibríoch",
        "Автоматический ответ",
    ],
)
def test_absence_notes_are_known_in_several_tongues(subject: str) -> None:
    raw = f"From: chief@stevenage.example\nSubject: {subject}\n\nBack on Monday.\n".encode()
    assert isinstance(read_mail(raw), AutoReply)
    answered = raw.replace(b"Subject: ", b"Subject: Re: ")
    assert isinstance(read_mail(answered), Other), "who answers an absence note is a person"


@pytest.mark.parametrize(
    ("field", "kind"),
    [
        ("X-Autoreply: yes", AutoReply),
        ("X-Autorespond: x", AutoReply),
        ("Precedence: auto_reply", AutoReply),
        ("Delivered-To: Autoresponder", AutoReply),
        ("Auto-Submitted: auto-notified; owner=x", AutoReply),
        ("Auto-Submitted: no", Other),
        ("Auto-Submitted: No (a person)", Other),
        ("Precedence: bulk", Other),
        ("Precedence: bulk\nIn-Reply-To: <a@x.example>", AutoReply),
        ("Precedence: bulk\nIn-Reply-To: <a@x.example>\nList-Id: <x>", Other),
        ("X-Auto-Response-Suppress: All", Other),
        ("Return-Path: <>", Unreadable),
        ("X-Failed-Recipients: a@x.example", Unreadable),
        ("Sender: postmaster@x.example", Other),
    ],
)
def test_machines_are_known_by_their_fields(field: str, kind: type[ReturnedMail]) -> None:
    raw = f"From: chief@stevenage.example\nSubject: Letter\n{field}\n\nHello.\n".encode()
    assert type(read_mail(raw)) is kind


# -------------------------------------------------------------------------------------- references


@pytest.mark.parametrize(
    "field",
    [
        "Delivered-To: {}",
        "X-Original-To: {}",
        "Envelope-To: <{}>",
        "To: Annual letters <{}>, somebody@x.example",
        "To: somebody@x.example,\n {}",
        'Cc: "{}" <a@x.example>',
        "Received: from x by y for <{}>; Wed, 22 Jul 2020 09:00:00 +0100",
    ],
)
def test_the_token_is_found_where_mail_was_delivered(field: str) -> None:
    address = OWN.verp(TOKEN)
    for each in (address, address.upper()):
        raw = f"From: chief@stevenage.example\n{field.format(each)}\n\nHello.\n".encode()
        head = read_mail(raw, own=OWN).head
        assert references(head) == [VERP]
        assert head.references[0].found_in == field.partition(":")[0].lower()
        assert references(read_mail(raw).head) == []


def test_the_envelope_given_counts_too() -> None:
    raw = b"From: chief@stevenage.example\n\nHello.\n"
    head = read_mail(raw, own=OWN, envelope_recipients=[OWN.verp(TOKEN)]).head
    assert [(one.matched_by, one.found_in) for one in head.references] == [
        (MatchedBy.VERP, "envelope")
    ]


def test_what_is_answered_comes_before_what_that_answered() -> None:
    raw = (
        b"From: chief@stevenage.example\nReferences: <1@x.example> <2@x.example> <3@x.example>\n"
        b"In-Reply-To: <2@x.example>\n\nHello.\n"
    )
    assert [value for _, value in references(read_mail(raw).head)] == [
        "<2@x.example>",
        "<3@x.example>",
        "<1@x.example>",
    ]


def test_a_message_id_in_the_text_counts_only_where_nothing_came_back() -> None:
    told = b"The mail system at relay.letters.example could"
    raw = SAMPLES["postfix-failed"].replace(told, b"Message-ID: <other@x.example>\n" + told)
    assert references(read_mail(raw, own=OWN).head) == [VERP, ENVID, RETURNED]
    raw = raw.replace(b"text/rfc822-headers", b"image/png")
    raw = raw.replace(b"Message-ID: <8c1e", b"X-Id: <8c1e")
    assert references(read_mail(raw, own=OWN).head) == [
        VERP,
        ENVID,
        ("message_id", "<other@x.example>"),
    ]


def test_a_forged_address_is_told_and_is_no_reference() -> None:
    forged = ADDRESS.replace(b"d4f7", b"d4f8")
    raw = SAMPLES["postfix-failed"].replace(ADDRESS, forged)
    report = read_mail(raw, own=OWN)
    assert isinstance(report, Report)
    assert references(report.head) == [ENVID, RETURNED]
    assert report.head.forged == (forged.decode(),)
    other = raw.replace(b"bounces+", b"list-bounces+")
    assert read_mail(other, own=OWN).head.forged == (), "other senders mark addresses so too"


# -------------------------------------------------------------------------------------------- junk


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "The mail is empty."),
        (b"\0\r\n \n", "The mail is empty."),
        (b"hello", "This is no mail"),
        (b"\n\nFrom", "This is no mail"),
        (b"X-Thing: 1\n\nFrom: a@x.example\n", "This is no mail"),
        (b"%PDF-1.7\n\n\xff\xfe", "This is no mail"),
    ],
)
def test_what_is_no_mail_is_kept_for_a_person(raw: bytes, reason: str) -> None:
    mail = read_mail(raw, own=OWN)
    assert isinstance(mail, Unreadable)
    assert mail.reason.startswith(reason)


def test_what_is_too_large_is_kept_with_its_references() -> None:
    raw = SAMPLES["postfix-failed"]
    raw += b"x" * (SIZE_LIMIT + 1 - len(raw))
    mail = read_mail(raw, own=OWN)
    assert isinstance(mail, Unreadable)
    assert "10,485,761 octets, more than the 10,485,760" in mail.reason
    assert references(mail.head) == [VERP, ENVID, RETURNED]
    assert isinstance(read_mail(raw[:-1], own=OWN), Report)


def test_a_header_without_end_is_kept_with_its_references() -> None:
    raw = b"To: " + ADDRESS + b"\n" + b"X-Bomb: 1\n" * 50_000
    mail = read_mail(raw, own=OWN)
    assert isinstance(mail, Unreadable)
    assert "header is longer" in mail.reason
    assert references(mail.head) == [VERP]


_SYSTEM = b"Return-Path: <>\nFrom: mailer-daemon@x.example\n"
_DIVIDED = _SYSTEM + b"Content-Type: multipart/report; boundary=b\n\n"


def _filled(start: bytes, piece: bytes, size: int = SIZE_LIMIT) -> bytes:
    return start + piece * ((size - len(start)) // len(piece))


def _nested(depth: int) -> bytes:
    return _SYSTEM + b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (level, level)
        for level in range(depth)
    )


# Each takes the time of many mails, or all the memory there is, where it is read with less care.
HOSTILE: dict[str, Callable[[], bytes]] = {
    "NULs": lambda: _filled(b"", b"\0"),
    "line ends": lambda: _filled(b"", b"\r"),
    "empty lines": lambda: _filled(_DIVIDED, b"\n"),
    "chance": lambda: random.Random(2020).randbytes(SIZE_LIMIT),  # noqa: S311
    "one line": lambda: _filled(_SYSTEM + b"\n", b"a"),
    "addresses": lambda: _filled(_SYSTEM + b"To: ", b"a@", 250_000) + b"\n\n",
    "parameters": lambda: _filled(_SYSTEM + b"Content-Type: multipart/report", b';"', 250_000),
    "encoded words": lambda: _filled(_SYSTEM + b"Subject: ", b"=?utf-8?q?a", 250_000) + b"\n\n",
    "nested 100 deep": lambda: _filled(_nested(100), b"\n--b9"),
    "nested 10000 deep": lambda: _filled(_nested(10_000), b"a\n"),
    "many parts": lambda: _filled(_DIVIDED, b"--b\n"),
    "nearly boundaries": lambda: _filled(_DIVIDED, b"--bb\n"),
    "many statuses": lambda: _filled(
        _DIVIDED, b"--b\nContent-Type: message/delivery-status\n\n" + b"Action:\n\n" * 10_000
    ),
    "many receipts": lambda: _filled(
        _DIVIDED, b"--b\nContent-Type: message/disposition-notification\n\n" + b"a:b\n" * 25_000
    ),
    "many texts": lambda: _filled(_DIVIDED, b"--b\n\n" + b"<a\n" * 50_000),
    "many part headers": lambda: _filled(_DIVIDED, b"--b\n" + b"a:\n" * 30_000),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_mail_is_refused_soon(what: str) -> None:
    assert isinstance(read_mail(HOSTILE[what](), own=OWN), Unreadable | AutoReply)


@unhurried
@given(st.binary())
def test_nothing_raises(raw: bytes) -> None:
    read_mail(raw, own=OWN)


@unhurried
@given(st.sampled_from(sorted(SAMPLES)), st.randoms(use_true_random=False))
def test_nothing_raises_on_damaged_reports(sample: str, chance: random.Random) -> None:
    raw = bytearray(SAMPLES[sample])
    for _ in range(chance.randint(1, 20)):
        at = chance.randrange(len(raw))
        match chance.randrange(4):
            case 0:
                raw[at] = chance.randrange(256)
            case 1:
                del raw[at : at + chance.randrange(50)]
            case 2:
                raw[at:at] = chance.randbytes(chance.randrange(10))
            case _:
                other = SAMPLES[chance.choice(sorted(SAMPLES))]
                raw[at:at] = other[chance.randrange(len(other)) :][:200]
        raw = raw or bytearray(b"x")
    _is_fit_to_show(read_mail(bytes(raw), own=OWN))


_LINES = st.sampled_from(
    [
        "From: mailer-daemon@x.example", "Return-Path: <>", "Content-Type: multipart/report;",
        " boundary=b", " boundary*0*=utf-8''b", " charset=", "Content-Transfer-Encoding: base64",
        "Content-Transfer-Encoding: quoted-printable", "", "--b", "--b--", "Action: failed",
        "Content-Type: message/delivery-status", "Final-Recipient: rfc822; a@x.example",
        "Final-Recipient:", "Status: 5.1.1", "Diagnostic-Code: smtp; =?utf-8?b?w?=", "Date: 1 2 3",
        "Arrival-Date: Mon, 1 Jan 10000 00:00:00 +9999", "Subject: =?punycode?q?a-b?= =?x?q?=FF?=",
        "Subject: =?utf-8?b?a?= ä \\u12 =?utf-16?q?=00=D8?=", "To: <bounces+a.b@>, (", "From ",
        "Hi. This is the qmail-send program at x.", "<a@x.example>:", "Message-ID: <", "=3D=", ":",
        "Content-Type: text/plain; charset=utf-7", "Content-Type: text/plain; charset=\"idna\"",
        "Content-Type: message/rfc822", "Content-Type: " + "a" * 300, "Original-Envelope-Id: +FF+",
    ]
)  # fmt: skip


@unhurried
@given(st.lists(_LINES | st.text(max_size=20) | st.binary(max_size=20), max_size=40))
def test_nothing_raises_on_pieces_of_mail(lines: list[str | bytes]) -> None:
    raw = b"\n".join(
        line if isinstance(line, bytes) else line.encode("utf-8", "surrogatepass") for line in lines
    )
    _is_fit_to_show(read_mail(raw, own=OWN, envelope_recipients=["", "@"]))


def _is_fit_to_show(mail: ReturnedMail) -> None:
    head = mail.head
    texts = [head.sender, head.subject, head.message_id, *head.forged]
    texts += [one.value for one in head.references]
    match mail:
        case Report():
            assert mail.recipients
            texts += mail.faults
            for one in mail.recipients:
                texts += [one.original_recipient, one.final_recipient, one.status]
                texts += [one.diagnostic, one.remote_mta]
        case AutoReply():
            texts.append(mail.sign)
        case Unreadable():
            texts.append(mail.reason)
        case Other():
            pass
    for text in texts:
        assert hidden_character(text) is None
        assert len(text) <= 2 * DIAGNOSTIC_LIMIT


@unhurried
@given(st.text(st.characters()), st.integers(1, 50))
def test_shown_text_is_one_short_line(text: str, limit: int) -> None:
    shown = shown_text(text, limit)
    assert len(shown) <= limit
    assert hidden_character(shown) is None
    assert shown == " ".join(shown.split())


# ------------------------------------------------------------------------------------------- parts


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("=?utf-8?q?a_b?=", "a b"),
        ("=?utf-8?q?a?= =?utf-8?q?b?=", "ab"),
        ("=?iso-8859-15?q?=A4?=", "€"),
        ("=?unknown?q?=E4?=", "ä"),
        ("=?punycode?q?maana-pta?=", "maana-pta"),
        ("=?utf-8?b?a?=", "=?utf-8?b?a?="),
        ("ä =?utf-8?q?b?=", "ä b"),
    ],
)
def test_encoded_words_are_read_as_far_as_they_can_be(value: str, text: str) -> None:
    assert decoded(value) == text


def test_the_parts_come_in_order_and_attached_messages_stay_shut() -> None:
    assert [part.kind for part in read_parts(SAMPLES["google-failed"])] == [
        "multipart/report",
        "multipart/related",
        "multipart/alternative",
        "text/plain",
        "text/html",
        "image/png",
        "message/delivery-status",
        "message/rfc822",
    ]
    assert [part.kind for part in read_parts(SAMPLES["answer"])] == [
        "multipart/mixed",
        "text/plain",
        "message/rfc822",
    ]


@unhurried
@given(st.binary(), st.sampled_from(["base64", "quoted-printable", "8bit"]))
def test_any_content_is_read(body: bytes, encoding: str) -> None:
    raw = f"From: a@x.example\nContent-Transfer-Encoding: {encoding}\n\n".encode() + body
    (part,) = read_parts(raw)
    assert isinstance(part.text(), str)
    assert b"\r" not in part.content()
