"""Say in words what sets two PDFs of one letter apart: what the fast lane is proved by.

Both are finished alike and then compared object by object: text, fonts, sizes, colours, order,
tags, alternative texts, properties, links and bookmarks have to be the same, to the byte. Only
places on a page may differ, and by `MOVED` at most.
"""

import datetime as dt
import io
from collections.abc import Iterator, Sequence

import pikepdf
import pypdfium2  # type: ignore[import-untyped]
from pikepdf import Array, Dictionary, Name

from pipeline.convert.finish import finish

MOVED = 1.5
"""Points that what is drawn may be moved by: half a millimetre."""
_DAY = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
_PLACING = {"m", "l", "c", "v", "y", "h", "re", "Td", "TD", "Tm", "cm"}
_SHOWN = 60


def differences(plain: bytes, other: bytes) -> list[str]:
    """Answer what sets the other PDF apart from the plain one, as sentences; none: nothing.

    Neither needs to be finished. Raises `LetterFault` when one of them cannot be.
    """
    one, two = (finish(pdf, created=_DAY, seed="") for pdf in (plain, other))
    if one == two:
        return []
    with pikepdf.open(io.BytesIO(one)) as first, pikepdf.open(io.BytesIO(two)) as second:
        # What a person would say comes first: the rest follows from it.
        for look in (
            _texts(one, two),
            _properties(first, second),
            _pages(first, second),
            _objects(first, second),
        ):
            found = list(look)
            if found:
                return found
    return []


def _texts(one: bytes, two: bytes) -> Iterator[str]:
    first, second = _lines(one), _lines(two)
    if len(first) != len(second):
        yield f"It has {len(second)} pages and not {len(first)}."
        return
    for number, (here, there) in enumerate(zip(first, second, strict=True), start=1):
        if here == there:
            continue
        for line, other in zip([*here, ""], [*there, ""], strict=False):
            if line != other:
                yield f"Page {number} says “{_short(other)}” and not “{_short(line)}”."
                break


def _lines(pdf: bytes) -> list[list[str]]:
    with pypdfium2.PdfDocument(pdf) as document:
        pages = []
        for page in document:
            text = page.get_textpage()
            pages.append(text.get_text_range().splitlines())
            text.close()
            page.close()
    return pages


def _properties(first: pikepdf.Pdf, second: pikepdf.Pdf) -> Iterator[str]:
    for name in ("/Title", "/Author", "/Subject", "/Keywords"):
        here, there = (str(each.docinfo.get(name, "")) for each in (first, second))
        if here != there:
            yield f"Its {name[1:].lower()} is “{_short(there)}” and not “{_short(here)}”."
    here, there = (str(each.Root.get("/Lang", "")) for each in (first, second))
    if here != there:
        yield f"Its language is “{there}” and not “{here}”."
    tags, others = _tags(first), _tags(second)
    for tag, other in zip([*tags, ""], [*others, ""], strict=False):
        if tag != other:
            yield f"Its tags have {other or 'no more'} and not {tag or 'no more'}."
            break


def _tags(document: pikepdf.Pdf) -> list[str]:
    """Every tag with how deep it is, what it says instead, and its marks, in order."""
    found: list[str] = []
    waiting: list[tuple[object, int]] = [(document.Root.get("/StructTreeRoot"), 0)]
    while waiting:
        tag, depth = waiting.pop()
        if not isinstance(tag, Dictionary):
            continue
        held = tag.get("/K", Array())
        children: list[object] = list(held) if isinstance(held, Array) else [held]
        marks = [child for child in children if isinstance(child, int)]
        said = [
            f"{name[1:]} “{_short(str(tag[name]))}”" if name in tag else ""
            for name in ("/Alt", "/ActualText", "/T", "/Lang")
        ]
        told = [f"{tag.get('/S', 'the tree')} at level {depth}", *filter(None, said)]
        found.append(" ".join([*told, f"marks {marks}" if marks else ""]).strip())
        waiting += [(child, depth + 1) for child in reversed(children)]
    return found


def _pages(first: pikepdf.Pdf, second: pikepdf.Pdf) -> Iterator[str]:
    for number, (page, other) in enumerate(zip(first.pages, second.pages, strict=True), start=1):
        fonts, others = _fonts(page), _fonts(other)
        if fonts != others:
            yield f"Page {number} has other fonts: {', '.join(others)} and not {', '.join(fonts)}."
            continue
        here, there = pikepdf.parse_content_stream(page), pikepdf.parse_content_stream(other)
        if len(here) != len(there):
            yield f"Page {number} is drawn in {len(there)} steps and not in {len(here)}."
        for step, otherwise in zip(here, there, strict=False):
            said = _step(step, otherwise)
            if said:
                yield f"Page {number} {said}."
                break


def _fonts(page: pikepdf.Page) -> list[str]:
    fonts = page.obj.get("/Resources", Dictionary()).get("/Font", Dictionary())
    return sorted(f"{name} {font.get('/BaseFont', '')}" for name, font in fonts.items())


def _step(
    one: pikepdf.ContentStreamInstruction | pikepdf.ContentStreamInlineImage,
    two: pikepdf.ContentStreamInstruction | pikepdf.ContentStreamInlineImage,
) -> str:
    """What sets two steps of drawing apart, as the rest of a sentence; "" for nothing."""
    operator = str(one.operator)
    here, there = list(one.operands), list(two.operands)
    if operator == str(two.operator) and operator in _PLACING and len(here) == len(there):
        moved = max((abs(float(a) - float(b)) for a, b in zip(here, there, strict=True)), default=0)
        return f"has something moved by {moved:.1f} points" if moved > MOVED else ""
    step, other = (pikepdf.unparse_content_stream([each]) for each in (one, two))
    if step == other:
        return ""
    words = [_short(each.decode("latin-1")) for each in (other, step)]
    return f"is drawn with “{words[0]}” and not with “{words[1]}”"


def _objects(first: pikepdf.Pdf, second: pikepdf.Pdf) -> Iterator[str]:
    contents = {
        each.objgen for page in first.pages for each in _list(page.obj.get("/Contents", Array()))
    }
    here, there = list(first.objects), list(second.objects)
    if len(here) != len(there):
        yield f"It has {len(there)} objects and not {len(here)}."
        return
    for one, two in zip(here, there, strict=True):
        if one.objgen in contents or _alike(one, two):
            continue
        kind = (
            one.get("/Type", one.get("/S", ""))
            if isinstance(one, Dictionary | pikepdf.Stream)
            else ""
        )
        yield f"Its object {one.objgen[0]}{f' ({kind})' if kind else ''} is another."
        return


def _alike(one: pikepdf.Object, two: pikepdf.Object) -> bool:
    if isinstance(one, pikepdf.Stream) and isinstance(two, pikepdf.Stream):
        return one.read_raw_bytes() == two.read_raw_bytes()
    if isinstance(one, Dictionary) and isinstance(two, Dictionary):
        rects = one.get("/Rect"), two.get("/Rect")
        if one.get("/Type") == Name.Annot and all(isinstance(each, Array) for each in rects):
            near = _near(list(rects[0] or []), list(rects[1] or []))
            return (
                near
                and all(
                    one.get(key) == two.get(key) or key in {"/Rect", "/QuadPoints", "/P", "/A"}
                    for key in {*one.keys(), *two.keys()}
                )
                and str(one.get("/A", Dictionary()).get("/URI", ""))
                == str(two.get("/A", Dictionary()).get("/URI", ""))
            )
    return one.unparse() == two.unparse()


def _near(here: Sequence[pikepdf.Object], there: Sequence[pikepdf.Object]) -> bool:
    return len(here) == len(there) and all(
        abs(float(a) - float(b)) <= MOVED for a, b in zip(here, there, strict=True)
    )


def _list(held: pikepdf.Object) -> list[pikepdf.Object]:
    return list(held) if isinstance(held, Array) else [held]


def _short(text: str) -> str:
    line = " ".join("".join(c if c.isprintable() else "·" for c in text).split())
    return line if len(line) <= _SHOWN else line[: _SHOWN - 1] + "…"
