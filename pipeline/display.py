"""What people see on a terminal: summaries, one letter's story, progress."""

import json
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from types import FrameType
from typing import Any
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from pipeline.delivery import NEEDS_A_PERSON, Mode, State
from pipeline.importer import Loaded
from pipeline.ledger import deliveries, story
from pipeline.ledger.story import LetterStatus
from pipeline.run import Pipeline, Result
from pipeline.run import Progress as Watcher


class _Output(Console):
    """A console that says so when nobody reads any more, instead of ending the program."""

    def on_broken_pipe(self) -> None:
        """Leave it to the command line, which knows what that means for the exit code."""
        raise BrokenPipeError


out = _Output(highlight=False, soft_wrap=True)
err = _Output(stderr=True, highlight=False, soft_wrap=True)

_LONDON = ZoneInfo("Europe/London")
_SHOWN = 20  # letters that need a person, before the rest is only counted

_MODES = {
    Mode.CAPTURE: "captured on this machine: a rehearsal, nothing has left it",
    Mode.REDIRECT: "redirected to one inbox: a rehearsal, no authority has been written to",
    Mode.LIVE: "live, to the authorities",
}


def print_json(value: Any) -> None:
    """JSON, and nothing else, on standard output."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def print_summary(pipeline: Pipeline, result: Result) -> None:
    """How a run stands: counts, where things lie, and what a person has to do, if anything."""
    found, summary, mode = result.run, result.summary, pipeline.outbox.mode
    total = sum(summary.letters.values())
    out.print(f"[bold]Annual letters {found.year}[/]")
    out.print()
    out.print(f"[bold]{counted(total, 'letter')}[/]")
    _print_counts(
        (summary.letters["prepared"], "prepared, proved and archived", ""),
        (summary.letters["fault"], "cannot be made", "bold red"),
        (summary.letters["unprepared"], "still to be made", "yellow"),
    )
    made = sum(summary.deliveries.values())
    if made:
        out.print(f"[bold]{counted(made, 'delivery', 'deliveries')}[/], {_MODES[mode]}")
        _print_counts(
            *(
                (count, name.replace("_", " "), _style(State(name)))
                for name, count in summary.deliveries.items()
            )
        )
    out.print()
    out.print(f"Letters  {pipeline.archive.location(str(found.year))}", markup=False)
    if mode is Mode.CAPTURE and made:
        out.print(f"Mail     {pipeline.outbox.maildir} (a Maildir)", markup=False)
    for other, waiting in story.open_elsewhere(pipeline.ledger, found, mode).items():
        open_ones = counted(waiting, "delivery is", "deliveries are")
        out.print()
        out.print(f"In {other.value} mode {open_ones} still open. To go on:", style="yellow")
        out.print(f"  LETTERS_MAIL__MODE={other.value} letters run {found.year}", style="yellow")
    out.print()
    if result.awaiting:
        out.print(
            f"{counted(result.awaiting, 'more person', 'more people')} must approve before anything"
            f" is sent: letters approve {found.year}",
            style="bold yellow",
        )
    if summary.needs_a_person:
        _print_trouble(story.statuses(pipeline.ledger, found, mode), found.year)
    elif summary.unfinished or (not made and not result.awaiting):
        due = deliveries.next_due(pipeline.ledger, found.id, mode)
        wait = ""
        if due is not None and due > datetime.now(UTC):
            wait = f" from {due.astimezone(_LONDON):%H:%M} on, London time"
        out.print(f"Not finished. To go on{wait}: letters run {found.year}", style="bold yellow")
    elif not result.awaiting:
        out.print("Nothing needs a person.", style="green")


def _print_counts(*rows: tuple[int, str, str]) -> None:
    width = max((len(f"{count:,}") for count, _, _ in rows), default=0)
    for count, what, style in rows:
        if count:
            out.print(f"  {count:>{width},}  {what}", markup=False, style=style or None)


def _style(state: State) -> str:
    if state in NEEDS_A_PERSON:
        return "bold red"
    return "green" if state in {State.ACCEPTED, State.DELIVERED} else "yellow"


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


def print_story(facts: Mapping[str, Any]) -> None:
    """Everything on record about one letter."""
    out.print(
        f"{facts['name']} ({facts['authority']}), letter of {facts['year']}",
        markup=False,
        style="bold",
    )
    if facts["fault"]:
        out.print(f"Fault: {facts['fault']}", markup=False, style="bold red")
    if facts["pdf"]:
        out.print(facts["file"], markup=False)
        out.print(f"{counted(facts['pages'], 'page')}, SHA-256 {facts['sha256']}", markup=False)
    out.print()
    if facts["figures"]:
        _print_figures(facts["figures"])
    recipients = {one["id"]: one["recipient"] for one in facts["deliveries"]}
    for message in facts["messages"]:
        _print_message(message, facts["deliveries"])
    out.print("Events", style="bold")
    day = None
    for event in facts["events"]:
        at = datetime.fromisoformat(event["at"]).astimezone(_LONDON)
        if at.date() != day:
            day = at.date()
            out.print(f"  {at.day} {at:%B %Y}, London time")
        out.print(f"    {at:%H:%M:%S}  {_told(event, recipients)}", markup=False)


def _print_figures(figures: Mapping[str, Mapping[str, int | None]]) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("Figure")
    for heading in ("Part", "Whole", "Rate", "Average"):
        table.add_column(heading, justify="right")
    for measure, one in figures.items():
        table.add_row(
            measure,
            str(one["part"]),
            str(one["whole"]),
            "-" if one["percent"] is None else f"{one['percent']}%",
            "-" if one["average"] is None else f"{one['average']}%",
        )
    out.print(table)
    out.print()


def _print_message(message: Mapping[str, Any], deliveries: list[Mapping[str, Any]]) -> None:
    out.print(f"Message {message['message_id']}, {message['mode']}", markup=False, style="bold")
    if message["resend_of"]:
        out.print(f"  sent again by {message['requested_by']}: {message['reason']}", markup=False)
    for one in deliveries:
        if one["message_id"] == message["message_id"]:
            state = State(one["state"])
            line = Text(f"  {one['recipient']}: ").append(
                state.value.replace("_", " "), style=_style(state)
            )
            out.print(line)
            if one["attempts"] and one["attempts"][-1]["reply"]:
                out.print(f"    {one['attempts'][-1]['reply']}", markup=False)
    out.print()


def _told(event: Mapping[str, Any], recipients: Mapping[int, str]) -> str:
    by = f" by {event['person']}" if event["person"] else ""
    match event["kind"]:
        case "letter_prepared":
            told = f"prepared, {counted(event['pages'], 'page')}"
        case "letter_faulted":
            told = f"fault: {event['reason']}"
        case "message_created":
            to = counted(len(event["recipients"]), "recipient")
            told = f"message for {to}, {event['mode']}"
        case "resend_requested":
            to = ", ".join(event["recipients"])
            told = f"to be sent again{by} to {to}: {event['reason']}"
        case "delivery_moved":
            moved = f"{event['from']} to {event['to']}".replace("_", " ")
            why = event.get("evidence") or (event.get("said") if event["to"] != "accepted" else "")
            said = f" ({why})" if why else ""
            told = f"{recipients.get(event['delivery'], 'delivery')}: {moved}{by}{said}"
        case other:
            told = f"{str(other).replace('_', ' ')}{by}"
    return told


def print_loaded(loaded: Loaded) -> None:
    """What an import changed, relation by relation, and what to look at."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("Relation")
    for heading in ("added", "replaced", "unchanged", "removed"):
        table.add_column(heading, justify="right")
    for name, one in loaded.counts.items():
        table.add_row(name, *(f"{number:,}" for number in asdict(one).values()))
    out.print(table)
    for note in loaded.notes:
        out.print(f"Note: {note}", markup=False, style="yellow")


def counted(number: int, one: str, many: str | None = None) -> str:
    """1 letter, 2 letters, 1,234 deliveries."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


_interruption = threading.Event()


def interrupted(_signal: int, _frame: FrameType | None) -> None:
    """Handle Ctrl-C or a request to end: at once if Python lets it, else at the next step.

    An exception that a signal raises is lost where Python cannot let it through (in a finalizer,
    say); so it is also remembered, and whoever reports progress next is stopped.
    """
    _interruption.set()
    raise KeyboardInterrupt


def _stop_if_interrupted() -> None:
    if _interruption.is_set():
        raise KeyboardInterrupt


class _Bars:
    """Progress bars on a terminal."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._task = bars.add_task("", visible=False)

    def begin(self, stage: str, total: int) -> None:
        self._task = self._bars.add_task(stage, total=total)

    def advance(self) -> None:
        _stop_if_interrupted()
        self._bars.advance(self._task)

    def end(self) -> None:
        self._bars.stop_task(self._task)


class _Lines:
    """Plain lines where nobody watches a terminal: at the start, at each tenth and at the end."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._stage = ""
        self._total = 0
        self._done = 0

    def begin(self, stage: str, total: int) -> None:
        self._stage, self._total, self._done = stage, total, 0
        self._say()

    def advance(self) -> None:
        _stop_if_interrupted()
        self._done += 1
        if self._done * 10 // max(self._total, 1) != (self._done - 1) * 10 // max(self._total, 1):
            self._say()

    def end(self) -> None:
        pass

    def _say(self) -> None:
        if not self._quiet:
            err.print(f"{self._stage} {self._done:,} of {self._total:,}", markup=False)


@contextmanager
def watching(*, quiet: bool) -> Iterator[Watcher]:
    """Bars on a terminal, plain lines elsewhere, nothing at all if quiet."""
    if quiet or not err.is_terminal:
        yield _Lines(quiet=quiet)
        return
    with Progress(
        TextColumn("{task.description:10}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=err,
    ) as bars:
        yield _Bars(bars)
