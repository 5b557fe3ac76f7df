"""A year's data, looked at before anybody reads a letter: each kind of finding, on both databases.

Each test compares the whole list, so that what is not expected shows as well.
"""

import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from pipeline import readiness, schema
from pipeline.archive import Archive
from pipeline.database import Database
from pipeline.delivery import Mode
from pipeline.dispatch import Outbox
from pipeline.errors import Refused, Unavailable
from pipeline.ledger.messages import Sender
from pipeline.readiness import Account, Finding, Readiness, Totals
from pipeline.run import Pipeline
from tests.acceptance.site import ROOT
from tests.integration.test_source import (
    authority,
    decided,
    keep,
    officer,
    put,
    recorded,
    site,
)

EARLY = datetime(2020, 7, 1, 9, tzinfo=UTC)
FACTS = ("delegates", "delegate_authorities", "courses", "people", "more_courses")
EDITION: dict[str, Any] = {
    "year": 2020,
    "letter_date": date(2020, 7, 22),  # a Wednesday
    "published_on": date(2020, 7, 29),
    "period_start": date(2019, 4, 1),
    "period_end": date(2020, 3, 31),
    "signatory": "Michael King",
    "signatory_posts": ["Ombudsman"],
    "facts": dict.fromkeys(FACTS, 7),
}
LAST_YEAR = date(2018, 6, 1)

Fill = Callable[..., None]
Told = tuple[str, str, str | None, str, str]


def wired(ledger: Database, statistics: Database, folder: Path, mode: Mode = Mode.CAPTURE) -> Any:
    return Pipeline(
        ledger=ledger,
        statistics=statistics,
        archive=Archive(str(folder / "archive")),
        template=ROOT / "templates" / "letter.docx",
        wording=ROOT / "templates",
        outbox=Outbox(
            sender=Sender(address="letters@ombudsman.example", mode=mode),
            relay=None,
            maildir=folder / "captured",
        ),
        people=0,
    )


@pytest.fixture
def pipeline(db: Database, db_url: str, tmp_path: Path) -> Iterator[Pipeline]:  # noqa: ARG001
    """Wired so that neither the ledger nor the statistics can be written to."""
    ledger = Database(db_url, read_only=True)
    statistics = Database(db_url, read_only=True)
    yield wired(ledger, statistics, tmp_path)
    statistics.close()
    ledger.close()


def well(code: str, **other: Any) -> list[tuple[sa.Table, dict[str, Any]]]:
    """An authority of which there is nothing to say."""
    return [
        (schema.authorities, authority(code, **other)),
        (schema.officers, officer(code)),
        (schema.officers, officer(code, "link_officer")),
        (schema.decisions, decided(code, "upheld")),
        (schema.decisions, decided(code, "not_upheld")),
        (schema.compliance, recorded(code, "complied")),
    ]


def fill(db: Database, *rows: tuple[sa.Table, dict[str, Any]], **edition: Any) -> None:
    put(db, schema.editions, {**EDITION, **edition})
    for table, row in rows:
        put(db, table, row)


def some(number: int, make: Callable[..., dict[str, Any]], *given: Any, **named: Any) -> Any:
    table = schema.decisions if make is decided else schema.compliance
    return [(table, make(*given, **named)) for _ in range(number)]


def look(pipeline: Pipeline, now: datetime = EARLY, **named: Any) -> Readiness:
    return readiness.look(pipeline, 2020, now=now, **named)


def told(findings: Sequence[Finding]) -> list[Told]:
    return [(one.kind.value, one.check.value, one.code, one.found, one.fix) for one in findings]


def test_a_year_of_which_there_is_nothing_to_say(db: Database, pipeline: Pipeline) -> None:
    fill(db, *well("A"), *well("B"))
    found = look(pipeline)
    assert found == Readiness(
        year=2020,
        from_run=False,
        account=Account(
            register=2,
            to_send=2,
            withheld=0,
            faulted=0,
            no_letter=0,
            unaccounted=0,
            struck_off=0,
        ),
        letters=Totals(investigated=4, upheld=2, remedied_early=0, compliance_due=2, complied=2),
        period=found.letters,
        compared_with=None,
        findings=[],
    )
    assert not found.is_blocked
    assert readiness.findings(pipeline, 2020, now=EARLY) == []


def test_a_check_writes_nothing(db: Database, pipeline: Pipeline, tmp_path: Path) -> None:
    fill(db, *well("A"), *well("B"))

    def everything() -> Any:
        with db.read() as connection:
            return {
                table.name: connection.execute(sa.select(table)).all()
                for table in schema.metadata.sorted_tables
            }

    before = everything()
    look(pipeline)  # of databases that refuse to be written to
    assert everything() == before
    assert not (tmp_path / "archive").exists()
    assert not (tmp_path / "captured").exists()


def test_who_is_written_to(db: Database, pipeline: Pipeline) -> None:
    names = ("ACTING", "APART", "BOTH", "GONE", "LACKS", "LEAVES", "NONE", "ONEBOX", "OTHERS")
    more = ("SHARED", "STAYS", "SUBDOMAIN", "SYNTAX", "TWICE", "VACANT", "WELL")
    fill(db, *(row for name in (*names, *more) for row in well(name)))
    o = schema.officers

    def now(code: str, role: str = "chief_executive", **values: Any) -> None:
        with db.write() as connection:
            connection.execute(
                sa.update(o).where(o.c.authority_code == code, o.c.role == role).values(**values)
            )

    now("ACTING", given_name="Jo", post="Chief Executive (Acting)")
    now("APART", "link_officer", email="link@elsewhere.example")
    put(db, o, officer("BOTH", family_name="Smith", email="second@both.example"))
    now("GONE", "link_officer", active_to=date(2020, 7, 21))
    now("LACKS", "link_officer", email=None)
    now("LEAVES", active_to=date(2020, 7, 29))
    now("NONE", email="  ")
    put(db, o, officer("ONEBOX", family_name="Smith"))
    put(db, o, officer("OTHERS", "leader", email="no at all"))
    put(db, o, officer("OTHERS", "monitoring_officer", email="@", active_to=date(2020, 7, 21)))
    now("SHARED", email="Chief_Executive@well.example")
    now("STAYS", active_to=date(2020, 7, 30))
    now("SUBDOMAIN", "link_officer", email="link@complaints.subdomain.example")
    now("SYNTAX", email="chief executive@syntax.example")
    now("TWICE", "link_officer", email="Chief_Executive@twice.example")
    now("VACANT", family_name=None)

    one_box = "Correct officers.email if they are two mailboxes."
    ended = "If one has left, end that row of officers with active_to."
    add = "Add the link officer to officers, with an address, if there is one."
    own = "Look whether it is the authority's own; correct officers.email if it is not."
    again = "Mend it; then: letters check 2020"
    assert told(look(pipeline).findings) == [
        ("blocking", "fault", "NONE", "There is no address for the chief executive of NONE Council;"
         " fill in officers.email.", again),
        ("blocking", "fault", "SYNTAX", "The address 'chief executive@syntax.example' cannot be"
         " written to: it holds a space, or two addresses with a space between them. It is that of"
         " the chief executive of SYNTAX Council; correct officers.email.", again),
        ("advisory", "address", "OTHERS", "The address 'no at all' cannot be written to: it has no"
         " @. It is that of its leader, who is not written to this year.",
         "Correct officers.email before somebody writes to it."),
        ("advisory", "shared", "SHARED", "chief_executive@well.example gets 2 letters: those of"
         " SHARED and WELL.", "Correct officers.email if it is not one mailbox for all of them."),
        ("advisory", "apart", "APART", "Its letter goes to different domains:"
         " chief_executive@apart.example and link@elsewhere.example.", own),
        ("advisory", "apart", "SHARED", "Its letter goes to different domains:"
         " Chief_Executive@well.example and link_officer@shared.example.", own),
        ("advisory", "twice", "ONEBOX", "chief_executive@onebox.example is that of Jones and Smith"
         " as chief executive, and gets one copy.", one_box),
        ("advisory", "twice", "TWICE", "chief_executive@twice.example is that of Jones as chief"
         " executive and link officer, and gets one copy.", one_box),
        ("advisory", "vacant", "VACANT", "The post of Chief Executive is vacant; the letter greets"
         " the post.", "Fill in the names in officers if somebody has been appointed."),
        ("advisory", "interim", "ACTING", "Jo Jones is Chief Executive (Acting).",
         "Look whether somebody has been appointed since; correct officers if so."),
        ("advisory", "joint", "BOTH", "Jones and Smith hold the post together; the letter greets"
         " and goes to all of them.", ended),
        ("advisory", "joint", "ONEBOX", "Jones and Smith hold the post together; the letter greets"
         " and goes to all of them.", ended),
        ("advisory", "lacking", "GONE", "It has no link officer with an address, so no copy goes"
         " there; the last one ended on 21 July 2020.", add),
        ("advisory", "lacking", "LACKS", "It has no link officer with an address, so no copy goes"
         " there.", add),
        ("advisory", "leaving", "LEAVES", "Jones is its chief executive until 29 July 2020 only.",
         "Look whether the letter should go to whoever follows; correct officers if so."),
    ]  # fmt: skip


def test_of_several_recipients_the_one_at_another_domain_is_named(
    db: Database, pipeline: Pipeline
) -> None:
    leader = officer("A", "leader", email="leader@elsewhere.example")
    fill(db, *well("A"), *well("B"), copied_roles=["link_officer", "leader"])
    put(db, schema.officers, leader, officer("B", "leader"))
    [one] = look(pipeline).findings
    assert (one.code, one.found) == (
        "A",
        "leader@elsewhere.example is at another domain than everybody else it goes to.",
    )


def test_an_address_that_is_only_an_example_blocks_where_letters_would_go_there(
    db: Database, pipeline: Pipeline
) -> None:
    fill(db, *well("A"), *well("B"))
    live = replace(pipeline.outbox, sender=replace(pipeline.outbox.sender, mode=Mode.LIVE))
    found = look(replace(pipeline, outbox=live)).findings
    assert told(found)[0] == (
        "blocking", "reserved", "A",
        "Mail to a.example never arrives: the name is reserved for examples.",
        "Correct officers.email. Mend it; then: letters check 2020",
    )  # fmt: skip
    assert [one.code for one in found] == ["A", "B"]


def test_what_is_on_the_register(db: Database, pipeline: Pipeline) -> None:
    fill(
        db,
        *well("A"),
        *well("B", name=" a council "),
        *well("b"),
        *well("NEW", active_from=date(2020, 4, 1)),
        *well("OLD", active_to=date(2019, 3, 31)),
        *well("ENDS", active_to=date(2020, 3, 31), successor_code="NEW"),
        *well("BROKEN", successor_code="NOBODY"),
        *well("PARK", kind="national_park"),
        *well("COUNTY", kind="county"),
        (schema.officers, officer("STRAY", "leader")),
    )
    # in the period, of those that have no letter; and the last of them has none to do with it
    with db.write() as connection:
        for table in (schema.decisions, schema.compliance):
            connection.execute(sa.delete(table).where(table.c.authority_code.in_(["NEW", "OLD"])))
    found = look(pipeline)
    assert found.account == Account(
        register=9, to_send=7, withheld=0, faulted=0, no_letter=2, unaccounted=0, struck_off=0
    )
    assert told(found.findings) == [
        ("advisory", "shared", "B", "chief_executive@b.example gets 2 letters: those of B and b.",
         "Correct officers.email if it is not one mailbox for all of them."),
        ("advisory", "shared", "B", "link_officer@b.example gets 2 letters: those of B and b.",
         "Correct officers.email if it is not one mailbox for all of them."),
        ("advisory", "register", "STRAY", "1 officer of STRAY, which is not on the register.",
         "Correct officers.authority_code, or add the authority to the register."),
        ("advisory", "register", "BROKEN", "Its successor, NOBODY, is not on the register.",
         "Correct successor_code, or add the successor to authorities."),
        ("advisory", "register", "A", "A and B have the same name (A Council), and each gets a"
         " letter.", "If it is one authority, leave one row, or end the other with active_to."),
        ("advisory", "register", "B", "B and b have the same code ( a council ), and each gets a"
         " letter.", "If it is one authority, leave one row, or end the other with active_to."),
        ("advisory", "peers", None, "Only one letter is of the kind county: it is compared with"
         " itself.", "Nothing, if they are of that kind; else correct authorities.kind."),
        ("advisory", "peers", None, "1 letter of the kind national park: these have no average to"
         " compare with.", "Nothing, if they are of that kind; else correct authorities.kind."),
        ("advisory", "no_letter", "NEW", "It gets no letter: it exists from 1 April 2020, after the"
         " period.", "Nothing, if these are its dates; else correct authorities."),
        ("advisory", "no_letter", "OLD", "It gets no letter: it existed until 31 March 2019, before"
         " it.", "Nothing, if these are its dates; else correct authorities."),
    ]  # fmt: skip


def test_what_counts_in_nobodys_letter(db: Database, pipeline: Pipeline) -> None:
    d, c, r = schema.decisions, schema.compliance, schema.remarks
    fill(
        db,
        *well("A"),
        *well("B"),
        (schema.authorities, authority("OLD", active_to=date(2019, 3, 31))),
        *some(2, decided, "STRAY", "upheld", remedied_early=True),
        (d, decided("STRAY", "advice_given")),
        (d, decided("STRAY", "upheld", LAST_YEAR)),
        (d, decided("OLD", "not_upheld")),
        (c, recorded("STRAY", "not_complied")),
        (r, {"year": 2020, "authority_code": "STRAY", "position": 1, "text": "Words."}),
        (r, {"year": 2019, "authority_code": "STRAY", "position": 1, "text": "Words."}),
    )
    found = look(pipeline)
    within = "between 1 April 2019 and 31 March 2020"
    assert told(found.findings) == [
        ("blocking", "nowhere", "OLD", f"1 decision {within} of OLD, which has no letter in this"
         " year: it is counted in nobody's letter.", "Correct decisions.authority_code, or"
         " active_from and active_to in authorities."),
        ("blocking", "nowhere", "STRAY", f"3 decisions {within} of STRAY, which is not on the"
         " register: they are counted in nobody's letter.",
         "Correct decisions.authority_code, or add the authority to the register."),
        ("blocking", "nowhere", "STRAY", f"1 compliance outcome {within} of STRAY, which is not on"
         " the register: it is counted in nobody's letter.",
         "Correct compliance.authority_code, or add the authority to the register."),
        ("blocking", "nowhere", "STRAY", "1 remark in 2020 of STRAY, which is not on the register:"
         " it is printed in nobody's letter.",
         "Correct remarks.authority_code, or add the authority to the register."),
        ("advisory", "no_letter", "OLD", "It gets no letter: it existed until 31 March 2019, before"
         " it.", "Nothing, if these are its dates; else correct authorities."),
    ]  # fmt: skip
    assert found.is_blocked
    # the sums of the period hold them, and those of the letters do not
    assert found.letters == Totals(
        investigated=4, upheld=2, remedied_early=0, compliance_due=2, complied=2
    )
    assert found.period == Totals(
        investigated=7, upheld=4, remedied_early=2, compliance_due=3, complied=2
    )


def test_cases_with_odd_dates_or_references(db: Database, pipeline: Pipeline) -> None:
    d, c = schema.decisions, schema.compliance
    fill(
        db,
        *well("A"),
        *well("B"),
        (d, decided("A", "upheld", case_reference="19 1", received_on=date(2019, 6, 2))),
        (d, decided("B", "upheld", case_reference="19 2", received_on=date(2019, 6, 1))),
        (d, decided("B", "upheld", case_reference="19 3", received_on=date(2019, 7, 1))),
        (d, decided("B", "upheld", case_reference="19 4", received_on=date(2019, 8, 1))),
        (d, decided("A", "advice_given", case_reference="19 ab 5")),
        (d, decided("A", "advice_given", LAST_YEAR, case_reference="19AB5")),
        (d, decided("A", "advice_given", LAST_YEAR, case_reference="18 6")),
        (d, decided("A", "advice_given", date(2018, 7, 1), case_reference="186")),
        (d, decided("A", "upheld", date(2019, 3, 25))),
        (d, decided("A", "upheld", date(2019, 3, 24))),
        (d, decided("A", "upheld", date(2020, 4, 1))),
        (d, decided("A", "upheld", date(2020, 4, 7))),
        (d, decided("A", "upheld", date(2020, 4, 8))),
        (c, recorded("A", "complied", date(2019, 3, 31))),
        (d, decided("A", "upheld", date(2020, 7, 1), case_reference="20 today")),
        (d, decided("A", "upheld", date(2020, 7, 2), case_reference="20 x")),
        (d, decided("A", "upheld", date(2091, 6, 1), case_reference="19 y")),
        (c, {**recorded("A", "complied", date(2091, 6, 1)), "case_reference": "18 z"}),
    )
    right = (
        "Correct received_on or decided_on in decisions: the wrong one may also put a case into the"
        " wrong year."
    )
    near = "Nothing, if these are their dates; look at them if the year seems short."
    assert told(look(pipeline).findings) == [
        ("advisory", "case", "A", "1 case decided before it was received (19 1).", right),
        ("advisory", "case", "B", "2 cases decided before they were received (19 3 the first).",
         right),
        ("advisory", "case", None, "decisions has the case 19 ab 5 and 19AB5 in 2 rows, only one of"
         " them within the period.",
         "Look which date is right, and leave one row: a case counts in one year."),
        ("advisory", "outside", None, "Within a week of the period, and not counted: 1 decision"
         " before 1 April 2019 and 2 decisions after 31 March 2020.", near),
        ("advisory", "outside", None, "Within a week of the period, and not counted: 1 compliance"
         " outcome before 1 April 2019.", near),
        ("advisory", "outside", None, "2 decisions dated after today (19 y the first).",
         "Correct decided_on in decisions: with the right date it may count in this year."),
        ("advisory", "outside", None, "1 compliance outcome dated after today (18 z).",
         "Correct recorded_on in compliance: with the right date it may count in this year."),
    ]  # fmt: skip


def test_remarks_and_placeholders(db: Database, pipeline: Pipeline) -> None:
    def remark(code: str, position: int, text: str) -> tuple[sa.Table, dict[str, Any]]:
        row = {"year": 2020, "authority_code": code, "position": position, "text": text}
        return schema.remarks, row

    fill(
        db,
        *well("A"),
        *well("B"),
        remark("A", 1, "We thank you [sic] for what you did in [2019] EWHC 1."),
        remark("A", 2, "We wrote to [NAME OF OFFICER] about it."),
        remark("A", 3, "Two  blanks."),
        remark("B", 1, "x" * 2501),
    )
    assert told(look(pipeline).findings) == [
        ("blocking", "placeholder", "A", "Paragraph 2 of its remarks holds “[NAME OF OFFICER]”,"
         " which looks like a place left to fill in.", "Put the words there in remarks."),
        ("advisory", "remark", "A", "Paragraph 3 of its remarks has two blanks in a row: “Two "
         " blanks.”.", "Take one out in remarks."),
        ("advisory", "remark", "B", "Its remarks are 2,501 characters long, about a page or more.",
         "Look at the letter's pages when it is made; shorten the remarks if it is too long."),
    ]  # fmt: skip


def test_what_the_edition_lacks(db: Database, pipeline: Pipeline) -> None:
    fill(db, *well("A"), *well("B"), facts={"delegates": 178}, signatory="[NAME]")
    first, second = look(pipeline).findings
    assert told([first]) == [
        ("blocking", "edition", None, "The edition's signatory holds “[NAME]”, which looks like a"
         " place left to fill in.", "Put the words there in editions."),
    ]  # fmt: skip
    assert (second.kind, second.check, second.code) == ("blocking", "template", None)
    assert "facts.courses" in second.found
    assert second.fix == "Mend the template, or fill in what it asks for in editions.facts."


def test_a_message_that_asks_for_what_is_not_there(
    db: Database, pipeline: Pipeline, tmp_path: Path
) -> None:
    fill(db, *well("A"), *well("B"))
    words = tmp_path / "templates"
    words.mkdir()
    for name in ("letter.docx", "message.txt", "message.html"):
        (words / name).write_bytes((ROOT / "templates" / name).read_bytes())
    (words / "message.txt").write_text("Subject: {{ nothing }}\n\nWords.\n")
    ours = replace(pipeline, template=words / "letter.docx", wording=words)
    [one] = look(ours).findings
    assert (one.kind, one.check) == ("blocking", "template")
    assert "nothing" in one.found
    assert one.fix == "Mend the message, or fill in what it asks for in editions.facts."


def test_averages_against_published_ones(db: Database, pipeline: Pipeline) -> None:
    def published(kind: str, measure: str, percent: int) -> tuple[sa.Table, dict[str, Any]]:
        row = {"year": 2020, "kind": kind, "measure": measure, "percent": percent}
        return schema.published_averages, row

    fill(
        db,
        *well("A"),
        *well("B"),
        *well("C", kind="county"),
        *well("P", kind="national_park"),
        *well("Q", kind="national_park"),
        published("district", "upheld", 51),  # 2 of 4
        published("district", "compliance", 100),  # as it is
        published("national_park", "upheld", 40),
        *(published("county", measure, 1) for measure in ("upheld", "compliance", "remedy")),
    )
    known = "Correct published_averages or the figures, unless it is known why."

    def differ(kind: str, measure: str, printed: int, pooled: str) -> Told:
        return (
            "advisory", "average", None, f"The published average of {kind} ({measure}) is"
            f" {printed}%, and these letters together give {pooled}. The published one is printed.",
            known,
        )  # fmt: skip

    assert told(look(pipeline).findings) == [
        differ("county", "compliance", 1, "100% (1 of 1)"),
        differ("county", "satisfactory remedies", 1, "0% (0 of 1)"),
        differ("county", "complaints upheld", 1, "50% (1 of 2)"),
        differ("district", "complaints upheld", 51, "50% (2 of 4)"),
        ("advisory", "average", None, "published_averages has an average of national park, which"
         " are not compared with each other; it is printed nowhere.",
         "Take the row out of published_averages, unless it is kept for the record."),
        ("advisory", "peers", None, "2 letters of the kind national park: these have no average to"
         " compare with.", "Nothing, if they are of that kind; else correct authorities.kind."),
    ]  # fmt: skip


def test_figures_against_the_year_before_in_the_statistics(
    db: Database, pipeline: Pipeline
) -> None:
    fill(
        db,
        *well("CALM"),
        *well("FEWER"),
        *well("MORE"),
        *well("RATE"),
        *some(19, decided, "CALM", "upheld"),
        *some(19, decided, "CALM", "upheld", LAST_YEAR),
        *some(22, decided, "FEWER", "not_upheld", LAST_YEAR),
        *some(10, recorded, "MORE", "complied"),
        *some(10, decided, "RATE", "upheld", remedied_early=True),
        *some(3, decided, "RATE", "upheld"),
        *some(4, decided, "RATE", "upheld", LAST_YEAR, remedied_early=True),
        *some(8, decided, "RATE", "upheld", LAST_YEAR),
        *some(11, decided, "RATE", "not_upheld", LAST_YEAR),
    )
    with db.write() as connection:  # a new one, that was not counted at all before
        connection.execute(sa.insert(schema.authorities), authority("NEW"))
        connection.execute(
            sa.insert(schema.officers), [officer("NEW"), officer("NEW", "link_officer")]
        )
        connection.execute(
            sa.insert(schema.decisions), [decided("NEW", "not_upheld") for _ in range(10)]
        )
    found = look(pipeline)
    there = "Look whether its decisions and compliance are all there, and none of another's."
    assert found.compared_with == 2019
    assert told(found.findings) == [
        ("advisory", "jump", "FEWER", "It has 2 detailed investigations, and 22 in the year"
         " before.", there),
        ("advisory", "jump", "MORE", "It has 11 compliance outcomes, and none in the year before.",
         there),
        ("advisory", "jump", "NEW", "It has 10 detailed investigations, and none in the year"
         " before.", there),
        ("advisory", "jump", "RATE", "It has complaints upheld 93% (14 of 15), and 52% (12 of 23)"
         " in the year before; and satisfactory remedies 71% (10 of 14), and 33% (4 of 12) in the"
         " year before.", there),
    ]  # fmt: skip


def test_a_year_before_of_which_little_is_there_is_not_compared_with(
    db: Database, pipeline: Pipeline
) -> None:
    fill(db, *well("A"), *well("B"), *some(40, decided, "A", "upheld"))
    put(db, schema.decisions, *(decided("A", "upheld", LAST_YEAR) for _ in range(4)))
    assert look(pipeline).compared_with is None
    put(db, schema.decisions, decided("A", "upheld", LAST_YEAR))  # a tenth of 46
    found = look(pipeline)
    assert found.compared_with == 2019
    assert [one.check for one in found.findings] == ["jump"]


def test_somebody_who_changes_the_statistics_meanwhile_is_noticed(
    db: Database, pipeline: Pipeline
) -> None:
    fill(db, *well("A"), *well("B"))
    begun = []

    def write(_connection: sa.Connection) -> None:
        begun.append(1)
        if len(begun) == 2:  # between what the letters are made of, and the sums
            put(db, schema.decisions, decided("A", "upheld"))
            put(db, schema.authorities, authority("C"))

    sa.event.listen(pipeline.statistics.engine, "begin", write)
    found = look(pipeline)
    assert told(found.findings) == [
        ("blocking", "unaccounted", None, "3 authorities are on the register, and 2 letters and 0"
         " without one are not as many.",
         "Somebody may be changing the statistics; look again in a minute."),
        ("blocking", "sum", None, "The letters together do not say what the statistics hold:"
         " investigated 4 and 5; upheld 2 and 3.",
         "Look at the views of decisions and compliance: a join may drop or double rows. If"
         " somebody was changing them, look again. Nothing should be sent before it is clear why."),
    ]  # fmt: skip


def test_statistics_that_cannot_be_pulled_are_found_and_not_raised(
    db: Database, pipeline: Pipeline
) -> None:
    site(db)
    keep(db, schema.editions, EDITION)
    keep(db, schema.authorities, authority("A", "zoo"), authority("B"))
    keep(db, schema.decisions, decided("b", "Upheld"))
    found = look(pipeline)
    assert found.account is None
    assert found.letters is None
    assert [(one.kind, one.check, one.found.partition(",")[0]) for one in found.findings] == [
        ("blocking", "statistics", "authorities.kind holds 'zoo' (A)"),
        ("blocking", "statistics", "decisions.outcome holds 'Upheld'"),
        ("blocking", "statistics", "decisions.authority_code holds 'b'"),
    ]
    assert {one.fix for one in found.findings} == {
        "Mend it where the statistics come from; then: letters check 2020. No letter can be looked"
        " at before."
    }


def test_a_year_that_is_not_there_and_a_database_that_is_not(
    db: Database, pipeline: Pipeline, tmp_path: Path
) -> None:
    fill(db, *well("A"))
    with pytest.raises(Refused, match=r"no edition of 2021 \(there is 2020\)"):
        readiness.look(pipeline, 2021, now=EARLY)
    elsewhere = Database(f"sqlite:///{tmp_path}/none.db", read_only=True)
    with pytest.raises(Unavailable, match="no statistics database"):
        look(replace(pipeline, statistics=elsewhere))


def test_a_sites_own_views_with_times_are_looked_at_as_tables_are(
    db: Database, pipeline: Pipeline
) -> None:
    times = ["decided_on", "recorded_on", "received_on", "active_from", "active_to"]
    site(db, **dict.fromkeys(times, "timestamp"))
    keep(db, schema.editions, EDITION)
    for table, row in (*well("A"), *well("B")):
        keep(db, table, row)
    keep(db, schema.authorities, authority("C", active_from="2020-04-01 00:00:00"))
    keep(
        db,
        schema.decisions,
        {**decided("A", "upheld"), "decided_on": "2020-03-31 23:59:00", "remedied_early": 1},
        {**decided("A", "upheld"), "decided_on": "2020-04-01 00:00:00"},
        decided("B", "upheld", received_on="2019-06-01 12:00:00", case_reference="19 late"),
        decided("STRAY", "upheld"),
    )
    keep(
        db,
        schema.officers,
        officer("A", "leader", email="nobody", active_from="2020-07-22 10:00:00"),
        officer("B", family_name="Smith", email="smith@b.example", active_to="2020-07-22 17:00:00"),
    )
    found = look(pipeline)
    assert found.letters == Totals(
        investigated=6, upheld=4, remedied_early=1, compliance_due=2, complied=2
    )
    assert [(one.check, one.code) for one in found.findings] == [
        ("nowhere", "STRAY"),
        ("address", "A"),
        ("joint", "B"),
        ("case", "B"),
        ("outside", None),
        ("no_letter", "C"),
    ]


def test_what_no_letter_needs_does_not_keep_the_rest_from_being_looked_at(
    db: Database, pipeline: Pipeline
) -> None:
    site(db, received_on="text", remedied_early="text")
    keep(db, schema.editions, EDITION)
    for table, row in (*well("A"), *well("B")):
        keep(db, table, row)
    keep(db, schema.decisions, decided("A", "upheld", LAST_YEAR, remedied_early="never"))
    keep(db, schema.authorities, authority("OLD", active_to=date(2019, 3, 31)))
    found = look(pipeline)
    assert not found.is_blocked
    assert found.findings[-1].code == "OLD"
    if not db.is_sqlite:  # where a text is no date, and not every text a number
        first = found.findings[0]
        assert (first.kind, first.check) == ("advisory", "statistics")
        assert first.found.startswith("Something could not be looked at. The statistics database")
        assert first.fix == "Correct the view if it is to be looked at; no letter needs it."
        assert found.compared_with is None
    else:
        assert len(found.findings) == 1


class Counted:
    """Counts the statements that a database is asked, and the rows that are fetched at once."""

    def __init__(self, db: Database) -> None:
        self.statements: list[str] = []
        sa.event.listen(db.engine, "before_cursor_execute", self._asked)

    def _asked(self, _connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        self.statements.append(statement)


def test_many_authorities_are_looked_at_in_sets_and_in_flat_memory(
    db: Database, pipeline: Pipeline
) -> None:
    few, many = 250, 1500
    put(db, schema.editions, EDITION)

    def add(numbers: range) -> None:
        codes = [f"E{number:05}" for number in numbers]
        people = ("chief_executive", "link_officer")
        put(db, schema.authorities, *map(authority, codes))
        put(db, schema.officers, *(officer(code, role) for code in codes for role in people))
        put(db, schema.decisions, *(decided(code, "upheld") for code in codes))
        put(
            db,
            schema.remarks,
            *(
                {"year": 2020, "authority_code": code, "position": 1, "text": "x" * 2000}
                for code in codes
            ),
        )

    counted = Counted(pipeline.statistics)

    def looked_at(number: int) -> tuple[int, int]:
        counted.statements.clear()
        tracemalloc.start()
        found = look(pipeline)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert found.account is not None
        assert found.account.to_send == number
        assert found.findings == []
        return len(counted.statements), peak

    add(range(few))
    looked_at(few)  # what is loaded or compiled once
    statements, peak = looked_at(few)
    add(range(few, many))
    more_statements, more_peak = looked_at(many)
    # officers and remarks, for 250 authorities at once
    assert more_statements - statements == 2 * (many - few) // 250
    # an entry for each address, and no letter: each has remarks of 2,000 characters
    assert (more_peak - peak) / (many - few) < 1000
