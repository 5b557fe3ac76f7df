"""Phases: how far a year has come, worked out from facts at each look and stored nowhere.

A phase is of one mode: what a rehearsal has sent, the real thing has not.
"""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

from pipeline.delivery import State
from pipeline.ledger.starts import Start
from pipeline.ledger.story import Summary
from pipeline.schema import Step


class Phase(StrEnum):
    """How far a year has come. A year of which nothing was begun or missed is in none."""

    OPEN = "open"
    """Pulled and frozen; not all letters are made."""
    PREPARED = "prepared"
    """Every letter that can be made is; nothing has been sent."""
    APPROVED = "approved"
    """The same, and everybody has approved who is asked to; where nobody is, it stays prepared."""
    DISPATCHING = "dispatching"
    """Sending has begun, and not everything is settled: a delivery in doubt is not."""
    DONE = "done"
    """Everything that can be sent has been. Some of it may still need a person."""
    MISSED = "missed"
    """A start was not made in time, and the schedule leaves the year to a person."""
    CANCELLED = "cancelled"
    """A person has given the year's run up, and nobody has opened it again."""


def of_run(
    summary: Summary, *, opened_at: datetime, approved: bool, missed: Sequence[Start]
) -> Phase:
    """The phase of a year that has a run; `summary` is of the mode that is meant.

    `approved`: approval is asked for, and none is lacking. `missed` are the year's starts that were
    missed in this mode. Whoever has opened the run after that has taken the year in hand, and it
    does not count as missed any more.
    """
    made = sum(summary.deliveries.values())
    if made:
        doubts = summary.deliveries[State.IN_DOUBT.value]
        settled = not (summary.unfinished or summary.unplanned or doubts)
        return Phase.DONE if settled else Phase.DISPATCHING
    if any(
        one.step is Step.DISPATCH and one.missed_at is not None and one.missed_at >= opened_at
        for one in missed
    ):
        return Phase.MISSED
    if summary.letters["unprepared"]:
        return Phase.OPEN
    return Phase.APPROVED if approved else Phase.PREPARED


def without_run(*, given_up: bool, missed: Sequence[Start]) -> Phase | None:
    """The phase of a year that has no run: `given_up` by a person, missed, or none."""
    if given_up:
        return Phase.CANCELLED
    return Phase.MISSED if missed else None
