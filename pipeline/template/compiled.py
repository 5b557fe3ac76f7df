"""A template, checked and compiled."""

import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from jinja2 import Template, TemplateSyntaxError

from pipeline.template.needs import Needs
from pipeline.template.package import Package
from pipeline.template.parts import (
    core_part,
    read_part,
    refuse_tag_named_styles,
    refuse_tags_elsewhere,
    refuse_what_acts,
    rendered_parts,
)
from pipeline.template.stamping import Raw, Stamped, environment, packed, rendered
from pipeline.template.tags import checked, not_understood, refuse_incomplete
from pipeline.template.vocabulary import PERCENT

_PANEL: Final = (PERCENT, "percent", "average", "whole", "whole_label")


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledTemplate:
    """A template that was found to be sound; it travels between processes as the file it came from.

    `sha256` is the file's (hex). `used` holds the fields' dotted names. `panel_headings` are the
    headings above the rings, in the template's order; `fixed_texts` are the words that every
    letter has, cut at the tags.
    """

    sha256: str
    used: frozenset[str]
    panel_headings: tuple[str, ...]
    fixed_texts: tuple[str, ...]
    _data: bytes = field(repr=False)
    _fields: frozenset[str] = field(repr=False)
    _needed: frozenset[str] = field(repr=False)
    _members: tuple[Raw | Stamped, ...] = field(repr=False)
    _title: Template = field(repr=False)
    _needs: Needs = field(repr=False)

    def stamp(self, fields: Mapping[str, object]) -> bytes:
        """Return one letter's docx: the same fields always give the same bytes.

        `fields` are plain values: text, whole numbers, true or false, lists of text, and mappings
        of these. They are printed as they are, whatever they hold. Raises `LetterFault` naming the
        field that is missing, is not plain, or holds a character that cannot be printed.
        """
        context = self._needs.context(fields)
        return packed((member, member.content(context)) for member in self._members)

    @property
    def data(self) -> bytes:
        """The file it was compiled from."""
        return self._data

    def title(self, fields: Mapping[str, object]) -> str:
        """Return the title in one letter's document properties; raises like `stamp`."""
        return rendered(self._title, self._needs.context(fields))

    def __reduce__(
        self,
    ) -> tuple[Callable[..., "CompiledTemplate"], tuple[bytes, frozenset[str], frozenset[str]]]:
        return _recompiled, (self._data, self._fields, self._needed)


def compile_template(
    data: bytes, *, fields: Collection[str], needed: Collection[str] | None = None
) -> CompiledTemplate:
    """Check a docx file and make it ready for stamping.

    `fields` are the names that tags may use, dotted ("upheld.percent"); "facts.*" permits any fact.
    `needed` are those that its pages must show (a figure's "percent_number" is shown by its ring);
    by default what every PDF is proved by: the authority, the period, and each figure.
    Raises `Misconfigured` saying what is wrong, where in the document, and how to mend it.
    """
    names = frozenset(fields)
    must = frozenset(proved_by(names) if needed is None else needed)
    package = Package.read(data)
    refuse_what_acts(package)
    parts = [read_part(package, place, name, names) for name, place in rendered_parts(package)]
    rendered_names = {part.name for part in parts}
    refuse_tags_elsewhere(package, rendered_names)
    refuse_tag_named_styles(package, rendered_names)
    core = core_part(package)
    body, *_ = parts
    needs = Needs(printed={}, repeated={}, tested={}, rings=frozenset())
    stamped = {}
    for part in parts:
        needs |= checked(part, names)
    refuse_incomplete(needs.printed, needs.rings, must)
    needs |= checked(core, names)
    for part in (*parts, core):
        stamped[part.name] = part.compiled()
    try:
        title = environment(escape=False).from_string(core.title)
    except TemplateSyntaxError as error:  # it leans on a tag of another property
        raise not_understood(error, core.at(1)) from error
    return CompiledTemplate(
        sha256=hashlib.sha256(data).hexdigest(),
        used=needs.used,
        panel_headings=body.panel_headings,
        fixed_texts=tuple(text for part in parts for text in part.fixed_texts),
        _data=data,
        _fields=names,
        _needed=must,
        _members=tuple(
            stamped[member.name] if member.name in stamped else member.raw()
            for member in package.members
        ),
        _title=title,
        _needs=needs,
    )


def proved_by(names: frozenset[str]) -> frozenset[str]:
    """What is looked for in every PDF, as far as there are such fields."""
    figures = {each.removesuffix(f".{PERCENT}") for each in names if each.endswith(f".{PERCENT}")}
    shown = {f"{figure}.{part}" for figure in figures for part in _PANEL}
    return names & {"authority", "period_end_short", *shown}


@lru_cache(maxsize=4)
def _recompiled(data: bytes, fields: frozenset[str], needed: frozenset[str]) -> CompiledTemplate:
    return compile_template(data, fields=fields, needed=needed)
