"""Before a letter is sent again, what was sent and what will be; and afterwards what came of it."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.text import Text

from pipeline.delivery import Mode, State
from pipeline.display.console import counted, err, out, row, say, style_of
from pipeline.display.happened import last_words
from pipeline.display.words import STANDS, moment
from pipeline.ledger.choice import Came, Chosen
from pipeline.ledger.messages import Resent
from pipeline.ledger.story import Story

_FIRST = 10  # letters that are named before the rest is only counted
_MESSAGES = 5  # earlier messages that are shown before the rest is only counted
_HEADING = 7  # characters that the longest heading of a row has, and room

_GOES = {
    Mode.CAPTURE: "capture: it is kept on this machine, a rehearsal; nothing leaves it",
    Mode.REDIRECT: "redirect: it goes to {inbox} only, a rehearsal; no authority gets it",
    Mode.LIVE: "live: it goes to the people named above",
}


def print_history(name: str, year: int, mode: Mode, told: Story, *, show: str) -> None:
    """What was sent of a letter in this mode: when, to whom, and what came of it.

    `show` is what `letters show` calls it, for those who want all of it.
    """
    say(err, f"{name}, letter of {year}", style="bold")
    messages = [one for one in told.messages if one["mode"] == mode.value]
    elsewhere = len(told.messages) - len(messages)
    if not messages:
        say(err, f"Not sent in {mode.value} mode yet.")
    if len(messages) > _MESSAGES:
        earlier = counted(len(messages) - _MESSAGES, "earlier message")
        say(err, f"({earlier}: letters show {show} --year {year})")
    for message in messages[-_MESSAGES:]:
        at = moment(datetime.fromisoformat(message["date"] or message["created_at"]))
        again = f"Sent again by {message['requested_by']}" if message["resend_of"] else "Sent"
        why = f" ({message['reason']})" if message["resend_of"] else ""
        say(err, f"{again}{why} on {at}, in {mode.value} mode:")
        for one in told.deliveries:
            if one["message_id"] == message["message_id"]:
                said = last_words(one, told.events)
                _delivery(err, one["recipient"], State(one["state"]), said)
    if elsewhere:
        say(err, f"({counted(elsewhere, 'message')} more in other modes.)")
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
    say(err, "Now, in a new message:", style="bold")
    for one in recipients:
        roles = ", ".join(one["roles"]).replace("_", " ")
        named = f"{one['name']}, {roles}" if one["name"] else roles
        _row("To" if one["kind"] == "to" else "Copy", f"{one['address']} ({named})")
    _row("From", sender)
    _row("PDF", f"{pdf} ({counted(pages, 'page')}, as it was)")
    _row("Mode", _GOES[mode].format(inbox=inbox))
    _row("Reason", reason)
    err.print()


def print_resent(name: str, made: Resent, came: Sequence[Came], *, resolve: str) -> None:
    """What came of sending one letter again; `resolve` is the command that settles its doubts.

    Where nothing new was sent, that the message was there already, and how to get another copy.
    """
    at = moment(made.created_at)
    well = all(one.state in {State.ACCEPTED, State.DELIVERED} for one in came)
    if made.new and not well:
        say(out, f"The letter to {name} has not reached everybody:", style="bold")
    elif made.new:
        say(out, f"The letter to {name} was sent again.", style="bold")
    elif made.unsent:
        say(out, f"The letter to {name}, asked for on {at}, was taken further.", style="bold")
    else:
        told = f"The letter to {name} was already sent on {at} as {made.message_id}"
        say(out, f"{told}; nothing new was sent.", style="bold")
    for one in came:
        _delivery(out, one.recipient, one.state, one.reply)
    states = {one.state for one in came}
    if State.IN_DOUBT in states:
        say(out, f"What to look for, and how to settle the doubt: {resolve}")
    if made.new or made.unsent:
        say(out, f"Recorded as {made.message_id}.")
        return
    if State.IN_DOUBT not in states:
        failed = states & {State.REJECTED, State.BOUNCED, State.EXPIRED}
        to_one = "To send it only to whom it has not reached: --to ADDRESS. " if failed else ""
        say(out, f"{to_one}For another copy on purpose: --again, or another reason.")


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
    say(err, f"{letters} of {year} to {people} {_go(len(going))} again:", style="bold")
    for one in going[:_FIRST]:
        say(err, f"{one.authority} {one.name}", indent=2)
    if len(going) > _FIRST:
        say(err, f"and {len(going) - _FIRST:,} more", indent=2)
    if already:
        say(err, f"{counted(already, 'letter')} had been sent for this request already.")
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
    say(out, f"{counted(sent, 'letter')} sent again.", style="bold")
    if already:
        say(out, f"{counted(already, 'letter')} had been sent for this request already.")
    for state in State:
        count = sum(one.state is state for one in came)
        if count:
            many = counted(count, "delivery", "deliveries")
            say(out, f"{many}: {STANDS[state]}", indent=2, style=style_of(state))
    for one in came:
        if one.state not in {State.ACCEPTED, State.DELIVERED}:
            letter = letters[one.message]
            say(out, f"{letter.authority} {letter.name}", style="bold")
            _delivery(out, one.recipient, one.state, one.reply)
    if any(one.state is State.IN_DOUBT for one in came):
        say(out, "What to look for, and how to settle a doubt: letters resolve AUTHORITY")
    _print_left_out(out, left_out)


def _go(number: int) -> str:
    return "goes" if number == 1 else "go"


def _print_left_out(console: Console, left_out: Sequence[tuple[Chosen, str]]) -> None:
    if not left_out:
        return
    letters = counted(len(left_out), "letter")
    say(console, f"{letters} cannot be sent again now:", style="bold yellow")
    for one, because in left_out:
        say(console, f"{one.authority} {one.name}: {because}", indent=2)


def _delivery(console: Console, recipient: str, state: State, said: str | None) -> None:
    line = Text(f"{recipient}: ").append(STANDS[state], style=style_of(state))
    say(console, line, indent=2)
    if said:
        say(console, said, indent=4)


def _row(heading: str, text: str) -> None:
    row(err, heading, text, width=_HEADING)
