"""Old years are forgotten: nobody in any byte, every count as it was, and a crash is made good."""

import hashlib
import json
import shutil
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from pipeline import (
    audit,
    database,
    evidence,
    forgetting,
    home,
    importer,
    migrate,
    remaking,
    run,
    schema,
)
from pipeline.archive import Archive, letter_name, message_name
from pipeline.audit import Condition, Kind
from pipeline.database import Database
from pipeline.delivery import Accepted, Lost, Mode, Rejected, Reply, State
from pipeline.dispatch import Outbox
from pipeline.display.happened import happened
from pipeline.display.reports import changes
from pipeline.engines.local import LocalEngine
from pipeline.envelope import ReturnAddress
from pipeline.errors import LettersError, Misconfigured, Refused, Unavailable
from pipeline.evidence import Reading, Sources
from pipeline.forgetting import Forgotten
from pipeline.highwater import MarkFile
from pipeline.ledger import (
    account,
    approvals,
    deliveries,
    events,
    holds,
    letters,
    messages,
    reissues,
    reports,
    runs,
    story,
)
from pipeline.ledger import counts as ledger_counts
from pipeline.ledger import forgetting as ledger_forgetting
from pipeline.ledger.deliveries import Claim
from pipeline.ledger.letters import FrozenLetter, Prepared
from pipeline.ledger.messages import Request, Sender
from pipeline.ledger.reports import Moved, Note
from pipeline.ledger.runs import Run
from pipeline.letter import Letter
from pipeline.mailbox import Maildir
from pipeline.prepare import Job
from pipeline.reconciliation import reconcile
from pipeline.report import Kind as ReportKind
from pipeline.run import Pipeline
from pipeline.schema import Event, Returned
from pipeline.settings import Settings
from tests.acceptance.site import part_of_the_sample
from tests.integration.test_audit import Office, Watched
from tests.integration.test_evidence import Delivery, reported
from tests.integration.test_ledger import LEASE, letter, opened, prepare_all
from tests.postgres import PostgresServer

TEMPLATES = Path(__file__).resolve().parent.parent.parent / "templates"
CODES = ("E07000243", "E07000103", "E06000001", "E06000002", "E06000003", "E06000004")
STEVENAGE, WATFORD, HARTLEPOOL, MIDDLESBROUGH, REISSUED, _ = CODES
LETTERS = 2 * len(CODES) + 1
BEFORE, KEEP = 2100, 7
LATER = datetime(2200, 3, 3, 12, tzinfo=UTC)
OWN = ReturnAddress(mailbox="bounces@ombudsman.example", keys=(b"a key that only the tests have",))
LIVE = Sender(
    address="letters@ombudsman.example",
    mode=Mode.LIVE,
    mailbox="Ombudsman <letters@ombudsman.example>",
    envelope=OWN.mailbox,
    returns=lambda: OWN,
)
BEFORE_HER = "Gwendolen Fairweather"
WORDS = ("Mrs Partridge rang", "Ask Sorcha first", "partridge-12", "Dear Ombudsman", "Niamh wrote")
"""What people have typed in, and written."""


def now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Scribe:
    """An engine whose letters are a few words, with the names that are in them."""

    archive: Archive

    def each(self, job: Job, letters: Iterable[FrozenLetter]) -> Iterator[Prepared]:  # noqa: ARG002
        for one in letters:
            said = (*one.fields["address_lines"], *one.fields["remarks"])
            pdf = "\n".join(["%PDF", one.authority_name, *said]).encode()
            sha256 = hashlib.sha256(pdf).hexdigest()
            name = letter_name(one.year, one.authority_code, one.authority_name, sha256)
            self.archive.put(name, pdf)
            yield Prepared(
                letter_id=one.id, pdf=name, pdf_sha256=sha256, docx_sha256="2" * 64, pages=3
            )


@dataclass(kw_only=True)
class Past:
    """A year of the sample long ago: rehearsed, sent, sent again, bounced, answered, and over."""

    pipeline: Pipeline
    folder: Path
    people: set[str] = field(default_factory=set)
    url: str = ""

    @property
    def db(self) -> Database:
        return self.pipeline.ledger

    @property
    def archive(self) -> Path:
        return self.folder / "archive"

    @property
    def run(self) -> Run:
        found = runs.find_run(self.db, 2020)
        assert found is not None
        return found

    def letter(self, code: str) -> Any:
        found = story.find_letter(self.db, self.run, code)
        assert found is not None
        return found

    def forget(self, before: int = BEFORE, progress: Any = None, **changed: Any) -> Forgotten:
        asked: dict[str, Any] = {"keep": KEEP, "statistics": True, "person": "Ann Other"}
        return forgetting.forget(
            self.pipeline, before, now=LATER, progress=progress or Watched(), **(asked | changed)
        )

    def look(self, before: int = BEFORE) -> forgetting.Look:
        return forgetting.look(self.pipeline, before, keep=KEEP, statistics=True, now=LATER)

    def verify(self) -> list[audit.Finding]:
        found = audit.examine(self.db, self.pipeline.archive, None, progress=Watched())
        return list(found)

    def verified(self) -> Counter[tuple[Kind, Condition]]:
        return Counter((one.kind, one.condition) for one in self.verify())

    def rows(self) -> dict[str, list[Any]]:
        """Everything on record, as text."""
        with self.db.read() as connection:
            return {
                table.name: [
                    [str(value) for value in row] for row in connection.execute(sa.select(table))
                ]
                for table in schema.metadata.sorted_tables
            }

    def found_in(self, data: bytes) -> set[str]:
        """The people, and words of people, that are in some bytes, also as JSON writes them."""
        return {
            one
            for one in (*self.people, *WORDS)
            if one.encode() in data or json.dumps(one)[1:-1].encode() in data
        }

    def bytes(self) -> bytes:
        """All that lies in the database's own files."""
        if self.db.path is not None:
            found = sorted(self.db.path.parent.glob(f"{self.db.path.name}*"))
            assert found
            return b"\0".join(file.read_bytes() for file in found)
        with self.db.engine.connect() as plain:
            connection = plain.execution_options(isolation_level="AUTOCOMMIT")
            connection.exec_driver_sql("CHECKPOINT")
            place = Path(connection.exec_driver_sql("SHOW data_directory").scalar_one())
            files = connection.exec_driver_sql(
                "SELECT pg_relation_filepath(oid) FROM pg_class WHERE relkind IN ('r', 't', 'i')"
                " AND relnamespace::regnamespace::text IN ('public', 'pg_toast')"
            ).scalars()
            return b"\0".join((place / file).read_bytes() for file in files if file)

    def files(self) -> list[str]:
        """What lies in the archive, and in the Maildir of what was captured."""
        return sorted(
            str(path.relative_to(self.folder))
            for within in ("archive", "captured")
            for path in (self.folder / within).rglob("*")
            if path.is_file()
        )

    def is_forgotten(self) -> None:
        """Nobody is left anywhere, and all is as it was begun."""
        assert self.found_in(self.bytes()) == set()
        assert self.files() == [f"archive/{run.template_name(self.run.template_sha256)}"]
        extent = self.look().extent
        assert (extent.is_empty, extent.pending, extent.interrupted) == (True, 0, False)
        conditions = {condition for _, condition in self.verified()}
        assert conditions == {Condition.SOUND, Condition.FORGOTTEN}
        assert list(reconcile(self.pipeline, None, now=now(), progress=Watched())) == []


def _people(db: Database) -> set[str]:
    o = schema.officers
    with db.read() as connection:
        rows = connection.execute(sa.select(o)).all()
    return {
        one
        for row in rows
        for one in (row.email, row.family_name, f"{row.given_name} {row.family_name}")
        if one and len(one) > 4 and not one.startswith("None")
    }


def _send_live(past: Past) -> None:
    """As if by a relay that names whom it speaks of."""
    messages.plan(past.db, past.run.id, LIVE, now=now())
    refused = False
    while True:
        claimed = deliveries.claim(
            past.db, past.run.id, Mode.LIVE, owner="worker", lease=LEASE, now=now()
        )
        if claimed is None:
            return
        _freeze(past, claimed)
        _settle(past.db, claimed, refused=not refused)
        refused = True


def _test(past: Past) -> None:
    """A test of a letter was sent, and kept on this machine: it names whom the letter is for."""
    one = past.letter(STEVENAGE)
    with past.db.write() as connection:
        events.note(
            connection,
            Event.TEST_SENT,
            at=now(),
            run_id=past.run.id,
            letter_id=one.id,
            person="Ann",
            data={"recipients": ["ann@office.example"], "outcome": "accepted", "message": "<7@t>"},
        )
    to = one.recipients[0]["address"]
    (past.folder / "captured" / "new" / "7").write_bytes(
        f"Delivered-To: ann@office.example\r\nMessage-ID: <7@t>\r\n\r\n{to}\r\n".encode()
    )


def _reissue(past: Past, engine: Scribe) -> None:
    """A letter was replaced by a new revision, for a reason that somebody wrote."""
    old = past.letter(REISSUED)
    again = Letter(
        authority_code=old.authority_code,
        authority_name=old.authority_name,
        kind=old.kind,
        fields={**old.fields, "remarks": ["Corrected."]},
        figures=old.figures,
        recipients=old.recipients,
    )
    reissues.make(
        past.db, past.run, old, again, because=WORDS[1], changed=["remarks"], moved=2, person="Ann",
        now=now(),
    )  # fmt: skip
    run.prepare(past.pipeline, engine, past.run, progress=Watched())
    approvals.approve(past.db, past.run, person="Ann", login="ann", now=now(), sender=LIVE.identity)
    run.send(past.pipeline, past.run, progress=Watched())


def _freeze(past: Past, claimed: Claim) -> None:
    one = messages.read(past.db, claimed.message_id)
    if one.eml is None:
        to = ", ".join(f"{each['name']} <{each['address']}>" for each in one.recipients)
        data = f"Message-ID: {one.message_id}\r\nTo: {to}\r\n\r\nDear {to},\r\n".encode()
        sha256 = hashlib.sha256(data).hexdigest()
        name = message_name(one.year, one.authority_code, one.authority_name, sha256)
        past.pipeline.archive.put(name, data)
        assert messages.freeze(past.db, one, dated=now(), eml=name, eml_sha256=sha256)


def _settle(db: Database, claimed: Claim, *, refused: bool) -> None:
    assert deliveries.intend(
        db, claimed, relay="127.0.0.1:25", local_port=4000, lease=LEASE, now=now()
    )
    said = f"<{claimed.recipient}>"
    outcome = (
        Rejected(reply=Reply(code=550, text=f"5.1.1 {said} unknown"))
        if refused
        else Accepted(reply=Reply(code=250, text=f"2.1.5 {said} queued as Q1"), queue_id="Q1")
    )
    assert deliveries.settle(db, claimed, outcome, now=now())


def _read_returned(past: Past) -> None:
    """A bounce, an automatic answer and a letter from somebody come back; one is looked at."""
    maildir = past.folder / "returned"
    for name in ("tmp", "new", "cur"):
        (maildir / name).mkdir(parents=True)
    d, m = schema.deliveries, schema.messages
    with past.db.read() as connection:
        row = connection.execute(
            sa.select(
                d.c.id,
                d.c.token,
                d.c.recipient,
                d.c.envelope_sender.label("sender"),
                m.c.message_id,
            )
            .join(m, m.c.id == d.c.message_id)
            .where(d.c.mode == Mode.LIVE.value, d.c.state == State.ACCEPTED.value)
            .order_by(d.c.id)
            .limit(1)
        ).one()
    bounce = Delivery(**row._mapping)
    (maildir / "new" / "1").write_bytes(reported(bounce, "failed"))
    (maildir / "new" / "2").write_bytes(
        f"From: Niamh <{bounce.recipient}>\r\nTo: {bounce.sender}\r\nSubject: Niamh wrote\r\n"
        "Message-ID: <2@council.example>\r\n\r\nDear Ombudsman,\r\n".encode()
    )
    reading = evidence.read(
        past.db,
        past.pipeline.archive,
        Sources(mailbox=lambda: Maildir(path=maildir), own=lambda: OWN),
        progress=Watched(),
    )
    assert [one.target for one in reading.moved] == [State.BOUNCED]
    [other] = reports.waiting(past.db)
    reports.mark_seen(past.db, [other.id], note="Mrs Partridge rang", person="Ann", now=now())


def _pipeline(db: Database, folder: Path) -> Pipeline:
    return Pipeline(
        ledger=db,
        statistics=db,
        archive=Archive(str(folder / "archive")),
        template=TEMPLATES / "letter.docx",
        wording=TEMPLATES,
        outbox=Outbox(
            sender=replace(LIVE, mode=Mode.CAPTURE, envelope="", returns=None),
            relay=None,
            maildir=folder / "captured",
        ),
        people=0,
    )


def _lived(db: Database, folder: Path) -> Past:
    """The year, from its data to its end."""
    past = Past(pipeline=_pipeline(db, folder), folder=folder)
    importer.import_from(
        db,
        part_of_the_sample(folder / "data", CODES),
        replace=False,
        record=lambda *_: None,
    )
    o = schema.officers
    of_watford = sa.and_(o.c.authority_code == WATFORD, o.c.role == "chief_executive")
    with db.write() as connection:
        given, family = BEFORE_HER.split()
        before = connection.execute(sa.select(o).where(of_watford)).one()
        connection.execute(
            sa.update(o).where(of_watford).values(given_name=given, family_name=family)
        )
        connection.execute(  # nobody can be written to there
            sa.update(o)
            .where(o.c.authority_code == MIDDLESBROUGH, o.c.role == "chief_executive")
            .values(email="nobody.at.all@middlesbrough")
        )
        connection.execute(
            sa.insert(schema.remarks).values(
                year=2020, authority_code=HARTLEPOOL, position=7, text="Mrs Partridge rang us."
            )
        )
    past.people = _people(db)
    engine = Scribe(past.pipeline.archive)
    first = run.open_run(past.pipeline, 2020, person="Ann", progress=Watched())
    run.prepare(past.pipeline, engine, first, progress=Watched())
    with db.write() as connection:
        connection.execute(
            sa.update(o)
            .where(of_watford)
            .values(given_name=before.given_name, family_name=before.family_name)
        )
    run.refresh(past.pipeline, first, person="Ann", keep=True, progress=Watched())
    past.people |= _people(db)
    run.prepare(past.pipeline, engine, past.run, progress=Watched())
    holds.withhold(
        db, past.run, past.letter(HARTLEPOOL).id, because=WORDS[1], person="Ann", now=now()
    )
    run.send(past.pipeline, past.run, progress=Watched())
    _test(past)
    _reissue(past, engine)
    _send_live(past)
    asked = Request(reason=WORDS[0], person="Ann", key=WORDS[2])
    assert messages.resend(db, past.letter(STEVENAGE).id, LIVE, asked, now=now()).new
    _send_live(past)
    _read_returned(past)
    holds.pause(db, past.run, because=WORDS[0], person="Ann", now=now())
    with db.write() as connection:
        connection.execute(sa.update(o).values(active_to=date(2020, 12, 31)))
    return past


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def lived(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Past, str]]:
    """The year once for each kind of database, to be copied; nobody may be connected to it."""
    folder = tmp_path_factory.mktemp("past")
    if request.param == "sqlite":
        name = f"sqlite:///{folder}/letters.db"
        db = Database(name)
        migrate.upgrade(db)
    else:
        server: PostgresServer = request.getfixturevalue("postgres")
        name = server.create(template=request.getfixturevalue("migrated"))
        db = Database(server.url(name))
    past = _lived(db, folder)
    db.close()
    yield past, name
    if request.param != "sqlite":
        server.drop(name)


@pytest.fixture
def past(lived: tuple[Past, str], request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Past]:
    whole, name = lived
    folder = tmp_path / "past"
    shutil.copytree(whole.folder, folder)
    url, dropped = f"sqlite:///{folder}/letters.db", None
    if not name.startswith("sqlite"):
        server: PostgresServer = request.getfixturevalue("postgres")
        dropped = server.create(template=name)
        url = server.url(dropped)
    db = Database(url)
    yield Past(pipeline=_pipeline(db, folder), folder=folder, people=whole.people, url=url)
    db.close()
    if dropped is not None:
        server.drop(dropped)


def entries(past: Past) -> list[Mapping[str, Any]]:
    """The year's account without what is forgotten."""
    gone = ("recipient", "reply", "reason", "fault", "withheld_because", "forgotten")
    return [
        {name: getattr(one, name) for name in one.__slots__ if name not in gone}
        for some in account.entries(past.db, 2020)
        for one in some
    ]


def kinds(past: Past) -> Counter[str]:
    with past.db.read() as connection:
        return Counter(connection.scalars(sa.select(schema.events.c.kind)))


def hashes(past: Past) -> list[Any]:
    table, m, mail = schema.letters, schema.messages, schema.returned_mail
    with past.db.read() as connection:
        return [
            connection.execute(select.order_by(sa.text("1"))).all()
            for select in (
                sa.select(table.c.id, table.c.pdf, table.c.pdf_sha256, table.c.docx_sha256),
                sa.select(m.c.id, m.c.message_id, m.c.eml, m.c.eml_sha256, m.c.dated),
                sa.select(mail.c.id, mail.c.sha256, mail.c.kept, mail.c.seen_by),
                sa.select(table.c.id, table.c.figures, table.c.kind, table.c.authority_name),
            )
        ]


def test_nobody_is_left_in_any_byte_and_every_count_is_as_it_was(past: Past) -> None:
    archived = b"".join(path.read_bytes() for path in past.archive.rglob("*.pdf"))
    assert len(past.found_in(archived)) > len(CODES), "the test would find them in the archive"
    assert BEFORE_HER in past.found_in(archived)
    found = past.found_in(past.bytes())
    assert found >= {*WORDS} - {"Dear Ombudsman"}, "and in the database"
    assert len(found) > 3 * len(CODES)
    modes = (Mode.CAPTURE, Mode.LIVE)
    before = [story.summary(past.db, past.run, mode).deliveries for mode in modes]
    lettered = [story.summary(past.db, past.run, mode).letters for mode in modes]
    counted = ledger_counts.count(past.db)
    told, happenings, hashed = entries(past), kinds(past), hashes(past)
    look = past.look()
    assert not look.is_empty
    assert look.extent.letters == {2020: LETTERS}
    assert (look.extent.mails, look.captured) == (
        2,
        len(list((past.folder / "captured/new").iterdir())),
    )
    done = past.forget()
    assert (done.years, done.letters, done.mails) == ([2020], LETTERS, 2)
    assert (done.files, done.captured) == (look.extent.files, look.captured)
    assert (done.officers, done.remarks) == (look.extent.officers, look.extent.remarks)
    assert (done.left, done.versions) == ([], False)
    past.is_forgotten()
    after = [story.summary(past.db, past.run, mode).deliveries for mode in modes]
    assert after == before
    assert [story.summary(past.db, past.run, mode).letters for mode in modes] == lettered
    now_counted = ledger_counts.count(past.db)
    assert replace(now_counted, newest=None) == replace(counted, newest=None)
    assert entries(past) == told
    assert hashes(past) == hashed
    assert kinds(past) - happenings == {"letters_forgotten": 4}  # of each run, begun and ended
    assert happenings - kinds(past) == Counter()
    assert past.forget() == replace(
        done, years=[], letters=0, files=0, captured=0, mails=0, officers=0, remarks=0
    )
    assert kinds(past) - happenings == {"letters_forgotten": 4}, "nothing was begun again"


def test_an_address_becomes_a_number_that_still_tells_who_got_what(past: Past) -> None:
    was = {
        one.id: [each["address"] for each in one.recipients]
        for one in (past.letter(code) for code in CODES)
    }
    sent = {
        (one.mode, one.recipient, one.state): one.roles
        for some in account.entries(past.db, 2020)
        for one in some
        if one.authority == STEVENAGE and one.mode
    }
    past.forget()
    one = past.letter(STEVENAGE)
    numbers = [each["address"] for each in one.recipients]
    assert numbers == [f"forgotten-{number}" for number in range(1, len(numbers) + 1)]
    stands_for = dict(zip(was[one.id], numbers, strict=True))
    found = [
        each
        for some in account.entries(past.db, 2020)
        for each in some
        if each.authority == STEVENAGE and each.mode
    ]
    assert {(each.mode, each.recipient, each.state): each.roles for each in found} == {
        (mode, stands_for[recipient], state): roles
        for (mode, recipient, state), roles in sent.items()
    }
    assert {each.forgotten for each in found} == {LATER}
    assert {each.reply for each in found} == {None}
    assert {each.reason for each in found if each.resend_of} == {"(forgotten)"}
    told = story.story(past.db, one.id)
    lines = happened(
        {"deliveries": told.deliveries, "messages": told.messages, "events": told.events}
    )
    assert "Names, addresses and files were forgotten by Ann Other." in [
        each.text for each in lines
    ]
    assert any("forgotten-1" in each.text for each in lines)
    assert {each.said for each in lines} == {None}


def test_nothing_of_it_is_made_sent_or_shown_any_more(past: Past) -> None:
    holds.resume(past.db, past.run, person="Ann", now=now())
    past.forget()
    one = past.letter(WATFORD)
    sentence = "The letters of 2020 were forgotten on 3 March 2200 by Ann Other"
    with pytest.raises(Refused, match=sentence):
        messages.resend(past.db, one.id, LIVE, Request(reason="r", person="Ann"), now=now())
    with pytest.raises(Refused, match=sentence):
        approvals.approve(past.db, past.run, person="Ann", login="ann", now=now())
    with pytest.raises(Refused, match=sentence):
        holds.release(past.db, past.run, past.letter(HARTLEPOOL).id, LIVE, person="Ann", now=now())
    with pytest.raises(Refused, match=sentence):
        run.refresh(past.pipeline, past.run, person="Ann", keep=True, progress=Watched())
    with pytest.raises(Refused, match=sentence):
        next(
            remaking.remake(
                past.pipeline,
                LocalEngine(Settings()),
                past.run,
                Archive(str(past.folder / "again")),
                progress=Watched(),
            )
        )
    assert letters.count_unprepared(past.db, past.run.id) == 0
    redirected = replace(LIVE, mode=Mode.REDIRECT, redirect_to="ann@office.example")
    assert messages.plan(past.db, past.run.id, redirected, now=now()) == 0
    approving = replace(past.pipeline, people=2)
    assert run.stands(approving, past.run).awaiting == 0
    assert reports.came_back(past.db) == []


class Killed(Exception):
    """Stands for the end of the process: whatever was not committed is gone."""


class Deadly(Watched):
    """Ends the process as soon as anything has been done."""

    def advance(self) -> None:
        super().advance()
        raise Killed


def test_killed_after_each_step_and_called_again_it_ends_the_same(
    past: Past, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_forgetting, "_CHUNK", 5)
    left = [(LETTERS, len(past.files()))]
    while len(left) < 7:
        with pytest.raises(Killed):
            past.forget(progress=Deadly())
        extent = past.look().extent
        left.append((extent.pending, len(past.files())))
        assert left[-1] < left[-2], "each call comes further"
        assert extent.interrupted
        assert past.verified()[Kind.LETTER, Condition.NOT_REMOVED], "what is there is named"
        with pytest.raises(Refused, match="forgotten"):
            approvals.approve(past.db, past.run, person="Ann", login="ann", now=now())
    assert [pending for pending, _ in left] == [13, 8, 7, 2, 0, 0, 0]
    assert left[-1][1] == left[0][1] - 2
    done = past.forget(person="Ben")
    assert done.files
    past.is_forgotten()
    assert past.run.forgotten_by == "Ann Other"
    e = schema.events
    with past.db.read() as connection:
        begun = connection.execute(
            sa.select(e.c.person, e.c.data).where(
                e.c.kind == Event.LETTERS_FORGOTTEN.value, e.c.run_id.is_(None)
            )
        ).all()
    assert [(row.person, "ended" in row.data) for row in begun] == [
        ("Ann Other", False),
        ("Ben", True),
    ]


KILLED = """
import os, sys
from pathlib import Path
from pipeline.database import Database
from tests.integration.test_audit import Watched
from tests.integration.test_forgetting import Past, _pipeline

class Deadly(Watched):
    def advance(self):
        super().advance()
        if self.stages[-1][0] == "Removing" and self.done > self.stages[0][1] + 3:
            os._exit(9)

folder = Path(sys.argv[2])
Past(pipeline=_pipeline(Database(sys.argv[1]), folder), folder=folder).forget(progress=Deadly())
"""


def test_a_process_killed_among_the_files_leaves_what_the_next_one_removes(past: Past) -> None:
    before = past.files()
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, past.url, str(past.folder)],
        cwd=TEMPLATES.parent,
        check=False,
    )
    assert killed.returncode == 9
    assert 0 < len(before) - len(past.files()) < len(before) - 1
    assert past.look().extent.interrupted
    past.forget()
    past.is_forgotten()


def test_what_a_backup_brings_back_is_named_and_removed(past: Past) -> None:
    aside = past.folder / "backup"
    shutil.copytree(past.archive, aside)
    past.forget()
    shutil.copytree(aside, past.archive, dirs_exist_ok=True)
    back = past.verified()
    assert back[Kind.LETTER, Condition.NOT_REMOVED] == back[Kind.LETTER, Condition.FORGOTTEN] > 0
    assert back[Kind.MESSAGE, Condition.NOT_REMOVED] == back[Kind.MESSAGE, Condition.FORGOTTEN] > 0
    assert back[Kind.RETURNED, Condition.NOT_REMOVED] == 1
    of_letters = [each for each in past.verify() if each.kind is Kind.LETTER]
    [one, *_] = [each for each in of_letters if each.condition is Condition.NOT_REMOVED]
    assert one.said is not None
    assert one.said.endswith("is still there: letters forget --before 2021")
    assert one.needs_a_person
    found = list(reconcile(past.pipeline, None, now=now(), progress=Watched()))
    assert {each.fix for each in found} == {"That removes it, and is safe to call again."}
    assert past.forget().files
    past.is_forgotten()


def test_what_killed_runs_have_left_goes_too_and_another_ledgers_does_not(past: Past) -> None:
    [pdf] = past.archive.glob(f"2020/{WATFORD}-*{past.letter(WATFORD).pdf[-16:]}")
    left = pdf.with_name(f"{pdf.name.split('.')[0]}.{'a' * 12}.pdf")
    left.write_bytes(b"%PDF of a run that was killed")
    (pdf.parent / ".x7.part").write_bytes(b"%PD")
    [eml, *_] = past.archive.glob(f"2020/messages/{WATFORD}-*.eml")
    again = eml.with_name(f"{eml.name.split('.')[0]}.{'b' * 12}.eml")
    again.write_bytes(eml.read_bytes() + b"\r\n")  # frozen twice at once: the same Message-ID
    strange = eml.with_name(f"{eml.name.split('.')[0]}.{'c' * 12}.eml")
    strange.write_bytes(b"Message-ID: <1@another.example>\r\n\r\n")
    other = pdf.with_name("notes.txt")
    other.write_text("whose is this?")
    done = past.forget()
    assert sorted(done.left) == sorted(map(str, (strange, other)))
    assert [path for path in (left, again, strange, other) if path.exists()] == [strange, other]
    assert not list(past.archive.rglob(".*"))
    strange.unlink()
    other.unlink()
    past.is_forgotten()


def test_a_file_that_is_also_a_kept_letters_stays(db: Database, tmp_path: Path) -> None:
    past = Past(pipeline=_pipeline(db, tmp_path), folder=tmp_path)
    engine = Office(db=db, archive=past.pipeline.archive, folder=past.archive)
    first = engine.open("A", "B")
    engine.make(first)
    holds.cancel(db, first, because="begun anew", person="Ann", now=now())
    with db.write() as connection:
        connection.execute(sa.delete(schema.officers))
    past.forget()
    assert past.verified()[Kind.LETTER, Condition.FORGOTTEN] == 2
    again = engine.open("A")
    engine.make(again)
    assert past.verified() == {
        (Kind.TEMPLATE, Condition.SOUND): 1,
        (Kind.LETTER, Condition.SOUND): 1,
        (Kind.LETTER, Condition.FORGOTTEN): 1,
    }
    done = past.forget(before=2015)  # looks once more for all that is forgotten
    assert (done.letters, done.files) == (0, 0)
    assert past.verified()[Kind.LETTER, Condition.SOUND] == 1


# ---- what is refused


def refused(past: Past, match: str, **asked: Any) -> None:
    before = past.rows()
    with pytest.raises(LettersError, match=match):
        past.forget(**asked)
    assert past.rows() == before


@pytest.fixture
def small(db: Database, tmp_path: Path) -> Past:
    """Two letters that are made; nothing is sent."""
    past = Past(pipeline=_pipeline(db, tmp_path), folder=tmp_path)
    past.archive.mkdir()
    prepare_all(db, opened(db, letter("A"), letter("B")))
    return past


def take(past: Past, mode: Mode, outcome: Any) -> None:
    claimed = deliveries.claim(past.db, past.run.id, mode, owner="w", lease=LEASE, now=now())
    assert claimed is not None
    assert deliveries.intend(
        past.db, claimed, relay="127.0.0.1:25", local_port=1, lease=LEASE, now=now()
    )
    assert deliveries.settle(past.db, claimed, outcome, now=now())


OK = Accepted(reply=Reply(code=250, text="ok"), queue_id="Q")


def test_a_year_that_is_not_finished_is_refused_with_what_to_do_first(small: Past) -> None:
    db, found = small.db, small.run
    refused(small, r"2 letters of 2020 have been made and never sent.*letters send 2020.*--unsent")
    messages.plan(db, found.id, LIVE, now=now())
    refused(
        small, r"4 deliveries of 2020 in live mode are still to be made.*LIVE|MODE=live letters"
    )
    take(small, Mode.LIVE, Lost(reason="it hung up"))
    refused(small, r"1 delivery of 2020 in live mode is in doubt.*resolve AUTHORITY --year 2020")
    [doubt] = deliveries.doubts(db, found.id, Mode.LIVE)
    deliveries.resolve(db, doubt, State.ACCEPTED, evidence="the log", now=now())
    for _ in range(3):
        take(small, Mode.LIVE, OK)
    captured = replace(LIVE, mode=Mode.CAPTURE, envelope="", returns=None)
    messages.plan(db, found.id, captured, now=now())
    refused(small, r"4 deliveries of 2020 in capture mode are still to be made.*MODE=capture")
    for _ in range(4):
        take(small, Mode.CAPTURE, OK)
    unmade = sa.update(schema.letters).where(schema.letters.c.authority_code == "B")
    made = ("pdf", "pdf_sha256", "docx_sha256", "pages", "prepared_at")
    with db.write() as connection:
        before = connection.execute(
            sa.select(*(schema.letters.c[name] for name in made)).where(
                schema.letters.c.authority_code == "B"
            )
        ).one()
        connection.execute(unmade.values(dict.fromkeys(made)))
    refused(small, r"1 letter of 2020 has not been made.*letters prepare 2020")
    with db.write() as connection:
        connection.execute(unmade.values(before._mapping))
    with db.write() as connection:
        connection.execute(
            sa.insert(schema.returned_mail).values(
                sha256="7" * 64,
                read_at=datetime(2021, 1, 1, tzinfo=UTC),
                place="bounces",
                kind=Returned.OTHER.value,
                size=7,
                sender="ann@a.example",
                subject="s",
            )
        )
    refused(
        small, r"1 returned mail waits for a person.*letters reports --list.*\nNothing has been"
    )
    [mail] = reports.waiting(db)
    reports.mark_seen(db, [mail.id], note="seen", person="Ann", now=now())
    assert small.forget().letters == 2


def test_younger_years_are_kept(small: Past) -> None:
    refused(
        small,
        r"The letters of 2193 have to be kept until the end of 2200 \(retention.years is 7\). The "
        r"latest year that can be named now is 2193: letters forget --before 2193",
        before=2194,
    )
    refused(small, "retention.years is 0 in the settings, so nothing is ever forgotten", keep=0)
    assert small.look(2019).is_empty
    assert small.look(2020).is_empty
    with pytest.raises(Refused, match="never sent"):
        small.look(2021)


def test_nothing_is_forgotten_with_a_ledger_that_may_be_a_copy(small: Past) -> None:
    mark = MarkFile(small.folder / "mark")
    small.pipeline = replace(small.pipeline, outbox=replace(small.pipeline.outbox, mark=mark))
    holds.withhold_unsent(small.db, small.run, because="no", person="Ann", now=now())
    other = Database(f"sqlite:///{small.folder}/other.db")
    migrate.upgrade(other)
    home.require(other, mark, now=now())
    other.close()
    before = small.rows()
    with pytest.raises(Misconfigured, match=r"Nothing is forgotten with it.*letters db confirm"):
        small.forget()
    assert small.rows() == before


def test_a_run_that_was_given_up_is_forgotten_as_it_is(small: Past) -> None:
    holds.cancel(small.db, small.run, because="Mrs Partridge rang", person="Ann", now=now())
    assert small.forget().letters == 2
    assert small.found_in(small.bytes()) == set()


def test_a_database_that_others_read_is_written_anew_by_the_next_call(
    small: Past, db_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    holds.withhold_unsent(small.db, small.run, because="no", person="Ann", now=now())
    monkeypatch.setattr(database, "_LOCK_TIMEOUT", "50ms")
    url = f"{db_url}?timeout=0" if small.db.is_sqlite else db_url
    small.pipeline = replace(small.pipeline, ledger=Database(url))
    reader = Database(url)
    with reader.read() as connection:
        connection.execute(sa.select(schema.runs)).all()
        with pytest.raises(Unavailable, match="give the same command again: it goes on"):
            small.forget()
        assert small.look().extent.interrupted
        assert story.summary(small.db, small.run, Mode.LIVE).letters["withheld"] == 2
    reader.close()
    small.forget()
    assert not small.look().extent.interrupted
    small.db.close()


def test_an_archive_that_is_away_is_not_taken_to_be_empty(past: Past) -> None:
    aside = past.folder / "aside"
    past.archive.rename(aside)
    with pytest.raises(Unavailable, match="There is no archive at"):
        past.forget()
    assert past.look().extent.interrupted
    aside.rename(past.archive)
    past.forget()
    past.is_forgotten()


def test_of_forgetting_and_sending_again_at_once_one_sees_the_other(small: Past) -> None:
    messages.plan(small.db, small.run.id, LIVE, now=now())
    for _ in range(4):
        take(small, Mode.LIVE, OK)
    one = small.letter("A")
    both = threading.Barrier(2)

    def send_again() -> str:
        both.wait()
        try:
            asked = Request(reason="r", person="Ann")
            assert messages.resend(small.db, one.id, LIVE, asked, now=now()).new
        except Refused as refused:
            return str(refused)
        return ""

    def forget() -> str:
        both.wait()
        try:
            assert small.forget().letters == 2
        except Refused as refused:
            return str(refused)
        return ""

    with ThreadPoolExecutor(2) as pool:
        done = [pool.submit(each) for each in (send_again, forget)]
        not_sent, not_forgotten = (each.result() for each in done)
    if not_sent:
        assert ("were forgotten" in not_sent, not_forgotten) == (True, "")
    else:
        assert "still to be made" in not_forgotten
    open_ = story.summary(small.db, small.run, Mode.LIVE).deliveries[State.QUEUED.value]
    assert (open_ > 0) == (not_sent == "")


def test_what_comes_back_after_that_is_noted_without_words(small: Past) -> None:
    messages.plan(small.db, small.run.id, LIVE, now=now())
    for _ in range(4):
        take(small, Mode.LIVE, OK)
    small.forget()
    sent = reports.by_id(small.db, [1])[1]
    assert sent.forgotten
    note = Note(
        sent=sent,
        once="late",
        kind=ReportKind.FAILED,
        matched_by="verp",
        status="5.1.1",
        said="<chief@a.example> unknown",
        remote="mx.a.example",
    )
    [moved] = reports.note(small.db, [note], now=now())
    assert moved.target is State.BOUNCED
    assert "chief@a.example" not in str(small.rows())


# ---- the record cannot be changed but for this


def _change(db: Database, where: sa.ColumnElement[bool], **values: Any) -> None:
    with db.write() as connection:
        done = connection.execute(sa.update(schema.events).where(where).values(**values))
        assert done.rowcount


def test_an_event_allows_no_other_change(past: Past) -> None:
    """Nor this one, as long as it is not on record that the run is forgotten."""
    e = schema.events
    moved = sa.and_(e.c.kind == Event.DELIVERY_MOVED.value, e.c.letter_id.is_not(None))
    with past.db.read() as connection:
        rows = connection.execute(sa.select(e).where(moved)).all()
    one = next(row for row in rows if "550" in row.data.get("said", ""))
    this = e.c.id == one.id
    kept = {name: one.data[name] for name in one.data if name in ledger_forgetting.STAYS}
    with pytest.raises(sa.exc.DBAPIError, match="append-only"):
        _change(past.db, this, data=kept)
    with past.db.write() as connection:  # on record, and nothing done yet
        events.note(
            connection,
            Event.LETTERS_FORGOTTEN,
            at=now(),
            run_id=one.run_id,
            person="Ann",
            data={"before": 2021},
        )
    attempts: tuple[dict[str, Any], ...] = (
        {"data": {**kept, "to": "delivered"}},
        {"data": {**kept, "said": "something else"}},
        {"data": {name: kept[name] for name in ("from", "to")}},
        {"data": {}},
        {"data": kept, "person": "Somebody else"},
        {"data": kept, "kind": Event.ANSWER_LATE.value},
        {"data": kept, "at": now()},
        {"data": kept, "letter_id": None},
        {"data": kept, "delivery_id": None},
        {"data": kept, "run_id": None},
        {"data": kept, "once": "x"},
        {"data": kept, "id": 10**6},
    )
    for values in attempts:
        with pytest.raises(sa.exc.DBAPIError, match="append-only"):
            _change(past.db, this, **values)
    with (
        pytest.raises(sa.exc.DBAPIError, match="append-only"),
        past.db.write() as connection,
    ):
        connection.execute(sa.delete(e).where(this))
    _change(past.db, this, data=kept)
    with pytest.raises(sa.exc.DBAPIError, match="append-only"):
        _change(past.db, this, data=one.data)


def test_the_trigger_and_the_code_know_the_same_names(small: Past) -> None:
    e = schema.events
    data = {name: [name, {"n": 1.5, "none": None, "yes": True}] for name in ledger_forgetting.STAYS}
    more = {f"{name}_more": "Ann" for name in ledger_forgetting.STAYS} | {"said": "é", "Ann": 1}
    with small.db.write() as connection:
        for kind, year in ((Event.LETTERS_FORGOTTEN, 2021), (Event.TEST_SENT, 0)):
            made = events.note(
                connection, kind, at=now(), run_id=1, data={**data, **more, "before": year}
            )
        for lacking in sorted(ledger_forgetting.STAYS):
            events.note(
                connection, Event.TEST_SENT, at=now(), run_id=1, data={**data, "said": lacking}
            )
    _change(small.db, e.c.id == made, data={**data, "before": 0})
    with small.db.read() as connection:
        rows = connection.execute(
            sa.select(e.c.id, e.c.data).where(e.c.kind == Event.TEST_SENT.value, e.c.id != made)
        ).all()
    assert len(rows) == len(data)
    for row in rows:
        lacking = row.data["said"]
        with pytest.raises(sa.exc.DBAPIError, match="append-only"):
            _change(
                small.db,
                e.c.id == row.id,
                data={name: data[name] for name in data if name != lacking},
            )


def test_events_of_no_run_go_by_their_year(small: Past) -> None:
    e, old, young = schema.events, datetime(2019, 12, 31, 23, tzinfo=UTC), now()
    holds.withhold_unsent(small.db, small.run, because="no", person="Ann", now=now())
    with small.db.write() as connection:
        for at in (old, young):
            for kind in (Event.RETURNED_MAIL_SEEN, Event.RELAY_IN_TROUBLE, Event.LEDGER_CONFIRMED):
                events.note(
                    connection, kind, at=at, person="Ann", data={"note": "Partridge", "mail": 7}
                )
    small.forget(before=2021)
    with small.db.read() as connection:
        told = {
            (row.kind, row.at < datetime(2021, 1, 1, tzinfo=UTC)): row.data
            for row in connection.execute(sa.select(e).where(e.c.run_id.is_(None)))
            if "mail" in row.data
        }
    whole = {"note": "Partridge", "mail": 7}
    assert told == {
        ("returned_mail_seen", True): {"mail": 7},
        ("relay_in_trouble", True): {"mail": 7},
        ("ledger_confirmed", True): whole,
        ("returned_mail_seen", False): whole,
        ("relay_in_trouble", False): whole,
        ("ledger_confirmed", False): whole,
    }
    with pytest.raises(sa.exc.DBAPIError, match="append-only"):
        _change(small.db, e.c.kind == "ledger_confirmed", data={"mail": 7})


GOES = """
letters.fields letters.recipients letters.fault letters.withheld_because
letters.reissued_because enclosures.cases
messages.recipients messages.reason messages.request_key
deliveries.recipient deliveries.domain attempts.reply events.data reports.said reports.remote
returned_mail.sender returned_mail.subject returned_mail.reason returned_mail.seen_note
runs.paused_because
officers.authority_code officers.role officers.honorific officers.given_name officers.family_name
officers.post officers.email remarks.authority_code remarks.text
"""
"""Columns of text that letters forget empties, or whose rows it deletes."""
STAYS = """
authorities.code authorities.name authorities.kind authorities.noun authorities.successor_code
decisions.case_reference decisions.authority_code decisions.category decisions.outcome
compliance.case_reference compliance.authority_code compliance.outcome
editions.signatory editions.signatory_posts editions.facts editions.copied_roles
editions.enclosures enclosures.kind enclosures.file enclosures.sha256 enclosures.cases_sha256
published_averages.kind published_averages.measure
runs.opened_by runs.edition runs.template_sha256 runs.wording runs.paused_by runs.forgotten_by
letters.authority_code letters.authority_name letters.kind letters.figures letters.faulted_in
letters.pdf letters.pdf_sha256 letters.docx_sha256 letters.reissued_by
approvals.person approvals.login approvals.digest
approved_letters.digest approved_letters.parts approved_letters.voided_because
messages.mode messages.message_id messages.mailbox messages.reply_to messages.envelope_sender
messages.requested_by messages.eml messages.eml_sha256
deliveries.mode deliveries.token deliveries.envelope_sender deliveries.state deliveries.owner
attempts.owner attempts.outcome attempts.queue_id attempts.relay attempts.local_host
events.kind events.person events.once
starts.step starts.mode starts.owner relays.relay relays.reason
alerts.cause alerts.mode alerts.what alerts.taken alerts.owner
paces.relay paces.domain
returned_mail.sha256 returned_mail.place returned_mail.kind returned_mail.kept
returned_mail.seen_by
reports.once reports.kind reports.matched_by reports.status reports.moved_to
cursors.place instance.name
"""
"""Columns of text that stay: nobody's, or of those who acted in office (decision 21)."""


def test_of_every_column_it_is_decided_what_becomes_of_it() -> None:
    """A new column that may hold a name has to be thought of here, and in ledger/forgetting.py."""
    text = {
        f"{table.name}.{column.name}"
        for table in schema.metadata.sorted_tables
        for column in table.columns
        if isinstance(column.type, sa.String | sa.JSON)
    }
    goes, stays = set(GOES.split()), set(STAYS.split())
    assert text - goes - stays == set(), "put each into GOES, and empty it, or into STAYS"
    assert (goes | stays) - text == set()
    assert goes & stays == set()


def test_a_servers_log_says_what_came_back_and_not_to_whom() -> None:
    moved = Moved(
        delivery_id=1,
        year=2020,
        authority=STEVENAGE,
        name="Stevenage Borough Council",
        recipient="oliver.partridge@stevenage.example",
        mode=Mode.LIVE,
        source=State.ACCEPTED,
        target=State.BOUNCED,
        because="reported failed by mx: 5.1.1 <oliver.partridge@stevenage.example> unknown",
    )
    reading = Reading(
        mailbox=None,
        log=None,
        mails=0,
        new=Counter(),
        noted=Counter(),
        moved=[moved],
        unsettled=[],
        troubles=[],
    )
    assert changes(reading) == [
        (
            "Came back: the letter of 2020 to Stevenage Borough Council (E07000243) (5.1.1). What "
            f"was said: letters show {STEVENAGE} --year 2020",
            True,
        )
    ]
