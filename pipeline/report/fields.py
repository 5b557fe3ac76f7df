"""Reports in the fields of RFC 3464, and of RFC 6533 for international addresses."""

import re
from collections.abc import Sequence
from itertools import chain
from typing import Final

from pipeline.parts import Fields, Part, decoded, fields_of
from pipeline.report.shown import ADDRESS_LIMIT, DIAGNOSTIC_LIMIT, NAME_LIMIT, shown_text, utc_date
from pipeline.report.values import Head, Kind, RecipientReport, Report, Unreadable

RECIPIENTS_LIMIT: Final = 200

_GROUPS_LIMIT: Final = 1000
_STATUS_PARTS_LIMIT: Final = 3
_STATUS_PART: Final = re.compile(r"(?:message|text|application)/(?:global-)?delivery-status")
_TYPE: Final = re.compile(r"^[A-Za-z][A-Za-z0-9-]{0,40}\s*;\s*")
_DIAGNOSTIC_TYPE: Final = re.compile(r"^(?:smtp|lmtp|dns|x-[a-z0-9-]{1,40})\s*;\s*", re.IGNORECASE)
_STATUS: Final = re.compile(r"(?<![\d.])[245]\.\d{1,3}\.\d{1,3}(?![\d.]*\d)")
_HEXADECIMAL: Final = re.compile(r"\\x\{([0-9A-Fa-f]{2,6})\}")
_OF_A_RECIPIENT: Final = frozenset({b"original-recipient", b"final-recipient", b"action"})
_ACTION: Final = re.compile(r"[A-Za-z]+")
_LINE_NAME: Final = re.compile(rb"([!-9;-~]{1,80})[ \t]*:")


def status_parts(parts: Sequence[Part]) -> list[Part]:
    """The parts that are meant for such fields: a mail has one, and no more than a few are read."""
    return [part for part in parts if _STATUS_PART.fullmatch(part.kind)][:_STATUS_PARTS_LIMIT]


def groups_of(content: bytes, *, anyhow: bool = False) -> list[Fields]:
    """Return the groups of fields, one for each recipient and any others.

    Groups are parted by blank lines. Some gateways take those away, others put one after every
    line; then a group begins at each field of the name that the first one begins with. Blank lines
    are disregarded only if `anyhow`: the content is known to be nothing but such fields.
    """
    groups: list[list[bytes]] = [[]]
    for line in content.split(b"\n"):
        if line.strip():
            groups[-1].append(line)
        elif len(groups) > _GROUPS_LIMIT:
            break
        elif groups[-1]:
            groups.append([])
    found = [fields_of(group) for group in chain.from_iterable(map(_divided, groups))]
    if anyhow and not any(map(_is_whole, found)):
        found = [fields_of(group) for group in _divided([*chain.from_iterable(groups)])]
    return [fields for fields in found if fields]


def report_of(head: Head, groups: Sequence[Fields]) -> Report | Unreadable | None:
    """Read the groups that name recipients; None if there are none."""
    named = [fields for fields in groups if "final-recipient" in fields or _is_whole(fields)]
    recipients: list[RecipientReport] = []
    faults: list[str] = []
    for fields in named[:RECIPIENTS_LIMIT]:
        read = _recipient(fields)
        if isinstance(read, str):
            faults.append(read)
        else:
            recipients.append(read)
    if len(named) > RECIPIENTS_LIMIT:
        faults.append(
            f"The report names more than {RECIPIENTS_LIMIT} recipients; only so many were read."
        )
    if recipients:
        dates = (utc_date(fields.first("arrival-date")) for fields in groups)
        return Report(
            head=head,
            recipients=tuple(recipients),
            form="fields",
            arrived=next((date for date in dates if date), None),
            faults=tuple(faults),
        )
    return Unreadable(head=head, reason=faults[0]) if faults else None


def first_code(text: str) -> str:
    """The first enhanced status code in a text, or ""."""
    code = _STATUS.search(text)
    return code[0] if code else ""


def _is_whole(fields: Fields) -> bool:
    """Whether a group names a recipient and says what became of the letter."""
    named = "final-recipient" in fields or "original-recipient" in fields
    return named and ("action" in fields or "status" in fields)


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
    stated = first_code(fields.first("status"))
    status = stated or first_code(diagnostic)
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


def _address(value: str) -> str:
    """An address without its type ("rfc822;"), comments and brackets."""
    bare = _HEXADECIMAL.sub(_character, _without_comments(_TYPE.sub("", value.strip(), count=1)))
    return shown_text(bare.removeprefix("<").removesuffix(">"), ADDRESS_LIMIT)


def _character(match: re.Match[str]) -> str:
    """The character that RFC 6533 writes as \\x{...}."""
    number = int(match[1], 16)
    return chr(number) if number <= 0x10FFFF and not 0xD800 <= number <= 0xDFFF else "\ufffd"


def _name(value: str) -> str:
    return shown_text(_without_comments(_TYPE.sub("", value.strip(), count=1)), NAME_LIMIT)


def _words(value: str) -> str:
    return shown_text(_DIAGNOSTIC_TYPE.sub("", decoded(value).strip(), count=1), DIAGNOSTIC_LIMIT)


def _without_comments(value: str) -> str:
    """What stands before the first comment: none stands before or within what is named."""
    return value.partition("(")[0].strip() or value
