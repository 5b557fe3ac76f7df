"""What can silently not happen, looked for on the whole record: the ledger against itself.

A run says what goes wrong while it is at work. What nobody is at work on says nothing: a delivery
that a crash left half way, a letter that was never planned, a doubt that nobody has settled. Here
all of it is looked at. Nothing is changed or put right.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from pipeline import audit, run
from pipeline.delivery import Mode, State
from pipeline.ledger import gaps, runs
from pipeline.ledger.gaps import Gap
from pipeline.ledger.runs import Run
from pipeline.progress import Progress
from pipeline.run import Pipeline
from pipeline.schema import Step
from pipeline.source import LONDON

STUCK = timedelta(hours=1)
"""After which what takes minutes is taken to be left: planning a run, renewing a lease."""
LATE = timedelta(days=1)
"""After which what goes on by itself, or is a person's, is taken to be forgotten."""
HEARD = timedelta(days=7)
"""After which a relay's report would have come, if one comes at all."""


class Weight(StrEnum):
    """How bad a finding is; the worst first."""

    FAULT = "fault"
    """The record contradicts itself, or something that was frozen is lost."""
    WARNING = "warning"
    """Something has stopped, and goes on only if somebody sees to it."""
    NOTE = "note"
    """Worth knowing; nothing is wrong."""


class Matter(StrEnum):
    """What a finding is about; the worst first."""

    STATE = "state"
    ATTEMPT = "attempt"
    FROZEN = "frozen"
    PREPARED = "prepared"
    PLAN = "plan"
    FILE = "file"
    STRANGER = "stranger"
    ABANDONED = "abandoned"
    DOUBT = "doubt"
    UNSENT = "unsent"
    OVERDUE = "overdue"
    RELAY = "relay"
    START = "start"
    LATE_ANSWER = "late_answer"
    SILENCE = "silence"


_WEIGHTS = {
    Matter.ABANDONED: Weight.WARNING,
    Matter.DOUBT: Weight.WARNING,
    Matter.UNSENT: Weight.WARNING,
    Matter.OVERDUE: Weight.WARNING,
    Matter.RELAY: Weight.WARNING,
    Matter.START: Weight.WARNING,
    Matter.LATE_ANSWER: Weight.NOTE,
    Matter.SILENCE: Weight.NOTE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is not as it should be, in whole sentences.

    `thing` says what it is, `place` where it lies, `found` what is wrong with it and `fix` what to
    do. `authority` is a code.
    """

    matter: Matter
    thing: str
    place: str
    found: str
    fix: str
    year: int | None = None
    authority: str | None = None

    @property
    def weight(self) -> Weight:
        """How bad it is."""
        return _WEIGHTS.get(self.matter, Weight.FAULT)


def reconcile(
    pipeline: Pipeline,
    year: int | None,
    *,
    now: datetime,
    progress: Progress,
    read_files: bool = True,
) -> Iterator[Finding]:
    """Look at the whole ledger, or at one year of it; worst first, streamed.

    Without `read_files` the archive is left out, which is what takes long. Raises Unavailable if
    the ledger or the archive cannot be looked at at all.
    """
    looking = _Looking(pipeline=pipeline, year=year, now=now)
    progress.begin("Reconciling", gaps.count_deliveries(pipeline.ledger, year))
    try:
        for gap in gaps.states(pipeline.ledger, year):
            progress.advance()
            if gap is not None:
                yield looking.state(gap)
    finally:
        progress.end()
    yield from looking.contradictions()
    if read_files:
        yield from looking.files(progress)
    yield from looking.forgotten()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Looking:
    pipeline: Pipeline
    year: int | None
    now: datetime

    def contradictions(self) -> Iterator[Finding]:
        """What the record says twice, and not the same."""
        ledger, year = self.pipeline.ledger, self.year
        for gap in gaps.attempts(ledger, year):
            yield self._attempt(gap)
        for gap in gaps.frozen(ledger, year):
            yield self._frozen(gap)
        for gap in gaps.prepared(ledger, year):
            lost = gap.said is None
            yield self._finding(
                Matter.PREPARED,
                gap,
                f"It was made, and {'no file' if lost else 'another file than that'} is on record.",
                f"Restore a backup of the ledger; the file that was made has the SHA-256 "
                f"{gap.found}.",
            )
        for gap in gaps.plans(ledger, year):
            yield self._finding(
                Matter.PLAN,
                gap,
                f"It was planned for {_people(gap.said)}, and has {_counted(gap.found)}.",
                f"Do not send before this is clear; restore a backup of the ledger, or ask: "
                f"{_show(gap)}",
            )
        for gap in gaps.openings(ledger, year):
            planned = "an unknown number of" if gap.said is None else f"{int(gap.said):,}"
            yield self._finding(
                Matter.PLAN,
                gap,
                f"It was opened with {planned} letters, and {int(gap.found or 0):,} are on record.",
                "Restore a backup of the ledger before anything else is sent.",
            )

    def files(self, progress: Progress) -> Iterator[Finding]:
        """What the archive does not hold as it was frozen, and what it holds of another ledger."""
        for one in audit.examine(
            self.pipeline.ledger, self.pipeline.archive, self.year, progress=progress
        ):
            if one.needs_a_person:
                whose = "" if one.authority is None else f" to {one.authority_name}"
                of_year = "" if one.year is None else f" of {one.year}"  # returned mail has none
                left = one.condition is audit.Condition.NOT_REMOVED
                yield Finding(
                    matter=Matter.FILE,
                    thing=f"The {one.kind.value}{of_year}{whose}",
                    place=one.place,
                    found=one.said or f"Its file is {one.condition.value}.",
                    fix="That removes it, and is safe to call again."
                    if left
                    else "Put the very file back from a backup; letters verify says more.",
                    year=one.year,
                    authority=one.authority,
                )
            elif one.stranger:
                yield Finding(
                    matter=Matter.STRANGER,
                    thing="A message in the archive",
                    place=one.place,
                    found="The ledger does not know of it, so it may record mail that was sent.",
                    fix="Do not send before that is clear: is the ledger an older copy? "
                    "letters verify says more.",
                    year=self.year,
                )

    def forgotten(self) -> Iterator[Finding]:
        """What has stopped and waits for nobody in particular."""
        ledger, year = self.pipeline.ledger, self.year
        for gap in gaps.abandoned(ledger, year, before=self.now - STUCK):
            sending = gap.said == State.SENDING.value
            then = (
                "it is in doubt then, and the relay's log says whether it went"
                if sending
                else "it is certainly unsent, and goes back to the queue"
            )
            yield self._finding(
                Matter.ABANDONED,
                gap,
                f"Whoever had it in hand ({gap.said}) has not been heard of since "
                f"{_time(gap.since)}.",
                f"letters send {gap.year} takes it back: {then}.",
            )
        for gap in gaps.doubts(ledger, year, self._modes(), before=self.now - LATE):
            yield self._finding(
                Matter.DOUBT,
                gap,
                f"It has been in doubt since {_time(gap.since)} whether it went.",
                f"letters send {gap.year} looks among the captured mail."
                if gap.mode is Mode.CAPTURE
                else "letters reports looks in the relay's log, if reports.relay_log names it; "
                f"letters resolve {gap.authority} --year {gap.year} shows what is known, and "
                "settles it. Do not send it again before.",
            )
        live = [runs.find_run(ledger, one) for one in runs.years(ledger) if year in {None, one}]
        going = [one for one in live if one is not None and not one.paused_at]
        for found in going:
            yield from self._unsent(found)
        yield from self._overdue(going)
        yield from self._starts(going)
        for gap in gaps.taken_late(ledger, year):
            yield self._late(gap)
        yield from self._silence(going)

    def state(self, gap: Gap) -> Finding:
        """A delivery that is not where its events lead."""
        led = (
            "its events do not fit together" if gap.found is None else f"its events say {gap.found}"
        )
        return self._finding(
            Matter.STATE,
            gap,
            f"It is on record as {gap.said}, and {led}.",
            f"Do not send it again before it is clear what happened: {_show(gap)} tells the "
            "story. A ledger that was damaged, or changed by hand, is best restored from a backup.",
        )

    def _attempt(self, gap: Gap) -> Finding:
        if gap.said is not None:
            tries = "once" if gap.said == "1" else f"{gap.said} times"
            are = "1 attempt is" if gap.found == "1" else f"{gap.found} attempts are"
            found = f"It has been tried {tries}, and {are} on record."
        elif gap.since is None:
            found = (
                f"Attempt {gap.attempt} was begun and has no end on record. It had not come to the "
                "end of the message, so nothing was sent by it."
            )
        else:
            found = (
                f"Attempt {gap.attempt} was about to write the end of the message, "
                f"{_time(gap.since)}, and nothing is on record of what came of it."
            )
        return self._finding(
            Matter.ATTEMPT,
            gap,
            found,
            f"Look in the relay's log whether it took the message, before it is sent again: "
            f"{_show(gap)}",
        )

    def _late(self, gap: Gap) -> Finding:
        given_up = gap.said == State.CANCELLED.value
        then = "it was given up" if given_up else f"it is on record as {gap.said}"
        return self._finding(
            Matter.LATE_ANSWER,
            gap,
            f"The relay said that it took it ({gap.found}), {_time(gap.since)}, when that was "
            f"settled otherwise already: {then}.",
            f"Take it that the message went, and do not send it again. {_show(gap)} says whether "
            "another has gone as well, so that they have two.",
        )

    def _frozen(self, gap: Gap) -> Finding:
        if gap.said is not None:
            found = "Other bytes are on record than those that it was frozen with."
        elif gap.found is not None:
            found = "It was frozen, and its bytes are not on record any more."
        else:
            found = "It was about to be sent, and its bytes were never put on record."
        hash_ = "" if gap.found is None else f"; the frozen bytes have the SHA-256 {gap.found}"
        return self._finding(
            Matter.FROZEN,
            gap,
            found,
            f"Do not send it again, as it would not be the same message; restore a backup of the "
            f"ledger{hash_}.",
        )

    def _unsent(self, found: Run) -> Iterator[Finding]:
        ledger, people = self.pipeline.ledger, self.pipeline.people
        for mode in self._modes():
            for gap in gaps.unsent(ledger, found.id, mode, people=people, before=self.now - STUCK):
                yield self._finding(
                    Matter.UNSENT,
                    gap,
                    f"It is made, and has no message in {mode.value} mode, in which others of the "
                    "run have been sent.",
                    self._send(found.year, mode),
                )
        mode = self.pipeline.outbox.mode
        due = datetime.fromisoformat(found.edition.get("dispatch_at") or "9999-01-01T00:00:00Z")
        if not people or due > self.now - LATE or gaps.any_message(ledger, found.id, mode):
            return
        standing = run.approval_of(self.pipeline, found)
        if standing.approved:
            are = (
                f"{standing.approved:,} of them are approved and"
                if standing.lacking
                else "They are approved and"
            )
            yield Finding(
                matter=Matter.UNSENT,
                thing=f"The letters of {found.year}",
                place=f"{ledger}, run {found.id}",
                found=f"{are} were to be sent {_time(due)}, and nothing has been sent in "
                f"{mode.value} mode.",
                fix=f"letters send {found.year}; and see that letters serve runs.",
                year=found.year,
            )

    def _overdue(self, going: list[Run]) -> Iterator[Finding]:
        ledger, people, before = self.pipeline.ledger, self.pipeline.people, self.now - LATE
        troubled = gaps.relays(ledger, tried_since=self.now - STUCK)
        modes = [mode for mode in self._modes() if mode is Mode.CAPTURE or not troubled]
        for found in going:
            for mode in modes:
                only_to = self.pipeline.outbox.only_to if mode is Mode.LIVE else ()
                for gap in gaps.overdue(
                    ledger, found.id, mode, people=people, only_to=only_to, before=before
                ):
                    yield self._finding(
                        Matter.OVERDUE,
                        gap,
                        f"It has been due since {_time(gap.since)}, nothing holds it back, and "
                        "nobody has tried.",
                        self._send(found.year, mode),
                    )
        for relay, since in troubled:
            if since <= before:
                yield Finding(
                    matter=Matter.RELAY,
                    thing=f"The relay {relay}",
                    place=f"{ledger}, relays",
                    found=f"It has been in trouble since {_time(since)}; what is queued waits.",
                    fix="letters check says what is the matter with it.",
                )

    def _starts(self, going: list[Run]) -> Iterator[Finding]:
        # What is put off by a relay may go on for so long without anybody's fault.
        patience = {Step.PREPARE: LATE, Step.DISPATCH: self.pipeline.outbox.patience.within + LATE}
        known = {found.year: found for found in going}
        for start in gaps.starts(self.pipeline.ledger, self.year, now=self.now):
            found = known.get(start.year)
            if found is None and start.year in runs.years(self.pipeline.ledger):
                continue  # paused
            awaited = found is not None and run.approvals_wanted(self.pipeline, found)
            late = start.begun_at <= self.now - patience[start.step]
            if start.held or awaited or not late or start.mode not in self._modes():
                continue
            done = "made" if start.step is Step.PREPARE else "sent"
            yield Finding(
                matter=Matter.START,
                thing=f"The letters of {start.year} that the schedule began to have {done}",
                place=f"{self.pipeline.ledger}, start {start.step.value} of {start.year}, "
                f"{start.mode.value} mode",
                found=f"It was begun {_time(start.begun_at)} and has not come to its end, and "
                "nobody is at work on it.",
                fix=f"letters status {start.year} says what is left; see that letters serve runs.",
                year=start.year,
            )

    def _silence(self, going: list[Run]) -> Iterator[Finding]:
        mode = self.pipeline.outbox.mode
        if mode is Mode.CAPTURE or "SUCCESS" not in self.pipeline.outbox.notify:
            return  # no reports are asked for
        read = gaps.any_report(self.pipeline.ledger)
        for found in going:
            number, first = gaps.silent(
                self.pipeline.ledger, found.id, mode, before=self.now - HEARD
            )
            if number:
                none = "" if read else " No mail that came back has ever been read."
                yield Finding(
                    matter=Matter.SILENCE,
                    thing=f"{_counted(str(number))} of {found.year}",
                    place=f"{self.pipeline.ledger}, run {found.id}",
                    found=f"The relay took {'it' if number == 1 else 'them'}, the first "
                    f"{_time(first)}, and no report has come.{none}",
                    fix="Many mail servers never report; if none at all did, see that what "
                    "reports.mailbox names is what reports.address delivers to.",
                    year=found.year,
                )

    def _modes(self) -> list[Mode]:
        """Modes in which something counts: live, and the one that is set."""
        return list(dict.fromkeys((Mode.LIVE, self.pipeline.outbox.mode)))

    def _send(self, year: int, mode: Mode) -> str:
        set_ = self.pipeline.outbox.mode
        if mode is set_:
            return f"letters send {year}; and see that letters serve runs."
        return (
            f"mail.mode is {set_.value} now; in {mode.value} mode letters send {year} sends it, "
            f"or letters cancel holds it back."
        )

    def _finding(self, matter: Matter, gap: Gap, found: str, fix: str) -> Finding:
        return Finding(
            matter=matter,
            thing=_thing(gap),
            place=", ".join([str(self.pipeline.ledger), *_rows(gap)]),
            found=found,
            fix=fix,
            year=gap.year,
            authority=gap.authority,
        )


def _thing(gap: Gap) -> str:
    if gap.authority is None:
        return f"The run of {gap.year}"
    letter = f"letter of {gap.year} to {gap.authority_name} ({gap.authority})"
    if gap.delivery_id is not None and gap.mode is not None:
        return f"The {gap.mode.value} delivery to {gap.recipient} of the {letter}"
    return f"The message of the {letter}" if gap.message_id is not None else f"The {letter}"


def _rows(gap: Gap) -> Iterator[str]:
    for name in ("run", "letter", "message", "delivery"):
        number = getattr(gap, f"{name}_id")
        if number is not None:
            yield f"{name} {number}"
    if gap.attempt is not None:
        yield f"attempt {gap.attempt}"


def _show(gap: Gap) -> str:
    return f"letters show {gap.authority} --year {gap.year}"


def _time(at: datetime | None) -> str:
    return "at an unknown time" if at is None else f"{at.astimezone(LONDON):%-d %B %Y %H:%M}"


def _people(number: str | None) -> str:
    return "1 person" if number == "1" else f"{number} people"


def _counted(number: str | None) -> str:
    return "1 delivery" if number == "1" else f"{int(number or 0):,} deliveries"
