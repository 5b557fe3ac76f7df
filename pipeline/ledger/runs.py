"""Runs: an edition's frozen pull, its template and its letters."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

import sqlalchemy as sa

from pipeline import schema
from pipeline.database import Database
from pipeline.errors import Refused
from pipeline.ledger import enclosures, events, hindrances
from pipeline.letter import Letter
from pipeline.schema import Event, Stage

_CHUNK = 250


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of one year. `edition` and `wording` are what all its letters share, frozen.

    While `paused_at` is set nothing of it is sent; `paused_by` and `paused_because` say who wants
    it so, and why. Once `forgotten_at` is set nobody is named in it, and its letters are gone.
    """

    id: int
    year: int
    opened_at: datetime
    opened_by: str
    edition: Mapping[str, Any]
    template_sha256: str
    wording: Mapping[str, str]
    paused_at: datetime | None = None
    paused_by: str | None = None
    paused_because: str | None = None
    forgotten_at: datetime | None = None
    forgotten_by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What a run is opened with, and all its letters share; plain values, frozen from then on."""

    year: int
    edition: Mapping[str, Any]
    template_sha256: str
    wording: Mapping[str, str]


def find_run(db: Database, year: int) -> Run | None:
    """The year's live run, or None."""
    r = schema.runs
    with db.read() as connection:
        row = connection.execute(
            sa.select(r).where(r.c.year == year, r.c.cancelled_at.is_(None))
        ).one_or_none()
    if row is None:
        return None
    return Run(
        id=row.id,
        year=row.year,
        opened_at=row.opened_at,
        opened_by=row.opened_by,
        edition=row.edition,
        template_sha256=row.template_sha256,
        wording=row.wording,
        paused_at=row.paused_at,
        paused_by=row.paused_by,
        paused_because=row.paused_because,
        forgotten_at=row.forgotten_at,
        forgotten_by=row.forgotten_by,
    )


def years(db: Database) -> list[int]:
    """The years that have a live run."""
    r = schema.runs
    with db.read() as connection:
        return list(
            connection.scalars(
                sa.select(r.c.year).where(r.c.cancelled_at.is_(None)).order_by(r.c.year)
            )
        )


def open_run(
    db: Database, opening: Opening, letters: Iterable[Letter], *, person: str, now: datetime
) -> None:
    """Freeze a year's letters in one transaction: all of them or none.

    Where another process has just opened the year's run, this changes nothing and that run stands.
    """
    try:
        with db.write() as connection:
            insert(connection, opening, letters, person=person, now=now)
    except sa.exc.IntegrityError:
        if find_run(db, opening.year) is None:
            raise


def insert(
    connection: sa.Connection,
    opening: Opening,
    letters: Iterable[Letter],
    *,
    person: str,
    now: datetime,
) -> int:
    """A new run with all its letters, within the transaction given; its id."""
    run_id: int = connection.execute(
        sa.insert(schema.runs)
        .values(
            year=opening.year,
            opened_at=now,
            opened_by=person,
            edition=opening.edition,
            template_sha256=opening.template_sha256,
            wording=opening.wording,
        )
        .returning(schema.runs.c.id)
    ).scalar_one()
    composed = iter(letters)
    count = 0
    while chunk := list(islice(composed, _CHUNK)):
        count += len(chunk)
        connection.execute(sa.insert(schema.letters), [_row(run_id, letter) for letter in chunk])
        enclosures.insert(connection, run_id, chunk)
    events.note(
        connection,
        Event.RUN_OPENED,
        at=now,
        run_id=run_id,
        person=person,
        data={"letters": count, "template_sha256": opening.template_sha256},
    )
    return run_id


def _row(run_id: int, letter: Letter) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "authority_code": letter.authority_code,
        "authority_name": letter.authority_name,
        "kind": letter.kind,
        "figures": letter.figures,
        "fields": letter.fields,
        "recipients": letter.recipients,
        "fault": letter.fault,
        "faulted_in": Stage.COMPOSE.value if letter.fault else None,
    }


def lock(connection: sa.Connection, run: Run) -> None:
    """Until the transaction ends nobody else plans, approves, refreshes or cancels the run.

    Raises Refused if it is forgotten, or has been cancelled since it was read.
    """
    r = schema.runs
    live = connection.execute(
        sa.select(r.c.forgotten_at, r.c.forgotten_by)
        .where(r.c.id == run.id, r.c.cancelled_at.is_(None))
        # Not against those who only refer to it: a worker that holds a delivery notes an event of
        # the run, and would wait for us while we wait for its delivery.
        .with_for_update(key_share=True)
    ).one_or_none()
    if live is None:
        raise Refused(
            f"The run of {run.year} has just been refreshed or cancelled by somebody else; "
            f"look at it as it is now: letters status {run.year}"
        )
    if live.forgotten_at is not None:
        raise Refused(hindrances.forgotten(run.year, live.forgotten_at, live.forgotten_by))
