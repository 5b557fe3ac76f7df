"""Read a finished PDF back: is it the right letter, whole and accessible?

`prove` reads the text with PDFium and the structure with pikepdf (each the faster for its part).
PDFium may not be used by two threads at once; a lane is a process with one thread, so there is
no lock here.

Text is compared *folded*: case, ligatures, typographic apostrophes and `&`/`and` made alike, and
white space and hyphens left out, because a name may wrap across lines and PDFium drops the hyphen
and the line break together. Where words begin and end is remembered beside it, so that what is
found is always whole words.
"""

import dataclasses
import io
import itertools
import re
import struct
import unicodedata
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import pikepdf
import pypdfium2  # type: ignore[import-untyped]

from pipeline.errors import LetterFault

LEAST_PAGES = 3
LANGUAGE = "en-GB"
_TAGS = ("{{", "}}", "{%", "%}")
_STRAY = re.compile(r"(?<!\w)(?:None|nan|NaN|undefined|Error!)(?!\w)")
# PDFium writes the first two for a hyphen at which it joined two lines; the others are a soft
# hyphen and characters without a width.
_JOINTS = "\x02\ufffe\xad\u200b\u200c\u200d\u2060\ufeff"
_HYPHENS = "-\u2010\u2011\u2012\u2013\u2014\u2212\ufe63\uff0d"
_ALIKE = {"’": "'", "‘": "'", "ʼ": "'", "´": "'", "`": "'", "“": '"', "”": '"', "&": "and"}
_KEY = 3
_SHOWN = 80


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What one letter's PDF must and may hold.

    `authority` is its own authority's name and `title` the document's. Every one of `texts` must
    be in it, and all `panel_headings` on one page. `own_names` are strings of the letter's own
    fields, in which another authority may be named and any word may stand (successor, remarks,
    address lines). `fixed_texts` is wording that every letter has, in which a word may happen to
    be an authority's whole name ("in London, Bristol, Leeds and Birmingham").
    """

    authority: str
    title: str
    texts: Sequence[str]
    own_names: Sequence[str]
    panel_headings: Sequence[str]
    fixed_texts: Sequence[str] = ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What was read from a PDF that passed: its number of pages and its text."""

    pages: int
    text: str


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """A name found in a text: the name as it was given, and where it is in the folded text."""

    name: str
    start: int
    end: int


class Folded:
    """A text made comparable, with the place of each character in the text it came from."""

    def __init__(self, text: str) -> None:
        self.source = text = unicodedata.normalize("NFC", text)
        characters: list[str] = []
        self.places: list[int] = []
        edges: list[bool] = []
        inside = False  # whether the last character kept is a word's and nothing parted it since
        for place, raw in enumerate(text):
            if raw in _JOINTS:
                continue
            if raw in _HYPHENS or raw.isspace() or raw < " ":
                inside = False
                continue
            for made in _fold(raw):
                word = made.isalnum() or unicodedata.combining(made) > 0
                characters.append(made)
                self.places.append(place)
                edges.append(not (inside and word))
                inside = word
        edges.append(True)
        self.text = "".join(characters)
        self.edges = edges

    def whole(self, wanted: str) -> Iterator[tuple[int, int]]:
        """Find every occurrence of a folded text that begins and ends where words do."""
        start = self.text.find(wanted) if wanted else -1
        while start >= 0:
            end = start + len(wanted)
            if self.edges[start] and self.edges[end]:
                yield start, end
            start = self.text.find(wanted, start + 1)

    def begins_like(self, start: int, name: str) -> bool:
        """Tell whether a capital in the name is a capital here: "reading" is not Reading."""
        first = self.source[self.places[start]]
        return not name[:1].isupper() or first.isupper() or not first.isalpha()


def _fold(raw: str) -> str:
    if raw < "\x7f":
        return _ALIKE.get(raw) or raw.lower()
    plain = unicodedata.normalize("NFKC", raw)
    return "".join(_ALIKE.get(one, one) for one in plain.casefold() if not one.isspace())


def fold(text: str) -> str:
    """Answer a text as `Folded` compares it."""
    return Folded(text).text


class Names:
    """Every authority's name, made once and then asked which of them a text holds.

    A look-up costs the text's words times the distinct lengths of names that begin alike, however
    many names there are: 100,000 cost what 400 do.
    """

    def __init__(self, all_authority_names: Iterable[str]) -> None:
        self._names: dict[str, str] = {}
        lengths: dict[str, set[int]] = {}
        for name in all_authority_names:
            folded = fold(name)
            if folded:
                self._names.setdefault(folded, name)
                lengths.setdefault(folded[:_KEY], set()).add(len(folded))
        self._lengths = {key: sorted(each, reverse=True) for key, each in lengths.items()}

    def find(self, text: Folded, own: Mapping[int, int] | None = None) -> Iterator[Found]:
        """Find the names in a text from left to right, the longest first, none within another.

        `own` maps the start of each stretch that is the letter's own to its end. A longer name
        that begins where such a stretch begins is found all the same: "Bath" may be the letter's
        own where "Bath and North East Somerset Council" is not.
        """
        own = own or {}
        place, size = 0, len(text.text)
        while place < size:
            if not text.edges[place]:
                place += 1
                continue
            own_end = own.get(place, place)
            found = self._longest(text, place)
            if found is not None and found.end > own_end:
                yield found
                place = found.end
            else:
                place = max(own_end, place + 1)

    def _longest(self, text: Folded, start: int) -> Found | None:
        for size in range(_KEY, 0, -1):
            for length in self._lengths.get(text.text[start : start + size], ()):
                end = start + length
                if end >= len(text.edges) or not text.edges[end]:
                    continue
                name = self._names.get(text.text[start:end])
                if name is not None and text.begins_like(start, name):
                    return Found(name, start, end)
        return None


def prove(pdf: bytes, expected: Expectation, names: Names) -> Proof:
    """Answer the proof of a PDF that is the letter expected; raises `LetterFault` if it is not.

    The fault says what was found, and on which page.
    """
    pages = _read(pdf, expected.title)
    if len(pages) < LEAST_PAGES:
        raise LetterFault(
            f"The PDF has {len(pages)} page(s), and a whole letter at least {LEAST_PAGES}."
        )
    _prove_structure(pdf, pages)
    _prove_characters(pages)
    text = Folded("\n".join(pages))
    starts = _page_starts(pages)
    for wanted in (expected.authority, *expected.texts):
        if next(text.whole(fold(wanted)), None) is None:
            raise LetterFault(f"The PDF does not say “{_short(wanted)}”.")
    _prove_panels(pages, expected.panel_headings)
    _prove_words(text, starts, expected, names)
    return Proof(pages=len(pages), text="\n".join(pages))


def _read(pdf: bytes, title: str) -> list[str]:
    try:
        with pypdfium2.PdfDocument(pdf) as document:
            found = document.get_metadata_value("Title")
            pages = []
            for page in document:
                text = page.get_textpage()
                pages.append(unicodedata.normalize("NFC", text.get_text_range()))
                text.close()
                page.close()
    except pypdfium2.PdfiumError as fault:
        raise LetterFault(f"The PDF cannot be read: {fault}.") from fault
    if fold(found) != fold(title):
        raise LetterFault(f"The PDF's title is “{_short(found)}” and not “{_short(title)}”.")
    return pages


def _prove_characters(pages: Sequence[str]) -> None:
    for number, page in enumerate(pages, start=1):
        for place, character in enumerate(page):
            if character == "\ufffd" or unicodedata.category(character) == "Co":
                around = _short(page[max(0, place - 20) : place + 20])
                raise LetterFault(
                    f"Page {number} has a character that cannot be read as text"
                    f" (U+{ord(character):04X}, in “{around}”): a symbol font's, or one that no"
                    " font has. Put an ordinary character in its place."
                )


def _prove_panels(pages: Sequence[str], headings: Sequence[str]) -> None:
    folded = [Folded(page) for page in pages]
    lacks = [
        [wanted for wanted in headings if next(page.whole(fold(wanted)), None) is None]
        for page in folded
    ]
    best = min(range(len(pages)), key=lambda number: len(lacks[number]))
    if lacks[best]:
        missing = ", ".join(f"“{_short(wanted)}”" for wanted in lacks[best])
        raise LetterFault(
            f"The panels do not stand together on one page: page {best + 1} lacks {missing}."
        )


def _prove_words(text: Folded, starts: Sequence[int], expected: Expectation, names: Names) -> None:
    """Raise on another authority's name and on the words of a field that went wrong.

    What the letter's own fields say is passed over wherever it is found whole. A field that is
    not (a page number stands in the middle of it) may name, once for each time it does, what it
    names.
    """

    def page_of(place: int) -> int:
        return bisect_left(starts, place + 1)

    own: dict[int, int] = {}
    allowed: Counter[str] = Counter()
    allowed_words: Counter[str] = Counter()
    for field in (expected.authority, *expected.own_names, *expected.fixed_texts):
        spans = list(text.whole(fold(field)))
        for start, end in spans:
            own[start] = max(end, own.get(start, end))
        if not spans:
            allowed.update(each.name for each in names.find(Folded(field)))
            allowed_words.update(_STRAY.findall(field))
    for found in names.find(text, own):
        if allowed[found.name] > 0:
            allowed[found.name] -= 1
            continue
        raise LetterFault(
            f"Page {page_of(text.places[found.start])} names another authority:"
            f" “{_short(found.name)}”, in the letter to {_short(expected.authority)}."
        )
    for tag in _TAGS:
        place = text.source.find(tag)
        if place >= 0:
            around = _short(text.source[max(0, place - 20) : place + 40])
            raise LetterFault(f"Page {page_of(place)} still has a template's tag: “{around}”.")
    spans = sorted((text.places[start], text.places[end - 1] + 1) for start, end in own.items())
    for stray in _STRAY.finditer(text.source):
        if any(start <= stray.start() and stray.end() <= end for start, end in spans):
            continue
        if allowed_words[stray.group()] > 0:
            allowed_words[stray.group()] -= 1
            continue
        around = _short(text.source[max(0, stray.start() - 30) : stray.end() + 30])
        raise LetterFault(
            f"Page {page_of(stray.start())} has the word “{stray.group()}”, which a field that"
            f" went wrong leaves behind, in “{around}”."
        )


def _page_starts(pages: Sequence[str]) -> list[int]:
    starts = [0]
    for page in pages[:-1]:
        starts.append(starts[-1] + len(page) + 1)
    return starts


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else line[: _SHOWN - 1] + "…"


def _prove_structure(pdf: bytes, pages: Sequence[str]) -> None:
    try:
        with pikepdf.open(io.BytesIO(pdf)) as document:
            root = document.Root
            tree = root.get("/StructTreeRoot")
            if tree is None or "/K" not in tree or not _flag(root, "/MarkInfo", "/Marked"):
                raise LetterFault("The PDF is not tagged, so a screen reader cannot read it.")
            language = str(root.get("/Lang", ""))
            if language != LANGUAGE:
                raise LetterFault(
                    f"The PDF says its language is “{language}” and not “{LANGUAGE}”;"
                    " set it in the template's document defaults."
                )
            if not _flag(root, "/ViewerPreferences", "/DisplayDocTitle"):
                raise LetterFault("The PDF does not ask for its title to be shown.")
            seen: set[tuple[int, int]] = set()
            for page in document.pages:
                for font in _fonts(page.obj.get("/Resources"), seen):
                    _prove_font(font, document, pages)
    except (pikepdf.PdfError, ValueError, TypeError, AttributeError, struct.error) as fault:
        raise LetterFault(f"The PDF's structure cannot be read: {fault}.") from fault


def _flag(root: pikepdf.Object, group: str, name: str) -> bool:
    held = root.get(group)
    return held is not None and bool(held.get(name, False))


def _fonts(
    resources: pikepdf.Object | None, seen: set[tuple[int, int]]
) -> Iterator[pikepdf.Object]:
    """Every font of a page, those of the forms drawn on it included, each once in a document."""
    if resources is None:
        return
    for font in dict(resources.get("/Font", {})).values():
        if font.objgen == (0, 0) or font.objgen not in seen:
            seen.add(font.objgen)
            yield font
    for form in dict(resources.get("/XObject", {})).values():
        if form.get("/Subtype") == "/Form" and form.objgen not in seen:
            seen.add(form.objgen)
            yield from _fonts(form.get("/Resources"), seen)


def _where_used(document: pikepdf.Pdf, font: pikepdf.Object) -> str:
    # LibreOffice gives all pages the same resources, so only what is drawn tells.
    for number, page in enumerate(document.pages, start=1):
        own = page.obj.get("/Resources", pikepdf.Dictionary()).get("/Font", pikepdf.Dictionary())
        for drawn in pikepdf.parse_content_stream(page, "Tf"):
            if own.get(str(drawn.operands[0]), pikepdf.Dictionary()).objgen == font.objgen:
                return f"Page {number}"
    return "The PDF"


def _prove_font(font: pikepdf.Object, document: pikepdf.Pdf, pages: Sequence[str]) -> None:
    name = str(font.get("/BaseFont", "without a name")).lstrip("/")
    inner = font["/DescendantFonts"][0] if "/DescendantFonts" in font else font
    descriptor = inner.get("/FontDescriptor", pikepdf.Dictionary())
    if not any(f"/FontFile{kind}" in descriptor for kind in ("", "2", "3")):
        raise LetterFault(
            f"{_where_used(document, font)} uses the font {name}, which is not embedded."
        )
    # Only simple TrueType fonts, which is what LibreOffice makes of TrueType ones, can be looked
    # into here: their codes are the numbers of their glyphs.
    if inner is font and "/FontFile2" in descriptor and "/ToUnicode" in font:
        lacking = _undefined_glyphs(bytes(descriptor["/FontFile2"].read_bytes()))
        if lacking:
            means = _meanings(font["/ToUnicode"].read_bytes())
            shown = ", ".join(
                f"“{means[code]}” (U+{ord(means[code][0]):04X})" if code in means else f"#{code}"
                for code in lacking
            )
            where = next(
                (
                    f"Page {number}"
                    for number, page in enumerate(pages, start=1)
                    if any(means.get(code, "\0") in page for code in lacking)
                ),
                "The PDF",
            )
            raise LetterFault(
                f"{where} has {shown}, which no installed font can draw, so that a box or nothing"
                " is printed. Mend the field, or install a font that has it."
            )


def _undefined_glyphs(font: bytes) -> list[int]:
    """Glyphs of a subset drawn like its glyph 0, the box for a character that the font has not.

    LibreOffice copies that box into the subset as if it were the character's own glyph, and
    maps it to the character, so that neither the text nor the codes betray it.
    """
    tables = {}
    for at in range(12, 12 + 16 * struct.unpack_from(">H", font, 4)[0], 16):
        tag, _, offset, length = struct.unpack_from(">4sIII", font, at)
        tables[tag] = font[offset : offset + length]
    long = struct.unpack_from(">h", tables[b"head"], 50)[0]
    count = struct.unpack_from(">H", tables[b"maxp"], 4)[0] + 1
    places = struct.unpack_from(f">{count}{'I' if long else 'H'}", tables[b"loca"])
    if not long:
        places = tuple(2 * place for place in places)
    outlines = [tables[b"glyf"][a:b] for a, b in itertools.pairwise(places)]
    return [
        code for code, outline in enumerate(outlines) if code and outline and outline == outlines[0]
    ]


def _meanings(to_unicode: bytes) -> dict[int, str]:
    pairs = re.findall(rb"<([0-9A-Fa-f]+)>\s*<((?:[0-9A-Fa-f]{4})+)>", to_unicode)
    return {
        int(code, 16): bytes.fromhex(text.decode()).decode("utf-16-be", errors="replace")
        for code, text in pairs
        if len(code) == 2
    }
