"""A year from its data to its account, with an operator who does everything late and wrong.

The clock is the schedule's: each step is a tick at a moment of that year, or what a person does
then. At the end every authority stands in one known state, and everybody has what they should have.
"""

from collections import Counter
from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
import sqlalchemy as sa

from pipeline import audit, readiness, reissuing, run, schema
from pipeline.delivery import Mode, State
from pipeline.errors import Refused
from pipeline.ledger import account, approvals, holds, messages, story
from pipeline.ledger.messages import Request
from pipeline.reconciliation import reconcile
from pipeline.schedule import Standing
from pipeline.schema import Step
from tests.integration.test_schedule import (
    DAY,
    DISPATCH,
    HOUR,
    PREPARE,
    SENT,
    Office,
    Silence,
    converter,  # noqa: F401 - a fixture
    furnish,  # noqa: F401 - a fixture
    only,
)

STEVENAGE, WATFORD, WYCOMBE = "E07000243", "E07000103", "E07000007"
DARTMOOR, NOWHERE = "E26000001", "E08000016"
CODES = [STEVENAGE, WATFORD, WYCOMBE, DARTMOOR, NOWHERE]


def without_an_address(tables: dict[str, list[dict[str, Any]]]) -> None:
    for row in tables["officers"]:
        if row["authority_code"] == NOWHERE and row["role"] == "chief_executive":
            row["email"] = ""


def row(office: Office, code: str) -> Any:
    return story.find_letter(office.db, office.run, code)


def approve(office: Office, person: str, **other: Any) -> approvals.Approved:
    return approvals.approve(
        office.db,
        office.run,
        person=person,
        login=other.pop("login", person.casefold()),
        now=DISPATCH,
        sender=office.pipeline.outbox.sender.identity,
        **other,
    )


def states(office: Office) -> dict[str, str]:
    return {one.authority: one.state for one in story.statuses(office.db, office.run, Mode.CAPTURE)}


def correct_the_address(office: Office) -> None:
    o = schema.officers
    with office.db.write() as connection:
        connection.execute(
            sa.update(o)
            .where(o.c.authority_code == NOWHERE, o.c.role == "chief_executive")
            .values(email="chief@nowhere.gov.example")
        )


def one_more_decision(office: Office, code: str) -> None:
    with office.db.write() as connection:
        connection.execute(
            sa.insert(schema.decisions).values(
                case_reference=f"late {code}",
                authority_code=code,
                decided_on=date(2020, 1, 7),
                outcome="upheld",
                remedied_early=False,
            )
        )


def replaced(office: Office, code: str, dated: date) -> None:
    correction = reissuing.look(
        office.pipeline, office.run, row(office, code), dated=dated, progress=Silence()
    )
    reissuing.reissue(
        office.pipeline,
        office.engine,
        office.run,
        correction,
        because="found too late",
        person="Ann",
        now=DISPATCH,
    )


def test_a_year_of_an_operator_who_does_everything_late_and_wrong(
    furnish: Callable[..., Office],  # noqa: F811 - the fixture
) -> None:
    office = furnish(without_an_address, codes=[*CODES, "E06000060"], people=2)  # and its successor
    pipeline, db = office.pipeline, office.db

    # Weeks before: the check says that one letter cannot be written to anybody. Nobody reads it.
    found = readiness.look(pipeline, 2020, now=PREPARE - 20 * DAY)
    assert found.is_blocked
    assert [one.code for one in found.findings if one.check is readiness.Check.FAULT] == [NOWHERE]

    # The week before: the schedule makes what can be made.
    made = office.untroubled(PREPARE)
    assert only(made, Step.PREPARE).standing is Standing.DONE
    assert states(office) == dict.fromkeys(CODES, "prepared") | {NOWHERE: "fault"}

    # The day: nobody has approved, so nothing goes, and the schedule says so.
    waiting = only(office.untroubled(DISPATCH), Step.DISPATCH)
    assert waiting.standing is Standing.OPEN
    assert waiting.result is not None
    assert (waiting.result.awaiting, waiting.result.unapproved, office.mails) == (2, 4, 0)

    # An hour late: Ann approves a proof that nobody made, then twice, then as Ben.
    with pytest.raises(Refused, match="not those that you have looked at"):
        approve(office, "Ann", seen="0" * 12)
    assert approve(office, "Ann").new == 4
    assert approve(office, "Ann Other", login="ann").new == 0
    with pytest.raises(Refused, match="logged in as ann"):
        approve(office, "ANN", login="ben")
    assert only(office.untroubled(DISPATCH + HOUR), Step.DISPATCH).standing is Standing.OPEN
    assert office.mails == 0

    # She withholds the wrong letter and lets it go again: that one alone lost her approval.
    holds.withhold(
        db, office.run, row(office, WATFORD).id, because="wrong one", person="Ann", now=DISPATCH
    )
    holds.release(
        db,
        office.run,
        row(office, WATFORD).id,
        pipeline.outbox.sender,
        person="Ann",
        now=DISPATCH,
    )
    approve(office, "Ben")
    office.untroubled(DISPATCH + 2 * HOUR)
    assert {code for code, state in states(office).items() if state == "accepted"} == {
        STEVENAGE,
        WYCOMBE,
        DARTMOOR,
    }
    assert states(office)[WATFORD] == "prepared"

    # Now the address is put right: too late to begin anew, and not too late for that letter.
    correct_the_address(office)
    with pytest.raises(Refused, match="have been approved as they stand by"):
        run.refresh(pipeline, office.run, person="Ann", keep=True, progress=Silence())
    replaced(office, NOWHERE, date(2020, 7, 23))
    assert row(office, NOWHERE).fields["replaces"] == ""
    approve(office, "Ann")
    office.untroubled(DISPATCH + DAY)
    assert states(office)[WATFORD] == "accepted"
    assert states(office)[NOWHERE] == "prepared", "Ben has not seen it"
    approve(office, "Ben", codes=[NOWHERE])
    assert office.news(DISPATCH + 2 * DAY) == SENT
    assert set(states(office).values()) == {"accepted"}

    # A week later a decision turns up. The letter is replaced, and the others are left alone.
    one_more_decision(office, STEVENAGE)
    replaced(office, STEVENAGE, date(2020, 7, 30))
    approve(office, "Ben", codes=[STEVENAGE])
    office.untroubled(DISPATCH + 8 * DAY)
    office.by_hand()
    assert states(office)[STEVENAGE] == "prepared", "one of two people"
    approve(office, "Ann", codes=[STEVENAGE])
    office.by_hand()
    assert states(office)[STEVENAGE] == "accepted"
    assert row(office, STEVENAGE).fields["replaces"] == "This replaces our letter of 22 July 2020."

    # And Watford asks for another copy, which two people send it.
    request = Request(reason="lost in the post", person="Ann")
    again = [
        messages.resend(db, row(office, WATFORD).id, pipeline.outbox.sender, request, now=DISPATCH)
        for _ in range(2)
    ]
    assert [one.new for one in again] == [True, False]
    run.send_only(pipeline, office.run, [again[0].id], progress=Silence())
    office.by_hand()

    # Months later nobody has to ask how anything stands.
    assert set(states(office).values()) == {"accepted"}
    result = run.stands(pipeline, office.run)
    assert result.is_finished
    assert result.summary.letters == {"prepared": 5, "fault": 0, "unprepared": 0, "withheld": 0}
    accounted = [one for some in account.entries(db, 2020) for one in some]
    assert {one.authority for one in accounted} == set(CODES)
    assert {one.state for one in accounted} == {State.ACCEPTED.value, "replaced"}
    assert [one.authority for one in accounted if one.state == "replaced"] == [NOWHERE]
    assert all(set(one.approved_by) == {"Ann", "Ben"} for one in accounted if one.mode is not None)
    copies = Counter(
        (one.authority, one.revision, one.recipient, one.message_id)
        for one in accounted
        if one.mode is not None
    )
    assert set(copies.values()) == {1}
    assert office.mails == len(copies), "nobody has anything twice, and nobody lacks anything"
    times = Counter(one.authority for one in accounted if one.mode is not None)
    each = {code: len(row(office, code).recipients) for code in CODES}
    assert times == {
        **each,
        STEVENAGE: 2 * each[STEVENAGE],
        WATFORD: 2 * each[WATFORD],
    }
    sound = list(audit.examine(db, pipeline.archive, 2020, progress=Silence()))
    assert not [one for one in sound if one.needs_a_person]
    assert list(reconcile(pipeline, 2020, now=DISPATCH + 90 * DAY, progress=Silence())) == []
