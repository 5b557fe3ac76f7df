"""What is enclosed: frozen with the letter, made with it, approved with it; on both databases."""

import email
import email.policy
import hashlib
import io
import sqlite3
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from pipeline import audit, edition, forgetting, remaking, run, schema, source, workbook
from pipeline.archive import Archive, enclosure_name, letter_name
from pipeline.audit import Condition, Kind
from pipeline.database import Database
from pipeline.errors import LetterFault, Unavailable
from pipeline.ledger import approvals, enclosures, files, frozen, letters, messages, runs
from pipeline.ledger.enclosures import Enclosed
from pipeline.ledger.letters import Faulted, FrozenLetter, Prepared
from pipeline.ledger.messages import Request
from pipeline.ledger.runs import Run
from pipeline.letter import CASES, digest_of
from pipeline.prepare import Job, workbooks
from pipeline.remaking import Outcome
from pipeline.run import Pipeline
from tests.integration.test_edition import Furnish, Silence, furnish, opened  # noqa: F401
from tests.integration.test_ledger import NOW

STEVENAGE, WATFORD = "E07000243", "E07000103"
FIRST, LAST = date(2019, 4, 1), date(2020, 3, 31)
SILENCE = Silence()


@dataclass(frozen=True, slots=True)
class Filing:
    """Makes the workbooks, and for a PDF the letter's fields: that one is tested elsewhere."""

    archive: Archive
    made: list[str] = field(default_factory=list)

    def each(self, _job: Job, each: Iterable[FrozenLetter]) -> Iterator[Prepared | Faulted]:
        for one in each:
            self.made.append(one.authority_code)
            try:
                books = workbooks(one)
            except LetterFault as fault:
                yield Faulted(letter_id=one.id, reason=str(fault))
                continue
            about = (one.year, one.authority_code, one.authority_name)
            pdf = f"%PDF-1.7 {one.fields}".encode()
            digest = hashlib.sha256(pdf).hexdigest()
            self.archive.put(letter_name(*about, digest), pdf)
            enclosed = []
            for kind, book in books.items():
                sha256 = hashlib.sha256(book).hexdigest()
                file = enclosure_name(*about, kind, sha256)
                self.archive.put(file, book)
                enclosed.append(Enclosed(kind=kind, file=file, sha256=sha256))
            yield Prepared(
                letter_id=one.id,
                pdf=letter_name(*about, digest),
                pdf_sha256=digest,
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
    prepare(pipeline, found)
    return found


def prepare(pipeline: Pipeline, found: Run) -> list[str]:
    """Which letters were made."""
    engine = Filing(pipeline.archive)
    run.prepare(pipeline, engine, found, progress=SILENCE)
    return engine.made


def ids(db: Database, found: Run) -> dict[str, int]:
    table = schema.letters
    with db.read() as connection:
        return {
            row.authority_code: row.id
            for row in connection.execute(sa.select(table).where(table.c.run_id == found.id))
        }


def decided(db: Database, code: str) -> list[str]:
    d = schema.decisions
    with db.read() as connection:
        return sorted(
            connection.scalars(
                sa.select(d.c.case_reference).where(
                    d.c.authority_code == code, d.c.decided_on.between(FIRST, LAST)
                )
            )
        )


def change(db: Database, letter: int, kind: str, **values: Any) -> None:
    """Somebody changes the ledger behind the program's back."""
    e = schema.enclosures
    with db.write() as connection:
        done = connection.execute(
            sa.update(e).where(e.c.letter_id == letter, e.c.kind == kind).values(**values)
        )
        assert done.rowcount == 1


def frozen_cases(db: Database, letter: int, kind: str) -> list[list[Any]]:
    with db.read() as connection:
        return [list(one) for one in enclosures.cases(connection, [letter])[letter][kind].rows]


def mails(pipeline: Pipeline) -> dict[str, EmailMessage]:
    """The captured mail, by whose letter it is and whether it is to the chief or a copy."""
    found: dict[str, EmailMessage] = {}
    for path in (pipeline.outbox.maildir / "new").iterdir():
        mail = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
        assert isinstance(mail, EmailMessage)
        found[f"{mail['Delivered-To']} {mail['Message-ID']}"] = mail
    return found


def books_of(mail: EmailMessage) -> dict[str, bytes]:
    _, *books = mail.iter_attachments()
    return {str(one.get_filename()): one.get_content() for one in books}


def test_the_periods_cases_are_frozen_with_each_letter(made: Run, db: Database) -> None:
    e = schema.enclosures
    with db.read() as connection:
        rows = connection.execute(sa.select(e).order_by(e.c.id)).all()
    known = ids(db, made)
    by = {(row.letter_id, row.kind): row.cases for row in rows}
    assert set(by) == {(known[code], kind) for code in (STEVENAGE, WATFORD) for kind in CASES}
    cases = by[known[STEVENAGE], "decisions"]
    assert sorted(one[0] for one in cases) == decided(db, STEVENAGE)
    assert {one[-1] for one in cases} == {STEVENAGE}
    assert all(date.fromisoformat(one[2]) <= LAST for one in cases)
    assert {type(one[5]) for one in cases} == {bool}
    assert [one.kind for one in enclosures.of(db, known[STEVENAGE])] == list(CASES)
    assert files.count(db, 2020).enclosures == 4
    assert len(list(files.enclosures(db, 2020))) == 4


def test_whoever_gets_a_letter_gets_this_authoritys_cases_and_again_the_same(
    pipeline: Pipeline, made: Run, db: Database
) -> None:
    result = run.sent_run(pipeline, made, progress=SILENCE)
    assert result.is_finished
    sent = mails(pipeline)
    assert len(sent) == 4
    for about, mail in sent.items():
        code, name = (STEVENAGE, "Stevenage") if "stevenage" in about else (WATFORD, "Watford")
        books = books_of(mail)
        first, second = enclosures.of(db, ids(db, made)[code])
        assert list(books) == [
            f"Decisions 2019-20 - {name} Borough Council.xlsx",
            f"Compliance 2019-20 - {name} Borough Council.xlsx",
        ]
        assert [hashlib.sha256(one).hexdigest() for one in books.values()] == [
            first.sha256,
            second.sha256,
        ]
        rows = workbook.rows("decisions", next(iter(books.values())))
        assert sorted(str(row[0]) for row in rows) == decided(db, code)
        words = mail.get_body(("plain",))
        assert words is not None
        assert "Attached as well: workbooks that list each case" in words.get_content()
    asked = Request(reason="lost", person="Ann")
    letter = ids(db, made)[STEVENAGE]
    again = messages.resend(db, letter, pipeline.outbox.sender, asked, now=datetime.now(UTC))
    run.send_only(pipeline, made, [again.id], progress=SILENCE)
    more = [one for about, one in mails(pipeline).items() if about not in sent]
    assert len(more) == 2
    before = next(books_of(one) for about, one in sent.items() if "stevenage" in about)
    assert [books_of(one) for one in more] == [before, before]


def letter_of(db: Database, letter: int) -> Any:
    with db.read() as connection:
        return connection.execute(
            sa.select(schema.letters).where(schema.letters.c.id == letter)
        ).one()


def test_another_authoritys_case_that_was_put_among_the_frozen_ones_is_found(
    pipeline: Pipeline, db: Database
) -> None:
    found = opened(pipeline)
    known = ids(db, found)
    [stolen, *_] = frozen_cases(db, known[WATFORD], "decisions")
    own = frozen_cases(db, known[STEVENAGE], "decisions")
    change(db, known[STEVENAGE], "decisions", cases=[*own, stolen])
    prepare(pipeline, found)
    letter = letter_of(db, known[STEVENAGE])
    assert "cases of another authority (E07000103)" in letter.fault
    assert (letter.pdf, enclosures.of(db, letter.id)) == (None, [])
    assert not run.sent_run(pipeline, found, progress=SILENCE).is_finished
    assert {"watford" in about for about in mails(pipeline)} == {True}


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        ("upheld", "The letter counts 1 (upheld.part)"),
        ("referred_back", "are not those that were frozen with the letter"),
    ],
)
def test_a_case_that_was_given_to_it_is_found_too(
    pipeline: Pipeline, db: Database, outcome: str, said: str
) -> None:
    found = opened(pipeline)
    letter = ids(db, found)[STEVENAGE]
    more = ["99 999 999", None, "2019-06-01", "Bees", outcome, False, STEVENAGE]
    change(db, letter, "decisions", cases=[*frozen_cases(db, letter, "decisions"), more])
    prepare(pipeline, found)
    assert said in letter_of(db, letter).fault
    assert enclosures.of(db, letter) == []


def test_another_file_in_the_archive_is_never_attached(
    pipeline: Pipeline, made: Run, db: Database
) -> None:
    known = ids(db, made)
    ours, theirs = (enclosures.of(db, known[code])[0] for code in (STEVENAGE, WATFORD))
    place = Path(pipeline.archive.location(ours.file))
    place.chmod(0o600)
    place.write_bytes(pipeline.archive.get(theirs.file, theirs.sha256))
    with pytest.raises(Unavailable, match=ours.file):
        run.sent_run(pipeline, made, progress=SILENCE)
    assert {"watford" in about for about in mails(pipeline)} == {True}
    found = list(audit.examine(db, pipeline.archive, 2020, progress=SILENCE))
    [altered] = [one for one in found if one.condition is not Condition.SOUND]
    assert (altered.kind, altered.condition) == (Kind.ENCLOSURE, Condition.ALTERED)
    assert (altered.name, altered.authority) == (ours.file, STEVENAGE)


@pytest.mark.parametrize("lost", [["compliance"], ["decisions", "compliance"]])
def test_a_letter_is_not_sent_without_what_belongs_to_it(
    pipeline: Pipeline, made: Run, db: Database, lost: list[str]
) -> None:
    e, letter = schema.enclosures, ids(db, made)[STEVENAGE]
    if len(lost) > 1:
        with db.write() as connection:
            connection.execute(sa.delete(e).where(e.c.letter_id == letter))
    else:
        change(db, letter, *lost, file=None, sha256=None)
    result = run.sent_run(pipeline, made, progress=SILENCE)
    assert result.summary.needs_a_person
    assert {"watford" in about for about in mails(pipeline)} == {True}
    with db.read() as connection:
        said = connection.scalars(
            sa.select(schema.attempts.c.reply)
            .join(schema.deliveries, schema.deliveries.c.id == schema.attempts.c.delivery_id)
            .where(schema.deliveries.c.letter_id == letter)
        ).all()
    assert ["What is to be enclosed is not whole" in str(one) for one in said] == [True, True]


def test_another_workbook_is_not_what_was_approved(made: Run, db: Database) -> None:
    approvals.approve(db, made, person="Ann", login="ann", now=NOW)
    assert approvals.approvers(db, made) == ["Ann"]
    change(db, ids(db, made)[STEVENAGE], "compliance", sha256="6" * 64)
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
            .values(category="=Something else")
        )
    renewed = run.refresh(pipeline, made, person="tester", keep=True, progress=SILENCE)
    [changed] = renewed.changes
    assert changed.authority == STEVENAGE
    assert [one.what for one in changed.differences] == ["enclosures"]
    assert renewed.kept == 1
    new = runs.find_run(db, 2020)
    assert new is not None
    waiting = [one.authority_code for one in letters.unprepared(db, new.id)]
    assert waiting == [STEVENAGE]
    assert enclosures.of(db, ids(db, new)[WATFORD]) == before[WATFORD]
    assert run.refresh(pipeline, new, person="t", keep=False, progress=SILENCE).is_empty
    assert prepare(pipeline, new) == [STEVENAGE]
    now = enclosures.of(db, ids(db, new)[STEVENAGE])
    assert now[0] != before[STEVENAGE][0]
    assert now[1] == before[STEVENAGE][1]
    book = pipeline.archive.get(now[0].file, now[0].sha256)
    assert "=Something else" in {row[3] for row in workbook.rows("decisions", book)}


def test_what_is_made_again_is_the_same_or_it_is_said_what_differs(
    pipeline: Pipeline, made: Run, db: Database, tmp_path: Path
) -> None:
    def again(folder: str) -> dict[str, remaking.Remade]:
        target = Archive(str(tmp_path / folder))
        remade = remaking.remake(pipeline, Filing(target), made, target, progress=SILENCE)
        return {one.authority: one for one in remade}

    assert {one.outcome for one in again("first").values()} == {Outcome.SAME}
    letter = ids(db, made)[STEVENAGE]
    cases = frozen_cases(db, letter, "decisions")
    bees = [[*cases[0][:3], "Bees", *cases[0][4:]], *cases[1:]]
    change(db, letter, "decisions", cases=bees, cases_sha256=digest_of(bees))
    other = again("second")
    assert other[WATFORD].outcome is Outcome.SAME
    assert other[STEVENAGE].outcome is Outcome.OTHER_WORDS
    assert str(cases[0][0]) in other[STEVENAGE].before
    assert "Bees" in other[STEVENAGE].after
    assert "Bees" not in other[STEVENAGE].before
    assert other[STEVENAGE].archived == enclosures.of(db, letter)[0].file
    change(db, letter, "decisions", cases=cases[1:])
    assert again("third")[STEVENAGE].outcome is Outcome.NOT_MADE


def test_other_bytes_that_show_the_same_are_the_same_words(
    pipeline: Pipeline, made: Run, db: Database, tmp_path: Path
) -> None:
    """As of another version of what writes workbooks."""
    letter = ids(db, made)[STEVENAGE]
    [first, _] = enclosures.of(db, letter)
    packed = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(pipeline.archive.get(first.file, first.sha256))) as book,
        zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as other,
    ):
        for name in book.namelist():
            other.writestr(name, book.read(name))
    sha256 = hashlib.sha256(packed.getvalue()).hexdigest()
    pipeline.archive.put("2020/enclosures/other.xlsx", packed.getvalue())
    change(db, letter, "decisions", file="2020/enclosures/other.xlsx", sha256=sha256)
    target = Archive(str(tmp_path / "again"))
    [one] = remaking.remake(
        pipeline, Filing(target), made, target, codes=[STEVENAGE], progress=SILENCE
    )
    assert (one.outcome, one.archived) == (Outcome.SAME_WORDS, "2020/enclosures/other.xlsx")
    assert one.made == first.file


def test_what_is_enclosed_is_forgotten_with_its_letter(
    pipeline: Pipeline, made: Run, db: Database
) -> None:
    run.sent_run(pipeline, made, progress=SILENCE)
    about = (2020, STEVENAGE, "Stevenage Borough Council")
    # What a process has left that was killed between writing and recording.
    pipeline.archive.put(enclosure_name(*about, "decisions", "7" * 64), b"left over")
    done = forgetting.forget(
        pipeline, 2021, keep=1, statistics=False, person="Ann", now=NOW.replace(year=2028),
        progress=SILENCE,
    )  # fmt: skip
    assert done.left == []
    assert list(pipeline.archive.names("2020")) == []
    with db.read() as connection:
        assert set(map(len, connection.scalars(sa.select(schema.enclosures.c.cases)))) == {0}


def test_an_edition_without_any_encloses_nothing_and_the_next_one_takes_it_over(
    furnish: Furnish,  # noqa: F811 - the fixture
    db: Database,
) -> None:
    pipeline = furnish()
    found = opened(pipeline)
    assert files.count(db, 2020).enclosures == 0
    with db.read() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(schema.enclosures)) == 0
    [one, _] = letters.unprepared(db, found.id)
    assert (one.cases, one.fields["enclosures"]) == ({}, "")
    edition.change(
        pipeline, 2020, given={"enclosures": '["compliance"]'}, writes=True, person="t", now=NOW
    )
    edition.make(pipeline, 2021, made_from=2020, given={}, writes=True, person="t", now=NOW)
    assert source.stored_edition(pipeline.statistics, 2021).enclosures == ["compliance"]


def test_a_run_of_before_there_were_enclosures_is_not_changed_by_there_being_none(
    furnish: Furnish,  # noqa: F811 - the fixture
    db: Database,
) -> None:
    pipeline = furnish()
    found = opened(pipeline)
    older = {name: value for name, value in found.edition.items() if name != "enclosures"}
    with db.write() as connection:
        connection.execute(sa.update(schema.runs).values(edition=older))
    old = runs.find_run(db, 2020)
    assert old is not None
    assert run.refresh(pipeline, old, person="t", keep=False, progress=SILENCE).is_empty


def site_of(file: Path, *left_out: str) -> Database:
    """A site's own statistics, which give everything as text, and leave columns out."""
    with closing(sqlite3.connect(file)) as site:
        for table in schema.STATISTICS:
            columns = [one.name for one in table.c if one.name not in left_out]
            site.execute(f"CREATE TABLE {table.name} ({', '.join(columns)})")
        site.execute(
            "INSERT INTO editions (year, letter_date, published_on, period_start, period_end,"
            " signatory, signatory_posts) VALUES (2020, '2020-07-22', '2020-07-29', '2019-04-01',"
            " '2020-03-31', 'Michael King', '[\"Ombudsman\"]')"
        )
        site.execute("INSERT INTO authorities (code, name, kind) VALUES ('A', 'A', 'district')")
        site.commit()
    return Database(f"sqlite:///{file}", read_only=True)


def test_a_site_whose_editions_have_no_such_column_encloses_nothing(tmp_path: Path) -> None:
    statistics = site_of(tmp_path / "site.db", "enclosures")
    with closing(statistics):
        found = source.stored_edition(statistics, 2020)
    assert found.enclosures is None
    assert found.in_full().enclosures == ()


def test_values_that_a_view_gives_in_its_own_way_are_read_as_what_they_are(tmp_path: Path) -> None:
    file = tmp_path / "site.db"
    statistics = site_of(file)
    with closing(sqlite3.connect(file)) as site:
        site.execute("UPDATE editions SET enclosures = '[\"decisions\"]'")
        site.executemany(
            "INSERT INTO decisions (case_reference, authority_code, received_on, decided_on,"
            " category, outcome, remedied_early) VALUES (?, 'A', ?, ?, ?, 'upheld', ?)",
            [
                ("0019", "2019-05-01 10:30", "2019-06-01T09:00", None, "0"),
                (20, None, "2019-06-02", "Bees", 1),
                ("21", "31/12/2019", "2019-06-03", 7, None),
            ],
        )
        site.commit()
    with closing(statistics), source.pull(statistics, 2020) as pulled:
        [record] = pulled.records
    assert record.cases == {
        "decisions": [
            ["0019", "2019-05-01", "2019-06-01", None, "upheld", False, "A"],
            ["20", None, "2019-06-02", "Bees", "upheld", True, "A"],
            # No day: that letter's fault, and no other's.
            ["21", "31/12/2019", "2019-06-03", "7", "upheld", False, "A"],
        ]
    }


def test_many_letters_are_handed_out_each_with_its_own_cases(made: Run, db: Database) -> None:
    kept = {one.letter.authority_code: one for one in frozen.kept(db, made, made.opened_at)}
    for code, one in kept.items():
        assert {case[-1] for cases in one.letter.cases.values() for case in cases.rows} == {code}
        assert [each.kind for each in one.enclosed] == list(CASES)
