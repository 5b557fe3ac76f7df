"""What the files or sheets say of each other, and of what is already stored."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from pipeline import schema
from pipeline.importer.relations import RELATIONS, alike
from pipeline.importer.tables import Incoming


def code_faults(incoming: Incoming, also_known: Iterable[str] = ()) -> list[str]:
    """Codes of authorities that are not on the register, or are spelt otherwise there.

    `also_known` are codes that the register would hold, were it not for faults in their rows.
    """
    register = schema.authorities
    called = incoming.origin(register).called
    stored = set(incoming.connection.scalars(sa.select(register.c.code)))
    staying = stored if incoming.keeps(register) else set()
    known = staying.union(also_known, (row["code"] for _, row in incoming.given(register)))
    faults = _respelt(incoming, register.c.code, staying)
    spelt = {alike(code): code for code in known}
    for relation in RELATIONS:
        if relation.refers is None:
            continue
        given = list(incoming.given(relation.table))
        origin = incoming.origin(relation.table)
        if given and not known:
            faults.append(
                f"{origin}: no authority is known yet; import {called} first or together with it."
            )
            continue
        for line, row in given:
            if (code := row[relation.refers]) is not None and code not in known:
                near = spelt.get(alike(code))
                faults.append(
                    f"{origin.at(line, relation.refers)}: there is no authority {code}"
                    + (f"; did you mean {near}?" if near else f"; add it to {called}.")
                )
    if gone := stored - known:
        faults += _orphan_faults(incoming, gone)
    return faults


def _respelt(incoming: Incoming, column: sa.Column[str], stored: Iterable[str]) -> list[str]:
    """Values of a key that people would take for one that is stored, and the database would not."""
    spelt = {alike(value): value for value in stored}
    origin = incoming.origin(column.table)
    return [
        f"{origin.at(line, column.name)}: {value} is stored as {other}; write it in the same way."
        for line, row in incoming.given(column.table)
        if (other := spelt.get(alike(value := row[column.name]), value)) != value
    ]


def _orphan_faults(incoming: Incoming, gone: set[str]) -> list[str]:
    """Rows that stay, of authorities that a replacement of the register would take away."""
    faults = []
    for relation in RELATIONS:
        if relation.refers is None or not incoming.keeps(relation.table):
            continue
        column = relation.table.c[relation.refers]
        used = set(incoming.connection.scalars(sa.select(column).distinct()))
        faults += [
            f"{incoming.origin(schema.authorities)}: {code} is left out, but {relation.name} that "
            f"are stored refer to it; keep it with an active_to, or replace "
            f"{incoming.origin(relation.table).called} as well."
            for code in sorted(used & gone)
        ]
    return faults


def successor_faults(incoming: Incoming) -> list[str]:
    """Chains of successors that lead back to where they began; each is said once."""
    register = schema.authorities
    successor: dict[str, str | None] = {}
    if incoming.keeps(register):
        select = sa.select(register.c.code, register.c.successor_code)
        successor = dict(incoming.connection.execute(select).all())
    successor |= {row["code"]: row["successor_code"] for _, row in incoming.given(register)}
    faults = []
    told: set[str] = set()
    for line, row in incoming.given(register):
        chain = [row["code"]]
        following = successor[row["code"]]
        while following is not None and following not in chain:
            chain.append(following)
            following = successor.get(following)
        if following == row["code"] and told.isdisjoint(chain) and len(chain) > 1:
            told.update(chain)
            faults.append(
                f"{incoming.origin(register).at(line, 'successor_code')}: "
                f"{' is succeeded by '.join((*chain, chain[0]))}, so there is nobody to write to; "
                "the last of them has no successor_code."
            )
    return faults


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """A case as one of the two tables will have it."""

    reference: str
    owner: str


def case_faults(incoming: Incoming) -> list[str]:
    """Cases that belong to two authorities, or are spelt in two ways."""
    decisions, compliance = schema.decisions, schema.compliance
    if not incoming.has(decisions) and not incoming.has(compliance):
        return []
    faults: list[str] = []
    staying: dict[str, dict[str, _Case]] = {}
    given: dict[str, dict[str, _Case]] = {}
    for table in (decisions, compliance):
        stored: list[_Case] = []
        if incoming.keeps(table):
            select = sa.select(table.c.case_reference, table.c.authority_code)
            stored = [_Case(reference=r, owner=o) for r, o in incoming.connection.execute(select)]
        faults += _respelt(incoming, table.c.case_reference, (one.reference for one in stored))
        staying[table.name] = {alike(one.reference): one for one in stored}
        given[table.name] = {
            alike(row["case_reference"]): _Case(
                reference=row["case_reference"], owner=row["authority_code"]
            )
            for _, row in incoming.given(table)
        }
    # A contradiction is between two rows; it is said once, of compliance if that is given.
    there = staying[decisions.name] | given[decisions.name]
    faults += _contradictions(incoming, compliance, decisions, there)
    there = {
        case: one
        for case, one in staying[compliance.name].items()
        if case not in given[compliance.name]
    }
    faults += _contradictions(incoming, decisions, compliance, there)
    return faults


def _contradictions(
    incoming: Incoming, here: sa.Table, there: sa.Table, cases: Mapping[str, _Case]
) -> list[str]:
    """What the rows given for `here` say otherwise than `cases`, which will be in `there`."""
    origin = incoming.origin(here)
    faults = []
    for line, row in incoming.given(here):
        reference, owner = row["case_reference"], row["authority_code"]
        other = cases.get(alike(reference))
        if other is None:
            continue
        if other.reference != reference:
            faults.append(
                f"{origin.at(line, 'case_reference')}: {reference} is written {other.reference} "
                f"in {there.name}; write it in the same way."
            )
        if other.owner != owner:
            faults.append(
                f"{origin.at(line, 'authority_code')}: {reference} belongs to {owner} here and to "
                f"{other.owner} in {there.name}; correct the one that is wrong."
            )
    return faults
