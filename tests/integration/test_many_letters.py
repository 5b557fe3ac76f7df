"""Three times as many letters take no more memory: what is held is a few at a time, at each step.

Only rows: no PDF is made here.
"""

import gc
import hashlib
import tracemalloc
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from pipeline import migrate, run, schema
from pipeline.archive import Archive
from pipeline.database import Database
from pipeline.delivery import Mode
from pipeline.dispatch import Outbox
from pipeline.ledger import approvals, story
from pipeline.ledger.letters import FrozenLetter, Prepared
from pipeline.ledger.messages import Sender
from pipeline.ledger.runs import Run
from pipeline.prepare import Job
from pipeline.run import Pipeline
from tests.integration.test_audit import Watched

TEMPLATES = Path(__file__).resolve().parent.parent.parent / "templates"
FEW, MANY = 600, 1600
ROOM = 600_000  # octets: less than a letter's name, addresses and figures take


class Prompt:
    """An engine that says at once what it has made."""

    def each(self, job: Job, letters: Iterable[FrozenLetter]) -> Iterator[Prepared]:  # noqa: ARG002
        for one in letters:
            sha256 = hashlib.sha256(str(one.id).encode()).hexdigest()
            yield Prepared(
                letter_id=one.id,
                pdf=f"{one.year}/{one.authority_code}.pdf",
                pdf_sha256=sha256,
                docx_sha256=sha256,
                pages=3,
            )


def edition(year: int) -> dict[str, Any]:
    facts = ("delegates", "delegate_authorities", "courses", "people", "more_courses")
    return {
        "year": year,
        "letter_date": date(year, 7, 22),
        "published_on": date(year, 7, 29),
        "period_start": date(year - 1, 4, 1),
        "period_end": date(year, 3, 31),
        "signatory": "Ann Other",
        "signatory_posts": ["Ombudsman"],
        "facts": dict.fromkeys(facts, 7),
    }


def fill(db: Database, numbers: range) -> None:
    codes = [f"E{number:07d}" for number in numbers]
    rows: dict[sa.Table, list[dict[str, Any]]] = {
        schema.authorities: [
            {"code": code, "name": f"Invented {code} Council", "kind": "district"} for code in codes
        ],
        schema.officers: [
            {
                "authority_code": code,
                "role": role,
                "honorific": "Ms",
                "given_name": "Alex",
                "family_name": "Jones",
                "post": "Head of All",
                "email": f"{role}@{code}.example",
            }
            for code in codes
            for role in ("chief_executive", "link_officer")
        ],
        schema.decisions: [
            {
                "case_reference": f"{code}-{year}",
                "authority_code": code,
                "decided_on": date(year, 2, 1),
                "outcome": "upheld",
            }
            for code in codes
            for year in (2018, 2019, 2020)
        ],
        schema.remarks: [
            {"year": year, "authority_code": code, "position": 1, "text": f"To {code} alone."}
            for code in codes
            for year in (2018, 2019, 2020)
        ],
    }
    with db.write() as connection:
        for table, some in rows.items():
            connection.execute(sa.insert(table), some)


def peaks(pipeline: Pipeline, year: int, number: int) -> dict[str, int]:
    """The most that each step of a year holds, in octets, while it is traced."""
    found: dict[str, int] = {}
    db = pipeline.ledger

    def held(step: str) -> None:
        found[step] = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()

    opened = run.open_run(pipeline, year, person="tester", progress=Watched())
    held("pull, compose and open")
    run.prepare(pipeline, Prompt(), opened, progress=Watched())
    held("prepare")
    assert (
        approvals.approve(db, opened, person="tester", login="tester", now=datetime.now(UTC)).new
        == number
    )
    held("approve")
    stands = run.stands(pipeline, opened)
    waiting = story.to_send(db, opened, Mode.CAPTURE)
    listed = sum(one.state == "prepared" for one in story.statuses(db, opened, Mode.CAPTURE))
    held("status")
    compared = _refreshed(pipeline, opened)
    held("refresh")
    assert stands.summary.letters == {
        "prepared": number,
        "unprepared": 0,
        "fault": 0,
        "withheld": 0,
    }
    assert (listed, waiting, compared) == (number, 2 * number, number)
    return found


def _refreshed(pipeline: Pipeline, opened: Run) -> int:
    with pipeline.ledger.write() as connection:
        connection.execute(sa.delete(schema.approved_letters))
        connection.execute(sa.delete(schema.approvals))
    renewal = run.refresh(pipeline, opened, person="tester", keep=False, progress=Watched())
    assert renewal.is_empty
    return renewal.kept


def test_many_letters_take_no_more_memory_than_few(tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path}/letters.db")
    migrate.upgrade(db)
    with db.write() as connection:
        connection.execute(
            sa.insert(schema.editions), [edition(year) for year in (2018, 2019, 2020)]
        )
    pipeline = Pipeline(
        ledger=db,
        statistics=db,
        archive=Archive(str(tmp_path / "archive")),
        template=TEMPLATES / "letter.docx",
        wording=TEMPLATES,
        outbox=Outbox(
            sender=Sender(address="letters@ombudsman.example", mode=Mode.CAPTURE),
            relay=None,
            maildir=tmp_path / "captured",
        ),
        people=0,
    )
    fill(db, range(FEW))
    peaks(pipeline, 2018, FEW)  # what is kept for good, such as compiled statements
    few = _traced(pipeline, 2019, FEW)
    fill(db, range(FEW, MANY))
    many = _traced(pipeline, 2020, MANY)
    db.close()
    assert {step: many[step] - few[step] for step in few if many[step] - few[step] > ROOM} == {}


def _traced(pipeline: Pipeline, year: int, number: int) -> dict[str, int]:
    gc.collect()
    tracemalloc.start()
    try:
        return peaks(pipeline, year, number)
    finally:
        tracemalloc.stop()
