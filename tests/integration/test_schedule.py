"""Ticks with real databases, real letters and captured mail, at moments that a test chooses."""

import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from aiosmtpd.controller import Controller

from pipeline import importer, migrate, owner, run, schedule, schema
from pipeline.archive import Archive
from pipeline.convert import Converter, find_office
from pipeline.database import Database
from pipeline.delivery import Mode
from pipeline.dispatch import Outbox
from pipeline.display.console import out
from pipeline.display.schedule import Teller
from pipeline.errors import Misconfigured, Unavailable
from pipeline.ledger import approvals, holds, messages, runs, starts, story
from pipeline.ledger.letters import Faulted, FrozenLetter, Prepared
from pipeline.ledger.messages import Sender
from pipeline.ledger.runs import Run
from pipeline.letter import MERGE_FIELDS
from pipeline.prepare import Job, Preparer
from pipeline.progress import Progress
from pipeline.proof import Names
from pipeline.run import Pipeline
from pipeline.schedule import Standing, Start, Tick, Ticking
from pipeline.schema import Event, Step
from pipeline.source import LONDON
from pipeline.template import compile_template
from pipeline.transport import Relay
from tests.acceptance.site import ROOT, Row, part_of_the_sample
from tests.postgres import free_port

CODES = ["E07000243", "E07000103"]  # Stevenage, Watford: two recipients each
LETTERS, MAILS = 2, 4

PREPARE = datetime(2020, 7, 14, 23, tzinfo=UTC)  # midnight in London, a week before
DISPATCH = datetime(2020, 7, 22, 8, tzinfo=UTC)  # nine o'clock in London
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)

Change = Callable[[dict[str, list[Row]]], None]


@pytest.fixture(scope="session")
def converter() -> Iterator[Converter]:
    """One LibreOffice for all tests here."""
    with Converter(find_office(), timeout=120) as running:
        yield running


@dataclass
class Lane:
    """An engine in this process: one letter after another. `tried` are the codes of them all."""

    archive: Archive
    converter: Converter
    tried: list[str] = field(default_factory=list)
    before: Callable[[], None] = lambda: None

    def each(self, job: Job, letters: Iterable[FrozenLetter]) -> Iterator[Prepared | Faulted]:
        preparer = Preparer(
            template=compile_template(
                self.archive.get(job.template, job.template_sha256), fields=MERGE_FIELDS
            ),
            converter=self.converter,
            archive=self.archive,
            names=Names(job.names),
            dated=job.dated,
        )
        for letter in letters:
            self.before()
            self.tried.append(letter.authority_code)
            yield preparer.prepare(letter)


class Silence:
    """Nobody watches."""

    def begin(self, stage: str, total: int) -> None: ...

    def advance(self) -> None: ...

    def end(self) -> None: ...


@dataclass
class Office:
    """Everything that a tick leans on, and what came of it."""

    pipeline: Pipeline
    engine: Lane
    catch_up_days: int = 3
    progress: Progress = field(default_factory=Silence)

    def tick(self, now: datetime) -> Tick:
        return schedule.tick(
            self.pipeline,
            self.engine,
            now,
            catch_up_days=self.catch_up_days,
            progress=self.progress,
        )

    def untroubled(self, now: datetime) -> Tick:
        ticked = self.tick(now)
        assert ticked.troubles == []
        return ticked

    def news(self, now: datetime) -> list[tuple[Step, Standing]]:
        return [(one.step, one.standing) for one in self.untroubled(now).starts if one.news]

    @property
    def db(self) -> Database:
        return self.pipeline.ledger

    @property
    def mails(self) -> int:
        new = self.pipeline.outbox.maildir / "new"
        return len(list(new.iterdir())) if new.exists() else 0

    @property
    def run(self) -> Run:
        found = runs.find_run(self.db, 2020)
        assert found is not None
        return found

    def edition(self, year: int = 2020, **values: Any) -> None:
        with self.db.write() as connection:
            connection.execute(
                sa.update(schema.editions).where(schema.editions.c.year == year).values(**values)
            )

    def events(self, *kinds: Event) -> list[str]:
        e = schema.events
        with self.db.read() as connection:
            found = connection.scalars(sa.select(e.c.kind).order_by(e.c.id)).all()
        return [kind for kind in found if kind in (kinds or set(Event))]

    def approve(self, person: str) -> None:
        sender = self.pipeline.outbox.sender.identity
        approvals.approve(
            self.db, self.run, person=person, login=person.casefold(), now=DISPATCH, sender=sender
        )

    def by_hand(self) -> None:
        run.annual_run(self.pipeline, self.engine, 2020, person="tester", progress=Silence())


@pytest.fixture
def furnish(
    db: Database, db_url: str, tmp_path: Path, converter: Converter
) -> Iterator[Callable[..., Office]]:
    """Makes an office with two authorities of the sample, changed as a test wants it."""
    statistics = Database(db_url, read_only=True)

    def furnished(
        change: Change = lambda _tables: None,
        *,
        codes: list[str] = CODES,
        people: int = 0,
        mode: Mode = Mode.CAPTURE,
        relay: Callable[[], Relay] | None = None,
    ) -> Office:
        importer.import_folder(db, part_of_the_sample(tmp_path / "data", codes, change))
        archive = Archive(str(tmp_path / "archive"))
        sender = "letters@ombudsman.example"
        outbox = Outbox(
            sender=Sender(address=sender, mode=mode),
            relay=relay,
            maildir=tmp_path / "captured",
        )
        pipeline = Pipeline(
            ledger=db,
            statistics=statistics,
            archive=archive,
            template=ROOT / "templates" / "letter.docx",
            wording=ROOT / "templates",
            outbox=outbox,
            people=people,
        )
        return Office(pipeline=pipeline, engine=Lane(archive=archive, converter=converter))

    yield furnished
    statistics.close()


@pytest.fixture
def office(furnish: Callable[..., Office]) -> Office:
    return furnish()


def only(ticked: Tick, step: Step, year: int = 2020) -> Start:
    [start] = [one for one in ticked.starts if (one.year, one.step) == (year, step)]
    return start


MADE = [(Step.PREPARE, Standing.DONE)]
SENT = [(Step.DISPATCH, Standing.DONE)]
MISSED_BOTH = [(Step.PREPARE, Standing.MISSED), (Step.DISPATCH, Standing.MISSED)]


def test_nothing_is_begun_before_it_is_due(office: Office) -> None:
    early = office.untroubled(PREPARE - timedelta(seconds=1))
    assert [one.standing for one in early.starts] == [Standing.WAITING, Standing.WAITING]
    assert early.upcoming is not None
    assert (early.upcoming.step, early.upcoming.due_at) == (Step.PREPARE, PREPARE)
    assert runs.find_run(office.db, 2020) is None
    assert office.events(Event.START_BEGUN) == []


def test_a_year_is_made_on_its_day_and_sent_at_its_hour_and_once(office: Office) -> None:
    made = office.untroubled(PREPARE)
    assert [(one.step, one.standing) for one in made.starts if one.news] == MADE
    assert (made.exit_code, office.mails) == (0, 0)
    assert office.run.opened_by == "schedule"
    assert made.upcoming is not None
    assert (made.upcoming.step, made.upcoming.due_at) == (Step.DISPATCH, DISPATCH)
    assert office.news(DISPATCH - timedelta(seconds=1)) == []
    sent = office.untroubled(DISPATCH)
    assert [(one.step, one.standing) for one in sent.starts if one.news] == SENT
    assert (sent.exit_code, sent.upcoming, office.mails) == (0, None, MAILS)
    for later in (timedelta(seconds=60), HOUR, 3 * DAY, 300 * DAY):
        again = office.untroubled(DISPATCH + later)
        assert [one.standing for one in again.starts] == [Standing.DONE, Standing.DONE]
        assert not any(one.news for one in again.starts)
    assert office.mails == MAILS
    assert sorted(office.engine.tried) == sorted(CODES)
    assert office.events(Event.START_BEGUN, Event.START_DONE, Event.RUN_OPENED) == [
        "start_begun", "run_opened", "start_done", "start_begun", "start_done",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "late",
    [HOUR, timedelta(days=3, hours=14, minutes=59)],
    ids=["an hour", "the last minute of the third day"],
)
def test_what_was_due_while_nothing_ran_is_caught_up(office: Office, late: timedelta) -> None:
    office.edition(prepare_on=date(2020, 7, 22))
    assert office.news(DISPATCH + late) == MADE + SENT
    assert office.mails == MAILS


def test_after_the_days_for_catching_up_it_is_missed_and_said_once(office: Office) -> None:
    fourth_day = datetime(2020, 7, 25, 23, tzinfo=UTC)  # midnight in London
    found = office.untroubled(fourth_day)
    assert [(one.step, one.standing) for one in found.starts if one.news] == MISSED_BOTH
    assert found.exit_code == 1
    assert runs.find_run(office.db, 2020) is None
    again = office.untroubled(fourth_day + HOUR)
    assert not any(one.news for one in again.starts)
    assert [one.standing for one in again.starts] == [Standing.MISSED, Standing.MISSED]
    assert again.exit_code == 0
    assert office.events(Event.START_MISSED) == ["start_missed", "start_missed"]
    assert len(starts.missed(office.db, 2020, Mode.CAPTURE)) == 2


def test_a_missed_start_can_be_made_by_hand_and_is_missed_no_more(office: Office) -> None:
    office.tick(DISPATCH + 30 * DAY)
    office.by_hand()
    assert office.mails == MAILS
    assert starts.missed(office.db, 2020, Mode.CAPTURE) == []
    assert office.news(DISPATCH + 31 * DAY) == []
    assert [one.standing for one in office.tick(DISPATCH + 31 * DAY).starts] == [
        Standing.DONE,
        Standing.DONE,
    ]
    assert office.mails == MAILS


def test_without_days_for_catching_up_only_the_day_itself_counts(office: Office) -> None:
    office.catch_up_days = 0
    assert office.news(DISPATCH + timedelta(hours=14, minutes=59)) == [
        (Step.PREPARE, Standing.MISSED),
        (Step.DISPATCH, Standing.DONE),
    ]
    assert office.mails == MAILS


def test_preparing_that_was_missed_is_made_up_for_by_sending(office: Office) -> None:
    assert office.news(PREPARE + 4 * DAY) == [(Step.PREPARE, Standing.MISSED)]
    assert [one.step for one in starts.missed(office.db, 2020, Mode.CAPTURE)] == [Step.PREPARE]
    assert office.news(DISPATCH) == SENT
    assert starts.missed(office.db, 2020, Mode.CAPTURE) == []
    assert office.mails == MAILS


@pytest.mark.parametrize(
    ("night", "hour"),
    [(date(2020, 3, 29), time(1, 30)), (date(2020, 10, 25), time(1, 30))],
    ids=["an hour that is not", "an hour that is twice"],
)
def test_in_the_nights_when_clocks_change_it_is_done_once(
    furnish: Callable[..., Office], night: date, hour: time
) -> None:
    def at_night(tables: dict[str, list[Row]]) -> None:
        [edition] = tables["editions"]
        edition["prepare_on"] = (night - DAY).isoformat()
        # a local time of that night cannot be imported without saying which is meant
        edition["dispatch_at"] = f"{night}T12:00"

    office = furnish(at_night)
    due_at = datetime.combine(night, hour, tzinfo=LONDON).astimezone(UTC)
    office.edition(dispatch_at=due_at)
    evening = datetime.combine(night - DAY, time(23), tzinfo=LONDON).astimezone(UTC)
    begun_at = []
    for quarter in range(5 * 4):
        now = evening + quarter * timedelta(minutes=15)
        if (Step.DISPATCH, Standing.DONE) in office.news(now):
            begun_at.append(now)
    assert begun_at == [due_at]
    assert office.mails == MAILS


def test_days_are_counted_on_the_london_calendar(office: Office) -> None:
    """In the night when clocks go forward, a day has 23 hours and ends at 23:00 UTC."""
    office.catch_up_days = 1
    due_at = datetime(2020, 3, 28, 23, 30, tzinfo=UTC)
    office.edition(prepare_on=date(2020, 3, 1), dispatch_at=due_at)
    late = datetime(2020, 3, 29, 23, tzinfo=UTC)  # midnight to the 30th in London
    assert only(office.tick(late), Step.DISPATCH).standing is Standing.MISSED
    office.edition(dispatch_at=due_at + timedelta(seconds=1))
    in_time = late - timedelta(seconds=1)
    assert only(office.tick(in_time), Step.DISPATCH).standing is Standing.DONE


def test_a_clock_that_is_set_back_changes_nothing_that_is_done(office: Office) -> None:
    office.tick(PREPARE)
    office.tick(DISPATCH)
    for moment in (DISPATCH - HOUR, PREPARE - DAY, DISPATCH - 400 * DAY, DISPATCH):
        assert office.news(moment) == []
    assert office.mails == MAILS
    assert len(office.engine.tried) == LETTERS


def test_moving_the_hour_moves_the_start(office: Office) -> None:
    office.tick(PREPARE)
    office.edition(dispatch_at=DISPATCH + 5 * DAY)
    assert office.news(DISPATCH) == []
    assert office.mails == 0
    assert office.news(DISPATCH + 5 * DAY) == SENT
    office.edition(dispatch_at=DISPATCH + 9 * DAY)
    assert office.news(DISPATCH + 9 * DAY) == []  # what is done is done
    assert office.mails == MAILS


def test_a_missed_start_that_is_given_another_day_is_begun_on_that(office: Office) -> None:
    office.tick(DISPATCH + 30 * DAY)
    moved = DISPATCH + 40 * DAY
    office.edition(dispatch_at=moved)
    assert only(office.tick(moved - HOUR), Step.DISPATCH).standing is Standing.WAITING
    assert office.news(moved) == SENT
    assert office.mails == MAILS


def test_letters_that_wait_and_are_given_a_later_day_wait_for_that(
    furnish: Callable[..., Office],
) -> None:
    office = furnish(people=1)
    office.tick(PREPARE)
    office.tick(DISPATCH)
    office.edition(dispatch_at=DISPATCH + 9 * DAY)
    office.approve("Ann")
    assert office.news(DISPATCH + DAY) == []
    assert office.mails == 0
    assert office.news(DISPATCH + 9 * DAY) == SENT


def test_what_lacks_approval_waits_for_it_however_long(furnish: Callable[..., Office]) -> None:
    office = furnish(people=2)
    assert office.news(PREPARE) == MADE
    waiting = office.untroubled(DISPATCH)
    start = only(waiting, Step.DISPATCH)
    assert (start.standing, start.news, waiting.exit_code) == (Standing.OPEN, True, 1)
    assert start.result is not None
    assert start.result.awaiting == 2
    again = office.untroubled(DISPATCH + timedelta(minutes=1))
    assert (only(again, Step.DISPATCH).standing, again.exit_code) == (Standing.OPEN, 0)
    assert office.mails == 0
    office.approve("Ann")
    assert office.news(DISPATCH + HOUR) == []
    office.approve("Ben")
    assert office.news(DISPATCH + 30 * DAY) == SENT
    assert office.mails == MAILS
    assert len(office.engine.tried) == LETTERS


def test_a_paused_year_waits_until_it_is_resumed(office: Office) -> None:
    office.tick(PREPARE)
    holds.pause(office.db, office.run, because="a call", person="Ann", now=PREPARE)
    paused = office.untroubled(DISPATCH)
    start = only(paused, Step.DISPATCH)
    assert (start.standing, start.news, paused.exit_code) == (Standing.OPEN, True, 1)
    assert office.news(DISPATCH + HOUR) == []
    assert office.mails == 0
    holds.resume(office.db, office.run, person="Ann", now=DISPATCH)
    assert office.news(DISPATCH + 2 * HOUR) == SENT
    assert office.mails == MAILS


def test_what_a_person_has_cancelled_is_left_alone_and_said_once(office: Office) -> None:
    office.tick(PREPARE)
    holds.cancel(office.db, office.run, because="not now", person="Ann", now=PREPARE)
    found = office.untroubled(DISPATCH)
    start = only(found, Step.DISPATCH)
    assert (start.standing, start.news, found.exit_code) == (Standing.CANCELLED, True, 0)
    for late in (HOUR, 30 * DAY):
        assert office.news(DISPATCH + late) == []
    assert runs.find_run(office.db, 2020) is None
    assert office.mails == 0
    assert office.events(Event.START_MISSED) == []


def test_what_is_cancelled_while_it_waits_is_left_alone_until_it_is_opened_again(
    furnish: Callable[..., Office],
) -> None:
    office = furnish(people=1)
    office.tick(PREPARE)
    office.tick(DISPATCH)
    holds.cancel(office.db, office.run, because="not now", person="Ann", now=DISPATCH)
    assert office.news(DISPATCH + HOUR) == [(Step.DISPATCH, Standing.CANCELLED)]
    assert office.news(DISPATCH + 2 * HOUR) == []
    run.prepared_run(office.pipeline, office.engine, 2020, person="Ann", progress=Silence())
    office.approve("Ben")
    assert office.news(DISPATCH + 3 * HOUR) == SENT
    assert office.mails == MAILS


def test_a_year_that_was_cancelled_and_opened_again_waits_for_a_person(office: Office) -> None:
    office.tick(PREPARE)
    holds.cancel(office.db, office.run, because="wrong figures", person="Ann", now=PREPARE)
    run.prepared_run(office.pipeline, office.engine, 2020, person="Ann", progress=Silence())
    assert office.mails == 0
    teller, found = Teller(), office.untroubled(DISPATCH)
    waiting = only(found, Step.DISPATCH)
    assert (waiting.standing, waiting.news, waiting.awaits_word) == (Standing.OPEN, True, True)
    assert (found.exit_code, waiting.needs_a_person) == (1, True)
    with out.capture() as said:
        teller.tell(found)
        teller.tell(office.untroubled(DISPATCH + HOUR))
    assert said.get().count("To send it: letters send 2020") == 1, "once"
    assert office.news(DISPATCH + 30 * DAY) == []
    assert office.mails == 0
    office.by_hand()
    assert office.news(DISPATCH + 31 * DAY) == SENT
    assert office.mails == MAILS


def test_what_a_person_has_begun_to_send_anew_is_gone_on_with(office: Office) -> None:
    office.tick(PREPARE)
    holds.cancel(office.db, office.run, because="wrong figures", person="Ann", now=PREPARE)
    run.prepared_run(office.pipeline, office.engine, 2020, person="Ann", progress=Silence())
    office.tick(DISPATCH)
    messages.plan(office.db, office.run.id, office.pipeline.outbox.sender, now=DISPATCH)
    assert office.mails == 0
    assert office.news(DISPATCH + HOUR) == SENT
    assert office.mails == MAILS


def test_a_refreshed_run_is_not_a_cancelled_one(office: Office) -> None:
    office.tick(PREPARE)
    with office.db.write() as connection:
        connection.execute(sa.update(schema.editions).values(signatory="Somebody Else"))
    changed = run.refresh(office.pipeline, office.run, person="Ann", keep=True, progress=Silence())
    assert changed.shared
    assert office.news(DISPATCH) == SENT
    assert office.mails == MAILS


def test_a_year_made_by_hand_is_not_made_again(office: Office) -> None:
    office.by_hand()
    found = office.untroubled(DISPATCH)
    assert [one.standing for one in found.starts] == [Standing.DONE, Standing.DONE]
    assert not any(one.news for one in found.starts)
    assert office.mails == MAILS
    assert office.news(DISPATCH + 30 * DAY) == []
    assert office.events(Event.START_BEGUN, Event.START_DONE) == ["start_done", "start_done"]


def test_what_was_begun_and_is_brought_to_its_end_by_hand_is_said(
    furnish: Callable[..., Office],
) -> None:
    office = furnish(people=1)
    office.tick(PREPARE)
    office.tick(DISPATCH)
    office.approve("Ann")
    office.by_hand()
    assert office.news(DISPATCH + HOUR) == SENT
    assert office.news(DISPATCH + 2 * HOUR) == []
    assert office.mails == MAILS


def test_an_edition_without_letters_is_said_and_done(furnish: Callable[..., Office]) -> None:
    def none_exist(tables: dict[str, list[Row]]) -> None:
        for row in tables["authorities"]:
            row["active_from"] = "2030-01-01"

    office = furnish(none_exist)
    found = office.untroubled(PREPARE)
    assert [(one.step, one.standing) for one in found.starts if one.news] == MADE
    assert found.exit_code == 1
    assert office.news(DISPATCH) == SENT
    assert office.news(DISPATCH + HOUR) == []


def test_thirty_old_editions_are_missed_once(furnish: Callable[..., Office]) -> None:
    def of_old(tables: dict[str, list[Row]]) -> None:
        [edition] = tables["editions"]
        tables["editions"] = [
            {
                **edition,
                "year": str(year),
                "letter_date": f"{year}-07-22",
                "published_on": f"{year}-07-29",
                "period_start": f"{year - 1}-04-01",
                "period_end": f"{year}-03-31",
            }
            for year in range(1991, 2021)
        ]

    office = furnish(of_old)
    assert office.news(DISPATCH + 30 * DAY) == MISSED_BOTH * 30
    assert office.news(DISPATCH + 31 * DAY) == []
    assert office.engine.tried == []


def test_letters_that_cannot_be_made_are_not_tried_at_every_tick(
    furnish: Callable[..., Office],
) -> None:
    def spoil(tables: dict[str, list[Row]]) -> None:
        tables["remarks"] = [
            {"year": "2020", "authority_code": CODES[0], "position": "1", "text": "See {{ name }}."}
        ]

    office = furnish(spoil, people=1)
    made = office.untroubled(PREPARE)
    assert [(one.step, one.standing) for one in made.starts if one.news] == MADE
    assert made.exit_code == 1
    assert office.tick(PREPARE + HOUR).exit_code == 0
    office.tick(DISPATCH)
    once_more_before_sending = [*CODES, CODES[0]]
    for minutes in range(1, 5):
        office.tick(DISPATCH + timedelta(minutes=minutes))
    assert sorted(office.engine.tried) == sorted(once_more_before_sending)
    office.approve("Ann")
    sent = office.untroubled(DISPATCH + HOUR)
    assert [(one.step, one.standing) for one in sent.starts if one.news] == SENT
    assert sent.exit_code == 1
    assert office.mails == MAILS // 2
    assert office.tick(DISPATCH + 2 * HOUR).exit_code == 0
    assert sorted(office.engine.tried) == sorted(once_more_before_sending)


class Greylisting:
    """A relay that puts everybody off until it is told not to."""

    def __init__(self) -> None:
        self.put_off = True
        self.asked = 0
        self.taken: list[str] = []

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any
    ) -> str:
        self.asked += 1
        if self.put_off:
            return "450 4.2.0 greylisted"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(  # noqa: N802
        self, _server: Any, _session: Any, envelope: Any
    ) -> str:
        self.taken += envelope.rcpt_tos
        return "250 OK"


def test_what_the_relay_puts_off_is_tried_again_when_it_is_due_and_not_before(
    furnish: Callable[..., Office],
) -> None:
    handler, port = Greylisting(), free_port()
    controller = Controller(handler, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        office = furnish(
            mode=Mode.LIVE, relay=lambda: Relay(host="127.0.0.1", port=port, security="none")
        )
        office.tick(PREPARE)
        put_off = only(office.untroubled(DISPATCH), Step.DISPATCH)
        assert (put_off.standing, put_off.news) == (Standing.OPEN, True)
        assert put_off.next_try is not None
        assert handler.asked == MAILS
        handler.put_off = False
        again = only(office.untroubled(DISPATCH + timedelta(minutes=1)), Step.DISPATCH)
        assert (again.standing, again.news) == (Standing.OPEN, False)
        assert handler.asked == MAILS
        with office.db.write() as connection:  # as if the five minutes had passed
            connection.execute(sa.update(schema.deliveries).values(due_at=DISPATCH))
        assert office.news(DISPATCH + HOUR) == SENT
        assert len(handler.taken) == len(set(handler.taken)) == MAILS
    finally:
        controller.stop()


def test_what_mail_may_not_go_to_is_no_work_until_it_may(office: Office) -> None:
    free = office.pipeline
    limited = replace(free, outbox=replace(free.outbox, only_to=("elsewhere.test",)))
    office.pipeline = limited
    office.tick(PREPARE)
    found = office.untroubled(DISPATCH)
    begun = only(found, Step.DISPATCH)
    assert (begun.standing, begun.news, begun.next_try) == (Standing.OPEN, True, None)
    with out.capture() as said:
        Teller().tell(found)
    assert f"{MAILS} wait because mail may go to some domains only" in said.get()
    again = only(office.untroubled(DISPATCH + timedelta(minutes=1)), Step.DISPATCH)
    assert (again.standing, again.news, again.next_try) == (Standing.OPEN, False, None)
    assert office.mails == 0
    office.pipeline = free
    assert office.news(DISPATCH + HOUR) == SENT
    assert office.mails == MAILS


def test_a_relay_that_is_away_is_a_trouble_and_the_start_stays_open(
    furnish: Callable[..., Office],
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        port = taken.getsockname()[1]
        office = furnish(
            mode=Mode.LIVE, relay=lambda: Relay(host="127.0.0.1", port=port, security="none")
        )
        office.tick(PREPARE)
        for minutes in range(2):
            found = office.tick(DISPATCH + timedelta(minutes=minutes))
            [trouble] = found.troubles
            assert isinstance(trouble.error, Unavailable)
            assert (trouble.year, trouble.step) == (2020, Step.DISPATCH)
            assert found.exit_code == 69
            assert only(found, Step.DISPATCH).standing is Standing.OPEN
    assert len(office.engine.tried) == LETTERS
    counts = story.summary(office.db, office.run, Mode.LIVE).deliveries
    assert counts["queued"] == sum(counts.values()) == MAILS


def test_a_rehearsal_does_not_count(office: Office) -> None:
    office.tick(PREPARE)
    office.tick(DISPATCH)
    handler, port = Greylisting(), free_port()
    handler.put_off = False
    controller = Controller(handler, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        outbox = office.pipeline.outbox
        live = Office(
            pipeline=replace(
                office.pipeline,
                outbox=replace(
                    outbox,
                    sender=replace(outbox.sender, mode=Mode.LIVE),
                    relay=lambda: Relay(host="127.0.0.1", port=port, security="none"),
                ),
            ),
            engine=office.engine,
        )
        assert live.news(DISPATCH + HOUR) == SENT
        assert len(handler.taken) == MAILS
        assert live.news(DISPATCH + 2 * HOUR) == []
        assert office.news(DISPATCH + 3 * HOUR) == []
    finally:
        controller.stop()
    assert len(handler.taken) == office.mails == MAILS


def test_a_start_that_another_server_holds_is_left_to_it(office: Office) -> None:
    for step, due_at in ((Step.PREPARE, PREPARE), (Step.DISPATCH, DISPATCH)):
        elsewhere = starts.take(
            office.db,
            2020,
            step,
            Mode.CAPTURE,
            due_at=due_at,
            owner="elsewhere/boot/1/1/1/1",
            lease=timedelta(minutes=3),
            gone=owner.is_gone,
            now=due_at,
        )
        assert elsewhere is not None
        found = office.untroubled(due_at)
        assert only(found, step).standing is Standing.ELSEWHERE
        assert found.exit_code == 0
        assert not any(one.news for one in found.starts)
        # its lease is over: it will not come back
        assert (step, Standing.DONE) in office.news(due_at + timedelta(minutes=3))
    assert office.mails == MAILS


def test_nothing_is_sent_while_another_server_makes_the_letters(office: Office) -> None:
    office.edition(prepare_on=date(2020, 7, 22))
    starts.take(
        office.db,
        2020,
        Step.PREPARE,
        Mode.CAPTURE,
        due_at=PREPARE,
        owner="elsewhere/boot/1/1/1/1",
        lease=timedelta(minutes=3),
        gone=owner.is_gone,
        now=DISPATCH,
    )
    assert [one.standing for one in office.untroubled(DISPATCH).starts] == [Standing.ELSEWHERE]
    assert runs.find_run(office.db, 2020) is None


def test_what_a_dead_server_has_begun_is_gone_on_with_however_late(office: Office) -> None:
    dead = subprocess.run(
        [sys.executable, "-c", "from pipeline import owner; print(owner.identity())"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    starts.take(
        office.db,
        2020,
        Step.DISPATCH,
        Mode.CAPTURE,
        due_at=DISPATCH,
        owner=dead,
        lease=timedelta(days=999),
        gone=owner.is_gone,
        now=DISPATCH,
    )
    found = office.untroubled(DISPATCH + 60 * DAY)
    assert only(found, Step.DISPATCH).standing is Standing.DONE
    assert office.mails == MAILS


def test_an_interrupted_start_is_let_go_and_gone_on_with(office: Office) -> None:
    class Interrupting(Silence):
        def __init__(self) -> None:
            self.left = LETTERS + 1  # after composing, within preparing

        def advance(self) -> None:
            self.left -= 1
            if not self.left:
                raise KeyboardInterrupt

    office.progress = Interrupting()
    with pytest.raises(KeyboardInterrupt):
        office.tick(PREPARE)
    with office.db.read() as connection:
        assert connection.scalars(sa.select(schema.starts.c.owner)).all() == [None]
    assert office.news(PREPARE + 30 * DAY) == [
        (Step.PREPARE, Standing.DONE),
        (Step.DISPATCH, Standing.MISSED),
    ]
    assert sorted(office.engine.tried) == sorted(CODES)


def test_a_lease_is_kept_while_the_work_goes_on(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule, "_BEAT_S", 0.01)
    s = schema.starts

    def lease() -> datetime:
        with office.db.read() as connection:
            [until] = connection.scalars(sa.select(s.c.lease_until))
        assert isinstance(until, datetime)
        return until

    def until_renewed() -> None:
        first = lease()
        assert any(lease() != first for _ in range(100_000))

    office.engine.before = until_renewed
    assert office.news(PREPARE) == MADE


def test_an_edition_with_a_fault_keeps_no_other_from_going(
    furnish: Callable[..., Office],
) -> None:
    def two_years(tables: dict[str, list[Row]]) -> None:
        [edition] = tables["editions"]
        tables["editions"] = [{**edition, "year": "2019"}, edition]

    office = furnish(two_years)
    office.edition(2019, letter_date=date(1820, 7, 22))
    found = office.tick(PREPARE)
    [trouble] = found.troubles
    assert isinstance(trouble.error, Misconfigured)
    assert "editions.letter_date" in str(trouble.error)
    assert "2019" in str(trouble.error)
    assert [(one.step, one.standing) for one in found.starts if one.news] == MADE
    assert found.exit_code == 78


def test_a_year_that_cannot_be_opened_keeps_no_other_from_going(
    furnish: Callable[..., Office],
) -> None:
    def two_years(tables: dict[str, list[Row]]) -> None:
        [edition] = tables["editions"]
        tables["editions"] = [{**edition, "year": "2019", "facts": "{}"}, edition]

    office = furnish(two_years)
    found = office.tick(PREPARE)
    [trouble] = found.troubles
    assert (trouble.year, trouble.step) == (2019, Step.PREPARE)
    assert "delegates" in str(trouble.error)
    assert only(found, Step.PREPARE).standing is Standing.DONE


def test_the_statistics_may_lie_in_a_database_of_their_own(
    office: Office, migrated_elsewhere: str
) -> None:
    ledger = Database(migrated_elsewhere)
    try:
        here = Office(pipeline=replace(office.pipeline, ledger=ledger), engine=office.engine)
        here.tick(PREPARE)
        assert here.news(DISPATCH) == SENT
        assert here.mails == MAILS
        assert runs.find_run(office.db, 2020) is None
    finally:
        ledger.close()


@pytest.fixture
def migrated_elsewhere(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path}/elsewhere/letters.db"
    database = Database(url)
    migrate.upgrade(database)
    database.close()
    return url


def test_statistics_that_are_away_are_an_error_of_the_whole_tick(
    office: Office, tmp_path: Path
) -> None:
    away = Database(f"sqlite:///{tmp_path}/nowhere.db", read_only=True)
    blind = Office(pipeline=replace(office.pipeline, statistics=away), engine=office.engine)
    with pytest.raises(Unavailable, match=r"nowhere\.db"):
        blind.tick(PREPARE)


def test_it_ticks_at_once_and_again() -> None:
    with Ticking(60) as ticking:
        assert ticking.wait()
    with Ticking(0.2) as ticking:
        for _ in range(3):
            assert any(ticking.wait() for _ in range(100))


def test_a_clock_that_is_set_back_does_not_silence_the_ticks() -> None:
    with Ticking(0.2) as ticking:
        assert any(ticking.wait() for _ in range(100))
        # what setting a clock back by some hours comes to: the next time lies hours ahead
        ticking._scheduler.modify_job("tick", next_run_time=datetime.now(UTC) + 5 * HOUR)
        assert not all(ticking.wait() for _ in range(100))  # each returns, with a tick or without
        assert any(ticking.wait() for _ in range(100))  # it is going again
