"""What stops no letter and should be looked at before the template is used."""

from collections.abc import Collection, Iterator
from typing import Final

from lxml import etree

from pipeline.template.flaw import Flaw, Kind, Place
from pipeline.template.package import Package
from pipeline.template.parts import DRAWING, rendered_parts, texts_of
from pipeline.template.survey import Survey
from pipeline.template.vocabulary import CURLY, PERCENT, RING, TAG, WORD_TYPE, W, short

_A: Final = "{http://schemas.openxmlformats.org/drawingml/2006/main}"


def advice(
    package: Package, survey: Survey, names: frozenset[str], lacking: Collection[str]
) -> Iterator[Flaw]:
    """Every such thing; `lacking` are the fonts that this machine does not have."""
    for name, place in rendered_parts(package):
        tree = package.trees[name]
        for paragraph in tree.iter(f"{W}p"):
            yield from _curly_quotes(paragraph, name, place, survey)
        yield from _rings(tree, names)
    yield from _comments(package, survey)
    yield from _tracking(package)
    for font in lacking:
        yield _font(package, font)


def _curly_quotes(
    paragraph: etree._Element, name: str, place: str, survey: Survey
) -> Iterator[Flaw]:
    words = "".join(text.text or "" for text in texts_of(paragraph))
    for found in TAG.finditer(words):
        if not found[0].startswith("{#") and CURLY.search(found[0]):
            at = survey.place(name, place, paragraph)
            yield Flaw(
                Kind.CURLY_QUOTES,
                f"{short(found[0])} has curly quotes, which Word puts in by itself; they are"
                " understood here, and not by every other program",
                "press Ctrl+Z right after typing each quote: that makes it straight again",
                place=Place(
                    said="",
                    part=at.part,
                    element=paragraph,
                    start=found.start(),
                    end=found.end(),
                ),
                blocking=False,
            )


def _rings(tree: etree._Element, names: frozenset[str]) -> Iterator[Flaw]:
    """Drawings that look like a ring and are bound to no figure, or tell of another one."""
    for drawing in tree.iter(DRAWING):
        called = drawing.get("name", "")
        holder = drawing.getparent()
        arcs = holder is not None and any(
            each.get("prst") == "blockArc" for each in holder.iter(f"{_A}prstGeom")
        )
        figure = called.removeprefix(RING).strip()
        if arcs and not called.startswith(RING):
            yield Flaw(
                Kind.RING,
                f"the drawing “{short(called, 40)}” is a ring that is bound to no figure, so that"
                " it shows the same in every letter",
                f"name the whole group “{RING}upheld”, or as its figure is called, in the"
                " selection pane (Layout > Selection Pane)",
                place=Place(said="", element=drawing),
                blocking=False,
            )
        elif called.startswith(RING) and f"{figure}.{PERCENT}" in names:
            told = drawing.get("descr") or ""
            if told.strip() and f"{figure}.percent" not in told:
                yield Flaw(
                    Kind.ALTERNATIVE_TEXT,
                    f"the alternative text of the drawing “{short(called, 40)}” does not say its"
                    " figure",
                    f"write {{{{ {figure}.percent }}}} into it (right-click > View Alt Text)",
                    place=Place(said="", element=drawing, value=told),
                    blocking=False,
                )


def _comments(package: Package, survey: Survey) -> Iterator[Flaw]:
    for name, kind in package.types.items():
        if kind != f"{WORD_TYPE}comments+xml" or name not in package.trees:
            continue
        for comment in package.trees[name].iter(f"{W}comment"):
            words = "".join(text.text or "" for text in comment.iter(f"{W}t"))
            by = short(comment.get(f"{W}author") or "somebody", 40)
            anchor = survey.anchor(str(comment.get(f"{W}id")))
            yield Flaw(
                Kind.COMMENT,
                f"a comment by {by} is left in: “{short(words)}”; it is not printed",
                "delete it when it is done with (Review > Delete)",
                place=Place(said="", element=comment if anchor is None else anchor),
                blocking=False,
            )


def _tracking(package: Package) -> Iterator[Flaw]:
    for name, kind in package.types.items():
        if kind != f"{WORD_TYPE}settings+xml" or name not in package.trees:
            continue
        for tracking in package.trees[name].iter(f"{W}trackRevisions"):
            if tracking.get(f"{W}val", "true") not in {"0", "false", "off"}:
                yield Flaw(
                    Kind.TRACKED_CHANGE,
                    "changes are being tracked, so that the next edit would be left in as one",
                    "turn it off (Review > Track Changes)",
                    place=Place(said="", element=tracking),
                    blocking=False,
                )


def _font(package: Package, font: str) -> Flaw:
    """A font that is not there, at the first words that are set in it by themselves or by style."""
    place, which = None, ""
    for name, _ in rendered_parts(package):
        for run in package.trees[name].iter(f"{W}r"):
            fonts = run.find(f"{W}rPr/{W}rFonts")
            if (
                fonts is not None
                and fonts.get(f"{W}ascii") == font
                and run.find(f"{W}t") is not None
            ):
                place = place or Place(said="", element=run.find(f"{W}t"))
    if place is None:
        which = _styles_with(package, font)
    return Flaw(
        Kind.FONT,
        f"words are set in {short(font, 40)}{which}, which this machine does not have, so that"
        " LibreOffice takes another and lines break elsewhere",
        "choose another font (Arial is safe); or have it installed here",
        place=place,
        blocking=False,
    )


def _styles_with(package: Package, font: str) -> str:
    """Which styles name a font, in brackets; nothing if none does."""
    found = []
    for name, kind in package.types.items():
        if kind != f"{WORD_TYPE}styles+xml" or name not in package.trees:
            continue
        for fonts in package.trees[name].iter(f"{W}rFonts"):
            style = next(fonts.iterancestors(f"{W}style"), None)
            shown = None if style is None else style.find(f"{W}name")
            if fonts.get(f"{W}ascii") == font:
                found.append(
                    "the document's own font"
                    if shown is None
                    else f"the style “{short(str(shown.get(f'{W}val')), 40)}”"
                )
    return f" ({', '.join(dict.fromkeys(found[:3]))})" if found else ""
