"""What came back: each mail and each report on record once, and what it makes of a delivery.

What a report says is a fact and is kept, whatever state its delivery is in; where the delivery then
stands is worked out from all its facts, in whatever order they came. A report that came while the
delivery was still in a worker's hands moves it at the next look.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from pipeline import schema
from pipeline.database import Database
from pipeline.delivery import LEASED, OPEN, Mode, State, may_follow
from pipeline.errors import Refused
from pipeline.ledger import events
from pipeline.report import Kind, Reason, reason_of
from pipeline.schema import Event, Returned

RELAY_LOG = "relay_log"
"""What a report is matched by that no mail brought."""

FATE = "fate:"
"""How `once` begins for what a relay's log says became of a message in the end."""

FOR_A_PERSON: tuple[Returned, ...] = tuple(
    kind for kind in Returned if kind not in {Returned.REPORT, Returned.AUTO_REPLY}
)
"""What a mail can be that somebody has to look at."""

# Where a report puts a delivery, the one that outweighs the others first. That a letter is delayed
# changes nothing.
_OUTWEIGHING: tuple[tuple[State, tuple[Kind, ...]], ...] = (
    (State.BOUNCED, (Kind.FAILED,)),
    (State.DELIVERED, (Kind.DELIVERED,)),
    (State.ACCEPTED, (Kind.RELAYED, Kind.EXPANDED)),
)
_CHUNK = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A delivery as evidence meets it: whose it is, and what it can be recognised by.

    `message_id` is the Message-ID in the header, `message` the row's id. Of one that is `forgotten`
    nothing is put on record any more that somebody wrote.
    """

    delivery_id: int
    message: int
    letter_id: int
    run_id: int
    message_id: str
    token: str | None
    recipient: str
    mode: Mode
    year: int
    authority: str
    name: str
    forgotten: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """What one report says of one delivery; an automatic answer if `kind` is None.

    `once` is the same for the same evidence. `said` are the remote server's words and `remote` its
    name; `matched_by` is how the delivery was found.
    """

    sent: Sent
    once: str
    kind: Kind | None
    matched_by: str
    status: str = ""
    said: str = ""
    remote: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A mail that was read: `sha256` is of what was read of it, `size` of all of it, in octets.

    `reason` says why a person should look at it, in sentences, and `kept` is its name within the
    archive. `place` is the mailbox as people name it.
    """

    sha256: str
    place: str
    kind: Returned
    size: int
    sender: str = ""
    subject: str = ""
    dated: datetime | None = None
    reason: str | None = None
    kept: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """A delivery that evidence has moved, and what the evidence was."""

    delivery_id: int
    year: int
    authority: str
    name: str
    recipient: str
    mode: Mode
    source: State
    target: State
    because: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A mail that a person should look at, or has looked at if `seen_at` is set.

    Once `forgotten_at` is set, sender, subject and reason are empty and its file is gone.
    """

    id: int
    kind: Returned
    read_at: datetime
    place: str
    size: int
    sender: str
    subject: str
    dated: datetime | None
    reason: str | None
    kept: str | None
    sha256: str
    seen_at: datetime | None
    seen_by: str | None
    seen_note: str | None
    forgotten_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Handed:
    """An accepted delivery of which a relay's log may know more, and what it is known by there.

    `taken_at` is when it was put on record that the relay has it.
    """

    sent: Sent
    relay: str | None
    local_host: str | None
    queue_id: str
    intent_at: datetime
    taken_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class CameBack:
    """A letter that did not arrive: whose it is, when that was reported, and why.

    `at` and `said` are None and "" where no report is on record but a person's word.
    """

    sent: Sent
    at: datetime | None
    reason: Reason
    status: str
    said: str


# ---- finding deliveries


def by_token(db: Database, tokens: Collection[str]) -> dict[str, Sent]:
    """The deliveries that carry these tokens, by token."""
    return {one.token: one for one in _found(db, schema.deliveries.c.token, tokens) if one.token}


def by_message_id(db: Database, message_ids: Collection[str]) -> dict[str, list[Sent]]:
    """The deliveries of the messages with these Message-IDs, by Message-ID."""
    found: dict[str, list[Sent]] = {}
    for one in _found(db, schema.messages.c.message_id, message_ids):
        found.setdefault(one.message_id, []).append(one)
    return found


def by_id(db: Database, delivery_ids: Collection[int]) -> dict[int, Sent]:
    """These deliveries, by their row's id."""
    return {one.delivery_id: one for one in _found(db, schema.deliveries.c.id, delivery_ids)}


def _found(db: Database, column: sa.Column[Any], values: Collection[Any]) -> list[Sent]:
    if not values:
        return []
    with db.read() as connection:
        rows = connection.execute(
            _sent().where(column.in_(values)).order_by(schema.deliveries.c.id)
        ).all()
    return [_as_sent(row) for row in rows]


def _sent() -> sa.Select[Any]:
    d, m, table, r = schema.deliveries, schema.messages, schema.letters, schema.runs
    return (
        sa.select(
            d.c.id.label("delivery_id"),
            m.c.id.label("message"),
            d.c.letter_id,
            table.c.run_id,
            m.c.message_id,
            d.c.token,
            d.c.recipient,
            d.c.mode,
            r.c.year,
            table.c.authority_code,
            table.c.authority_name,
            r.c.forgotten_at,
        )
        .join(m, m.c.id == d.c.message_id)
        .join(table, table.c.id == d.c.letter_id)
        .join(r, r.c.id == table.c.run_id)
    )


def _as_sent(row: Any) -> Sent:
    return Sent(
        delivery_id=row.delivery_id,
        message=row.message,
        letter_id=row.letter_id,
        run_id=row.run_id,
        message_id=row.message_id,
        token=row.token,
        recipient=row.recipient,
        mode=Mode(row.mode),
        year=row.year,
        authority=row.authority_code,
        name=row.authority_name,
        forgotten=row.forgotten_at is not None,
    )


# ---- what was read


def is_known(db: Database, sha256: str) -> bool:
    """Whether this mail is on record."""
    mail = schema.returned_mail
    with db.read() as connection:
        return connection.scalar(sa.select(mail.c.id).where(mail.c.sha256 == sha256)) is not None


def record(
    db: Database, arrival: Arrival, notes: Sequence[Note], *, now: datetime
) -> list[Moved] | None:
    """Put a mail and what it reports on record, and move the deliveries; None if it was there.

    All or nothing, so that a mail that is on record has had its effect.
    """
    mail = schema.returned_mail
    with db.write() as connection:
        mail_id = connection.scalar(
            db.insert(mail)
            .values(
                sha256=arrival.sha256,
                read_at=now,
                place=arrival.place,
                kind=arrival.kind.value,
                size=arrival.size,
                sender=arrival.sender,
                subject=arrival.subject,
                dated=arrival.dated,
                reason=arrival.reason,
                kept=arrival.kept,
            )
            .on_conflict_do_nothing(index_elements=["sha256"])
            .returning(mail.c.id)
        )
        if mail_id is None:
            return None
        return _noted(db, connection, notes, mail_id, now=now)


def note(db: Database, notes: Sequence[Note], *, now: datetime) -> list[Moved]:
    """Put on record what no mail has brought: what a relay's log says."""
    with db.write() as connection:
        return _noted(db, connection, notes, None, now=now)


def _noted(
    db: Database,
    connection: sa.Connection,
    notes: Sequence[Note],
    mail_id: int | None,
    *,
    now: datetime,
) -> list[Moved]:
    d = schema.deliveries
    notes = [replace(one, said="", remote="") if one.sent.forgotten else one for one in notes]
    about: dict[int, None] = {}
    # Held before anything names them, and in one order everywhere: two that note something of the
    # same deliveries would else share them first, and then each wait for the other to let go.
    meant = {one.sent.delivery_id for one in notes}
    connection.execute(
        sa.select(d.c.id).where(d.c.id.in_(meant)).order_by(d.c.id).with_for_update()
    )
    for one in sorted(notes, key=lambda each: (each.sent.delivery_id, each.once)):
        if one.kind is not None and not _insert(db, connection, one, mail_id, now=now):
            continue
        _tell(db, connection, one, mail_id, now=now)
        if one.kind is not None:
            about[one.sent.delivery_id] = None
    moved = (_apply(connection, delivery_id, now=now) for delivery_id in about)
    return [one for one in moved if one is not None]


def _insert(
    db: Database, connection: sa.Connection, one: Note, mail_id: int | None, *, now: datetime
) -> bool:
    assert one.kind is not None  # noqa: S101 - asked by the caller
    made = connection.scalar(
        db.insert(schema.reports)
        .values(
            once=one.once,
            mail_id=mail_id,
            delivery_id=one.sent.delivery_id,
            noted_at=now,
            kind=one.kind.value,
            matched_by=one.matched_by,
            status=one.status,
            said=one.said,
            remote=one.remote,
        )
        .on_conflict_do_nothing(index_elements=["once"])
        .returning(schema.reports.c.id)
    )
    return made is not None


def _tell(
    db: Database, connection: sa.Connection, one: Note, mail_id: int | None, *, now: datetime
) -> None:
    """Write it into the story, once."""
    details = {"status": one.status, "said": one.said, "remote": one.remote, "mail": mail_id}
    connection.execute(
        db.insert(schema.events)
        .values(
            kind=Event.REPORT_NOTED.value,
            at=now,
            run_id=one.sent.run_id,
            letter_id=one.sent.letter_id,
            message_id=one.sent.message,
            delivery_id=one.sent.delivery_id,
            data={
                "report": one.kind.value if one.kind else Returned.AUTO_REPLY.value,
                "matched_by": one.matched_by,
                **{name: value for name, value in details.items() if value},
            },
            once=one.once,
        )
        .on_conflict_do_nothing(index_elements=["once"])
    )


# ---- what it makes of deliveries


def apply_pending(db: Database, *, now: datetime) -> list[Moved]:
    """Move every delivery that its reports, noted earlier, may move by now."""
    d, rep = schema.deliveries, schema.reports
    fitting = [
        sa.and_(
            rep.c.kind.in_([kind.value for kind in kinds]),
            d.c.state.in_([state.value for state in State if may_follow(state, target)]),
        )
        for target, kinds in _OUTWEIGHING
    ]
    with db.read() as connection:
        waiting = connection.scalars(
            sa.select(d.c.id)
            .join(rep, rep.c.delivery_id == d.c.id)
            .where(rep.c.moved_to.is_(None), d.c.state.not_in(_LEASED), sa.or_(*fitting))
            .distinct()
            .order_by(d.c.id)
        ).all()
    moved = []
    for delivery_id in waiting:
        with db.write() as connection:
            moved.append(_apply(connection, delivery_id, now=now))
    return [one for one in moved if one is not None]


# These are a worker's to move; a report waits until it is through.
_LEASED = tuple(state.value for state in LEASED)


def _apply(connection: sa.Connection, delivery_id: int, *, now: datetime) -> Moved | None:
    """Move a delivery to where its reports put it, from where it stands; None if nowhere else."""
    d, rep = schema.deliveries, schema.reports
    row = connection.execute(
        _sent()
        .add_columns(d.c.state, d.c.attempt)
        .where(d.c.id == delivery_id)
        .with_for_update(of=d)
    ).one()
    source = State(row.state)
    if row.state in _LEASED:
        return None
    if source is State.QUEUED and not _was_intended(connection, delivery_id):
        return None  # nothing of it has gone, whatever anybody says
    said = connection.execute(
        sa.select(rep)
        .where(rep.c.delivery_id == delivery_id, rep.c.moved_to.is_(None))
        .order_by(rep.c.id)
    ).all()
    deciding = next(
        (
            (target, one)
            for target, kinds in _OUTWEIGHING
            for one in said
            if one.kind in kinds and may_follow(source, target)
        ),
        None,
    )
    if deciding is None:
        return None
    target, report = deciding
    values: dict[str, Any] = {"state": target.value}
    if source in OPEN:
        values["settled_at"] = now
    done = connection.execute(
        sa.update(d).where(d.c.id == delivery_id, d.c.state == source.value).values(**values)
    )
    if done.rowcount != 1:
        return None
    connection.execute(sa.update(rep).where(rep.c.id == report.id).values(moved_to=target.value))
    sent, because = _as_sent(row), _because(report)
    events.note(
        connection,
        Event.DELIVERY_MOVED,
        at=now,
        run_id=sent.run_id,
        letter_id=sent.letter_id,
        message_id=sent.message,
        delivery_id=delivery_id,
        data={
            "from": source.value,
            "to": target.value,
            "attempt": row.attempt,
            "evidence": because,
        },
    )
    return moved_of(sent, source, target, because)


def _was_intended(connection: sa.Connection, delivery_id: int) -> bool:
    """Whether any attempt came as far as its intent."""
    a = schema.attempts
    found = connection.scalar(
        sa.select(a.c.id).where(a.c.delivery_id == delivery_id, a.c.intent_at.is_not(None)).limit(1)
    )
    return found is not None


def moved_of(sent: Sent, source: State, target: State, because: str) -> Moved:
    """The move of a delivery."""
    return Moved(
        delivery_id=sent.delivery_id,
        year=sent.year,
        authority=sent.authority,
        name=sent.name,
        recipient=sent.recipient,
        mode=sent.mode,
        source=source,
        target=target,
        because=because,
    )


def _because(report: Any) -> str:
    if report.matched_by == RELAY_LOG:
        return f"the relay's log: {report.said}"
    words = " ".join(each for each in (report.status, report.said) if each)
    by = f" by {report.remote}" if report.remote else ""
    return f"reported {report.kind}{by}{': ' if words else ''}{words}"


def runs_with(db: Database, states: Collection[State]) -> list[tuple[int, Mode]]:
    """The runs, also cancelled ones, and the modes in which deliveries are in these states."""
    d, table = schema.deliveries, schema.letters
    with db.read() as connection:
        rows = connection.execute(
            sa.select(table.c.run_id, d.c.mode)
            .join(table, table.c.id == d.c.letter_id)
            .where(d.c.state.in_([state.value for state in states]))
            .distinct()
            .order_by(table.c.run_id, d.c.mode)
        ).all()
    return [(row.run_id, Mode(row.mode)) for row in rows]


def is_cancelled(db: Database, run_id: int) -> bool:
    """Whether a run has been given up, so that nothing of it is ever sent again."""
    r = schema.runs
    with db.read() as connection:
        at = connection.scalar(sa.select(r.c.cancelled_at).where(r.c.id == run_id))
    return at is not None


def name_queue_id(db: Database, delivery_id: int, attempt: int, queue_id: str) -> None:
    """Keep by what name the relay knows what it took, where its answer did not come."""
    a = schema.attempts
    with db.write() as connection:
        connection.execute(
            sa.update(a)
            .where(a.c.delivery_id == delivery_id, a.c.number == attempt, a.c.queue_id.is_(None))
            .values(queue_id=queue_id)
        )


def handed_over(db: Database, *, since: datetime) -> Iterator[Handed]:
    """Deliveries that a relay took after `since` and of which its log has not told the end yet."""
    d, a, rep = schema.deliveries, schema.attempts, schema.reports
    ended = sa.exists().where(
        rep.c.delivery_id == d.c.id,
        rep.c.matched_by == RELAY_LOG,
        rep.c.once.startswith(FATE),
    )
    last = 0
    while True:
        with db.read() as connection:
            rows = connection.execute(
                _sent()
                .add_columns(a.c.relay, a.c.local_host, a.c.queue_id, a.c.intent_at, d.c.settled_at)
                .join(a, sa.and_(a.c.delivery_id == d.c.id, a.c.number == d.c.attempt))
                .where(
                    d.c.id > last,
                    d.c.mode != Mode.CAPTURE.value,
                    d.c.state == State.ACCEPTED.value,
                    a.c.queue_id.is_not(None),
                    a.c.intent_at >= since,
                    ~ended,
                )
                .order_by(d.c.id)
                .limit(_CHUNK)
            ).all()
        for row in rows:
            yield Handed(
                sent=_as_sent(row),
                relay=row.relay,
                local_host=row.local_host,
                queue_id=row.queue_id,
                intent_at=row.intent_at,
                taken_at=row.settled_at,
            )
        if not rows:
            return
        last = rows[-1].delivery_id


# ---- how far a mailbox, or a log, was read


def cursor(db: Database, place: str) -> tuple[int, int] | None:
    """How far this mailbox was read: its UIDVALIDITY and a UID; None if that is not on record.

    Of a log: by which number its file is known, and how many octets of it were read.
    """
    c = schema.cursors
    with db.read() as connection:
        row = connection.execute(
            sa.select(c.c.uidvalidity, c.c.uid).where(c.c.place == place)
        ).one_or_none()
    return None if row is None else (row.uidvalidity, row.uid)


def advance(db: Database, place: str, uidvalidity: int, uid: int) -> None:
    """Keep how far a mailbox or a log was read. Never back, unless it is numbered anew."""
    c = schema.cursors
    with db.write() as connection:
        put = db.insert(c).values(place=place, uidvalidity=uidvalidity, uid=uid)
        connection.execute(
            put.on_conflict_do_update(
                index_elements=["place"],
                set_={"uidvalidity": put.excluded.uidvalidity, "uid": put.excluded.uid},
                where=sa.or_(
                    c.c.uidvalidity != put.excluded.uidvalidity, c.c.uid < put.excluded.uid
                ),
            )
        )


# ---- what waits for a person


def waiting(db: Database, *, after: int = 0, limit: int | None = None) -> list[Waiting]:
    """The mails that somebody has to look at and nobody has yet, the oldest first."""
    mail = schema.returned_mail
    with db.read() as connection:
        rows = connection.execute(
            sa.select(mail).where(*_unseen(), mail.c.id > after).order_by(mail.c.id).limit(limit)
        ).all()
    return [_as_waiting(row) for row in rows]


def count_waiting(db: Database) -> dict[Returned, int]:
    """How many of each kind somebody has to look at and nobody has yet."""
    with db.read() as connection:
        return waiting_within(connection)


def waiting_within(connection: sa.Connection) -> dict[Returned, int]:
    """The same within a transaction; kinds of which there is none are left out."""
    mail = schema.returned_mail
    rows = connection.execute(
        sa.select(mail.c.kind, sa.func.count()).where(*_unseen()).group_by(mail.c.kind)
    )
    return {Returned(row[0]): row[1] for row in rows}


def came_back(db: Database) -> list[CameBack]:
    """The letters that did not arrive and were not made up for since, by year and authority.

    Not those of runs that were given up or are forgotten, nor those that are withheld.
    """
    d, m, rep = schema.deliveries, schema.messages, schema.reports
    later = m.alias("later")
    latest = (
        sa.select(sa.func.max(later.c.id))
        .where(later.c.letter_id == m.c.letter_id, later.c.mode == m.c.mode)
        .scalar_subquery()
    )
    with db.read() as connection:
        rows = connection.execute(
            _sent()
            .add_columns(rep.c.noted_at, rep.c.status, rep.c.said)
            .outerjoin(
                rep,
                sa.and_(rep.c.delivery_id == d.c.id, rep.c.moved_to == State.BOUNCED.value),
            )
            .where(
                d.c.state == State.BOUNCED.value,
                m.c.id == latest,
                schema.letters.c.withheld_at.is_(None),
                schema.runs.c.cancelled_at.is_(None),
                schema.runs.c.forgotten_at.is_(None),
            )
            .order_by(schema.runs.c.year, schema.letters.c.authority_code, d.c.id)
        ).all()
    return [
        CameBack(
            sent=_as_sent(row),
            at=row.noted_at,
            reason=reason_of(row.status or "", row.said or ""),
            status=row.status or "",
            said=row.said or "",
        )
        for row in rows
    ]


def mark_seen(
    db: Database, mail_ids: Collection[int], *, note: str, person: str, now: datetime
) -> list[Waiting]:
    """Put on record that somebody has looked at mails, and what came of it; the mails.

    Raises Refused if one of them does not exist, waits for nobody or was looked at already; then
    none is marked.
    """
    with db.write() as connection:
        return [
            _mark_seen(connection, mail_id, note=note, person=person, now=now)
            for mail_id in sorted(set(mail_ids))
        ]


def _mark_seen(
    connection: sa.Connection, mail_id: int, *, note: str, person: str, now: datetime
) -> Waiting:
    mail = schema.returned_mail
    done = connection.execute(
        sa.update(mail)
        .where(*_unseen(), mail.c.id == mail_id)
        .values(seen_at=now, seen_by=person, seen_note=note)
    )
    row = connection.execute(sa.select(mail).where(mail.c.id == mail_id)).one_or_none()
    if done.rowcount == 1 and row is not None:
        events.note(
            connection,
            Event.RETURNED_MAIL_SEEN,
            at=now,
            person=person,
            data={"mail": mail_id, "kind": row.kind, "sha256": row.sha256, "note": note},
        )
        return _as_waiting(row)
    if row is None:
        raise Refused(
            f"No returned mail {mail_id} is on record; list it with letters reports --list"
        )
    found = _as_waiting(row)
    if found.seen_at is not None:
        raise Refused(
            f"{found.seen_by} has looked at the returned mail {mail_id} already: {found.seen_note}"
        )
    raise Refused(f"The returned mail {mail_id} waits for nobody: it was understood.")


def _unseen() -> tuple[sa.ColumnElement[bool], ...]:
    mail = schema.returned_mail
    return mail.c.kind.in_([kind.value for kind in FOR_A_PERSON]), mail.c.seen_at.is_(None)


def _as_waiting(row: Any) -> Waiting:
    known: Mapping[str, Any] = row._mapping  # noqa: SLF001 - a row's public mapping
    return Waiting(**{**known, "kind": Returned(row.kind)})
