"""Reports in the words of mail systems that write plain text."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from pipeline.parts import Part
from pipeline.report.fields import RECIPIENTS_LIMIT, first_code
from pipeline.report.shown import ADDRESS_LIMIT, DIAGNOSTIC_LIMIT, shown_text
from pipeline.report.values import Kind, RecipientReport

_WORDS_LIMIT: Final = 64 * 1024
_TEXTS_LIMIT: Final = 3
_LINE_LIMIT: Final = 1000

_SIGNS: Final = tuple(
    (re.compile(pattern, re.IGNORECASE), kind)
    for pattern, kind in (
        # qmail, whose form is called QSBMF
        (r"^Hi\. This is the .{1,200} at ", Kind.FAILED),
        # Exim
        (r"following address\(es\) failed:", Kind.FAILED),
        (r"address.* not yet been delivered.*:$", Kind.DELAYED),
        # Sendmail
        (r"^-+ .*had permanent fatal errors -+$", Kind.FAILED),
        (r"^-+ .*had transient non-fatal errors -+$", Kind.DELAYED),
        # Postfix
        (r"^be delivered to one or more recipients\.", Kind.FAILED),
        (r"^Your message could not be delivered for more than ", Kind.DELAYED),
        # Google
        (r"^Delivery to the following recipients? failed permanently:$", Kind.FAILED),
        (r"^Delivery to the following recipients? has been delayed:$", Kind.DELAYED),
        # Exchange
        (r"^The following recipient\(s\) (?:could not|cannot) be reached:$", Kind.FAILED),
    )
)
"""Lines after which the recipients are named, and what became of the letter to them."""

_RULE: Final = re.compile(r"-{3,}")
_RECIPIENT_LINE: Final = re.compile(
    r"(?:<(?P<bracketed>[^\s<>@]{1,256}@[^\s<>@]{1,255})>:?(?:\s+(?P<words>.*))?"
    r"|(?P<bare>[^\s<>@:]{1,256}@[^\s<>@:]{1,255}):?(?: on \d.*)?)"
)


def texts_of(parts: Sequence[Part]) -> list[Part]:
    """The parts in which a mail system's words may stand: a few, also of some wrong types."""
    return [
        part
        for part in parts
        if part.kind in {"text/plain", "application/octet-stream"}
        or (part.kind.startswith("multipart/") and not part.divided)
    ][:_TEXTS_LIMIT]


def recipients_in(part: Part) -> Iterator[RecipientReport]:
    """Read the recipients out of a mail system's plain text, down to the returned message."""
    kind: Kind | None = None
    address = ""
    words: list[str] = []
    named = 0
    for whole in part.text(_WORDS_LIMIT).split("\n"):
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
            if named > RECIPIENTS_LIMIT:
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
        final_recipient=shown_text(address, ADDRESS_LIMIT),
        status=first_code(diagnostic),
        diagnostic=diagnostic,
    )
