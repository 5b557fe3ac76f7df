"""How a run stands."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from pipeline.delivery import Mode, State
from pipeline.display.console import LONDON, counted, out, style_of
from pipeline.ledger import deliveries, story
from pipeline.ledger.runs import Run
from pipeline.ledger.starts import Start
from pipeline.ledger.story import LetterStatus
from pipeline.run import Pipeline, Result
from pipeline.schema import Step
from pipeline.source import Dates

_SHOWN = 20  # letters that need a person, before the rest is only counted

_MODES = {
    Mode.CAPTURE: "captured on this machine: a rehearsal, nothing has left it",
    Mode.REDIRECT: "redirected to one inbox: a rehearsal, no authority has been written to",
    Mode.LIVE: "live, to the authorities",
}


def print_not_begun(
    year: int, dates: Dates | None, missed: Sequence[Start], cancelled: str | None
) -> None:
    """A year that has an edition and no run, or none any more: `cancelled` says who and why."""
    out.print(f"[bold]Annual letters {year}[/]")
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
) -> None:
    """How a run stands: counts, where things lie, and what a person has to do, if anything."""
    found, summary, mode = result.run, result.summary, pipeline.outbox.mode
    made = sum(summary.deliveries.values())
    total = sum(summary.letters.values())
    out.print(f"[bold]Annual letters {found.year}[/]")
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
    if mode is Mode.CAPTURE and made:
        out.print(f"Mail     {pipeline.outbox.maildir} (a Maildir)", markup=False)
    if dates is not None and not made and dates.dispatch_at > datetime.now(UTC):
        out.print(f"Due      to be sent on {_moment(dates.dispatch_at)}")
    for other, waiting in story.open_elsewhere(pipeline.ledger, found, mode).items():
        open_ones = counted(waiting, "delivery is", "deliveries are")
        out.print()
        out.print(f"In {other.value} mode {open_ones} still open. To go on:", style="yellow")
        out.print(f"  LETTERS_MAIL__MODE={other.value} letters run {found.year}", style="yellow")
    out.print()
    _print_missed(missed)
    if found.paused_at is not None:
        _print_paused(found)
    if result.awaiting:
        out.print(
            f"{counted(result.awaiting, 'more person', 'more people')} must approve before anything"
            f" is sent: letters approve {found.year}",
            style="bold yellow",
        )
    if summary.needs_a_person:
        _print_trouble(story.statuses(pipeline.ledger, found, mode), found.year)
    elif result.is_finished:
        out.print("Nothing needs a person.", style="green")
    elif not result.awaiting and not found.paused_at:
        _print_how_to_go_on(pipeline, result)


def _moment(at: datetime) -> str:
    local = at.astimezone(LONDON)
    return f"{local:%A} {local.day} {local:%B %Y} at {local:%H:%M}, London time"


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


def _print_how_to_go_on(pipeline: Pipeline, result: Result) -> None:
    found, waits = result.run, ""
    if not result.summary.letters["unprepared"]:
        due = deliveries.next_due(pipeline.ledger, found.id, pipeline.outbox.mode)
        if due is not None and due > datetime.now(UTC):
            waits = f" from {due.astimezone(LONDON):%H:%M} on, London time"
        if result.summary.unplanned:
            some = sum(result.summary.deliveries.values())
            not_sent = counted(result.summary.unplanned, "letter has", "letters have")
            said = f"{not_sent} not been sent yet." if some else "Nothing has been sent yet."
            out.print(f"{said} To send: letters send {found.year}", style="bold yellow")
            return
    out.print(f"Not finished. To go on{waits}: letters run {found.year}", style="bold yellow")


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
        said = f": {one.reply}" if one.reply and not one.fault else ""
        out.print(f"    {what}{said}", markup=False)
    if more:
        out.print(f"  and {more:,} more: letters status {year} --json")
