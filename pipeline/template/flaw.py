"""What is wrong with a template: one thing, its place in Word's terms, and what to do there.

Whoever needs a sound template raises a flaw; whoever mends the file is shown all of them.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from lxml import etree

from pipeline.errors import Misconfigured
from pipeline.template.vocabulary import short, spot


class Kind(StrEnum):
    """What sort of thing is wrong, for scripts."""

    UNKNOWN_FIELD = "unknown field"
    UNCLOSED_TAG = "unclosed tag"
    SPLIT_TAG = "split tag"
    TAG = "tag"
    """It cannot be understood, or does what none may."""
    MISPLACED_TAG = "misplaced tag"
    CURLY_QUOTES = "curly quotes"
    RING = "ring"
    NOT_SHOWN = "not shown"
    """What each PDF is proved by is printed nowhere."""
    SCREENTIP = "ScreenTip"
    ALTERNATIVE_TEXT = "alternative text"
    HEADING = "heading"
    LANGUAGE = "language"
    CHARACTER = "character"
    FONT = "font"
    LINK = "link"
    FETCHED = "fetched"
    """A picture, template or document that lies elsewhere."""
    OBJECT = "object"
    WORD_FIELD = "Word field"
    TRACKED_CHANGE = "tracked change"
    COMMENT = "comment"
    STYLE = "style"
    TITLE = "title"
    TABLE = "table"
    SIZE = "size"
    MESSAGE = "message"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Place:
    """Where in the document: as text, the part, the heading above and the words there.

    `part` is the part's name in the file. `element` is what the place is known by more closely,
    and `start` and `end` the stretch of its paragraph's words that is meant. What is not in the
    words but in a drawing's or link's `owned` text has that as its `value`. Without `said` the
    place is not part of the sentence.
    """

    said: str
    part: str = ""
    heading: str = ""
    words: str = ""
    element: etree._Element | None = None
    start: int = 0
    end: int = 0
    owned: str = ""
    value: str = ""

    def __str__(self) -> str:
        place = spot(self.said, heading=self.heading, words=self.words)
        return f"{place}, in {self.owned} “{short(self.value)}”" if self.owned else place


class Flaw(Misconfigured):
    """One thing that is wrong.

    `what` and `mend` are clauses without their full stops: in the sentence the place stands first,
    or before `rest` where that is given. `advice` is for who mends the file, instead of `mend`. One
    that is not `blocking` stops no letter.
    """

    def __init__(
        self,
        kind: Kind,
        what: str,
        mend: str = "",
        *,
        place: Place | None = None,
        rest: str | None = None,
        advice: str = "",
        blocking: bool = True,
    ) -> None:
        self.kind = kind
        self.place = place
        self.blocking = blocking
        said = f"{what.removesuffix(',')}{rest or ''}"
        self.what = _sentence(said)
        # "In Word:" stands before it there
        self.mend = _sentence(re.sub(r" in Word(?!')", "", advice or mend, count=1))
        if place is not None and place.said:
            said = f"In {place}: {what}" if rest is None else f"{what} in {place}{rest}"
        if not mend:
            super().__init__(_sentence(said))
        elif said.endswith("?"):
            super().__init__(f"{said} {_sentence(mend)}")
        else:
            super().__init__(_sentence(f"{said}; {mend}"))


class Flaws(Misconfigured):
    """Several at once."""

    def __init__(self, each: Sequence[Flaw]) -> None:
        self.each = tuple(each)
        super().__init__("\n".join(dict.fromkeys(str(one) for one in each)))


def _sentence(clause: str) -> str:
    if not clause:
        return ""
    end = "" if clause.endswith((".", "?")) else "."
    return f"{clause[:1].upper()}{clause[1:]}{end}"
