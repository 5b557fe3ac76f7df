"""One letter replaced after a correction; on both databases, from pull to claim."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from pipeline import reissuing, run, schema
from pipeline.database import Database
from pipeline.delivery import Accepted, Lost, Mode, Reply, State
from pipeline.errors import Refused
from pipeline.ledger import approvals, deliveries, holds, looking, messages, reissues, story
from pipeline.ledger.letters import Faulted, FrozenLetter, Prepared
from pipeline.ledger.messages import Sender
from pipeline.ledger.runs import Run
from pipeline.prepare import Job
from pipeline.reissuing import Correction
from pipeline.run import Pipeline
from tests.integration.test_edition import Furnish, Silence, furnish, opened  # noqa: F401
from tests.integration.test_ledger import LEASE, LIVE, NOW, prepare_all

STEVENAGE, WATFORD = "E07000243", "E07000103"
DAY = date(2020, 9, 14)
OK = Accepted(reply=Reply(code=250, text="Ok"), queue_id="Q1")


class Prompt:
    """Makes no PDF, and says at once that it has: what is made of letters is tested elsewhere."""

    def each(self, _job: Job, each: Iterable[FrozenLetter]) -> Iterator[Prepared | Faulted]:
        for one in each:
            yield Prepared(
                letter_id=one.id, pdf="r2.pdf", pdf_sha256="3" * 64, docx_sha256="4" * 64, pages=3
            )


@pytest.fixture
def pipeline(furnish: Furnish) -> Pipeline:  # noqa: F811 - the fixture
    return furnish()


@pytest.fixture
def made(pipeline: Pipeline) -> Run:
    found = opened(pipeline)
    prepare_all(pipeline.ledger, found)
    messages.plan(pipeline.ledger, found.id, LIVE, now=NOW)
    return found


def claim(db: Database, found: Run, people: int = 0) -> deliveries.Claim | None:
    return deliveries.claim(db, found.id, Mode.LIVE, owner="w", lease=LEASE, now=NOW, people=people)


def send_all(db: Database, found: Run, outcome: Any = OK) -> list[str]:
    sent = []
    while (one := claim(db, found)) is not None:
        assert deliveries.intend(db, one, relay="r:25", local_port=1, lease=LEASE, now=NOW)
        assert deliveries.settle(db, one, outcome, now=NOW)
        sent.append(str(one.authority_code))
    return sent


def correct(db: Database, code: str = STEVENAGE, number: int = 3) -> None:
    with db.write() as connection:
        connection.execute(
            sa.insert(schema.decisions),
            [
                {
                    "case_reference": f"new {code} {at}",
                    "authority_code": code,
                    "decided_on": date(2020, 1, 7),
                    "outcome": "upheld",
                    "remedied_early": False,
                }
                for at in range(number)
            ],
        )


def row(db: Database, found: Run, code: str = STEVENAGE) -> Any:
    return story.find_letter(db, found, code)


def look(pipeline: Pipeline, found: Run, code: str = STEVENAGE) -> Correction:
    old = row(pipeline.ledger, found, code)
    return reissuing.look(pipeline, found, old, dated=DAY, progress=Silence())


def replaced(pipeline: Pipeline, found: Run, correction: Correction) -> Prepared | Faulted:
    return reissuing.reissue(
        pipeline, Prompt(), found, correction, because="miscounted", person="Ann", now=NOW
    )


def test_a_correction_is_shown_and_makes_a_revision_that_somebody_must_approve(
    pipeline: Pipeline, made: Run, db: Database
) -> None:
    send_all(db, made)
    before = row(db, made)
    correct(db)
    seen = look(pipeline, made)
    told = {one.what: (one.before, one.after) for one in seen.differences}
    assert told["upheld.part"] == (1, 4)
    assert told["remedy.whole"] == (1, 4)
    assert "letter_date" not in told
    assert seen.also == []
    assert row(db, made).revision == 1, "it was only looked at"

    assert isinstance(replaced(pipeline, made, seen), Prepared)
    new = row(db, made)
    assert (new.revision, new.replaces_id, new.reissued_by) == (2, before.id, "Ann")
    assert new.fields["letter_date"] == "14 September 2020"
    assert new.fields["replaces"] == "This replaces our letter of 22 July 2020."
    [earlier] = reissues.earlier(db, new)
    assert (earlier.revision, earlier.pdf_sha256, earlier.because) == (
        1, before.pdf_sha256, "miscounted",
    )  # fmt: skip
    summary = story.summary(db, made, Mode.LIVE)
    assert (summary.letters["prepared"], summary.unplanned) == (2, 1)
    assert [one.authority for one in story.statuses(db, made, Mode.LIVE)] == [WATFORD, STEVENAGE]
    assert [one.revision for one in looking.letters(db, made)] == [1, 2]

    # nobody is asked to approve the others, and of this one nothing goes before somebody has
    assert messages.plan(db, made.id, LIVE, now=NOW) == 0
    standing = run.approval_of(replace(pipeline, outbox=live(pipeline)), made)
    assert (standing.wanted, standing.lacking) == (1, 1)
    approvals.approve(db, made, person="Ben", login="ben", now=NOW, codes=[STEVENAGE])
    assert messages.plan(db, made.id, LIVE, now=NOW) == 1
    assert send_all(db, made) == [STEVENAGE, STEVENAGE]
    assert story.summary(db, made, Mode.LIVE).unplanned == 0


def live(pipeline: Pipeline) -> Any:
    sender: Sender = LIVE
    return replace(pipeline.outbox, sender=sender)


def test_what_of_the_old_one_had_not_gone_does_not_go(
    pipeline: Pipeline, made: Run, db: Database
) -> None:
    first = claim(db, made)
    assert first is not None
    assert first.authority_code == WATFORD
    correct(db, WATFORD)
    with pytest.raises(Refused, match="is being sent at this moment"):
        look(pipeline, made, WATFORD)
    assert deliveries.intend(db, first, relay="r:25", local_port=1, lease=LEASE, now=NOW)
    assert deliveries.settle(db, first, Lost(reason="dropped"), now=NOW)
    with pytest.raises(Refused, match=r"in doubt whether .*letters resolve E07000103 --year 2020"):
        look(pipeline, made, WATFORD)
    [doubt] = deliveries.doubts(db, made.id, Mode.LIVE)
    deliveries.resolve(db, doubt, State.ACCEPTED, evidence="found", now=NOW)
    seen = look(pipeline, made, WATFORD)
    replaced(pipeline, made, seen)
    assert send_all(db, made) == [STEVENAGE, STEVENAGE], "the copy of the old one is cancelled"
    with pytest.raises(Refused, match="just been replaced by somebody else"):
        replaced(pipeline, made, seen)
    assert row(db, made, WATFORD).revision == 2


def test_averages_that_move_and_others_that_changed_are_told(
    pipeline: Pipeline, made: Run, db: Database
) -> None:
    with db.write() as connection:  # else the published ones are what is printed
        connection.execute(sa.delete(schema.published_averages))
    correct(db, STEVENAGE, 40)
    correct(db, WATFORD, 1)
    seen = look(pipeline, made)
    moved = {(one.authority, one.measure): (one.before, one.after) for one in seen.moved}
    old = row(db, made, WATFORD).figures["upheld"]["average"]
    before, after = moved[WATFORD, "upheld"]
    assert before == old
    assert after is not None
    assert before is None or after > before
    assert seen.also == [(WATFORD, "Watford Borough Council")]
    assert not [one for one in seen.moved if one.authority == STEVENAGE]


def test_there_is_nothing_to_replace(pipeline: Pipeline, made: Run, db: Database) -> None:
    with pytest.raises(Refused, match=r"Nothing has changed.*letters resend E07000243"):
        look(pipeline, made)
    table = schema.letters
    with db.write() as connection:
        connection.execute(
            sa.update(table)
            .where(table.c.authority_code == STEVENAGE)
            .values(pdf=None, pdf_sha256=None, pages=None, prepared_at=None)
        )
    with pytest.raises(Refused, match=r"has not been made.*letters refresh 2020"):
        look(pipeline, made)
    with db.write() as connection:
        connection.execute(
            sa.update(schema.officers)
            .where(schema.officers.c.authority_code == WATFORD)
            .values(active_to=DAY - timedelta(days=1))
        )
    with pytest.raises(Refused, match=r"cannot be composed anew: .* no chief executive"):
        look(pipeline, made, WATFORD)


def test_one_revision_is_withheld_like_any_letter(
    pipeline: Pipeline, made: Run, db: Database
) -> None:
    send_all(db, made)
    correct(db)
    replaced(pipeline, made, look(pipeline, made))
    approvals.approve(db, made, person="Ben", login="ben", now=NOW, codes=[STEVENAGE])
    holds.withhold(db, made, row(db, made).id, because="not yet", person="Ann", now=NOW)
    assert messages.plan(db, made.id, LIVE, now=NOW) == 0
    assert holds.withhold_unsent(db, made, because="all", person="Ann", now=NOW).letters == 0
    assert holds.release(db, made, row(db, made).id, LIVE, person="Ann", now=NOW)
    assert messages.plan(db, made.id, LIVE, now=NOW) == 0, "its approval ended"
