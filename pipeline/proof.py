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
import functools
import io
import itertools
import re
import struct
import unicodedata
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import pikepdf
import pypdfium2  # type: ignore[import-untyped]

from pipeline.errors import LetterFault

LEAST_PAGES = 3
LANGUAGE = "en-GB"
_TAGS = ("{{", "}}", "{%", "%}")
_STRAY = ("None", "nan", "NaN", "undefined", "Error!")
_UNREADABLE = re.compile("[\ufffd\ue000-\uf8ff\U000f0000-\U0010fffd]")
# A number is one word with the commas in it: 110 is not to be found in 1,110.
_WORD = re.compile(r"\w+(?:(?<=[0-9])[.,](?=[0-9])\w+)*")
# PDFium writes the first two for a hyphen at which it joined two lines; the others are a soft
# hyphen and characters without a width.
_JOINTS = "\x02\ufffe\xad\u200b\u200c\u200d\u2060\ufeff"
_HYPHENS = "-\u2010\u2011\u2012\u2013\u2014\u2212"
_ALIKE = {"’": "'", "‘": "'", "ʼ": "'", "`": "'", "“": '"', "”": '"', "&": "and", "İ": "I"}
_FOLDING = str.maketrans({**_ALIKE, **dict.fromkeys(_JOINTS, ""), **dict.fromkeys(_HYPHENS, " ")})
_STANDARD_TAG = re.compile(
    "Document|Part|Art|Sect|Div|BlockQuote|Caption|TOCI?|Index|NonStruct|Private|P|H[1-6]?|L|LI"
    "|Lbl|LBody|Table|TR|TH|TD|THead|TBody|TFoot|Span|Quote|Note|Reference|BibEntry|Code|Link"
    "|Annot|Ruby|RB|RT|RP|Warichu|WT|WP|Figure|Formula|Form"
)
_KEY = 3
_SHOWN = 80
_LONG_NAME = 80


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What one letter's PDF must and may hold.

    `authority` is its own authority's name and `title` the document's. Every one of `texts` must
    be in it, as often as it is among them, and all `panel_headings` on one page. `own_names` are
    strings of the letter's own fields, in which another authority may be named and any word may
    stand (successor, remarks, address lines). `fixed_texts` is wording that every letter has, in
    which a word may happen to be an authority's whole name ("in London, Bristol, Leeds and
    Birmingham").
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
    """Pages of text made comparable; `cased` is the same text before capitals were made small.

    `edges[place]` is 1 where no word goes on from the character before `place`.
    """

    def __init__(self, *pages: str) -> None:
        kept: list[str] = []
        edges = [b"\1"]
        self.starts: list[int] = []
        start = 0
        for page in pages:
            self.starts.append(start)
            parts = _parts(page)
            kept += parts
            edges += map(_edges_within, parts)
            start += sum(map(len, parts))
        self.cased = "".join(kept)
        self.text = self.cased.lower()
        self.edges = b"".join(edges)

    def whole(self, wanted: str) -> Iterator[tuple[int, int]]:
        """Find every occurrence of a folded text that begins and ends where words do."""
        return self._whole(self.text, wanted)

    def whole_cased(self, wanted: str) -> Iterator[tuple[int, int]]:
        """Find every occurrence that also has the same capitals."""
        return self._whole(self.cased, wanted)

    def _whole(self, text: str, wanted: str) -> Iterator[tuple[int, int]]:
        start = text.find(wanted) if wanted else -1
        while start >= 0:
            end = start + len(wanted)
            if self.edges[start] and self.edges[end]:
                yield start, end
            start = text.find(wanted, start + 1)

    def page_of(self, place: int) -> int:
        """Answer the number, from 1, of the page on which a place of the text is."""
        return bisect_right(self.starts, place)


def _parts(text: str) -> list[str]:
    """The text's words as they are compared, capitals aside, where white space parts them."""
    return unicodedata.normalize("NFKC", text.replace("´", "'")).translate(_FOLDING).split()


# Most words of a letter are those of all the others.
@functools.lru_cache(maxsize=1 << 14)
def _edges_within(part: str) -> bytes:
    """For each character of a part, whether no word goes on from it to the next one."""
    edges = bytearray(b"\1" * len(part))
    for word in _WORD.finditer(part):
        edges[word.start() : word.end() - 1] = bytes(word.end() - 1 - word.start())
    return bytes(edges)


def fold(text: str) -> str:
    """Answer a text as `Folded` compares it."""
    return "".join(_parts(text)).lower()


@functools.lru_cache(maxsize=1 << 10)
def _folded(text: str) -> Folded:
    """A field or a wording; wording is the same in all letters, so it is folded once."""
    return Folded(text)


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
                kept = self._names.setdefault(folded, name)
                # Of two that differ in capitals alone, one that asks for none stands for both.
                if kept[0].isupper() and not name[0].isupper():
                    self._names[folded] = name
                lengths.setdefault(folded[:_KEY], set()).add(len(folded))
        self._key_sizes = sorted({len(key) for key in lengths}, reverse=True)
        self._lengths = {key: sorted(each, reverse=True) for key, each in lengths.items()}

    def find(self, text: Folded, own: Mapping[int, int] | None = None) -> Iterator[Found]:
        """Find the names in a text from left to right, the longest first, none within another.

        `own` maps the start of each stretch that is the letter's own to its end. A longer name
        that begins where such a stretch begins is found all the same: "Bath" may be the letter's
        own where "Bath and North East Somerset Council" is not.
        """
        own = own or {}
        place = 0
        while 0 <= place < len(text.text):
            own_end = own.get(place, place)
            found = self._longest(text, place)
            if found is not None and found.end > own_end:
                yield found
                place = found.end
            else:
                place = text.edges.find(1, max(own_end, place + 1))

    def _longest(self, text: Folded, start: int) -> Found | None:
        for size in self._key_sizes:
            for length in self._lengths.get(text.text[start : start + size], ()):
                end = start + length
                name = self._names.get(text.text[start:end])
                # "reading" is not Reading: a capital in the name is a capital in the text.
                if (
                    name is not None
                    and end < len(text.edges)
                    and text.edges[end]
                    and not (name[0].isupper() and text.cased[start].islower())
                ):
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
    text = Folded(*pages)
    _prove_texts(text, expected)
    _prove_panels(text, expected)
    _prove_tags(pages)
    _prove_words(text, expected, names)
    return Proof(pages=len(pages), text="\n".join(pages))


def pages_of(pdf: bytes) -> list[str]:
    """Answer the text of each page, as PDFium gives it; raises `LetterFault` for what is no PDF."""
    return _title_and_pages(pdf)[1]


def _title_and_pages(pdf: bytes) -> tuple[str, list[str]]:
    try:
        with pypdfium2.PdfDocument(pdf) as document:
            found = document.get_metadata_value("Title")
            pages = []
            for page in document:
                text = page.get_textpage()
                pages.append(text.get_text_range())
                text.close()
                page.close()
    except pypdfium2.PdfiumError as fault:
        raise LetterFault(f"The PDF cannot be read: {fault}.") from fault
    return found, pages


def _read(pdf: bytes, title: str) -> list[str]:
    found, pages = _title_and_pages(pdf)
    if fold(found) != fold(title):
        raise LetterFault(f"The PDF's title is “{_short(found)}” and not “{_short(title)}”.")
    return pages


def _prove_characters(pages: Sequence[str]) -> None:
    for number, page in enumerate(pages, start=1):
        found = _UNREADABLE.search(page)
        if found:
            around = _short(page[max(0, found.start() - 20) : found.end() + 20])
            raise LetterFault(
                f"Page {number} has a character that cannot be read as text"
                f" (U+{ord(found.group()):04X}, in “{around}”): a symbol font's, or one that no"
                " font has. Put an ordinary character in its place."
            )


def _prove_tags(pages: Sequence[str]) -> None:
    for number, page in enumerate(pages, start=1):
        for tag in _TAGS:
            place = page.find(tag)
            if place >= 0:
                around = _short(page[max(0, place - 20) : place + 40])
                raise LetterFault(
                    f"Page {number} still has a template's tag: “{around}”; take it out of the data"
                    " or mend the template."
                )


def _prove_texts(text: Folded, expected: Expectation) -> None:
    # A person without a given name is in the address as in the salutation: each has to be there.
    times = Counter(map(fold, expected.texts))
    for wanted in (expected.authority, *expected.texts):
        folded = fold(wanted)
        if not folded:
            continue  # of a dash alone nothing is left to look for: a post may be given as one
        number = times[folded] or 1
        found = sum(1 for _ in itertools.islice(text.whole(folded), number))
        if not found:
            raise LetterFault(f"The PDF does not say “{_short(wanted)}”.")
        if found < number:
            raise LetterFault(
                f"The PDF says “{_short(wanted)}” {found} of the {number} times that it should."
            )


def _prove_panels(text: Folded, expected: Expectation) -> None:
    headings = expected.panel_headings
    pages = {
        heading: {text.page_of(start) for start, _ in text.whole(fold(heading))}
        for heading in headings
    }
    lacks = {
        page: [heading for heading in headings if page not in pages[heading]]
        for page in range(1, len(text.starts) + 1)
    }
    # The letter's body speaks of the panels too: of pages that lack as much, the last is theirs.
    best = min(lacks, key=lambda page: (len(lacks[page]), -page))
    if lacks[best]:
        missing = ", ".join(f"“{_short(heading)}”" for heading in lacks[best])
        length = len(expected.authority)
        shorten = f", or shorten the authority's name ({length} characters)"
        raise LetterFault(
            f"The panels do not stand together on one page: page {best} lacks {missing}. Make room"
            f" for them in the template{shorten if length > _LONG_NAME else ''}."
        )


def _prove_words(text: Folded, expected: Expectation, names: Names) -> None:
    """Raise on another authority's name and on the words of a field that went wrong.

    What the letter's own fields say is passed over wherever it is found whole. A field that is
    not (a page number stands in the middle of it) may name, once for each time it does, what it
    names.
    """
    own: dict[int, int] = {}
    allowed: Counter[str] = Counter()
    for field in (expected.authority, *expected.own_names, *expected.fixed_texts):
        folded = _folded(field)
        spans = list(text.whole(folded.text))
        for start, end in spans:
            own[start] = max(end, own.get(start, end))
        if not spans:
            allowed.update(found.name for found in names.find(folded))
            allowed.update(found.name for found in _stray(folded))
    for found in names.find(text, own):
        if allowed[found.name] > 0:
            allowed[found.name] -= 1
            continue
        raise LetterFault(
            f"Page {text.page_of(found.start)} names another authority:"
            f" “{_short(found.name)}”, in the letter to {_short(expected.authority)}."
        )
    for found in _stray(text):
        if any(start <= found.start and found.end <= end for start, end in own.items()):
            continue
        if allowed[found.name] > 0:
            allowed[found.name] -= 1
            continue
        raise LetterFault(
            f"Page {text.page_of(found.start)} has the word “{found.name}”, which a field that"
            " went wrong leaves behind."
        )


def _stray(text: Folded) -> Iterator[Found]:
    for word in _STRAY:
        for start, end in text.whole_cased(word):
            yield Found(word, start, end)


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
            # LibreOffice names tags after styles; one so named would turn real figures, links or
            # tables into plain text for a screen reader (ISO 14289-1, 7.1).
            styles = [name.lstrip("/") for name in dict(tree.get("/RoleMap", {}))]
            clash = next((name for name in styles if _STANDARD_TAG.fullmatch(name)), None)
            if clash is not None:
                raise LetterFault(
                    f"The template's style “{clash}” has the name of a PDF tag, which it would"
                    " redefine; give the style another name."
                )
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
    if font.get("/Subtype") == "/Type3":
        return  # emoji in colours: each is a drawing in the document itself
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
