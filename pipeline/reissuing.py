"""Re-issues: what a correction changes in one letter and moves in others, and the new revision.

Never by itself, and never of the others: an average that moves is told, and a person decides.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from itertools import islice
from typing import Any

from pipeline import source
from pipeline.errors import Refused, Unavailable
from pipeline.ledger import letters, reissues, renewal
from pipeline.ledger.letters import Faulted, Prepared
from pipeline.ledger.renewal import Difference
from pipeline.ledger.runs import Run
from pipeline.letter import Letter, compose
from pipeline.prepare import Job
from pipeline.progress import Progress
from pipeline.run import Engine, Pipeline, template_name
from pipeline.schema import Stage

_CHUNK = 200
_NAMED = 50  # authorities with corrections of their own that are named


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """Another letter whose printed average of one measure would be another one now, in per cent."""

    authority: str
    name: str
    measure: str
    before: int | None
    after: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """What re-issuing one letter would do.

    `letter` is the new one, `differences` what it says unlike the newest on record. `moved` are
    other letters' averages. `also` are authorities, by code and name, whose own letter would be
    another one too, apart from averages; `more` counts those that are not named.
    """

    old: Any
    letter: Letter
    dated: date
    differences: Sequence[Difference]
    moved: Sequence[Moved]
    also: Sequence[tuple[str, str]]
    more: int


def look(pipeline: Pipeline, run: Run, old: Any, *, dated: date, progress: Progress) -> Correction:
    """What the statistics as they are now make of a letter (its row), dated anew.

    One that could not be composed because of its data is replaced, too: that is its way out once
    others have been approved or sent. Raises Refused where it has only not been made yet, cannot be
    replaced as it stands, is no longer in
    the statistics, or would say what it says already; and with its fault if it cannot be composed.
    """
    if old.pdf is None and old.faulted_in != Stage.COMPOSE.value:
        raise Refused(
            f"The letter to {old.authority_name} has not been made, so there is nothing to "
            f"replace: letters refresh {run.year} takes corrections in."
        )
    reissues.refuse_unsettled(pipeline.ledger, run, old)
    letter, moved, also, more = _composed_anew(pipeline, run, old, dated=dated, progress=progress)
    if old.pdf is None:  # its data had a fault, and there is nothing to compare but that
        differences = [Difference(what="fault", before=old.fault, after=None)]
    else:
        differences = renewal.between(old, letter)
    if reissues.other_cases(pipeline.ledger, old, letter):
        differences.append(Difference(what="enclosures", before="other cases", after="these cases"))
    if not differences:
        raise Refused(
            f"Nothing has changed: the letter to {old.authority_name} says what the statistics say "
            "now. Import the correction first (letters import), or, to send the same letter once "
            f"more: letters resend {old.authority_code} --year {run.year}"
        )
    told = ""
    if old.pdf is not None:
        told = f"This replaces our letter of {old.fields.get('letter_date', run.year)}."
    return Correction(
        old=old,
        letter=replace(letter, fields={**letter.fields, "replaces": told}),
        dated=dated,
        differences=differences,
        moved=moved,
        also=also,
        more=more,
    )


def _composed_anew(
    pipeline: Pipeline, run: Run, old: Any, *, dated: date, progress: Progress
) -> tuple[Letter, list[Moved], list[tuple[str, str]], int]:
    """The letter as it would be now, and what of the others: as `Correction` has it."""
    letter: Letter | None = None
    moved: list[Moved] = []
    also: list[tuple[str, str]] = []
    more = 0
    with source.pull(pipeline.statistics, run.year, dated=dated) as pulled:
        progress.begin("Composing", pulled.count)
        try:
            records = iter(pulled.records)
            while some := list(islice(records, _CHUNK)):
                now = [compose(one, pulled.edition, pulled.averages) for one in some]
                known = reissues.figures(pipeline.ledger, run, [one.authority_code for one in now])
                for one in now:
                    progress.advance()
                    if one.authority_code == old.authority_code:
                        letter = one
                        continue
                    before = known.get(one.authority_code)
                    if before is None:
                        continue
                    moved += _moved(before, one)
                    if _has_own(before, one):
                        if len(also) < _NAMED:
                            also.append((one.authority_code, one.authority_name))
                        else:
                            more += 1
        finally:
            progress.end()
    return _sound(letter, old, run), moved, also, more


def _sound(letter: Letter | None, old: Any, run: Run) -> Letter:
    """The letter composed anew. Raises Refused where there is none, or it has a fault."""
    if letter is None:
        raise Refused(
            f"{old.authority_name} ({old.authority_code}) gets no letter of {run.year} from the "
            "statistics as they are now: it is not on the register, or was not active in the "
            "period. Correct the authorities table first."
        )
    if letter.fault is not None:
        raise Refused(f"The letter cannot be composed anew: {letter.fault}")
    return letter


def reissue(
    pipeline: Pipeline,
    engine: Engine,
    run: Run,
    correction: Correction,
    *,
    because: str,
    person: str,
    now: datetime,
) -> Prepared | Faulted:
    """Put the new revision on record and make its file; the old letter stays as it was sent."""
    frozen = reissues.make(
        pipeline.ledger,
        run,
        correction.old,
        correction.letter,
        because=because,
        changed=[one.what for one in correction.differences],
        moved=len(correction.moved),
        person=person,
        now=now,
    )
    job = Job(
        template=template_name(run.template_sha256),
        template_sha256=run.template_sha256,
        names=letters.names(pipeline.ledger, run.id),
        dated=run.opened_at,
    )
    for result in engine.each(job, iter([frozen])):
        letters.record(pipeline.ledger, run.id, result, now=now)
        return result
    raise Unavailable(
        f"The letter to {frozen.authority_name} was not made. It is on record; to make it: "
        f"letters prepare {run.year}"
    )


def _moved(before: Any, now: Letter) -> Iterator[Moved]:
    for measure, figure in now.figures.items():
        old = before.figures.get(measure, {}).get("average")
        if figure["whole"] and old != figure["average"]:
            yield Moved(
                authority=now.authority_code,
                name=now.authority_name,
                measure=measure,
                before=old,
                after=figure["average"],
            )


def _has_own(before: Any, now: Letter) -> bool:
    """Whether a letter's own counts are others now; its officers may have changed for good."""
    return any(
        before.figures.get(measure, {}).get(name) != figure[name]
        for measure, figure in now.figures.items()
        for name in ("part", "whole")
    )
