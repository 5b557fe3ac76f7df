"""Which letters of a proof are marked, and why: on the whole sample, in two years."""

from collections.abc import Mapping
from typing import Any

import pytest
import sqlalchemy as sa

from pipeline import edition, importer, schema
from pipeline.database import Database
from pipeline.ledger import looking
from pipeline.ledger.runs import Run
from pipeline.proofpack.marks import Marker, Marks
from pipeline.run import Pipeline
from tests.acceptance.site import SAMPLE
from tests.integration.test_edition import furnish, opened  # noqa: F401 - a fixture
from tests.integration.test_ledger import NOW, prepare_all

STEVENAGE, WATFORD, BARNSLEY = "E07000243", "E07000103", "E08000016"


@pytest.fixture
def pipeline(furnish: Any, db: Database) -> Pipeline:  # noqa: F811 - the fixture
    wired: Pipeline = furnish()
    importer.import_folder(db, SAMPLE)
    return wired


def ready(pipeline: Pipeline, year: int) -> Run:
    made = opened(pipeline, year)
    prepare_all(pipeline.ledger, made)
    return made


def marked(pipeline: Pipeline, made: Run) -> tuple[Marks, Mapping[str, str]]:
    """The marks, and what is said of each authority, by code."""
    marker = Marker(pipeline, made)
    for letter in looking.letters(pipeline.ledger, made):
        marker.see(letter)
    found = marker.marks()
    return found, {found.named[id_][0]: " ".join(said) for id_, said in found.of.items()}


def remark(db: Database, year: int, code: str, text: str) -> None:
    with db.write() as connection:
        connection.execute(
            sa.insert(schema.remarks).values(year=year, authority_code=code, position=9, text=text)
        )


def test_what_few_say_is_marked_and_what_the_figures_choose_is_not(
    pipeline: Pipeline, db: Database
) -> None:
    remark(db, 2020, STEVENAGE, "I was sorry to hear of the flood in 19 of your offices.")
    found, told = marked(pipeline, ready(pipeline, 2020))
    assert found.compared_with is None
    assert found.because == "There is no run of 2019."
    assert told[STEVENAGE] == (
        "Few others say: “I was sorry to hear of the flood in 19 of your offices.”"
    )
    assert WATFORD not in told
    assert "successor" in told["E07000004"], "Aylesbury Vale is no more"
    with db.read() as connection:
        figures = {
            row.authority_code: row.figures
            for row in connection.execute(
                sa.select(schema.letters.c.authority_code, schema.letters.c.figures)
            )
        }
    none_due = {code for code, one in figures.items() if not one["compliance"]["whole"]}
    assert len(none_due) > 50
    assert len(none_due & set(told)) < 20, "a rate that cannot be had is a figure too"


def test_last_years_letter_is_held_against_this_years(pipeline: Pipeline, db: Database) -> None:
    remark(db, 2020, STEVENAGE, "Thank you for the visit.")
    remark(db, 2020, WATFORD, "Nobody has answered our letters.")
    ready(pipeline, 2020)
    edition.make(
        pipeline,
        2021,
        made_from=2020,
        given={"signatory": "Somebody New"},
        writes=True,
        person="tester",
        now=NOW,
    )
    remark(db, 2021, STEVENAGE, "Thank you for the visit.")
    found, told = marked(pipeline, ready(pipeline, 2021))
    assert found.compared_with == 2020
    assert "It says again what only it and few others said last year" in told[STEVENAGE]
    assert "Last year's letter said, and this one does not: “Nobody has answered" in told[WATFORD]
    assert BARNSLEY not in told, "everybody's signatory is another one"
    general = "; ".join(found.in_general)
    assert "newly: “Somebody New”" in general
    assert "No letter any more: “Michael King”" in general
