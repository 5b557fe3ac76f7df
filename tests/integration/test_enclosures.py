"""What is enclosed: frozen with the letter, made with it, approved with it; on both databases."""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from pipeline import edition, run, schema, source, workbook
from pipeline.database import Database
from pipeline.ledger import approvals, enclosures, files, letters, runs
from pipeline.ledger.enclosures import Enclosed
from pipeline.ledger.letters import Faulted, FrozenLetter, Prepared
from pipeline.ledger.runs import Run
from pipeline.letter import CASES
from pipeline.prepare import Job
from pipeline.run import Pipeline
from tests.integration.test_edition import Furnish, Silence, furnish, opened  # noqa: F401
from tests.integration.test_ledger import NOW

STEVENAGE, WATFORD = "E07000243", "E07000103"


class Prompt:
    """Makes the workbooks, and no PDF: that is tested elsewhere."""

    def each(self, _job: Job, each: Iterable[FrozenLetter]) -> Iterator[Prepared | Faulted]:
        for one in each:
            enclosed = []
            for kind, cases in one.cases.items():
                workbook.made(kind, one.authority_code, one.fields, cases)
                enclosed.append(Enclosed(kind=kind, file=f"{one.id}-{kind}.xlsx", sha256="5" * 64))
            yield Prepared(
                letter_id=one.id,
                pdf=f"{one.id}.pdf",
                pdf_sha256="3" * 64,
                docx_sha256="4" * 64,
                pages=3,
                enclosed=enclosed,
            )


def enclosing(tables: dict[str, list[dict[str, Any]]]) -> None:
    for row in tables["editions"]:
        row["enclosures"] = '["decisions", "compliance"]'


@pytest.fixture
def pipeline(furnish: Furnish) -> Pipeline:  # noqa: F811 - the fixture
    return furnish(enclosing)


@pytest.fixture
def made(pipeline: Pipeline) -> Run:
    found = opened(pipeline)
    run.prepare(pipeline, Prompt(), found, progress=Silence())
    return found


def ids(db: Database, found: Run) -> dict[str, int]:
    table = schema.letters
    with db.read() as connection:
        return {
            row.authority_code: row.id
            for row in connection.execute(sa.select(table).where(table.c.run_id == found.id))
        }


def test_the_periods_cases_are_frozen_with_each_letter(made: Run, db: Database) -> None:
    e, d = schema.enclosures, schema.decisions
    with db.read() as connection:
        rows = connection.execute(sa.select(e).order_by(e.c.id)).all()
        decided = connection.scalars(
            sa.select(d.c.case_reference).where(
                d.c.authority_code == STEVENAGE,
                d.c.decided_on.between(date(2019, 4, 1), date(2020, 3, 31)),
            )
        ).all()
    known = ids(db, made)
    by = {(row.letter_id, row.kind): row.cases for row in rows}
    assert set(by) == {(known[code], kind) for code in (STEVENAGE, WATFORD) for kind in CASES}
    frozen = by[known[STEVENAGE], "decisions"]
    assert sorted(one[0] for one in frozen) == sorted(decided)
    assert {one[-1] for one in frozen} == {STEVENAGE}
    assert all(len(one[2]) == len("2020-01-31") for one in frozen)
    assert [one.kind for one in enclosures.of(db, known[STEVENAGE])] == list(CASES)
    assert files.count(db, 2020).enclosures == 4
    assert len(list(files.enclosures(db, 2020))) == 4


def test_another_workbook_is_not_what_was_approved(made: Run, db: Database) -> None:
    approvals.approve(db, made, person="Ann", login="ann", now=NOW)
    assert approvals.approvers(db, made) == ["Ann"]
    e, letter = schema.enclosures, ids(db, made)[STEVENAGE]
    with db.write() as connection:
        connection.execute(
            sa.update(e)
            .where(e.c.letter_id == letter, e.c.kind == "compliance")
            .values(sha256="6" * 64)
        )
    assert approvals.approvers(db, made) == []
    [lost] = approvals.voided(db, made)
    assert (lost.authority, lost.because) == (STEVENAGE, ["enclosures"])


def test_a_refresh_makes_anew_only_the_letters_whose_cases_changed(
    pipeline: Pipeline, made: Run, db: Database
) -> None:
    d = schema.decisions
    before = {code: enclosures.of(db, id_) for code, id_ in ids(db, made).items()}
    with db.write() as connection:
        connection.execute(
            sa.update(d)
            .where(d.c.authority_code == STEVENAGE, d.c.outcome == "referred_back")
            .values(category="Something else")
        )
    renewed = run.refresh(pipeline, made, person="tester", keep=True, progress=Silence())
    [change] = renewed.changes
    assert change.authority == STEVENAGE
    assert [one.what for one in change.differences] == ["enclosures"]
    assert renewed.kept == 1
    new = runs.find_run(db, 2020)
    assert new is not None
    waiting = [one.authority_code for one in letters.unprepared(db, new.id)]
    assert waiting == [STEVENAGE]
    assert enclosures.of(db, ids(db, new)[WATFORD]) == before[WATFORD]
    assert run.refresh(pipeline, new, person="t", keep=False, progress=Silence()).is_empty


def test_an_edition_without_any_encloses_nothing_and_the_next_one_takes_it_over(
    furnish: Furnish,  # noqa: F811 - the fixture
    db: Database,
) -> None:
    pipeline = furnish()
    found = opened(pipeline)
    assert files.count(db, 2020).enclosures == 0
    with db.read() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(schema.enclosures)) == 0
    assert next(iter(letters.unprepared(db, found.id))).cases == {}
    edition.change(
        pipeline, 2020, given={"enclosures": '["compliance"]'}, writes=True, person="t", now=NOW
    )
    edition.make(pipeline, 2021, made_from=2020, given={}, writes=True, person="t", now=NOW)
    assert source.stored_edition(pipeline.statistics, 2021).enclosures == ["compliance"]


def test_a_site_whose_editions_have_no_such_column_encloses_nothing(tmp_path: Path) -> None:
    file = tmp_path / "site.db"
    columns = [one for one in schema.editions.c if one.name != "enclosures"]
    with closing(sqlite3.connect(file)) as site:
        site.execute(f"CREATE TABLE editions ({', '.join(one.name for one in columns)})")
        site.execute(
            "INSERT INTO editions (year, letter_date, published_on, period_start, period_end,"
            " signatory, signatory_posts) VALUES (2020, '2020-07-22', '2020-07-29', '2019-04-01',"
            " '2020-03-31', 'Michael King', '[\"Ombudsman\"]')"
        )
        site.commit()
    statistics = Database(f"sqlite:///{file}", read_only=True)
    try:
        found = source.stored_edition(statistics, 2020)
    finally:
        statistics.close()
    assert found.enclosures is None
    assert found.in_full().enclosures == ()
