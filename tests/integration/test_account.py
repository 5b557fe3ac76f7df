"""A year's account: every authority is there, and every delivery with what led to it."""

import csv
import io
import json
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from pipeline import schema
from pipeline.database import Database
from pipeline.delivery import Deferred, Mode, Reply
from pipeline.display.account import COLUMNS, write_csv, write_json
from pipeline.display.console import harmless
from pipeline.ledger import (
    account,
    approvals,
    deliveries,
    holds,
    letters,
    messages,
    renewal,
    runs,
    story,
)
from pipeline.ledger.account import Entry
from pipeline.ledger.letters import Faulted
from pipeline.ledger.messages import Sender
from pipeline.ledger.runs import Run
from tests.integration.test_ledger import (
    CAPTURE,
    LEASE,
    LIVE,
    NOW,
    OK,
    OPENING,
    letter,
    opened,
    prepare_all,
    settle,
)

REDIRECT = Sender(address=CAPTURE.address, mode=Mode.REDIRECT, redirect_to="me@office.example")
LATER = NOW + timedelta(hours=1)


def entries(db: Database, year: int = 2020) -> list[Entry]:
    return [one for some in account.entries(db, year) for one in some]


def send(db: Database, run: Run, mode: Mode, *outcomes: Any, now: datetime = NOW) -> None:
    """Take what is due, one delivery after another, with these outcomes; then all accepted."""
    given_outcomes = iter(outcomes)
    while True:
        claimed = deliveries.claim(db, run.id, mode, owner="worker", lease=LEASE, now=now)
        if claimed is None:
            return
        assert deliveries.intend(
            db, claimed, relay="relay.example:25", local_port=1, lease=LEASE, now=now
        )
        assert settle(db, claimed, next(given_outcomes, OK))


def test_every_delivery_and_every_letter_without_one_has_a_row(db: Database) -> None:
    run = opened(db, letter("A"), letter("B"), letter("C", fault="no address"), letter("D"))
    unmade = [one.id for one in letters.unprepared(db, run.id)]
    holds.withhold(db, run, unmade[2], because="in court", person="Ann", now=NOW)
    assert [(one.authority, one.state) for one in entries(db)] == [
        ("A", "unprepared"), ("B", "unprepared"), ("C", "fault"), ("D", "withheld"),
    ]  # fmt: skip
    letters.record(db, run.id, Faulted(letter_id=unmade[1], reason="no font"), now=NOW)
    prepare_all(db, run)
    holds.withhold(db, run, unmade[1], because="also in court", person="Ann", now=NOW)
    messages.plan(db, run.id, LIVE, now=NOW)
    send(db, run, Mode.LIVE)
    a_chief, a_link, b, c, d = entries(db)
    assert [one.recipient for one in (a_chief, a_link)] == ["chief@a.example", "link@a.example"]
    assert (a_chief.roles, a_link.roles) == (["chief"], ["link"])
    assert (a_chief.mode, a_chief.state, a_chief.attempts) == ("live", "accepted", 1)
    assert (a_chief.relay, a_chief.queue_id) == ("relay.example:25", "X1")
    assert a_chief.reply == "250 queued as X1"
    assert a_chief.tried == a_chief.intent == a_chief.settled == NOW
    assert a_chief.message_id == a_link.message_id
    assert (a_chief.pdf, a_chief.pages) == ("2020/A.pdf", 3)
    assert (b.mode, b.state, b.withheld_because) == (None, "withheld", "also in court")
    assert (c.mode, c.state, c.fault, c.pdf) == (None, "fault", "no address", None)
    assert (d.mode, d.state, d.withheld_because) == (None, "withheld", "in court")
    assert account.count(db, 2020) == 4
    assert entries(db, 2021) == []


def test_attempts_are_told_from_the_first_to_the_last(db: Database) -> None:
    run = opened(db, letter("A"))
    prepare_all(db, run)
    messages.plan(db, run.id, LIVE, now=NOW)
    later = Deferred(reply=Reply(code=451, text="come back"))
    send(db, run, Mode.LIVE, later, later)
    first, second = entries(db)
    assert (first.state, first.attempts, first.reply) == ("queued", 1, "451 come back")
    assert (first.settled, first.queue_id) == (None, None)
    send(db, run, Mode.LIVE, now=LATER)
    first, second = entries(db)
    assert (first.attempts, second.attempts) == (2, 2)
    assert (first.tried, first.intent) == (NOW, LATER)
    assert (first.state, first.reply, first.queue_id) == ("accepted", "250 queued as X1", "X1")


def test_a_resend_and_each_mode_have_rows_of_their_own(db: Database) -> None:
    run = opened(db, letter("A"))
    prepare_all(db, run)
    for sender in (CAPTURE, REDIRECT, LIVE):
        messages.plan(db, run.id, sender, now=NOW)
        send(db, run, sender.mode)
    [row] = [one.id for one in letters_of(db, run)]
    other = {"address": "new@a.example", "name": "", "roles": ["named"], "kind": "to"}
    request = messages.Request(to=[other], reason="a new chief", person="Ben")
    assert messages.resend(db, row, LIVE, request, now=LATER).new
    send(db, run, Mode.LIVE, now=LATER)
    found = entries(db)
    assert [(one.mode, one.recipient, one.roles) for one in found] == [
        ("capture", "chief@a.example", ["chief"]),
        ("capture", "link@a.example", ["link"]),
        ("redirect", "me@office.example", []),
        ("live", "chief@a.example", ["chief"]),
        ("live", "link@a.example", ["link"]),
        ("live", "new@a.example", ["named"]),
    ]
    again = found[-1]
    assert (again.resend_of, again.reason, again.requested_by) == (
        found[3].message_id, "a new chief", "Ben",
    )  # fmt: skip
    assert {one.resend_of for one in found[:-1]} == {None}


def letters_of(db: Database, run: Run) -> list[Any]:
    table = schema.letters
    with db.read() as connection:
        rows = connection.execute(
            sa.select(table).where(table.c.run_id == run.id).order_by(table.c.id)
        )
        return list(rows.all())


def test_of_a_cancelled_run_what_was_tried_is_told(db: Database) -> None:
    run = opened(db, letter("A"), letter("B"))
    prepare_all(db, run)
    messages.plan(db, run.id, CAPTURE, now=NOW)
    claimed = deliveries.claim(db, run.id, Mode.CAPTURE, owner="w", lease=LEASE, now=NOW)
    assert claimed is not None
    assert settle(db, claimed, Deferred(reply=Reply(code=451, text="full")))
    changed = replace(letter("A"), fields={"authority": "A Council", "salutation": "Ms New"})
    renewal.renew(db, run, OPENING, [changed, letter("B")], person="Ann", now=LATER, keep=True)
    old, a, b = entries(db)
    assert (old.run, old.run_cancelled, old.state, old.reply) == (
        run.id, LATER, "cancelled", "451 full",
    )  # fmt: skip
    assert (a.authority, a.state, b.state, a.run_cancelled) == ("A", "unprepared", "prepared", None)
    new = runs.find_run(db, 2020)
    assert new is not None
    assert {a.run, b.run} == {new.id}
    holds.cancel(db, new, because="given up", person="Ann", now=LATER)
    assert [one.run for one in entries(db)] == [run.id]


def test_who_had_approved_the_letter_before_it_was_tried(db: Database) -> None:
    run = opened(db, letter("A"), letter("B"))
    [first, second] = letters_of(db, run)
    made = letters.Prepared(
        letter_id=first.id, pdf="a.pdf", pdf_sha256="1" * 64, docx_sha256="2" * 64, pages=1
    )
    letters.record(db, run.id, made, now=NOW)
    failed = letters.Faulted(letter_id=second.id, reason="LibreOffice has stopped.")
    letters.record(db, run.id, failed, now=NOW)  # and is made only later
    minute = timedelta(minutes=1)
    approvals.approve(db, run, person="Ann", login="ann", now=NOW + minute)
    made_later = replace(made, letter_id=second.id, pdf="b.pdf")
    letters.record(db, run.id, made_later, now=NOW + 2 * minute)
    approvals.approve(db, run, person="Ben", login="ben", now=NOW + 3 * minute)
    assert [one.approved_by for one in entries(db)] == [["Ann", "Ben"], ["Ben"]]
    messages.plan(db, run.id, LIVE, now=NOW + 4 * minute)
    send(db, run, Mode.LIVE, now=NOW + 4 * minute)
    approvals.approve(db, run, person="Cid", login="cid", now=NOW + 5 * minute)
    found = {(one.authority, tuple(one.approved_by)) for one in entries(db)}
    assert found == {("A", ("Ann", "Ben")), ("B", ("Ben",))}


def test_a_letters_story_knows_the_runs_before_it(db: Database) -> None:
    run = opened(db, letter("A"), letter("B"))
    prepare_all(db, run)
    [_, b] = letters_of(db, run)
    messages.plan(db, run.id, CAPTURE, now=NOW)
    claimed = deliveries.claim(db, run.id, Mode.CAPTURE, owner="w", lease=LEASE, now=NOW)
    assert claimed is not None
    assert settle(db, claimed, Deferred(reply=Reply(code=451, text="full")))
    holds.withhold(db, run, b.id, because="in court", person="Ann", now=NOW)
    holds.release(db, run, b.id, CAPTURE, person="Ben", now=NOW)
    holds.withhold(db, run, b.id, because="in court again", person="Cid", now=LATER)
    changed = replace(letter("A"), fields={"authority": "A Council", "salutation": "Ms New"})
    renewal.renew(db, run, OPENING, [changed, letter("B")], person="Ann", now=LATER, keep=True)
    new = runs.find_run(db, 2020)
    assert new is not None
    [a, b] = letters_of(db, new)
    assert story.withheld_by(db, new, a) is None
    assert story.withheld_by(db, new, b) == "Cid"
    [earlier] = story.earlier(db, new, "A")
    [chief] = earlier.pop("deliveries")
    assert earlier == {
        "run": run.id,
        "opened_at": NOW.isoformat(),
        "opened_by": "tester",
        "cancelled_at": LATER.isoformat(),
        "how": "refreshed",
        "by": "Ann",
        "reason": None,
        "sha256": "1" * 64,
        "fault": None,
    }
    assert chief == {
        "mode": "capture",
        "recipient": claimed.recipient,
        "state": "cancelled",
        "tried_at": NOW.isoformat(),
        "reply": "451 full",
    }
    [earlier] = story.earlier(db, new, "B")
    assert earlier["deliveries"] == [], "nothing of it was tried"
    holds.cancel(db, new, because="given up", person="Cid", now=LATER)
    again = opened(db, letter("A"))
    ends = [(one["how"], one["by"], one["reason"]) for one in story.earlier(db, again, "A")]
    assert ends == [("refreshed", "Ann", None), ("cancelled", "Cid", "given up")]


def test_more_letters_than_one_page_and_each_revision(db: Database) -> None:
    run = opened(db, *(letter(f"E{number:05}") for number in range(1003)))
    table = schema.letters
    with db.write() as connection:  # a letter of figures that were put right afterwards
        one = dict(
            connection.execute(sa.select(table).where(table.c.authority_code == "E00499"))
            .one()
            ._mapping
        )
        again = {"revision": 2, "reissued_because": "miscounted", "reissued_by": "Ann"}
        again["replaces_id"] = one.pop("id")
        connection.execute(
            sa.update(table).where(table.c.id == again["replaces_id"]).values(superseded_at=NOW)
        )
        connection.execute(sa.insert(table).values({**one, **again}))
    found = [(one.authority, one.revision) for one in entries(db)]
    assert len(found) == account.count(db, 2020) == 1004
    assert found == sorted(found)
    assert found[499:501] == [("E00499", 1), ("E00499", 2)]
    assert [one.state for one in entries(db)][499:501] == ["replaced", "unprepared"]
    assert run.year == 2020


def test_it_is_of_one_moment_whatever_happens_meanwhile(db: Database) -> None:
    run = opened(db, *(letter(f"E{number:05}") for number in range(600)))
    reading = account.entries(db, 2020)
    first = next(reading)
    holds.withhold_unsent(db, run, because="stop", person="Ann", now=NOW)
    rest = list(reading)
    assert {one.state for some in (first, *rest) for one in some} == {"unprepared"}
    assert {one.state for one in entries(db)} == {"withheld"}


BARE = Entry(
    year=2020,
    run=1,
    run_opened=NOW,
    run_cancelled=None,
    authority="E1",
    name="A Council",
    revision=1,
    state="fault",
    fault=None,
    withheld_because=None,
    pdf=None,
    pdf_sha256=None,
    pages=None,
    prepared=None,
    approved_by=[],
)


def as_csv(*some: Entry, marked: bool = False) -> tuple[bytes, list[dict[str, str]]]:
    file = io.BytesIO()
    assert write_csv(some, file, marked=marked) == len(some)
    text = file.getvalue().decode("utf-8-sig" if marked else "utf-8")
    return file.getvalue(), list(csv.DictReader(io.StringIO(text, newline="")))


def test_every_fact_has_a_column() -> None:
    assert sorted(COLUMNS) == sorted(one.name for one in fields(Entry))
    data, rows = as_csv()
    assert (rows, data.count(b"\r\n")) == ([], 1)


@pytest.mark.parametrize(
    "name",
    [
        "Cyngor Sir Ynys Môn",
        'King\'s Lynn, "West" & Norfolk; =1+1',
        "two\nlines\r\nand more",
        "tab\tinside",
        "comma,",
        '"',
        "漢字",
    ],
)
def test_a_cell_comes_back_as_it_was(name: str) -> None:
    _, [row] = as_csv(replace(BARE, name=name, reply=name))
    assert (row["name"], row["reply"]) == (name, name)


@pytest.mark.parametrize(
    "text",
    [
        '=HYPERLINK("http://x.example","Council")',
        "=1+1",
        "+44 20 7946 0000",
        "-2+3+cmd|' /C calc'!A0",
        "@SUM(1+1)",
        "\t=1+1",
        "\r\n=1+1",
        "\n=1+1",
        "＝1+1",
    ],
)
def test_no_cell_is_a_formula(text: str) -> None:
    entry = replace(BARE, name=text, fault=text, approved_by=[text, "Ann"], reply=text)
    _, [row] = as_csv(entry)
    assert {row["name"], row["fault"], row["reply"]} == {f"'{text}"}
    assert row["approved_by"] == f"'{text}; Ann"
    file = io.BytesIO()
    write_json([entry], file)
    [told] = json.loads(file.getvalue())
    assert (told["name"], told["approved_by"]) == (text, [text, "Ann"])


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0")), min_size=1))
def test_whatever_is_said_keeps_to_its_cell(replies: list[str]) -> None:
    _, rows = as_csv(*(replace(BARE, reply=reply) for reply in replies))
    assert [row["reply"].removeprefix("'") for row in rows] == [
        harmless(reply).removeprefix("'") for reply in replies
    ]
    assert not any(row["reply"].startswith(tuple("=+-@\t\r\n")) for row in rows)
    assert {row["run"] for row in rows} == {"1"}


def test_times_are_utc_and_say_so_and_numbers_stand_bare() -> None:
    summer = datetime(2020, 7, 22, 8, 30, 15, 999, tzinfo=UTC)
    data, [row] = as_csv(replace(BARE, tried=summer, attempts=2, pages=3), marked=True)
    assert row["tried"] == "2020-07-22T08:30:15+00:00"
    assert data.startswith(b'\xef\xbb\xbf"year"')
    assert (row["attempts"], row["pages"], row["settled"]) == ("2", "3", "")
    assert data.splitlines()[1].startswith(b"2020,")


def test_json_is_one_array_however_long() -> None:
    for number in (0, 1, 3):
        file = io.BytesIO()
        assert write_json([replace(BARE, revision=each) for each in range(number)], file) == number
        assert [one["revision"] for one in json.loads(file.getvalue())] == list(range(number))
