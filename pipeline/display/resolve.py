"""What is known of a delivery in doubt, what to look for, and what came of a person's word."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from rich.console import Console

from pipeline.delivery import Mode, State
from pipeline.display.console import LONDON, counted, err, out, row, say
from pipeline.display.words import NO_SIGN, in_mode, moment, second, who
from pipeline.ledger.deliveries import Doubt
from pipeline.ledger.doubts import Settled

_MODES = {
    Mode.CAPTURE: "in capture mode, a rehearsal",
    Mode.REDIRECT: "in redirect mode, a rehearsal",
    Mode.LIVE: "in live mode",
}
_WORDS = (
    ("--sent", "it has gone: recorded as taken by the relay, and nothing is sent again"),
    (
        "--requeue",
        "it has not gone: sent again at the next run. If the first one did arrive, they get two",
    ),
    ("--cancel", "given up: not sent again by itself, and not counted as sent"),
)
_TOLD = {
    State.ACCEPTED: "recorded as taken by the relay; nothing is sent again",
    State.QUEUED: "to be sent again",
    State.CANCELLED: "given up; it is not sent again by itself",
    State.DELIVERED: "recorded as delivered",
    State.BOUNCED: "recorded as come back, not delivered",
}
_WIDTH = max(len(word) for word, _ in _WORDS) + 1


def print_doubts(
    console: Console,
    name: str,
    year: int,
    mode: Mode,
    doubts: Sequence[Doubt],
    writing: Mapping[int, datetime],
) -> None:
    """The doubts of one letter: who, when, by which relay, and what came back.

    `writing` has those (by delivery) whose worker may still hand the message over, and until when.
    """
    say(console, f"{name}, letter of {year}", style="bold")
    are = "1 delivery is" if len(doubts) == 1 else f"{len(doubts):,} deliveries are"
    say(console, f"{are} in doubt {_MODES[mode]}:", style="bold yellow")
    for one in doubts:
        console.print()
        say(console, one.recipient, indent=2, style="bold")
        for fact in _facts(one):
            say(console, fact, indent=4)
        if one.delivery_id in writing:
            until = f"{writing[one.delivery_id].astimezone(LONDON):%H:%M:%S}"
            say(
                console,
                f"It is not known to have ended: until {until} it may still hand the message "
                "over, and so long --requeue and --cancel have to wait.",
                indent=4,
                style="yellow",
            )
    console.print()


def _facts(doubt: Doubt) -> list[str]:
    relay = f"the relay {doubt.relay}" if doubt.relay else "the relay"
    port = f", from port {doubt.local_port}" if doubt.local_port else ""
    said = doubt.reply or "nothing is on record"
    return [
        f"Handed to {relay} on {second(doubt.intent_at)}, London time{port}",
        f"What came back: {NO_SIGN.get(said, said)}",
        f"Message-ID {doubt.message_id}",
        f"It was {who(doubt.owner)} that tried.",
    ]


def print_choices(console: Console, mode: Mode, year: int, command: str) -> None:
    """What to look for, and the three things that can be said; `command` is what begins each."""
    say(console, "What to look for", style="bold")
    if mode is Mode.CAPTURE:
        say(
            console,
            "The captured mail is its own evidence: once the process that tried has ended, "
            f"letters send {year} looks there and settles it.",
            indent=2,
        )
    else:
        say(
            console,
            "The relay's log of that time: look for the Message-ID, or for the port. In Postfix's, "
            "“queue active” says that the message was taken, and “lost connection after DATA” at "
            "the end of the connection that it was not; “data=0/1” alone proves nothing. letters "
            "reports reads it for you where reports.relay_log names it.",
            indent=2,
        )
        where = "Ask the recipient" if mode is Mode.LIVE else "Look into the inbox"
        say(console, f"{where}: has it come?", indent=2)
    console.print()
    say(console, "Then say what you found", style="bold")
    for word, meaning in _WORDS:
        row(console, word, meaning, width=_WIDTH)
    console.print()
    say(console, f'As in: {command} --sent --note "queued as 4XyZ12, by the relay\'s log"')


def print_consequence(word: str, note: str) -> None:
    """What will be recorded, before somebody is asked."""
    row(err, f"--{word}", dict(_WORDS)[f"--{word}"], width=_WIDTH)
    row(err, "Note", note, width=_WIDTH)
    err.print()


def print_none(name: str, year: int, mode: Mode, settled: Sequence[Settled]) -> None:
    """That nothing of the letter is in doubt, and how it was settled if it ever was."""
    say(out, f"Nothing of the letter of {year} to {name} is in doubt {_MODES[mode]}.", style="bold")
    for one in settled:
        say(out, how_settled(one), indent=2)


def how_settled(one: Settled) -> str:
    """Who settled a doubt, when, as what and why, in one sentence."""
    by = f"by {one.person}" if one.person else "by evidence"
    return (
        f"{one.recipient}: settled {by} on {moment(one.at)}, {_TOLD[one.target]} ({one.because})."
    )


def print_elsewhere(console: Console, elsewhere: Mapping[Mode, int], command: str) -> None:
    """That there are doubts in other modes, and how to look at those."""
    for mode, number in elsewhere.items():
        are = f"{counted(number, 'delivery', 'deliveries')} of it"
        say(
            console,
            f"{are} {'is' if number == 1 else 'are'} in doubt {_MODES[mode]}. To look: "
            f"{in_mode(mode, command)}",
            style="yellow",
        )


def print_settled(
    name: str,
    target: State,
    done: Sequence[Doubt],
    overtaken: Sequence[tuple[Doubt, Settled | None]],
    *,
    following: str | None,
) -> None:
    """What came of a person's word: what was settled so, what others had settled meanwhile.

    `following` says what happens next, if anything does.
    """
    if done:
        many = counted(len(done), "doubt")
        say(out, f"{many} about the letter to {name} settled:", style="bold")
    for one in done:
        say(out, f"{one.recipient}: {_TOLD[target]}.", indent=2)
    for one, settled in overtaken:
        if settled is None:
            told = f"{one.recipient}: in doubt no more, by somebody else's hand; left as it is."
        else:
            told = f"Left as it is, settled meanwhile: {how_settled(settled)}"
        say(out, told, indent=2, style="yellow")
    if following:
        say(out, following)
