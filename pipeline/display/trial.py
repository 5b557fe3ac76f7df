"""What came of test sends, for reading."""

from typing import Any

from pipeline.delivery import Accepted, Deferred, Lost, NotTried, Rejected
from pipeline.display.console import out, say
from pipeline.trials import Tried


def print_tried(one: Tried) -> None:
    """One line for one test."""
    style = "" if one.is_well else "bold red"
    say(out, f"{one.name} to {one.address}: {_told(one)}", style=style)


def tried_facts(one: Tried) -> dict[str, Any]:
    """The same for scripts."""
    return {
        "authority": one.authority,
        "name": one.name,
        "to": one.address,
        "outcome": type(one.outcome).__name__.lower(),
        "said": _said(one),
        "message_id": one.message_id,
    }


def _told(one: Tried) -> str:
    match one.outcome:
        case Accepted():
            return f"taken by the mail server ({_said(one)})"
        case Rejected():
            return f"refused: {_said(one)}"
        case Deferred():
            return f"put off by the mail server, and not tried again: {_said(one)}"
        case Lost() | NotTried():
            return f"not sent: {_said(one)}"


def _said(one: Tried) -> str:
    match one.outcome:
        case Accepted(reply=reply) | Rejected(reply=reply) | Deferred(reply=reply):
            return f"{reply.code} {reply.text}" if reply.code else reply.text
        case Lost(reason=reason) | NotTried(reason=reason):
            return reason
