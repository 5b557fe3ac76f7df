"""What happened to a letter, in words: a line for each thing, and for each attempt to send it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from pipeline.delivery import LEASED, NEEDS_A_PERSON, Mode, State
from pipeline.display.console import LONDON, counted
from pipeline.display.words import NO_SIGN, STANDS, who
from pipeline.ledger.approvals import PARTS, WITHHELD

_SIMPLE = {
    "edition_made": ("The year's settings were made or changed{by}.", ""),
    "run_opened": ("The year's letters were composed{by}.", ""),
    "letter_approved": ("Approved as it stands{by}.", ""),
    "run_paused": ("Sending the year's letters was paused{by}.", "yellow"),
    "run_resumed": ("Sending the year's letters was let go on{by}.", ""),
    "letters_forgotten": ("Names, addresses and files were forgotten{by}.", ""),
    "letter_faulted": ("The letter could not be made.", "bold red"),
    "letter_withheld": ("Withheld{by}.", "yellow"),
    "letter_released": ("Released{by}: it may be sent.", ""),
}
_TO_BE = {
    Mode.LIVE: "to be sent to {people}.",
    Mode.REDIRECT: "a rehearsal, to be redirected to {people}.",
    Mode.CAPTURE: "a rehearsal, to be kept on this machine for {people}.",
}
_SETTLED = {
    State.ACCEPTED: "the relay has taken it",
    State.DELIVERED: "it was delivered",
    State.BOUNCED: "it came back, not delivered",
    State.QUEUED: "it has not gone, and is sent again",
    State.CANCELLED: "it is given up, and not sent again by itself",
}
_REPORTS = {
    "delivered": "A report came back: delivered",
    "failed": "A report came back: not delivered",
    "delayed": "A report came back: delayed, and still being tried on the way",
    "relayed": "A report came back: handed on to a mail server that reports no more",
    "expanded": "A report came back: handed on to several people",
    "auto_reply": "An automatic answer came back, which changes nothing",
}
_TESTS = {
    "accepted": "taken by the mail server",
    "rejected": "refused",
    "deferred": "put off, and not tried again",
}
_UNTOLD = frozenset({"delivery_moved", "message_frozen"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One thing that happened: when, what in words, and what somebody or some machine said.

    `about` is the delivery that it concerns, if it is one.
    """

    at: datetime
    text: str
    about: int | None = None
    said: str | None = None
    style: str = ""


def happened(facts: Mapping[str, Any]) -> list[Line]:
    """What happened to one letter, oldest first: one line for each attempt to send it."""
    deliveries = {one["id"]: one for one in facts["deliveries"]}
    messages = {one["id"]: one for one in facts["messages"]}
    moved = {
        (event["delivery"], event["at"])
        for event in facts["events"]
        if event["kind"] == "delivery_moved"
    }
    lines: list[Line] = []
    for event in facts["events"]:
        if event["kind"] == "report_noted" and (event["delivery"], event["at"]) in moved:
            continue  # the move that it made quotes it
        line = _moved(event, deliveries) if event["kind"] == "delivery_moved" else None
        if event["kind"] not in _UNTOLD:
            line = _told(event, messages, deliveries)
        if line is not None:
            lines.append(line)
    for one in deliveries.values():
        if State(one["state"]) in LEASED and one["attempts"]:
            last = one["attempts"][-1]
            lines.append(
                Line(
                    at=datetime.fromisoformat(last["claimed_at"]),
                    text=f"Being sent, by {who(last['owner'])}: {one['recipient']}",
                    style="yellow",
                )
            )
    return _merged(sorted(lines, key=lambda line: line.at))


def last_words(one: Mapping[str, Any], events: Sequence[Mapping[str, Any]]) -> str | None:
    """What was last said of one delivery: by the relay, or by what showed that it came back."""
    if one["state"] == State.BOUNCED.value:  # the relay took it: its reply is not why
        for event in reversed(events):
            if event["delivery"] == one["id"] and event.get("to") == one["state"]:
                return str(event["evidence"]) if event.get("evidence") else None
    return one["attempts"][-1]["reply"] if one["attempts"] else None


def _merged(lines: Sequence[Line]) -> list[Line]:
    """The same again and again of one delivery, as when a relay is away, is said once."""
    groups: list[list[Line]] = []
    last: dict[int, list[Line]] = {}
    for line in lines:
        before = last.get(line.about) if line.about is not None else None
        if before and (before[-1].text, before[-1].said) == (line.text, line.said):
            before.append(line)
            continue
        groups.append([line])
        if line.about is not None:
            last[line.about] = groups[-1]
    return [_as_one(group) for group in groups]


def _as_one(group: Sequence[Line]) -> Line:
    first, *others = group
    if not others:
        return first
    last = others[-1].at.astimezone(LONDON)
    again = f"the same {counted(len(others), 'more time', 'more times')}"
    until = f"until {last.day} {last:%B, %H:%M:%S}"
    return replace(first, text=f"{first.text} ({again}, {until})")


def _told(
    event: Mapping[str, Any],
    messages: Mapping[int, Mapping[str, Any]],
    deliveries: Mapping[int, Mapping[str, Any]],
) -> Line:
    """What happened besides deliveries."""
    by = f" by {event['person']}" if event["person"] else ""
    said = event.get("reason") or event.get("said")
    text, style = _SIMPLE.get(event["kind"], ("", ""))
    if text:
        text = text.format(by=by)
    elif event["kind"] == "approval_ended":
        because = ", ".join(PARTS[one] for one in event["because"])
        text = f"Not approved{by} any more; changed: {because}."
        if event["because"] == [WITHHELD]:
            text = f"Not approved{by} any more, as it was withheld."
        style = "yellow"
    elif event["kind"] == "letter_prepared":
        text = f"The letter was made and proved: {counted(event['pages'], 'page')}."
    elif event["kind"] == "message_created":
        planned = _to_be(event, messages)
        text = f"{planned[:1].upper()}{planned[1:]}"
    elif event["kind"] == "resend_requested":
        text = f"Asked for again{by}: {_to_be(event, messages)}"
    elif event["kind"] == "letter_reissued":
        text = f"Replaced{by}: revision {event['revision']} takes the place of the one before."
    elif event["kind"] == "test_sent":
        came = _TESTS.get(str(event["outcome"]), "not sent")
        text = f"Sent as a test{by}, to {', '.join(event.get('recipients', ['somebody']))}: {came}."
    elif event["kind"] == "report_noted":
        report = str(event["report"])
        text = f"{_REPORTS.get(report, report.capitalize())}: {_recipient(event, deliveries)}"
        said = said or event.get("status")
        style = "bold red" if report == "failed" else ""
    elif event["kind"] == "answer_late":
        to = _recipient(event, deliveries)
        taken = str(said).startswith("2")
        what = "The relay did take it, as it said too late" if taken else "An answer came too late"
        text = f"{what} to change anything: {to}"
        style = "bold red" if taken else ""
    else:
        to = f": {_recipient(event, deliveries)}" if event["delivery"] else ""
        text = f"{str(event['kind']).replace('_', ' ').capitalize()}{by}{to}"
    at = datetime.fromisoformat(event["at"])
    return Line(at=at, text=text, about=event["delivery"], said=said, style=style)


def _to_be(event: Mapping[str, Any], messages: Mapping[int, Mapping[str, Any]]) -> str:
    return _TO_BE[Mode(event["mode"])].format(people=_people(event, messages))


def _people(event: Mapping[str, Any], messages: Mapping[int, Mapping[str, Any]]) -> str:
    """Whom a message is for, by address and role; and whom in copy."""
    known = {
        one["address"]: one
        for one in (
            messages[event["message"]]["recipients"] if event["message"] in messages else ()
        )
    }
    told = []
    # Of what is forgotten, the numbers that stand for addresses.
    for address in event.get("recipients", known or ["a recipient"]):
        one = known.get(address)
        roles = ", ".join(one["roles"]).replace("_", " ") if one else ""
        copy = "in copy " if one and one["kind"] == "cc" else ""
        told.append(f"{copy}{address} ({roles})" if roles else f"{copy}{address}")
    return " and ".join(filter(None, [", ".join(told[:-1]), told[-1]]))


def _recipient(event: Mapping[str, Any], deliveries: Mapping[int, Mapping[str, Any]]) -> str:
    one = deliveries.get(event["delivery"])
    return str(one["recipient"]) if one else "a recipient"


def _moved(event: Mapping[str, Any], deliveries: Mapping[int, Mapping[str, Any]]) -> Line | None:
    """A move of a delivery, if it ends an attempt or was made by somebody."""
    source, target = State(event["from"]), State(event["to"])
    if target in LEASED:
        return None  # the attempt's end says it all
    to = _recipient(event, deliveries)
    one = deliveries.get(event["delivery"])
    by = f" by {event['person']}" if event["person"] else ""
    said = event.get("evidence") or event.get("said")
    text, style = "", "bold red" if target in NEEDS_A_PERSON else ""
    if source in LEASED and one is not None:
        text, said = _attempted(one, event, target)
    elif source is State.IN_DOUBT:
        text = f"The doubt was settled{by or ' by evidence'}, {_SETTLED[target]}: {to}"
    elif target is State.EXPIRED:
        text = f"Given up: {to}"
    elif target is State.CANCELLED:
        text = f"Not sent any more, stopped{by}: {to}"
    elif target is State.DELIVERED:
        text = f"Delivered: {to}"
    elif target is State.BOUNCED:
        text = f"Came back, not delivered: {to}"
    else:
        text = f"{STANDS[target].capitalize()}: {to}"
    at = datetime.fromisoformat(event["at"])
    return Line(at=at, text=text, about=event["delivery"], said=said, style=style)


def _attempted(
    one: Mapping[str, Any], event: Mapping[str, Any], target: State
) -> tuple[str, str | None]:
    """What came of one attempt, and what was said of it."""
    to, said = one["recipient"], event.get("said")
    attempt: Mapping[str, Any] = next(
        (each for each in one["attempts"] if each["number"] == event.get("attempt")), {}
    )
    relay = f"the relay {attempt['relay']}" if attempt.get("relay") else "the relay"
    captured = Mode(one["mode"]) is Mode.CAPTURE
    if said in NO_SIGN:
        sure = "nothing had been sent" if target is State.QUEUED else "it may have gone, or not"
        return f"Broken off, as {NO_SIGN[str(said)]}; {sure}: {to}", None
    if target is State.ACCEPTED:
        text = "Kept on this machine" if captured else f"Taken by {relay}"
    elif target is State.IN_DOUBT:
        text = f"In doubt: handed to {relay}, and no answer came"
    elif target is State.REJECTED and said and said[:3].isdigit():
        text = "Refused for good by the relay"
    elif target is State.REJECTED:
        text = "It could not be sent"
    elif attempt.get("outcome") == "deferred":
        text = "Put off by the relay, to be tried again"
    else:
        text = "Not sent yet, to be tried again"
    return f"{text}: {to}", said
