"""Rings: drawings in Word that show a figure, bound to it by their name."""

from typing import Final

from lxml import etree

from pipeline.template.flaw import Flaw, Kind, Place
from pipeline.template.needs import end_of
from pipeline.template.vocabulary import PERCENT, RING, TWELVE_O_CLOCK, WPS, meant, near_misses

_A: Final = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
_MC: Final = "{http://schemas.openxmlformats.org/markup-compatibility/2006}"


def bind_ring(drawing: etree._Element, number: int, place: Place, names: frozenset[str]) -> str:
    """Mark what a letter changes in a ring; return the name of the figure it shows.

    In the file a ring holds real angles, so that Word can draw it. Marks, not tags, are set here:
    they become tags only after the document's own tags have been checked.
    """
    name = str(drawing.get("name", ""))
    figure = name.removeprefix(RING).strip()
    if f"{figure}.{PERCENT}" not in names:
        figures = sorted(
            each.removesuffix(f".{PERCENT}") for each in names if each.endswith(f".{PERCENT}")
        )
        raise Flaw(
            Kind.RING,
            f"The template's drawing “{name}”",
            "rename it in the selection pane (Layout > Selection Pane) to"
            f" {' or '.join(f'“{RING}{each}”' for each in figures)}",
            place=place,
            rest=f" is bound to no figure{meant(near_misses(figure, figures)).removesuffix('.')}",
        )
    holder = drawing.getparent()
    arcs = (
        []
        if holder is None
        else [
            shape
            for shape in holder.iter(f"{WPS}wsp")
            if shape.find(f"{WPS}spPr/{_A}prstGeom[@prst='blockArc']") is not None
        ]
    )
    geometry = None if len(arcs) != 1 else arcs[0].find(f"{WPS}spPr/{_A}prstGeom")
    angles = (
        {}
        if geometry is None
        else {str(each.get("name")): each for each in geometry.iter(f"{_A}gd")}
    )
    if geometry is None or not {"adj1", "adj2", "adj3"} <= angles.keys():
        raise Flaw(
            Kind.RING,
            f"The template's drawing “{name}”",
            "copy a ring from an earlier template",
            place=place,
            rest=" must hold one Block Arc shape, moved from its first form by its handles",
        )
    _drop_fallback(drawing)
    angles["adj1"].set("fmla", f"val {TWELVE_O_CLOCK}")
    angles["adj2"].set("fmla", f"val {_mark(number, 'end')}")
    # An arc of a full turn begins where it ends, which is also an arc of nothing: programs differ.
    # A whole ring is a shape of its own.
    whole = etree.Element(f"{_A}prstGeom", prst="donut")
    values = etree.SubElement(whole, f"{_A}avLst")
    etree.SubElement(values, f"{_A}gd", name="adj", fmla=str(angles["adj3"].get("fmla")))
    for element in (
        etree.Comment(_mark(number, "whole")),
        whole,
        etree.Comment(_mark(number, "part")),
    ):
        geometry.addprevious(element)
    geometry.addnext(etree.Comment(_mark(number, "/part")))
    arcs[0].addprevious(etree.Comment(_mark(number, "arc")))
    arcs[0].addnext(etree.Comment(_mark(number, "/arc")))
    return figure


def _drop_fallback(drawing: etree._Element) -> None:
    """Word adds a second drawing for old programs, with fixed figures: they would be wrong."""
    alternatives = next(drawing.iterancestors(f"{_MC}AlternateContent"), None)
    if alternatives is not None:
        for fallback in alternatives.findall(f"{_MC}Fallback"):
            alternatives.remove(fallback)


def _mark(number: int, what: str) -> str:
    return f"ring {number} {what}"


def with_rings(source: str, rings: tuple[str, ...]) -> str:
    """Put the rings' tags where their marks are."""
    for number, figure in enumerate(rings):
        percent = f"{figure}.{PERCENT}"
        tags = {
            "arc": f"{{% if {percent} %}}",
            "whole": f"{{% if {percent} == 100 %}}",
            "part": "{% else %}",
            "/part": "{% endif %}",
            "/arc": "{% endif %}",
        }
        for what, tag in tags.items():
            source = source.replace(f"<!--{_mark(number, what)}-->", tag)
        source = source.replace(
            f'fmla="val {_mark(number, "end")}"', f'fmla="val {{{{ {end_of(figure)} }}}}"'
        )
    return source
