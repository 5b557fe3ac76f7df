"""What tags may say: print a field, choose with `if`, repeat with `for`, and nothing else."""

import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace
from typing import Final

from jinja2 import TemplateSyntaxError, nodes
from lxml import etree

from pipeline.template.flaw import Flaw, Flaws, Kind, Place
from pipeline.template.needs import UNPRINTABLE, Needs
from pipeline.template.noting import one_thing
from pipeline.template.package import words_around
from pipeline.template.parts import Part
from pipeline.template.stamping import environment
from pipeline.template.vocabulary import (
    BRACES,
    CHOICES,
    LISTS,
    PERCENT,
    RING,
    W,
    meant,
    near_misses,
)

_MARKUP: Final = re.compile(r"<(/?)([\w:.-]+)(?:\s[^<>]*?)?(/?)>")
_NO_WORDS_IN: Final = tuple(
    f"{W}{name}"
    for name in ("body", "hdr", "ftr", "footnote", "p", "r", "tbl", "tr", "tc", "hyperlink")
)
_PERMITTED: Final = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Getattr, nodes.Const,
    nodes.If, nodes.For, nodes.CondExpr, nodes.Compare, nodes.Operand, nodes.And, nodes.Or,
    nodes.Not,
)  # fmt: skip
_LOOP: Final = frozenset({"first", "last", "index", "length"})
_COMPARISONS: Final = frozenset({"eq", "ne"})
# Python's own limits are about 20 blocks and 200 brackets; people lose track long before.
_DEEPEST: Final = 60
TOO_MUCH: Final = (RecursionError, ValueError, OverflowError)  # brackets, enormous numbers
_MOST_FAULTS: Final = 20
LONGEST: Final = 1000
_INSTEAD: Final = "write only {{ field }}, {% if field %} and {% for each in list %}"


def _parsed(part: Part) -> nodes.Template:
    for found in re.finditer(r"\{\{.*?\}\}|\{%.*?%\}", part.source):
        if len(found[0]) > LONGEST:
            line = part.source.count("\n", 0, found.start()) + 1
            raise too_long(part.at(line))
    try:
        tree = environment(escape=True).parse(part.source)
    except TemplateSyntaxError as error:
        lineno = _opened_at(part.source) if "looking for" in str(error) else error.lineno
        raise not_understood(error, part.at(lineno)) from error
    except TOO_MUCH as error:
        raise too_deep(Place(said=part.place, part=part.name)) from error
    waiting: list[tuple[nodes.Node, int]] = [(tree, 0)]
    while waiting:
        node, depth = waiting.pop()
        if depth > _DEEPEST:
            raise Flaw(
                Kind.TAG,
                "too much stands within one another here",
                "use fewer {% if %} within {% if %}, and shorter tags",
                place=part.at(node.lineno),
            )
        waiting += ((child, depth + 1) for child in node.iter_child_nodes())
    return tree


def too_long(place: Place) -> Flaw:
    """Of a tag that no letter needs."""
    return Flaw(Kind.TAG, f"the tag is longer than {LONGEST} characters", _INSTEAD, place=place)


def too_deep(place: Place) -> Flaw:
    """Of brackets, or a number, beyond what can be read."""
    return Flaw(
        Kind.TAG,
        "too many brackets or too many {% if %} stand within one another, or a number is too large",
        _INSTEAD,
        place=place,
    )


def not_understood(error: TemplateSyntaxError, place: Place) -> Flaw:
    """Of a tag that is none of the language's."""
    words = str(error.message).rstrip(".")
    if "looking for" in words:
        return not_ended(place)
    return Flaw(
        Kind.TAG,
        f"the tag cannot be understood. {words[:1].upper()}{words[1:]}",
        _INSTEAD,
        place=place,
    )


def not_ended(place: Place) -> Flaw:
    """Of an `if` or `for` without its end."""
    return Flaw(
        Kind.UNCLOSED_TAG,
        "the tag cannot be understood. It is opened but its {% endif %} or {% endfor %} is missing",
        "write that where it ends",
        place=place,
    )


def uneven(place: Place) -> Flaw:
    """Of an `if` or `for` that would take half a paragraph with it."""
    return Flaw(
        Kind.MISPLACED_TAG,
        "what this tag switches on or repeats begins in one kind of place and ends in another",
        "use {%p %} for both ends of it (each in a paragraph of its own), or for neither",
        place=place,
    )


def checked(part: Part, names: frozenset[str]) -> Needs:
    """See that a part's tags are permitted, use known names, and leave the document whole."""
    tree = _parsed(part)
    reader = Reader(names=names, at=part.at)
    reader.read(tree)
    if reader.wrongs:
        wrongs = reader.wrongs[:_MOST_FAULTS]
        raise Flaws([each.flaw(part.at(each.line)) for each in wrongs])
    whole = _outline(tree, part)
    place = Place(said=part.place, part=part.name)
    try:
        result = etree.fromstring(whole, etree.XMLParser(resolve_entities=False))
    except etree.XMLSyntaxError as error:
        raise Flaw(
            Kind.MISPLACED_TAG,
            f"the tags leave a damaged document ({error})",
            "give each {%p if %} and {%p for %} a paragraph of its own",
            place=place,
        ) from error
    for each in result.iter(*_NO_WORDS_IN):
        if any((words or "").strip() for words in (each.text, *(child.tail for child in each))):
            raise Flaw(
                Kind.MISPLACED_TAG,
                "a tag prints where Word shows no text",
                "write it within a paragraph's words",
                place=replace(place, words=words_around(each)),
            )
    _try_tables(whole, part)
    return Needs(
        printed=reader.printed,
        repeated=reader.repeated,
        tested=reader.tested,
        rings=frozenset(part.rings),
    )


def refuse_incomplete(
    printed: Collection[str], drawn: Collection[str], must: Collection[str]
) -> None:
    """Raise `Flaw` for a template whose pages do not show what `must` names.

    `printed` are the fields that they print, and `drawn` the figures that have a ring.
    """
    rings = sorted(
        figure
        for each in must
        if each.endswith(f".{PERCENT}")
        and (figure := each.removesuffix(f".{PERCENT}")) not in drawn
    )
    missing = sorted(
        each for each in must if not each.endswith(f".{PERCENT}") and each not in printed
    )
    if must and not printed:
        raise Flaw(
            Kind.NOT_SHOWN,
            "The template has no field in its pages, so that every letter would be the same",
            "write fields such as {{ authority }} where a letter differs, or take an earlier copy",
        )
    if rings:
        with one_thing():
            raise Flaw(
                Kind.NOT_SHOWN,
                "The template has no drawing named"
                f" {' and none named '.join(f'“{RING}{each}”' for each in rings)} in its pages, so"
                " that the panel would show no figure",
                "copy a ring from an earlier copy of the file, and name it so (Layout > Selection"
                " Pane)",
            )
    if missing:
        tags = ", ".join(f"{{{{ {each} }}}}" for each in missing)
        with one_thing():
            raise Flaw(
                Kind.NOT_SHOWN,
                f"The template's pages do not print {tags}, which is looked for in each PDF, so"
                " that every letter would be a fault",
                "write it where it belongs: in the body, and for a figure in its panel",
            )


def _try_tables(whole: str, part: Part) -> None:
    """See that docxtpl can mend the tables, as it will for each letter."""
    if part.listings is None or "<w:tbl" not in whole:
        return
    try:
        part.listings.fix_tables(whole)
    except (AttributeError, TypeError, ValueError, LookupError, ArithmeticError) as error:
        raise Flaw(
            Kind.TABLE,
            f"The template has a damaged table in {part.place}: its columns have no widths, or no"
            " numbers for them",
            "make the table anew in Word (Insert > Table)",
            place=Place(said="", part=part.name),
        ) from error


def _opened_at(source: str) -> int | None:
    """The line of the innermost `if` or `for` that is not closed."""
    opened: list[int] = []
    line = 1
    position = 0
    for found in re.finditer(r"\{%[-+]?\s*(if|for|endif|endfor)\b", source):
        line += source.count("\n", position, found.start())
        position = found.start()
        if not found[1].startswith("end"):
            opened.append(line)
        elif opened:
            opened.pop()
    return opened[-1] if opened else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrong:
    """What a tag may not do: the line of it, why, and what to do; `name` is no field, if any."""

    line: int
    what: str
    mend: str
    name: str = ""
    near: tuple[str, ...] = ()

    def flaw(self, place: Place) -> Flaw:
        """The same of a place."""
        if not self.name:
            return Flaw(Kind.TAG, self.what, self.mend, place=place)
        fields = " or ".join(f"{{{{ {each} }}}}" for each in self.near)
        advice = f"write {fields}" if fields else "write one of the fields in docs/template.md"
        return Flaw(
            Kind.UNKNOWN_FIELD, self.what, place=place, advice=f"{advice}, or take the tag out"
        )


@dataclass(slots=True, kw_only=True)
class Reader:
    """Walks tags, noting the fields they use and what they may not do.

    `names` are the fields that there are; `at` answers the place of a line.
    """

    names: frozenset[str]
    at: Callable[[int], Place]
    printed: dict[str, str] = field(default_factory=dict)
    repeated: dict[str, str] = field(default_factory=dict)
    tested: dict[str, str] = field(default_factory=dict)
    wrongs: list[Wrong] = field(default_factory=list)

    def read(self, node: nodes.Node, bound: frozenset[str] = frozenset()) -> None:
        """Note what is in a node; `bound` are the names that a loop around it has given."""
        match node:
            case nodes.Output():
                for printed in node.nodes:
                    self._printed(printed, bound)
            case nodes.For():
                self._loop(node, bound)
            case nodes.Name() | nodes.Getattr():
                self._name(node, bound, self.tested)
            case nodes.TemplateData(data=words) if BRACES.search(words):
                self._refuse(node, "{% raw %} prints a tag as it stands; take it out.")
            case nodes.Const(value=str() as words) if UNPRINTABLE.search(words):
                self._refuse(
                    node, f"{words!r} holds a character that cannot be printed; remove it."
                )
            case nodes.Compare(ops=signs) if any(each.op not in _COMPARISONS for each in signs):
                self._refuse(node, "of the comparisons only == and != can be used; ask for those.")
            case _ if not isinstance(node, _PERMITTED):
                self._refuse(
                    node,
                    "a tag may print a field, choose with if and repeat with for; this"
                    f" ({type(node).__name__.lower()}) is not permitted; {_INSTEAD}.",
                )
            case _:
                for child in node.iter_child_nodes():
                    self.read(child, bound)

    def _printed(self, node: nodes.Node, bound: frozenset[str]) -> None:
        match node:
            case nodes.Name() | nodes.Getattr():
                self._name(node, bound, self.printed)
            case nodes.CondExpr(test=test, expr1=first, expr2=second):
                self.read(test, bound)
                self._printed(first, bound)
                if second is None:
                    self._refuse(
                        node, 'an if within {{ }} needs its else; write it, such as else "".'
                    )
                else:
                    self._printed(second, bound)
            case _:
                self.read(node, bound)

    def _loop(self, node: nodes.For, bound: frozenset[str]) -> None:
        if bound or node.recursive or not isinstance(node.target, nodes.Name):
            # Nested loops over a long text could take for ever.
            self._refuse(
                node,
                "a loop may not stand within a loop, and goes over one list; write"
                " {%p for line in address_lines %} ... {%p endfor %}, one after the other.",
            )
            return
        self._name(node.iter, bound, self.repeated)
        inner = bound | {node.target.name, "loop"}
        for child in [*node.body, *([node.test] if node.test is not None else [])]:
            self.read(child, inner)
        for child in node.else_:
            self.read(child, bound)

    def _name(self, node: nodes.Node, bound: frozenset[str], noted: dict[str, str]) -> None:
        steps: list[str] = []
        top = node
        while isinstance(top, nodes.Getattr):
            steps.insert(0, top.attr)
            top = top.node
        if not isinstance(top, nodes.Name):
            self._refuse(
                node,
                "a tag may use only fields such as {{ authority }} or {{ upheld.percent }}; write"
                " the name of one.",
            )
            return
        name = ".".join([top.name, *steps])
        if top.name in bound:
            if steps and not (top.name == "loop" and len(steps) == 1 and steps[0] in _LOOP):
                self._refuse(
                    node,
                    f"there is nothing called {name} in a loop; write {{{{ {top.name} }}}}, or"
                    f" {' or '.join(f'loop.{each}' for each in sorted(_LOOP))}.",
                )
            return
        if noted is not self.tested and self._unfit(node, name, repeated=noted is self.repeated):
            return
        if name in self.names or (
            len(steps) == 1 and f"{top.name}.*" in self.names and not steps[0].startswith("_")
        ):
            if name not in noted:
                noted[name] = str(self.at(node.lineno))
            return
        near = near_misses(name, sorted(each for each in self.names if not each.endswith("*")))
        self.wrongs.append(
            Wrong(
                line=node.lineno,
                what=f"there is no field {name}{meant(near).removesuffix('.')}",
                mend="",
                name=name,
                near=near,
            )
        )

    def _unfit(self, node: nodes.Node, name: str, *, repeated: bool) -> bool:
        """Say that a list is printed, or that what is none is repeated."""
        if name not in self.names:
            return False
        if not repeated and name in LISTS:
            self._refuse(
                node,
                f"the field {name} is a list and cannot be printed; write"
                f" {{%p for each in {name} %}}, {{{{ each }}}} and {{%p endfor %}}, each in a"
                " paragraph of its own.",
            )
        elif not repeated and name.rpartition(".")[2] in CHOICES:
            self._refuse(
                node,
                f"the field {name} is true or false and cannot be printed; ask it with"
                f" {{% if {name} %}}.",
            )
        elif repeated and name not in LISTS:
            self._refuse(
                node,
                f"the field {name} is no list and cannot be repeated; repeat one of the lists,"
                f" which are {', '.join(sorted(LISTS & self.names))}.",
            )
        else:
            return False
        return True

    def _refuse(self, node: nodes.Node, why: str) -> None:
        what, _, mend = why.rpartition("; ")
        self.wrongs.append(Wrong(line=node.lineno, what=what, mend=mend.removesuffix(".")))


def _outline(tree: nodes.Template, part: Part) -> str:
    """The document with every branch taken once, each having been seen to begin and end alike."""

    def text(children: Iterable[nodes.Node]) -> str:
        return "".join(one(child) for child in children)

    def branch(node: nodes.Node, children: Iterable[nodes.Node]) -> str:
        words = text(children)
        if not _leaves_whole(words):
            raise uneven(part.at(node.lineno))
        return words

    def one(node: nodes.Node) -> str:
        match node:
            case nodes.Output():
                return text(node.nodes)
            case nodes.TemplateData():
                return node.data
            case nodes.If():
                taken = branch(node, node.body)
                others = [branch(each, each.body) for each in node.elif_]
                return "".join([taken, *others, branch(node, node.else_)])
            case nodes.For():
                return branch(node, node.body) + branch(node, node.else_)
            case _:
                return "x"

    return text(tree.body)


def _leaves_whole(xml: str) -> bool:
    """Whether a stretch closes as many elements as it opens, and the same ones."""
    opened: list[str] = []
    closed: list[str] = []
    for found in _MARKUP.finditer(xml):
        closing, name, empty = found.groups()
        if empty:
            continue
        if not closing:
            opened.append(name)
        elif not opened:
            closed.append(name)
        elif opened.pop() != name:
            return False
    return opened == closed[::-1]
