"""Alerts on real ledgers, mailed by real SMTP: once for each cause, and once when it is over."""

import email
import email.policy
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from aiosmtpd.controller import Controller

from pipeline import alerts, schedule, schema
from pipeline.alerts import Cause, Kind, Telling, Update, sentence, title, to_do
from pipeline.database import Database
from pipeline.delivery import Lost, Mode, Outcome, Rejected, Reply, State
from pipeline.dispatch import Outbox
from pipeline.errors import Unavailable
from pipeline.ledger import alerts as ledger
from pipeline.ledger import approvals, counts, deliveries, holds, relays, starts
from pipeline.ledger.alerts import Change
from pipeline.run import Pipeline
from pipeline.schedule import Standing, Tick
from pipeline.schema import Returned, Step
from pipeline.transport import Relay
from tests.integration.test_audit import Watched
from tests.integration.test_ledger import LEASE, LIVE, NOW, opened
from tests.integration.test_logged import Logged, logged
from tests.integration.test_reconcile import Site, planned
from tests.postgres import free_port
from tests.relays import DROP, WaywardRelay

__all__ = ["logged", "planned"]

OPS, ANN = "ops@office.example", "ann@office.example"
QUIET = timedelta(hours=1)
TELLING = Telling(to=(OPS,), quiet=QUIET)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
RELAY = "relay.example port 25"
A = schema.alerts


@dataclass(frozen=True, slots=True)
class Mail:
    """One mail that was kept: whom the envelope named, and what it says."""

    to: str
    message: EmailMessage

    @property
    def subject(self) -> str:
        return str(self.message["Subject"])

    @property
    def text(self) -> str:
        return " ".join(str(self.message.get_content()).split())


def mails(site: Site) -> list[Mail]:
    """All captured mail, oldest first."""
    new = site.pipeline.outbox.maildir / "new"
    found = []
    for path in (
        sorted(new.iterdir(), key=lambda one: one.stat().st_mtime_ns) if new.exists() else ()
    ):
        _, delivered, rest = path.read_bytes().split(b"\r\n", 2)
        message = email.message_from_bytes(rest, policy=email.policy.default)
        assert isinstance(message, EmailMessage)
        found.append(Mail(delivered.decode().removeprefix("Delivered-To: "), message))
    return found


def subjects(site: Site) -> list[str]:
    return [one.subject.removeprefix("[letters] ") for one in mails(site)]


def update(site: Site, now: datetime = NOW, telling: Telling = TELLING) -> Update:
    return alerts.update(site.pipeline, telling, now)


def keys(found: list[Cause]) -> list[str]:
    return [one.key for one in found]


def causes(site: Site, now: datetime = NOW, **changes: Any) -> list[str]:
    return keys(alerts.causes(replace(site.pipeline, **changes), now))


def events(db: Database) -> list[str]:
    e = schema.events
    with db.read() as connection:
        return list(
            connection.scalars(sa.select(e.c.kind).where(e.c.kind.like("alert%")).order_by(e.c.id))
        )


def rows(db: Database) -> list[Any]:
    with db.read() as connection:
        return list(connection.execute(sa.select(A).order_by(A.c.id)).all())


def withhold(site: Site, *codes: str) -> None:
    table = schema.letters
    site.change(
        sa.update(table)
        .where(table.c.authority_code.in_(codes))
        .values(withheld_at=NOW, withheld_because="wait")
    )


def fails(site: Site, now: datetime) -> None:
    relays.fails(site.db, RELAY, reason="no connection to 10.0.0.1", chance=0.5, now=now)


def edition(site: Site, dispatch_at: datetime, year: int = 2020) -> None:
    """An edition of the year that is made three days before it is sent."""
    site.change(
        sa.insert(schema.editions).values(
            year=year,
            letter_date=dispatch_at.date(),
            published_on=dispatch_at.date(),
            period_start=dispatch_at.date() - 400 * DAY,
            period_end=dispatch_at.date() - 100 * DAY,
            signatory="S",
            signatory_posts=[],
            prepare_on=dispatch_at.date() - 3 * DAY,
            dispatch_at=dispatch_at,
        )
    )


def with_relay(site: Site, port: int) -> Site:
    relay = Relay(host="127.0.0.1", port=port)
    outbox = replace(site.pipeline.outbox, relay=lambda: relay)
    return Site(site.office, site.run, replace(site.pipeline, outbox=outbox))


@pytest.fixture
def well(planned: Site) -> Site:
    """A planned run of which nothing needs a person yet."""
    withhold(planned, "Z")
    return planned


# ---- raised, cleared, told


def test_a_cause_is_raised_and_mailed_once_and_so_is_its_end(planned: Site) -> None:
    first = update(planned)
    assert (keys([*first.raised]), first.mails) == (["faults:2020"], 1)
    assert update(planned, NOW + HOUR) == Update()
    withhold(planned, "Z")
    last = update(planned, NOW + 2 * HOUR)
    assert (keys([*last.cleared]), last.mails) == (["faults:2020"], 1)
    assert update(planned, NOW + 9 * HOUR) == Update()
    assert events(planned.db) == ["alert_raised", "alert_cleared"]
    [row] = rows(planned.db)
    assert (row.raised_at, row.mailed_at) == (NOW, NOW)
    assert row.cleared_at == row.cleared_mailed_at == NOW + 2 * HOUR
    assert (row.owner, row.lease_until) == (None, None)
    raised, over = mails(planned)
    assert raised.subject == "[letters] 1 letter of 2020 cannot be made"
    assert "the others go. Authorities: Z. Noticed on 22 July 2020 at 09:00" in raised.text
    assert "What to do: letters status 2020" in raised.text
    assert over.subject == "[letters] Over: 1 letter of 2020 cannot be made"
    assert "so from 22 July 2020 at 09:00 to 22 July 2020 at 11:00, London time." in over.text
    for one in (raised, over):
        assert (one.to, one.message["To"]) == (OPS, OPS)
        assert one.message["Auto-Submitted"] == "auto-generated"
        assert not {"Council", "chief", "link", "tester"} & set(one.text.split())
        assert "@" not in one.text
    assert raised.message["Message-ID"] != over.message["Message-ID"]


def test_several_at_once_are_one_mail_with_the_worst_first(planned: Site) -> None:
    fails(planned, NOW)
    found = update(planned)
    assert keys([*found.raised]) == [f"relay:{RELAY}", "faults:2020"]
    [mail] = mails(planned)
    assert mail.subject == f"[letters] The relay {RELAY} is in trouble, and 1 more"
    assert mail.text.index("cannot be used since 22 July") < mail.text.index("cannot be made")
    assert "10.0.0.1" not in mail.text, "a relay's words are not passed on"
    assert counts.count(planned.db).alerts == {("relay", Mode.LIVE): 1, ("faults", Mode.LIVE): 1}


def test_without_anybody_to_tell_it_is_on_record_alone_and_told_once_there_is(
    planned: Site,
) -> None:
    assert update(planned, telling=Telling()).mails == 0
    assert events(planned.db) == ["alert_raised"]
    assert update(planned, NOW + DAY).mails == 1
    assert subjects(planned) == ["1 letter of 2020 cannot be made"]
    withhold(planned, "Z")
    update(planned, NOW + 2 * DAY, telling=Telling())
    fails(planned, NOW + 2 * DAY)
    update(planned, NOW + 2 * DAY, telling=Telling())
    relays.answers(planned.db, RELAY, now=NOW + 2 * DAY)
    update(planned, NOW + 2 * DAY, telling=Telling())
    assert update(planned, NOW + 4 * DAY).mails == 1
    assert "in trouble" not in mails(planned)[-1].text, "what was over for a day is no news"


def test_counts_change_on_record_and_are_not_mailed_again(planned: Site) -> None:
    update(planned)
    table = schema.letters
    planned.change(
        sa.update(table)
        .where(table.c.authority_code == "A")
        .values(
            **dict.fromkeys(("pdf", "pdf_sha256", "pages", "prepared_at")),
            fault="no address",
            faulted_in="prepare",
        )
    )
    assert update(planned, NOW + MINUTE) == Update()
    [row] = rows(planned.db)
    assert row.what == {"count": 2, "authorities": ["A", "Z"], "more": False}
    assert len(mails(planned)) == len(events(planned.db)) == 1


def test_what_comes_and_goes_is_not_mailed_each_time(well: Site) -> None:
    in_trouble, over = f"The relay {RELAY} is in trouble", f"Over: the relay {RELAY} is in trouble"
    fails(well, NOW)
    update(well)
    relays.answers(well.db, RELAY, now=NOW)
    update(well, NOW + 5 * MINUTE)
    assert subjects(well) == [in_trouble, over]
    for minute in (10, 30, 50):
        fails(well, NOW + minute * MINUTE)
        assert update(well, NOW + minute * MINUTE) == Update(), "it is the same one again"
        relays.answers(well.db, RELAY, now=NOW)
        gone = update(well, NOW + (minute + 5) * MINUTE)
        assert (keys([*gone.cleared]), gone.mails) == ([f"relay:{RELAY}"], 0)
    assert len(rows(well.db)) == 1
    fails(well, NOW + 60 * MINUTE)
    assert update(well, NOW + 60 * MINUTE).mails == 0
    assert update(well, NOW + 64 * MINUTE).mails == 0
    assert update(well, NOW + 65 * MINUTE).mails == 1, "it has lasted for the quiet time"
    assert update(well, NOW + 300 * MINUTE).mails == 0
    relays.answers(well.db, RELAY, now=NOW)
    assert update(well, NOW + 301 * MINUTE).mails == 1
    assert subjects(well) == [in_trouble, over] * 2
    assert len({one.message["Message-ID"] for one in mails(well)}) == 4
    fails(well, NOW + DAY)
    assert keys([*update(well, NOW + DAY).raised]) == [f"relay:{RELAY}"], "another one"
    assert len(rows(well.db)) == 2


def test_a_cause_that_was_gone_for_a_moment_is_not_told_to_be_over_when_it_is_back(
    well: Site,
) -> None:
    fails(well, NOW)
    update(well)
    relays.answers(well.db, RELAY, now=NOW)
    update(well, NOW + MINUTE, telling=Telling(quiet=QUIET))  # a look that mails nothing
    fails(well, NOW + 2 * MINUTE)
    assert update(well, NOW + 2 * MINUTE) == Update()
    assert update(well, NOW + 5 * HOUR) == Update()
    assert len(mails(well)) == 1


def test_a_rehearsal_has_alerts_of_its_own_and_leaves_the_real_ones(planned: Site) -> None:
    update(planned)
    outbox = planned.pipeline.outbox
    rehearsal = Site(
        planned.office,
        planned.run,
        replace(planned.pipeline, outbox=replace(outbox, sender=replace(LIVE, mode=Mode.CAPTURE))),
    )
    withhold(planned, "Z")
    assert update(rehearsal, NOW + MINUTE) == Update(), "the live one is not this one's to clear"
    planned.change(sa.update(schema.letters).values(withheld_at=None, withheld_because=None))
    assert keys([*update(rehearsal, NOW + MINUTE).raised]) == ["faults:2020"]
    assert [one.mode for one in ledger.standing(planned.db)] == [Mode.LIVE, Mode.CAPTURE]
    assert mails(planned)[-1].text.endswith("This is a rehearsal: mail is kept on this machine.")
    redirected = replace(LIVE, mode=Mode.REDIRECT, redirect_to="me@office.example")
    alerts.update(
        replace(planned.pipeline, outbox=replace(outbox, sender=redirected)), TELLING, NOW
    )
    last = mails(planned)[-1]
    assert (last.to, last.message["To"]) == ("me@office.example", "me@office.example")
    assert last.text.endswith("This is a rehearsal: mail is redirected to one inbox.")
    assert OPS not in str(last.message)


# ---- what cannot be mailed stays owed


def test_a_mail_that_cannot_be_sent_is_owed_until_it_can(planned: Site) -> None:
    away = with_relay(planned, free_port())
    first = update(away)
    assert (len(first.raised), first.mails) == (1, 0)
    trouble = relays.in_trouble(planned.db, away.pipeline.outbox.relay().place)  # type: ignore[misc]
    assert trouble is not None, "letters leave the relay alone from now on, too"
    [row] = rows(planned.db)
    assert (row.mailed_at, row.owner) == (None, None)
    assert keys([*update(away, NOW + timedelta(seconds=5)).raised]) == [f"relay:{trouble.relay}"]
    assert update(planned, NOW + MINUTE).mails == 1
    assert [one.mailed_at for one in rows(planned.db)] == [NOW + MINUTE] * 2


def test_a_relay_that_is_well_again_is_told_so_by_what_is_mailed(planned: Site) -> None:
    with WaywardRelay({"GREETING": b"421 4.3.2 not now\r\n"}) as server:
        site = with_relay(planned, server.port)
        assert update(site).mails == 0
        assert update(site, NOW + MINUTE / 2).mails == 0
        assert server.connections == 1, "it is left alone while it is in trouble"
        server.answers["GREETING"] = b"220 relay.test ESMTP\r\n"
        assert update(site, NOW + 5 * MINUTE).mails == 1
        assert relays.all_in_trouble(planned.db) == []
        ended = update(site, NOW + 6 * MINUTE)
        assert keys([*ended.cleared]) == [f"relay:127.0.0.1 port {server.port}"]
        assert len(server.messages) == 2


def test_what_was_over_before_anybody_could_be_told_is_told_in_one_mail(planned: Site) -> None:
    with WaywardRelay({"GREETING": b"421 4.3.2 not now\r\n"}) as server:
        assert update(with_relay(planned, server.port)).mails == 0
    relays.answers(planned.db, f"127.0.0.1 port {server.port}", now=NOW)
    withhold(planned, "Z")
    assert update(planned, NOW + HOUR).mails == 1
    assert subjects(planned) == ["Over: 1 letter of 2020 cannot be made"]
    assert "It could not be mailed before." in mails(planned)[0].text
    assert update(planned, NOW + 2 * HOUR) == Update()


class Desk:
    """A relay that says of each recipient what it was told to say, and keeps whom it took."""

    def __init__(self) -> None:
        self.answers: dict[str, str] = {}
        self.asked: list[str] = []
        self.taken: list[str] = []

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any
    ) -> str:
        self.asked.append(address)
        answer = self.answers.get(address, "250 2.1.5 Ok")
        if answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(  # noqa: N802 - aiosmtpd's name
        self, _server: Any, _session: Any, envelope: Any
    ) -> str:
        self.taken += envelope.rcpt_tos
        return "250 2.0.0 Ok: queued as Q1"


@contextmanager
def desk() -> Iterator[tuple[Desk, int]]:
    handler, port = Desk(), free_port()
    controller = Controller(handler, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        yield handler, port
    finally:
        controller.stop()


def test_each_person_is_told_once_whoever_else_could_not_be(planned: Site) -> None:
    both = Telling(to=(OPS, ANN), quiet=QUIET)
    with desk() as (relay, port):
        site = with_relay(planned, port)
        relay.answers[ANN] = "450 4.2.0 greylisted"
        assert update(site, NOW, both).mails == 1
        assert update(site, NOW + MINUTE, both).mails == 0
        assert relay.asked == [OPS, ANN], "what was put off is not tried at each look"
        relay.answers.clear()
        assert update(site, NOW + 6 * MINUTE, both).mails == 1
        assert relay.taken == [OPS, ANN]
        relay.answers[OPS] = "550 5.1.1 unknown"
        withhold(planned, "Z")
        assert update(site, NOW + HOUR, both).mails == 1
        assert update(site, NOW + DAY, both).mails == 0, "somebody has been told"
        assert relay.taken == [OPS, ANN, ANN]


def test_while_everybody_is_refused_it_stays_owed(planned: Site) -> None:
    with desk() as (relay, port):
        site = with_relay(planned, port)
        relay.answers[OPS] = "550 5.1.1 unknown"
        assert update(site).mails == 0
        assert update(site, NOW + 59 * MINUTE).mails == 0
        assert len(relay.asked) == 1
        relay.answers.clear()
        assert update(site, NOW + HOUR).mails == 1
        assert update(site, NOW + DAY).mails == 0


def test_an_answer_that_was_lost_is_mailed_again_as_the_same_message(planned: Site) -> None:
    with WaywardRelay({"DOT": DROP}) as server:
        site = with_relay(planned, server.port)
        assert update(site).mails == 0
        assert update(site, NOW + MINUTE).mails == 0
        server.answers["DOT"] = b"250 2.0.0 Ok\r\n"
        assert update(site, NOW + 6 * MINUTE).mails == 1
        first, again = (email.message_from_bytes(one)["Message-ID"] for one in server.messages)
        assert first == again


def test_alerts_are_logged_by_kind_year_and_count(planned: Site, logged: Logged) -> None:
    fails(planned, NOW)
    update(planned)
    by_kind = {line["kind"]: line for line in logged.lines() if line["event"] == "alert.raised"}
    assert by_kind["faults"]["year"] == 2020
    assert (by_kind["faults"]["count"], by_kind["faults"]["mode"]) == (1, "live")
    assert by_kind["relay"]["relay"] == RELAY
    assert {line["level"] for line in by_kind.values()} == {"warning"}
    assert (logged.one("alert.mailed")["outcome"], logged.one("alert.mailed")["count"]) == (
        "accepted",
        2,
    )
    withhold(planned, "Z")
    update(planned, NOW + MINUTE)
    assert logged.one("alert.cleared")["kind"] == "faults"


# ---- several servers


def test_many_servers_at_once_raise_one_alert_and_mail_it_once(planned: Site, db_url: str) -> None:
    barrier = threading.Barrier(5)
    found: list[Update] = []

    def look() -> None:
        own = Database(db_url)
        try:
            barrier.wait()
            found.append(alerts.update(replace(planned.pipeline, ledger=own), TELLING, NOW))
        finally:
            own.close()

    for _ in range(2):  # raised, then over
        found.clear()
        threads = [threading.Thread(target=look) for _ in range(5)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        assert len(found) == 5
        assert sum(len(one.raised) + len(one.cleared) for one in found) == 1
        assert sum(one.mails for one in found) == 1
        withhold(planned, "Z")
    assert len(rows(planned.db)) == 1
    assert len(mails(planned)) == 2
    assert events(planned.db) == ["alert_raised", "alert_cleared"]


def claim(
    db: Database, owner: str, now: datetime, *, gone: Callable[[str], bool] = lambda _: False
) -> list[Change]:
    taken = ledger.claim(db, Mode.LIVE, owner=owner, gone=gone, quiet=QUIET, now=now)
    return [change for _, change in taken]


def test_who_mails_an_alert_holds_it_until_the_lease_is_over_or_the_process_is_gone(
    planned: Site,
) -> None:
    update(planned, telling=Telling())
    db = planned.db
    assert claim(db, "one", NOW) == [Change.RAISED]
    assert claim(db, "two", NOW + ledger.LEASE - MINUTE) == []
    assert claim(db, "two", NOW + MINUTE, gone=lambda owner: owner == "one") == [Change.RAISED]
    assert claim(db, "three", NOW + MINUTE + ledger.LEASE) == [Change.RAISED]
    [alert] = ledger.standing(db)
    assert ledger.is_held(db, [alert.id], owner="three")
    assert not ledger.is_held(db, [alert.id], owner="one"), "it writes no dot"
    ledger.mailed(db, alert, Change.RAISED, owner="one", now=NOW)
    ledger.put_off(db, alert, [OPS], owner="one", until=NOW)
    [row] = rows(db)
    assert (row.owner, row.mailed_at, row.taken) == ("three", None, [])
    assert claim(db, "four", NOW - DAY) == [Change.RAISED], "a lease from a clock that was wrong"


class Meanwhile(Database):
    """Statistics that another server raises an alert in the ledger with, while they are read."""

    ledger: Database

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        ledger.raise_(self.ledger, "bounces:2020", Mode.LIVE, {"count": 1}, quiet=QUIET, now=NOW)
        with super().read() as connection:
            yield connection


def test_what_another_server_raises_meanwhile_is_not_cleared(well: Site, db_url: str) -> None:
    """Whoever looked before it was there does not know of it, and leaves it to the next look."""
    statistics = Meanwhile(db_url)
    statistics.ledger = well.db
    pipeline = replace(well.pipeline, statistics=statistics)
    try:
        assert alerts.update(pipeline, Telling(), NOW) == Update()
        assert [one.cause for one in ledger.standing(well.db)] == ["bounces:2020"]
    finally:
        statistics.close()
    assert keys([*update(well, NOW + MINUTE).cleared]) == ["bounces:2020"]


def test_of_two_that_clear_an_alert_one_does(planned: Site) -> None:
    update(planned)
    [alert] = ledger.standing(planned.db)
    found = [ledger.clear(planned.db, alert, now=NOW) for _ in range(2)]
    assert found == [True, False]
    assert events(planned.db) == ["alert_raised", "alert_cleared"]


# ---- what needs a person


def test_nothing_needs_a_person_of_a_year_that_is_well(well: Site) -> None:
    assert causes(well) == []


def test_deliveries_are_told_by_what_became_of_them(well: Site) -> None:
    outcomes: list[Outcome] = [
        Lost(reason="time-out"),
        Rejected(reply=Reply(code=550, text="5.1.1 unknown")),
    ]
    for outcome in outcomes:
        claimed = well.claim()
        assert claimed is not None
        well.intend(claimed)
        assert deliveries.settle(well.db, claimed, outcome, now=NOW)
    well.send_all()
    last = sa.select(sa.func.max(schema.deliveries.c.id)).scalar_subquery()
    well.change(
        sa.update(schema.deliveries)
        .where(schema.deliveries.c.id == last)
        .values(state=State.BOUNCED.value)
    )
    found = {one.key: dict(one.what) for one in alerts.causes(well.pipeline, NOW)}
    assert found == {
        "in_doubt:2020": {"count": 1, "authorities": ["A"], "more": False},
        "refused:2020": {"count": 1, "authorities": ["A"], "more": False},
        "bounces:2020": {"count": 1, "authorities": ["B"], "more": False},
    }
    withhold(well, "A")
    assert causes(well) == ["bounces:2020"]


def test_returned_mail_and_a_relay_that_was_not_tried_for_a_day(well: Site) -> None:
    well.change(
        sa.insert(schema.returned_mail).values(
            sha256="1",
            read_at=NOW,
            place="the mailbox",
            kind=Returned.OTHER.value,
            size=1,
            sender="mary@council.example",
            subject="Mary Smith",
        )
    )
    assert causes(well) == ["returned_mail"]
    fails(well, NOW)
    assert causes(well) == [f"relay:{RELAY}", "returned_mail"]
    assert causes(well, NOW + 2 * DAY) == ["returned_mail"], "nobody knows whether it still is"


def test_a_missed_start_lasts_until_it_is_made_up_for_or_has_another_date(well: Site) -> None:
    due = NOW - 4 * DAY
    edition(well, due)
    starts.miss(well.db, 2020, Step.DISPATCH, Mode.LIVE, due_at=due, now=NOW)
    assert causes(well) == ["missed_start:2020:dispatch"]
    outbox = replace(well.pipeline.outbox, sender=replace(LIVE, mode=Mode.CAPTURE))
    assert "missed_start:2020:dispatch" not in causes(well, outbox=outbox), "that was not live"
    well.change(sa.update(schema.editions).values(dispatch_at=NOW + 9 * DAY))
    assert causes(well) == []
    well.change(sa.update(schema.editions).values(dispatch_at=due))
    well.send_all()
    assert causes(well) == []


def test_what_was_long_over_when_the_schedule_first_looked_is_history(
    db: Database, well: Site
) -> None:
    old = NOW - 400 * DAY
    edition(well, old, year=2019)
    starts.miss(db, 2019, Step.DISPATCH, Mode.LIVE, due_at=old, now=NOW)
    assert causes(well, people=1) == []
    edition(well, old - 365 * DAY, year=2018)  # at which no server has looked yet
    assert causes(well, people=1) == []


def test_approval_is_lacking_from_a_day_before_until_it_is_given(well: Site) -> None:
    edition(well, NOW)
    assert causes(well, NOW - DAY - MINUTE, people=1) == []
    [found] = alerts.causes(replace(well.pipeline, people=1), NOW - DAY)
    assert found.key == "approval:2020"
    assert found.what == {"due_at": NOW.isoformat(), "wanted": 1, "made": True}
    assert causes(well, NOW - DAY) == [], "nobody has to"
    assert causes(well, NOW + DAY, people=1) == ["approval:2020"], "and it is not late by itself"
    sender = well.pipeline.outbox.sender.identity
    approvals.approve(well.db, well.run, person="Ann", login="ann", now=NOW, sender=sender)
    assert causes(well, NOW - DAY, people=1) == []
    assert causes(well, NOW - DAY, people=2) == ["approval:2020"]


def test_approval_is_lacking_of_letters_that_nobody_has_made(well: Site) -> None:
    edition(well, NOW, year=2021)
    before = NOW - DAY
    found = {one.key: one for one in alerts.causes(replace(well.pipeline, people=2), before)}
    assert found["approval:2021"].what == {
        "due_at": NOW.isoformat(), "wanted": 2, "made": False,
    }  # fmt: skip
    assert "late_start:2021:prepare" in found, "they were to be made two days before"


def test_a_start_that_does_not_move_is_late_after_a_quarter_of_an_hour(well: Site) -> None:
    edition(well, NOW)
    assert causes(well, NOW + 14 * MINUTE) == []
    late = NOW + 15 * MINUTE
    assert causes(well, late) == ["late_start:2020:dispatch"]
    fails(well, late)
    assert causes(well, late) == [f"relay:{RELAY}"], "that is why"
    relays.answers(well.db, RELAY, now=late)
    hold = starts.take(
        well.db, 2020, Step.DISPATCH, Mode.LIVE, due_at=NOW, owner="server", lease=LEASE,
        gone=lambda _: False, now=late,
    )  # fmt: skip
    assert hold is not None
    assert causes(well, late) == [], "somebody is at it"
    assert causes(well, late + LEASE) == ["late_start:2020:dispatch"]
    holds.pause(well.db, well.run, because="wait", person="tester", now=NOW)
    [held] = alerts.causes(well.pipeline, late + LEASE)
    assert (held.key, held.what["because"]) == ("held:2020", "paused")
    assert causes(well, NOW - MINUTE) == [], "not due"
    holds.resume(well.db, well.run, person="tester", now=NOW)
    well.send_all()
    assert causes(well, late + LEASE) == []


def test_statistics_that_cannot_be_read_are_a_cause_and_what_was_frozen_still_counts(
    well: Site, tmp_path: Path
) -> None:
    gone = Database(f"sqlite:///{tmp_path}/gone.db", read_only=True)
    frozen = {"year": 2020, "dispatch_at": NOW.isoformat()}
    well.change(sa.update(schema.runs).values(edition=frozen))
    try:
        assert causes(well, NOW + HOUR, statistics=gone) == [
            "late_start:2020:dispatch",
            "statistics",
        ]
        pipeline = replace(well.pipeline, statistics=gone)
        with pytest.raises(Unavailable):
            tick(pipeline, NOW)
        assert subjects(well) == ["The statistics cannot be read"], (
            "though the tick goes no further"
        )
    finally:
        gone.close()
    edition(well, NOW, year=2021)
    well.change(sa.update(schema.editions).values(prepare_on=date(2999, 1, 1)))
    [found] = [one for one in alerts.causes(well.pipeline, NOW) if one.kind is Kind.STATISTICS]
    assert found.what == {"faults": 1}


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("mode", Mode)
def test_every_kind_of_cause_has_its_words(kind: Kind, mode: Mode) -> None:
    whats: list[dict[str, Any]] = [
        {"count": 1, "wanted": 1, "due_at": NOW.isoformat(), "since": NOW.isoformat(),
         "away": True},
        {"count": 3, "wanted": 2, "faults": 2, "because": "paused", "made": True,
         "authorities": ["A", "B"], "more": True},
    ]  # fmt: skip
    of = "relay.example:25 port 25" if kind is Kind.RELAY else ""
    year = None if kind in {Kind.RELAY, Kind.STATISTICS, Kind.RETURNED} else 2020
    steps = ["prepare", "dispatch"] if kind in {Kind.MISSED, Kind.LATE} else [of]
    for what in whats:
        for step in steps:
            cause = Cause(kind=kind, year=year, of=step, what=what)
            assert alerts.of_key(cause.key, what) == cause
            assert sentence(cause).endswith(".")
            assert "letters " in to_do(cause, mode)
            for said in (title(cause), sentence(cause), to_do(cause, mode)):
                assert "None" not in said
                assert "{" not in said
                assert "  " not in said


# ---- within a tick


class Nobody:
    """An engine that is never asked."""

    def each(self, job: Any, letters: Any) -> Any:
        raise AssertionError((job, letters))


def tick(pipeline: Pipeline, now: datetime) -> Tick:
    return schedule.tick(
        pipeline, Nobody(), now, catch_up_days=3, progress=Watched(), telling=TELLING
    )


def test_a_tick_takes_back_what_dead_workers_held_and_tells_of_the_doubt(well: Site) -> None:
    sending, claimed = well.claim(), well.claim()
    assert sending is not None
    assert claimed is not None
    well.intend(sending)
    assert causes(well) == []
    ticked = tick(well.pipeline, NOW)  # the leases ended when the letters were new
    assert ticked.alerts is not None
    assert keys([*ticked.alerts.raised]) == ["in_doubt:2020"]
    assert (ticked.exit_code, ticked.troubles) == (1, [])
    assert subjects(well) == ["1 delivery of 2020 in doubt"]
    with well.db.read() as connection:
        states = connection.scalars(sa.select(schema.deliveries.c.state)).all()
    assert sorted(states) == ["in_doubt", "queued", "queued", "queued"]
    assert tick(well.pipeline, NOW + MINUTE).exit_code == 0


def test_a_day_before_a_tick_says_that_approval_lacks_and_the_plan_says_when(well: Site) -> None:
    edition(well, NOW)
    pipeline = replace(well.pipeline, people=1)
    early = NOW - DAY - HOUR
    [year] = schedule.plan(pipeline, early, catch_up_days=3)
    assert (year.remind_at, year.dispatch_at) == (NOW - DAY, NOW)
    assert year.prepare_at == datetime(2020, 7, 18, 23, tzinfo=UTC)
    assert (year.prepared, year.dispatched) == (Standing.OPEN, Standing.WAITING)
    assert tick(pipeline, early).exit_code == 0
    told = tick(pipeline, NOW - DAY)
    assert told.alerts is not None
    assert (keys([*told.alerts.raised]), told.exit_code) == (["approval:2020"], 1)
    assert tick(pipeline, NOW - DAY + MINUTE).exit_code == 0
    [year] = schedule.plan(pipeline, NOW, catch_up_days=3)
    assert (year.prepared, year.dispatched) == (Standing.DONE, Standing.OPEN)
    assert schedule.plan(pipeline, NOW + 4 * DAY, catch_up_days=3) == [], "as missed"
    [plain] = schedule.plan(well.pipeline, NOW, catch_up_days=3)
    assert plain.remind_at is None


def test_a_mailbox_of_an_empty_ledger_needs_nobody(db: Database, tmp_path: Path) -> None:
    pipeline = Pipeline(
        ledger=db,
        statistics=db,
        archive=None,  # type: ignore[arg-type] # nothing is made
        template=tmp_path,
        wording=tmp_path,
        outbox=Outbox(sender=LIVE, relay=None, maildir=tmp_path / "captured"),
        people=2,
    )
    assert alerts.update(pipeline, TELLING, NOW) == Update()
    opened(db)
    assert alerts.update(pipeline, TELLING, NOW) == Update(), "no edition, no date"
    assert not (tmp_path / "captured").exists()
