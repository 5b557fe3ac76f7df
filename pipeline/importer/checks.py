"""What the files say of each other, and of what is already stored."""

from collections.abc import Iterable

import sqlalchemy as sa

from pipeline import schema
from pipeline.importer.relations import RELATIONS, alike
from pipeline.importer.tables import Incoming


def code_faults(incoming: Incoming, also_known: Iterable[str] = ()) -> list[str]:
    """Codes of authorities that are not on the register, or are spelt otherwise there.

    `also_known` are codes that the register would hold, were it not for faults in their rows.
    """
    register = schema.authorities
    stored = set(incoming.connection.scalars(sa.select(register.c.code)))
    staying = stored if incoming.keeps(register) else set()
    known = staying.union(also_known, (row["code"] for _, row in incoming.given(register)))
    faults = _respelt(incoming, register.c.code, staying)
    spelt = {alike(code): code for code in known}
    for relation in RELATIONS:
        if relation.refers is None:
            continue
        given = list(incoming.given(relation.table))
        if given and not known:
            faults.append(
                f"{relation.file}: no authority is known yet; "
                "import authorities.csv first or together with it."
            )
            continue
        for line, row in given:
            if (code := row[relation.refers]) is not None and code not in known:
                near = spelt.get(alike(code))
                faults.append(
                    f"{relation.file}, line {line}, column {relation.refers}: "
                    f"there is no authority {code}"
                    + (f"; did you mean {near}?" if near else "; add it to authorities.csv.")
                )
    if gone := stored - known:
        faults += _orphan_faults(incoming, gone)
    return faults


def _respelt(incoming: Incoming, column: sa.Column[str], stored: Iterable[str]) -> list[str]:
    """Values of a key that people would take for one that is stored, and the database would not."""
    spelt = {alike(value): value for value in stored}
    return [
        f"{column.table.name}.csv, line {line}, column {column.name}: {value} is stored as "
        f"{other}; write it in the same way."
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
            f"authorities.csv: {code} is left out, but {relation.name} that are stored refer "
            f"to it; keep it with an active_to, or replace {relation.file} as well."
            for code in sorted(used & gone)
        ]
    return faults


def case_faults(incoming: Incoming) -> list[str]:
    """Cases that belong to two authorities, or are spelt in two ways."""
    decisions, compliance = schema.decisions, schema.compliance
    if not incoming.has(decisions) and not incoming.has(compliance):
        return []
    faults: list[str] = []
    owners: dict[str, dict[str, str]] = {}
    for table in (decisions, compliance):
        owner_of: dict[str, str] = {}
        if incoming.keeps(table):
            select = sa.select(table.c.case_reference, table.c.authority_code)
            owner_of = dict(incoming.connection.execute(select).all())
        faults += _respelt(incoming, table.c.case_reference, owner_of)
        owner_of |= {r["case_reference"]: r["authority_code"] for _, r in incoming.given(table)}
        owners[table.name] = owner_of
    # A contradiction is between two rows; it is said once, in compliance.csv if that is there.
    here, there = (compliance, decisions) if incoming.has(compliance) else (decisions, compliance)
    for line, row in incoming.given(here):
        owner = owners[there.name].get(row["case_reference"])
        if owner is not None and owner != row["authority_code"]:
            faults.append(
                f"{here.name}.csv, line {line}, column authority_code: "
                f"{row['case_reference']} belongs to {row['authority_code']} here and to "
                f"{owner} in {there.name}."
            )
    return faults
