"""What a PDF made with a template would fail its proof by, or PDF/UA, and no compiler looks at."""

import re
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from typing import Final

from lxml import etree

from pipeline.template.flaw import Flaw, Kind, Place
from pipeline.template.package import Package
from pipeline.template.parts import DRAWING, rendered_parts, texts_of
from pipeline.template.survey import Survey
from pipeline.template.vocabulary import FALLBACK, RELATIONSHIPS, WORD_TYPE, WPS, W, short

_PIC: Final = "{http://schemas.openxmlformats.org/drawingml/2006/picture}"
_DECORATIVE: Final = "{http://schemas.microsoft.com/office/drawing/2017/decorative}decorative"
_VML: Final = "{urn:schemas-microsoft-com:vml}"
_TIP: Final = re.compile(r'\\o\s+"[^"]*\w[^"]*"')
_LANGUAGE: Final = "en-GB"
# What stands for a symbol font's glyph, and what stands for nothing
_PRIVATE: Final = re.compile("[\ue000-\uf8ff\ufffd\U000f0000-\U0010fffd]")
_HIGHEST: Final = 9


def inaccessible(package: Package, survey: Survey) -> Iterator[Flaw]:
    """Every such flaw, the parts one after another."""
    places = {
        str(each.get(f"{W}name"))
        for name, _ in rendered_parts(package)
        for each in package.trees[name].iter(f"{W}bookmarkStart")
    }
    for name, place in rendered_parts(package):
        tree = package.trees[name]
        yield from _links(tree, places)
        yield from _characters(tree, name, place, survey)
        if not place.startswith(("the header", "the footer")):  # those are passed over when read
            yield from _pictures(tree)
    yield from _headings(package)
    yield from _language(package)


def _at(element: etree._Element, value: str = "") -> Place:
    return Place(said="", element=element, value=value)


def _links(tree: etree._Element, places: AbstractSet[str]) -> Iterator[Flaw]:
    for link in tree.iter(f"{W}hyperlink"):
        words = "".join(text.text or "" for text in link.iter(f"{W}t"))
        anchor = link.get(f"{W}anchor")
        if not link.get(f"{RELATIONSHIPS}id") and anchor not in {*places, "_top"}:
            yield _to_nowhere(words, link)  # which comes out as words, so it needs no ScreenTip
        elif not (link.get(f"{W}tooltip") or "").strip():
            yield _no_tip(words, link)
    for code in tree.iter(f"{W}instrText", f"{W}fldSimple"):
        said = str(code.get(f"{W}instr") or code.text or "")
        if said.split()[:1] == ["HYPERLINK"] and not _TIP.search(said):
            yield _no_tip("", code)


def _no_tip(words: str, element: etree._Element) -> Flaw:
    which = f" “{short(words, 40)}”" if words.strip() else ""
    return Flaw(
        Kind.SCREENTIP,
        f"the link{which} has no ScreenTip, without which it has no description in the PDF",
        "right-click on the link > Edit Hyperlink > ScreenTip, and say where it leads",
        place=_at(element),
    )


def _to_nowhere(words: str, element: etree._Element) -> Flaw:
    return Flaw(
        Kind.LINK,
        f"the link “{short(words, 40)}” leads to a place that is not in the document any more",
        "right-click on it > Edit Link > Place in This Document, or Remove Link",
        place=_at(element),
        blocking=False,
    )


def _pictures(tree: etree._Element) -> Iterator[Flaw]:
    for drawing in tree.iter(DRAWING):
        decorative = drawing.find(f".//{_DECORATIVE}")
        if decorative is not None and decorative.get("val") in {"1", "true"}:
            continue
        called = short(drawing.get("name", ""), 40)
        if not (drawing.get("descr") or "").strip():
            yield _no_words(called, drawing)
            continue
        holder = drawing.getparent()
        for shape in () if holder is None else holder.iter(f"{WPS}cNvPr", f"{_PIC}cNvPr"):
            if shape.get("descr") is not None and not shape.get("descr", "").strip():
                yield _half_described(called, short(shape.get("name", ""), 40), shape)
    for picture in tree.iter(f"{W}pict"):
        if next(picture.iterancestors(FALLBACK), None) is None:
            for shape in picture.iterchildren(f"{_VML}*"):
                # An old text box is read as the words in it.
                told = (shape.get("alt") or "").strip() or shape.find(
                    f".//{_VML}textbox"
                ) is not None
                if not told and etree.QName(shape).localname != "shapetype":
                    yield _no_words(short(shape.get("id", ""), 40), shape)


def _no_words(called: str, element: etree._Element) -> Flaw:
    which = f" “{called}”" if called else ""
    return Flaw(
        Kind.ALTERNATIVE_TEXT,
        f"the drawing{which} has no alternative text, without which people who cannot see it are"
        " told nothing",
        "right-click on it > View Alt Text, and write what it shows; for a group, on each shape"
        " in it too",
        place=_at(element),
    )


def _half_described(called: str, shape: str, element: etree._Element) -> Flaw:
    return Flaw(
        Kind.ALTERNATIVE_TEXT,
        f"the shape “{shape}” in the drawing “{called}” has no alternative text; programs differ"
        " in which of the two they read",
        "select the shape in the selection pane (Layout > Selection Pane), right-click > View Alt"
        " Text, and write there what the drawing's says",
        place=_at(element),
        blocking=False,
    )


def _characters(tree: etree._Element, name: str, place: str, survey: Survey) -> Iterator[Flaw]:
    for symbol in tree.iter(f"{W}sym"):
        font = short(symbol.get(f"{W}font", "a symbol font"), 40)
        yield _unreadable(f"a symbol of the font {font}", _at(symbol))
    for paragraph in tree.iter(f"{W}p"):
        words = "".join(text.text or "" for text in texts_of(paragraph))
        if found := _PRIVATE.search(words):
            at = survey.place(name, place, paragraph)
            where = Place(
                said="", part=at.part, element=paragraph, start=found.start(), end=found.end()
            )
            yield _unreadable(f"the character U+{ord(found[0]):04X}", where)


def _unreadable(what: str, place: Place) -> Flaw:
    return Flaw(
        Kind.CHARACTER,
        f"there is {what}, which cannot be read as text",
        "delete it, and take an ordinary character (Insert > Symbol > Font: normal text)",
        place=place,
    )


def _headings(package: Package) -> Iterator[Flaw]:
    """Headings that begin below Heading 1, or skip a level."""
    levels = _levels(package)
    last = 0
    for paragraph in package.trees[package.main].iter(f"{W}p"):
        style = paragraph.find(f"{W}pPr/{W}pStyle")
        own = paragraph.find(f"{W}pPr/{W}outlineLvl")
        level = levels.get("" if style is None else str(style.get(f"{W}val")), 0)
        if own is not None:
            level = _level(own)
        words = "".join(text.text or "" for text in texts_of(paragraph))
        if not level or not words.strip():
            continue
        if level > last + 1:
            what = f"comes after a Heading {last}" if last else "is the first"
            yield Flaw(
                Kind.HEADING,
                f"this is a Heading {level} and {what}, so that a level is missing for who has the"
                " letter read out",
                f"make it a Heading {last + 1} (Home > Styles), or change the style's look and not"
                " its level",
                place=_at(paragraph),
            )
        last = level


def _levels(package: Package) -> dict[str, int]:
    """Which styles make a heading, and of which level: their own, or inherited."""
    own: dict[str, int] = {}
    based: dict[str, str] = {}
    for name, kind in package.types.items():
        if kind != f"{WORD_TYPE}styles+xml":
            continue
        for style in package.trees[name].iter(f"{W}style"):
            identity = str(style.get(f"{W}styleId", ""))
            level = style.find(f"{W}pPr/{W}outlineLvl")
            if level is not None:
                own[identity] = _level(level)
            parent = style.find(f"{W}basedOn")
            if parent is not None:
                based[identity] = str(parent.get(f"{W}val"))
    found: dict[str, int] = {}
    for identity in {*own, *based}:
        above, seen = identity, set[str]()
        while above not in own and above in based and above not in seen:
            seen.add(above)
            above = based[above]
        found[identity] = own.get(above, 0)
    return found


def _level(outline: etree._Element) -> int:
    """1 to 9, or 0 for the level of text."""
    value = str(outline.get(f"{W}val"))
    return int(value) + 1 if value.isdecimal() and int(value) < _HIGHEST else 0


def _language(package: Package) -> Iterator[Flaw]:
    for name, kind in package.types.items():
        if kind != f"{WORD_TYPE}styles+xml" or name not in package.trees:
            continue
        found = package.trees[name].find(f"{W}docDefaults/{W}rPrDefault/{W}rPr/{W}lang")
        language = "" if found is None else str(found.get(f"{W}val", ""))
        if language != _LANGUAGE:
            said = f"is {language}" if language else "is not set"
            yield Flaw(
                Kind.LANGUAGE,
                f"the document's language {said} and not {_LANGUAGE}, so that it is read out with"
                " another one's sounds",
                "Review > Language > Set Proofing Language > English (United Kingdom) > Set As"
                " Default",
                place=Place(said="", part=name),
            )
