"""Forgetting: old letters without anybody's name, address or words; what happened stays on record.

A run that is to be forgotten says so first, in one transaction: from then on nothing of it is sent,
made, approved or shown as a letter. Then its letters lose what is personal, some at a time. Calling
it again goes on where it stopped; what is forgotten already is left alone. Files are not looked at
here.

What stays: which authority, the figures, the hashes, the names of files, each delivery's state and
attempts, each event with its time, and who of the office did what. An address is replaced by a
number, the same throughout one letter, so that it can still be told who of it got what.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import sqlalchemy as sa

from pipeline import schema
from pipeline.database import Database
from pipeline.delivery import OPEN, Mode, State
from pipeline.errors import Refused
from pipeline.ledger import events
from pipeline.ledger.letters import unplanned
from pipeline.ledger.reports import FOR_A_PERSON
from pipeline.schema import Event

FORGOTTEN = "(forgotten)"
"""Stands for words that cannot be left empty."""

STAYS = frozenset(
    {"approvals_ended", "attempt", "averages_moved", "before", "by_run", "changed", "deliveries"}
    | {
        "digest",
        "due_at",
        "eml",
        "from",
        "kept",
        "kind",
        "letters",
        "login",
        "mail",
        "matched_by",
        "message",
        "mode",
    }
    | {"outcome", "pages", "pdf", "relay", "replaces", "report", "resend_of", "revision", "sha256"}
    | {"shared", "status", "step", "template_sha256", "to", "year"}
)
"""What stays of an event's data; the trigger on events (migration 0010) knows the same names."""

_OF_NO_RUN = (Event.RETURNED_MAIL_SEEN, Event.RELAY_IN_TROUBLE, Event.TEST_SENT)
"""Events of no run that hold what somebody wrote; the trigger knows these, too."""

_CHUNK = 200

TABLES: tuple[sa.Table, ...] = (
    schema.runs,
    schema.letters,
    schema.messages,
    schema.deliveries,
    schema.attempts,
    schema.events,
    schema.reports,
    schema.returned_mail,
    schema.enclosures,
    schema.officers,
    schema.remarks,
)
"""Where forgetting changes or deletes rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """What is on record about people of the years before one, and is not forgotten yet.

    `letters` by year, cancelled runs with them; `addresses` are different ones that letters were
    for, `files` those that the ledger names. `officers` have left before that year and `remarks`
    were printed before it; both are None where the statistics are another database's. `pending` are
    letters that an earlier call has not come to; `interrupted`: it has not come to its end.
    """

    before: int
    letters: Mapping[int, int]
    addresses: int
    files: int
    mails: int
    officers: int | None
    remarks: int | None
    pending: int
    interrupted: bool

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to forget."""
        return not (self.letters or self.mails or self.officers or self.remarks)


def extent(db: Database, before: int, *, statistics: bool) -> Extent:
    """What forgetting the years before `before` would concern; changes nothing.

    `statistics`: those in this database are meant, too. Raises Refused, naming what is to be done
    first, for years that are not finished.
    """
    table, r, m, d, mail = (
        schema.letters,
        schema.runs,
        schema.messages,
        schema.deliveries,
        schema.returned_mail,
    )
    wanted = _wanted(before)
    of_runs = table.c.run_id.in_(sa.select(r.c.id).where(wanted))
    with db.read() as connection:
        _refuse_unfinished(connection, before)
        by_year = connection.execute(
            sa.select(r.c.year, sa.func.count())
            .join_from(table, r, r.c.id == table.c.run_id)
            .where(wanted)
            .group_by(r.c.year)
            .order_by(r.c.year)
        ).all()
        addresses: set[str] = set()
        for row in connection.execute(
            sa.select(table.c.recipients).where(of_runs).execution_options(yield_per=_CHUNK)
        ):
            addresses.update(one["address"].casefold() for one in row.recipients)
        for address in connection.scalars(
            sa.select(d.c.recipient)
            .join(table, table.c.id == d.c.letter_id)
            .where(of_runs)
            .distinct()
            .execution_options(yield_per=_CHUNK)
        ):
            addresses.add(address.casefold())
        pdfs = _count(connection, sa.select(table.c.pdf).where(of_runs, table.c.pdf.is_not(None)))
        emls = _count(
            connection,
            sa.select(m.c.eml)
            .join(table, table.c.id == m.c.letter_id)
            .where(of_runs, m.c.eml.is_not(None)),
        )
        books = _count(
            connection,
            sa.select(schema.enclosures.c.file)
            .join(table, table.c.id == schema.enclosures.c.letter_id)
            .where(of_runs, schema.enclosures.c.file.is_not(None)),
        )
        mails = _mails(before)
        kept = _count(connection, sa.select(mail.c.kept).where(mails, mail.c.kept.is_not(None)))
        return Extent(
            before=before,
            letters={row[0]: row[1] for row in by_year},
            addresses=len(addresses),
            files=pdfs + emls + books + kept,
            mails=_count(connection, sa.select(mail.c.id).where(mails)),
            officers=_count(connection, sa.select(schema.officers.c.id).where(_left(before)))
            if statistics
            else None,
            remarks=_count(connection, sa.select(schema.remarks).where(_printed(before)))
            if statistics
            else None,
            pending=_count(connection, sa.select(table.c.id).where(_pending())),
            interrupted=_begun(connection) is not None,
        )


def begin(db: Database, found: Extent, *, person: str, now: datetime) -> Sequence[int]:
    """Put on record that these years are forgotten: from now on nothing of them goes anywhere.

    Returns the years of which that was news. Raises Refused as `extent`, if somebody has begun
    anything with them since.
    """
    r, e = schema.runs, schema.events
    with db.write() as connection:
        rows = connection.execute(
            sa.select(r.c.id, r.c.year, r.c.paused_because)
            .where(_wanted(found.before))
            .order_by(r.c.id)
            # Whoever plans or sends again holds this, or waits for it and then sees it forgotten.
            .with_for_update(key_share=True)
        ).all()
        _refuse_unfinished(connection, found.before)
        years = sorted({row.year for row in rows})
        begun = _begun(connection)
        goes_on = begun is not None and begun.data["before"] >= found.before
        if not rows and (goes_on or not (found.mails or found.officers or found.remarks)):
            return years  # to go on with what another call has begun is no beginning
        events.note(
            connection,
            Event.LETTERS_FORGOTTEN,
            at=now,
            person=person,
            data={
                "before": found.before,
                "years": years,
                "letters": sum(found.letters.values()),
                "mails": found.mails,
                "officers": found.officers,
                "remarks": found.remarks,
            },
        )
        for row in rows:
            because = None if row.paused_because is None else FORGOTTEN
            connection.execute(
                sa.update(r)
                .where(r.c.id == row.id)
                .values(forgotten_at=now, forgotten_by=person, paused_because=because)
            )
            letters, deliveries = _size(connection, row.id)
            events.note(
                connection,
                Event.LETTERS_FORGOTTEN,
                at=now,
                run_id=row.id,
                person=person,
                data={"before": found.before, "letters": letters, "deliveries": deliveries},
            )
            _reduce(connection, sa.and_(e.c.run_id == row.id, e.c.letter_id.is_(None)))
    return years


def forget_some(db: Database, *, now: datetime) -> int:
    """Take what is personal out of the next letters of forgotten runs; how many. 0: of none left.

    With their messages, deliveries, attempts, reports and events, in one transaction.
    """
    table, r = schema.letters, schema.runs
    with db.write() as connection:
        # One at a time: who waits here sees afterwards what the one before has done.
        first = connection.scalar(
            sa.select(r.c.id)
            .where(
                r.c.forgotten_at.is_not(None),
                sa.exists().where(table.c.run_id == r.c.id, table.c.forgotten_at.is_(None)),
            )
            .order_by(r.c.id)
            .limit(1)
        )
        if first is None:
            return 0
        connection.execute(sa.select(r.c.id).where(r.c.id == first).with_for_update(key_share=True))
        letters = connection.execute(
            sa.select(table)
            .where(table.c.run_id == first, table.c.forgotten_at.is_(None))
            .order_by(table.c.id)
            .limit(_CHUNK)
        ).all()
        if letters:
            _forget(connection, letters, now=now)
    # Where another process has done the last of them meanwhile, there may be other runs.
    return len(letters) or forget_some(db, now=now)


def forget_mails(db: Database, before: int, *, now: datetime) -> int:
    """Take sender, subject and words out of old returned mail; how many.

    Old is what was read before the year, or speaks of forgotten letters alone; its file is not
    looked at here.
    """
    mail, e = schema.returned_mail, schema.events
    with db.write() as connection:
        done = connection.execute(
            sa.update(mail)
            .where(_mails(before))
            .values(
                sender="",
                subject="",
                reason=None,
                seen_note=sa.case((mail.c.seen_note.is_(None), None), else_=FORGOTTEN),
                forgotten_at=now,
            )
        )
        # No further than what is on record to be forgotten: the trigger would refuse.
        reached = connection.scalar(
            sa.select(sa.func.max(e.c.data["before"].as_integer())).where(
                e.c.kind == Event.LETTERS_FORGOTTEN.value, e.c.run_id.is_(None)
            )
        )
        _reduce(
            connection,
            sa.and_(
                e.c.run_id.is_(None),
                e.c.kind.in_([kind.value for kind in _OF_NO_RUN]),
                e.c.at < _new_year(min(before, reached or 1)),
            ),
        )
        return done.rowcount


def forget_statistics(db: Database, before: int) -> tuple[int, int]:
    """Delete officers who have left before the year, and remarks printed before it; how many."""
    with db.write() as connection:
        officers = connection.execute(sa.delete(schema.officers).where(_left(before))).rowcount
        remarks = connection.execute(sa.delete(schema.remarks).where(_printed(before))).rowcount
    return officers, remarks


def end(db: Database, before: int, *, files: int, person: str, now: datetime) -> None:
    """Put on record that all that was begun has come to its end; `files` were removed."""
    with db.write() as connection:
        begun = _begun(connection)
        if begun is not None:
            events.note(
                connection,
                Event.LETTERS_FORGOTTEN,
                at=now,
                person=person,
                data={"before": before, "ended": begun.id, "files": files},
            )


def years(db: Database) -> dict[int, bool]:
    """The years that have a forgotten run, and whether nothing else of them is on record."""
    r = schema.runs
    kept = sa.func.sum(sa.case((r.c.forgotten_at.is_(None), 1), else_=0))
    with db.read() as connection:
        rows = connection.execute(
            sa.select(r.c.year, kept)
            .group_by(r.c.year)
            .having(sa.func.count(r.c.forgotten_at) > 0)
            .order_by(r.c.year)
        ).all()
    return {row[0]: not row[1] for row in rows}


def stems(db: Database, year: int) -> Iterator[tuple[str, str]]:
    """Code and name of each authority that a forgotten letter of the year is about."""
    table, r = schema.letters, schema.runs
    with db.read() as connection:
        rows = connection.execute(
            sa.select(table.c.authority_code, table.c.authority_name)
            .join(r, r.c.id == table.c.run_id)
            .where(r.c.year == year, r.c.forgotten_at.is_not(None))
            .distinct()
        ).all()
    for row in rows:
        yield row.authority_code, row.authority_name


def any_mail(db: Database) -> bool:
    """Whether any returned mail that had a file is forgotten."""
    mail = schema.returned_mail
    with db.read() as connection:
        found = connection.scalar(
            sa.select(mail.c.id)
            .where(mail.c.forgotten_at.is_not(None), mail.c.kept.is_not(None))
            .limit(1)
        )
    return found is not None


def message_ids(db: Database, ids: Sequence[str], before: int | None) -> set[str]:
    """Which of these Message-IDs are of letters before a year, or without one of forgotten ones.

    Tests of a letter are meant as well: they hold the same words.
    """
    m, table, r, e = schema.messages, schema.letters, schema.runs, schema.events
    wanted = r.c.forgotten_at.is_not(None) if before is None else r.c.year < before
    of_test = e.c.data["message"].as_string()
    with db.read() as connection:
        sent = connection.scalars(
            sa.select(m.c.message_id)
            .join(table, table.c.id == m.c.letter_id)
            .join(r, r.c.id == table.c.run_id)
            .where(m.c.message_id.in_(ids), wanted)
        ).all()
        tried = connection.scalars(
            sa.select(of_test)
            .join(r, r.c.id == e.c.run_id)
            .where(e.c.kind == Event.TEST_SENT.value, of_test.in_(ids), wanted)
        ).all()
    return {*sent, *tried}


# ---- what is meant


def _wanted(before: int) -> sa.ColumnElement[bool]:
    r = schema.runs
    return sa.and_(r.c.year < before, r.c.forgotten_at.is_(None))


def _pending() -> sa.ColumnElement[bool]:
    table, r = schema.letters, schema.runs
    begun = sa.select(r.c.id).where(r.c.forgotten_at.is_not(None))
    return sa.and_(table.c.forgotten_at.is_(None), table.c.run_id.in_(begun))


def _mails(before: int) -> sa.ColumnElement[bool]:
    """Returned mail of before the year, or of letters of before it and of no others."""
    mail, rep, d, table, r = (
        schema.returned_mail,
        schema.reports,
        schema.deliveries,
        schema.letters,
        schema.runs,
    )

    def of(years: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
        return (
            sa.exists()
            .where(
                rep.c.mail_id == mail.c.id,
                d.c.id == rep.c.delivery_id,
                table.c.id == d.c.letter_id,
                r.c.id == table.c.run_id,
                years,
            )
            .correlate(mail)
        )

    old = sa.or_(mail.c.read_at < _new_year(before), of(r.c.year < before))
    return sa.and_(mail.c.forgotten_at.is_(None), old, ~of(r.c.year >= before))


def _left(before: int) -> sa.ColumnElement[bool]:
    """Nobody who left before a year can be written to in it."""
    return schema.officers.c.active_to < date(before, 1, 1)


def _printed(before: int) -> sa.ColumnElement[bool]:
    return schema.remarks.c.year < before


def _new_year(year: int) -> datetime:
    return datetime.fromisoformat(f"{year:04d}-01-01T00:00:00Z")


def _count(connection: sa.Connection, select: sa.Select[Any]) -> int:
    """How many different rows a query gives."""
    found: int = connection.execute(
        sa.select(sa.func.count()).select_from(select.distinct().subquery())
    ).scalar_one()
    return found


def _size(connection: sa.Connection, run_id: int) -> tuple[int, int]:
    table, d = schema.letters, schema.deliveries
    letters = connection.scalar(
        sa.select(sa.func.count()).select_from(table).where(table.c.run_id == run_id)
    )
    deliveries = connection.scalar(
        sa.select(sa.func.count())
        .select_from(d)
        .join(table, table.c.id == d.c.letter_id)
        .where(table.c.run_id == run_id)
    )
    return letters or 0, deliveries or 0


def _begun(connection: sa.Connection) -> Any | None:
    """The event that a forgetting was begun with which has not come to its end; None if it has."""
    e = schema.events
    last = connection.execute(
        sa.select(e.c.id, e.c.data)
        .where(e.c.kind == Event.LETTERS_FORGOTTEN.value, e.c.run_id.is_(None))
        .order_by(e.c.id.desc())
        .limit(1)
    ).one_or_none()
    return None if last is None or "ended" in last.data else last


# ---- what has to be done first


def _refuse_unfinished(connection: sa.Connection, before: int) -> None:
    """Raise Refused where a year is not finished, or mail waits for a person; all of it at once."""
    r, mail = schema.runs, schema.returned_mail
    said: list[str] = []
    for run in connection.execute(
        sa.select(r.c.id, r.c.year)
        .where(_wanted(before), r.c.cancelled_at.is_(None))
        .order_by(r.c.year)
    ).all():
        said += _open(connection, run.id, run.year) or _unfinished(connection, run.id, run.year)
    waiting = _count(
        connection,
        sa.select(mail.c.id).where(
            _mails(before),
            mail.c.seen_at.is_(None),
            mail.c.kind.in_([kind.value for kind in FOR_A_PERSON]),
        ),
    )
    if waiting:
        said.append(
            f"{_counted(waiting, 'returned mail waits', 'returned mails wait')} for a person to "
            "look at, who could not do so any more. To see them: letters reports --list. Then: "
            "letters reports --seen NUMBER --note TEXT"
        )
    if said:
        raise Refused("\n".join([*said, "Nothing has been forgotten."]))


def _open(connection: sa.Connection, run_id: int, year: int) -> list[str]:
    """What is still to be made of a run, in whole sentences for each mode."""
    d, table = schema.deliveries, schema.letters
    found: dict[Mode, dict[State, int]] = {}
    for row in connection.execute(
        sa.select(d.c.mode, d.c.state, sa.func.count())
        .join(table, table.c.id == d.c.letter_id)
        .where(table.c.run_id == run_id, d.c.state.in_([state.value for state in OPEN]))
        .group_by(d.c.mode, d.c.state)
        .order_by(d.c.mode)
    ):
        found.setdefault(Mode(row.mode), {})[State(row.state)] = row[2]
    said = []
    for mode, states in found.items():
        doubts = states.pop(State.IN_DOUBT, 0)
        said_so = f"LETTERS_MAIL__MODE={mode.value} letters"
        if doubts:
            said.append(
                f"{_counted(doubts, 'delivery', 'deliveries')} of {year} in {mode.value} mode "
                f"{'is' if doubts == 1 else 'are'} in doubt, and nobody could settle that any more "
                f"once the addresses are forgotten. To see which: {said_so} status {year}. To "
                f"settle them: {said_so} resolve AUTHORITY --year {year}"
            )
        if waiting := sum(states.values()):
            said.append(
                f"{_counted(waiting, 'delivery', 'deliveries')} of {year} in {mode.value} mode "
                f"{'is' if waiting == 1 else 'are'} still to be made. To make them: {said_so} send "
                f"{year}. Or to give them up: letters cancel {year} --unsent --reason TEXT"
            )
    return said


def _unfinished(connection: sa.Connection, run_id: int, year: int) -> Iterator[str]:
    """What was never made, or never sent, of a run that has nothing open."""
    table, m = schema.letters, schema.messages
    give_up = f"To give them up: letters cancel {year} --unsent --reason TEXT"
    of_run = table.c.run_id == run_id
    unmade = _count(
        connection,
        sa.select(table.c.id).where(
            of_run,
            table.c.pdf.is_(None),
            table.c.fault.is_(None),
            table.c.withheld_at.is_(None),
            table.c.superseded_at.is_(None),
        ),
    )
    if unmade:
        yield (
            f"{_counted(unmade, 'letter', 'letters')} of {year} {'has' if unmade == 1 else 'have'} "
            f"not been made, so the year is not finished. To make them: letters prepare {year}. "
            f"{give_up}"
        )
        return
    modes = {
        Mode(mode)
        for mode in connection.scalars(
            sa.select(m.c.mode).join(table, table.c.id == m.c.letter_id).where(of_run).distinct()
        )
    }
    # Live mail is the real thing; of a year that was only rehearsed, a whole rehearsal will do.
    of = [Mode.LIVE] if Mode.LIVE in modes else [*modes] or [Mode.LIVE]
    unsent = min(
        _count(connection, sa.select(table.c.id).where(unplanned(run_id, mode))) for mode in of
    )
    if unsent:
        yield (
            f"{_counted(unsent, 'letter', 'letters')} of {year} {'has' if unsent == 1 else 'have'} "
            f"been made and never sent, so the year is not finished. To send them: "
            f"letters send {year}. {give_up}"
        )


def _counted(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"


# ---- letters


def _forget(connection: sa.Connection, letters: Sequence[Any], *, now: datetime) -> None:
    """Take what is personal out of these rows of `letters` and of all that hangs on them."""
    table, m, d, a, rep, e = (
        schema.letters,
        schema.messages,
        schema.deliveries,
        schema.attempts,
        schema.reports,
        schema.events,
    )
    ids = [letter.id for letter in letters]
    inside = schema.enclosures
    connection.execute(sa.update(inside).where(inside.c.letter_id.in_(ids)).values(cases=[]))
    messages = connection.execute(
        sa.select(m.c.id, m.c.letter_id, m.c.recipients, m.c.reason)
        .where(m.c.letter_id.in_(ids))
        .order_by(m.c.id)
    ).all()
    deliveries = connection.execute(
        sa.select(d.c.id, d.c.letter_id, d.c.recipient)
        .where(d.c.letter_id.in_(ids))
        .order_by(d.c.id)
        .with_for_update()
    ).all()
    numbers: dict[int, _Numbers] = {id_: _Numbers() for id_ in ids}
    _update(
        connection,
        table,
        (
            {
                "of": one.id,
                "fields": {},
                "recipients": numbers[one.id].of_all(one.recipients),
                "fault": _blank(one.fault),
                "withheld_because": _blank(one.withheld_because),
                "reissued_because": _blank(one.reissued_because),
                "forgotten_at": now,
            }
            for one in letters
        ),
    )
    _update(
        connection,
        m,
        (
            {
                "of": one.id,
                "recipients": numbers[one.letter_id].of_all(one.recipients),
                "reason": _blank(one.reason),
                "request_key": None,
            }
            for one in messages
        ),
    )
    _update(
        connection,
        d,
        (
            {"of": one.id, "recipient": numbers[one.letter_id].of(one.recipient), "domain": ""}
            for one in deliveries
        ),
    )
    of_letters = sa.select(d.c.id).where(d.c.letter_id.in_(ids))
    connection.execute(sa.update(a).where(a.c.delivery_id.in_(of_letters)).values(reply=None))
    connection.execute(
        sa.update(rep).where(rep.c.delivery_id.in_(of_letters)).values(said="", remote="")
    )
    _reduce(connection, e.c.letter_id.in_(ids))


class _Numbers:
    """The addresses of one letter by their numbers; the same address has the same one."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def of(self, address: str) -> str:
        return self._known.setdefault(address, f"forgotten-{len(self._known) + 1}")

    def of_all(self, recipients: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Recipients with a number for an address and without a name: roles stay."""
        return [
            {
                "address": self.of(one["address"]),
                "name": "",
                "roles": one.get("roles", []),
                "kind": one.get("kind", "to"),
            }
            for one in recipients
        ]


def _blank(words: str | None) -> str | None:
    return None if words is None else FORGOTTEN


def _update(connection: sa.Connection, table: sa.Table, rows: Iterable[Mapping[str, Any]]) -> None:
    """Set columns of rows by their ids, which are given as `of`."""
    values = [dict(row) for row in rows]
    if values:
        columns: dict[str, Any] = {
            name: sa.bindparam(f"new_{name}") for name in values[0] if name != "of"
        }
        connection.execute(
            sa.update(table).where(table.c.id == sa.bindparam("of")).values(columns),
            [
                {name if name == "of" else f"new_{name}": value for name, value in row.items()}
                for row in values
            ],
        )


def _reduce(connection: sa.Connection, which: sa.ColumnElement[bool]) -> None:
    """Leave of these events' data what is nobody's: the one change that events allow."""
    e = schema.events
    found = connection.execute(sa.select(e.c.id, e.c.data).where(which).order_by(e.c.id)).all()
    reduced = (
        {"of": row.id, "data": {name: row.data[name] for name in row.data if name in STAYS}}
        for row in found
        if row.data.keys() - STAYS
    )
    _update(connection, e, reduced)
