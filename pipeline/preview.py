"""What a template makes of letters that it may not fit: the worst real ones, or invented ones.

Nothing is put on record: the letters are composed from the statistics, made by the same lanes that
make a run's, proved like those, and written into a folder.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from pipeline import run, source
from pipeline.archive import Archive
from pipeline.errors import Refused
from pipeline.figures import Counts
from pipeline.ledger.letters import Faulted, FrozenLetter, Prepared
from pipeline.letter import (
    CHIEF_EXECUTIVE,
    MEASURES,
    PEER_KINDS,
    Authority,
    Averages,
    Edition,
    Letter,
    Officer,
    Record,
    compose,
    fields_of,
)
from pipeline.prepare import Job
from pipeline.progress import Progress
from pipeline.run import Engine, Pipeline

if TYPE_CHECKING:
    from pipeline.template import CompiledTemplate

_REMARKS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Specimen:
    """A letter to look at, and why it was chosen; `invented` if the data has none like it."""

    letter: Letter
    why: str
    invented: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """Specimens of one year, its edition, and the names of all authorities that it writes about."""

    edition: Edition
    specimens: tuple[Specimen, ...]
    names: tuple[str, ...]


def choose(
    pipeline: Pipeline,
    year: int,
    *,
    codes: Collection[str] = (),
    worst: bool = False,
    progress: Progress,
) -> Chosen:
    """Letters of the year from the statistics as they are: those of `codes`, or the worst cases.

    Raises Refused for a code that gets no letter in the year.
    """
    wanted = {one.upper() for one in codes}
    named: dict[str, Letter] = {}
    best: dict[str, tuple[int, Letter]] = {}
    names: list[str] = []
    with source.pull(pipeline.statistics, year) as pulled:
        progress.begin("Composing", pulled.count)
        try:
            for record in pulled.records:
                letter = compose(record, pulled.edition, pulled.averages)
                names.append(letter.authority_name)
                progress.advance()
                if letter.authority_code.upper() in wanted:
                    named[letter.authority_code.upper()] = letter
                if worst and letter.fault is None:
                    for why, measure in _WORST.items():
                        size = measure(letter)
                        if size and size > best.get(why, (0, letter))[0]:
                            best[why] = (size, letter)
        finally:
            progress.end()
        edition, averages = pulled.edition, pulled.averages
    if lacking := wanted - named.keys():
        raise Refused(
            f"There is no letter of {year} for {', '.join(sorted(lacking))}: the code is not on "
            "the register, or the authority was not active in the period."
        )
    specimens = [Specimen(letter=named[code], why="as asked for") for code in sorted(named)]
    if worst:
        specimens += _worst_cases(best, edition, averages)
    return Chosen(edition=edition, specimens=tuple(specimens), names=tuple(names))


def make(
    engine: Engine,
    chosen: Chosen,
    template: bytes,
    target: Archive,
    *,
    now: datetime,
    progress: Progress,
) -> Iterator[tuple[Specimen, Prepared | Faulted]]:
    """Make each specimen's PDF in `target`, where `engine` keeps its files; in any order.

    Raises Misconfigured for a template that no letter can be made with.
    """
    from pipeline.template import compile_template

    compiled = compile_template(template, fields=fields_of(chosen.edition))
    name = run.template_name(compiled.sha256)
    target.put(name, template)
    able = {at: one for at, one in enumerate(chosen.specimens) if one.letter.fault is None}
    for one in chosen.specimens:
        if one.letter.fault is not None:
            yield one, Faulted(letter_id=0, reason=one.letter.fault)
    job = Job(
        template=name,
        template_sha256=compiled.sha256,
        names=sorted({*chosen.names, *(one.letter.authority_name for one in able.values())}),
        dated=now,
    )
    each = (
        FrozenLetter(
            id=at,
            run_id=0,
            year=chosen.edition.year,
            authority_code=one.letter.authority_code,
            authority_name=one.letter.authority_name,
            fields=one.letter.fields,
        )
        for at, one in able.items()
    )
    progress.begin("Making", len(able))
    try:
        for result in engine.each(job, each):
            progress.advance()
            yield able[result.letter_id], result
    finally:
        progress.end()


def unproved(
    letter: Letter, template: "CompiledTemplate", to_pdf: Callable[[bytes], bytes]
) -> bytes:
    """The pages of a letter that was made and failed its proof: what is wrong is best seen there.

    Raises LetterFault where there are none, as it cannot be filled in or converted.
    """
    return to_pdf(template.stamp(letter.fields))


def _unrated(letter: Letter) -> int:
    return sum(letter.figures[measure]["percent"] is None for measure in MEASURES)


def _peerless(letter: Letter) -> int:
    return int(letter.kind not in PEER_KINDS and _unrated(letter) < len(MEASURES))


def _lines(letter: Letter) -> int:
    return len(letter.fields["address_lines"])


_WORST: Mapping[str, Callable[[Letter], int]] = {
    "the longest name": lambda one: len(one.authority_name),
    "the longest line in an address": lambda one: max(map(len, one.fields["address_lines"])),
    "the most panels with nothing to divide by": _unrated,
    "no similar authorities to compare with": _peerless,
    "a post that several hold jointly": lambda one: _lines(one) if _lines(one) > 3 else 0,
    "a vacant post": lambda one: int(_lines(one) == 2),
    "the most remarks": lambda one: (
        len(one.fields["remarks"]) if len(one.fields["remarks"]) >= _REMARKS else 0
    ),
    "an abolished authority, addressed to its successor": lambda one: int(
        bool(one.fields["succession"])
    ),
    "a name with signs in it": lambda one: sum(
        not (sign.isalnum() or sign == " ") for sign in one.authority_name
    ),
    "the largest numbers": lambda one: max(
        one.figures[measure]["whole"] or 0 for measure in MEASURES
    ),
    "rates of 0% and 100%": lambda one: sum(
        one.figures[measure]["percent"] in {0, 100} for measure in MEASURES
    ),
}


def _worst_cases(
    best: Mapping[str, tuple[int, Letter]], edition: Edition, averages: Averages
) -> Iterator[Specimen]:
    """The worst of each kind, each letter once with all that it was chosen for."""
    why: dict[str, list[str]] = {}
    letters: dict[str, Letter] = {}
    for what, (_, letter) in best.items():
        why.setdefault(letter.authority_code, []).append(what)
        letters[letter.authority_code] = letter
    for code, letter in letters.items():
        yield Specimen(letter=letter, why="; ".join(why[code]))
    for what, record in _invented(edition).items():
        if what not in best:
            letter = compose(record, edition, averages)
            yield Specimen(letter=letter, why=what, invented=True)
    yield Specimen(
        letter=compose(_everything(), edition, averages),
        why="all of it at once: long names, long lines, several remarks, large numbers",
        invented=True,
    )


def _officer(**other: str) -> Officer:
    about = {
        "honorific": "Ms",
        "given_name": "Alexandra",
        "family_name": "Example",
        "post": "Chief Executive",
        "email": "chief.executive@council.example",
        **other,
    }
    return Officer(role=CHIEF_EXECUTIVE, **about)


def _record(code: str, name: str, kind: str, *officers: Officer, **other: object) -> Record:
    authority = Authority(code=code, name=name, kind=kind, noun="Council")
    about: dict[str, object] = {
        "authority": authority,
        "addressee": authority,
        "officers": officers or (_officer(),),
        "counts": Counts(upheld=3, not_upheld=2, remedied_early=1, complied=4),
        **other,
    }
    return Record(**about)  # type: ignore[arg-type]


def _invented(edition: Edition) -> Mapping[str, Record]:
    """What the worst cases may lack, by what each is."""
    gone = _record("X006", "Example Borough Council", "district")
    successor = _record("X007", "Council of the Successors", "unitary")
    return {
        "the most panels with nothing to divide by": _record(
            "X001", "Example Without Cases Council", "district", counts=Counts()
        ),
        "no similar authorities to compare with": _record(
            "X002", "Example Waste Authority", "waste"
        ),
        "a post that several hold jointly": _record(
            "X003",
            "Example Joint Council",
            "district",
            _officer(),
            _officer(honorific="Mr", given_name="Robin", family_name="Sample"),
        ),
        "a vacant post": _record(
            "X004",
            "Example Vacant Council",
            "district",
            _officer(honorific="", given_name="", family_name=""),
        ),
        "the most remarks": _record(
            "X005",
            "Example Remarked Council",
            "district",
            remarks=tuple(
                f"This is remark {number} of {_REMARKS}, of two sentences. It says what only this "
                "authority is told, at about the length that such remarks have."
                for number in range(1, _REMARKS + 1)
            ),
        ),
        "an abolished authority, addressed to its successor": replace(
            gone,
            authority=replace(gone.authority, active_to=edition.period_end),
            addressee=successor.authority,
            officers=successor.officers,
        ),
        "a name with signs in it": _record(
            "X008", "King's Example & St. Mary-le-Sample (Upper)", "london_borough"
        ),
    }


def _everything() -> Record:
    long = "Bournemouth, Christchurch, Poole and the Example Islands Metropolitan Borough Council"
    return _record(
        "X009",
        long,
        "metropolitan",
        _officer(
            honorific="Professor Dame",
            given_name="Wilhelmina Alexandra Persephone",
            family_name="Fotheringhame-Cholmondeley-Featherstonehaugh",
            post="Interim Joint Chief Executive, Head of Paid Service and Town Clerk",
        ),
        counts=Counts(
            upheld=12_345, not_upheld=1, remedied_early=12_344, complied=9_999, not_complied=1
        ),
        remarks=tuple(
            f"Remark {number}: " + "a sentence that goes on for as long as sentences do. " * 4
            for number in range(1, 5)
        ),
    )
