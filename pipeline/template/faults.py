"""Every fault of a template at once, in the words of Word, for whoever mends the file.

What `compile_template` refuses is blocking, and so is what the proof of each PDF would refuse or
PDF/UA does not permit. The rest is advisory.
"""

from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, islice

from lxml import etree

from pipeline.errors import Misconfigured
from pipeline.template.accessible import inaccessible
from pipeline.template.advice import advice
from pipeline.template.compiled import CompiledTemplate, compile_template, proved_by
from pipeline.template.flaw import Flaw, Kind
from pipeline.template.noting import ENOUGH, Enough, all_noted, flaws_of, one_thing, so_far
from pipeline.template.package import Package
from pipeline.template.parts import (
    DRAWING,
    core_part,
    read_part,
    refuse_tag_named_styles,
    refuse_tags_elsewhere,
    refuse_what_acts,
    rendered_parts,
)
from pipeline.template.singly import Singly, read_properties, read_singly
from pipeline.template.survey import Survey, Where
from pipeline.template.tags import checked, refuse_incomplete
from pipeline.template.vocabulary import PERCENT, RING, near_misses


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that is wrong, its place, and what to do in Word; whole sentences.

    One that is `blocking` stops a run, or no PDF would pass its proof or PDF/UA with it.
    """

    kind: Kind
    blocking: bool
    what: str
    mend: str
    where: Where


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """All that was found in a template, in the order of the document.

    `compiled` is None where it cannot be used. `unused` are the fields that it might print and does
    not, in their own order.
    """

    faults: tuple[Fault, ...]
    compiled: CompiledTemplate | None
    unused: tuple[str, ...]

    @property
    def is_blocked(self) -> bool:
        """Whether no letter can be made with it that may be sent."""
        return any(one.blocking for one in self.faults)


def no_fonts() -> Collection[str]:
    """For who does not ask which fonts are lacking."""
    return ()


def look(
    data: bytes,
    *,
    fields: Collection[str],
    needed: Collection[str] | None = None,
    lacking: Callable[[], Collection[str]] = no_fonts,
) -> Looked:
    """Look at everything in the file whose bytes these are.

    `fields` and `needed` are as `compile_template` has them; `lacking` answers which of the file's
    fonts this machine has not, and is asked only of a file that was found to be a document. Raises
    Misconfigured for what is no Word document, or one that nothing can be read of.
    """
    names = frozenset(fields)
    must = proved_by(names) if needed is None else frozenset(needed)
    used = set[str]()
    survey = None
    with all_noted() as noted:
        try:
            package = Package.read(data)
            survey = Survey(package)
            used = _read_all(package, survey, names, must)
        except Enough:
            noted.append(_more())
        except Misconfigured as fault:
            # Macros are why a document is not one of the kind that is wanted
            raise (noted[0] if noted else fault) from fault
    compiled = None
    if not noted:
        try:
            compiled = compile_template(data, fields=names, needed=must)
        except Misconfigured as fault:  # what shows only in a template that is whole
            noted += flaws_of(fault)
    faults = [_placed(one, survey) for one in noted]
    with suppress(Enough), all_noted():  # what is noted is said already
        package = Package.read(data)  # anew: looking at the tags has changed the trees
        survey = Survey(package)
        found = chain(inaccessible(package, survey), advice(package, survey, names, lacking()))
        faults += [_placed(one, survey) for one in islice(found, ENOUGH)]
        if next(found, None) is not None:
            faults.append(_placed(_more(), survey))
    return Looked(
        faults=_in_order(faults),
        compiled=compiled,
        unused=tuple(each for each in fields if each not in used and not each.endswith(".*")),
    )


def _more() -> Flaw:
    return Flaw(
        Kind.OTHER,
        "more is wrong with the template than is listed here",
        "mend these things first; most of them may be one and the same",
    )


def _read_all(
    package: Package, survey: Survey, names: frozenset[str], must: Collection[str]
) -> set[str]:
    """Look at each part as compiling does, go on after each fault; the fields that are used."""
    rendered = dict(rendered_parts(package))
    refuse_what_acts(package)
    seen = Singly()
    drawn = set[str]()
    for name, place in rendered.items():
        drawn |= _rings(package.trees[name], names)
        with one_thing():
            _read_one(package, survey, place, name, names, seen)
    refuse_tags_elsewhere(package, rendered.keys())
    refuse_tag_named_styles(package, rendered.keys())
    with one_thing():
        before = so_far()
        core = core_part(package)
        read_properties(package.trees[core.name], core.name, names)
        if so_far() == before:
            checked(core, names)
    with one_thing():
        # What a tag that is mended may well show is not said to be lacking too.
        refuse_incomplete(seen.printed, drawn, frozenset(must) - seen.uncertain)
    # Nor is a field unused that a tag with a fault may have been for.
    return seen.used | seen.uncertain | {f"{figure}.{PERCENT}" for figure in drawn}


def _read_one(
    package: Package, survey: Survey, place: str, name: str, names: frozenset[str], seen: Singly
) -> None:
    """Look at one part: its tags together only if each of them is sound."""
    before = so_far()
    part = read_part(package, place, name, names)
    read_singly(package.trees[name], name, place, names, survey, seen)
    if so_far() == before:
        checked(part, names)


def _rings(tree: etree._Element, names: frozenset[str]) -> set[str]:
    """The figures that a part's drawings are called after, or very nearly so."""
    figures = [each.removesuffix(f".{PERCENT}") for each in names if each.endswith(f".{PERCENT}")]
    called = {
        drawing.get("name", "").removeprefix(RING).strip()
        for drawing in tree.iter(DRAWING)
        if drawing.get("name", "").startswith(RING)
    }
    return {near for each in called for near in near_misses(each, figures)[:1]}


def _placed(flaw: Flaw, survey: Survey | None) -> Fault:
    where = Where(part="file") if survey is None else survey.where(flaw.place)
    return Fault(
        kind=flaw.kind, blocking=flaw.blocking, what=flaw.what, mend=flaw.mend, where=where
    )


def _in_order(faults: Iterable[Fault]) -> tuple[Fault, ...]:
    """Each fault once, in the order of the document.

    Word writes a text box twice, the second time for old programs; what is said of the first is not
    said of the second.
    """
    found = sorted(dict.fromkeys(faults), key=lambda one: one.where.order)
    first = {(one.kind, one.what, one.where.words) for one in found if not one.where.repeated}
    return tuple(
        one
        for one in found
        if not (one.where.repeated and (one.kind, one.what, one.where.words) in first)
    )
