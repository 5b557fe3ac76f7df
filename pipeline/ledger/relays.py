"""Relays: which is in trouble and until when it is left alone, and how fast it may be given mail.

Both hold across all processes on one ledger. A relay's trouble (no connection, TLS, a wrong
password, throttling) concerns every letter alike: nobody tries again before `retry_at`, and whoever
finds it well again says so for all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from pipeline import schema
from pipeline.database import Database
from pipeline.delivery import Pace, probe_after
from pipeline.ledger import events
from pipeline.schema import Event

_EVERY_DOMAIN = ""

# A time further ahead than any wait was written by a clock that was wrong: it is not kept to.
# Machines may differ a little, and `now` may have waited for the database, so there is a slack.
_SLACK = timedelta(minutes=1)
_LONGEST_WAIT = probe_after(9, chance=1) + _SLACK


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """A relay that is in trouble: since when, why, and when it is tried again."""

    relay: str
    since: datetime
    reason: str
    retry_at: datetime

    def holds(self, now: datetime) -> bool:
        """Whether the relay is still left alone."""
        return now < self.retry_at <= now + _LONGEST_WAIT


def in_trouble(db: Database, relay: str) -> Trouble | None:
    """What is the matter with the relay, or None if nothing is known to be."""
    r = schema.relays
    with db.read() as connection:
        row = connection.execute(
            sa.select(r).where(r.c.relay == relay, r.c.in_trouble_since.is_not(None))
        ).one_or_none()
    if row is None:
        return None
    return _trouble(row)


def all_in_trouble(db: Database) -> list[Trouble]:
    """Every relay that something is the matter with, for all that is known."""
    r = schema.relays
    with db.read() as connection:
        rows = connection.execute(
            sa.select(r).where(r.c.in_trouble_since.is_not(None)).order_by(r.c.relay)
        ).all()
    return [_trouble(row) for row in rows]


def _trouble(row: Any) -> Trouble:
    return Trouble(
        relay=row.relay, since=row.in_trouble_since, reason=row.reason, retry_at=row.retry_at
    )


def fails(db: Database, relay: str, *, reason: str, chance: float, now: datetime) -> None:
    """Record that the relay could not be used.

    Several that fail at the same moment are one failure: who comes after `retry_at` was set for
    later changes nothing. `chance` spreads the wait.
    """
    r = schema.relays
    with db.write() as connection:
        connection.execute(
            db.insert(r).values(relay=relay).on_conflict_do_nothing(index_elements=["relay"])
        )
        row = connection.execute(sa.select(r).where(r.c.relay == relay).with_for_update()).one()
        if row.retry_at is not None and now < row.retry_at <= now + _LONGEST_WAIT:
            return
        failures = row.failures + 1
        retry_at = now + probe_after(failures, chance=chance)
        connection.execute(
            sa.update(r)
            .where(r.c.relay == relay)
            .values(
                failures=failures,
                in_trouble_since=row.in_trouble_since or now,
                retry_at=retry_at,
                reason=reason,
            )
        )
        if row.in_trouble_since is None:
            events.note(
                connection,
                Event.RELAY_IN_TROUBLE,
                at=now,
                data={"relay": relay, "reason": reason},
            )


def answers(db: Database, relay: str, *, now: datetime) -> bool:
    """Record that the relay works; whether it was in trouble before."""
    r = schema.relays
    with db.write() as connection:
        done = connection.execute(
            sa.update(r)
            .where(r.c.relay == relay, r.c.in_trouble_since.is_not(None))
            .values(failures=0, in_trouble_since=None, retry_at=None, reason=None)
        )
        if done.rowcount != 1:
            return False
        events.note(connection, Event.RELAY_WELL_AGAIN, at=now, data={"relay": relay})
    return True


def try_now(db: Database, relay: str, *, now: datetime) -> None:
    """Let a relay in trouble be tried at once: somebody has mended it, or hopes so."""
    r = schema.relays
    with db.write() as connection:
        connection.execute(
            sa.update(r).where(r.c.relay == relay, r.c.retry_at > now).values(retry_at=now)
        )


def usable(*, overall: bool, to_one_domain: bool) -> Sequence[sa.ColumnElement[bool]]:
    """What must hold of a delivery so that the relay may be given it at this moment.

    The values to it are `now` and what `asked` says; `overall` and `to_one_domain` say which paces
    are kept.
    """
    r, p, d = schema.relays, schema.paces, schema.deliveries
    relay: sa.BindParameter[str] = sa.bindparam("relay")
    now: sa.BindParameter[datetime] = sa.bindparam("now")
    longest: sa.BindParameter[datetime] = sa.bindparam("longest")
    overall_by: sa.BindParameter[datetime] = sa.bindparam("overall_by")
    domain_by: sa.BindParameter[datetime] = sa.bindparam("domain_by")
    conditions: list[sa.ColumnElement[bool]] = [
        ~sa.exists().where(r.c.relay == relay, r.c.retry_at > now, r.c.retry_at <= longest)
    ]
    if overall:
        conditions.append(
            ~sa.exists().where(
                p.c.relay == relay,
                p.c.domain == _EVERY_DOMAIN,
                p.c.next_at > now,
                p.c.next_at <= overall_by,
            )
        )
    if to_one_domain:
        conditions.append(
            ~sa.exists().where(
                p.c.relay == relay,
                p.c.domain == d.c.domain,
                p.c.next_at > now,
                p.c.next_at <= domain_by,
            )
        )
    return conditions


def asked(relay: str, pace: Pace, *, now: datetime) -> dict[str, str | datetime]:
    """The values that `usable` leaves open, but for `now`."""
    return {
        "relay": relay,
        "longest": now + _LONGEST_WAIT,
        "overall_by": now + pace.overall + _SLACK,
        "domain_by": now + pace.to_one_domain + _SLACK,
    }


def take_turn(
    connection: sa.Connection,
    db: Database,
    relay: str,
    domain: str,
    pace: Pace,
    *,
    now: datetime,
) -> bool:
    """Take the next turn of the relay, and of the domain; False if somebody else just has.

    Within the transaction that claims the delivery, so that a turn and a claim are one.
    """
    p = schema.paces
    for scope, every in ((_EVERY_DOMAIN, pace.overall), (domain, pace.to_one_domain)):
        if not every:
            continue
        connection.execute(
            db.insert(p)
            .values(relay=relay, domain=scope, next_at=now)
            .on_conflict_do_nothing(index_elements=["relay", "domain"])
        )
        done = connection.execute(
            sa.update(p)
            .where(
                p.c.relay == relay,
                p.c.domain == scope,
                sa.or_(p.c.next_at <= now, p.c.next_at > now + every + _SLACK),
            )
            .values(next_at=now + every)
        )
        if done.rowcount != 1:
            return False
    return True


def next_turn(
    db: Database, relay: str, domains: Sequence[str], pace: Pace, *, now: datetime
) -> datetime | None:
    """When the next turn is, of the relay and of the first of these domains; None: at any time."""
    p = schema.paces
    with db.read() as connection:
        overall = connection.scalar(
            sa.select(p.c.next_at).where(
                p.c.relay == relay,
                p.c.domain == _EVERY_DOMAIN,
                p.c.next_at <= now + pace.overall + _SLACK,
            )
        )
        turns = connection.scalars(
            sa.select(p.c.next_at).where(
                p.c.relay == relay,
                p.c.domain.in_(domains),
                p.c.next_at <= now + pace.to_one_domain + _SLACK,
            )
        ).all()
    first = min(turns) if turns and len(turns) == len(set(domains)) else None
    return max((one for one in (overall, first) if one is not None), default=None)
