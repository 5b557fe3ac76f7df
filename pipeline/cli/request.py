"""A request to send again, as it comes from the command line; for one letter or several."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from pipeline import run
from pipeline.cli.asking import answer
from pipeline.delivery import State
from pipeline.display.console import counted
from pipeline.display.progress import watching
from pipeline.errors import Refused, Unavailable
from pipeline.ledger.messages import Request, Resent
from pipeline.ledger.runs import Run

WELL = frozenset({State.ACCEPTED, State.DELIVERED})
"""States of a delivery that nobody has to look at."""

_NO_REASON = "A re-send needs a reason that will still make sense next year: --reason TEXT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What was asked for and how; with `ask`, somebody is at a terminal and wants to be asked."""

    reason: str | None
    person: str
    key: str | None
    again: bool
    ask: bool
    yes: bool
    as_json: bool

    def request(self, to: Sequence[Mapping[str, Any]] | None = None, part: str = "") -> Request:
        """The request for one letter; `part` tells it from the others that are asked for at once.

        Raises Refused without a reason.
        """
        if not self.reason or not self.reason.strip():
            raise Refused(_NO_REASON)
        key = f"{self.key.strip()} {part}".strip() if self.key else None
        return Request(
            reason=self.reason.strip(), person=self.person, to=to, key=key, again=self.again
        )

    def with_reason(self) -> "Asked":
        """The same with a reason, asked for where somebody is there; raises Refused without one."""
        if self.reason is None and self.ask:
            # Return alone is no reason: the question is not asked for ever
            said = answer("Why is it sent again")
            return replace(self, reason=str(said)).with_reason()
        self.request()
        return self


def send(pipeline: run.Pipeline, found: Run, made: Sequence[Resent], *, quiet: bool) -> None:
    """Send what is still to be sent of these messages; raises Unavailable if it has to wait."""
    waiting = [one.id for one in made if one.unsent]
    if not waiting:
        return
    try:
        with watching(quiet=quiet) as watch:
            run.send_only(pipeline, found, waiting, progress=watch)
    except Unavailable as error:
        raise Unavailable(
            f"{error}\nThe request is kept, and what was not sent waits. To go on, give the same "
            f"command again, or: letters send {found.year}"
        ) from error


def refuse_unapproved(pipeline: run.Pipeline, found: Run, letter: Any) -> None:
    """Raise Refused where a letter (its row) has to be approved as it stands, and is not.

    Raises Misconfigured where nothing may be sent with this ledger from this machine.
    """
    run.refuse_elsewhere(pipeline)
    lacking = unapproved(pipeline, found, letter.id, letter.authority_code, letter.authority_name)
    if lacking:
        raise Refused(lacking)


def unapproved(
    pipeline: run.Pipeline, found: Run, letter_id: int, code: str, name: str
) -> str | None:
    """That a letter has to be approved as it stands and is not, in sentences; None if it is."""
    wanted = run.approvals_lacking(pipeline, found, letter_id)
    if not wanted:
        return None
    people = counted(wanted, "more person", "more people")
    return (
        f"The letter to {name} is not approved as it stands, and is not sent again before it is: "
        f"{people} must approve it. To approve it: "
        f"letters approve {found.year} --authority {code}"
    )


def now() -> datetime:
    """This moment."""
    return datetime.now(UTC)
