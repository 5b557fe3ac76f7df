"""An edition: its template, its copy for the next year, its phases; on both databases."""

import hashlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from pipeline import edition, importer, readiness, run, schema, source
from pipeline.archive import Archive
from pipeline.database import Database
from pipeline.delivery import Mode
from pipeline.dispatch import Outbox
from pipeline.edition import Folder, How, Made, copied
from pipeline.errors import Misconfigured, Refused
from pipeline.ledger.messages import Sender
from pipeline.ledger.phases import Phase
from pipeline.ledger.runs import Run
from pipeline.readiness import Check
from pipeline.run import Pipeline
from pipeline.source import StoredEdition
from tests.acceptance.site import ROOT, Row, part_of_the_sample, write_folder
from tests.integration.test_ledger import NOW

CODES = ["E07000243", "E07000103"]  # Stevenage, Watford

Furnish = Callable[..., Pipeline]


class Silence:
    """Nobody watches."""

    def begin(self, stage: str, total: int) -> None: ...

    def advance(self) -> None: ...

    def end(self) -> None: ...


@pytest.fixture
def furnish(db: Database, db_url: str, tmp_path: Path) -> Iterator[Furnish]:
    """Wires two authorities of the sample, with templates of their own that a test may change."""
    statistics = Database(db_url, read_only=True)

    def furnished(change: Any = lambda _tables: None, **other: Any) -> Pipeline:
        importer.import_folder(db, part_of_the_sample(tmp_path / "data", CODES, change))
        templates = tmp_path / "templates"
        templates.mkdir()
        for name in ("letter.docx", "message.txt", "message.html"):
            shutil.copy(ROOT / "templates" / name, templates)
        wired = Pipeline(
            ledger=db,
            statistics=statistics,
            archive=Archive(str(tmp_path / "archive")),
            template=templates / "letter.docx",
            wording=templates,
            outbox=Outbox(
                sender=Sender(address="letters@ombudsman.example", mode=Mode.CAPTURE),
                relay=None,
                maildir=tmp_path / "captured",
            ),
            people=0,
        )
        return replace(wired, **other)

    yield furnished
    statistics.close()


@pytest.fixture
def pipeline(furnish: Furnish) -> Pipeline:
    return furnish()


def opened(pipeline: Pipeline, year: int = 2020) -> Run:
    return run.open_run(pipeline, year, person="tester", progress=Silence())


def own_folder(pipeline: Pipeline, year: int = 2020) -> Path:
    """The configured template and wording, as the year's own."""
    folder = pipeline.template.parent / str(year)
    folder.mkdir()
    for name in ("letter.docx", "message.txt", "message.html"):
        shutil.copy(pipeline.template.parent / name, folder)
    return folder


def test_a_run_is_opened_with_the_years_own_template_and_words(pipeline: Pipeline) -> None:
    folder = own_folder(pipeline)
    text = (folder / "message.txt").read_text("utf-8")
    (folder / "message.txt").write_text(f"{text}\nWords of 2020.\n", "utf-8")
    pipeline.template.write_bytes(b"no template at all")
    found = opened(pipeline)
    assert (
        found.template_sha256 == hashlib.sha256((folder / "letter.docx").read_bytes()).hexdigest()
    )
    assert found.wording["text"].endswith("Words of 2020.\n")


def test_a_run_keeps_its_template_whatever_becomes_of_the_file(pipeline: Pipeline) -> None:
    before = pipeline.template.read_bytes()
    found = opened(pipeline)
    pipeline.template.write_bytes(b"something else")
    kept = pipeline.archive.get(run.template_name(found.template_sha256), found.template_sha256)
    assert kept == before


def test_half_a_folder_opens_no_run_and_is_found_by_the_check(pipeline: Pipeline) -> None:
    folder = own_folder(pipeline)
    (folder / "message.html").unlink()
    with pytest.raises(Misconfigured, match=r"lacks message\.html"):
        opened(pipeline)
    found = [
        one for one in readiness.findings(pipeline, 2020, now=NOW) if one.check is Check.TEMPLATE
    ]
    assert ["lacks message.html" in one.found for one in found] == [True]


# ------------------------------------------------------------------- a new year from an old one's

OLD = StoredEdition(
    year=2020,
    letter_date=date(2020, 7, 22),  # a Wednesday
    published_on=date(2020, 7, 29),
    period_start=date(2019, 4, 1),
    period_end=date(2020, 3, 31),
    signatory="Michael King",
    signatory_posts=["Ombudsman"],
    facts={"delegates": 178, "slogan": "Fair"},
    copied_roles=["leader"],
    prepare_on=date(2020, 7, 13),
    dispatch_at=datetime(2020, 7, 23, 8, 30, tzinfo=UTC),
)


def test_the_dates_move_by_a_year_and_keep_their_weekday() -> None:
    new = copied(OLD, 2021, {}).stored
    assert (new.letter_date, new.published_on) == (date(2021, 7, 21), date(2021, 7, 28))
    assert new.prepare_on == date(2021, 7, 12)
    assert new.dispatch_at == datetime(2021, 7, 22, 8, 30, tzinfo=UTC)
    assert (new.period_start, new.period_end) == (date(2020, 4, 1), date(2021, 3, 31))
    kept = ("signatory", "signatory_posts", "facts", "copied_roles")
    assert all(getattr(new, name) == getattr(OLD, name) for name in kept)


@pytest.mark.parametrize("year", range(2019, 2035))
def test_in_every_year_it_is_the_nearest_such_weekday(year: int) -> None:
    if year == 2020:
        return
    new = copied(OLD, year, {}).stored
    assert new.letter_date.weekday() == OLD.letter_date.weekday()
    assert abs((new.letter_date - date(year, 7, 22)).days) <= 3
    assert new.published_on - new.letter_date == OLD.published_on - OLD.letter_date


def test_what_is_usual_stays_unsaid_and_follows_the_letters_date() -> None:
    plain = replace(OLD, prepare_on=None, dispatch_at=None, copied_roles=None)
    draft = copied(plain, 2021, {})
    unsaid = (draft.stored.prepare_on, draft.stored.dispatch_at, draft.stored.copied_roles)
    assert unsaid == (None, None, None)
    full = draft.stored.in_full()
    assert full.prepare_on == date(2021, 7, 14)
    assert full.dispatch_at == datetime(2021, 7, 21, 8, tzinfo=UTC)


def test_nine_in_london_stays_nine_when_the_clocks_have_changed_between() -> None:
    # The last Wednesday of October 2020 lies behind the change, the nearest one of 2021 before it.
    autumn = replace(
        OLD,
        letter_date=date(2020, 10, 28),
        prepare_on=None,
        dispatch_at=datetime(2020, 10, 28, 9, tzinfo=UTC),
    )
    assert copied(autumn, 2021, {}).stored.dispatch_at == datetime(2021, 10, 27, 8, tzinfo=UTC)


@pytest.mark.parametrize(
    ("start", "end", "year", "expected"),
    [
        (date(2019, 3, 1), date(2020, 2, 29), 2021, (date(2020, 3, 1), date(2021, 2, 28))),
        (date(2022, 3, 1), date(2023, 2, 28), 2024, (date(2023, 3, 1), date(2024, 2, 29))),
        (date(2020, 1, 1), date(2020, 12, 31), 2022, (date(2021, 1, 1), date(2021, 12, 31))),
    ],
)
def test_a_period_that_ends_with_a_month_still_does(
    start: date, end: date, year: int, expected: tuple[date, date]
) -> None:
    old = replace(OLD, year=year - 1, period_start=start, period_end=end)
    new = copied(old, year, {}).stored
    assert (new.period_start, new.period_end) == expected


def test_what_is_given_wins_and_moves_the_dates_with_it() -> None:
    given = {
        "letter_date": "2021-07-28",
        "signatory": " Ann Other ",
        "facts.delegates": "190",
        "facts.code": "0190",
        "facts.slogan": "",
        "copied_roles": "",
    }
    draft = copied(OLD, 2021, given)
    new, how = draft.stored, draft.how
    assert (new.letter_date, new.published_on) == (date(2021, 7, 28), date(2021, 8, 4))
    assert new.dispatch_at == datetime(2021, 7, 29, 8, 30, tzinfo=UTC)
    assert (new.signatory, new.copied_roles) == ("Ann Other", None)
    assert new.facts == {"delegates": 190, "code": "0190"}
    assert (how["letter_date"], how["published_on"]) == (How.SET, How.MOVED)
    assert (how["signatory_posts"], how["facts.delegates"]) == (How.CARRIED, How.SET)
    assert "facts.slogan" not in how
    whole = copied(OLD, 2021, {"facts": '{"delegates": 178}'})
    assert (whole.stored.facts, whole.how["facts.delegates"]) == ({"delegates": 178}, How.SET)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"letterdate": "2021-07-28"}, "Did you mean letter_date?"),
        ({"letter_date": "28/07/2021"}, "write for example 2021-07-28"),
        ({"letter_date": ""}, "letter_date cannot be empty"),
        ({"facts.items": "1"}, "cannot be a fact's name"),
        ({"signatory_posts": "Ombudsman"}, "is not JSON"),
        ({"copied_roles": '["chief_executive"]'}, "needs no copy"),
        ({"period_end": "2019-12-31"}, "is before period_start"),
        ({"prepare_on": "2021-08-01"}, "when the letters are to be sent"),
        ({"year": "2022"}, "no setting 'year'"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(given: dict[str, str], said: str) -> None:
    with pytest.raises(Refused, match=said.replace("?", r"\?")):
        copied(OLD, 2021, given)


def test_a_year_is_not_made_from_itself_nor_beyond_all_years() -> None:
    with pytest.raises(Refused, match="from itself"):
        copied(OLD, 2020, {})
    with pytest.raises(Refused, match="year: “2200” is not a whole number from 1975 to 2199"):
        copied(OLD, 2200, {})


EARLY = datetime(2021, 5, 1, 9, tzinfo=UTC)


def make(pipeline: Pipeline, year: int = 2021, made_from: int = 2020, **other: Any) -> Made:
    values: dict[str, Any] = {"given": {}, "writes": True, "person": "Ann", "now": EARLY, **other}
    return edition.make(pipeline, year, made_from=made_from, **values)


def told(pipeline: Pipeline) -> list[tuple[str, Any]]:
    e = schema.events
    with pipeline.ledger.read() as connection:
        rows = connection.execute(
            sa.select(e.c.person, e.c.data).where(e.c.kind == "edition_made").order_by(e.c.id)
        ).all()
    return [(row.person, row.data) for row in rows]


def test_an_edition_is_made_once_and_on_record(pipeline: Pipeline) -> None:
    before = source.stored_edition(pipeline.statistics, 2020)
    made = make(pipeline, given={"facts.courses": "120"})
    stored = source.stored_edition(pipeline.statistics, 2021)
    assert stored == made.draft.stored
    assert (stored.letter_date, stored.signatory) == (date(2021, 7, 21), "Michael King")
    assert stored.facts == {**before.facts, "courses": 120}
    assert source.stored_edition(pipeline.statistics, 2020) == before
    event = {"year": 2021, "from": 2020, "set": {"facts.courses": "120"}, "written": True}
    assert told(pipeline) == [("Ann", event)]
    assert (made.folder, list(made.notes)) == (Folder.NONE, [])
    with pytest.raises(Refused, match="There is an edition of 2021 already"):
        make(pipeline)
    with pytest.raises(Refused, match=r"no edition of 2019 \(there is 2020, 2021\)"):
        make(pipeline, 2022, made_from=2019)
    assert len(told(pipeline)) == 1


def test_what_is_the_years_own_is_left_behind(furnish: Furnish, tmp_path: Path) -> None:
    pipeline = furnish()
    averages = [{"year": "2020", "kind": "district", "measure": "upheld", "percent": "45"}]
    remark = {"year": "2020", "authority_code": CODES[0], "position": "1", "text": "Thank you."}
    tables: dict[str, list[Row]] = {"published_averages": averages, "remarks": [remark]}
    importer.import_folder(pipeline.ledger, write_folder(tmp_path / "more", tables))
    made = make(pipeline)
    assert made.left["published_averages"] == 1
    assert made.left["remarks"] >= 1
    assert source.of_the_year_alone(pipeline.statistics, 2021) == {
        "published_averages": 0,
        "remarks": 0,
    }


def test_a_gap_between_two_periods_is_said(pipeline: Pipeline) -> None:
    [gap, *_] = make(pipeline, given={"period_start": "2020-04-03"}).notes
    assert "from 1 April 2020 to 2 April 2020 are counted in neither year" in gap
    [overlap, *_] = make(pipeline, 2022, made_from=2021, given={"period_start": "2021-03-30"}).notes
    assert "from 30 March 2021 to 31 March 2021 are counted in both years" in overlap


def test_dates_that_a_schedule_would_act_on_at_once_are_said(pipeline: Pipeline) -> None:
    made = make(pipeline, now=datetime(2021, 7, 16, 9, tzinfo=UTC))
    assert ["opens the run at its next look" in one for one in made.notes] == [True]
    later = edition.view(pipeline, 2021, now=datetime(2021, 7, 21, 9, tzinfo=UTC)).notes
    assert ["is in the past" in one and "begins at its next look" in one for one in later] == [True]


def test_a_years_own_folder_is_copied_whole_and_never_over_another(pipeline: Pipeline) -> None:
    folder = own_folder(pipeline)
    (folder / "crest.svg").write_text("a crest")
    assert make(pipeline).folder is Folder.COPIED
    copy = folder.with_name("2021")
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == {
        path.name: path.read_bytes() for path in folder.iterdir()
    }
    assert {path.name for path in folder.parent.iterdir() if path.is_dir()} == {"2020", "2021"}
    there = folder.with_name("2022")
    shutil.copytree(folder, there)
    (there / "message.txt").write_text("Subject: Another\n\nWords of 2022.\n")
    assert make(pipeline, 2022, made_from=2021).folder is Folder.THERE
    assert "Words of 2022" in (there / "message.txt").read_text()


def test_half_a_folder_of_the_new_year_stops_before_anything_is_made(pipeline: Pipeline) -> None:
    folder = own_folder(pipeline, 2021)
    (folder / "letter.docx").unlink()
    with pytest.raises(Misconfigured, match=r"lacks letter\.docx"):
        make(pipeline)
    assert source.years(pipeline.statistics) == [2020]
    assert told(pipeline) == []


def test_somebody_elses_statistics_are_given_a_row_that_can_be_imported(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    made = make(pipeline, writes=False, given={"signatory": "Ann, “Other”", "facts.people": "9"})
    assert source.years(pipeline.statistics) == [2020]
    assert [data["written"] for _, data in told(pipeline)] == [False]
    folder = tmp_path / "row"
    folder.mkdir()
    (folder / "editions.csv").write_text(made.row, "utf-8")
    importer.import_folder(pipeline.ledger, folder)
    assert source.stored_edition(pipeline.statistics, 2021) == made.draft.stored
    seen = edition.view(pipeline, 2021, now=EARLY)
    assert seen.carried is not None
    assert "people" not in seen.carried.facts
    row = edition.change(
        pipeline, 2021, given={"facts.people": ""}, writes=False, person="Ann", now=EARLY
    )
    assert "people" not in row
    assert "people" in source.stored_edition(pipeline.statistics, 2021).facts


def test_facts_are_the_old_years_until_somebody_names_or_changes_them(pipeline: Pipeline) -> None:
    def left() -> list[str]:
        seen = edition.view(pipeline, 2021, now=EARLY).carried
        assert seen is not None
        assert seen.year == 2020
        return sorted(seen.facts)

    def checked() -> bool:
        found = readiness.findings(pipeline, 2021, now=EARLY)
        return any("the facts of 2020, which this edition" in one.found for one in found)

    make(pipeline, given={"facts.courses": "118"})
    assert left() == ["delegate_authorities", "delegates", "more_courses", "people"]
    assert checked()
    change(pipeline, {"facts.people": "1400", "facts.delegates": "190"})
    assert left() == ["delegate_authorities", "more_courses"]
    with pipeline.ledger.write() as connection:  # as an import would
        connection.execute(
            sa.update(schema.editions)
            .where(schema.editions.c.year == 2021)
            .values(facts={"more_courses": 50, "delegates": 190})
        )
    assert left() == []
    assert not checked()
    assert edition.view(pipeline, 2020, now=EARLY).carried is None


def change(pipeline: Pipeline, given: dict[str, str], year: int = 2021) -> None:
    edition.change(pipeline, year, given=given, writes=True, person="Bob", now=EARLY)


def test_an_edition_can_be_changed_and_a_run_keeps_what_it_has(pipeline: Pipeline) -> None:
    opened(pipeline)
    seen = edition.view(pipeline, 2020, now=EARLY)
    assert (seen.phase, list(seen.differs)) == (Phase.OPEN, [])
    change(pipeline, {"signatory": "Ann Other", "facts.people": "9"}, 2020)
    assert told(pipeline)[-1][0] == "Bob"
    assert source.stored_edition(pipeline.statistics, 2020).signatory == "Ann Other"
    with pipeline.template.open("ab") as file:
        file.write(b"\0")
    (pipeline.wording / "message.txt").write_text("Subject: Another\n\nWords.\n")
    seen = edition.view(pipeline, 2020, now=EARLY)
    assert seen.run is not None
    assert list(seen.differs) == ["signatory", "facts", "template", "wording"]
    with pytest.raises(Refused, match="no edition of 2030"):
        change(pipeline, {"signatory": "Nobody"}, 2030)


def test_a_year_with_half_a_folder_can_still_be_looked_at(pipeline: Pipeline) -> None:
    (own_folder(pipeline) / "message.txt").unlink()
    seen = edition.view(pipeline, 2020, now=EARLY + timedelta(days=1))
    assert seen.stationery is None
    assert "lacks message.txt" in (seen.stationery_fault or "")
