"""Composing: who is written to, and every word that varies."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime

import pytest

from pipeline.figures import Counts
from pipeline.letter import (
    MERGE_FIELDS,
    Authority,
    Edition,
    Letter,
    Officer,
    Record,
    addressee,
    compose,
    hidden_character,
    long_date,
)

EDITION = Edition(
    year=2020,
    letter_date=date(2020, 7, 22),
    published_on=date(2020, 7, 29),
    period_start=date(2019, 4, 1),
    period_end=date(2020, 3, 31),
    signatory="Michael King",
    signatory_posts=["Local Government and Social Care Ombudsman"],
    facts={"delegates": 178, "people": 1400, "venue": "Leeds"},
    prepare_on=date(2020, 7, 15),
    dispatch_at=datetime(2020, 7, 22, 8, tzinfo=UTC),
)
AVERAGES = {"district": {"upheld": 45, "compliance": 99, "remedy": 20}}
CHIEF = Officer(
    role="chief_executive",
    honorific="Ms",
    given_name="Alex",
    family_name="Jones",
    post="Chief Executive",
    email="chief@anytown.example",
)
LINK = Officer(role="link_officer", given_name="Sam", family_name="Hill", email="s@anytown.example")


def record(
    *officers: Officer,
    kind: str = "district",
    noun: str = "Council",
    counts: Counts | None = None,
    remarks: Sequence[str] = (),
    name: str = "Anytown Borough Council",
) -> Record:
    authority = Authority(code="E07999999", name=name, kind=kind, noun=noun)
    return Record(
        authority=authority,
        addressee=authority,
        officers=officers,
        counts=counts or Counts(upheld=1, complied=1),
        remarks=remarks,
    )


def composed(*officers: Officer, **rest: object) -> Letter:
    return compose(record(*officers, **rest), EDITION, AVERAGES)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("officer", "lines", "salutation"),
    [
        ({}, ["Ms Alex Jones", "Chief Executive"], "Ms Jones"),
        ({"honorific": ""}, ["Alex Jones", "Chief Executive"], "Alex Jones"),
        ({"given_name": ""}, ["Ms Jones", "Chief Executive"], "Ms Jones"),
        ({"honorific": "Dame"}, ["Dame Alex Jones", "Chief Executive"], "Dame Alex"),
        ({"family_name": "Null"}, ["Ms Alex Null", "Chief Executive"], "Ms Null"),
        (
            {"post": "Chief Executive and Town Clerk"},
            ["Ms Alex Jones", "Chief Executive and Town Clerk"],
            "Ms Jones",
        ),
        (
            {"honorific": "", "given_name": "", "family_name": ""},
            ["Chief Executive"],
            "Chief Executive",
        ),
        (
            {"honorific": "", "given_name": "", "family_name": "", "post": ""},
            ["Chief Executive"],
            "Chief Executive",
        ),
        (
            {"post": "Interim Chief Executive"},
            ["Ms Alex Jones", "Interim Chief Executive"],
            "Ms Jones",
        ),
    ],
)
def test_addressee(officer: dict[str, str], lines: list[str], salutation: str) -> None:
    letter = composed(replace(CHIEF, **officer))
    assert letter.fault is None
    assert letter.fields["address_lines"] == [*lines, "Anytown Borough Council"]
    assert letter.fields["salutation"] == salutation


def test_joint_chief_executives_are_both_named_greeted_and_written_to() -> None:
    other = replace(
        CHIEF, honorific="Mr", given_name="Ravi", family_name="Shah", email="r@anytown.example"
    )
    letter = composed(CHIEF, other)
    assert letter.fields["salutation"] == "Ms Jones and Mr Shah"
    assert letter.fields["address_lines"][:4] == [
        "Ms Alex Jones",
        "Chief Executive",
        "Mr Ravi Shah",
        "Chief Executive",
    ]
    assert [(one["address"], one["kind"]) for one in letter.recipients] == [
        ("chief@anytown.example", "to"),
        ("r@anytown.example", "to"),
    ]


def test_an_address_in_two_roles_gets_one_copy() -> None:
    letter = composed(CHIEF, replace(LINK, email="CHIEF@anytown.example"))
    assert letter.recipients == [
        {
            "address": "chief@anytown.example",
            "name": "Ms Alex Jones",
            "roles": ["chief_executive", "link_officer"],
            "kind": "to",
        }
    ]


def test_two_chief_executives_at_one_address_get_one_copy_that_names_both() -> None:
    other = replace(CHIEF, honorific="Mr", given_name="Ravi", family_name="Shah")
    [one] = composed(CHIEF, other).recipients
    assert (one["name"], one["roles"]) == ("Ms Alex Jones and Mr Ravi Shah", ["chief_executive"])


def test_only_the_roles_of_the_edition_are_copied() -> None:
    leader = replace(LINK, role="leader", email="leader@anytown.example")
    letter = composed(CHIEF, LINK, leader)
    assert [one["address"] for one in letter.recipients] == [
        "chief@anytown.example",
        "s@anytown.example",
    ]
    everyone = compose(
        record(CHIEF, LINK, leader), replace(EDITION, copied_roles=["leader"]), AVERAGES
    )
    assert [one["address"] for one in everyone.recipients] == [
        "chief@anytown.example",
        "leader@anytown.example",
    ]


@pytest.mark.parametrize(
    ("officers", "reason"),
    [
        ([], "has no chief executive"),
        ([LINK], "has no chief executive"),
        ([replace(CHIEF, email="")], "There is no address for the chief executive of Anytown"),
        ([CHIEF, replace(CHIEF, family_name="Two", email="")], "There is no address"),
        ([replace(CHIEF, email="a@b.example, c@d.example")], "correct officers.email"),
        ([CHIEF, replace(LINK, email="a..b@x.example")], "the link officer of Anytown"),
        ([CHIEF, replace(LINK, email="a@localhost")], "domain has no dot"),
        ([replace(CHIEF, email="a@b.example\nBcc: x@y.example")], "correct officers.email"),
        ([replace(CHIEF, email="Jo <jo@b.example>")], "correct officers.email"),
        ([replace(CHIEF, email="nobody")], "correct officers.email"),
        ([replace(CHIEF, family_name="Jo\u202enes")], "RIGHT-TO-LEFT OVERRIDE"),
        (
            [replace(CHIEF, given_name="A\u200blex")],
            "officers.given_name holds ZERO WIDTH SPACE (U+200B) as character 2, which does not"
            " show (chief_executive of E07999999); remove it.",
        ),
        (
            [CHIEF, replace(LINK, post="Li\x1bnk")],
            "officers.post holds ESCAPE (U+001B) as character 3, which does not show (link_officer"
            " of E07999999); remove it.",
        ),
        (
            [CHIEF, replace(CHIEF, email="old@anytown.example")],
            "The officers table has Ms Alex Jones twice as chief executive of Anytown Borough"
            " Council on 22 July 2020; leave one row, or end the other with active_to.",
        ),
        (
            [replace(CHIEF, honorific="", given_name="", family_name=""), CHIEF],
            "The officers table has 2 chief executives of Anytown Borough Council on 22 July 2020,"
            " one of them without a name, as of a vacant post; end the row that is over",
        ),
        (
            [replace(CHIEF, given_name=" ", family_name="")],
            "officers.honorific holds 'Ms' without a name beside it (chief_executive of E07999999)",
        ),
    ],
)
def test_what_is_wrong_with_one_letter_is_its_fault(officers: list[Officer], reason: str) -> None:
    letter = composed(*officers)
    assert letter.fault is not None
    assert reason in letter.fault


def test_all_that_is_wrong_with_a_letter_is_said_at_once() -> None:
    letter = composed(
        replace(CHIEF, family_name="Jo\u202enes", email="a@b"),
        replace(LINK, email="c;d@e.example"),
        name="Any\x1btown",
        counts=Counts(upheld=1, remedied_early=2),
        remarks=["Fine.", "Not\u200b fine."],
    )
    assert letter.fault is not None
    for reason in (
        "What was counted for E07999999 cannot be: A part is larger than its whole: 2 of 1."
        " Correct its decisions and compliance.",
        "authorities.name holds ESCAPE (U+001B) as character 4, which does not show (E07999999)",
        "officers.family_name holds RIGHT-TO-LEFT OVERRIDE",
        "remarks.text holds ZERO WIDTH SPACE (U+200B) as character 4, which does not show"
        " (paragraph 2 of E07999999); remove it.",
        "its domain has no dot",
        "'c;d@e.example' cannot be written to",
        "It is that of the link officer of Any\ufffdtown; correct officers.email.",
    ):
        assert reason in letter.fault
    assert letter.fault.isprintable()
    # it is listed and shown to people, in terminals too
    assert letter.authority_name == "Any\ufffdtown"
    assert (letter.fields, letter.recipients) == ({}, [])


def test_what_is_not_written_to_may_be_wrong() -> None:
    """Roles that this edition does not copy have no part in the letter."""
    leader = replace(LINK, role="leader", family_name="\u202e", email="no@where")
    assert composed(CHIEF, leader).fault is None


@pytest.mark.parametrize("name", ["", " ", "\u00a0\u2003"])
def test_an_authority_without_a_name_is_a_fault(name: str) -> None:
    fault = composed(CHIEF, name=name).fault
    assert fault == "authorities.name is empty (E07999999); fill in the name that is to be printed."


def test_a_successor_without_a_name_is_a_fault() -> None:
    old = Authority(code="A", name="Old", kind="district", active_to=date(2020, 3, 31))
    new = Authority(code="B", name=" ", kind="district")
    both = Record(authority=old, addressee=new, officers=[], counts=Counts())
    fault = compose(both, EDITION, AVERAGES).fault
    assert fault is not None
    assert fault.startswith("authorities.name is empty (B);")
    assert "B has no chief executive in the officers table on 22 July 2020;" in fault


def test_names_of_blanks_are_no_names() -> None:
    letter = composed(replace(CHIEF, honorific=" ", given_name=" ", family_name="  ", post=" "))
    assert letter.fault is None
    assert letter.fields["salutation"] == "Chief Executive"
    assert letter.fields["address_lines"] == ["Chief Executive", "Anytown Borough Council"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a@môn.example", "A@XN--MN-8JA.EXAMPLE"),
        ("a@mo\u0302n.example", "a@Môn.example"),
        ("A@x.example", "a@X.example"),
    ],
)
def test_two_spellings_of_one_address_are_one_recipient(one: str, other: str) -> None:
    letter = composed(replace(CHIEF, email=one), replace(LINK, email=other))
    [recipient] = letter.recipients
    assert recipient["roles"] == ["chief_executive", "link_officer"]
    assert recipient["address"].isascii()


def test_figures_and_panels() -> None:
    letter = composed(
        CHIEF, counts=Counts(upheld=5, not_upheld=4, remedied_early=1, complied=2, not_complied=1)
    )
    assert letter.figures == {
        "upheld": {"part": 5, "whole": 9, "percent": 56, "average": 45},
        "compliance": {"part": 2, "whole": 3, "percent": 67, "average": 99},
        "remedy": {"part": 1, "whole": 5, "percent": 20, "average": 20},
    }
    assert letter.fields["upheld"] == {
        "rated": True,
        "percent": "56%",
        "percent_number": 56,
        "compared": True,
        "average": "45%",
        "part": "5",
        "part_label": "upheld decisions",
        "whole": "9",
        "whole_label": "detailed investigations",
    }
    assert letter.fields["remedy"]["part_label"] == "satisfactory remedy decision"
    assert letter.fields["compliance"]["whole_label"] == "compliance outcomes"


def test_nothing_to_divide_by_is_neither_rated_nor_compared() -> None:
    letter = composed(CHIEF, counts=Counts())
    for measure in ("upheld", "compliance", "remedy"):
        assert letter.figures[measure] == {"part": 0, "whole": 0, "percent": None, "average": None}
        panel = letter.fields[measure]
        assert (panel["rated"], panel["compared"], panel["percent"], panel["average"]) == (
            False,
            False,
            "",
            "",
        )
    assert letter.fields["upheld"]["part_label"] == "upheld decisions"
    assert letter.fields["upheld"]["whole_label"] == "detailed investigations"


def test_0_of_1_has_a_denominator() -> None:
    letter = composed(CHIEF, counts=Counts(not_upheld=1))
    assert letter.fields["upheld"]["percent"] == "0%"
    assert letter.fields["upheld"]["compared"] is True


def test_kinds_without_peers_are_not_compared() -> None:
    letter = composed(CHIEF, kind="national_park", noun="Authority")
    assert letter.figures["upheld"]["percent"] == 100
    assert letter.figures["upheld"]["average"] is None
    assert letter.fields["upheld"]["compared"] is False
    assert letter.fields["noun"] == "Authority"


def test_large_counts_have_thousands_separators() -> None:
    letter = composed(CHIEF, counts=Counts(upheld=1200, not_upheld=34))
    assert letter.fields["upheld"]["whole"] == "1,234"
    assert letter.fields["facts"] == {"delegates": "178", "people": "1,400", "venue": "Leeds"}


def test_an_abolished_authority_is_written_to_through_its_successor() -> None:
    old = Authority(
        code="E07000005",
        name="Chiltern District Council",
        kind="district",
        active_to=date(2020, 3, 31),
        successor_code="E06000060",
    )
    new = Authority(
        code="E06000060",
        name="Buckinghamshire Council",
        kind="unitary",
        active_from=date(2020, 4, 1),
    )
    assert addressee(old, {new.code: new}, EDITION.letter_date) is new
    letter = compose(
        Record(authority=old, addressee=new, officers=[CHIEF], counts=Counts(upheld=1)),
        EDITION,
        AVERAGES,
    )
    assert letter.fields["authority"] == "Chiltern District Council"
    assert letter.fields["address_lines"][-1] == "Buckinghamshire Council"
    assert letter.fields["succession"] == (
        "This letter is about Chiltern District Council. "
        "Buckinghamshire Council took over its responsibilities on 1 April 2020."
    )


def test_a_broken_line_of_successors_leads_nowhere() -> None:
    one = Authority(
        code="A", name="A", kind="other", active_to=date(2019, 1, 1), successor_code="B"
    )
    two = replace(one, code="B", name="B", successor_code="A")
    register = {"A": one, "B": two}
    assert addressee(one, register, EDITION.letter_date) is one
    assert addressee(replace(one, successor_code="C"), register, EDITION.letter_date).code == "A"
    assert addressee(replace(one, successor_code=None), register, EDITION.letter_date).code == "A"
    nobody = Record(authority=one, addressee=one, officers=[CHIEF], counts=Counts())
    fault = compose(nobody, EDITION, AVERAGES).fault
    assert fault is not None
    assert "leads to nobody; correct successor_code" in fault


def test_names_are_kept_as_written() -> None:
    for name in (
        "Hammersmith & Fulham",
        "King's Lynn and West Norfolk",
        "Council of the Isles of Scilly",
        "Cyngor Gwynedd ŵ ŷ",
        "<b>{{ authority }}</b>",
    ):
        assert composed(CHIEF, name=name).fields["authority"] == name


def test_the_fields_are_the_ones_that_templates_may_use() -> None:
    letter = composed(CHIEF)
    names = set()
    for name, value in letter.fields.items():
        if name == "facts":
            names.add("facts.*")
        elif isinstance(value, dict):
            names |= {f"{name}.{inner}" for inner in value}
        else:
            names.add(name)
    assert names == set(MERGE_FIELDS)


def test_dates_are_written_in_english_everywhere() -> None:
    assert long_date(date(2020, 7, 22)) == "22 July 2020"
    assert long_date(date(2021, 3, 1)) == "1 March 2021"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("a\u200bb", "ZERO WIDTH SPACE (U+200B)"),
        ("a\x00b", "NULL (U+0000)"),
        ("a\nb", "LINE FEED (U+000A)"),
        ("a\x01b", "CONTROL CHARACTER (U+0001)"),
        ("a\ue000b", "PRIVATE USE CHARACTER (U+E000)"),
        ("a\U00100000b", "PRIVATE USE CHARACTER (U+100000)"),
        ("a\u0378b", "UNASSIGNED CHARACTER (U+0378)"),
        ("a\uffffb", "NONCHARACTER (U+FFFF)"),
        ("a\ufdd0b", "NONCHARACTER (U+FDD0)"),
        ("a\ud800b", "SURROGATE (U+D800)"),
        ("a\xadb", "SOFT HYPHEN (U+00AD)"),
        ("a\u202eb", "RIGHT-TO-LEFT OVERRIDE (U+202E)"),
        ("a\u2028b", "LINE SEPARATOR (U+2028)"),
        ("a\ufeffb", "ZERO WIDTH NO-BREAK SPACE (U+FEFF)"),
        ("\u3164", "HANGUL FILLER (U+3164)"),
        ("\u2764\ufe0f", "VARIATION SELECTOR-16 (U+FE0F)"),
        ("Ffion Gŵyn-Ŷnys\xa0王小明 \U0001f600", None),
        ("Si\u0302an, O’Neill-Smythe & Co", None),
    ],
)
def test_hidden_characters_are_named(text: str, name: str | None) -> None:
    assert hidden_character(text) == name
