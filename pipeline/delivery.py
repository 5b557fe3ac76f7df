"""Deliveries: their states, the moves between them, and what a relay can answer.

A delivery is one message to one envelope recipient. `TRANSITIONS` is the only place that says which
state may follow which; the CHECK constraints and the partial unique index of the ledger and the
drawing in the documentation are made from it.

The states follow from one fact: an SMTP server may not deliver before the final dot. The intent is
committed before the dot is written, so a crash before the commit is certainly unsent, and only what
lies between the intent and the recorded outcome can be in doubt.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum


class State(StrEnum):
    """Where a delivery stands; the values are stored in the ledger and printed to people."""

    QUEUED = "queued"
    CLAIMED = "claimed"
    SENDING = "sending"
    IN_DOUBT = "in_doubt"
    ACCEPTED = "accepted"
    DELIVERED = "delivered"
    REJECTED = "rejected"
    BOUNCED = "bounced"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """One permitted move, and why it may be made."""

    source: State
    target: State
    because: str


TRANSITIONS: tuple[Transition, ...] = tuple(
    Transition(source=source, target=target, because=because)
    for source, target, because in (
        (State.QUEUED, State.CLAIMED, "a worker takes it: lease and attempt number"),
        (State.QUEUED, State.CANCELLED, "a person withholds it"),
        (State.QUEUED, State.EXPIRED, "its attempts or its time are used up"),
        (State.QUEUED, State.ACCEPTED, "evidence that the relay took an earlier attempt"),
        (State.QUEUED, State.DELIVERED, "a delivery report of an earlier attempt"),
        (State.CLAIMED, State.QUEUED, "not tried, 4xx or lease over before the intent: unsent"),
        (State.CLAIMED, State.REJECTED, "5xx before the intent"),
        (State.CLAIMED, State.SENDING, "the intent is committed; the dot may follow"),
        (State.SENDING, State.ACCEPTED, "250 after the dot"),
        (State.SENDING, State.QUEUED, "4xx after the dot: the relay did not take it"),
        (State.SENDING, State.REJECTED, "5xx after the dot: the relay did not take it"),
        (State.SENDING, State.IN_DOUBT, "no readable answer after the dot, or lease over"),
        (State.IN_DOUBT, State.ACCEPTED, "evidence that the relay took it"),
        (State.IN_DOUBT, State.DELIVERED, "a delivery report, or a person"),
        (State.IN_DOUBT, State.BOUNCED, "a delivery report, or a person"),
        (State.IN_DOUBT, State.QUEUED, "proof of absence, or a person with a reason"),
        (State.IN_DOUBT, State.CANCELLED, "a person gives it up"),
        (State.ACCEPTED, State.DELIVERED, "a delivery report"),
        (State.ACCEPTED, State.BOUNCED, "a delivery report"),
        (State.DELIVERED, State.BOUNCED, "a late delivery report"),
    )
)

_PERMITTED = frozenset((t.source, t.target) for t in TRANSITIONS)

OPEN: tuple[State, ...] = (State.QUEUED, State.CLAIMED, State.SENDING, State.IN_DOUBT)
"""States in which a letter may still reach the recipient: at most one such delivery at a time."""

LEASED: tuple[State, ...] = (State.CLAIMED, State.SENDING)
"""States that belong to a worker, and only while its lease lasts."""

NEEDS_A_PERSON: tuple[State, ...] = (
    State.IN_DOUBT,
    State.REJECTED,
    State.BOUNCED,
    State.EXPIRED,
)
"""States that end no story well: somebody has to look."""

ATTENTION_FIRST: tuple[State, ...] = (
    State.IN_DOUBT,
    State.BOUNCED,
    State.REJECTED,
    State.EXPIRED,
    State.SENDING,
    State.CLAIMED,
    State.QUEUED,
    State.CANCELLED,
    State.ACCEPTED,
    State.DELIVERED,
)
"""All states, the one that most needs a person's attention first."""


def may_follow(source: State, target: State) -> bool:
    """Whether a delivery in `source` may move to `target`."""
    return (source, target) in _PERMITTED


def fold(moves: Iterable[tuple[State, State]]) -> State | None:
    """Where a delivery stands after these moves (from, to), told in any order; None for nowhere.

    It begins in the queue, and a state that it is not in has been left as often as it was entered.
    So neither order nor time is asked for: what came late, or from another machine with another
    clock, counts the same. With a move lacking, or told twice, it never stands where it did.
    """
    stands: Counter[State] = Counter({State.QUEUED: 1})
    for source, target in moves:
        if not may_follow(source, target):
            return None
        stands[source] -= 1
        stands[target] += 1
    there = [state for state, times in stands.items() if times]
    return there[0] if len(there) == 1 else None


def most_pressing(states: Iterable[State]) -> State | None:
    """The state among `states` that most needs attention, or None if there are none."""
    return min(states, key=ATTENTION_FIRST.index, default=None)


class Mode(StrEnum):
    """Where mail goes. Only what was sent in `LIVE` counts as sent; the others are rehearsals."""

    CAPTURE = "capture"
    REDIRECT = "redirect"
    LIVE = "live"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a relay said: the three-digit code and its text; code 0 where no relay was asked."""

    code: int
    text: str

    def __str__(self) -> str:
        return f"{self.code} {self.text}".strip() if self.code else self.text


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """250 after the dot: the relay has the message. `queue_id` is the relay's name for it."""

    reply: Reply
    queue_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Deferred:
    """4xx: not taken now, may be tried again."""

    reply: Reply


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """5xx about this recipient or message: not taken, and trying again will not help."""

    reply: Reply


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """The dot was written, or may have been, and no readable answer came: in doubt."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NotTried:
    """The relay certainly has not taken it. With `trouble` it is the relay's own fault.

    The dot was not written; or it was, and the relay says that it took nothing since it refuses our
    sender (Exchange's SendAsDenied). Trouble (no connection, TLS, authentication, 421, throttling,
    a refused sender) concerns every letter alike, so no letter's attempts are counted for it.
    """

    reason: str
    trouble: bool = True


Outcome = Accepted | Deferred | Rejected | Lost | NotTried


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a delivery that is put off is tried again: so often, and so long after the first."""

    times: int = 15
    within: timedelta = timedelta(days=3)


def probe_after(failures: int, *, chance: float) -> timedelta:
    """How long to leave a relay alone that has failed `failures` times in a row (1, 2, ...).

    A minute, doubling up to a quarter of an hour; `chance` in [0, 1) spreads it by a fifth.
    """
    wait = min(timedelta(minutes=2 ** min(failures - 1, 8)), timedelta(minutes=15))
    return wait * (0.8 + 0.4 * chance)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast a relay may be given mail: the time between two deliveries, zero for no limit.

    `to_one_domain` counts each recipient domain by itself.
    """

    overall: timedelta = timedelta(0)
    to_one_domain: timedelta = timedelta(0)


def retry_after(deferrals: int, *, chance: float) -> timedelta:
    """How long to wait after being put off for the `deferrals`-th time (1, 2, ...).

    5 minutes, doubling up to four hours: greylisting passes within minutes, a full mailbox or a
    moved server within a day or not at all. `chance` in [0, 1) spreads that by a fifth to either
    side, so that what was put off together does not come back together.
    """
    wait = min(timedelta(minutes=5 * 2 ** min(deferrals - 1, 8)), timedelta(hours=4))
    return wait * (0.8 + 0.4 * chance)
