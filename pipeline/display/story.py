"""The whole story of one letter, for reading."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.delivery import State
from pipeline.display.console import LONDON, counted, out, style_of


def print_letter(facts: Mapping[str, Any], *, console: Console = out) -> None:
    """One letter's file, or why there is none."""
    console.print(
        f"{facts['name']} ({facts['authority']}), letter of {facts['year']}",
        markup=False,
        style="bold",
    )
    if facts["withheld"]:
        console.print(f"Withheld: {facts['withheld']}", markup=False, style="bold yellow")
    if facts["pdf"]:
        console.print(facts["pdf"], markup=False)
        console.print(facts["file"], markup=False)
        pages = counted(facts["pages"], "page")
        console.print(f"{pages}, SHA-256 {facts['sha256']}", markup=False)
    elif facts["fault"]:
        console.print(f"There is no PDF: {facts['fault']}", markup=False, style="bold red")
    elif facts["withheld"]:
        console.print("There is no PDF: a letter that is withheld is not made.")
    else:
        console.print(
            f"There is no PDF yet. To make what has not been made: letters prepare {facts['year']}"
        )


def print_story(facts: Mapping[str, Any]) -> None:
    """Everything on record about one letter."""
    out.print(
        f"{facts['name']} ({facts['authority']}), letter of {facts['year']}",
        markup=False,
        style="bold",
    )
    if facts["withheld"]:
        _print_withheld(facts)
    if facts["fault"]:
        out.print(f"Fault: {facts['fault']}", markup=False, style="bold red")
    if facts["pdf"]:
        out.print(facts["file"], markup=False)
        out.print(f"{counted(facts['pages'], 'page')}, SHA-256 {facts['sha256']}", markup=False)
    for one in facts["earlier_runs"]:
        _print_earlier(one, facts["sha256"])
    out.print()
    if facts["figures"]:
        _print_figures(facts["figures"])
    recipients = {one["id"]: one["recipient"] for one in facts["deliveries"]}
    for message in facts["messages"]:
        _print_message(message, facts["deliveries"])
    out.print("Events", style="bold")
    day = None
    for event in facts["events"]:
        at = datetime.fromisoformat(event["at"]).astimezone(LONDON)
        if at.date() != day:
            day = at.date()
            out.print(f"  {at.day} {at:%B %Y}, London time")
        out.print(f"    {at:%H:%M:%S}  {_told(event, recipients)}", markup=False)


def _print_withheld(facts: Mapping[str, Any]) -> None:
    at = datetime.fromisoformat(facts["withheld_at"]).astimezone(LONDON)
    by = f" by {facts['withheld_by']}" if facts["withheld_by"] else ""
    out.print(
        f"Withheld since {at.day} {at:%B %Y, %H:%M}{by}: {facts['withheld']}",
        markup=False,
        style="bold yellow",
    )


def _print_earlier(one: Mapping[str, Any], sha256: str | None) -> None:
    """A rehearsal, say, that a refresh has taken the place of."""
    until = datetime.fromisoformat(one["cancelled_at"]).astimezone(LONDON)
    counts = ", ".join(
        f"{number:,} {state.replace('_', ' ')}" for state, number in one["deliveries"].items()
    )
    file = "this PDF" if one["sha256"] == sha256 else "another PDF"
    out.print(
        f"An earlier run, replaced or cancelled on {until.day} {until:%B %Y}, had sent {file}: "
        f"{counts}.",
        markup=False,
        style="yellow",
    )


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
                state.value.replace("_", " "), style=style_of(state)
            )
            out.print(line)
            if one["attempts"] and one["attempts"][-1]["reply"]:
                out.print(f"    {_line(one['attempts'][-1]['reply'])}", markup=False)
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
        case "letter_withheld":
            told = f"withheld{by}: {event['reason']}"
        case "message_frozen":
            told = f"message written and kept as {event['eml']}"
        case "delivery_moved":
            moved = f"{event['from']} to {event['to']}".replace("_", " ")
            why = event.get("evidence") or (event.get("said") if event["to"] != "accepted" else "")
            said = f" ({_line(why)})" if why else ""
            told = f"{recipients.get(event['delivery'], 'delivery')}: {moved}{by}{said}"
        case other:
            told = f"{str(other).replace('_', ' ')}{by}"
    return told


def _line(said: str) -> str:
    """What another machine said, on one line, with nothing that a terminal would obey."""
    return " ".join("".join(each if each.isprintable() else " " for each in said).split())
