"""The archive proved against the ledger: what is altered, lost or left over, and no more."""

import hashlib
import shutil
import tracemalloc
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from pipeline import audit, schema
from pipeline.archive import Archive, letter_name, message_name
from pipeline.audit import Condition, Finding, Kind
from pipeline.database import Database
from pipeline.errors import Unavailable
from pipeline.ledger import files, holds, letters, messages, renewal, runs
from pipeline.ledger.letters import Prepared
from pipeline.ledger.runs import Opening, Run
from pipeline.message import Recipient, Wording, compose_message
from pipeline.run import template_name
from tests.integration.test_ledger import CAPTURE, NOW, OPENING, letter

TEMPLATE = b"PK a template"
OPENED = replace(OPENING, template_sha256=hashlib.sha256(TEMPLATE).hexdigest())


class Watched:
    """Counts what is reported."""

    def __init__(self) -> None:
        self.stages: list[tuple[str, int]] = []
        self.done = 0
        self.ended = 0

    def begin(self, stage: str, total: int) -> None:
        self.stages.append((stage, total))

    def advance(self) -> None:
        self.done += 1

    def end(self) -> None:
        self.ended += 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Office:
    """A ledger and its archive."""

    db: Database
    archive: Archive
    folder: Path

    def open(self, *codes: str, opening: Opening = OPENED) -> Run:
        runs.open_run(self.db, opening, map(letter, codes), person="tester", now=NOW)
        self.archive.put(template_name(opening.template_sha256), TEMPLATE)
        run = runs.find_run(self.db, opening.year)
        assert run is not None
        return run

    def make(self, run: Run) -> None:
        """Every letter's file, archived and recorded."""
        for one in letters.unprepared(self.db, run.id):
            pdf = f"%PDF {one.year} {one.authority_code}".encode()
            sha256 = hashlib.sha256(pdf).hexdigest()
            name = letter_name(one.year, one.authority_code, one.authority_name, sha256)
            self.archive.put(name, pdf)
            made = Prepared(
                letter_id=one.id, pdf=name, pdf_sha256=sha256, docx_sha256="2" * 64, pages=1
            )
            assert letters.record(self.db, run.id, made, now=NOW)

    def freeze(self, run: Run) -> None:
        """Every message's bytes, with the PDF attached, archived and recorded."""
        messages.plan(self.db, run.id, CAPTURE, now=NOW)
        m, table = schema.messages, schema.letters
        with self.db.read() as connection:
            ids = connection.scalars(
                sa.select(m.c.id)
                .join(table, table.c.id == m.c.letter_id)
                .where(table.c.run_id == run.id)
            ).all()
        for id_ in ids:
            one = messages.read(self.db, id_)
            data = compose_message(
                wording=Wording(subject="s", text="t", html="<p>h</p>"),
                sender="letters@ombudsman.example",
                reply_to=None,
                recipients=[Recipient(address="c@a.example", name="", role="chief", kind="to")],
                pdf=self.archive.get(one.pdf, one.pdf_sha256),
                pdf_filename="letter.pdf",
                message_id=one.message_id,
                date=NOW,
            )
            sha256 = hashlib.sha256(data).hexdigest()
            name = message_name(one.year, one.authority_code, one.authority_name, sha256)
            self.archive.put(name, data)
            assert messages.freeze(self.db, one, dated=NOW, eml=name, eml_sha256=sha256)

    def examine(self, year: int | None = None) -> list[Finding]:
        return list(audit.examine(self.db, self.archive, year, progress=Watched()))

    def path(self, kind: Kind, authority: str | None = None) -> Path:
        [name] = [
            one.name
            for one in self.examine()
            if one.kind is kind and one.authority in {authority, None}
        ]
        return self.folder / name


@pytest.fixture
def office(db: Database, tmp_path: Path) -> Office:
    return Office(db=db, archive=Archive(str(tmp_path / "archive")), folder=tmp_path / "archive")


@pytest.fixture
def sent(office: Office) -> Office:
    """Two letters, made and frozen into messages: five files."""
    run = office.open("A", "B")
    office.make(run)
    office.freeze(run)
    return office


def wrong(findings: list[Finding]) -> list[tuple[Kind, Condition, str | None]]:
    return [
        (one.kind, one.condition, one.authority)
        for one in findings
        if one.condition is not Condition.SOUND
    ]


def test_what_is_as_it_was_is_sound(sent: Office) -> None:
    findings = sent.examine()
    assert Counter(one.kind for one in findings) == {
        Kind.TEMPLATE: 1,
        Kind.LETTER: 2,
        Kind.MESSAGE: 2,
    }
    assert wrong(findings) == []
    assert {one.authority for one in findings if one.kind is Kind.LETTER} == {"A", "B"}
    watched = Watched()
    list(audit.examine(sent.db, sent.archive, None, progress=watched))
    assert (watched.stages, watched.done, watched.ended) == ([("Verifying", 5)], 5, 1)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def into_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def into_a_link_to_itself(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


TAMPERED: list[tuple[Callable[[Path], None], Condition]] = [
    (flip, Condition.ALTERED),
    (truncate, Condition.ALTERED),
    (empty, Condition.ALTERED),
    (Path.unlink, Condition.MISSING),
    (into_a_folder, Condition.UNREADABLE),
    (into_a_link_to_itself, Condition.UNREADABLE),
]


@pytest.mark.parametrize(("tamper", "condition"), TAMPERED)
@pytest.mark.parametrize("kind", [Kind.LETTER, Kind.MESSAGE, Kind.TEMPLATE])
def test_what_is_not_as_it_was_is_found(
    sent: Office, kind: Kind, tamper: Callable[[Path], None], condition: Condition
) -> None:
    authority = None if kind is Kind.TEMPLATE else "B"
    path = sent.path(kind, authority)
    tamper(path)
    findings = sent.examine()
    assert wrong(findings) == [(kind, condition, authority)]
    [found] = [one for one in findings if one.needs_a_person]
    assert found.place == str(path)
    assert str(path) in str(found.said)
    assert found.year == 2020


def test_a_lost_pdf_is_found_again_in_a_sound_message(sent: Office) -> None:
    sent.path(Kind.LETTER, "A").unlink()
    message = sent.path(Kind.MESSAGE, "A")
    [lost] = [one for one in sent.examine() if one.needs_a_person]
    assert lost.carrier == str(message)
    flip(message)
    lost, altered = [one for one in sent.examine() if one.needs_a_person]
    assert (lost.carrier, altered.kind) == (None, Kind.MESSAGE)


def test_one_file_for_another_is_altered(sent: Office) -> None:
    """Each is whole, and is the wrong one."""
    one, other = sent.path(Kind.LETTER, "A"), sent.path(Kind.LETTER, "B")
    shutil.copy(one, other)
    assert wrong(sent.examine()) == [(Kind.LETTER, Condition.ALTERED, "B")]


def test_what_the_ledger_does_not_name_is_told_and_left_alone(sent: Office) -> None:
    extra = [
        sent.folder / "2020" / ".0a1b2c.part",
        sent.folder / "2020" / "messages" / "old.eml",
        sent.folder / "2020" / "note \udce9.txt",
        sent.folder / "templates" / "letter.docx",
        sent.folder / "elsewhere" / "deep" / "down.pdf",
    ]
    for path in extra:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("left over")
    findings = sent.examine()
    assert not any(one.needs_a_person for one in findings)
    unnamed = [one for one in findings if one.condition is Condition.NOT_NAMED]
    shown = {str(path).replace("\udce9", "\ufffd") for path in extra}
    assert {one.place for one in unnamed} == shown
    assert all(path.exists() for path in extra)
    of_the_year = [one.place for one in sent.examine(2020) if one.kind is Kind.UNNAMED]
    assert set(of_the_year) == {one for one in shown if "/archive/2020/" in one}
    assert len(of_the_year) == 3


def test_what_is_recorded_meanwhile_is_not_left_over(sent: Office) -> None:
    """A run that goes on archives first and records then."""
    findings = audit.examine(sent.db, sent.archive, None, progress=Watched())
    first = [next(findings) for _ in range(5)]
    later = sent.open("A", opening=replace(OPENED, year=2021))
    sent.make(later)
    sent.freeze(later)
    assert wrong([*first, *findings]) == []


def test_one_year_is_looked_at_alone(sent: Office) -> None:
    next_year = sent.open("A", opening=replace(OPENED, year=2021))
    sent.make(next_year)
    sent.path(Kind.MESSAGE, "B").unlink()
    assert wrong(sent.examine(2021)) == []
    assert Counter(one.kind for one in sent.examine(2021)) == {Kind.TEMPLATE: 1, Kind.LETTER: 1}
    assert wrong(sent.examine(2020)) == [(Kind.MESSAGE, Condition.MISSING, "B")]
    assert files.years(sent.db) == [2020, 2021]


def test_what_a_cancelled_run_froze_is_still_looked_at(sent: Office) -> None:
    run = runs.find_run(sent.db, 2020)
    assert run is not None
    holds.cancel(sent.db, run, because="wrong figures", person="Ann", now=NOW)
    assert wrong(sent.examine()) == []
    assert len(sent.examine()) == 5
    flip(sent.path(Kind.LETTER, "A"))
    assert wrong(sent.examine(2020)) == [(Kind.LETTER, Condition.ALTERED, "A")]


def test_a_file_that_a_refresh_kept_is_looked_at_once(sent: Office) -> None:
    run = runs.find_run(sent.db, 2020)
    assert run is not None
    changed = replace(letter("A"), fields={"authority": "A Council", "salutation": "Ms New"})
    renewal.renew(sent.db, run, OPENED, [changed, letter("B")], person="Ann", now=NOW, keep=True)
    findings = sent.examine()
    # A's old letter, and B's, which belongs to both runs
    assert [one.authority for one in findings if one.kind is Kind.LETTER] == ["A", "B"]
    assert wrong(findings) == []
    assert files.count(sent.db).letters == 2
    flip(sent.path(Kind.LETTER, "B"))
    assert wrong(sent.examine()) == [(Kind.LETTER, Condition.ALTERED, "B")]


def test_an_archive_that_is_not_there_is_one_fault_and_not_many(sent: Office) -> None:
    shutil.rmtree(sent.folder)
    with pytest.raises(Unavailable, match=r"There is no archive at .*archive.*backup"):
        sent.examine()


def test_nothing_is_asked_of_an_archive_that_nothing_was_put_in(office: Office) -> None:
    watched = Watched()
    assert list(audit.examine(office.db, office.archive, None, progress=watched)) == []
    assert office.examine(2020) == []
    assert watched.stages == []


def test_an_archive_that_is_no_folder(db: Database) -> None:
    office = Office(
        db=db, archive=Archive(f"memory://{uuid.uuid4()}/archive"), folder=Path("/nowhere")
    )
    run = office.open("A", "B")
    office.make(run)
    office.freeze(run)
    assert wrong(office.examine()) == []
    office.archive.put("2020/more.pdf", b"left over")
    office.archive.put("elsewhere/more.pdf", b"left over")
    assert {one.name for one in office.examine() if one.kind is Kind.UNNAMED} == {
        "2020/more.pdf",
        "elsewhere/more.pdf",
    }
    assert {one.name for one in office.examine(2020) if one.kind is Kind.UNNAMED} == {
        "2020/more.pdf"
    }


def test_many_files_are_looked_at_without_keeping_them(db: Database) -> None:
    """More than one page of the ledger; what is kept of each file is a few bytes."""
    archive = Archive(f"memory://{uuid.uuid4()}/archive")
    office = Office(db=db, archive=archive, folder=Path("/nowhere"))
    run = office.open(*(f"E{number:05}" for number in range(1201)))
    big = b"x" * 20_000
    rows = []
    with db.read() as connection:
        table = schema.letters
        for row in connection.execute(sa.select(table.c.id, table.c.authority_code)):
            pdf = row.authority_code.encode() + big
            sha256 = hashlib.sha256(pdf).hexdigest()
            rows.append({"_id": row.id, "pdf": f"2020/{row.authority_code}.pdf", "sha": sha256})
            archive.put(f"2020/{row.authority_code}.pdf", pdf)
    with db.write() as connection:
        connection.execute(
            sa.update(table)
            .where(table.c.id == sa.bindparam("_id"))
            .values(
                pdf=sa.bindparam("pdf"),
                pdf_sha256=sa.bindparam("sha"),
                docx_sha256="2" * 64,
                pages=1,
                prepared_at=NOW + timedelta(hours=1),
            ),
            rows,
        )
    assert files.count(db).letters == 1201
    tracemalloc.start()
    found = Counter(one.condition for one in audit.examine(db, archive, None, progress=Watched()))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found == {Condition.SOUND: 1202}
    assert run.year == 2020
    assert most < 1201 * len(big) // 4
