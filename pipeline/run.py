"""The sentence: pull, compose, prepare, await approval, dispatch, record.

Calling `annual_run` again after any crash goes on where it stopped; that is the only recovery
procedure there is.
"""

import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Protocol

from pipeline import home, log, source, stationery
from pipeline.archive import Archive
from pipeline.database import Database
from pipeline.delivery import Mode
from pipeline.dispatch import Outbox, dispatch
from pipeline.errors import LettersError, Misconfigured, Refused, Unavailable
from pipeline.ledger import approvals, letters, phases, renewal, runs, starts, story
from pipeline.ledger.approvals import Standing
from pipeline.ledger.letters import Faulted, FrozenLetter, Prepared
from pipeline.ledger.phases import Phase
from pipeline.ledger.recording import Recording
from pipeline.ledger.renewal import Renewal
from pipeline.ledger.runs import Opening, Run
from pipeline.ledger.story import Summary
from pipeline.letter import Letter, compose, fields_of
from pipeline.prepare import Job
from pipeline.progress import Progress
from pipeline.stationery import Stationery


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """Everything a run leans on, wired by `pipeline.bootstrap`.

    `template` and `wording` are the configured ones; an edition's are what `template_of` says.
    """

    ledger: Database
    statistics: Database
    archive: Archive
    template: Path
    wording: Path
    outbox: Outbox
    people: int


_ENOUGH = 20  # letters that fail before anything has gone well, until it is no use to go on


class Engine(Protocol):
    """What turns the crank: prepares letters, on this machine or on others."""

    def each(self, job: Job, letters: Iterable[FrozenLetter]) -> Iterator[Prepared | Faulted]:
        """The result for each letter, in any order; may be given up half way."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How a run stands.

    `awaiting` is how many more people have to approve, `unapproved` how many letters wait for that,
    and `approved` how many that had to be may go while those wait.
    """

    run: Run
    summary: Summary
    awaiting: int
    unapproved: int = 0
    approved: int = 0

    @property
    def is_finished(self) -> bool:
        """Whether everything that could be made and sent has been, and nothing needs a person."""
        return not (
            self.summary.needs_a_person
            or self.summary.unfinished
            or self.awaiting
            or self.summary.unplanned
            or self.run.paused_at
        )


def annual_run(
    pipeline: Pipeline, engine: Engine, year: int, *, person: str, progress: Progress
) -> Result:
    """Take a year from its statistics to recorded deliveries, from wherever it stands."""
    run = prepared_run(pipeline, engine, year, person=person, progress=progress)
    return sent_run(pipeline, run, progress=progress)


def prepared_run(
    pipeline: Pipeline, engine: Engine, year: int, *, person: str, progress: Progress
) -> Run:
    """The year's run, opened if there is none, with every letter made that can be."""
    run = runs.find_run(pipeline.ledger, year) or open_run(
        pipeline, year, person=person, progress=progress
    )
    prepare(pipeline, engine, run, progress=progress)
    return run


def sent_run(pipeline: Pipeline, run: Run, *, progress: Progress) -> Result:
    """How the run stands after sending what may be sent: no letter that lacks approval."""
    approval = approval_of(pipeline, run)
    if not run.paused_at and (approval.approved or not approval.wanted):
        send(pipeline, run, progress=progress)
    return stands(pipeline, run)


def stands(pipeline: Pipeline, run: Run) -> Result:
    """How the run stands at this moment; it may have been paused while it was sent.

    Raises Refused if it was refreshed or cancelled meanwhile.
    """
    found = runs.find_run(pipeline.ledger, run.year)
    if found is None or found.id != run.id:
        raise Refused(
            f"The run of {run.year} was refreshed or cancelled by somebody else meanwhile, so what "
            f"was made or sent of it is not looked at any more: letters status {run.year}"
        )
    approval = approval_of(pipeline, run)
    return Result(
        run=found,
        summary=story.summary(pipeline.ledger, run, pipeline.outbox.mode),
        awaiting=approval.wanted,
        unapproved=approval.lacking,
        approved=approval.approved,
    )


def phase_of(pipeline: Pipeline, year: int, result: Result | None) -> Phase | None:
    """How far the year has come in the mode that is set; `result` is how its run stands, if any.

    None where nothing has been begun.
    """
    ledger = pipeline.ledger
    missed = starts.missed(ledger, year, pipeline.outbox.mode)
    if result is None:
        return phases.without_run(given_up=starts.given_up(ledger, year), missed=missed)
    return phases.of_run(
        result.summary,
        opened_at=result.run.opened_at,
        approved=pipeline.people > 0 and not result.awaiting,
        missed=missed,
    )


def refusal(pipeline: Pipeline) -> LettersError | None:
    """Why nothing may be sent with this ledger at all; a rehearsal on this machine always may."""
    outbox = pipeline.outbox
    if outbox.mark is None or outbox.mode is Mode.CAPTURE:
        return None
    try:
        home.refuse_elsewhere(pipeline.ledger, outbox.mark)
    except (Misconfigured, Unavailable) as error:
        return error
    return None


def open_run(pipeline: Pipeline, year: int, *, person: str, progress: Progress) -> Run:
    """Pull a year, compose its letters and freeze them, with the template, in one transaction.

    Whatever would make every letter wrong (no such edition, a template or a wording with a fault,
    a fact that the edition lacks) is raised before anything is written.
    """
    with _composed(pipeline, year, progress=progress) as (opening, composed):
        runs.open_run(pipeline.ledger, opening, composed, person=person, now=_now())
    run = runs.find_run(pipeline.ledger, year)
    assert run is not None  # noqa: S101 - this process or another has just opened it
    log.info("run.opened", run=run.id, year=run.year)
    if pipeline.outbox.mode is not Mode.CAPTURE and home.hold(pipeline.ledger, run, now=_now()):
        return runs.find_run(pipeline.ledger, year) or run  # paused now
    return run


def refresh(
    pipeline: Pipeline, run: Run, *, person: str, keep: bool, progress: Progress
) -> Renewal:
    """Pull the run's year again and take in what has changed; without `keep`, only look.

    Possible until somebody has approved the run or anything of it has been sent. Letters that do
    not change keep their files.
    """
    with _composed(pipeline, run.year, progress=progress) as (opening, composed):
        return renewal.renew(
            pipeline.ledger,
            run,
            opening,
            composed,
            person=person,
            now=_now(),
            keep=keep,
            sender=pipeline.outbox.sender.identity,
        )


@contextmanager
def _composed(
    pipeline: Pipeline, year: int, *, progress: Progress
) -> Iterator[tuple[Opening, Iterator[Letter]]]:
    """What a run of the year is opened with, and its letters as they are composed."""
    from pipeline import wording
    from pipeline.template import load_template

    ours = template_of(pipeline, year)
    words = wording.read_wording(ours.wording)
    with source.pull(pipeline.statistics, year) as pulled:
        fields = fields_of(pulled.edition)
        compiled = load_template(ours.template, fields=fields)
        wording.check(words, fields)
        pipeline.archive.put(template_name(compiled.sha256), compiled.data)

        def composed() -> Iterator[Letter]:
            for record in pulled.records:
                yield compose(record, pulled.edition, pulled.averages)
                progress.advance()

        opening = Opening(
            year=year,
            edition={**_plain(asdict(pulled.edition)), "averages": pulled.averages},
            template_sha256=compiled.sha256,
            wording=asdict(words),
        )
        progress.begin("Composing", pulled.count)
        try:
            yield opening, composed()
        finally:
            progress.end()


def prepare(pipeline: Pipeline, engine: Engine, run: Run, *, progress: Progress) -> None:
    """Make, prove and archive every letter that has no file yet."""
    total = letters.count_unprepared(pipeline.ledger, run.id)
    if not total:
        return
    job = Job(
        template=template_name(run.template_sha256),
        template_sha256=run.template_sha256,
        names=letters.names(pipeline.ledger, run.id),
        dated=run.opened_at,
    )
    progress.begin("Preparing", total)
    log.info("prepare.begun", run=run.id, year=run.year, letters=total)
    began, done = time.monotonic(), 0
    # A letter that cannot be made is that letter's fault; many, and none that can, is not.
    all_alike = not letters.any_prepared(pipeline.ledger, run.id)
    try:
        with Recording(pipeline.ledger, run.id) as recording:
            for done, result in enumerate(
                engine.each(job, letters.unprepared(pipeline.ledger, run.id)), start=1
            ):
                recording.add(result)
                progress.advance()
                all_alike = all_alike and isinstance(result, Faulted)
                if all_alike and done == _ENOUGH < total and isinstance(result, Faulted):
                    raise Unavailable(
                        f"The first {done} letters all failed, so the other {total - done:,} were "
                        f"not tried; the last one: {result.reason} Mend what they have in common, "
                        "and run this again."
                    )
    finally:
        progress.end()
        log.info(
            "prepare.ended",
            run=run.id,
            year=run.year,
            letters=done,
            seconds=time.monotonic() - began,
        )


def approvals_wanted(pipeline: Pipeline, run: Run) -> int:
    """How many more people have to approve before all of the run may be sent."""
    return approval_of(pipeline, run).wanted


def approvals_lacking(pipeline: Pipeline, run: Run, letter_id: int) -> int:
    """How many more people have to approve one letter as it stands before it may be sent."""
    sender = pipeline.outbox.sender.identity
    return approvals.lacking(pipeline.ledger, letter_id, run, pipeline.people, sender)


def approval_of(pipeline: Pipeline, run: Run) -> Standing:
    """Which letters of the run lack approval as they stand, of those that are still to be sent."""
    outbox = pipeline.outbox
    return approvals.standing(
        pipeline.ledger, run, pipeline.people, outbox.mode, outbox.sender.identity
    )


def refuse_elsewhere(pipeline: Pipeline) -> None:
    """Raise Misconfigured for a ledger that may be a copy or an old one, if mail would leave."""
    outbox = pipeline.outbox
    if outbox.mark is not None and outbox.mode is not Mode.CAPTURE:
        home.refuse_elsewhere(pipeline.ledger, outbox.mark)


def send(pipeline: Pipeline, run: Run, *, progress: Progress) -> None:
    """Send what is due of the run, and record what came of it."""
    total = story.to_send(pipeline.ledger, run, pipeline.outbox.mode)
    if total:
        _dispatch(pipeline, run, total, progress=progress)


def send_only(
    pipeline: Pipeline, run: Run, messages: Collection[int], *, progress: Progress
) -> None:
    """Send these messages and nothing else: a re-send must not set the rest of a run in motion."""
    total = story.deliveries_of(pipeline.ledger, messages)
    _dispatch(pipeline, run, total, only=messages, progress=progress)


def _dispatch(
    pipeline: Pipeline,
    run: Run,
    total: int,
    *,
    progress: Progress,
    only: Collection[int] | None = None,
) -> None:
    progress.begin("Sending", total)
    try:
        dispatch(
            pipeline.ledger,
            pipeline.archive,
            run,
            pipeline.outbox,
            people=pipeline.people,
            only=only,
            settled=progress.advance,
        )
    finally:
        progress.end()


def template_of(pipeline: Pipeline, year: int) -> Stationery:
    """Where the template and the wording of a year lie that a run would be opened with now.

    A run that is open has its own, which `template_name` names in the archive. Raises Misconfigured
    for a folder of the year's that is not whole.
    """
    return stationery.find(pipeline.template, year)


def template_name(sha256: str) -> str:
    """Where a run's own template lies within the archive."""
    return f"templates/letter.{sha256[:12]}.docx"


def _now() -> datetime:
    return datetime.now(UTC)


def _plain(value: Any) -> Any:
    """Dates as ISO text, so that an edition can be frozen as JSON."""
    match value:
        case datetime() | date():
            return value.isoformat()
        case dict():
            return {name: _plain(one) for name, one in value.items()}
        case list() | tuple():
            return [_plain(one) for one in value]
        case _:
            return value
