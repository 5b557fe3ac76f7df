"""What is on record and does not fit together, or was begun and never ended; read, never mended.

Everything is streamed in short reads, each of which sees one state of the ledger, so that whoever
sends meanwhile neither waits nor is mistaken for a fault.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from operator import attrgetter
from typing import Any

import sqlalchemy as sa

from pipeline import schema
from pipeline.database import Database
from pipeline.delivery import LEASED, Mode, State, fold
from pipeline.ledger.approvals import may_go
from pipeline.ledger.letters import unplanned
from pipeline.schema import Event, Step

_CHUNK = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Something that does not fit: whose it is, and which row.

    `since` is when it began, aware, where that is known; `said` what is on record and `found` what
    should be there, each where there is such a thing.
    """

    year: int
    run_id: int
    authority: str | None = None
    authority_name: str | None = None
    letter_id: int | None = None
    message_id: int | None = None
    delivery_id: int | None = None
    attempt: int | None = None
    mode: Mode | None = None
    recipient: str | None = None
    since: datetime | None = None
    said: str | None = None
    found: str | None = None
    count: int = 1


def count_deliveries(db: Database, year: int | None) -> int:
    """How many deliveries there are of the year, or of all years, in all modes and runs."""
    d, table, r = schema.deliveries, schema.letters, schema.runs
    select = sa.select(sa.func.count()).select_from(d)
    if year is not None:
        select = (
            select.join(table, table.c.id == d.c.letter_id)
            .join(r, r.c.id == table.c.run_id)
            .where(r.c.year == year)
        )
    with db.read() as connection:
        return connection.scalar(select) or 0


def states(db: Database, year: int | None) -> Iterator[Gap | None]:
    """Each delivery: None if its state is where its moves lead, else the gap between the two."""
    d, e = schema.deliveries, schema.events
    last = 0
    while True:
        with db.read() as connection:
            rows = connection.execute(
                _of_deliveries(year, d.c.state).where(d.c.id > last).order_by(d.c.id).limit(_CHUNK)
            ).all()
            if not rows:
                return
            last = rows[-1].delivery_id
            told = connection.execute(
                sa.select(e.c.delivery_id, e.c.data)
                .where(
                    e.c.delivery_id.in_([row.delivery_id for row in rows]),
                    e.c.kind == Event.DELIVERY_MOVED.value,
                )
                .order_by(e.c.delivery_id)
            ).all()
        lead = {
            id_: _led([one.data for one in some])
            for id_, some in groupby(told, key=attrgetter("delivery_id"))
        }
        for row in rows:
            stands = lead.get(row.delivery_id, State.QUEUED)
            if stands == row.state:
                yield None
            else:
                yield _gap(row, said=row.state, found=None if stands is None else stands.value)


def _led(told: Iterable[Mapping[str, Any]]) -> State | None:
    """Where the moves lead that these events tell of; None for nowhere."""
    try:
        return fold([(State(one["from"]), State(one["to"])) for one in told])
    except (KeyError, ValueError):
        return None


def attempts(db: Database, year: int | None) -> Iterator[Gap]:
    """Attempts that nobody has in hand and nobody has ended; `since` is the intent, if any.

    A delivery's attempts are numbered: where one is lacking, `found` says how many there are.
    """
    d, a = schema.deliveries, schema.attempts
    in_hand = sa.and_(a.c.number == d.c.attempt, d.c.state.in_([one.value for one in LEASED]))
    select = (
        _of_deliveries(year, a.c.id, a.c.number.label("attempt"), a.c.intent_at.label("since"))
        .join(a, a.c.delivery_id == d.c.id)
        .where(a.c.ended_at.is_(None), ~in_hand)
    )
    for row in _streamed(db, select, a.c.id):
        yield _gap(row, attempt=row.attempt, since=row.since)
    there = (
        sa.select(sa.func.count())
        .select_from(a)
        .where(a.c.delivery_id == d.c.id)
        .correlate(d)
        .scalar_subquery()
    )
    lacking = _of_deliveries(year, d.c.id, d.c.attempt, there.label("there")).where(
        d.c.attempt != there
    )
    for row in _streamed(db, lacking, d.c.id):
        yield _gap(row, attempt=row.attempt, said=str(row.attempt), found=str(row.there))


def frozen(db: Database, year: int | None) -> Iterator[Gap]:
    """Messages that were frozen, or about to be sent, without bytes on record, or with others.

    `said` is the hash on record, or None; `found` is the one that was noted when it was frozen.
    """
    m, d, a, e = schema.messages, schema.deliveries, schema.attempts, schema.events
    tried = (
        sa.exists()
        .where(d.c.message_id == m.c.id, a.c.delivery_id == d.c.id, a.c.intent_at.is_not(None))
        .correlate(m)
    )
    noted = sa.exists().where(
        e.c.letter_id == m.c.letter_id,  # which has an index
        e.c.message_id == m.c.id,
        e.c.kind == Event.MESSAGE_FROZEN.value,
    )
    unfrozen = _of_messages(year, m.c.id).where(m.c.eml.is_(None), tried, ~noted)
    for row in _streamed(db, unfrozen, m.c.id):
        yield _gap(row, message_id=row.id)
    told = (
        _of_messages(year, e.c.id, m.c.id.label("message_id"), m.c.eml_sha256, e.c.data)
        .join(e, e.c.message_id == m.c.id)
        .where(e.c.kind == Event.MESSAGE_FROZEN.value)
    )
    for row in _streamed(db, told, e.c.id):
        if row.eml_sha256 != row.data.get("sha256"):
            yield _gap(
                row, message_id=row.message_id, said=row.eml_sha256, found=row.data.get("sha256")
            )


def prepared(db: Database, year: int | None) -> Iterator[Gap]:
    """Letters that were noted as made, and have no file on record or another one.

    `said` is the hash on record, or None; `found` is the one that was noted when it was made.
    """
    table, e = schema.letters, schema.events
    noted = (
        _of_letters(year, e.c.id, table.c.pdf_sha256, e.c.data)
        .join(e, e.c.letter_id == table.c.id)
        .where(e.c.kind == Event.LETTER_PREPARED.value)
    )
    for row in _streamed(db, noted, e.c.id):
        if row.pdf_sha256 != row.data.get("sha256"):
            yield _gap(row, said=row.pdf_sha256, found=row.data.get("sha256"))


def plans(db: Database, year: int | None) -> Iterator[Gap]:
    """Messages of which not exactly those have a delivery who were to get it.

    `said` is how many were to get it, `found` how many deliveries there are.
    """
    m, d = schema.messages, schema.deliveries
    last = 0
    while True:
        with db.read() as connection:
            rows = connection.execute(
                _of_messages(year, m.c.id, m.c.mode, m.c.recipients)
                .where(m.c.id > last)
                .order_by(m.c.id)
                .limit(_CHUNK)
            ).all()
            if not rows:
                return
            last = rows[-1].id
            found: dict[int, list[str]] = {}
            for one in connection.execute(
                sa.select(d.c.message_id, d.c.recipient).where(
                    d.c.message_id.in_([row.id for row in rows])
                )
            ):
                found.setdefault(one.message_id, []).append(one.recipient)
        for row in rows:
            planned = sorted(one["address"] for one in row.recipients)
            there = sorted(found.get(row.id, []))
            fits = len(there) == 1 if row.mode == Mode.REDIRECT.value else planned == there
            if not fits:
                many = 1 if row.mode == Mode.REDIRECT.value else len(planned)
                yield _gap(
                    row,
                    message_id=row.id,
                    mode=Mode(row.mode),
                    said=str(many),
                    found=str(len(there)),
                )


def openings(db: Database, year: int | None) -> Iterator[Gap]:
    """Runs that do not have as many letters as they were opened with."""
    table, r, e = schema.letters, schema.runs, schema.events
    first = sa.func.count(table.c.id).label("there")
    select = (
        sa.select(r.c.id, r.c.year, first)
        .outerjoin(table, sa.and_(table.c.run_id == r.c.id, table.c.revision == 1))
        .group_by(r.c.id, r.c.year)
        .order_by(r.c.id)
    )
    with db.read() as connection:
        runs = connection.execute(select if year is None else select.where(r.c.year == year)).all()
        opened: dict[int, int] = {
            row.run_id: row.data["letters"]
            for row in connection.execute(
                sa.select(e.c.run_id, e.c.data).where(e.c.kind == Event.RUN_OPENED.value)
            )
        }
    for run in runs:
        planned = opened.get(run.id)
        if planned != run.there:
            yield Gap(
                year=run.year,
                run_id=run.id,
                said=None if planned is None else str(planned),
                found=str(run.there),
            )


def unsent(
    db: Database, run_id: int, mode: Mode, *, people: int, before: datetime
) -> Iterator[Gap]:
    """Letters that could be sent and have no message, though the run has been sent in this mode.

    A letter waits for nobody once `people` have approved it. A run that was planned for the first
    time since `before` may still be planning.
    """
    table, m = schema.letters, schema.messages
    with db.read() as connection:
        begun = connection.scalar(
            sa.select(sa.func.min(m.c.created_at))
            .join(table, table.c.id == m.c.letter_id)
            .where(table.c.run_id == run_id, m.c.mode == mode.value, m.c.resend_of.is_(None))
        )
    if begun is None or begun > before:
        return
    select = _of_letters(None, table.c.prepared_at.label("since")).where(
        unplanned(run_id, mode), may_go(table, people), table.c.prepared_at <= before
    )
    for row in _streamed(db, select, table.c.id, "letter_id"):
        yield _gap(row, mode=mode, since=max(row.since, begun))


def any_message(db: Database, run_id: int, mode: Mode) -> bool:
    """Whether anything of the run was ever to be sent in this mode."""
    table, m = schema.letters, schema.messages
    with db.read() as connection:
        found = connection.scalar(
            sa.select(m.c.id)
            .join(table, table.c.id == m.c.letter_id)
            .where(table.c.run_id == run_id, m.c.mode == mode.value)
            .limit(1)
        )
    return found is not None


def overdue(
    db: Database,
    run_id: int,
    mode: Mode,
    *,
    people: int,
    only_to: Collection[str],
    before: datetime,
) -> Iterator[Gap]:
    """What was due before and is still queued, though nothing holds it back.

    Neither that the letter is withheld, nor that fewer than `people` have approved it, nor that its
    domain is not among `only_to`.
    """
    d, table = schema.deliveries, schema.letters
    select = _of_deliveries(None, d.c.due_at.label("since")).where(
        table.c.run_id == run_id,
        table.c.withheld_at.is_(None),
        may_go(table, people),
        d.c.mode == mode.value,
        d.c.state == State.QUEUED.value,
        d.c.due_at <= before,
        d.c.domain.in_(only_to) if only_to else sa.true(),
    )
    for row in _streamed(db, select, d.c.id, "delivery_id"):
        yield _gap(row, since=row.since)


def abandoned(db: Database, year: int | None, *, before: datetime) -> Iterator[Gap]:
    """What a worker had in hand when its lease ran out, long ago; `said` is the state."""
    d = schema.deliveries
    select = _of_deliveries(year, d.c.state, d.c.lease_until.label("since")).where(
        d.c.state.in_([one.value for one in LEASED]), d.c.lease_until <= before
    )
    for row in _streamed(db, select, d.c.id, "delivery_id"):
        yield _gap(row, since=row.since, said=row.state)


def doubts(
    db: Database, year: int | None, modes: Sequence[Mode], *, before: datetime
) -> Iterator[Gap]:
    """What has been in doubt since before."""
    d, a = schema.deliveries, schema.attempts
    since = sa.func.coalesce(a.c.ended_at, a.c.intent_at, a.c.claimed_at)
    select = (
        _of_deliveries(year, sa.type_coerce(since, schema.Utc).label("since"))
        .outerjoin(a, sa.and_(a.c.delivery_id == d.c.id, a.c.number == d.c.attempt))
        .where(
            d.c.state == State.IN_DOUBT.value,
            d.c.mode.in_([mode.value for mode in modes]),
            sa.or_(a.c.id.is_(None), sa.type_coerce(since, schema.Utc) <= before),
        )
    )
    for row in _streamed(db, select, d.c.id, "delivery_id"):
        yield _gap(row, since=row.since)


def taken_late(db: Database, year: int | None) -> Iterator[Gap]:
    """What a relay took after somebody had settled otherwise; `said` is the state it is in.

    `since` is when its answer came, `found` the answer.
    """
    d, e = schema.deliveries, schema.events
    select = (
        _of_deliveries(year, e.c.id, e.c.at, e.c.data, d.c.state, d.c.attempt.label("last"))
        .join(e, e.c.delivery_id == d.c.id)
        .where(e.c.kind == Event.ANSWER_LATE.value)
    )
    taken = {State.ACCEPTED.value, State.DELIVERED.value, State.BOUNCED.value}
    for row in _streamed(db, select, e.c.id):
        answer, attempt = str(row.data.get("said", "")), row.data.get("attempt")
        known = row.state in taken and attempt == row.last
        if answer.startswith("2") and not known:
            yield _gap(row, attempt=attempt, since=row.at, said=row.state, found=answer)


def silent(
    db: Database, run_id: int, mode: Mode, *, before: datetime
) -> tuple[int, datetime | None]:
    """How much the relay took before and nothing has been heard of since, and when the first."""
    d, table, p = schema.deliveries, schema.letters, schema.reports
    with db.read() as connection:
        row = connection.execute(
            sa.select(
                sa.func.count().label("number"),
                sa.type_coerce(sa.func.min(d.c.settled_at), schema.Utc).label("first"),
            )
            .select_from(d)
            .join(table, table.c.id == d.c.letter_id)
            .where(
                table.c.run_id == run_id,
                d.c.mode == mode.value,
                d.c.state == State.ACCEPTED.value,
                d.c.settled_at <= before,
                ~sa.exists().where(p.c.delivery_id == d.c.id),
            )
        ).one()
    return row.number, row.first


def any_report(db: Database) -> bool:
    """Whether any mail that came back has ever been read."""
    with db.read() as connection:
        found = connection.scalar(sa.select(schema.returned_mail.c.id).limit(1))
    return found is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfinished:
    """A start that the schedule has begun and not brought to its end."""

    year: int
    step: Step
    mode: Mode
    begun_at: datetime
    held: bool


def starts(db: Database, year: int | None, *, now: datetime) -> list[Unfinished]:
    """Starts begun and never done; `held` if somebody has it in hand at this moment."""
    s = schema.starts
    select = (
        sa.select(s.c.year, s.c.step, s.c.mode, s.c.begun_at, s.c.lease_until)
        .where(s.c.begun_at.is_not(None), s.c.done_at.is_(None))
        .order_by(s.c.begun_at)
    )
    if year is not None:
        select = select.where(s.c.year == year)
    with db.read() as connection:
        return [
            Unfinished(
                year=row.year,
                step=Step(row.step),
                mode=Mode(row.mode),
                begun_at=row.begun_at,
                held=row.lease_until is not None and row.lease_until > now,
            )
            for row in connection.execute(select)
        ]


def relays(db: Database, *, tried_since: datetime) -> list[tuple[str, datetime]]:
    """Relays in trouble that somebody has tried since, or will: which, and since when."""
    r = schema.relays
    with db.read() as connection:
        rows = connection.execute(
            sa.select(r.c.relay, r.c.in_trouble_since)
            .where(r.c.in_trouble_since.is_not(None), r.c.retry_at >= tried_since)
            .order_by(r.c.in_trouble_since)
        ).all()
    return [(row.relay, row.in_trouble_since) for row in rows]


_LETTER = (
    schema.runs.c.year,
    schema.letters.c.run_id,
    schema.letters.c.authority_code,
    schema.letters.c.authority_name,
    schema.letters.c.id.label("letter_id"),
)


def _of_letters(year: int | None, *columns: Any) -> sa.Select[Any]:
    table, r = schema.letters, schema.runs
    select = sa.select(*_LETTER, *columns).join_from(table, r, r.c.id == table.c.run_id)
    return select if year is None else select.where(r.c.year == year)


def _of_messages(year: int | None, *columns: Any) -> sa.Select[Any]:
    table, m = schema.letters, schema.messages
    return _of_letters(year, *columns).join(m, m.c.letter_id == table.c.id)


def _of_deliveries(year: int | None, *columns: Any) -> sa.Select[Any]:
    table, d = schema.letters, schema.deliveries
    return _of_letters(
        year,
        d.c.id.label("delivery_id"),
        d.c.message_id,
        d.c.mode,
        d.c.recipient,
        *columns,
    ).join(d, d.c.letter_id == table.c.id)


def _streamed(
    db: Database, select: sa.Select[Any], key: Any, name: str = "id"
) -> Iterable[sa.Row[Any]]:
    """The rows in the order of a key that they hold by `name`, in short reads."""
    last = 0
    while True:
        with db.read() as connection:
            rows = connection.execute(select.where(key > last).order_by(key).limit(_CHUNK)).all()
        yield from rows
        if len(rows) < _CHUNK:
            return
        last = getattr(rows[-1], name)


def _gap(row: Any, **more: Any) -> Gap:
    """The gap of a row that tells of a letter, and of a message or a delivery if it has them."""
    known = row._mapping  # noqa: SLF001 - a row's public mapping
    about: dict[str, Any] = {
        "year": row.year,
        "run_id": row.run_id,
        "authority": row.authority_code,
        "authority_name": row.authority_name,
        "letter_id": row.letter_id,
    }
    if "delivery_id" in known:
        about |= {
            "message_id": row.message_id,
            "delivery_id": row.delivery_id,
            "mode": Mode(row.mode),
            "recipient": row.recipient,
        }
    return Gap(**(about | more))
