"""The letters of a run as they were frozen, and what they are compared by."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import sqlalchemy as sa

from pipeline import schema
from pipeline.database import Database
from pipeline.delivery import Mode
from pipeline.ledger.runs import Run
from pipeline.letter import MEASURES, Letter
from pipeline.readiness.letters import Seen, Whole
from pipeline.schema import Stage

_CHUNK = 500


def letters(db: Database, run: Run) -> Iterator[tuple[Seen, bytes]]:
    """The run's letters by code, the newest revision of each, with what it is compared by."""
    table, later = schema.letters, schema.letters.alias("later")
    newest = ~sa.exists().where(
        later.c.run_id == table.c.run_id,
        later.c.authority_code == table.c.authority_code,
        later.c.revision > table.c.revision,
    )
    chosen = (
        sa.select(
            table.c.authority_code,
            table.c.authority_name,
            table.c.kind,
            table.c.fields,
            table.c.figures,
            table.c.recipients,
            table.c.fault,
            table.c.faulted_in,
            table.c.withheld_because,
            table.c.replaces_id,
        )
        .where(table.c.run_id == run.id, newest)
        .order_by(table.c.authority_code)
        .execution_options(yield_per=_CHUNK)
    )
    with db.read() as connection, connection.execute(chosen) as rows:
        for row in rows:
            composed_fault = row.fault if row.faulted_in == Stage.COMPOSE.value else None
            seen = Seen(
                code=row.authority_code,
                name=row.authority_name,
                kind=row.kind,
                fields=row.fields,
                figures=row.figures,
                recipients=row.recipients,
                fault=row.fault,
                withheld=row.withheld_because,
            )
            yield seen, _print_of(seen, composed_fault, replaces=row.replaces_id is not None)


def composed(letter: Letter, *, replaces: bool = False) -> tuple[Seen, bytes]:
    """The same of a letter composed just now; with `replaces` as one that replaces another."""
    seen = Seen(
        code=letter.authority_code,
        name=letter.authority_name,
        kind=letter.kind,
        fields=letter.fields,
        figures=letter.figures,
        recipients=letter.recipients,
        fault=letter.fault,
    )
    return seen, _print_of(seen, letter.fault, replaces=replaces)


def _print_of(seen: Seen, fault: str | None, *, replaces: bool) -> bytes:
    # A few bytes for each letter, as a run may have a hundred thousand.
    fields = dict(seen.fields)
    if replaces:  # it has a date and a sentence of its own
        fields.update(letter_date=None, replaces=None)
    said = [seen.name, seen.kind, fields, seen.figures, seen.recipients, fault, replaces]
    return hashlib.blake2b(json.dumps(said, sort_keys=True).encode(), digest_size=12).digest()


def figures(db: Database, run: Run) -> dict[str, dict[str, Whole]]:
    """Parts and wholes by code and measure."""
    found: dict[str, dict[str, Whole]] = {}
    table = schema.letters
    chosen = (
        sa.select(table.c.authority_code, table.c.figures)
        .where(table.c.run_id == run.id)
        .order_by(table.c.authority_code, table.c.revision)
        .execution_options(yield_per=_CHUNK)
    )
    with db.read() as connection, connection.execute(chosen) as rows:
        for row in rows:
            if row.figures:
                found[row.authority_code] = {one: _whole(row.figures[one]) for one in MEASURES}
    return found


def _whole(figure: Mapping[str, Any]) -> Whole:
    return figure["part"] or 0, figure["whole"] or 0


def is_begun(db: Database, run: Run, mode: Mode) -> bool:
    """Whether any message of the run has been planned in this mode."""
    table, m = schema.letters, schema.messages
    with db.read() as connection:
        found = connection.scalar(
            sa.select(m.c.id)
            .join(table, table.c.id == m.c.letter_id)
            .where(table.c.run_id == run.id, m.c.mode == mode.value)
            .limit(1)
        )
    return found is not None
