"""What letters are made again from, on both databases."""

from datetime import timedelta

from pipeline.database import Database
from pipeline.ledger import frozen, holds, letters, runs
from pipeline.ledger.letters import Prepared
from pipeline.ledger.runs import Run
from tests.integration.test_ledger import NOW, OPENING, letter, opened, prepare_all

LATER = NOW + timedelta(days=1)


def opened_anew(db: Database, before: Run) -> Run:
    """Another run of the year, of which only B's file is another one than before."""
    holds.cancel(db, before, because="corrected", person="tester", now=LATER)
    three = [letter("A"), letter("B"), letter("C", fault="no address")]
    runs.open_run(db, OPENING, three, person="tester", now=LATER)
    found = runs.find_run(db, 2020)
    assert found is not None
    for one in letters.unprepared(db, found.id):
        new = "new/" if one.authority_code == "B" else ""
        made = Prepared(
            letter_id=one.id,
            pdf=f"2020/{new}{one.authority_code}.pdf",
            pdf_sha256="3" * 64,
            docx_sha256="4" * 64,
            pages=3,
        )
        letters.record(db, found.id, made, now=LATER)
    return found


def test_each_file_is_dated_with_the_first_run_that_had_it(db: Database) -> None:
    first = opened(db)
    assert frozen.dates(db, first) == []
    prepare_all(db, first)
    assert frozen.dates(db, first) == [NOW]
    again = opened_anew(db, first)
    assert frozen.dates(db, again) == [NOW, LATER]
    assert [one.pdf for one in frozen.kept(db, again, NOW)] == ["2020/A.pdf"]
    [other] = frozen.kept(db, again, LATER)
    assert (other.pdf, other.pdf_sha256, other.revision) == ("2020/new/B.pdf", "3" * 64, 1)
    assert (other.letter.run_id, other.letter.authority_code) == (again.id, "B")
    assert other.letter.fields == {"authority": "B Council"}


def test_only_those_that_are_named_and_have_a_file(db: Database) -> None:
    run = opened_anew(db, opened(db))
    assert frozen.count(db, run) == 2
    assert frozen.count(db, run, ["A", "C"]) == 1
    assert [one.pdf for one in frozen.kept(db, run, LATER, ["A", "C"])] == ["2020/A.pdf"]


def test_more_letters_than_are_read_at_once(db: Database) -> None:
    run = opened(db, *(letter(f"{number:03}") for number in range(450)))
    prepare_all(db, run)
    found = [one.letter.authority_code for one in frozen.kept(db, run, NOW)]
    assert sorted(found) == [f"{number:03}" for number in range(450)]
