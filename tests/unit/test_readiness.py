"""What is wrong with an edition by itself, words that were left behind, and the page."""

import io
import json
import re
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pytest

from pipeline.display import readiness as display
from pipeline.display.console import out
from pipeline.letter import Edition
from pipeline.readiness import TITLES, Account, Check, Finding, Kind, Readiness, Totals
from pipeline.readiness.editions import look_at
from pipeline.readiness.found import worst_first
from pipeline.readiness.letters import is_a_jump
from pipeline.readiness.words import double_blank, leftover, listed

EARLY = datetime(2020, 7, 1, 9, tzinfo=UTC)
WELL = Edition(
    year=2020,
    letter_date=date(2020, 7, 22),  # a Wednesday
    published_on=date(2020, 7, 29),
    period_start=date(2019, 4, 1),
    period_end=date(2020, 3, 31),
    signatory="Michael King",
    signatory_posts=["Ombudsman"],
    facts={"delegates": 178},
    prepare_on=date(2020, 7, 15),
    dispatch_at=datetime(2020, 7, 22, 8, tzinfo=UTC),
)


def told(edition: Edition, now: datetime = EARLY, *, begun: bool = False) -> list[tuple[str, ...]]:
    found = list(look_at(edition, now=now, begun=begun))
    assert {one.check for one in found} <= {Check.EDITION}
    assert {one.code for one in found} <= {None}
    return [(one.kind.value, one.found, one.fix) for one in found]


def test_an_edition_of_which_there_is_nothing_to_say() -> None:
    assert told(WELL) == []
    leap = replace(WELL, period_start=date(2019, 3, 1), period_end=date(2020, 2, 29))
    assert told(leap) == []


@pytest.mark.parametrize(
    ("changed", "kind", "found", "fix"),
    [
        (
            {"period_end": date(2020, 7, 22), "period_start": date(2019, 7, 23)},
            "blocking",
            "The letter is dated 22 July 2020, and the period that it is about goes on until"
            " 22 July 2020.",
            "Correct letter_date or period_end in editions.",
        ),
        (
            {"period_start": date(2019, 7, 2), "period_end": date(2020, 7, 1)},
            "advisory",
            "The period is not over yet: it goes on until 1 July 2020.",
            "Wait until it is, or correct period_end in editions; decisions to come are missing.",
        ),
        (
            {"period_start": date(2019, 4, 2)},
            "advisory",
            "The period from 2 April 2019 to 31 March 2020 is not a year: it has 365 days.",
            "Correct period_start or period_end in editions, unless it is meant.",
        ),
        (
            {"year": 2021},
            "advisory",
            "The letters are those of 2021 and are dated 22 July 2020.",
            "Correct letter_date in editions, unless it is meant.",
        ),
        (
            {
                "letter_date": date(2020, 7, 18),
                "dispatch_at": datetime(2020, 7, 20, 8, tzinfo=UTC),
            },
            "advisory",
            "The letter's date, 18 July 2020, is a Saturday.",
            "Choose a working day in editions.letter_date, unless it is meant.",
        ),
        (
            {"dispatch_at": datetime(2020, 7, 25, 23, 30, tzinfo=UTC)},  # Sunday in London
            "advisory",
            "The letters are to be sent on 26 July 2020, a Sunday, when few read them and nobody"
            " answers the telephone.",
            "Choose a working day in editions.dispatch_at, unless it is meant.",
        ),
        (
            {"dispatch_at": datetime(2020, 7, 21, 8, tzinfo=UTC)},
            "advisory",
            "The letters are to be sent on 21 July 2020, before their date, 22 July 2020.",
            "Correct dispatch_at or letter_date in editions.",
        ),
        (
            {"prepare_on": date(2020, 7, 23)},
            "advisory",
            "The letters are to be made on 23 July 2020, after they are to be sent, on"
            " 22 July 2020.",
            "Correct prepare_on or dispatch_at in editions.",
        ),
        (
            {"published_on": date(2020, 7, 21)},
            "advisory",
            "The letter says that its figures are published on 21 July 2020, and is dated later,"
            " 22 July 2020.",
            "Correct published_on or letter_date in editions.",
        ),
        (
            {"signatory": " "},
            "blocking",
            "Nobody signs the letters.",
            "Fill in signatory in editions.",
        ),
        (
            {"signatory_posts": []},
            "advisory",
            "No post stands below the name of Michael King.",
            "Fill in signatory_posts in editions, unless it is meant.",
        ),
        (
            {"signatory_posts": ["Ombudsman", "Chair, TBC"]},
            "blocking",
            "The edition's signatory_posts, number 2, holds “TBC”, which looks like a place left to"
            " fill in.",
            "Put the words there in editions.",
        ),
        (
            {"facts": {"delegates": "{{ number }}"}},
            "blocking",
            "The edition's facts, delegates, holds “{{ number }}”, which looks like a place left to"
            " fill in.",
            "Put the words there in editions.",
        ),
    ],
)
def test_what_may_be_wrong_with_an_edition(
    changed: dict[str, Any], kind: str, found: str, fix: str
) -> None:
    assert told(replace(WELL, **changed)) == [(kind, found, fix)]


def test_an_hour_that_is_over_is_said_until_sending_has_begun() -> None:
    late = datetime(2020, 7, 22, 8, 1, tzinfo=UTC)
    [(kind, found, fix)] = told(WELL, late)
    assert kind == "advisory"
    assert found == "The hour of sending, 22 July 2020 at 09:00, is in the past."
    assert fix.endswith("Correct dispatch_at in editions if the letters are to go later.")
    assert told(WELL, late, begun=True) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("To do: nothing", None),
        ("[sic] and [2019] EWHC", None),
        ("Mr Todo of TODOS", None),
        ("a TODO here", "TODO"),
        ("XXXX cases", "XXXX"),
        ("Lorem Ipsum dolor", "Lorem Ipsum"),
        ("Dear [Name],", "[Name]"),
        ("<<Authority>>", "<<Authority>>"),
        ("on ____ 2020", "____"),
        ("how many???", "???"),
        ("why? why??", None),
    ],
)
def test_places_left_to_fill_in(text: str, found: str | None) -> None:
    assert leftover(text) == found


def test_two_blanks_and_lists() -> None:
    assert double_blank("one two") is None
    assert double_blank("at one  two") == "one  two"
    assert double_blank("one\u00a0 two") == "one\u00a0 two"
    assert double_blank("  two three") == "two"
    assert double_blank("zero one  ") == "one"
    assert double_blank("x" * 200_000) is None  # at once, though it is one word
    assert [listed(list("abc"[:n])) for n in range(4)] == ["", "a", "a and b", "a, b and c"]
    assert listed([str(n) for n in range(10)]) == "0, 1, 2, 3, 4, 5, 6, 7 and 2 more"


@pytest.mark.parametrize(
    ("before", "now", "jumps"),
    [(10, 20, True), (20, 10, True), (11, 20, False), (9, 18, False), (0, 10, True), (0, 9, False)],
)
def test_a_count_jumps_by_twice_and_by_ten(before: int, now: int, *, jumps: bool) -> None:
    assert is_a_jump(before, now) is jumps


# --------------------------------------------------------------------------------------- the page


def finding(kind: Kind, check: Check, code: str | None = None, fix: str = "Mend it.") -> Finding:
    name = None if code is None else f"{code} Council"
    return Finding(
        kind=kind, check=check, found=f"Something about {code}.", fix=fix, code=code, name=name
    )


def page(found: list[Finding], **other: Any) -> Readiness:
    totals = Totals(investigated=1, upheld=1, remedied_early=0, compliance_due=1, complied=1)
    account = Account(
        register=3,
        to_send=1,
        withheld=1,
        faulted=0,
        no_letter=1,
        unaccounted=0,
        struck_off=0,
    )
    given: dict[str, Any] = {
        "year": 2020,
        "from_run": True,
        "account": account,
        "letters": totals,
        "period": totals,
        "compared_with": 2019,
        "findings": worst_first(found),
    }
    return Readiness(**{**given, **other})


def printed(found: Readiness, capsys: pytest.CaptureFixture[str], *, domains: bool = False) -> str:
    display.print_readiness(found, domains=domains)
    return capsys.readouterr().out


def test_the_worst_comes_first_whatever_was_found_first() -> None:
    shuffled = [
        finding(Kind.ADVISORY, Check.NO_LETTER, "A"),
        finding(Kind.ADVISORY, Check.JUMP, "B"),
        finding(Kind.BLOCKING, Check.RESERVED, "C"),
        finding(Kind.ADVISORY, Check.JUMP, "A"),
        finding(Kind.BLOCKING, Check.FAULT, "D"),
    ]
    assert [one.code for one in worst_first(shuffled)] == ["D", "C", "B", "A", "A"]


def test_each_check_has_a_title() -> None:
    assert set(TITLES) == set(Check)


def test_the_page_says_each_thing_once_and_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    found = page(
        [
            finding(Kind.ADVISORY, Check.SHARED, "A"),
            finding(Kind.BLOCKING, Check.FAULT, "B", fix="Mend B."),
            finding(Kind.BLOCKING, Check.FAULT, "C", fix="Mend C."),
            finding(Kind.ADVISORY, Check.SHARED),
        ]
    )
    assert printed(found, capsys).splitlines() == [
        "The letters of 2020, from the run's letters",
        "  3 on the register = 1 to be sent + 1 withheld + 0 that cannot be made + 1 without a"
        " letter.",
        "  All letters together: 1 detailed investigation, 1 upheld, 0 of them remedied early; 1 of"
        " 1 compliance outcome met.",
        "  The database counts the same, apart from the letters.",
        "  Figures are held against those of 2019.",
        "",
        "✗ blocking: Letters that cannot be made (2)",
        "  B Council (B): Something about B.",
        "    → Mend B.",
        "  C Council (C): Something about C.",
        "    → Mend C.",
        "",
        "! advisory: One address, several letters (2)",
        "  A Council (A): Something about A.",
        "  Something about None.",
        "  → Mend it.",
        "",
        "2 findings block the letters of 2020; 2 findings to look at.",
        "The addresses' domains were not asked for; --domains does.",
    ]


def test_of_many_alike_all_that_block_are_shown_and_of_others_ten(
    capsys: pytest.CaptureFixture[str],
) -> None:
    many = [f"E{each}" for each in range(60)]
    text = printed(page([finding(Kind.BLOCKING, Check.FAULT, one) for one in many]), capsys)
    assert text.count("Something about") == 50
    assert "  and 10 more; --json has them all" in text
    assert "60 findings block the letters of 2020." in text
    text = printed(page([finding(Kind.ADVISORY, Check.LACKING, one) for one in many]), capsys)
    assert text.count("Something about") == 10
    assert "  and 50 more; --json has them all" in text
    assert "Nothing blocks the letters of 2020; 60 findings to look at." in text


def test_where_nothing_was_found_that_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(page([], from_run=False, compared_with=None), capsys, domains=True)
    assert text.startswith("The letters of 2020, from the statistics as they are\n")
    assert "No figures of 2019 to hold these against." in text
    assert text.splitlines()[-1] == "Nothing was found against the letters of 2020."


def test_where_the_database_counts_otherwise_both_are_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    period = Totals(investigated=1234, upheld=2, remedied_early=1, compliance_due=1, complied=0)
    text = printed(page([], period=period), capsys)
    assert "All letters together: 1 detailed investigation, 1 upheld" in text
    assert (
        "  The database counts 1,234 investigations in the period, 2 upheld, 1 remedied early; 0 of"
        " 1 met." in text
    )


def test_a_terminal_is_never_wider_than_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    told = io.StringIO()
    monkeypatch.setattr(out, "file", told)
    monkeypatch.setattr(out, "_force_terminal", True)
    monkeypatch.setattr(out, "width", 80)
    long = finding(Kind.BLOCKING, Check.FAULT, "A", fix="Mend " + "what is wrong " * 20)
    display.print_readiness(page([long]), domains=False)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", told.getvalue()).splitlines()
    assert len(lines) > 12
    assert 70 < max(map(len, lines)) <= 80


def test_the_same_list_for_scripts(capsys: pytest.CaptureFixture[str]) -> None:
    found = page([finding(Kind.ADVISORY, Check.SHARED, "A"), finding(Kind.BLOCKING, Check.SUM)])
    display.write_json(found, domains=True)
    read = json.loads(capsys.readouterr().out)
    assert read == {
        "year": 2020,
        "from_run": True,
        "domains_asked": True,
        "compared_with": 2019,
        "register": {
            "register": 3,
            "to_send": 1,
            "withheld": 1,
            "faulted": 0,
            "no_letter": 1,
            "unaccounted": 0,
            "struck_off": 0,
        },
        "letters": {
            "investigated": 1,
            "upheld": 1,
            "remedied_early": 0,
            "compliance_due": 1,
            "complied": 1,
        },
        "period": read["letters"],
        "counts": {"blocking": 1, "advisory": 1},
        "findings": [
            {
                "kind": "blocking",
                "check": "sum",
                "code": None,
                "name": None,
                "found": "Something about None.",
                "fix": "Mend it.",
            },
            {
                "kind": "advisory",
                "check": "shared",
                "code": "A",
                "name": "A Council",
                "found": "Something about A.",
                "fix": "Mend it.",
            },
        ],
    }
    display.write_json(page([], account=None, letters=None, period=None), domains=False)
    read = json.loads(capsys.readouterr().out)
    assert (read["register"], read["letters"], read["period"]) == (None, None, None)
