"""The names of things in a Word file, and how they are said to people."""

import difflib
import posixpath
import re
from collections.abc import Collection
from typing import Final

MEBIBYTE: Final = 1024 * 1024
W: Final = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
WPS: Final = "{http://schemas.microsoft.com/office/word/2010/wordprocessingShape}"
RELATIONSHIPS: Final = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"
FALLBACK: Final = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
WORD_TYPE: Final = "application/vnd.openxmlformats-officedocument.wordprocessingml."
RING: Final = "Ring "
PERCENT: Final = "percent_number"
TWELVE_O_CLOCK: Final = 270 * 60_000
TAG: Final = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", re.DOTALL)
BRACES: Final = re.compile(r"\{\{|\{%|\{#|\}\}|%\}|#\}")

LISTS: Final = frozenset({"address_lines", "remarks", "signatory_posts"})
"""The fields that are lists: to be repeated, not printed."""
CHOICES: Final = frozenset({"rated", "compared"})
"""What of a figure is true or false: to be asked, not printed."""
CURLY: Final = re.compile("[‘’“”]")
_STRAIGHT: Final = str.maketrans({"‘": "'", "’": "'", "“": '"', "”": '"'})

# Programs name a document's parts alike; the name is only for people here.
_PLACES: Final = {
    "": "the document",
    "document": "the body",
    "header": "the header",
    "footer": "the footer",
    "footnotes": "the footnotes",
    "endnotes": "the endnotes",
    "comments": "the comments (Review > Show Comments)",
    "settings": "the document's settings",
    "styles": "the styles",
    "numbering": "the numbers and bullets of lists",
    "core": "the document's properties (File > Info)",
    "app": "the document's properties (File > Info > Show All Properties)",
    "custom": "the custom properties (File > Info > Properties > Advanced Properties > Custom)",
}
_NUMBERED: Final = ("header", "footer")


def named(part: str) -> str:
    """Return what a part is called in Word, by its name in the file."""
    file = posixpath.basename(part)
    stem = re.match("[a-z]*", file)
    kind = stem[0] if stem else ""
    if "glossary/" in part or kind not in _PLACES or (not kind and file):
        return f"the part {short(part)}"
    return f"{_PLACES[kind]} ({file})" if kind in _NUMBERED else _PLACES[kind]


def spot(place: str, *, heading: str = "", words: str = "") -> str:
    """Return a place as people find it: the part, the heading above, the words around."""
    under = f", under the heading “{short(heading)}”" if heading.strip() else ""
    at = f", at “{short(words)}”" if words.strip() else ""
    return f"{place}{under}{at}"


def near_misses(name: str, known: Collection[str]) -> tuple[str, ...]:
    """Return what was perhaps meant, the likeliest first, three at most."""
    below = [each for each in known if each.startswith(f"{name}.")]
    return tuple((below or difflib.get_close_matches(name, known, n=3))[:3])


def meant(near: Collection[str]) -> str:
    """Return what was perhaps meant, as the end of a sentence."""
    return f"; did you mean {' or '.join(near)}?" if near else "."


def short(words: str, width: int = 70) -> str:
    """Return the words on one line, cut to a length that fits a sentence."""
    words = " ".join(words.split())
    return words if len(words) <= width else f"{words[: width - 1].rstrip()}…"


def curly_made_straight(words: str) -> str:
    """Return a text with straight quotes in its tags: Word turns them as they are typed."""
    return TAG.sub(lambda found: found[0].translate(_STRAIGHT), words)
