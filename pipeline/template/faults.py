"""Every fault of a template at once, in the words of Word, for whoever mends the file.

What `compile_template` refuses is blocking, and so is what the proof of each PDF would refuse or
LibreOffice could not print. The rest is advisory.
"""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final

from lxml import etree

from pipeline.errors import Misconfigured
from pipeline.template.compiled import CompiledTemplate, compile_template
from pipeline.template.noting import all_noted, one_thing
from pipeline.template.package import Package, heading_styles
from pipeline.template.parts import (
    core_part,
    read_part,
    refuse_tag_named_styles,
    refuse_tags_elsewhere,
    refuse_what_acts,
    rendered_parts,
    where,
)
from pipeline.template.tags import checked, unknown_names
from pipeline.template.vocabulary import RING, TAG, WORD_TYPE, W, short

_WP: Final = "{http://schemas.openxmlformats.org/drawingml/2006/wordprocessingDrawing}"
_REL: Final = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"
_CURLY: Final = re.compile("[‘’‚“”„]")
_TIP: Final = re.compile(r'\\o\s+"[^"]+"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that is wrong, with its place and what to do in Word, in sentences."""

    blocking: bool
    said: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """All that was found in a template; `compiled` is None where it cannot be used.

    `unused` are the fields that it might print and does not, in their own order.
    """

    faults: tuple[Fault, ...]
    compiled: CompiledTemplate | None
    unused: tuple[str, ...]

    @property
    def is_blocked(self) -> bool:
        """Whether no letter can be made with it."""
        return any(one.blocking for one in self.faults)


def look(data: bytes, *, fields: Collection[str]) -> Looked:
    """Look at everything in the file whose bytes these are; `fields` are the names tags may use.

    Raises Misconfigured only for what is no Word document, or one that nothing can be read of.
    """
    names = frozenset(fields)
    package = Package.read(data)
    with all_noted() as refused:
        _read_all(package, names)
    compiled = None
    if not refused:
        try:
            compiled = compile_template(data, fields=names)
        except Misconfigured as fault:  # what is looked for only in a template that is whole
            refused += str(fault).split("\n")
    # Read anew: looking at the tags has changed the trees.
    package = Package.read(data)
    blocking = [*refused, *_inaccessible(package)]
    advisory = [*_curly_quotes(package), *_comments(package), *_unnamed_rings(package)]
    unused: tuple[str, ...] = ()
    if compiled is not None:
        unused = tuple(one for one in fields if one not in compiled.used and not one.endswith(".*"))
    return Looked(
        faults=(
            *(Fault(blocking=True, said=said) for said in dict.fromkeys(blocking)),
            *(Fault(blocking=False, said=said) for said in dict.fromkeys(advisory)),
        ),
        compiled=compiled,
        unused=unused,
    )


def _read_all(package: Package, names: frozenset[str]) -> None:
    """Look at each part as compiling does, and go on after each fault."""
    refuse_what_acts(package)
    rendered: set[str] = set()
    for name, place in list(rendered_parts(package)):
        rendered.add(name)
        with one_thing():
            _read_one(package, place, name, names)
    with one_thing():
        refuse_tags_elsewhere(package, rendered)
    with one_thing():
        refuse_tag_named_styles(package, rendered)
    with one_thing():
        checked(core_part(package), names)


def _read_one(package: Package, place: str, name: str, names: frozenset[str]) -> None:
    with all_noted() as own:
        part = read_part(package, place, name, names)
    if not own:
        try:
            checked(part, names)
        except Misconfigured as fault:
            own += str(fault).split("\n")
    if own:
        # One tag that is not whole hides all others from whoever reads them together.
        own += [one for one in unknown_names(part, names) if one not in own]
        raise Misconfigured("\n".join(own))


def _inaccessible(package: Package) -> Iterator[str]:
    """Links without a ScreenTip and drawings without alternative text: no PDF passes its proof."""
    outlined = heading_styles(package)
    for name, place in rendered_parts(package):
        tree = package.trees[name]
        for link in tree.iter(f"{W}hyperlink"):
            if link.get(f"{_REL}id") and not (link.get(f"{W}tooltip") or "").strip():
                yield _no_tip(where(link, place, outlined))
        for code in tree.iter(f"{W}instrText", f"{W}fldSimple"):
            said = str(code.get(f"{W}instr") or code.text or "")
            if said.split()[:1] == ["HYPERLINK"] and not _TIP.search(said):
                yield _no_tip(where(code, place, outlined))
        for drawing in tree.iter(f"{_WP}docPr"):
            if not (drawing.get("descr") or "").strip():
                yield (
                    f"In {where(drawing, place, outlined)}: the drawing "
                    f"“{short(drawing.get('name', ''))}” has no alternative text, without which "
                    "people who cannot see it are told nothing; right-click > View Alt Text, on "
                    "the group and on each shape in it."
                )


def _curly_quotes(package: Package) -> Iterator[str]:
    outlined = heading_styles(package)
    for name, place in rendered_parts(package):
        for paragraph in package.trees[name].iter(f"{W}p"):
            words = "".join(text.text or "" for text in paragraph.iter(f"{W}t"))
            for tag in TAG.findall(words):
                if not tag.startswith("{#") and _CURLY.search(tag):
                    yield (
                        f"In {where(paragraph, place, outlined)}: {short(tag)} has curly quotes, "
                        "which Word puts in by itself. They are understood; straight ones (Ctrl+Z "
                        "right after typing each) are what other programs understand too."
                    )


def _no_tip(place: str) -> str:
    return (
        f"In {place}: the link has no ScreenTip, without which it has no description in the PDF; "
        "right-click > Edit Hyperlink > ScreenTip."
    )


def _comments(package: Package) -> Iterator[str]:
    for name, kind in package.types.items():
        if kind != f"{WORD_TYPE}comments+xml" or name not in package.trees:
            continue
        for comment in package.trees[name].iter(f"{W}comment"):
            words = "".join(text.text or "" for text in comment.iter(f"{W}t"))
            by = comment.get(f"{W}author") or "somebody"
            yield (
                f"A comment by {short(by)} is left in: “{short(words)}”. It is not printed; "
                "when it is done with, delete it (Review > Delete)."
            )


def _unnamed_rings(package: Package) -> Iterator[str]:
    """Drawings that look like a ring and are bound to no figure."""
    outlined = heading_styles(package)
    for name, place in rendered_parts(package):
        for drawing in package.trees[name].iter(f"{_WP}docPr"):
            called = drawing.get("name", "")
            holder = drawing.getparent()
            arcs = [] if holder is None else list(_arcs(holder))
            if arcs and not called.startswith(RING):
                yield (
                    f"In {where(drawing, place, outlined)}: the drawing “{short(called)}” is a "
                    "ring and shows the same in every letter; to bind it to a figure, name it "
                    f"“{RING}upheld”, or as its figure is called, in the selection pane (Layout > "
                    "Selection Pane)."
                )


def _arcs(holder: etree._Element) -> Iterator[etree._Element]:
    for each in holder.iter("{http://schemas.openxmlformats.org/drawingml/2006/main}prstGeom"):
        if each.get("prst") == "blockArc":
            yield each
