"""Marks: letters that differ from others of their kind, or from last year, not in figures alone.

Letters are compared by their paragraphs with names, dates and figures taken out, before they are
converted: the same fields are filled into the same template. What many letters say (that nothing
was due, for example) is a variation of the template and marks nobody; what few say, and what nearly
all say and one does not, marks a letter. What the template says otherwise than last year is said
once for all.
"""

import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from pipeline.errors import LettersError
from pipeline.ledger import looking, runs
from pipeline.ledger.looking import Looked
from pipeline.ledger.runs import Run
from pipeline.letter import MERGE_FIELDS
from pipeline.run import Pipeline, template_name
from pipeline.template import compile_template
from pipeline.template.compiled import CompiledTemplate
from pipeline.template.masked import without_figures
from pipeline.template.words import paragraphs

_CHUNK = 200
_LONGEST = 110  # characters of a paragraph that are quoted
_FEW = 0.05  # of the letters: what so many say is a variation, what so many lack is one too
_ALIKE = 0.6  # of two paragraphs: one stands in the place of the other

_SIGNS = {
    "‹line›": "a line in the address, as of a post that is vacant or that two people hold",
    "‹succession›": "the sentence on the authority's successor",
    "‹replaces›": "that it replaces an earlier letter",
    "‹salutation›": "the salutation",
}

# A paragraph without names, dates and figures, and the how-manieth of its kind in the letter.
_Said = tuple[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """Why each marked letter (by id) is, in sentences; and what the template says unlike last year.

    `named` are code and name of the marked ones. `compared_with` is the year, None if there is no
    run of it to compare with; `because` says then why not.
    """

    of: Mapping[int, Sequence[str]]
    named: Mapping[int, tuple[str, str]]
    in_general: Sequence[str]
    compared_with: int | None
    because: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """What is kept of a letter; `text` and `before`, last year's, are numbers of texts."""

    id: int
    code: str
    name: str
    kind: str
    text: int
    before: int | None


class Marker:
    """Looks at every letter once; letters that say the same share what is kept of it."""

    def __init__(self, pipeline: Pipeline, found: Run) -> None:
        self._pipeline = pipeline
        self._template = _template(pipeline, found)
        self._because = ""
        self._before = runs.find_run(pipeline.ledger, found.year - 1)
        self._old: CompiledTemplate | None = None
        if self._before is None:
            self._because = f"There is no run of {found.year - 1}."
        elif self._before.forgotten_at is not None:
            self._because = f"The letters of {found.year - 1} are forgotten."
        else:
            try:
                self._old = _template(pipeline, self._before)
            except LettersError as error:
                self._because = f"The template of {found.year - 1} cannot be read. {error}"
        self._texts: list[frozenset[_Said]] = []
        self._order: dict[_Said, int] = {}
        self._known: dict[tuple[bool, str], int] = {}
        self._seen: list[_Seen] = []
        self._waiting: list[Looked] = []

    def see(self, letter: Looked) -> None:
        """Take one letter in."""
        self._waiting.append(letter)
        if len(self._waiting) == _CHUNK:
            self._take()

    def count(self, marks: Marks, codes: Collection[str]) -> int:
        """How many letters are marked, or are those of these authorities."""
        return sum(one.id in marks.of or one.code in codes for one in self._seen)

    def marks(self) -> Marks:
        """What was found of all that were seen."""
        self._take()
        kinds = Counter(one.kind for one in self._seen)
        in_kind = self._counted((one.kind, one.text) for one in self._seen)
        compared = [one.before for one in self._seen if one.before is not None]
        now = self._counted(("", one.text) for one in self._seen)
        ago = self._counted(("", one) for one in compared)
        few, few_ago = _FEW * len(self._seen), _FEW * len(compared)
        # Looked for in every letter, so these are picked out once: the others may be as many.
        common = [said for said in self._order if now["", said] > len(self._seen) - few]
        of: dict[int, list[str]] = {}
        for one in self._seen:
            text = self._texts[one.text]
            before = self._texts[one.before] if one.before is not None else frozenset()
            rare = {
                said
                for said in text
                if now["", said] < few and in_kind[one.kind, said] < max(2, _FEW * kinds[one.kind])
            }
            lacking = {
                said
                for said in common
                if said not in text
                and in_kind[one.kind, said] >= kinds[one.kind] - max(1, _FEW * kinds[one.kind])
            }
            gone = {said for said in before - text if ago["", said] < few_ago}
            told = [f"Few others say: {_quoted(said)}" for said in self._sorted(rare - before)]
            told += [
                f"It says again what only it and few others said last year: {_quoted(said)}"
                for said in self._sorted(rare & before)
            ]
            told += [
                f"Nearly all others say, and it does not: {_quoted(said)}"
                for said in self._sorted(lacking)
            ]
            told += [
                f"Last year's letter said, and this one does not: {_quoted(said)}"
                for said in self._sorted(gone)
            ]
            if told:
                of[one.id] = list(dict.fromkeys(told))  # two lines of an address are one sign
        named = {one.id: (one.code, one.name) for one in self._seen if one.id in of}
        return Marks(
            of=of,
            named=named,
            in_general=self._in_general(now, ago, few, few_ago) if compared else [],
            compared_with=None if self._old is None or self._before is None else self._before.year,
            because=self._because,
        )

    def _in_general(
        self,
        now: Mapping[tuple[str, _Said], int],
        ago: Mapping[tuple[str, _Said], int],
        few: float,
        few_ago: float,
    ) -> list[str]:
        """What many letters say and none did last year, and the other way round."""
        new = [
            one for one in self._order if now.get(("", one), 0) >= few and not ago.get(("", one))
        ]
        old = [
            one
            for one in self._order
            if ago.get(("", one), 0) >= few_ago and not now.get(("", one))
        ]
        told: list[str] = []
        for one in new:
            count = now["", one]
            letters = f"{count:,} letter{'' if count == 1 else 's'}"
            alike = get_close_matches(one[0], [other[0] for other in old], n=1, cutoff=_ALIKE)
            if alike:
                old = [other for other in old if other[0] != alike[0]]
                told.append(
                    f"{letters}: “{_short(one[0], alike[0])}” in the place of "
                    f"“{_short(alike[0], one[0])}”"
                )
            else:
                told.append(f"{letters}, newly: {_quoted(one)}")
        return [*told, *(f"No letter any more: {_quoted(one)}" for one in old)]

    def _counted(self, texts: Iterator[tuple[str, int]]) -> Counter[tuple[str, _Said]]:
        """In how many letters of which kind each paragraph stands."""
        found: Counter[tuple[str, _Said]] = Counter()
        for (kind, text), times in Counter(texts).items():
            for said in self._texts[text]:
                found[kind, said] += times
        return found

    def _sorted(self, found: set[_Said] | frozenset[_Said]) -> list[_Said]:
        return sorted(found, key=self._order.__getitem__)

    def _take(self) -> None:
        before: Mapping[str, Mapping[str, Any]] = {}
        if self._old is not None and self._before is not None:
            codes = [one.authority_code for one in self._waiting]
            before = looking.fields_before(self._pipeline.ledger, self._before, codes)
        for one in self._waiting:
            fields = before.get(one.authority_code)
            earlier = None
            if fields and self._old is not None:
                earlier = self._text(self._old, fields, old=True)
            self._seen.append(
                _Seen(
                    id=one.id,
                    code=one.authority_code,
                    name=one.authority_name,
                    kind=one.kind,
                    text=self._text(self._template, one.fields, old=False),
                    before=earlier,
                )
            )
        self._waiting = []

    def _text(self, template: CompiledTemplate, fields: Mapping[str, Any], *, old: bool) -> int:
        """The number of what a letter says; few letters have words of their own."""
        plain = without_figures(fields)
        key = (old, json.dumps(plain, sort_keys=True, ensure_ascii=False))
        if key not in self._known:
            times: Counter[str] = Counter()
            text = []
            for paragraph in paragraphs(template.stamp(plain)):
                times[paragraph] += 1
                text.append((paragraph, times[paragraph]))
                self._order.setdefault(text[-1], len(self._order))
            self._known[key] = len(self._texts)
            self._texts.append(frozenset(text))
        return self._known[key]


def _template(pipeline: Pipeline, found: Run) -> CompiledTemplate:
    data = pipeline.archive.get(template_name(found.template_sha256), found.template_sha256)
    return compile_template(data, fields=MERGE_FIELDS)


def _quoted(said: _Said) -> str:
    return _SIGNS.get(said[0], f"“{_short(said[0])}”")


def _short(text: str, beside: str = "") -> str:
    """The beginning of a text; of one that is much like another, what is around the difference."""
    start = 0
    while start < min(len(text), len(beside)) and text[start] == beside[start]:
        start += 1
    start = max(0, text.rfind(" ", 0, max(0, start - 20)) + 1) if start > _LONGEST // 2 else 0
    cut = text[start : start + _LONGEST]
    return f"{'… ' if start else ''}{cut}{' …' if start + _LONGEST < len(text) else ''}"
