"""What another template would say in a year's letters: as text for all, as pages for a few.

All letters are compared by their paragraphs, with names, dates and figures taken out, so that one
change of the template is one change here, whatever the letters say. Nothing is put on record.
"""

import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import zip_longest
from typing import Any

import pikepdf
import pypdfium2  # type: ignore[import-untyped]

from pipeline import source
from pipeline.ledger import looking, runs
from pipeline.letter import compose
from pipeline.progress import Progress
from pipeline.run import Pipeline
from pipeline.template.compiled import CompiledTemplate
from pipeline.template.masked import without_figures
from pipeline.template.words import paragraphs

_PAGES_OF = 6  # letters that are shown as pages, if so many are needed to show every change
_START = 45  # characters of a paragraph by which it is found on a page
_WIDTH, _HEIGHT = 1190.6, 841.9  # points: A3, landscape


@dataclass(frozen=True, slots=True, kw_only=True)
class One:
    """One letter that templates are compared with."""

    code: str
    name: str
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A paragraph that is said otherwise, newly ("" before) or no more ("" after).

    `letters` are the codes of those in which it shows.
    """

    before: str
    after: str
    letters: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """The changes in their order, how many letters were looked at, and which show all of them."""

    changes: Sequence[Change]
    letters: int
    shown: Sequence[One]


def letters(pipeline: Pipeline, year: int) -> Iterator[One]:
    """The year's letters: those of its run, else as the statistics would compose them now."""
    found = runs.find_run(pipeline.ledger, year)
    if found is not None and found.forgotten_at is None:
        for letter in looking.composed(pipeline.ledger, found):
            yield One(code=letter[0], name=letter[1], fields=letter[2])
        return
    with source.pull(pipeline.statistics, year) as pulled:
        for record in pulled.records:
            made = compose(record, pulled.edition, pulled.averages)
            if made.fault is None:
                yield One(code=made.authority_code, name=made.authority_name, fields=made.fields)


def compare(
    old: CompiledTemplate, new: CompiledTemplate, each: Iterator[One], *, progress: Progress
) -> Compared:
    """Hold two templates against each other, in every letter."""
    known: dict[str, tuple[tuple[str, str], ...]] = {}
    found: dict[tuple[str, str], list[str]] = {}
    shown: list[One] = []
    seen: set[tuple[str, str]] = set()
    count = 0
    progress.begin("Comparing", 0)
    try:
        for one in each:
            count += 1
            plain = without_figures(one.fields)
            key = json.dumps(plain, sort_keys=True, ensure_ascii=False)
            if key not in known:
                known[key] = tuple(
                    changes(paragraphs(old.stamp(plain)), paragraphs(new.stamp(plain)))
                )
            for change in known[key]:
                found.setdefault(change, []).append(one.code)
            # Which letter shows something that none before it does
            if set(known[key]) - seen and len(shown) < _PAGES_OF:
                shown.append(one)
                seen.update(known[key])
            progress.advance()
    finally:
        progress.end()
    return Compared(
        changes=[
            Change(before=before, after=after, letters=codes)
            for (before, after), codes in found.items()
        ],
        letters=count,
        shown=shown,
    )


def changes(before: Sequence[str], after: Sequence[str]) -> Iterator[tuple[str, str]]:
    """What was said and what is said in its place, paragraph by paragraph."""
    matcher = SequenceMatcher(a=before, b=after, autojunk=False)
    for tag, a, b, c, d in matcher.get_opcodes():
        if tag != "equal":
            yield from zip_longest(before[a:b], after[c:d], fillvalue="")


def side_by_side(
    old: CompiledTemplate,
    new: CompiledTemplate,
    one: One,
    to_pdf: Callable[[bytes], bytes],
    *,
    heads: tuple[str, str],
) -> bytes:
    """A PDF with one letter's old pages on the left and its new ones on the right.

    A bar stands beside a paragraph that was changed, where it is found on its page by its first
    words. `heads` stand above the two sides.
    """
    docx = old.stamp(one.fields), new.stamp(one.fields)
    texts = [paragraphs(each) for each in docx]
    changed = list(changes(texts[0], texts[1]))
    pdfs = [to_pdf(each) for each in docx]
    bars = [
        _found(pdf, [pair[side] for pair in changed if pair[side]]) for side, pdf in enumerate(pdfs)
    ]
    book = pikepdf.new()
    sources = [pikepdf.open(io.BytesIO(pdf)) for pdf in pdfs]
    try:
        for at in range(max(len(each.pages) for each in sources)):
            page = book.add_blank_page(page_size=(_WIDTH, _HEIGHT))
            drawn: list[str] = []
            for side, each in enumerate(sources):
                left = side * _WIDTH / 2
                drawn.append(_head(f"{heads[side]}  |  {one.name}  |  page {at + 1}", left + 24))
                if at >= len(each.pages):
                    continue
                page.add_overlay(
                    each.pages[at], pikepdf.Rectangle(left, 0, left + _WIDTH / 2, _HEIGHT)
                )
                drawn += [
                    f"0.75 0.05 0.05 rg {left + 14:.1f} {bottom:.1f} 4 {top - bottom:.1f} re f"
                    for bottom, top in bars[side].get(at, ())
                ]
            drawn.append(f"0.6 0.6 0.6 RG {_WIDTH / 2:.1f} 0 m {_WIDTH / 2:.1f} {_HEIGHT} l S")
            font = pikepdf.Dictionary(
                Type=pikepdf.Name.Font,
                Subtype=pikepdf.Name.Type1,
                BaseFont=pikepdf.Name("/Helvetica"),
                Encoding=pikepdf.Name.WinAnsiEncoding,
            )
            name = page.add_resource(font, pikepdf.Name.Font, prefix="Head")
            content = "\n".join(drawn).replace("/HeadFont", str(name))
            page.contents_add(book.make_stream(f"q\n{content}\nQ\n".encode("latin-1")))
        written = io.BytesIO()
        book.save(written)
        return written.getvalue()
    finally:
        for each in sources:
            each.close()
        book.close()


def _head(text: str, x: float) -> str:
    octets = text.encode("cp1252", "replace").hex()
    return f"BT 0.35 0.35 0.35 rg /HeadFont 8 Tf {x:.1f} {_HEIGHT - 14:.1f} Td <{octets}> Tj ET"


def _found(pdf: bytes, texts: Sequence[str]) -> dict[int, list[tuple[float, float]]]:
    """Where on which page these paragraphs begin: bottom and top of their first line, in points."""
    places: dict[int, list[tuple[float, float]]] = {}
    with pypdfium2.PdfDocument(pdf) as document:
        for number, page in enumerate(document):
            text = page.get_textpage()
            for words in texts:
                search = text.search(words[:_START].strip(), match_case=True)
                while (hit := search.get_next()) is not None:
                    boxes = [text.get_charbox(at) for at in range(hit[0], hit[0] + min(hit[1], 5))]
                    bottom = min(box[1] for box in boxes)
                    top = max(box[3] for box in boxes)
                    places.setdefault(number, []).append((bottom - 2, top + 2))
    return places
