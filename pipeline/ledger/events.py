"""The append-only story: what happened, when, and who did it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from pipeline import schema
from pipeline.schema import Event

# One statement, made once: to make it anew takes four times as long as to carry it out.
_NOTE = sa.insert(schema.events)


def note(
    connection: sa.Connection,
    kind: Event,
    *,
    at: datetime,
    run_id: int | None = None,
    letter_id: int | None = None,
    message_id: int | None = None,
    delivery_id: int | None = None,
    person: str | None = None,
    data: Mapping[str, Any] | None = None,
) -> int:
    """Write down one thing that happened, in the transaction that made it happen; its number."""
    done = connection.execute(
        _NOTE,
        {
            "kind": kind.value,
            "at": at,
            "run_id": run_id,
            "letter_id": letter_id,
            "message_id": message_id,
            "delivery_id": delivery_id,
            "person": person,
            "data": dict(data or {}),
        },
    )
    made: Any = done.inserted_primary_key
    number: int = made.id
    return number
