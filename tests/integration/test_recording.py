"""Results of preparing, recorded in groups: each once, none lost but what a kill takes."""

import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from itertools import chain, cycle
from pathlib import Path

import pytest
import sqlalchemy as sa

from pipeline import schema
from pipeline.database import Database
from pipeline.ledger import letters
from pipeline.ledger.letters import Faulted, Prepared
from pipeline.ledger.recording import Recording
from pipeline.ledger.runs import Run
from pipeline.schema import Event
from tests.integration.test_ledger import NOW, letter, opened

PATIENCE = 60.0  # seconds for what takes one, on a machine that is busy
ROOT = Path(__file__).resolve().parent.parent.parent


def made(letter_id: int, sha256: str = "0" * 64) -> Prepared:
    return Prepared(
        letter_id=letter_id,
        pdf=f"2020/{letter_id}.pdf",
        pdf_sha256=sha256,
        docx_sha256="1" * 64,
        pages=3,
    )


def many(db: Database, number: int) -> tuple[Run, list[int]]:
    run = opened(db, *(letter(f"A{code:05d}") for code in range(number)))
    return run, [one.id for one in letters.unprepared(db, run.id)]


def on_record(db: Database, kind: Event) -> list[int | None]:
    """The letters that have an event of this kind, once for each."""
    e = schema.events
    with db.read() as connection:
        return list(
            connection.scalars(
                sa.select(e.c.letter_id).where(e.c.kind == kind.value).order_by(e.c.id)
            )
        )


def prepared(db: Database) -> set[int]:
    table = schema.letters
    with db.read() as connection:
        return set(connection.scalars(sa.select(table.c.id).where(table.c.pdf.is_not(None))))


class Transactions:
    """Counts the transactions of a database that have ended, and says that there was one."""

    def __init__(self, db: Database) -> None:
        self.number = 0
        self.happened = threading.Event()
        sa.event.listen(db.engine, "checkin", self._ended)

    def _ended(self, _connection: object, _record: object) -> None:
        self.number += 1
        self.happened.set()


def recorded(db: Database, run: Run, results: Iterable[Prepared | Faulted]) -> None:
    with Recording(db, run.id) as recording:
        for one in results:
            recording.add(one)


def test_a_group_is_recorded_as_each_by_itself_would_be(db: Database) -> None:
    run, (one, two, three, four, five) = many(db, 5)
    assert letters.record(db, run.id, made(one), now=NOW)
    assert letters.record(db, run.id, Faulted(letter_id=two, reason="no font"), now=NOW)
    news = letters.record_all(
        db,
        run.id,
        [
            made(one, "9" * 64),  # made before: the file on record stays
            Faulted(letter_id=one, reason="late"),
            Faulted(letter_id=two, reason="no font"),  # no news
            made(three),
            made(three, "8" * 64),  # made twice in the same group: the first counts
            Faulted(letter_id=four, reason="slow"),
            made(four),  # and it went well in the end
            Faulted(letter_id=five, reason="slow"),
            Faulted(letter_id=five, reason="slow"),
            made(10**9),  # of which nobody knows
        ],
        now=NOW,
    )
    assert news == 4
    assert on_record(db, Event.LETTER_PREPARED) == [one, three, four]
    assert on_record(db, Event.LETTER_FAULTED) == [two, four, five]
    table = schema.letters
    with db.read() as connection:
        rows = connection.execute(
            sa.select(table.c.pdf_sha256, table.c.fault, table.c.faulted_in).order_by(table.c.id)
        ).all()
    assert [tuple(row) for row in rows] == [
        ("0" * 64, None, None),
        (None, "no font", "prepare"),
        ("0" * 64, None, None),
        ("0" * 64, None, None),
        (None, "slow", "prepare"),
    ]


def test_many_results_take_few_transactions(db: Database) -> None:
    run, ids = many(db, 1200)
    ended = Transactions(db)
    recorded(db, run, map(made, ids))
    assert ended.number < len(ids) / 10
    assert on_record(db, Event.LETTER_PREPARED) == ids
    assert prepared(db) == set(ids)


def test_a_result_does_not_wait_for_the_next(db: Database) -> None:
    run, ids = many(db, 2)
    ended = Transactions(db)
    with Recording(db, run.id) as recording:
        recording.add(made(ids[0]))
        assert ended.happened.wait(PATIENCE)
        assert prepared(db) == {ids[0]}


@pytest.mark.parametrize("stop", [KeyboardInterrupt, GeneratorExit, RuntimeError])
def test_whatever_stops_it_what_was_done_is_on_record(
    db: Database, stop: type[BaseException]
) -> None:
    run, ids = many(db, 30)

    def stopped() -> Iterator[Prepared]:
        yield from map(made, ids[:20])
        raise stop

    with pytest.raises(stop):
        recorded(db, run, stopped())
    assert prepared(db) == set(ids[:20])


def test_what_cannot_be_recorded_is_raised_where_results_are_brought(db: Database) -> None:
    run, ids = many(db, 3)
    impossible = Prepared(
        letter_id=ids[0],
        pdf="x.pdf",
        pdf_sha256="0" * 64,
        docx_sha256="1" * 64,
        pages=None,  # type: ignore[arg-type] # the ledger refuses a file without pages
    )
    with pytest.raises(sa.exc.IntegrityError):
        recorded(db, run, [impossible])
    with pytest.raises(sa.exc.IntegrityError):  # not only at the end, which here never comes
        recorded(db, run, chain([impossible], map(made, cycle(ids[1:]))))
    assert impossible.letter_id not in prepared(db)


def test_two_who_bring_the_same_record_it_once(db: Database) -> None:
    run, ids = many(db, 400)
    with Recording(db, run.id) as one, Recording(db, run.id) as other:
        for forwards, backwards in zip(ids, reversed(ids), strict=True):
            one.add(made(forwards))
            other.add(made(backwards, "7" * 64))
    noted = on_record(db, Event.LETTER_PREPARED)
    assert sorted(noted, key=lambda each: each or 0) == ids
    assert prepared(db) == set(ids)


_UNTIL_KILLED = """
import sys
import threading
import sqlalchemy as sa
from pipeline.database import Database
from pipeline.ledger import letters
from pipeline.ledger.recording import Recording
from tests.integration.test_recording import made

db, run_id = Database(sys.argv[1]), int(sys.argv[2])
written = threading.Event()
sa.event.listen(db.engine, "checkin", lambda *_: written.set())
with Recording(db, run_id) as recording:
    for number, one in enumerate(letters.unprepared(db, run_id), start=1):
        written.clear()
        recording.add(made(one.id))
        if number % 100 == 0:
            written.wait()
            print(number, flush=True)
"""


def test_killed_in_the_middle_it_goes_on_and_records_each_once(db: Database, db_url: str) -> None:
    run, ids = many(db, 2000)
    with subprocess.Popen(
        [sys.executable, "-c", _UNTIL_KILLED, db_url, str(run.id)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"100\n", "some of it is on record"
        process.kill()
    done = prepared(db)
    assert done
    assert set(on_record(db, Event.LETTER_PREPARED)) == done, "all of a group or nothing"
    left = list(letters.unprepared(db, run.id))
    assert {one.id for one in left} == set(ids) - prepared(db), "what is done is not made again"
    recorded(db, run, (made(one.id) for one in left))
    noted = on_record(db, Event.LETTER_PREPARED)
    assert len(noted) == len(set(noted)) == len(ids)
    assert prepared(db) == set(ids)
