"""Hindrances: why a letter cannot be sent again at this moment, and what to do about it."""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from pipeline import london, schema
from pipeline.database import Database
from pipeline.delivery import OPEN, Mode, State
from pipeline.errors import Refused
from pipeline.schema import Event

LONDON = london.LONDON
"""The time, and the calendar, of the people who ask."""


def hindrance(db: Database, letter_id: int, mode: Mode) -> str | None:
    """What hinders sending the letter again in this mode, in whole sentences; None if nothing does.

    A run that is paused or cancelled; a letter that is withheld, faulted, not made, or never sent
    in this mode; an earlier delivery that may still arrive.
    """
    with db.read() as connection:
        return within(connection, connection.execute(letter_row(letter_id)).one(), mode)


def held(db: Database, letter_id: int) -> str | None:
    """The same without looking at deliveries: what keeps any message of the letter from going."""
    with db.read() as connection:
        return held_back(connection.execute(letter_row(letter_id)).one())


def letter_row(letter_id: int) -> sa.Select[Any]:
    """The letter's row, with its run's year and whether that is cancelled, paused or forgotten."""
    table, r = schema.letters, schema.runs
    return (
        sa.select(
            table,
            r.c.year,
            r.c.cancelled_at,
            r.c.paused_at,
            r.c.paused_by,
            r.c.paused_because,
            r.c.forgotten_at.label("forgotten_since"),
            r.c.forgotten_by,
        )
        .join(r, r.c.id == table.c.run_id)
        .where(table.c.id == letter_id)
    )


def within(connection: sa.Connection, letter: Any, mode: Mode) -> str | None:
    """The same of a row from `letter_row`, within a transaction."""
    return held_back(letter) or _unsent(connection, letter, mode) or _open(connection, letter, mode)


def held_back(letter: Any) -> str | None:
    """What `held` says, of a row from `letter_row`."""
    year, name = letter.year, letter.authority_name
    if letter.forgotten_since is not None:
        return forgotten(year, letter.forgotten_since, letter.forgotten_by)
    if letter.cancelled_at is not None:
        return f"The run of {year} has been cancelled; what is there now: letters status {year}"
    if letter.fault is not None:
        return f"There is no letter to {name} to send again: {letter.fault}"
    if letter.pdf is None:
        return (
            f"There is no letter to {name} to send again: it has not been made yet. "
            f"To make it: letters prepare {year}"
        )
    if letter.withheld_at is not None:
        return (
            f"The letter to {name} is withheld ({letter.withheld_because}). To release it first: "
            f"letters resume {letter.authority_code} --year {year}"
        )
    return paused(letter)


def forgotten(year: int, at: datetime, by: str) -> str:
    """That the letters of a year are forgotten, and what there still is."""
    local = at.astimezone(LONDON)
    return (
        f"The letters of {year} were forgotten on {local.day} {local:%B %Y} by {by}: names, "
        "addresses and files are gone for good. What became of each letter is still on record: "
        f"letters status {year}, letters export {year}"
    )


def refuse_forgotten(run: Any) -> None:
    """Raise Refused for a `Run` that is forgotten: there is nothing of its letters to look at."""
    if run.forgotten_at is not None:
        raise Refused(forgotten(run.year, run.forgotten_at, run.forgotten_by))


def paused(of: Any) -> str | None:
    """That a run is paused, and by whom; of a `Run`, or of a row from `letter_row`."""
    if of.paused_at is None:
        return None
    return (
        f"The letters of {of.year} are paused, by {of.paused_by} since "
        f"{london_time(of.paused_at)}: {of.paused_because}. To let them go on first: "
        f"letters resume {of.year}"
    )


def outside(
    name: str, recipients: Iterable[Mapping[str, Any]], only_to: Collection[str]
) -> str | None:
    """That mail may not go to some of these recipients; None if it may, or no domains are named.

    `name` is the authority's; each recipient has an `address`.
    """
    named = [one["address"] for one in recipients]
    kept = {
        domain: None
        for address in named
        if only_to and (domain := address.rpartition("@")[2].lower()) not in only_to
    }
    if not kept:
        return None
    return (
        f"The letter to {name} would go to {' and '.join(kept)}, and mail may only go to "
        f"{', '.join(only_to)} at present. To let it go there: add the domain to "
        "mail.only_to_domains in the settings, or empty that."
    )


def cancelled(db: Database, year: int) -> str | None:
    """That the year's newest run was cancelled, by whom, when and why; None if it was not."""
    r, e = schema.runs, schema.events
    with db.read() as connection:
        newest = connection.execute(
            sa.select(r.c.id, r.c.cancelled_at)
            .where(r.c.year == year)
            .order_by(r.c.cancelled_at.is_not(None), r.c.id.desc())
            .limit(1)
        ).one_or_none()
        if newest is None or newest.cancelled_at is None:
            return None
        event = connection.execute(
            sa.select(e.c.person, e.c.data)
            .where(e.c.run_id == newest.id, e.c.kind == Event.RUN_CANCELLED.value)
            .order_by(e.c.id.desc())
            .limit(1)
        ).one_or_none()
    said = f"The letters of {year} were cancelled"
    if event is not None and event.person:
        said += f" by {event.person}"
    local = newest.cancelled_at.astimezone(LONDON)
    said += f" on {local.day} {local:%B %Y} at {local:%H:%M}"
    reason = event.data.get("reason") if event is not None else None
    return f"{said}: {str(reason).rstrip('.')}." if reason else f"{said}."


def london_time(at: datetime) -> str:
    """A time as people read it: 22 July 2020, 09:00."""
    local = at.astimezone(LONDON)
    return f"{local.day} {local:%B %Y, %H:%M}"


def _unsent(connection: sa.Connection, letter: Any, mode: Mode) -> str | None:
    m = schema.messages
    sent = sa.exists().where(m.c.letter_id == letter.id, m.c.mode == mode.value)
    if connection.scalar(sa.select(sent)):
        return None
    return (
        f"The letter to {letter.authority_name} has not been sent in {mode.value} mode yet, so it "
        f"cannot be sent again. To send it for the first time: letters send {letter.year}"
    )


def _open(connection: sa.Connection, letter: Any, mode: Mode) -> str | None:
    m, d, a = schema.messages, schema.deliveries, schema.attempts
    rows = connection.execute(
        sa.select(
            d.c.recipient,
            d.c.state,
            m.c.message_id,
            m.c.created_at,
            a.c.claimed_at,
            a.c.intent_at,
        )
        .join(m, m.c.id == d.c.message_id)
        .outerjoin(a, sa.and_(a.c.delivery_id == d.c.id, a.c.number == d.c.attempt))
        .where(
            d.c.letter_id == letter.id,
            d.c.mode == mode.value,
            d.c.state.in_([state.value for state in OPEN]),
        )
        .order_by(d.c.id)
    ).all()
    on_their_way: list[str] = []
    doubtful: list[str] = []
    for row in rows:
        match State(row.state):
            case State.IN_DOUBT:
                since = london_time(row.intent_at or row.claimed_at)
                doubtful.append(f"{row.recipient} (since {since}, Message-ID {row.message_id})")
            case State.QUEUED:
                since = london_time(row.created_at)
                on_their_way.append(f"{row.recipient} (queued since {since})")
            case _:
                since = london_time(row.claimed_at)
                on_their_way.append(f"{row.recipient} (being sent since {since})")
    said: list[str] = []
    if on_their_way:
        said.append(
            f"An earlier message of the letter to {letter.authority_name} is still on its way to "
            f"{', '.join(on_their_way)}. Let it finish first, so that nobody gets it twice: "
            f"letters send {letter.year}"
        )
    if doubtful:
        said.append(
            f"It is in doubt whether the letter to {letter.authority_name} has reached "
            f"{', '.join(doubtful)}. Settle it first, so that nobody gets it twice: look for the "
            "Message-ID in the relay's log, or ask the recipient, and say what you found: "
            f"letters resolve {letter.authority_code} --year {letter.year}"
        )
    return "\n".join(said) or None
