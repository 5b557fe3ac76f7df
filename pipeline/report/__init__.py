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

from collections.abc import Iterable, Sequence
from typing import Final

from pipeline.envelope import ReturnAddress
from pipeline.parts import HEADER_LIMIT, SIZE_LIMIT, Part, read_parts
from pipeline.report.fields import groups_of, report_of, status_parts
from pipeline.report.reasons import Reason, reason_of
from pipeline.report.references import head_of
from pipeline.report.signs import absence, automatic, has_no_return_path, mail_system, receipt
from pipeline.report.values import (
    AutoReply,
    Head,
    Kind,
    MatchedBy,
    Other,
    RecipientReport,
    Reference,
    Report,
    ReturnedMail,
    Unreadable,
)
from pipeline.report.words import recipients_in, texts_of

__all__ = [
    "AutoReply",
    "Head",
    "Kind",
    "MatchedBy",
    "Other",
    "Reason",
    "RecipientReport",
    "Reference",
    "Report",
    "ReturnedMail",
    "Unreadable",
    "read_mail",
    "reason_of",
]

_ANY_MAIL: Final = frozenset(
    {
        "from", "sender", "date", "subject", "to", "received", "return-path", "delivered-to",
        "message-id", "mime-version",
    }
)  # fmt: skip


def read_mail(
    raw: bytes, *, own: ReturnAddress | None = None, envelope_recipients: Iterable[str] = ()
) -> ReturnedMail:
    """Return what a mail says. Never raises.

    `own` reads the tokens in the addresses it was sent to, without it no such reference is found;
    `envelope_recipients` are further addresses it is known to have been delivered to.
    """
    parts = read_parts(raw)
    mail = parts[0]
    head = head_of(parts, own, envelope_recipients)
    if reason := _no_mail(raw, mail):
        return Unreadable(head=head, reason=reason)
    return _report(head, parts) or _without_report(head, parts)


def _report(head: Head, parts: Sequence[Part]) -> Report | Unreadable | None:
    for part in status_parts(parts):
        if report := report_of(head, groups_of(part.content(), anyhow=True)):
            return report
    if not mail_system(parts) and not has_no_return_path(parts[0].fields):
        return None
    texts = texts_of(parts)
    for part in texts:
        if report := report_of(head, groups_of(part.content())):
            return report
    for part in texts:
        if recipients := tuple(recipients_in(part)):
            return Report(head=head, recipients=recipients, form="text")
    return None


def _without_report(head: Head, parts: Sequence[Part]) -> ReturnedMail:
    """What a mail says that reports nothing, the certain signs first.

    Reports too say that they were sent automatically, and absence notes too may come with an empty
    return path.
    """
    fields = parts[0].fields
    if sign := absence(fields, head.subject) or receipt(parts):
        return AutoReply(head=head, sign=sign)
    if reason := mail_system(parts):
        return Unreadable(head=head, reason=reason)
    if sign := automatic(fields):
        return AutoReply(head=head, sign=sign)
    if has_no_return_path(fields):
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
    if mail.start > HEADER_LIMIT:
        return (
            f"The mail's header is longer than the {HEADER_LIMIT:,} octets that are read; look at"
            " it with a mail program."
        )
    if _ANY_MAIL.isdisjoint(mail.fields.values):
        return "This is no mail: it has no header with a sender, a date or a subject."
    return ""
