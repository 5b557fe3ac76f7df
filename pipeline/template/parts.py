"""The parts of a document that hold tags: body, headers, footers, footnotes, properties."""

import html
import io
import posixpath
import re
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from docxtpl import DocxTemplate  # type: ignore[import-untyped]
from jinja2 import Template, nodes
from lxml import etree

from pipeline.template.flaw import Flaw, Kind, Place
from pipeline.template.noting import one_thing
from pipeline.template.package import (
    Package,
    heading_styles,
    refuse_link,
    relationships,
    source_of,
    words_around,
)
from pipeline.template.rings import bind_ring, with_rings
from pipeline.template.stamping import Stamped, environment
from pipeline.template.vocabulary import (
    BRACES,
    MEBIBYTE,
    RING,
    TAG,
    WORD_TYPE,
    W,
    curly_made_straight,
    named,
    short,
)

_MAX_TEMPLATED: Final = MEBIBYTE  # a letter is about 50 KB; docxtpl's patterns are slow on more
_MAX_BRACES: Final = 4000
_MAX_DRAWINGS: Final = 200
DRAWING: Final = "{http://schemas.openxmlformats.org/drawingml/2006/wordprocessingDrawing}docPr"
_DC: Final = "{http://purl.org/dc/elements/1.1/}"
# What docxtpl renders; a tag anywhere else would be printed as it stands.
_RENDERED: Final = {"header": "header", "footer": "footer", "footnotes": "footnotes"}
PROPERTIES: Final = ("title", "subject", "creator", "description", "identifier", "language")
_TRACKED: Final = (
    "ins", "del", "moveFrom", "moveTo", "cellIns", "cellDel", "cellMerge", "pPrChange",
    "rPrChange", "sectPrChange", "tblPrChange", "tblGridChange", "trPrChange", "tcPrChange",
    "numberingChange",
)  # fmt: skip
_OBJECTS: Final = ("object", "control", "altChunk", "subDoc", "movie")
_DRAWN: Final = ("urn:schemas-microsoft-com:vml", "urn:schemas-microsoft-com:office:office")
_FETCHING: Final = ("src", "althref")
_FIELD_CODES: Final = (
    "PAGE", "NUMPAGES", "SECTION", "SECTIONPAGES", "PAGEREF", "REF", "STYLEREF", "HYPERLINK",
    "SEQ", "TITLE",
)  # fmt: skip
# LibreOffice names a PDF's tags after styles; a style so named would redefine the tag.
_TAG_NAME: Final = re.compile(
    "Document|Part|Art|Sect|Div|BlockQuote|Caption|TOCI?|Index|NonStruct|Private|P|H[1-6]?|L|LI"
    "|Lbl|LBody|Table|TR|TH|TD|THead|TBody|TFoot|Span|Quote|Note|Reference|BibEntry|Code|Link"
    "|Annot|Ruby|RB|RT|RP|Warichu|WT|WP|Figure|Formula|Form"
)
_CLOSER: Final = {"{{": "}}", "{%": "%}", "{#": "#}"}
_OPENER: Final = {closer: opener for opener, closer in _CLOSER.items()}
ATTRIBUTES: Final = {"descr": "the alternative text", "tooltip": "the ScreenTip"}
_WHOLE: Final = {"p": "paragraph", "tr": "table row", "tc": "table cell"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part as a Jinja template. Before each paragraph stands a line break, so that a line number
    leads to the paragraph.

    `rings` are the figures drawn in it, `title` (document properties only) the title as written.
    """

    name: str
    place: str
    source: str
    rings: tuple[str, ...] = ()
    panel_headings: tuple[str, ...] = ()
    fixed_texts: tuple[str, ...] = ()
    title: str = ""
    outlined: frozenset[str] = frozenset()
    listings: DocxTemplate | None = None

    def at(self, lineno: int | None) -> Place:
        """The place in Word's terms: the part, the heading above and the words around it."""
        lines = self.source.split("\n")
        number = min(max((lineno or 1) - 1, 0), len(lines) - 1)
        line = lines[number]
        words = _shown(line)
        if not TAG.search(words) and (described := re.search(r'descr="([^"]*\{[^"]*)"', line)):
            words = html.unescape(described[1])
        under = self._under(lines[:number])
        return Place(said=self.place, part=self.name, heading=under, words=words)

    def _under(self, lines: list[str]) -> str:
        for line in reversed(lines):
            style = re.search(r'<w:pStyle w:val="([^"]*)"', line)
            if style is not None and style[1] in self.outlined and (words := _shown(line)):
                return words
        return ""

    def compiled(self) -> Stamped:
        """Return the part ready for stamping, its rings' tags put in."""
        jinja = environment(escape=True)
        tree = jinja.parse(with_rings(self.source, self.rings))
        # docxtpl lets {_{ stand for {{ and looks for it after printing, so that it would also
        # change a value; here only the template's own words are looked at.
        for each in tree.find_all(nodes.TemplateData):
            each.data = _unquoted(each.data.replace("\n<w:p", "<w:p"))
        code = jinja.compile(tree)
        return Stamped(
            name=self.name,
            template=Template.from_code(jinja, code, jinja.make_globals(None)),
            listings=self.listings,
            tables="<w:tbl" in self.source,
        )


def rendered_parts(package: Package) -> Iterator[tuple[str, str]]:
    """Yield the name and the place of each part that docxtpl renders, the body first."""
    yield package.main, "the body"
    folder, file = posixpath.split(package.main)
    pointers = posixpath.join(folder, "_rels", f"{file}.rels")
    if pointers not in package.trees:
        return
    seen = set()
    for kind, target in relationships(pointers, package.trees, package.types):
        if kind in _RENDERED and target not in seen and target in package.trees:
            seen.add(target)
            yield target, f"the {_RENDERED[kind]} ({posixpath.basename(target)})"


def _shown(line: str) -> str:
    return html.unescape(re.sub(r"<[^>]*>", " ", line)).strip()


def read_part(package: Package, place: str, name: str, names: frozenset[str]) -> Part:
    """Check one part as Word wrote it and turn it into a Jinja template, by docxtpl's own code."""
    tree = package.trees[name]
    _refuse_beyond_measure(tree, place)
    outlined = heading_styles(package)
    heading = ""
    for paragraph in tree.iter(f"{W}p"):
        _check_tags(paragraph, place, heading)
        if _style(paragraph) in outlined:
            heading = words_of(paragraph)
    _check_other_tags(tree, place, outlined)
    fixed = tuple(
        words
        for paragraph in tree.iter(f"{W}p")
        for words in (each.strip() for each in TAG.split(words_of(paragraph)))
        if words
    )
    headings: list[str] = []
    rings: list[str] = []
    drawings = [each for each in tree.iter(DRAWING) if each.get("name", "").startswith(RING)]
    if len(drawings) > _MAX_DRAWINGS:
        raise Flaw(
            Kind.SIZE,
            f"The template has more than {_MAX_DRAWINGS} rings in {place}",
            "copy its words into a new document in Word",
        )
    for drawing in drawings:
        above = _heading_above(drawing, outlined)
        headings += [above] if above and not TAG.search(above) else []
        with one_thing():
            rings.append(
                bind_ring(
                    drawing,
                    len(rings),
                    Place(said=place, heading=above, element=drawing),
                    names,
                )
            )
    if name == package.main:
        for drawing in tree.iter(DRAWING):
            rest = [(key, value) for key, value in drawing.attrib.items() if key != "id"]
            drawing.attrib.clear()
            drawing.set("id", "0")  # numbered when stamped, as docxtpl does
            for key, value in rest:
                drawing.set(key, value)
    document = DocxTemplate(io.BytesIO())
    written = etree.tostring(tree, encoding="unicode")
    source = re.sub(r"<w:p([ >])", r"\n<w:p\1", document.patch_xml(written).replace("\n", " "))
    return Part(
        name=name,
        place=place,
        source=source,
        rings=tuple(rings),
        panel_headings=tuple(dict.fromkeys(headings)),
        fixed_texts=fixed,
        outlined=frozenset(outlined),
        listings=document,
    )


def core_part(package: Package) -> Part:
    """The document's properties, which docxtpl takes for templates too."""
    tree = None if package.core is None else package.trees.get(package.core)
    title = "" if tree is None else (tree.findtext(f"{_DC}title") or "")
    if package.core is None or tree is None or not title.strip():
        raise Flaw(
            Kind.TITLE,
            "The template has no title, which the PDF must have",
            "write one in Word under File > Info > Title, for example “Annual Review letter"
            " {{ letter_year }}: {{ authority }}”",
        )
    permitted = {f"{_DC}{name}" for name in PROPERTIES}
    for each in tree.iter():
        words = each.text or ""
        what = etree.QName(each).localname
        if ("{{" in words or "{%" in words) and each.tag not in permitted:
            with one_thing():
                raise Flaw(
                    Kind.MISPLACED_TAG,
                    f"The template's document property “{what}” holds a tag, which would be"
                    " printed as it stands",
                    "take it out under File > Info",
                    place=Place(said="", part=package.core, words=words, element=each),
                )
        elif "{{" in words or "{%" in words:
            _refuse_unpaired(words, property_place(package.core, each))
    source = DocxTemplate(io.BytesIO()).patch_xml(etree.tostring(tree, encoding="unicode"))
    return Part(
        name=package.core,
        place="the document's properties (File > Info)",
        source=source.replace("\n", " "),
        title=curly_made_straight(title),
    )


def property_place(name: str, element: etree._Element) -> Place:
    """One of the document's properties, in Word's terms."""
    said = f"the document's property “{etree.QName(element).localname}” (File > Info)"
    return Place(said=said, part=name, words=element.text or "", element=element)


def refuse_what_acts(package: Package) -> None:
    """Raise `Flaw` for edits, objects and Word fields that act, in whatever part."""
    outlined = heading_styles(package)
    for name, tree in package.trees.items():
        if name.endswith(".rels") or "glossary/" in name:
            continue
        place = "the body" if name == package.main else named(name)
        _refuse_edits_and_objects(tree, place, outlined)
        for code, element in _field_codes(tree):
            with one_thing():
                _refuse_field_code(code, partial(where, element, place, outlined))


def _refuse_edits_and_objects(tree: etree._Element, place: str, outlined: AbstractSet[str]) -> None:
    tracked = [
        each for each in tree.iter(*(f"{W}{name}" for name in _TRACKED)) if not _within(each)
    ]
    for each in tracked:
        with one_thing():
            raise Flaw(
                Kind.TRACKED_CHANGE,
                "The template has tracked changes",
                "accept or reject them all in Word (Review > Accept) and turn tracking off",
                place=where(each, place, outlined),
                rest=f" (near “{short(words_around(each))}”), which would be printed as such",
            )
    for each in tree.iter(*(f"{W}{name}" for name in _OBJECTS)):
        with one_thing():
            raise Flaw(
                Kind.OBJECT,
                "The template has an embedded object",
                "delete it in Word",
                place=where(each, place, outlined),
                rest="",
            )
    for _ in tree.iter(f"{W}mailMerge"):
        with one_thing():
            raise Flaw(
                Kind.FETCHED,
                f"The template is a mail-merge document (in {place}), which fetches its data from"
                " elsewhere",
                "choose Mailings > Start Mail Merge > Normal Word Document",
            )
    for each in tree.iter(*(f"{{{space}}}*" for space in _DRAWN)):
        for key in _FETCHING:
            if each.get(key):
                with one_thing():
                    raise Flaw(
                        Kind.FETCHED,
                        "The template fetches a linked picture from elsewhere"
                        f" ({short(str(each.get(key)))})",
                        "put the picture into the document",
                        place=where(each, place, outlined),
                        rest="",
                    )


def _within(element: etree._Element) -> bool:
    """Whether a tracked change is but a part of another one."""
    return any(True for _ in element.iterancestors(*(f"{W}{name}" for name in _TRACKED)))


def _field_codes(tree: etree._Element) -> Iterator[tuple[str, etree._Element]]:
    """Yield the code of each Word field, put together from its runs, and where it ends."""
    open_codes: list[list[str]] = []
    each = tree
    for each in tree.iter(f"{W}fldSimple", f"{W}fldChar", f"{W}instrText"):
        if each.tag == f"{W}fldSimple":
            yield str(each.get(f"{W}instr", "")), each
        elif each.tag == f"{W}instrText":
            if not open_codes:
                yield each.text or "", each
            else:
                open_codes[-1].append(each.text or "")
        elif each.get(f"{W}fldCharType") == "begin":
            open_codes.append([])
        elif each.get(f"{W}fldCharType") == "end" and open_codes:
            yield "".join(open_codes.pop()), each
    for code in open_codes:
        yield "".join(code), each


def _refuse_field_code(code: str, where: Callable[[], Place]) -> None:
    words = code.split()
    kind = words[0].upper() if words else ""
    if kind not in _FIELD_CODES or "{{" in code or "{%" in code:
        raise Flaw(
            Kind.WORD_FIELD,
            f"The template has the Word field “{short(code)}”",
            "click on it and press Ctrl+Shift+F9 to make it plain text, or delete it",
            place=where(),
            rest=f"; only {', '.join(_FIELD_CODES)} are permitted, without tags in them",
        )
    if kind == "HYPERLINK":
        quoted = re.findall(r'(\\\w)?\s*"([^"]*)"', code)
        bare = [word for word in words[1:2] if not word.startswith(("\\", '"'))]
        for target in [*(text for switch, text in quoted if not switch), *bare]:
            refuse_link(target, where)


def words_of(paragraph: etree._Element) -> str:
    """A paragraph's own words, without those of a text box anchored in it."""
    return "".join(text.text or "" for text in texts_of(paragraph))


def texts_of(paragraph: etree._Element) -> list[etree._Element]:
    """A paragraph's own texts, without those of a text box anchored in it."""
    return [
        text
        for text in paragraph.iter(f"{W}t")
        if next(text.iterancestors(f"{W}p"), None) is paragraph
    ]


def where(element: etree._Element, place: str, outlined: AbstractSet[str]) -> Place:
    """The place of an element in Word's terms: part, heading above, words around."""
    paragraph = next(element.iterancestors(f"{W}p"), element)
    heading = _heading_above(element, outlined)
    return Place(said=place, heading=heading, words=words_of(paragraph), element=element)


def _refuse_beyond_measure(tree: etree._Element, place: str) -> None:
    """Raise for a part that docxtpl's patterns would be busy with for too long."""
    written = etree.tostring(tree, encoding="unicode")
    if len(written) > _MAX_TEMPLATED:
        raise Flaw(
            Kind.SIZE,
            f"The text of the template's {place.removeprefix('the ')} is larger than"
            f" {_MAX_TEMPLATED // MEBIBYTE} MB",
            "copy its words into a new document in Word",
        )
    if written.count("{") > _MAX_BRACES:
        raise Flaw(
            Kind.SIZE,
            f"The template has more than {_MAX_BRACES // 2} tags in {place}, and a letter has"
            " about a hundred",
            "take out those that are repeated",
        )


def _check_other_tags(tree: etree._Element, place: str, outlined: AbstractSet[str]) -> None:
    """See to the tags that are not in a paragraph's words: descriptions, equations."""
    for each in tree.iter(etree.Element):
        for key, value in each.attrib.items():
            if BRACES.search(str(value)):
                what = ATTRIBUTES.get(etree.QName(str(key)).localname, "the property")
                for wrong in unpaired(str(value)):
                    with one_thing():
                        at = where(each, place, outlined)
                        raise Flaw(
                            Kind.UNCLOSED_TAG,
                            wrong.what,
                            wrong.mend,
                            place=replace(at, owned=what, value=str(value)),
                        )
        if each.tag not in (f"{W}t", f"{W}instrText") and BRACES.search(each.text or ""):
            with one_thing():
                raise Flaw(
                    Kind.MISPLACED_TAG,
                    f"the tag “{short(each.text or '')}” is in an equation or another place where"
                    " no field can be printed",
                    "write it as plain text",
                    place=where(each, place, outlined),
                )


def _check_tags(paragraph: etree._Element, place: str, heading: str) -> None:
    """See that each tag is closed in its own paragraph, and that none swallows words."""
    words = words_of(paragraph)
    if not BRACES.search(words):
        return
    whole = Place(said=place, heading=heading, words=words, element=paragraph)
    _refuse_unpaired(words, whole)
    if next(unpaired(words), None) is not None:
        return
    for found in TAG.finditer(words):
        if re.match(r"\{[{%#](p|tr|tc|r)\s", found[0]):
            with one_thing():
                _check_unit(
                    paragraph, found[0], replace(whole, start=found.start(), end=found.end())
                )


def _check_unit(paragraph: etree._Element, tag: str, place: Place) -> None:
    """See that a tag for a whole paragraph, row or cell has that to itself."""
    kind, unit = tag[1], tag[2:4].strip()
    if unit == "r":
        if kind == "{":
            _plain_run_tag(paragraph)
        return
    if kind == "{":
        raise Flaw(
            Kind.MISPLACED_TAG,
            f"{tag} stands for a whole {_WHOLE[unit]}, but fields are plain text",
            f"write {tag.replace('{{' + unit, '{{')}",
            place=place,
        )
    holder = paragraph if unit == "p" else next(paragraph.iterancestors(f"{W}{unit}"), None)
    if holder is None:
        raise Flaw(
            Kind.MISPLACED_TAG, f"{tag} is not in a table", "use {%p %} instead", place=place
        )
    inside = "".join(text.text or "" for text in holder.iter(f"{W}t"))
    if any(
        each.tag != f"{W}br" or each.get(f"{W}type") in ("page", "column")
        for each in holder.iter(f"{W}br", f"{W}drawing", f"{W}pict", f"{W}sectPr")
    ):
        raise Flaw(
            Kind.MISPLACED_TAG,
            f"the {_WHOLE[unit]} of {tag} also holds a break or a picture, which would be taken"
            " away with it",
            "move that into a paragraph of its own (for a new page, Paragraph > Line and Page"
            " Breaks > Page break before)",
            place=place,
        )
    rest = inside.replace(tag, "", 1).strip()
    if rest:
        raise Flaw(
            Kind.MISPLACED_TAG,
            f"{tag} must stand in a {_WHOLE[unit]} of its own, because that {_WHOLE[unit]} is"
            f" taken away with it, and with it “{short(rest)}”",
            f"put {tag} into a {_WHOLE[unit]} of its own",
            place=place,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpaired:
    """A brace that has no other: which, where it stands, what is wrong and what to write."""

    brace: str
    start: int
    what: str
    mend: str


def unpaired(words: str) -> Iterator[Unpaired]:
    """Every brace in a text that has no other."""
    opened: re.Match[str] | None = None
    for found in BRACES.finditer(words):
        brace = found[0]
        if brace in _CLOSER:
            if opened is not None:
                yield _not_closed(opened)
            opened = found
        elif opened is None:
            yield Unpaired(
                brace=brace,
                start=found.start(),
                what=f"{brace} closes a tag that was not opened",
                mend=f"write {_OPENER[brace]} before it, or take it out",
            )
        else:
            if brace != _CLOSER[opened[0]]:
                yield _not_closed(opened)
            opened = None
    if opened is not None:
        yield _not_closed(opened)


def _not_closed(opened: re.Match[str]) -> Unpaired:
    closer = _CLOSER[opened[0]]
    return Unpaired(
        brace=opened[0],
        start=opened.start(),
        what=f"the tag opened with {opened[0]} is not closed with {closer} in the same paragraph",
        mend=f"write {closer} where the tag ends",
    )


def _refuse_unpaired(words: str, place: Place) -> None:
    for wrong in unpaired(words):
        with one_thing():
            raise Flaw(
                Kind.UNCLOSED_TAG,
                wrong.what,
                wrong.mend,
                place=replace(place, start=wrong.start, end=wrong.start + 2),
            )


def _plain_run_tag(paragraph: etree._Element) -> None:
    """Make {{r field }} the same as {{ field }}.

    docxtpl takes the run away and expects the field to bring its own; plain text left without a
    run would not be shown at all.
    """
    texts = texts_of(paragraph)
    words = "".join(text.text or "" for text in texts)
    gone = {found.end() - 1 for found in re.finditer(r"\{\{r(?=\s)", words)}
    start = 0
    for text in texts:
        own = text.text or ""
        text.text = "".join(each for index, each in enumerate(own, start) if index not in gone)
        start += len(own)


def _heading_above(element: etree._Element, outlined: AbstractSet[str]) -> str:
    """The words of the nearest heading above an element."""
    outermost = element
    for each in element.iterancestors():
        if each.tag in (f"{W}body", f"{W}hdr", f"{W}ftr", f"{W}footnote", f"{W}endnote"):
            break
        outermost = each
    for paragraph in outermost.itersiblings(f"{W}p", preceding=True):
        if _style(paragraph) in outlined:
            return words_of(paragraph).strip()
    return ""


def _style(paragraph: etree._Element) -> str:
    style = paragraph.find(f"{W}pPr/{W}pStyle")
    return "" if style is None else str(style.get(f"{W}val"))


def refuse_tags_elsewhere(package: Package, rendered: AbstractSet[str]) -> None:
    """Raise `Flaw` for tags in parts that are not rendered, such as comments."""
    for name, tree in package.trees.items():
        if name in rendered or name == package.core:
            continue
        values = " ".join(
            str(value)
            for each in tree.iter(etree.Element)
            for value in each.attrib.values()
            if TAG.search(str(value))
        )
        words = "".join(str(text) for text in tree.itertext())
        if found := BRACES.search(words) or BRACES.search(words := values):
            place = Place(said=named(name), part=name, element=_holding(tree, found[0]))
            if name.endswith(".rels"):
                source = source_of(name)
                place = Place(said=f"the address of a link in {named(source)}", part=source)
            near = short(words[max(found.start() - 20, 0) :])
            with one_thing():
                raise Flaw(
                    Kind.MISPLACED_TAG,
                    "The template has a tag",
                    "take it out there. Tags work in the body, headers, footers and footnotes",
                    place=place,
                    rest=f" (near “{near}”), where it would be printed as it stands",
                )


def _holding(tree: etree._Element, brace: str) -> etree._Element | None:
    """The first element whose own text has a brace in it."""
    return next((each for each in tree.iter(etree.Element) if brace in (each.text or "")), None)


def refuse_tag_named_styles(package: Package, rendered: AbstractSet[str]) -> None:
    """Raise `Flaw` for styles in use that would spoil the PDF for screen readers."""
    used: dict[str | None, tuple[str, etree._Element]] = {}
    for name in rendered:
        for each in package.trees[name].iter(f"{W}pStyle", f"{W}rStyle", f"{W}tblStyle"):
            used.setdefault(each.get(f"{W}val"), (name, each))
    for name, kind in package.types.items():
        if kind != f"{WORD_TYPE}styles+xml":
            continue
        for style in package.trees[name].iter(f"{W}style"):
            shown = style.find(f"{W}name")
            words = "" if shown is None else str(shown.get(f"{W}val"))
            first = used.get(style.get(f"{W}styleId"))
            if first is not None and _TAG_NAME.fullmatch(words):
                with one_thing():
                    raise Flaw(
                        Kind.STYLE,
                        f"The template's style “{words}” has the name of a PDF tag, which it would"
                        " redefine for screen readers",
                        "give the style another name (Home > Styles > Modify)",
                        place=Place(said="", part=first[0], element=first[1]),
                    )


def _unquoted(words: str) -> str:
    for quoted, plain in (("{_{", "{{"), ("}_}", "}}"), ("{_%", "{%"), ("%_}", "%}")):
        words = words.replace(quoted, plain)
    return words
