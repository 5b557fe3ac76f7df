"""A part's tags, one after another: what is wrong with each, however many others are wrong too.

Compiling reads a part's tags together, and the first that cannot be read ends it. Here each is
read alone, with what stands around it: which loop it is in, and what is still to be closed.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from jinja2 import TemplateSyntaxError
from lxml import etree

from pipeline.template.flaw import Flaw, Kind, Place
from pipeline.template.noting import one_thing
from pipeline.template.parts import (
    ATTRIBUTES,
    PROPERTIES,
    property_place,
    texts_of,
    unpaired,
)
from pipeline.template.stamping import environment
from pipeline.template.survey import Survey
from pipeline.template.tags import (
    LONGEST,
    TOO_MUCH,
    Reader,
    not_ended,
    not_understood,
    too_deep,
    too_long,
    uneven,
)
from pipeline.template.vocabulary import BRACES, TAG, W, curly_made_straight, short

_UNIT: Final = re.compile(r"(\{[{%#])(p|tr|tc|r)(?=\s)")
_OPENING: Final = re.compile(r"\{%[-+]?\s*(?:(p|tr|tc|r)\s)?\s*(\w+)")
_HOLDING: Final = tuple(f"{W}{name}" for name in ("hyperlink", "sdt", "smartTag", "fldSimple"))
_UNITS: Final = {"p": f"{W}p", "tr": f"{W}tr", "tc": f"{W}tc", "r": f"{W}r"}
_SHADING: Final = ("colspan", "cellbg")  # docxtpl's own: they print a field where Word shows none
_MERGING: Final = ("hm", "vm")
_ENDS: Final = {"endif": "if", "endfor": "for"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tag:
    """One tag, or the beginning of one that is not whole."""

    text: str
    place: Place
    element: etree._Element
    order: tuple[int, int]
    whole: bool = True

    @property
    def unit(self) -> str:
        """What it stands for: p, tr, tc, r, or nothing but itself."""
        found = _OPENING.match(self.text)
        return (found[1] or "") if found else ""

    @property
    def keyword(self) -> str:
        """The word that a {% %} begins with."""
        found = _OPENING.match(self.text)
        return found[2] if found else ""

    @property
    def path(self) -> tuple[str, ...]:
        """What kinds of things it stands in: both ends of an `if` must be in the same."""
        outer = self.element
        if self.unit:
            outer = next(self.element.iterancestors(_UNITS[self.unit]), outer)
        return (self.unit, self.place.owned, *(str(each.tag) for each in outer.iterancestors()))


@dataclass(slots=True, kw_only=True)
class Singly:
    """What a part's tags say, taken one by one.

    `printed` are the fields they print, `used` those they lean on; `uncertain` are those that a
    tag with a flaw may have been for.
    """

    printed: set[str] = field(default_factory=set)
    used: set[str] = field(default_factory=set)
    uncertain: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Open:
    """An `if` or `for` that is not closed yet."""

    keyword: str
    name: str
    tag: _Tag


def read_singly(
    tree: etree._Element,
    name: str,
    place: str,
    names: frozenset[str],
    survey: Survey,
    found: Singly,
) -> None:
    """Note every flaw of a part's tags (`noting.all_noted`), and in `found` what they print."""
    tags = sorted(_tags(tree, name, place, survey), key=lambda each: each.order)
    _read(tags, names, found)


def read_properties(tree: etree._Element, name: str, names: frozenset[str]) -> None:
    """The same of the document's properties, each by itself."""
    for each in tree.iter(etree.Element):
        if etree.QName(each).localname in PROPERTIES and TAG.search(each.text or ""):
            place = property_place(name, each)
            _read([*_in_text(each.text or "", place, each, 0)], names, Singly())


def _tags(tree: etree._Element, name: str, place: str, survey: Survey) -> Iterator[_Tag]:
    for each in tree.iter(etree.Element):
        index = survey.index(name, each)
        for key, value in each.attrib.items():
            if BRACES.search(str(value)):
                owned = ATTRIBUTES.get(etree.QName(str(key)).localname, "the property")
                outer = next(each.iterancestors(f"{W}p"), each)
                at = survey.place(name, place, outer)
                at = replace(at, element=each, owned=owned, value=str(value))
                yield from _in_text(str(value), at, each, index)
        if each.tag == f"{W}p":
            yield from _in_paragraph(each, name, place, survey)


def _in_paragraph(
    paragraph: etree._Element, name: str, place: str, survey: Survey
) -> Iterator[_Tag]:
    texts = texts_of(paragraph)
    words = "".join(text.text or "" for text in texts)
    if not BRACES.search(words):
        return
    at = survey.place(name, place, paragraph)
    starts: list[int] = []
    passed = 0
    for text in texts:
        starts.append(passed)
        passed += len(text.text or "")

    def holder(position: int) -> etree._Element:
        last = max(number for number, start in enumerate(starts) if start <= position)
        return texts[last]

    for tag in _in_text(words, at, paragraph, 0):
        first, last = holder(tag.place.start), holder(max(tag.place.end - 1, tag.place.start))
        inside = next(first.iterancestors(*_HOLDING), None)
        if tag.whole and next(last.iterancestors(*_HOLDING), None) is not inside:
            with one_thing():
                raise _split(tag)
        else:
            order = (survey.index(name, first), tag.place.start)
            yield replace(tag, element=first, order=order)


def _split(tag: _Tag) -> Flaw:
    return Flaw(
        Kind.SPLIT_TAG,
        f"{short(tag.text)} begins inside a link, or a control, and ends outside it, or the other"
        " way about",
        "delete the tag and type it again, all of it beside the link or all of it within",
        place=tag.place,
    )


def _in_text(words: str, place: Place, element: etree._Element, index: int) -> Iterator[_Tag]:
    """The tags of a text in their order, those too that begin and do not end."""
    broken = {each.start: each.brace for each in unpaired(words)}
    found = [(start, start + 2, False) for start, brace in broken.items() if brace in {"{{", "{%"}]
    position = 0
    while match := TAG.search(words, position):
        if match.start() in broken:  # what it runs into may be whole
            position = match.start() + 2
            continue
        found.append((match.start(), match.end(), True))
        position = match.end()
    for start, end, whole in sorted(found):
        yield _Tag(
            text=words[start:end] if whole else words[start:],
            place=replace(place, start=start, end=end),
            element=element,
            order=(index, start),
            whole=whole,
        )


def _read(tags: list[_Tag], names: frozenset[str], found: Singly) -> None:
    """Read tags in their order, keeping account of what is still to be closed."""
    opened: list[_Open] = []
    for tag in tags:
        if tag.text.startswith("{#"):
            continue
        with one_thing():
            _one(tag, names, found, opened)
    for left in opened:
        with one_thing():
            raise not_ended(left.tag.place)


def _one(tag: _Tag, names: frozenset[str], found: Singly, opened: list[_Open]) -> None:
    keyword = tag.keyword
    if keyword in {*_ENDS, "else", "elif"}:
        _continue(tag, keyword, opened)
        if keyword != "elif":
            return
    if not tag.whole:
        found.uncertain |= {each for each in names if each in tag.text}
        if keyword in {"if", "for"}:
            opened.append(_Open(keyword, _loops(tag), tag))
        return
    if keyword in _MERGING or (keyword[:3] == "end" and keyword[3:] in _BLOCKS):
        return
    if keyword == "raw":
        raise Flaw(Kind.TAG, "{% raw %} prints a tag as it stands", "take it out", place=tag.place)
    bound = frozenset(
        name for each in opened if each.keyword == "for" for name in (each.name, "loop")
    )
    if keyword in {"if", "for"}:
        opened.append(_Open(keyword, _loops(tag), tag))
    _understand(tag, names, found, bound)


def _continue(tag: _Tag, keyword: str, opened: list[_Open]) -> None:
    """An end, or the beginning of another branch: see to it that there is something to end."""
    meant = _ENDS.get(keyword, "if")
    if not opened or (keyword != "else" and opened[-1].keyword != meant):
        what = "closes" if keyword in _ENDS else "belongs to"
        raise Flaw(
            Kind.UNCLOSED_TAG,
            f"the tag cannot be understood: {{% {keyword} %}} {what} no"
            f" {{% {meant} %}}{' that is open here' if opened else ''}",
            "take it out, or write what it belongs to before it",
            place=tag.place,
        )
    first = opened[-1]
    if keyword in _ENDS:
        opened.pop()
    if first.tag.path != tag.path and first.tag.whole and tag.whole:
        raise uneven(first.tag.place)


def _loops(tag: _Tag) -> str:
    found = re.search(r"\bfor\s+(\w+)\s+in\b", tag.text)
    return found[1] if found else ""


def _understand(tag: _Tag, names: frozenset[str], found: Singly, bound: frozenset[str]) -> None:
    """Read what one tag says; raise what is wrong with it."""
    if len(tag.text) > LONGEST:
        raise too_long(tag.place)
    source = _alone(tag)
    reader = Reader(names=names, at=lambda _: tag.place)
    try:
        reader.read(environment(escape=True).parse(source), bound)
    except TemplateSyntaxError as error:
        found.uncertain |= {each for each in names if each in tag.text}
        raise not_understood(error, tag.place) from error
    except TOO_MUCH as error:
        raise too_deep(tag.place) from error
    found.printed |= set(reader.printed)
    found.used |= {*reader.printed, *reader.repeated, *reader.tested}
    if reader.wrongs:
        found.uncertain |= {each for each in names if each in tag.text}
        found.uncertain |= {near for each in reader.wrongs for near in each.near[:1]}
    for wrong in reader.wrongs:
        with one_thing():
            raise wrong.flaw(tag.place)


def _alone(tag: _Tag) -> str:
    """The tag as a template of its own."""
    text = curly_made_straight(_UNIT.sub(r"\1 ", tag.text))
    if text.startswith("{{"):
        return text
    words = re.sub(r"^\{%[-+]?\s*|\s*[-+]?%\}$", "", text)
    keyword, _, rest = words.partition(" ")
    if keyword in _SHADING:
        return f"{{{{ {rest} }}}}"
    if keyword == "elif":
        return f"{{% if {rest} %}}{{% endif %}}"
    if keyword in {"if", "for"}:
        return f"{text}{{% end{keyword} %}}"
    return f"{text}{{% end{keyword} %}}" if keyword in _BLOCKS else text


_BLOCKS: Final = ("macro", "block", "call", "filter", "raw", "autoescape", "with", "trans")
