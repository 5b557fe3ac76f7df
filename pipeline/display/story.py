"""The whole story of one letter, for reading."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.delivery import ATTENTION_FIRST, Mode, State
from pipeline.display.console import LONDON, counted, out, row, say, style_of
from pipeline.display.happened import Line, happened, last_words
from pipeline.display.words import NO_SIGN, STANDS, how_to_resolve, moment

_IN = {
    Mode.LIVE: "to the authority",
    Mode.REDIRECT: "redirected to one inbox, a rehearsal",
    Mode.CAPTURE: "captured on this machine, a rehearsal",
}
_KEPT = "kept on this machine"
_OVER = frozenset({State.ACCEPTED, State.DELIVERED, State.CANCELLED})
_CLOCK = 8  # columns


def print_letter(facts: Mapping[str, Any], *, console: Console = out) -> None:
    """One letter's file, or why there is none."""
    console.print(
        f"{facts['name']} ({facts['authority']}), letter of {facts['year']}",
        markup=False,
        style="bold",
    )
    if facts["withheld"]:
        console.print(f"Withheld: {facts['withheld']}", markup=False, style="bold yellow")
    if facts.get("forgotten_at"):
        console.print("There is no PDF any more: it is forgotten.")
    elif facts["pdf"]:
        console.print(facts["pdf"], markup=False)
        console.print(facts["file"], markup=False)
        pages = counted(facts["pages"], "page")
        console.print(f"{pages}, SHA-256 {facts['sha256']}", markup=False)
        for one in facts["enclosures"]:
            console.print(f"Enclosed: {one['filename']}", markup=False)
            console.print(one["place"], markup=False)
            console.print(f"SHA-256 {one['sha256']}", markup=False)
    elif facts["fault"]:
        console.print(f"There is no PDF: {facts['fault']}", markup=False, style="bold red")
    elif facts["withheld"]:
        console.print("There is no PDF: a letter that is withheld is not made.")
    else:
        console.print(
            f"There is no PDF yet. To make what has not been made: letters prepare {facts['year']}"
        )


def print_story(facts: Mapping[str, Any]) -> None:
    """Everything on record about one letter, in the words of people."""
    say(out, f"{facts['name']} ({facts['authority']}), letter of {facts['year']}", style="bold")
    if facts["withheld"]:
        by = f" by {facts['withheld_by']}" if facts["withheld_by"] else ""
        since = moment(datetime.fromisoformat(facts["withheld_at"]))
        say(out, f"Withheld since {since}{by}: {facts['withheld']}", style="bold yellow")
    for one in facts.get("earlier_revisions", ()):
        since = moment(datetime.fromisoformat(one["superseded_at"]))
        say(
            out,
            f"Revision {one['revision'] + 1} replaces revision {one['revision']} since {since}, by "
            f"{one['by']}: {one['because']}",
            style="yellow",
        )
    if facts["fault"]:
        say(out, f"It cannot be made: {facts['fault']}", style="bold red")
    if facts.get("forgotten_at"):
        since = moment(datetime.fromisoformat(facts["forgotten_at"]))
        say(
            out,
            f"Forgotten on {since} by {facts['forgotten_by']}: names, addresses and files are gone "
            "for good. A number stands for each address.",
            style="bold yellow",
        )
    out.print()
    _print_standing(facts)
    _print_happened(happened(facts))
    for one in facts["earlier_runs"]:
        _print_earlier(one, facts["sha256"])
    _print_letter(facts)
    if facts["figures"]:
        _print_figures(facts["figures"])


def _print_standing(facts: Mapping[str, Any]) -> None:
    """How it stands with everybody, in every mode in which there was anything, and what is next."""
    say(out, "How it stands", style="bold")
    current = Mode(facts["mode"])
    found = latest(facts["deliveries"])
    if current not in found:
        say(out, f"It has not been sent in {current.value} mode yet.", indent=2)
    for mode in sorted(found, key=lambda mode: mode is not current):
        say(out, f"{_IN[mode].capitalize()}:", indent=2)
        for one in found[mode]:
            state = State(one["state"])
            words = _KEPT if (mode, state) == (Mode.CAPTURE, State.ACCEPTED) else STANDS[state]
            line = Text(f"{one['recipient']}: ").append(words, style=style_of(state))
            say(out, line, indent=4)
            last = last_words(one, facts["events"])
            if last and state not in {State.ACCEPTED, State.DELIVERED, State.CANCELLED}:
                say(out, one_line(NO_SIGN.get(last, last)), indent=6)
    out.print()
    say(out, "What comes next", style="bold")
    for step in ["Nothing: it is forgotten."] if facts.get("forgotten_at") else following(facts):
        say(out, step, indent=2)
    out.print()


def latest(deliveries: Sequence[Mapping[str, Any]]) -> dict[Mode, list[Mapping[str, Any]]]:
    """The newest delivery to each recipient, by mode."""
    found: dict[Mode, dict[str, Mapping[str, Any]]] = {}
    for one in deliveries:
        found.setdefault(Mode(one["mode"]), {})[one["recipient"]] = one
    return {mode: list(to.values()) for mode, to in found.items()}


def following(facts: Mapping[str, Any]) -> list[str]:
    """What comes next in the mode that is set, in sentences with the command for each."""
    code, year, mode = facts["authority"], facts["year"], Mode(facts["mode"])
    own = f"{code} --year {year}"
    if facts["withheld"]:
        return [f"Nothing of it is sent before somebody says: letters resume {own}"]
    if facts["fault"]:
        return [
            f"Correct what it names, import again, and then: letters refresh {year}, "
            f"letters prepare {year}"
        ]
    if not facts["pdf"]:
        return [f"It is still to be made: letters prepare {year}"]
    found = latest(facts["deliveries"]).get(mode, [])
    held = _held(facts)
    if held and not (found and all(State(one["state"]) in _OVER for one in found)):
        return [held]
    if not found:
        return [f"To send it, with all others that wait: letters send {year}"]
    steps = []
    for state in ATTENTION_FIRST:
        people = [one for one in found if State(one["state"]) is state]
        if people:
            steps += _next_of(state, people, facts)
    return steps or ["Nothing: it has reached everybody it is for, as far as is known."]


def _held(facts: Mapping[str, Any]) -> str | None:
    """What keeps a letter that is made from being sent: a pause, or approval that lacks."""
    if facts["paused"]:
        return str(facts["paused"])
    if not facts["approvals_wanted"]:
        return None
    people = counted(facts["approvals_wanted"], "more person", "more people")
    own = f"{facts['year']} --authority {facts['authority']}"
    return f"{people} must approve it first: letters approve {own}"


def _next_of(
    state: State, found: Sequence[Mapping[str, Any]], facts: Mapping[str, Any]
) -> list[str]:
    code, year = facts["authority"], facts["year"]
    people = " and ".join(one["recipient"] for one in found)
    match state:
        case State.IN_DOUBT:
            return [
                f"Somebody has to find out whether it has reached {people}; it is not sent again "
                f"by itself. What to look for, and how to say it: {how_to_resolve(code, year)}"
            ]
        case State.REJECTED | State.BOUNCED | State.EXPIRED:
            return [
                f"{people} has not got it. To send it there again, or with --to elsewhere: "
                f"letters resend {code} --year {year} --to {found[0]['recipient']} --reason TEXT"
            ]
        case State.CLAIMED | State.SENDING:
            return [f"It is being sent to {people} at this moment."]
        case State.QUEUED:
            kept = facts["only_to_domains"]
            outside = [
                one["recipient"] for one in found if kept and _domain(one["recipient"]) not in kept
            ]
            if outside:
                return [
                    f"It waits for {' and '.join(outside)}, because mail may only go to "
                    f"{', '.join(kept)} (mail.only_to_domains in the settings)."
                ]
            due = max(datetime.fromisoformat(one["due_at"]) for one in found)
            when = f", from {moment(due)} on" if due > datetime.now(UTC) else ""
            return [f"It is tried with {people} at the next run{when}: letters send {year}"]
        case _:
            return []


def _domain(address: str) -> str:
    return address.rpartition("@")[2].lower()


def _print_earlier(one: Mapping[str, Any], sha256: str | None) -> None:
    """What a run held that was refreshed or cancelled since: a rehearsal, say."""
    opened, ended = (datetime.fromisoformat(one[at]) for at in ("opened_at", "cancelled_at"))
    by = f" by {one['by']}" if one["by"] else ""
    say(out, f"An earlier run, {one['how']} on {moment(ended)}{by}", style="bold")
    if one["reason"]:
        say(out, f"“{one_line(one['reason'])}”", indent=2, style="dim")
    say(out, f"It was opened on {moment(opened)} by {one['opened_by']}.", indent=2)
    if one["fault"]:
        say(out, f"Its letter could not be made: {one['fault']}", indent=2)
    elif not one["sha256"]:
        say(out, "Its letter was not made.", indent=2)
    else:
        file = "this very PDF" if one["sha256"] == sha256 else "another PDF"
        sent = "and was sent to:" if one["deliveries"] else "and was sent to nobody."
        say(out, f"Its letter was {file}, {sent}", indent=2)
    for each in one["deliveries"]:
        mode, state = Mode(each["mode"]), State(each["state"])
        words = _KEPT if (mode, state) == (Mode.CAPTURE, State.ACCEPTED) else STANDS[state]
        at = moment(datetime.fromisoformat(each["tried_at"]))
        rehearsal = "" if mode is Mode.LIVE else "; a rehearsal"
        line = Text(f"{each['recipient']}, on {at}: ").append(words, style=style_of(state))
        say(out, line.append(rehearsal), indent=4)
    out.print()


def _print_happened(lines: Sequence[Line]) -> None:
    say(out, "What happened", style="bold")
    day = None
    for line in lines:
        at = line.at.astimezone(LONDON)
        if at.date() != day:
            day = at.date()
            say(out, f"{at:%A} {at.day} {at:%B %Y}, London time", indent=2)
        row(out, f"{at:%H:%M:%S}", line.text, width=_CLOCK, indent=4, style=line.style)
        if line.said:
            row(out, "", f"“{one_line(line.said)}”", width=_CLOCK, indent=4, style="dim")
    out.print()


def _print_letter(facts: Mapping[str, Any]) -> None:
    """The files: the letter's, and each message's."""
    if not facts["pdf"]:
        return
    say(out, "The letter", style="bold")
    gone = facts.get("forgotten_at") is not None
    say(out, f"{facts['pdf']}, removed" if gone else facts["file"], indent=2)
    say(out, f"{counted(facts['pages'], 'page')}, SHA-256 {facts['sha256']}", indent=2)
    for one in facts.get("enclosures", ()):
        say(out, f"Enclosed, {one['kind']}: {one['filename'] or 'forgotten'}", indent=2)
        say(out, f"{one['file']}, removed" if gone else one["place"], indent=4)
        say(out, f"SHA-256 {one['sha256']}", indent=4)
    for one in facts["messages"]:
        again = f", again for {one['requested_by']}" if one["resend_of"] else ""
        say(out, f"Message {one['message_id']}, {_IN[Mode(one['mode'])]}{again}", indent=2)
        if one["eml"]:
            was = "was" if gone else "kept as"
            say(out, f"{was} {one['eml']}{', removed' if gone else ''}", indent=4)
    out.print()


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


def one_line(said: str) -> str:
    """What another machine said, on one line, with nothing that a terminal would obey."""
    return " ".join("".join(each if each.isprintable() else " " for each in said).split())
