"""The letters of a run that is open, looked at as they were frozen; on both databases."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from pipeline import readiness, reissuing, run, schema
from pipeline.database import Database
from pipeline.delivery import Mode
from pipeline.ledger import holds, messages, runs, story
from pipeline.ledger.runs import Opening, Run
from pipeline.letter import Letter
from pipeline.readiness import Account, Totals
from pipeline.run import Pipeline
from tests.integration.test_edition import Silence
from tests.integration.test_ledger import CAPTURE, prepare_all
from tests.integration.test_readiness import EARLY, EDITION, fill, look, some, told, well, wired
from tests.integration.test_reissue import Prompt
from tests.integration.test_source import authority, decided, keep, officer, put, site

AGAIN = (
    "Mend it, then: letters refresh 2020. Or withhold the letter: letters cancel AUTHORITY --year"
    " 2020 --reason TEXT"
)
TAKEN_IN = (
    "To see what would change: letters refresh 2020 --dry-run. Taken in by the same without"
    " --dry-run while nobody has approved; later letter by letter: letters reissue AUTHORITY --year"
    " 2020"
)


@pytest.fixture
def pipeline(db: Database, db_url: str, tmp_path: Path) -> Iterator[Pipeline]:
    statistics = Database(db_url, read_only=True)
    yield wired(db, statistics, tmp_path)
    statistics.close()


def opened(pipeline: Pipeline, year: int = 2020) -> Run:
    return run.open_run(pipeline, year, person="tester", progress=Silence())


def change(db: Database, table: sa.Table, code: str, **values: Any) -> None:
    whose = table.c.code if table is schema.authorities else table.c.authority_code
    with db.write() as connection:
        connection.execute(sa.update(table).where(whose == code).values(**values))


def test_a_run_of_which_there_is_nothing_to_say(db: Database, pipeline: Pipeline) -> None:
    fill(db, *well("A"), *well("B"))
    before = look(pipeline)
    opened(pipeline)
    found = look(pipeline)
    assert found == replace(before, from_run=True)
    assert found.findings == []


def test_the_runs_letters_count_and_what_the_statistics_say_since_is_told(
    db: Database, pipeline: Pipeline
) -> None:
    fill(db, *well("A"), *well("B"), *well("C"), *well("D"))
    opened(pipeline)
    put(db, schema.decisions, decided("A", "upheld"))
    put(db, schema.authorities, authority("NEW"))
    put(db, schema.officers, officer("NEW"), officer("NEW", "link_officer"))
    with db.write() as connection:
        for table in (schema.officers, schema.decisions, schema.compliance):
            connection.execute(sa.delete(table).where(table.c.authority_code == "D"))
        connection.execute(sa.delete(schema.authorities).where(schema.authorities.c.code == "D"))
    found = look(pipeline)
    assert found.from_run
    assert found.letters == Totals(
        investigated=8, upheld=4, remedied_early=0, compliance_due=4, complied=4
    )
    assert found.account == Account(
        register=4, to_send=4, withheld=0, faulted=0, no_letter=0, unaccounted=1, struck_off=1
    )
    assert told(found.findings) == [
        ("blocking", "unaccounted", "NEW", "It was active in the period and has no letter in the"
         " run, which was opened before it came onto the register.", "letters refresh 2020"),
        ("advisory", "changed", None, "The statistics have changed since the run was opened: 3"
         " letters would read otherwise (A, B and C); 1 letter would be new (NEW); 1 letter would"
         " not be there (D). What is sent is what the run has.", TAKEN_IN),
    ]  # fmt: skip


def test_withheld_and_faulted_letters_are_accounted_for(db: Database, pipeline: Pipeline) -> None:
    fill(db, *well("A"), *well("B"), *well("C"), *well("NONE"), *well("BOTH"))
    change(db, schema.officers, "NONE", email=None)
    change(db, schema.officers, "BOTH", email=None)
    opening = opened(pipeline)
    for code in ("A", "BOTH"):
        letter: Any = story.find_letter(db, opening, code)
        holds.withhold(db, opening, letter.id, because="under appeal.", person="Ann", now=EARLY)
    found = look(pipeline)
    assert found.account == Account(
        register=5, to_send=2, withheld=2, faulted=1, no_letter=0, unaccounted=0, struck_off=0
    )
    no_address = (
        "There is no address for the chief executive of {} Council; fill in officers.email."
    )
    assert told(found.findings) == [
        ("blocking", "fault", "NONE", no_address.format("NONE"), AGAIN),
        ("advisory", "withheld", "A", "It is withheld: under appeal.",
         "If it is to go after all: letters resume A --year 2020"),
        ("advisory", "withheld", "BOTH", "It is withheld: under appeal. It could not be made"
         f" either: {no_address.format('BOTH')}",
         "If it is to go after all: letters resume BOTH --year 2020"),
    ]  # fmt: skip


def test_letters_whose_figures_do_not_fit_together(db: Database, pipeline: Pipeline) -> None:
    """As after a restored or a meddled-with ledger: composing never gives such ones."""
    fill(db, *well("A"), *well("B"), *well("C"))
    opened(pipeline)
    table = schema.letters
    with db.read() as connection:
        rows = {one.authority_code: one for one in connection.execute(sa.select(table))}
    figures, fields = rows["A"].figures, rows["C"].fields
    figures["upheld"]["part"] = 3  # of 2
    figures["compliance"]["percent"] = 99
    change(db, table, "A", figures=figures)
    fields["upheld"]["percent"] = "51%"
    fields["remedy"]["percent"] = ""
    change(db, table, "C", fields=fields)
    found = look(pipeline)
    mend = f"Correct its decisions and compliance. {AGAIN}"
    assert told(found.findings)[:2] == [
        ("blocking", "figure", "A", "Its figures do not fit together: complaints upheld: A part is"
         " larger than its whole: 3 of 2; compliance: 1 of 1 is 100%, and it has 99%; remedies are"
         " counted of 1 upheld complaint, and 3 were upheld.", mend),
        ("blocking", "figure", "C", "Its figures do not fit together: complaints upheld: the rate"
         " is 50%, printed 51%; satisfactory remedies: the rate is 0%, printed nothing.", mend),
    ]  # fmt: skip
    # the average that is printed is not what the letters give, and the statistics say otherwise
    assert [one.check for one in found.findings[2:]] == ["changed", "average"]
    assert "(A and C)" in found.findings[2].found


def test_an_average_that_was_counted_is_not_called_published(
    db: Database, pipeline: Pipeline
) -> None:
    """After a re-issue the others keep the average that they were sent with."""
    fill(db, *well("A"), *well("B"))
    opening = opened(pipeline)
    prepare_all(db, opening)
    put(db, schema.decisions, *(decided("A", "upheld") for _ in range(4)))
    [changed] = look(pipeline).findings
    assert "2 letters would read otherwise (A and B)" in changed.found
    old = story.find_letter(db, opening, "A")
    correction = reissuing.look(pipeline, opening, old, dated=date(2020, 9, 14), progress=Silence())
    reissuing.reissue(
        pipeline, Prompt(), opening, correction, because="miscounted", person="Ann", now=EARLY
    )
    found = look(pipeline)
    assert found.letters == Totals(
        investigated=8, upheld=6, remedied_early=0, compliance_due=2, complied=2
    )
    assert told(found.findings) == [
        # A is what it would be, but for a date and a sentence of its own
        ("advisory", "changed", None, "The statistics have changed since the run was opened: 1"
         " letter would read otherwise (B). What is sent is what the run has.", TAKEN_IN),
        ("advisory", "average", None, "The average of district (complaints upheld) that the letters"
         " print is 50%, and these letters together give 75% (6 of 8) now.",
         "Nothing, if letters were replaced since: the others keep the average that they were sent"
         " with."),
    ]  # fmt: skip


def test_figures_against_the_letters_of_the_year_before(db: Database, pipeline: Pipeline) -> None:
    """What was printed then counts, and not what the statistics have come to say of that year."""
    then = {
        "year": 2019,
        "letter_date": date(2019, 7, 24),
        "published_on": date(2019, 7, 31),
        "period_start": date(2018, 4, 1),
        "period_end": date(2019, 3, 31),
    }
    last_year = date(2018, 6, 1)
    fill(db, *well("A"), *well("B"), **then)
    put(db, schema.decisions, *(decided("A", "upheld", last_year) for _ in range(12)))
    opened(pipeline, 2019)
    put(db, schema.decisions, *(decided("B", "upheld", last_year) for _ in range(50)))
    fill(db, *well("NEW"), *some(19, decided, "NEW", "upheld"))
    assert told(look(pipeline).findings) == [
        ("advisory", "jump", "A", "It has 2 detailed investigations, and 12 in the letter of 2019.",
         "Look whether its decisions and compliance are all there, and none of another's."),
    ]  # fmt: skip
    assert look(pipeline).compared_with == 2019


def test_the_hour_of_sending_is_past_only_while_nothing_has_been_planned(
    db: Database, pipeline: Pipeline
) -> None:
    fill(db, *well("A"), *well("B"))
    opening = opened(pipeline)
    late = EARLY + timedelta(days=60)
    assert told(look(pipeline, late).findings) == [
        ("advisory", "edition", None, "The hour of sending, 22 July 2020 at 09:00, is in the past.",
         "A schedule that runs makes up for a start missed by a few days (schedule.catch_up_days),"
         " and letters run begins at once. Correct dispatch_at in editions if the letters are to go"
         " later."),
    ]  # fmt: skip
    prepare_all(db, opening)
    messages.plan(db, opening.id, CAPTURE, now=EARLY)
    assert look(pipeline, late).findings == []
    live = replace(pipeline.outbox, sender=replace(pipeline.outbox.sender, mode=Mode.LIVE))
    begun = look(replace(pipeline, outbox=live), late).findings  # a rehearsal is no beginning
    assert [one.check for one in begun] == ["reserved", "reserved", "edition"]


def test_a_run_can_be_looked_at_without_its_statistics(
    db: Database, pipeline: Pipeline, tmp_path: Path
) -> None:
    fill(db, *well("A"), *well("B"))
    opened(pipeline)
    elsewhere = Database(f"sqlite:///{tmp_path}/none.db", read_only=True)
    found = look(replace(pipeline, statistics=elsewhere))
    assert found.account is None
    assert found.letters is not None
    assert found.letters.investigated == 4
    [one] = found.findings
    assert (one.kind, one.check) == ("advisory", "changed")
    assert one.found.startswith(
        "What the statistics say now cannot be compared with the letters, which are those of the"
        " run: There is no statistics database at"
    )
    assert one.fix == (
        "If the letters are right as they are, nothing; else mend it, and letters refresh 2020"
    )
    with db.write() as connection:  # there, and without the year
        connection.execute(sa.delete(schema.editions))
    [one] = look(pipeline).findings
    assert "no edition of 2020" in one.found


def test_statistics_that_have_gone_bad_since_do_not_hide_the_letters(
    db: Database, pipeline: Pipeline
) -> None:
    fill(db, *well("A"), *well("B"))
    opened(pipeline)
    site(db, active_to="text")
    keep(db, schema.editions, EDITION)
    keep(db, schema.authorities, authority("A"), authority("B"))
    keep(db, schema.officers, officer("A", "link_officer", active_to="12.03.2020"))
    found = look(pipeline)
    assert found.letters is not None
    assert [(one.kind, one.check) for one in found.findings] == [("advisory", "changed")]
    assert "cannot be compared" in found.findings[0].found


def test_letters_frozen_without_figures_or_words_are_only_said_to_be_faulted(
    db: Database, pipeline: Pipeline
) -> None:
    """A letter that could not be counted takes the sums with it, and nothing else."""
    fill(db, *well("A"), *well("B"))
    edition = {
        **EDITION,
        **{name: str(EDITION[name]) for name in EDITION if isinstance(EDITION[name], date)},
        "copied_roles": ["link_officer"],
        "prepare_on": "2020-07-15",
        "dispatch_at": "2020-07-22T08:00:00+00:00",
        "averages": {"district": {"upheld": 50, "compliance": 100, "remedy": 0}},
    }
    broken = Letter(
        authority_code="A",
        authority_name="A Council",
        kind="district",
        fields={},
        figures={},
        recipients=[],
        fault="What was counted for A cannot be.",
    )
    words = {"subject": "s", "text": "t", "html": "h"}
    opening = Opening(year=2020, edition=edition, template_sha256="0" * 64, wording=words)
    runs.open_run(db, opening, [broken], person="tester", now=EARLY)
    found = readiness.look(pipeline, 2020, now=EARLY)
    assert told(found.findings)[:1] == [
        ("blocking", "unaccounted", "B", "It was active in the period and has no letter in the run,"
         " which was opened before it came onto the register.", "letters refresh 2020"),
    ]  # fmt: skip
    assert [(one.check, one.code) for one in found.findings[1:]] == [
        ("fault", "A"),
        ("changed", None),
        ("peers", None),
    ]
    assert found.letters == Totals()
