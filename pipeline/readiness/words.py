"""Words that people leave behind in what they mean to finish, and how lists are said."""

import re
from collections.abc import Sequence
from typing import Final

_LEFTOVER: Final = re.compile(
    r"\b(?:TODO|TBC|TBD|FIXME|XX+)\b"  # as people shout them; nobody is called so
    r"|(?i:\blorem ipsum\b)"
    # not [2019] of a citation, and not [sic]
    r"|\[(?!\s*(?:sic|\d+)\s*\])[^\[\]]{0,60}\]"
    r"|\{\{[^{}]{0,60}\}\}|<<[^<>]{0,60}>>"
    r"|\?\?\?+|_{3,}"
)
_BLANKS: Final = re.compile(r"[ \u00a0]{2,}")


def leftover(text: str) -> str | None:
    """The first thing in a text that looks like a place left to fill in."""
    found = _LEFTOVER.search(text)
    return found[0] if found else None


def double_blank(text: str) -> str | None:
    """The words on both sides of the first two blanks in a row."""
    found = _BLANKS.search(text)
    if found is None:
        return None
    # Not one expression with a word on both sides: it would try each word from each of its letters.
    before, after = text[: found.start()], text[found.end() :]
    last, first = before.split()[-1:], after.split(maxsplit=1)[:1]
    return f"{''.join(last)}{found[0]}{''.join(first)}".strip()


def listed(words: Sequence[str], most: int = 8) -> str:
    """A, B and C; of many the first ones, and how many more."""
    if len(words) > most:
        return f"{', '.join(words[:most])} and {len(words) - most:,} more"
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"


def counted(number: int, one: str, many: str | None = None) -> str:
    """1 letter, 2 letters."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
