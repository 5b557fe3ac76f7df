"""The schedule: starts what is due by itself, and finishes what was begun.

APScheduler only ticks. What is due is said by the editions' own dates, and whether it was done by
the ledger; so a tick may come early, late, twice or on two machines at once, and a clock may jump:
each year is made once and sent once.
"""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from types import TracebackType
from typing import Self

from pipeline import alerts, evidence, log, owner, run, source
from pipeline.alerts import REMIND, Telling, Update
from pipeline.delivery import LEASED, Mode, State
from pipeline.errors import LettersError, Misconfigured, Unavailable
from pipeline.evidence import Reading, Sources
from pipeline.ledger import deliveries, letters, reports, runs, starts
from pipeline.ledger.runs import Run
from pipeline.ledger.starts import Hold
from pipeline.progress import Progress
from pipeline.run import Engine, Pipeline, Result
from pipeline.schema import Step
from pipeline.source import LONDON, Dates

PERSON = "schedule"
"""Who opened a run that nobody opened by hand."""

_LEASE = timedelta(minutes=3)
_BEAT_S = 30.0  # several within a lease, so that one that fails costs nothing


class Standing(StrEnum):
    """How a start stands: an edition's letters to be made, or to be sent.

    `waiting` until it is due; `open` when it is due and not finished; `elsewhere` while another
    process does it; `cancelled` where a person gave the year's run up.
    """

    WAITING = "waiting"
    OPEN = "open"
    ELSEWHERE = "elsewhere"
    DONE = "done"
    MISSED = "missed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """One start as a tick left it.

    `news`: this tick has changed or found something that was not so before. `result` is how the
    year's run stands, where the tick looked at it, and `next_try` when a delivery that was put off
    is tried again. `awaits_word`: the year was given up and opened anew, and nobody has said yet
    that it may go; `kept_back` is how many deliveries wait as mail may not go to their domains.
    """

    year: int
    step: Step
    due_at: datetime
    standing: Standing
    news: bool = False
    result: Result | None = None
    next_try: datetime | None = None
    awaits_word: bool = False
    kept_back: int = 0

    @property
    def needs_a_person(self) -> bool:
        """Whether it goes no further without somebody, or something in it has gone wrong."""
        if self.standing is Standing.MISSED:
            return True
        if self.result is None or self.standing not in {Standing.OPEN, Standing.DONE}:
            return False
        summary = self.result.summary
        if self.step is Step.PREPARE:
            return bool(summary.letters["fault"]) or not sum(summary.letters.values())
        return bool(
            summary.needs_a_person
            or not sum(summary.letters.values())
            or (
                self.standing is Standing.OPEN
                and (self.result.awaiting or self.result.run.paused_at or self.awaits_word)
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """What stopped a tick from looking at an edition, or a start from going on."""

    error: LettersError
    year: int | None = None
    step: Step | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """What a tick found and did: every edition's starts, in order, and what went wrong."""

    at: datetime
    mode: Mode
    starts: Sequence[Start]
    troubles: Sequence[Trouble]
    evidence: Reading | None = None
    alerts: Update | None = None

    @property
    def upcoming(self) -> Start | None:
        """What will be due next, or None if no edition has a date to come."""
        waiting = [one for one in self.starts if one.standing is Standing.WAITING]
        return min(waiting, key=lambda one: one.due_at, default=None)

    @property
    def exit_code(self) -> int:
        """0 if nothing that is news needs a person, else 1; 69 and 78 as of any command."""
        codes = {trouble.error.exit_code for trouble in self.troubles}
        for code in (Unavailable.exit_code, Misconfigured.exit_code):
            if code in codes:
                return code
        return 1 if codes or self.needs_a_person else 0

    @property
    def needs_a_person(self) -> bool:
        """Whether there is news of something that does not go on without somebody."""
        came_back = self.evidence is not None and (
            self.evidence.bounced or self.evidence.for_a_person
        )
        raised = self.alerts is not None and self.alerts.raised
        return bool(
            came_back or raised or any(one.news and one.needs_a_person for one in self.starts)
        )


@dataclass(slots=True, kw_only=True)
class Returns:
    """What came back, read at the first tick and then every so many seconds.

    `troubles` are what kept the last reading from its end: they last until another goes well.
    """

    sources: Sources
    every: float = 0.0
    troubles: Sequence[LettersError] = ()
    _due: float = 0.0

    def read(self, pipeline: Pipeline, progress: Progress) -> Reading | None:
        """What came of reading, if it was time to."""
        began = time.monotonic()
        if not self.sources or began < self._due:
            return None
        self._due = began + self.every
        found = evidence.read(pipeline.ledger, pipeline.archive, self.sources, progress=progress)
        self.troubles = found.troubles
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Year:
    """What the schedule will do for one edition, and how each of its starts stands by the record.

    `remind_at` is when somebody is told that approval lacks; None where nobody has to approve.
    """

    year: int
    prepare_at: datetime
    remind_at: datetime | None
    dispatch_at: datetime
    prepared: Standing
    dispatched: Standing


def plan(pipeline: Pipeline, now: datetime, *, catch_up_days: int) -> list[Year]:
    """The editions that the schedule still has something to do for, in the order of the years.

    Raises Unavailable or Misconfigured if the ledger or the statistics cannot be looked at.
    """
    on_record = starts.on_record(pipeline.ledger, pipeline.outbox.mode)

    def stands(year: int, step: Step, due_at: datetime) -> Standing:
        record = on_record.get((year, step))
        if record is not None and record.done_at is not None:
            return Standing.DONE
        begun = record is not None and record.begun_at is not None
        if record is not None and record.missed_at is not None and record.due_at == due_at:
            return Standing.MISSED
        if not begun and _days_late(due_at, now) > catch_up_days:
            return Standing.MISSED  # as the first tick will find
        return Standing.WAITING if now < due_at else Standing.OPEN

    years = [
        Year(
            year=one.year,
            prepare_at=one.prepare_at,
            remind_at=one.dispatch_at - REMIND if pipeline.people else None,
            dispatch_at=one.dispatch_at,
            prepared=stands(one.year, Step.PREPARE, one.prepare_at),
            dispatched=stands(one.year, Step.DISPATCH, one.dispatch_at),
        )
        for one in source.calendar(pipeline.statistics).editions
    ]
    return [one for one in years if one.dispatched in {Standing.WAITING, Standing.OPEN}]


def tick(
    pipeline: Pipeline,
    engine: Engine,
    now: datetime,
    *,
    catch_up_days: int,
    progress: Progress,
    returns: Returns | None = None,
    telling: Telling = Telling(),  # noqa: B008 - it is frozen
) -> Tick:
    """Look once at every edition, begin what is due at `now`, and go on with what was begun.

    First what came back is read, where `returns` says from where, so that a doubt that is settled
    does not wait for the next tick, and what dead workers held is taken back. Last of all, who is
    to be told is told of what needs a person by then, and of what does not any more.
    Returns when that is done, which may take as long as making and sending a year's letters. What
    goes wrong with one start is among the `troubles`, and the others go on. Raises Unavailable or
    Misconfigured if the ledger or the statistics cannot be looked at at all.
    """
    if (refusal := run.refusal(pipeline)) is not None:
        # Of a ledger that may be yesterday's, nothing is believed: not even what was missed.
        return Tick(
            at=now, mode=pipeline.outbox.mode, starts=(), troubles=(Trouble(error=refusal),)
        )
    came_back = returns.read(pipeline, progress) if returns is not None else None
    _sweep(pipeline)
    try:
        calendar = source.calendar(pipeline.statistics)
    except LettersError:
        with suppress(LettersError):  # what stops the tick is the news
            alerts.update(pipeline, telling, now)
        raise
    mode = pipeline.outbox.mode
    looking = _Tick(
        pipeline=pipeline,
        engine=engine,
        progress=progress,
        now=now,
        catch_up_days=catch_up_days,
        on_record=starts.on_record(pipeline.ledger, mode),
        began=time.monotonic(),
    )
    found: list[Start] = []
    troubles = [Trouble(error=Misconfigured(fault)) for fault in calendar.faults]
    troubles += [Trouble(error=error) for error in (returns.troubles if returns else ())]
    for dates in calendar.editions:
        try:
            for start in looking.edition(dates):
                found.append(start)  # noqa: PERF402 - what came before a trouble is kept
        except _Stopped as stopped:
            found.append(stopped.start)
            troubles.append(stopped.trouble)
    changed = None
    try:
        changed = alerts.update(pipeline, telling, looking.clock())
    except LettersError as error:
        troubles.append(Trouble(error=error))
    done = Tick(
        at=now, mode=mode, starts=found, troubles=troubles, evidence=came_back, alerts=changed
    )
    _log(done, seconds=time.monotonic() - looking.began)
    return done


def _sweep(pipeline: Pipeline) -> None:
    """Take back what workers held that are gone, or whose lease is over.

    Sending does so too; but a re-send, or a run that nobody goes on with, has no sending to come.
    """
    # Leases are reckoned by the clock itself, whatever moment the tick is told.
    for run_id in {run_id for run_id, _ in reports.runs_with(pipeline.ledger, LEASED)}:
        taken = deliveries.recover(
            pipeline.ledger, run_id, gone=owner.is_gone, now=datetime.now(UTC)
        )
        if taken:
            log.warning("dispatch.recovered", run=run_id, deliveries=taken)


def _log(done: Tick, *, seconds: float) -> None:
    for one in done.starts:
        if one.news:
            tell = log.warning if one.needs_a_person else log.info
            tell(
                "start.changed",
                year=one.year,
                step=one.step,
                mode=done.mode,
                standing=one.standing,
                due_at=one.due_at,
            )
    for trouble in done.troubles:
        log.error(
            "start.stopped",
            year=trouble.year,
            step=trouble.step,
            error=type(trouble.error).__name__,
        )
    log.debug("tick.done", starts=len(done.starts), troubles=len(done.troubles), seconds=seconds)


class _Stopped(Exception):
    """A start could not go on."""

    def __init__(self, start: Start, error: LettersError) -> None:
        super().__init__(str(error))
        self.start = start
        self.trouble = Trouble(error=error, year=start.year, step=start.step)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tick:
    """One look at all that is due. `began` is the monotonic clock's reading at `now`."""

    pipeline: Pipeline
    engine: Engine
    progress: Progress
    now: datetime
    catch_up_days: int
    on_record: Mapping[tuple[int, Step], starts.Start]
    began: float

    def edition(self, dates: Dates) -> Iterator[Start]:
        """Both starts of an edition; sending waits while another process makes the letters."""
        due = {Step.PREPARE: dates.prepare_at, Step.DISPATCH: dates.dispatch_at}
        for step, due_at in due.items():
            waiting = Start(year=dates.year, step=step, due_at=due_at, standing=Standing.WAITING)
            try:
                found = self._start(waiting)
            except LettersError as error:
                raise _Stopped(replace(waiting, standing=Standing.OPEN), error) from error
            except BrokenPipeError:
                raise  # whoever was reading has gone, which no start can help
            except OSError as error:
                where = f" {error.filename}" if error.filename else ""
                refused = Unavailable(
                    f"The operating system refused{where}: {error.strerror or error}. "
                    "Everything done so far is kept; make room or mend what it names."
                )
                raise _Stopped(replace(waiting, standing=Standing.OPEN), refused) from error
            yield found
            if found.standing is Standing.ELSEWHERE:
                return

    def _start(self, start: Start) -> Start:
        """One start: found as it stands, or taken as far as it goes."""
        record = self.on_record.get((start.year, start.step))
        if record is not None and record.done_at is not None:
            return self._done(start)
        return start if self.now < start.due_at else self._due(start, record)

    def _done(self, start: Start) -> Start:
        """A start that was brought to its end; what a person has released since goes all the same.

        A run that was opened after the start was due is its opener's to send.
        """
        ledger, mode = self.pipeline.ledger, self.pipeline.outbox.mode
        start = replace(start, standing=Standing.DONE)
        found = runs.find_run(ledger, start.year)
        if found is None or start.step is Step.PREPARE or found.opened_at > start.due_at:
            return start
        due = self._next_due(found)
        late = due is not None and due <= datetime.now(UTC)
        if found.paused_at or not (late or letters.any_unplanned(ledger, found.id, mode)):
            return start
        before = self._open(start, found)
        result = run.sent_run(self.pipeline, found, progress=self.progress)
        after = self._open(start, result.run)
        return replace(after, standing=Standing.DONE, news=after != before)

    def _due(self, start: Start, record: starts.Start | None) -> Start:
        ledger, mode = self.pipeline.ledger, self.pipeline.outbox.mode
        found = runs.find_run(ledger, start.year)
        if found is not None and starts.is_finished(ledger, found, start.step, mode):
            return self._finished(start, found, record)
        if record is not None and record.missed_at is not None and record.due_at == start.due_at:
            return replace(start, standing=Standing.MISSED)
        if found is None and starts.given_up(ledger, start.year):
            return self._left_alone(start, record)
        begun = record is not None and record.begun_at is not None
        if not begun and _days_late(start.due_at, self.now) > self.catch_up_days:
            missed = starts.miss(
                ledger, start.year, start.step, mode, due_at=start.due_at, now=self.now
            )
            return replace(start, standing=Standing.MISSED, news=missed)
        before = self._open(start, found) if found is not None else None
        if begun and before is not None and not self._something_to_do(before):
            return before
        return self._worked(start, before)

    def _finished(self, start: Start, found: Run, record: starts.Start | None) -> Start:
        """Nothing is left to do: written down, and said only if the schedule had begun it.

        Then a server was stopped before it could say so, or a person has brought it to its end.
        """
        hold = self._take(start, begins=False)
        if hold is None:
            return replace(start, standing=Standing.ELSEWHERE)
        starts.done(self.pipeline.ledger, hold, run_id=found.id, now=self.clock())
        if record is None or record.begun_at is None:
            return replace(start, standing=Standing.DONE)
        return replace(self._open(start, found), standing=Standing.DONE, news=True)

    def _left_alone(self, start: Start, record: starts.Start | None) -> Start:
        """What a person has cancelled is never opened again, only said once."""
        start = replace(start, standing=Standing.CANCELLED)
        if record is not None and record.begun_at is None:
            return start
        hold = self._take(start, begins=False)
        if hold is None:
            return start
        starts.forget(self.pipeline.ledger, hold)
        return replace(start, news=hold.new or not hold.first)

    def _worked(self, start: Start, before: Start | None) -> Start:
        hold = self._take(start, begins=True)
        if hold is None:
            return replace(start, standing=Standing.ELSEWHERE)
        log.info(
            "start.begun",
            year=start.year,
            step=start.step,
            mode=hold.mode,
            due_at=start.due_at,
            again=not hold.first,
        )
        with self._held(hold):
            whole = hold.first or before is None or _unmade(before) > 0
            if start.step is Step.PREPARE or (before is not None and before.awaits_word):
                result = self._made(start.year)
            else:
                result = self._sent(start.year, before, whole=whole)
            after = self._open(start, result.run)
            if self._is_over(after):
                starts.done(self.pipeline.ledger, hold, run_id=result.run.id, now=self.clock())
                return replace(after, standing=Standing.DONE, news=True)
        same = before is not None and before == after
        return replace(after, news=hold.first or not same)

    def _made(self, year: int) -> Result:
        made = run.prepared_run(
            self.pipeline, self.engine, year, person=PERSON, progress=self.progress
        )
        return run.stands(self.pipeline, made)

    def _sent(self, year: int, before: Start | None, *, whole: bool) -> Result:
        """Send; but letters that could not be made are not tried again at every look."""
        if whole or before is None or before.result is None:
            return run.annual_run(
                self.pipeline, self.engine, year, person=PERSON, progress=self.progress
            )
        return run.sent_run(self.pipeline, before.result.run, progress=self.progress)

    def _open(self, start: Start, found: Run) -> Start:
        result = run.stands(self.pipeline, found)
        opened = replace(start, standing=Standing.OPEN, result=result)
        if start.step is Step.PREPARE:
            return opened
        ledger, outbox = self.pipeline.ledger, self.pipeline.outbox
        return replace(
            opened,
            next_try=self._next_due(result.run),
            awaits_word=starts.awaits_word(ledger, result.run, outbox.mode),
            kept_back=deliveries.kept_back(ledger, result.run.id, outbox.mode, outbox.only_to),
        )

    def _next_due(self, found: Run) -> datetime | None:
        """When something may be sent; what mail may not go to at present is not waited for."""
        outbox = self.pipeline.outbox
        return deliveries.next_due(
            self.pipeline.ledger, found.id, outbox.mode, only_to=outbox.only_to
        )

    def _something_to_do(self, start: Start) -> bool:
        """Whether there is work at this moment that is not waiting for anybody."""
        assert start.result is not None  # noqa: S101 - it is open
        if _unmade(start):
            return True
        result = start.result
        # Some may go while others wait for approval.
        lacks = result.awaiting and not result.approved
        if start.step is Step.PREPARE or lacks or result.run.paused_at or start.awaits_word:
            return self._is_over(start)
        # A delivery in hand or in doubt may be a dead process's, which sending takes back.
        queued = start.result.summary.deliveries[State.QUEUED.value]
        in_hand = starts.unsettled(start.result.summary, self.pipeline.outbox.mode) - queued
        # Deliveries are put off by the clock itself, whatever moment the tick is told.
        due = start.next_try is not None and start.next_try <= datetime.now(UTC)
        unplanned = result.approved if result.awaiting else result.summary.unplanned
        return bool(in_hand or due or unplanned or self._is_over(start))

    def _is_over(self, start: Start) -> bool:
        assert start.result is not None  # noqa: S101 - it is open
        if start.step is Step.PREPARE:
            return not _unmade(start)
        mode = self.pipeline.outbox.mode
        if starts.unsettled(start.result.summary, mode) or start.result.summary.unplanned:
            return False
        # Where there was nothing to send at all, nobody may have said yet that this is right.
        waits = start.result.awaiting or start.result.run.paused_at or start.awaits_word
        return bool(sum(start.result.summary.deliveries.values()) or not waits)

    def _take(self, start: Start, *, begins: bool) -> Hold | None:
        return starts.take(
            self.pipeline.ledger,
            start.year,
            start.step,
            self.pipeline.outbox.mode,
            due_at=start.due_at,
            owner=owner.identity(),
            lease=_LEASE,
            gone=owner.is_gone,
            now=self.clock(),
            begins=begins,
        )

    @contextmanager
    def _held(self, hold: Hold) -> Iterator[None]:
        """Keep a start while the work goes on, and let it go afterwards, however that ends."""
        over = threading.Event()

        def beat() -> None:
            while not over.wait(_BEAT_S):
                try:
                    starts.renew(self.pipeline.ledger, hold, lease=_LEASE, now=self.clock())
                except LettersError:
                    continue  # the work meets the same error, and says so

        keeping = threading.Thread(target=beat, name="keep the start", daemon=True)
        keeping.start()
        try:
            yield
        finally:
            over.set()
            keeping.join()
            # If the ledger is gone, the lease ends by itself; what stopped the work is the news.
            with suppress(LettersError):
                starts.release(self.pipeline.ledger, hold)

    def clock(self) -> datetime:
        """Now, by the tick's own time: a clock that is set meanwhile changes no lease."""
        return self.now + timedelta(seconds=time.monotonic() - self.began)


def _days_late(due_at: datetime, now: datetime) -> int:
    """Days between the two in the calendar on a London wall, where people count them."""
    return (now.astimezone(LONDON).date() - due_at.astimezone(LONDON).date()).days


def _unmade(start: Start) -> int:
    """Letters with neither file nor fault."""
    return 0 if start.result is None else start.result.summary.letters["unprepared"]


class Ticking:
    """Ticks every so many seconds, the first time at once.

    APScheduler only wakes whoever waits, so nothing that goes wrong in the work can disturb it,
    and ticks that come while the work goes on are one tick. It counts by the wall clock, and after
    that was set back it would be silent until the old time is reached again; so who waits watches
    the monotonic clock, and sets it going again when two ticks have not come.
    """

    def __init__(self, every: float) -> None:
        """Tick each `every` seconds while the context is open."""
        from apscheduler.executors.pool import ThreadPoolExecutor  # type: ignore[import-untyped]
        from apscheduler.schedulers.background import (  # type: ignore[import-untyped]
            BackgroundScheduler,
        )

        self.every = every
        self._due = threading.Event()
        self._scheduler = BackgroundScheduler(
            timezone=UTC, executors={"default": ThreadPoolExecutor(1)}
        )

    def __enter__(self) -> Self:
        self._scheduler.add_job(
            self._due.set,
            "interval",
            seconds=self.every,
            id="tick",
            next_run_time=datetime.now(UTC),
            coalesce=True,
            max_instances=1,
            misfire_grace_time=None,
        )
        self._scheduler.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._scheduler.shutdown(wait=False)

    def wait(self) -> bool:
        """Until the next tick is due; False if it had to be set going again."""
        came = self._due.wait(2 * self.every)
        if not came:
            self._scheduler.reschedule_job("tick", trigger="interval", seconds=self.every)
        self._due.clear()
        return came
