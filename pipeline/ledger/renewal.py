"""Corrections taken into a run that nobody has approved and of which nothing has been sent.

The run is cancelled and opened anew in one transaction, from a new pull. What did not change is not
made again, and what a person had withheld stays withheld.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from pipeline import schema
from pipeline.database import Database
from pipeline.errors import Refused
from pipeline.ledger import approvals, enclosures, events, holds, runs
from pipeline.ledger.letters import MADE
from pipeline.ledger.runs import Opening, Run
from pipeline.letter import MEASURES, Letter
from pipeline.schema import Event, Stage

_CHUNK = 200

# Merge fields that say the same in every letter: what changes in them is told once.
_OF_THE_EDITION = frozenset(
    {
        "letter_date",
        "replaces",
        "enclosures",
        "letter_year",
        "period_start",
        "period_end",
        "period_end_short",
        "published_on",
        "facts",
        "signatory",
        "signatory_posts",
    }
)

# What an edition means that was frozen before it could say so: nothing is enclosed.
_NEWER: Mapping[str, Any] = {"enclosures": []}


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One value that differs: its dotted name, and what it was and is (None: not there)."""

    what: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a refresh changes for one authority: `change` is `new`, `gone` or `changed`."""

    authority: str
    name: str
    change: str
    differences: Sequence[Difference]


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewal:
    """What a refresh changes: for all letters alike, and for each that changes.

    `kept` are the letters whose files need not be made again.
    """

    shared: Sequence[Difference]
    changes: Sequence[Change]
    kept: int

    @property
    def is_empty(self) -> bool:
        """Whether nothing differs at all."""
        return not self.shared and not self.changes


class _Unwanted(Exception):
    pass


def renew(
    db: Database,
    run: Run,
    opening: Opening,
    letters: Iterable[Letter],
    *,
    person: str,
    now: datetime,
    keep: bool,
    sender: Sequence[str] = (),
) -> Renewal:
    """Open the run anew, if anything has changed; without `keep`, only look what would change.

    Raises Refused where somebody has approved the run as it stands, or something of it may have
    reached an authority, or is being sent at this moment.
    """
    made: Renewal | None = None
    r, everything = schema.runs, schema.letters.c.run_id == run.id
    try:
        with db.write() as connection:
            runs.lock(connection, run)
            _refuse_if_settled(connection, run, sender)
            holds.cancel_queued(
                connection, everything, run, because="the run was refreshed", person=person, now=now
            )
            holds.refuse_while_sending(connection, everything, run)
            connection.execute(sa.update(r).where(r.c.id == run.id).values(cancelled_at=now))
            new_id = runs.insert(connection, opening, letters, person=person, now=now)
            made = _take_over(connection, run, new_id, opening)
            if made.is_empty or not keep:
                raise _Unwanted
            connection.execute(
                sa.update(r).where(r.c.id == new_id).values(**_pause(connection, run))
            )
            events.note(
                connection,
                Event.RUN_REFRESHED,
                at=now,
                run_id=run.id,
                person=person,
                data={
                    "by_run": new_id,
                    "shared": [one.what for one in made.shared],
                    "changed": [one.authority for one in made.changes],
                    "kept": made.kept,
                },
            )
    except _Unwanted:
        pass
    assert made is not None  # noqa: S101 - set before anything could take it back
    return made


def _pause(connection: sa.Connection, run: Run) -> dict[str, Any]:
    """Whether and why the run is paused, asked under the lock: it may be so since it was read."""
    r = schema.runs
    row = connection.execute(
        sa.select(r.c.paused_at, r.c.paused_by, r.c.paused_because).where(r.c.id == run.id)
    ).one()
    return dict(row._mapping)  # noqa: SLF001 - a row's public mapping


def _refuse_if_settled(connection: sa.Connection, run: Run, sender: Sequence[str]) -> None:
    approved_by = approvals.approvers_of_any(connection, run, sender)
    if approved_by:
        raise Refused(
            f"Letters of {run.year} have been approved as they stand by "
            f"{' and '.join(approved_by)}, so they are not refreshed. To begin anew, cancel the "
            f"run and prepare it again: letters cancel {run.year} --reason TEXT, then "
            f"letters prepare {run.year}"
        )
    gone = holds.count_gone(connection, run)
    if gone:
        raise Refused(
            f"{gone:,} {'delivery' if gone == 1 else 'deliveries'} of {run.year} may have reached "
            "an authority, so the run is not refreshed: its letters stay as they were sent."
        )


def _take_over(connection: sa.Connection, run: Run, new_id: int, opening: Opening) -> Renewal:
    """Compare the two runs letter by letter, and give the new one what it may keep."""
    remade = (
        run.template_sha256 != opening.template_sha256
        or _names_beyond(connection, run.id, new_id)
        or _names_beyond(connection, new_id, run.id)
    )
    changes: list[Change] = []
    kept = 0
    for pairs in _pairs(connection, run.id, new_id):
        carried: list[dict[str, Any]] = []
        made: dict[int, int] = {}
        cases = enclosures.cases(connection, [one.id for pair in pairs for one in pair if one])
        for old, new in pairs:
            moved = bool(
                old is not None
                and new is not None
                and cases.get(old.id, {}) != cases.get(new.id, {})
            )
            if (change := _compared(old, new, moved=moved)) is not None:
                changes.append(change)
            if old is not None and new is not None:
                values = _carried(old, new, remade=remade or moved)
                if values["pdf"] is not None:
                    made[old.id] = new.id
                if any(values.values()):
                    carried.append({"of": new.id, **values})
        if carried:
            connection.execute(_CARRY, carried)
        enclosures.carry(connection, made)
        kept += len(made)
    before = {
        **_NEWER,
        **run.edition,
        "template": run.template_sha256,
        "message": dict(run.wording),
    }
    after = {
        **_NEWER,
        **opening.edition,
        "template": opening.template_sha256,
        "message": dict(opening.wording),
    }
    return Renewal(shared=tuple(_differences("", before, after)), changes=changes, kept=kept)


def _names_beyond(connection: sa.Connection, run_id: int, other_id: int) -> bool:
    """Whether the run names an authority that the other does not.

    A file was proved against all names of its run: with others it has to be proved again.
    """
    table = schema.letters
    own, others = (
        sa.select(table.c.authority_name).where(table.c.run_id == one) for one in (run_id, other_id)
    )
    return connection.execute(own.except_(others).limit(1)).first() is not None


def _pairs(
    connection: sa.Connection, old_id: int, new_id: int
) -> Iterator[list[tuple[Any | None, Any | None]]]:
    """The rows of both runs, authority by authority, in the order of the codes; some at a time."""
    table = schema.letters
    after = ""
    while True:
        # Of each run by itself, so that its index is followed and not the whole of it sorted.
        next_of_each = (
            sa.select(table.c.authority_code.label("code"))
            .where(table.c.run_id == one, table.c.authority_code > after)
            .distinct()
            .order_by(table.c.authority_code)
            .limit(_CHUNK)
            .subquery()
            for one in (old_id, new_id)
        )
        either = sa.union(*(sa.select(some.c.code) for some in next_of_each)).subquery()
        codes = connection.scalars(
            sa.select(either.c.code).order_by(either.c.code).limit(_CHUNK)
        ).all()
        if not codes:
            return
        found: dict[tuple[int, str], Any] = {
            (row.run_id, row.authority_code): row  # the newest revision comes last
            for row in connection.execute(
                sa.select(table)
                .where(table.c.run_id.in_((old_id, new_id)), table.c.authority_code.in_(codes))
                .order_by(table.c.revision)
            )
        }
        yield [(found.get((old_id, code)), found.get((new_id, code))) for code in codes]
        after = codes[-1]


_KEPT = ("withheld_at", "withheld_because", *MADE)
_CARRY = (
    sa.update(schema.letters)
    .where(schema.letters.c.id == sa.bindparam("of"))
    .values({name: sa.bindparam(name) for name in _KEPT})
)


def _carried(old: Any, new: Any, *, remade: bool) -> dict[str, Any]:
    """What the new letter keeps of the old one; a file only if it would be made the same again."""
    same = (old.fields, old.authority_name, new.fault) == (new.fields, new.authority_name, None)
    keeps = old.pdf is not None and same and not remade
    return {name: getattr(old, name) if keeps or name not in MADE else None for name in _KEPT}


def _compared(old: Any | None, new: Any | None, *, moved: bool) -> Change | None:
    if old is None or new is None:
        there = new if old is None else old
        assert there is not None  # noqa: S101 - the code came from one of the two
        return Change(
            authority=there.authority_code,
            name=there.authority_name,
            change="new" if old is None else "gone",
            differences=(),
        )
    differences = between(old, new)
    # A fault in making the file is not part of what was pulled.
    composed = old.fault if old.faulted_in == Stage.COMPOSE.value else None
    differences += _differences("fault", composed, new.fault)
    if moved:
        differences.append(Difference(what="enclosures", before="other cases", after="these cases"))
    if not differences:
        return None
    return Change(
        authority=new.authority_code,
        name=new.authority_name,
        change="changed",
        differences=tuple(differences),
    )


def between(old: Any, new: Any) -> list[Difference]:
    """What differs between two letters to one authority, each a row of `letters` or a `Letter`.

    Not what all letters of an edition share, and not what is only a figure made into words.
    """
    return [
        *_differences("name", old.authority_name, new.authority_name),
        *_differences("kind", old.kind, new.kind),
        *_differences("", old.figures, new.figures),
        *_differences("recipients", _addresses(old), _addresses(new)),
        *_differences("", _own(old.fields), _own(new.fields)),
    ]


def _addresses(letter: Any) -> list[str]:
    return [one["address"] for one in letter.recipients]


def _own(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that are one letter's own: neither the edition's, nor figures made into words."""
    return {
        name: value
        for name, value in fields.items()
        if name not in _OF_THE_EDITION and name not in MEASURES
    }


def _differences(what: str, before: Any, after: Any) -> Iterator[Difference]:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in dict.fromkeys((*before, *after)):
            inner = f"{what}.{name}" if what else str(name)
            yield from _differences(inner, before.get(name), after.get(name))
    elif before != after:
        yield Difference(what=what, before=before, after=after)
