"""The ledger, read back: how a run stands, and the whole story of one letter."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter
from typing import Any

import sqlalchemy as sa

from pipeline import schema
from pipeline.database import Database
from pipeline.delivery import NEEDS_A_PERSON, OPEN, Mode, State, most_pressing
from pipeline.ledger.letters import unplanned
from pipeline.ledger.runs import Run
from pipeline.schema import Event

_CHUNK = 200
_OF_A_RUN = (
    Event.RUN_OPENED,
    Event.RUN_PAUSED,
    Event.RUN_RESUMED,
    Event.LETTERS_FORGOTTEN,
)
"""What happens to a run and concerns each of its letters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterStatus:
    """How one letter stands in one mode.

    `state` is that of its latest message's most pressing delivery, and `reply` what was last said
    about that one; before there is a message it is `fault`, `unprepared` or `prepared`. A letter
    that a person holds back is `withheld`, and `withheld` says why.
    """

    authority: str
    name: str
    state: str
    fault: str | None
    pdf: str | None
    sha256: str | None
    pages: int | None
    recipients: Sequence[str]
    reply: str | None = None
    withheld: str | None = None

    @property
    def needs_a_person(self) -> bool:
        """Whether this letter goes no further by itself."""
        return self.state == "fault" or self.state in NEEDS_A_PERSON


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Counts of a run: deliveries by state (all states), and letters by how they stand.

    `pressing` are the deliveries that somebody has to look at; one that a later message of the same
    letter has made up for is not among them. `unplanned` are the letters that could be sent in this
    mode and have no message yet.
    """

    deliveries: Mapping[str, int]
    letters: Mapping[str, int]
    pressing: int
    unplanned: int

    @property
    def needs_a_person(self) -> int:
        """How many letters and deliveries somebody has to look at."""
        return self.pressing + self.letters["fault"]

    @property
    def unfinished(self) -> int:
        """How many letters are not made and how many deliveries not settled."""
        waiting = (State.QUEUED, State.CLAIMED, State.SENDING)
        return sum(self.deliveries[state.value] for state in waiting) + self.letters["unprepared"]


def summary(db: Database, run: Run, mode: Mode) -> Summary:
    """Count the run's letters, and their deliveries in this mode."""
    table, m, d = schema.letters, schema.messages, schema.deliveries
    stands = sa.case(
        (table.c.withheld_at.is_not(None), "withheld"),
        (table.c.pdf.is_not(None), "prepared"),
        (table.c.fault.is_not(None), "fault"),
        else_="unprepared",
    )
    with db.read() as connection:
        letters = connection.execute(
            sa.select(stands, sa.func.count())
            .where(table.c.run_id == run.id, table.c.superseded_at.is_(None))
            .group_by(stands)
        ).all()
        deliveries = connection.execute(
            sa.select(d.c.state, sa.func.count())
            .join(table, table.c.id == d.c.letter_id)
            .where(table.c.run_id == run.id, d.c.mode == mode.value)
            .group_by(d.c.state)
        ).all()
        latest = (
            sa.select(sa.func.max(m.c.id))
            .join(table, table.c.id == m.c.letter_id)
            .where(
                table.c.run_id == run.id,
                table.c.withheld_at.is_(None),
                table.c.superseded_at.is_(None),
                m.c.mode == mode.value,
            )
            .group_by(m.c.letter_id)
        )
        pressing = connection.scalar(
            sa.select(sa.func.count())
            .select_from(d)
            .where(
                d.c.message_id.in_(latest),
                d.c.state.in_([state.value for state in NEEDS_A_PERSON]),
            )
        )
        to_plan = connection.scalar(
            sa.select(sa.func.count()).select_from(table).where(unplanned(run.id, mode))
        )
    return Summary(
        pressing=pressing or 0,
        unplanned=to_plan or 0,
        deliveries={state.value: 0 for state in State} | {row[0]: row[1] for row in deliveries},
        letters={"unprepared": 0, "fault": 0, "prepared": 0, "withheld": 0}
        | {row[0]: row[1] for row in letters},
    )


def to_send(db: Database, run: Run, mode: Mode) -> int:
    """How many deliveries are still to be made in this mode, planned or not yet."""
    table, d = schema.letters, schema.deliveries
    waiting = (
        sa.select(table.c.recipients)
        .where(unplanned(run.id, mode))
        .execution_options(yield_per=_CHUNK)
    )
    with db.read() as connection:
        planned = connection.scalar(
            sa.select(sa.func.count())
            .select_from(d)
            .join(table, table.c.id == d.c.letter_id)
            .where(
                table.c.run_id == run.id,
                d.c.mode == mode.value,
                d.c.state.in_([state.value for state in OPEN]),
            )
        )
        letters = connection.execute(waiting)
        to_plan = sum(1 if mode is Mode.REDIRECT else len(row.recipients) for row in letters)
    return (planned or 0) + to_plan


def deliveries_of(db: Database, messages: Collection[int]) -> int:
    """How many deliveries these messages have."""
    d = schema.deliveries
    with db.read() as connection:
        return (
            connection.scalar(
                sa.select(sa.func.count()).select_from(d).where(d.c.message_id.in_(messages))
            )
            or 0
        )


def statuses(db: Database, run: Run, mode: Mode) -> Iterator[LetterStatus]:
    """How each letter of the run stands in this mode, in the order of the codes; streamed."""
    table, d, a = schema.letters, schema.deliveries, schema.attempts
    after = ""
    while True:
        with db.read() as connection:
            letters = connection.execute(
                sa.select(
                    table.c.id,
                    table.c.authority_code,
                    table.c.authority_name,
                    table.c.fault,
                    table.c.pdf,
                    table.c.pdf_sha256,
                    table.c.pages,
                    table.c.recipients,
                    table.c.withheld_because,
                )
                .where(
                    table.c.run_id == run.id,
                    table.c.authority_code > after,
                    table.c.superseded_at.is_(None),
                )
                .order_by(table.c.authority_code)
                .limit(_CHUNK)
            ).all()
            if not letters:
                return
            found: dict[int, dict[int, dict[State, str | None]]] = {}
            sent_to: dict[int, list[str]] = {}
            for row in connection.execute(
                sa.select(d.c.letter_id, d.c.message_id, d.c.state, d.c.recipient, a.c.reply)
                .outerjoin(a, sa.and_(a.c.delivery_id == d.c.id, a.c.number == d.c.attempt))
                .where(
                    d.c.letter_id.in_([letter.id for letter in letters]),
                    d.c.mode == mode.value,
                )
                .order_by(d.c.id)
            ):
                by_message = found.setdefault(row.letter_id, {})
                by_message.setdefault(row.message_id, {})[State(row.state)] = row.reply
                sent_to.setdefault(row.message_id, []).append(row.recipient)
        for letter in letters:
            messages = found.get(letter.id, {})
            latest = max(messages, default=None)
            state = None
            if latest is not None:
                state = most_pressing(messages[latest])
            yield LetterStatus(
                authority=letter.authority_code,
                name=letter.authority_name,
                state=_stands(letter, state),
                fault=letter.fault,
                pdf=letter.pdf,
                sha256=letter.pdf_sha256,
                pages=letter.pages,
                recipients=(
                    [one["address"] for one in letter.recipients]
                    if latest is None
                    else sent_to[latest]
                ),
                reply=messages[latest][state] if latest is not None and state else None,
                withheld=letter.withheld_because,
            )
        after = letters[-1].authority_code


def _stands(letter: Any, state: State | None) -> str:
    if letter.withheld_because is not None:
        return "withheld"
    if letter.fault is not None:
        return "fault"
    if letter.pdf is None:
        return "unprepared"
    return "prepared" if state is None else state.value


def find_letter(db: Database, run: Run, code: str) -> Any | None:
    """The newest revision of one authority's letter as its row in `letters`, or None."""
    table = schema.letters
    with db.read() as connection:
        return connection.execute(
            sa.select(table)
            .where(
                table.c.run_id == run.id,
                sa.func.upper(table.c.authority_code) == code.upper(),
            )
            .order_by(table.c.revision.desc())
            .limit(1)
        ).one_or_none()


def near_names(db: Database, run: Run) -> dict[str, str]:
    """Codes and names of the run's authorities, for suggesting what may have been meant."""
    table = schema.letters
    with db.read() as connection:
        rows = connection.execute(
            sa.select(table.c.authority_code, table.c.authority_name).where(
                table.c.run_id == run.id
            )
        ).all()
    return {row.authority_code: row.authority_name for row in rows}


def open_elsewhere(db: Database, run: Run, mode: Mode) -> dict[Mode, int]:
    """How many deliveries of the run are still open in the other modes, by mode."""
    table, d = schema.letters, schema.deliveries
    with db.read() as connection:
        rows = connection.execute(
            sa.select(d.c.mode, sa.func.count())
            .join(table, table.c.id == d.c.letter_id)
            .where(
                table.c.run_id == run.id,
                d.c.mode != mode.value,
                d.c.state.in_([state.value for state in OPEN]),
            )
            .group_by(d.c.mode)
        ).all()
    return {Mode(row[0]): row[1] for row in rows}


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """Everything that is on record about one letter, oldest first; plain values."""

    messages: Sequence[Mapping[str, Any]]
    deliveries: Sequence[Mapping[str, Any]]
    events: Sequence[Mapping[str, Any]]


def story(db: Database, letter_id: int) -> Story:
    """The whole story of one letter, in every mode, with what happened to all of its run."""
    table, m, d, a, e = (
        schema.letters,
        schema.messages,
        schema.deliveries,
        schema.attempts,
        schema.events,
    )
    of_its_run = sa.and_(
        e.c.run_id == sa.select(table.c.run_id).where(table.c.id == letter_id).scalar_subquery(),
        e.c.letter_id.is_(None),
        e.c.kind.in_([kind.value for kind in _OF_A_RUN]),
    )
    with db.read() as connection:
        messages = connection.execute(
            sa.select(m).where(m.c.letter_id == letter_id).order_by(m.c.id)
        ).all()
        deliveries = connection.execute(
            sa.select(d, m.c.message_id.label("header"))
            .join(m, m.c.id == d.c.message_id)
            .where(d.c.letter_id == letter_id)
            .order_by(d.c.id)
        ).all()
        attempts = connection.execute(
            sa.select(a)
            .join(d, d.c.id == a.c.delivery_id)
            .where(d.c.letter_id == letter_id)
            .order_by(a.c.delivery_id, a.c.number)
        ).all()
        noted = connection.execute(
            sa.select(e)
            .where(sa.or_(e.c.letter_id == letter_id, of_its_run))
            .order_by(e.c.at, e.c.id)
        ).all()
        approved = _approvals(connection, letter_id)
    tries: dict[int, list[dict[str, Any]]] = {}
    for row in attempts:
        tries.setdefault(row.delivery_id, []).append(
            {
                "number": row.number,
                "claimed_at": _iso(row.claimed_at),
                "intent_at": _iso(row.intent_at),
                "ended_at": _iso(row.ended_at),
                "outcome": row.outcome,
                "reply": row.reply,
                "queue_id": row.queue_id,
                "relay": row.relay,
                "local_host": row.local_host,
                "local_port": row.local_port,
                "owner": row.owner,
            }
        )
    headers = {row.id: row.message_id for row in messages}
    return Story(
        messages=[
            {
                "id": row.id,
                "message_id": row.message_id,
                "mode": row.mode,
                "created_at": _iso(row.created_at),
                "date": _iso(row.dated),
                "recipients": row.recipients,
                "resend_of": headers.get(row.resend_of),
                "reason": row.reason,
                "requested_by": row.requested_by,
                "eml": row.eml,
                "sha256": row.eml_sha256,
            }
            for row in messages
        ],
        deliveries=[
            {
                "id": row.id,
                "message_id": row.header,
                "mode": row.mode,
                "recipient": row.recipient,
                "state": row.state,
                "due_at": _iso(row.due_at) if row.state == State.QUEUED.value else None,
                "settled_at": _iso(row.settled_at),
                "attempts": tries.get(row.id, []),
            }
            for row in deliveries
        ],
        events=_in_order(
            [
                {
                    "at": row.at,
                    "kind": row.kind,
                    "person": row.person,
                    "message": row.message_id,
                    "delivery": row.delivery_id,
                    **row.data,
                }
                for row in noted
            ]
            + approved
        ),
    )


def _in_order(found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """By their exact times, which are then told to the second."""
    ordered = sorted(found, key=itemgetter("at"))
    return [{**one, "at": _iso(one["at"])} for one in ordered]


def _approvals(connection: sa.Connection, letter_id: int) -> list[dict[str, Any]]:
    """Who approved one letter, and when that ended, as if they were events of the letter.

    The events on record are of the run: an approval covers many letters, and ends for each alone.
    """
    a, given = schema.approvals, schema.approved_letters
    found: list[dict[str, Any]] = []
    for row in connection.execute(
        sa.select(a.c.person, a.c.login, a.c.approved_at, given.c.voided_at, given.c.voided_because)
        .join(given, given.c.approval_id == a.c.id)
        .where(given.c.letter_id == letter_id)
        .order_by(a.c.id)
    ):
        by = {"person": row.person, "login": row.login, "message": None, "delivery": None}
        found.append({"at": row.approved_at, "kind": "letter_approved", **by})
        if row.voided_at is not None:
            because = row.voided_because.split()
            ended = {"at": row.voided_at, "kind": "approval_ended", "because": because}
            found.append({**ended, **by})
    return found


def withheld_by(db: Database, run: Run, letter: Any) -> str | None:
    """Who withheld this letter (a row of `letters`); None if nobody does.

    A refresh takes that over, so it may be on record with an earlier run's letter.
    """
    if letter.withheld_at is None:
        return None
    e, table, r = schema.events, schema.letters, schema.runs
    with db.read() as connection:
        person: str | None = connection.scalar(
            sa.select(e.c.person)
            .join(table, table.c.id == e.c.letter_id)
            .join(r, r.c.id == table.c.run_id)
            .where(
                r.c.year == run.year,
                table.c.authority_code == letter.authority_code,
                e.c.kind == Event.LETTER_WITHHELD.value,
                e.c.at == letter.withheld_at,
            )
            .order_by(e.c.id.desc())
            .limit(1)
        )
    return person


def earlier(db: Database, run: Run, code: str) -> list[dict[str, Any]]:
    """What cancelled runs of the same year held for an authority, in every mode, oldest first.

    As plain values: `run`, `opened_at` and `opened_by`, `cancelled_at`, `how` (refreshed or
    cancelled), `by` and `reason`; of its letter `sha256` and `fault`; and `deliveries`, those that
    were tried, with what came of them.
    """
    r, table, d, a = schema.runs, schema.letters, schema.deliveries, schema.attempts
    with db.read() as connection:
        letters = connection.execute(
            sa.select(
                table.c.id,
                table.c.run_id,
                table.c.pdf_sha256,
                table.c.fault,
                r.c.opened_at,
                r.c.opened_by,
                r.c.cancelled_at,
            )
            .join(r, r.c.id == table.c.run_id)
            .where(
                r.c.year == run.year,
                r.c.id != run.id,
                r.c.cancelled_at.is_not(None),
                table.c.authority_code == code,
            )
            .order_by(r.c.id, table.c.revision)
        ).all()
        tried = connection.execute(
            sa.select(d.c.letter_id, d.c.mode, d.c.recipient, d.c.state, a.c.claimed_at, a.c.reply)
            .join(a, sa.and_(a.c.delivery_id == d.c.id, a.c.number == d.c.attempt))
            .where(d.c.letter_id.in_([letter.id for letter in letters]))
            .order_by(d.c.id)
        ).all()
        ends = _ends(connection, [letter.run_id for letter in letters])
    return [
        {
            "run": letter.run_id,
            "opened_at": _iso(letter.opened_at),
            "opened_by": letter.opened_by,
            "cancelled_at": _iso(letter.cancelled_at),
            **ends.get(letter.run_id, {"how": "cancelled", "by": None, "reason": None}),
            "sha256": letter.pdf_sha256,
            "fault": letter.fault,
            "deliveries": [
                {
                    "mode": one.mode,
                    "recipient": one.recipient,
                    "state": one.state,
                    "tried_at": _iso(one.claimed_at),
                    "reply": one.reply,
                }
                for one in tried
                if one.letter_id == letter.id
            ],
        }
        for letter in letters
    ]


def _ends(connection: sa.Connection, ended: Collection[int]) -> dict[int, dict[str, Any]]:
    """How these runs ended, by whom and why."""
    e = schema.events
    how = {Event.RUN_REFRESHED.value: "refreshed", Event.RUN_CANCELLED.value: "cancelled"}
    rows = connection.execute(
        sa.select(e.c.run_id, e.c.kind, e.c.person, e.c.data)
        .where(e.c.run_id.in_(ended), e.c.kind.in_(how))
        .order_by(e.c.id)
    )
    return {
        row.run_id: {"how": how[row.kind], "by": row.person, "reason": row.data.get("reason")}
        for row in rows
    }


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat(timespec="seconds")
