"""Corrections taken into an open run: all that changed, nothing that did not."""

from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from pipeline import schema
from pipeline.database import Database
from pipeline.delivery import Mode
from pipeline.errors import Refused
from pipeline.ledger import approvals, deliveries, holds, letters, messages, renewal, runs, story
from pipeline.ledger.renewal import Renewal
from pipeline.ledger.runs import Opening, Run
from pipeline.letter import Letter
from tests.integration.test_ledger import (
    CAPTURE,
    LEASE,
    LIVE,
    NOW,
    OK,
    OPENING,
    intend,
    letter,
    opened,
    prepare_all,
    settle,
)


def renewed(
    db: Database, run: Run, *now_composed: Letter, opening: Opening = OPENING, keep: bool = True
) -> Renewal:
    return renewal.renew(db, run, opening, now_composed, person="Ann", now=NOW, keep=keep)


def corrected(code: str, **fields: Any) -> Letter:
    one = letter(code)
    return replace(one, fields={**one.fields, **fields})


def live_run(db: Database) -> Run:
    found = runs.find_run(db, 2020)
    assert found is not None
    return found


@pytest.fixture
def ready(db: Database) -> Run:
    run = opened(db)
    prepare_all(db, run)
    return run


def test_nothing_changed_leaves_the_run_alone(db: Database, ready: Run) -> None:
    assert renewed(db, ready, letter("A"), letter("B")).is_empty
    assert live_run(db) == ready
    with db.read() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(schema.runs)) == 1


def test_only_what_changed_is_made_again(db: Database, ready: Run) -> None:
    before = story.find_letter(db, ready, "B")
    assert before is not None
    done = renewed(db, ready, corrected("A", salutation="Ms New"), letter("B"))
    assert done.kept == 1
    [change] = done.changes
    assert (change.authority, change.change) == ("A", "changed")
    [difference] = change.differences
    assert (difference.what, difference.before, difference.after) == ("salutation", None, "Ms New")
    new = live_run(db)
    assert new.id != ready.id
    kept = story.find_letter(db, new, "B")
    assert kept is not None
    assert (kept.pdf, kept.pdf_sha256, kept.prepared_at) == (
        before.pdf, before.pdf_sha256, before.prepared_at,
    )  # fmt: skip
    assert [one.authority_code for one in letters.unprepared(db, new.id)] == ["A"]
    e = schema.events
    with db.read() as connection:
        [noted] = connection.execute(sa.select(e).where(e.c.kind == "run_refreshed")).all()
    assert (noted.person, noted.run_id, noted.data["changed"]) == ("Ann", ready.id, ["A"])


def test_figures_recipients_and_faults_are_told(db: Database, ready: Run) -> None:
    one = letter("A", fault="no address")
    figures = {"upheld": {**one.figures["upheld"], "average": 46}}
    change = renewed(db, ready, replace(one, figures=figures, recipients=[]), letter("B")).changes[
        0
    ]
    told = {each.what: (each.before, each.after) for each in change.differences}
    assert told == {
        "upheld.average": (45, 46),
        "recipients": (["chief@a.example", "link@a.example"], []),
        "fault": (None, "no address"),
    }


def test_a_fault_in_the_data_is_cured_by_a_refresh(db: Database) -> None:
    run = opened(db, letter("A", fault="no address"), letter("B"))
    assert renewed(db, run, letter("A"), letter("B")).changes[0].differences[0].what == "fault"
    assert letters.count_unprepared(db, live_run(db).id) == 2


def test_authorities_come_and_go(db: Database, ready: Run) -> None:
    done = renewed(db, ready, letter("B"), letter("C"))
    assert [(one.authority, one.change) for one in done.changes] == [("A", "gone"), ("C", "new")]
    assert done.kept == 0, "proved against other names, so it is proved again"


def test_another_template_makes_every_letter_again(db: Database, ready: Run) -> None:
    opening = replace(OPENING, template_sha256="f" * 64)
    done = renewed(db, ready, letter("A"), letter("B"), opening=opening)
    assert (done.kept, done.changes, [one.what for one in done.shared]) == (0, [], ["template"])
    assert letters.count_unprepared(db, live_run(db).id) == 2


def test_only_looking_changes_nothing(db: Database, ready: Run) -> None:
    done = renewed(db, ready, corrected("A", salutation="Ms New"), letter("B"), keep=False)
    assert len(done.changes) == 1
    assert live_run(db) == ready
    with db.read() as connection:
        rows = connection.execute(sa.select(schema.events.c.kind)).scalars().all()
    assert "run_refreshed" not in rows


def test_what_was_withheld_or_paused_stays_so(db: Database, ready: Run) -> None:
    letter_id = {row.authority: row for row in story.statuses(db, ready, Mode.LIVE)}
    assert set(letter_id) == {"A", "B"}
    found = story.find_letter(db, ready, "A")
    assert found is not None
    holds.withhold(db, ready, found.id, because="has left", person="Ann", now=NOW)
    holds.pause(db, ready, because="wait", person="Ann", now=NOW)
    renewed(db, live_run(db), letter("A"), corrected("B", salutation="Ms New"))
    new = live_run(db)
    assert (new.paused_by, new.paused_because) == ("Ann", "wait")
    again = story.find_letter(db, new, "A")
    assert again is not None
    assert (again.withheld_because, again.pdf) == ("has left", found.pdf)


def test_a_rehearsal_does_not_stand_in_the_way_and_is_not_repeated_of_itself(
    db: Database, ready: Run
) -> None:
    messages.plan(db, ready.id, CAPTURE, now=NOW)
    claimed = deliveries.claim(db, ready.id, Mode.CAPTURE, owner="w", lease=LEASE, now=NOW)
    assert claimed is not None
    with pytest.raises(Refused, match="being made at this moment"):
        renewed(db, ready, letter("A"))
    assert intend(db, claimed)
    assert settle(db, claimed, OK)
    renewed(db, ready, letter("A"))
    old = deliveries.claim(db, ready.id, Mode.CAPTURE, owner="w", lease=LEASE, now=NOW)
    assert old is None, "what was queued of the old run is cancelled"


def test_an_approved_run_is_not_refreshed(db: Database, ready: Run) -> None:
    approvals.approve(db, ready, person="Bob", login="bob", now=NOW)
    with pytest.raises(Refused, match=r"approved as they stand by Bob.*letters cancel 2020"):
        renewed(db, ready, letter("A"))
    assert live_run(db) == ready


def test_a_run_that_has_reached_an_authority_is_not_refreshed(db: Database, ready: Run) -> None:
    messages.plan(db, ready.id, LIVE, now=NOW)
    claimed = deliveries.claim(db, ready.id, Mode.LIVE, owner="w", lease=LEASE, now=NOW)
    assert claimed is not None
    assert intend(db, claimed)
    with pytest.raises(Refused, match="1 delivery of 2020 may have reached"):
        renewed(db, ready, letter("A"))
    assert live_run(db) == ready
    with db.read() as connection:
        states = connection.scalars(sa.select(schema.deliveries.c.state)).all()
    assert "cancelled" not in states
