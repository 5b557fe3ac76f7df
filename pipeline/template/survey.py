"""Where everything in a document is, as people look for it: heading, paragraph, page, words."""

import re
from bisect import bisect_left
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Final

from lxml import etree

from pipeline.template.flaw import Place
from pipeline.template.package import Package, heading_styles, source_of
from pipeline.template.parts import rendered_parts, texts_of, words_of
from pipeline.template.vocabulary import FALLBACK, RELATIONSHIPS, WORD_TYPE, W, named, short

_AROUND: Final = 40  # characters
_REL: Final = "{http://schemas.openxmlformats.org/package/2006/relationships}"
_PAGES: Final = {"first": "first page", "even": "even pages", "default": "all other pages"}
_PROPERTIES: Final = ("core", "app", "custom")


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """A place, found: in which part, on which page, below which heading, near which words.

    `part` is one of body, header, footer, footnotes, endnotes, text box, comments, properties,
    settings, styles, lists, file, message. `paragraph` counts from the part's (or text box's)
    beginning, `below` from the heading; both from 1. `page` is None where the file does not say.
    """

    part: str
    name: str = ""
    page: int | None = None
    heading: str = ""
    paragraph: int | None = None
    below: int | None = None
    words: str = ""
    order: tuple[int, int] = (-1, 0)
    repeated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Standing:
    """A paragraph: how many there are before it, and what heading is above it."""

    element: etree._Element
    number: int
    below: int
    heading: str
    in_box: bool
    repeated: bool
    words: str


@dataclass(slots=True, kw_only=True)
class _Surveyed:
    """One part: its elements in their order, its paragraphs, and where its pages begin."""

    name: str
    part: str
    said: str
    number: int
    indexes: dict[etree._Element, int] = field(default_factory=dict)
    paragraphs: dict[etree._Element, _Standing] = field(default_factory=dict)
    breaks: list[int] = field(default_factory=list)


class Survey:
    """All parts of a package as they lie in the file: made before anything is changed in them."""

    def __init__(self, package: Package) -> None:
        self.outlined: AbstractSet[str] = heading_styles(package)
        self._parts: dict[str, _Surveyed] = {}
        parts = [*_in_order(package)]
        for number, (name, part, said) in enumerate(parts):
            surveyed = _Surveyed(name=name, part=part, said=said, number=number)
            self._look_at(package.trees[name], surveyed)
            self._parts[name] = surveyed
        self._anchors = self._anchored(package)

    def _look_at(self, tree: etree._Element, surveyed: _Surveyed) -> None:
        heading = ""
        number = below = 0
        boxes: dict[etree._Element, int] = {}
        for index, each in enumerate(tree.iter()):
            surveyed.indexes[each] = index
            if each.tag == f"{W}lastRenderedPageBreak" and surveyed.part == "body":
                surveyed.breaks.append(index)
            if each.tag != f"{W}p":
                continue
            box = next(each.iterancestors(f"{W}txbxContent"), None)
            repeated = next(each.iterancestors(FALLBACK), None) is not None
            words = words_of(each)
            if box is not None:
                boxes[box] = boxes.get(box, 0) + 1
                count = (boxes[box], 0)
            else:
                number += 1
                if _style(each) in self.outlined and words.strip():
                    heading, below = words.strip(), 0
                else:
                    below += 1
                count = (number, below)
            surveyed.paragraphs[each] = _Standing(
                element=each,
                number=count[0],
                below=count[1],
                heading=heading if box is not None or count[1] else "",
                in_box=box is not None,
                repeated=repeated,
                words=words,
            )

    def _anchored(self, package: Package) -> dict[str, etree._Element]:
        """Where in the body each comment is."""
        return {
            str(each.get(f"{W}id")): each
            for each in package.trees[package.main].iter(f"{W}commentReference")
        }

    def place(self, part: str, said: str, paragraph: etree._Element) -> Place:
        """A paragraph as a place; `said` is what the part is called."""
        surveyed = self._parts.get(part)
        standing = None if surveyed is None else surveyed.paragraphs.get(paragraph)
        if standing is None:
            return Place(said=said, part=part, words=words_of(paragraph), element=paragraph)
        return Place(
            said=said,
            part=part,
            heading=standing.heading,
            words=standing.words,
            element=paragraph,
        )

    def index(self, part: str, element: etree._Element) -> int:
        """How many elements of the part stand before this one."""
        return self._parts[part].indexes.get(element, 0)

    def anchor(self, comment: str) -> etree._Element | None:
        """What in the body a comment was made on."""
        return self._anchors.get(comment)

    def where(self, place: Place | None) -> Where:
        """The place as people find it."""
        if place is None:
            return Where(part="file")
        surveyed = self._part_of(place)
        if surveyed is None:
            words = place.value or place.words
            return Where(part="file", name=place.said, words=short(words, _AROUND))
        paragraph = self._paragraph_of(place, surveyed)
        index = surveyed.indexes.get(place.element, 0) if place.element is not None else 0
        if paragraph is None:
            own = surveyed.part == "properties" and place.said.removeprefix("the ")
            return Where(
                part=surveyed.part,
                name=own or surveyed.said,
                words=short(place.value, _AROUND) or around(place.words, place.start, place.end),
                order=(surveyed.number, index),
            )
        start, end = place.start, place.end
        if place.element is not None and place.element is not paragraph.element:
            start = end = _before(paragraph.element, place.element)
        else:
            index = self._index_at(paragraph, start, surveyed)
        return Where(
            part="text box" if paragraph.in_box else surveyed.part,
            name=surveyed.said,
            page=bisect_left(surveyed.breaks, index) + 1 if surveyed.breaks else None,
            heading=short(paragraph.heading),
            paragraph=paragraph.number,
            below=paragraph.below or None,
            words=short(place.value, _AROUND)
            if place.value
            else around(paragraph.words, start, end),
            order=(surveyed.number, index),
            repeated=paragraph.repeated,
        )

    def _part_of(self, place: Place) -> _Surveyed | None:
        if place.part in self._parts:
            return self._parts[place.part]
        if place.element is not None:
            for each in self._parts.values():
                if place.element in each.indexes:
                    return each
        return None

    def _paragraph_of(self, place: Place, surveyed: _Surveyed) -> _Standing | None:
        if place.element is not None:
            for each in (place.element, *place.element.iterancestors(f"{W}p")):
                if each in surveyed.paragraphs:
                    return surveyed.paragraphs[each]
            return None
        # What was read as a whole knows its words alone, and those with a tag or two moved in.
        wanted = _squeezed(place.words)
        alike = [one for one in surveyed.paragraphs.values() if _squeezed(one.words) == wanted]
        return next(iter(alike), None) if wanted else None

    def _index_at(self, paragraph: _Standing, start: int, surveyed: _Surveyed) -> int:
        """The index of the text that holds a character of a paragraph's words."""
        passed = 0
        found = surveyed.indexes.get(paragraph.element, 0)
        for text in texts_of(paragraph.element):
            if passed > start:
                break
            found = surveyed.indexes.get(text, found)
            passed += len(text.text or "")
        return found


def around(words: str, start: int, end: int) -> str:
    """Some 40 characters of a paragraph's words, those between `start` and `end` in the middle."""
    line = " ".join(words.split())
    if len(line) <= _AROUND:
        return line
    end = max(min(end, start + _AROUND), start)
    room = max(_AROUND - (end - start), 0)
    left = max(min(start - room // 2, len(words) - _AROUND), 0)
    right = min(max(left + _AROUND, end), len(words))
    piece = words[left:right]
    if left and (blank := piece.find(" ")) >= 0 and left + blank < start:
        piece = piece[blank:]
    if (
        right < len(words)
        and (blank := piece.rfind(" ")) >= 0
        and right - len(piece) + blank >= end
    ):
        piece = piece[:blank]
    said = " ".join(piece.split())
    return f"{'…' if left else ''}{said}{'…' if right < len(words) else ''}"


def _before(paragraph: etree._Element, element: etree._Element) -> int:
    """How many characters of a paragraph's own words stand before an element in it."""
    own = {id(each) for each in texts_of(paragraph)}
    passed = 0
    for each in paragraph.iter():
        if each is element:
            break
        if id(each) in own:
            passed += len(each.text or "")
    return passed


def _squeezed(words: str) -> str:
    """Words without what docxtpl does to tags: blanks, and the letter of {%p %}."""
    return re.sub(r"\s", "", re.sub(r"\{([{%])(?:p|tr|tc|r)(?=\s)", r"{\1", words))


def _style(paragraph: etree._Element) -> str:
    style = paragraph.find(f"{W}pPr/{W}pStyle")
    return "" if style is None else str(style.get(f"{W}val"))


def _in_order(package: Package) -> Iterator[tuple[str, str, str]]:
    """Each part's name, what sort it is, and how it is called: the body, its margins, the rest."""
    rendered = dict(rendered_parts(package))
    pages = _pages(package)
    first = {name: number for number, name in enumerate(rendered)}
    others = [name for name in package.trees if name not in rendered]
    for name in sorted(rendered, key=lambda each: first[each]):
        said = rendered[name].removeprefix("the ")
        if name in pages:
            said = f"{said.partition(' (')[0]}, {pages[name]}"
        yield name, "body" if name == package.main else said.split()[0].rstrip(","), said
    for name in sorted(others, key=lambda each: _RANK.get(_sort(package, each), len(_RANK))):
        said = named(source_of(name) if name.endswith(".rels") else name)
        yield name, _sort(package, name), said.removeprefix("the ")


_RANK: Final = {
    sort: rank
    for rank, sort in enumerate(
        ("endnotes", "comments", "properties", "settings", "styles", "lists", "file")
    )
}


def _sort(package: Package, name: str) -> str:
    if name == package.core:
        return "properties"
    stem = re.match("[a-z]*", name.rpartition("/")[2])
    found = stem[0] if stem else ""
    if found in _PROPERTIES:
        return "properties"
    if found in {"header", "footer"} or f"{WORD_TYPE}{found}+xml" == package.types.get(name):
        found = {"numbering": "lists"}.get(found, found)
        return found if found in _RANK or found in {"header", "footer", "footnotes"} else "file"
    return "file"


def _pages(package: Package) -> dict[str, str]:
    """Which pages each header and footer is for, by its part's name."""
    folder, _, file = package.main.rpartition("/")
    pointers = package.trees.get(f"{folder}/_rels/{file}.rels")
    if pointers is None:
        return {}
    targets = {
        str(each.get("Id")): str(each.get("Target")).lstrip("/").removeprefix(f"{folder}/")
        for each in pointers.iter(f"{_REL}Relationship")
    }
    found: dict[str, str] = {}
    kinds: dict[str, set[str]] = {}
    for each in package.trees[package.main].iter(f"{W}headerReference", f"{W}footerReference"):
        target = f"{folder}/{targets.get(str(each.get(f'{RELATIONSHIPS}id')), '')}"
        which = "header" if each.tag == f"{W}headerReference" else "footer"
        kinds.setdefault(which, set()).add(target)
        found[target] = _PAGES.get(str(each.get(f"{W}type")), "all other pages")
    # The only header there is needs no name.
    return {
        target: pages
        for target, pages in found.items()
        if any(target in one and len(one) > 1 for one in kinds.values())
    }
