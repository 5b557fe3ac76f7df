"""Letters, looked at one by one as they stream past, and all together at the end.

Kept between two letters are sums, and one entry for each address: a hundred megabytes or so for a
hundred thousand authorities.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

from pipeline.errors import LetterFault
from pipeline.figures import Rate
from pipeline.letter import MEASURES, PEER_KINDS, Averages, Edition, long_date
from pipeline.readiness.found import Check, Finding, Kind, Totals
from pipeline.readiness.words import counted, double_blank, leftover, listed

Whole = tuple[int, int]
"""A part and its whole."""

_RESERVED: Final = ("example", "test", "invalid", "localhost", "local")
_LONG: Final = 2500  # characters of remarks; with them a letter's words are a page longer
_POINTS: Final = 25  # by which a rate jumps
_CASES: Final = 10  # fewer cases jump by chance
_FOR_NOW: Final = re.compile(r"\b(?:interim|acting)\b", re.IGNORECASE)
_LINES_OF_ONE: Final = 3  # name, post, authority; of a vacant post no name
_NAMES: Final = {
    "upheld": "complaints upheld",
    "compliance": "compliance",
    "remedy": "satisfactory remedies",
}
_CASES_OF: Final = {"upheld": "detailed investigations", "compliance": "compliance outcomes"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One letter: composed just now, or frozen in a run, where it may be withheld."""

    code: str
    name: str
    kind: str
    fields: Mapping[str, Any]
    figures: Mapping[str, Mapping[str, int | None]]
    recipients: Sequence[Mapping[str, Any]]
    fault: str | None
    withheld: str | None = None


@dataclass(slots=True, kw_only=True)
class Looking:
    """What looking at letters takes, and what is summed up on the way.

    `before` are last year's parts and wholes, by code and measure; with `before_is_whole` who is
    not in it had none, and without had no letter to compare with. `published` are the averages, by
    kind and measure, that were given and not counted. `ended` is the last day of those who held a
    role and are followed by nobody. `live`: letters go to the authorities themselves.
    """

    edition: Edition
    averages: Averages
    before: Mapping[str, Mapping[str, Whole]]
    before_of: str
    before_is_whole: bool
    published: Collection[tuple[str, str]]
    ended: Mapping[tuple[str, str], date]
    live: bool
    refresh: str
    to_send: int = 0
    withheld: int = 0
    faulted: int = 0
    unfigured: int = 0
    domains: dict[str, tuple[str, str]] = field(default_factory=dict)
    _sums: Counter[str] = field(default_factory=Counter)
    _pooled: dict[tuple[str, str], list[int]] = field(
        default_factory=lambda: defaultdict(lambda: [0, 0])
    )
    _kinds: Counter[str] = field(default_factory=Counter)
    _addresses: dict[str, list[str]] = field(default_factory=dict)

    @property
    def totals(self) -> Totals:
        """What all letters say together."""
        return Totals(**{name: self._sums[name] for name in Totals.__dataclass_fields__})

    def take(self, seen: Seen) -> Iterator[Finding]:
        """Look at one letter."""
        self._kinds[seen.kind] += 1
        yield from self._account(seen)
        if seen.figures:
            yield from self._figures(seen)
            yield from self._jumps(seen)
        else:
            self.unfigured += 1
        if not seen.fields:
            return  # its fault says why
        yield from self._addressees(seen)
        yield from self._recipients(seen)
        yield from _remarks(seen)

    def together(self) -> Iterator[Finding]:
        """What shows only when all letters have been looked at."""
        yield from self._shared()
        yield from self._compared()

    def _account(self, seen: Seen) -> Iterator[Finding]:
        if seen.withheld is not None:
            self.withheld += 1
            too = f" It could not be made either: {seen.fault}" if seen.fault else ""
            yield _of(
                seen,
                Kind.ADVISORY,
                Check.WITHHELD,
                f"It is withheld: {seen.withheld.rstrip('.')}.{too}",
                f"If it is to go after all: letters resume {seen.code} --year {self.edition.year}",
            )
        elif seen.fault is not None:
            self.faulted += 1
            yield _of(seen, Kind.BLOCKING, Check.FAULT, seen.fault, self.refresh)
        else:
            self.to_send += 1

    def _figures(self, seen: Seen) -> Iterator[Finding]:
        """Parts within wholes, rates as their counts give them, the same on paper; and the sums."""
        wrong = []
        for measure in MEASURES:
            figure = seen.figures[measure]
            part, whole = figure["part"] or 0, figure["whole"] or 0
            sums = self._pooled[seen.kind, measure]
            sums[0] += part
            sums[1] += whole
            try:
                percent = Rate(part=part, whole=whole).percent
            except LetterFault as fault:
                wrong.append(f"{_NAMES[measure]}: {str(fault).rstrip('.')}")
                continue
            if percent != figure["percent"]:
                said = f"{part:,} of {whole:,} is {_shown(percent)}"
                wrong.append(f"{_NAMES[measure]}: {said}, and it has {_shown(figure['percent'])}")
            elif seen.fields and seen.fields[measure]["percent"] != (
                "" if percent is None else f"{percent}%"
            ):
                on_paper = seen.fields[measure]["percent"] or "nothing"
                wrong.append(
                    f"{_NAMES[measure]}: the rate is {_shown(percent)}, printed {on_paper}"
                )
        figures = seen.figures
        upheld, of = figures["upheld"]["part"] or 0, figures["remedy"]["whole"] or 0
        if of != upheld:
            wrong.append(
                f"remedies are counted of {counted(of, 'upheld complaint')}, and {upheld:,} were"
                " upheld"
            )
        self._sums["investigated"] += figures["upheld"]["whole"] or 0
        self._sums["upheld"] += figures["upheld"]["part"] or 0
        self._sums["remedied_early"] += figures["remedy"]["part"] or 0
        self._sums["compliance_due"] += figures["compliance"]["whole"] or 0
        self._sums["complied"] += figures["compliance"]["part"] or 0
        if wrong:
            yield _of(
                seen,
                Kind.BLOCKING,
                Check.FIGURE,
                f"Its figures do not fit together: {'; '.join(wrong)}.",
                f"Correct its decisions and compliance. {self.refresh}",
            )

    def _jumps(self, seen: Seen) -> Iterator[Finding]:
        """Against last year: a rate by more than 25 points, or a count twofold and by ten."""
        if not self.before or not (self.before_is_whole or seen.code in self.before):
            return
        before = self.before.get(seen.code, {})
        said = []
        for measure in MEASURES:
            part, whole = seen.figures[measure]["part"] or 0, seen.figures[measure]["whole"] or 0
            old_part, old_whole = before.get(measure, (0, 0))
            if measure in _CASES_OF and is_a_jump(old_whole, whole):
                now, was = (
                    f"{whole:,}" if whole else "no",
                    f"{old_whole:,}" if old_whole else "none",
                )
                said.append(f"{now} {_CASES_OF[measure]}, and {was} {self.before_of}")
            if min(whole, old_whole) >= _CASES and part <= whole and old_part <= old_whole:
                # exactly: 100 * |part/whole - old_part/old_whole| > 25
                apart = 100 * abs(part * old_whole - old_part * whole)
                if apart > _POINTS * whole * old_whole:
                    rate = Rate(part=part, whole=whole).percent
                    old = Rate(part=old_part, whole=old_whole).percent
                    said.append(
                        f"{_NAMES[measure]} {rate}% ({part:,} of {whole:,}), and {old}%"
                        f" ({old_part:,} of {old_whole:,}) {self.before_of}"
                    )
        if said:
            yield _of(
                seen,
                Kind.ADVISORY,
                Check.JUMP,
                f"It has {'; and '.join(said)}.",
                "Look whether its decisions and compliance are all there, and none of another's.",
            )

    def _addressees(self, seen: Seen) -> Iterator[Finding]:
        """Vacant, interim and joint posts, as the address block has them."""
        *lines, _ = seen.fields["address_lines"]
        if len(lines) + 1 < _LINES_OF_ONE:
            yield _of(
                seen,
                Kind.ADVISORY,
                Check.VACANT,
                f"The post of {' '.join(lines)} is vacant; the letter greets the post.",
                "Fill in the names in officers if somebody has been appointed.",
            )
            return
        held = [
            f"{name} is {post}"
            for name, post in zip(lines[::2], lines[1::2], strict=True)
            if _FOR_NOW.search(post)
        ]
        if held:
            yield _of(
                seen,
                Kind.ADVISORY,
                Check.INTERIM,
                f"{listed(held)}.",
                "Look whether somebody has been appointed since; correct officers if so.",
            )
        if len(lines) > 2:
            yield _of(
                seen,
                Kind.ADVISORY,
                Check.JOINT,
                f"{listed(lines[::2])} hold the post together; the letter greets and goes to all of"
                " them.",
                "If one has left, end that row of officers with active_to.",
            )

    def _recipients(self, seen: Seen) -> Iterator[Finding]:
        domains: dict[str, list[str]] = {}
        held: set[str] = set()
        for one in seen.recipients:
            address, roles = one["address"], one["roles"]
            held.update(roles)
            self._addresses.setdefault(address.casefold(), []).append(seen.code)
            domain = address.rpartition("@")[2].casefold()
            domains.setdefault(domain, []).append(address)
            self.domains.setdefault(domain, (seen.code, seen.name))
            if len(roles) > 1 or " and " in one["name"]:
                as_what = listed([role.replace("_", " ") for role in roles])
                yield _of(
                    seen,
                    Kind.ADVISORY,
                    Check.TWICE,
                    f"{address} is that of {one['name']} as {as_what}, and gets one copy.",
                    "Correct officers.email if they are two mailboxes.",
                )
        lacking = [role for role in self.edition.copied_roles if role not in held]
        for role in lacking:
            last = self.ended.get((seen.code, role))
            until = f"; the last one ended on {long_date(last)}" if last else ""
            words = role.replace("_", " ")
            yield _of(
                seen,
                Kind.ADVISORY,
                Check.LACKING,
                f"It has no {words} with an address, so no copy goes there{until}.",
                f"Add the {words} to officers, with an address, if there is one.",
            )
        yield from _apart(seen, domains)
        if self.live and (never := [one for one in domains if _is_reserved(one)]):
            yield _of(
                seen,
                Kind.BLOCKING,
                Check.RESERVED,
                f"Mail to {listed(never)} never arrives: the name is reserved for examples.",
                f"Correct officers.email. {self.refresh}",
            )

    def _shared(self) -> Iterator[Finding]:
        for address, codes in self._addresses.items():
            if len(codes) > 1:
                yield Finding(
                    kind=Kind.ADVISORY,
                    check=Check.SHARED,
                    found=f"{address} gets {counted(len(codes), 'letter')}: those of"
                    f" {listed(sorted(codes))}.",
                    fix="Correct officers.email if it is not one mailbox for all of them.",
                    code=codes[0],
                )

    def _compared(self) -> Iterator[Finding]:
        yield from self._averages()
        for kind, averages in sorted(self.averages.items()):
            if kind not in PEER_KINDS and any(one is not None for one in averages.values()):
                yield Finding(
                    kind=Kind.ADVISORY,
                    check=Check.AVERAGE,
                    found=f"published_averages has an average of {_words(kind)}, which are not"
                    " compared with each other; it is printed nowhere.",
                    fix="Take the row out of published_averages, unless it is kept for the record.",
                )
        for kind, number in sorted(self._kinds.items()):
            letters = counted(number, "letter")
            if kind not in PEER_KINDS:
                said = (
                    f"{letters} of the kind {_words(kind)}: these have no average to compare with."
                )
            elif number == 1 and any((kind, one) not in self.published for one in MEASURES):
                said = f"Only one letter is of the kind {_words(kind)}: it is compared with itself."
            else:
                continue
            yield Finding(
                kind=Kind.ADVISORY,
                check=Check.PEERS,
                found=said,
                fix="Nothing, if they are of that kind; else correct authorities.kind.",
            )

    def _averages(self) -> Iterator[Finding]:
        """Each average that is printed, against what the letters themselves give."""
        for (kind, measure), (part, whole) in sorted(self._pooled.items()):
            printed = self.averages.get(kind, {}).get(measure)
            if kind not in PEER_KINDS or printed is None or not 0 < whole >= part:
                continue
            pooled = Rate(part=part, whole=whole).percent
            if pooled == printed:
                continue
            of = f"average of {_words(kind)} ({_NAMES[measure]})"
            give = f"these letters together give {pooled}% ({part:,} of {whole:,})"
            if (kind, measure) in self.published:
                yield Finding(
                    kind=Kind.ADVISORY,
                    check=Check.AVERAGE,
                    found=f"The published {of} is {printed}%, and {give}. The published one is"
                    " printed.",
                    fix="Correct published_averages or the figures, unless it is known why.",
                )
            elif not self.unfigured:  # a letter without figures was counted in, and is not here
                yield Finding(
                    kind=Kind.ADVISORY,
                    check=Check.AVERAGE,
                    found=f"The {of} that the letters print is {printed}%, and {give} now.",
                    fix="Nothing, if letters were replaced since: the others keep the average that"
                    " they were sent with.",
                )


def is_a_jump(before: int, now: int) -> bool:
    """Whether a count has doubled or halved, or more, and by ten cases at least."""
    less, more = sorted((before, now))
    return more >= 2 * less and more - less >= _CASES


def _apart(seen: Seen, domains: Mapping[str, Sequence[str]]) -> Iterator[Finding]:
    """Recipients at several domains, none of which is within another."""
    outer = [one for one in domains if not any(one.endswith(f".{other}") for other in domains)]
    if len(outer) < 2:
        return
    rare = min(outer, key=lambda one: len(domains[one]))
    if len(domains[rare]) == max(len(domains[one]) for one in outer):
        addresses = [domains[one][0] for one in outer]
        said = f"Its letter goes to different domains: {listed(addresses)}."
    else:
        said = f"{domains[rare][0]} is at another domain than everybody else it goes to."
    yield _of(
        seen,
        Kind.ADVISORY,
        Check.APART,
        said,
        "Look whether it is the authority's own; correct officers.email if it is not.",
    )


def _remarks(seen: Seen) -> Iterator[Finding]:
    remarks = seen.fields.get("remarks", ())
    length = sum(map(len, remarks))
    if length > _LONG:
        yield _of(
            seen,
            Kind.ADVISORY,
            Check.REMARK,
            f"Its remarks are {length:,} characters long, about a page or more.",
            "Look at the letter's pages when it is made; shorten the remarks if it is too long.",
        )
    for number, text in enumerate(remarks, start=1):
        if found := leftover(text):
            yield _of(
                seen,
                Kind.BLOCKING,
                Check.PLACEHOLDER,
                f"Paragraph {number} of its remarks holds “{found}”, which looks like a place left"
                " to fill in.",
                "Put the words there in remarks.",
            )
        if found := double_blank(text):
            yield _of(
                seen,
                Kind.ADVISORY,
                Check.REMARK,
                f"Paragraph {number} of its remarks has two blanks in a row: “{found}”.",
                "Take one out in remarks.",
            )


def _is_reserved(domain: str) -> bool:
    return domain.rpartition(".")[2] in _RESERVED


def _of(seen: Seen, kind: Kind, check: Check, found: str, fix: str) -> Finding:
    return Finding(kind=kind, check=check, found=found, fix=fix, code=seen.code, name=seen.name)


def _shown(percent: int | None) -> str:
    return "no rate" if percent is None else f"{percent}%"


def _words(kind: str) -> str:
    return kind.replace("_", " ")
