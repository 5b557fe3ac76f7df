"""Returned mail: what one mail that came to the address for returned mail says.

Pure. `read_mail` takes the octets of one mail and returns a value: a `Report` of what became of a
letter, an `AutoReply`, `Other` for everything that is no report, or `Unreadable` for what a person
has to read. It never raises, and what it takes is bounded: nothing in returned mail can be trusted,
and anybody can send one.

A report is read in one of two forms:

* the fields of RFC 3464 (and RFC 6533), wherever in the mail they stand: in their own part, in one
  of the wrong type, or in the text of a multipart whose boundary got lost;
* the words of a few mail systems that write, or wrote, plain text: qmail, Exim, Sendmail, Postfix,
  Google, Exchange. They are believed only in a mail that a mail system sent.

Not understood, and so left to a person: plain texts of other systems or in other languages, reports
only in HTML, in pictures or as an attached message, and fields of RFC 3464 that contradict each
other. No further library is asked about those: to guess at a failure is worse than to ask.

A report is proved by nothing but its references. Which of them counts for how much is decided by
whoever calls: `Reference.matched_by` says what each one is.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from itertools import chain
from typing import Final, Literal

from pipeline.address import hidden_character
from pipeline.envelope import Forged, ReturnAddress, Token, unxtext
from pipeline.parts import (
    HEADER_LIMIT,
    SIZE_LIMIT,
    Fields,
    Part,
    decoded,
    fields_of,
    plain_lines,
    read_parts,
)

DIAGNOSTIC_LIMIT: Final = 500
"""Characters of a remote server's words that are kept."""

_ADDRESS_LIMIT: Final = 320
_NAME_LIMIT: Final = 255
_RECIPIENTS_LIMIT: Final = 200
_REFERENCES_LIMIT: Final = 20
_LINE_LIMIT: Final = 1000
_TEXTS_LIMIT: Final = 3
_WORDS_LIMIT: Final = 64 * 1024


class Kind(StrEnum):
    """What became of a letter on its way to one recipient (RFC 3464 section 2.3.3)."""

    DELIVERED = "delivered"
    FAILED = "failed"
    DELAYED = "delayed"
    RELAYED = "relayed"
    EXPANDED = "expanded"


class MatchedBy(StrEnum):
    """What a reference is, the one that proves most first."""

    VERP = "verp"
    ENVID = "envid"
    MESSAGE_ID = "message_id"
    IN_REPLY_TO = "in_reply_to"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """One thing by which a mail can be matched with what was sent.

    `value` is, by `matched_by`: the token of a genuine address; an Original-Envelope-Id; the
    Message-ID of the returned message, in angle brackets; one that the mail says it answers.
    `found_in` is the field it stood in.
    """

    matched_by: MatchedBy
    value: str
    found_in: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What any mail has. Texts are cleaned for display and "" where there are none.

    `references` come the surest first; `forged` are addresses of ours whose mac is wrong. `date` is
    the Date field, in UTC.
    """

    sender: str = ""
    subject: str = ""
    message_id: str = ""
    date: datetime | None = None
    references: tuple[Reference, ...] = ()
    forged: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipientReport:
    """What became of the letter on its way to one recipient.

    Addresses are as the report wrote them, without type and comments, "" if not given; so are the
    enhanced status code (5.1.1), the remote server's words and its name.
    """

    kind: Kind
    original_recipient: str = ""
    final_recipient: str = ""
    status: str = ""
    diagnostic: str = ""
    remote_mta: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A delivery status notification: one or more recipients, in the order they were named.

    `form` is how it was written: in the fields of RFC 3464 or in the words of a mail system.
    `arrived` is when the reporting system got the letter, in UTC. `faults` are sentences about
    recipients that could not be read and that a person should look at.
    """

    head: Head
    recipients: tuple[RecipientReport, ...]
    form: Literal["fields", "text"]
    arrived: datetime | None = None
    faults: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoReply:
    """A machine's answer, such as an absence note: it says nothing about delivery.

    `sign` is what told it, to be put after "because": "it has the field precedence with junk".
    """

    head: Head
    sign: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """What a person has to read; `reason` is a sentence."""

    head: Head
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Other:
    """No report and no automatic answer: somebody wrote, or it is spam."""

    head: Head


ReturnedMail = Report | AutoReply | Unreadable | Other


def read_mail(
    raw: bytes, *, own: ReturnAddress | None = None, envelope_recipients: Iterable[str] = ()
) -> ReturnedMail:
    """Return what a mail says. Never raises.

    `own` reads the tokens in the addresses it was sent to, without it no such reference is found;
    `envelope_recipients` are further addresses it is known to have been delivered to.
    """
    parts = read_parts(raw)
    mail = parts[0]
    head = _head(parts, own, envelope_recipients)
    if reason := _no_mail(raw, mail):
        return Unreadable(head=head, reason=reason)
    return _report(head, parts) or _without_report(head, parts)


def _without_report(head: Head, parts: Sequence[Part]) -> ReturnedMail:
    """What a mail says that reports nothing, the certain signs first.

    Reports too say that they were sent automatically, and absence notes too may come with an empty
    return path.
    """
    fields = parts[0].fields
    if sign := _absence(fields, head.subject) or _receipt(parts):
        return AutoReply(head=head, sign=sign)
    if reason := _mail_system(parts):
        return Unreadable(head=head, reason=reason)
    if sign := _automatic(fields):
        return AutoReply(head=head, sign=sign)
    if _has_no_return_path(fields):
        return Unreadable(
            head=head,
            reason="The mail has an empty return path, as only machines send, and is in no form"
            " that is known here.",
        )
    return Other(head=head)


def _no_mail(raw: bytes, mail: Part) -> str:
    """Why something is no mail that can be read, or ""."""
    if len(raw) > SIZE_LIMIT:
        return (
            f"The mail has {len(raw):,} octets, more than the {SIZE_LIMIT:,} that are read; look"
            " at it with a mail program."
        )
    if not raw.strip(b"\0\r\n\t "):
        return "The mail is empty."
    if mail.start - HEADER_LIMIT > 0:
        return (
            f"The mail's header is longer than the {HEADER_LIMIT:,} octets that are read; look at"
            " it with a mail program."
        )
    if _ANY_MAIL.isdisjoint(mail.fields.values):
        return "This is no mail: it has no header with a sender, a date or a subject."
    return ""


_ANY_MAIL: Final = frozenset(
    {
        "from", "sender", "date", "subject", "to", "received", "return-path", "delivered-to",
        "message-id", "mime-version",
    }
)  # fmt: skip

# ------------------------------------------------------------------------------------------ fields

_TYPE: Final = re.compile(r"^[A-Za-z][A-Za-z0-9-]{0,40}\s*;\s*")
_DIAGNOSTIC_TYPE: Final = re.compile(r"^(?:smtp|lmtp|dns|x-[a-z0-9-]{1,40})\s*;\s*", re.IGNORECASE)
_STATUS: Final = re.compile(r"(?<![\d.])[245]\.\d{1,3}\.\d{1,3}(?![\d.]*\d)")
_HEXADECIMAL: Final = re.compile(r"\\x\{([0-9A-Fa-f]{2,6})\}")
_OF_A_RECIPIENT: Final = frozenset({b"original-recipient", b"final-recipient", b"action"})
_ACTION: Final = re.compile(r"[A-Za-z]+")
_STATUS_PART: Final = re.compile(r"(?:message|text|application)/(?:global-)?delivery-status")
_MAIL_PART: Final = re.compile(r"(?:message|text)/(?:rfc822|global)(?:-headers?)?")
_LINE_NAME: Final = re.compile(rb"([!-9;-~]{1,80})[ \t]*:")


def _report(head: Head, parts: Sequence[Part]) -> Report | Unreadable | None:
    for part in _status_parts(parts):
        if report := _from_fields(head, _groups(part.content(), anyhow=True)):
            return report
    if not _mail_system(parts) and not _has_no_return_path(parts[0].fields):
        return None
    texts = _texts(parts)
    for part in texts:
        if report := _from_fields(head, _groups(part.content())):
            return report
    for part in texts:
        if recipients := tuple(_from_words(part.text(_WORDS_LIMIT))):
            return Report(head=head, recipients=recipients, form="text")
    return None


def _status_parts(parts: Sequence[Part]) -> list[Part]:
    return [part for part in parts if _STATUS_PART.fullmatch(part.kind)][:_TEXTS_LIMIT]


def _texts(parts: Sequence[Part]) -> list[Part]:
    """The parts in which a mail system's words may stand: a few, also of some wrong types."""
    return [
        part
        for part in parts
        if part.kind in {"text/plain", "application/octet-stream"}
        or (part.kind.startswith("multipart/") and not part.divided)
    ][:_TEXTS_LIMIT]


def _from_fields(head: Head, groups: Sequence[Fields]) -> Report | Unreadable | None:
    """Read the groups that name recipients; None if there are none."""
    named = [fields for fields in groups if "final-recipient" in fields or _is_whole(fields)]
    recipients: list[RecipientReport] = []
    faults: list[str] = []
    for fields in named[:_RECIPIENTS_LIMIT]:
        read = _recipient(fields)
        if isinstance(read, str):
            faults.append(read)
        else:
            recipients.append(read)
    if len(named) > _RECIPIENTS_LIMIT:
        faults.append(
            f"The report names {len(named)} recipients; the first {_RECIPIENTS_LIMIT} were read."
        )
    if recipients:
        dates = (_date(fields.first("arrival-date")) for fields in groups)
        return Report(
            head=head,
            recipients=tuple(recipients),
            form="fields",
            arrived=next((date for date in dates if date), None),
            faults=tuple(faults),
        )
    return Unreadable(head=head, reason=faults[0]) if faults else None


def _is_whole(fields: Fields) -> bool:
    """Whether a group names a recipient and says what became of the letter."""
    named = "final-recipient" in fields or "original-recipient" in fields
    return named and ("action" in fields or "status" in fields)


def _groups(content: bytes, *, anyhow: bool = False) -> list[Fields]:
    """Return the groups of fields, one for each recipient and any others.

    Groups are parted by blank lines. Some gateways take those away, others put one after every
    line; then a group begins at each field of the name that the first one begins with. Blank lines
    are disregarded only if `anyhow`: the content is known to be nothing but such fields.
    """
    groups: list[list[bytes]] = [[]]
    for line in content.split(b"\n"):
        if line.strip():
            groups[-1].append(line)
        elif groups[-1]:
            groups.append([])
    found = [fields_of(group) for group in chain.from_iterable(map(_divided, groups))]
    if anyhow and not any(map(_is_whole, found)):
        found = [fields_of(group) for group in _divided([*chain.from_iterable(groups)])]
    return [fields for fields in found if fields]


def _divided(lines: list[bytes]) -> list[list[bytes]]:
    """Divide lines that name several recipients, if it is certain where."""
    names = [match[1].lower() if (match := _LINE_NAME.match(line)) else b"" for line in lines]
    first = next((name for name in names if name in _OF_A_RECIPIENT), b"")
    if not first or names.count(first) < 2:
        return [lines]
    starts = [at for at, name in enumerate(names) if name == first]
    return [
        lines[: starts[0]],
        *(lines[at:then] for at, then in zip(starts, [*starts[1:], len(lines)], strict=True)),
    ]


def _recipient(fields: Fields) -> RecipientReport | str:
    """Read one recipient's fields, or return the sentence that says why they cannot be read."""
    final = _address(fields.first("final-recipient"))
    original = _address(fields.first("original-recipient"))
    shown = f"The report about {final or original or 'a recipient without an address'}"
    if max(len(fields.all(name)) for name in ("final-recipient", "action", "status")) > 1:
        return f"{shown} names several recipients or outcomes in one group of fields."
    if not final and not original:
        return f"{shown} cannot be matched with a recipient."
    diagnostic = _words(fields.first("diagnostic-code"))
    stated = _first_code(fields.first("status"))
    status = stated or _first_code(diagnostic)
    kind = _kind(fields.first("action"), stated)
    if kind is None:
        action = shown_text(fields.first("action"), 60) or "missing"
        return (
            f"{shown} has the action {action} and the status {stated or 'missing'}, from which it"
            " cannot be told what became of the letter."
        )
    return RecipientReport(
        kind=kind,
        original_recipient=original,
        final_recipient=final,
        status=status,
        diagnostic=diagnostic,
        remote_mta=_name(fields.first("remote-mta")),
    )


def _kind(action: str, status: str) -> Kind | None:
    """The outcome; None if the action is unknown, or claims success where the status denies it."""
    word = _ACTION.match(action.strip())
    said = word[0].lower() if word else ""
    if said in set(Kind):
        kind = Kind(said)
        if kind not in {Kind.FAILED, Kind.DELAYED} and status[:1] in {"4", "5"}:
            return None
        return kind if kind is not Kind.FAILED or status[:1] != "2" else None
    # Without an action a failure can be told by its status. A success cannot: 2 means no more than
    # that somebody took the letter, and what is called delivered must have been said to be.
    return {"5": Kind.FAILED, "4": Kind.DELAYED}.get(status[:1]) if not said else None


def _first_code(text: str) -> str:
    """The first enhanced status code in a text, or ""."""
    code = _STATUS.search(text)
    return code[0] if code else ""


def _address(value: str) -> str:
    """An address without its type ("rfc822;"), comments and brackets."""
    bare = _HEXADECIMAL.sub(_character, _without_comments(_TYPE.sub("", value.strip(), count=1)))
    return shown_text(bare.removeprefix("<").removesuffix(">"), _ADDRESS_LIMIT)


def _character(match: re.Match[str]) -> str:
    """The character that RFC 6533 writes as \\x{...}."""
    number = int(match[1], 16)
    return chr(number) if number <= 0x10FFFF and not 0xD800 <= number <= 0xDFFF else "\ufffd"


def _name(value: str) -> str:
    return shown_text(_without_comments(_TYPE.sub("", value.strip(), count=1)), _NAME_LIMIT)


def _words(value: str) -> str:
    return shown_text(_DIAGNOSTIC_TYPE.sub("", decoded(value).strip(), count=1), DIAGNOSTIC_LIMIT)


def _without_comments(value: str) -> str:
    """What stands before the first comment: none stands before or within what is named."""
    return value.partition("(")[0].strip() or value


def _date(value: str) -> datetime | None:
    """A date field in UTC; one without a zone is taken to be in UTC."""
    if not value:
        return None
    try:
        date = parsedate_to_datetime(value[:100])
        return date.replace(tzinfo=UTC) if date.tzinfo is None else date.astimezone(UTC)
    except (ValueError, TypeError, LookupError, OverflowError, AttributeError):
        return None


def shown_text(text: str, limit: int) -> str:
    """Return a text that anybody may have written so that it can be shown on one line.

    Blanks are single spaces, characters that do not show or change the direction of writing become
    the replacement character, and what is longer than `limit` characters ends in an ellipsis.
    """
    words = " ".join(text[: 4 * limit].split())
    plain = words
    if not (words.isascii() and words.isprintable()):
        plain = "".join("\ufffd" if hidden_character(one) else one for one in words)
    cut = len(plain) > limit or len(text) > 4 * limit
    return f"{plain[: limit - 1]}…" if cut else plain


# ------------------------------------------------------------------------------------------- words

_SIGNS: Final = tuple(
    (re.compile(pattern, re.IGNORECASE), kind)
    for pattern, kind in (
        (r"^Hi\. This is the .{1,200} at ", Kind.FAILED),  # qmail (QSBMF)
        (r"following address\(es\) failed:", Kind.FAILED),  # Exim
        (r"address.* not yet been delivered.*:$", Kind.DELAYED),
        (r"^-+ .*had permanent fatal errors -+$", Kind.FAILED),  # Sendmail
        (r"^-+ .*had transient non-fatal errors -+$", Kind.DELAYED),
        (r"^be delivered to one or more recipients\.", Kind.FAILED),  # Postfix
        (r"^Your message could not be delivered for more than ", Kind.DELAYED),
        (r"^Delivery to the following recipients? failed permanently:$", Kind.FAILED),  # Google
        (r"^Delivery to the following recipients? has been delayed:$", Kind.DELAYED),
        (
            r"^The following recipient\(s\) (?:could not|cannot) be reached:$",
            Kind.FAILED,
        ),  # Exchange
    )
)
"""Lines after which the recipients are named, and what became of the letter to them."""

_RULE: Final = re.compile(r"-{3,}")
_RECIPIENT_LINE: Final = re.compile(
    r"(?:<(?P<bracketed>[^\s<>@]{1,256}@[^\s<>@]{1,255})>:?(?:\s+(?P<words>.*))?"
    r"|(?P<bare>[^\s<>@:]{1,256}@[^\s<>@:]{1,255}):?(?: on \d.*)?)"
)


def _from_words(text: str) -> Iterator[RecipientReport]:
    """Read the recipients out of a mail system's plain text, down to the returned message."""
    kind: Kind | None = None
    address = ""
    words: list[str] = []
    named = 0
    for whole in text.split("\n"):
        line = whole[:_LINE_LIMIT].strip()
        said = next((kind for sign, kind in _SIGNS if sign.search(line)), None)
        rule = _RULE.match(line) is not None
        found = _RECIPIENT_LINE.fullmatch(line) if kind and not said and not rule else None
        if address and kind and (said or rule or found):
            yield _worded(kind, address, words)
            address = ""
        if said or rule:
            kind = said
        elif found:
            named += 1
            if named > _RECIPIENTS_LIMIT:
                return
            address = found["bracketed"] or found["bare"]
            words = [found["words"] or ""]
        elif address and len(words) < 40:
            words.append(line)
    if address and kind:
        yield _worded(kind, address, words)


def _worded(kind: Kind, address: str, words: Iterable[str]) -> RecipientReport:
    diagnostic = shown_text(" ".join(words), DIAGNOSTIC_LIMIT)
    return RecipientReport(
        kind=kind,
        final_recipient=shown_text(address, _ADDRESS_LIMIT),
        status=_first_code(diagnostic),
        diagnostic=diagnostic,
    )


# ------------------------------------------------------------------------------------- who sent it

_MAIL_SYSTEM: Final = re.compile(
    r"(?:mailer-?daemon|postmaster|mail-?daemon|maildelivery|microsoftexchange[0-9a-f]{32})"
    r"(?=[@\s]|$)",
    re.IGNORECASE,
)
_ANGLE: Final = re.compile(r"<([^<>]*)>\s*$")


def _mail_system(parts: Sequence[Part]) -> str:
    """Say how a mail shows that a mail system sent it, for one that was not understood; or ""."""
    fields = parts[0].fields
    if any(part.kind == "multipart/report" or _STATUS_PART.fullmatch(part.kind) for part in parts):
        return "The mail calls itself a report, and holds none that can be read."
    sender = fields.first("from")[:_LINE_LIMIT].strip()
    angle = _ANGLE.search(sender)
    if _MAIL_SYSTEM.match(angle[1] if angle else sender):
        return "The mail comes from a mail system, and is in no form that is known here."
    if "x-failed-recipients" in fields:
        return "The mail names failed recipients, and is in no form that is known here."
    return ""


def _has_no_return_path(fields: Fields) -> bool:
    return fields.first("return-path").replace(" ", "") == "<>"


# -------------------------------------------------------------------------------------- automatic

_ABSENCE_FIELDS: Final = (
    "x-autoreply", "x-auto-reply", "x-autorespond", "x-autoresponder", "x-autoresponse",
    "x-mail-autoreply", "x-autoreply-from", "x-autoreply-sender", "x-vacation",
)  # fmt: skip

_RECEIPT_PART: Final = re.compile(r"message/(?:global-)?disposition-notification")

# How absence notes begin, in small letters, as mail programs and people write them.
_ABSENCE_SUBJECTS: Final = (
    "automatic reply", "automatic response", "automated reply", "automated response",
    "auto reply", "auto-reply", "autoreply", "auto response", "auto-response", "autoresponse",
    "out of office", "out of the office", "out-of-office", "i am out of the office",
    "away from my mail", "away from the office", "on annual leave", "vacation reply",
    "ateb awtomatig", "ymateb awtomatig", "allan o'r swyddfa", "allan o’r swyddfa",
    "freagra uathoibríoch", "as an oifig", "freagairt fhèin-ghluasadach",
    "réponse automatique", "absence du bureau", "absent du bureau", "absente du bureau",
    "message d'absence", "message d’absence",
    "automatische antwort", "abwesenheit", "automatisch antwoord", "afwezig",
    "respuesta automática", "fuera de la oficina", "resposta automática", "ausência",
    "risposta automatica", "fuori sede", "fuori ufficio", "răspuns automat",
    "automatisk svar", "automatiskt svar", "autosvar", "frånvaro", "fravær",
    "automaattinen vastaus", "poissa", "sjálfvirkt svar", "automaatvastus",
    "odpowiedź automatyczna", "automatyczna odpowiedź", "automatická odpověď",
    "automatická odpoveď", "automatikus válasz", "automatski odgovor", "samodejni odgovor",
    "automatinis atsakymas", "automātiskā atbilde", "otomatik yanıt", "αυτόματη απάντηση",
    "автоматический ответ", "автоответ", "автоматична відповідь", "автоматичен отговор",
    "自動応答", "自動返信", "自动答复", "自动回复", "自動回覆", "자동 회신", "자동 응답",
)  # fmt: skip


def _absence(fields: Fields, subject: str) -> str:
    """The sign by which a mail is an absence note, whoever it comes from; or ""."""
    for name in _ABSENCE_FIELDS:
        if name in fields:
            return f"it has the field {name}"
    for name, value in (
        ("precedence", "auto_reply"),
        ("x-precedence", "auto_reply"),
        ("preference", "auto_reply"),
        ("delivered-to", "autoresponder"),
        ("x-autogenerated", "reply"),
        ("x-post-messageclass", "9; autoresponder"),
    ):
        if any(value == each.strip().lower() for each in fields.all(name)):
            return f"it has the field {name} with {value}"
    # Only at the beginning: whoever answers an absence note is a person.
    if subject.casefold().startswith(_ABSENCE_SUBJECTS):
        return f"its subject is “{shown_text(subject, 80)}”"
    return ""


def _receipt(parts: Sequence[Part]) -> str:
    """The sign by which a mail is a receipt for having been read (RFC 8098), or ""."""
    return "it is a receipt: the letter was shown or deleted" if _receipts(parts) else ""


def _receipts(parts: Sequence[Part]) -> list[Fields]:
    return [fields_of(part.content()) for part in parts if _RECEIPT_PART.fullmatch(part.kind)][
        :_TEXTS_LIMIT
    ]


def _automatic(fields: Fields) -> str:
    """The sign by which a mail was written by a machine (RFC 3834), or ""."""
    submitted = fields.first("auto-submitted").partition(";")[0].strip().lower()
    if submitted and not submitted.startswith("no"):
        return f"it has the field auto-submitted with {shown_text(submitted, 40)}"
    answers = "in-reply-to" in fields or "references" in fields
    precedence = fields.first("precedence").strip().lower()
    # Newsletters are sent so too, but they answer nobody.
    if answers and precedence in {"bulk", "junk"} and "list-id" not in fields:
        return f"it has the field precedence with {precedence}, and answers a mail"
    if fields.first("x-fc-machinegenerated").strip().lower() == "true":
        return "it has the field x-fc-machinegenerated"
    return ""


# -------------------------------------------------------------------------------------- references

# What says where the mail was delivered, what delivered it first.
_DELIVERED: Final = (
    "delivered-to", "x-original-to", "envelope-to", "x-envelope-to", "x-delivered-to",
    "x-rcpt-to", "x-forwarded-to", "received", "to", "cc", "resent-to", "apparently-to",
)  # fmt: skip
_RETURNED_SENDER: Final = ("return-path", "x-envelope-from", "x-postfix-sender")
_BETWEEN_ADDRESSES: Final = re.compile(r"[\s<>()\[\]\",;:]+")
_MESSAGE_ID: Final = re.compile(r"<[^<>\s]{1,250}>")
_BARE_MESSAGE_ID: Final = re.compile(r"[^<>\s@]{1,150}@[^<>\s@]{1,100}")
_WRITTEN_MESSAGE_ID: Final = re.compile(
    r"^[ \t>]{0,20}Message-ID:\s{0,20}(<[^<>\s]{1,250}>)", re.IGNORECASE | re.MULTILINE
)


def _head(
    parts: Sequence[Part], own: ReturnAddress | None, envelope_recipients: Iterable[str]
) -> Head:
    mail = parts[0].fields
    known = _status_parts(parts) or (_texts(parts) if _mail_system(parts) else [])
    status = [
        fields for part in known for fields in _groups(part.content())[: 2 * _RECIPIENTS_LIMIT]
    ]
    returned = list(_returned(parts))
    addresses = chain(
        (("envelope", address) for address in envelope_recipients),
        _values([mail], _DELIVERED),
        _values([*status, *returned], _RETURNED_SENDER),
    )
    tokens, forged = _tokens(addresses, own)
    message_ids = _message_ids(mail.first("message-id"))
    references = chain(
        (
            Reference(matched_by=MatchedBy.VERP, value=token, found_in=name)
            for name, token in tokens
        ),
        _envelope_ids(status),
        _returned_ids(parts, status, returned),
        (
            Reference(matched_by=MatchedBy.IN_REPLY_TO, value=value, found_in=name)
            for name, each in _values([mail], ("in-reply-to", "references"))
            for value in reversed(_message_ids(each))
        ),
    )
    once: dict[tuple[MatchedBy, str], Reference] = {}
    for each in references:
        once.setdefault((each.matched_by, each.value), each)
    return Head(
        sender=shown_text(decoded(mail.first("from")), _ADDRESS_LIMIT),
        subject=shown_text(decoded(mail.first("subject")), _NAME_LIMIT),
        message_id=message_ids[0] if message_ids else "",
        date=_date(mail.first("date")),
        references=tuple(once.values())[:_REFERENCES_LIMIT],
        forged=tuple(forged),
    )


def _values(blocks: Iterable[Fields], names: Iterable[str]) -> list[tuple[str, str]]:
    """The fields of the given names, in the order of the names, with the names."""
    known = list(blocks)
    return [(name, value) for name in names for fields in known for value in fields.all(name)]


def _tokens(
    addresses: Iterable[tuple[str, str]], own: ReturnAddress | None
) -> tuple[list[tuple[str, str]], list[str]]:
    """Return the tokens with where they were found, and the forged addresses."""
    tokens: dict[str, str] = {}
    forged: dict[str, None] = {}
    if own is None:
        return [], []
    for name, value in addresses:
        for address in _BETWEEN_ADDRESSES.split(value):
            match own.token_of(address):
                case Token(value=token):
                    tokens.setdefault(token, name)
                case Forged(address=bad):
                    forged[shown_text(bad, _ADDRESS_LIMIT)] = None
                case None:
                    pass
    return (
        [(name, token) for token, name in tokens.items()][:_REFERENCES_LIMIT],
        list(forged)[:_REFERENCES_LIMIT],
    )


def _envelope_ids(status: Iterable[Fields]) -> Iterator[Reference]:
    """The envelope's identifier as it stands, and decoded where a system left it in xtext."""
    for name, value in _values(status, ("original-envelope-id",)):
        for each in dict.fromkeys((value, unxtext(value) or value)):
            if shown := shown_text(each, _NAME_LIMIT):
                yield Reference(matched_by=MatchedBy.ENVID, value=shown, found_in=name)


def _returned_ids(
    parts: Sequence[Part], status: Iterable[Fields], returned: Iterable[Fields]
) -> Iterator[Reference]:
    """The Message-ID of the message that came back."""
    named = [
        *_values(returned, ("message-id",)),
        *_values(status, ("x-original-message-id",)),
        *_values(_receipts(parts), ("original-message-id",)),
    ]
    written = [
        ("text", match[1])
        for part in _texts(parts)
        if not named
        for match in _WRITTEN_MESSAGE_ID.finditer(part.text())
    ][:1]
    for name, value in [*named, *written]:
        for each in _message_ids(value)[:1]:
            yield Reference(matched_by=MatchedBy.MESSAGE_ID, value=each, found_in=name)


def _returned(parts: Sequence[Part]) -> Iterator[Fields]:
    """The headers of messages that came back within the mail, also in parts of a wrong type."""
    attached = [part for part in parts[1:] if _MAIL_PART.fullmatch(part.kind)]
    if not attached and parts[0].kind == "multipart/report":
        attached = [part for part in parts[3:] if not _STATUS_PART.fullmatch(part.kind)]
    for part in attached[:_TEXTS_LIMIT]:
        content = plain_lines(part.content()).lstrip(b"\n")
        fields = fields_of(content.partition(b"\n\n")[0])
        if fields:
            yield fields


def _message_ids(value: str) -> list[str]:
    bracketed = _MESSAGE_ID.findall(value)
    if bracketed:
        return [shown_text(each, _NAME_LIMIT) for each in bracketed]
    bare = _BARE_MESSAGE_ID.fullmatch(value.strip())
    return [f"<{shown_text(bare[0], _NAME_LIMIT)}>"] if bare else []
