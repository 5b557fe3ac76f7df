"""The message: every name and address comes back, the PDF is untouched, nothing can be injected."""

import email
import email.policy
import hashlib
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta, timezone
from email.header import decode_header, make_header
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import getaddresses
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.address import ascii_address, split_mailbox
from pipeline.errors import LetterFault
from pipeline.message import (
    Recipient,
    Wording,
    compose_message,
    new_message_id,
    pdf_filename,
)

PDF = b"%PDF-1.7\n" + bytes(range(256)) * 40 + b"\r\n.\r\n%%EOF"
WORDING = Wording(
    subject="Annual Review letter 2020: Stevenage Borough Council",
    text="Dear Mr Partridge\n\nThe letter is attached.\n.\nFrom here on, space \nÎ café\n",
    html="<!doctype html>\n<html lang='en-GB'><p>Dear Mr Partridge \u2013 hello</p></html>\n",
)
NASTY_NAMES = [
    "Mr Partridge",
    "O'Neill, Sir Éamonn",
    'Alex "Sandy" Jones, MBE',
    "back\\slash",
    "Siân Llŷr ap Gŵyn, Prif Weithredwr (Dros Dro)",
    "a@b.example",
    "Jones; <script>",
    "=?utf-8?q?not_an_encoded_word?=",
    "🏴󠁧󠁢󠁷󠁬󠁳󠁿 Family 👨‍👩‍👧‍👦, Council",
    "x" * 500,
    "y" * 1200,
    '"\\"' * 150,
    '"' * 600,
    "Smith, John (Chief Executive and Town Clerk of the Royal Borough of Kingston upon Thames)",
    "Łódź, " * 80 + "end",
    'quote" and, comma ' * 25 + "end",
    "王小明",
    "Chief Executive and Town Clerk of the Royal Borough of Kingston upon Thames and elsewhere",
    ".",
    "a.b",
    "Dr. J. Smith",
]


def recipient(
    name: str = "Mr Partridge", address: str = "chief@stevenage.example", kind: str = "to"
) -> Recipient:
    return Recipient(
        address=address, name=name, role="chief_executive", kind="cc" if kind == "cc" else "to"
    )


def compose(
    recipients: Sequence[Recipient] = (recipient(),),
    *,
    wording: Wording = WORDING,
    pdf: bytes = PDF,
    sender: str = "Local Government and Social Care Ombudsman <letters@ombudsman.example>",
    reply_to: str | None = "Liaison, Council <liaison@ombudsman.example>",
    filename: str = "Annual Review letter 2020 - Stevenage Borough Council.pdf",
    message_id: str = "<abc123@ombudsman.example>",
    date: datetime = datetime(2020, 7, 22, 9, 0, tzinfo=timezone(timedelta(hours=1))),
    extra_headers: dict[str, str] | None = None,
) -> bytes:
    return compose_message(
        wording=wording,
        sender=sender,
        reply_to=reply_to,
        recipients=recipients,
        pdf=pdf,
        pdf_filename=filename,
        message_id=message_id,
        date=date,
        extra_headers=extra_headers,
    )


def parse(data: bytes) -> EmailMessage:
    return email.message_from_bytes(data, policy=email.policy.default)


def addresses(data: bytes, header: str) -> list[tuple[str, str]]:
    """Names and addresses as RFC 2047 has them read.

    The policy's own reading is checked too, except for spaces where two encoded words follow each
    other: up to Python 3.13 it shows the white space between them, which the RFC says does not
    count.
    """
    found = cast("tuple[Address, ...]", parse(data)[header].addresses)
    message = email.message_from_bytes(data, policy=email.policy.compat32)
    raw = re.sub(r"\r?\n", "", message[header])
    read = [
        (str(make_header(decode_header(name))) if "=?" in name else name, address)
        for name, address in getaddresses([raw])
    ]
    lenient = "?= =?" in raw
    for each, (name, address) in zip(found, read, strict=True):
        assert each.addr_spec == address
        assert each.display_name == name or (
            lenient and each.display_name.replace(" ", "") == name.replace(" ", "")
        )
    return read


def check_wire_format(data: bytes) -> None:
    assert data.isascii()
    assert data.endswith(b"\r\n")
    assert b"\n" not in data.replace(b"\r\n", b"")
    assert b"\r" not in data.replace(b"\r\n", b"")
    assert b"\0" not in data
    assert max(len(line) for line in data.split(b"\r\n")) <= 998


def test_it_is_a_whole_message_that_any_mail_reader_takes_apart() -> None:
    data = compose([recipient(), recipient("Link Officer", "link@stevenage.example", "cc")])
    check_wire_format(data)
    message = parse(data)
    assert message.defects == []
    assert message.get_content_type() == "multipart/mixed"
    alternative, pdf = message.iter_parts()
    assert alternative.get_content_type() == "multipart/alternative"
    plain, html = cast("EmailMessage", alternative).iter_parts()
    assert (plain.get_content_type(), html.get_content_type()) == ("text/plain", "text/html")
    assert plain.get_payload(decode=True) == WORDING.text.replace("\n", "\r\n").encode()
    assert html.get_payload(decode=True) == WORDING.html.replace("\n", "\r\n").encode()
    assert plain.get_content_charset() == html.get_content_charset() == "utf-8"
    assert pdf.get_content_type() == "application/pdf"
    assert pdf.get_content_disposition() == "attachment"
    assert pdf.get_filename() == "Annual Review letter 2020 - Stevenage Borough Council.pdf"
    assert pdf.get_payload(decode=True) == PDF
    assert [part.defects for part in message.walk()] == [[]] * 5


def test_headers_say_who_to_whom_and_that_no_person_typed_it() -> None:
    data = compose(
        [
            recipient("Ms A", "a@x.example"),
            recipient("Mr B", "b@x.example"),
            recipient("C", "c@x.example", "cc"),
        ],
        extra_headers={"X-Letters-Reference": "E07000243/2020"},
    )
    message = parse(data)
    assert addresses(data, "From") == [
        ("Local Government and Social Care Ombudsman", "letters@ombudsman.example")
    ]
    assert addresses(data, "Reply-To") == [("Liaison, Council", "liaison@ombudsman.example")]
    assert addresses(data, "To") == [("Ms A", "a@x.example"), ("Mr B", "b@x.example")]
    assert addresses(data, "Cc") == [("C", "c@x.example")]
    assert message["Subject"] == WORDING.subject
    assert message["Date"] == "Wed, 22 Jul 2020 09:00:00 +0100"
    assert message["Message-ID"] == "<abc123@ombudsman.example>"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["Content-Language"] == "en-GB"
    assert message["MIME-Version"] == "1.0"
    assert message["X-Letters-Reference"] == "E07000243/2020"
    assert message["Bcc"] is None


def test_without_copies_or_a_reply_address_those_headers_are_not_there() -> None:
    message = parse(compose(reply_to=None))
    assert "Cc" not in message
    assert "Reply-To" not in message


def test_the_same_arguments_give_the_same_octets_on_every_python() -> None:
    recipients = [
        recipient(name, f"person{index}@x.example") for index, name in enumerate(NASTY_NAMES)
    ]
    data = compose(recipients)
    assert data == compose(recipients)
    assert data != compose(recipients, message_id="<other@ombudsman.example>")
    # The digest is written here so that another Python that encoded differently would be noticed.
    assert hashlib.sha256(data).hexdigest() == (
        "d46edabc827113a8a330027ad4f1f978af82c9f8876f6af765e109ea8f9cd8af"
    )


@pytest.mark.parametrize("name", NASTY_NAMES)
def test_awkward_names_come_back_whole(name: str) -> None:
    people = [recipient(name, "one@x.example"), recipient(name, "two@x.example")]
    data = compose([*people, recipient(name, "three@x.example", "cc")], sender="l@o.example")
    check_wire_format(data)
    if max(map(len, name.split())) <= 60:
        head = data.partition(b"\r\n\r\n")[0]
        assert max(len(line) for line in head.split(b"\r\n")) <= 78
    assert addresses(data, "To") == [(name, "one@x.example"), (name, "two@x.example")]
    assert addresses(data, "Cc") == [(name, "three@x.example")]


printable = st.characters(
    exclude_categories=["Cc", "Cs", "Zl", "Zp"],
    exclude_characters="\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069",
)
names = st.text(printable, max_size=120) | st.text('ab "\\,.;:<>()@=?_éŷ🏴', max_size=120)
atext = "abcdefghijklmnopqrstuvwxyzABCXYZ0123456789!#$%&'*+-/=?^_`{|}~"
local_parts = st.lists(st.text(atext, min_size=1, max_size=12), min_size=1, max_size=4).map(
    ".".join
)
domains = st.lists(
    st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True), min_size=1, max_size=4
).map(lambda labels: ".".join([*labels, "example"]))


@given(
    people=st.lists(st.tuples(names, local_parts, domains), min_size=1, max_size=4),
    subject=st.text(printable, min_size=1, max_size=300).filter(lambda text: text.strip()),
)
def test_every_name_address_and_subject_comes_back(
    people: list[tuple[str, str, str]], subject: str
) -> None:
    recipients = [recipient(name, f"{local}@{domain}") for name, local, domain in people]
    wording = Wording(subject=subject, text="text", html="<p>text</p>")
    data = compose(recipients, wording=wording, pdf=b"%PDF-")
    check_wire_format(data)
    message = parse(data)
    assert addresses(data, "To") == [
        (" ".join(each.name.split()), each.address) for each in recipients
    ]
    assert message["Subject"] == " ".join(subject.split())


@given(
    pdf=st.binary(min_size=1, max_size=2000),
    text=st.text(printable | st.just("\n") | st.just("\t")),
)
def test_pdf_and_words_come_back_exactly(pdf: bytes, text: str) -> None:
    data = compose(wording=Wording(subject="s", text=text, html=f"<pre>{text}</pre>"), pdf=pdf)
    check_wire_format(data)
    assert max(len(line) for line in data.split(b"\r\n")) <= 90  # the attachment's name, unfolded
    message = parse(data)
    parts = [part for part in message.walk() if not part.is_multipart()]
    assert parts[2].get_payload(decode=True) == pdf
    expected = (text.rstrip("\n") + "\n").replace("\n", "\r\n").encode()
    assert parts[0].get_payload(decode=True) == expected


@pytest.mark.parametrize("break_", ["\r\n", "\n", "\r", "\0", "\x0b", "\x85", "\u2028", "\u202e"])
def test_nothing_breaks_out_of_a_header(break_: str) -> None:
    evil = f"x{break_}Bcc: victim@x.example"
    bad_address = f"a{break_}@x.example"
    attempts: list[Callable[[], object]] = [
        lambda: compose([recipient(evil)]),
        lambda: compose([recipient(address=bad_address)]),
        lambda: compose([recipient(address=f"a@x.example{break_}")]),
        lambda: compose([recipient(), recipient(evil, kind="cc")]),
        lambda: compose(sender=f"{evil} <l@o.example>"),
        lambda: compose(reply_to=f"{evil} <l@o.example>"),
        lambda: compose(wording=Wording(subject=evil, text="t", html="h")),
        lambda: compose(filename=f"{evil}.pdf"),
        lambda: compose(message_id=f"<a{break_}b@x.example>"),
        lambda: compose(extra_headers={"X-Note": evil}),
        lambda: compose(extra_headers={f"X{break_}Y": "v"}),
        lambda: new_message_id(f"a{break_}", "l@o.example"),
    ]
    for attempt in attempts:
        with pytest.raises(LetterFault, match=r"Bcc|U\+|x.example|header name|token|domain"):
            attempt()


@pytest.mark.parametrize(
    "address",
    [
        "", "nobody", "@x.example", "a@", "a b@x.example", "a@x y.example", "a,b@x.example",
        "a@b@x.example", ".a@x.example", "a..b@x.example", "a.@x.example", "a@.example",
        "a@x..example", "a@-x.example", "a@x-.example", "a@[127.0.0.1]", "<a@x.example>",
        "siân@x.example", "a" * 65 + "@x.example", "a@" + "x" * 64 + ".example",
        "a@" + "x." * 130 + "example", '"a b"@x.example', "a@straße.example", "a@x.example.",
    ],
)  # fmt: skip
def test_an_address_that_cannot_be_written_to_is_a_fault_that_names_it(address: str) -> None:
    with pytest.raises(LetterFault, match=re.escape(repr(address))):
        ascii_address(address)
    with pytest.raises(LetterFault, match=re.escape(repr(address))):
        compose([recipient(address=address)])


def test_an_international_domain_goes_out_in_plain_letters() -> None:
    assert ascii_address("prif@cyngor-môn.example") == "prif@xn--cyngor-mn-n7a.example"
    assert ascii_address("A.B+c@X.Example") == "A.B+c@X.Example"
    data = compose([recipient("Prif", "prif@cyngor-môn.example")])
    assert addresses(data, "To") == [("Prif", "prif@xn--cyngor-mn-n7a.example")]
    assert new_message_id("t1", "l@Môn.example") == "<t1@xn--mn-8ja.example>"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"date": datetime(2020, 7, 22, 9, 0)}, "time zone"),  # noqa: DTZ001 -- the fault meant
        ({"pdf": b""}, "empty"),
        ({"message_id": "abc"}, "Message-ID"),
        ({"recipients": [recipient(kind="cc")]}, "nobody"),
        ({"wording": Wording(subject="  ", text="t", html="h")}, "subject"),
        ({"wording": Wording(subject="s", text="a\nb\0", html="h")}, "Line 2 of the text/plain"),
        ({"extra_headers": {"Bcc": "a@x.example"}}, "Bcc"),
        ({"extra_headers": {"Content-Type": "text/plain"}}, "Content-Type"),
        ({"extra_headers": {"to": "a@x.example"}}, "to"),
        ({"filename": "../../etc/passwd"}, "etc/passwd"),
        ({"filename": 'a".pdf'}, "cannot|save"),
    ],
)
def test_what_cannot_be_sent_is_a_fault(change: dict[str, object], said: str) -> None:
    with pytest.raises(LetterFault, match=said):
        compose(**change)  # type: ignore[arg-type]


def test_a_file_name_outside_ascii_is_split_up_as_rfc_2231_has_it() -> None:
    name = "Llythyr Adolygiad Blynyddol 2020 – Cyngor Sir Ynys Môn, tŷ'r Cyngor.pdf"
    data = compose(filename=name)
    check_wire_format(data)
    *_, pdf = parse(data).iter_parts()
    assert pdf.get_filename() == name


def test_the_attachment_is_named_after_year_and_authority() -> None:
    assert (
        pdf_filename(2020, "Stevenage Borough Council")
        == "Annual Review letter 2020 - Stevenage Borough Council.pdf"
    )
    assert (
        pdf_filename("2020", "King’s Lynn & West Norfolk/Cyngor Sir Ynys Môn: ŵ")
        == "Annual Review letter 2020 - King's Lynn & West Norfolk-Cyngor Sir Ynys Mon- w.pdf"
    )
    assert pdf_filename(2020, "王") == "Annual Review letter 2020.pdf"
    assert (
        pdf_filename(2020, "Council of " + "the Isles " * 30)
        == "Annual Review letter 2020 - Council of " + "the Isles " * 7 + "the.pdf"
    )


@given(year=st.integers(1000, 9999), authority=st.text(max_size=200))
def test_every_attachment_name_can_be_saved_anywhere(year: int, authority: str) -> None:
    name = pdf_filename(year, authority)
    assert len(name) <= 120
    assert name.isascii()
    assert name.isprintable()
    assert not re.search(r'[<>:"/\\|?*%]', name)
    assert not name[:-4].endswith((" ", "."))
    assert compose(filename=name)


@pytest.mark.parametrize(
    ("mailbox", "name", "address"),
    [
        ("letters@o.example", "", "letters@o.example"),
        (" <letters@o.example>", "", "letters@o.example"),
        ("The Ombudsman <letters@o.example>", "The Ombudsman", "letters@o.example"),
        ('"Jones, \\"Al\\"" <letters@o.example>', 'Jones, "Al"', "letters@o.example"),
        ("Jones, Al <letters@o.example>", "Jones, Al", "letters@o.example"),
    ],
)
def test_a_mailbox_is_a_name_and_an_address(mailbox: str, name: str, address: str) -> None:
    assert split_mailbox(mailbox) == (name, address)


@pytest.mark.parametrize(
    "mailbox", ["a <b> c", "a@x.example>", "<a@x.example", "a <b@x.example> c"]
)
def test_a_mailbox_that_is_neither_is_refused(mailbox: str) -> None:
    with pytest.raises(LetterFault, match="Name <address>"):
        split_mailbox(mailbox)


def test_a_message_id_is_new_for_each_token() -> None:
    assert new_message_id("r1.m7-a", "letters@o.example") == "<r1.m7-a@o.example>"
    with pytest.raises(LetterFault, match="token"):
        new_message_id("a b", "letters@o.example")


def test_a_naive_date_is_not_guessed_at() -> None:
    assert parse(compose(date=datetime(2020, 7, 22, 8, tzinfo=UTC)))["Date"].endswith("+0000")
