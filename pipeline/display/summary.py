"""How a run stands."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pipeline import owner
from pipeline.delivery import Mode, State
from pipeline.display.approval import print_voided, still_lacking
from pipeline.display.console import LONDON, counted, out, say, style_of
from pipeline.display.words import NO_SIGN, how_to_resolve, who
from pipeline.ledger import approvals, deliveries, hindrances, reports, story
from pipeline.ledger.phases import Phase
from pipeline.ledger.relays import Trouble
from pipeline.ledger.runs import Run
from pipeline.ledger.starts import Start
from pipeline.ledger.story import LetterStatus
from pipeline.run import Pipeline, Result, approval_of, phase_of
from pipeline.schema import Step
from pipeline.source import Dates

_NAMED = 2  # processes that are named
_SHOWN = 20  # letters that need a person, before the rest is only counted
_MAY_GO_AGAIN = {State.REJECTED.value, State.EXPIRED.value, State.BOUNCED.value}

_MODES = {
    Mode.CAPTURE: "captured on this machine: a rehearsal, nothing has left it",
    Mode.REDIRECT: "redirected to one inbox: a rehearsal, no authority has been written to",
    Mode.LIVE: "live, to the authorities",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """What waits for something else than this command.

    `kept_back` deliveries wait because mail may only go to certain domains; `in_hand` are being
    sent by the processes `by`; `left` were, by a process that has ended.
    """

    kept_back: int
    in_hand: int
    by: Sequence[str]
    left: int


def waiting(pipeline: Pipeline, run: Run) -> Waiting:
    """What of the run waits for something else, in the mode that is set."""
    db, outbox = pipeline.ledger, pipeline.outbox
    owners = deliveries.in_hand(db, run.id, outbox.mode)
    gone = {one: owner.is_gone(one) for one in set(owners)}
    alive = [one for one in owners if not gone[one]]
    return Waiting(
        kept_back=deliveries.kept_back(db, run.id, outbox.mode, outbox.only_to),
        in_hand=len(alive),
        by=sorted({who(one) for one in alive}),
        left=len(owners) - len(alive),
    )


def print_not_begun(
    year: int,
    dates: Dates | None,
    missed: Sequence[Start],
    cancelled: str | None,
    *,
    phase: Phase | None,
) -> None:
    """A year that has an edition and no run, or none any more: `cancelled` says who and why."""
    out.print(f"[bold]Annual letters {year}[/]")
    if phase is not None:
        out.print(f"Phase    {phase}")
    out.print()
    out.print(cancelled or "Nothing has been begun.", markup=False)
    if dates is not None:
        now = datetime.now(UTC)
        for what, at in (("made", dates.prepare_at), ("sent", dates.dispatch_at)):
            were = "are" if at > now else "were"
            out.print(f"The letters {were} to be {what} on {_moment(at)}.")
    _print_missed(missed)
    out.print()
    out.print(f"To begin by hand: letters prepare {year}", style="bold yellow")


def print_summary(
    pipeline: Pipeline,
    result: Result,
    *,
    dates: Dates | None = None,
    missed: Sequence[Start] = (),
    trouble: Trouble | None = None,
) -> None:
    """How a run stands: counts, where things lie, and what a person has to do, if anything.

    `trouble` is the relay's, if it is known to be in any.
    """
    found, summary, mode = result.run, result.summary, pipeline.outbox.mode
    made = sum(summary.deliveries.values())
    total = sum(summary.letters.values())
    out.print(f"[bold]Annual letters {found.year}[/]")
    say(out, _phase(pipeline, result))
    out.print()
    out.print(f"[bold]{counted(total, 'letter')}[/]")
    _print_counts(
        (summary.letters["prepared"], "prepared, proved and archived", ""),
        (summary.unplanned if made else 0, "of them not sent to anybody yet", "yellow"),
        (summary.letters["fault"], "cannot be made", "bold red"),
        (summary.letters["withheld"], "withheld by a person", "yellow"),
        (summary.letters["unprepared"], "still to be made", "yellow"),
    )
    if made:
        out.print(f"[bold]{counted(made, 'delivery', 'deliveries')}[/], {_MODES[mode]}")
        _print_counts(
            *(
                (count, name.replace("_", " "), style_of(State(name)))
                for name, count in summary.deliveries.items()
            )
        )
    out.print()
    out.print(f"Letters  {pipeline.archive.location(str(found.year))}", markup=False)
    if pipeline.outbox.only_to:
        only = ", ".join(pipeline.outbox.only_to)
        out.print(f"Mail     only to {only} (mail.only_to_domains)", markup=False)
    if mode is Mode.CAPTURE and made:
        out.print(f"Mail     {pipeline.outbox.maildir} (a Maildir)", markup=False)
    if dates is not None and not made and dates.dispatch_at > datetime.now(UTC):
        out.print(f"Due      to be sent on {_moment(dates.dispatch_at)}")
    for other, open_there in story.open_elsewhere(pipeline.ledger, found, mode).items():
        open_ones = counted(open_there, "delivery is", "deliveries are")
        out.print()
        out.print(f"In {other.value} mode {open_ones} still open. To go on:", style="yellow")
        out.print(f"  LETTERS_MAIL__MODE={other.value} letters run {found.year}", style="yellow")
    out.print()
    _print_forgotten(found)
    _print_missed(missed)
    if found.paused_at is not None:
        _print_paused(found)
    if result.awaiting:
        _print_lacking(pipeline, found)
    others = waiting(pipeline, found)
    if trouble is not None and (summary.unfinished or summary.unplanned):
        _print_relay(trouble, found.year)
    _print_others(others, pipeline.outbox.only_to, found.year)
    if summary.needs_a_person and found.forgotten_at is None:
        _print_trouble(story.statuses(pipeline.ledger, found, mode), found.year)
    if mails := sum(reports.count_waiting(pipeline.ledger).values()):
        wait = counted(mails, "returned mail waits", "returned mails wait")
        out.print(f"{wait} for a person, of whatever year: letters reports --list", style="yellow")
    if result.is_finished:
        out.print(f"Nothing {'else ' if mails else ''}needs a person.", style="green")
    elif not result.awaiting and not found.paused_at:
        _print_how_to_go_on(pipeline, result, others)


def _print_lacking(pipeline: Pipeline, found: Run) -> None:
    """What lacks approval, and what has changed since somebody gave it."""
    standing = approval_of(pipeline, found)
    say(out, still_lacking(found.year, standing), style="bold yellow")
    lost = approvals.voided(pipeline.ledger, found, pipeline.outbox.sender.identity)
    if lost:
        print_voided(lost)


def _phase(pipeline: Pipeline, result: Result) -> str:
    """How far it has come, and how much is left of that."""
    phase, summary = phase_of(pipeline, result.run.year, result), result.summary
    unmade, total = summary.letters["unprepared"], sum(summary.deliveries.values())
    left = summary.unfinished - unmade + summary.deliveries[State.IN_DOUBT.value]
    said = ""
    if phase is Phase.OPEN:
        said = f": {counted(unmade, 'letter is', 'letters are')} still to be made"
    elif phase is Phase.DISPATCHING and left:
        said = f": {left:,} of {counted(total, 'delivery', 'deliveries')} not settled yet"
    elif phase is Phase.DONE and summary.needs_a_person:
        needs = "needs" if summary.needs_a_person == 1 else "need"
        said = f": but {summary.needs_a_person:,} {needs} a person"
    elif phase is Phase.MISSED:
        said = ": not sent on their day, and left to a person"
    rehearsal = phase in {Phase.DISPATCHING, Phase.DONE} and pipeline.outbox.mode is not Mode.LIVE
    return f"Phase    {phase}{', as a rehearsal' if rehearsal else ''}{said}"


def _moment(at: datetime) -> str:
    local = at.astimezone(LONDON)
    return f"{local:%A} {local.day} {local:%B %Y} at {local:%H:%M}, London time"


def _print_forgotten(run: Run) -> None:
    if run.forgotten_at is not None and run.forgotten_by is not None:
        told = hindrances.forgotten(run.year, run.forgotten_at, run.forgotten_by)
        say(out, told, style="yellow")


def _print_missed(missed: Sequence[Start]) -> None:
    for one in missed:
        what = "making" if one.step is Step.PREPARE else "sending"
        out.print(
            f"The schedule has missed its start for {what} them, of {_moment(one.due_at)}; "
            f"it is left to a person: letters run {one.year}",
            style="bold yellow",
        )


def _print_paused(run: Run) -> None:
    assert run.paused_at is not None  # noqa: S101 - asked by the caller
    since = run.paused_at.astimezone(LONDON)
    out.print(
        f"Paused by {run.paused_by} since {since:%H:%M} on {since.day} {since:%B}, London time: "
        f"{run.paused_because}",
        style="bold yellow",
        markup=False,
    )
    out.print(f"Nothing is sent until somebody says: letters resume {run.year}", style="yellow")


def _print_relay(trouble: Trouble, year: int) -> None:
    since, again = (one.astimezone(LONDON) for one in (trouble.since, trouble.retry_at))
    later = trouble.retry_at > datetime.now(UTC)
    when = f"It is left alone until {again:%H:%M}" if later else "The next run tries it again"
    out.print(
        f"The relay {trouble.relay} has been in trouble since {since:%H:%M} on {since.day} "
        f"{since:%B}, London time: {trouble.reason}",
        style="bold yellow",
        markup=False,
    )
    out.print(f"{when}; to try it now: letters send {year}", style="yellow")


def _print_others(others: Waiting, only_to: Sequence[str], year: int) -> None:
    if others.in_hand:
        are = counted(others.in_hand, "delivery is", "deliveries are")
        by = f" ({' and '.join(others.by)})" if len(others.by) <= _NAMED else ""
        out.print(f"{are} being sent by another process{by}.", style="yellow", markup=False)
    if others.left:
        were = counted(others.left, "delivery was", "deliveries were")
        out.print(
            f"{were} being sent by a process that has ended. To take up what it left: "
            f"letters send {year}",
            style="bold yellow",
        )
    if others.kept_back:
        wait = counted(others.kept_back, "delivery waits", "deliveries wait")
        out.print(
            f"{wait} because mail may only go to {', '.join(only_to)} (mail.only_to_domains in the "
            f"settings). To let them go, change that, and then: letters send {year}",
            style="yellow",
            markup=False,
        )


def _print_how_to_go_on(pipeline: Pipeline, result: Result, others: Waiting) -> None:
    found, outbox, summary = result.run, pipeline.outbox, result.summary
    if not summary.letters["unprepared"] and summary.unplanned:
        some = sum(summary.deliveries.values())
        not_sent = counted(summary.unplanned, "letter has", "letters have")
        said = f"{not_sent} not been sent yet." if some else "Nothing has been sent yet."
        out.print(f"{said} To send: letters send {found.year}", style="bold yellow")
        _print_pace(pipeline, found, others)
        return
    to_do = summary.unfinished - others.kept_back - others.in_hand - others.left
    if to_do <= 0:
        if others.in_hand:
            out.print(
                f"Nothing else is to be done. How it stands then: letters status {found.year}",
                style="bold yellow",
            )
        return
    due, waits = None, ""
    if not summary.letters["unprepared"]:
        due = deliveries.next_due(pipeline.ledger, found.id, outbox.mode, only_to=outbox.only_to)
    if due is not None and due > datetime.now(UTC):
        waits = f" from {due.astimezone(LONDON):%H:%M} on, London time"
    what = "run" if summary.letters["unprepared"] else "send"
    out.print(f"Not finished. To go on{waits}: letters {what} {found.year}", style="bold yellow")
    _print_pace(pipeline, found, others)


def _print_pace(pipeline: Pipeline, run: Run, others: Waiting) -> None:
    """How long it takes at the pace that is set, if that is more than a moment."""
    every = pipeline.outbox.pace.overall
    number = story.to_send(pipeline.ledger, run, pipeline.outbox.mode) - others.kept_back
    takes = number * every
    if takes > timedelta(minutes=1):
        out.print(
            f"At {timedelta(minutes=1) / every:,.0f} a minute (smtp.per_minute) "
            f"{counted(number, 'delivery takes', 'deliveries take')} about "
            f"{counted(math.ceil(takes / timedelta(minutes=1)), 'minute')}."
        )


def _print_counts(*rows: tuple[int, str, str]) -> None:
    width = max((len(f"{count:,}") for count, _, _ in rows), default=0)
    for count, what, style in rows:
        if count:
            out.print(f"  {count:>{width},}  {what}", markup=False, style=style or None)


def _print_trouble(statuses: Iterator[LetterStatus], year: int) -> None:
    out.print("Somebody has to look at these:", style="bold yellow")
    more = 0
    for number, one in enumerate(each for each in statuses if each.needs_a_person):
        if number >= _SHOWN:
            more += 1
            continue
        out.print(f"  {one.authority} {one.name}", markup=False, style="bold")
        what = one.fault or one.state.replace("_", " ")
        said = NO_SIGN.get(one.reply, one.reply) if one.reply and not one.fault else ""
        if one.state == State.BOUNCED.value:  # the relay took it: its reply is not why
            said = f"letters show {one.authority} --year {year} tells what came back"
        out.print(f"    {what}{f': {said}' if said else ''}", markup=False)
        if one.state == State.IN_DOUBT.value:
            out.print(f"    to settle it: {how_to_resolve(one.authority, year)}", markup=False)
        elif one.state in _MAY_GO_AGAIN:
            out.print(
                f"    to send it again: letters resend {one.authority} --year {year} --reason TEXT",
                markup=False,
            )
    if more:
        out.print(f"  and {more:,} more: letters status {year} --json")
