"""Which fonts a letter's words are set in, and which of them this machine does not have.

LibreOffice says nothing about a font that is not there: it takes another, the lines break elsewhere
and the letter is no longer the one that was approved in Word.
"""

import io
import re
import zipfile
from collections.abc import Collection, Iterator, Mapping

from lxml import etree

EQUALS: Mapping[str, tuple[str, ...]] = {
    "Arial": ("Liberation Sans", "Arimo"),
    "Times New Roman": ("Liberation Serif", "Tinos"),
    "Courier New": ("Liberation Mono", "Cousine"),
    "Calibri": ("Carlito",),
    "Cambria": ("Caladea",),
}
"""Fonts that are as wide, letter by letter, and that LibreOffice takes by itself."""

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_A = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
_TEXT_PARTS = re.compile(r"word/(?:document|header\d*|footer\d*|footnotes|endnotes)\.xml")
_PARSER = etree.XMLParser(resolve_entities=False, no_network=True)


def missing(docx: bytes, there: Collection[str]) -> list[str]:
    """The fonts that words of a docx are set in and that are not `there`, nor any as wide.

    Fonts that the docx brings with it count as there. A docx that cannot be read has none: what is
    wrong with it is for LibreOffice to say.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(docx)) as package:
            document = _Document(package)
            wanted, brought = document.fonts(), document.brought()
    except (zipfile.BadZipFile, KeyError, NotImplementedError, etree.XMLSyntaxError):
        return []
    known = {name.casefold() for name in (*there, *brought)}
    return sorted(
        name
        for name in wanted
        if not known & {one.casefold() for one in (name, *EQUALS.get(name, ()))}
    )


class _Document:
    """As much of a docx as says which font each of its runs is set in."""

    def __init__(self, package: zipfile.ZipFile) -> None:
        names = package.namelist()

        def part(name: str) -> etree._Element | None:
            return etree.fromstring(package.read(name), _PARSER) if name in names else None

        self._texts = [part(name) for name in names if _TEXT_PARTS.fullmatch(name)]
        self._styles = part("word/styles.xml")
        self._theme = part("word/theme/theme1.xml")
        self._table = part("word/fontTable.xml")
        self._by_id: dict[str, etree._Element] = {}
        self._default: str | None = None
        for style in self._styles.iter(f"{_W}style") if self._styles is not None else ():
            identity = style.get(f"{_W}styleId", "")
            self._by_id[identity] = style
            if style.get(f"{_W}type") == "paragraph" and style.get(f"{_W}default") in {"1", "true"}:
                self._default = identity

    def brought(self) -> Iterator[str]:
        """The fonts that are embedded."""
        for font in self._table.iter(f"{_W}font") if self._table is not None else ():
            if font.find(f"{_W}embedRegular") is not None:
                yield font.get(f"{_W}name", "")

    def fonts(self) -> set[str]:
        """The font of every run that has words in it."""
        found = set[str]()
        for text in self._texts:
            for run in text.iter(f"{_W}r") if text is not None else ():
                if any((words.text or "").strip() for words in run.iterfind(f"{_W}t")):
                    found.add(self._font_of(run))
        return found - {""}

    def _font_of(self, run: etree._Element) -> str:
        paragraph = next(run.iterancestors(f"{_W}p"), None)
        direct = run.find(f"{_W}rPr")
        return (
            self._named(direct)
            or self._of_style(_value(direct, "rStyle"))
            or self._of_style(_value(_child(paragraph, "pPr"), "pStyle") or self._default)
            or self._named(_child(_child(_child(self._styles, "docDefaults"), "rPrDefault"), "rPr"))
        )

    def _of_style(self, identity: str | None) -> str:
        """The font of a style or of what it is based on; a circle of styles ends it."""
        seen = set[str]()
        while identity in self._by_id and identity not in seen:
            seen.add(identity)
            style = self._by_id[identity]
            if name := self._named(_child(style, "rPr")):
                return name
            identity = _value(style, "basedOn")
        return ""

    def _named(self, properties: etree._Element | None) -> str:
        fonts = _child(properties, "rFonts")
        if fonts is None:
            return ""
        if (theme := fonts.get(f"{_W}asciiTheme")) and self._theme is not None:
            kind = "majorFont" if theme.startswith("major") else "minorFont"
            for latin in self._theme.iterfind(f".//{_A}{kind}/{_A}latin"):
                return latin.get("typeface", "")
        return fonts.get(f"{_W}ascii", "")


def _child(element: etree._Element | None, name: str) -> etree._Element | None:
    return None if element is None else element.find(f"{_W}{name}")


def _value(element: etree._Element | None, name: str) -> str | None:
    child = _child(element, name)
    return None if child is None else child.get(f"{_W}val")
