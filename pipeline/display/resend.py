"""Before a letter is sent again, what was sent and what will be; and afterwards what came of it."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from pipeline.delivery import Mode, State
from pipeline.display.console import LONDON, counted, err, out, style_of
from pipeline.ledger.choice import Came, Chosen
from pipeline.ledger.messages import Resent
from pipeline.ledger.story import Story

_FIRST = 10  # letters that are named before the rest is only counted
_MESSAGES = 5  # earlier messages that are shown before the rest is only counted
_HEADING = 7  # characters that the longest heading of a row has, and room

_WORDS = {
    State.QUEUED: "waits to be sent",
    State.CLAIMED: "is being sent",
    State.SENDING: "is being sent",
    State.IN_DOUBT: "in doubt: it may have arrived, or not",
    State.ACCEPTED: "taken by the mail server",
    State.DELIVERED: "delivered",
    State.REJECTED: "refused by the mail server",
    State.BOUNCED: "came back, not delivered",
    State.EXPIRED: "given up after many attempts",
    State.CANCELLED: "cancelled before it was sent",
}

_GOES = {
    Mode.CAPTURE: "capture: it is kept on this machine, a rehearsal; nothing leaves it",
    Mode.REDIRECT: "redirect: it goes to {inbox} only, a rehearsal; no authority gets it",
    Mode.LIVE: "live: it goes to the people named above",
}


def print_history(name: str, year: int, mode: Mode, told: Story, *, show: str) -> None:
    """What was sent of a letter in this mode: when, to whom, and what came of it.

    `show` is what `letters show` calls it, for those who want all of it.
    """
    _say(err, f"{name}, letter of {year}", style="bold")
    messages = [one for one in told.messages if one["mode"] == mode.value]
    elsewhere = len(told.messages) - len(messages)
    if not messages:
        _say(err, f"Not sent in {mode.value} mode yet.")
    if len(messages) > _MESSAGES:
        earlier = counted(len(messages) - _MESSAGES, "earlier message")
        _say(err, f"({earlier}: letters show {show} --year {year})")
    for message in messages[-_MESSAGES:]:
        at = _time(datetime.fromisoformat(message["date"] or message["created_at"]))
        again = f"Sent again by {message['requested_by']}" if message["resend_of"] else "Sent"
        why = f" ({message['reason']})" if message["resend_of"] else ""
        _say(err, f"{again}{why} on {at}, in {mode.value} mode:")
        for one in told.deliveries:
            if one["message_id"] == message["message_id"]:
                said = one["attempts"][-1]["reply"] if one["attempts"] else None
                _delivery(err, one["recipient"], State(one["state"]), said)
    if elsewhere:
        _say(err, f"({counted(elsewhere, 'message')} more in other modes.)")
    err.print()


def print_going(
    *,
    pdf: str,
    pages: int,
    recipients: Sequence[Mapping[str, Any]],
    sender: str,
    mode: Mode,
    inbox: str,
    reason: str,
) -> None:
    """What will happen if it is sent again now."""
    _say(err, "Now, in a new message:", style="bold")
    for one in recipients:
        roles = ", ".join(one["roles"]).replace("_", " ")
        named = f"{one['name']}, {roles}" if one["name"] else roles
        _row("To" if one["kind"] == "to" else "Copy", f"{one['address']} ({named})")
    _row("From", sender)
    _row("PDF", f"{pdf} ({counted(pages, 'page')}, as it was)")
    _row("Mode", _GOES[mode].format(inbox=inbox))
    _row("Reason", reason)
    err.print()


def print_resent(name: str, made: Resent, came: Sequence[Came]) -> None:
    """What came of sending one letter again.

    Where nothing new was sent, that the message was there already, and how to get another copy.
    """
    at = _time(made.created_at)
    well = all(one.state in {State.ACCEPTED, State.DELIVERED} for one in came)
    if made.new and not well:
        _say(out, f"The letter to {name} has not reached everybody:", style="bold")
    elif made.new:
        _say(out, f"The letter to {name} was sent again.", style="bold")
    elif made.unsent:
        _say(out, f"The letter to {name}, asked for on {at}, was taken further.", style="bold")
    else:
        told = f"The letter to {name} was already sent on {at} as {made.message_id}"
        _say(out, f"{told}; nothing new was sent.", style="bold")
    for one in came:
        _delivery(out, one.recipient, one.state, one.reply)
    if made.new or made.unsent:
        _say(out, f"Recorded as {made.message_id}.")
        return
    states = {one.state for one in came}
    if State.IN_DOUBT not in states:
        failed = states & {State.REJECTED, State.BOUNCED, State.EXPIRED}
        to_one = "To send it only to whom it has not reached: --to ADDRESS. " if failed else ""
        _say(out, f"{to_one}For another copy on purpose: --again, or another reason.")


def print_several(
    going: Sequence[Chosen],
    addresses: int,
    already: int,
    left_out: Sequence[tuple[Chosen, str]],
    *,
    year: int,
    mode: Mode,
    inbox: str,
    reason: str,
    sender: str,
) -> None:
    """What will happen if these letters are sent again now, and which of them cannot be."""
    letters, people = counted(len(going), "letter"), counted(addresses, "address", "addresses")
    _say(err, f"{letters} of {year} to {people} {_go(len(going))} again:", style="bold")
    for one in going[:_FIRST]:
        _say(err, f"{one.authority} {one.name}", indent=2)
    if len(going) > _FIRST:
        _say(err, f"and {len(going) - _FIRST:,} more", indent=2)
    if already:
        _say(err, f"{counted(already, 'letter')} had been sent for this request already.")
    _print_left_out(err, left_out)
    _row("From", sender)
    _row("Mode", _GOES[mode].format(inbox=inbox).replace("people named above", "authorities"))
    _row("Reason", reason)
    err.print()


def print_several_resent(
    letters: Mapping[int, Chosen],
    came: Sequence[Came],
    *,
    sent: int,
    already: int,
    left_out: Sequence[tuple[Chosen, str]],
) -> None:
    """What came of sending several again: counts, and each delivery that did not go well.

    `letters` by the message (its id) that has taken them.
    """
    _say(out, f"{counted(sent, 'letter')} sent again.", style="bold")
    if already:
        _say(out, f"{counted(already, 'letter')} had been sent for this request already.")
    for state in State:
        count = sum(one.state is state for one in came)
        if count:
            many = counted(count, "delivery", "deliveries")
            _say(out, f"{many}: {_WORDS[state]}", indent=2, style=style_of(state))
    for one in came:
        if one.state not in {State.ACCEPTED, State.DELIVERED}:
            letter = letters[one.message]
            _say(out, f"{letter.authority} {letter.name}", style="bold")
            _delivery(out, one.recipient, one.state, one.reply)
    _print_left_out(out, left_out)


def _time(at: datetime) -> str:
    local = at.astimezone(LONDON)
    return f"{local.day} {local:%B %Y} at {local:%H:%M}"


def _go(number: int) -> str:
    return "goes" if number == 1 else "go"


def _print_left_out(console: Console, left_out: Sequence[tuple[Chosen, str]]) -> None:
    if not left_out:
        return
    letters = counted(len(left_out), "letter")
    _say(console, f"{letters} cannot be sent again now:", style="bold yellow")
    for one, because in left_out:
        _say(console, f"{one.authority} {one.name}: {because}", indent=2)


def _delivery(console: Console, recipient: str, state: State, said: str | None) -> None:
    line = Text(f"{recipient}: ").append(_WORDS[state], style=style_of(state))
    _say(console, line, indent=2)
    if said:
        _say(console, said, indent=4)


def _row(heading: str, text: str) -> None:
    if not err.is_terminal:
        _say(err, f"{heading:{_HEADING}} {text}", indent=2)
        return
    row = Table.grid(padding=(0, 1, 0, 0))
    row.add_column(width=_HEADING)
    row.add_column(overflow="fold")
    row.add_row(Text(heading), Text(text))
    err.print(Padding(row, (0, 0, 0, 2)), soft_wrap=False)


def _say(console: Console, text: str | Text, *, indent: int = 0, style: str = "") -> None:
    """One line: wrapped between words on a terminal however narrow, and left whole elsewhere."""
    line = text if isinstance(text, Text) else Text(text)
    line.style = line.style or style
    if console.is_terminal:
        console.print(Padding(line, (0, 0, 0, indent)), soft_wrap=False)
    else:
        console.print(Text(" " * indent).append(line))
