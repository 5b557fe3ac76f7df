"""What the files would change in a table: which rows are new, which replace or remove another."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import sqlalchemy as sa

from pipeline import schema
from pipeline.importer.relations import Relation, Row, alike
from pipeline.importer.tables import Incoming
from pipeline.letter import CHIEF_EXECUTIVE

_CHUNK = 5_000  # rows per statement: large enough to be quick, small enough for any driver


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """What became of one relation's rows; `removed` is 0 unless a replacement was asked for."""

    added: int = 0
    replaced: int = 0
    unchanged: int = 0
    removed: int = 0


@dataclass(slots=True, kw_only=True)
class Change:
    """What has to be done to one table.

    `replaced` holds stored rows with their new ones. `faults` say why it cannot be done, `notes`
    what a person should look at.
    """

    table: sa.Table
    added: list[Row] = field(default_factory=list)
    replaced: list[tuple[Row, Row]] = field(default_factory=list)
    removed: list[Row] = field(default_factory=list)
    unchanged: int = 0
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def take(self, old: Row | None, new: Row) -> None:
        """A row of the file, and the stored one whose place it takes, if there is one."""
        if old is None:
            self.added.append(new)
        elif all(old[name] == value for name, value in new.items()):
            self.unchanged += 1
        else:
            self.replaced.append((old, new))

    def carry_out(self, connection: sa.Connection) -> Counted:
        """Do it, in the connection's transaction."""
        key = [column.name for column in self.table.primary_key]

        def place(row: Row) -> dict[str, Any]:  # named apart from the columns that are to be set
            return {f"_{name}": row[name] for name in key}

        there = sa.and_(*(self.table.c[name] == sa.bindparam(f"_{name}") for name in key))
        for statement, rows in (
            (self.table.delete().where(there), [place(row) for row in self.removed]),
            (self.table.update().where(there), [{**new, **place(o)} for o, new in self.replaced]),
            (self.table.insert(), self.added),
        ):
            for start in range(0, len(rows), _CHUNK):
                connection.execute(statement, rows[start : start + _CHUNK])
        return Counted(
            added=len(self.added),
            replaced=len(self.replaced),
            unchanged=self.unchanged,
            removed=len(self.removed),
        )


def change(incoming: Incoming, relation: Relation) -> Change:
    """What differs between a relation's file and its table."""
    if relation.table is schema.officers:
        return _officers_change(incoming, relation)
    found = Change(table=relation.table)
    stored = {_key(relation, row): row for row in _stored(incoming, sa.select(relation.table))}
    for _, row in incoming.given(relation.table):
        found.take(stored.pop(_key(relation, row), None), row)
    if incoming.replace:
        found.removed = list(stored.values())
    return found


def _stored(incoming: Incoming, select: sa.Select[Any]) -> Iterator[Row]:
    for row in incoming.connection.execute(select).mappings():
        yield dict(row)


def _key(relation: Relation, row: Row) -> tuple[Any, ...]:
    return tuple(row[name] for name in relation.key)


def _officers_change(incoming: Incoming, relation: Relation) -> Change:
    """As `change`, for rows that have no key of their own.

    The same authority, role, address and first day is the same post. Within it people are told
    apart by name, so that two can hold it jointly with one mailbox; a single other name is a
    correction, or a successor at the office's address.
    """
    table = relation.table
    found = Change(table=table)
    stored: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for one in _stored(incoming, sa.select(table).order_by(table.c.id)):
        stored[_post(one)].append(one)
    given: dict[tuple[Any, ...], list[tuple[int, Row]]] = defaultdict(list)
    for line, row in incoming.given(table):
        given[_post(row)].append((line, row))
    left_over: list[Row] = []
    for post, people in given.items():
        before = stored.pop(post, [])
        left = list(before)
        renamed: list[Row] = []
        for _, row in people:
            same = next((one for one in left if _name(one) == _name(row)), None)
            if same is None:
                renamed.append(row)
            else:
                left.remove(same)
                found.take(same, row)
        if renamed and len(left) > len(renamed) and not incoming.replace:
            held = ", ".join(" ".join(filter(None, _name(one))) or "nobody" for one in before)
            found.faults.append(
                f"{incoming.origin(table).at(people[0][0], 'email')}: several people are "
                f"stored for this role at this address ({held}), and it is not clear whom "
                "this row replaces; give a row for each who stays."
            )
        for row in renamed:
            found.take(left.pop(0) if left else None, row)
        left_over += left
    left_over = [*chain.from_iterable(stored.values()), *left_over]
    if incoming.replace:
        found.removed = left_over
    else:
        found.notes = _overlaps(left_over, [row for _, row in incoming.given(table)])
    return found


def _overlaps(staying: Iterable[Row], given: Iterable[Row]) -> list[str]:
    """A chief executive who was stored before and is still in post would get the letter too."""
    new: dict[str, list[Row]] = defaultdict(list)
    for row in given:
        if row["role"] == CHIEF_EXECUTIVE:
            new[row["authority_code"]].append(row)
    return [
        f"{row['authority_code']} has two chief executives at the same time, "
        f"{_who(old)} and {_who(row)}: letters name both and go to both. If one "
        "has left, import that row again with its active_to."
        for old in staying
        if old["role"] == CHIEF_EXECUTIVE
        for row in new.get(old["authority_code"], ())
        if _overlap(old, row)
    ]


def _overlap(one: Row, other: Row) -> bool:
    starts = [day for day in (one["active_from"], other["active_from"]) if day is not None]
    ends = [day for day in (one["active_to"], other["active_to"]) if day is not None]
    return not starts or not ends or max(starts) <= min(ends)


def _post(row: Row) -> tuple[Any, ...]:
    return (row["authority_code"], row["role"], alike(row["email"]), row["active_from"])


def _name(row: Row) -> tuple[str, str]:
    return row["given_name"] or "", row["family_name"] or ""


def _who(row: Row) -> str:
    named = " ".join(filter(None, (row["honorific"], *_name(row)))) or "nobody by name"
    return f"{named} ({row['email'] or 'no address'})"
