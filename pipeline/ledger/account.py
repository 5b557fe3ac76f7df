"""A year's account: who was sent what, when, and what came of it; one row for each delivery.

Every authority of the year's run is accounted for: a letter without any delivery has a row that
says how it stands. Of a run that was cancelled there are the deliveries that were tried; whatever
else it held, the run that took its place accounts for.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from operator import attrgetter
from typing import Any

import sqlalchemy as sa

from pipeline import schema
from pipeline.database import Database
from pipeline.delivery import Mode

_CHUNK = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One delivery with all that led to it, or (from `mode` on empty) a letter that has none.

    `state` is the delivery's; without one it is `fault`, `withheld`, `unprepared`, `prepared` or
    `replaced` by a newer revision.
    `approved_by` are the people who had approved the run, this letter included, before this
    delivery was first tried. `tried` is when it first was, `intent` when the relay was last about
    to be given the whole message, `reply` what it last said. Times are aware, in UTC. Since
    `forgotten` a number stands for each address, and nothing is there that somebody wrote.
    """

    year: int
    run: int
    run_opened: datetime
    run_cancelled: datetime | None
    authority: str
    name: str
    revision: int
    state: str
    fault: str | None
    withheld_because: str | None
    pdf: str | None
    pdf_sha256: str | None
    pages: int | None
    prepared: datetime | None
    approved_by: Sequence[str]
    mode: str | None = None
    recipient: str | None = None
    roles: Sequence[str] = ()
    message_id: str | None = None
    date: datetime | None = None
    eml: str | None = None
    eml_sha256: str | None = None
    resend_of: str | None = None
    reason: str | None = None
    requested_by: str | None = None
    attempts: int | None = None
    tried: datetime | None = None
    intent: datetime | None = None
    settled: datetime | None = None
    relay: str | None = None
    queue_id: str | None = None
    reply: str | None = None
    forgotten: datetime | None = None


def count(db: Database, year: int) -> int:
    """How many letters the year's runs have, for watching how far an account has come."""
    table, r = schema.letters, schema.runs
    with db.read() as connection:
        return (
            connection.scalar(
                sa.select(sa.func.count())
                .select_from(table)
                .join(r, r.c.id == table.c.run_id)
                .where(r.c.year == year)
            )
            or 0
        )


def entries(db: Database, year: int) -> Iterator[list[Entry]]:
    """The year's account, letter by letter: by run, code, revision and time; streamed.

    One consistent view, whatever is sent meanwhile. A letter of a cancelled run may have no entry.
    """
    r = schema.runs
    with db.read() as connection:
        for run in connection.execute(
            sa.select(r.c.id, r.c.year, r.c.opened_at, r.c.cancelled_at, r.c.forgotten_at)
            .where(r.c.year == year)
            .order_by(r.c.id)
        ).all():
            yield from _of_run(connection, run)


def _of_run(connection: sa.Connection, run: Any) -> Iterator[list[Entry]]:
    table = schema.letters
    place = sa.tuple_(table.c.authority_code, table.c.revision)
    after: tuple[str, int] = ("", 0)
    while True:
        letters = connection.execute(
            sa.select(
                table.c.id,
                table.c.authority_code,
                table.c.authority_name,
                table.c.revision,
                table.c.fault,
                table.c.withheld_because,
                table.c.pdf,
                table.c.pdf_sha256,
                table.c.pages,
                table.c.prepared_at,
                table.c.superseded_at,
            )
            .where(table.c.run_id == run.id, place > after)
            .order_by(table.c.authority_code, table.c.revision)
            .limit(_CHUNK)
        ).all()
        if not letters:
            return
        made = _deliveries(connection, [letter.id for letter in letters])
        approved = _approvals(connection, [letter.id for letter in letters])
        for letter in letters:
            given = approved.get(letter.id, [])
            about = _about(run, letter)
            tried = [one for one in made.get(letter.id, []) if not run.cancelled_at or one.attempt]
            if tried or run.cancelled_at:
                yield [_entry(about, one, given) for one in tried]
            else:
                by = _approved_by(given, None)
                yield [Entry(**about, state=_stands(letter), approved_by=by)]
        after = (letters[-1].authority_code, letters[-1].revision)


def _deliveries(connection: sa.Connection, letters: list[int]) -> dict[int, list[Any]]:
    """The deliveries of each letter, with message and attempts, in the order they were made."""
    m, d, a = schema.messages, schema.deliveries, schema.attempts
    before, last = m.alias("before"), a.alias("last")
    of_each = (
        sa.select(
            a.c.delivery_id,
            sa.func.min(a.c.claimed_at).label("tried"),
            sa.func.max(a.c.intent_at).label("intent"),
        )
        .join(d, d.c.id == a.c.delivery_id)
        .where(d.c.letter_id.in_(letters))
        .group_by(a.c.delivery_id)
        .subquery()
    )
    rows = connection.execute(
        sa.select(
            d.c.letter_id,
            d.c.mode,
            d.c.recipient,
            d.c.state,
            d.c.attempt,
            d.c.settled_at,
            m.c.message_id,
            m.c.dated,
            m.c.eml,
            m.c.eml_sha256,
            m.c.recipients,
            m.c.reason,
            m.c.requested_by,
            before.c.message_id.label("resend_of"),
            of_each.c.tried,
            of_each.c.intent,
            last.c.relay,
            last.c.queue_id,
            last.c.reply,
        )
        .join(m, m.c.id == d.c.message_id)
        .outerjoin(before, before.c.id == m.c.resend_of)
        .outerjoin(of_each, of_each.c.delivery_id == d.c.id)
        .outerjoin(last, sa.and_(last.c.delivery_id == d.c.id, last.c.number == d.c.attempt))
        .where(d.c.letter_id.in_(letters))
        .order_by(d.c.letter_id, d.c.id)
    )
    return {letter: list(some) for letter, some in groupby(rows, key=attrgetter("letter_id"))}


def _about(run: Any, letter: Any) -> dict[str, Any]:
    return {
        "year": run.year,
        "run": run.id,
        "run_opened": run.opened_at,
        "run_cancelled": run.cancelled_at,
        "forgotten": run.forgotten_at,
        "authority": letter.authority_code,
        "name": letter.authority_name,
        "revision": letter.revision,
        "fault": letter.fault,
        "withheld_because": letter.withheld_because,
        "pdf": letter.pdf,
        "pdf_sha256": letter.pdf_sha256,
        "pages": letter.pages,
        "prepared": letter.prepared_at,
    }


def _entry(about: Mapping[str, Any], one: Any, approvals: Sequence[Any]) -> Entry:
    return Entry(
        **about,
        state=one.state,
        approved_by=_approved_by(approvals, one.tried),
        mode=one.mode,
        recipient=one.recipient,
        roles=_roles(one),
        message_id=one.message_id,
        date=one.dated,
        eml=one.eml,
        eml_sha256=one.eml_sha256,
        resend_of=one.resend_of,
        reason=one.reason,
        requested_by=one.requested_by,
        attempts=one.attempt,
        tried=one.tried,
        intent=one.intent,
        settled=one.settled_at,
        relay=one.relay,
        queue_id=one.queue_id,
        reply=one.reply,
    )


def _roles(one: Any) -> list[str]:
    """What the recipient was written to as; whoever a rehearsal was redirected to is nobody."""
    if one.mode == Mode.REDIRECT.value:
        return []
    return [
        role
        for recipient in one.recipients
        if recipient["address"] == one.recipient
        for role in recipient["roles"]
    ]


def _approvals(connection: sa.Connection, letters: list[int]) -> dict[int, list[Any]]:
    """The approvals of each letter, in the order in which they were given."""
    a, given = schema.approvals, schema.approved_letters
    rows = connection.execute(
        sa.select(given.c.letter_id, given.c.voided_at, a.c.person, a.c.approved_at)
        .join(a, a.c.id == given.c.approval_id)
        .where(given.c.letter_id.in_(letters))
        .order_by(given.c.letter_id, a.c.approved_at, a.c.id)
    )
    return {letter: list(some) for letter, some in groupby(rows, key=attrgetter("letter_id"))}


def _approved_by(approvals: Sequence[Any], tried: datetime | None) -> list[str]:
    """Whose approval held when it was first tried; whose holds now, if it was not."""
    people = (
        one.person
        for one in approvals
        if (one.voided_at is None if tried is None else one.approved_at <= tried)
        and (one.voided_at is None or tried is None or one.voided_at > tried)
    )
    return list(dict.fromkeys(people))


def _stands(letter: Any) -> str:
    if letter.superseded_at is not None:
        return "replaced"
    if letter.withheld_because is not None:
        return "withheld"
    if letter.fault is not None:
        return "fault"
    return "unprepared" if letter.pdf is None else "prepared"
