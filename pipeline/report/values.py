"""What a returned mail can be: the values that reading one gives."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal


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
