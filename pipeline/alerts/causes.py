"""What needs a person at this moment, worked out from the ledger and the editions' dates.

Nothing is written and nothing remembered, so that every process that looks at one ledger comes to
the same list. A cause has a key that stays the same for as long as it lasts, whatever its counts.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from pipeline import run, source
from pipeline.delivery import Mode, State
from pipeline.dispatch import CAPTURED
from pipeline.errors import LettersError
from pipeline.ledger import alerts, deliveries, relays, reports, runs, starts, story
from pipeline.ledger.alerts import Pressing
from pipeline.ledger.runs import Run
from pipeline.run import Pipeline
from pipeline.schema import Step

REMIND = timedelta(days=1)
"""How long before letters are sent somebody is told that approval lacks."""

_LATE = timedelta(minutes=15)  # what stops a start for less than this is mended by the next look
_HISTORY = timedelta(days=60)  # as late as a start may be caught up: before that, it is history
_UNTRIED = timedelta(days=1)  # a relay that nobody has tried for so long is not known to be away


class Kind(StrEnum):
    """What a person is needed for, the worst first."""

    MISSED = "missed_start"
    RELAY = "relay"
    LATE = "late_start"
    STATISTICS = "statistics"
    HELD = "held"
    APPROVAL = "approval"
    IN_DOUBT = "in_doubt"
    REFUSED = "refused"
    BOUNCES = "bounces"
    FAULTS = "faults"
    RETURNED = "returned_mail"


_FAILED: Mapping[str, tuple[State, ...]] = {
    Kind.IN_DOUBT: (State.IN_DOUBT,),
    Kind.REFUSED: (State.REJECTED, State.EXPIRED),
    Kind.BOUNCES: (State.BOUNCED,),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """One thing that needs a person.

    `of` is the step of a start, or the relay; `what` holds counts, dates and codes of authorities,
    and nothing about a person.
    """

    kind: Kind
    year: int | None = None
    of: str = ""
    what: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """What it is called for as long as it lasts: missed_start:2020:dispatch."""
        year = "" if self.year is None else str(self.year)
        return ":".join(part for part in (self.kind.value, year, self.of) if part)


def of_key(key: str, what: Mapping[str, Any]) -> Cause:
    """The cause that has this key."""
    name, _, rest = key.partition(":")
    kind = Kind(name)
    if kind is Kind.RELAY:
        return Cause(kind=kind, of=rest, what=what)
    year, _, step = rest.partition(":")
    return Cause(kind=kind, year=int(year) if year else None, of=step, what=what)


def severity(cause: Cause) -> tuple[int, int, str]:
    """Sorts causes, the worst first, and of one kind the newest year."""
    return list(Kind).index(cause.kind), -(cause.year or 0), cause.of


def causes(pipeline: Pipeline, now: datetime) -> list[Cause]:
    """Everything that needs a person at `now` in the mode that is set, the worst first.

    Only reads. Raises Unavailable or Misconfigured if the ledger cannot be read; statistics that
    cannot be are a cause themselves.
    """
    return sorted(_Look(pipeline=pipeline, now=now).found(), key=severity)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """One look at everything."""

    pipeline: Pipeline
    now: datetime

    @property
    def mode(self) -> Mode:
        return self.pipeline.outbox.mode

    def found(self) -> Iterator[Cause]:
        ledger = self.pipeline.ledger
        try:
            calendar = source.calendar(self.pipeline.statistics)
        except LettersError:
            yield Cause(kind=Kind.STATISTICS, what={"away": True})
            due, known = self._frozen(), False
        else:
            if calendar.faults:
                yield Cause(kind=Kind.STATISTICS, what={"faults": len(calendar.faults)})
            due, known = {}, True
            for one in calendar.editions:
                due[one.year, Step.PREPARE] = one.prepare_at
                due[one.year, Step.DISPATCH] = one.dispatch_at
        troubled = list(self._relays())
        yield from troubled
        yield from self._starts(due, known=known, relay_away=bool(troubled))
        for year, pressing in alerts.faults(ledger).items():
            yield Cause(kind=Kind.FAULTS, year=year, what=_counted(pressing))
        for (year, kind), pressing in alerts.troubled(ledger, self.mode, _FAILED).items():
            yield Cause(kind=Kind(kind), year=year, what=_counted(pressing))
        # A rehearsal on this machine leaves the mailbox as it is.
        waiting = 0 if self.mode is Mode.CAPTURE else sum(reports.count_waiting(ledger).values())
        if waiting:
            yield Cause(kind=Kind.RETURNED, what={"count": waiting})

    def _frozen(self) -> dict[tuple[int, Step], datetime]:
        """When open runs were to be sent as their letters were composed: all that is known now."""
        due = {}
        for year in runs.years(self.pipeline.ledger):
            found = runs.find_run(self.pipeline.ledger, year)
            at = None if found is None else found.edition.get("dispatch_at")
            if at:
                due[year, Step.DISPATCH] = datetime.fromisoformat(at)
        return due

    def _relays(self) -> Iterator[Cause]:
        for one in relays.all_in_trouble(self.pipeline.ledger):
            captured = one.relay == CAPTURED
            if captured is (self.mode is Mode.CAPTURE) and one.retry_at > self.now - _UNTRIED:
                yield Cause(kind=Kind.RELAY, of=one.relay, what={"since": _iso(one.since)})

    def _starts(
        self, due: Mapping[tuple[int, Step], datetime], *, known: bool, relay_away: bool
    ) -> Iterator[Cause]:
        """Starts that were missed, hang, or wait for somebody."""
        on_record = starts.on_record(self.pipeline.ledger, self.mode)
        for (year, step), record in on_record.items():
            at = due.get((year, step))
            stands = at == record.due_at or (at is None and not known)
            if record.missed_at is not None and stands and self._is_missed(record):
                what = {"due_at": _iso(record.due_at)}
                yield Cause(kind=Kind.MISSED, year=year, of=step.value, what=what)
        for (year, step), at in due.items():
            record_of = on_record.get((year, step))
            if record_of is not None and (
                record_of.done_at is not None
                or (record_of.missed_at is not None and record_of.due_at == at)
            ):
                continue
            sending_at = due.get((year, Step.DISPATCH))
            if step is Step.PREPARE and sending_at is not None and sending_at <= self.now:
                continue  # what is lacking is sending, which makes what is not made
            if self.now >= at - (REMIND if step is Step.DISPATCH else timedelta()):
                yield from self._open(year, step, at, record_of, relay_away=relay_away)

    def _is_missed(self, record: starts.Start) -> bool:
        """Whether a start that was missed has not been made up for, nor its year given up."""
        assert record.missed_at is not None  # noqa: S101 - asked by the caller
        if record.missed_at - record.due_at > _HISTORY:
            return False
        ledger = self.pipeline.ledger
        found = runs.find_run(ledger, record.year)
        if found is None:
            return not starts.given_up(ledger, record.year)
        return not starts.is_finished(ledger, found, record.step, self.mode)

    def _open(
        self,
        year: int,
        step: Step,
        at: datetime,
        record: starts.Start | None,
        *,
        relay_away: bool,
    ) -> Iterator[Cause]:
        """What stands in the way of a start that is due, or sending that soon will be."""
        ledger = self.pipeline.ledger
        found = runs.find_run(ledger, year)
        begun = record is not None and record.begun_at is not None
        if found is None and (
            starts.given_up(ledger, year) or (not begun and self.now > at + _HISTORY)
        ):
            return
        due = at <= self.now
        until = None if record is None else record.lease_until
        if due and until is not None and until > self.now:
            return  # somebody is at it
        what = {"due_at": _iso(at)}
        if step is Step.DISPATCH:
            waits = list(self._waits(year, found, what, due=due))
            # Looked at last, as it counts all the year's deliveries.
            if waits and found and starts.is_finished(ledger, found, step, self.mode):
                return
            yield from waits
            if waits or relay_away:
                return
        if self.now >= at + _LATE and (found is None or self._hangs(found, step)):
            yield Cause(kind=Kind.LATE, year=year, of=step.value, what=what)

    def _waits(
        self, year: int, found: Run | None, what: Mapping[str, Any], *, due: bool
    ) -> Iterator[Cause]:
        """Whose word is lacking before letters are sent."""
        people = self.pipeline.people
        wanted = people if found is None else run.approvals_wanted(self.pipeline, found)
        if wanted:
            more = {"wanted": wanted, "made": found is not None}
            yield Cause(kind=Kind.APPROVAL, year=year, what={**what, **more})
        if due and found is not None and (because := self._held(found)):
            yield Cause(kind=Kind.HELD, year=year, what={**what, "because": because})

    def _held(self, found: Run) -> str | None:
        """Why a person's word keeps a run from being sent, if it does."""
        if found.paused_at is not None:
            return "paused"
        waits = starts.awaits_word(self.pipeline.ledger, found, self.mode)
        return "awaits_word" if waits else None

    def _hangs(self, found: Run, step: Step) -> bool:
        """Whether something could be made or sent that nobody makes or sends."""
        ledger, outbox = self.pipeline.ledger, self.pipeline.outbox
        summary = story.summary(ledger, found, self.mode)
        if summary.letters["unprepared"]:
            return True
        if step is Step.PREPARE:
            return False
        if summary.unplanned:
            return True
        next_due = deliveries.next_due(ledger, found.id, self.mode, only_to=outbox.only_to)
        return next_due is not None and self.now >= next_due + _LATE


def _counted(pressing: Pressing) -> dict[str, Any]:
    codes = list(pressing.authorities)
    return {"count": pressing.count, "authorities": codes, "more": pressing.more}


def _iso(at: datetime) -> str:
    return at.isoformat(timespec="seconds")
