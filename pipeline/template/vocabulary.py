"""The names of things in a Word file, and how they are said to people."""

import difflib
import re
from collections.abc import Collection
from typing import Final

MEBIBYTE: Final = 1024 * 1024
W: Final = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
WORD_TYPE: Final = "application/vnd.openxmlformats-officedocument.wordprocessingml."
RING: Final = "Ring "
PERCENT: Final = "percent_number"
TWELVE_O_CLOCK: Final = 270 * 60_000
TAG: Final = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", re.DOTALL)
BRACES: Final = re.compile(r"\{\{|\{%|\{#|\}\}|%\}|#\}")


def meant(name: str, known: Collection[str]) -> str:
    """Return what was perhaps meant, as the end of a sentence."""
    below = [each for each in known if each.startswith(f"{name}.")]
    near = below or difflib.get_close_matches(name, known, n=3)
    return f"; did you mean {' or '.join(near[:3])}?" if near else "."


def short(words: str, width: int = 70) -> str:
    """Return the words on one line, cut to a length that fits a sentence."""
    words = " ".join(words.split())
    return words if len(words) <= width else f"{words[: width - 1].rstrip()}…"
