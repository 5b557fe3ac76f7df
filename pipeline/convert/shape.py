"""The shape of a stamped letter: all of its docx but the words and values that letters differ in.

Two letters of one shape have the same paragraphs, runs, drawings and everything else; each *slot*
(the text of a run, a drawing's alternative text, the angles of a ring, the title) may hold another
value. What cannot be exchanged in a loaded document for certain (text in links and fields, empty
runs, a drawing's kind) belongs to the shape itself.
"""

import enum
import hashlib
import io
import json
import re
import zipfile
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from lxml import etree

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_WP = "{http://schemas.openxmlformats.org/drawingml/2006/wordprocessingDrawing}"
_A = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
_WPG = "{http://schemas.microsoft.com/office/word/2010/wordprocessingGroup}"
_WPS = "{http://schemas.microsoft.com/office/word/2010/wordprocessingShape}"
_DC = "{http://purl.org/dc/elements/1.1/}"
_SPACE = "{http://www.w3.org/XML/1998/namespace}space"

_STAMPED = re.compile(r"word/(?:document|header\d*|footer\d*)\.xml")
_CORE = "docProps/core.xml"
_UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ufff9-\uffff]")
"""Characters that mean something else to LibreOffice's text than to a docx."""
_MARK = "\ue000"
"""Stands in the shape for what is in a slot."""
_CLOSED, _OPEN = "donut", "blockArc"
_ARCS = [[_CLOSED, 1], [_OPEN, 3]]
"""Rings whose kind may change with the rate, and how many values each has."""
_VAL = re.compile(r"val (-?\d{1,9})")


class Kind(enum.StrEnum):
    """What a slot holds."""

    TEXT = "text"
    ALTERNATIVE = "alternative"
    RING = "ring"
    TITLE = "title"


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """One place that letters of a shape may differ in, and what this letter has there.

    `drawing` and `part` (-1: the whole) say which drawing's. `follows` is true of a text that may
    begin where the slot before it ends.
    """

    kind: Kind
    value: str
    drawing: str = ""
    part: int = -1
    follows: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Shaped:
    """A docx taken apart: `key` is its shape's, and `slots` are in the order of the document."""

    key: str
    slots: Sequence[Slot]


def shaped(docx: bytes) -> Shaped | None:
    """Answer a stamped letter's shape and what is in its slots.

    None where it has none that can be told: it is no docx, or holds what cannot be exchanged.
    """
    slots: list[Slot] = []
    rest = hashlib.sha256()
    try:
        with zipfile.ZipFile(io.BytesIO(docx)) as package:
            for member in package.infolist():
                content = package.read(member)
                rest.update(f"{member.filename}\0".encode())
                if member.filename == _CORE or _STAMPED.fullmatch(member.filename):
                    root = _parsed(content)
                    for slot, place in _places(root, member.filename):
                        slots.append(slot)
                        place.clear()
                    content = etree.tostring(root)
                rest.update(b"%d\0%b" % (len(content), content))
    except (zipfile.BadZipFile, etree.LxmlError, ValueError, KeyError, NotImplementedError):
        return None
    if any(_UNFIT.search(slot.value) for slot in slots):
        return None
    names = [(slot.kind, slot.drawing, slot.part) for slot in slots if slot.kind is not Kind.TEXT]
    if len(set(names)) < len(names):
        return None  # drawings of one name: which is meant cannot be said
    return Shaped(key=rest.hexdigest(), slots=slots)


def marked(docx: bytes, numbers: Collection[int]) -> bytes:
    """Answer the docx as it is to be kept loaded, the slots numbered made ready for other values.

    A mark (`mark`) is put in place of a text. A closed ring becomes an open one: LibreOffice then
    has the geometry of both to draw either with.
    """
    answer = io.BytesIO()
    number = 0
    with (
        zipfile.ZipFile(io.BytesIO(docx)) as package,
        zipfile.ZipFile(answer, "w") as written,
    ):
        for member in package.infolist():
            content = package.read(member)
            if member.filename == _CORE or _STAMPED.fullmatch(member.filename):
                root = _parsed(content)
                for slot, place in _places(root, member.filename):
                    if number in numbers and slot.kind is Kind.TEXT:
                        place.put(mark(number))
                    elif number in numbers and slot.kind is Kind.RING:
                        place.open()
                    number += 1
                content = etree.tostring(root, xml_declaration=True, encoding="UTF-8")
            written.writestr(member.filename, content)
    return answer.getvalue()


def mark(number: int) -> str:
    """Answer the word that stands for a text until it is found."""
    return f"Q7z{number}z7Q"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where a slot is in the XML: an element's text, or attributes of elements."""

    element: etree._Element
    attributes: Sequence[tuple[etree._Element, str]] = ()
    arc: etree._Element | None = None
    """The geometry of a ring that may be open or closed, which then is no part of the shape."""

    def put(self, value: str) -> None:
        self.element.text = value

    def clear(self) -> None:
        if not self.attributes:
            self.element.text = _MARK
        for element, name in self.attributes:
            element.set(name, _MARK)
        if self.arc is not None:
            self.arc.set("prst", _MARK)
            for guides in self.arc:
                guides.clear()

    def open(self) -> None:
        """Make an open ring of a closed one, as wide, half way round."""
        if self.arc is None or self.arc.get("prst") != _CLOSED:
            return
        self.arc.set("prst", _OPEN)
        (guides,) = self.arc
        (width,) = guides
        width.set("name", "adj3")
        for name, angle in (("adj2", 5_400_000), ("adj1", 16_200_000)):
            guides.insert(0, etree.Element(f"{_A}gd", name=name, fmla=f"val {angle}"))


def _parsed(content: bytes) -> etree._Element:
    return etree.fromstring(content, etree.XMLParser(resolve_entities=False, no_network=True))


def _places(root: etree._Element, name: str) -> Iterator[tuple[Slot, _Place]]:
    """Every slot of a part; listed before the first is answered, so that places may be changed."""
    found = list(_title(root) if name == _CORE else [*_texts(root), *_drawings(root)])
    yield from found


def _title(root: etree._Element) -> Iterator[tuple[Slot, _Place]]:
    title = root.find(f"{_DC}title")
    if title is not None and title.text:
        yield Slot(kind=Kind.TITLE, value=title.text), _Place(element=title)


def _texts(root: etree._Element) -> Iterator[tuple[Slot, _Place]]:
    fields = 0
    before: etree._Element | None = None
    for element in root.iter(f"{_W}t", f"{_W}fldChar"):
        if element.tag == f"{_W}fldChar":
            kind = element.get(f"{_W}fldCharType")
            fields += (kind == "begin") - (kind == "end")
            continue
        text = element.text or ""
        run = element.getparent()
        paragraph = None if run is None else run.getparent()
        # Only runs that stand in the paragraph itself: not in links, simple fields or controls.
        if (
            fields
            or not text
            or paragraph is None
            or paragraph.tag != f"{_W}p"
            or next(element.iterancestors(f"{_W}txbxContent"), None) is not None
            or (text != text.strip() and element.get(_SPACE) != "preserve")
        ):
            continue
        follows = paragraph is before
        before = paragraph
        yield Slot(kind=Kind.TEXT, value=text, follows=follows), _Place(element=element)


def _drawings(root: etree._Element) -> Iterator[tuple[Slot, _Place]]:
    for named in root.iter(f"{_WP}docPr"):
        name = str(named.get("name", ""))
        holder = named.getparent()
        if not name or holder is None:
            continue
        if named.get("descr"):
            yield _alternative(named, name, -1)
        for group in holder.iter(f"{_WPG}wgp"):
            shapes = [each for each in group if each.tag == f"{_WPS}wsp"]
            # Of a group that holds anything else the parts cannot be counted.
            if any(each.tag.endswith(("}pic", "}grpSp", "}graphicFrame")) for each in group):
                continue
            for number, shape in enumerate(shapes):
                own = shape.find(f"{_WPS}cNvPr")
                if own is not None and own.get("descr"):
                    yield _alternative(own, name, number)
                ring = _ring(shape, name, number)
                if ring is not None:
                    yield ring


def _alternative(element: etree._Element, name: str, part: int) -> tuple[Slot, _Place]:
    slot = Slot(kind=Kind.ALTERNATIVE, value=str(element.get("descr")), drawing=name, part=part)
    return slot, _Place(element=element, attributes=[(element, "descr")])


def _ring(shape: etree._Element, name: str, part: int) -> tuple[Slot, _Place] | None:
    geometry = shape.find(f"{_WPS}spPr/{_A}prstGeom")
    if geometry is None:
        return None
    guides = geometry.findall(f"{_A}avLst/{_A}gd")
    values = [_VAL.fullmatch(str(guide.get("fmla", ""))) for guide in guides]
    if not values or not all(values):
        return None
    angles = [
        [str(guide.get("name")), int(val[1])]
        for guide, val in zip(guides, values, strict=True)
        if val
    ]
    preset = str(geometry.get("prst"))
    slot = Slot(kind=Kind.RING, value=json.dumps([preset, angles]), drawing=name, part=part)
    # A rate of 100% is drawn as a closed ring upon the closed ring that is its track.
    changes = part > 0 and len(geometry) == 1 and [preset, len(guides)] in _ARCS
    return slot, _Place(
        element=shape,
        attributes=[(guide, "fmla") for guide in guides],
        arc=geometry if changes else None,
    )
