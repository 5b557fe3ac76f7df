"""What every mail has, and the references by which it can be matched with what was sent."""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Final

from pipeline.envelope import Forged, ReturnAddress, Token, unxtext
from pipeline.parts import Fields, Part, decoded, fields_of, plain_lines
from pipeline.report.fields import RECIPIENTS_LIMIT, groups_of, status_parts
from pipeline.report.shown import ADDRESS_LIMIT, NAME_LIMIT, shown_text, utc_date
from pipeline.report.signs import mail_system, receipts
from pipeline.report.values import Head, MatchedBy, Reference
from pipeline.report.words import texts_of

_REFERENCES_LIMIT: Final = 20
_RETURNED_LIMIT: Final = 3

# What says where the mail was delivered, what delivered it first.
_DELIVERED: Final = (
    "delivered-to", "x-original-to", "envelope-to", "x-envelope-to", "x-delivered-to",
    "x-rcpt-to", "x-forwarded-to", "received", "to", "cc", "resent-to", "apparently-to",
)  # fmt: skip
_RETURNED_SENDER: Final = ("return-path", "x-envelope-from", "x-postfix-sender")
_BETWEEN_ADDRESSES: Final = re.compile(r"[\s<>()\[\]\",;:]+")
_MAIL_PART: Final = re.compile(r"(?:message|text)/(?:rfc822|global)(?:-headers?)?")
_MESSAGE_ID: Final = re.compile(r"<[^<>\s]{1,250}>")
_BARE_MESSAGE_ID: Final = re.compile(r"[^<>\s@]{1,150}@[^<>\s@]{1,100}")
_WRITTEN_MESSAGE_ID: Final = re.compile(
    r"^[ \t>]{0,20}Message-ID:\s{0,20}(<[^<>\s]{1,250}>)", re.IGNORECASE | re.MULTILINE
)


def head_of(
    parts: Sequence[Part], own: ReturnAddress | None, envelope_recipients: Iterable[str]
) -> Head:
    """Return the head of a mail; `own` reads the tokens in the addresses it was delivered to."""
    mail = parts[0].fields
    known = status_parts(parts) or (texts_of(parts) if mail_system(parts) else [])
    status = [
        fields for part in known for fields in groups_of(part.content())[: 2 * RECIPIENTS_LIMIT]
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
        sender=shown_text(decoded(mail.first("from")), ADDRESS_LIMIT),
        subject=shown_text(decoded(mail.first("subject")), NAME_LIMIT),
        message_id=message_ids[0] if message_ids else "",
        date=utc_date(mail.first("date")),
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
                    forged[shown_text(bad, ADDRESS_LIMIT)] = None
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
            if shown := shown_text(each, NAME_LIMIT):
                yield Reference(matched_by=MatchedBy.ENVID, value=shown, found_in=name)


def _returned_ids(
    parts: Sequence[Part], status: Iterable[Fields], returned: Iterable[Fields]
) -> Iterator[Reference]:
    """The Message-ID of the message that came back."""
    named = [
        *_values(returned, ("message-id",)),
        *_values(status, ("x-original-message-id",)),
        *_values(receipts(parts), ("original-message-id",)),
    ]
    written = [
        ("text", match[1])
        for part in texts_of(parts)
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
        known = status_parts(parts)
        attached = [part for part in parts[3:] if part not in known]
    for part in attached[:_RETURNED_LIMIT]:
        content = plain_lines(part.content()).lstrip(b"\n")
        fields = fields_of(content.partition(b"\n\n")[0])
        if fields:
            yield fields


def _message_ids(value: str) -> list[str]:
    bracketed = _MESSAGE_ID.findall(value)
    if bracketed:
        return [shown_text(each, NAME_LIMIT) for each in bracketed]
    bare = _BARE_MESSAGE_ID.fullmatch(value.strip())
    return [f"<{shown_text(bare[0], NAME_LIMIT)}>"] if bare else []
