"""Deliveries: claimed, intended, settled; each move one conditional statement.

A worker may only move what it still holds: every write names the owner and the attempt, and a
worker whose lease was taken away finds that it changed no row.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import sqlalchemy as sa

from pipeline import schema
from pipeline.database import Database
from pipeline.delivery import (
    LEASED,
    OPEN,
    Accepted,
    Deferred,
    Lost,
    Mode,
    NotTried,
    Outcome,
    Pace,
    Patience,
    Rejected,
    State,
    may_follow,
    retry_after,
)
from pipeline.ledger import approvals, events, relays
from pipeline.ledger.instance import Entry
from pipeline.schema import Event

PATIENCE = Patience()
UNHURRIED = Pace()


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One delivery, held by one worker for one attempt until its lease ends.

    `authority_code` says whose letter it is; `eml` and `eml_sha256` are its message's bytes in the
    archive, None until somebody freezes them.
    """

    delivery_id: int
    message_id: int
    letter_id: int
    run_id: int
    recipient: str
    token: str | None
    envelope_sender: str
    attempt: int
    owner: str
    authority_code: str | None = None
    eml: str | None = None
    eml_sha256: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """A delivery that may or may not have been made, and what is known of the attempt to.

    `owner` is who tried, for the `attempt`-th time; `relay`, `local_host` and `local_port` are the
    connection's two ends. `outcome` is `lost` where the worker itself found that no answer came,
    and `abandoned` where it was given up by others; `reply` says more. Both are None if neither is
    on record.
    """

    owner: str
    delivery_id: int
    attempt: int
    run_id: int
    letter_id: int
    message_id: str
    recipient: str
    envelope_sender: str
    relay: str | None
    local_host: str | None
    local_port: int | None
    intent_at: datetime
    ended_at: datetime | None
    outcome: str | None
    reply: str | None


class _TurnTaken(Exception):
    pass


# The statements that every letter takes are made once: to make one anew takes seven times as long
# as to carry it out.
_D, _A = schema.deliveries, schema.attempts
_HELD = (
    _D.c.id == sa.bindparam("delivery"),
    _D.c.owner == sa.bindparam("owner_"),
    _D.c.attempt == sa.bindparam("number_"),
)
_CLAIM = (
    sa.update(_D)
    .where(_D.c.id == sa.bindparam("delivery"), _D.c.state == State.QUEUED.value)
    .values(
        state=State.CLAIMED.value,
        owner=sa.bindparam("owner_"),
        lease_until=sa.bindparam("until"),
        attempt=_D.c.attempt + 1,
    )
    .returning(_D.c.attempt)
)
_HELD_ROW = sa.select(_D.c.state, _D.c.deferrals).where(*_HELD).with_for_update()
_RENEW = (
    sa.update(_D)
    .where(*_HELD, _D.c.state.in_([state.value for state in LEASED]))
    .values(lease_until=sa.bindparam("until"))
)
_ATTEMPT = sa.insert(_A)
_THIS_ATTEMPT = sa.update(_A).where(
    _A.c.delivery_id == sa.bindparam("delivery"), _A.c.number == sa.bindparam("number_")
)
_INTENT = _THIS_ATTEMPT.values(
    intent_at=sa.bindparam("at"),
    relay=sa.bindparam("relay_"),
    local_host=sa.bindparam("host"),
    local_port=sa.bindparam("port"),
)
_END = _THIS_ATTEMPT.values(
    ended_at=sa.bindparam("at"),
    outcome=sa.bindparam("what"),
    reply=sa.bindparam("said"),
    queue_id=sa.bindparam("queued_as"),
)


def claim(
    db: Database,
    run_id: int,
    mode: Mode,
    *,
    owner: str,
    lease: timedelta,
    now: datetime,
    messages: Collection[int] | None = None,
    relay: str = "",
    pace: Pace = UNHURRIED,
    only_to: Collection[str] = (),
    people: int = 0,
) -> Claim | None:
    """Take the next delivery of the run that is due, or None if there is none.

    With `messages`, only their deliveries; with `only_to`, only those to these domains. There is
    none while the run is paused or the relay is left alone because of its trouble, and none of a
    letter that is withheld, or that fewer `people` have approved. With a `pace`, a turn of the
    relay is taken with it; `held_up` says how long to wait for the next.
    """
    while True:
        try:
            # Not synced: a claim that a power cut takes away was of a letter that is unsent, and
            # no intent outlives its claim, as it is synced after it.
            with db.write(synced=False) as connection:
                following = connection.execute(
                    _next(
                        messages is not None,
                        bool(only_to),
                        bool(people),
                        bool(pace.overall),
                        bool(pace.to_one_domain),
                    ),
                    _asked(run_id, mode, now, messages, only_to, people)
                    | relays.asked(relay, pace, now=now),
                ).one_or_none()
                if following is None:
                    return None
                if not relays.take_turn(connection, db, relay, following.domain, pace, now=now):
                    raise _TurnTaken
                return _claimed(connection, following, run_id, owner=owner, lease=lease, now=now)
        except _TurnTaken:
            continue  # by another worker since we looked: look again


def held_up(
    db: Database,
    run_id: int,
    mode: Mode,
    *,
    now: datetime,
    messages: Collection[int] | None = None,
    relay: str,
    pace: Pace,
    only_to: Collection[str] = (),
    people: int = 0,
) -> datetime | None:
    """When to look again for what is due and only waits for its turn; None if nothing does."""
    if not pace.overall and not pace.to_one_domain:
        return None
    due = _due(messages is not None, bool(only_to), bool(people)).order_by(None).subquery()
    with db.read() as connection:
        domains = connection.scalars(
            sa.select(due.c.domain).distinct(),
            _asked(run_id, mode, now, messages, only_to, people),
        ).all()
    if not domains or ((trouble := relays.in_trouble(db, relay)) and trouble.holds(now)):
        return None
    turn = relays.next_turn(db, relay, domains if pace.to_one_domain else (), pace, now=now)
    return max(turn, now) if turn is not None else now


def _asked(
    run_id: int,
    mode: Mode,
    now: datetime,
    messages: Collection[int] | None,
    only_to: Collection[str],
    people: int,
) -> dict[str, Any]:
    """The values that `_due` leaves open."""
    asked: dict[str, Any] = {"run": run_id, "mode": mode.value, "now": now}
    if messages is not None:
        asked["messages"] = list(messages)
    if only_to:
        asked["domains"] = list(only_to)
    if people:
        asked["people"] = people
    return asked


@cache
def _due(chosen: bool, limited: bool, approved: bool) -> sa.Select[Any]:
    """The deliveries of the run that are due and may go, the first one first.

    With `chosen` only of some messages, with `limited` only to some domains, with `approved` only
    of letters that enough people have approved.
    """
    d, table, r = schema.deliveries, schema.letters, schema.runs
    return (
        sa.select(d.c.id, d.c.domain)
        .join(table, table.c.id == d.c.letter_id)
        .join(r, r.c.id == table.c.run_id)
        .where(
            table.c.run_id == sa.bindparam("run"),
            r.c.paused_at.is_(None),
            r.c.cancelled_at.is_(None),
            table.c.withheld_at.is_(None),
            d.c.mode == sa.bindparam("mode"),
            d.c.state == State.QUEUED.value,
            d.c.due_at <= sa.bindparam("now"),
            d.c.message_id.in_(sa.bindparam("messages", expanding=True)) if chosen else sa.true(),
            d.c.domain.in_(sa.bindparam("domains", expanding=True)) if limited else sa.true(),
            approvals.may_go(table, sa.bindparam("people") if approved else 0),
        )
        .order_by(d.c.due_at, d.c.id)
    )


@cache
def _next(
    chosen: bool, limited: bool, approved: bool, overall: bool, to_one: bool
) -> sa.Select[Any]:
    """The first of them that its relay may be given now, and its message."""
    d, m = schema.deliveries, schema.messages
    return (
        _due(chosen, limited, approved)
        .join(m, m.c.id == d.c.message_id)
        .add_columns(
            d.c.message_id,
            d.c.letter_id,
            d.c.recipient,
            d.c.token,
            d.c.envelope_sender,
            schema.letters.c.authority_code,
            m.c.eml,
            m.c.eml_sha256,
        )
        .where(*relays.usable(overall=overall, to_one_domain=to_one))
        .limit(1)
        .with_for_update(skip_locked=True, of=schema.deliveries)
    )


def _allowed(only_to: Collection[str]) -> sa.ColumnElement[bool]:
    """That mail may go to the domain; no domains named: to all."""
    return schema.deliveries.c.domain.in_(only_to) if only_to else sa.true()


def kept_back(db: Database, run_id: int, mode: Mode, only_to: Collection[str]) -> int:
    """How many queued deliveries wait because mail may not go to their domains."""
    d, table = schema.deliveries, schema.letters
    if not only_to:
        return 0
    with db.read() as connection:
        return (
            connection.scalar(
                sa.select(sa.func.count())
                .select_from(d)
                .join(table, table.c.id == d.c.letter_id)
                .where(
                    table.c.run_id == run_id,
                    d.c.mode == mode.value,
                    d.c.state == State.QUEUED.value,
                    ~_allowed(only_to),
                )
            )
            or 0
        )


def _claimed(
    connection: sa.Connection,
    due: sa.Row[Any],
    run_id: int,
    *,
    owner: str,
    lease: timedelta,
    now: datetime,
) -> Claim | None:
    attempt = connection.execute(
        _CLAIM, {"delivery": due.id, "owner_": owner, "until": now + lease}
    ).scalar_one_or_none()
    if attempt is None:
        return None
    claimed = Claim(
        delivery_id=due.id,
        message_id=due.message_id,
        letter_id=due.letter_id,
        run_id=run_id,
        recipient=due.recipient,
        token=due.token,
        envelope_sender=due.envelope_sender,
        attempt=attempt,
        owner=owner,
        authority_code=due.authority_code,
        eml=due.eml,
        eml_sha256=due.eml_sha256,
    )
    connection.execute(
        _ATTEMPT,
        {"delivery_id": due.id, "number": attempt, "owner": owner, "claimed_at": now},
    )
    _note_move(connection, claimed, State.QUEUED, State.CLAIMED, at=now)
    return claimed


def intend(
    db: Database,
    claimed: Claim,
    *,
    relay: str,
    local_host: str | None = None,
    local_port: int | None,
    lease: timedelta,
    now: datetime,
) -> Entry | None:
    """Commit the intent to write the dot; its entry, or None if the claim is no longer ours.

    Then no dot. The lease begins anew, as the wait for the relay's answer may be long.
    """
    with db.write() as connection:
        if not _move(connection, claimed, State.CLAIMED, State.SENDING, until=now + lease):
            return None
        connection.execute(
            _INTENT,
            {
                **_number(claimed),
                "at": now,
                "relay_": relay,
                "host": local_host,
                "port": local_port,
            },
        )
        event = _note_move(connection, claimed, State.CLAIMED, State.SENDING, at=now)
    return Entry(
        event=event,
        at=now,
        kind=Event.DELIVERY_MOVED.value,
        delivery=claimed.delivery_id,
        attempt=claimed.attempt,
    )


def settle(
    db: Database,
    claimed: Claim,
    outcome: Outcome,
    *,
    now: datetime,
    patience: Patience = PATIENCE,
    chance: float = 0.5,
) -> bool:
    """Record what came of an attempt; False if the claim is no longer ours.

    Before the intent the delivery goes back to the queue unless it was rejected; after it, only an
    answer of the relay settles it, and anything else leaves it in doubt. What was put off waits the
    longer the more often it was (`chance` spreads it), and expires when `patience` is at its end;
    the relay's own trouble is not held against it.
    """
    with db.write() as connection:
        # Only a dot is accepted, so nothing need be looked at before that is recorded.
        source, deferrals = State.SENDING, 0
        if not isinstance(outcome, Accepted):
            held = _held_row(connection, claimed)
            if held is None:
                return False
            source, deferrals = State(held.state), held.deferrals
        target = _settled(outcome)
        burns = isinstance(outcome, Deferred) or (
            isinstance(outcome, NotTried) and not outcome.trouble
        )
        deferrals += burns
        wait = retry_after(deferrals, chance=chance) if burns else timedelta(0)
        if not _move(connection, claimed, source, target, due_at=now + wait, now=now):
            return False
        _end_attempt(connection, claimed, outcome, now=now)
        _note_move(connection, claimed, source, target, at=now, said=_said(outcome))
        if burns:
            _put_off(connection, claimed, deferrals, patience, now=now)
    return True


def is_settled(db: Database, claimed: Claim, outcome: Outcome) -> bool:
    """Whether this attempt is on record with this very outcome."""
    a = schema.attempts
    with db.read() as connection:
        row = connection.execute(
            sa.select(a.c.outcome, a.c.reply, a.c.owner).where(
                a.c.delivery_id == claimed.delivery_id, a.c.number == claimed.attempt
            )
        ).one()
    recorded = (row.outcome, row.reply, row.owner)
    return recorded == (_named(outcome), _said(outcome), claimed.owner)


def answer_late(db: Database, claimed: Claim, outcome: Outcome, *, now: datetime) -> State | None:
    """Record an answer that came after the claim was lost; where it moved the delivery, if so.

    It is evidence like any other. What waits in doubt since that very attempt is settled by it: the
    relay took it, or certainly did not. That it took it counts also where the delivery is in the
    queue again, so that it does not go twice. Otherwise it is noted and changes nothing.
    """
    d = schema.deliveries
    with db.write() as connection:
        row = connection.execute(
            sa.select(d.c.state, d.c.attempt).where(d.c.id == claimed.delivery_id).with_for_update()
        ).one()
        target = {
            Accepted: State.ACCEPTED,
            Rejected: State.QUEUED,  # the next attempt hears it in time
            Deferred: State.QUEUED,
            NotTried: State.QUEUED,
        }.get(type(outcome))
        source = State(row.state)
        waits = (source, row.attempt) == (State.IN_DOUBT, claimed.attempt)
        if target is State.ACCEPTED:
            waits = source in {State.IN_DOUBT, State.QUEUED}
        if isinstance(outcome, NotTried) and not waits:
            return None  # a worker that has been fenced off leaves no trace
        if target is None or not waits:
            events.note(
                connection,
                Event.ANSWER_LATE,
                at=now,
                run_id=claimed.run_id,
                letter_id=claimed.letter_id,
                message_id=claimed.message_id,
                delivery_id=claimed.delivery_id,
                data={"attempt": claimed.attempt, "said": _said(outcome)},
            )
            return None
        _require(source, target)
        connection.execute(
            sa.update(d)
            .where(d.c.id == claimed.delivery_id, d.c.state == source.value)
            .values(**_placed(target)),
            _open(target, due_at=now, now=now),
        )
        _end_attempt(connection, claimed, outcome, now=now)
        _note_move(
            connection,
            claimed,
            source,
            target,
            at=now,
            evidence=f"the relay's answer came late: {_said(outcome)}",
        )
    return target


def renew(db: Database, held: Iterable[Claim], *, lease: timedelta, now: datetime) -> None:
    """Let the leases of these claims begin anew; one that is lost stays lost."""
    with db.write() as connection:
        for claimed in held:
            connection.execute(_RENEW, {**_claim(claimed), "until": now + lease})


def recover(
    db: Database,
    run_id: int,
    *,
    gone: Callable[[str], bool],
    now: datetime,
) -> int:
    """Take back what dead workers held; how many deliveries that concerned.

    Before the intent a delivery is certainly unsent and goes back to the queue; after it, it is in
    doubt. `gone(owner)` tells of an owner that is certainly no longer running; of the others, only
    those whose lease is over lose what they hold.
    """
    d, table = schema.deliveries, schema.letters
    moved = 0
    with db.write() as connection:
        rows = connection.execute(
            sa.select(d)
            .join(table, table.c.id == d.c.letter_id)
            .where(table.c.run_id == run_id, d.c.state.in_([state.value for state in LEASED]))
            .with_for_update(skip_locked=True, of=d)
        ).all()
        verdicts: dict[str, bool] = {}
        for row in rows:
            if row.owner not in verdicts:
                verdicts[row.owner] = gone(row.owner)
            if not verdicts[row.owner] and row.lease_until > now:
                continue
            held = Claim(
                delivery_id=row.id,
                message_id=row.message_id,
                letter_id=row.letter_id,
                run_id=run_id,
                recipient=row.recipient,
                token=row.token,
                envelope_sender=row.envelope_sender,
                attempt=row.attempt,
                owner=row.owner,
            )
            source = State(row.state)
            target = State.QUEUED if source is State.CLAIMED else State.IN_DOUBT
            if _move(connection, held, source, target, due_at=now, now=now):
                said = "the worker is gone" if verdicts[row.owner] else "the lease is over"
                abandoned = {"at": now, "said": said, "what": "abandoned", "queued_as": None}
                connection.execute(_END, {**_number(held), **abandoned})
                _note_move(connection, held, source, target, at=now, said=said)
                moved += 1
    return moved


def doubts(db: Database, run_id: int, mode: Mode) -> list[Doubt]:
    """The run's deliveries that wait for evidence or for a person."""
    d, m, table, a = schema.deliveries, schema.messages, schema.letters, schema.attempts
    with db.read() as connection:
        rows = connection.execute(
            sa.select(
                a.c.owner,
                d.c.id.label("delivery_id"),
                d.c.attempt,
                table.c.run_id,
                d.c.letter_id,
                m.c.message_id,
                d.c.recipient,
                d.c.envelope_sender,
                a.c.relay,
                a.c.local_host,
                a.c.local_port,
                a.c.intent_at,
                a.c.ended_at,
                a.c.outcome,
                a.c.reply,
            )
            .join(m, m.c.id == d.c.message_id)
            .join(a, sa.and_(a.c.delivery_id == d.c.id, a.c.number == d.c.attempt))
            .join(table, table.c.id == d.c.letter_id)
            .where(
                table.c.run_id == run_id,
                d.c.mode == mode.value,
                d.c.state == State.IN_DOUBT.value,
            )
            .order_by(d.c.id)
        ).all()
    return [Doubt(**row._mapping) for row in rows]  # noqa: SLF001 - a row's public mapping


def resolve(
    db: Database,
    doubt: Doubt,
    target: State,
    *,
    evidence: str,
    now: datetime,
    person: str | None = None,
) -> bool:
    """Settle a doubt by evidence, or by a person's word; False if it was settled already.

    What was settled, tried again and is in doubt anew is another doubt, and left alone.
    """
    with db.write() as connection:
        if not _leave_doubt(connection, doubt.delivery_id, doubt.attempt, target, now=now):
            return False
        events.note(
            connection,
            Event.DELIVERY_MOVED,
            at=now,
            run_id=doubt.run_id,
            letter_id=doubt.letter_id,
            delivery_id=doubt.delivery_id,
            person=person,
            data={
                "from": State.IN_DOUBT.value,
                "to": target.value,
                "attempt": doubt.attempt,
                "evidence": evidence,
            },
        )
    return True


def _leave_doubt(
    connection: sa.Connection, delivery_id: int, attempt: int, target: State, *, now: datetime
) -> bool:
    """Move a delivery out of the doubt of this attempt; False if it is in that no more."""
    _require(State.IN_DOUBT, target)
    d = schema.deliveries
    done = connection.execute(
        sa.update(d)
        .where(
            d.c.id == delivery_id,
            d.c.attempt == attempt,
            d.c.state == State.IN_DOUBT.value,
        )
        .values(**_placed(target)),
        _open(target, due_at=now, now=now),
    )
    return done.rowcount == 1


def in_hand(db: Database, run_id: int, mode: Mode) -> list[str]:
    """Who holds the run's deliveries that are being sent at this moment: an owner for each."""
    d, table = schema.deliveries, schema.letters
    with db.read() as connection:
        return list(
            connection.scalars(
                sa.select(d.c.owner)
                .join(table, table.c.id == d.c.letter_id)
                .where(
                    table.c.run_id == run_id,
                    d.c.mode == mode.value,
                    d.c.state.in_([state.value for state in LEASED]),
                )
                .order_by(d.c.id)
            )
        )


def next_due(
    db: Database, run_id: int, mode: Mode, *, only_to: Collection[str] = ()
) -> datetime | None:
    """When the next queued delivery of the run may be tried; None if nothing is queued."""
    d, table = schema.deliveries, schema.letters
    with db.read() as connection:
        return connection.scalar(
            sa.select(d.c.due_at)
            .join(table, table.c.id == d.c.letter_id)
            .where(
                table.c.run_id == run_id,
                d.c.mode == mode.value,
                d.c.state == State.QUEUED.value,
                _allowed(only_to),
            )
            .order_by(d.c.due_at)
            .limit(1)
        )


def _claim(claimed: Claim) -> dict[str, Any]:
    """What `_HELD` asks."""
    return {"delivery": claimed.delivery_id, "owner_": claimed.owner, "number_": claimed.attempt}


def _number(claimed: Claim) -> dict[str, Any]:
    """Which attempt it is."""
    return {"delivery": claimed.delivery_id, "number_": claimed.attempt}


def _held_row(connection: sa.Connection, claimed: Claim) -> Any | None:
    return connection.execute(_HELD_ROW, _claim(claimed)).one_or_none()


def _settled(outcome: Outcome) -> State:
    match outcome:
        case Accepted():
            return State.ACCEPTED
        case Rejected():
            return State.REJECTED
        case Deferred():
            return State.QUEUED
        case Lost():
            return State.IN_DOUBT
        case NotTried():
            # Not tried is certain: even if the intent stands, no dot was written.
            return State.QUEUED


def _named(outcome: Outcome) -> str:
    """An outcome's name in the record."""
    return type(outcome).__name__.lower()


def _said(outcome: Outcome) -> str:
    match outcome:
        case Accepted() | Rejected() | Deferred():
            return str(outcome.reply)
        case Lost() | NotTried():
            return outcome.reason


def _end_attempt(
    connection: sa.Connection, claimed: Claim, outcome: Outcome, *, now: datetime
) -> None:
    connection.execute(
        _END,
        {
            **_number(claimed),
            "at": now,
            "what": _named(outcome),
            "said": _said(outcome),
            "queued_as": outcome.queue_id if isinstance(outcome, Accepted) else None,
        },
    )


def _put_off(
    connection: sa.Connection,
    claimed: Claim,
    deferrals: int,
    patience: Patience,
    *,
    now: datetime,
) -> None:
    """Count it, and let the delivery expire if that was the last time."""
    d, a = schema.deliveries, schema.attempts
    queued = sa.and_(d.c.id == claimed.delivery_id, d.c.state == State.QUEUED.value)
    connection.execute(sa.update(d).where(queued).values(deferrals=deferrals))
    first = connection.scalar(
        sa.select(a.c.claimed_at)
        .where(a.c.delivery_id == claimed.delivery_id)
        .order_by(a.c.number)
        .limit(1)
    )
    assert first is not None  # noqa: S101 - this attempt is one of them
    if deferrals < patience.times and now - first < patience.within:
        return
    _require(State.QUEUED, State.EXPIRED)
    connection.execute(
        sa.update(d).where(queued).values(**_placed(State.EXPIRED)),
        _open(State.EXPIRED, due_at=None, now=now),
    )
    hours = round((now - first) / timedelta(hours=1))
    said = f"put off {deferrals} times within {hours} hours; it is not tried again"
    _note_move(connection, claimed, State.QUEUED, State.EXPIRED, at=now, said=said)


def _require(source: State, target: State) -> None:
    if not may_follow(source, target):
        raise AssertionError(f"{source.value} may not become {target.value}")


def _move(
    connection: sa.Connection,
    claimed: Claim,
    source: State,
    target: State,
    *,
    due_at: datetime | None = None,
    now: datetime | None = None,
    until: datetime | None = None,
) -> bool:
    """Move a delivery that this claim still holds, until then; False if it does not."""
    _require(source, target)
    values = {**_claim(claimed), **_open(target, due_at=due_at, now=now)}
    if target in LEASED:
        values["until"] = until
    return connection.execute(_moving(source, target), values).rowcount == 1


@cache
def _moving(source: State, target: State) -> sa.Update:
    """The one statement of a move by whoever holds the delivery: compare, and swap."""
    return (
        sa.update(schema.deliveries)
        .where(*_HELD, schema.deliveries.c.state == source.value)
        .values(**_placed(target))
    )


def _placed(target: State) -> dict[str, Any]:
    """What a delivery's row says in the state `target`; `_open` are the values to it."""
    values: dict[str, Any] = {"state": target.value}
    if target in LEASED:
        values["lease_until"] = sa.bindparam("until")
    else:
        values |= {"owner": None, "lease_until": None}
    if target is State.QUEUED:
        values["due_at"] = sa.bindparam("due")
    if target not in OPEN:
        values["settled_at"] = sa.bindparam("at")
    return values


def _open(target: State, *, due_at: datetime | None, now: datetime | None) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if target is State.QUEUED:
        values["due"] = due_at
    if target not in OPEN:
        values["at"] = now
    return values


def _note_move(
    connection: sa.Connection,
    claimed: Claim,
    source: State,
    target: State,
    *,
    at: datetime,
    said: str | None = None,
    evidence: str | None = None,
) -> int:
    data: dict[str, Any] = {
        "from": source.value,
        "to": target.value,
        "attempt": claimed.attempt,
    }
    if said is not None:
        data["said"] = said
    if evidence is not None:
        data["evidence"] = evidence
    return events.note(
        connection,
        Event.DELIVERY_MOVED,
        at=at,
        run_id=claimed.run_id,
        letter_id=claimed.letter_id,
        message_id=claimed.message_id,
        delivery_id=claimed.delivery_id,
        data=data,
    )
