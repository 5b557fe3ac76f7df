"""Approvals: who has looked at which letters, exactly as they stood, and says that they may go.

An approval covers letters one by one. Of each it keeps a digest over all that would be sent: the
letter's text and figures, its PDF, what is enclosed, whom it goes to, and what it shares with the
others (template, words of the message, sender). A letter that is withheld, or changes in any of
these, loses its own approvals and nobody else's. The digests of the letters together make the run's
root digest, which stands on the proof and can be asked for when somebody approves.
"""

import hashlib
import json
import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from operator import attrgetter
from typing import Any

import sqlalchemy as sa

from pipeline import schema
from pipeline.database import Database
from pipeline.delivery import OPEN, Mode
from pipeline.errors import Refused
from pipeline.ledger import enclosures, events, runs
from pipeline.ledger.runs import Run
from pipeline.schema import Event

_CHUNK = 250
_HEX = 16  # of each part's digest: enough to tell what has changed, the whole is kept beside it

WITHHELD = "withheld"
"""Why an approval ended: a person said that the letter must not go."""

PARTS: Mapping[str, str] = {
    "letter": "its text and figures",
    "pdf": "its PDF",
    "recipients": "whom it goes to",
    "enclosures": "what is enclosed",
    "template": "the template",
    "wording": "the words of the message",
    "sender": "whom it is from",
    WITHHELD: "it was withheld",
    "earlier": "it was given to an earlier version of this program",
}
"""What an approval of a letter is bound to, in words; and what else can end one."""

_SHARED = ("template", "wording", "sender")


@dataclass(frozen=True, slots=True, kw_only=True)
class Approved:
    """What came of approving: the root digest of the letters looked at, and how many they are.

    `new` is how many of them this person had not approved as they stand, `lacking` how many
    letters of the run were left out: withheld or with a fault.
    """

    digest: str
    letters: int
    new: int
    left_out: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How the approvals of a run stand, of the letters that are still to be sent.

    `wanted` is how many more people have to approve the letter that lacks most, `lacking` how many
    letters lack any, `approved` how many lack none.
    """

    wanted: int
    lacking: int
    approved: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Voided:
    """An approval of a letter that does not hold any more, and what has changed since: PARTS."""

    authority: str
    name: str
    person: str
    approved_at: datetime
    because: Sequence[str]


def digest(
    db: Database, run: Run, sender: Sequence[str] = (), codes: Collection[str] | None = None
) -> tuple[str, int]:
    """The root digest of the run's letters as they stand, in hex, and how many they are.

    SHA-256 over the digests of all letters that are prepared and not withheld, in their own order.
    `sender` is what a reader sees of it; with `codes` only of these authorities' letters.
    """
    total, count = hashlib.sha256(), 0
    for _, leaf in leaves(db, run, sender, codes):
        total.update(bytes.fromhex(leaf))
        count += 1
    return total.hexdigest(), count


def leaves(
    db: Database, run: Run, sender: Sequence[str] = (), codes: Collection[str] | None = None
) -> Iterator[tuple[str, str]]:
    """Each letter's own digest in hex, after its authority's code, in the order of the codes."""
    with db.read() as connection:
        for row, parts in _looked_at(connection, run, sender, codes):
            yield row.authority_code, _leaf(parts)


def approve(
    db: Database,
    run: Run,
    *,
    person: str,
    login: str,
    now: datetime,
    sender: Sequence[str] = (),
    codes: Collection[str] | None = None,
    seen: str = "",
) -> Approved:
    """Record that a person approves the run's letters as they stand, or those of `codes`.

    One login is one person, whatever the name given. `seen` is the beginning of the root digest of
    what was looked at. Raises Refused while there are letters still to be made, as nobody can have
    looked at them; where the letters are not those that were `seen`; and for a name that another
    login has approved the run under.
    """
    person = " ".join(person.split())
    a, al = schema.approvals, schema.approved_letters
    with db.write() as connection:
        runs.lock(connection, run)
        _refuse_unmade(connection, run, codes)
        _refuse_another_login(connection, run, person, login)
        _void_changed(connection, run, sender, now=now)
        had = set(
            connection.scalars(
                sa.select(al.c.letter_id)
                .join(a, a.c.id == al.c.approval_id)
                .where(a.c.run_id == run.id, a.c.login == login, al.c.voided_at.is_(None))
            )
        )
        approval: int | None = None
        total, count, new = hashlib.sha256(), 0, 0
        chunk: list[dict[str, Any]] = []
        for row, parts in _looked_at(connection, run, sender, codes):
            leaf = _leaf(parts)
            total.update(bytes.fromhex(leaf))
            count += 1
            if row.id in had:
                continue
            if approval is None:
                approval = connection.execute(
                    sa.insert(a)
                    .values(run_id=run.id, person=person, login=login, digest="", approved_at=now)
                    .returning(a.c.id)
                ).scalar_one()
            chunk.append(
                {
                    "approval_id": approval,
                    "letter_id": row.id,
                    "digest": leaf,
                    "parts": _short(parts),
                }
            )
            new += 1
            if len(chunk) == _CHUNK:
                connection.execute(sa.insert(al), chunk)
                chunk = []
        if chunk:
            connection.execute(sa.insert(al), chunk)
        root = total.hexdigest()
        if seen and not root.startswith(seen):
            raise Refused(
                f"The letters of {run.year} are not those that you have looked at: their digest is "
                f"{root[:12]} now, and not {seen[:12]}. Nothing was approved. To see what they are "
                f"now: letters proof {run.year}"
            )
        if approval is not None:
            # Known only when all of them have been looked at.
            connection.execute(sa.update(a).where(a.c.id == approval).values(digest=root))
            events.note(
                connection,
                Event.RUN_APPROVED,
                at=now,
                run_id=run.id,
                person=person,
                data={"digest": root, "login": login, "letters": new},
            )
        left_out = 0 if codes is not None else _left_out(connection, run)
    return Approved(digest=root, letters=count, new=new, left_out=left_out)


def standing(
    db: Database, run: Run, people: int, mode: Mode, sender: Sequence[str] = ()
) -> Standing:
    """Which letters may go in this mode, if so many people have to approve each of them.

    Only letters count of which something is still to be sent, or that are still to be made.
    """
    wanted = lacking = approved = 0
    with db.read() as connection:
        for row, logins, _ in _held_against(
            connection, run, sender, to_go=mode, reissued=not people
        ):
            needed = _needed(row, people)
            short = needed - len(logins) if row.pdf is not None else needed
            wanted = max(wanted, short)
            lacking += short > 0
            approved += short <= 0
    return Standing(wanted=wanted, lacking=lacking, approved=approved)


def approvers(db: Database, run: Run, sender: Sequence[str] = ()) -> list[str]:
    """Who has approved every letter of the run that is made and not withheld, as it stands now."""
    with db.read() as connection:
        return _approvers(connection, run, sender, every=True)


def approvers_of_any(connection: sa.Connection, run: Run, sender: Sequence[str] = ()) -> list[str]:
    """Who has approved any letter of the run as it stands now, within a transaction."""
    return _approvers(connection, run, sender, every=False)


def lacking(db: Database, letter_id: int, run: Run, people: int, sender: Sequence[str] = ()) -> int:
    """How many more people have to approve this one letter as it stands before it may be sent."""
    with db.read() as connection:
        for row, logins, _ in _held_against(connection, run, sender, letter_id=letter_id):
            return max(0, _needed(row, people) - len(logins))
    return people


def voided(db: Database, run: Run, sender: Sequence[str] = (), *, limit: int = 100) -> list[Voided]:
    """Approvals that do not hold any more of letters that the same person has not approved since.

    The newest first, of each letter and person the last one.
    """
    a, al, table = schema.approvals, schema.approved_letters, schema.letters
    found: list[Voided] = []
    with db.read() as connection:
        for row, logins, ended in _held_against(connection, run, sender):
            found += [
                Voided(
                    authority=row.authority_code,
                    name=row.authority_name,
                    person=one.person,
                    approved_at=one.approved_at,
                    because=because,
                )
                for one, because in ended
                if one.login not in logins
            ]
        lost = connection.execute(
            sa.select(table, a.c.person, a.c.login, a.c.approved_at, al.c.voided_because)
            .select_from(al)
            .join(a, a.c.id == al.c.approval_id)
            .join(table, table.c.id == al.c.letter_id)
            .where(a.c.run_id == run.id, al.c.voided_at.is_not(None), ~_again(a, al))
            .order_by(al.c.approval_id.desc(), table.c.authority_code)
            .limit(limit)
        )
        found += [
            Voided(
                authority=row.authority_code,
                name=row.authority_name,
                person=row.person,
                approved_at=row.approved_at,
                because=row.voided_because.split(),
            )
            for row in lost
        ]
    return found[:limit]


def void_changed(db: Database, run: Run, sender: Sequence[str], *, now: datetime) -> int:
    """End the approvals of letters that have changed since, for good; how many ended.

    What changed back has been changed all the same, and is looked at again.
    """
    with db.write() as connection:
        runs.lock(connection, run)
        return _void_changed(connection, run, sender, now=now)


def void(
    connection: sa.Connection, letters: Collection[int], because: Sequence[str], *, now: datetime
) -> None:
    """End all approvals of these letters, because of these PARTS, within a transaction."""
    al, chosen = schema.approved_letters, sorted(letters)
    for start in range(0, len(chosen), _CHUNK):
        connection.execute(
            sa.update(al)
            .where(
                al.c.letter_id.in_(chosen[start : start + _CHUNK]),
                al.c.voided_at.is_(None),
            )
            .values(voided_at=now, voided_because=" ".join(because))
        )


def may_go(table: sa.Table, people: int | sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
    """That so many people have approved a letter of this table, for all that is on record.

    Where nobody is asked to (0), a letter that replaces one that was sent needs one all the same.
    Whether they approved it as it stands is for `void_changed`, and for `recheck` at the last
    moment.
    """
    a, al = schema.approvals, schema.approved_letters
    given = (
        sa.select(sa.func.count(a.c.login.distinct()))
        .select_from(al)
        .join(a, a.c.id == al.c.approval_id)
        .where(al.c.letter_id == table.c.id, al.c.voided_at.is_(None))
        .scalar_subquery()
    )
    if isinstance(people, int) and not people:
        return sa.or_(table.c.revision == 1, given >= 1)
    return given >= people


def any_reissued(db: Database, run: Run) -> bool:
    """Whether any letter of the run replaces another."""
    with db.read() as connection:
        return bool(
            connection.scalar(
                sa.select(
                    sa.exists().where(
                        schema.letters.c.run_id == run.id, schema.letters.c.revision > 1
                    )
                )
            )
        )


def _needed(letter: Any, people: int) -> int:
    """How many people have to approve a letter: somebody has to say that one is replaced."""
    return max(people, 1) if letter.revision > 1 else people


def recheck(
    db: Database, run: Run, letter_id: int, people: int, sender: Sequence[str], *, now: datetime
) -> list[str]:
    """Look once more, at every part of one letter, that it is what enough people have approved.

    What has changed, as keys of PARTS, and those approvals are ended; [] if it may go. Asked before
    its bytes are frozen: from then on they do not change.
    """
    with db.write() as connection:
        al = schema.approved_letters
        matching: set[str] = set()
        changed: list[str] = []
        for row, parts in _looked_at(connection, run, sender, None, letter_id=letter_id):
            for one in connection.execute(_given(row.id)):
                if one.digest == _leaf(parts):
                    matching.add(one.login)
                    continue
                because = _changed(one.parts, _short(parts))
                changed += because
                connection.execute(
                    sa.update(al)
                    .where(al.c.approval_id == one.approval_id, al.c.letter_id == row.id)
                    .values(voided_at=now, voided_because=" ".join(because))
                )
            people = _needed(row, people)
    return [] if len(matching) >= people else list(dict.fromkeys(changed)) or ["letter"]


def _approvers(
    connection: sa.Connection, run: Run, sender: Sequence[str], *, every: bool
) -> list[str]:
    count = 0
    held: dict[str, int] = {}
    for row, logins, _ in _held_against(connection, run, sender):
        if row.pdf is None:
            continue
        count += 1
        for login in logins:
            held[login] = held.get(login, 0) + 1
    a = schema.approvals
    names: dict[str, str] = {}
    for one in connection.execute(
        sa.select(a.c.login, a.c.person).where(a.c.run_id == run.id).order_by(a.c.id)
    ):
        names.setdefault(one.login, one.person)
    needed = count if every and count else 1
    return [name for login, name in names.items() if held.get(login, 0) >= needed]


def _held_against(
    connection: sa.Connection,
    run: Run,
    sender: Sequence[str],
    *,
    to_go: Mode | None = None,
    letter_id: int | None = None,
    reissued: bool = False,
) -> Iterator[tuple[Any, set[str], list[tuple[Any, list[str]]]]]:
    """Each letter that may go, the logins that have approved it as it stands, and who no more.

    With `reissued` only letters that replace one.

    Whether its text has changed is not looked at here: it is frozen when the run is opened, and
    `recheck` looks at it. With `to_go` only letters of which something is to be sent in this mode.
    """
    a, al, table = schema.approvals, schema.approved_letters, schema.letters
    m, d = schema.messages, schema.deliveries
    select = (
        sa.select(
            table.c.id,
            table.c.authority_code,
            table.c.authority_name,
            table.c.revision,
            table.c.pdf,
            table.c.pdf_sha256,
            table.c.recipients,
            *enclosures.digests(table.c.id),
            al.c.approval_id,
            al.c.parts,
            a.c.person,
            a.c.login,
            a.c.approved_at,
        )
        .select_from(table)
        .outerjoin(al, sa.and_(al.c.letter_id == table.c.id, al.c.voided_at.is_(None)))
        .outerjoin(a, a.c.id == al.c.approval_id)
        .where(
            table.c.run_id == run.id,
            table.c.withheld_at.is_(None),
            table.c.superseded_at.is_(None),
            table.c.fault.is_(None),
        )
        .order_by(table.c.id, al.c.approval_id)
        .execution_options(yield_per=_CHUNK)
    )
    if letter_id is not None:
        select = select.where(table.c.id == letter_id)
    if reissued:
        select = select.where(table.c.revision > 1)
    if to_go is not None:
        # As sets, each read once: asked of every letter they would take minutes.
        begun = sa.select(m.c.letter_id).where(m.c.mode == to_go.value, m.c.resend_of.is_(None))
        unsent = sa.select(d.c.letter_id).where(
            d.c.mode == to_go.value, d.c.state.in_([state.value for state in OPEN])
        )
        select = select.where(sa.or_(table.c.id.not_in(begun), table.c.id.in_(unsent)))
    shared = _shared(run, sender)
    for _, some in groupby(connection.execute(select), key=attrgetter("id")):
        rows = list(some)
        current = shared | _own(rows[0])
        logins: set[str] = set()
        ended: list[tuple[Any, list[str]]] = []
        for row in rows:
            if row.approval_id is None:
                continue
            because = _changed(row.parts, current)
            if because:
                ended.append((row, because))
            else:
                logins.add(row.login)
        yield rows[0], logins, ended


def _void_changed(
    connection: sa.Connection, run: Run, sender: Sequence[str], *, now: datetime
) -> int:
    al = schema.approved_letters
    ended = [
        {"approval": one.approval_id, "letter": row.id, "because": " ".join(because)}
        for row, _, lost in _held_against(connection, run, sender)
        for one, because in lost
    ]
    if ended:
        connection.execute(
            sa.update(al)
            .where(
                al.c.approval_id == sa.bindparam("approval"),
                al.c.letter_id == sa.bindparam("letter"),
                al.c.voided_at.is_(None),
            )
            .values(voided_at=now, voided_because=sa.bindparam("because")),
            ended,
        )
    return len(ended)


def _looked_at(
    connection: sa.Connection,
    run: Run,
    sender: Sequence[str],
    codes: Collection[str] | None,
    *,
    letter_id: int | None = None,
) -> Iterator[tuple[Any, dict[str, str]]]:
    """The letters that are made and not withheld, with the digests of all their parts; streamed."""
    table = schema.letters
    select = (
        sa.select(
            table.c.id,
            table.c.authority_code,
            table.c.authority_name,
            table.c.revision,
            table.c.kind,
            table.c.figures,
            table.c.fields,
            table.c.recipients,
            table.c.pdf_sha256,
            *enclosures.digests(table.c.id),
        )
        .where(
            table.c.run_id == run.id,
            table.c.pdf.is_not(None),
            table.c.withheld_at.is_(None),
            table.c.superseded_at.is_(None),
        )
        .order_by(table.c.authority_code, table.c.revision)
        .execution_options(yield_per=_CHUNK)
    )
    if letter_id is not None:
        select = select.where(table.c.id == letter_id)
    elif codes is not None:
        select = select.where(table.c.authority_code.in_(codes))
    shared = _shared(run, sender, whole=True)
    for row in connection.execute(select):
        said = [
            row.authority_code,
            row.authority_name,
            row.revision,
            row.kind,
            row.figures,
            row.fields,
        ]
        yield row, shared | _own(row, whole=True) | {"letter": _hash(said)}


def _shared(run: Run, sender: Sequence[str], *, whole: bool = False) -> dict[str, str]:
    """The digests of what all letters of the run share."""
    values = (run.template_sha256, dict(run.wording), list(sender))
    return {
        name: _hash(value) if whole else _hash(value)[:_HEX]
        for name, value in zip(_SHARED, values, strict=True)
    }


def _own(row: Any, *, whole: bool = False) -> dict[str, str]:
    """The digests of what can be told of one letter without reading its text."""
    found = {
        "pdf": _hash(row.pdf_sha256),
        "recipients": _hash(row.recipients),
        "enclosures": _hash(enclosures.said_of(row)),
    }
    return found if whole else _short(found)


def _short(parts: Mapping[str, str]) -> dict[str, str]:
    return {name: value[:_HEX] for name, value in parts.items()}


def _changed(before: Mapping[str, str], current: Mapping[str, str]) -> list[str]:
    """Which parts differ, of those that both know; one that knows none is of an earlier version."""
    if not before:
        return ["earlier"]
    return [name for name, value in current.items() if before.get(name) != value]


def _leaf(parts: Mapping[str, str]) -> str:
    return _hash(dict(parts))


def _hash(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _given(letter_id: int) -> sa.Select[Any]:
    """The approvals of one letter that have not ended."""
    a, al = schema.approvals, schema.approved_letters
    return (
        sa.select(al.c.approval_id, al.c.digest, al.c.parts, a.c.login)
        .join(a, a.c.id == al.c.approval_id)
        .where(al.c.letter_id == letter_id, al.c.voided_at.is_(None))
    )


def _again(a: sa.Table, al: sa.Table) -> sa.ColumnElement[bool]:
    """That the same person has approved the same letter once more."""
    other, theirs = al.alias("other"), a.alias("theirs")
    return sa.exists().where(
        other.c.letter_id == al.c.letter_id,
        other.c.approval_id > al.c.approval_id,
        theirs.c.id == other.c.approval_id,
        theirs.c.login == a.c.login,
    )


def _refuse_unmade(connection: sa.Connection, run: Run, codes: Collection[str] | None) -> None:
    table = schema.letters
    unmade = sa.and_(
        table.c.run_id == run.id,
        table.c.pdf.is_(None),
        table.c.fault.is_(None),
        table.c.withheld_at.is_(None),
        table.c.superseded_at.is_(None),
    )
    if codes is not None:
        unmade = sa.and_(unmade, table.c.authority_code.in_(codes))
    count = connection.scalar(sa.select(sa.func.count()).select_from(table).where(unmade))
    if count:
        raise Refused(
            f"{count:,} {'letter' if count == 1 else 'letters'} of {run.year} "
            f"{'has' if count == 1 else 'have'} not been made yet, and nobody can approve "
            f"what is not there. To make all of them first: letters prepare {run.year}"
        )


def _refuse_another_login(connection: sa.Connection, run: Run, person: str, login: str) -> None:
    """Two people are two logins; one name for both would leave nobody able to tell them apart."""
    a = schema.approvals
    for row in connection.execute(
        sa.select(a.c.person, a.c.login).where(a.c.run_id == run.id, a.c.login != login).distinct()
    ):
        if _one_name(row.person) == _one_name(person):
            raise Refused(
                f"{row.person} has approved letters of {run.year} already, logged in as "
                f"{row.login}; you are logged in as {login}. Give your own name with --by."
            )


def _one_name(name: str) -> str:
    """The same text for one name, in whatever capitals and spaces it is written."""
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def _left_out(connection: sa.Connection, run: Run) -> int:
    table = schema.letters
    return (
        connection.scalar(
            sa.select(sa.func.count())
            .select_from(table)
            .where(
                table.c.run_id == run.id,
                table.c.superseded_at.is_(None),
                sa.or_(table.c.pdf.is_(None), table.c.withheld_at.is_not(None)),
            )
        )
        or 0
    )
