"""What people call things: how a delivery stands, when something was, who was sending."""

from datetime import datetime

from pipeline.delivery import Mode, State
from pipeline.display.console import LONDON

STANDS = {
    State.QUEUED: "waits to be sent",
    State.CLAIMED: "is being sent",
    State.SENDING: "is being sent",
    State.IN_DOUBT: "in doubt: it may have arrived, or not",
    State.ACCEPTED: "taken by the mail server",
    State.DELIVERED: "delivered",
    State.REJECTED: "refused by the mail server",
    State.BOUNCED: "came back, not delivered",
    State.EXPIRED: "given up after many attempts",
    State.CANCELLED: "cancelled by a person",
}

NO_SIGN = {
    "the worker is gone": "the process that was sending it ended in that moment",
    "the lease is over": "the process that was sending it gave no sign of life any more",
}
"""What the ledger says of a worker that was given up, and what people say."""


def how_to_resolve(code: str, year: int) -> str:
    """The command that shows a letter's doubts, and settles them."""
    return f"letters resolve {code} --year {year}"


def in_mode(mode: Mode, command: str) -> str:
    """A command, given in another mode than the one that is set."""
    return f"LETTERS_MAIL__MODE={mode.value} {command}"


def moment(at: datetime) -> str:
    """22 July 2020 at 09:00, London time."""
    local = at.astimezone(LONDON)
    return f"{local.day} {local:%B %Y} at {local:%H:%M}"


def second(at: datetime) -> str:
    """22 July 2020 at 09:00:12, London time: for finding it in a log."""
    local = at.astimezone(LONDON)
    return f"{local.day} {local:%B %Y} at {local:%H:%M:%S}"


def who(owner: str) -> str:
    """A worker, as somebody could find it: process 4711 on mail1."""
    host, *_, pid = [*owner.split("/")[:4]]
    return f"process {pid} on {host}" if pid.isdigit() and pid != host else owner
